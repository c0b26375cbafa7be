"""Opening and closing: targets, modes, what a closed or a read-only log says."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import Append
from eventlog.app import Log
from eventlog.errors import (
    EventLogError,
    InvalidInput,
    LogClosed,
    LogMissing,
    LogReadOnly,
    NotALog,
    ProjectionUnknown,
    SchemaTooNew,
)
from tests.conftest import OpenLog
from tests.helpers import Noted, assert_whole, notes, numbers

USES: list[Callable[[Log], Any]] = [
    lambda log: log.append("note-1", Noted()),
    lambda log: log.append_many([Append(stream="note-1", events=Noted())]),
    lambda log: log.decide(lambda tx: None),
    lambda log: log.transaction().__enter__(),
    lambda log: list(log.read()),
    lambda log: list(log.read_stream("note-1")),
    lambda log: log.head(),
    lambda log: log.verify(),
    lambda log: log.projections.status(),
    lambda log: log.projections.rebuild(),
    lambda log: log.runs.list(),
    lambda log: log.as_of(0).__enter__(),
]


@pytest.mark.parametrize("use", USES)
def test_a_closed_log_says_so(log: Log, use: Callable[[Log], Any]) -> None:
    log.append("note-1", Noted())
    log.close()
    with pytest.raises(LogClosed):
        use(log)
    log.close()


@pytest.mark.shared
def test_what_was_appended_is_there_after_closing(open_log: OpenLog) -> None:
    with open_log() as log:
        log.append("note-1", notes(3), durability="process")
        head = log.head()
    again = open_log()
    assert again.head() == head
    assert numbers(again.read()) == [0, 1, 2]
    assert again.append("note-1", Noted()).version == 4


@pytest.mark.feature("S0-10")
@pytest.mark.shared
def test_two_log_objects_in_one_process_take_turns(open_log: OpenLog) -> None:
    one, two = open_log(), open_log()
    for number in range(6):
        result = (one, two)[number % 2].append("note-1", Noted(number=number), expect=number)
        assert result == (number + 1, number + 1, number + 1, False)
        assert one.head() == two.head()
    run = one.runs.start("x")
    two.runs.note(run.run_id, "from two")
    assert one.runs.get(run.run_id).note == "from two"
    assert two.runs.start("y").run_id == 2
    one.close()
    two.append("note-1", Noted())
    assert two.projections.verify() == []
    assert_whole(two)


@pytest.mark.shared
def test_a_key_used_through_one_log_object_is_known_to_the_other(open_log: OpenLog) -> None:
    one, two = open_log(), open_log()
    one.append("note-1", notes(2), key="k")
    assert two.append("note-1", notes(2), key="k").duplicate


@pytest.mark.shared
def test_a_log_for_reading_reads_and_refuses_to_write(open_log: OpenLog) -> None:
    log = open_log()
    log.runs.start("x")
    reading = open_log(mode="r")
    assert reading.runs.get(1).command == "x"
    assert reading.verify().ok
    with reading.as_of(0) as past:
        assert past.runs.count() == 0
    assert reading.projections.verify() == []
    refused: list[Callable[[], Any]] = [
        lambda: reading.append("note-1", Noted()),
        lambda: reading.append_many([Append(stream="note-1", events=Noted())]),
        lambda: reading.decide(lambda tx: None),
        lambda: reading.transaction().__enter__(),
        lambda: reading.runs.start("y"),
        lambda: reading.runs.metric(1, "m", 1.0),
        lambda: reading.projects.add("p"),
        lambda: reading.projections.rollback(0),
        lambda: reading.projections.rebuild(),
        lambda: reading.projections.resume(),
    ]
    for attempt in refused:
        with pytest.raises(LogReadOnly):
            attempt()
    log.append("note-1", Noted())
    assert reading.head() == log.head()


@pytest.mark.shared
@pytest.mark.unmade
def test_a_log_for_reading_answers_even_when_tables_lag_or_were_never_made(open_log: OpenLog) -> None:
    log = open_log(projections="off")
    log.append("run-1", eventlog.events.runs.RunStarted(command="x"))
    try:
        assert open_log(mode="r").runs.get(1).command == "x"
    except EventLogError as error:
        assert "eventlog " in str(error) or "open" in str(error), f"no way out told: {error}"
    log.close()
    open_log().close()
    log = open_log(projections="deferred")
    log.append("run-2", eventlog.events.runs.RunStarted(command="y"))
    assert [run.run_id for run in open_log(mode="r", projections="deferred").runs.list()] in ([2, 1], [1])


def test_without_projections_questions_about_tables_are_told(open_log: OpenLog) -> None:
    log = open_log(projections="off")
    log.append("note-1", Noted())
    assert log.projections.names() == []
    with pytest.raises(ProjectionUnknown):
        log.runs.list()


@pytest.mark.parametrize("options", [{"mode": "w"}, {"mode": ""}, {"projections": "on"}, {"projections": None}])
def test_an_option_that_is_none_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        eventlog.open(tmp_path / "log.db", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.feature("S1-8")
@pytest.mark.parametrize("target", [":memory:", "sqlite://", "sqlite:///:memory:"])
def test_a_log_in_memory_has_no_path(target: str) -> None:
    with eventlog.open(target) as log:
        assert (log.path, log.data_dir) == (None, None)
        assert log.url == ":memory:"
        log.append("note-1", Noted())


@pytest.mark.feature("S1-8")
def test_targets_name_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub folder" / "log.db"
    with eventlog.open(path) as log:
        log.append("note-1", Noted())
        assert (log.path, log.data_dir) == (path, path.parent)
        head = log.head()
        url = log.url
    monkeypatch.setenv("EVENTLOG_URL", str(path))
    monkeypatch.chdir(path.parent)
    for target in (str(path), f"sqlite:///{path}", url, "log.db", Path("log.db"), None):
        with eventlog.open(target) as log:
            assert log.head() == head
            assert log.path == path


@pytest.mark.parametrize("target", ["", "a\0b", "postgresql+psycopg2://host/db", "http://x/y", "mysql+x://a"])
def test_a_target_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(InvalidInput):
        eventlog.open(target)


@pytest.mark.feature("S1-8")
def test_the_default_is_a_file_of_this_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENTLOG_URL")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with eventlog.open() as log:
        assert log.path is not None
        assert tmp_path in log.path.parents
        assert log.path.name == "log.db"


def test_the_data_directory_is_the_files_folder_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with eventlog.open(tmp_path / "log.db", data_dir=tmp_path / "data") as log:
        assert log.data_dir == tmp_path / "data"
    monkeypatch.setenv("EVENTLOG_DATA_DIR", str(tmp_path / "elsewhere"))
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.data_dir == tmp_path / "elsewhere"


def test_a_missing_log_is_made_only_when_allowed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for options in ({"create": False}, {"mode": "r"}):
        with pytest.raises(LogMissing, match="db init"):
            eventlog.open(path, **options)
    assert list(tmp_path.iterdir()) == []
    eventlog.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_file_a_folder_and_another_database_are_no_logs(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("no database" * 100)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE events (position INTEGER)")
    other.commit()
    other.close()
    for name in ("empty.db", "folder.db", "text.db", "other.db"):
        for mode in ("rw", "r"):
            with pytest.raises(NotALog, match="othing was changed"):
                eventlog.open(tmp_path / name, mode=mode)
    assert (tmp_path / "empty.db").stat().st_size == 0


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    eventlog.open(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 999")
    raw.close()
    for mode in ("rw", "r"):
        with pytest.raises(SchemaTooNew, match="999"):
            eventlog.open(path, mode=mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LogReadOnly):
        eventlog.open(tmp_path / "log.db")
    tmp_path.chmod(0o700)
