"""``eventlog jobs watch``: what the queues do, as it happens."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.jobs import ENDED, STATUSES, error, progress, short
from eventlog.cli.jobs_queues import paused
from eventlog.cli.options import view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted, show_duration
from eventlog.cli.view import Column, View, is_terminal

if TYPE_CHECKING:
    from eventlog.app import Log

HOUR_US = 3_600_000_000
FAILURES, RECENT = 5, 50
WINDOW_S = 10.0
BAR = 12
Part = tuple[str, list[Any], list[Column]]


class Seen(NamedTuple):
    """The queues at one moment: their counts of each state, and the statistics ``since`` the hour before this one."""

    at: int
    queues: list[dict[str, Any]]
    running: list[Any]
    failures: list[Any]
    since: int
    statistics: Any


@click.command()
@click.option("--queue", "-q", metavar="NAME", help="Only this queue.")
@click.option(
    "--interval", "-i", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds between looks."
)
@view_options
@pass_state
def watch(state: State, view: View, queue: str | None, interval: float) -> None:
    """Watch the queues until Ctrl-C: what waits, what runs and how far it is, what failed, how much is done.

    Where stdout is no terminal, or for JSON, it is told once: an object with at, queues, running, failures,
    since and statistics.
    """
    with state.query() as log:
        if view.is_json:
            seen = look(log, queue)
            view.item(seen)
        elif is_terminal():
            _live(log, view, queue, interval)
        else:
            _print(view, look(log, queue))


def look(log: Log, queue: str | None) -> Seen:
    """The queues as they are now."""
    from eventlog.clock import now_us
    from projections.workers import Queue

    now = now_us()
    counts = log.jobs.counts(("queue", "status"))
    fields = Queue.__struct_fields__
    settings = {state.queue: {name: getattr(state, name) for name in fields} for state in log.queues.list()}
    names = {name for name, _ in counts} | set(settings)
    running = [job for job in log.jobs.processing() if queue in (None, job.queue)]
    failed = log.jobs.list(status="failed", queue=queue, limit=RECENT)
    since = now - now % HOUR_US - HOUR_US
    statistics = log.statistics.jobs(since=since, queue=queue)
    return Seen(
        now,
        [
            struct_fields(Queue(name))
            | settings.get(name, {})
            | {status: counts.get((name, status), 0) for status in STATUSES}
            for name in sorted(names)
            if queue in (None, name)
        ],
        running,
        sorted(failed, key=lambda job: job.ended_at or 0, reverse=True)[:FAILURES],
        since,
        statistics[0] if statistics else None,
    )


class Rates:
    """How many jobs came and ended a second, over the last looks."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int, int]] = deque()

    def after(self, seen: Seen, moment: float) -> str:
        """``3.0/s enqueued, 2.5/s ended``; nothing at the first look. Jobs that are purged meanwhile do not count."""
        counts = [(sum(row[s] for s in STATUSES), sum(row[s] for s in ENDED)) for row in seen.queues]
        self._looks.append((moment, sum(both for both, _ in counts), sum(ended for _, ended in counts)))
        while len(self._looks) > 2 and moment - self._looks[0][0] > WINDOW_S:
            self._looks.popleft()
        (first, came, ended), (last, came_now, ended_now) = self._looks[0], self._looks[-1]
        if last <= first:
            return ""
        return (
            f"{max(0, came_now - came) / (last - first):.1f}/s enqueued, "
            f"{max(0, ended_now - ended) / (last - first):.1f}/s ended"
        )


def _parts(view: View, seen: Seen, most: int | None = None) -> Iterator[Part]:
    yield "queues", seen.queues, _queue_columns(view)
    if seen.running:
        more = len(seen.running) - (most or len(seen.running))
        title = "running" if more <= 0 else f"running ({more} more are not shown)"
        yield title, seen.running[:most], _running_columns(view, seen.at)
    if seen.failures:
        yield "latest failures", seen.failures, _failure_columns(view)


