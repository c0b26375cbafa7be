"""`containers`: one row per container, also after it was removed."""

from __future__ import annotations

from typing import Any, Literal

from msgspec.structs import replace

from eventlog.events.executions import (
    ContainerCreated,
    ContainerDeleted,
    ContainerRemoved,
    ContainerStarted,
    ContainerStopped,
)
from eventlog.projection import Entity, Record, Row

ContainerStatus = Literal["created", "running", "stopped", "removed"]


class Container(Row, frozen=True):
    """A container. Times are µs since the epoch, UTC, of the last time that it was so; ``starts`` counts."""

    container_id: str
    image: str
    name: str | None = None
    status: ContainerStatus = "created"
    command: str | None = None
    labels: dict[str, str] = {}
    exit_code: int | None = None
    reason: str | None = None
    starts: int = 0
    created_at: int = 0
    started_at: int | None = None
    stopped_at: int | None = None
    removed_at: int | None = None


def evolve(row: Container | None, event: Any, record: Record) -> Container | None:
    """A container after one more event."""
    at = record.occurred_at
    match event:
        case ContainerCreated():
            container_id = record.stream.partition("-")[2]
            return Container(
                container_id, event.image, event.name, "created", event.command, event.labels, created_at=at
            )
        case ContainerStarted() if row is not None:
            return replace(row, status="running", starts=row.starts + 1, started_at=at, exit_code=None, reason=None)
        case ContainerStopped() if row is not None:
            return replace(row, status="stopped", stopped_at=at, exit_code=event.exit_code, reason=event.reason)
        case ContainerRemoved() if row is not None:
            return replace(row, status="removed", removed_at=at)
        case ContainerDeleted():
            return None
    return row


projections = (
    Entity(
        "containers",
        version=1,
        row=Container,
        category="container",
        types=(ContainerCreated, ContainerStarted, ContainerStopped, ContainerRemoved, ContainerDeleted),
        evolve=evolve,
        indexes=(("status", "created_at"),),
    ),
)
