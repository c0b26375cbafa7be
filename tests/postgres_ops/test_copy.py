"""`eventlog db copy`: a log from SQLite to PostgreSQL and back, the same to the last byte, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.events import UnknownEvent
from eventlog.maintenance import copy as copying
from eventlog.maintenance.copy import copy
from tests.helpers import EVENTS, ROOT, Measured, Noted, assert_whole, notes, thread
from tests.postgres_ops.support import execute, fresh_schema, run, run_json
from tests.projections.things import THING_EVENTS, everything, fill


@pytest.fixture
def target() -> Iterator[str]:
    with fresh_schema() as place:
        yield place


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A log with every column in use, text that is not easy, user-defined and unknown events."""
    place = tmp_path / "source.db"
    with eventlog.open(place, events=EVENTS) as log:
        log.projects.add("p", note="日本\u202e\x85\x1b[0m\x7f")
        for number in range(5):
            log.runs.start(f"job {number}", project_id="p", parameters={"f": 0.1, "n": None}, tags={"k": "\x00"})
        log.runs.finish_success(1, exit_code=0)
        log.runs.finish_fail(2, "no\x00 data\ue000", exit_code=3)
        log.runs.metric(3, "loss", float("nan"))
        log.append("measure-1", Measured(value=1e300, anything=[1, {"": [{}]}], parts={"\x00": "\x00"}))
        log.append("note-1", UnknownEvent(tag="note.taken", data={"big": 2**70, "\t": "\\u0000 \\N \\."}))
        for number in range(3):
            log.append(
                f"key-{number}",
                [Noted(text="\r\n\t\b\\"), Noted(text="ü")],
                key=f"k {number}",
                actor="a\\N",
                correlation="c",
                causation="d",
                metadata={"m": "\u2028"},
                occurred_at=number,
            )
    return place


def rows_of(place: str | Path) -> dict[str, list[dict[str, Any]]]:
    # Not for reading only: an index of words follows when it is asked.
    with eventlog.open(place) as log:
        return {name: log.projections.rows(name) for name in log.projections.names()}


def export_of(place: str | Path) -> bytes:
    return run(place, "log", "export").stdout_bytes


def copied(source: str | Path, target: str | Path, *words: str, status: int = 0) -> Any:
    return run_json(":memory:", "db", "copy", source, target, *words, status=status)


def refused(source: str | Path, target: str | Path) -> str:
    return run(":memory:", "db", "copy", source, target, status=1).stderr


# the same


@pytest.mark.feature("S4-6")
def test_there_and_back_again_is_the_same_to_the_last_byte(source: Path, target: str, tmp_path: Path) -> None:
    back = tmp_path / "back.db"
    there = copied(source, target)
    assert (there["present"], there["differences"], there["verified"]) == (0, 0, True)
    assert copied(target, back)["hash"] == there["hash"]
    assert run_json(source, "log", "head") == run_json(target, "log", "head") == run_json(back, "log", "head")
    assert export_of(source) == export_of(target) == export_of(back)
    assert rows_of(source) == rows_of(target) == rows_of(back)
    for place in (target, back):
        assert run_json(place, "db", "check")["ok"]
        with eventlog.open(place, events=EVENTS) as log:
            assert_whole(log)
            assert log.append("key-1", [Noted(text="\r\n\t\b\\"), Noted(text="ü")], key="k 1").duplicate
            assert log.runs.start("next").run_id == 6


def test_a_copy_from_one_schema_to_another(source: Path, target: str) -> None:
    copied(source, target)
    with fresh_schema() as other:
        assert copied(target, other)["hash"] == run_json(source, "log", "head")["hash"]
        assert rows_of(other) == rows_of(source)


def test_equal_logs_have_nothing_to_copy(source: Path, target: str) -> None:
    first = copied(source, target)
    again = copied(source, target)
    assert (again["present"], again["added"], again["hash"]) == (first["position"], 0, first["hash"])
    assert copied(source, source)["added"] == 0


def test_an_empty_log_is_copied_too(tmp_path: Path, target: str) -> None:
    eventlog.open(tmp_path / "empty.db").close()
    done = copied(tmp_path / "empty.db", target)
    assert (done["added"], done["position"]) == (0, 0)


def test_what_came_later_is_added(source: Path, target: str) -> None:
    first = copied(source, target)
    with eventlog.open(source) as log:
        log.runs.start("later")
    done = copied(source, target)
    assert (done["present"], done["added"]) == (first["position"], 1)
    assert rows_of(source) == rows_of(target)


# refused


def test_a_target_that_is_no_beginning_of_the_source_is_refused_at_the_first_difference(
    source: Path, target: str, tmp_path: Path
) -> None:
    with eventlog.open(source, mode="r") as old, eventlog.open(target) as new:
        new.import_records(old.read(to=7))
        new.append("own-1", notes(4))
    before = export_of(target)
    assert "they differ from position 8 on" in refused(source, target)
    assert "nothing was written" in refused(target, source)
    assert export_of(target) == before
    with eventlog.open(tmp_path / "other.db") as other:
        other.append("own-1", Noted())
    assert "they differ from position 1 on" in refused(source, tmp_path / "other.db")


def test_a_target_that_is_longer_is_refused(source: Path, target: str) -> None:
    copied(source, target)
    with eventlog.open(target) as log:
        log.append("own-1", Noted())
    before = export_of(target)
    assert "it is the longer one" in refused(source, target)
    assert export_of(target) == before


