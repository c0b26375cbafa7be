"""What one does with projections: status, rebuild, roll back, resume, as of, diff, explain, verify, follow."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from eventlog.errors import (
    InvalidQuery,
    LogBusy,
    LogReadOnly,
    NotFound,
    ProjectionPinned,
    ProjectionUnknown,
)
from eventlog.projection import rebuild
from tests.conftest import OpenLog
from tests.helpers import Noted, assert_whole, behind_the_back, eventually, in_child, notes, thread
from tests.projections import things
from tests.projections.things import fill, rows, status

pytestmark = pytest.mark.alike


@pytest.fixture
def log(open_log: OpenLog) -> Any:
    """A log with things: 24 events, the tests' own projections inline."""
    log = open_log(extra_projections=things.everything())
    fill(log, 24)
    return log


# status


def test_status_tells_everything_of_each(log: Any) -> None:
    one = status(log, "things")
    assert (one.kind, one.state, one.mode, one.position, one.lag, one.version, one.stored_version) == (
        "entity",
        "live",
        "inline",
        24,
        0,
        1,
        1,
    )
    assert (one.fingerprint_matches, one.rows, one.error) == (True, len(rows(log, "things")["things"]), None)
    assert {one.kind for one in log.projections.status()} == {"entity", "journal", "rollup"}
    assert [one.name for one in log.projections.status()] == log.projections.names()


def test_names_that_are_none_are_told_with_those_that_are(log: Any) -> None:
    for ask in (
        lambda: log.projections.rows("nothing"),
        lambda: log.projections.rebuild(["nothing"]),
        lambda: log.projections.rollback(1, ["things", "nothing"]),
        lambda: log.projections.catch_up("nothing"),
        lambda: log.projections.explain("nothing", 1),
        lambda: list(log.projections.diff(1, 2, "nothing")),
    ):
        with pytest.raises(ProjectionUnknown, match="things"):
            ask()
    assert status(log, "things").position == 24


# rebuild


def test_a_rebuild_mends_whatever_was_edited(log: Any) -> None:
    before = rows(log)
    with behind_the_back(log) as connection:
        connection.execute("UPDATE things SET size = 999 WHERE thing_id = 0")
        connection.execute("DELETE FROM growths")
        connection.execute("UPDATE colours SET things = -5")
    assert rows(log) != before
    log.projections.rebuild()
    assert rows(log) == before
    assert log.projections.verify() == []
    fill(log, 4, start=24)
    assert log.projections.verify() == []


def test_a_rebuild_can_be_done_again_and_again_and_leaves_nothing_behind(log: Any) -> None:
    def objects() -> list[Any]:
        with behind_the_back(log) as connection:
            return connection.execute(connection.catalogue).fetchall()

    before = objects()
    for _ in range(3):
        log.projections.rebuild()
        assert objects() == before


def test_a_rebuild_of_one_names_its_whole_group_and_nobody_else(log: Any) -> None:
    with behind_the_back(log) as connection:
        connection.execute("UPDATE things SET size = 999")
        connection.execute("UPDATE growths SET by = 999")
    log.projections.rebuild("colours")
    assert log.projections.verify("things") == []
    assert log.projections.verify("growths") != []


def test_a_rebuild_tells_its_progress(log: Any) -> None:
    told: list[tuple[int, int | None, str]] = []
    log.projections.rebuild(progress=lambda *step: told.append(step))
    assert any("things" in label for _, _, label in told)
    assert all(total is None or done <= total for done, total, _ in told)


@pytest.mark.parametrize("writers", [1, 3])
def test_a_rebuild_while_others_append_misses_nothing(log: Any, writers: int) -> None:
    stop = threading.Event()

    def append(worker: int) -> None:
        number = 0
        while not stop.is_set():
            log.append(f"thing-{worker + 10}", things.ThingMade(size=number, color="x"), durability="process")
            number += 1
            time.sleep(0.001)

    workers = [threading.Thread(target=append, args=(worker,)) for worker in range(writers)]
    for one in workers:
        one.start()
    for _ in range(5):
        log.projections.rebuild()
        assert status(log, "things").state == "live"
    stop.set()
    for one in workers:
        one.join(10)
    assert log.projections.verify() == []
    assert all((one.state, one.lag) == ("live", 0) for one in log.projections.status())
    assert_whole(log)


