"""The command ``eventlog``: its sub-commands by name, each imported when it is used."""

from __future__ import annotations

import click

from eventlog.cli.lazy import RootGroup
from eventlog.cli.state import State

COMMANDS = {
    "demo": ("demo:demo", "Record a few real processes and show what the log can do."),
    "run": ("run:run", "Run a command and record it."),
    "runs": ("runs:runs", "Find, compare and repair recorded runs."),
    "jobs": ("jobs:jobs", "The queue of jobs: enqueue, watch, explain, retry."),
    "projects": ("projects:projects", "The projects that runs belong to."),
    "import": ("imports:import_", "Bring in what other programs wrote: transcripts, runs, tasks."),
    "executions": ("executions:executions", "Programs that were run on problems, and what they wrote."),
    "contests": ("contests:contests", "Contests."),
    "problems": ("contests:problems", "Problems, of contests or of none."),
    "settings": ("settings:settings", "Values that programs share, with everything they once were."),
    "containers": ("containers:containers", "What became of containers."),
    "workspaces": ("workspaces:workspaces", "The folders in which agents work."),
    "sessions": ("sessions:sessions", "Conversations with agents: show, fork, export."),
    "tasks": ("tasks:tasks", "The tasks of coding agents."),
    "search": ("search:search", "Find what was said, called, run and noted by its words."),
    "stats": ("stats:stats", "Counts, success rates, durations, tokens and costs."),
    "prices": ("prices:prices", "What tokens cost: price lists, and which price counts."),
    "log": ("log:log", "The events themselves: append, read, verify, export."),
    "tables": ("tables:tables", "The tables as files: CSV, JSON, Parquet."),
    "projections": ("projections:projections", "The tables computed from the events: rebuild, roll back, explain."),
    "serve": ("serve:serve", "Serve the log over HTTP."),
    "db": ("db:db", "The database: create, migrate, check, back up."),
    "config": ("config:config", "Which log is in use, and who says so."),
    "completion": ("completion:completion", "Print the completion script of a shell."),
}

EPILOG = """\b
First steps:
  eventlog demo                    see it work on a throw-away log
  eventlog run -- make test        record a command of your own
  eventlog runs list               find it again
"""


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("execution-eventlog")
    except PackageNotFoundError:
        found = "(a checkout, not installed)"
    click.echo(f"eventlog {found}")
    ctx.exit()


@click.group(
    cls=RootGroup,
    package="eventlog.cli",
    table=COMMANDS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--db",
    metavar="URL",
    help="The log: a path, or a URL like postgresql://user@host/database or http://host:8411. "
    "Default: what `eventlog config show` tells.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(ctx: click.Context, db: str | None, debug: bool) -> None:
    """An event-sourced execution log: record what programs do, and ask what happened."""
    ctx.obj = State(db)
