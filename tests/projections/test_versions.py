"""Code and tables of different ages, and programs that take turns on one file."""

from __future__ import annotations

from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError, ProjectionError, ProjectionUnknown
from eventlog.events.agents import ToolCallFinished, ToolCallStarted
from eventlog.projection import machine, manager
from tests.conftest import OpenLog
from tests.helpers import Noted, assert_whole, behind_the_back, notes
from tests.projections import things
from tests.projections.things import fill, rows, status

pytestmark = pytest.mark.shared


def double(event: Any, record: Any) -> Any:
    """Another opinion about things: everything is twice as big."""
    if isinstance(event, things.ThingMade):
        return things.Thing(int(record.stream.partition("-")[2]), event.size * 2, "double", 1)
    return None


def test_a_projection_added_later_is_made_at_open(open_log: OpenLog) -> None:
    with open_log() as log:
        fill(log, 12)
    told: list[tuple[int, int | None, str]] = []
    log = open_log(extra_projections=things.everything(), progress=lambda *step: told.append(step))
    assert told
    assert [row["thing_id"] for row in rows(log, "things")["things"]] == [0, 2]
    assert status(log, "things").lag == 0
    assert log.projections.verify() == []
    fill(log, 4, start=12)
    assert log.projections.verify() == []


def test_older_tables_are_rebuilt_at_open_and_only_those(open_log: OpenLog) -> None:
    with open_log(extra_projections=things.everything()) as log:
        fill(log, 12)
        updated = status(log, "growths").updated_at
    log = open_log(extra_projections=(things.entity(double, version=2), things.journal(), things.rollup()))
    assert {row["color"] for row in rows(log, "things")["things"]} == {"double"}
    assert [row["color"] for row in rows(log, "colours")["colours"]] == ["double"]
    now = status(log, "things")
    assert (now.state, now.version, now.stored_version, now.fingerprint_matches) == ("live", 2, 2, True)
    assert status(log, "growths").updated_at == updated
    assert log.projections.verify() == []


def test_a_rollup_with_a_newer_version_is_rebuilt_with_its_source(open_log: OpenLog) -> None:
    def by_steps(thing: things.Thing) -> Any:
        return [((str(thing.steps),), (1, thing.size))]

    with open_log(extra_projections=things.everything()) as log:
        fill(log, 12)
    log = open_log(extra_projections=(things.entity(), things.journal(), things.rollup(by_steps, version=2)))
    assert [row["color"] for row in rows(log, "colours")["colours"]] == ["3"]
    assert log.projections.verify() == []


def test_newer_tables_are_left_alone_and_said_to_be_newer(open_log: OpenLog) -> None:
    newer = (things.entity(double, version=2), things.rollup())
    with open_log(extra_projections=newer) as log:
        fill(log, 8)
        before = rows(log, "things", "colours")
    with open_log(extra_projections=(things.entity(), things.rollup())) as log:
        assert (status(log, "things").state, status(log, "things").stored_version) == ("newer", 2)
        fill(log, 4, start=8)
        assert status(log, "things").lag == 4
        for change in (
            log.projections.rebuild,
            log.projections.resume,
            lambda names: log.projections.rollback(2, names),
        ):
            with pytest.raises(ProjectionError, match="newer"):
                change("things")
        assert log.projections.catch_up("things") == 0
        with behind_the_back(log) as connection:
            assert connection.execute("SELECT count(*) FROM things WHERE color = 'double'").fetchone()[0] == 4
    with open_log(extra_projections=newer) as log:
        assert status(log, "things").state == "live"
        assert status(log, "things").lag == 0
        assert log.projections.verify() == []
        assert rows(log, "things", "colours") != before


def test_two_versions_do_not_take_turns_rebuilding(open_log: OpenLog) -> None:
    generations = set()
    for _ in range(3):
        for version in (2, 1):
            with open_log(
                extra_projections=(things.entity(double if version == 2 else things.nothing, version=version),)
            ) as log:
                fill(log, 4)
                with behind_the_back(log) as connection:
                    query = "SELECT generation, version FROM projections WHERE name = 'things'"
                    generations.add(connection.execute(query).fetchone())
    assert len(generations) == 1


