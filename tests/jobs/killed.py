"""Those who are killed at random by `tests/long/test_job_kills.py`, in processes of their own."""

from __future__ import annotations

import os
import time
from typing import Any

import eventlog
import eventlog.app
import eventlog.store.postgres_schema
from eventlog.worker import RecoveryManager, Worker, job


@job("mark")
def mark(path: str, seconds: float, context: Any) -> None:
    """One line for each attempt that began, in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{context.job.job_id} {context.job.attempt}\n".encode())
    os.close(descriptor)
    time.sleep(seconds)
    if seconds > 0.3 and context.job.attempt == 1:
        raise ValueError("now and then")


def work(target: str, folder: str) -> None:
    with eventlog.open(target, data_dir=folder) as log:
        Worker(log, handlers=[mark], concurrency=3, lease_s=3).run()


def recover(target: str, folder: str) -> None:
    with eventlog.open(target, data_dir=folder) as log:
        while True:
            RecoveryManager(log).recover_on_startup()
            time.sleep(0.05)