def test_readers_see_whole_tables_while_a_rebuild_swaps_them(log: Any) -> None:
    expected = rows(log, "things", "colours")
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert rows(log, "things", "colours") == expected

    with thread(read):
        for _ in range(8):
            log.projections.rebuild(["things", "colours"])
        stop.set()


# roll back, pin, resume


def test_a_rollback_pins_all_or_those_named(log: Any) -> None:
    assert log.projections.rollback(10, "growths") == 10
    assert (status(log, "growths").state, status(log, "growths").position) == ("pinned", 10)
    assert status(log, "things").state == "live"
    log.projections.rollback(6)
    assert {(one.state, one.position) for one in log.projections.status()} == {("pinned", 6)}
    assert log.projections.verify() == []
    assert log.head().position == 24


def test_appends_go_on_while_projections_are_pinned(log: Any) -> None:
    log.projections.rollback(6)
    before = rows(log)
    fill(log, 8, start=24)
    assert rows(log) == before
    assert log.head().position == 32
    assert status(log, "things").lag == 26
    log.projections.resume()
    assert log.projections.verify() == []
    assert {(one.state, one.lag) for one in log.projections.status()} == {("live", 0)}
    assert_whole(log)


def test_commands_that_need_a_pinned_projection_are_refused_with_the_way_out(log: Any) -> None:
    run = log.runs.start("x")
    log.projects.add("p")
    version = log.head().position
    log.append("note-1", Noted())
    log.projections.rollback(version)
    head = log.head()
    for command in (
        lambda: log.runs.start("y"),
        lambda: log.runs.finish_success(run.run_id),
        lambda: log.runs.update(run.run_id, note="n"),
        lambda: log.runs.delete(run.run_id),
        lambda: log.projects.add("q"),
        lambda: log.projects.update("p", note="n"),
        lambda: log.projects.delete("p"),
    ):
        with pytest.raises(ProjectionPinned, match="resume") as caught:
            command()
        assert caught.value.position == version
    assert log.head() == head
    log.runs.metric(run.run_id, "loss", 1.0)  # what a run itself says is never refused
    log.runs.note(run.run_id, "said")
    log.projections.resume("runs")
    assert log.runs.start("z").run_id == 2
    assert log.runs.get(run.run_id).note == "said"


def test_a_rebuild_of_a_pinned_projection_stays_pinned(log: Any) -> None:
    log.projections.rollback(9, "things")
    before = rows(log, "things", "colours")
    with behind_the_back(log) as connection:
        connection.execute("UPDATE things SET size = 999")
    log.projections.rebuild()
    assert (status(log, "things").state, status(log, "things").position) == ("pinned", 9)
    assert rows(log, "things", "colours") == before
    assert (status(log, "growths").state, status(log, "growths").position) == ("live", 24)


@pytest.mark.shared
def test_a_pin_stays_over_reopening_and_catching_up(log: Any, open_log: OpenLog) -> None:
    log.projections.rollback(9, "things")
    log.close()
    again = open_log(extra_projections=things.everything())
    assert again.projections.catch_up() == 0
    assert (status(again, "things").state, status(again, "things").position) == ("pinned", 9)
    again.projections.resume()
    assert again.projections.verify() == []


def test_resuming_what_is_live_changes_nothing(log: Any) -> None:
    before = rows(log)
    log.projections.resume()
    assert rows(log) == before


@pytest.mark.parametrize("version", [-1, 25, "x", "", "12 o'clock", None, 1.5, object(), "99999999999999999999", 2**70])
def test_a_version_that_is_none_is_refused(log: Any, version: Any) -> None:
    with pytest.raises(InvalidQuery):
        log.projections.rollback(version)
    with pytest.raises(InvalidQuery), log.as_of(version):
        pass
    with pytest.raises(InvalidQuery):
        list(log.projections.diff(0, version))
    assert status(log, "things").state == "live"


