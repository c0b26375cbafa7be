"""``eventlog executions``: programs that were run on problems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventlog.cli.meant import meant
from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration, show_size, time_option
from eventlog.cli.view import Column, View

FILE = click.Path(allow_dash=True, path_type=Path)


@click.group()
def executions() -> None:
    """Programs that were run on problems, and what they wrote."""


@executions.command("list")
@click.option("--problem", "-p", metavar="NAME", help="Only of this problem.")
@click.option("--problem-id", metavar="ID", help="Only of the problem with this id.")
@click.option("--contest", "-c", metavar="ID", help="Only of this contest.")
@click.option("--container", metavar="ID", help="Only those that ran in this container.")
@click.option("--language", "-l", metavar="NAME", help="Only in this language.")
@click.option("--status", "-s", metavar="NAME", help="Only with this verdict, or `running`.")
@click.option("--text", metavar="WORDS", help="Only those whose problem or command contains this.")
@click.option("--since", metavar="TIME", help="Only those started at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only those started before this.")
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the newest.")
@as_of_option
@view_options
@pass_state
def list_executions(
    state: State,
    view: View,
    as_of: str | None,
    problem: str | None,
    problem_id: str | None,
    contest: str | None,
    container: str | None,
    language: str | None,
    status: str | None,
    text: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    offset: int,
) -> None:
    """List executions, newest first."""
    with asked(state, as_of, view) as source:
        found = source.executions.find_all(
            problem_name=problem,
            problem_id=problem_id,
            contest_id=contest,
            container_id=container,
            language=language,
            status=status,
            text=text,
            from_at=time_option(since, view.zone, "--since"),
            to_at=time_option(until, view.zone, "--until"),
            limit=limit + 1,
            offset=offset,
        )
    columns = [
        Column("execution", lambda one: one.id),
        Column("status", lambda one: one.status, status=True),
        Column("exit", lambda one: "" if one.exit_code is None else str(one.exit_code), right=True, optional=True),
        Column("started", lambda one: view.time(one.started_at)[:19]),
        Column("took", lambda one: show_duration(one.duration_us), right=True),
        Column("language", lambda one: one.language),
        Column("contest", lambda one: one.contest_id or "", optional=True),
        Column("problem", lambda one: one.problem_name, wide=True),
        Column("stdout", lambda one: show_size(one.stdout_bytes), right=True, spare=True),
    ]
    view.rows(found, columns, empty="no executions", limit=limit)


@executions.command()
@click.argument("execution_id", metavar="ID")
@as_of_option
@view_options
@pass_state
def show(state: State, view: View, as_of: str | None, execution_id: str) -> None:
    """Show execution ID (the whole of it, its beginning, or `last`) with what it wrote."""

    def ids(prefix: str | None) -> list[str]:
        return [one.id for one in source.executions.find_all(prefix=prefix, limit=3)]

    with asked(state, as_of, view) as source:
        _item(view, source.executions.get(meant(execution_id, "execution", ids)))


@executions.command()
@click.argument("problem", metavar="PROBLEM")
@click.argument("language", metavar="LANGUAGE")
@click.option("--id", "execution_id", metavar="ID", help="Its id. Default: a new one.")
@click.option("--problem-id", metavar="ID", help="The problem's id.")
@click.option("--contest", "-c", metavar="ID", help="The contest.")
@click.option("--container", metavar="ID", help="The container it runs in.")
@click.option("--command", metavar="TEXT", help="What is run.")
@view_options
@pass_state
def start(
    state: State,
    view: View,
    problem: str,
    language: str,
    execution_id: str | None,
    problem_id: str | None,
    contest: str | None,
    container: str | None,
    command: str | None,
) -> None:
    """Record that a program in LANGUAGE begins to run on PROBLEM; prints its id."""
    with state.write(create=True) as log:
        execution = log.executions.start(
            problem,
            language,
            id=execution_id,
            problem_id=problem_id,
            contest_id=contest,
            container_id=container,
            command=command,
        )
    if view.is_json:
        _item(view, execution)
    else:
        view.say(execution.id)


@executions.command()
@click.argument("execution_id", metavar="ID")
@click.argument("status", metavar="STATUS")
@click.option("--exit-code", type=int, help="Its exit code.")
@click.option("--stdout", type=FILE, metavar="FILE", help="What it wrote to standard output; - reads it.")
@click.option("--stderr", type=FILE, metavar="FILE", help="What it wrote to standard error; - reads it.")
@click.option("--took", metavar="TIME", help="How long it ran: 250ms, 2s. Default: since it was started.")
@view_options
@pass_state
def finish(
    state: State,
    view: View,
    execution_id: str,
    status: str,
    exit_code: int | None,
    stdout: Path | None,
    stderr: Path | None,
    took: str | None,
) -> None:
    """Record how execution ID ended. STATUS is the verdict: accepted, wrong_answer, time_limit_exceeded …"""
    from eventlog.cli.times import parse_duration

    if stdout is not None and stdout == stderr == Path("-"):
        raise click.UsageError("--stdout and --stderr cannot both be -.")
    try:
        duration_us = None if took is None else parse_duration(took)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--took'") from None
    with state.write() as log:
        execution = log.executions.finish(
            execution_id,
            status,
            exit_code=exit_code,
            stdout=_content(stdout),
            stderr=_content(stderr),
            duration_us=duration_us,
        )
    if view.is_json:
        _item(view, execution)
    else:
        view.say(f"execution {execution_id} {status}")


@executions.command()
@click.argument("execution_id", metavar="ID")
@click.option("--reason", metavar="TEXT", help="Why.")
@yes_option
@view_options
@pass_state
def delete(state: State, view: View, execution_id: str, reason: str | None, yes: bool) -> None:
    """Take execution ID out of the tables; its events stay in the log."""
    confirm(f"Delete execution {execution_id!r}?", yes)
    with state.write() as log:
        log.executions.delete(execution_id, reason)
    view.done(f"execution {execution_id} deleted", "deleted", id=execution_id)


def _content(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with click.open_file(str(path), "rb") as file:
            data: bytes = file.read()
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error
    return data.decode(errors="backslashreplace")


def _item(view: View, one: Any) -> None:
    view.item(
        one,
        [
            ("execution", one.id),
            ("problem", one.problem_name),
            ("problem id", one.problem_id or ""),
            ("contest", one.contest_id or ""),
            ("language", one.language),
            ("status", one.status),
            ("exit code", "" if one.exit_code is None else str(one.exit_code)),
            ("started", view.time(one.started_at)),
            ("finished", view.time(one.finished_at)),
            ("took", show_duration(one.duration_us)),
            ("container", one.container_id or ""),
            ("command", one.command or ""),
        ],
    )
    for name, text, size in (("stdout", one.stdout, one.stdout_bytes), ("stderr", one.stderr, one.stderr_bytes)):
        if size:
            end = "" if len(text.encode()) >= size else ", the end of it"
            view.say(f"\n{name}, {show_size(size)}{end}:")
            view.say(text.rstrip("\n"))
