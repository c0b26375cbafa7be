"""Databases of other programs, read without trusting them: nothing in the file is run, and nothing is written to it.

A SQLite file may hold views, triggers and computed columns that never end, and damaged pages. So it is opened
read-only, only plain tables are read, row by row in the order of their numbers, and whatever takes too many steps or
has more content than the file has bytes ends the reading. What SQLite says about a file may quote it, so errors here
say it in words of their own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from eventlog.importers.run import SourceFailed
from eventlog.store.sqlite import APPLICATION_ID, read_schema

MAX_CELL_BYTES = 32 << 20
"""A longer value is not read: `Row.too_big` names its column."""
PAGE_ROWS = 500
PAGE_BYTES = 4 << 20
OPENING_STEPS = 50_000
"""Steps of SQLite's machine that reading the schema may take: some thousand tables."""
PAGE_STEPS = 3_000_000
_EVERY = 1000
_WAIT_S = 5.0
_NUMBER_NAMES = ("rowid", "_rowid_", "oid")
_REASONS = {
    "SQLITE_BUSY": "is locked by another program; import it again later",
    "SQLITE_LOCKED": "is locked by another program; import it again later",
    "SQLITE_NOTADB": "is not a SQLite database (or an encrypted one)",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_INTERRUPT": "takes more steps than reading its tables can take: it is damaged, or made to",
    "SQLITE_TOOBIG": "has a schema that is longer than any program's",
    "SQLITE_PERM": "may not be read",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_NOMEM": "needs more memory than there is",
    "SQLITE_IOERR": "cannot be read from its disk",
}


class Row(NamedTuple):
    r"""A row: its number in its table, its values by column, and how many bytes of text and blobs it has.

    Texts are without what UTF-8 or a log cannot hold (such bytes stand as ``\xNN``). ``too_big``: columns that were
    not read because they are longer than `MAX_CELL_BYTES`; their value is None.
    """

    number: int
    values: dict[str, Any]
    size: int
    too_big: tuple[str, ...] = ()


