"""Ctrl-C: whatever it falls into, the work is wholly done or not at all, and the log works on."""

from __future__ import annotations

import pytest
from pg import Wire, ask, assert_sound, opened, session
from under_fire import run

from tests.helpers import eventually


@pytest.mark.parametrize(
    ("what", "code", "step"),
    [
        ("append", "ours", 1),
        pytest.param("many", "ours", 8, marks=pytest.mark.long),
        pytest.param("copy", "all", 120, marks=pytest.mark.long),
        pytest.param("transaction", "ours", 8, marks=pytest.mark.long),
        pytest.param("rebuild", "ours", 400, marks=pytest.mark.long),
        ("rebuild", "withs", 1),
    ],
)
def test_an_interrupt_at_any_line_leaves_nothing_half_done(url: str, what: str, code: str, step: int) -> None:
    line = run("line_by_line", url, what, code, step, timeout_s=110)[-1]
    assert int(line.split()[0]) >= 5, line
    assert_sound(url)


def test_an_interrupt_that_leaves_the_drivers_lock_behind_hangs_nobody(url: str) -> None:
    assert run("entering_a_copy", url, "copy", timeout_s=20) == ["interrupted at contextlib.py"]
    assert_sound(url, ["before", "after"])


@pytest.mark.parametrize("again_s", [pytest.param(0, marks=pytest.mark.long), 0.15], ids=["once", "again and again"])
def test_an_interrupt_while_the_server_is_at_work_is_told_soon_and_the_log_works_on(url: str, again_s: float) -> None:
    lines = run("in_the_middle", url, again_s)
    assert lines == ["wait_for_the_head: interrupted", "read: interrupted", "copy: interrupted"]
    left = "SELECT count(*) FROM pg_stat_activity WHERE state != 'idle' AND query LIKE 'SELECT pg_sleep(20)%'"
    with session(url) as watch:
        eventually(lambda: ask(watch, left) == 0)
    assert_sound(url, ["before", "after"])


@pytest.mark.parametrize(("how", "times"), [pytest.param("slow answer", 1, marks=pytest.mark.long), ("late", 3)])
def test_others_whose_events_go_with_an_interrupted_commit_are_stored_once(
    url: str, wire: Wire, how: str, times: int
) -> None:
    opened(url).close()
    wire.how, wire.skip, wire.held_s = how, 1, 1.0
    lines = run("group_interrupted_at_commit", wire.url, times)
    assert wire.cuts == 1
    assert lines == [
        "interrupted",
        "stored stored stored",
        "fire-0 fire-1 fire-2 fire-held fire-last fire-main",
    ]
    assert_sound(url)


def test_others_in_an_interrupted_commit_are_told_that_nobody_knows_where_the_server_stays_away(
    url: str, wire: Wire
) -> None:
    wire.how, wire.skip, wire.held_s, wire.away_after_cut = "slow answer", 1, 1.5, True
    with opened(url) as log:
        lines = run("group_interrupted_at_commit", wire.url, 3, 0.5)
        assert lines[0] in ("interrupted", "unknown")
        assert lines[1:] == ["OutcomeUnknown OutcomeUnknown OutcomeUnknown"]
        streams = sorted(record.stream for record in log.read())
        assert streams == ["fire-0", "fire-1", "fire-2", "fire-held", "fire-main"]
    assert_sound(url)
