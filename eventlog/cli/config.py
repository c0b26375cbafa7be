"""``eventlog config``: which log is in use, and who says so."""

from __future__ import annotations

import os
from typing import Any

import click

from eventlog.cli.options import view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import Column, View

_COLUMNS = (
    Column("setting", lambda row: row.name),
    Column("value", lambda row: _text(row.value), wide=True),
    Column("from", lambda row: row.source, wide=True),
)


@click.group()
def config() -> None:
    """Which log is in use, and who says so."""


@config.command()
@view_options
@pass_state
def show(state: State, view: View) -> None:
    """Show where the log is, and where each setting comes from. No password is shown, and nothing is opened."""
    from eventlog.config import DEFAULT, Setting, in_force
    from eventlog.target import data_folder

    found = in_force(state.db)
    folder = data_folder(None, found.place)
    said = "variable EVENTLOG_DATA_DIR" if os.environ.get("EVENTLOG_DATA_DIR") else DEFAULT
    settings = [*found.settings, Setting("data_dir", None if folder is None else str(folder), said)]
    if view.is_json:
        view.item({"url": found.place.masked, "settings": settings, "unused": found.unused})
        return
    view.rows(settings, _COLUMNS)
    view.say(f"\nthe log: {found.place.masked}")
    if found.unused:
        view.say(f"set, but not used: {', '.join(found.unused)}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
