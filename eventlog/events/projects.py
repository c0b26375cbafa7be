"""What can happen to a project. Stream: ``project-<project_id>``."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from eventlog.events.base import Event


class ProjectAdded(Event, frozen=True, kw_only=True, tag="project.added"):
    """A project that runs can belong to."""

    path: str | None = None
    note: str = ""


class ProjectUpdated(Event, frozen=True, kw_only=True, tag="project.updated"):
    """Fields not given stay as they are."""

    path: str | None | UnsetType = UNSET
    note: str | UnsetType = UNSET


class ProjectDeleted(Event, frozen=True, kw_only=True, tag="project.deleted"):
    """The project leaves the tables; its runs stay and keep its name."""


PROJECT_EVENTS: tuple[type[Event], ...] = (ProjectAdded, ProjectUpdated, ProjectDeleted)
ProjectEvent = ProjectAdded | ProjectUpdated | ProjectDeleted
