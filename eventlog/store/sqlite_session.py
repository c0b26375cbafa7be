"""What SQLite is asked otherwise than other databases, and its private connections. Locks and files are in `sqlite`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any

from eventlog.codec import to_json
from eventlog.store.base import Filter, Key, RecordRow, Table, Values
from eventlog.store.searching import fts5
from eventlog.store.sql import (
    ALL,
    INSERT_RECORD,
    STREAM_VERSION,
    SqlReader,
    SqlWriter,
    marks,
    names,
    quoted,
    terms_of,
    words_of,
)
from eventlog.store.words import spaced

_STREAM_VERSIONS = f"SELECT value, coalesce(({STREAM_VERSION.replace('?', 'value')}), 0) FROM json_each(?)"
# Binding a NULL costs four times what binding a number does, so records without optional columns leave them out.
_PLAIN = ("position", "stream", "version", "type", "schema", "occurred_at", "recorded_at", "data", "hash")
_INSERT_PLAIN = f"INSERT INTO events ({', '.join(_PLAIN)}) VALUES ({', '.join('?' * len(_PLAIN))})"
_KEYED = (*_PLAIN[:7], "key", *_PLAIN[7:])
_INSERT_KEYED = f"INSERT INTO events ({', '.join(_KEYED)}) VALUES ({', '.join('?' * len(_KEYED))})"
_NO_OPTIONS = (None, None, None)
_HAS_TABLE = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
_WORDS = words_of("")
# Bigger batches in memory and fewer merges than FTS5 would have it: an index that is written as fast as a log is read
# in. More pieces of it are looked at by a search, which takes a fraction of a millisecond each.
_WORDS_SETTINGS = {"hashsize": 16 << 20, "automerge": 8, "crisismerge": 32}
_SQL_TYPES = {"int": "INTEGER", "bool": "INTEGER", "float": "REAL", "text": "TEXT", "json": "TEXT"}


class Session(SqlReader):
    """Reads on one connection."""

    unlimited = -1
    join = "CROSS JOIN"
    """SQLite keeps the order of a CROSS JOIN: the keys first."""
    place = "found.place"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute

    def _records_of(self, streams: Sequence[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        # The plus signs keep the planner from any index but that of streams.
        sql = (
            f"SELECT {ALL} FROM events WHERE stream IN ({marks(len(streams))}) "
            f"AND +position <= ? AND +type IN ({marks(len(types))})"
        )
        return self.execute(sql, (*streams, to, *types)).fetchall()

    def stream_versions(self, streams: Sequence[str]) -> dict[str, int]:
        return dict(self.execute(_STREAM_VERSIONS, (to_json(streams).decode(),)).fetchall())

    def shadows(self, name: str) -> list[str]:
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, length(?)) = ?"
        found = [row[0] for row in self.execute(sql, (f"{name}__", f"{name}__")).fetchall()]
        # Words, and the tables that FTS5 makes for them, come and go with the table whose rows they are of.
        return [other for other in found if f"{_WORDS}_" not in f"{other}_"]

    # words

    def _rows(self, table: Table, where: Sequence[Filter]) -> tuple[str, list[Any]]:
        matches = [condition.value for condition in where if condition.op == "match"]
        if not matches:
            return super()._rows(table, where)
        others = [condition for condition in where if condition.op != "match"]
        terms = terms_of(table, others)
        asked = " AND ".join(f"({fts5(match, terms)})" for match in matches)
        condition, values = self._condition(table, others)
        # Words that were rolled back are still there: the table says which rows count.
        bounds, limits = ["words MATCH ?", f"rowid <= (SELECT max(position) FROM {quoted(table.name)})"], []
        for name, op, value in others:
            if name == "position" and op in ("<", "<=", ">", ">=", "="):
                bounds.append(f"rowid {op} ?")
                limits.append(value)
        found, given = [], []
        for place in self._words_at(table):
            found.append(f"SELECT rowid AS place FROM {place} WHERE {' AND '.join(bounds)}")
            given += [asked, *limits]
        rows = (
            f"({' UNION '.join(found)}) AS found CROSS JOIN {quoted(table.name)} ON position = found.place{condition}"
        )
        return rows, given + values

    def _words_at(self, table: Table) -> list[str]:
        """The indexes that have the words of a table's rows."""
        return [quoted(words_of(table.name))]

    def _has(self, name: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each({name}) WHERE key = ? AND value = ?)"

    def _share(self) -> str:
        return "unicode(substr(stream, -1)) % ? = ?"

    def _holds(self, name: str) -> str:
        return f"instr(lower({name}), lower(?)) > 0"


