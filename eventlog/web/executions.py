"""Executions of programs on problems, and the containers they run in."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict

from eventlog.app import Log, Past
from eventlog.repositories.executions import ExecutionHistory
from eventlog.web.operation import Moment, Operation, Query
from eventlog.web.runs import Offset, Rows, Why
from eventlog.wire import (
    ContainerRemoval,
    ContainerStart,
    ContainerStop,
    ExecutionEnd,
    NewContainer,
    NewExecution,
    SavedContainer,
    SavedExecution,
)
from projections.containers import Container, ContainerStatus
from projections.executions import Execution


class ExecutionsCounted(Query, frozen=True, kw_only=True):
    """Which executions; ``from_at`` ≤ started_at < ``to_at``; ``text`` occurs in the problem's name or the command,
    ``prefix`` begins the id.
    """

    problem_name: str | None = None
    problem_id: str | None = None
    contest_id: str | None = None
    container_id: str | None = None
    language: str | None = None
    status: str | None = None
    from_at: Moment | None = None
    to_at: Moment | None = None
    text: str | None = None
    prefix: str | None = None


class ExecutionsQuery(ExecutionsCounted, frozen=True, kw_only=True):
    """Which executions, newest first."""

    limit: Rows = 50
    offset: Offset = 0


class ContainersQuery(Query, frozen=True, kw_only=True):
    """Which containers, newest first."""

    status: ContainerStatus | None = None
    image: str | None = None
    name: str | None = None
    limit: Rows = 50
    offset: Offset = 0


def list_executions(ask: Log | Past, query: ExecutionsQuery) -> list[Execution]:
    """Executions, newest first, without what they wrote."""
    return ask.executions.find_all(**asdict(query))


def count_executions(ask: Log | Past, query: ExecutionsCounted) -> int:
    """How many executions there are."""
    return ask.executions.count(**asdict(query))


def start_execution(log: Log, body: NewExecution) -> ExecutionHistory:
    """Begin an execution. 409 when there is one of this id."""
    return log.executions.start(**asdict(body))


def save_execution(log: Log, body: SavedExecution) -> ExecutionHistory:
    """Record an execution, or what differs from what is recorded of it."""
    return log.executions.save(ExecutionHistory(**asdict(body)))


def finish_execution(log: Log, id: str, body: ExecutionEnd) -> ExecutionHistory:
    """End an execution. 409 when it has ended already."""
    return log.executions.finish(id, **asdict(body))


def get_execution(ask: Log | Past, id: str) -> ExecutionHistory:
    """An execution with what it wrote."""
    return ask.executions.get(id)


def delete_execution(log: Log, id: str, query: Why) -> None:
    """Take an execution out of the tables; its events stay."""
    log.executions.delete(id, query.reason)


def list_containers(ask: Log | Past, query: ContainersQuery) -> list[Container]:
    """Containers, newest first; removed ones are there too."""
    return ask.containers.find_all(**asdict(query))


def create_container(log: Log, body: NewContainer) -> Container:
    """Record that a container was made. 409 when there is one of this id that was not removed."""
    return log.containers.create(**asdict(body))


def save_container(log: Log, body: SavedContainer) -> Container:
    """Record a container, or what became of it."""
    return log.containers.save(Container(**asdict(body)))


def start_container(log: Log, container_id: str, body: ContainerStart) -> Container:
    """Record that a container runs. 409 when it does already, or was removed."""
    return log.containers.start(container_id, started_at=body.started_at)


def stop_container(log: Log, container_id: str, body: ContainerStop) -> Container:
    """Record that a container does not run any more. 409 when it does not anyway."""
    return log.containers.stop(container_id, **asdict(body))


def remove_container(log: Log, container_id: str, body: ContainerRemoval) -> Container:
    """Record that a container is not there any more; its row stays, and says so."""
    return log.containers.remove(container_id, removed_at=body.removed_at)


def get_container(ask: Log | Past, container_id: str) -> Container:
    """A container."""
    return ask.containers.get(container_id)


def delete_container(log: Log, container_id: str) -> None:
    """Take a container out of the table; its events stay."""
    log.containers.delete(container_id)


def next_page(query: Any, found: list[Any]) -> dict[str, Any] | None:
    """Where a list goes on that is asked for by its offset."""
    return {"offset": query.offset + query.limit} if len(found) == query.limit else None


EXECUTION = "/api/executions/{id:path}"
CONTAINER = "/api/containers/{container_id:path}"
OPERATIONS = (
    Operation("GET", "/api/executions", list_executions, follows=next_page),
    Operation("POST", "/api/executions", start_execution, status=201),
    Operation("GET", "/api/executions/count", count_executions),
    Operation("POST", "/api/executions/save", save_execution),
    Operation("POST", f"{EXECUTION}/finish", finish_execution),
    Operation("GET", EXECUTION, get_execution),
    Operation("DELETE", EXECUTION, delete_execution, status=204),
    Operation("GET", "/api/containers", list_containers, follows=next_page),
    Operation("POST", "/api/containers", create_container, status=201),
    Operation("POST", "/api/containers/save", save_container),
    Operation("POST", f"{CONTAINER}/start", start_container),
    Operation("POST", f"{CONTAINER}/stop", stop_container),
    Operation("POST", f"{CONTAINER}/remove", remove_container),
    Operation("GET", CONTAINER, get_container),
    Operation("DELETE", CONTAINER, delete_container, status=204),
)
