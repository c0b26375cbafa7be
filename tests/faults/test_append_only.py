"""What was appended cannot be changed by SQL that goes through the front door; what goes round it is found."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from under_fire import Ticked, assert_sound, fill, open_log, raw, run

import eventlog
from eventlog.errors import Corrupt, EventLogError

COLUMNS = "position, stream, version, type, schema, occurred_at, recorded_at, key, data, hash"
VALUES = "'fire-x', 1, 'fire.ticked', 1, 0, 0, NULL, '{}', zeroblob(32)"
FORBIDDEN = {
    "update": "UPDATE events SET data = '{}' WHERE position = 3",
    "update nothing": "UPDATE events SET data = data WHERE position = 3",
    "update or ignore": "UPDATE OR IGNORE events SET data = '{}' WHERE position = 3",
    "update or replace": "UPDATE OR REPLACE events SET position = 4 WHERE position = 3",
    "delete": "DELETE FROM events WHERE position = 3",
    "delete all": "DELETE FROM events",
    "delete the head": "DELETE FROM events WHERE position = (SELECT max(position) FROM events)",
    "replace a position": f"INSERT OR REPLACE INTO events ({COLUMNS}) VALUES (3, {VALUES})",
    "replace a stream's version": "INSERT OR REPLACE INTO events "
    "SELECT 1 + (SELECT max(position) FROM events), stream, "
    "version, type, schema, occurred_at, recorded_at, NULL, actor, correlation, causation, '{}', metadata, hash "
    "FROM events WHERE position = 3",
    "upsert": f"INSERT INTO events ({COLUMNS}) VALUES (3, {VALUES}) ON CONFLICT (position) DO UPDATE SET data = '{{}}'",
    "a negative position": f"INSERT INTO events ({COLUMNS}) VALUES (-1, {VALUES})",
    "position zero": f"INSERT INTO events ({COLUMNS}) VALUES (0, {VALUES})",
    "a gap": f"INSERT INTO events ({COLUMNS}) SELECT max(position) + 2, {VALUES} FROM events",
    "the end of numbers": f"INSERT INTO events ({COLUMNS}) VALUES (9223372036854775807, {VALUES})",
    "no position": f"INSERT INTO events ({COLUMNS}) VALUES (NULL, {VALUES})",
    "text as a number": f"INSERT INTO events ({COLUMNS}) "
    "SELECT max(position) + 1, 'x', 'one', 'a.b', 1, 0, 0, NULL, '{}', "
    "zeroblob(32) FROM events",
    "a short hash": f"INSERT INTO events ({COLUMNS}) "
    "SELECT max(position) + 1, 'x', 1, 'a.b', 1, 0, 0, NULL, '{}', x'00' "
    "FROM events",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_log(tmp_path / "log.db") as log:
        fill(log, 60)
    return tmp_path / "log.db"


def snapshot(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    return connection.execute("SELECT * FROM events ORDER BY position").fetchall()


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_sql_that_would_change_history_is_refused(path: Path, statement: str) -> None:
    with raw(path) as connection:
        before = snapshot(connection)
        connection.execute("PRAGMA recursive_triggers = ON")  # as the log's own connections have it
        try:
            connection.execute(FORBIDDEN[statement])
        except sqlite3.IntegrityError:
            pass
        else:
            assert statement == "replace a stream's version", "nothing refused it"
        assert snapshot(connection) == before
    assert_sound(path)


@pytest.mark.parametrize("statement", [name for name in FORBIDDEN if name != "replace a stream's version"])
def test_a_plain_connection_without_our_settings_is_refused_too(path: Path, statement: str) -> None:
    with raw(path) as connection:
        before = snapshot(connection)
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(FORBIDDEN[statement])
        assert snapshot(connection) == before


def test_what_slips_past_the_triggers_breaks_the_chain(path: Path) -> None:
    with raw(path) as connection:  # recursive_triggers is off by default: REPLACE deletes without asking
        connection.execute(FORBIDDEN["replace a stream's version"])
    with open_log(path) as log:
        report = log.verify()
        assert not report.ok and report.bad_position is not None


def test_the_logs_own_connections_refuse_replace(path: Path) -> None:
    with open_log(path) as log:
        writer = log.store.begin("full")
        try:
            assert writer.execute("PRAGMA recursive_triggers").fetchone() == (1,)
            with pytest.raises(sqlite3.IntegrityError):
                writer.execute(FORBIDDEN["replace a stream's version"])
        finally:
            log.store.rollback(writer)
    assert_sound(path)


def test_sqlite_utils_cannot_change_history_quietly(path: Path) -> None:
    lines = run("sqlite_utils_attacks", path)
    assert lines == ["update refused", "delete refused", "replace refused", "upsert refused"]
    assert_sound(path)


def test_a_table_rewritten_by_sqlite_utils_is_found_at_the_next_open(path: Path) -> None:
    run("sqlite_utils_transform", path)
    with pytest.raises(Corrupt, match="trigger"):
        open_log(path).close()


TAMPERINGS = {
    "data": "UPDATE events SET data = json_set(data, '$.number', 99) WHERE position = 5",
    "stream": "UPDATE events SET stream = 'fire-other', version = 1 WHERE position = 5",
    "type": "UPDATE events SET type = 'fire.other' WHERE position = 5",
    "schema": "UPDATE events SET schema = schema + 1 WHERE position = 5",
    "occurred_at": "UPDATE events SET occurred_at = occurred_at + 1 WHERE position = 5",
    "recorded_at": "UPDATE events SET recorded_at = recorded_at + 1 WHERE position = 5",
    "key": "UPDATE events SET key = 'new' WHERE position = 5",
    "actor": "UPDATE events SET actor = 'someone' WHERE position = 5",
    "correlation": "UPDATE events SET correlation = 'c' WHERE position = 5",
    "causation": "UPDATE events SET causation = 'c' WHERE position = 5",
    "metadata": "UPDATE events SET metadata = '{}' WHERE position = 5",
    "hash": "UPDATE events SET hash = zeroblob(32) WHERE position = 5",
    "the first": "UPDATE events SET data = '{}' WHERE position = 1",
    "the last": "UPDATE events SET actor = 'x' WHERE position = (SELECT max(position) FROM events)",
    "one gone": "DELETE FROM events WHERE position = 5",
    "the first gone": "DELETE FROM events WHERE position = 1",
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_any_column_changed_behind_the_triggers_back_is_found_at_its_position(path: Path, what: str) -> None:
    with raw(path) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(TAMPERINGS[what]).rowcount == 1
        (last,) = connection.execute("SELECT max(position) FROM events").fetchone()
        for _, sql in triggers:
            connection.execute(sql)
    with open_log(path) as log:
        report = log.verify()
        assert not report.ok
        assert report.bad_position in {"the last": {last}, "the first": {1}, "the first gone": {1, 2}}.get(
            what, {5, 6} if what in {"hash", "one gone"} else {5}
        )
        assert report.problem


def test_a_cut_tail_is_found_with_the_head_kept_elsewhere(path: Path) -> None:
    with open_log(path) as log:
        head = log.head()
    with raw(path) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM events WHERE position > ?", (head.position - 3,))
        for _, sql in triggers:
            connection.execute(sql)
    with open_log(path) as log:
        assert log.verify().ok, "what is left is a sound log"
        assert log.head()[:2] != head[:2], "only who kept the head can tell"
        assert list(log.read(after=head.position - 1, to=head.position)) == []
        assert list(log.projections.verify()) == [], "the tables follow what is left"


def test_a_second_append_at_the_same_version_is_a_conflict_not_a_loss(path: Path) -> None:
    with open_log(path) as one, open_log(path) as other:
        version = one.append("fire-race", Ticked()).version
        other.append("fire-race", Ticked(), expect=version)
        with pytest.raises(EventLogError) as refused:
            one.append("fire-race", Ticked(), expect=version)
        assert refused.value.actual == version + 1
        assert one.append("fire-race", [Ticked()], expect=eventlog.EXISTS).version == version + 2
