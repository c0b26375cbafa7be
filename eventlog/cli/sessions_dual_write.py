"""``eventlog sessions dual-write``: sessions in JSON files, too, while older programs read those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import Column, View

PARTIAL = 3


@click.group("dual-write")
def dual_write() -> None:
    """Write sessions to JSON files, too, for programs that read those; the log is the truth."""


@dual_write.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--snake-case", is_flag=True, help="Spell names in snake_case. Default: camelCase.")
@click.option("--no-sync", is_flag=True, help="Do not write the sessions that there are now.")
@view_options
@pass_state
def enable(state: State, view: View, folder: Path, snake_case: bool, no_sync: bool) -> None:
    """Write each session that changes to DIR, too, and those that there are now."""
    with state.write() as log:
        mirror = log.dual_write.enable(folder, spelling="snake_case" if snake_case else "camelCase")
        if not view.is_json:
            view.say(f"sessions are mirrored to {mirror.path}")
        if no_sync:
            _item(view, mirror)
        else:
            _sync(log, view)


@dual_write.command()
@view_options
@pass_state
def disable(state: State, view: View) -> None:
    """Write no files from here on; those there are stay."""
    with state.write() as log:
        mirror = log.dual_write.disable()
        if view.is_json:
            _item(view, mirror)
        else:
            view.say(f"sessions are not mirrored to {mirror.path} any more; its files stay")


@dual_write.command()
@click.option("--checks", type=click.IntRange(1), help="List at most this many checks, the latest first.")
@as_of_option
@view_options
@pass_state
def status(state: State, view: View, as_of: str | None, checks: int | None) -> None:
    """Show the folders that are or were mirrors, how often writing failed, and the last check."""
    with asked(state, as_of, view) as source:
        if checks is not None:
            view.rows(source.dual_write.checks(limit=checks), _check_columns(view), empty="no checks")
            return
        view.rows(source.dual_write.status(), _status_columns(view), empty="sessions are not mirrored")


@dual_write.command()
@view_options
@pass_state
def sync(state: State, view: View) -> None:
    """Bring the files in line with the log, whoever changed it. Exits with 3 where some could not be written."""
    with state.write() as log:
        _sync(log, view)


@dual_write.command()
@click.option("--repair", is_flag=True, help="Put right what was found.")
@click.option("--limit", "-n", type=click.IntRange(0), default=20, help="Tell at most this many paths. Default: 20.")
@view_options
@pass_state
def check(state: State, view: View, repair: bool, limit: int) -> None:
    """Compare every session with its file. Exits with 3 where they differ; the log keeps each result."""
    with state.write() as log:
        with bar() as progress:
            found = log.dual_write.check(repair=repair, limit=limit, progress=progress)
        if view.is_json:
            view.item(found, [])
        else:
            for path in found.paths:
                view.say(path)
            view.say(
                f"{counted(found.sessions, 'session')}, {counted(found.files, 'file')}: {found.missing:,} missing, "
                f"{found.extra:,} extra, {found.different:,} different"
            )
            view.say(f"clean checks in a row: {found.clean_checks}")
            if found.repaired is not None:
                view.say(_said(found.repaired))
    if not found.clean:
        raise click.exceptions.Exit(PARTIAL)


@dual_write.command("cut-over")
@click.option("--after", type=click.IntRange(1), default=3, help="How many clean checks in a row it takes. Default: 3.")
@view_options
@pass_state
def cut_over(state: State, view: View, after: int) -> None:
    """End it: nobody reads the files any more. Refused until enough checks in a row were clean."""
    with state.write() as log:
        mirror = log.dual_write.cut_over(after=after)
        if view.is_json:
            _item(view, mirror)
        else:
            view.say(f"cut over after {mirror.clean_checks} clean checks; nothing is written to {mirror.path} any more")


def _sync(log: Any, view: View) -> None:
    with bar() as progress:
        done = log.dual_write.sync(progress=progress)
    if view.is_json:
        view.item(done, [])
    else:
        view.say(_said(done))
    if done.failures:
        raise click.exceptions.Exit(PARTIAL)


def _said(done: Any) -> str:
    text = (
        f"{counted(done.written_files, 'file')} written, {done.removed_files:,} removed, "
        f"{done.unchanged_files:,} were right"
    )
    return text if not done.failures else f"{text}, {done.failures:,} could not be written: {done.error}"


def _item(view: View, mirror: Any) -> None:
    if view.is_json:
        view.item(mirror, [])


def _status_columns(view: View) -> list[Column]:
    return [
        Column("state", lambda one: one.mirror.state),
        Column("behind", lambda one: f"{one.records_behind:,}"),
        Column("failures", lambda one: f"{one.mirror.failures + one.untold_failures:,}"),
        Column("error rate", lambda one: f"{one.error_rate:.1%}"),
        Column("last check", lambda one: view.time(one.mirror.last_check_at)[:19] if one.mirror.checks else "never"),
        Column(
            "missing/extra/different",
            lambda one: f"{one.mirror.missing}/{one.mirror.extra}/{one.mirror.different}" if one.mirror.checks else "",
        ),
        Column("clean in a row", lambda one: str(one.mirror.clean_checks)),
        Column("folder", lambda one: one.mirror.path, wide=True),
        Column("last error", lambda one: one.mirror.last_error or "", wide=True, optional=True),
    ]


def _check_columns(view: View) -> list[Column]:
    return [
        Column("checked", lambda one: view.time(one.checked_at)[:19]),
        Column("version", lambda one: str(one.checked_position)),
        Column("sessions", lambda one: f"{one.sessions:,}"),
        Column("missing", lambda one: f"{one.missing:,}"),
        Column("extra", lambda one: f"{one.extra:,}"),
        Column("different", lambda one: f"{one.different:,}"),
        Column("paths", lambda one: "; ".join(one.paths[:3]), wide=True, optional=True),
    ]
