"""What every SQL database is asked, and told, in the same words. Its subclasses have what a dialect says otherwise.

Values are always bound; ``?`` marks them. Names come from declarations and are always quoted: a column may be called
``user``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import compress, islice
from typing import Any, Protocol

from eventlog.store.base import (
    CHECKPOINT_COLUMNS,
    COLUMNS,
    GENESIS,
    Filter,
    Head,
    Key,
    RecordRow,
    Selection,
    Sparse,
    Table,
    Values,
    check_page,
)
from eventlog.store.words import facet, terms_between

ALL = ", ".join(COLUMNS)
INSERT_RECORD = f"INSERT INTO events ({ALL}) VALUES ({', '.join('?' * len(COLUMNS))})"
HEAD = "SELECT position, hash, recorded_at FROM events ORDER BY position DESC LIMIT 1"
STREAM_VERSION = "SELECT version FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1"
_BY_KEY = f"SELECT {ALL} FROM events WHERE key = ?"
_CHECKPOINTS = f"SELECT {', '.join(CHECKPOINT_COLUMNS)} FROM projections"
_SAVE_CHECKPOINT = (
    f"INSERT INTO projections ({', '.join(CHECKPOINT_COLUMNS)}) VALUES ({', '.join('?' * len(CHECKPOINT_COLUMNS))}) "
    f"ON CONFLICT (name) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in CHECKPOINT_COLUMNS[1:])}"
)
CHUNK = 500
MOST_SELECTS = 1000


class Answer(Protocol):
    """What a statement gives back."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """Every row that is left."""


class SqlReader(ABC):
    """Reads on one connection. See `eventlog.store.base.Reader`."""

    records_at_once = 512
    unlimited: Any = None
    """What stands for no limit behind LIMIT."""
    join = "JOIN"

    execute: Callable[..., Answer]
    """Runs one statement with its values."""

    # records

    def head(self) -> Head:
        row = self.execute(HEAD).fetchone()
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
        conditions = [f"{axis} > ?"]
        values: list[Any] = [after]
        if to is not None:
            conditions.append(f"{axis} <= ?")
            values.append(to)
        for column, wanted in (("stream", where.streams), ("type", where.types)):
            if wanted is not None:
                conditions.append(self._among(column, wanted, values))
        if where.categories is not None:
            # '.' follows '-' byte by byte, and streams are compared by bytes: the prefix as a range of the index.
            ranges = " OR ".join("stream = ? OR (stream >= ? AND stream < ?)" for _ in where.categories)
            conditions.append(f"({ranges or 'FALSE'})")
            for category in where.categories:
                values.extend((category, f"{category}-", f"{category}."))
        if where.part is not None:
            conditions.append(self._share())
            values.extend(where.part[::-1])
        sql = (
            f"SELECT {ALL} FROM events WHERE {' AND '.join(conditions)} "
            f"ORDER BY {axis} {'DESC' if backwards else 'ASC'} LIMIT ?"
        )
        return self.execute(sql, (*values, self.unlimited if limit is None else limit)).fetchall()

    def records_of(self, streams: Iterable[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        rows: list[RecordRow] = []
        pending = iter(streams)
        while chunk := list(islice(pending, CHUNK)):
            rows += self._records_of(chunk, to, types)
        rows.sort()
        return rows

    def _records_of(self, streams: Sequence[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        sql = (
            f"SELECT {ALL} FROM events WHERE stream IN ({marks(len(streams))}) "
            f"AND position <= ? AND type IN ({marks(len(types))})"
        )
        return self.execute(sql, (*streams, to, *types)).fetchall()

    def stream_version(self, stream: str) -> int:
        row = self.execute(STREAM_VERSION, (stream,)).fetchone()
        return row[0] if row else 0

    def record_with_key(self, key: str) -> RecordRow | None:
        row: RecordRow | None = self.execute(_BY_KEY, (key,)).fetchone()
        return row

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        known: set[str] = set()
        for at in range(0, len(keys), CHUNK):
            chunk = keys[at : at + CHUNK]
            sql = f"SELECT key FROM events WHERE key IN ({marks(len(chunk))})"
            known.update(row[0] for row in self.execute(sql, chunk).fetchall())
        return known

    def checkpoints(self, names: Sequence[str] | None = None) -> list[Values]:
        if names is None:
            return self.execute(f"{_CHECKPOINTS} ORDER BY name").fetchall()
        return self.execute(f"{_CHECKPOINTS} WHERE name IN ({marks(len(names))})", tuple(names)).fetchall()

    # rows

    def plain(self, values: Values) -> Values:
        """The values of a row as they were written; a database that cannot hold them as they are says otherwise."""
        return values

    def load(self, table: Table, keys: Iterable[Key]) -> dict[Key, Any]:
        rows: dict[Key, Any] = {}
        pending = iter(keys)
        while chunk := list(islice(pending, CHUNK // len(table.key))):
            sql = load_sql(table, len(chunk), self.join)
            for stored in self.execute(sql, [cell for key in chunk for cell in key]).fetchall():
                values = self.plain(stored)
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
        limited = limit is not None or offset != 0
        if limited:
            check_page(limit, offset)
        # Putting the words together takes as long as finding a row: what is asked in the same form has the same words.
        form = (type(self), table, tuple(order), limited, tuple(map(_form, where)))
        sql = _selects.get(form)
        if sql is None:
            sql, values = self._select(table, where, order, limited)
            if all(one.op != "match" for one in where):  # there the words depend on what is searched
                if len(_selects) >= MOST_SELECTS:
                    _selects.clear()
                _selects[form] = sql
        else:
            values = _values(where)
        if limited:
            values += [self.unlimited if limit is None else limit, offset]
        return [table.load(self.plain(row)) for row in self.execute(sql, values).fetchall()]

    def _select(
        self, table: Table, where: Sequence[Filter], order: Sequence[str], limited: bool
    ) -> tuple[str, list[Any]]:
        rows, values = self._rows(table, where)
        keys = ", ".join(self._order(table, name.lstrip("-"), name[0] == "-") for name in order)
        sql = f"SELECT {names(table)} FROM {rows}"
        sql += f" ORDER BY {keys}" if keys else ""
        return f"{sql} LIMIT ? OFFSET ?" if limited else sql, values

    def count(self, table: Table, where: Sequence[Filter] = ()) -> int:
        rows, values = self._rows(table, where)
        return int(self.execute(f"SELECT count(*) FROM {rows}", values).fetchone()[0])

    def totals(
        self, table: Table, by: Sequence[str], measures: Sequence[str], where: Sequence[Filter] = ()
    ) -> list[Values]:
        rows, values = self._rows(table, where)
        columns = [column(table, name) for name in by]
        sums = ["count(*)" if name == "*" else f"CAST(sum({column(table, name)}) AS BIGINT)" for name in measures]
        sql = f"SELECT {', '.join(columns + sums)} FROM {rows}"
        if columns:
            sql += f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}"
        return [self.plain(row) for row in self.execute(sql, values).fetchall()]

    # what a question looks like

    def _order(self, table: Table, name: str, descending: bool) -> str:
        return f"{column(table, name)}{' DESC' if descending else ''}"

    def _rows(self, table: Table, where: Sequence[Filter]) -> tuple[str, list[Any]]:
        """A table and which of its rows, as they stand behind FROM, and the values in that."""
        condition, values = self._condition(table, where)
        return f"{quoted(table.name)}{condition}", values

    def _condition(self, table: Table, where: Sequence[Filter]) -> tuple[str, list[Any]]:
        parts: list[str] = []
        for name, op, value in where:
            if op == "in":
                parts.append(f"{column(table, name)} IN ({marks(len(value))})" if value else "FALSE")
            elif op == "has":
                parts.append(self._has(column(table, name)))
            elif op == "text":
                columns = [column(table, one) for one in name.split("|")]
                parts.append("(" + " OR ".join(self._holds(one) for one in columns) + ")")
            elif value is None and op == "=":
                parts.append(f"{column(table, name)} IS NULL")
            else:
                parts.append(f"{column(table, name)} {op} ?")
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), _values(where)

    def _among(self, name: str, wanted: Sequence[str], values: list[Any]) -> str:
        """Whether a column of the log has one of these texts, which are added to the values."""
        values.extend(wanted)
        return f"{name} IN ({marks(len(wanted))})" if wanted else "FALSE"

    @abstractmethod
    def _share(self) -> str:
        """Whether the last character's code point of a stream, divided by the first value, leaves the second."""

    @abstractmethod
    def _has(self, name: str) -> str:
        """Whether a column's JSON object has a pair (key, value)."""

    @abstractmethod
    def _holds(self, name: str) -> str:
        """Whether a column has a text in it; the case of A to Z does not count."""


