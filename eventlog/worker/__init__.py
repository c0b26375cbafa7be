"""Doing jobs: handlers, the worker that runs them, and the recovery of what a crash left behind.

from eventlog.worker import job

@job("greet", max_retries=5, timeout_s=60)
def greet(name: str) -> str:
    return f"hello {name}"
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventlog.worker.context import Cancelled, DoNotRetry, JobContext, RetryAt, Snooze
from eventlog.worker.handlers import JobFunction, job

if TYPE_CHECKING:
    from eventlog.worker.recovery import RecoveryManager, RecoveryResult
    from eventlog.worker.worker import Worker

__all__ = [
    "Cancelled",
    "DoNotRetry",
    "JobContext",
    "JobFunction",
    "RecoveryManager",
    "RecoveryResult",
    "RetryAt",
    "Snooze",
    "Worker",
    "job",
]
_HOMES = {"Worker": "worker", "RecoveryManager": "recovery", "RecoveryResult": "recovery"}


def __getattr__(name: str) -> Any:
    # A module of handlers is imported by programs that only enqueue: they do not pay for the worker.
    if name in _HOMES:
        value = getattr(import_module(f"eventlog.worker.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'eventlog.worker' has no attribute {name!r}")