@pytest.mark.feature("B-2")
def test_a_version_can_be_text_or_a_time(log: Any) -> None:
    assert log.projections.rollback("12") == 12
    assert log.projections.rollback(datetime(2000, 1, 1, tzinfo=UTC)) == 0
    assert log.projections.rollback("2000-01-01T00:00:00Z") == 0
    assert log.projections.rollback(datetime(9000, 1, 1, tzinfo=UTC)) == 24
    assert log.projections.rollback("yesterday") == log.projections.rollback("2h ago") == 0
    assert log.projections.rollback("now") == 24


# as of


@pytest.mark.feature("B-2")
def test_the_past_answers_like_the_log_and_refuses_commands(log: Any) -> None:
    run = log.runs.start("x", program="p")
    version = log.head().position
    log.runs.finish_fail(run.run_id, "boom", wall_us=7)
    log.projects.add("later")
    with log.as_of(version) as past:
        assert past.version == version
        assert past.runs.get(run.run_id).status == "running"
        assert past.runs.count(status="fail") == 0
        assert past.projects.list() == []
        assert past.statistics.runs(by="status")[0].bucket == "running"
        assert [record.version for record in past.read_stream(f"run-{run.run_id}")] == [1]
        assert len(past.runs.history(run.run_id)) == 1
        for command in (
            lambda: past.runs.start("y"),
            lambda: past.runs.note(run.run_id, "n"),
            lambda: past.runs.delete(run.run_id),
            lambda: past.projects.add("q"),
        ):
            with pytest.raises(LogReadOnly, match="past"):
                command()
    assert log.runs.get(run.run_id).status == "fail"


def test_any_table_is_given_whole_as_it_was(log: Any) -> None:
    before = {name: log.projections.rows(name) for name in log.projections.names()}
    fill(log, 24, start=24)
    assert log.projections.rows("things") != before["things"]
    with log.as_of(24) as past:
        assert {name: past.projections.rows(name) for name in past.projections.names()} == before
        with pytest.raises(ProjectionUnknown, match=r"there are .*things"):
            past.projections.rows("nothing")


