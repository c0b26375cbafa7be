"""``eventlog containers``: what became of containers."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.pairs import pairs
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import Column, View

STATUSES = ("created", "running", "stopped", "removed")


@click.group()
def containers() -> None:
    """What became of containers."""


@containers.command("list")
@click.option("--status", "-s", type=click.Choice(STATUSES), help="Only these.")
@click.option("--image", metavar="NAME", help="Only those made of this image.")
@click.option("--name", metavar="NAME", help="Only those called so.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the newest.")
@as_of_option
@view_options
@pass_state
def list_containers(
    state: State,
    view: View,
    as_of: str | None,
    status: Any,
    image: str | None,
    name: str | None,
    limit: int | None,
    offset: int,
) -> None:
    """List containers, newest first; removed ones are there too."""
    with asked(state, as_of, view) as source:
        found = source.containers.find_all(status=status, image=image, name=name, limit=limit, offset=offset)
    columns = [
        Column("container", lambda one: one.container_id),
        Column("status", lambda one: one.status, status=True),
        Column("exit", lambda one: "" if one.exit_code is None else str(one.exit_code), right=True, optional=True),
        Column("created", lambda one: view.time(one.created_at)[:19]),
        Column("image", lambda one: one.image),
        Column("name", lambda one: one.name or "", optional=True),
        Column("command", lambda one: one.command or "", wide=True, optional=True),
    ]
    view.rows(found, columns, empty="no containers")


@containers.command()
@click.argument("container_id", metavar="ID")
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, container_id: str) -> None:
    """Show container ID."""
    with asked(state, as_of, view) as source:
        _item(view, source.containers.get(container_id))


@containers.command()
@click.argument("image", metavar="IMAGE")
@click.option("--id", "container_id", metavar="ID", help="Its id. Default: a new one.")
@click.option("--name", metavar="NAME", help="What it is called.")
@click.option("--command", metavar="TEXT", help="What it runs.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="A label; may be repeated.")
@view_options
@pass_state
def create(
    state: State,
    view: View,
    image: str,
    container_id: str | None,
    name: str | None,
    command: str | None,
    labels: tuple[str, ...],
) -> None:
    """Record that a container was made of IMAGE; prints its id."""
    with state.write(create=True) as log:
        made = log.containers.create(
            image, container_id=container_id, name=name, command=command, labels=pairs(labels, "--label")
        )
    if view.is_json:
        _item(view, made)
    else:
        view.say(made.container_id)


@containers.command()
@click.argument("container_id", metavar="ID")
@view_options
@pass_state
def start(state: State, view: View, container_id: str) -> None:
    """Record that container ID runs."""
    with state.write() as log:
        _told(view, log.containers.start(container_id))


@containers.command()
@click.argument("container_id", metavar="ID")
@click.option("--exit-code", type=int, help="Its exit code.")
@click.option("--reason", metavar="TEXT", help="Why.")
@view_options
@pass_state
def stop(state: State, view: View, container_id: str, exit_code: int | None, reason: str | None) -> None:
    """Record that container ID does not run any more."""
    with state.write() as log:
        _told(view, log.containers.stop(container_id, exit_code=exit_code, reason=reason))


@containers.command()
@click.argument("container_id", metavar="ID")
@view_options
@pass_state
def remove(state: State, view: View, container_id: str) -> None:
    """Record that container ID is not there any more; its row stays, and says so."""
    with state.write() as log:
        _told(view, log.containers.remove(container_id))


@containers.command()
@click.argument("container_id", metavar="ID")
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, container_id: str, yes: bool) -> None:
    """Take container ID out of the table; its events stay in the log."""
    confirm(f"Delete container {container_id!r}?", yes)
    with state.write() as log:
        log.containers.delete(container_id)
    view.done(f"container {container_id} deleted", "deleted", container_id=container_id)


def _told(view: View, one: Any) -> None:
    if view.is_json:
        _item(view, one)
    else:
        view.say(f"container {one.container_id} {one.status}")


def _item(view: View, one: Any) -> None:
    view.item(
        one,
        [
            ("container", one.container_id),
            ("image", one.image),
            ("name", one.name or ""),
            ("status", one.status),
            ("exit code", "" if one.exit_code is None else str(one.exit_code)),
            ("reason", one.reason or ""),
            ("command", one.command or ""),
            ("labels", view.value("labels", one.labels)),
            ("created", view.time(one.created_at)),
            ("started", view.time(one.started_at)),
            ("stopped", view.time(one.stopped_at)),
            ("removed", view.time(one.removed_at)),
        ],
    )
