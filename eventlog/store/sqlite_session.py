"""What SQLite is asked otherwise than other databases, and its private connections. Locks and files are in `sqlite`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain, compress, groupby, repeat
from operator import is_not
from typing import Any

from eventlog.codec import to_json
from eventlog.store.base import Filter, Key, RecordRow, Table, Values
from eventlog.store.searching import fts5, has_words, needles
from eventlog.store.sql import (
    ALL,
    INSERT_RECORD,
    STREAM_VERSION,
    SqlReader,
    SqlWriter,
    insert_filled_sql,
    insert_sql,
    marks,
    names,
    quoted,
    terms_of,
    words_of,
)
from eventlog.store.words import spaced

_STREAM_VERSIONS = f"SELECT value, coalesce(({STREAM_VERSION.replace('?', 'value')}), 0) FROM json_each(?)"
# Binding a NULL costs four times what binding a number does, so records without optional columns leave them out, and
# so do the rows of tables with many columns that may be NULL: of each the first few combinations of those that are not.
_MANY_NULLABLE = 5
_MOST_FILLED = 8
_PLAIN = ("position", "stream", "version", "type", "schema", "occurred_at", "recorded_at", "data", "hash")
_INSERT_PLAIN = f"INSERT INTO events ({', '.join(_PLAIN)}) VALUES ({', '.join('?' * len(_PLAIN))})"
_KEYED = (*_PLAIN[:7], "key", *_PLAIN[7:])
_INSERT_KEYED = f"INSERT INTO events ({', '.join(_KEYED)}) VALUES ({', '.join('?' * len(_KEYED))})"
_NO_OPTIONS = (None, None, None)
_HAS_TABLE = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?"
_WORDS = words_of("")
ROWS_AT_ONCE = 32
"""Of many rows so many are given to a statement: it begins and ends once for all of them."""
_LATE_LENGTH = 4096
"""Characters: longer texts are put into the index at once."""
_LATE_SPAN = 256
"""Positions: the rows of so many, and no more, wait to be put into the index."""
_ORDERED = ("<", "<=", ">", ">=", "=")
# Bigger batches in memory and fewer merges than FTS5 would have it: an index that is written as fast as a log is read
# in. More pieces of it are looked at by a search, which takes a fraction of a millisecond each.
_WORDS_SETTINGS = {"hashsize": 16 << 20, "automerge": 8, "crisismerge": 32}
_SQL_TYPES = {"int": "INTEGER", "bool": "INTEGER", "float": "REAL", "text": "TEXT", "json": "TEXT"}


class Session(SqlReader):
    """Reads on one connection."""

    unlimited = -1
    join = "CROSS JOIN"
    """SQLite keeps the order of a CROSS JOIN: the keys first."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute
        connection.create_function("has_words", 2, has_words, deterministic=True)

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
        condition, given = self._condition(table, others)
        asked = " AND ".join(f"({fts5(match, terms)})" for match in matches)
        bounds = "".join(f" AND rowid {op} ?" for name, op, _ in others if name == "position" and op in _ORDERED)
        limits = [value for name, op, value in others if name == "position" and op in _ORDERED]
        columns = ", ".join(quoted(name) for name in table.names if name != "position")
        live, joined = (
            quoted(table.name),
            f"CROSS JOIN {quoted(table.name)} AS live ON live.position = place{condition}",
        )
        joined = joined.replace(quoted("position"), "place")
        parts, values = [], []
        for place in self._words_at(table):
            # Words that were rolled back are still there: the table says which rows count.
            found = f"SELECT rowid AS place FROM {place} WHERE words MATCH ?{bounds}"
            found += f" AND rowid <= (SELECT max(position) FROM {live})"
            parts.append(f"SELECT place AS position, {columns} FROM ({found}) {joined}")
            values += [asked, *limits, *given]
            late = " AND ".join(["has_words(words, ?)"] * len(matches))
            found = f"SELECT position AS place FROM {_late(place)} WHERE {late}"
            parts.append(f"SELECT place AS position, {columns} FROM ({found}) {joined}")
            values += [*(needles(match, terms) for match in matches), *given]
        return f"({(' UNION ' if table.name in self._overlaid else ' UNION ALL ').join(parts)})", values

    _overlaid: Collection[str] = ()
    """Tables of which some rows stand in temporary ones, and their words too."""

    def _words_at(self, table: Table) -> list[str]:
        """The indexes that have the words of a table's rows."""
        words = quoted(words_of(table.name))
        return [f"main.{words}", f"temp.{words}"] if table.name in self._overlaid else [words]

    def _has(self, name: str) -> str:
        return f"EXISTS (SELECT 1 FROM json_each({name}) WHERE key = ? AND value = ?)"

    def _share(self) -> str:
        return "unicode(substr(stream, -1)) % ? = ?"

    def _holds(self, name: str) -> str:
        return f"instr(lower({name}), lower(?)) > 0"


