"""``eventlog stats``: counts, success rates and durations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration, time_option
from eventlog.cli.view import Column, View

BUCKETS = ("hour", "day", "week", "month", "program", "project", "status")
STEP_US = {"hour": 3_600_000_000, "day": 86_400_000_000, "week": 7 * 86_400_000_000}
PLOT_WIDTH = 90


@click.group()
def stats() -> None:
    """Counts, success rates and durations."""


@stats.command()
@click.option("--by", type=click.Choice(BUCKETS), help="One line for each of these.")
@click.option("--since", metavar="TIME", help="Only runs started at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only runs started before this.")
@click.option("--project", "-p", metavar="ID", help="Only runs of this project.")
@click.option("--program", metavar="NAME", help="Only runs of this program.")
@as_of_option
@view_options
@pass_state
def runs(
    state: State,
    view: View,
    as_of: str | None,
    by: str | None,
    since: str | None,
    until: str | None,
    project: str | None,
    program: str | None,
) -> None:
    """Count runs: how many, how many succeeded, how long they took.

    Percentiles are within 1 %; n says how many durations they are made of.
    """
    with asked(state, as_of, view) as source:
        rows = source.statistics.runs(
            by=by,
            since=time_option(since, view.zone, "--since"),
            until=time_option(until, view.zone, "--until"),
            project_id=project,
            program=program,
            tz=view.zone,
        )
    view.rows(rows, _columns(by, rows), empty="no runs")
    if by in STEP_US and not view.is_json and len(rows) > 1:
        _plot(view, rows, by)


def _columns(by: str | None, rows: Sequence[Any]) -> list[Column]:
    from eventlog.cli.plot import bar

    top = max((row.runs for row in rows), default=0)
    columns = [
        *(_count(name) for name in ("runs", "success", "fail")),
        *(_count(name, optional=True) for name in ("killed", "lost", "running")),
        Column("rate", lambda row: "" if row.success_rate is None else f"{row.success_rate:.1%}", right=True),
        Column("n", lambda row: str(row.ended), right=True),
        Column("p50", lambda row: show_duration(row.p50_us), right=True),
        Column("p95", lambda row: show_duration(row.p95_us), right=True),
        Column("p99", lambda row: show_duration(row.p99_us), right=True),
        Column("total", lambda row: show_duration(row.wall_us_total), right=True, spare=True),
    ]
    if by is None:
        return columns
    return [
        Column(by, lambda row: row.bucket or "(none)"),
        *columns,
        Column("", lambda row: bar(row.runs, top, 12), spare=True),
    ]


def _count(name: str, *, optional: bool = False) -> Column:
    """A column of a count; an optional one is empty where there are none, and left out where there are none at all."""

    def text(row: Any) -> str:
        count = getattr(row, name)
        return "" if optional and not count else str(count)

    return Column(name, text, right=True, optional=optional)


def _plot(view: View, rows: Sequence[Any], by: str) -> None:
    """The runs over time in one line, buckets without runs as gaps."""
    from eventlog.cli.plot import sparkline

    starts = {row.bucket_start: row for row in rows if row.bucket_start is not None}
    if len(starts) < 2:
        return
    first, last, step = min(starts), max(starts), STEP_US[by]
    slots = (last - first) // step + 1
    if slots > PLOT_WIDTH:
        first, slots = last - (PLOT_WIDTH - 1) * step, PLOT_WIDTH
    counts, good = [0] * slots, [0] * slots
    for start, row in starts.items():
        slot = round((start - first) / step)  # a day may be 23 or 25 hours long
        if 0 <= slot < slots:
            counts[slot] += row.runs
            good[slot] += row.success
    view.say(f"\nruns per {by}, {view.time(first)[:16]} to {view.time(last)[:16]}")
    view.say(f"  all      {sparkline(counts)}  at most {max(counts)}")
    view.say(f"  success  {sparkline(good)}  at most {max(good)}")
