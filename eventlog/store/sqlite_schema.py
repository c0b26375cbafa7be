"""The schema of a SQLite log: created, brought up to date, taken back, and compared with what it ought to be.

Migrations are ``NNNN_name.up.sql`` and ``.down.sql``; ``PRAGMA user_version`` holds the number of the last one applied.
Each change of the schema is one transaction under the writer lock.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from eventlog.errors import Corrupt, DiskFull, EventLogError, LogReadOnly, MigrationError, NotALog, SchemaTooNew
from eventlog.store import environment
from eventlog.store.filelock import FileLock
from eventlog.store.migrations import SchemaStatus, latest, migrations
from eventlog.store.sqlite import APPLICATION_ID, LOCK_TIMEOUT_S, SQLiteStore, missing, read_schema

DATABASE = "sqlite"
_TRIGGERS_OF_EVENTS = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'events'"


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one (``executescript`` would commit the open transaction)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def open_store(
    path: Path, *, writable: bool, create: bool, timeout_s: float | None = None, vfs: str = ""
) -> SQLiteStore:
    """The store of a file, its schema up to date. Raises LogMissing, NotALog, SchemaTooNew, UnsupportedFilesystem."""
    timeout_s = LOCK_TIMEOUT_S if timeout_s is None else timeout_s
    path = Path(os.path.realpath(path))  # one name for the lock and the -wal, whatever link leads here
    environment.check_filesystem(path)
    if not path.exists():
        if not (create and writable):
            raise missing(path)
        _create(path, timeout_s)
    elif path.is_dir():
        raise NotALog(f"{path} is a folder, not an event log; nothing was changed")
    elif path.stat().st_size == 0:
        raise NotALog(f"{path} is an empty file, not an event log; remove it to have one created. Nothing was changed")
    store = SQLiteStore(path, writable=writable, timeout_s=timeout_s, vfs=vfs)
    try:
        version = _version(store)
        if version < latest(DATABASE):
            if not writable:
                raise MigrationError(
                    f"{path} has schema {version}, this program needs {latest(DATABASE)}: run `eventlog db migrate`"
                )
            migrate(store)
        if problems := trigger_problems(store):
            raise Corrupt(
                f"{path}: {'; '.join(problems)}. The events may have been changed: run `eventlog db check`, "
                "then `eventlog db migrate` to put the triggers back"
            )
    except BaseException:
        store.close()
        raise
    return store


def _create(path: Path, timeout_s: float) -> None:
    """Make a new log beside its place and link it there whole, so that no half-made file is ever seen."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise LogReadOnly(f"cannot create {path.parent}: {error.strerror}") from error
    environment.check_space(path.parent)
    lock = FileLock(f"{path}.lock", timeout_s)
    lock.acquire()
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")
    try:
        if not path.exists():
            os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("PRAGMA synchronous = FULL")
                _climb(connection, 0)
                connection.execute("PRAGMA journal_mode = WAL")
            set_aside_leftovers(path)
            os.link(fresh, path)
    except sqlite3.Error as error:
        raise MigrationError(f"the log could not be created at {path}: {error}") from error
    finally:
        for leftover in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm"), Path(f"{fresh}-journal")):
            leftover.unlink(missing_ok=True)
        lock.release()
        lock.close()


def set_aside_leftovers(path: Path) -> None:
    """Rename a -wal or -shm whose database is gone: it must not be taken for part of the next one."""
    for end in ("-wal", "-shm"):
        side = Path(f"{path}{end}")
        if side.exists():
            os.replace(side, f"{side}.replaced-{os.urandom(4).hex()}")


def create_in(connection: sqlite3.Connection) -> None:
    """Give an empty database (in memory) the schema."""
    _climb(connection, 0)


