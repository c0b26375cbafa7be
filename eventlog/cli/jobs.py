"""``eventlog jobs``: the queue of jobs, and every question about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from eventlog.cli.lazy import LazyGroup
from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration, time_option
from eventlog.cli.view import Column, View, is_terminal

ENDED = ("completed", "failed", "cancelled", "expired")
STATUSES = ("queued", "processing", "held", *ENDED)
SHORT, LEAST_SUFFIX, FULL = 12, 6, 36
PAGE = 500
BACK = {"shutdown": "handed back", "snoozed": "snoozed"}
"""Reasons for which a job waits again that are no failures of its attempt."""


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "list": ("jobs:list_jobs", "List jobs, newest first."),
        "history": ("jobs:history", "Show a page of all jobs, and how many there are."),
        "show": ("jobs_show:show", "Show everything that is known about a job."),
        "explain": ("jobs_show:explain", "Say how a job came to be in its state, and what it waits for."),
        "enqueue": ("jobs_enqueue:enqueue", "Enqueue a job: of some kind, or a shell command."),
        "work": ("jobs_work:work", "Do jobs, until stopped or until there are none."),
        "recover": ("jobs_work:recover", "Take jobs from workers that are gone, and queue them again."),
        "schedule": ("jobs_schedule:schedule", "Jobs that are enqueued by the clock."),
        "retry": ("jobs_change:retry", "Run jobs again that failed, were cancelled, expired or are held."),
        "cancel": ("jobs_change:cancel", "Cancel jobs; those that run are asked to stop."),
        "purge": ("jobs_change:purge", "Take old jobs out of the tables; their events stay."),
        "pause": ("jobs_queues:pause", "Begin no job of a queue any more."),
        "resume": ("jobs_queues:resume", "Begin a queue's jobs again."),
        "limit": ("jobs_queues:limit", "Limit how many jobs of a queue run at once."),
        "queues": ("jobs_queues:queues", "List queues: how much waits, runs and is held back."),
        "workers": ("jobs_queues:workers", "List those who do jobs."),
        "check": ("jobs_check:check", "Fold the log and look for jobs with two owners or illegal states."),
        "watch": ("jobs_watch:watch", "Watch the queues: what waits, runs and fails."),
    },
)
def jobs() -> None:
    """The queue of jobs: enqueue, watch, explain, retry.

    JOB is a job's id, the end of one (6 characters or more), or `last`.
    """


def resolve(source: Any, text: str) -> str:
    """The id meant: ``last`` is the newest job's, and the end of an id stands for the one job it belongs to."""
    from eventlog.errors import NotFound

    if text == "last":
        newest = source.jobs.list(limit=1)
        if not newest:
            raise NotFound("there are no jobs yet; `eventlog jobs enqueue` makes one")
        return str(newest[0].job_id)
    text = text.removeprefix("job-")
    if len(text) == FULL or source.jobs.find(text) is not None:
        return text
    if len(text) < LEAST_SUFFIX:
        raise NotFound(f"there is no job {text}; the end of an id has to have {LEAST_SUFFIX} characters or more")
    found = _ending(source, text.lower())
    if not found:
        raise NotFound(f"there is no job whose id is, or ends with, {text}")
    if len(found) > 1:
        raise NotFound(f"several jobs' ids end with {text}: {', '.join(found)}, …; give more of it")
    return found[0]


def _ending(source: Any, suffix: str) -> list[str]:
    """Ids that end with ``suffix``, two at most."""
    found: list[str] = []
    before = None
    while len(found) < 2:
        page = source.jobs.list(text=suffix, before=before, limit=PAGE)
        found += [job.job_id for job in page if job.job_id.lower().endswith(suffix)]
        if len(page) < PAGE:
            break
        before = page[-1].job_id
    return found[:2]


def short(view: View, identifier: str | None) -> str:
    """An id as a person needs it: its end in a terminal, where the line is short."""
    return (identifier or "")[-SHORT:] if is_terminal() and not view.raw else identifier or ""


def user() -> str:
    """Who gives the command."""
    from eventlog.recorder.capture import user_name

    return user_name() or "cli"


def state_of(job: Any, view: View) -> str:
    """What is worth knowing of a job besides its status: how far it is, what went wrong, what it waits for."""
    if job.status == "processing":
        asked_to_stop = f"{job.cancel_requested_by} asked to cancel it" if job.cancel_requested_by is not None else ""
        return "; ".join(part for part in (progress(job), asked_to_stop) if part)
    if job.status == "queued":
        later = job.ready_at is not None and job.ready_at > job.updated_at
        why = error(job) or BACK.get(job.reason, "")
        return "; ".join(part for part in (f"not before {view.time(job.ready_at)[:19]}" if later else "", why) if part)
    if job.status == "completed":
        return ""
    return error(job) or job.reason or ""