class SqlWriter(SqlReader):
    """Reads and writes inside one transaction. See `eventlog.store.base.Writer`."""

    temporary = ""
    keeps_words = True
    executemany: Callable[..., object]
    """Runs one statement for each row of values."""

    def save_checkpoint(self, values: Values) -> None:
        self.execute(_SAVE_CHECKPOINT, values)

    # tables

    def create_table(self, table: Table) -> None:
        self.execute(self._create_sql(table))

    @abstractmethod
    def _create_sql(self, table: Table) -> str:
        """A table without its secondary indexes."""

    def create_indexes(self, table: Table) -> None:
        for index in table.indexes:
            keys = ", ".join(quoted(name) for name in index)
            sql = f"CREATE INDEX {self._index_name(table, index)} ON {quoted(table.name)} ({keys})"
            self.execute(f"{sql} WHERE {quoted(index.on)} IS NOT NULL" if isinstance(index, Sparse) else sql)

    def _index_name(self, table: Table, index: Sequence[str]) -> str:
        where = f"_where_{index.on}" if isinstance(index, Sparse) else ""
        return quoted(f"{table.name}_{'_'.join(index)}{where}")

    def drop_table(self, name: str) -> None:
        self.execute(f"DROP TABLE IF EXISTS {quoted(name)}")

    def rename_table(self, old: str, new: str) -> None:
        self.execute(f"ALTER TABLE {quoted(old)} RENAME TO {quoted(new)}")

    # rows

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        if rows:
            self.executemany(insert_sql(table), rows)

    def update(self, table: Table, columns: tuple[int, ...], rows: Sequence[Values]) -> None:
        self.executemany(update_sql(table, columns), rows)

    def delete(self, table: Table, keys: Sequence[Key]) -> None:
        if keys:
            self.executemany(f"DELETE FROM {quoted(table.name)} WHERE {key_is(table)}", keys)

    def add(self, table: Table, deltas: Sequence[Values]) -> None:
        if not deltas:
            return
        self.executemany(add_sql(table), deltas)
        first = len(table.key)
        fallen = [row[:first] for row in deltas if min(row[first:]) < 0]
        if fallen:
            self.executemany(f"DELETE FROM {quoted(table.name)} WHERE {key_is(table)} AND {zeros(table)}", fallen)

    def savepoint(self) -> None:
        self.execute("SAVEPOINT nested")

    def release(self) -> None:
        self.execute("RELEASE nested")

    def rollback_to_savepoint(self) -> None:
        self.execute("ROLLBACK TO nested")
        self.execute("RELEASE nested")


