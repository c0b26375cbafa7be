"""The schema: fresh, taken down and up again, and upgraded from every released one, it is the same."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventlog
from eventlog.errors import Corrupt, LogMissing, MigrationError, NotALog, SchemaTooNew
from eventlog.store import sqlite_schema as migrate
from eventlog.store.migrations import latest, migrations
from tests.helpers import Noted, assert_whole, notes

RELEASED = Path(__file__).with_name("schemas")
"""A log at each released schema, as SQL: its head is what it was when it was written."""
HEAD = "384bdd6a9edf95f056884a97ea54a47312b49781b954bb2bf8bdca9d716ee73a"


def released() -> list[Path]:
    return sorted(RELEASED.glob("schema-*.sql"))


@contextlib.contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def schema(path: Path) -> dict[tuple[str, str], str]:
    """Every object with its SQL, one space between words."""
    with raw(path) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
    return {(kind, name): " ".join((sql or "").split()) for kind, name, sql in rows}


def own_schema(path: Path) -> dict[tuple[str, str], str]:
    """Without the tables of projections, that any program may make and drop."""
    owned = ("events", "projections", "_sqlite_migrations", "idx__sqlite_migrations")
    return {key: sql for key, sql in schema(path).items() if key[1].startswith(owned)}


def down(path: Path, to: int) -> None:
    store = migrate.open_for_schema(path)
    try:
        assert migrate.rollback(store, to) == to
    finally:
        store.close()


def up(path: Path) -> int:
    store = migrate.open_for_schema(path)
    try:
        return migrate.migrate(store)
    finally:
        store.close()


def restored(script: Path, path: Path) -> Path:
    """A file made of a kept script."""
    with raw(path) as connection:
        for statement in migrate.statements(script.read_text()):
            connection.execute(statement)
        connection.execute("PRAGMA journal_mode = WAL")
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    eventlog.open(tmp_path / "log.db").close()
    return tmp_path / "log.db"


def test_migrations_count_up_from_one_and_can_be_taken_back() -> None:
    steps = migrations("sqlite")
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert latest("sqlite") == len(steps)
    assert all(step.up.strip() and step.down.strip() for step in steps)


def test_a_fresh_log_has_the_latest_schema(path: Path) -> None:
    assert migrate.status(path) == (latest("sqlite"), latest("sqlite"), [], [])
    with raw(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == latest("sqlite")
        assert connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()[0] == latest("sqlite")
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' "
            "AND instr(name, '__words') = 0"  # FTS5 makes those
        ):
            assert connection.execute("SELECT strict FROM pragma_table_list WHERE name = ?", (name,)).fetchone()[0], (
                name
            )


def test_down_to_nothing_and_up_again_is_the_fresh_schema(path: Path) -> None:
    fresh = schema(path)
    down(path, 0)
    assert not [name for _, name in own_schema(path) if name.startswith(("events", "projections"))]
    assert migrate.status(path).version == 0
    assert len(migrate.status(path).pending) == latest("sqlite")
    assert up(path) == latest("sqlite")
    assert schema(path) == fresh
    with eventlog.open(path) as log:
        log.runs.start("x")
        assert log.projections.verify() == []


@pytest.mark.parametrize("to", range(1, latest("sqlite") + 1))
def test_each_step_down_and_up_keeps_the_events_and_the_schema(path: Path, to: int) -> None:
    with eventlog.open(path) as log:
        log.append("note-1", notes(5))
        log.runs.start("x")
        head = log.head()
    fresh = own_schema(path)
    for _ in range(3):
        down(path, to)
        assert migrate.status(path).version == to
        up(path)
        assert own_schema(path) == fresh
        with eventlog.open(path) as log:
            assert log.head() == head
            assert log.runs.count() == 1
            assert log.projections.verify() == []
            log.projections.rebuild()
    down(path, to)
    with eventlog.open(path) as log:  # opening migrates by itself
        assert log.head() == head
        log.append("note-1", Noted())
        assert_whole(log)


def test_events_are_not_thrown_away_by_going_down(path: Path) -> None:
    with eventlog.open(path) as log:
        log.append("note-1", Noted())
    store = migrate.open_for_schema(path)
    with contextlib.closing(store), pytest.raises(MigrationError, match="export"):
        migrate.rollback(store, 0)
    assert migrate.status(path).version == latest("sqlite")


@pytest.mark.parametrize("to", [-1, 99])
def test_a_schema_that_is_none_is_refused(path: Path, to: int) -> None:
    store = migrate.open_for_schema(path)
    with contextlib.closing(store), pytest.raises(MigrationError, match=str(to)):
        migrate.rollback(store, to)


def test_every_schema_but_the_first_has_a_kept_log() -> None:
    assert [script.name for script in released()] == [f"schema-{n}.sql" for n in range(1, latest("sqlite") + 1)]


@pytest.mark.feature("S0-8")
@pytest.mark.parametrize("script", released(), ids=lambda script: script.stem)
def test_a_log_of_a_released_schema_is_upgraded_when_it_is_opened(script: Path, tmp_path: Path, path: Path) -> None:
    old = restored(script, tmp_path / "old.db")
    assert f"schema-{migrate.status(old).version}" == script.stem
    with eventlog.open(old) as log:
        assert (log.head().position, log.head().hash.hex()) == (10, HEAD)
        assert_whole(log)
        assert [run.status for run in log.runs.list()] == ["running", "fail", "success"]
        assert log.runs.metrics(2)[0].value == 0.25
        assert log.projects.get("demo").note == "é"
        assert log.projections.verify() == []
        log.append("note-1", Noted())
        log.runs.start("after")
        assert log.projections.verify() == []
        assert_whole(log)
    assert own_schema(old) == own_schema(path)
    assert migrate.status(old) == (latest("sqlite"), latest("sqlite"), [], [])


def test_an_older_schema_is_not_changed_by_reading(tmp_path: Path) -> None:
    old = restored(released()[0], tmp_path / "old.db")
    before = schema(old)
    with pytest.raises(MigrationError, match="db migrate"):
        eventlog.open(old, mode="r")
    assert schema(old) == before


def test_a_newer_schema_is_refused_and_unchanged(path: Path) -> None:
    with raw(path) as connection:
        connection.execute(f"PRAGMA user_version = {latest('sqlite') + 1}")
    before = schema(path)
    for attempt in (eventlog.open, migrate.open_for_schema, migrate.status):
        with pytest.raises(SchemaTooNew) as caught:
            attempt(path)
        assert caught.value.version == latest("sqlite") + 1
    assert schema(path) == before


@pytest.mark.parametrize("trigger", ["events_no_update", "events_no_delete", "events_append_only"])
@pytest.mark.parametrize("how", ["dropped", "changed"])
def test_triggers_are_missed_and_put_back_by_migrating(path: Path, trigger: str, how: str) -> None:
    fresh = schema(path)
    with raw(path) as connection:
        connection.execute(f"DROP TRIGGER {trigger}")
        if how == "changed":
            connection.execute(f"CREATE TRIGGER {trigger} BEFORE UPDATE ON events BEGIN SELECT 1; END")
    with pytest.raises(Corrupt, match=f"{trigger}.*db migrate"):
        eventlog.open(path)
    assert len(migrate.status(path).problems) == 1
    up(path)
    assert schema(path) == fresh
    with eventlog.open(path) as log:
        log.append("note-1", Noted())


def test_a_foreign_trigger_on_events_is_told_and_removed_by_migrating(path: Path) -> None:
    fresh = schema(path)
    with raw(path) as connection:
        connection.execute("CREATE TRIGGER spy AFTER INSERT ON events BEGIN DELETE FROM projections; END")
    with pytest.raises(Corrupt, match="spy"):
        eventlog.open(path)
    up(path)
    assert schema(path) == fresh


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE position = 1",
        "INSERT INTO events SELECT 9, stream, 9, type, schema, occurred_at, recorded_at, NULL, actor, correlation, "
        "causation, data, metadata, hash FROM events WHERE position = 1",
    ],
)
def test_the_table_refuses_what_is_no_append(path: Path, statement: str) -> None:
    with eventlog.open(path) as log:
        log.append("note-1", notes(2))
        head = log.head()
    with raw(path) as connection:
        connection.execute("PRAGMA recursive_triggers = ON")
        with pytest.raises(sqlite3.IntegrityError, match=r"immutable|at the head"):
            connection.execute(statement)
    with eventlog.open(path) as log:
        assert log.head() == head


def test_what_is_not_there_or_not_a_log_has_no_schema(tmp_path: Path) -> None:
    with pytest.raises(LogMissing):
        migrate.status(tmp_path / "none.db")
    with pytest.raises(LogMissing):
        migrate.open_for_schema(tmp_path / "none.db")
    with raw(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE x (y)")
    with pytest.raises(NotALog):
        migrate.status(tmp_path / "other.db")


def test_statements_are_split_where_sqlite_says_not_at_every_semicolon() -> None:
    script = "CREATE TABLE a (x TEXT DEFAULT ';');\n\n"
    script += "CREATE TRIGGER t BEFORE DELETE ON a\nBEGIN\n  SELECT 1;\n  SELECT 2;\nEND;\n"
    assert [statement.split()[1] for statement in migrate.statements(script)] == ["TABLE", "TRIGGER"]
