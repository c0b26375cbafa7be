"""Queues, and those who do their jobs."""

from __future__ import annotations

from typing import Any

import msgspec

from eventlog.app import Log, Past
from eventlog.errors import NotFound, WrongExpectedVersion
from eventlog.events.workers import WorkerStarted
from eventlog.repositories.workers import QueueState
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import Beat, By, Limit, NewWorker, Reason
from projections.workers import Worker, WorkerStatus


class WorkersQuery(Query, frozen=True, kw_only=True):
    """Which workers, the newest first; ``before`` is a worker's id."""

    status: WorkerStatus | None = None
    before: str | None = None
    limit: Rows = 50
    offset: Offset = 0


def list_queues(ask: Log | Past) -> list[QueueState]:
    """Every queue that has jobs or settings, by name."""
    return ask.queues.list()


def get_queue(ask: Log | Past, queue: str) -> QueueState:
    """How a queue stands."""
    return ask.queues.get(queue)


def pause_queue(log: Log, queue: str, body: By) -> QueueState:
    """Begin no job of a queue any more; what runs goes on."""
    return log.queues.pause(queue, body.by, body.reason)


def resume_queue(log: Log, queue: str, body: By) -> QueueState:
    """Begin a queue's jobs again."""
    return log.queues.resume(queue, body.by)


def limit_queue(log: Log, queue: str, body: Limit) -> QueueState:
    """Let at most so many of a queue's jobs run at once, over all workers."""
    return log.queues.limit(queue, body.max_running, body.by)


def register_worker(log: Log, body: NewWorker) -> Worker:
    """Register a worker. From then on it has to say that it lives, more often than ``lease_us``."""
    fields = msgspec.structs.asdict(body)
    worker_id = fields.pop("worker_id")
    return log.workers.get(log.workers.start(WorkerStarted(**fields), worker_id))


def list_workers(ask: Log | Past, query: WorkersQuery) -> list[Worker]:
    """Workers, the newest first."""
    return ask.workers.list(status=query.status, before=query.before, limit=query.limit, offset=query.offset)


def list_silences(log: Log) -> dict[str, int]:
    """How long ago each worker said that it lives, µs by the clock of the database."""
    return log.workers.silences()


def get_worker(ask: Log | Past, worker_id: str) -> Worker:
    """A worker."""
    return ask.workers.get(worker_id)


def beat_worker(log: Log, worker_id: str) -> Beat:
    """Say that a worker lives. ``alive`` false: it was taken for lost, and what it had was given to others."""
    if not log.workers.beat(worker_id):
        return Beat(False, [])
    mine = log.jobs.list(status="processing", worker_id=worker_id, limit=None)
    return Beat(True, [job.job_id for job in mine if job.cancel_requested_by is not None])


def stop_worker(log: Log, worker_id: str, body: Reason) -> None:
    """A worker ended in good order."""
    try:
        log.workers.stop(worker_id, body.reason)
    except WrongExpectedVersion as error:
        raise NotFound(f"there is no worker {worker_id}", worker_id=worker_id) from error


def _next_page(query: WorkersQuery, workers: list[Worker]) -> dict[str, Any] | None:
    return {"before": workers[-1].worker_id} if len(workers) == query.limit else None


WORKER = "/api/workers/{worker_id}"
QUEUE = "/api/queues/{queue:path}"
OPERATIONS = (
    Operation("POST", f"{WORKER}/beat", beat_worker),
    Operation("GET", "/api/queues", list_queues),
    Operation("POST", f"{QUEUE}/pause", pause_queue),
    Operation("POST", f"{QUEUE}/resume", resume_queue),
    Operation("POST", f"{QUEUE}/limit", limit_queue),
    Operation("GET", QUEUE, get_queue),
    Operation("GET", "/api/workers", list_workers, follows=_next_page),
    Operation("POST", "/api/workers", register_worker, status=201),
    Operation("GET", "/api/workers/silences", list_silences, cached=False),
    Operation("GET", WORKER, get_worker),
    Operation("POST", f"{WORKER}/stop", stop_worker, status=204),
)
