"""The schema of a log in PostgreSQL: created, brought up to date, taken back, and compared with what it ought to be.

The table ``eventlog_migrations`` has a row for each migration applied. Each change of the schema is one transaction
under an advisory lock, so any number of processes may open an empty database at once.
"""

from __future__ import annotations

from typing import Any

import psycopg
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from eventlog.clock import now_us
from eventlog.errors import Corrupt, LogMissing, MigrationError, NotALog, SchemaTooNew, StoreError
from eventlog.store.migrations import SchemaStatus, latest, migrations
from eventlog.store.postgres import LIVELINESS, LOCK_TIMEOUT_S, SETTINGS, PostgresStore, driver
from eventlog.store.postgres_session import Connection

DATABASE = "postgres"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('eventlog schema ' || current_schema(), 0))"
_BOOKS = "CREATE TABLE IF NOT EXISTS eventlog_migrations (number INTEGER PRIMARY KEY, name TEXT, applied_at BIGINT)"
_TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() "
    "AND table_name IN ('events', 'eventlog_migrations')"
)
_TRIGGERS = (
    "SELECT tgname, tgenabled, replace(pg_get_triggerdef(oid), quote_ident(current_schema()) || '.', '') "
    "FROM pg_trigger WHERE tgrelid = to_regclass('events') AND NOT tgisinternal"
)
_BODY = "SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure('events_refuse()')"
_WANTED = {
    "events_no_change": "BEFORE DELETE OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION events_refuse()",
    "events_no_truncate": "BEFORE TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION events_refuse()",
}


def open_store(
    url: URL,
    *,
    connect: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
    writable: bool = True,
    create: bool = True,
    timeout_s: float = LOCK_TIMEOUT_S,
) -> PostgresStore:
    """The store of a database, its schema up to date.

    Raises LogMissing, NotALog, SchemaTooNew, ServerUnreachable, Corrupt; StoreError when the login is refused.
    """
    store = open_for_schema(url, connect=connect, pool=pool, writable=writable, timeout_s=timeout_s)
    try:
        version = schema_version(store)
        if version is None and not (create and writable):
            raise LogMissing(f"{store.url} holds no event log yet; `eventlog db init` makes one")
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


def open_for_schema(
    url: URL,
    *,
    connect: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
    writable: bool = True,
    timeout_s: float = LOCK_TIMEOUT_S,
) -> PostgresStore:
    """A store whose schema may be behind or damaged, for `migrate` and `rollback`."""
    # No single wait for the head is longer than all of them together may be.
    ours = {**SETTINGS, "lock_timeout": f"{max(1, int(1000 * min(5.0, timeout_s)))}ms"}
    settings = " ".join(f"-c {name}={value}" for name, value in ours.items())
    given = dict(connect or {})
    given["options"] = f"{settings} {given.get('options') or url.query.get('options') or ''}".strip()
    given.setdefault("application_name", url.query.get("application_name") or "eventlog")
    given.setdefault("connect_timeout", url.query.get("connect_timeout") or 10)
    given["client_encoding"] = "utf8"
    for name, value in LIVELINESS.items():
        given.setdefault(name, url.query.get(name) or value)
    # What is in the URL is shown in messages: secrets are not.
    given.update({name: url.query[name] for name in ("password", "sslpassword") if name in url.query})
    bare = url.difference_update_query((*given, "options"))
    store = PostgresStore(bare, connect=given, pool=pool, writable=writable, timeout_s=timeout_s)
    try:
        fairy = store.checkout(patient=False)
        try:
            row = driver(fairy).execute("SELECT current_schema(), current_setting('server_encoding')").fetchone()
        finally:
            fairy.close()
    except (psycopg.Error, SQLAlchemyError) as error:
        store.close()
        raise store.translate(error) from error
    assert row is not None  # noqa: S101
    store.schema = row[0] or ""
    if not store.schema or row[1] != "UTF8":
        store.close()
        wrong = f"its encoding is {row[1]}, not UTF8" if store.schema else "its search_path names no schema that exists"
        raise StoreError(f"{store.url} cannot hold a log: {wrong}")
    return store


def schema_version(store: PostgresStore) -> int | None:
    """The schema version of a database, after making sure that it is a log's and not from a newer program."""
    with store.reader() as reader:
        found = {row[0] for row in reader.execute(_TABLES).fetchall()}
        if "eventlog_migrations" not in found:
            if "events" in found:
                raise NotALog(f"{store.url} has a table `events` that is not an event log's; nothing was changed")
            return None
        version: int = reader.execute("SELECT coalesce(max(number), 0) FROM eventlog_migrations").fetchone()[0]
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
        connection.execute(_BOOKS)
        version = _version(connection)
        for step in migrations(DATABASE):
            if step.number > version:
                connection.execute(step.up)
                connection.execute(
                    "INSERT INTO eventlog_migrations VALUES (%s, %s, %s)", (step.number, step.name, now_us())
                )
        if version and _problems(connection):
            _restore_triggers(connection)

    _change(store, "migrated", climb)
    return latest(DATABASE)


def rollback(store: PostgresStore, to: int) -> int:
    """Take the schema back to an earlier version; returns it. Refused while that would throw events away."""
    if not 0 <= to <= latest(DATABASE):
        raise MigrationError(f"there is no schema version {to}: 0 to {latest(DATABASE)}")

    def descend(connection: Connection) -> None:
        version = _version(connection)
        if to == 0 and version and connection.execute("SELECT 1 FROM events LIMIT 1").fetchone():
            raise MigrationError("schema 0 has no events table, and this log holds events; export them first")
        for step in reversed(migrations(DATABASE)):
            if to < step.number <= version:
                connection.execute(step.down)
                connection.execute("DELETE FROM eventlog_migrations WHERE number = %s", (step.number,))

    _change(store, "taken back", descend)
    return to


def _change(store: PostgresStore, what: str, work: Any) -> None:
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


def _version(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(max(number), 0) FROM eventlog_migrations").fetchone()
    return int(row[0]) if row else 0


def status(store: PostgresStore) -> SchemaStatus:
    """How a log's schema stands. Raises LogMissing where there is none."""
    version = schema_version(store)
    if version is None:
        raise LogMissing(f"{store.url} holds no event log yet; `eventlog db init` makes one")
    pending = [f"{step.number:04}_{step.name}" for step in migrations(DATABASE) if step.number > version]
    return SchemaStatus(version, latest(DATABASE), pending, trigger_problems(store) if version else [])


def trigger_problems(store: PostgresStore) -> list[str]:
    """Triggers of the events table that are missing, switched off, changed or not ours."""
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
    body = connection.execute(_BODY).fetchone()
    if body is not None and body[0] != _function().split("$$")[1]:
        problems.append("the function events_refuse was changed")
    return sorted(problems)


def _restore_triggers(connection: Connection) -> None:
    for name, _, _ in connection.execute(_TRIGGERS).fetchall():
        connection.execute(f'DROP TRIGGER "{name}" ON events')
    connection.execute(_function().replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    script = migrations(DATABASE)[0].up
    for statement in script.split(";\n"):
        if "CREATE TRIGGER" in statement:
            connection.execute(statement[statement.index("CREATE TRIGGER") :])


def _function() -> str:
    """What the triggers run, as the migration makes it."""
    script = migrations(DATABASE)[0].up
    return script[script.index("CREATE FUNCTION events_refuse()") : script.index("$$;") + 2]
