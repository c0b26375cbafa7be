"""`workspaces`: one row per folder in which agents work."""

from __future__ import annotations

from msgspec.structs import replace

from eventlog.events.sessions import WorkspaceDeleted, WorkspaceMoved, WorkspaceRegistered
from eventlog.projection import Entity, Record, Row


class Workspace(Row, frozen=True):
    """A workspace. Times are µs since the epoch, UTC, of what happened, not of when it was written down."""

    workspace_id: str
    path: str
    path_sha256: str
    name: str | None
    repository_url: str | None
    machine_id: str | None
    created_at: int
    updated_at: int


def evolve(
    row: Workspace | None, event: WorkspaceRegistered | WorkspaceMoved | WorkspaceDeleted, record: Record
) -> Workspace | None:
    """A workspace after one more event; one that is registered again is where it was registered last."""
    match event:
        case WorkspaceRegistered():
            return Workspace(
                record.stream.partition("-")[2],
                event.path,
                event.path_sha256,
                event.name,
                event.repository_url,
                event.machine_id,
                row.created_at if row else record.occurred_at,
                record.occurred_at,
            )
        case WorkspaceMoved() if row is not None:
            return replace(row, path=event.path, path_sha256=event.path_sha256, updated_at=record.occurred_at)
        case WorkspaceDeleted():
            return None
    return row


projections = (
    Entity(
        "workspaces",
        version=1,
        row=Workspace,
        category="workspace",
        types=(WorkspaceRegistered, WorkspaceMoved, WorkspaceDeleted),
        evolve=evolve,
        indexes=(("path",),),
    ),
)
