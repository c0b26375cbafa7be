"""Huey's SqliteHuey: tasks put into a table and taken out of it again.

Less work than ours: a task that is taken out is gone (no history, no state, no recovery when its worker dies), and its
result is not kept. One task at a time on both sides; with fsync off Huey's is ``synchronous=OFF``, ours NORMAL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import eventlog
from benchmarks.harness import Figure, interleave
from benchmarks.jobs import one_by_one
from benchmarks.logs import Bench
from benchmarks.peers.comparing import rates
from eventlog.store.base import Durability

AGAINST = "Huey's SqliteHuey"


def run(bench: Bench) -> Iterator[Figure]:
    """Enqueue, and take out and run; without and with fsync."""
    for name, fsync, durability, bar in (("process", False, "process", None), ("durable", True, "full", 0.4)):
        count = bench.size.process_singles if durability == "process" else max(10, bench.size.singles // 5)
        yield _compare(bench, name, fsync, durability, count, bar)  # type: ignore[arg-type]


def _compare(bench: Bench, name: str, fsync: bool, durability: Durability, count: int, bar: float | None) -> Figure:
    huey = _huey(bench.fresh(f"huey-{name}"), fsync)
    with eventlog.open(bench.fresh(f"ours-{name}")) as log:
        ours, peer = interleave(
            min(5, bench.size.rounds), lambda: one_by_one(log, count, durability), lambda: _all(huey, count)
        )
    what = f"a job enqueued, claimed and completed, one by one, {'durable' if fsync else 'not synced'}"
    return rates(f"huey.{name}", what, f"{AGAINST}, fsync {'on' if fsync else 'off'}", count, ours, peer, bar=bar)


def _huey(path: Path, fsync: bool) -> tuple[Any, Callable[[int], Any]]:
    from huey import SqliteHuey

    huey = SqliteHuey(filename=str(path), fsync=fsync, results=False)

    @huey.task()  # type: ignore[untyped-decorator,unused-ignore]
    def work(number: int) -> None:
        """Do nothing."""

    return huey, work


def _all(peer: tuple[Any, Callable[[int], Any]], count: int) -> None:
    huey, work = peer
    for number in range(count):
        work(number)
    while (task := huey.dequeue()) is not None:
        huey.execute(task)