class Foreign:
    """An open database of another program. ``columns`` are those of its expected tables that it has."""

    def __init__(self, path: Path, connection: sqlite3.Connection, columns: Mapping[str, tuple[str, ...]]) -> None:
        self.path = path
        self.columns = columns
        self._connection = connection
        self._steps = _Steps(connection)
        self._cut = False
        """Whether there may be more rows than were fetched last."""
        self._size = sum(_size(one) for one in (path, Path(f"{path}-wal")))

    def __contains__(self, table: str) -> bool:
        return table in self.columns

    def count(self, table: str) -> int:
        """About how many rows a table has: its last row's number. For showing progress."""
        number = self._number_of(table)
        rows = self._fetch(f"SELECT max({number}) FROM {_quoted(table)} NOT INDEXED", (), 1)
        return rows[0][0] or 0 if rows else 0

    def rows(self, table: str, after: int = -(2**63)) -> Iterator[Row]:
        """The rows of a table after a row number, in the order of their numbers.

        Between pages the database is free for its own program. Raises SourceFailed where it cannot be read any further.
        """
        yield from self._paged(table, f"NOT INDEXED WHERE {self._number_of(table)} > ?", (), after)

    def matching(self, table: str, column: str, value: Any) -> Iterator[Row]:
        """All rows of a table with a value in a column, which should be indexed, in the order of their numbers."""
        where = f"WHERE {_quoted(column)} = ? AND {self._number_of(table)} > ?"
        yield from self._paged(table, where, (value,), -(2**63))

    def _paged(self, table: str, where: str, values: tuple[Any, ...], after: int) -> Iterator[Row]:
        budget = 2 * self._size + PAGE_BYTES
        more = True
        while more:
            page, more = self._page(table, where, (*values, after))
            for row in page:
                if row.number <= after or (budget := budget - row.size) < 0:
                    raise _failed(self.path, "SQLITE_CORRUPT")
                after = row.number
                yield row

    def find(self, table: str, column: str, value: Any) -> list[Row]:
        """The same, in a list."""
        return list(self.matching(table, column, value))

    def get(self, table: str, number: int) -> Row | None:
        """A row by its number, or None."""
        return self._one(table, number, self.columns[table])

    def by(self, table: str, column: str) -> Callable[[Any], list[Row]]:
        """A function that gives the rows with a value in a column, in their order; none where there is no such table.

        Without an index on the column it holds the number of each row in memory.
        """
        if table not in self.columns:
            return lambda value: []
        if self._is_indexed(table, column):
            return lambda value: self.find(table, column, value)
        numbers: dict[Any, list[int]] = {}
        for row in self.rows(table):
            numbers.setdefault(row.values[column], []).append(row.number)
        return lambda value: [row for number in numbers.get(value, ()) if (row := self.get(table, number)) is not None]

    def _is_indexed(self, table: str, column: str) -> bool:
        for index in self._fetch(f"PRAGMA index_list({_quoted(table)})", (), 1000):
            if index[4]:
                continue  # of some rows only
            first = self._fetch(f"PRAGMA index_info({_quoted(index[1])})", (), 1)
            if first and first[0][2] == column:
                return True
        return False

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def __enter__(self) -> Foreign:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _number_of(self, table: str) -> str:
        taken = {name.lower() for name in self.columns[table]}
        return next(name for name in _NUMBER_NAMES if name not in taken)

    def _page(self, table: str, where: str, values: tuple[Any, ...]) -> tuple[list[Row], bool]:
        """Some rows, and whether there may be more."""
        columns, number = self.columns[table], self._number_of(table)
        names = ", ".join(map(_quoted, columns))
        rest = f"FROM {_quoted(table)} {where} ORDER BY {number} LIMIT ?"
        try:
            found = self._fetch(f"SELECT {number}, {names} {rest}", (*values, PAGE_ROWS), PAGE_ROWS)
            more = self._cut
            return [_row(one, columns) for one in found], more
        except sqlite3.DataError:
            # One of them has a value that is too long: each for itself then, and of that one what can be read.
            numbers = self._fetch(f"SELECT {number} {rest}", (*values, PAGE_ROWS), PAGE_ROWS)
            made, size = [], 0
            for one in numbers:
                row = self._one(table, one[0], columns)
                made += [] if row is None else [row]
                size += 0 if row is None else row.size
                if size > PAGE_BYTES:
                    break
            return made, bool(made)

    def _one(self, table: str, number: int, columns: tuple[str, ...]) -> Row | None:
        of = f"FROM {_quoted(table)} WHERE {self._number_of(table)} = ?"
        try:
            found = self._fetch(
                f"SELECT {self._number_of(table)}, {', '.join(map(_quoted, columns))} {of}", (number,), 1
            )
            return _row(found[0], columns) if found else None
        except sqlite3.DataError:
            pass
        values: list[Any] = []
        too_big = []
        for column in columns:
            try:
                found = self._fetch(f"SELECT {_quoted(column)} {of}", (number,), 1)
                values.append(found[0][0] if found else None)
            except sqlite3.DataError:
                values.append(None)
                too_big.append(column)
        return _row((number, *values), columns)._replace(too_big=tuple(too_big))

    def _fetch(self, sql: str, values: tuple[Any, ...], limit: int) -> list[tuple[Any, ...]]:
        """Rows up to a limit, fewer where they have many bytes. DataError: a value is too long."""
        self._steps.left = PAGE_STEPS
        self._cut = True
        found, size = [], 0
        try:
            with contextlib.closing(self._connection.execute(sql, values)) as cursor:
                for one in cursor:
                    found.append(one)
                    size += sum(len(cell) for cell in one if isinstance(cell, (str, bytes)))
                    if size > PAGE_BYTES or len(found) == limit:
                        break
                else:
                    self._cut = False
        except sqlite3.DataError:
            # What came before the value is a page of its own.
            if found:
                return found
            raise
        except sqlite3.Error as error:
            raise _failed(self.path, _name(error)) from None
        return found


class _Steps:
    """Ends a statement that takes more steps than are left."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.left = OPENING_STEPS
        connection.set_progress_handler(self._took, _EVERY)

    def _took(self) -> bool:
        self.left -= _EVERY
        return self.left < 0


def open_foreign(
    path: Path,
    expected: Mapping[str, Collection[str]],
    *,
    optional: Collection[str] = (),
    triggers: bool = False,
) -> Foreign:
    """Open the database of another program to read these tables, which have at least these columns.

    Tables in ``optional`` may be missing; every column of a table that is there can be read, but computed ones.
    ``triggers``: the program makes some itself (none is ever run). Raises SourceFailed (an InvalidInput) for a file
    that is no such database, is an event log, is damaged, or has something else than a plain table under one of the
    names.
    """
    if not path.is_file():
        raise SourceFailed(f"{path} is not a file")
    with contextlib.ExitStack() as undo:
        connection, copy = _connect(path)
        if copy is not None:
            undo.callback(copy.cleanup)
        undo.callback(connection.close)
        try:
            columns = _checked(path, connection, expected, optional, triggers)
        except sqlite3.Error as error:
            raise _failed(path, _name(error)) from None
        undo.pop_all()
    return _Copied(path, connection, columns, copy) if copy is not None else Foreign(path, connection, columns)


class _Copied(Foreign):
    """A database that could only be read from a copy."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        columns: Mapping[str, tuple[str, ...]],
        copy: tempfile.TemporaryDirectory[str],
    ) -> None:
        super().__init__(path, connection, columns)
        self._copy = copy

    def close(self) -> None:
        super().close()
        self._copy.cleanup()