def test_the_same_version_of_other_code_is_told_and_rebuilt_on_command(open_log: OpenLog) -> None:
    with open_log(extra_projections=(things.entity(),)) as log:
        fill(log, 8)
        assert status(log, "things").fingerprint_matches
    log = open_log(extra_projections=(things.entity(double, indexes=(("color",),)),))
    assert status(log, "things").fingerprint_matches is False
    assert status(log, "things").state == "live"
    assert log.projections.verify("things") != []
    log.projections.rebuild("things")
    assert status(log, "things").fingerprint_matches
    assert {row["color"] for row in rows(log, "things")["things"]} == {"double"}
    assert log.projections.verify() == []


def test_a_projection_this_program_lacks_is_shown_and_kept(open_log: OpenLog) -> None:
    with open_log(extra_projections=things.everything()) as log:
        fill(log, 8)
    with open_log() as log:
        fill(log, 4, start=8)
        unknown = {one.name: one for one in log.projections.status() if one.mode == "unknown here"}
        assert unknown.keys() == {"things", "growths", "colours"}
        assert (unknown["things"].position, unknown["things"].lag) == (8, 4)
        assert log.projections.left_out() == dict.fromkeys(("things", "growths", "colours"), "made by another program")
        assert log.projections.left_out("runs") == {}
        with pytest.raises(ProjectionUnknown, match="'colours' was made by another program"):
            log.projections.explain("colours", "red")
    log = open_log(extra_projections=things.everything())
    assert status(log, "things").lag == 0
    assert log.projections.verify() == []


def test_what_newer_code_made_is_told_to_be_left_out_with_all_that_moves_with_it(open_log: OpenLog) -> None:
    with open_log(extra_projections=(things.entity(version=2), things.journal(), things.rollup())) as log:
        fill(log, 8)
        assert log.projections.left_out() == {}
    log = open_log(extra_projections=things.everything())
    assert log.projections.left_out() == dict.fromkeys(("things", "colours"), "made by a newer program")
    assert log.projections.left_out(["growths"]) == {}
    assert log.projections.verify() == []


def test_a_pinned_projection_keeps_its_pin_when_newer_code_opens_the_log(open_log: OpenLog) -> None:
    with open_log(extra_projections=things.everything()) as log:
        fill(log, 12)
        log.projections.rollback(6, "things")
    log = open_log(extra_projections=(things.entity(double, version=2), things.journal(), things.rollup()))
    assert (status(log, "things").state, status(log, "things").position) == ("pinned", 6)
    assert log.projections.verify() == []
    log.projections.resume("things")
    assert (status(log, "things").state, status(log, "things").lag) == ("live", 0)
    assert log.projections.verify() == []


LAZY = "search_documents"
"""It follows when it is asked, or when there is much."""
MODES = ("inline", "deferred", "off")


def test_programs_with_different_modes_take_turns_and_lose_nothing(open_log: OpenLog) -> None:
    for turn in range(9):
        mode = MODES[turn % 3]
        with open_log(projections=mode, extra_projections=things.everything() if mode != "off" else ()) as log:
            fill(log, 5, start=turn * 5)
            run_id = log.runs.start(f"turn {turn}").run_id if mode != "off" else None
            if run_id is not None:
                assert log.runs.get(run_id).command == f"turn {turn}"
                assert log.runs.count() == run_id
            if mode == "inline":
                assert log.projections.verify() == []
                assert all(one.lag == 0 for one in log.projections.status() if one.name != LAZY)
            if mode == "deferred":
                log.projections.catch_up()
                assert log.projections.verify() == []
    log = open_log(extra_projections=things.everything())
    log.projections.ensure(LAZY)
    assert log.projections.verify() == []
    assert all((one.state, one.lag) == ("live", 0) for one in log.projections.status())
    assert_whole(log)


