"""What the log adds up to."""

from __future__ import annotations

from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from eventlog.app import Log, Past
from eventlog.errors import InvalidQuery
from eventlog.events.base import Int64
from eventlog.events.runs import RunStatus
from eventlog.repositories.statistics import By, ExecutionsBy, ExecutionStatistics, JobsBy, JobStatistics, RunStatistics
from eventlog.web.operation import Operation, Query


class StatisticsQuery(Query, frozen=True, kw_only=True):
    """Which runs, by when they started (``since`` ≤ time < ``until``), and how they are grouped: `tz` is the zone of
    days, weeks and months.
    """

    by: By | None = None
    since: Int64 | None = None
    until: Int64 | None = None
    project_id: str | None = None
    program: str | None = None
    status: RunStatus | None = None
    tz: str = "UTC"


class JobStatisticsQuery(Query, frozen=True, kw_only=True):
    """Which jobs, by when they were enqueued, and how they are grouped."""

    by: JobsBy | None = None
    since: Int64 | None = None
    until: Int64 | None = None
    queue: str | None = None
    kind: str | None = None
    tz: str = "UTC"


def run_statistics(ask: Log | Past, query: StatisticsQuery) -> list[RunStatistics]:
    """Counts, success rates and percentiles of runs."""
    return ask.statistics.runs(
        by=query.by,
        since=query.since,
        until=query.until,
        project_id=query.project_id,
        program=query.program,
        status=query.status,
        tz=zone(query.tz),
    )


def job_statistics(ask: Log | Past, query: JobStatisticsQuery) -> list[JobStatistics]:
    """Counts, success rates, waits and durations of jobs."""
    return ask.statistics.jobs(
        by=query.by, since=query.since, until=query.until, queue=query.queue, kind=query.kind, tz=zone(query.tz)
    )


class ExecutionStatisticsQuery(Query, frozen=True, kw_only=True):
    """Which executions, by when they started, and how they are grouped."""

    by: ExecutionsBy | None = None
    since: Int64 | None = None
    until: Int64 | None = None
    problem_name: str | None = None
    language: str | None = None
    status: str | None = None
    tz: str = "UTC"


def execution_statistics(ask: Log | Past, query: ExecutionStatisticsQuery) -> list[ExecutionStatistics]:
    """Counts, rates of accepted ones and percentiles of executions."""
    return ask.statistics.executions(
        by=query.by,
        since=query.since,
        until=query.until,
        problem_name=query.problem_name,
        language=query.language,
        status=query.status,
        tz=zone(query.tz),
    )


def zone(name: str) -> tzinfo:
    """A zone of the tz database. Raises InvalidQuery."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:
        raise InvalidQuery(f"{name[:80]!r} is not a time zone: use UTC or a name like Europe/Berlin") from error


OPERATIONS = (
    Operation("GET", "/api/statistics/runs", run_statistics),
    Operation("GET", "/api/statistics/jobs", job_statistics),
    Operation("GET", "/api/statistics/executions", execution_statistics),
)
