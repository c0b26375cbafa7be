"""``eventlog jobs retry``, ``cancel`` and ``purge``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from eventlog.cli.jobs import ENDED, PAGE, resolve, user
from eventlog.cli.options import confirm, view_options, yes_option
from eventlog.cli.state import State, pass_state, together
from eventlog.cli.times import counted, time_option
from eventlog.cli.view import View

if TYPE_CHECKING:
    from eventlog.app import Log


@click.command()
@click.argument("jobs", metavar="[JOB]…", nargs=-1)
@click.option("--reset-failures", is_flag=True, help="Forget its failures and crashes, so that it has all its retries.")
@click.option("--force", is_flag=True, help="Run also those again that succeeded.")
@click.option("--all-failed", is_flag=True, help="All jobs that failed.")
@view_options
@pass_state
def retry(state: State, view: View, jobs: tuple[str, ...], reset_failures: bool, force: bool, all_failed: bool) -> None:
    """Run jobs again that failed, were cancelled, expired or are held: all of those named, or none.

    A job that waits already is left as it is. JSON: the jobs as they are then.
    """
    if bool(jobs) == all_failed:
        raise click.UsageError("Give the jobs to retry, or --all-failed.")
    by = user()
    with state.write() as log:
        pages = _all_failed(log) if all_failed else iter([_named(log, jobs)])

        def retried() -> Iterator[Any]:
            for page in pages:
                with together(log):
                    found = [log.jobs.retry(job_id, by, reset_failures=reset_failures, force=force) for job_id in page]
                yield from found

        _told(view, retried(), "waits again", empty="no job has failed")


def _all_failed(log: Log) -> Iterator[list[str]]:
    before: str | None = None
    log.projections.require("jobs")  # rolled back, the table would tell of jobs that failed once
    while page := log.jobs.list(status="failed", before=before, limit=PAGE):
        before = page[-1].job_id
        yield [job.job_id for job in page]


@click.command()
@click.argument("jobs", metavar="JOB…", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", default="", help="Why.")
@view_options
@pass_state
def cancel(state: State, view: View, jobs: tuple[str, ...], reason: str) -> None:
    """Cancel jobs that wait or are held, all or none; those that run are asked to stop, and their worker stops them.

    JSON: the jobs as they are then.
    """
    by = user()
    with state.write() as log:
        names = _named(log, jobs)
        with together(log):
            found = [log.jobs.cancel(job_id, by, reason) for job_id in names]
    _told(view, iter(found), "cancelled")


def _named(log: Log, words: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(resolve(log, word) for word in words))


def _told(view: View, jobs: Iterator[Any], what: str, empty: str = "") -> None:
    if view.is_json:
        view.objects(jobs)
        return
    count = 0
    for count, job in enumerate(jobs, start=1):  # noqa: B007
        view.say(f"job {job.job_id} {what if job.status != 'processing' else 'is asked to stop'}")
    if not count:
        click.echo(empty, err=True)


@click.command()
@click.option(
    "--older-than", metavar="DURATION|TIME", required=True, help="Only jobs that ended before: 30d, 2026-11-21."
)
@click.option("--status", "-s", type=click.Choice(ENDED), multiple=True, help="Only these; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@yes_option
@view_options
@pass_state
def purge(state: State, view: View, older_than: str, status: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Take jobs out of the tables that ended long ago. Their events stay in the log, and what they counted for stays.

    JSON: {"jobs": how many, "dry_run": whether they are still there}.
    """
    before = time_option(older_than, view.zone, "--older-than") or 0
    chosen = status or ENDED
    with state.write() as log:
        log.projections.require("jobs")
        count = log.jobs.purge(before, chosen, dry_run=True)
        if not dry_run and count:
            confirm(f"Take {counted(count, 'job')} out of the tables?", yes)
            count = log.jobs.purge(before, chosen, reason=f"purged by {user()}")
    if view.is_json:
        view.item({"jobs": count, "dry_run": dry_run})
    else:
        jobs = counted(count, "job")
        view.say(f"{jobs} would be taken out of the tables" if dry_run else f"{jobs} taken out of the tables")
