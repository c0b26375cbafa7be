"""The raw side: plain `sqlite3` doing the same work on the same columns.

Raw does: a STRICT table with every column of ``events`` and the same two unique indexes (stream + version; key where it
is not null), WAL, ``synchronous`` as each figure states (FULL: one fsync a commit; NORMAL: none), one connection,
explicit BEGIN IMMEDIATE and COMMIT, rows prepared beforehand as tuples and handed to ``executemany``. Those rows are
read back from a log that was given the same events, so they hold the same bytes, hashes and times.

Raw does not: encode events, compute hashes, positions, versions or times, look up a stream's version, check
expectations or keys, keep triggers or CHECKs, take a lock against other processes, keep projections, or have anything
to decode: a raw fetch makes the row tuples and drops them. It is the floor under everything written in Python on
SQLite, not a rival.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "position",
    "stream",
    "version",
    "type",
    "schema",
    "occurred_at",
    "recorded_at",
    "key",
    "actor",
    "correlation",
    "causation",
    "data",
    "metadata",
    "hash",
)

TABLE = """
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    key TEXT,
    actor TEXT,
    correlation TEXT,
    causation TEXT,
    data TEXT NOT NULL,
    metadata TEXT,
    hash BLOB NOT NULL
) STRICT
"""
INDEXES = (
    "CREATE UNIQUE INDEX events_stream ON events (stream, version)",
    "CREATE UNIQUE INDEX events_key ON events (key) WHERE key IS NOT NULL",
)
INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
FETCH = f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position"

Row = tuple[Any, ...]
Connection = sqlite3.Connection


def create(path: Path, synchronous: str) -> sqlite3.Connection:
    """A new file with the table, ready to be written."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(TABLE)
    for statement in INDEXES:
        connection.execute(statement)
    return connection


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Rows in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(INSERT, rows)
    connection.execute("COMMIT")


def read_only(path: Path) -> sqlite3.Connection:
    """A reader on a log's file that can never checkpoint it."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)


def fetch(connection: sqlite3.Connection) -> None:
    """Every row of the table as a tuple, in order, each dropped at once."""
    deque(connection.execute(FETCH), maxlen=0)


def rows_of(path: Path, limit: int = -1) -> list[Row]:
    """The rows of a log, all or the first ones, to be inserted again."""
    connection = read_only(path)
    try:
        return connection.execute(f"{FETCH} LIMIT ?", (limit,)).fetchall()
    finally:
        connection.close()


def check_same_columns(path: Path) -> None:
    """Fail when a log's table has other columns or unique indexes than the raw one: it would be different work."""
    connection = read_only(path)
    ours = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
    unique = sum(row[2] for row in connection.execute("PRAGMA index_list(events)"))
    connection.close()
    if sorted(ours) != sorted(COLUMNS) or unique != len(INDEXES):
        raise SystemExit(f"benchmarks/raw.py is out of date: events has columns {ours} and {unique} unique indexes")
