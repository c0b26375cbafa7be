"""What PostgreSQL is asked otherwise than other databases. Connections, the head of the log and faults: `postgres`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import Cursor

from eventlog.errors import LogClosed
from eventlog.store.base import COLUMNS, Head, Key, RecordRow, Table, Values
from eventlog.store.postgres_pool import at_rest
from eventlog.store.sql import ALL, STREAM_VERSION, SqlReader, SqlWriter, adding, insert_sql, key_is, names, quoted

Connection = psycopg.Connection[Any]
_STREAM_VERSIONS = f"SELECT s, coalesce(({STREAM_VERSION.replace('?', 's')}), 0) FROM unnest(?::text[]) AS s"
_SHADOWS = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND starts_with(tablename, ?)"
_COPY_RECORDS = f"COPY events ({ALL}) FROM STDIN"
_INSERT_RECORDS = f"INSERT INTO events ({ALL}) VALUES "
_RECORD_PLACES = f"({', '.join('?' * len(COLUMNS))})"
_SQL_TYPES = {
    "int": "BIGINT",
    "bool": "BOOLEAN",
    "float": "DOUBLE PRECISION",
    "text": 'TEXT COLLATE "C"',
    "json": "JSON",
}
BULK = 20
"""From so many rows on COPY is faster than INSERT."""
_NUL, _ESCAPE = "\0", "\1"
"""PostgreSQL's text cannot hold NUL: it is written as two characters 1, and 1 as 1 and 2, which keeps the order."""
_PAIR = re.compile(f"{_ESCAPE}(.)", re.DOTALL)


@lru_cache(maxsize=4096)
def translated(sql: str) -> bytes:
    """Our SQL with the driver's marks for values."""
    return sql.replace("%", "%%").replace("?", "%s").encode()


def held(values: Sequence[Any]) -> Sequence[Any]:
    """Values as PostgreSQL can hold them."""
    if any(type(value) is str and (_NUL in value or _ESCAPE in value) for value in values):
        return [_hold(value) if type(value) is str else value for value in values]
    return values


def _hold(text: str) -> str:
    return text.replace(_ESCAPE, f"{_ESCAPE}\2").replace(_NUL, f"{_ESCAPE}{_ESCAPE}")


def _plain(text: str) -> str:
    return _PAIR.sub(lambda pair: _NUL if pair[1] == _ESCAPE else _ESCAPE, text)


def rolled_back(connection: Connection) -> bool:
    """Roll back what is open; False where it could not be, and the connection is not to be used again."""
    if at_rest(connection):
        return True
    if not connection.lock.locked():  # else a COPY was interrupted on its way, and waiting would be for ever
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
    return at_rest(connection)