class WriteSession(Session, SqlWriter):
    """Reads and writes inside one transaction."""

    touched: Collection[str] = ()

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.executemany = connection.executemany
        self.changed = True

    def refuses(self, error: Exception) -> bool:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)):
            return True
        return not isinstance(error, sqlite3.Error)

    def insert_records(self, rows: Sequence[RecordRow]) -> None:
        for plain, same in groupby(rows, _is_plain):
            if not plain:
                self.executemany(INSERT_RECORD, list(same))
                continue
            alike = list(same)
            if any(row[7] is not None for row in alike):
                self.executemany(_INSERT_KEYED, [(*row[:8], row[11], bytearray(row[13])) for row in alike])
            else:
                self.executemany(_INSERT_PLAIN, [(*row[:7], row[11], bytearray(row[13])) for row in alike])

    def _create_sql(self, table: Table) -> str:
        columns = [
            f"{quoted(column.name)} {_SQL_TYPES[column.kind]}{'' if column.nullable else ' NOT NULL'}"
            for column in table.columns
        ]
        rowid = len(table.key) == 1 and table.columns[table.key_indexes[0]].kind == "int"
        columns.append(f"PRIMARY KEY ({', '.join(quoted(name) for name in table.key)})")
        options = f"STRICT{'' if rowid else ', WITHOUT ROWID'}"
        return f"CREATE {self.temporary}TABLE {quoted(table.name)} ({', '.join(columns)}) {options}"

    def create_table(self, table: Table) -> None:
        super().create_table(table)
        if table.words is not None:
            self._create_words(table)

    def _create_words(self, table: Table) -> None:
        words = quoted(words_of(table.name))
        place = f"temp.{words}" if self.temporary else words
        self.execute(f"CREATE VIRTUAL TABLE {place} USING fts5(words, content='', tokenize='ascii')")
        for name, value in _WORDS_SETTINGS.items():
            self.execute(f"INSERT INTO {place}({words}, rank) VALUES (?, ?)", (name, value))

    def drop_table(self, name: str) -> None:
        super().drop_table(name)
        self.execute(f"DROP TABLE IF EXISTS {quoted(words_of(name))}")

    def rename_table(self, old: str, new: str) -> None:
        super().rename_table(old, new)
        if self.execute(_HAS_TABLE, (words_of(old),)).fetchone():
            super().rename_table(words_of(old), words_of(new))

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if table.words is not None and rows:
            self._insert_words(table, rows)
            rows = [row[:-1] for row in rows]
        super().insert(table, rows)

    def _insert_words(self, table: Table, rows: Sequence[Values]) -> None:
        """Words of rows that have none yet: what was rolled back left them here, and they are the same again."""
        words = words_of(table.name)
        first, last = rows[0][0], rows[-1][0]
        held: set[int] = set()
        if (self.execute(f"SELECT max(id) FROM {quoted(f'{words}_docsize')}").fetchone()[0] or 0) >= first:
            sql = f"SELECT id FROM {quoted(f'{words}_docsize')} WHERE id BETWEEN ? AND ?"
            held = {row[0] for row in self.execute(sql, (first, last)).fetchall()}
        self.executemany(
            f"INSERT INTO {quoted(words)}(rowid, words) VALUES (?, ?)",
            [(row[0], " ".join((*table.terms(row), spaced(row[-1])))) for row in rows if row[0] not in held],
        )


