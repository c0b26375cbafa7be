"""What PostgreSQL is asked otherwise than other databases. Connections, the head of the log and faults: `postgres`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import PipelineStatus
from psycopg.pq.abc import PGresult

from eventlog.codec import to_json
from eventlog.errors import EventLogError, LogClosed
from eventlog.store.base import COLUMNS, Filter, Head, Key, RecordRow, Selection, Table, Values
from eventlog.store.postgres_pipeline import Answer, Pipeline
from eventlog.store.postgres_pool import Connection, at_rest
from eventlog.store.postgres_text import ESCAPE, NUL, held, plain
from eventlog.store.searching import tsquery, tsvector
from eventlog.store.sql import (
    ALL,
    STREAM_VERSION,
    SqlReader,
    SqlWriter,
    adding,
    key_is,
    marks,
    names,
    quoted,
    terms_of,
    zeros,
)
from eventlog.store.words import words

_STREAM_VERSIONS = f"SELECT s, coalesce(({STREAM_VERSION.replace('?', 's')}), 0) FROM unnest((SELECT ?::text[])) AS s"
_LAST_OF = STREAM_VERSION.replace("SELECT version", "SELECT stream, version")
_RECORDS_OF = f"SELECT {ALL} FROM events WHERE stream = ANY(?) AND position <= ? AND type = ANY(?)"
_SHADOWS = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND starts_with(tablename, ?)"
_COPY_RECORDS = f"COPY events ({ALL}) FROM STDIN"
_SAVEPOINT = "SAVEPOINT nested"
_SQL_TYPES = {
    "int": "BIGINT",
    "bool": "BOOLEAN",
    "float": "DOUBLE PRECISION",
    "text": 'TEXT COLLATE "C"',
    "json": "JSON",
}
MOST_INSERTED = 64
"""With more rows COPY is faster, and JSON with more sums: each has to be answered before the next statement is sent."""
FEW = 8
WORTH_BEGINNING = 4
"""From so many records on the server inserts them while projections are computed; for fewer a message costs more."""
AT_ONCE = (16, 8, 4, 2, 1)
"""How many rows a statement inserts: few numbers, so that few statements are kept prepared."""
ROWS_AT_ONCE = 4096
MOST_WAITING = 1000


@lru_cache(maxsize=4096)
def translated(sql: str) -> bytes:
    """Our SQL with the driver's marks for values."""
    return sql.replace("%", "%%").replace("?", "%s").encode()


def held_rows(table: Table, rows: Sequence[Values]) -> Sequence[Sequence[Any]]:
    """As `held`, for rows of a table: where text is looked at all at once, none of it is found to need anything."""
    texts = [index for index, column in enumerate(table.columns) if column.kind == "text"]
    try:
        text = "".join([cell for row in rows for index in texts if (cell := row[index])])
    except TypeError:
        text = NUL  # the server says what is wrong with it
    return [held(row) for row in rows] if NUL in text or ESCAPE in text else rows


def rolled_back(connection: Connection) -> bool:
    """Roll back what is open; False where it could not be, and the connection is not to be used again."""
    if at_rest(connection):
        return True
    # Else statements, or a COPY, were interrupted on their way, and waiting would be for ever.
    if connection.pgconn.pipeline_status == PipelineStatus.OFF and not connection.lock.locked():
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
    return at_rest(connection)


