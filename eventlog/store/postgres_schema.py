"""The schema of a log in PostgreSQL: created, brought up to date, taken back, and compared with what it ought to be.

The table ``eventlog_migrations`` has a row for each migration applied. Each change of the schema is one transaction
under an advisory lock, so any number of processes may open an empty database at once.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.exc import SQLAlchemyError

from eventlog.clock import now_us
from eventlog.errors import Corrupt, LogMissing, MigrationError, NotALog, SchemaTooNew, StoreError
from eventlog.place import Server
from eventlog.store.migrations import SchemaStatus, latest, migrations
from eventlog.store.postgres import LOCK_TIMEOUT_S, PostgresStore
from eventlog.store.postgres_pool import Connection, driver
from eventlog.store.sql import Answer

DATABASE = "postgres"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('eventlog schema ' || current_schema(), 0))"
_BOOKS = "CREATE TABLE IF NOT EXISTS eventlog_migrations (number INTEGER PRIMARY KEY, name TEXT, applied_at BIGINT)"
# Not by information_schema, which is silent about tables that this login may not touch.
_TABLES = (
    "SELECT relname FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace "
    "AND relname IN ('events', 'eventlog_migrations')"
)
_TRIGGERS = (
    "SELECT tgname, tgenabled, replace(pg_get_triggerdef(oid), quote_ident(current_schema()) || '.', '') "
    "FROM pg_trigger WHERE tgrelid = to_regclass('events') AND NOT tgisinternal"
)
_FUNCTION = (
    "SELECT prosrc FROM pg_proc "
    "WHERE proname = 'events_refuse' AND pronamespace = quote_ident(current_schema())::regnamespace"
)
_RULES = "SELECT rulename FROM pg_rewrite WHERE ev_class = to_regclass('events')"
_WANTED = {
    "events_no_change": "BEFORE DELETE OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
    "events_no_truncate": "BEFORE TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_refuse()",
}


def open_store(
    server: Server, *, writable: bool = True, create: bool = True, timeout_s: float | None = None
) -> PostgresStore:
    """The store of a database, its schema up to date.

    Raises LogMissing, NotALog, SchemaTooNew, ServerUnreachable, Corrupt; StoreError when the login is refused.
    """
    store = open_for_schema(server, writable=writable, timeout_s=timeout_s)
    try:
        version = schema_version(store)
        if version is None and not (create and writable):
            raise _missing(store)
        if (version or 0) < latest(DATABASE):
            if not writable:
                raise MigrationError(
                    f"{store.url} has schema {version}, this program needs {latest(DATABASE)}: "
                    "run `eventlog db migrate`"
                )
            migrate(store)
        if problems := trigger_problems(store):
            raise Corrupt(
                f"{store.url}: {'; '.join(problems)}. The events may have been changed: run `eventlog db check`, "
                "then `eventlog db migrate` to put the triggers back"
            )
    except BaseException:
        store.close()
        raise
    return store


def open_for_schema(server: Server, *, writable: bool = True, timeout_s: float | None = None) -> PostgresStore:
    """A store whose schema may be behind or damaged, for `migrate` and `rollback`."""
    store = PostgresStore(server, writable=writable, timeout_s=LOCK_TIMEOUT_S if timeout_s is None else timeout_s)
    try:
        store.checkout(patient=False).close()  # where there is no server, it is told at once
        with store.reader() as reader:
            row = reader.execute("SELECT current_schema(), current_setting('server_encoding')").fetchone()
    except BaseException as error:
        store.close()
        if (translated := store.translate(error)) is error:
            raise
        raise translated from error
    store.schema = row[0] or ""
    if not store.schema or row[1] != "UTF8":
        store.close()
        wrong = (
            f"its encoding is {row[1]}, not UTF8"
            if store.schema
            else "its search_path names no schema that exists and that this login may use"
        )
        raise StoreError(f"{store.url} cannot hold a log: {wrong}")
    return store


def schema_version(store: PostgresStore) -> int | None:
    """The schema version of a database, after making sure that it is a log's and not from a newer program."""
    with store.reader() as reader:
        return _known_version(store, reader.execute)


def _known_version(store: PostgresStore, execute: Callable[[str], Answer]) -> int | None:
    found = {row[0] for row in execute(_TABLES).fetchall()}
    if "eventlog_migrations" not in found:
        if "events" in found:
            raise NotALog(f"{store.url} has a table `events` that is not an event log's; nothing was changed")
        return None
    version: int = execute("SELECT coalesce(max(number), 0) FROM eventlog_migrations").fetchone()[0]
    if version > latest(DATABASE):
        raise SchemaTooNew(
            f"{store.url} has schema {version}, this program knows {latest(DATABASE)}: upgrade eventlog. "
            "Nothing was changed",
            version=version,
        )
    return version


