"""Many writers on one file: nothing corrupt, everyone gets a turn, and one that hangs is told."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from sizes import is_small, size
from under_fire import assert_sound, open_log, run, start, together


def test_four_writers_and_two_checkpointers_never_corrupt_the_log(tmp_path: Path) -> None:
    """The race of SQLite 3.7.0 to 3.51.2 between checkpoints and commits that restart the write-ahead log."""
    seconds = size("SECONDS")
    path = tmp_path / "log.db"
    open_log(path).close()
    commands: list[tuple[object, ...]] = [("stress", f"w{n}", seconds, "process") for n in range(4)]
    commands += [("checkpoint_over_and_over", seconds) for _ in range(2)]
    ended = together(path, *commands, timeout_s=seconds + 60)
    counts = [int(lines[-1]) for lines in ended]
    with open_log(path) as log:
        assert log.head().position == sum(counts[:4]), "acknowledged events are missing"
    assert_sound(path)
    print(
        f"SQLite {sqlite3.sqlite_version}, {seconds} s: {sum(counts[:4]):,} events by 4 writers, "
        f"{sum(counts[4:]):,} checkpoints by 2 others; chain, projections and pages in order"
    )
    assert min(counts[4:]) > 0


@pytest.mark.parametrize("writers", [4, 8])
def test_every_writer_gets_its_turn(tmp_path: Path, writers: int) -> None:
    seconds = max(6, size("SECONDS"))  # in less it is the system that shares its processors out, beside other tests
    path = tmp_path / "log.db"
    open_log(path).close()
    alone = float(run("fair", path, "alone", 2, 0)[-1].split()[1])
    ended = together(
        path, *[("fair", f"w{n}", seconds, time.time() + 2) for n in range(writers)], timeout_s=seconds + 60
    )
    figures = [tuple(map(float, lines[-1].split())) for lines in ended]
    counts = [figure[0] for figure in figures]
    fairness = min(counts) / max(counts)
    p99 = max(figure[1] for figure in figures)
    worst = max(figure[2] for figure in figures)
    print(
        f"{writers} writers, durable, {seconds} s: {sum(counts) / seconds:,.0f} events/s, "
        f"slowest/fastest {fairness:.2f}, p99 {p99:.1f} ms (alone {alone:.1f} ms), longest {worst:.0f} ms, 0 errors"
    )
    assert_sound(path)
    assert fairness >= (0.5 if is_small("SECONDS") else 0.7)
    # The small size runs beside other tests, which have the processors in turns with eight writers.
    bound = 100 if is_small("SECONDS") else 50
    assert p99 <= max(bound, 12 * writers * alone), "on a busy machine the figure of one writer alone is the measure"


def test_a_writer_that_hangs_inside_a_transaction_is_told_as_busy_and_waited_out(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_log(path).close()
    holder = start("hold_a_transaction", path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "inside\n"
    os.kill(holder.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        told, waited = run("append_and_time", path)[-1].split()
        assert told == "LogBusy"
        assert 9.0 <= float(waited) <= 11.0 + (time.monotonic() - began > 20), waited
        other = start("append_and_time", path)
        assert other.stdout is not None
        assert other.stdout.readline() == "begins\n"
        time.sleep(0.5)  # so that it waits with its longest pauses
    finally:
        killed_at = time.monotonic()
        holder.kill()
        holder.communicate()
    out, err = other.communicate(timeout=20)
    after = time.monotonic() - killed_at
    assert out.split()[0] == "appended", (out, err)
    assert after <= 1.5
    print(f"a stopped writer: others were told after {float(waited):.1f} s, and went on {after:.2f} s after its end")
    assert_sound(path)