class Reader(SqlReader):
    """Reads on one connection."""

    records_at_once = 4096

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.execute = self._execute
        self.pid = os.getpid()

    def _execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
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
        return plain(values)

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
        if limit is None or in_stream or where.streams is not None or where.categories is not None:
            return super().records(after, to, where, backwards=backwards, limit=limit, in_stream=in_stream)
        # Asked for the first of many, a server that has no statistics of the table yet reads and sorts them all.
        rows: list[RecordRow] = []
        low, high, span = after, self.head().position if to is None else to, 2 * limit
        while low < high and len(rows) < limit:
            start, end = (max(low, high - span), high) if backwards else (low, min(high, low + span))
            rows += super().records(start, end, where, backwards=backwards, limit=limit - len(rows))
            low, high = (low, start) if backwards else (end, high)
            span *= 4
        return rows

    def _records_of(self, streams: Sequence[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        return self.execute(_RECORDS_OF, (list(streams), to, list(types))).fetchall()

    def load(self, table: Table, keys: Iterable[Key]) -> dict[Key, Any]:
        if len(table.key) > 1:
            return super().load(table, keys)
        wanted = held([key for (key,) in keys])
        if not wanted:
            return {}
        sql = f"SELECT {names(table)} FROM {quoted(table.name)} WHERE {quoted(table.key[0])} = ANY(?)"
        rows = [self.plain(stored) for stored in self.execute(sql, (wanted,)).fetchall()]
        return {(row[table.key_indexes[0]],): table.load(row) for row in rows}

    def stream_versions(self, streams: Sequence[str]) -> dict[str, int]:
        return dict(self.execute(_STREAM_VERSIONS, (list(streams),)).fetchall())

    def shadows(self, name: str) -> list[str]:
        return [row[0] for row in self.execute(_SHADOWS, (f"{name}__",)).fetchall()]

    def _order(self, table: Table, name: str, descending: bool) -> str:
        # NULLs come first going up and last going down, as in SQLite.
        order = super()._order(table, name, descending)
        nullable = any(column.name == name and column.nullable for column in table.columns)
        return f"{order} NULLS {'LAST' if descending else 'FIRST'}" if nullable else order

    def _rows(self, table: Table, where: Sequence[Filter]) -> tuple[str, list[Any]]:
        matches = [condition.value for condition in where if condition.op == "match"]
        if not matches:
            return super()._rows(table, where)
        others = [condition for condition in where if condition.op != "match"]
        terms = terms_of(table, others)
        condition, values = self._condition(table, others)
        asked = " AND ".join(["words @@ ?::tsquery"] * len(matches))
        rows = f"{quoted(table.name)}{condition}{' AND ' if condition else ' WHERE '}{asked}"
        return rows, [*values, *(tsquery(match, terms) for match in matches)]

    def _among(self, name: str, wanted: Sequence[str], values: list[Any]) -> str:
        values.append(held(list(wanted)))
        return f"{name} = ANY(?)"

    def _share(self) -> str:
        return "ascii(right(stream, 1)) % ? = ?"

    def _has(self, name: str) -> str:
        # Reading JSON text with an escaped NUL raises, so such an object has nothing that could be asked for.
        return f"CASE WHEN strpos({name}::text, '\\u0000') > 0 THEN FALSE ELSE {name} ->> ? = ? END"

    def _holds(self, name: str) -> str:
        return f'strpos(lower({name}::text), lower(?::text COLLATE "C")) > 0'


class Writer(Reader, SqlWriter):
    """Reads and writes inside one transaction."""

    changed = True
    touched: Collection[str] = ()
    failure: BaseException | None = None
    versions: Mapping[str, int] = {}
    locked: Head | None = None
    """The head that this transaction holds, as long as it has added nothing."""
    moved = False
    """Whether a projection was made, moved or stopped in this transaction."""

    def __init__(self, connection: Connection, pipeline: Pipeline | None = None) -> None:
        super().__init__(connection)
        self.executemany = self._executemany
        self._pipeline = Pipeline(connection) if pipeline is None else pipeline

    def later(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement before the next one that is answered, or before the commit.

        Gives the place of its answer among those of `settle`, where that is what comes next.
        """
        waiting = self._pipeline.tell(sql, values)
        if waiting >= MOST_WAITING:
            self.settle()
        return waiting - 1

    def ask(self, sql: str, values: Sequence[Any] = ()) -> int:
        """As `later`, with values that the driver says the types of, lists among them."""
        self._pipeline.ask(sql, values)
        return self._pipeline.waiting - 1

    def drop(self) -> None:
        """Forget what waits to be sent."""
        self._pipeline.drop()

    def settle(self) -> list[PGresult]:
        """Send what waits; gives its answers."""
        if not self._pipeline.waiting:
            return []
        self.check_ours()
        try:
            return self._pipeline.exchange()
        except psycopg.Error as error:
            self.failure = self.failure or error  # what comes after it tells only that something failed before
            raise

    def ask_versions(self, streams: Collection[str]) -> None:
        """Ask for streams with their versions; those that have none may be left out."""
        if len(streams) > FEW:
            self.ask(_STREAM_VERSIONS, (list(streams),))
            return
        # Asked for many, the server makes a plan each time, which takes longer than the answers to a few questions.
        for stream in streams:
            self.later(_LAST_OF, (stream,))

    def _execute(self, sql: str, values: Sequence[Any] = (), /) -> Answer:
        self.ask(sql, values)
        return Answer(self.rows(self.settle()[-1]))

    def rows(self, result: PGresult) -> list[Any]:
        """The rows in an answer."""
        return self._pipeline.rows(result)

    def _executemany(self, sql: str, rows: Sequence[Values], /) -> None:
        for row in rows:
            self.later(sql, row)

    def commit(self) -> bool:
        """End the transaction; False when it had failed before, and the server has undone it."""
        self._pipeline.tell("COMMIT")
        return self.settle()[-1].command_status == b"COMMIT"

    def savepoint(self) -> None:
        self.settle()
        self._pipeline.tell(_SAVEPOINT)

    def release(self) -> None:
        self._pipeline.tell("RELEASE nested")
        self.settle()

    def rollback_to_savepoint(self) -> None:
        self.failure = None
        unsent = self._pipeline.begins_with(_SAVEPOINT)
        self._pipeline.drop()
        if not unsent:
            super().rollback_to_savepoint()

    def refuses(self, error: Exception) -> bool:
        if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
            return True
        if isinstance(error, psycopg.ProgrammingError):
            # What cannot be sent at all, or is of another type than the column's.
            return error.sqlstate is None or error.sqlstate in ("42804", "42846")
        return not isinstance(error, (psycopg.Error, EventLogError))

    def head(self) -> Head:
        return self.locked or super().head()

    def insert_records(self, rows: Sequence[RecordRow], *, last: bool = False) -> None:
        self.locked = None
        if len(rows) > MOST_INSERTED:
            self._copy(_COPY_RECORDS, rows)
            return
        self._insert(_RECORDS, rows)
        if last and len(rows) >= WORTH_BEGINNING:
            self.check_ours()
            self._pipeline.begin()

    def _insert(self, words: _Words, rows: Sequence[Sequence[Any]]) -> None:
        """Some rows, several in a statement. Raises ValueError where one is too short or too long."""
        if not {*map(len, rows)} <= {words.width}:
            # The server would call it a violation of the protocol, as it does what is wrong with a connection.
            raise ValueError(f"a row is to have {words.width} values, and one has not")
        if len(rows) == 1:
            self.later(_for_rows(words, 1), rows[0])
            return
        start = 0
        for size in AT_ONCE:
            while len(rows) - start >= size:
                values = [value for row in rows[start : start + size] for value in row]
                self.later(_for_rows(words, size), values)
                start += size

    def _copy(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.settle()
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
        super().save_checkpoint(values)

    def _create_sql(self, table: Table) -> str:
        columns = [
            f"{quoted(column.name)} {_SQL_TYPES[column.kind]}{'' if column.nullable else ' NOT NULL'}"
            for column in table.columns
        ]
        if table.words is not None:
            columns.append("words TSVECTOR NOT NULL")
        columns.append(f"PRIMARY KEY ({', '.join(quoted(name) for name in table.key)})")
        return f"CREATE {self.temporary}TABLE {quoted(table.name)} ({', '.join(columns)})"

    def create_indexes(self, table: Table) -> None:
        super().create_indexes(table)
        if table.words is not None:
            self.execute(f"CREATE INDEX ON {quoted(table.name)} USING gin (words)")

    def _index_name(self, table: Table, index: Sequence[str]) -> str:
        return ""  # The server finds one that is free and short enough.

    # rows

    def worded(self, table: Table, rows: Sequence[Values]) -> list[Values]:
        if not self.keeps_words:
            return [(*row[:-1], "") for row in rows]
        return [(*row[:-1], tsvector(table.terms(row), words(row[-1]))) for row in rows]

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if len(rows) > MOST_INSERTED:
            self._copy(f"COPY {quoted(table.name)} ({stored_names(table)}) FROM STDIN", held_rows(table, rows))
        else:
            self._insert(_inserting(table), rows)

    def add(self, table: Table, deltas: Sequence[Values]) -> None:
        # In the order of the index neighbours are found together, and two who add at once do not wait for each other.
        ordered = sorted(deltas)
        if len(ordered) <= MOST_INSERTED:
            self._insert(_summing(table), ordered)
            first = len(table.key)
            for row in ordered:
                if min(row[first:]) < 0:
                    self.later(_delete_zeros(table), row[:first])
            return
        pending = iter(ordered)
        while rows := held_rows(table, list(islice(pending, ROWS_AT_ONCE))):
            text = to_json([dict(zip(table.names, row, strict=True)) for row in rows]).decode()
            self.delete(table, [self.plain(key) for key in self.execute(_add_sql(table), (text,)).fetchall()])


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
        self._schema = quoted(schema.replace('"', '""'))
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
        if table.words is not None:
            typed.append("words TSVECTOR")
        self.execute(f"CREATE TEMP TABLE {touched} ({key_columns}, PRIMARY KEY ({keys}))")
        self.execute(f"CREATE TEMP TABLE {folded} ({', '.join(typed)}, PRIMARY KEY ({keys}))")
        same = " AND ".join(f"touched.{quoted(key)} = live.{quoted(key)}" for key in table.key)
        self.execute(
            f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {stored_names(table)} FROM {live} AS live "
            f"WHERE NOT EXISTS (SELECT 1 FROM {touched} AS touched WHERE {same}) "
            f"UNION ALL SELECT {stored_names(table)} FROM {folded}"
        )
        self._pipeline.forget()

    def touch(self, table: Table, keys: Iterable[Key], rows: Iterable[Values]) -> None:
        touched = table.renamed(f"{table.name}__touched")
        columns = ", ".join(quoted(key) for key in table.key)
        self._copy(f"COPY {quoted(touched.name)} ({columns}) FROM STDIN", [held(key) for key in dict.fromkeys(keys)])
        kept = list(rows)
        if table.words is not None:
            kept = self.worded(table, kept)
        self.insert(table.renamed(f"{table.name}__folded"), kept)

    def cut(self, table: Table, position: int) -> None:
        self.execute(
            f"CREATE TEMP VIEW {quoted(table.name)} AS SELECT {stored_names(table)} "
            f"FROM {self._schema}.{quoted(table.name)} WHERE position <= {int(position)}"
        )
        self._pipeline.forget()

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

    def create_indexes(self, table: Table) -> None:
        super().create_indexes(table)
        # Otherwise questions are planned without statistics until the server gets round to it, a minute later or never.
        self.execute(f"ANALYZE {quoted(table.name)}")

    @contextmanager
    def writing(self) -> Iterator[None]:
        # Lost in a crash, what is built is built again; the swap that publishes it is durable with all before it.
        self.execute("BEGIN")
        try:
            self.execute("SET LOCAL synchronous_commit = off")
            yield
        except BaseException:
            self._pipeline.drop()
            rolled_back(self.connection)
            raise
        self.execute("COMMIT")


@lru_cache(maxsize=256)
def stored_names(table: Table) -> str:
    """Every column of a table, and its words where it has any."""
    return names(table) if table.words is None else f"{names(table)}, words"


class _Words(NamedTuple):
    """A statement that inserts rows of so many values: what stands before them, and what stands behind."""

    before: str
    width: int
    behind: str = ""


_RECORDS = _Words(f"INSERT INTO events ({ALL}) VALUES ", len(COLUMNS))


@lru_cache(maxsize=1024)
def _for_rows(words: _Words, count: int) -> str:
    return words.before + ", ".join([f"({marks(words.width)})"] * count) + words.behind


@lru_cache(maxsize=256)
def _inserting(table: Table) -> _Words:
    before = f"INSERT INTO {quoted(table.name)} ({stored_names(table)}) VALUES "
    return _Words(before, len(table.columns) + (table.words is not None))


@lru_cache(maxsize=256)
def _summing(table: Table) -> _Words:
    return _inserting(table)._replace(behind=adding(table))


@lru_cache(maxsize=256)
def _delete_zeros(table: Table) -> str:
    return f"DELETE FROM {quoted(table.name)} WHERE {key_is(table)} AND {zeros(table)}"


@lru_cache(maxsize=256)
def _add_sql(table: Table) -> str:
    """Numbers added to however many rows, given as one JSON text; answers with the keys of those left with nothing."""
    keys = ", ".join(quoted(key) for key in table.key)
    typed = ", ".join(f"{quoted(column.name)} {_SQL_TYPES[column.kind]}" for column in table.columns)
    return (
        f"WITH added AS (INSERT INTO {quoted(table.name)} ({names(table)}) SELECT {names(table)} "
        f"FROM json_to_recordset(?::json) AS given ({typed}){adding(table)} "
        f"RETURNING {names(table)}) SELECT {keys} FROM added WHERE {zeros(table)}"
    )
