"""Backups of a log in PostgreSQL, by pg_dump and without it, and what becomes of them: restored, refused, damaged."""

from __future__ import annotations

import gzip
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import eventlog
from eventlog import maintenance
from eventlog.errors import EventLogError, ServerUnreachable
from eventlog.events import UnknownEvent
from eventlog.log import EventLog
from eventlog.target import parse_target
from tests.helpers import Noted, assert_whole, notes, thread
from tests.postgres_ops.support import (
    catalogue,
    execute,
    fresh_database,
    fresh_schema,
    run,
    run_json,
    with_password,
    with_pg_dump,
    without_pg_dump,
)

__all__ = ["with_pg_dump", "without_pg_dump"]
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


def fill(place: str) -> None:
    """Every column in use, and text that a dump has to escape."""
    with eventlog.open(place) as log:
        log.projects.add("p", note="日本\u202e\x85\x1b[0m\x7f")
        for number in range(20):
            log.runs.start(f"job {number}", project_id="p", tags={"k": "\x00"})
        log.runs.finish_fail(2, "no\x00 data\ue000", exit_code=3)
        log.append("note-1", UnknownEvent(tag="note.taken", data={"big": 2**70, "\t": "\\u0000 \\N \\. \\\\"}))
        log.append("note-1", UnknownEvent(tag="note.taken", data={"t": "\r\n\t\b\f\v\\"}), actor="\\N", key="k")
        log.append("note-1", notes(40), key="tab key", metadata={"m": "\u2028\\."}, correlation="a\\b", causation="ü")


@pytest.fixture(scope="module")
def source() -> Iterator[str]:
    with fresh_schema() as place:
        fill(place)
        yield place


@pytest.fixture
def target() -> Iterator[str]:
    with fresh_schema() as place:
        yield place


@pytest.fixture(params=["pg_dump", "export"])
def way(request: pytest.FixtureRequest) -> str:
    """Both ways to make a backup."""
    request.getfixturevalue("with_pg_dump" if request.param == "pg_dump" else "without_pg_dump")
    return str(request.param)


def backup(place: str, file: Path, *words: str) -> Any:
    return run_json(place, "db", "backup", file, *words)


def assert_same(one: str, other: str) -> None:
    """Equal heads, equal exports, tables that are what the events say."""
    assert run_json(one, "log", "head") == run_json(other, "log", "head")
    assert run(one, "log", "export").stdout_bytes == run(other, "log", "export").stdout_bytes
    assert run_json(other, "db", "check")["ok"]
    with eventlog.open(one) as old, eventlog.open(other) as new:
        assert [run.command for run in old.runs.list()] == [run.command for run in new.runs.list()]
        assert_whole(new)


# there and back


@pytest.mark.feature("S4-8")
def test_a_backup_is_restored_with_the_same_head(source: str, target: str, tmp_path: Path, way: str) -> None:
    file = tmp_path / "saved"
    done = backup(source, file)
    assert file.read_bytes().startswith(b"PGDMP" if way == "pg_dump" else b"\x1f\x8b")
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert run_json(target, "db", "restore", file) == done == run_json(source, "log", "head")
    assert_same(source, target)
    assert catalogue(source) == catalogue(target) | {
        key: text for key, text in catalogue(source).items() if key[0] == "migration"
    }


def test_a_backup_over_a_file_asks_and_replaces_it(source: str, tmp_path: Path, way: str) -> None:
    file = tmp_path / "saved"
    file.write_text("precious")
    assert "--yes" in run(source, "db", "backup", file, status=2).stderr
    assert file.read_text() == "precious"
    backup(source, file, "--yes")
    assert file.stat().st_size > 1000
    assert "no folder" in run(source, "db", "backup", tmp_path / "none" / "x", status=1).stderr


def test_an_empty_log_is_backed_up_and_restored(target: str, tmp_path: Path, way: str) -> None:
    eventlog.open(target).close()
    backup(target, tmp_path / "saved")
    with fresh_schema() as other:
        assert run_json(other, "db", "restore", tmp_path / "saved")["position"] == 0
        run(other, "runs", "list")


def test_a_schema_whose_name_needs_quoting_is_backed_up(with_pg_dump: Path, tmp_path: Path, target: str) -> None:
    with fresh_schema('Mixed "case".x') as place:
        with eventlog.open(place) as log:
            log.append("note-1", notes(3))
        backup(place, tmp_path / "saved")
        run(target, "db", "restore", tmp_path / "saved")
        assert run_json(target, "log", "head") == run_json(place, "log", "head")


