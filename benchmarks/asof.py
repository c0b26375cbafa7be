"""As of an earlier version: how long until the first answer, from nothing. Each repetition asks for another version."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, interleave
from benchmarks.logs import Bench, opened
from eventlog import Log

BACK = 1_000


def run(bench: Bench) -> Iterator[Figure]:
    """Bar 10, and how much longer it takes from the middle of the log."""
    size = bench.size
    events = size.log_events
    with opened(bench.mixed(events)) as log:
        versions = iter(range(events - BACK, 0, -1))
        runs, bars = interleave(
            size.rounds, lambda: _list(log, next(versions)), lambda: _statistics(log, next(versions))
        )
        middle, *_ = interleave(1, lambda: _list(log, events // 2))
    yield _figure("asof.runs", f"as of {BACK:,} events back: first list of runs", runs.median, 300)
    yield _figure("asof.statistics", f"as of {BACK:,} events back: first run statistics", bars.median, 300)
    yield _figure("asof.middle", f"as of the middle of {events:,} events: first list of runs", middle.median, None)


def _figure(name: str, what: str, seconds: float, bar: float | None) -> Figure:
    return Figure(id=name, what=what, unit="ms", ours=seconds * 1e3, bar=bar, sense="<=", on_value=True)


def _list(log: Log, version: int) -> None:
    with log.as_of(version) as past:
        past.runs.list(limit=50)


def _statistics(log: Log, version: int) -> None:
    with log.as_of(version) as past:
        past.statistics.runs(by="day")
