"""``eventlog runs``: find, compare and repair recorded runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.lazy import LazyGroup
from eventlog.cli.options import as_of_option, asked, complete_last, confirm, view_options, yes_option
from eventlog.cli.pairs import pairs
from eventlog.cli.state import State, pass_state, together
from eventlog.cli.times import counted, show_duration, time_option
from eventlog.cli.view import Column, View

if TYPE_CHECKING:
    from eventlog.app import Log

STATUSES = ("running", "success", "fail", "killed", "lost")


class RunNumber(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in click 8.5 only
    """A run's number; ``run-42`` is 42, and ``last`` is the newest run (0 until the log is asked)."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or a usage error."""
        if isinstance(value, int):
            return value
        digits = value.removeprefix("run-")
        if value == "last":
            return 0
        if digits.isascii() and digits.isdigit() and 0 < int(digits) < 2**63:
            return int(digits)
        self.fail(f"{value!r} is not a run's number (or `last`).", param, ctx)


RUN = RunNumber()


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "list": ("runs:list_runs", "List runs, newest first."),
        "show": ("runs_show:show", "Show everything that is known about a run."),
        "compare": ("runs_show:compare", "Show where runs differ."),
        "tail": ("runs_tail:tail", "Show the end of what a run printed, or follow it."),
        "update": ("runs:update", "Correct a run by hand."),
        "delete": ("runs:delete", "Take runs out of the tables; their events stay."),
        "recover": ("runs:recover", "Mark runs as lost whose process is proven gone."),
        "spool": ("runs_spool:spool", "List what could not be recorded yet, for any log."),
    },
)
def runs() -> None:
    """Find, compare and repair recorded runs."""


def resolve(source: Any, run_id: int) -> int:
    """The number meant: ``last`` becomes the newest run's."""
    from eventlog.errors import NotFound

    if run_id:
        return run_id
    newest = source.runs.list(limit=1)
    if not newest:
        raise NotFound("there are no runs yet; `eventlog run -- COMMAND` records one")
    return int(newest[0].run_id)


def outcome(run: Any) -> str:
    """How a run ended, in a word: its exit code, or its signal's name."""
    if run.signal is not None:
        return signal_name(run.signal)
    return "" if run.exit_code is None else str(run.exit_code)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; a number that is none, as it is."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def columns(view: View) -> list[Column]:
    """The columns of a list of runs."""
    return [
        Column("run", lambda run: str(run.run_id), right=True),
        Column("status", lambda run: run.status, status=True),
        Column("exit", outcome, right=True),
        Column("started", lambda run: view.time(run.started_at or run.created_at)[:19]),
        Column("took", lambda run: show_duration(run.wall_us), right=True),
        Column("project", lambda run: run.project_id or "", optional=True),
        Column("command", lambda run: run.command, wide=True),
        Column("note", lambda run: run.note, optional=True, spare=True),
    ]


@click.command("list")
@click.option("--status", "-s", type=click.Choice(STATUSES), multiple=True, help="Only these; may be repeated.")
@click.option("--project", "-p", metavar="ID", help="Only runs of this project.")
@click.option("--program", metavar="NAME", help="Only runs of this program.")
@click.option("--tag", "-t", metavar="K=V", help="Only runs with this tag.")
@click.option("--text", metavar="WORDS", help="Only runs whose command or note contains this.")
@click.option("--since", metavar="TIME", help="Only runs created at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only runs created before this.")
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the newest.")
@click.option("--before", type=RUN, help="Only runs with a lower number: the next page.")
@as_of_option
@view_options
@pass_state
def list_runs(
    state: State,
    view: View,
    as_of: str | None,
    status: tuple[str, ...],
    project: str | None,
    program: str | None,
    tag: str | None,
    text: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    offset: int,
    before: int | None,
) -> None:
    """List runs, newest first."""
    filters: dict[str, Any] = {
        "status": list(status) or None,
        "project_id": project,
        "program": program,
        "tag": next(iter(pairs((tag,), "--tag").items())) if tag else None,
        "text": text,
        "from_at": time_option(since, view.zone, "--since"),
        "to_at": time_option(until, view.zone, "--until"),
    }
    with asked(state, as_of, view) as source:
        found = source.runs.list(**filters, limit=limit + 1, offset=offset, before=before or None)
        view.rows(found, columns(view), empty="no runs", limit=limit)


