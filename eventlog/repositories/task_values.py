"""A task's columns as programs give them: checked, and times as µs, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from eventlog.clock import from_datetime
from eventlog.errors import InvalidInput, InvalidName, NotFound
from eventlog.events.tasks import TaskCreated, TaskStatisticsAdded, TaskUpdated
from projections.tasks import Task

COLUMNS: tuple[str, ...] = Task.__struct_fields__
TIMES = ("created_at", "started_at", "completed_at")
COUNTS = {
    "llm_call_count": "llm_calls",
    "tool_call_count": "tool_calls",
    "total_tokens": "tokens",
    "compression_count": "compressions",
}
"""Columns that are sums, and what adds to them."""
CREATED: tuple[str, ...] = TaskCreated.__struct_fields__
UPDATED: tuple[str, ...] = TaskUpdated.__struct_fields__
REQUIRED = ("task_source", "owner", "repo", "task_type", "task_id")
_RESERVED = ("count", ".", "..")


def checked_uuid(given: object) -> str:
    """What names a task: most are UUIDs. Raises InvalidName for what cannot stand in a stream's name or a path."""
    text = str(given)
    if not 0 < len(text) <= 200 or not text.isprintable() or text != text.strip() or "/" in text or text in _RESERVED:
        raise InvalidName(f"uuid: 1 to 200 printable characters without '/', and not {text[:80]!r}", field="uuid")
    return text


def checked_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """Columns by name, times as µs since the epoch. Raises InvalidInput for a column that there is not, a time that is
    none, a sum that is no integer of 0 or more.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput(f"a task is given as a mapping of its columns, not as {type(given).__name__}")
    for name in given:
        if name not in COLUMNS:
            raise InvalidInput(f"a task has no column {str(name)[:80]!r}; it has {', '.join(COLUMNS)}", field=name)
    columns = {name: value for name, value in given.items() if value is not None or name not in COUNTS}
    for name in TIMES:
        if name in columns:
            columns[name] = as_time(name, columns[name])
    for name in COUNTS:
        if name in columns:
            columns[name] = checked_count(name, columns[name])
    if "status" in columns:
        columns["status"] = checked_status(columns["status"])
    return columns


def as_time(field: str, given: object) -> int | None:
    """A time as µs since the epoch: of an integer, a datetime, or text in ISO 8601 (without an offset: local time).

    Raises InvalidInput.
    """
    if given is None or (type(given) is int and -(2**53) < given < 2**53):
        return given
    try:
        if isinstance(given, str):
            return from_datetime(datetime.fromisoformat(given.strip()))
        if isinstance(given, datetime):
            return from_datetime(given)
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidInput(
        f"{field} is a time: µs since the epoch, a datetime or text in ISO 8601, not {str(given)[:80]!r}", field=field
    )


def checked_count(field: str, given: object) -> int:
    """A number of things. Raises InvalidInput."""
    if type(given) is not int or not 0 <= given < 2**53:
        raise InvalidInput(f"{field} is an integer of 0 or more, not {str(given)[:80]!r}", field=field)
    return given


def checked_status(given: object) -> str:
    """The word for a state. Raises InvalidInput."""
    if not isinstance(given, str) or not 0 < len(given) <= 200 or not given.isprintable():
        raise InvalidInput(f"status is 1 to 200 printable characters, not {str(given)[:80]!r}", field="status")
    return given


def sums(columns: Mapping[str, int], before: Task | None = None) -> TaskStatisticsAdded | None:
    """What has to be added so that the sums are these; None where they are already."""
    added = {
        name: columns[column] - (0 if before is None else getattr(before, column))
        for column, name in COUNTS.items()
        if column in columns
    }
    return TaskStatisticsAdded(**added) if any(added.values()) else None


def no_task(uuid: object) -> NotFound:
    """What there is to say of a task that is not in the table."""
    return NotFound(
        f"there is no task {str(uuid)[:80]!r}, or it was deleted; `eventlog tasks list` shows them all", uuid=uuid
    )
