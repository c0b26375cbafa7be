"""``eventlog projections diff``, ``explain`` and ``verify``: what differs, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from eventlog.cli.options import complete_table, tell_old, view_options
from eventlog.cli.progress import bar
from eventlog.cli.projections import _chosen, has_failed, left_out, names_argument
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import version_option
from eventlog.cli.view import Column, View

SHOWN = 100
EMPTY: tuple[object, ...] = (None, "", [], {}, ())
NOTHING = "∅"


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--projection", "-p", "names", metavar="NAME", multiple=True, help="Only this one; may be repeated.")
@click.option("--limit", "-n", type=click.IntRange(1), default=SHOWN, show_default=True, help="At most so many rows.")
@view_options
@pass_state
def diff(state: State, view: View, first: str, second: str, names: tuple[str, ...], limit: int) -> None:
    """Show which rows differ between versions A and B (positions or times), and the events that did it."""
    versions = [_version(word, view, name) for word, name in ((first, "A"), (second, "B"))]
    with state.read() as log:
        found = log.projections.diff(versions[0], versions[1], _chosen(log, names))
        if names:  # a table's rollups come with it; they have to be asked for by name
            found = (row for row in found if row.table in names)
        view.rows(islice(found, limit), _columns(view), empty="no difference")
        if next(iter(found), None) is not None:
            click.echo(f"more than {limit} rows differ; --limit shows more", err=True)


def _version(word: str, view: View, name: str) -> Any:
    return version_option(word, view.zone, name)


def _columns(view: View) -> list[Column]:
    return [
        Column("table", lambda row: row.table),
        Column("key", lambda row: key_text(row.key)),
        Column("change", lambda row: row.change, status=True),
        Column("what", lambda row: _what(row, view), wide=True),
        Column("by positions", lambda row: _positions(row.positions), spare=True),
    ]


def key_text(key: Any) -> str:
    """A row's key as a person would type it."""
    return "/".join(str(part) for part in key) if isinstance(key, list | tuple) else str(key)


def _what(row: Any, view: View) -> str:
    before, after = row.before or {}, row.after or {}
    if row.change == "changed":
        return ", ".join(_step(name, before.get(name), after.get(name), view) for name in row.columns)
    there = after or before
    return ", ".join(f"{name}={_short(name, value, view)}" for name, value in there.items() if value not in EMPTY)


def _step(name: str, old: object, new: object, view: View) -> str:
    return f"{name}: {_short(name, old, view) or NOTHING} → {_short(name, new, view) or NOTHING}"


def _difference(row: Any, view: View) -> str:
    if row.stored is None or row.expected is None:
        return "no such row → there should be one" if row.stored is None else "a row → there should be none"
    changed = [name for name in row.expected if row.stored.get(name) != row.expected[name]]
    return ", ".join(_step(name, row.stored.get(name), row.expected[name], view) for name in changed)


def _short(name: str, value: object, view: View, most: int = 60) -> str:
    text = view.value(name, value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _positions(positions: Any, most: int = 6) -> str:
    shown = ", ".join(str(position) for position in positions[:most])
    return shown + (f", … ({len(positions)})" if len(positions) > most else "")


@click.command()
@click.argument("table", shell_complete=complete_table)
@click.argument("key")
@view_options
@pass_state
def explain(state: State, view: View, table: str, key: str) -> None:
    """Show the events behind the row of TABLE with this KEY, and what each changed. Parts of a key are joined by /."""
    with state.query() as log:
        found = log.projections.explain(table, _key(key, len(log.projections.projection(table).table.key)))
        tell_old(log)
    if view.is_json:
        view.item(found)
        return
    view.say(f"{found.table} {key_text(found.key)}" + ("" if found.row is not None else ": there is no such row now"))
    view.rows(
        [line for step in found.steps for line in _lines(step, view)],
        [
            Column("position", lambda line: line[0], right=True),
            Column("occurred", lambda line: line[1], spare=True),
            Column("type", lambda line: line[2]),
            Column("column", lambda line: line[3]),
            Column("change", lambda line: line[4], wide=True),
        ],
    )
    if found.sources:
        view.say(f"made of these rows of its source: {', '.join(str(source) for source in found.sources)}")


def _lines(step: Any, view: View) -> Iterator[tuple[str, str, str, str, str]]:
    head = (str(step.position), view.time(step.occurred_at), step.type)
    for name, change in _changes(step, view):
        yield (*head, name, change)
        head = ("", "", "")


def _changes(step: Any, view: View) -> Iterator[tuple[str, str]]:
    shown = {name: pair for name, pair in step.changes.items() if pair[0] is not None or pair[1] not in EMPTY}
    if not shown:
        yield "", "(nothing)"
    for name, (old, new) in shown.items():
        before = "" if old is None else f"{_short(name, old, view) or NOTHING} → "
        yield name, before + (_short(name, new, view) or NOTHING)


def _key(text: str, parts: int) -> tuple[str, ...]:
    return (text,) if parts == 1 else tuple(text.split("/"))


@click.command()
@names_argument
@view_options
@pass_state
def verify(state: State, view: View, names: tuple[str, ...]) -> None:
    """Compute the tables anew in a scratch place and compare every row. Exit status 1 when any differs, or failed."""
    with state.read() as log, bar() as progress:
        chosen = _chosen(log, names)
        found = list(log.projections.verify(chosen, progress=progress))
        others = log.projections.left_out(chosen)
    failed = has_failed(others)
    if others:
        view.hint(f"not checked: {left_out(others)}")
    if failed:
        view.hint("`eventlog projections status` says why they failed; with fixed code, `projections resume` goes on")
    view.rows(
        found if view.is_json else found[:SHOWN],
        [
            Column("table", lambda row: row.table),
            Column("key", lambda row: key_text(row.key)),
            Column("stored → expected", lambda row: _difference(row, view), wide=True),
        ],
    )
    if found:
        view.say(f"{len(found)} rows differ from the events; `eventlog projections rebuild` makes the tables anew")
        sys.exit(1)
    if failed:
        view.say("no row differs in what was checked")
        sys.exit(1)
    view.say("the tables are what the events say")
