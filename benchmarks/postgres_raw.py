"""The raw side on PostgreSQL: psycopg 3 on the same server, the same columns and unique indexes, no more.

Raw does: a table with every column of ``events`` and the same three unique indexes (position; stream + version; key
where it is not null), one connection, rows prepared beforehand as tuples and handed to ``executemany`` (a pipeline of
one prepared statement) or to COPY, one transaction each, durable as the server's defaults make it. For several
processes it has the same row that gives out positions: one statement moves it and inserts one event.

Raw does not: encode, hash, assign versions or times, look up or check anything, keep triggers, CHECKs or projections,
or decode: a raw fetch makes the row tuples and drops them. It is the floor under anything in Python on this server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.types.string import TextLoader

from benchmarks.raw import COLUMNS, Row

TABLE = """
CREATE TABLE events (
    position BIGINT PRIMARY KEY,
    stream TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    schema BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    key TEXT COLLATE "C",
    actor TEXT COLLATE "C",
    correlation TEXT COLLATE "C",
    causation TEXT COLLATE "C",
    data JSON NOT NULL,
    metadata JSON,
    hash BYTEA NOT NULL,
    UNIQUE (stream, version)
);
CREATE UNIQUE INDEX events_key ON events (key) WHERE key IS NOT NULL;
CREATE TABLE head (position BIGINT NOT NULL);
INSERT INTO head VALUES (0)
"""
_ALL = ", ".join(COLUMNS)
_PLACES = ", ".join(["%s"] * len(COLUMNS))
_INSERT = f"INSERT INTO events ({_ALL}) VALUES ({_PLACES})".encode()
_COPY = f"COPY events ({_ALL}) FROM STDIN".encode()
_FETCH = f"SELECT {_ALL} FROM events ORDER BY position".encode()
_AT_HEAD = (
    "WITH moved AS (UPDATE head SET position = position + 1 RETURNING position) "
    f"INSERT INTO events ({_ALL}) SELECT position, {', '.join(['%s'] * (len(COLUMNS) - 1))} FROM moved"
).encode()
_SHAPE = (
    "SELECT column_name, data_type, coalesce(collation_name, '') FROM information_schema.columns "
    "WHERE table_schema = current_schema() AND table_name = 'events' ORDER BY 1",
    "SELECT regexp_replace(indexdef, '^.* USING ', '') FROM pg_indexes "
    "WHERE schemaname = current_schema() AND tablename = 'events' ORDER BY 1",
)
ROWS_AT_ONCE = 8192

Connection = psycopg.Connection[Any]


def connected(url: str) -> Connection:
    """A connection on which each statement commits, unless a transaction was begun."""
    connection = psycopg.connect(url, autocommit=True)
    connection.adapters.register_loader("json", TextLoader)
    return connection


def created(url: str) -> Connection:
    """A connection to a schema that has the raw tables now."""
    connection = connected(url)
    connection.execute(TABLE)
    return connection


def insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Rows in one transaction."""
    if len(rows) == 1:
        connection.execute(_INSERT, rows[0])
        return
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)


def insert_at_head(connection: Connection, row: Row) -> None:
    """One row at the position that the head has next, committed at once."""
    connection.execute(_AT_HEAD, row[1:])


@contextmanager
def copying(connection: Connection) -> Iterator[Callable[[Row], None]]:
    """What writes one row of a COPY that is committed at the end."""
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        yield copy.write_row


def copy(connection: Connection, rows: Iterable[Row]) -> None:
    """Rows in one transaction, by COPY."""
    with copying(connection) as write_row:
        for row in rows:
            write_row(row)


def fetch(connection: Connection) -> None:
    """Every row of the table as a tuple, in order, each dropped at once."""
    with connection.transaction(), connection.cursor("fetch") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(_FETCH)
        deque(cursor, maxlen=0)


def check_same_columns(ours: Connection, raw: Connection) -> None:
    """Fail when the log's table has other columns or indexes than the raw one: it would be different work."""
    for question in _SHAPE:
        there, here = (connection.execute(question.encode()).fetchall() for connection in (ours, raw))
        if there != here:
            raise SystemExit(f"benchmarks/postgres_raw.py is out of date: events has {there}, raw has {here}")