def progress(job: Any) -> str:
    """``5/10 copying``, or nothing."""
    if job.progress_done is None:
        return ""
    total = "" if job.progress_total is None else f"/{job.progress_total}"
    return f"{job.progress_done}{total} {job.progress_message or ''}".rstrip()


def error(job: Any) -> str:
    """What went wrong at the last attempt, ``ValueError: no such file``; nothing where that gave the job back."""
    if job.reason in BACK and job.status in ("queued", "processing"):
        return ""  # what the row has is of an attempt before
    return ": ".join(part for part in (job.error_type, job.error_message) if part)


def arguments(job: Any, view: View) -> str:
    """What a job is to do: a shell job's command, else its arguments."""
    import shlex

    argv, command = job.args.get("argv"), job.args.get("command")
    if job.kind == "shell" and isinstance(argv, list) and all(isinstance(word, str) for word in argv):
        return shlex.join(argv)
    if job.kind == "shell" and isinstance(command, str):
        return command
    return view.value("args", job.args)


def columns(view: View) -> list[Column]:
    """The columns of a list of jobs."""
    return [
        Column("job", lambda job: short(view, job.job_id)),
        Column("status", lambda job: job.status, status=True),
        Column("queue", lambda job: job.queue),
        Column("kind", lambda job: job.kind),
        Column("attempt", lambda job: str(job.attempt), right=True),
        Column("created", lambda job: view.time(job.created_at)[:19], spare=True),
        Column("took", lambda job: show_duration(job.run_us), right=True, optional=True),
        Column("worker", lambda job: short(view, job.worker_id), optional=True, spare=True),
        Column("arguments", lambda job: arguments(job, view), wide=True, optional=True),
        Column("note", lambda job: state_of(job, view), wide=True, optional=True),
    ]


def _between(since: int | None, until: int | None, before: str | None) -> dict[str, str | None]:
    """A range of times as a range of ids, which begin with the millisecond in which they were made."""
    from eventlog.ids import floor_of

    ends: Iterable[str] = [end for end in (before, None if until is None else floor_of(until - 1_000)) if end]
    return {"after": None if since is None else floor_of(since - 1_000), "before": min(ends, default=None)}


@click.command("list")
@click.option("--status", "-s", type=click.Choice(STATUSES), multiple=True, help="Only these; may be repeated.")
@click.option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")
@click.option("--kind", "-k", metavar="NAME", help="Only jobs of this kind.")
@click.option("--batch", metavar="ID", help="Only jobs of this batch.")
@click.option("--worker", metavar="ID", help="Only jobs whose last attempt was this worker's.")
@click.option("--text", metavar="WORDS", help="Only jobs whose id, kind or error contains this.")
@click.option("--since", metavar="TIME", help="Only jobs enqueued at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only jobs enqueued before this.")
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--before", metavar="JOB", help="Only jobs older than this one: the next page.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the newest.")
@as_of_option
@view_options
@pass_state
def list_jobs(
    state: State,
    view: View,
    as_of: str | None,
    status: tuple[str, ...],
    queue: str | None,
    kind: str | None,
    batch: str | None,
    worker: str | None,
    text: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    before: str | None,
    offset: int,
) -> None:
    """List jobs, newest first."""
    filters: dict[str, Any] = {
        "status": status or None,
        "queue": queue,
        "kind": kind,
        "batch_id": batch,
        "worker_id": worker,
        "text": text,
    }
    first, last = time_option(since, view.zone, "--since"), time_option(until, view.zone, "--until")
    with asked(state, as_of, view) as source:
        older = None if before is None else resolve(source, before)
        found = source.jobs.list(**filters, **_between(first, last, older), limit=limit + 1, offset=offset)
        view.rows(found, columns(view), empty="no jobs", limit=limit)


@click.command()
@click.option("--status", "-s", type=click.Choice(STATUSES), help="Only jobs in this state.")
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@click.option("--before", metavar="JOB", help="Only jobs older than this one: the next page.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the newest.")
@as_of_option
@view_options
@pass_state
def history(
    state: State, view: View, as_of: str | None, status: str | None, limit: int, before: str | None, offset: int
) -> None:
    """Show a page of all jobs, newest first, and how many there are.

    JSON: an object with the page in jobs, and total, limit and offset.
    """
    with asked(state, as_of, view) as source:
        older = None if before is None else resolve(source, before)
        page = source.jobs.history(status=status, limit=limit, offset=offset, before=older)
    if view.is_json:
        view.item(page)
        return
    view.rows(page.jobs, columns(view), empty="no jobs")
    if page.jobs:
        view.say(f"\n{len(page.jobs)} of {page.total}")