class WriteSession(Session, SqlWriter):
    """Reads and writes inside one transaction."""

    touched: Collection[str] = ()
    failure: BaseException | None = None
    versions: Mapping[str, int] = {}

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.executemany = connection.executemany
        self.changed = True
        self._filled: dict[Table, dict[tuple[bool, ...], str]] = {}

    def refuses(self, error: Exception) -> bool:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError)):
            return True
        return not isinstance(error, sqlite3.Error)

    def insert_records(self, rows: Sequence[RecordRow], *, last: bool = False) -> None:
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
        if table.words is not None and self.keeps_words:
            self._create_words(table)

    def _create_words(self, table: Table) -> None:
        words = quoted(words_of(table.name))
        place = f"temp.{words}" if self.temporary else words
        self.execute(f"CREATE VIRTUAL TABLE {place} USING fts5(words, content='', tokenize='ascii')")
        for name, value in _WORDS_SETTINGS.items():
            self.execute(f"INSERT INTO {place}({words}, rank) VALUES (?, ?)", (name, value))
        self.execute(f"CREATE TABLE {_late(place)} (position INTEGER PRIMARY KEY, words TEXT NOT NULL) STRICT")

    def drop_table(self, name: str) -> None:
        super().drop_table(name)
        self.execute(f"DROP TABLE IF EXISTS {quoted(words_of(name))}")
        self.execute(f"DROP TABLE IF EXISTS {_late(quoted(words_of(name)))}")

    def rename_table(self, old: str, new: str) -> None:
        super().rename_table(old, new)
        if self.execute(_HAS_TABLE, (words_of(old),)).fetchone():
            super().rename_table(words_of(old), words_of(new))
            self.execute(f"ALTER TABLE {_late(quoted(words_of(old)))} RENAME TO {_late(quoted(words_of(new)))}")

    def worded(self, table: Table, rows: Sequence[Values]) -> list[Values]:
        if not self.keeps_words:
            return [(*row[:-1], "") for row in rows]
        return [(*row[:-1], " ".join((*table.terms(row), spaced(row[-1])))) for row in rows]

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if table.words is not None:
            if rows and self.keeps_words:
                self._insert_words(table, [(row[0], row[-1]) for row in rows])
            rows = [row[:-1] for row in rows]
        self._insert_rows(table, rows)

    def _insert_rows(self, table: Table, rows: Sequence[Values]) -> None:
        if table.nullables < _MANY_NULLABLE:
            super().insert(table, rows)
            return
        known = self._filled.setdefault(table, {})
        for filled, alike in groupby(rows, _filled):
            sql = known.get(filled)
            if sql is None:
                if len(known) == _MOST_FILLED:
                    super().insert(table, list(alike))
                    continue
                sql = known[filled] = insert_filled_sql(table, filled)
            self.executemany(sql, [tuple(compress(row, filled)) for row in alike])

    def _insert_words(self, table: Table, fresh: list[tuple[int, str]]) -> None:
        """Words of rows, by position, that have none yet: what was rolled back left them, and they are the same again.

        FTS5 writes half a dozen pages whatever a commit brings, so a few short texts wait until there are more.
        """
        index = quoted(words_of(table.name))
        late, sizes = _late(index), quoted(f"{words_of(table.name)}_docsize")
        first, last = fresh[0][0], fresh[-1][0]
        newest, done = self.execute(
            f"SELECT (SELECT max(position) FROM {late}), (SELECT max(id) FROM {sizes})"
        ).fetchone()
        if max(newest or 0, done or 0) >= first:
            sql = f"SELECT id FROM {sizes} WHERE id BETWEEN ?1 AND ?2 UNION ALL "
            sql += f"SELECT position FROM {late} WHERE position BETWEEN ?1 AND ?2"
            held = {row[0] for row in self.execute(sql, (first, last)).fetchall()}
            fresh = [row for row in fresh if row[0] not in held]
        if not fresh:
            return
        short = sum([len(words) for _, words in fresh]) <= _LATE_LENGTH
        if newest is not None and not (short and newest // _LATE_SPAN == fresh[-1][0] // _LATE_SPAN):
            self.execute(f"INSERT INTO {index}(rowid, words) SELECT position, words FROM {late} ORDER BY position")
            self.execute(f"DELETE FROM {late}")
        place = f"{late}(position, words)" if short else f"{index}(rowid, words)"
        if len(fresh) == 1:
            self.execute(f"INSERT INTO {place} VALUES (?, ?)", fresh[0])
        else:
            self.executemany(f"INSERT INTO {place} VALUES (?, ?)", fresh)


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
    at_end: Callable[[], None] | None = None
    """Raises where what was read cannot be relied upon."""

    def __init__(self, connection: sqlite3.Connection, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(connection, exclusive)
        # A temporary database spills to an unnamed file; 64 MB of it stay in memory.
        self.execute("PRAGMA temp_store = FILE")
        self.execute("PRAGMA temp.cache_size = -65536")
        self.execute("BEGIN")
        self.head()

    def close(self) -> None:
        super().close()
        if self.at_end is not None:
            self.at_end()

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
            self._overlaid = {*self._overlaid, table.name}

    def touch(self, table: Table, keys: Iterable[Key], rows: Iterable[Values]) -> None:
        touched, folded = quoted(f"{table.name}__touched"), quoted(f"{table.name}__folded")
        self.executemany(f"INSERT OR IGNORE INTO temp.{touched} VALUES ({marks(len(table.key))})", list(keys))
        kept = list(rows)
        if table.words is not None and kept:
            self._insert_words(table, [(row[0], row[-1]) for row in self.worded(table, kept)])
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
        if table.words is not None:
            here.update({row[:1]: row for row in self._without_words(table)})
        return [(here.get(key), there.get(key)) for key in sorted(here.keys() | there.keys(), key=repr)]

    def _without_words(self, table: Table) -> list[Values]:
        """Live rows that no search finds: a difference, though the rows themselves are right."""
        sizes, late = quoted(f"{words_of(table.name)}_docsize"), _late(quoted(words_of(table.name)))
        return self.execute(
            f"SELECT {names(table)} FROM main.{quoted(table.name)} AS live WHERE "
            f"NOT EXISTS (SELECT 1 FROM main.{sizes} WHERE id = live.position) "
            f"AND NOT EXISTS (SELECT 1 FROM main.{late} AS late WHERE late.position = live.position)"
        ).fetchall()


class BuildSession(_PrivateSession):
    """A private connection that makes tables beside the live ones, in short transactions under the writer lock."""

    def __init__(self, connection: sqlite3.Connection, exclusive: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(connection, exclusive)
        # Lost in a power cut, what is built is built again; the swap that publishes it is durable with all before it.
        self.execute("PRAGMA synchronous = NORMAL")
        self.execute("PRAGMA wal_autocheckpoint = 8000")
        self.execute("PRAGMA cache_size = -16384")

    def create_indexes(self, table: Table) -> None:
        self.execute("PRAGMA cache_size = -65536")  # what is sorted in memory, needs no file
        super().create_indexes(table)

    def _insert_rows(self, table: Table, rows: Sequence[Values]) -> None:
        whole = len(rows) - len(rows) % ROWS_AT_ONCE if table.nullables < _MANY_NULLABLE else 0
        if whole:
            many = [list(chain.from_iterable(rows[at : at + ROWS_AT_ONCE])) for at in range(0, whole, ROWS_AT_ONCE)]
            self.executemany(_insert_many_sql(table), many)
        super()._insert_rows(table, rows[whole:])

    def _insert_words(self, table: Table, fresh: list[tuple[int, str]]) -> None:
        # Nothing was ever rolled back in tables as new as these, and nothing waits for more.
        self.executemany(f"INSERT INTO {quoted(words_of(table.name))}(rowid, words) VALUES (?, ?)", fresh)

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


@lru_cache(maxsize=256)
def _insert_many_sql(table: Table) -> str:
    """As many rows as `ROWS_AT_ONCE`. It stops at the first that is refused, and leaves the others to a savepoint.

    To undo them itself, the statement would first copy every page that it touches.
    """
    return insert_sql(table, ", ".join([f"({marks(len(table.columns))})"] * ROWS_AT_ONCE)).replace(
        "INSERT", "INSERT OR FAIL", 1
    )


def _late(index: str) -> str:
    """The words that are not in an index yet; ``index`` is quoted."""
    return f'{index[:-1]}_late"'


def _filled(row: Values) -> tuple[bool, ...]:
    """Which columns have something."""
    return tuple(map(is_not, row, repeat(None)))


def _is_plain(row: RecordRow) -> bool:
    return row[8:11] == _NO_OPTIONS and row[12] is None
