"""Run statistics by hour and day × project × program × status, and the durations of ended runs as a histogram.

A run counts in the hour and day (UTC) in which it started. Where a run has no project its ``project_id`` is empty text.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventlog.projection import Rollup, Row, bin_of
from projections.runs import Run

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
Period = tuple[str, int, str, str, str]


class RunStatistic(Row, frozen=True):
    """Runs of one hour or day. ``wall_us`` and ``cpu_us`` are sums over those that ended."""

    period: str
    bucket_start: int
    project_id: str
    program: str
    status: str
    runs: int
    wall_us: int
    cpu_us: int


class RunDuration(Row, frozen=True):
    """How many runs of one hour or day lasted as long as a bin says (`eventlog.projection.histogram`, µs)."""

    period: str
    bucket_start: int
    project_id: str
    program: str
    status: str
    bin: int
    runs: int


def statistics(run: Run) -> Iterable[tuple[Period, tuple[int, int, int]]]:
    """What a run adds to the statistics."""
    wall = run.wall_us or 0
    cpu = (run.cpu_user_us or 0) + (run.cpu_system_us or 0)
    project = run.project_id or ""
    start, program, status = run.started_at, run.program, run.status
    numbers = (1, wall, cpu)
    return [
        (("hour", start - start % HOUR_US, project, program, status), numbers),
        (("day", start - start % DAY_US, project, program, status), numbers),
    ]


def durations(run: Run) -> Iterable[tuple[tuple[str, int, str, str, str, int], tuple[int]]]:
    """What a run adds to the histogram of durations: nothing while it has none."""
    if run.wall_us is None:
        return []
    bin_ = bin_of(run.wall_us)
    project = run.project_id or ""
    start, program, status = run.started_at, run.program, run.status
    return [
        (("hour", start - start % HOUR_US, project, program, status, bin_), (1,)),
        (("day", start - start % DAY_US, project, program, status, bin_), (1,)),
    ]


projections = (
    Rollup(
        "run_statistics",
        version=1,
        row=RunStatistic,
        source="runs",
        measures=("runs", "wall_us", "cpu_us"),
        contribute=statistics,
    ),
    Rollup("run_durations", version=1, row=RunDuration, source="runs", measures=("runs",), contribute=durations),
)
