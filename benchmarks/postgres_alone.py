"""What has the peak memory measured: in a process of its own, which prints JSON.

``python -m benchmarks.postgres_alone import SOURCE URL`` copies a log into an empty one on a server;
``python -m benchmarks.postgres_alone rebuild URL ROUNDS`` fetches and rebuilds in turns.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import msgspec

from benchmarks import postgres_raw
from benchmarks.harness import interleave
from benchmarks.logs import opened
from benchmarks.rebuild import memory_watched
from eventlog.recorder.measure import own_peak_bytes


class Measured(msgspec.Struct, frozen=True):
    """Seconds of each repetition and of each raw fetch beside it; the most memory that all its processes held."""

    seconds: list[float]
    fetch: list[float]
    peak_bytes: int


def alone(*arguments: object) -> Measured:
    """Measure in a new process."""
    command = [sys.executable, "-m", "benchmarks.postgres_alone", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    return msgspec.json.decode(done.stdout, type=Measured)


def import_log(source: str, url: str) -> Measured:
    """Copy a log record by record, with its chain checked; projections are deferred."""
    with opened(source) as there, opened(url) as here:
        started = time.perf_counter()
        here.import_records(there.read())
        taken = time.perf_counter() - started
        if here.head() != there.head():
            raise SystemExit("the imported log is not the same log")
    return Measured([taken], [], own_peak_bytes())


def rebuild(url: str, rounds: str) -> Measured:
    """Fetch and rebuild in turns."""
    table = postgres_raw.connected(url)
    with opened(url) as log, memory_watched() as held:
        fetch, made = interleave(int(rounds), lambda: postgres_raw.fetch(table), lambda: log.projections.rebuild())
    table.close()
    return Measured(made.seconds, fetch.seconds, max(own_peak_bytes(), *held))


if __name__ == "__main__":
    work = {"import": import_log, "rebuild": rebuild}[sys.argv[1]]
    sys.stdout.buffer.write(msgspec.json.encode(work(*sys.argv[2:])))