class Reader(SqlReader):
    """Reads on one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.execute = self._execute
        self.pid = os.getpid()

    def _execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor[Any]:
        self.check_ours()
        return self.connection.execute(translated(sql), held(values))

    def check_ours(self) -> None:
        """Raises LogClosed in a process that was forked from the one that connected."""
        if os.getpid() != self.pid:
            raise LogClosed(
                "this process was forked while its parent was reading or in a transaction, which is the parent's to "
                "finish; append and read anew"
            )

    def plain(self, values: Values) -> Values:
        if any(type(value) is str and _ESCAPE in value for value in values):
            return tuple([_plain(value) if type(value) is str else value for value in values])
        return values

    def stream_versions(self, streams: Sequence[str]) -> dict[str, int]:
        return dict(self.execute(_STREAM_VERSIONS, (list(streams),)).fetchall())

    def shadows(self, name: str) -> list[str]:
        return [row[0] for row in self.execute(_SHADOWS, (f"{name}__",)).fetchall()]

    def _order(self, table: Table, name: str, descending: bool) -> str:
        # NULLs come first going up and last going down, as in SQLite.
        order = super()._order(table, name, descending)
        nullable = any(column.name == name and column.nullable for column in table.columns)
        return f"{order} NULLS {'LAST' if descending else 'FIRST'}" if nullable else order

    def _has(self, name: str) -> str:
        # Reading JSON text with an escaped NUL raises, so such an object has nothing that could be asked for.
        return f"CASE WHEN strpos({name}::text, '\\u0000') > 0 THEN FALSE ELSE {name} ->> ? = ? END"

    def _holds(self, name: str) -> str:
        return f'strpos(lower({name}::text), lower(?::text COLLATE "C")) > 0'


class Writer(Reader, SqlWriter):
    """Reads and writes inside one transaction."""

    changed = True
    touched: Collection[str] = ()
    locked: Head | None = None
    """The head that this transaction holds, as long as it has added nothing."""
    moved = False
    """Whether a projection was made, moved or stopped in this transaction."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.executemany = self._executemany

    def _executemany(self, sql: str, rows: Sequence[Values], /) -> None:
        if len(rows) == 1:
            self.execute(sql, rows[0])
        elif rows:
            self.check_ours()
            with self.connection.cursor() as cursor:
                cursor.executemany(translated(sql), [held(row) for row in rows])

    def refuses(self, error: Exception) -> bool:
        if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
            return True
        if isinstance(error, psycopg.ProgrammingError):
            # What cannot be sent at all, or is of another type than the column's.
            return error.sqlstate is None or error.sqlstate in ("42804", "42846")
        return not isinstance(error, psycopg.Error)

    def head(self) -> Head:
        return self.locked or super().head()

    def insert_records(self, rows: Sequence[RecordRow]) -> None:
        self.locked = None
        if len(rows) < BULK:
            places = ", ".join([_RECORD_PLACES] * len(rows))
            self.execute(_INSERT_RECORDS + places, [value for row in rows for value in row])
        else:
            self._copy(_COPY_RECORDS, rows)

    def _copy(self, sql: str, rows: Iterable[Values]) -> None:
        self.check_ours()
        with self.connection.cursor() as cursor, cursor.copy(sql.encode()) as copy:
            write = copy.write_row
            for row in rows:
                write(row)

    # tables

    def drop_table(self, name: str) -> None:
        # Others wait for the head that this transaction holds: it does not wait long for readers of the table.
        self.execute("SET LOCAL lock_timeout = '500ms'")
        super().drop_table(name)

    def save_checkpoint(self, values: Values) -> None:
        self.moved = True
        super().save_checkpoint(held(values))  # type: ignore[arg-type]

    def _create_sql(self, table: Table) -> str:
        columns = [
            f"{quoted(column.name)} {_SQL_TYPES[column.kind]}{'' if column.nullable else ' NOT NULL'}"
            for column in table.columns
        ]
        columns.append(f"PRIMARY KEY ({', '.join(quoted(name) for name in table.key)})")
        return f"CREATE {self.temporary}TABLE {quoted(table.name)} ({', '.join(columns)})"

    def _index_name(self, table: Table, index: Sequence[str]) -> str:
        return ""  # The server finds one that is free and short enough.

    # rows

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if len(rows) >= BULK:
            self._copy(f"COPY {quoted(table.name)} ({names(table)}) FROM STDIN", [held(row) for row in rows])  # type: ignore[misc]
        elif rows:
            places = ", ".join([_places(table)] * len(rows))
            self.execute(insert_sql(table, places), [value for row in rows for value in row])

    def update(self, table: Table, columns: tuple[int, ...], rows: Sequence[Values]) -> None:
        self.executemany(_update_sql(table, columns), rows)

    def _add(self, table: Table, deltas: Sequence[Values]) -> None:
        if len(deltas) < BULK:
            places = ", ".join([_places(table)] * len(deltas))
            self.execute(insert_sql(table, places) + adding(table), [value for row in deltas for value in row])
            return
        staged = table.renamed(f"{table.name}__adding")
        self.execute(f"CREATE TEMP TABLE {quoted(staged.name)} (LIKE {quoted(table.name)})")
        self.insert(staged, deltas)
        self.execute(
            f"INSERT INTO {quoted(table.name)} ({names(table)}) "
            f"SELECT {names(table)} FROM {quoted(staged.name)}{adding(table)}"
        )
        self.execute(f"DROP TABLE {quoted(staged.name)}")


class Private(Writer):
    """A connection of its own."""

    def close(self) -> None:
        if os.getpid() == self.pid:
            self.connection.close()


