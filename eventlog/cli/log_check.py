"""``eventlog log verify`` and ``check``: is the log what was written, and can it be understood."""

from __future__ import annotations

import sys
from typing import Any

import click

from eventlog.cli.options import view_options
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import View

EVERY = 10_000
SHOWN = 100


@click.command()
@view_options
@pass_state
def verify(state: State, view: View) -> None:
    """Check the chain of hashes over the whole log. Exit status 1 when it is broken."""
    with state.read() as source, bar() as progress:
        report = source.verify(progress=progress)
    found = {
        "ok": report.ok,
        "checked": report.checked,
        "position": report.head.position,
        "hash": report.head.hash.hex(),
        "bad_position": report.bad_position,
        "problem": report.problem,
    }
    if view.is_json:
        view.item(found)
    elif report.ok:
        view.say(f"the chain holds: {counted(report.checked, 'record')}, head {report.head.hash.hex()}")
    else:
        view.say(f"the chain is broken at position {report.bad_position}: {report.problem}")
    if not report.ok:
        sys.exit(1)


@click.command()
@view_options
@pass_state
def check(state: State, view: View) -> None:
    """Check that every record decodes as its event class wants it, and that no schema lacks an upcaster.

    Exit status 1 when that does not hold. Types that this program does not know are counted;
    they are no problem.
    """
    from eventlog.errors import DecodeError
    from eventlog.events import UnknownEvent

    unknown: dict[str, int] = {}
    checked = 0
    with state.read() as source, bar() as progress:
        problems: list[dict[str, Any]] = [
            {"position": None, "type": None, "problem": gap} for gap in source.codec.gaps()
        ]
        total = source.head().position
        for record in source.read():
            checked += 1
            try:
                event = record.event
            except DecodeError as error:
                problems.append({"position": record.position, "type": record.type, "problem": error.message})
            else:
                if isinstance(event, UnknownEvent):
                    unknown[record.type] = unknown.get(record.type, 0) + 1
            if progress is not None and checked % EVERY == 0:
                progress(checked, total, "check")
    _tell(view, checked, unknown, problems)
    if problems:
        sys.exit(1)


def _tell(view: View, checked: int, unknown: dict[str, int], problems: list[dict[str, Any]]) -> None:
    if view.is_json:
        view.item({"ok": not problems, "checked": checked, "unknown": unknown, "problems": problems})
        return
    for found in problems[:SHOWN]:
        where = "" if found["position"] is None else f"position {found['position']}: "
        view.say(f"{where}{found['problem']}")
    if len(problems) > SHOWN:
        view.say(f"and {len(problems) - SHOWN} more (--json lists all)")
    for name, count in sorted(unknown.items()):
        view.say(f"{count} of type {name}, which this program does not know: kept as they are")
    view.say(f"{counted(checked, 'record')}, {counted(len(problems), 'problem') if problems else 'all decode'}")
