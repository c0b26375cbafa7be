"""Projects: what runs belong to."""

from __future__ import annotations

from typing import Any

from eventlog.app import Log, Past
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import NewProject, ProjectChange
from projections.projects import Project


class ProjectsQuery(Query, frozen=True, kw_only=True):
    """Which projects, by name; ``text`` occurs in name, path or note."""

    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


def list_projects(ask: Log | Past, query: ProjectsQuery) -> list[Project]:
    """Projects, by name."""
    return ask.projects.list(text=query.text, limit=query.limit, offset=query.offset)


def get_project(ask: Log | Past, project_id: str) -> Project:
    """A project."""
    return ask.projects.get(project_id)


def add_project(log: Log, body: NewProject) -> Project:
    """Add a project. 409 when there is one of this name."""
    return log.projects.add(body.project_id, body.path, body.note)


def update_project(log: Log, project_id: str, body: ProjectChange) -> Project:
    """Change a project's path or note."""
    return log.projects.update(project_id, path=body.path, note=body.note)


def delete_project(log: Log, project_id: str) -> None:
    """Delete a project; its runs stay."""
    log.projects.delete(project_id)


def _next_page(query: ProjectsQuery, projects: list[Project]) -> dict[str, Any] | None:
    return {"offset": query.offset + query.limit} if len(projects) == query.limit else None


PROJECT = "/api/projects/{project_id:path}"
OPERATIONS = (
    Operation("GET", "/api/projects", list_projects, follows=_next_page),
    Operation("POST", "/api/projects", add_project, status=201),
    Operation("GET", PROJECT, get_project),
    Operation("PATCH", PROJECT, update_project),
    Operation("DELETE", PROJECT, delete_project, status=204),
)
