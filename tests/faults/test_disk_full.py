"""No space left: the append says so, everything acknowledged stays, and the log works on when there is space again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mounts import fill_up
from under_fire import Ticked, assert_sound, fill, keys_in, open_log, run, start

from eventlog.errors import DiskFull, StoreError
from eventlog.log import Tx


def append_until_full(log: object, acknowledged: list[str], prefix: str) -> StoreError:
    for number in range(100_000):
        try:
            log.append("fire-full", Ticked(number=number, text="x" * 2000), key=f"{prefix}{number}")  # type: ignore[attr-defined]
        except StoreError as error:
            return error
        acknowledged.append(f"{prefix}{number}")
    raise AssertionError("the disk never became full")


def test_a_full_disk_is_told_and_the_log_works_on_when_there_is_space(tmpfs: Callable[[float], Path]) -> None:
    folder = tmpfs(24)
    path, filler = folder / "log.db", folder / "filler"
    acknowledged: list[str] = []
    log = open_log(path)
    fill(log, 100)
    for round_ in range(3):
        fill_up(filler)  # another program takes the space
        error = append_until_full(log, acknowledged, f"round{round_}-")
        assert isinstance(error, DiskFull), repr(error)
        assert set(acknowledged) <= set(keys_in(log)), "reading goes on while the disk is full"
        assert log.runs.count() >= 10
        with pytest.raises(DiskFull):
            log.append("fire-full", Ticked(text="x" * 200_000))
        filler.unlink()
        began = time.perf_counter()
        log.append("fire-full", Ticked(), key=f"space{round_}")
        assert time.perf_counter() - began < 1.0
        acknowledged.append(f"space{round_}")
    log.close()
    assert_sound(path, acknowledged)


def test_what_a_full_disk_did_not_take_is_told_though_whoever_met_it_first_caught_it(tmp_path: Path) -> None:
    with open_log(tmp_path / "log.db") as log:
        fill(log, 10)
        head = log.head()

        def work(tx: Tx) -> None:
            pages = tx.reader.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
            tx.reader.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]
            tx.append("fire-full", Ticked(text="x" * 200_000))
            with contextlib.suppress(Exception):
                tx.read_stream("fire-full")

        with pytest.raises(StoreError, match="full"):
            log.decide(work)
        with pytest.raises(StoreError, match="full"), log.transaction() as tx:
            work(tx)
        assert log.head() == head


def test_a_log_on_a_full_disk_opens_for_reading_or_says_that_the_disk_is_full(tmpfs: Callable[[float], Path]) -> None:
    folder = tmpfs(24)
    path, filler = folder / "log.db", folder / "filler"
    with open_log(path) as log:
        fill(log, 300)
        head = log.head()
    fill_up(filler)
    lines = run("read_and_try_to_append", path)  # a process of its own: it must not die by a signal
    assert lines in (["DiskFull"], [f"{head.position} {head.hash.hex()}", "DiskFull"])
    filler.unlink()
    assert_sound(path)


@pytest.mark.parametrize("left", ["closed", "killed", "open"])
def test_on_a_full_disk_every_command_that_only_reads_works(
    tmpfs: Callable[[float], Path], tmp_path: Path, left: str
) -> None:
    folder = tmpfs(24)
    path = folder / "log.db"
    with open_log(path) as log:
        fill(log, 300)
    if left == "killed":
        run("append_and_die", path, 20)
    with contextlib.ExitStack() as stack:
        if left == "open":
            fill(stack.enter_context(open_log(path)), 10)
        assert path.with_name("log.db-wal").exists() == (left != "closed")
        fill_up(folder / "filler")
        copies = [tmp_path / "backup.db", tmp_path / "export.jsonl"]
        for words in (
            *(("runs", "list"), ("log", "read"), ("log", "head"), ("log", "verify"), ("log", "export", copies[1])),
            *(("projections", "list"), ("projections", "verify"), ("runs", "list", "--as-of", 20), ("db", "status")),
            *(("db", "check"), ("db", "backup", copies[0]), ("tables", "export", "runs")),
        ):
            command = [sys.executable, "-m", "eventlog", "--db", str(path), *map(str, words)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, (words, done.returncode, done.stderr)
        done = subprocess.run([*command[:5], "projects", "add", "x"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "bytes are free" in done.stderr
    (folder / "filler").unlink()
    with open_log(path) as log, open_log(copies[0], mode="r") as copy:
        assert copy.head() == log.head()
        assert len(copies[1].read_text().splitlines()) >= log.head().position
    assert_sound(path)


def test_a_limit_on_file_size_in_the_middle_is_told_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 100)
    *acknowledged, last = run("append_under_a_size_limit", path, path.stat().st_size + 300_000)
    assert last.split()[0] in {"DiskFull", "StorageFailed"}, last
    assert len(acknowledged) > 5
    told_absent = last.split()[1]
    with open_log(path) as log:
        stored = keys_in(log)
    assert set(acknowledged) <= set(stored)
    assert told_absent not in stored
    assert_sound(path, acknowledged)


def test_a_writer_killed_on_a_full_disk_leaves_a_log_that_opens_without_help(tmpfs: Callable[[float], Path]) -> None:
    folder = tmpfs(24)
    path, filler = folder / "log.db", folder / "filler"
    open_log(path).close()
    child = start("append_until_full_and_wait", path, filler)
    assert child.stdout is not None
    lines: list[str] = []
    while not lines or "-" in lines[-1]:  # keys have a hyphen, the name of the final error has none
        lines.append(child.stdout.readline().strip())
        assert lines[-1], child.communicate()[1]
    child.kill()
    child.wait()
    child.communicate()
    assert lines[-1] == "DiskFull"
    told = run("read_and_try_to_append", path)
    assert told[-1] == "DiskFull" and (len(told) == 1 or int(told[0].split()[0]) >= len(lines) - 1)
    filler.unlink()
    assert_sound(path, lines[:-1])
