"""What can happen to those who do jobs, to queues and to schedules.

Streams: ``worker-<worker_id>`` (a new UUID at every start), ``queue-<queue>``, ``schedule-<schedule>``. Heartbeats are
no events.
"""

from __future__ import annotations

from typing import Any

from eventlog.events.base import Event, Int64


class WorkerStarted(Event, frozen=True, kw_only=True, tag="worker.started"):
    """A process is ready to do jobs, and how anyone can tell later whether it lives."""

    host: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    pid: Int64 | None = None
    pid_namespace: Int64 | None = None
    process_started_ticks: Int64 | None = None
    """Start time of the process in clock ticks since boot: /proc/<pid>/stat, field 22."""
    user: str | None = None
    lock_path: str | None = None
    """A file that it keeps locked as long as it lives."""
    lease_us: Int64 = 30_000_000
    queues: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    concurrency: Int64 = 1


class WorkerStopped(Event, frozen=True, kw_only=True, tag="worker.stopped"):
    """It ended in good order."""

    reason: str = ""


class WorkerLost(Event, frozen=True, kw_only=True, tag="worker.lost"):
    """Somebody found that it is gone, and why he thinks so."""

    rung: str
    evidence: str


class QueuePaused(Event, frozen=True, kw_only=True, tag="queue.paused"):
    """No job of the queue is begun until it is resumed."""

    by: str
    reason: str = ""


class QueueResumed(Event, frozen=True, kw_only=True, tag="queue.resumed"):
    """Its jobs are begun again."""

    by: str


class QueueLimited(Event, frozen=True, kw_only=True, tag="queue.limited"):
    """At most so many of its jobs run at once, over all workers; None: as many as there are workers."""

    by: str
    limit: Int64 | None = None


class ScheduleSet(Event, frozen=True, kw_only=True, tag="schedule.set"):
    """A job that is enqueued again and again, at the times of a cron expression in a time zone."""

    cron: str
    kind: str
    queue: str = "default"
    args: dict[str, Any] = {}
    time_zone: str = "UTC"
    options: dict[str, Any] = {}
    """Further fields of `JobEnqueued`."""
    by: str = ""


class ScheduleFired(Event, frozen=True, kw_only=True, tag="schedule.fired"):
    """Its time came, and this job was enqueued. ``missed``: how many earlier times went by while nobody looked."""

    fire_time: Int64
    job_id: str
    missed: Int64 = 0


class SchedulePaused(Event, frozen=True, kw_only=True, tag="schedule.paused"):
    """It does not fire, or (``paused`` false) fires again."""

    by: str
    paused: bool = True


class ScheduleRemoved(Event, frozen=True, kw_only=True, tag="schedule.removed"):
    """It is gone; the jobs it enqueued stay."""

    by: str
    reason: str = ""


WORKER_EVENTS: tuple[type[Event], ...] = (
    WorkerStarted,
    WorkerStopped,
    WorkerLost,
    QueuePaused,
    QueueResumed,
    QueueLimited,
    ScheduleSet,
    ScheduleFired,
    SchedulePaused,
    ScheduleRemoved,
)
WorkerEvent = (
    WorkerStarted
    | WorkerStopped
    | WorkerLost
    | QueuePaused
    | QueueResumed
    | QueueLimited
    | ScheduleSet
    | ScheduleFired
    | SchedulePaused
    | ScheduleRemoved
)
