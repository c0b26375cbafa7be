"""What recorders and workers elsewhere have to know or to say when something was lost: a connection, or a worker."""

from __future__ import annotations

from eventlog.app import Log
from eventlog.errors import NotFound
from eventlog.store.base import Record
from eventlog.web.operation import Operation
from eventlog.wire import Crash, Loss, StoredRecord, Told
from projections.jobs import Job


def get_event_with_key(log: Log, key: str) -> StoredRecord:
    """The record that carries an idempotency key: what was said with it is in the log."""
    with log.reader() as reader:
        row = reader.record_with_key(key)
    if row is None:
        raise NotFound(f"no record has the key {key!r}", key=key)
    return StoredRecord.of(Record(*row))


def crash_jobs(log: Log, body: Crash) -> list[Job]:
    """Take jobs from workers that are gone: those that are still these claims'. Whoever says it first is heard."""
    return log.jobs.crash([(one.job_id, one.token) for one in body.claims], body.rung, body.evidence)


def lose_worker(log: Log, worker_id: str, body: Loss) -> Told:
    """Say that a worker is gone. ``told`` false: somebody else said so, or it stopped."""
    return Told(log.workers.lost(worker_id, body.rung, body.evidence))


OPERATIONS = (
    Operation("GET", "/api/keys/{key:path}", get_event_with_key, cached=False),
    Operation("POST", "/api/jobs/crash", crash_jobs),
    Operation("POST", "/api/workers/{worker_id}/lost", lose_worker),
)
