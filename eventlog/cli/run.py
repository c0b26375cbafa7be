"""``eventlog run``: the hot path, so nothing is imported here that a child's start would have to wait for."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from eventlog.cli.pairs import pairs, parameters
from eventlog.cli.state import State, pass_state


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="The exit status is the command's own, 128 + n when signal n ended it; "
    "1 where that would be 0 but its output could not be written.",
)
@click.option("--project", "-p", metavar="ID", help="The project this run belongs to.")
@click.option("--note", "-n", metavar="TEXT", default="", help="A remark.")
@click.option("--tag", "-t", "tags", metavar="K=V", multiple=True, help="A tag; may be repeated.")
@click.option("--param", "params", metavar="K=V", multiple=True, help="A parameter; may be repeated.")
@click.option(
    "--input",
    "-i",
    "inputs",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="Keep a copy of this file with the run; may be repeated.",
)
@click.option("--name", metavar="PROGRAM", help="The program's name in lists and statistics. Default: the command's.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_state
def run(
    state: State,
    project: str | None,
    note: str,
    tags: tuple[str, ...],
    params: tuple[str, ...],
    inputs: tuple[str, ...],
    name: str | None,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND and record it: what it was, how it ended, what it printed.

    Its input, output, errors and signals pass through untouched. Put -- before the command.
    """
    import eventlog
    from eventlog.errors import InvalidInput
    from eventlog.recorder.command import run_command
    from eventlog.target import parse_target

    try:
        if state.db is not None:
            parse_target(state.db)
    except InvalidInput as error:
        raise click.BadParameter(error.message, param_hint="'--db'") from error
    status = run_command(
        command,
        opener=lambda _, **options: eventlog.open(state.place, **options),
        log_target=state.db,
        project=project,
        note=note,
        tags=pairs(tags, "--tag"),
        parameters=parameters(params),
        inputs=inputs,
        program=name,
    )
    # All is closed and told by now; taking the interpreter down would cost more than recording did.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
