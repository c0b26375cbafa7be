"""``eventlog jobs check``: did every job go the way jobs may go."""

from __future__ import annotations

import sys

import click

from eventlog.cli.options import view_options
from eventlog.cli.progress import bar
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import View

SHOWN = 100


@click.command()
@view_options
@pass_state
def check(state: State, view: View) -> None:
    """Fold the log and look for jobs with two owners or illegal states. Exit status 1 when there are any.

    The events alone are looked at, not the tables: see `eventlog projections verify` for those.
    """
    with state.read() as log, bar() as progress:
        problems = log.jobs.check(progress)
    if view.is_json:
        view.item({"ok": not problems, "problems": [problem._asdict() for problem in problems]})
    for position, job_id, problem in problems[:SHOWN]:
        view.say(f"position {position}: job {job_id}: {problem}")
    if len(problems) > SHOWN:
        view.say(f"and {len(problems) - SHOWN} more (--json lists all)")
    view.say(counted(len(problems), "problem") if problems else "every job went as it may")
    if problems:
        sys.exit(1)