_selects: dict[tuple[Any, ...], str] = {}
"""The words of questions by their form: who asks, the table, the order, and of each condition all but its value."""


def _form(condition: Filter) -> tuple[str, str, int]:
    """All of a condition that its words depend on."""
    name, op, value = condition
    return name, op, len(value) if op == "in" else value is None


def _values(where: Sequence[Filter]) -> list[Any]:
    """What is bound to the conditions' places."""
    values: list[Any] = []
    for name, op, value in where:
        if op in ("in", "has"):
            values.extend(value)
        elif op == "text":
            values.extend([value] * (name.count("|") + 1))
        elif op != "=" or value is not None:
            values.append(value)
    return values


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return f'"{name}"'


def marks(count: int) -> str:
    """Places for so many values."""
    return ", ".join("?" * count)


def column(table: Table, name: str) -> str:
    """A column, quoted. Raises KeyError when the table has none of that name."""
    if name not in table.names:
        raise KeyError(name)
    return quoted(name)


def words_of(name: str) -> str:
    """Where the words of a table's rows are, in a database that has them in a table: no projection is called so."""
    return f"{name}__words"


def terms_of(table: Table, where: Sequence[Filter]) -> list[list[str]]:
    """The terms that conditions on a table's facets and its time come to: one of each list is in the rows' index.

    Two values may share a term, and a time has that of its day: the conditions themselves are to be held, too.
    """
    assert table.words is not None  # noqa: S101
    terms: list[list[str]] = []
    first = last = None
    for name, op, value in where:
        if name in table.words.facets and op in ("=", "in"):
            values = [facet(name, one) for one in (value if op == "in" else (value,)) if one is not None]
            terms.append(values)
        elif name == table.words.time and op in ("=", ">", ">="):
            first = value if first is None else max(first, value)
        if name == table.words.time and op in ("=", "<", "<="):
            last = value if last is None else min(last, value)
    if first is not None or last is not None:
        terms.append(terms_between(first, last))
    return [either for either in terms if either]  # where there is none of it, the condition itself finds nothing


