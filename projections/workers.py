"""`workers`, `queues` and `schedules`: who does jobs, which queues are held back, and what is enqueued by the clock."""

from __future__ import annotations

from typing import Any, Literal

from msgspec.structs import replace

from eventlog.events.workers import (
    QueueLimited,
    QueuePaused,
    QueueResumed,
    ScheduleFired,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleSet,
    WorkerLost,
    WorkerStarted,
    WorkerStopped,
)
from eventlog.projection import Entity, Record, Row

WorkerStatus = Literal["running", "stopped", "lost"]


class Worker(Row, frozen=True):
    """A process that does jobs. Times are µs since the epoch, UTC."""

    worker_id: str
    status: WorkerStatus
    host: str | None
    machine_id: str | None
    boot_id: str | None
    pid: int | None
    pid_namespace: int | None
    process_started_ticks: int | None
    user: str | None
    lock_path: str | None
    lease_us: int
    queues: tuple[str, ...]
    kinds: tuple[str, ...]
    concurrency: int
    started_at: int
    ended_at: int | None = None
    reason: str | None = None


class Queue(Row, frozen=True):
    """A queue that somebody paused or limited; one that nobody touched has no row."""

    queue: str
    paused: bool = False
    paused_by: str | None = None
    paused_at: int | None = None
    pause_reason: str | None = None
    max_running: int | None = None


class Schedule(Row, frozen=True):
    """A job that is enqueued by the clock. ``since`` is when it was set or fired last, ``fired_at`` the time it fired
    for.
    """

    schedule: str
    cron: str
    time_zone: str
    kind: str
    queue: str
    args: dict[str, Any]
    options: dict[str, Any]
    paused: bool
    since: int
    fired_at: int | None = None
    fires: int = 0
    last_job_id: str | None = None


def evolve_worker(row: Worker | None, event: object, record: Record) -> Worker | None:
    """A worker after one more event."""
    match event:
        case WorkerStarted():
            return Worker(
                record.stream[7:],
                "running",
                event.host,
                event.machine_id,
                event.boot_id,
                event.pid,
                event.pid_namespace,
                event.process_started_ticks,
                event.user,
                event.lock_path,
                event.lease_us,
                event.queues,
                event.kinds,
                event.concurrency,
                record.occurred_at,
            )
        case WorkerStopped() if row is not None:
            return replace(row, status="stopped", ended_at=record.occurred_at, reason=event.reason)
        case WorkerLost() if row is not None and row.status == "running":
            return replace(row, status="lost", ended_at=record.occurred_at, reason=event.evidence)
    return row


def evolve_queue(row: Queue | None, event: object, record: Record) -> Queue | None:
    """A queue after one more event."""
    queue = row or Queue(record.stream[6:])
    match event:
        case QueuePaused():
            return replace(
                queue, paused=True, paused_by=event.by, paused_at=record.occurred_at, pause_reason=event.reason
            )
        case QueueResumed():
            return replace(queue, paused=False, paused_by=None, paused_at=None, pause_reason=None)
        case QueueLimited():
            return replace(queue, max_running=event.limit)
    return row


def evolve_schedule(row: Schedule | None, event: object, record: Record) -> Schedule | None:
    """A schedule after one more event."""
    match event:
        case ScheduleSet():
            made = Schedule(
                record.stream[9:],
                event.cron,
                event.time_zone,
                event.kind,
                event.queue,
                event.args,
                event.options,
                False,
                record.occurred_at,
            )
            if row is None:
                return made
            return replace(made, fired_at=row.fired_at, fires=row.fires, last_job_id=row.last_job_id)
        case ScheduleFired() if row is not None:
            return replace(
                row, since=event.fire_time, fired_at=event.fire_time, fires=row.fires + 1, last_job_id=event.job_id
            )
        case SchedulePaused() if row is not None:
            return replace(row, paused=event.paused, since=max(row.since, record.occurred_at))
        case ScheduleRemoved():
            return None
    return row


projections = (
    Entity(
        "workers",
        version=1,
        row=Worker,
        category="worker",
        types=(WorkerStarted, WorkerStopped, WorkerLost),
        evolve=evolve_worker,
        indexes=(("status", "worker_id"),),
    ),
    Entity(
        "queues",
        version=1,
        row=Queue,
        category="queue",
        types=(QueuePaused, QueueResumed, QueueLimited),
        evolve=evolve_queue,
    ),
    Entity(
        "schedules",
        version=1,
        row=Schedule,
        category="schedule",
        types=(ScheduleSet, ScheduleFired, SchedulePaused, ScheduleRemoved),
        evolve=evolve_schedule,
    ),
)
