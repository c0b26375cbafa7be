"""Rebuild of every shipped projection, in a process of its own so that the peak memory is its own. Against: a fetch.

``python -m benchmarks.rebuild LOG ROUNDS`` is that process: it fetches and rebuilds in turns and prints JSON. Memory is
what it and the processes that it starts hold together, looked at twenty times a second.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import raw
from benchmarks.harness import Figure, Timing, interleave, over
from benchmarks.logs import Bench, opened
from eventlog.recorder.measure import own_peak_bytes


class Measured(msgspec.Struct, frozen=True):
    """Seconds of each fetch and each rebuild, and the most memory that the process and its children held."""

    fetch: list[float]
    rebuild: list[float]
    peak_bytes: int


def run(bench: Bench) -> Iterator[Figure]:
    """Bar 8: against a fetch, in events a second, and in memory."""
    events = bench.size.log_events
    path = bench.mixed(events)
    command = [sys.executable, "-m", "benchmarks.rebuild", str(path), str(min(3, bench.size.rounds))]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent.parent)
    measured = msgspec.json.decode(done.stdout, type=Measured)
    rate, floor_rate = events / Timing(measured.rebuild).median, events / Timing(measured.fetch).median
    what = f"rebuild every shipped projection from {events:,} mixed events"
    yield Figure(
        id="rebuild",
        what=what,
        unit="events/s",
        ours=rate,
        raw=floor_rate,
        against="fetch of the same columns",
        ratio=over(Timing(measured.fetch), Timing(measured.rebuild)),
        bar=0.20,
    )
    yield Figure(id="rebuild.rate", what="the same: rate", unit="events/s", ours=rate, bar=150_000, on_value=True)
    yield Figure(
        id="rebuild.memory",
        what="the same: peak memory of all its processes",
        unit="MB",
        ours=measured.peak_bytes / 1e6,
        bar=300,
        sense="<=",
        on_value=True,
    )


def measure(path: Path, rounds: int) -> Measured:
    """Fetch and rebuild in turns."""
    table = raw.read_only(path)
    with opened(path) as log, memory_watched() as held:
        fetch, rebuild = interleave(rounds, lambda: raw.fetch(table), lambda: log.projections.rebuild())
    table.close()
    return Measured(fetch.seconds, rebuild.seconds, max(own_peak_bytes(), *held))


@contextmanager
def memory_watched() -> Iterator[list[int]]:
    """What this process and its children hold together, in bytes, again and again; zeros where there is no /proc."""
    held = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            held.append(sum(map(resident_bytes, ["self", *children()])))

    watching = threading.Thread(target=watch)
    watching.start()
    yield held
    over.set()
    watching.join()


def children() -> list[str]:
    return [pid for listed in Path("/proc/self/task").glob("*/children") for pid in listed.read_text().split()]


def resident_bytes(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0  # it has just ended


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(sys.argv[1]), int(sys.argv[2]))))