class Scratch(Private):
    """The log frozen at one head, and temporary tables that shadow the live ones by name."""

    temporary = "TEMP "

    def __init__(self, connection: Connection, schema: str) -> None:
        super().__init__(connection)
        self._schema = quoted(schema)
        # The tables are locked before the snapshot is taken: one that is swapped in later would seem empty to it.
        live = [row[0] for row in self.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() "
            "AND tablename IN (SELECT name FROM projections)").fetchall()]  # fmt: skip
        self.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        if live:
            self.execute(
                f"LOCK TABLE {', '.join(f'{self._schema}.{quoted(name)}' for name in live)} IN ACCESS SHARE MODE"
            )
        self.head()

    def overlay(self, table: Table) -> None:
        touched, folded = quoted(f"{table.name}__touched"), quoted(f"{table.name}__folded")
        live = f"{self._schema}.{quoted(table.name)}"
        keys = ", ".join(quoted(key) for key in table.key)
        typed = [f"{quoted(column.name)} {_SQL_TYPES[column.kind]}" for column in table.columns]
        key_columns = ", ".join(typed[index] for index in table.key_indexes)
        self.execute(f"CREATE TEMP TABLE {touched} ({key_columns}, PRIMARY KEY ({keys}))")
        self.execute(f"CREATE TEMP TABLE {folded} ({', '.join(typed)}, PRIMARY KEY ({keys}))")
        same = " AND ".join(f"touched.{quoted(key)} = live.{quoted(key)}" for key in table.key)
        self.execute(
            f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {names(table)} FROM {live} AS live "
            f"WHERE NOT EXISTS (SELECT 1 FROM {touched} AS touched WHERE {same}) "
            f"UNION ALL SELECT {names(table)} FROM {folded}"
        )

    def touch(self, table: Table, keys: Iterable[Key], rows: Iterable[Values]) -> None:
        touched = table.renamed(f"{table.name}__touched")
        columns = ", ".join(quoted(key) for key in table.key)
        self._copy(f"COPY {quoted(touched.name)} ({columns}) FROM STDIN", [held(key) for key in dict.fromkeys(keys)])  # type: ignore[misc]
        self.insert(table.renamed(f"{table.name}__folded"), list(rows))

    def cut(self, table: Table, position: int) -> None:
        self.execute(
            f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {names(table)} "
            f"FROM {self._schema}.{quoted(table.name)} WHERE position <= {int(position)}"
        )

    def differing(self, table: Table) -> list[tuple[Values | None, Values | None]]:
        # JSON has no equality of its own; what is compared is its text, byte by byte.
        columns = ", ".join(
            f"{quoted(column.name)}{'::text' if column.kind == 'json' else ''}" for column in table.columns
        )
        places = (f"pg_temp.{quoted(table.name)}", f"{self._schema}.{quoted(table.name)}")
        sides: list[dict[Key, Values]] = []
        for first, second in (places, places[::-1]):
            rows = self.execute(f"SELECT {columns} FROM {first} EXCEPT SELECT {columns} FROM {second}").fetchall()
            sides.append({tuple(row[index] for index in table.key_indexes): row for row in map(self.plain, rows)})
        here, there = sides
        return [(here.get(key), there.get(key)) for key in sorted(here.keys() | there.keys(), key=repr)]


class Build(Private):
    """Makes tables beside the live ones, in short transactions; it does not hold the head of the log."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        # Lost in a crash, what is built is built again; the swap that publishes it is durable with all before it.
        self.execute("BEGIN")
        try:
            self.execute("SET LOCAL synchronous_commit = off")
            yield
        except BaseException:
            rolled_back(self.connection)
            raise
        self.execute("COMMIT")


@lru_cache(maxsize=256)
def _places(table: Table) -> str:
    return f"({', '.join(_place(column.kind) for column in table.columns)})"


def _place(kind: str) -> str:
    # Bound as they are, a fraction would be rounded to fit an integer, and a number refused as text: not so with COPY.
    return {"int": "?::text::bigint", "text": "?::text"}.get(kind, "?")


@lru_cache(maxsize=512)
def _update_sql(table: Table, columns: tuple[int, ...]) -> str:
    sets = ", ".join(f"{quoted(table.names[place])} = {_place(table.columns[place].kind)}" for place in columns)
    return f"UPDATE {quoted(table.name)} SET {sets} WHERE {key_is(table)}"
