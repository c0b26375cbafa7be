"""SIGKILL of a client at any moment: nothing acknowledged is lost, and the next open needs no help."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from pg import HOLDS, Forked, ask, assert_sound, opened, session, somebody_waits, stopped, stranger
from under_fire import Ticked, fill, kill_after, open_log

from tests.helpers import eventually

LEFT = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE '%\\_\\_%'"


@pytest.mark.parametrize("what", ["append", "group", "rebuild", "rollback"])
def test_a_killed_writer_loses_nothing_it_had_acknowledged(url: str, what: str) -> None:
    with open_log(url) as log:
        fill(log, 100)
    chance = random.Random(what)
    acknowledged: list[str] = []
    for life in range(2 if what == "group" else 1):
        child = Forked(what, url, f"life{life}")
        acknowledged += kill_after(child, chance.randrange(5, 40), chance.uniform(0, 0.05))
    assert_sound(url, acknowledged)
    with opened(url) as log, session(url) as watch:
        log.projections.rebuild()
        assert ask(watch, LEFT) == 0
        assert log.projections.verify() == []


def test_a_client_killed_while_it_waits_for_the_head_or_holds_it_is_waited_out_by_nobody(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        with stranger(url, HOLDS) as holder:
            waiting = Forked("append", url, "waiting")
            somebody_waits(watch)
            waiting.kill()
            waiting.communicate()
            holder.execute("ROLLBACK")
        assert log.append("fire-1", Ticked(), key="after the one that waited").first == 1
        holding = Forked("hold_a_transaction", url)
        assert holding.stdout is not None
        assert holding.stdout.readline() == "inside\n"
        holding.kill()
        holding.communicate()
        assert log.append("fire-1", Ticked(), key="after the one that held").first == 2
    assert_sound(url)


def test_a_client_killed_with_its_commit_on_the_way_leaves_the_event_or_not_and_the_head_free(url: str) -> None:
    with open_log(url) as log:
        log.append("fire-1", Ticked(), key="before")
    for life in range(2):
        child = Forked("append", url, f"life{life}", 1_000_000, "full")
        assert child.stdout is not None
        first = child.stdout.readline()
        stopped(child.pid)  # wherever it is
        acknowledged = [first.strip(), *kill_after(child, 0)]
        assert_sound(url, acknowledged)


def test_an_import_killed_in_the_middle_goes_on_where_it_was(url: str, tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    with open_log(source) as log:
        fill(log, 800)
        head = log.head()
    child = Forked("import_over_and_over", url, source)
    kill_after(child, 4)  # type: ignore[arg-type]
    with open_log(url) as log:
        assert 0 < log.head().position < head.position
        assert log.verify().ok
    child = Forked("import_over_and_over", url, source)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, (out, err)
    with open_log(url) as log, open_log(source) as other:
        assert log.head() == other.head() == head
        assert log.runs.count() == other.runs.count() > 0
        assert log.projections.verify() == []


def test_the_tables_of_a_killed_rebuild_are_gone_after_the_next_one(url: str) -> None:
    with open_log(url) as log, session(url) as watch:
        fill(log, 100)
        with stranger(url, HOLDS):  # so that it cannot swap
            child = Forked("rebuild_some_times", url, 1, 1)
            eventually(lambda: ask(watch, LEFT) > 0, 20)
            somebody_waits(watch)
            child.kill()
            child.communicate()
        assert ask(watch, LEFT) > 0
        assert log.projections.verify() == []
        log.projections.rebuild()
        assert ask(watch, LEFT) == 0
    assert_sound(url)
