"""``eventlog db``: the database that holds the log."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventlog.cli.options import confirm, output_file, view_options, yes_option
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted, show_size
from eventlog.cli.view import View

if TYPE_CHECKING:
    from eventlog.maintenance import Upkeep
    from eventlog.place import Place

SHOWN = 100


@click.group()
def db() -> None:
    """The database: create, migrate, check, back up."""


@db.command()
@view_options
@pass_state
def init(state: State, view: View) -> None:
    """Create the log, or bring an older one up to this program. Harmless where there is one."""
    with state.write(create=True, bar=True) as log:
        view.item({"url": log.url, "position": log.head().position}, [("log", log.url)])


@db.command()
@view_options
@pass_state
def status(state: State, view: View) -> None:
    """Show where the log is, how big, with which settings and which SQLite or PostgreSQL, and what is wrong with it."""
    from eventlog import maintenance
    from eventlog.client.faults import needs_the_log

    with state.read() as log:
        if log.store.kind == "http":
            raise needs_the_log("the status of a database")
        found = maintenance.status(log)
        tables = log.projections.status(counted=False)
    found["projection_lag"] = {
        one.name: "failed" if one.state == "failed" else one.lag for one in tables if one.lag is not None
    }
    view.item(found, [(name.replace("_", " "), _value(name, value)) for name, value in found.items()])


def _value(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int):
        return show_size(value)
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_value(key, entry)}" for key, entry in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(str(entry) for entry in value)
    return value.hex() if isinstance(value, bytes) else str(value)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only show what there is to do.")
@view_options
@pass_state
def migrate(state: State, view: View, dry_run: bool) -> None:
    """Bring the database to the newest schema, and put missing triggers back. Opening a log does the former too."""
    place, upkeep = _place(state)
    if not dry_run:
        upkeep.migrate(place)
    _tell_schema(view, upkeep.schema(place))


@db.command()
@click.option("--to", "number", type=click.IntRange(0), required=True, metavar="N", help="The migration to go back to.")
@yes_option
@view_options
@pass_state
def rollback(state: State, view: View, number: int, yes: bool) -> None:
    """Undo the migrations above N, for an older program. Refused while that would throw events away.

    The next command of this program that opens the log brings it forward again.
    """
    place, upkeep = _place(state)
    confirm(f"Undo every migration above {number}?", yes)
    upkeep.rollback(place, number)
    if number == 0:
        view.item({"version": 0, "pending": []}, [("version", "0: empty, no log any more")])
        return
    _tell_schema(view, upkeep.schema(place))


def _tell_schema(view: View, status: Any) -> None:
    view.item(
        status,
        [
            ("version", f"{status.version} of {status.latest}"),
            ("pending", "\n".join(status.pending)),
            ("problems", "\n".join(status.problems)),
        ],
    )
    if status.problems:
        sys.exit(1)


@db.command()
@view_options
@pass_state
def check(state: State, view: View) -> None:
    """Check pages, triggers, the chain, and the tables against the events. Exit status 1 when anything is wrong."""
    from eventlog import maintenance
    from eventlog.cli.projections import has_failed, left_out

    with _openable(state) as log, bar() as progress:
        problems = maintenance.check(log, progress)
        others: dict[str, str] = {}
        if hasattr(log, "projections"):
            for found in log.projections.verify(progress=progress):
                key = "/".join(str(part) for part in found.key)
                problems.append(f"table {found.table}, row {key}: not what the events say")
            others = log.projections.left_out()
    failed = has_failed(others)
    if view.is_json:
        view.item({"ok": not problems and not failed, "problems": problems, "not_checked": others})
    else:
        if others:
            view.say(f"not checked: {left_out(others)}")
        for problem in problems[:SHOWN]:
            view.say(problem)
        if failed:
            view.say("tables are behind, because their projections failed: `eventlog projections status` says why")
        if problems or not failed:
            view.say(counted(len(problems), "problem") if problems else "the database is sound")
    if problems or failed:
        sys.exit(1)


def _openable(state: State) -> Any:
    """The log; where damage keeps it from being opened, its records at least, so that the damage can be named."""
    from eventlog.errors import Corrupt

    try:
        return state.read()
    except Corrupt:
        place, upkeep = _place(state)
        return upkeep.open_damaged(place)


@db.command()
@view_options
@pass_state
def optimize(state: State, view: View) -> None:
    """Refresh what the query planner knows, and give free space back."""
    from eventlog import maintenance

    with state.write() as log:
        sizes = maintenance.optimize(log)
    view.item(sizes, [(name.removesuffix("_bytes"), show_size(size)) for name, size in sizes.items()])


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@yes_option
@view_options
@pass_state
def backup(state: State, view: View, file: Path, yes: bool) -> None:
    """Copy the log to FILE while it is in use, and verify the copy. Only you can read it."""
    from eventlog import maintenance

    output_file(state, file, yes)
    there = file.exists()
    target = file.with_name(f"{file.name}.{os.getpid()}.new") if there else file
    with state.read() as log, bar() as progress:
        report = maintenance.backup(log, target, progress)
    if there:
        os.replace(target, file)
    _tell_copy(view, report, f"backed up to {file}")


@db.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@yes_option
@view_options
@pass_state
def restore(state: State, view: View, file: Path, yes: bool) -> None:
    """Put the backup FILE in the log's place, verified.

    A file that is there is kept beside the new one. In PostgreSQL the database, or its schema, must hold no log yet, or
    the beginning of this one, as an interrupted restore leaves it.
    """
    from eventlog import maintenance

    place, _ = _place(state)
    there = place.path is not None and place.path.exists()
    if there:
        confirm(f"Put {file} in the place of {place.path}?", yes)
    with bar() as progress:
        report = maintenance.restore(file, place, force=there, progress=progress)
    if place.server is not None:
        state.write(bar=True).close()  # makes the tables
    name = place.path or place.masked
    _tell_copy(view, report, f"{name} is what the backup is" + (", the old log is kept beside it" if there else ""))


@db.command()
@click.argument("source")
@click.argument("target")
@click.option("--no-verify", is_flag=True, help="Do not compare the tables of TARGET with its events at the end.")
@view_options
@pass_state
def copy(state: State, view: View, source: str, target: str, no_verify: bool) -> None:
    """Copy the log SOURCE to TARGET (paths or URLs), from a file to PostgreSQL or back: same records, same head.

    Others may go on writing to SOURCE. Interrupted, or repeated later, it goes on where it was. TARGET must be empty or
    the beginning of SOURCE. At the end the heads are compared, and the tables of TARGET made and verified; those that
    were rolled back before stay so, and are told.
    """
    import eventlog
    from eventlog.maintenance.copy import behind
    from eventlog.maintenance.copy import copy as copy_log

    with bar() as progress:
        with (
            eventlog.open(source, mode="r", create=False) as old,
            eventlog.open(target, projections="off") as new,
        ):
            done = copy_log(old, new, progress)
        with eventlog.open(target, progress=progress) as new:
            new.projections.catch_up(progress=progress)  # the lazy ones too, which otherwise follow when they are asked
            different = [] if no_verify else new.projections.verify(progress=progress)
            stopped = behind(new.projections.status())
    found = {**done._asdict(), "verified": not no_verify, "differences": len(different), "behind": stopped}
    lines = [(name, str(value)) for name, value in found.items() if name != "behind"]
    if stopped:
        told = [f"{name}: {why}" for name, why in stopped.items()]
        lines.append(("behind", "\n".join([*told, "`eventlog projections resume` lets them go on"])))
    view.item(found, lines)
    if different or any(why.startswith("failed") for why in stopped.values()):
        sys.exit(1)


@db.command()
@click.option("--prefix", default="eventlog", show_default=True, help="What the roles' names begin with.")
@click.option(
    "--login",
    "logins",
    multiple=True,
    metavar="NAME=ROLE",
    help="Let the login NAME, which exists, be owner, writer or reader; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only show the SQL.")
@view_options
@pass_state
def roles(state: State, view: View, prefix: str, logins: tuple[str, ...], dry_run: bool) -> None:
    """Make PostgreSQL roles with the least privilege: an owner, writers that can only append, readers.

    Needs a login that may create roles and owns the tables. Harmless to repeat, and to be repeated after a migration,
    or when a projection was added by another login.
    """
    from eventlog.maintenance.postgres_roles import create

    pairs = dict(pair.partition("=")[::2] for pair in logins)
    with state.write() as log:
        made, sql = create(log, prefix, pairs, dry_run=dry_run)
    if dry_run and not view.is_json:
        for statement in sql:
            click.echo(f"{statement};")
        return
    view.item(
        {"roles": [role._asdict() for role in made], "sql": sql if dry_run else None},
        [(role.name, role.purpose) for role in made],
    )


def _tell_copy(view: View, report: Any, what: str) -> None:
    position, digest = report.head.position, report.head.hash.hex()
    if view.is_json:
        view.item({"position": position, "hash": digest})
    else:
        view.say(f"{what}: version {position}, head {digest}")


def _place(state: State) -> tuple[Place, Upkeep]:
    """Where the log is, and what is done there. A log in memory has no schema to look at and nothing to restore."""
    from eventlog import maintenance
    from eventlog.target import parse_target

    place = parse_target(state.db)
    if place.kind == "memory":
        raise click.UsageError("A log in memory is no file.")
    return place, maintenance.of(place.kind)
