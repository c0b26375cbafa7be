"""One attempt under way, as the threads of a worker share it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal, Protocol

from eventlog.worker.context import JobContext

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from eventlog.recorder.track import RecordedRuns
    from eventlog.repositories.jobs import JobsRepository
    from eventlog.repositories.schedules import SchedulesRepository
    from eventlog.repositories.workers import QueuesRepository, WorkersRepository
    from eventlog.store.base import Reader, Record, Store
    from eventlog.worker.handlers import JobFunction
    from projections.jobs import Job

Why = Literal["timeout", "cancelled", "lost", "shutdown"]


class WorkerLog(Protocol):
    """What a worker needs of a log (`eventlog.open` gives one)."""

    @property
    def jobs(self) -> JobsRepository:
        """Jobs."""

    @property
    def workers(self) -> WorkersRepository:
        """Workers."""

    @property
    def queues(self) -> QueuesRepository:
        """Queues."""

    @property
    def schedules(self) -> SchedulesRepository:
        """Schedules."""

    @property
    def runs(self) -> RecordedRuns:
        """Runs."""

    @property
    def handlers(self) -> dict[str, JobFunction]:
        """The handlers that were made with ``@log.job``."""

    @property
    def store(self) -> Store:
        """The store."""

    @property
    def url(self) -> str:
        """Where the log is, no password in it."""

    @property
    def log_id(self) -> str | None:
        """See `EventLog.log_id`."""

    def reader(self) -> AbstractContextManager[Reader]:
        """The present state of records and tables."""

    def read_stream(self, stream: str) -> Iterator[Record]:
        """A stream's records."""

    @property
    def data_dir(self) -> Path | None:
        """The folder of ``result/`` and ``workers/``."""


class Attempt:
    """A claimed job being done. Whoever `settles` it first says in the log how it ended; nobody else does."""

    def __init__(self, job: Job, context: JobContext, worker_id: str, *, killable: bool) -> None:
        self.job = job
        self.killable = killable
        """Whether it runs in a process of its own, which its slot ends; a thread can only be left behind."""
        self.hard = False
        """Whether it is killed without being asked first."""
        self.token = job.token or 0
        self.context = context
        self.worker_id = worker_id
        self.why: Why | None = None
        """Why it was told to end."""
        self.told_at: float | None = None
        self.deadline: float | None = None
        self._settled = False
        self._lock = threading.Lock()

    def begin(self) -> None:
        """From now on its time counts."""
        if self.job.timeout_us is not None:
            self.deadline = time.monotonic() + self.job.timeout_us / 1e6

    def settle(self) -> bool:
        """True for the first who asks."""
        with self._lock:
            first, self._settled = not self._settled, True
        return first

    @property
    def settled(self) -> bool:
        """Whether somebody says, or has said, how it ended."""
        return self._settled

    def tell(self, why: Why) -> None:
        """Tell it to end, once; that it is lost overrides other reasons."""
        with self._lock:
            if self.why is not None and why != "lost":
                return
            self.why = why
            self.told_at = self.told_at or time.monotonic()
        self.context.tell()

    @property
    def is_lost(self) -> bool:
        """Whether the job is another's by now."""
        return self.why == "lost"

    @property
    def overdue(self) -> bool:
        """Whether it took longer than its job allows."""
        return self.deadline is not None and time.monotonic() > self.deadline
