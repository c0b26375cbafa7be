"""What the log adds up to."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import asdict

from eventlog.app import Log, Past
from eventlog.errors import InvalidQuery
from eventlog.events.agents import Outcome
from eventlog.events.runs import RunStatus
from eventlog.repositories.costing import Basis
from eventlog.repositories.statistics import By, ExecutionsBy, ExecutionStatistics, JobsBy, JobStatistics, RunStatistics
from eventlog.repositories.usage_statistics import (
    CostComparison,
    CostStatistics,
    TokensBy,
    TokenStatistics,
    ToolsBy,
    ToolStatistics,
)
from eventlog.web.operation import Moment, Operation, Query
from eventlog.web.projections import parse_version


class StatisticsQuery(Query, frozen=True, kw_only=True):
    """Which runs, by when they started (``since`` ≤ time < ``until``), and how they are grouped: `tz` is the zone of
    days, weeks and months.
    """

    by: By | None = None
    since: Moment | None = None
    until: Moment | None = None
    project_id: str | None = None
    program: str | None = None
    status: RunStatus | None = None
    tz: str = "UTC"


class JobStatisticsQuery(Query, frozen=True, kw_only=True):
    """Which jobs, by when they were enqueued, and how they are grouped."""

    by: JobsBy | None = None
    since: Moment | None = None
    until: Moment | None = None
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
    since: Moment | None = None
    until: Moment | None = None
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


class TokensQuery(Query, frozen=True, kw_only=True):
    """Which calls of models, by when they were answered, and how they are grouped: by one period of time, and names.

    ``basis`` is computed where costs that were reported are not to count.
    """

    by: list[TokensBy] | None = None
    since: Moment | None = None
    until: Moment | None = None
    model: str | None = None
    provider: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    basis: Basis = "reported"
    tz: str = "UTC"


class CostComparisonQuery(TokensQuery, frozen=True, kw_only=True):
    """Which versions of the log (positions, or times in ISO 8601), and which calls."""

    first: str
    last: str


class ToolsQuery(Query, frozen=True, kw_only=True):
    """Which calls of tools, by when they began, and how they are grouped."""

    by: list[ToolsBy] | None = None
    since: Moment | None = None
    until: Moment | None = None
    tool: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    outcome: Outcome | None = None
    tz: str = "UTC"


def token_statistics(ask: Log | Past, query: TokensQuery) -> list[TokenStatistics]:
    """Tokens of calls of models, and what they cost."""
    return ask.statistics.tokens(**_given(query))


def cost_statistics(ask: Log | Past, query: TokensQuery) -> list[CostStatistics]:
    """What calls of models cost, and on what grounds that is said."""
    return ask.statistics.cost(**_given(query))


def compare_cost(log: Log, query: CostComparisonQuery) -> CostComparison:
    """What calls of models cost as of two versions, and the events between that made the difference."""
    versions = {name: parse_version(log, getattr(query, name)) for name in ("first", "last")}
    return log.statistics.compare_cost(**{**_given(query), **versions})


def tool_statistics(ask: Log | Past, query: ToolsQuery) -> list[ToolStatistics]:
    """Calls of tools by outcome, and how long they took."""
    return ask.statistics.tools(**_given(query))


def _given(query: TokensQuery | ToolsQuery) -> dict[str, Any]:
    return {**asdict(query), "tz": zone(query.tz)}


OPERATIONS = (
    Operation("GET", "/api/statistics/runs", run_statistics),
    Operation("GET", "/api/statistics/jobs", job_statistics),
    Operation("GET", "/api/statistics/executions", execution_statistics),
    Operation("GET", "/api/statistics/tokens", token_statistics),
    Operation("GET", "/api/statistics/cost", cost_statistics),
    Operation("GET", "/api/statistics/cost/compare", compare_cost, slow=True),
    Operation("GET", "/api/statistics/tools", tool_statistics),
)
