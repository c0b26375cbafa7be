"""What can be asked of, and written to, one SQLite connection. SQL lives here; connections and locks in `sqlite`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import groupby, islice
from typing import Any

from eventlog.codec import to_json
from eventlog.store.base import (
    CHECKPOINT_COLUMNS,
    COLUMNS,
    GENESIS,
    Filter,
    Head,
    Key,
    RecordRow,
    Selection,
    Table,
    Values,
)

_ALL = ", ".join(COLUMNS)
_INSERT_RECORD = f"INSERT INTO events ({_ALL}) VALUES ({', '.join('?' * len(COLUMNS))})"
# Binding a NULL costs four times what binding a number does, so records without optional columns leave them out.
_PLAIN = ("position", "stream", "version", "type", "schema", "occurred_at", "recorded_at", "data", "hash")
_INSERT_PLAIN = f"INSERT INTO events ({', '.join(_PLAIN)}) VALUES ({', '.join('?' * len(_PLAIN))})"
_NO_OPTIONS = (None, None, None, None)
_BY_KEY = f"SELECT {_ALL} FROM events WHERE key = ?"
_HEAD = "SELECT position, hash, recorded_at FROM events ORDER BY position DESC LIMIT 1"
_STREAM_VERSION = "SELECT version FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1"
_STREAM_VERSIONS = f"SELECT value, coalesce(({_STREAM_VERSION.replace('?', 'value')}), 0) FROM json_each(?)"
_CHECKPOINTS = f"SELECT {', '.join(CHECKPOINT_COLUMNS)} FROM projections ORDER BY name"
_SAVE_CHECKPOINT = (
    f"INSERT OR REPLACE INTO projections ({', '.join(CHECKPOINT_COLUMNS)}) "
    f"VALUES ({', '.join('?' * len(CHECKPOINT_COLUMNS))})"
)
_SQL_TYPES = {"int": "INTEGER", "bool": "INTEGER", "float": "REAL", "text": "TEXT", "json": "TEXT"}
_CHUNK = 500


class Session:
    """Reads on one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.execute = connection.execute

    # records

    def head(self) -> Head:
        row = self.execute(_HEAD).fetchone()
        return Head(*row) if row else Head(0, GENESIS, 0)

    def records(
        self,
        after: int,
        to: int | None,
        where: Selection,
        *,
        backwards: bool = False,
        limit: int | None = None,
        in_stream: bool = False,
    ) -> list[RecordRow]:
        axis = "version" if in_stream else "position"
        conditions, values = [f"{axis} > ?"], [after]
        if to is not None:
            conditions.append(f"{axis} <= ?")
            values.append(to)
        for column, wanted in (("stream", where.streams), ("type", where.types)):
            if wanted is not None:
                conditions.append(f"{column} IN ({_marks(len(wanted))})")
                values.extend(wanted)  # type: ignore[arg-type]
        if where.categories is not None:
            # '.' follows '-' in every encoding SQLite compares by, so this is the prefix as a range of the index.
            ranges = " OR ".join("stream = ? OR (stream >= ? AND stream < ?)" for _ in where.categories)
            conditions.append(f"({ranges or 'FALSE'})")
            for category in where.categories:
                values.extend((category, f"{category}-", f"{category}."))  # type: ignore[arg-type]
        if where.part is not None:
            conditions.append("unicode(substr(stream, -1)) % ? = ?")
            values.extend(where.part[::-1])
        sql = (
            f"SELECT {_ALL} FROM events WHERE {' AND '.join(conditions)} "
            f"ORDER BY {axis} {'DESC' if backwards else 'ASC'} LIMIT ?"
        )
        return self.execute(sql, (*values, -1 if limit is None else limit)).fetchall()

    def records_of(self, streams: Iterable[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        rows: list[RecordRow] = []
        pending = iter(streams)
        while chunk := list(islice(pending, _CHUNK)):
            sql = (
                f"SELECT {_ALL} FROM events WHERE stream IN ({_marks(len(chunk))}) "
                f"AND +position <= ? AND +type IN ({_marks(len(types))})"
            )
            rows += self.execute(sql, (*chunk, to, *types)).fetchall()
        rows.sort()
        return rows

    def stream_version(self, stream: str) -> int:
        row = self.execute(_STREAM_VERSION, (stream,)).fetchone()
        return row[0] if row else 0

    def stream_versions(self, streams: Sequence[str]) -> dict[str, int]:
        return dict(self.execute(_STREAM_VERSIONS, (to_json(streams).decode(),)).fetchall())

    def record_with_key(self, key: str) -> RecordRow | None:
        row: RecordRow | None = self.execute(_BY_KEY, (key,)).fetchone()
        return row

    def checkpoints(self) -> list[Values]:
        return self.execute(_CHECKPOINTS).fetchall()

    # rows

    def load(self, table: Table, keys: Iterable[Key]) -> dict[Key, Any]:
        rows: dict[Key, Any] = {}
        pending = iter(keys)
        while chunk := list(islice(pending, _CHUNK // len(table.key))):
            sql = _load_sql(table, len(chunk))
            for values in self.execute(sql, [cell for key in chunk for cell in key]).fetchall():
                rows[tuple(values[index] for index in table.key_indexes)] = table.load(values)
        return rows

    def select(
        self,
        table: Table,
        where: Sequence[Filter] = (),
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Any]:
        condition, values = _condition(table, where)
        keys = ", ".join(f"{_column(table, name.lstrip('-'))}{' DESC' if name[0] == '-' else ''}" for name in order)
        sql = f"SELECT {', '.join(table.names)} FROM {table.name}{condition}"
        sql += f" ORDER BY {keys}" if keys else ""
        if limit is not None or offset:
            sql += " LIMIT ? OFFSET ?"
            values += [-1 if limit is None else limit, offset]
        return [table.load(row) for row in self.execute(sql, values).fetchall()]

    def count(self, table: Table, where: Sequence[Filter] = ()) -> int:
        condition, values = _condition(table, where)
        return int(self.execute(f"SELECT count(*) FROM {table.name}{condition}", values).fetchone()[0])

    def totals(
        self, table: Table, by: Sequence[str], measures: Sequence[str], where: Sequence[Filter] = ()
    ) -> list[Values]:
        condition, values = _condition(table, where)
        columns = [_column(table, name) for name in by]
        sums = [f"sum({_column(table, name)})" for name in measures]
        sql = f"SELECT {', '.join(columns + sums)} FROM {table.name}{condition}"
        if columns:
            sql += f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}"
        return self.execute(sql, values).fetchall()

    def shadows(self, name: str) -> list[str]:
        sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, length(?)) = ?"
        return [row[0] for row in self.execute(sql, (f"{name}__", f"{name}__"))]

    def differing(self, table: Table, other: str) -> list[tuple[Values | None, Values | None]]:
        names = ", ".join(table.names)
        sides: list[dict[Key, Values]] = []
        for first, second in ((table.name, other), (other, table.name)):
            rows = self.execute(f"SELECT {names} FROM {first} EXCEPT SELECT {names} FROM {second}")
            sides.append({tuple(row[index] for index in table.key_indexes): row for row in rows})
        here, there = sides
        return [(here.get(key), there.get(key)) for key in sorted(here.keys() | there.keys(), key=repr)]


class WriteSession(Session):
    """Reads and writes inside one transaction."""

    temporary = ""

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
            if plain:
                self.executemany(_INSERT_PLAIN, [(*row[:7], row[11], bytearray(row[13])) for row in same])
            else:
                self.executemany(_INSERT_RECORD, same)

    # checkpoints

    def save_checkpoint(self, values: Values) -> None:
        self.execute(_SAVE_CHECKPOINT, values)

    # tables

    def create_table(self, table: Table) -> None:
        self.execute(_create_sql(table, self.temporary))

    def create_indexes(self, table: Table) -> None:
        for index in table.indexes:
            self.execute(f"CREATE INDEX {table.name}_{'_'.join(index)} ON {table.name} ({', '.join(index)})")

    def drop_table(self, name: str) -> None:
        self.execute(f"DROP TABLE IF EXISTS {name}")

    def rename_table(self, old: str, new: str) -> None:
        self.execute(f"ALTER TABLE {old} RENAME TO {new}")

    # rows

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if len(rows) == 1:
            self.execute(_insert_sql(table), rows[0])
        elif rows:
            self.executemany(_insert_sql(table), rows)

    def update(self, table: Table, columns: tuple[int, ...], rows: Sequence[Values]) -> None:
        self.executemany(_update_sql(table, columns), rows)

    def delete(self, table: Table, keys: Sequence[Key]) -> None:
        if keys:
            self.executemany(f"DELETE FROM {table.name} WHERE {_key_is(table)}", keys)

    def add(self, table: Table, deltas: Sequence[Values]) -> None:
        if not deltas:
            return
        self.executemany(_add_sql(table), deltas)
        first = len(table.key)
        fallen = [row[:first] for row in deltas if any(number < 0 for number in row[first:])]
        if fallen:
            self.executemany(_delete_zero_sql(table), fallen)

    def savepoint(self) -> None:
        self.execute("SAVEPOINT nested")

    def release(self) -> None:
        self.execute("RELEASE nested")

    def rollback_to_savepoint(self) -> None:
        self.execute("ROLLBACK TO nested")
        self.execute("RELEASE nested")


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

    def overlay(self, table: Table) -> None:
        columns = ", ".join(f"{column.name} {_SQL_TYPES[column.kind]}" for column in table.columns)
        keys = ", ".join(table.key)
        names = ", ".join(table.names)
        # With their types: an untyped column is compared by conversion, for which no index is used.
        typed = ", ".join(
            f"{table.columns[index].name} {_SQL_TYPES[table.columns[index].kind]}" for index in table.key_indexes
        )
        self.execute(f"CREATE TEMP TABLE {table.name}__touched ({typed}, PRIMARY KEY ({keys})) WITHOUT ROWID")
        self.execute(f"CREATE TEMP TABLE {table.name}__folded ({columns}, PRIMARY KEY ({keys}))")
        same = " AND ".join(f"touched.{key} = live.{key}" for key in table.key)
        self.execute(
            f"CREATE TEMP VIEW {table.name} AS SELECT {names} FROM main.{table.name} AS live "
            f"WHERE NOT EXISTS (SELECT 1 FROM temp.{table.name}__touched AS touched WHERE {same}) "
            f"UNION ALL SELECT {names} FROM temp.{table.name}__folded"
        )

    def touch(self, table: Table, keys: Iterable[Key], rows: Iterable[Values]) -> None:
        marks = _marks(len(table.key))
        self.executemany(f"INSERT OR IGNORE INTO temp.{table.name}__touched VALUES ({marks})", keys)
        marks = _marks(len(table.columns))
        self.executemany(f"INSERT INTO temp.{table.name}__folded VALUES ({marks})", rows)

    def cut(self, table: Table, position: int) -> None:
        self.execute(
            f"CREATE TEMP VIEW {table.name} AS SELECT {', '.join(table.names)} FROM main.{table.name} "
            f"WHERE position <= {int(position)}"
        )


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
    return row[7:11] == _NO_OPTIONS and row[12] is None


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _column(table: Table, name: str) -> str:
    if name not in table.names:
        raise KeyError(name)
    return name


def _key_is(table: Table) -> str:
    return " AND ".join(f"{name} = ?" for name in table.key)


def _condition(table: Table, where: Sequence[Filter]) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []
    for column, op, value in where:
        if op == "in":
            parts.append(f"{_column(table, column)} IN ({_marks(len(value))})")
            values.extend(value)
        elif op == "has":
            parts.append(f"EXISTS (SELECT 1 FROM json_each({_column(table, column)}) WHERE key = ? AND value = ?)")
            values.extend(value)
        elif op == "text":
            names = [_column(table, name) for name in column.split("|")]
            parts.append("(" + " OR ".join(f"instr(lower({name}), lower(?)) > 0" for name in names) + ")")
            values.extend([value] * len(names))
        else:
            parts.append(f"{_column(table, column)} {op} ?")
            values.append(value)
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


@lru_cache(maxsize=256)
def _load_sql(table: Table, count: int) -> str:
    names = ", ".join(table.names)
    if len(table.key) == 1:
        return f"SELECT {names} FROM {table.name} WHERE {table.key[0]} IN ({_marks(count)})"
    # A join looks each key up; a row value IN (VALUES …) scans the whole table.
    rows = ", ".join([f"({_marks(len(table.key))})"] * count)
    names = ", ".join(f"t.{name}" for name in table.names)
    same = " AND ".join(f"t.{name} = v.column{number}" for number, name in enumerate(table.key, 1))
    return f"SELECT {names} FROM (VALUES {rows}) AS v CROSS JOIN {table.name} AS t ON {same}"


@lru_cache(maxsize=256)
def _insert_sql(table: Table) -> str:
    return f"INSERT INTO {table.name} ({', '.join(table.names)}) VALUES ({_marks(len(table.columns))})"


@lru_cache(maxsize=512)
def _update_sql(table: Table, columns: tuple[int, ...]) -> str:
    return (
        f"UPDATE {table.name} SET {', '.join(f'{table.names[place]} = ?' for place in columns)} WHERE {_key_is(table)}"
    )


@lru_cache(maxsize=256)
def _add_sql(table: Table) -> str:
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in table.measures)
    return f"{_insert_sql(table)} ON CONFLICT ({', '.join(table.key)}) DO UPDATE SET {sums}"


@lru_cache(maxsize=256)
def _delete_zero_sql(table: Table) -> str:
    zeros = " AND ".join(f"{name} = 0" for name in table.measures)
    return f"DELETE FROM {table.name} WHERE {_key_is(table)} AND {zeros}"


def _create_sql(table: Table, temporary: str) -> str:
    columns = [
        f"{column.name} {_SQL_TYPES[column.kind]}{'' if column.nullable else ' NOT NULL'}" for column in table.columns
    ]
    rowid = len(table.key) == 1 and table.columns[table.key_indexes[0]].kind == "int"
    columns.append(f"PRIMARY KEY ({', '.join(table.key)})")
    return f"CREATE {temporary}TABLE {table.name} ({', '.join(columns)}) STRICT{'' if rowid else ', WITHOUT ROWID'}"
