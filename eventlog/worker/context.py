"""What a handler is given, and what it raises to say how its attempt ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from eventlog.clock import from_datetime, now_us
from eventlog.errors import InvalidInput
from eventlog.recorder.job import JOB_VARIABLE

if TYPE_CHECKING:
    from eventlog.recorder.tracked_run import TrackedRun
    from projections.jobs import Job

PROGRESS_S = 1.0
"""Progress is written once in this time at most."""


class _Later(Exception):
    """Raised with a moment: µs since the epoch, a datetime, or ``delay_s`` seconds from now."""

    def __init__(self, when: int | datetime | None = None, message: str = "", *, delay_s: float | None = None) -> None:
        if (when is None) == (delay_s is None):
            raise InvalidInput(f"{type(self).__name__} needs a time, or delay_s")
        self.at = moment(when, delay_s)
        super().__init__(message)


class Snooze(_Later):
    """The job asks to be run later; its attempt is no failure."""


class RetryAt(_Later):
    """The attempt failed, and the next one begins at this time instead of what the policy says."""


class DoNotRetry(Exception):
    """The attempt failed, and another one would fail too."""


class Cancelled(Exception):
    """The handler heeded that its job was cancelled, or that it may not go on."""


def moment(when: int | datetime | None, delay_s: float | None = None) -> int:
    """A time in µs since the epoch."""
    if delay_s is not None:
        return now_us() + round(max(0.0, delay_s) * 1e6)
    if isinstance(when, datetime):
        return from_datetime(when)
    if isinstance(when, bool) or not isinstance(when, int) or not 0 <= when < 2**53:
        raise InvalidInput(f"a time is µs since the epoch, or a datetime, not {when!r}")
    return when


class JobContext:
    """What a handler with a parameter named ``context`` is given.

    ``job`` is the row of the job as it was claimed, ``token`` its claim. ``cancelled`` is set when the attempt should
    end: the job was cancelled, took too long, or is not this worker's any more. ``stopping`` is set when the worker
    stops: whoever can end soon, or snooze, does well to.
    """

    def __init__(
        self,
        job: Job,
        *,
        report: Callable[[int, int | None, str], None],
        track: Callable[..., TrackedRun],
    ) -> None:
        self.job = job
        self.token = job.token or 0
        self.cancelled = threading.Event()
        self.stopping = threading.Event()
        self._report = report
        self._track = track
        self._reported = -PROGRESS_S
        self.when_told: Callable[[], None] | None = None
        """Called once when the attempt is told to end: how a coroutine is cancelled."""

    def tell(self) -> None:
        """Set ``cancelled``: what the worker does; a handler has no use for it."""
        self.cancelled.set()
        if (hook := self.when_told) is not None:
            hook()

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Say how far the attempt is; written once a second at most, and when it is complete.

        Raises Cancelled when the job is not this worker's any more.
        """
        now = time.monotonic()
        if now - self._reported < PROGRESS_S and done != total:
            return
        self._reported = now
        self._report(done, total, message)

    def check(self) -> None:
        """Raise Cancelled when the attempt should end: to be called now and then by a handler that takes long."""
        if self.cancelled.is_set():
            raise Cancelled("the attempt was told to end")

    def snooze(self, until: int | datetime | None = None, *, delay_s: float | None = None) -> NoReturn:
        """End the attempt, and be run again at a time (µs or a datetime), or after ``delay_s`` seconds."""
        raise Snooze(until, delay_s=delay_s)

    def run(self, command: str | None = None, **options: Any) -> TrackedRun:
        """A part of the attempt as a run that is linked to the job: ``with context.run("train") as run``.

        Options are those of `log.runs.track`.
        """
        return self._track(command or self.job.kind, **options)

    def environment(self) -> dict[str, str]:
        """The environment for a program started by the handler, so that what that records is linked to the job."""
        return {**os.environ, JOB_VARIABLE: self.job.job_id}
