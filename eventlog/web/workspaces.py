"""Workspaces: the folders in which agents work."""

from __future__ import annotations

import os
from typing import Any

from eventlog.app import Log, Past
from eventlog.errors import InvalidInput
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire_sessions import NewWorkspace, WorkspaceMove
from projections.workspaces import Workspace


class WorkspacesQuery(Query, frozen=True, kw_only=True):
    """Which workspaces, by path: ``path`` is exact, ``text`` occurs in path, name or the repository's URL."""

    path: str | None = None
    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


def list_workspaces(ask: Log | Past, query: WorkspacesQuery) -> list[Workspace]:
    """Workspaces, by path."""
    return ask.workspaces.list(path=query.path, text=query.text, limit=query.limit, offset=query.offset)


def get_workspace(ask: Log | Past, workspace_id: str) -> Workspace:
    """A workspace."""
    return ask.workspaces.get(workspace_id)


def register_workspace(log: Log, body: NewWorkspace) -> Workspace:
    """Register a folder, or say more of one that is registered; what is not given stays."""
    return log.workspaces.register(
        _absolute(body.path), name=body.name, repository_url=body.repository_url, machine_id=body.machine_id
    )


def move_workspace(log: Log, workspace_id: str, body: WorkspaceMove) -> Workspace:
    """Say that a workspace is somewhere else now; it keeps its id. 409 where another is there."""
    return log.workspaces.move(workspace_id, _absolute(body.path))


def delete_workspace(log: Log, workspace_id: str) -> None:
    """Take a workspace out of the table; its sessions stay."""
    log.workspaces.delete(workspace_id)


def _absolute(path: str) -> str:
    if path and not os.path.isabs(path):
        raise InvalidInput(f"a server has no current directory that you know: give an absolute path, not {path[:80]!r}")
    return path


def _next_page(query: WorkspacesQuery, found: list[Workspace]) -> dict[str, Any] | None:
    return {"offset": query.offset + query.limit} if len(found) == query.limit else None


WORKSPACE = "/api/workspaces/{workspace_id}"
OPERATIONS = (
    Operation("GET", "/api/workspaces", list_workspaces, follows=_next_page),
    Operation("POST", "/api/workspaces", register_workspace),
    Operation("GET", WORKSPACE, get_workspace),
    Operation("POST", f"{WORKSPACE}/move", move_workspace),
    Operation("DELETE", WORKSPACE, delete_workspace, status=204),
)