@lru_cache(maxsize=256)
def names(table: Table, prefix: str = "") -> str:
    """Every column of a table."""
    return ", ".join(f"{prefix}{quoted(name)}" for name in table.names)


def key_is(table: Table) -> str:
    """A row by its key."""
    return " AND ".join(f"{quoted(name)} = ?" for name in table.key)


@lru_cache(maxsize=256)
def load_sql(table: Table, count: int, join: str) -> str:
    """Rows by so many keys."""
    if len(table.key) == 1:
        return f"SELECT {names(table)} FROM {quoted(table.name)} WHERE {quoted(table.key[0])} IN ({marks(count)})"
    # A join looks each key up; a row value IN (VALUES …) scans the whole table.
    rows = ", ".join([f"({marks(len(table.key))})"] * count)
    same = " AND ".join(f"t.{quoted(name)} = v.column{number}" for number, name in enumerate(table.key, 1))
    return f"SELECT {names(table, 't.')} FROM (VALUES {rows}) AS v {join} {quoted(table.name)} AS t ON {same}"


@lru_cache(maxsize=256)
def insert_sql(table: Table, places: str = "") -> str:
    """One row, or as many as ``places`` has."""
    return f"INSERT INTO {quoted(table.name)} ({names(table)}) VALUES {places or f'({marks(len(table.columns))})'}"


def insert_filled_sql(table: Table, filled: Sequence[bool]) -> str:
    """One row, given some of its columns; the others are NULL."""
    given = [quoted(name) for name in compress(table.names, filled)]
    return f"INSERT INTO {quoted(table.name)} ({', '.join(given)}) VALUES ({marks(len(given))})"


@lru_cache(maxsize=512)
def update_sql(table: Table, columns: tuple[int, ...]) -> str:
    """Some columns of a row by its key."""
    sets = ", ".join(f"{quoted(table.names[place])} = ?" for place in columns)
    return f"UPDATE {quoted(table.name)} SET {sets} WHERE {key_is(table)}"


@lru_cache(maxsize=256)
def adding(table: Table) -> str:
    """What to do where a row that is added is there."""
    sums = ", ".join(
        f"{quoted(name)} = {quoted(table.name)}.{quoted(name)} + excluded.{quoted(name)}" for name in table.measures
    )
    return f" ON CONFLICT ({', '.join(quoted(name) for name in table.key)}) DO UPDATE SET {sums}"


@lru_cache(maxsize=256)
def add_sql(table: Table) -> str:
    """Numbers added to one row."""
    return insert_sql(table) + adding(table)


@lru_cache(maxsize=256)
def zeros(table: Table) -> str:
    """A rollup's row of which nothing is left."""
    return " AND ".join(f"{quoted(name)} = 0" for name in table.measures)
