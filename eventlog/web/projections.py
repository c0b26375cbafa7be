"""The tables computed from the events: how they stand, rebuild, roll back, resume, and what differs."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from msgspec import Meta

from eventlog.app import Log
from eventlog.errors import InvalidQuery
from eventlog.projection.manager import Explanation as Explained
from eventlog.web.operation import Operation, Query, from_iso
from eventlog.wire import Difference, Explanation, Names, ProjectionStatus, Rollback, RowDiff, Step

MOST_DIFFERENCES = 10_000


class NamesQuery(Query, frozen=True, kw_only=True):
    """Which projections; none named: all."""

    names: list[str] | None = None


class DiffQuery(Query, frozen=True, kw_only=True):
    """Two versions (positions, or times in ISO 8601), which tables, and how many rows at most."""

    first: str
    last: str
    names: list[str] | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_DIFFERENCES)] = 100


class KeyQuery(Query, frozen=True, kw_only=True):
    """The key of a row; repeated where it has several parts."""

    key: list[str]


def parse_version(log: Log, version: int | str) -> int:
    """The position that a version means; a time without an offset is in UTC. Raises InvalidQuery."""
    if isinstance(version, str) and not version.isdecimal():
        try:
            when = from_iso(version)
        except ValueError as error:
            raise InvalidQuery(f"a version is a position or a time in ISO 8601, not {version[:80]!r}") from error
        try:
            return log.projections.version(when)
        except OverflowError as error:
            raise InvalidQuery(f"{version[:80]!r} is no time that the log can hold") from error
    if isinstance(version, str) and len(version) > 19:
        raise InvalidQuery(f"there is no version {version[:80]}")
    return log.projections.version(version)


def projections_status(log: Log) -> list[ProjectionStatus]:
    """How every projection stands."""
    return [ProjectionStatus(*one) for one in log.projections.status()]


def rebuild_projections(log: Log, body: Names) -> list[ProjectionStatus]:
    """Make tables anew from the events; pinned ones up to where they are pinned."""
    log.projections.rebuild(body.names)
    return projections_status(log)


def rollback_projections(log: Log, body: Rollback) -> list[ProjectionStatus]:
    """Take tables back to a version and pin them there. The events stay."""
    log.projections.rollback(parse_version(log, body.to), body.names)
    return projections_status(log)


def resume_projections(log: Log, body: Names) -> list[ProjectionStatus]:
    """Let pinned projections go on, and failed ones try again, and bring them to the head."""
    log.projections.resume(body.names)
    return projections_status(log)


def diff_projections(log: Log, query: DiffQuery) -> list[RowDiff]:
    """Rows that differ between two versions, table by table, and the events that did it."""
    first, last = parse_version(log, query.first), parse_version(log, query.last)
    return [RowDiff(*one) for one in islice(log.projections.diff(first, last, query.names), query.limit)]


def verify_projections(log: Log, query: NamesQuery) -> list[Difference]:
    """Compare tables with a fresh fold of the log; an empty array: they are what the events say."""
    return [Difference(*one) for one in log.projections.verify(query.names)]


def explain_row(log: Log, table: str, query: KeyQuery) -> Explanation:
    """The events behind one row of a table, and which column each one set."""
    found: Explained = log.projections.explain(table, tuple(query.key))
    steps = [Step(*step) for step in found.steps]
    return Explanation(found.table, found.key, found.row, steps, found.sources)


OPERATIONS = (
    Operation("GET", "/api/projections", projections_status, cached=False),
    Operation("POST", "/api/projections/rebuild", rebuild_projections, slow=True),
    Operation("POST", "/api/projections/rollback", rollback_projections, slow=True),
    Operation("POST", "/api/projections/resume", resume_projections, slow=True),
    Operation("GET", "/api/projections/diff", diff_projections, slow=True),
    Operation("GET", "/api/projections/verify", verify_projections, slow=True),
    Operation("GET", "/api/projections/{table}/explain", explain_row, cached=False),
)