@pytest.mark.long
@pytest.mark.parametrize("in_public", [True, False], ids=["public", "own schema"])
def test_pg_restore_alone_brings_a_log_back(source: str, with_pg_dump: Path, tmp_path: Path, in_public: bool) -> None:
    with fresh_database() as old, fresh_database() as new:
        place = old if in_public else source
        if in_public:
            fill(old)
        backup(place, tmp_path / "saved")
        words = ["--clean", "--if-exists"] if in_public else []
        done = subprocess.run(
            [str(with_pg_dump / "pg_restore"), "--exit-on-error", *words, f"--dbname={new}", str(tmp_path / "saved")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        restored = new if in_public else f"{new}&options={source.partition('options=')[2]}"
        assert_same(place, restored)
        assert catalogue(place) == catalogue(restored)
        with eventlog.open(restored) as log:
            log.runs.start("on")


@pytest.mark.long
def test_rows_that_lie_out_of_order_come_back_in_order(target: str, tmp_path: Path, with_pg_dump: Path) -> None:
    with eventlog.open(target) as log:
        log.append("note-1", notes(5))
        with pytest.raises(RuntimeError), log.transaction() as tx:
            tx.append("note-1", notes(300))
            assert tx.stream_version("note-1") == 305
            log.head()  # which flushes, so that the rows reach the table
            raise RuntimeError
        log.append("note-2", notes(400))
        execute(target, "VACUUM events")
        log.append("note-3", notes(300))
    lying = [row[0] for row in execute(target, "SELECT position FROM events ORDER BY ctid")]
    assert lying != sorted(lying), "the hole was not filled: this test needs another way to make one"
    backup(target, tmp_path / "saved")
    with fresh_schema() as other:
        run(other, "db", "restore", tmp_path / "saved")
        assert_same(target, other)


@pytest.mark.long
def test_backups_while_writers_write_and_tables_are_rebuilt_are_whole(target: str, tmp_path: Path, way: str) -> None:
    stop = threading.Event()

    def write() -> None:
        with eventlog.open(target) as log:
            while not stop.is_set():
                log.runs.start("x", durability="process")
                time.sleep(0.002)

    def rebuild() -> None:
        with eventlog.open(target) as log:
            while not stop.is_set():
                log.projections.rebuild()

    eventlog.open(target).close()
    with thread(write), thread(write), thread(rebuild):
        try:
            for number in range(4):
                acknowledged = run_json(target, "log", "head")["position"]
                assert backup(target, tmp_path / f"saved {number}")["position"] >= acknowledged
        finally:
            stop.set()
    with fresh_schema() as other:
        run(other, "db", "restore", tmp_path / "saved 3")
        assert run_json(other, "db", "check")["ok"]


# what pg_dump is told


def stand_in(folder: Path, name: str, script: str) -> None:
    """A program of a name, first on the path."""
    place = folder / name
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def test_no_password_is_among_the_arguments(
    source: str, tmp_path: Path, with_pg_dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    (tmp_path / "bin").mkdir()
    real = with_pg_dump / "pg_dump"
    stand_in(
        tmp_path / "bin", "pg_dump", f"tr '\\0' ' ' < /proc/$$/cmdline >> {told}; env >> {told}.env; exec {real} \"$@\""
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    backup(f"{with_password(source)}&sslmode=prefer", tmp_path / "saved")
    arguments = told.read_text()
    assert "--format=custom" in arguments
    assert "sslmode" in arguments
    assert "fish" not in arguments
    assert "PGPASSWORD=sword@fish" in Path(f"{told}.env").read_text()


@pytest.mark.long
def test_a_pg_dump_that_is_older_than_the_server_is_not_used(
    source: str, target: str, tmp_path: Path, with_pg_dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin", "pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    backup(source, tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes()[:2] == b"\x1f\x8b"
    run(target, "db", "restore", tmp_path / "saved")
    assert_same(source, target)


def test_what_pg_dump_says_is_told_and_nothing_is_left(
    source: str, tmp_path: Path, with_pg_dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    stand_in(
        tmp_path / "bin", "pg_dump", 'case "$1" in --version) echo 99.0;; *) echo no disk today >&2; exit 1;; esac'
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert "pg_dump failed: no disk today" in run(source, "db", "backup", tmp_path / "saved", status=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_a_copy_that_lacks_records_does_not_take_the_backup_s_name(
    source: str, tmp_path: Path, without_pg_dump: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = EventLog.read
    monkeypatch.setattr(EventLog, "read", lambda log, after=0, to=None, **filters: read(log, after, (to or 1) - 1))
    assert "records are missing" in run(source, "db", "backup", tmp_path / "saved", status=1).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dump_without_pg_restore_at_hand_says_what_is_needed(
    source: str, target: str, tmp_path: Path, with_pg_dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(source, tmp_path / "saved")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pg_restore is needed" in run(target, "db", "restore", tmp_path / "saved", status=1).stderr
    assert execute(target, TABLES) == []


# refused


def test_a_database_that_holds_another_log_is_refused(source: str, target: str, tmp_path: Path, way: str) -> None:
    backup(source, tmp_path / "saved")
    with eventlog.open(target) as log:
        log.append("own-1", Noted())
    before = run(target, "log", "export").stdout_bytes
    assert "holds another log already" in run(target, "db", "restore", tmp_path / "saved", status=1).stderr
    assert run(target, "log", "export").stdout_bytes == before


def test_a_log_that_has_gone_on_since_is_refused(target: str, tmp_path: Path, way: str) -> None:
    with eventlog.open(target) as log:
        log.append("own-1", notes(3))
        backup(target, tmp_path / "saved")
        log.append("own-1", Noted())
    result = run(target, "db", "restore", tmp_path / "saved", status=1)
    assert "a longer one (version 4); nothing was written" in result.stderr
    assert run_json(target, "log", "head")["position"] == 4


def test_what_is_no_backup_is_refused_before_anything_is_made(target: str, tmp_path: Path, with_pg_dump: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "packed").write_bytes(gzip.compress(b"hello\n"))
    with eventlog.open(tmp_path / "lite.db") as log:
        log.append("a-1", Noted())
        maintenance.backup(log, tmp_path / "lite.backup")
    with fresh_schema() as other:
        execute(other, "CREATE TABLE things (x int)")
        words = [str(with_pg_dump / "pg_dump"), "-Fc", f"--file={tmp_path / 'foreign'}", "-t", "things", other]
        subprocess.run(words, check=True, timeout=30)
    for name, said in (
        ("text", "no backup of a log"),
        ("packed", "no backup of a log"),
        ("lite.backup", "eventlog db copy"),
        ("foreign", "holds no table `events`"),
    ):
        assert said in run(target, "db", "restore", tmp_path / name, status=1).stderr, name
    assert run(target, "db", "restore", tmp_path / "none", status=2).stderr
    assert execute(target, TABLES) == []


def test_a_dump_given_to_a_file_s_log_is_refused(source: str, tmp_path: Path, way: str) -> None:
    backup(source, tmp_path / "saved")
    result = run(tmp_path / "new.db", "db", "restore", tmp_path / "saved", status=1)
    assert "Traceback" not in result.stderr
    assert "bug" not in result.stderr
    assert not (tmp_path / "new.db").exists()


# damaged


def restored_or_told(source: str, damaged: Path) -> bool:
    """Whether a damaged backup is refused with nothing made; otherwise what came of it must be the very log."""
    with fresh_schema() as place:
        try:
            report = maintenance.restore(damaged, parse_target(place))
        except EventLogError as error:
            assert damaged.name in error.message
            assert execute(place, TABLES) == []
            return False
        head = run_json(source, "log", "head")
        assert (report.head.position, report.head.hash.hex()) == (head["position"], head["hash"])
        return True


def test_a_backup_that_was_cut_off_is_told_and_nothing_is_restored(source: str, tmp_path: Path, way: str) -> None:
    backup(source, tmp_path / "saved")
    whole = (tmp_path / "saved").read_bytes()
    damaged = tmp_path / "damaged"
    outcomes = []
    for share in (0.02, 0.2, 0.4, 0.6, 0.9, 0.99):
        damaged.write_bytes(whole[: int(len(whole) * share)])
        outcomes.append(restored_or_told(source, damaged))
    assert outcomes[:3] == [False] * 3
    if way == "export":
        assert not any(outcomes)  # in a dump other tables come after the events, and are made anew anyway
    with fresh_schema() as place:
        damaged.write_bytes(whole[: len(whole) // 5])
        said = run(place, "db", "restore", damaged, status=1).stderr
        assert "damaged" in said
        assert "bug" not in said
        run(place, "db", "restore", tmp_path / "saved")
        assert_same(source, place)


def test_a_flipped_bit_is_told_or_harmless(source: str, tmp_path: Path, way: str) -> None:
    backup(source, tmp_path / "saved")
    whole = (tmp_path / "saved").read_bytes()
    random = Random(7)
    outcomes = []
    for part in range(24):
        spoilt = bytearray(whole)
        spoilt[(2 * part + 1) * len(whole) // 48] ^= 1 << random.randrange(8)
        (tmp_path / "damaged").write_bytes(spoilt)
        outcomes.append(restored_or_told(source, tmp_path / "damaged"))
    assert outcomes.count(False) >= (1 if way == "pg_dump" else 23)  # a dump has much beside the events


def test_a_flipped_bit_in_an_event_is_told_with_its_position(target: str, source: str, tmp_path: Path) -> None:
    text = run(source, "log", "export").stdout_bytes
    spoilt = text.replace(b'"command":"job 3"', b'"command":"job 4"')
    assert spoilt != text
    (tmp_path / "damaged").write_bytes(spoilt)
    assert "breaks at position 5" in run(target, "db", "restore", tmp_path / "damaged", status=1).stderr
    assert execute(target, TABLES) == []


def test_a_restore_that_was_interrupted_says_what_is_there_and_goes_on_when_run_again(
    target: str, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fresh_schema() as place:
        with eventlog.open(place) as log:
            log.append("note-1", notes(6000))
        backup(place, tmp_path / "saved")
        with monkeypatch.context() as patch:
            whole = EventLog._import

            def once(log: EventLog, records: list[Any]) -> int:
                if records[0].position > 1:
                    raise ServerUnreachable("the server went away")
                return whole(log, records)

            patch.setattr(EventLog, "_import", once)
            result = run(target, "db", "restore", tmp_path / "saved", status=1)
        assert "went away" in result.stderr
        assert "position 5000 of 6000 are there; the same restore, run again, goes on" in result.stderr
        run(target, "db", "restore", tmp_path / "saved")
        assert run_json(target, "log", "head") == run_json(place, "log", "head")
        assert run_json(target, "db", "check")["ok"]
