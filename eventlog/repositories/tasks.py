"""`log.tasks`: what an agent was asked to do, and what doing it took.

A task that is not there is no error: it gives None or False, and nothing is appended.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import UNSET

from eventlog.errors import Conflict, InvalidInput
from eventlog.events import Event
from eventlog.events.tasks import TaskCreated, TaskDeleted, TaskStatisticsAdded, TaskStatusChanged, TaskUpdated
from eventlog.ids import uuid7
from eventlog.log import Tx, When
from eventlog.repositories.entities import begins
from eventlog.repositories.task_calls import TASKS, TaskCalls, stream_of
from eventlog.repositories.task_values import (
    COUNTS,
    CREATED,
    REQUIRED,
    TIMES,
    UPDATED,
    as_time,
    checked_columns,
    checked_count,
    checked_status,
    checked_uuid,
    no_task,
    sums,
)
from eventlog.store.base import Filter, Record
from projections.tasks import Task

T = TypeVar("T")


class TasksRepository(TaskCalls):
    """Commands and queries for tasks."""

    def create(self, task_data: Mapping[str, Any] | None = None, **fields: Any) -> Task:
        """A new task, of a mapping of its columns or of keywords. Times are µs since the epoch, datetimes, or ISO 8601.

        ``task_source``, ``owner``, ``repo``, ``task_type`` and ``task_id`` are required; ``uuid`` is made where it is
        not given, ``status`` is running. Raises Conflict where there is a task of this uuid; InvalidInput, InvalidEvent
        and InvalidName, which name the column.
        """
        columns = checked_columns({**(task_data or {}), **fields})
        for name in REQUIRED:
            if name not in columns:
                raise InvalidInput(f"a task needs its {name}", field=name)
        uuid = checked_uuid(columns.get("uuid") or uuid7())
        told: builtins.list[Event] = [TaskCreated(**{name: columns[name] for name in CREATED if name in columns})]
        if (statistics := sums(columns)) is not None:
            told.append(statistics)
        log = self._log
        prepared = log.prepare(stream_of(uuid), told)

        def work(tx: Tx) -> None:
            if self._row(tx, uuid) is not None:
                raise Conflict(f"there is a task {uuid!r} already", uuid=uuid)
            tx.transaction.append(prepared)

        log.decide(work)
        return self.get(uuid)

    def update(self, uuid: str, updates: Mapping[str, Any]) -> Task | None:
        """Set columns of a task; those not given stay. A sum that is given is the sum from now on.

        What is there already is not said again. Raises InvalidInput, InvalidEvent; None where there is no such task.
        """
        columns = checked_columns(updates)
        if str(columns.pop("uuid", uuid)) != str(uuid):
            raise InvalidInput("uuid: a task keeps the one that it has", field="uuid")
        if not columns:
            raise InvalidInput(f"say what to update: status, {', '.join((*UPDATED, *COUNTS))}")
        self._log.codec.encode(TaskUpdated(**{name: columns[name] for name in UPDATED if name in columns}))

        def work(tx: Tx, row: Task) -> None:
            if told := changes(row, columns):
                tx.append(stream_of(uuid), told)

        return self.get_by_uuid(uuid) if self._decide(uuid, work) else None

    def update_status(
        self, uuid: str, status: str, error_message: str | None = None, *, occurred_at: When | str = None
    ) -> bool:
        """The task is in another state: ``completed``, ``failed`` and ``stopped`` are its end, ``running`` its start
        where it had none. False where there is no such task. Raises InvalidInput, InvalidEvent.
        """
        told = TaskStatusChanged(status=checked_status(status), error_message=error_message)
        return self._tell(uuid, told, as_time("occurred_at", occurred_at))

    def update_statistics(
        self, uuid: str, llm_calls: int = 0, tool_calls: int = 0, tokens: int = 0, compressions: int = 0
    ) -> bool:
        """Add what somebody counted, and what no call that was recorded stands for. False where there is no such task.

        Raises InvalidInput for a number below 0.
        """
        told = TaskStatisticsAdded(
            llm_calls=checked_count("llm_calls", llm_calls),
            tool_calls=checked_count("tool_calls", tool_calls),
            tokens=checked_count("tokens", tokens),
            compressions=checked_count("compressions", compressions),
        )
        return self._tell(uuid, told)

    def complete(self, uuid: str) -> bool:
        """The task is done. False where there is no such task."""
        return self.update_status(uuid, "completed")

    def fail(self, uuid: str, error_message: str) -> bool:
        """The task failed. False where there is no such task."""
        return self.update_status(uuid, "failed", error_message)

    def stop(self, uuid: str) -> bool:
        """The task was stopped. False where there is no such task."""
        return self.update_status(uuid, "stopped")

    def delete(self, uuid: str) -> bool:
        """Take a task out of the table; its events stay. False where there is no such task."""
        return self._tell(uuid, TaskDeleted())

    # queries

    def get_by_uuid(self, uuid: str) -> Task | None:
        """A task, or None."""
        table = self._fresh(TASKS)
        key = (str(uuid),)
        with self._source.reader() as reader:
            return reader.load(table, [key]).get(key)

    def get(self, uuid: str) -> Task:
        """A task. Raises NotFound."""
        if (task := self.get_by_uuid(uuid)) is None:
            raise no_task(uuid)
        return task

    def list(
        self,
        *,
        status: str | None = None,
        user: str | None = None,
        task_source: str | None = None,
        owner: str | None = None,
        repo: str | None = None,
        prefix: str | None = None,
        limit: int | None = 50,
        offset: int = 0,
    ) -> builtins.list[Task]:
        """Tasks, the newest first; ``prefix`` begins the uuid. ``limit=None``: all there are."""
        where = _filters(status, user, task_source, owner, repo, prefix)
        table = self._fresh(TASKS)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("-created_at", "-uuid"), limit=limit, offset=offset)

    def count(
        self,
        *,
        status: str | None = None,
        user: str | None = None,
        task_source: str | None = None,
        owner: str | None = None,
        repo: str | None = None,
        prefix: str | None = None,
    ) -> int:
        """How many tasks `list` would give without a limit."""
        table = self._fresh(TASKS)
        with self._source.reader() as reader:
            return reader.count(table, _filters(status, user, task_source, owner, repo, prefix))

    def list_by_status(self, status: str, limit: int | None = 50, offset: int = 0) -> builtins.list[Task]:
        """Tasks in a state, the newest first."""
        return self.list(status=status, limit=limit, offset=offset)

    def list_by_user(self, user: str, limit: int | None = 50, offset: int = 0) -> builtins.list[Task]:
        """Tasks of a user, the newest first."""
        return self.list(user=user, limit=limit, offset=offset)

    def history(self, uuid: str) -> builtins.list[Record]:
        """Every record of a task's stream, also of one that was deleted. Raises NotFound."""
        records = list(self._source.read_stream(stream_of(uuid)))
        if not records:
            raise no_task(uuid)
        return records

    def _tell(self, uuid: str, event: Event, occurred_at: When = None) -> bool:
        """Append an event to a task that there is."""
        self._log.codec.encode(event)
        return (
            self._decide(uuid, lambda tx, row: tx.append(stream_of(uuid), event, occurred_at=occurred_at)) is not None
        )

    def _decide(self, uuid: str, work: Callable[[Tx, Task], T]) -> Any:
        return self._with(uuid, lambda tx, row: (work(tx, row),))


def changes(row: Task, columns: Mapping[str, Any]) -> builtins.list[Event]:
    """The events that make a row have these columns, which `checked_columns` has seen."""
    told: builtins.list[Event] = []
    status = columns.get("status", row.status)
    if status != row.status:
        told.append(TaskStatusChanged(status=status))
    # A change of state sets times by itself, so those that are given are said after it even where they were so before.
    again = (*TIMES, "error_message") if told else ()
    given = {
        name: columns[name] if name in columns and (name in again or columns[name] != getattr(row, name)) else UNSET
        for name in UPDATED
    }
    if any(value is not UNSET for value in given.values()):
        told.append(TaskUpdated(**given))
    if (statistics := sums({name: columns[name] for name in COUNTS if name in columns}, row)) is not None:
        told.append(statistics)
    return told


def _filters(
    status: str | None,
    user: str | None,
    task_source: str | None,
    owner: str | None,
    repo: str | None,
    prefix: str | None,
) -> builtins.list[Filter]:
    equal = (("status", status), ("user", user), ("task_source", task_source), ("owner", owner), ("repo", repo))
    return [*begins("uuid", prefix), *(Filter(column, "=", value) for column, value in equal if value is not None)]
