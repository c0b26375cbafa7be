"""`projects`: one row per project."""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from eventlog.events.projects import ProjectAdded, ProjectDeleted, ProjectEvent, ProjectUpdated
from eventlog.projection import Entity, Record, Row


class Project(Row, frozen=True):
    """A project. Times are µs since the epoch, UTC."""

    project_id: str
    path: str | None
    note: str
    created_at: int
    updated_at: int


def evolve(row: Project | None, event: ProjectEvent, record: Record) -> Project | None:
    """A project after one more event; a deleted one has no row."""
    match event:
        case ProjectAdded():
            name = record.stream.partition("-")[2]
            created = row.created_at if row else record.recorded_at
            return Project(name, event.path, event.note, created, record.recorded_at)
        case ProjectUpdated() if row is not None:
            return replace(
                row,
                path=row.path if event.path is UNSET else event.path,
                note=row.note if event.note is UNSET else event.note,
                updated_at=record.recorded_at,
            )
        case ProjectDeleted():
            return None
    return row


projections = (
    Entity(
        "projects",
        version=1,
        row=Project,
        category="project",
        types=(ProjectAdded, ProjectUpdated, ProjectDeleted),
        evolve=evolve,
    ),
)
