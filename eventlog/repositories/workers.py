"""`log.workers` and `log.queues`: who does jobs, and which queues are held back."""

from __future__ import annotations

import builtins

import msgspec

from eventlog.errors import InvalidInput, NotFound
from eventlog.events import Event
from eventlog.events.workers import (
    QueueLimited,
    QueuePaused,
    QueueResumed,
    WorkerLost,
    WorkerStarted,
    WorkerStopped,
)
from eventlog.ids import uuid7
from eventlog.log import EXISTS, NO_STREAM, Tx
from eventlog.repositories.base import Repository
from eventlog.repositories.jobs import tally_of
from eventlog.store.base import Filter
from projections.jobs import projections as _jobs
from projections.workers import Queue, Worker
from projections.workers import projections as _workers

COUNTS = _jobs[1]
WORKERS, QUEUES, _ = _workers


class QueueState(msgspec.Struct, frozen=True):
    """A queue: how many jobs wait (those for later too) and run, and how it is held back."""

    queue: str
    queued: int
    processing: int
    held: int
    paused: bool
    paused_by: str | None
    paused_at: int | None
    pause_reason: str | None
    max_running: int | None


class WorkersRepository(Repository):
    """Those who do jobs. A worker says that it lives by `beat`, which is no event."""

    def start(self, event: WorkerStarted, worker_id: str | None = None) -> str:
        """Register a worker under a new id, and return it."""
        worker_id = worker_id or uuid7()
        log = self._log
        log.append(f"worker-{worker_id}", event, expect=NO_STREAM)
        log.store.beat(worker_id, first=True)
        return worker_id

    def beat(self, worker_id: str) -> bool:
        """Say that a worker lives. False: it was taken for lost, and what it had was given to others."""
        return self._log.store.beat(worker_id)

    def silences(self) -> dict[str, int]:
        """How long ago each worker said that it lives, µs by the clock of the database."""
        return self._log.store.silences()

    def stop(self, worker_id: str, reason: str = "") -> None:
        """A worker ended in good order."""
        log = self._log
        log.append(f"worker-{worker_id}", WorkerStopped(reason=reason), expect=EXISTS)
        log.store.forget_workers([worker_id])

    def lost(self, worker_id: str, rung: str, evidence: str) -> bool:
        """Say that a worker is gone. False: somebody else said so, or it stopped.

        What it said of itself is forgotten first: should it live, and whoever says this be killed in between, it finds
        out at its next heartbeat and begins anew. The other way round it would believe in itself, and nobody in it.
        """

        def work(tx: Tx) -> bool:
            events = [record.event for record in tx.read_stream(f"worker-{worker_id}")]
            if not events or not isinstance(events[-1], WorkerStarted):
                return False
            tx.append(f"worker-{worker_id}", WorkerLost(rung=rung, evidence=evidence))
            return True

        log = self._log
        log.store.forget_workers([worker_id])
        return log.decide(work)

    def find(self, worker_id: str) -> Worker | None:
        """A worker, or None."""
        table = self._fresh(WORKERS)
        with self._source.reader() as reader:
            return reader.load(table, [(worker_id,)]).get((worker_id,))

    def get(self, worker_id: str) -> Worker:
        """A worker. Raises NotFound."""
        worker = self.find(worker_id)
        if worker is None:
            raise NotFound(f"there is no worker {worker_id}", worker_id=worker_id)
        return worker

    def list(
        self, *, status: str | None = None, before: str | None = None, limit: int | None = 50, offset: int = 0
    ) -> builtins.list[Worker]:
        """Workers, the newest first."""
        where = [] if status is None else [Filter("status", "=", status)]
        where += [] if before is None else [Filter("worker_id", "<", before)]
        table = self._fresh(WORKERS)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("-worker_id",), limit=limit, offset=offset)


class QueuesRepository(Repository):
    """Queues need not be made: they are there when a job is."""

    def pause(self, queue: str, by: str = "api", reason: str = "") -> QueueState:
        """Begin no job of a queue any more; what runs goes on. Paused again without a reason, it keeps its own."""
        if not reason and isinstance(queue, str) and (row := self.find(queue)) is not None:
            reason = row.pause_reason or ""
        return self._tell(queue, QueuePaused(by=by, reason=reason))

    def resume(self, queue: str, by: str = "api") -> QueueState:
        """Begin a queue's jobs again."""
        return self._tell(queue, QueueResumed(by=by))

    def limit(self, queue: str, max_running: int | None, by: str = "api") -> QueueState:
        """Let at most so many of a queue's jobs run at once, over all workers; None: any number."""
        if max_running is not None and (type(max_running) is not int or max_running < 0):
            raise InvalidInput(f"a queue's limit is 0 or more, or None, not {max_running!r}")
        return self._tell(queue, QueueLimited(by=by, limit=max_running))

    def _tell(self, queue: str, event: Event) -> QueueState:
        if not isinstance(queue, str) or not queue or len(queue) > 200 or not queue.isprintable():
            raise InvalidInput(f"a queue's name is 1 to 200 printable characters, not {str(queue)[:80]!r}")
        self._before_command("queues").append(f"queue-{queue}", event)
        return self.get(queue)

    def find(self, queue: str) -> Queue | None:
        """What was said about a queue, or None."""
        table = self._fresh(QUEUES)
        with self._source.reader() as reader:
            return reader.load(table, [(queue,)]).get((queue,))

    def get(self, queue: str) -> QueueState:
        """How a queue stands. Raises NotFound where no job and no setting is of it."""
        found = [state for state in self.list() if state.queue == queue]
        if not found:
            raise NotFound(f"there is no queue {queue!r}", queue=queue)
        return found[0]

    def list(self) -> builtins.list[QueueState]:
        """Every queue that has jobs or settings, by name."""
        for projection in (QUEUES, COUNTS):
            self._fresh(projection)
        with self._source.reader() as reader:
            settings = {row.queue: row for row in reader.select(QUEUES.table)}
            tally = tally_of(reader, ("queue", "status"))
        counts: dict[str, dict[str, int]] = {name: {} for name in settings}
        for (name, status), jobs in tally.items():
            counts.setdefault(name, {})[status] = jobs
        return [_state(name, counts[name], settings.get(name) or Queue(name)) for name in sorted(counts)]


def _state(name: str, counts: dict[str, int], row: Queue) -> QueueState:
    queued, processing, held = (counts.get(status, 0) for status in ("queued", "processing", "held"))
    return QueueState(
        name, queued, processing, held, row.paused, row.paused_by, row.paused_at, row.pause_reason, row.max_running
    )