def test_logs_with_different_modes_open_at_once_see_true_tables(open_log: OpenLog) -> None:
    inline = open_log(extra_projections=things.everything())
    deferred = open_log(projections="deferred", extra_projections=things.everything())
    off = open_log(projections="off")
    for turn in range(12):
        log: Log = (inline, off, deferred, off)[turn % 4]
        fill(log, 3, start=turn * 3)
        if log is not off:
            run = log.runs.start(f"turn {turn}")
            assert log.runs.get(run.run_id).run_id == run.run_id
        if log is deferred:
            deferred.projections.catch_up()
        if turn % 4 != 1:
            assert inline.projections.verify() == []
    deferred.projections.catch_up()
    head = inline.head().position
    positions = {one.name: one.position for one in inline.projections.status() if one.name != LAZY}
    assert positions == dict.fromkeys(set(inline.projections.names()) - {LAZY}, head)


def test_what_waits_to_be_asked_is_not_left_behind_by_events_that_it_does_not_want(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (machine, manager):
        monkeypatch.setattr(module, "LAZY_MOST", 40)
    monkeypatch.setattr(machine, "LAZY_LOOK", 20)
    log = open_log()
    log.runs.start("before")
    for _ in range(5):
        log.append("note-1", notes(15))
    log.runs.start("after")
    assert status(log, LAZY).lag == 0
    assert log.search.count("before") == log.search.count("after") == 1
    assert log.projections.verify() == []


@pytest.mark.parametrize("most", [machine.MAX_KNOWN_ROWS, 2], ids=["few", "more than are remembered"])
def test_a_row_that_was_remembered_is_read_anew_after_another_log_changed_it(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(machine, "MAX_KNOWN_ROWS", most)
    one, other = logs = [open_log(extra_projections=things.everything()) for _ in range(2)]
    for number in range(24):
        fill(logs[number // 4 % 2], 1, number)
        call = f"call-{number % 3}"
        one.append("session-1", ToolCallStarted(tool_call_id=call, name="look"))
        other.append("session-1", ToolCallFinished(tool_call_id=call, outcome="error"))
        one.append(f"session-1{number}", ToolCallStarted(tool_call_id=call, name="look"))
        one.append("session-1", ToolCallFinished(tool_call_id=call, outcome="ok"))
    assert one.projections.verify() == []


@pytest.mark.parametrize("behind", [10, 2500, 9000])
def test_an_inline_log_that_lags_reads_what_it_writes(open_log: OpenLog, behind: int) -> None:
    inline = open_log()
    inline.runs.start("first")
    off = open_log(projections="off")
    off.append("note-1", notes(behind), durability="process")
    off.append("run-2", eventlog.UnknownEvent(tag="run.started", data={"type": "run.started", "command": "second"}))
    run = inline.runs.start("third")
    assert run.run_id == 3
    assert inline.runs.get(2).command == "second"
    assert inline.runs.count() == 3
    assert inline.projections.verify() == []


def test_an_inline_log_can_be_asked_right_after_another_program_appended(open_log: OpenLog) -> None:
    inline, off = open_log(), open_log(projections="off")
    inline.runs.start("first")
    off.append("run-1", eventlog.UnknownEvent(tag="run.noted", data={"type": "run.noted", "note": "from outside"}))
    inline.append("note-1", Noted())
    assert inline.runs.get(1).note == "from outside"


def test_deferred_tables_move_when_they_are_asked(open_log: OpenLog) -> None:
    log = open_log(projections="deferred")
    run = log.runs.start("x")
    log.runs.metric(run.run_id, "loss", 1.0)
    log.runs.finish_success(run.run_id)
    assert log.runs.metrics(run.run_id)[0].value == 1.0
    assert log.runs.list()[0].status == "success"
    assert log.statistics.runs()[0].success == 1
    assert log.projects.list() == []
    assert log.projections.explain("runs", 1).row is not None
    assert log.projections.verify() == []


@pytest.mark.parametrize("lost", ["DROP TABLE runs", 'ALTER TABLE runs DROP COLUMN "user"', "DELETE FROM projections"])
def test_tables_that_were_tampered_with_are_told_or_made_again(open_log: OpenLog, lost: str) -> None:
    with open_log() as log:
        log.runs.start("x")
        with behind_the_back(log) as connection:
            connection.execute(lost)
    log = open_log()
    log.append("note-1", Noted())
    started = 1
    try:
        started = log.runs.start("y").run_id
    except EventLogError:
        log.projections.rebuild()
    assert log.runs.start("z").run_id == started + 1
    assert log.runs.count() == started + 1
    assert log.projections.verify() == []
    assert_whole(log)
