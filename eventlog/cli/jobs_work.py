"""``eventlog jobs work`` and ``eventlog jobs recover``: doing jobs, and taking them from those who are gone."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.options import view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import Column, View

if TYPE_CHECKING:
    from eventlog.worker.handlers import JobFunction


@click.command()
@click.option("--queue", "-q", "queues", metavar="Q", multiple=True, help="Only this queue; may be repeated, in order.")
@click.option("--kind", "-k", "kinds", metavar="K", multiple=True, help="Only jobs of this kind; may be repeated.")
@click.option(
    "--import",
    "-i",
    "imports",
    metavar="MODULE[:NAME]",
    multiple=True,
    help="Where handlers are: functions made with @job or @log.job; may be repeated.",
)
@click.option("--concurrency", "-c", type=click.IntRange(1, 1000), default=1, show_default=True, help="Jobs at once.")
@click.option("--processes", is_flag=True, help="Do each job in a child process instead of a thread.")
@click.option("--until-empty", is_flag=True, help="End when nothing is ready and nothing is being processed.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds that jobs may go on when the worker is asked to stop.",
)
@click.option(
    "--lease",
    type=click.FloatRange(0.5),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds of silence after which other machines take its jobs.",
)
@click.option("--persist", is_flag=True, help="Keep the jobs in a log of their own in --data-dir.")
@click.option("--data-dir", metavar="PATH", type=click.Path(), help="Where that is. Default: ./data.")
@click.option(
    "--retention-days", type=click.IntRange(0), metavar="N", help="Days after which ended jobs leave the tables."
)
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@pass_state
def work(
    state: State,
    queues: tuple[str, ...],
    kinds: tuple[str, ...],
    imports: tuple[str, ...],
    concurrency: int,
    processes: bool,
    until_empty: bool,
    grace: float,
    lease: float,
    persist: bool,
    data_dir: str | None,
    retention_days: int | None,
    quiet: bool,
) -> None:
    """Do jobs: shell commands, and those that the imported handlers are for. Other kinds are left alone.

    SIGTERM or Ctrl-C: what runs may finish, the rest goes back to the queue; a second time: at once.
    """
    from eventlog.persistence import config_of, open_persistent
    from eventlog.worker.worker import Worker

    if data_dir is not None and not persist:
        raise click.UsageError("--data-dir needs --persist.")
    if persist and state.db is not None:
        raise click.UsageError("--persist keeps jobs in --data-dir: it excludes --db.")
    config = config_of(persist, data_dir, retention_days)
    # As `python -m` would: what stands in this directory can be imported.
    sys.path.insert(0, os.getcwd())
    functions = _load(imports)
    opened = open_persistent(config, state.place, create=True)
    with opened.log as log:
        if opened.recovered.recovered:
            _say(f"recovered {counted(opened.recovered.recovered, 'job')}, requeued {opened.recovered.requeued}", quiet)
        Worker(
            log,
            handlers=functions,
            queues=queues or None,
            kinds=kinds or None,
            concurrency=concurrency,
            mode="processes" if processes else "threads",
            lease_s=lease,
            grace_s=grace,
            retention=config.retention if persist or retention_days is not None else None,
            tell=lambda text: _say(text, quiet),
        ).run(until_empty=until_empty)


def _load(imports: tuple[str, ...]) -> list[JobFunction]:
    from eventlog.worker.handlers import load

    return [function for reference in imports for function in load(reference)]


def _say(text: str, quiet: bool) -> None:
    from eventlog.cli.sanitise import clean_line

    if not quiet:
        click.echo(clean_line(text))
        sys.stdout.flush()


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show which jobs would be taken.")
@view_options
@pass_state
def recover(state: State, view: View, dry_run: bool) -> None:
    """Take jobs from workers that are gone: what is known about them decides, and stands in the job's events.

    On this machine a dead worker is known at once; of another one only that it said nothing for longer than its lease.
    """
    from eventlog.worker.recovery import RecoveryManager, result_of

    with state.write() as log:
        manager = RecoveryManager(log)
        if dry_run:
            found = manager.look()
            if view.is_json:
                view.objects(
                    {**struct_fields(job), "rung": rung, "evidence": evidence} for job, rung, evidence in found
                )
                return
            view.rows(found, _FOUND, empty="every job that is being processed has a worker that lives")
            return
        result = result_of(manager.sweep())
    if view.is_json:
        view.item(result)
    else:
        view.say(f"recovered {result.recovered:,}: {result.requeued:,} requeued, {result.failed:,} failed")


_FOUND: list[Any] = [
    Column("job", lambda found: found.job.job_id),
    Column("kind", lambda found: found.job.kind),
    Column("attempt", lambda found: str(found.job.attempt), right=True),
    Column("rung", lambda found: found.rung),
    Column("evidence", lambda found: found.evidence, wide=True),
]
