"""PostgreSQL: clients killed at random moments, over and over, on one log that lives through all of it."""

from __future__ import annotations

import random

import pytest
from pg import assert_sound, opened
from sizes import size
from under_fire import fill, kill_after, run, start

MODES = ("append", "group", "rebuild", "rollback", "three writers")


@pytest.mark.parametrize("mode", MODES)
def test_no_acknowledged_event_is_lost_to_any_number_of_kills(url: str, mode: str) -> None:
    with opened(url) as log:
        fill(log, 100)
    chance = random.Random(mode)
    acknowledged: list[str] = []
    kills = 0
    for life in range(max(1, size("KILLS") // len(MODES))):
        names = [f"life{life}w{number}" for number in range(3 if mode == "three writers" else 1)]
        children = [start("append" if mode == "three writers" else mode, url, name) for name in names]
        for child in children:
            acknowledged += kill_after(child, chance.randrange(1, 40), chance.uniform(0.0, 0.2))
            kills += 1
        assert_sound(url, acknowledged)
    print(f"{mode}: {kills} kills, {len(acknowledged):,} acknowledged, 0 lost")


@pytest.mark.parametrize("what", ["append", "copy", "run", "transaction", "read", "rebuild"])
def test_an_interrupt_at_any_line_of_ours_or_of_the_driver_leaves_nothing_half_done(url: str, what: str) -> None:
    step = size("STEP") * (8 if what in ("read", "rebuild") else 1)
    print(what, *run("line_by_line", url, what, "all", step, timeout_s=3000))
    assert_sound(url)