@click.command()
@click.argument("run_id", metavar="RUN", type=RUN, shell_complete=complete_last)
@click.option("--status", "-s", type=click.Choice(STATUSES), help="The status it should have had.")
@click.option("--note", "-n", metavar="TEXT", help="Another remark.")
@click.option("--project", "-p", metavar="ID", help="Another project.")
@click.option("--no-project", is_flag=True, help="Take it out of its project.")
@click.option("--tag", "-t", "tags", metavar="K=V", multiple=True, help="Set a tag; may be repeated.")
@click.option("--untag", metavar="K", multiple=True, help="Take a tag away; may be repeated.")
@view_options
@pass_state
def update(
    state: State,
    view: View,
    run_id: int,
    status: str | None,
    note: str | None,
    project: str | None,
    no_project: bool,
    tags: tuple[str, ...],
    untag: tuple[str, ...],
) -> None:
    """Correct run RUN by hand. The correction is an event too: what stood before stays in the log."""
    if project is not None and no_project:
        raise click.UsageError("--project and --no-project exclude each other.")
    changes: dict[str, Any] = {}
    if status is not None:
        changes["status"] = status
    if note is not None:
        changes["note"] = note
    if project is not None or no_project:
        changes["project_id"] = project
    new_tags = pairs(tags, "--tag")
    if not changes and not new_tags and not untag:
        raise click.UsageError("Nothing to change: give --status, --note, --project, --tag or --untag.")
    with state.write() as log:
        number = resolve(log, run_id)
        with together(log):
            if changes:
                log.runs.update(number, **changes)
            if new_tags or untag:
                log.runs.tag(number, new_tags, removed=untag)
        _told(log, view, number, "updated")


@click.command()
@click.argument("run_ids", metavar="RUN…", type=RUN, nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", help="Why.")
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, run_ids: tuple[int, ...], reason: str | None, yes: bool) -> None:
    """Take runs out of the tables. Their events stay in the log, and their numbers are not used again."""
    if 0 in run_ids:
        raise click.UsageError("Give the numbers of the runs to delete.")
    names = ", ".join(str(number) for number in run_ids)
    confirm(f"Delete {'run' if len(run_ids) == 1 else 'runs'} {names}?", yes)
    with state.write() as log, together(log):
        for number in dict.fromkeys(run_ids):
            log.runs.delete(number, reason=reason)
    view.done(f"deleted {names}", "deleted", run_ids=list(dict.fromkeys(run_ids)))


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show which runs would be marked.")
@view_options
@pass_state
def recover(state: State, view: View, dry_run: bool) -> None:
    """Mark runs as lost whose process is proven gone: same machine, same boot, and the process ended or is another.

    A run that turns out to live says so by its next event, which supersedes the mark. What waits in spool files for
    this log is imported first.
    """
    from eventlog.recorder.spool import waiting

    with state.write() as log:
        imported = None if dry_run else log.runs.import_spool()
        found = log.runs.recover(dry_run=dry_run)
        left = waiting(log.data_dir)
    if imported is not None:
        if imported.events:
            view.hint(f"in the log now, after waiting in the spool: {counted(imported.events, 'event')}")
        for told in imported.told:
            view.hint(told)
    if events := sum(one.events for one in left if one.state != "damaged"):
        view.hint(f"{counted(events, 'event')} still in the spool: `eventlog runs spool` says where, and for which log")
    if damaged := sum(one.state == "damaged" for one in left):
        view.hint(f"{counted(damaged, 'damaged file')} in the spool: `eventlog runs spool` says where")
    if view.is_json:
        view.objects(struct_fields(run) | {"evidence": evidence} for run, evidence in found)
        return
    shown = [
        Column("run", lambda pair: str(pair[0].run_id), right=True),
        Column("status", lambda pair: pair[0].status, status=True),
        Column("started", lambda pair: view.time(pair[0].started_at)[:19]),
        Column("command", lambda pair: pair[0].command, wide=True),
        Column("evidence", lambda pair: pair[1]),
    ]
    view.rows(found, shown, empty="no lost runs")


def _told(log: Log, view: View, number: int, what: str) -> None:
    run = log.runs.find(number)
    if view.is_json and run is not None:
        view.item(run)
    else:
        view.say(f"run {number} {what}")
