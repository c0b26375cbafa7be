"""`executions`: one row per execution, and what they add up to by hour and day × problem × language × status.

An execution counts in the hour and day (UTC) in which it started.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from eventlog.events.executions import (
    MAX_NAME,
    MAX_SPAN_US,
    ExecutionDeleted,
    ExecutionFinished,
    ExecutionStarted,
    ExecutionUpdated,
)
from eventlog.projection import Entity, Record, Rollup, Row, bin_of
from projections.run_statistics import DAY_US, HOUR_US

RUNNING = "running"
OUTPUTS = ("stdout", "stderr")


class Execution(Row, frozen=True):
    """An execution. Times are µs since the epoch, UTC. What it wrote is in the records at ``stdout_position`` and
    ``stderr_position``; ``stdout_bytes`` and ``stderr_bytes`` are how long that was, also where only its end is kept.
    """

    id: str
    problem_name: str
    language: str
    status: str
    started_at: int
    finished_at: int | None
    exit_code: int | None
    duration_us: int | None
    stdout_bytes: int
    stderr_bytes: int
    stdout_position: int | None
    stderr_position: int | None
    problem_id: str | None
    contest_id: str | None
    container_id: str | None
    command: str | None


class ExecutionStatistic(Row, frozen=True):
    """Executions of one hour or day. ``duration_us`` is a sum over those that ended."""

    period: str
    bucket_start: int
    problem_name: str
    language: str
    status: str
    executions: int
    duration_us: int


class ExecutionDuration(Row, frozen=True):
    """How many executions of one hour or day lasted as long as a bin says (`eventlog.projection.histogram`, µs)."""

    period: str
    bucket_start: int
    problem_name: str
    language: str
    status: str
    bin: int
    executions: int


def _started(event: ExecutionStarted, record: Record) -> Execution | None:
    name = record.stream.partition("-")[2]
    if len(name) > MAX_NAME:
        return None  # it would not fit the indexes
    return Execution(
        name,
        event.problem_name,
        event.language,
        RUNNING,
        record.occurred_at,
        None,
        None,
        None,
        0,
        0,
        None,
        None,
        event.problem_id,
        event.contest_id,
        event.container_id,
        event.command,
    )


def _finished(row: Execution, event: ExecutionFinished, record: Record) -> Execution:
    took = min(max(0, record.occurred_at - row.started_at), MAX_SPAN_US)
    return replace(
        row,
        status=event.status,
        finished_at=record.occurred_at,
        exit_code=event.exit_code,
        duration_us=took if event.duration_us is None else event.duration_us,
        stdout_bytes=event.stdout_bytes,
        stderr_bytes=event.stderr_bytes,
        stdout_position=record.position,
        stderr_position=record.position,
    )


def _updated(row: Execution, event: ExecutionUpdated, record: Record) -> Execution:
    changes = {
        name: value
        for name in event.__struct_fields__
        if name not in OUTPUTS and (value := getattr(event, name)) is not UNSET
    }
    for name in OUTPUTS:
        if getattr(event, name) is not UNSET:
            changes[f"{name}_position"] = record.position
    return replace(row, **changes)


def evolve(row: Execution | None, event: Any, record: Record) -> Execution | None:
    """An execution after one more event; the first start and the first end count, a deleted one has no row."""
    match event:
        case ExecutionStarted():
            return _started(event, record) if row is None else row
        case ExecutionFinished() if row is not None:
            return _finished(row, event, record) if row.status == RUNNING else row
        case ExecutionUpdated() if row is not None:
            return _updated(row, event, record)
        case ExecutionDeleted():
            return None
    return row


def statistics(row: Execution) -> Iterable[tuple[tuple[str, int, str, str, str], tuple[int, int]]]:
    """What an execution adds to the statistics."""
    rest, numbers = (row.problem_name, row.language, row.status), (1, row.duration_us or 0)
    at = row.started_at
    return [(("hour", at - at % HOUR_US, *rest), numbers), (("day", at - at % DAY_US, *rest), numbers)]


def durations(row: Execution) -> Iterable[tuple[tuple[str, int, str, str, str, int], tuple[int]]]:
    """What an execution adds to the histogram of durations: nothing while it has none."""
    if row.duration_us is None:
        return []
    rest = (row.problem_name, row.language, row.status, bin_of(row.duration_us))
    at = row.started_at
    return [(("hour", at - at % HOUR_US, *rest), (1,)), (("day", at - at % DAY_US, *rest), (1,))]


projections = (
    Entity(
        "executions",
        version=1,
        row=Execution,
        category="execution",
        types=(ExecutionStarted, ExecutionFinished, ExecutionUpdated, ExecutionDeleted),
        evolve=evolve,
        # Each ends in the order in which answers come, so that a question with a limit reads no more than it gives.
        indexes=(
            ("problem_name", "status", "started_at", "id"),
            ("problem_name", "started_at", "id"),
            ("contest_id", "started_at", "id"),
            ("language", "started_at", "id"),
            ("status", "started_at", "id"),
            ("started_at", "id"),
        ),
    ),
    Rollup(
        "execution_statistics",
        version=1,
        row=ExecutionStatistic,
        source="executions",
        measures=("executions", "duration_us"),
        contribute=statistics,
    ),
    Rollup(
        "execution_durations",
        version=1,
        row=ExecutionDuration,
        source="executions",
        measures=("executions",),
        contribute=durations,
    ),
)