def _connect(path: Path) -> tuple[sqlite3.Connection, tempfile.TemporaryDirectory[str] | None]:
    """A connection to the file, or to a copy of it: a write-ahead log cannot be read where nothing can be written."""
    try:
        return _opened(path, "mode=ro"), None
    except sqlite3.Error as error:
        if not _name(error).startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")) or not os.access(path, os.R_OK):
            raise _failed(path, _name(error)) from None
    if _size(Path(f"{path}-journal")):
        # Undoing what its journal holds would write, and a journal may name any file that is to be deleted then.
        raise SourceFailed(f"{path} was left in the middle of a write; open it with its own program once")
    if not _size(Path(f"{path}-wal")):
        try:
            return _opened(path, "immutable=1"), None
        except sqlite3.Error as error:
            raise _failed(path, _name(error)) from None
    copy = tempfile.TemporaryDirectory(prefix="eventlog-import-")
    try:
        place = Path(copy.name) / "copy.db"
        shutil.copyfile(path, place)
        shutil.copyfile(f"{path}-wal", f"{place}-wal")
        return _opened(place, "mode=rw"), copy
    except sqlite3.Error as error:
        copy.cleanup()
        raise _failed(path, _name(error)) from None
    except BaseException:
        copy.cleanup()
        raise


def _opened(path: Path, how: str) -> sqlite3.Connection:
    name = quote(os.fsencode(path.absolute()))
    connection = sqlite3.connect(f"file:{name}?{how}", uri=True, timeout=_WAIT_S, isolation_level=None)
    try:
        connection.enable_load_extension(False)
    except (AttributeError, sqlite3.Error):
        pass  # a library without extensions
    try:
        for limit, value in (
            (sqlite3.SQLITE_LIMIT_LENGTH, MAX_CELL_BYTES),
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_COLUMN, 500),
            (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 256 << 10),
        ):
            connection.setlimit(limit, value)
        connection.text_factory = _text
        _Steps(connection)
        for pragma in ("query_only=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
            connection.execute(f"PRAGMA {pragma}")
        read_schema(connection)
        for pragma in ("cache_size=-4096", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(
    path: Path,
    connection: sqlite3.Connection,
    expected: Mapping[str, Collection[str]],
    optional: Collection[str],
    triggers: bool,
) -> dict[str, tuple[str, ...]]:
    """The columns of the tables that are there; raises SourceFailed where they are not as they should be."""
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        raise SourceFailed(f"{path} is an event log itself; `eventlog db copy` brings it into another")
    found: dict[str, tuple[str, ...]] = {}
    for table, needed in expected.items():
        kinds = connection.execute(
            "SELECT type, sql FROM sqlite_schema WHERE lower(name) = ? OR (type = 'trigger' AND lower(tbl_name) = ?)",
            (table.lower(), table.lower()),
        ).fetchall()
        own = [(kind, sql) for kind, sql in kinds if kind != "trigger"]
        if not own:
            if table in optional:
                continue
            raise SourceFailed(f"{path} has no table {table}")
        if len(own) != 1 or own[0][0] != "table" or "virtual" in str(own[0][1])[:40].lower().split():
            raise SourceFailed(f"{path}: {table} is not a plain table")
        if not triggers and len(kinds) != 1:
            raise SourceFailed(f"{path}: the table {table} has triggers, which its program does not make")
        info = connection.execute(f"PRAGMA table_xinfo({_quoted(table)})").fetchall()
        # Others are not read, so what they would compute is not.
        if any(column[6] and column[1].lower() in {*needed, *_NUMBER_NAMES} for column in info):
            raise SourceFailed(f"{path}: the table {table} has computed columns where its program has none")
        names = tuple(str(column[1]) for column in info if not column[6])
        if missing := sorted(set(needed) - set(names)):
            raise SourceFailed(f"{path}: the table {table} has no column {missing[0]}")
        taken = {name.lower() for name in names}
        number = next((name for name in _NUMBER_NAMES if name not in taken), None)
        if number is None or not _has_numbers(connection, table, number):
            raise SourceFailed(f"{path}: the table {table} has no row numbers")
        found[table] = names
    return found


def _has_numbers(connection: sqlite3.Connection, table: str, number: str) -> bool:
    try:
        connection.execute(f"SELECT {number} FROM {_quoted(table)} LIMIT 0")
    except sqlite3.OperationalError as error:
        if _name(error) == "SQLITE_ERROR":
            return False
        raise
    return True


def _row(found: tuple[Any, ...], columns: tuple[str, ...]) -> Row:
    size = sum(len(cell) for cell in found if isinstance(cell, (str, bytes)))
    return Row(found[0], dict(zip(columns, found[1:], strict=True)), size)


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "backslashreplace")
    return text if "\0" not in text else text.replace("\0", "\\x00")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"


def _failed(path: Path, name: str) -> SourceFailed:
    reason = next((words for start, words in _REASONS.items() if name.startswith(start)), "cannot be read")
    return SourceFailed(f"{path} {reason}")
