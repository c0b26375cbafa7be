"""``eventlog stats``: counts, success rates and durations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from eventlog.cli.lazy import LazyGroup
from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import show_duration, time_option
from eventlog.cli.view import Column, View

JOB_BUCKETS = ("hour", "day", "week", "month", "queue", "kind")
BUCKETS = ("hour", "day", "week", "month", "program", "project", "status")
EXECUTION_BUCKETS = ("hour", "day", "week", "month", "problem", "language", "status")
STEP_US = {"hour": 3_600_000_000, "day": 86_400_000_000, "week": 7 * 86_400_000_000}
PLOT_WIDTH = 90


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "runs": ("stats:runs", "Count runs: how many, how many succeeded, how long they took."),
        "jobs": ("stats:jobs", "Count jobs: how many, how they ended, how long they waited and ran."),
        "executions": ("stats:executions", "Count executions: how many, with which verdicts, how long they took."),
        "tokens": ("stats_usage:tokens", "Count the tokens of language models, and what they cost."),
        "cost": ("stats_usage:cost", "What language models cost, and on what grounds that is said."),
        "tools": ("stats_usage:tools", "Count calls of tools: how they ended, how long they took."),
    },
)
def stats() -> None:
    """Counts, success rates, durations, tokens and costs."""


@click.command()
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
    columns = [
        *(_count(name) for name in ("runs", "success", "fail")),
        *(_count(name, optional=True) for name in ("killed", "lost", "running")),
        Column("rate", _rate, right=True),
        Column("n", lambda row: str(row.ended), right=True),
        Column("p50", lambda row: show_duration(row.p50_us), right=True),
        Column("p95", lambda row: show_duration(row.p95_us), right=True),
        Column("p99", lambda row: show_duration(row.p99_us), right=True),
        Column("total", lambda row: show_duration(row.wall_us_total), right=True, spare=True),
    ]
    _show(view, rows, columns, by, "runs", "success")


@click.command()
@click.option("--by", type=click.Choice(JOB_BUCKETS), help="One line for each of these.")
@click.option("--since", metavar="TIME", help="Only jobs enqueued at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only jobs enqueued before this.")
@click.option("--queue", "-q", metavar="NAME", help="Only jobs of this queue.")
@click.option("--kind", "-k", metavar="NAME", help="Only jobs of this kind.")
@as_of_option
@view_options
@pass_state
def jobs(
    state: State,
    view: View,
    as_of: str | None,
    by: str | None,
    since: str | None,
    until: str | None,
    queue: str | None,
    kind: str | None,
) -> None:
    """Count jobs: how many, how they ended, how long they waited and ran. Those that were purged count too.

    Percentiles are within 1 %, of the last attempts of jobs that ended.
    """
    with asked(state, as_of, view) as source:
        rows = source.statistics.jobs(
            by=by,
            since=time_option(since, view.zone, "--since"),
            until=time_option(until, view.zone, "--until"),
            queue=queue,
            kind=kind,
            tz=view.zone,
        )
    columns = [
        *(_count(name) for name in ("jobs", "completed", "failed")),
        *(_count(name, optional=True) for name in ("cancelled", "expired", "pending")),
        *(_count(name, optional=True) for name in ("retries", "failures", "crashes")),
        Column("rate", _rate, right=True),
        Column("wait p50", lambda row: show_duration(row.wait_p50_us), right=True, optional=True),
        Column("p95", lambda row: show_duration(row.wait_p95_us), right=True, optional=True),
        Column("p99", lambda row: show_duration(row.wait_p99_us), right=True, optional=True, spare=True),
        Column("run p50", lambda row: show_duration(row.run_p50_us), right=True, optional=True),
        Column("p95", lambda row: show_duration(row.run_p95_us), right=True, optional=True),
        Column("p99", lambda row: show_duration(row.run_p99_us), right=True, optional=True, spare=True),
        Column("total", lambda row: show_duration(row.run_us_total), right=True, spare=True),
    ]
    _show(view, rows, columns, by, "jobs", "completed")


@click.command()
@click.option("--by", type=click.Choice(EXECUTION_BUCKETS), help="One line for each of these.")
@click.option("--since", metavar="TIME", help="Only those started at or after this: 28d, 2h, yesterday, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only those started before this.")
@click.option("--problem", "-p", metavar="NAME", help="Only of this problem.")
@click.option("--language", "-l", metavar="NAME", help="Only in this language.")
@click.option("--status", "-s", metavar="NAME", help="Only with this verdict.")
@as_of_option
@view_options
@pass_state
def executions(
    state: State,
    view: View,
    as_of: str | None,
    by: str | None,
    since: str | None,
    until: str | None,
    problem: str | None,
    language: str | None,
    status: str | None,
) -> None:
    """Count executions: how many, with which verdicts, how long they took.

    Percentiles are within 1 %; n says how many durations they are made of.
    """
    with asked(state, as_of, view) as source:
        rows = source.statistics.executions(
            by=by,
            since=time_option(since, view.zone, "--since"),
            until=time_option(until, view.zone, "--until"),
            problem_name=problem,
            language=language,
            status=status,
            tz=view.zone,
        )
    columns = [
        _count("executions"),
        Column("accepted", lambda row: "" if row.accepted_rate is None else f"{row.accepted_rate:.1%}", right=True),
        Column("n", lambda row: str(row.ended), right=True),
        Column("p50", lambda row: show_duration(row.p50_us), right=True),
        Column("p95", lambda row: show_duration(row.p95_us), right=True),
        Column("p99", lambda row: show_duration(row.p99_us), right=True, spare=True),
        Column("verdicts", lambda row: view.value("statuses", row.statuses), wide=True),
    ]
    if by is not None:
        columns.insert(0, Column(by, lambda row: row.bucket))
    view.rows(rows, columns, empty="no executions")


def _show(view: View, rows: Sequence[Any], columns: list[Column], by: str | None, what: str, good: str) -> None:
    """A line for each bucket; by time, also the course of ``what`` there is and of what is ``good`` among it."""
    from eventlog.cli.plot import bar

    top = max((getattr(row, what) for row in rows), default=0)
    if by is not None:
        columns = [
            Column(by, lambda row: row.bucket or "(none)"),
            *columns,
            Column("", lambda row: bar(getattr(row, what), top, 12), spare=True),
        ]
    view.rows(rows, columns, empty=f"no {what}")
    if by in STEP_US and not view.is_json and len(rows) > 1:
        plot(
            view,
            rows,
            by,
            f"{what} per {by}",
            {"all": lambda row: getattr(row, what), good: lambda row: getattr(row, good)},
        )


def _rate(row: Any) -> str:
    return "" if row.success_rate is None else f"{row.success_rate:.1%}"


def _count(name: str, *, optional: bool = False) -> Column:
    """A column of a count; an optional one is empty where there are none, and left out where there are none at all."""

    def text(row: Any) -> str:
        count = getattr(row, name)
        return "" if optional and not count else str(count)

    return Column(name, text, right=True, optional=optional)


def plot(view: View, rows: Sequence[Any], by: str, title: str, lines: dict[str, Callable[[Any], int]]) -> None:
    """The course of some numbers over time, a line for each; buckets without any are gaps."""
    from eventlog.cli.plot import sparkline

    starts = {row.bucket_start for row in rows if row.bucket_start is not None}
    if len(starts) < 2:
        return
    first, last, step = min(starts), max(starts), STEP_US[by]
    slots = (last - first) // step + 1
    if slots > PLOT_WIDTH:
        first, slots = last - (PLOT_WIDTH - 1) * step, PLOT_WIDTH
    view.say(f"\n{title}, {view.time(first)[:16]} to {view.time(last)[:16]}")
    width = max(map(len, lines))
    for label, number in lines.items():
        counts = [0] * slots
        for row in rows:
            slot = round((row.bucket_start - first) / step)  # a day may be 23 or 25 hours long
            if 0 <= slot < slots:
                counts[slot] += number(row)
        view.say(f"  {label:<{width}}  {sparkline(counts)}  at most {max(counts):,}")
