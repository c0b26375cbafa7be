"""SIGKILL at any moment: nothing acknowledged is lost, and the next open needs no help."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from under_fire import assert_sound, fill, kill_after, open_log, start


@pytest.mark.parametrize("what", ["append", "group", "rebuild", "rollback"])
def test_a_killed_writer_loses_nothing_it_had_acknowledged(tmp_path: Path, what: str) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 300)
    chance = random.Random(what)
    acknowledged: list[str] = []
    for life in range(3):
        child = start(what, path, f"life{life}")
        acknowledged += kill_after(child, chance.randrange(5, 60), chance.uniform(0, 0.05))
        assert_sound(path, acknowledged)


def test_three_writers_killed_one_after_the_other_leave_a_log_without_gaps(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_log(path).close()
    children = [start("append", path, f"w{n}") for n in range(3)]
    acknowledged = [key for n, child in enumerate(children) for key in kill_after(child, 5 + 5 * n, 0.02)]
    assert_sound(path, acknowledged)


def test_a_process_killed_while_it_creates_the_log_leaves_nothing_that_needs_repair(tmp_path: Path) -> None:
    for n in range(6):
        path = tmp_path / f"log{n}.db"
        child = start("append", path)
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.002 * n)
        child.kill()
        out, err = child.communicate()
        assert child.returncode == -9, err
        assert_sound(path, [line.strip() for line in out.splitlines(keepends=True) if line.endswith("\n")])