def test_a_source_that_is_not_there_makes_no_target(target: str, tmp_path: Path) -> None:
    assert "no log at" in refused(tmp_path / "none.db", target)
    assert execute(target, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()") == []
    assert "no event log yet" in refused(target, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


# interrupted

SLOW = """
import sys
from eventlog.maintenance import copy
copy.BATCH = 20
count = copy.EventLog._import
def slow(log, records):
    import time
    done = count(log, records)
    print("batch", flush=True)
    time.sleep(0.2)
    return done
copy.EventLog._import = slow
from eventlog.cli import main
sys.argv[1:1] = ["db", "copy"]
main()
"""
"""A copy in batches of 20, with a pause after each: time to be interrupted in the middle."""


def start_copy(source: Path, target: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", SLOW, str(source), target],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if path)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def long_source(tmp_path: Path) -> Path:
    """400 events, some with keys, and runs."""
    with eventlog.open(tmp_path / "long.db") as log:
        for number in range(100):
            log.append(f"note-{number % 7}", notes(3), key=f"k{number}" if number % 2 else None, durability="process")
            log.runs.start("x", durability="process")
    return tmp_path / "long.db"


@pytest.mark.feature("S4-6")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)], ids=["kill", "Ctrl-C"])
def test_a_copy_that_was_interrupted_goes_on_where_it_was(
    long_source: Path, target: str, number: signal.Signals, status: int
) -> None:
    child = start_copy(long_source, target)
    assert child.stdout is not None
    for _ in range(3):
        assert child.stdout.readline() == "batch\n"
    child.send_signal(number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == status, said
    assert "Traceback" not in said
    with eventlog.open(target, projections="off") as log:
        there = log.head().position
        assert_whole(log)
    assert 60 <= there < 400
    done = copied(long_source, target)
    assert (done["present"], done["added"], done["differences"]) == (there, 400 - there, 0)
    assert export_of(target) == export_of(long_source)
    assert rows_of(target) == rows_of(long_source)


# others at work


def test_a_source_that_grows_meanwhile_is_copied_with_what_it_gained(
    source: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "BATCH", 5)
    with (
        eventlog.open(source) as growing,
        eventlog.open(source, mode="r") as old,
        eventlog.open(target, projections="off") as new,
    ):
        added: list[int] = []

        def grow(done: int, total: int | None, what: str) -> None:
            if len(added) < 6:
                growing.append("note-9", notes(5))
                added.append(total or 0)

        done = copy(old, new, grow)
        assert len(added) == 6
        assert added[-1] > added[0]
        assert new.head() == growing.head()
        assert done.added == growing.head().position


def test_a_source_that_others_write_to_all_the_time_is_copied_to_some_head_of_it(source: Path, target: str) -> None:
    stop = threading.Event()

    def write() -> None:
        with eventlog.open(source) as log:
            while not stop.is_set():
                log.append("note-9", Noted(), durability="process")
                time.sleep(0.005)

    with thread(write):
        done = copied(source, target)
        stop.set()
    assert done["differences"] == 0
    assert copied(source, target)["hash"] == run_json(source, "log", "head")["hash"]


def test_a_source_that_is_open_in_a_transaction_elsewhere_is_read_all_the_same(source: Path, target: str) -> None:
    with eventlog.open(source) as log, log.transaction() as tx:
        tx.append("note-9", Noted())
        assert copied(source, target)["added"] > 0


def test_a_source_that_cannot_be_written_is_read(source: Path, target: str) -> None:
    with sqlite3.connect(source) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    source.chmod(0o400)
    source.parent.chmod(0o500)
    try:
        done = copied(source, target)
    finally:
        source.parent.chmod(0o700)
    assert done["hash"] == run_json(source, "log", "head")["hash"]


# tables of the target


def test_tables_of_the_target_that_are_rolled_back_stay_so_and_it_is_told(source: Path, target: str) -> None:
    copied(source, target)
    with eventlog.open(target) as log:
        log.projections.rollback(to=3, names=["runs"])
    with eventlog.open(source) as log:
        log.runs.start("later")
    done = copied(source, target)
    assert done["behind"]["runs"] == "pinned at position 3"
    assert done["differences"] == 0
    told = run(":memory:", "db", "copy", source, target).stdout
    assert "runs: pinned at position 3" in told
    assert "eventlog projections resume" in told
    run(target, "projections", "resume")
    assert copied(source, target)["behind"] == {}
    assert rows_of(source) == rows_of(target)


def test_tables_of_the_target_that_failed_are_told_and_end_with_status_1(
    source: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from projections import runs

    def fail(row: Any, event: Any, record: Any) -> Any:
        if record.stream == "run-4":
            raise ValueError("no fourth run")
        return evolve(row, event, record)

    entity = runs.projections[0]
    evolve = entity.evolve
    monkeypatch.setattr(entity, "evolve", fail)
    done = copied(source, target, status=1)
    assert done["behind"]["runs"].startswith("failed at position ")
    assert "no fourth run" in done["behind"]["runs"]
    assert run_json(source, "log", "head")["hash"] == done["hash"]
    monkeypatch.undo()
    run(target, "projections", "resume")
    assert copied(source, target)["behind"] == {}


def test_without_verifying_the_tables_are_made_all_the_same(source: Path, target: str) -> None:
    assert copied(source, target, "--no-verify")["verified"] is False
    assert rows_of(source) == rows_of(target)


def test_projections_of_one_s_own_follow_from_the_events(tmp_path: Path, target: str) -> None:
    with eventlog.open(tmp_path / "own.db", events=THING_EVENTS, extra_projections=everything()) as log:
        fill(log, 40)
        expected = log.projections.rows("things"), log.projections.rows("colours")
    copied(tmp_path / "own.db", target)
    with eventlog.open(target, events=THING_EVENTS, extra_projections=everything()) as log:
        assert (log.projections.rows("things"), log.projections.rows("colours")) == expected
        assert log.projections.verify() == []
