"""A history of runs with its files, into runs under their old numbers."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

import eventlog
from eventlog.app import Log
from eventlog.blobs import Blobs
from eventlog.errors import InvalidInput
from eventlog.events.agents import RecordKept
from eventlog.importers.run import Options, Report, import_paths
from eventlog.importers.runs_db import RunHistory
from tests.projections.reference import check_every_way

SECRET = "ghp_" + "a1B2" * 9
SCHEMA = """
CREATE TABLE projects (project_id TEXT PRIMARY KEY, project_path TEXT NOT NULL, created_at TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '');
CREATE TABLE runs (run_id INTEGER PRIMARY KEY AUTOINCREMENT, created_at TEXT NOT NULL, started_at TEXT NOT NULL,
    ended_at TEXT, status TEXT NOT NULL, command TEXT NOT NULL, git_commit TEXT, note TEXT NOT NULL DEFAULT '',
    project_id TEXT REFERENCES projects(project_id), updated_at TEXT NOT NULL);
INSERT INTO projects VALUES ('analysis', '/work/analysis', '2026-02-01T09:00:00+09:00', 'Games');
"""
NOON = 1_769_914_800_000_000
"""2026-02-01 12:00 in Japan."""


def imported(log: Log, path: Path, **options: bool) -> Report:
    data = path.parents[1] / "data"
    return import_paths(
        log, log.projections, RunHistory(), [path.parents[1]], data_dir=data, options=Options(**options)
    )


def change(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def run(number: int, status: str = "success", ended: str | None = "2026-02-01 12:01:00", note: str = "") -> str:
    end = "NULL" if ended is None else f"'{ended}'"
    return (
        f"INSERT INTO runs VALUES ({number}, '2026-02-01T12:00:00+09:00', '2026-02-01 12:00:00', {end}, '{status}', "
        f"'python -m game {number}', 'c0ffee', '{note}', 'analysis', '2026-02-01T12:01:00+09:00');"
    )


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / ".runmeta" / "run_history.db"
    path.parent.mkdir()
    change(path, SCHEMA)
    return path


def test_an_empty_log_keeps_the_numbers_and_passes_over_those_given_away(tmp_path: Path, history: Path) -> None:
    change(history, run(1, note=f"token {SECRET}") + run(2, "fail") + run(5, "killed") + run(6, "running", None))
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, history)
        assert (report.total.understood_records, report.total.secrets > 0, report.partial) == (5, True, False)
        runs = log.runs.list()[::-1]
        assert [(one.run_id, one.status) for one in runs] == [
            (1, "success"),
            (2, "fail"),
            (5, "killed"),
            (6, "running"),
        ]
        assert (runs[0].started_at, runs[0].ended_at) == (NOON, NOON + 60_000_000)
        assert (runs[0].command, runs[0].git_commit, runs[0].project_id) == ("python -m game 1", "c0ffee", "analysis")
        assert runs[0].note == "token [redacted]"
        assert [(one.project_id, one.path, one.note) for one in log.projects.list()] == [
            ("analysis", "/work/analysis", "Games")
        ]
        assert log.runs.start("the next").run_id == 7
        check_every_way(log)
        head = log.head()
        assert imported(log, history).sources[0].status == "unchanged"
        assert log.head() == head


def test_a_log_with_runs_gives_new_numbers(tmp_path: Path, history: Path) -> None:
    change(history, run(1) + run(2) + run(4000))
    with eventlog.open(tmp_path / "log.db") as log:
        log.runs.start("here before")
        imported(log, history)
        told = {one.run_id: one.tags.get("source_run_id") for one in log.runs.list()}
        assert told == {1: None, 2: "1", 3: "2", 4: "4000"}
        assert log.projections.verify() == []


def test_what_changed_there_is_a_correction_here(tmp_path: Path, history: Path) -> None:
    change(history, run(1, "running", None))
    with eventlog.open(tmp_path / "log.db") as log:
        imported(log, history)
        head = log.head()
        change(history, "CREATE TABLE other (a)")
        imported(log, history)
        assert log.head() == head
        change(history, "UPDATE runs SET status = 'fail', ended_at = '2026-02-01T12:02:00+09:00', note = 'why'")
        change(history, run(2))
        imported(log, history)
        first, second = log.runs.get(1), log.runs.get(2)
        assert (first.status, first.note, first.ended_at) == ("fail", "why", NOON + 120_000_000)
        assert second.status == "success"
        change(history, "UPDATE runs SET status = 'running', project_id = NULL WHERE run_id = 1")
        imported(log, history)
        assert (log.runs.get(1).status, log.runs.get(1).project_id) == ("running", None)
        assert log.projections.verify() == []


def test_the_files_of_a_run_are_kept(tmp_path: Path, history: Path) -> None:
    change(history, run(1))
    result = tmp_path / "result" / "1"
    (result / "output" / "deep").mkdir(parents=True)
    (result / "logs").mkdir()
    (result / "output" / "deep" / "table.bin").write_bytes(b"\0\xff" * 100)
    (result / "logs" / "stdout.log").write_text("done\n")
    (result / "logs" / "link").symlink_to("/etc/passwd")
    os.mkfifo(result / "logs" / "pipe")
    (result / "meta.json").write_text(json.dumps({"run_id": 1, "seed": 7}))
    (tmp_path / "result" / "3" / "output").mkdir(parents=True)
    (tmp_path / "result" / "3" / "output" / "old.txt").write_text("old")
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, history)
        assert (report.total.raw_records, report.partial) == (1, False)
        told = [(row.kind, row.name, row.size_bytes, row.sha256) for row in log.runs.artifacts(1)]
        content = b"\0\xff" * 100
        assert told == [
            ("output", "deep/table.bin", 200, sha256(content).hexdigest()),
            ("logs", "stdout.log", 5, sha256(b"done\n").hexdigest()),
        ]
        assert log.runs.artifacts(1)[0].source == str(result / "output" / "deep" / "table.bin")
        assert Blobs(tmp_path / "data").get(told[0][3]) == content
        kept = [record.event for record in log.read() if isinstance(record.event, RecordKept)]
        assert {event.kind for event in kept} == {"runs", "meta.json", "result without a run"}
        meta = next(event for event in kept if event.kind == "meta.json")
        assert json.loads(bytes(meta.data)) == {"run_id": 1, "seed": 7}
        check_every_way(log)


def test_damaged_rows_stop_nothing(tmp_path: Path, history: Path) -> None:
    change(history, run(1))
    change(
        history,
        """
        INSERT INTO runs VALUES (-3, 'x', 'x', NULL, 'success', 'negative', NULL, '', NULL, 'x');
        INSERT INTO runs VALUES (2, x'ff', 7, 'never', 'odd', x'00', 1.5, CAST(x'61ff00' AS TEXT), NULL, 'x');
        INSERT INTO projects VALUES (char(7), '', '', '');
        """,
    )
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, history)
        assert [(one.run_id, one.status, one.note) for one in log.runs.list()] == [
            (2, "running", "a\\xff\\x00"),
            (1, "success", ""),
        ]
        assert (report.total.raw_records, report.total.quarantined_records) == (1, 1)
        head = log.head()
        change(history, "CREATE TABLE other (a)")
        assert imported(log, history).total.quarantined_records == 0
        assert log.head() == head
        with pytest.raises(InvalidInput, match="cannot be stored"):
            change(history, "CREATE TABLE more (a)")
            imported(log, history, strict=True)
        assert log.projections.verify() == []


def test_a_history_made_to_do_harm_leaves_the_log_as_it_is(tmp_path: Path, history: Path) -> None:
    change(history, run(1) + "CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM runs; END;")
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, history)
        assert (report.sources[0].status, log.head().position) == ("failed", 0)
