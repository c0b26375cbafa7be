"""Processes killed at random moments, over and over, on one log that lives through all of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sizes import size
from under_fire import assert_sound, fill, kill_after, open_log, start

MODES = ("append", "group", "rebuild", "rollback", "three writers", "process durability")


@pytest.mark.parametrize("mode", MODES)
def test_no_acknowledged_event_is_lost_to_any_number_of_kills(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 300)
    chance = random.Random(mode)
    acknowledged: list[str] = []
    slowest = 0.0
    kills = 0
    for life in range(max(1, size("KILLS") // len(MODES))):
        if mode == "three writers":
            children = [start("append", path, f"life{life}w{n}") for n in range(3)]
        elif mode == "process durability":
            children = [start("append", path, f"life{life}", 1_000_000, "process")]
        else:
            children = [start(mode, path, f"life{life}")]
        for child in children:
            acknowledged += kill_after(child, chance.randrange(1, 80), chance.uniform(0.0, 0.3))
            kills += 1
        slowest = max(slowest, assert_sound(path, acknowledged))
    print(f"{mode}: {kills} kills, {len(acknowledged):,} acknowledged, 0 lost, slowest open {slowest * 1000:.0f} ms")
    assert slowest < 1.0
