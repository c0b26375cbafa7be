"""Readers that never finish must not make the write-ahead log grow, nor hold up anyone."""

from __future__ import annotations

import time
from pathlib import Path

from under_fire import Ticked, assert_sound, fill, open_log

import eventlog

BATCH = [Ticked(number=n, text="x" * 1000) for n in range(100)]


def append_megabytes(log: eventlog.app.Log, megabytes: int) -> None:
    for number in range(megabytes * 10):
        log.append(f"fire-{number}", BATCH)


def wal_megabytes(path: Path) -> float:
    wal = path.with_name(path.name + "-wal")
    return wal.stat().st_size / 1e6 if wal.exists() else 0.0


def test_half_read_iterators_do_not_pin_the_write_ahead_log(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log, open_log(path, mode="r") as other:
        append_megabytes(log, 2)
        left_open = [
            log.read(),
            log.read(backwards=True),
            log.read_stream("fire-1"),
            other.read(),
            other.follow(after=0),
        ]
        for reader in left_open:
            next(reader)
        append_megabytes(log, 40)
        grown = wal_megabytes(path)
        print(f"write-ahead log after 40 MB beside 5 half-read iterators: {grown:.1f} MB")
        assert grown < 12
        rest = sum(1 for _ in left_open[0])
        assert rest >= 2 * 1000 - 1, "the half-read iterator goes on where it was"
    assert_sound(path)


def test_a_past_left_open_lets_writers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 200)
        with log.as_of(50) as past:
            before = past.runs.list()
            began = time.perf_counter()
            append_megabytes(log, 5)
            assert time.perf_counter() - began < 10
            assert past.runs.list() == before
    assert_sound(path)


def test_writers_do_not_wait_for_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log, open_log(path, mode="r") as other:
        append_megabytes(log, 2)
        reader = other.read()
        next(reader)
        worst = 0.0
        for number in range(300):
            began = time.perf_counter()
            log.append("fire-quick", Ticked(number=number))
            worst = max(worst, time.perf_counter() - began)
            next(reader)
        assert worst < 1.0
