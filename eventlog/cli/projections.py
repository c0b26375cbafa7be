"""``eventlog projections``: the tables computed from the events."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click

from eventlog.cli.lazy import LazyGroup
from eventlog.cli.options import complete_table, view_options
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted, version_option
from eventlog.cli.view import Column, View

NAMED = 8
"""So many tables are told by their names, more by their number."""


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "list": ("projections:list_projections", "List the projections and their tables."),
        "status": ("projections:status", "Show how far each projection is, and what is wrong with it."),
        "rebuild": ("projections:rebuild", "Compute tables anew from the first event on."),
        "rollback": ("projections:rollback", "Move tables back to a version and hold them there."),
        "resume": ("projections:resume", "Let rolled back or failed tables go on."),
        "diff": ("projections_ask:diff", "Show which rows differ between two versions, and why."),
        "explain": ("projections_ask:explain", "Show the events behind a row, and what each changed."),
        "verify": ("projections_ask:verify", "Compare the tables with the events."),
        "follow": ("projections:follow", "Keep deferred projections up to date until interrupted."),
    },
)
def projections() -> None:
    """The tables computed from the events: rebuild, roll back, explain."""


names_argument = click.argument("names", metavar="[NAME]…", nargs=-1, shell_complete=complete_table)


@click.command("list")
@view_options
@pass_state
def list_projections(state: State, view: View) -> None:
    """List the projections and their tables."""
    with state.read() as log:
        view.rows(
            log.projections.status(),
            [
                Column("projection", lambda row: row.name),
                Column("kind", lambda row: row.kind),
                Column("mode", lambda row: row.mode),
                Column("state", lambda row: row.state, status=True),
                Column("version", lambda row: str(row.version), right=True),
                Column("rows", lambda row: _number(row.rows), right=True),
            ],
        )


@click.command()
@names_argument
@view_options
@pass_state
def status(state: State, view: View, names: tuple[str, ...]) -> None:
    """Show how far each projection is, and what is wrong with it. Exit status 1 when one has failed."""
    with state.read() as log:
        found = log.projections.status()
        _known(names, (row.name for row in found))
        chosen = [row for row in found if not names or row.name in names]
        head = log.head().position
    view.rows(chosen, _status_columns())
    view.say(f"\nthe log is at version {head}")
    for line in _pinned(chosen):
        view.say(line)
    for row in chosen:
        for line in _remarks(row):
            view.say(line)
    if any(row.state == "failed" for row in chosen):
        sys.exit(1)


def _status_columns() -> list[Column]:
    return [
        Column("projection", lambda row: row.name),
        Column("state", lambda row: row.state, status=True),
        Column("position", lambda row: _number(row.position), right=True),
        Column("lag", lambda row: _number(row.lag), right=True),
        Column("version", lambda row: _versions(row), right=True),
        Column("mode", lambda row: row.mode),
        Column("error", lambda row: row.error or "", wide=True, optional=True),
    ]


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _versions(row: Any) -> str:
    if _is_of_others(row):
        return str(row.stored_version)
    if row.stored_version in (None, row.version):
        return str(row.version)
    return f"{row.stored_version} → {row.version}"


def _is_of_others(row: Any) -> bool:
    from eventlog.projection.manager import UNKNOWN

    return bool(row.mode == UNKNOWN)


def _pinned(rows: Iterable[Any]) -> Iterable[str]:
    places: dict[int, list[str]] = {}
    for row in rows:
        if row.state == "pinned" and not _is_of_others(row):
            places.setdefault(row.position, []).append(row.name)
    for position, names in places.items():
        yield f"held at version {position}: {', '.join(names)}; `eventlog projections resume` goes on"


def _remarks(row: Any) -> Iterable[str]:
    if _is_of_others(row):
        held = f", {row.state} at version {row.position}," if row.state != "live" else ""
        yield f"{row.name}{held} was made by another program: its package, installed here, lets it be asked and resumed"
    elif row.state == "failed":
        yield (
            f"{row.name} stopped at position {row.error_position}: {row.error}. "
            f"`eventlog log read --after {row.error_position - 1} --limit 1` shows the event; "
            f"with fixed code, `eventlog projections resume {row.name}` goes on"
        )
    if row.state == "stale":
        yield f"{row.name} was built by an older program (version {row.stored_version}); the next write rebuilds it"
    if row.state == "newer":
        yield f"{row.name} was built by a newer program (version {row.stored_version}); this one leaves it alone"
    if row.fingerprint_matches is False and row.state == "live":
        yield f"{row.name}: its code changed under the same version; `eventlog projections rebuild {row.name}`"


def _known(names: Iterable[str], known: Iterable[str]) -> None:
    from eventlog.errors import ProjectionUnknown

    there = set(known)
    for name in names:
        if name not in there:
            raise ProjectionUnknown(f"no projection is called {name!r}; there are: {', '.join(sorted(there))}")


def _chosen(log: Any, names: tuple[str, ...]) -> list[str] | None:
    known = log.projections.names()
    for name in names:
        if name not in known:
            raise log.projections.unknown(name)
    return list(names) or None


def left_out(found: dict[str, str]) -> str:
    """The tables that a command did not look at, and who made them, as a line."""
    makers: dict[str, list[str]] = {}
    for name, why in found.items():
        makers.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in makers.items())


def has_failed(found: dict[str, str]) -> bool:
    """Whether any of the tables that `Projections.left_out` names is there because its projection failed."""
    return any(why.startswith("failed") for why in found.values())


@click.command()
@names_argument
@view_options
@pass_state
def rebuild(state: State, view: View, names: tuple[str, ...]) -> None:
    """Compute tables anew from the first event on (default: all). Readers keep the old ones until the new are complete,
    and writers go on.
    """
    with state.write() as log, bar() as progress:
        log.projections.rebuild(_chosen(log, names), progress=progress)
        _tell(view, log, names, "rebuilt")


@click.command()
@names_argument
@click.option("--to", "version", metavar="VERSION|TIME", required=True, help="The version to go back to, or a time.")
@view_options
@pass_state
def rollback(state: State, view: View, names: tuple[str, ...], version: str) -> None:
    """Move tables back to a version and hold them there (default: all). The events stay; `resume` goes on."""
    to = version_option(version, view.zone, "--to") or 0
    with state.write() as log:
        with bar() as progress:
            log.projections.rollback(to, _chosen(log, names), progress=progress)
        _tell(view, log, names, "rolled back and held")
    view.say("`eventlog projections resume` goes on")


@click.command()
@names_argument
@view_options
@pass_state
def resume(state: State, view: View, names: tuple[str, ...]) -> None:
    """Let rolled back or failed tables catch up and go on (default: all)."""
    with state.write() as log, bar() as progress:
        log.projections.resume(_chosen(log, names), progress=progress)
        _tell(view, log, names, "live")
        # Recorders that met the rolled back tables have left their events in the spool.
        waited = log.runs.import_spool().events
        if waited:
            view.say(f"in the log now, after waiting in the spool: {counted(waited, 'event')}")


def _touched(log: Any, names: tuple[str, ...]) -> list[Any]:
    """The projections acted upon: those named, and those that move together with them."""
    groups = log.projections.groups.values()
    touched = {name for group in groups if not names or set(names) & set(group.names) for name in group.names}
    return [row for row in log.projections.status() if row.name in touched]


def _tell(view: View, log: Any, names: tuple[str, ...], what: str) -> None:
    """Say what became of them; JSON: how each of them stands, as `status` tells it."""
    touched = _touched(log, names)
    if not names and (others := left_out(log.projections.left_out())):
        view.hint(f"left alone: {others}")
    if view.is_json:
        view.objects(touched)
        return
    places: dict[str, list[str]] = {}
    for row in touched:
        word = what if row.state in ("live", "pinned") else row.state
        error = f" ({row.error})" if row.error else ""
        places.setdefault(f"{word} at version {row.position}{error}", []).append(row.name)
    for place, found in places.items():
        view.say(f"{place}: {', '.join(found) if len(found) <= NAMED else counted(len(found), 'table')}")


@click.command()
@names_argument
@pass_state
def follow(state: State, names: tuple[str, ...]) -> None:
    """Keep deferred projections up to date until interrupted."""
    from eventlog.cli.stopping import told_to_stop

    stop = told_to_stop()
    with state.write(projections="deferred") as log:
        chosen = _chosen(log, names)
        click.echo("following; Ctrl-C ends it", err=True)
        log.projections.follow(chosen, stop=stop)