def migrate(store: PostgresStore) -> int:
    """Bring a log's schema up to date, put missing triggers back; returns the version."""

    def climb(connection: Connection) -> None:
        version = _known_version(store, connection.execute)
        if version is None:
            connection.execute(_BOOKS)
        for step in migrations(DATABASE):
            if step.number > (version or 0):
                connection.execute(step.up)
                connection.execute(
                    "INSERT INTO eventlog_migrations VALUES (%s, %s, %s)", (step.number, step.name, now_us())
                )
        if _problems(connection):
            _restore_guards(connection)
        if connection.execute("SELECT 1 FROM log_head").fetchone() is None:
            # Above any that a process may remember, so that nothing it knows is taken for true.
            connection.execute("INSERT INTO log_head (generation) VALUES (%s)", (now_us(),))

    _change(store, "migrated", climb)
    return latest(DATABASE)


def rollback(store: PostgresStore, to: int) -> int:
    """Take the schema back to an earlier version; returns it. Refused while that would throw events away."""
    if not 0 <= to <= latest(DATABASE):
        raise MigrationError(f"there is no schema version {to}: 0 to {latest(DATABASE)}")

    def descend(connection: Connection) -> None:
        version = _known_version(store, connection.execute)
        if version is None:
            raise _missing(store)
        if to == 0 and version and connection.execute("SELECT 1 FROM events LIMIT 1").fetchone():
            raise MigrationError("schema 0 has no events table, and this log holds events; export them first")
        for step in reversed(migrations(DATABASE)):
            if to < step.number <= version:
                connection.execute(step.down)
                connection.execute("DELETE FROM eventlog_migrations WHERE number = %s", (step.number,))

    _change(store, "taken back", descend)
    return to


def _change(store: PostgresStore, what: str, work: Callable[[Connection], None]) -> None:
    try:
        fairy = store.checkout(patient=False)
        try:
            connection = driver(fairy)
            with connection.transaction():
                connection.execute("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = 0")
                connection.execute(_LOCK)
                work(connection)
        finally:
            fairy.close()
    except (psycopg.Error, SQLAlchemyError) as error:
        translated = store.translate(error)
        raise MigrationError(f"the schema of {store.url} could not be {what}: {translated}") from error


def _missing(store: PostgresStore) -> LogMissing:
    return LogMissing(f"{store.url} holds no event log yet; `eventlog db init` makes one")


def status(store: PostgresStore) -> SchemaStatus:
    """How a log's schema stands. Raises LogMissing where there is none."""
    version = schema_version(store)
    if version is None:
        raise _missing(store)
    pending = [f"{step.number:04}_{step.name}" for step in migrations(DATABASE) if step.number > version]
    return SchemaStatus(version, latest(DATABASE), pending, trigger_problems(store) if version else [])


def trigger_problems(store: PostgresStore) -> list[str]:
    """Triggers of the events table that are missing, switched off, changed or not ours, and rules on it."""
    with store.reader() as reader:
        return _problems(reader.connection)


def _problems(connection: Connection) -> list[str]:
    found = {row[0]: row[1:] for row in connection.execute(_TRIGGERS).fetchall()}
    problems = [f"the trigger {name} is missing" for name in _WANTED.keys() - found.keys()]
    for name, wanted in _WANTED.items():
        if name in found:
            enabled, definition = found[name]
            if definition != f"CREATE TRIGGER {name} {wanted}":
                problems.append(f"the trigger {name} was changed")
            elif enabled not in ("O", "A"):
                problems.append(f"the trigger {name} is switched off")
    problems += [f"the trigger {name} on events is not ours" for name in found.keys() - _WANTED.keys()]
    problems += [f"the rule {row[0]} on events is not ours" for row in connection.execute(_RULES).fetchall()]
    if [row[0].split() for row in connection.execute(_FUNCTION).fetchall()] != [_refusal().split("$$")[1].split()]:
        problems.append("the function events_refuse, which the triggers call, was changed")
    return sorted(problems)


def _refusal() -> str:
    """The statement that makes the function which the triggers call."""
    script = migrations(DATABASE)[0].up
    start = script.index("CREATE FUNCTION events_refuse()")
    return script[start : script.index("$$;", start) + len("$$;")]


def _restore_guards(connection: Connection) -> None:
    for name, _, _ in connection.execute(_TRIGGERS).fetchall():
        connection.execute(SQL("DROP TRIGGER {} ON events").format(Identifier(name)))
    for (name,) in connection.execute(_RULES).fetchall():
        connection.execute(SQL("DROP RULE {} ON events").format(Identifier(name)))
    connection.execute(_refusal().replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1))
    for name, definition in _WANTED.items():
        connection.execute(f"CREATE TRIGGER {name} {definition}")