class _PrivateSession(WriteSession):
    """A connection of its own, which is closed under the writer lock: the last close checkpoints."""

    def __init__(self, connection: sqlite3.Connection, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(connection)
        self._exclusive = exclusive

    def close(self) -> None:
        with self._exclusive():
            self.connection.close()


class ScratchSession(_PrivateSession):
    """A private connection: the log frozen at one head, and temporary tables that shadow the live ones by name."""

    temporary = "TEMP "

    def __init__(self, connection: sqlite3.Connection, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(connection, exclusive)
        # A temporary database spills to an unnamed file; 64 MB of it stay in memory.
        self.execute("PRAGMA temp_store = FILE")
        self.execute("PRAGMA temp.cache_size = -65536")
        self.execute("PRAGMA temp.journal_mode = OFF")
        self.execute("BEGIN")
        self.head()
        self._overlaid: set[str] = set()

    def overlay(self, table: Table) -> None:
        # With their types: an untyped column is compared by conversion, for which no index is used.
        typed = [f"{quoted(column.name)} {_SQL_TYPES[column.kind]}" for column in table.columns]
        keys = ", ".join(quoted(key) for key in table.key)
        key_columns = ", ".join(typed[index] for index in table.key_indexes)
        touched, folded = quoted(f"{table.name}__touched"), quoted(f"{table.name}__folded")
        self.execute(f"CREATE TEMP TABLE {touched} ({key_columns}, PRIMARY KEY ({keys})) WITHOUT ROWID")
        self.execute(f"CREATE TEMP TABLE {folded} ({', '.join(typed)}, PRIMARY KEY ({keys}))")
        same = " AND ".join(f"touched.{quoted(key)} = live.{quoted(key)}" for key in table.key)
        self.execute(
            f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {names(table)} FROM main.{quoted(table.name)} AS live "
            f"WHERE NOT EXISTS (SELECT 1 FROM temp.{touched} AS touched WHERE {same}) "
            f"UNION ALL SELECT {names(table)} FROM temp.{folded}"
        )
        if table.words is not None:
            self._create_words(table)
            self._overlaid.add(table.name)

    def _words_at(self, table: Table) -> list[str]:
        here = super()._words_at(table)
        return [f"{schema}.{here[0]}" for schema in ("main", "temp")] if table.name in self._overlaid else here

    def touch(self, table: Table, keys: Iterable[Key], rows: Iterable[Values]) -> None:
        touched, folded = quoted(f"{table.name}__touched"), quoted(f"{table.name}__folded")
        self.executemany(f"INSERT OR IGNORE INTO temp.{touched} VALUES ({marks(len(table.key))})", list(keys))
        kept = list(rows)
        if table.words is not None and kept:
            self._insert_words(table, kept)
            kept = [row[:-1] for row in kept]
        self.executemany(f"INSERT INTO temp.{folded} VALUES ({marks(len(table.columns))})", kept)

    def cut(self, table: Table, position: int) -> None:
        self.execute(
            f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {names(table)} FROM main.{quoted(table.name)} "
            f"WHERE position <= {int(position)}"
        )

    def differing(self, table: Table) -> list[tuple[Values | None, Values | None]]:
        sides: list[dict[Key, Values]] = []
        for first, second in (("temp", "main"), ("main", "temp")):
            rows = self.execute(
                f"SELECT {names(table)} FROM {first}.{quoted(table.name)} "
                f"EXCEPT SELECT {names(table)} FROM {second}.{quoted(table.name)}"
            ).fetchall()
            sides.append({tuple(row[index] for index in table.key_indexes): row for row in rows})
        here, there = sides
        return [(here.get(key), there.get(key)) for key in sorted(here.keys() | there.keys(), key=repr)]


class BuildSession(_PrivateSession):
    """A private connection that makes tables beside the live ones, in short transactions under the writer lock."""

    def __init__(self, connection: sqlite3.Connection, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(connection, exclusive)
        # Lost in a power cut, what is built is built again; the swap that publishes it is durable with all before it.
        self.execute("PRAGMA synchronous = NORMAL")
        self.execute("PRAGMA wal_autocheckpoint = 8000")
        self.execute("PRAGMA cache_size = -16384")

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._exclusive():
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self.execute("ROLLBACK")
                raise
            self.execute("COMMIT")


def _is_plain(row: RecordRow) -> bool:
    return row[8:11] == _NO_OPTIONS and row[12] is None
