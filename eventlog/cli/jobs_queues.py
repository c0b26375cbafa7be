"""``eventlog jobs pause``, ``resume``, ``limit``, ``queues`` and ``workers``."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.jobs import short, user
from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration
from eventlog.cli.view import Column, View

NO_LIMIT = -1


class Limit(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic in click 8.5 only
    """How many jobs may run at once; ``none``: as many as there are workers."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, `NO_LIMIT`, or a usage error."""
        if isinstance(value, int):
            return value
        if value.lower() == "none":
            return NO_LIMIT
        if value.isascii() and value.isdigit() and int(value) < 2**63:
            return int(value)
        self.fail(f"{value!r} is not a number of jobs (or `none`).", param, ctx)


@click.command()
@click.argument("queue", metavar="QUEUE")
@click.option("--reason", metavar="TEXT", default="", help="Why.")
@view_options
@pass_state
def pause(state: State, view: View, queue: str, reason: str) -> None:
    """Begin no job of QUEUE any more; what runs goes on. JSON: the queue as it is then."""
    with state.write(create=True) as log:
        _told(view, log.queues.pause(queue, user(), reason), "paused")


@click.command()
@click.argument("queue", metavar="QUEUE")
@view_options
@pass_state
def resume(state: State, view: View, queue: str) -> None:
    """Begin the jobs of QUEUE again. JSON: the queue as it is then."""
    with state.write() as log:
        _told(view, log.queues.resume(queue, user()), "resumed")


@click.command()
@click.argument("queue", metavar="QUEUE")
@click.argument("most", metavar="N|none", type=Limit())
@view_options
@pass_state
def limit(state: State, view: View, queue: str, most: int) -> None:
    """Let at most N jobs of QUEUE run at once, over all workers; none: any number. JSON: the queue as it is then."""
    with state.write(create=True) as log:
        told = "without a limit" if most == NO_LIMIT else f"limited to {most}"
        _told(view, log.queues.limit(queue, None if most == NO_LIMIT else most, user()), told)


def _told(view: View, queue: Any, what: str) -> None:
    if view.is_json:
        view.item(queue)
    else:
        view.say(f"queue {queue.queue} {what}: {queue.queued} queued, {queue.processing} processing")


def paused(view: View, by: str | None, at: int | None, reason: str | None) -> str:
    """``by ada since 2026-11-21 09:30:00: disk full``."""
    return f"by {by} since {view.time(at)[:19]}{f': {reason}' if reason else ''}"


@click.command()
@as_of_option
@view_options
@pass_state
def queues(state: State, view: View, as_of: str | None) -> None:
    """List the queues that have jobs or settings: how much waits (for later too) and runs, and what holds it back."""
    with asked(state, as_of, view) as source:
        found = source.queues.list()
    shown = [
        Column("queue", lambda queue: queue.queue),
        Column("queued", lambda queue: str(queue.queued), right=True),
        Column("processing", lambda queue: str(queue.processing), right=True),
        Column("held", lambda queue: str(queue.held or ""), right=True, optional=True),
        Column("limit", lambda queue: _limit(queue.max_running), right=True, optional=True),
        Column("paused", lambda queue: _paused(view, queue), wide=True, optional=True),
    ]
    view.rows(found, shown, empty="no queues")


def _limit(most: int | None) -> str:
    return "" if most is None else str(most)


def _paused(view: View, queue: Any) -> str:
    return paused(view, queue.paused_by, queue.paused_at, queue.pause_reason) if queue.paused else ""


@click.command()
@click.option("--status", "-s", type=click.Choice(("running", "stopped", "lost")), help="Only those.")
@click.option("--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help="At most this many.")
@as_of_option
@view_options
@pass_state
def workers(state: State, view: View, as_of: str | None, status: str | None, limit: int) -> None:
    """List those who do jobs, the newest first.

    JSON: the worker's fields, its jobs that are under way, silence_us: how long ago it said that it lives, and gone:
    what proves that one that is said to run does not (both null in the past, and of one that ended).
    """
    from eventlog.worker.recovery import proof

    with asked(state, as_of, view) as source:
        found = source.workers.list(status=status, limit=limit)
        silences = source.workers.silences() if as_of is None else {}
        busy: dict[str, list[str]] = {}
        for job in source.jobs.processing():
            busy.setdefault(job.worker_id, []).append(job.job_id)
    rows = []
    for worker in found:
        known = proof(worker) if as_of is None and worker.status == "running" else None
        beside = {"silence_us": silences.get(worker.worker_id), "gone": None if known is None else known[1]}
        rows.append(struct_fields(worker) | {"jobs": busy.get(worker.worker_id, [])} | beside)
    shown = [
        Column("worker", lambda row: short(view, row["worker_id"])),
        Column("status", _status, status=True),
        Column("heard of", lambda row: _ago(row["silence_us"]), right=True, optional=True),
        Column("jobs", lambda row: f"{len(row['jobs'])}/{row['concurrency']}", right=True),
        Column("host", lambda row: row["host"] or "", optional=True),
        Column("pid", lambda row: "" if row["pid"] is None else str(row["pid"]), right=True, optional=True),
        Column("user", lambda row: row["user"] or "", optional=True, spare=True),
        Column("started", lambda row: view.time(row["started_at"])[:19], spare=True),
        Column("queues", lambda row: " ".join(row["queues"]) or "all", wide=True),
        Column("kinds", lambda row: " ".join(row["kinds"]) or "all", wide=True, spare=True),
        Column("why", lambda row: row["gone"] or row["reason"] or "", wide=True, optional=True, spare=True),
    ]
    view.rows(rows, shown, empty="no workers")


def _status(row: dict[str, Any]) -> str:
    """A worker that runs, as far as is said, is ``gone`` where that is proven, ``silent`` after more than its lease."""
    if row["gone"] is not None:
        return "gone"
    silence = row["silence_us"]
    late = row["status"] == "running" and silence is not None and silence > row["lease_us"]
    return "silent" if late else str(row["status"])


def _ago(silence: int | None) -> str:
    return "" if silence is None else f"{show_duration(silence)} ago"
