"""Schedules: jobs that are enqueued again and again, by the clock. The server itself fires them."""

from __future__ import annotations

from typing import Any

from eventlog.app import Log, Past
from eventlog.errors import InvalidInput
from eventlog.web.jobs import Why
from eventlog.web.operation import Operation
from eventlog.wire import By, NewSchedule
from projections.workers import Schedule


def list_schedules(ask: Log | Past) -> list[Schedule]:
    """Every schedule, by name."""
    return ask.schedules.list()


def get_schedule(ask: Log | Past, schedule: str) -> Schedule:
    """A schedule."""
    return ask.schedules.get(schedule)


def set_schedule(log: Log, body: NewSchedule) -> Schedule:
    """Set a schedule, or change it: from now on a job is enqueued at the times of a cron expression."""
    return log.schedules.set(
        body.schedule,
        body.cron,
        body.kind,
        body.args,
        queue=body.queue,
        time_zone=body.time_zone,
        by=body.by,
        **_options(body),
    )


def _options(body: NewSchedule) -> dict[str, Any]:
    # The others have names of their own here, and would be given twice.
    if taken := {"schedule", "cron", "kind", "args", "queue", "time_zone", "by"} & set(body.options):
        raise InvalidInput(f"{sorted(taken)[0]!r} is no option of a schedule's jobs")
    return body.options


def pause_schedule(log: Log, schedule: str, body: By) -> Schedule:
    """Do not fire any more until it is resumed."""
    return log.schedules.pause(schedule, body.by)


def resume_schedule(log: Log, schedule: str, body: By) -> Schedule:
    """Fire again; times that went by meanwhile do not count as missed."""
    return log.schedules.resume(schedule, body.by)


def remove_schedule(log: Log, schedule: str, query: Why) -> None:
    """Forget a schedule; its jobs stay."""
    log.schedules.remove(schedule, reason=query.reason)


SCHEDULE = "/api/schedules/{schedule:path}"
OPERATIONS = (
    Operation("GET", "/api/schedules", list_schedules),
    Operation("POST", "/api/schedules", set_schedule),
    Operation("POST", f"{SCHEDULE}/pause", pause_schedule),
    Operation("POST", f"{SCHEDULE}/resume", resume_schedule),
    Operation("GET", SCHEDULE, get_schedule),
    Operation("DELETE", SCHEDULE, remove_schedule, status=204),
)
