"""Sizes, interleaved timing, figures, and the table they are printed in."""

from __future__ import annotations

import gc
import json
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")
Sense = Literal[">=", "<="]


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything. Counts, unless the name says otherwise."""

    name: str
    rounds: int
    batch_commits: int
    """Commits of 1,000 events in each timed block."""
    singles: int
    """One-event durable commits a side, and per phase of the threads."""
    process_singles: int
    """One-event commits without fsync in each timed block."""
    threads: int
    process_seconds: float
    log_events: int
    """Events in the log that is replayed, rebuilt, rolled back and queried as of a version."""
    long_log_events: int
    """Events in the longer log that the second rollback runs on; 0: left out."""
    listed_runs: int
    finished_jobs: int
    """Jobs that ended, in the log in which others live."""
    llm_calls: int
    """Calls of language models, over 90 days."""
    queries: int
    starts: int
    searched_messages: int
    import_bytes: int
    """Transcripts that are imported."""


SIZES = {
    "tiny": Size(
        name="tiny",
        rounds=2,
        batch_commits=2,
        singles=100,
        process_singles=200,
        threads=32,
        process_seconds=0.4,
        log_events=10_000,
        long_log_events=0,
        listed_runs=1_000,
        finished_jobs=2_000,
        llm_calls=5_000,
        queries=5,
        starts=3,
        searched_messages=2_000,
        import_bytes=2_000_000,
    ),
    "small": Size(
        name="small",
        rounds=7,
        batch_commits=10,
        singles=1_000,
        process_singles=1_000,
        threads=32,
        process_seconds=2.0,
        log_events=200_000,
        long_log_events=0,
        listed_runs=20_000,
        finished_jobs=100_000,
        llm_calls=60_000,
        queries=15,
        starts=10,
        searched_messages=100_000,
        import_bytes=60_000_000,
    ),
    "full": Size(
        name="full",
        rounds=9,
        batch_commits=10,
        singles=3_000,
        process_singles=2_000,
        threads=32,
        process_seconds=5.0,
        log_events=1_000_000,
        long_log_events=5_000_000,
        listed_runs=100_000,
        finished_jobs=1_000_000,
        llm_calls=300_000,
        queries=25,
        starts=20,
        searched_messages=1_000_000,
        import_bytes=1_000_000_000,
    ),
}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure.

    ``bar`` applies to ``ratio``, or to ``ours`` where ``on_value`` is set; ``sense`` says on which side of it is good.
    A figure without a bar is there to be looked at. ``raw`` is what ours is compared with; ``against`` names it.
    """

    id: str
    what: str
    unit: str
    ours: float
    raw: float | None = None
    against: str = ""
    ratio: float | None = None
    bar: float | None = None
    sense: Sense = ">="
    on_value: bool = False
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        measured = self.ours if self.on_value else self.ratio
        if self.bar is None or measured is None:
            return None
        return measured >= self.bar if self.sense == ">=" else measured <= self.bar


class Timing(NamedTuple):
    """Seconds of each repetition."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def quantile(self, q: float) -> float:
        """The q-th quantile (nearest rank)."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def interleave(rounds: int, *sides: Callable[[], object]) -> list[Timing]:
    """Time each side once a round, A B A B …, so that a noisy minute hits all sides alike.

    What was prepared before is kept out of the garbage collector's sight: searching it again and again would be charged
    to whichever side makes objects.
    """
    gc.collect()
    gc.freeze()
    timings = [Timing([]) for _ in sides]
    for _ in range(rounds):
        for side, timing in zip(sides, timings, strict=True):
            started = time.perf_counter()
            side()
            timing.seconds.append(time.perf_counter() - started)
    gc.unfreeze()
    return timings


def over(numerator: Timing, denominator: Timing) -> float:
    """How many times as long one side took: the median over the rounds, each against its neighbour in time.

    On a machine whose speed drifts this is far steadier than the ratio of the two medians.
    """
    return statistics.median(a / b for a, b in zip(numerator.seconds, denominator.seconds, strict=True))


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def told(label: str) -> Iterator[None]:
    """Say on stderr what is being done and how long it took."""
    print(f"  {label} …", end="", flush=True, file=sys.stderr)
    started = time.perf_counter()
    yield
    print(f" {time.perf_counter() - started:.1f} s", file=sys.stderr)


def surroundings(folder: Path) -> dict[str, object]:
    """What a reader needs to compare two runs; nothing that names the machine."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "filesystem": filesystem(folder),
    }


def filesystem(folder: Path) -> str | None:
    """Type of the file system under a folder; on tmpfs an fsync costs nothing and the figures mean little."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return None
    inside = [(point, kind) for _, point, kind, *_ in mounts if folder.resolve().is_relative_to(point)]
    return max(inside, key=lambda mount: len(mount[0]))[1] if inside else None


def number(value: float | None) -> str:
    """Three figures that matter, thousands separated."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Iterable[Figure], other: str = "raw") -> str:
    """The figures as a Markdown table; ``other`` heads the column of what ours is compared with."""
    head = ["what", "ours", other, "ratio", "bar", "met?"]
    rows = [head]
    for figure in figures:
        sign = {">=": "≥", "<=": "≤"}[figure.sense]
        unit = figure.unit if figure.on_value else "times"
        rows.append(
            [
                figure.what,
                f"{number(figure.ours)} {figure.unit}",
                f"{number(figure.raw)} {figure.unit}" if figure.raw is not None else "",
                number(figure.ratio),
                f"{sign} {number(figure.bar)} {unit}" if figure.bar is not None else "",
                {True: "yes", False: "NO", None: ""}[figure.met],
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], size: Size, folder: Path) -> str:
    """Everything measured, with what it was measured on."""
    body = {
        "size": size.name,
        "counts": msgspec.to_builtins(size),
        "on": surroundings(folder),
        "figures": [{**msgspec.to_builtins(figure), "met": figure.met} for figure in figures],
    }
    return json.dumps(body, indent=1)
