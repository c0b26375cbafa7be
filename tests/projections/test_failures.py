"""A projection whose code fails stops there, says so, and stops nobody else; mended code goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import Append
from eventlog.errors import ProjectionError, ProjectionFailed
from tests.conftest import OpenLog
from tests.helpers import assert_whole, behind_the_back
from tests.projections import things
from tests.projections.things import Colour, Growth, Thing, ThingGrew, ThingMade, fill, rows, status

pytestmark = pytest.mark.alike

FIFTH = 5


def at_fifth(event: Any, record: Any) -> None:
    if record.position == FIFTH:
        raise ValueError("no fifth, please")


def failing(**options: Any) -> tuple[Any, ...]:
    return things.entity(at_fifth, **options), things.journal(), things.rollup()


@pytest.mark.parametrize("mode", ["inline", "deferred"])
def test_a_failing_entity_stops_at_its_event_and_the_log_goes_on(open_log: OpenLog, mode: Any) -> None:
    log = open_log(projections=mode, extra_projections=failing())
    fill(log, 12)
    run = log.runs.start("x")
    log.projections.catch_up()
    assert log.head().position == 13
    assert_whole(log)
    stopped = status(log, "things")
    assert (stopped.state, stopped.position, stopped.error_position) == ("failed", 4, 5)
    assert stopped.error == "ValueError: no fifth, please"
    assert stopped.lag == 9
    assert [row["steps"] for row in rows(log, "things")["things"]] == [1, 1, 1, 1]
    assert status(log, "colours").position == 4
    assert [row["things"] for row in rows(log, "colours")["colours"]] == [2, 2]
    for name in ("growths", "runs", "projects"):
        assert (status(log, name).state, status(log, name).lag) == ("live", 0)
    assert log.runs.get(run.run_id).command == "x"
    assert len(rows(log, "growths")["growths"]) == 6
    assert log.projections.verify() == []


def test_what_failed_is_told_by_whoever_looks_at_its_tables(open_log: OpenLog) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 4)
    assert log.projections.left_out() == {}
    log.projections.rows("things")
    assert log.projections.stopped == {}
    fill(log, 8, start=4)
    for name in ("things", "colours"):
        log.projections.rows(name)
    assert log.projections.stopped == {"things": 4, "colours": 4}
    assert log.projections.left_out() == dict.fromkeys(("things", "colours"), "failed at position 5")
    assert log.projections.left_out("growths") == {}
    counted = status(log, "colours")
    assert (counted.state, counted.error_position) == ("failed", 5)
    assert counted.error == "things failed: ValueError: no fifth, please"
    with pytest.raises(ProjectionFailed):
        log.projections.require("colours")


@pytest.mark.shared
def test_what_goes_on_again_is_not_told_to_have_failed(open_log: OpenLog) -> None:
    with open_log(extra_projections=failing()) as log:
        fill(log, 8)
    log = open_log(extra_projections=things.everything())
    log.projections.rows("colours")
    assert log.projections.stopped == {"colours": 4}
    log.projections.resume("things")
    log.projections.rows("colours")
    assert log.projections.stopped == {} == log.projections.left_out()
    assert status(log, "colours").state == "live"


@pytest.mark.shared
def test_mended_code_goes_on_from_where_it_stopped(open_log: OpenLog) -> None:
    with open_log(extra_projections=failing()) as log:
        fill(log, 8)
    with open_log(extra_projections=things.everything()) as log:
        assert status(log, "things").state == "failed"
        fill(log, 4, start=8)
        assert status(log, "things").position == 4
        log.projections.resume("things")
        assert (status(log, "things").state, status(log, "things").error) == ("live", None)
        fill(log, 4, start=12)
        mended = rows(log, "things", "growths", "colours")
        assert log.projections.verify() == []
    with eventlog.open(":memory:", extra_projections=things.everything()) as fresh:
        fill(fresh, 16)
        assert rows(fresh, "things", "growths", "colours") == mended


def test_resuming_code_that_still_fails_says_so_and_stays(open_log: OpenLog) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 8)
    with pytest.raises(ProjectionFailed, match="no fifth") as caught:
        log.projections.resume("things")
    assert (caught.value.name, caught.value.position) == ("things", 5)
    assert status(log, "things").state == "failed"
    log.projections.resume("runs")
    fill(log, 4, start=8)
    assert status(log, "runs").lag == 0


def test_rebuilding_code_that_fails_leaves_the_tables_as_they_were(open_log: OpenLog) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 8)
    before = rows(log)
    with pytest.raises(ProjectionFailed, match="position 5"):
        log.projections.rebuild("things")
    assert rows(log) == before
    assert status(log, "things").position == 4
    log.projections.rebuild(["runs", "growths"])
    assert rows(log) == before


def test_a_failed_projection_can_be_rolled_back_before_its_failure_but_not_past_it(open_log: OpenLog) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 8)
    log.projections.rollback(2, "things")
    assert (status(log, "things").state, status(log, "things").position) == ("pinned", 2)
    assert len(rows(log, "things")["things"]) == 2
    with pytest.raises(ProjectionFailed):
        log.projections.rollback(7, "things")
    assert len(rows(log, "things")["things"]) == 2
    with pytest.raises(ProjectionFailed):
        log.projections.resume("things")
    assert status(log, "things").position == 4


@pytest.mark.parametrize("version", [4, 5, 8, 12])
def test_the_past_of_a_failing_projection_is_told_not_made_up(open_log: OpenLog, version: int) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 12)
    table = log.projections.projection("things").table
    with log.projections.as_of(version) as past, past.reader() as reader:
        if version < FIFTH:
            assert len(reader.select(table)) == 4
        else:
            with pytest.raises(ProjectionFailed, match="fifth"):
                reader.select(table)
    with pytest.raises(ProjectionFailed):
        list(log.projections.diff(3, 8, "things"))
    assert list(log.projections.diff(3, 4, "things"))


def test_a_failing_event_in_the_middle_of_a_batch_keeps_what_came_before_it(open_log: OpenLog) -> None:
    log = open_log(extra_projections=failing())
    log.append_many([Append(stream=f"thing-{n}", events=ThingMade(size=n)) for n in range(8)])
    assert [row["thing_id"] for row in rows(log, "things")["things"]] == [0, 1, 2, 3]
    assert (status(log, "things").position, status(log, "things").error_position) == (4, 5)
    assert log.projections.verify() == []


def test_a_failing_journal_stops_alone(open_log: OpenLog) -> None:
    def bad(event: Any, record: Any) -> None:
        raise KeyError("growth")

    log = open_log(extra_projections=(things.entity(), things.journal(bad), things.rollup()))
    fill(log, 12)
    assert (status(log, "growths").state, status(log, "growths").error_position) == ("failed", 5)
    assert (status(log, "things").state, status(log, "colours").state) == ("live", "live")
    assert log.projections.verify() == []


@pytest.mark.shared
def test_a_failing_rollup_stops_alone_and_its_source_goes_on(open_log: OpenLog) -> None:
    def bad(thing: Thing) -> None:
        if thing.steps == 2:
            raise ZeroDivisionError("sum")

    with open_log(extra_projections=(things.entity(), things.rollup(bad))) as log:
        fill(log, 12)
        stopped = status(log, "colours")
        assert (stopped.state, stopped.error, stopped.error_position) == ("failed", "ZeroDivisionError: sum", 5)
        assert (status(log, "things").state, status(log, "things").lag) == ("live", 0)
        assert log.projections.verify() == []
        assert log.projections.left_out() == {"colours": "failed at position 5"}
    with open_log(extra_projections=(things.entity(), things.rollup())) as log:
        fill(log, 4, start=12)
        assert status(log, "colours").state == "failed"
        log.projections.resume("colours")
        assert (status(log, "colours").state, status(log, "colours").lag) == ("live", 0)
        assert log.projections.verify() == []
        mended = rows(log, "things", "colours")
    with eventlog.open(":memory:", extra_projections=things.everything()) as fresh:
        fill(fresh, 16)
        assert rows(fresh, "things", "colours") == mended


WRONG_ROWS = {
    "text for a number": Thing(1, "x", "", 1),  # type: ignore[arg-type]
    "nothing where something must be": Thing(1, None, "", 1),  # type: ignore[arg-type]
    "too big": Thing(1, 2**70, "", 1),
    "a lone surrogate": Thing(1, 1, "\ud800", 1),
    "another thing's key": Thing(77, 1, "", 1),
    "no row": "x",
    "a row of another table": Growth(1, "x", 1),
}


@pytest.mark.parametrize("what", WRONG_ROWS)
@pytest.mark.parametrize("mode", ["inline", "deferred"])
def test_a_row_that_cannot_be_stored_stops_its_projection_not_the_append(
    open_log: OpenLog, what: str, mode: Any
) -> None:
    def hook(event: Any, record: Any) -> Any:
        return WRONG_ROWS[what] if record.position == FIFTH else None

    log = open_log(projections=mode, extra_projections=(things.entity(hook), things.journal(), things.rollup()))
    for number in range(4):
        assert log.append(f"thing-{number}", ThingMade(size=number)).first == number + 1
    assert log.append("thing-4", ThingMade()).first == 5
    assert log.append("thing-5", ThingMade()).first == 6
    run = log.runs.start("x")
    log.projections.catch_up()
    assert (status(log, "things").state, status(log, "things").error_position) == ("failed", 5)
    assert [row["thing_id"] for row in rows(log, "things")["things"]] == [0, 1, 2, 3]
    assert log.runs.get(run.run_id).command == "x"
    assert status(log, "runs").lag == 0
    assert log.projections.verify() == []
    with pytest.raises(ProjectionFailed):
        log.projections.rebuild("things")


WRONG_SUMS: dict[str, Any] = {
    "text": [(("red",), (1, "x"))],
    "a fraction": [(("red",), (1, 0.5))],
    "too few": [(("red",), (1,))],
    "too many": [(("red",), (1, 2, 3))],
    "no key": [((None,), (1, 2))],
    "a long key": [(("red", "blue"), (1, 2))],
    "too big": [(("red",), (1, 2**70))],
    "no pairs": 5,
}


@pytest.mark.parametrize("what", WRONG_SUMS)
def test_a_sum_that_cannot_be_stored_stops_its_rollup_not_the_append(open_log: OpenLog, what: str) -> None:
    log = open_log(extra_projections=(things.entity(), things.rollup(lambda thing: WRONG_SUMS[what])))
    for number in range(3):
        assert log.append(f"thing-{number}", ThingMade(size=number)).first == number + 1
    assert status(log, "colours").state == "failed"
    assert len(rows(log, "things")["things"]) == 3
    assert log.projections.verify() == []


def test_sums_that_outgrow_a_column_stop_their_rollup_not_the_append(open_log: OpenLog) -> None:
    log = open_log()
    for number in range(1, 4):
        run = log.runs.start("long", started_at=0)
        assert log.runs.finish_success(run.run_id, wall_us=2**63 - 1).wall_us == 2**63 - 1
        assert log.runs.count() == number
    assert log.runs.finish_success(log.runs.start("short").run_id, wall_us=1).status == "success"


@pytest.mark.parametrize("change", ["state = 'failed', error = 'x', error_position = 3", "version = 99"])
@pytest.mark.shared
def test_a_command_that_cannot_rely_on_its_table_is_refused_before_it_appends(open_log: OpenLog, change: str) -> None:
    with open_log() as log:
        log.runs.start("a")
        log.runs.start("b")
        with behind_the_back(log) as connection:
            connection.execute(f"UPDATE projections SET {change}, position = 2 WHERE name = 'runs'")
    log = open_log()
    head = log.head()
    for command in (
        lambda: log.runs.start("c"),
        lambda: log.runs.finish_success(1),
        lambda: log.runs.update(1, note="x"),
        lambda: log.runs.delete(1),
    ):
        with pytest.raises(ProjectionError):
            command()
    assert log.head() == head
    log.runs.metric(1, "m", 1.0)
    assert log.head().position == head.position + 1


def test_a_record_that_does_not_decode_stops_the_projections_that_want_it(tmp_path: Path) -> None:
    class Wild(eventlog.Event, frozen=True, kw_only=True, tag="thing.grew"):
        by: str = ""

    path = tmp_path / "log.db"
    with eventlog.open(path, projections="off", events=[Wild]) as log:
        log.append("thing-1", Wild(by="much"))
        log.append("run-1", eventlog.UnknownEvent(tag="run.started", data={"type": "run.started", "command": "x"}))
    with eventlog.open(path, extra_projections=things.everything()) as log:
        assert (status(log, "things").state, status(log, "things").error_position) == ("failed", 1)
        assert (status(log, "growths").state, status(log, "growths").error_position) == ("failed", 1)
        assert log.runs.get(1).command == "x"
        log.append("thing-1", ThingGrew(by=1))
        assert status(log, "runs").lag == 0


def test_a_failed_projection_can_be_explained_and_asked_for_its_rows(open_log: OpenLog) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 12)
    told = log.projections.explain("things", 1)
    assert told.row == rows(log, "things")["things"][1]
    assert told.steps[0].position == 2


@pytest.mark.parametrize("nested", [False, True])
def test_a_failure_in_a_transaction_that_is_undone_is_undone_too(open_log: OpenLog, nested: bool) -> None:
    log = open_log(extra_projections=failing())
    fill(log, 4)
    with pytest.raises(ZeroDivisionError), log.transaction():
        if nested:
            fill(log, 4, start=4)
        log.append("thing-1", ThingGrew(by=1))
        assert log.head().position > 4
        raise ZeroDivisionError
    assert (status(log, "things").state, status(log, "things").lag) == ("live", 0)
    log.append("run-1", eventlog.UnknownEvent(tag="a.b", data={}))
    log.append("thing-1", ThingGrew(by=1))
    assert (status(log, "things").state, status(log, "things").lag) == ("live", 0)


def test_colours_are_counted(open_log: OpenLog) -> None:
    log = open_log(extra_projections=things.everything())
    fill(log, 4)
    assert rows(log, "colours")["colours"] == [
        {"color": "blue", "things": 2, "size": 4},
        {"color": "red", "things": 2, "size": 2},
    ]
    assert Colour.__struct_fields__ == ("color", "things", "size")


def _fill_with_many(open_log: OpenLog) -> None:
    """200 things that grow, then are made: in one append."""
    with open_log(extra_projections=things.everything()) as log:
        grown = [Append(stream=f"thing-{number}", events=ThingGrew(by=number)) for number in range(200)]
        made = [Append(stream=f"thing-{number}", events=ThingMade(size=number)) for number in range(200)]
        log.append_many([*grown, *made])


def _bad_from(bad: int, **options: Any) -> tuple[Any, ...]:
    """Code that makes rows that cannot be stored: of the journal at ``bad``, of the entity 200 later."""

    def no_number(event: Any, record: Any) -> Any:
        return Growth(record.position, record.stream, None) if record.position == bad else None  # type: ignore[arg-type]

    def no_thing(event: Any, record: Any) -> Any:
        return "no thing" if record.position == 200 + bad else None

    return things.entity(no_thing, **options), things.journal(no_number, **options), things.rollup()


@pytest.mark.shared
@pytest.mark.parametrize("bad", [1, 33, 150, 200])
def test_a_rebuild_tells_which_of_many_records_made_a_row_that_cannot_be_stored(open_log: OpenLog, bad: int) -> None:
    _fill_with_many(open_log)
    with open_log(extra_projections=_bad_from(bad, version=2)) as log:
        for name, place in (("growths", bad), ("things", 200 + bad)):
            with pytest.raises(ProjectionFailed, match="failed at position") as caught:
                log.projections.rebuild(name)
            assert caught.value.position == place
            stopped = status(log, name)
            assert (stopped.state, stopped.position, stopped.error_position) == ("failed", place - 1, place)
            assert len(log.projections.rows(name)) == bad - 1
        assert sum(row["things"] for row in log.projections.rows("colours")) == bad - 1
        assert log.projections.verify() == []


@pytest.mark.shared
@pytest.mark.parametrize("bad", [33, 200])
def test_the_past_tells_which_of_many_records_made_a_row_that_cannot_be_stored(open_log: OpenLog, bad: int) -> None:
    _fill_with_many(open_log)
    with open_log(extra_projections=_bad_from(bad, version=2)) as log:
        for name, place in (("growths", bad), ("things", 200 + bad)):
            table = log.projections.projection(name).table
            with log.projections.as_of(400) as past, past.reader() as reader:
                with pytest.raises(ProjectionFailed, match="a row cannot be stored") as caught:
                    reader.select(table)
                assert caught.value.position == place


@pytest.mark.shared
def test_verify_differs_from_the_record_on_that_makes_a_row_that_cannot_be_stored(open_log: OpenLog) -> None:
    _fill_with_many(open_log)
    with open_log(extra_projections=_bad_from(150)) as log:
        found = log.projections.verify(["growths"])
        assert [difference.key for difference in found] == [(position,) for position in range(150, 201)]
        found = log.projections.verify(["things"])
        assert {d.key for d in found if d.table == "things"} == {(number,) for number in range(149, 200)}
