"""Backups, copies that are none, and flipped bits: what is whole says so, and what is not is reported."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from sizes import is_small, size
from under_fire import assert_sound, environment, fill, kill_after, open_log, raw, run, start, together


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventlog", *map(str, arguments)], capture_output=True, text=True, env=environment()
    )


def test_backups_taken_under_load_are_whole_and_hold_what_was_acknowledged_before(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 2000)
    writer = start("paced", path, "w", 300, size("BACKUPS") * 10 + 60)
    assert writer.stdout is not None
    backups: list[tuple[Path, int]] = []
    try:
        for number in range(size("BACKUPS")):
            time.sleep(0.1)
            with open_log(path, mode="r") as log:
                before = log.head().position
            target = tmp_path / f"backup{number}.db"
            done = command("--db", path, "db", "backup", target)
            assert done.returncode == 0, done.stderr
            backups.append((target, before))
    finally:
        acknowledged = kill_after(writer, 1)
    assert_sound(path, [line.split()[0] for line in acknowledged])
    for target, before in backups:
        with open_log(target) as copy:
            assert copy.head().position >= before
        assert_sound(target)
    waits = sorted(float(line.split()[1]) for line in acknowledged)
    print(
        f"{len(backups)} backups while {len(acknowledged):,} events were appended: all whole; "
        f"append p99 {waits[int(len(waits) * 0.99)]:.1f} ms"
    )


def test_the_newest_backup_restores_to_the_same_log_and_the_same_tables(tmp_path: Path) -> None:
    path, place = tmp_path / "log.db", tmp_path / "elsewhere"
    place.mkdir()
    with open_log(path) as log:
        fill(log, size("EVENTS") // 10)
        head, tables = log.head(), tables_of(log)
    assert command("--db", path, "db", "backup", tmp_path / "backup.db").returncode == 0
    began = time.perf_counter()
    done = command("--db", place / "log.db", "db", "restore", tmp_path / "backup.db")
    assert done.returncode == 0, done.stderr
    with open_log(place / "log.db") as restored:
        assert restored.head()[:2] == head[:2]
        assert tables_of(restored) == tables
        restored.projections.rebuild()
        assert tables_of(restored) == tables
        assert restored.verify().ok
    took = time.perf_counter() - began
    per_million = took / head.position * 1e6
    print(f"restore, rebuild and verify of {head.position:,} events: {took:.1f} s ({per_million:.0f} s per million)")
    if not is_small("EVENTS"):
        assert per_million <= 60
    assert_sound(place / "log.db")


def tables_of(log: object) -> dict[str, list[dict[str, object]]]:
    """Every table of every projection, whole."""
    projections = log.projections  # type: ignore[attr-defined]
    return {name: projections.rows(name) for name in projections.names()}


def copy_slowly(source: Path, target: Path) -> None:
    """Copy like a backup program on a busy disk, in a quarter of a second: the file changes in the meantime."""
    size_bytes = source.stat().st_size
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(max(4096, size_bytes // 25)):
            writing.write(chunk)
            time.sleep(0.01)


def test_naive_copies_of_a_live_log_are_sound_or_reported_and_never_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 500, text="x" * 400)
    orders = (("log.db",), ("log.db", "log.db-wal"), ("log.db-wal", "log.db"), ("log.db", "log.db-wal", "log.db-shm"))
    copies: list[Path] = []
    writer = start("churn", path, "w")
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip()]
    for number in range(size("COPIES")):
        place = tmp_path / f"copy{number}"
        place.mkdir()
        for name in orders[number % len(orders)]:
            if (tmp_path / name).exists():
                copy_slowly(tmp_path / name, place / name)
        copies.append(place / "log.db")
    acknowledged += kill_after(writer, 1)
    found = together(copies[0], ("check_each", *copies[1:]), timeout_s=300)[0]  # a traceback would fail here
    damaged = [copy for copy, line in zip(copies, found, strict=True) if line != "sound"]
    for copy in [*damaged[:3], *[copy for copy in copies if copy not in damaged][:2]]:
        done = command("--db", copy, "db", "check")
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode == (1 if copy in damaged else 0), (copy, done.stdout, done.stderr)
    print(f"{len(copies)} file copies of a live log: {len(damaged)} reported as damaged, the rest sound, 0 tracebacks")
    assert damaged or len(copies) < 20, "no copy was torn: the test tests nothing"
    assert_sound(path, acknowledged)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    """Every bit of an event's row counts; of the rest of the file some bits mean nothing."""
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 4000, text="x" * 300)
        texts = [record.data.encode() for record in log.read()][::7] + [record.hash for record in log.read()][::7]
    in_use = share_in_use(path)
    whole = path.read_bytes()
    chance = random.Random(5)
    anywhere = [chance.randrange(len(whole) * 8) for _ in range(size("FLIPS"))]
    in_events = []
    for text in chance.sample(texts, min(len(texts), size("FLIPS") // 5)):
        at = whole.find(text)
        in_events += [] if at < 0 else [(at + chance.randrange(len(text))) * 8 + chance.randrange(8)]
    found = {"anywhere": 0, "in an event": 0}
    missed: list[int] = []
    copy = tmp_path / "flipped.db"
    for what, bits in (("anywhere", anywhere), ("in an event", in_events)):
        batch = tmp_path / "bits.txt"
        batch.write_text("\n".join(map(str, bits)))
        lines = run("check_flips", path, batch, copy, timeout_s=60 + len(bits) * 2)
        found[what] = sum(line.endswith("found") for line in lines)
        missed += [int(line.split()[0]) for line in lines if what == "in an event" and not line.endswith("found")]
    share = found["anywhere"] / len(anywhere)
    print(
        f"{len(anywhere)} single bits flipped anywhere: {share:.0%} found, {in_use:.0%} of the file being in use; "
        f"{len(in_events)} in events: {found['in an event']} found"
    )
    assert missed == []
    assert share >= 0.9 * in_use


def share_in_use(path: Path) -> float:
    """Which part of a file means anything; the rest is room in its pages."""
    with raw(path) as connection:
        try:
            (unused,) = connection.execute("SELECT sum(unused) FROM dbstat").fetchone()
        except sqlite3.OperationalError:  # this SQLite has no dbstat
            return 0.85
    return 1 - float(unused) / path.stat().st_size
