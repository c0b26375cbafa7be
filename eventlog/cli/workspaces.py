"""``eventlog workspaces``: the folders in which agents work."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import Column, View


@click.group()
def workspaces() -> None:
    """The folders in which agents work.

    WORKSPACE is a workspace's id, or the path of its folder.
    """


@workspaces.command("list")
@click.option("--text", metavar="WORDS", help="Only those whose path, name or repository contains this.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@as_of_option
@view_options
@pass_state
def list_workspaces(state: State, view: View, as_of: str | None, text: str | None, limit: int | None) -> None:
    """List workspaces by path."""
    with asked(state, as_of, view) as source:
        view.rows(
            source.workspaces.list(text=text, limit=limit),
            [
                Column("workspace", lambda one: one.workspace_id),
                Column("registered", lambda one: view.time(one.created_at)[:19], spare=True),
                Column("name", lambda one: one.name or "", optional=True),
                Column("path", lambda one: one.path, wide=True),
                Column("repository", lambda one: one.repository_url or "", optional=True),
            ],
            empty="no workspaces",
        )


@workspaces.command()
@click.argument("workspace", metavar="WORKSPACE")
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, workspace: str) -> None:
    """Show WORKSPACE, and how many sessions are in it."""
    from eventlog.cli.as_json import struct_fields

    with asked(state, as_of, view) as source:
        found = find(source, workspace)
        count = source.sessions.count(workspace_id=found.workspace_id)
    if view.is_json:
        view.item(struct_fields(found) | {"session_count": count})
        return
    view.item(found, [*_fields(found, view), ("sessions", str(count))])


@workspaces.command()
@click.argument("path", type=click.Path(), default=".")
@click.option("--name", metavar="TEXT", help="What it is called.")
@click.option("--repository", metavar="URL", help="Where its repository is.")
@view_options
@pass_state
def register(state: State, view: View, path: str, name: str | None, repository: str | None) -> None:
    """Register the folder PATH (default: this one). Registering it again changes what is given."""
    with state.write(create=True) as log:
        found = log.workspaces.register(path, name=name, repository_url=repository)
    _told(view, found, "registered")


@workspaces.command()
@click.argument("workspace", metavar="WORKSPACE")
@click.argument("path", type=click.Path())
@view_options
@pass_state
def move(state: State, view: View, workspace: str, path: str) -> None:
    """Say that WORKSPACE is at PATH now. It keeps its id and its sessions."""
    with state.write() as log:
        found = log.workspaces.move(find(log, workspace).workspace_id, path)
    _told(view, found, "moved")


@workspaces.command()
@click.argument("workspace", metavar="WORKSPACE")
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, workspace: str, yes: bool) -> None:
    """Take WORKSPACE out of the table. Its sessions stay; its events stay in the log."""
    with state.write() as log:
        found = find(log, workspace)
        confirm(f"Delete workspace {found.workspace_id} ({found.path})?", yes)
        log.workspaces.delete(found.workspace_id)
    view.done(f"workspace {found.workspace_id} deleted", "deleted", workspace_id=found.workspace_id)


def find(source: Any, text: str) -> Any:
    """The workspace meant: by its id, or by the path of its folder. Raises NotFound."""
    found = source.workspaces.find(text) if text else None
    return found or source.workspaces.find_by_path(text) or source.workspaces.get(text)


def workspace_of(source: Any, text: str | None) -> str | None:
    """The id of the workspace that an option names by id or path; None where none is named. Raises NotFound."""
    return None if text is None else str(find(source, text).workspace_id)


def _told(view: View, found: Any, what: str) -> None:
    if view.is_json:
        view.item(found)
    else:
        view.say(f"workspace {found.workspace_id} {what}: {found.path}")


def _fields(found: Any, view: View) -> list[tuple[str, str]]:
    return [
        ("workspace", found.workspace_id),
        ("path", found.path),
        ("name", found.name or ""),
        ("repository", found.repository_url or ""),
        ("machine", found.machine_id or ""),
        ("registered", view.time(found.created_at)),
        ("updated", view.time(found.updated_at)),
    ]
