"""A file of JSON lines: what many programs do instead of keeping a log.

Less work than ours, each time: no index, no version check, no chain, no lock against other writers, nothing to tell a
torn line from a whole one; and no table to ask anything, so the state of one run means reading the whole file.
Therefore appending, reading everything back, and one table of nine columns made from the file (ours: all shipped
projections, eight tables) are shown without a bar; raw sqlite3 commits are slower than a bare fsync too. The bar is on
answers.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Union

import msgspec

from benchmarks import workload
from benchmarks.harness import Figure, interleave
from benchmarks.logs import Bench, commits, opened
from benchmarks.peers.comparing import latencies, rates
from benchmarks.workload import APP_EVENTS, Burst
from eventlog.events import EVENTS, Event
from eventlog.events.runs import RunFinished, RunStarted

AGAINST = "JSON lines"
BATCH = 1_000


encode = msgspec.json.Encoder().encode
Known: Any = Union[(*EVENTS, *APP_EVENTS)]
"""One union of every class, so that a line is decoded in one step."""


class Typed(msgspec.Struct):
    """One line, decoded."""

    stream: str
    occurred_at: int
    event: Known


decode = msgspec.json.Decoder(Typed).decode


def run(bench: Bench) -> Iterator[Figure]:
    """Append, read back and fold, fold into tables, state of one run."""
    yield from _appends(bench)
    yield from _reads(bench)


def _line(burst: Burst, event: Event) -> bytes:
    return encode({"stream": burst.stream, "occurred_at": burst.occurred_at, "event": event}) + b"\n"


def _write(file: BinaryIO, lines: bytes) -> None:
    file.write(lines)
    file.flush()
    os.fsync(file.fileno())


def _appends(bench: Bench) -> Iterator[Figure]:
    count = bench.size.singles
    bursts = list(workload.singles(count))
    rounds = bench.size.rounds * bench.size.batch_commits
    batches = list(commits(workload.history(rounds * BATCH), BATCH))
    with bench.fresh("lines").open("wb") as file, opened(bench.fresh("ours")) as log:
        ours_one, peer_one = iter(bursts), iter(bursts)

        def append() -> None:
            burst = next(ours_one)
            log.append(burst.stream, burst.events, occurred_at=burst.occurred_at)

        def write() -> None:
            burst = next(peer_one)
            _write(file, _line(burst, burst.events[0]))

        ours, peer = interleave(count, append, write)
        what = "one durable append at a time, p50 (less work: see the module)"
        yield rates("jsonlines.single", what, AGAINST + ", fsync", 1, ours, peer, bar=None)

        ours_many, peer_many = iter(batches), iter(batches)

        def write_many() -> None:
            lines = [
                _line(Burst(append.stream, (), append.occurred_at), event)
                for append in next(peer_many)
                for event in append.events
            ]
            _write(file, b"".join(lines))

        ours, peer = interleave(rounds, lambda: log.append_many(next(ours_many)), write_many)
        what = "append 1,000 events a commit (less work: see the module)"
        yield rates("jsonlines.batch", what, AGAINST + ", fsync", BATCH, ours, peer, bar=None)


def _reads(bench: Bench) -> Iterator[Figure]:
    events = min(bench.size.log_events, 200_000)
    rounds = min(3, bench.size.rounds)
    lines = bench.fresh("lines")
    with lines.open("wb") as file:
        for burst in workload.history(events):
            file.writelines(_line(burst, event) for event in burst.events)
    with opened(bench.mixed(events)) as log:

        def replay() -> dict[str, Any]:
            return _fold((record.stream, record.occurred_at, record.event) for record in log.read())

        ours, peer = interleave(rounds, replay, lambda: _fold(_lines(lines)))
        what = f"replay {events:,} events and fold them in memory (less work: see the module)"
        yield rates("jsonlines.replay", what, AGAINST, events, ours, peer, bar=None)

        ours, peer = interleave(rounds, log.projections.rebuild, lambda: _tables(lines, bench.fresh("tables")))
        what = f"tables from {events:,} events: eight of ours, one of its (less work: see the module)"
        yield rates("jsonlines.tables", what, AGAINST + " into SQLite", events, ours, peer, bar=None)

        ours, peer = interleave(rounds, lambda: log.runs.get(17), lambda: _fold(_lines(lines))["run-17"])
        yield latencies("jsonlines.state", "the state of one run", AGAINST, ours, peer)


def _lines(path: Path) -> Iterator[tuple[str, int, Any]]:
    with path.open("rb") as file:
        for line in file:
            typed = decode(line)
            yield typed.stream, typed.occurred_at, typed.event


def _fold(events: Any) -> dict[str, list[Any]]:
    """Start and end of each run: nine values a row."""
    runs: dict[str, list[Any]] = {}
    for stream, at, event in events:
        if type(event) is RunStarted:
            runs[stream] = [stream, event.command, event.program, event.project_id, at, "running", None, None, None]
        elif type(event) is RunFinished and stream in runs:
            runs[stream][5:] = [event.status, event.exit_code, at, event.wall_us]
    return runs


def _tables(lines: Path, path: Path) -> None:
    """One table of nine columns with two indexes, in one transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "CREATE TABLE runs (run_id TEXT PRIMARY KEY, command TEXT, program TEXT, project_id TEXT, created_at INTEGER, "
        "status TEXT, exit_code INTEGER, ended_at INTEGER, wall_us INTEGER) STRICT"
    )
    connection.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * 9)})", _fold(_lines(lines)).values())
    connection.execute("CREATE INDEX runs_status ON runs (status, created_at)")
    connection.execute("CREATE INDEX runs_project ON runs (project_id, created_at)")
    connection.execute("COMMIT")
    connection.close()
