"""Tasks behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventlog.client.calls import Call, offered
from eventlog.client.repositories import Remote
from eventlog.errors import InvalidInput, NotFound
from eventlog.repositories.task_values import REQUIRED, checked_columns, checked_uuid
from eventlog.repositories.tasks import TasksRepository
from eventlog.wire_tasks import (
    Added,
    NewTask,
    TaskChange,
    TaskCompaction,
    TaskFailure,
    TaskLlmCall,
    TaskMessage,
    TaskState,
    TaskStatistics,
    TaskToolCall,
)
from projections.tasks import Task

TASK = "/api/tasks/{uuid}"
CREATE = Call("POST", "/api/tasks", Task, NewTask)
UPDATE = Call("PATCH", TASK, Task, TaskChange)


def _done(answer: Any) -> bool:
    return True


def _id(added: Added) -> str:
    return added.id


@offered(
    update_status=Call("POST", f"{TASK}/status", Task, TaskState, gives=_done),
    update_statistics=Call("POST", f"{TASK}/statistics", Task, TaskStatistics, gives=_done),
    complete=Call("POST", f"{TASK}/complete", Task, gives=_done),
    fail=Call("POST", f"{TASK}/fail", Task, TaskFailure, gives=_done),
    stop=Call("POST", f"{TASK}/stop", Task, gives=_done),
    delete=Call("DELETE", TASK, gives=_done),
    list=Call("GET", "/api/tasks", list[Task], pages=True),
    list_by_status=Call("GET", "/api/tasks", list[Task], pages=True),
    list_by_user=Call("GET", "/api/tasks", list[Task], pages=True),
    count=Call("GET", "/api/tasks/count", int),
    llm_call=Call("POST", f"{TASK}/llm-calls", Added, TaskLlmCall, gives=_id),
    tool_call=Call("POST", f"{TASK}/tool-calls", Added, TaskToolCall, gives=_id),
    compaction=Call("POST", f"{TASK}/compactions", Task, TaskCompaction, gives=_done),
    message=Call("POST", f"{TASK}/messages", Added, TaskMessage, gives=_id),
)
class RemoteTasks(Remote, TasksRepository):
    """Tasks."""

    def create(self, task_data: Mapping[str, Any] | None = None, **fields: Any) -> Task:
        """See `TasksRepository.create`."""
        columns = checked_columns({**(task_data or {}), **fields})
        for name in REQUIRED:
            if name not in columns:
                raise InvalidInput(f"a task needs its {name}", field=name)
        if columns.get("uuid"):
            columns["uuid"] = checked_uuid(columns["uuid"])
        made: Task = self._ask(CREATE, columns)
        return made

    def update(self, uuid: str, updates: Mapping[str, Any]) -> Task | None:
        """See `TasksRepository.update`."""
        columns = checked_columns(updates)
        if str(columns.pop("uuid", uuid)) != str(uuid):
            raise InvalidInput("uuid: a task keeps the one that it has", field="uuid")
        changed: Task | None = self._ask(UPDATE, {**columns, "uuid": uuid})
        return changed

    def _ask(self, call: Call, given: dict[str, Any]) -> Any:
        try:
            return super()._ask(call, given)
        except NotFound:
            if call.method == "GET":
                raise
            return False if call.gives is _done else None