def _headline(view: View, seen: Seen, rates: str) -> str:
    found = seen.statistics
    parts = [view.time(seen.at)[:19], rates]
    if found is not None:
        rate = "" if found.success_rate is None else f", {found.success_rate:.1%} of the ended completed"
        parts.append(f"since {view.time(seen.since)[11:16]}: {counted(found.jobs, 'job')}{rate}")
        parts += [
            f"{name} p95 {show_duration(value)}"
            for name, value in (("wait", found.wait_p95_us), ("run", found.run_p95_us))
            if value is not None
        ]
    return "   ".join(part for part in parts if part)


def _print(view: View, seen: Seen) -> None:
    view.say(_headline(view, seen, ""))
    for title, rows, columns in _parts(view, seen):
        view.say(f"\n{title}")
        view.rows(rows, columns, empty=f"no {title}")


def _live(log: Log, view: View, queue: str | None, interval: float) -> None:
    import sys

    from rich.console import Console
    from rich.live import Live

    from eventlog.cli.stopping import told_to_stop

    stop = told_to_stop()
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    rates = Rates()
    # Leaving the block, for whatever reason, gives the cursor back.
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            seen = look(log, queue)
            live.update(_drawn(view, seen, rates.after(seen, time.monotonic()), console), refresh=True)
            if stop.wait(interval):
                return


def _drawn(view: View, seen: Seen, rates: str, console: Any) -> Any:
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = [Text(view.line(_headline(view, seen, rates)), no_wrap=True, overflow="ellipsis")]
    most = max(3, console.height - len(seen.queues) - len(seen.failures) - 11)
    for title, rows, columns in _parts(view, seen, most):
        lines += [Text(), Text(title, style="bold")]
        shown = [column for column in columns if not column.optional or any(map(column.text, rows))]
        lines.append(view.drawn(rows, shown, [0] * len(shown), console.width) if rows else Text(f"no {title}"))
    return Group(*lines)


def _queue_columns(view: View) -> list[Column]:
    return [
        Column("queue", lambda row: row["queue"], wide=True),
        *(_count(status) for status in STATUSES),
        Column("limit", lambda row: "" if row["max_running"] is None else str(row["max_running"]), optional=True),
        Column("paused", lambda row: _paused(row, view), wide=True, optional=True),
    ]


def _count(status: str) -> Column:
    """Those that wait and run, and those of the others that there are."""
    always = status in ("queued", "processing", "completed", "failed")
    return Column(status, lambda row: str(row[status] or ("0" if always else "")), right=True, optional=not always)


def _paused(row: dict[str, Any], view: View) -> str:
    return paused(view, row["paused_by"], row["paused_at"], row["pause_reason"]) if row["paused"] else ""


def _running_columns(view: View, now: int) -> list[Column]:
    return [
        Column("job", lambda job: short(view, job.job_id)),
        Column("queue", lambda job: job.queue),
        Column("kind", lambda job: job.kind),
        Column("attempt", lambda job: str(job.attempt), right=True, spare=True),
        Column("for", lambda job: show_duration(max(0, now - (job.started_at or now))), right=True),
        Column("worker", lambda job: short(view, job.worker_id), spare=True),
        Column("", _bar, optional=True),
        Column("progress", lambda job: progress(job), wide=True, optional=True),
    ]


def _bar(job: Any) -> str:
    """How far a job is that says so, as a bar in a frame."""
    from eventlog.cli.plot import bar
    from eventlog.cli.view import cell_width

    if not job.progress_total or job.progress_done is None:
        return ""
    filled = bar(min(job.progress_done, job.progress_total), job.progress_total, BAR)
    return f"[{filled}{' ' * (BAR - cell_width(filled))}]"


def _failure_columns(view: View) -> list[Column]:
    return [
        Column("job", lambda job: short(view, job.job_id)),
        Column("ended", lambda job: view.time(job.ended_at)[:19]),
        Column("queue", lambda job: job.queue),
        Column("kind", lambda job: job.kind),
        Column("attempt", lambda job: str(job.attempt), right=True, spare=True),
        Column("error", lambda job: error(job) or job.reason or "", wide=True),
    ]
