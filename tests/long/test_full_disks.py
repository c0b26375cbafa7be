"""Disks that are full while the log is closed and opened again: no process dies, nothing acknowledged is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mounts import fill_up
from sizes import size
from under_fire import Ticked, assert_sound, environment, fill, keys_in, open_log, run

Mount = Callable[[float], Path]


def survive(folder: Path) -> tuple[int, int, float]:
    """Fill, reopen over and over, free; gives events kept, reopenings, and seconds until the log took events again."""
    path, filler = folder / "log.db", folder / "filler"
    with open_log(path) as log:
        fill(log, 100)
    acknowledged: list[str] = []
    seconds = 0.0
    for round_ in range(size("REOPENINGS")):
        lines = run("append_until_full", path, f"round{round_}", filler)  # a process of its own: it may not die
        acknowledged += [line for line in lines if line.startswith("round")]
        assert lines[-1] == "DiskFull", lines[-1]
        fill_up(filler)
        child = subprocess.run(
            [sys.executable, "-m", "workers", "read_and_try_to_append", str(path)],
            capture_output=True, text=True, env=environment(), timeout=60,
        )  # fmt: skip
        assert child.returncode == 0, f"the process died with {child.returncode}: {child.stderr[-2000:]}"
        assert child.stdout.splitlines()[-1] == "DiskFull", child.stdout
        filler.unlink()
        began = time.perf_counter()
        with open_log(path) as log:
            log.append("fire-space", Ticked(), key=f"space{round_}")
            seconds = max(seconds, time.perf_counter() - began)
            assert set(acknowledged) <= set(keys_in(log))
        assert seconds <= 1.0
        filler.touch()
    filler.unlink()
    assert_sound(path, acknowledged)
    return len(acknowledged), size("REOPENINGS"), seconds


def tell(place: str, kept: int, times: int, seconds: float) -> None:
    print(f"{place}: full {times} times, {kept} events kept, takes events again after {seconds * 1000:.0f} ms")


@pytest.mark.parametrize("megabytes", [6, 12])
def test_a_full_disk_in_memory(tmpfs: Mount, megabytes: int) -> None:
    kept, times, seconds = survive(tmpfs(megabytes))
    tell(f"tmpfs of {megabytes} MB", kept, times, seconds)


@pytest.mark.parametrize("megabytes", [6, 8, 16])
def test_a_full_ext4(ext4: Mount, megabytes: int) -> None:
    kept, times, seconds = survive(ext4(megabytes))
    tell(f"ext4 of {megabytes} MB", kept, times, seconds)


@pytest.mark.parametrize("megabytes", [3, 4])
def test_a_disk_too_small_for_a_log_is_told_not_died_of(ext4: Mount, megabytes: int) -> None:
    folder = ext4(megabytes)
    for round_ in range(size("REOPENINGS")):
        arguments = (folder / "log.db", f"r{round_}", folder / "filler")
        child = subprocess.run(
            [sys.executable, "-m", "workers", "append_until_full", *map(str, arguments)],
            capture_output=True, text=True, env=environment(), timeout=60,
        )  # fmt: skip
        assert child.returncode == 0, f"the process died with {child.returncode}: {child.stderr[-2000:]}"
        assert child.stdout.splitlines()[-1] == "DiskFull", child.stdout
        (folder / "filler").unlink(missing_ok=True)


def test_a_limit_on_file_size_over_and_over(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 100)
    acknowledged: list[str] = []
    for round_ in range(size("REOPENINGS")):
        limit = path.stat().st_size + 150_000 + 30_000 * round_
        *kept, told = run("append_under_a_size_limit", path, limit, f"round{round_}")
        acknowledged += kept
        error, key = told.split()
        assert error in {"DiskFull", "StorageFailed"}, told
        with open_log(path) as log:
            stored = set(keys_in(log))
        assert set(acknowledged) <= stored and key not in stored
    assert_sound(path, acknowledged)
    print(
        f"file size limit: hit {size('REOPENINGS')} times, {len(acknowledged)} events kept, each refused one is absent"
    )
