"""Ending a process that was told to: first asked, then SIGTERM, then SIGKILL, to its whole group."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable

from eventlog.worker.attempt import Attempt
from eventlog.worker.outcome import Failed, Outcome, Stopped

TICK_MS = 100


class Ending:
    """Steps of ending one attempt's process group; `step` is called again and again while it runs."""

    def __init__(
        self, attempt: Attempt, group: int, kill_after_s: float, ask: Callable[[], None] | None = None
    ) -> None:
        self._attempt = attempt
        self._group = group
        self._kill_after_s = kill_after_s
        self._ask = ask
        self._asked = False
        self._terminate_at: float | None = None
        self._kill_at: float | None = None
        self.signalled = False

    def step(self) -> None:
        """Do what is due."""
        attempt, now = self._attempt, time.monotonic()
        if attempt.overdue:
            attempt.tell("timeout")
        if attempt.why is None:
            return
        if self._terminate_at is None:
            # Who was cancelled is asked to end; who had his time is not.
            asks = self._ask is not None and attempt.why == "cancelled"
            self._terminate_at = now + self._kill_after_s if asks else now
            if self._ask is not None:
                self._ask()
        if attempt.hard:
            self._kill()
        elif self._kill_at is None:
            if now >= self._terminate_at or attempt.why != "cancelled":
                self._kill_at = now + self._kill_after_s
                self._send(signal.SIGTERM)
        elif now >= self._kill_at:
            self._kill()

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        self.signalled = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._group, number)


def told(attempt: Attempt) -> Outcome:
    """How an attempt ended that was told to end."""
    if attempt.why == "timeout":
        seconds = (attempt.job.timeout_us or 0) / 1e6
        return Failed("Timeout", f"took longer than {seconds:g} s")
    return Stopped()


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def wait_descriptor(pid: int) -> int | None:
    """A descriptor that becomes readable when a process ends; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None
