"""Rolling every projection back over the last 1,000 events.

In size full also on a log five times longer, which must not cost more than twice as much. Each rollback is followed by
a resume, so every one starts from the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import Figure, Timing, interleave, over
from benchmarks.logs import Bench, opened
from eventlog import Log

UNDONE = 1_000


def run(bench: Bench) -> Iterator[Figure]:
    """Bar 9."""
    size = bench.size
    events = size.log_events
    rounds = max(3, min(size.rounds, 7))
    with opened(bench.mixed(events)) as log:
        short, resumed = measure(rounds, log)
        touched = sum(1 for _ in log.read(after=events - UNDONE))
    yield Figure(
        id="rollback",
        what=f"roll back the last {UNDONE:,} of {events:,} events, all projections",
        unit="ms",
        ours=short.median * 1e3,
        bar=100,
        sense="<=",
        on_value=True,
        detail=f"{touched:,} events undone",
    )
    yield Figure(id="rollback.resume", what="resume after it", unit="ms", ours=resumed.median * 1e3)
    if size.long_log_events:
        yield _longer(bench.mixed(size.long_log_events), size.long_log_events, bench.mixed(events), rounds)


def _longer(long_path: Path, events: int, short_path: Path, rounds: int) -> Figure:
    with opened(long_path) as long_log, opened(short_path) as short_log:
        times = interleave(rounds, *_steps(long_log), *_steps(short_log))
    long, short = times[0], times[2]
    return Figure(
        id="rollback.longer",
        what=f"the same with {events:,} events",
        unit="ms",
        ours=long.median * 1e3,
        raw=short.median * 1e3,
        against="the shorter log",
        ratio=over(long, short),
        bar=2.0,
        sense="<=",
    )


def measure(rounds: int, log: Log) -> tuple[Timing, Timing]:
    """Rollback and resume in turns."""
    rolled, resumed = interleave(rounds, *_steps(log))
    return rolled, resumed


def _steps(log: Log) -> tuple[Callable[[], object], Callable[[], object]]:
    to = log.head().position - UNDONE
    return (lambda: log.projections.rollback(to), lambda: log.projections.resume())