def test_the_past_stays_while_the_log_goes_on(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log.runs.start("x")
    with log.as_of(25) as past:
        assert past.runs.count() == 1
        log.runs.start("y")
        if log.store.swaps_under_readers:
            log.projections.rebuild()
        else:
            monkeypatch.setattr(rebuild, "SWAP_TIMEOUT_S", 0.1)
            with pytest.raises(LogBusy):
                log.projections.rebuild()
            log.runs.start("z")
        assert past.runs.count() == 1
        assert past.projects.list() == []
    log.projections.rebuild()
    assert log.projections.verify() == []


def test_the_past_inside_a_transaction_is_an_answer_or_told(target: str) -> None:
    assert in_child("as_of_inside_transaction", target) in ("1\n", "told\n")


# diff and explain


def test_a_diff_of_a_version_with_itself_is_empty(log: Any) -> None:
    assert list(log.projections.diff(7, 7)) == []


@pytest.mark.feature("B-3")
def test_a_diff_names_columns_and_events(log: Any) -> None:
    (row,) = [one for one in log.projections.diff(4, 5) if one.table == "things"]
    assert (row.key, row.change, row.columns, row.positions) == ((0,), "changed", ("size", "steps"), (5,))
    assert (row.before["steps"], row.after["steps"]) == (1, 2)
    (back,) = [one for one in log.projections.diff(5, 4) if one.table == "things"]
    assert (back.before, back.after) == (row.after, row.before)


def test_a_row_that_came_and_went_is_no_difference(log: Any) -> None:
    log.append("thing-9", things.ThingMade(size=1))
    log.append("thing-9", things.ThingGone())
    assert list(log.projections.diff(24, 26)) == []


@pytest.mark.feature("B-4")
def test_explain_tells_each_event_and_what_it_set(log: Any) -> None:
    told = log.projections.explain("things", 0)
    assert told.row["thing_id"] == 0
    assert [step.type for step in told.steps][:3] == ["thing.made", "thing.grew", "thing.grew"]
    assert told.steps[1].changes == {"size": (0, 4), "steps": (1, 2)}
    assert [step.position for step in told.steps] == [1, 5, 9, 13, 17, 21]


def test_explain_of_a_row_that_is_gone_still_tells_its_story(log: Any) -> None:
    told = log.projections.explain("things", 1)
    assert told.row is None
    assert told.steps[-1].type == "thing.gone"


def test_explain_of_a_journal_row_is_its_event(log: Any) -> None:
    position = rows(log, "growths")["growths"][0]["position"]
    told = log.projections.explain("growths", position)
    assert [step.position for step in told.steps] == [position]
    assert told.row["position"] == position


def test_explain_of_a_sum_names_the_rows_with_a_share_in_it(log: Any) -> None:
    told = log.projections.explain("colours", "red")
    red = [row["thing_id"] for row in rows(log, "things")["things"] if row["color"] == "red"]
    assert sorted(told.sources) == red
    assert told.row["things"] == len(red)


def test_explain_of_a_pinned_row_tells_only_what_is_behind_it(log: Any) -> None:
    log.projections.rollback(10)
    told = log.projections.explain("things", 0)
    assert [step.position for step in told.steps] == [1, 5, 9]
    assert told.row["steps"] == 3


@pytest.mark.parametrize("key", [99, -1, 2**70, "99"])
def test_a_row_that_never_was_is_not_found(log: Any, key: Any) -> None:
    with pytest.raises((NotFound, InvalidQuery)):
        log.projections.explain("things", key)


@pytest.mark.parametrize("key", [(), (1, 2), "x", None, [], (None,)])
def test_a_key_of_the_wrong_form_is_refused(log: Any, key: Any) -> None:
    with pytest.raises(InvalidQuery, match="thing_id"):
        log.projections.explain("things", key)


# verify


@pytest.mark.feature("B-5")
@pytest.mark.parametrize(
    ("edit", "table", "stored", "expected"),
    [
        ("UPDATE things SET size = size + 1 WHERE thing_id = 0", "things", True, True),
        ("DELETE FROM things WHERE thing_id = 0", "things", False, True),
        ("INSERT INTO things VALUES (77, 1, 'x', 1)", "things", True, False),
        ("UPDATE growths SET by = -1 WHERE position = 5", "growths", True, True),
        ("DELETE FROM growths WHERE position = 5", "growths", False, True),
        ("UPDATE colours SET size = size + 1 WHERE color = 'red'", "colours", True, True),
        ("INSERT INTO colours VALUES ('green', 1, 1)", "colours", True, False),
    ],
)
def test_verify_finds_an_edited_row(log: Any, edit: str, table: str, stored: bool, expected: bool) -> None:
    with behind_the_back(log) as connection:
        connection.execute(edit)
    (difference,) = log.projections.verify()
    assert difference.table == table
    assert (difference.stored is not None, difference.expected is not None) == (stored, expected)
    assert log.projections.verify(["runs", "projects"]) == []
    log.projections.rebuild(table)
    assert log.projections.verify() == []


def test_verify_tells_its_progress_and_changes_nothing(log: Any) -> None:
    told: list[int] = []
    before = rows(log)
    assert log.projections.verify(progress=lambda done, total, what: told.append(done)) == []
    assert told and told[-1] == 24
    assert rows(log) == before


# follow


def test_deferred_projections_follow_the_log(open_log: OpenLog) -> None:
    log = open_log(projections="deferred", extra_projections=things.everything())
    stop = threading.Event()
    with thread(lambda: log.projections.follow(stop=stop, poll_s=0.01)):
        fill(log, 12)
        eventually(lambda: all(one.lag == 0 for one in log.projections.status()))
        log.append("note-1", notes(3))
        fill(log, 4, start=12)
        eventually(lambda: all(one.lag == 0 for one in log.projections.status()))
        stop.set()
    assert log.projections.verify() == []


def test_catching_up_tells_how_far_it_went_and_can_be_asked_for_some(open_log: OpenLog) -> None:
    log = open_log(projections="deferred", extra_projections=things.everything())
    fill(log, 12)
    assert log.projections.catch_up("growths") == 12
    assert status(log, "growths").lag == 0
    assert status(log, "things").lag == 12
    told: list[tuple[int, int | None, str]] = []
    assert log.projections.catch_up(progress=lambda *step: told.append(step)) > 0
    assert told
    assert log.projections.catch_up() == 0
    assert all(one.lag == 0 for one in log.projections.status())
