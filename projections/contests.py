"""`contests` and `problems`: one row per contest, one per problem."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from eventlog.events.executions import (
    MAX_NAME,
    ContestAdded,
    ContestDeleted,
    ContestUpdated,
    ProblemAdded,
    ProblemDeleted,
    ProblemUpdated,
)
from eventlog.projection import Entity, Record, Row


class Contest(Row, frozen=True):
    """A contest. Times are µs since the epoch, UTC; ``created_at`` and ``updated_at`` are the log's to say."""

    contest_id: str
    name: str
    url: str | None = None
    platform: str | None = None
    starts_at: int | None = None
    ends_at: int | None = None
    note: str = ""
    created_at: int = 0
    updated_at: int = 0


class ContestProblem(Row, frozen=True):
    """A problem, of a contest or of none. ``created_at`` and ``updated_at`` are µs, and the log's to say."""

    problem_id: str
    name: str
    contest_id: str | None = None
    url: str | None = None
    time_limit_us: int | None = None
    memory_limit_bytes: int | None = None
    created_at: int = 0
    updated_at: int = 0


def given(event: Any) -> dict[str, Any]:
    """The fields of an event that says what changes."""
    return {name: value for name in event.__struct_fields__ if (value := getattr(event, name)) is not UNSET}


def evolve_contest(row: Contest | None, event: Any, record: Record) -> Contest | None:
    """A contest after one more event; a deleted one has no row."""
    now = record.recorded_at
    match event:
        case ContestAdded():
            return Contest(
                record.stream.partition("-")[2],
                event.name,
                event.url,
                event.platform,
                event.starts_at,
                event.ends_at,
                event.note,
                row.created_at if row else now,
                now,
            )
        case ContestUpdated() if row is not None:
            return replace(row, **given(event), updated_at=now)
        case ContestDeleted():
            return None
    return row


def evolve_problem(row: ContestProblem | None, event: Any, record: Record) -> ContestProblem | None:
    """A problem after one more event; a deleted one has no row."""
    now = record.recorded_at
    match event:
        # A longer id would not fit the index.
        case ProblemAdded() if len(record.stream) <= MAX_NAME + len("problem-"):
            return ContestProblem(
                record.stream.partition("-")[2],
                event.name,
                event.contest_id,
                event.url,
                event.time_limit_us,
                event.memory_limit_bytes,
                row.created_at if row else now,
                now,
            )
        case ProblemUpdated() if row is not None:
            return replace(row, **given(event), updated_at=now)
        case ProblemDeleted():
            return None
    return row


projections = (
    Entity(
        "contests",
        version=1,
        row=Contest,
        category="contest",
        types=(ContestAdded, ContestUpdated, ContestDeleted),
        evolve=evolve_contest,
        indexes=(("starts_at",),),
    ),
    Entity(
        "problems",
        version=1,
        row=ContestProblem,
        category="problem",
        types=(ProblemAdded, ProblemUpdated, ProblemDeleted),
        evolve=evolve_problem,
        indexes=(("contest_id", "problem_id"), ("name",)),
    ),
)
