"""Importing Claude Code's transcripts, in processes of their own so that the peak memory is theirs.

``python -m benchmarks.imports LOG FOLDER MODE`` is such a process: it imports and prints JSON. Against: each line
decoded and put into a plain table under its id, in transactions as large.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

import eventlog
from benchmarks.harness import Figure, told
from benchmarks.logs import Bench
from benchmarks.rebuild import memory_watched
from benchmarks.transcripts import multiplied
from eventlog.recorder.measure import own_peak_bytes

LINES_A_COMMIT = 4_000


class Measured(msgspec.Struct, frozen=True):
    """Seconds of an import, the most memory all its processes held, the size of everything it left."""

    seconds: float
    peak_bytes: int
    stored_bytes: int
    events: int


def run(bench: Bench) -> Iterator[Figure]:
    """Megabytes of transcripts a second, tables and search index kept or not; memory; size of the log."""
    source = bench.folder / "transcripts"
    with told(f"making transcripts of {bench.size.import_bytes:,} bytes"):
        size = multiplied(source, bench.size.import_bytes)
    files = sum(1 for _ in source.rglob("*.jsonl"))
    floor = size / _plain(source, bench.fresh("plain")) / 1e6
    kept = _measured(bench.fresh("import"), source, "inline")
    appended = _measured(bench.fresh("import"), source, "deferred")
    what = f"import of {files:,} transcripts, {size / 1e6:,.0f} MB, {kept.events:,} events"
    yield _rate("import.kept", f"{what}, every table and the search index kept", size, kept, floor, 15)
    yield _rate("import.deferred", "the same, tables deferred", size, appended, floor, 25)
    yield Figure(
        id="import.memory",
        what="the same: peak memory of all its processes",
        unit="MB",
        ours=max(kept.peak_bytes, appended.peak_bytes) / 1e6,
        bar=250,
        sense="<=",
        on_value=True,
    )
    yield Figure(
        id="import.size",
        what="the same: the whole database over its source",
        unit="times",
        ours=kept.stored_bytes / size,
        bar=2,
        sense="<=",
        on_value=True,
    )
    shutil.rmtree(source)


def _rate(id_: str, what: str, size: int, measured: Measured, floor: float, bar: float) -> Figure:
    rate = size / measured.seconds / 1e6
    return Figure(
        id=id_,
        what=what,
        unit="MB/s",
        ours=rate,
        raw=floor,
        against="each line decoded and inserted",
        ratio=rate / floor,
        bar=bar,
        on_value=True,
    )


def _measured(path: Path, source: Path, mode: str) -> Measured:
    command = [sys.executable, "-m", "benchmarks.imports", str(path), str(source), mode]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent.parent)
    shutil.rmtree(path.parent)
    return msgspec.json.decode(done.stdout, type=Measured)


def measure(path: Path, source: Path, mode: str) -> Measured:
    """Import everything once."""
    with (
        eventlog.open(path, projections="inline" if mode == "inline" else "deferred") as log,
        memory_watched() as held,
    ):
        started = time.perf_counter()
        report = log.import_from("claude", source)
        seconds = time.perf_counter() - started
        assert report.total.understood_records, report
    stored = sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file())
    return Measured(seconds, max(own_peak_bytes(), *held), stored, report.total.events)


def _plain(source: Path, path: Path) -> float:
    """Seconds to decode each line and insert it, with nothing else done."""
    decode = msgspec.json.decode
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, key TEXT UNIQUE, data TEXT NOT NULL)")
    started = time.perf_counter()
    pending: list[tuple[str, str]] = []
    number = 0

    def flush() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT OR IGNORE INTO lines (key, data) VALUES (?, ?)", pending)
        connection.execute("COMMIT")
        pending.clear()

    for file in sorted(source.rglob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            number += 1
            try:
                value = decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            key = value.get("uuid") if isinstance(value, dict) else None
            pending.append((str(key or number), line.decode()))
            if len(pending) >= LINES_A_COMMIT:
                flush()
    flush()
    connection.close()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
