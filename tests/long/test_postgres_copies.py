"""Copies, backups and restores of a long log in PostgreSQL: in little memory, however long it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sizes import size

import eventlog
from tests.helpers import ROOT, notes
from tests.postgres_ops.support import fresh_schema, programs, run_json

MEASURED = """
import re, sys
from eventlog.cli.root import cli
cli.main(sys.argv[1:], standalone_mode=False)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""
"""Not by getrusage, which remembers the process that this one was forked from."""
SMALL = 5_000
"""One whole batch: what a longer log needs beyond this is what grows with it."""


def peak_mb(*words: object, path: Path | None = None) -> int:
    """The peak memory of a command of ours, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURED, *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def log_of(place: Path, count: int) -> Path:
    """A log of so many events, each with a key, in a hundred streams."""
    with eventlog.open(place) as log:
        for start in range(0, count, 1000):
            log.append(f"note-{start // 1000 % 100}", notes(1000, start), key=f"key {start}", durability="process")
    return place


@pytest.fixture
def schemas() -> Iterator[list[str]]:
    with fresh_schema() as one, fresh_schema() as two, fresh_schema() as three, fresh_schema() as four:
        yield [one, two, three, four]


@pytest.mark.parametrize("way", ["pg_dump", "export"])
def test_a_long_log_is_copied_backed_up_and_restored_in_little_memory(
    tmp_path: Path, schemas: list[str], way: str
) -> None:
    count = 2 * size("EVENTS")
    path = programs() if way == "pg_dump" else tmp_path
    figures = {}
    for name, length, target, other in (("small", SMALL, *schemas[:2]), ("large", count, *schemas[2:])):
        source, saved = log_of(tmp_path / f"{name}.db", length), tmp_path / name
        figures[name] = {
            "copy": peak_mb("db", "copy", source, target),
            "backup": peak_mb("--db", target, "db", "backup", saved, path=path),
            "restore": peak_mb("--db", other, "db", "restore", saved, path=path),
            "back": peak_mb("db", "copy", other, tmp_path / f"{name}-back.db"),
        }
        heads = [run_json(place, "log", "head") for place in (source, target, other, tmp_path / f"{name}-back.db")]
        assert heads == [heads[0]] * 4
        assert heads[0]["position"] == length
    print(f"peak memory in MB: {SMALL:,} events {figures['small']}, {count:,} events {figures['large']}")
    for what, small in figures["small"].items():
        assert figures["large"][what] - small < 40, what
