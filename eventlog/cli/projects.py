"""``eventlog projects``: what runs belong to."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import Column, View


@click.group()
def projects() -> None:
    """The projects that runs belong to."""


@projects.command("list")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@as_of_option
@view_options
@pass_state
def list_projects(state: State, view: View, as_of: str | None, limit: int | None) -> None:
    """List projects. Those that runs name and that are not there are told beside."""
    with asked(state, as_of, view) as source:
        found = source.projects.list()
        view.rows(
            found[:limit],
            [
                Column("project", lambda project: project.project_id),
                Column("created", lambda project: view.time(project.created_at)[:19]),
                Column("path", lambda project: project.path or "", optional=True),
                Column("note", lambda project: project.note, wide=True, optional=True),
            ],
            empty="no projects",
        )
        if view.is_json:
            return
        added = {project.project_id for project in found}
        for row in source.statistics.runs(by="project"):
            if row.bucket and row.bucket not in added:
                view.hint(f"{counted(row.runs, 'run')} of a project that is not there: {row.bucket}")


@projects.command()
@click.argument("project_id", metavar="ID")
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, project_id: str) -> None:
    """Show project ID."""
    with asked(state, as_of, view) as source:
        _item(view, source.projects.get(project_id))


@projects.command()
@click.argument("project_id", metavar="ID")
@click.option("--path", metavar="DIR", help="Where it lives.")
@click.option("--note", "-n", metavar="TEXT", default="", help="A remark.")
@view_options
@pass_state
def add(state: State, view: View, project_id: str, path: str | None, note: str) -> None:
    """Add project ID."""
    with state.write(create=True) as log:
        log.projects.add(project_id, path=path, note=note)
        _told(log, view, project_id, "added")


@projects.command()
@click.argument("project_id", metavar="ID")
@click.option("--path", metavar="DIR", help="Where it lives now.")
@click.option("--no-path", is_flag=True, help="Forget where it lives.")
@click.option("--note", "-n", metavar="TEXT", help="Another remark.")
@view_options
@pass_state
def update(state: State, view: View, project_id: str, path: str | None, no_path: bool, note: str | None) -> None:
    """Change project ID; what is not given stays."""
    if path is not None and no_path:
        raise click.UsageError("--path and --no-path exclude each other.")
    changes: dict[str, Any] = {}
    if path is not None or no_path:
        changes["path"] = path
    if note is not None:
        changes["note"] = note
    if not changes:
        raise click.UsageError("Nothing to change: give --path, --no-path or --note.")
    with state.write() as log:
        log.projects.update(project_id, **changes)
        _told(log, view, project_id, "updated")


@projects.command()
@click.argument("project_id", metavar="ID")
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, project_id: str, yes: bool) -> None:
    """Take project ID out of the tables. Its runs stay and keep its name; its events stay in the log."""
    confirm(f"Delete project {project_id!r}?", yes)
    with state.write() as log:
        log.projects.delete(project_id)
    view.done(f"project {project_id} deleted", "deleted", project_id=project_id)


def _told(log: Any, view: View, project_id: str, what: str) -> None:
    if view.is_json:
        _item(view, log.projects.get(project_id))
    else:
        view.say(f"project {project_id} {what}")


def _item(view: View, project: Any) -> None:
    view.item(
        project,
        [
            ("project", project.project_id),
            ("path", project.path or ""),
            ("note", project.note or ""),
            ("created", view.time(project.created_at)),
            ("updated", view.time(project.updated_at)),
        ],
    )