def _climb(connection: sqlite3.Connection, version: int) -> None:
    """Apply every pending migration in one transaction; sqlite-utils keeps the record of them."""
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

    steps = Migrations("eventlog")
    for step in migrations(DATABASE):

        @steps(name=f"{step.number:04}_{step.name}")
        def apply(db: Database, script: str = step.up) -> None:
            for statement in statements(script):
                db.execute(statement)

    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] <= version:
            steps.apply(Database(connection, execute_plugins=False))
            connection.execute(f"PRAGMA user_version = {latest(DATABASE)}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(store: SQLiteStore) -> int:
    """The schema version of a file, after making sure that it is a log and not from a newer program."""
    try:
        with contextlib.closing(store._connect("ro")) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except (sqlite3.Error, DiskFull) as error:
        if isinstance(error, DiskFull):
            if store.writable:
                raise
        elif os.access(store.path.parent, os.W_OK):  # not so on a read-only file system
            raise store._translate(error) from error
        with store.reader() as reader:
            application = reader.execute("PRAGMA application_id").fetchone()[0]
            version = int(reader.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID:
        raise NotALog(f"{store.path} is a SQLite database, but not an event log; nothing was changed")
    if version > latest(DATABASE):
        raise SchemaTooNew(
            f"{store.path} has schema {version}, this program knows {latest(DATABASE)}: upgrade eventlog. "
            "Nothing was changed",
            version=version,
        )
    return version


def migrate(store: SQLiteStore) -> int:
    """Bring a log's schema up to date, put missing triggers back; returns the version."""
    store.lock.acquire()
    try:
        with contextlib.closing(store._connect("rw")) as connection:
            read_schema(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version < latest(DATABASE):
                _climb(connection, version)
            _restore_triggers(connection)
    except sqlite3.Error as error:
        raise MigrationError(f"the schema of {store.path} could not be migrated: {error}") from error
    finally:
        store.lock.release()
    return latest(DATABASE)


def rollback(store: SQLiteStore, to: int) -> int:
    """Take the schema back to an earlier version; returns it. Refused while that would throw events away."""
    if not 0 <= to <= latest(DATABASE):
        raise MigrationError(f"there is no schema version {to}: 0 to {latest(DATABASE)}")
    store.lock.acquire()
    try:
        with contextlib.closing(store._connect("rw")) as connection:
            read_schema(connection)
            connection.execute("PRAGMA foreign_keys = OFF")
            if to == 0 and connection.execute("SELECT 1 FROM events LIMIT 1").fetchone():
                raise MigrationError("schema 0 has no events table, and this log holds events; export them first")
            connection.execute("BEGIN IMMEDIATE")
            try:
                for step in reversed(migrations(DATABASE)):
                    if step.number > to and step.number <= connection.execute("PRAGMA user_version").fetchone()[0]:
                        for statement in statements(step.down):
                            connection.execute(statement)
                        name = f"{step.number:04}_{step.name}"
                        connection.execute("DELETE FROM _sqlite_migrations WHERE name = ?", (name,))
                connection.execute(f"PRAGMA user_version = {to}")
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
    except sqlite3.Error as error:
        raise MigrationError(f"the schema of {store.path} could not be taken back: {error}") from error
    finally:
        store.lock.release()
    return to


def status(path: Path) -> SchemaStatus:
    """How a log's schema stands. Raises the errors of `open_store`."""
    if not path.exists():
        raise missing(path)
    store = SQLiteStore(path, writable=False)
    try:
        version = _version(store)
        pending = [f"{step.number:04}_{step.name}" for step in migrations(DATABASE) if step.number > version]
        return SchemaStatus(version, latest(DATABASE), pending, trigger_problems(store) if version else [])
    finally:
        store.close()


def open_for_schema(path: Path) -> SQLiteStore:
    """A store whose schema may be behind or damaged, for `migrate` and `rollback`."""
    environment.check_filesystem(path)
    if not path.exists():
        raise missing(path)
    store = SQLiteStore(path)
    try:
        _version(store)
    except EventLogError:
        store.close()
        raise
    return store


@cache
def _triggers() -> dict[str, str]:
    wanted = {}
    for step in migrations(DATABASE):
        for statement in statements(step.up):
            words = statement.split()
            if words[:2] == ["CREATE", "TRIGGER"]:
                wanted[words[2]] = statement.rstrip(";")
    return wanted


def trigger_problems(store: SQLiteStore) -> list[str]:
    """Triggers of the events table that are missing, changed or not ours."""
    with store.reader() as reader:
        found = dict(reader.execute(_TRIGGERS_OF_EVENTS).fetchall())
    wanted = _triggers()
    problems = [f"the trigger {name} is missing" for name in wanted.keys() - found.keys()]
    both = wanted.keys() & found.keys()
    problems += [f"the trigger {name} was changed" for name in both if found[name] != wanted[name]]
    problems += [f"the trigger {name} on events is not ours" for name in found.keys() - wanted.keys()]
    return sorted(problems)


def _restore_triggers(connection: sqlite3.Connection) -> None:
    found = dict(connection.execute(_TRIGGERS_OF_EVENTS))
    connection.execute("BEGIN IMMEDIATE")
    for name in found.keys() - {name for name, sql in _triggers().items() if found.get(name) == sql}:
        connection.execute(f'DROP TRIGGER "{name}"')
    for name, sql in _triggers().items():
        if found.get(name) != sql:
            connection.execute(sql)
    connection.execute("COMMIT")
