"""Rows of foreign databases on their way in, and what is in their cells."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from json import JSONDecoder
from typing import Any

import msgspec

from eventlog.clock import from_datetime
from eventlog.codec import to_json
from eventlog.errors import ArtifactError, InvalidEvent, InvalidInput
from eventlog.importers.foreign import Foreign, Row
from eventlog.importers.intake import Intake, Native, Wanted, key_of
from eventlog.importers.pieces import clean

TABLE_BITS = 44
"""An offset in a database is the number of the table, and so many bits of a row's number."""
MAX_DEPTH = 100
_decode = msgspec.json.Decoder().decode
_slow = JSONDecoder()
Make = Callable[[Row], Native | None]


class Scan:
    """One database on its way in: each row of a table becomes a record, whatever is in it."""

    def __init__(self, importer: str, database: Foreign, intake: Intake) -> None:
        self.importer = importer
        self.database = database
        self.intake = intake
        self._tables = {name: place for place, name in enumerate(sorted(database.columns))}

    def records(self, table: str, make: Make, start: float, end: float) -> Iterator[float]:
        """Add a record for each row; yields how much is done, from ``start`` to ``end``. A missing table has no rows.

        ``make`` raises KeyError, TypeError, ValueError or AttributeError for a row that is not as it should be, which
        is then kept as it is, and returns None for one that is told elsewhere. The length of what it returns is of what
        it read besides the row.
        """
        if table not in self.database:
            return
        last = max(1, self.database.count(table))
        for row in self.database.rows(table):
            self._one(table, row, make)
            yield start + (end - start) * min(1.0, max(0, row.number) / last)

    def kept(self, table: str, start: float, end: float) -> Iterator[float]:
        """Keep each row of a table as it is."""
        return self.records(table, lambda row: self.raw(table, row), start, end)

    def offset(self, table: str, row: Row) -> int:
        """Where a row is: no two rows of a database are at one offset, as long as no table has 2^44 of them."""
        return (self._tables[table] << TABLE_BITS) | (row.number & ((1 << TABLE_BITS) - 1))

    def _one(self, table: str, row: Row, make: Make) -> None:
        offset = self.offset(table, row)
        if row.too_big:
            self._quarantine(offset, row, f"{table}: a value of {row.too_big[0]} is too long to be read")
            return
        try:
            try:
                native = make(row)
            except InvalidInput:
                raise
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError):
                native = self.raw(table, row)
            if native is not None:
                self.intake.add(native._replace(offset=offset, length=row.size + native.length))
        except (InvalidInput, InvalidEvent, ArtifactError, RecursionError) as error:
            self._quarantine(offset, row, f"{table}: cannot be stored: {type(error).__name__}")

    def _quarantine(self, offset: int, row: Row, reason: str) -> None:
        digest = sha256(repr(sorted(row.values.items())).encode("utf-8", "replace")).hexdigest()
        self.intake.quarantine(offset, row.size, reason, digest)

    def raw(self, table: str, row: Row) -> Native:
        """A row as it is, in the stream of the source."""
        value = {name: self.plain(cell) for name, cell in row.values.items()}
        own = key_of(self.importer, table, "row", sha256(to_json(value)).hexdigest())
        wanted = Wanted(self.intake.stream, [self.intake.kept(table, value)], own)
        return Native(0, 0, [wanted], (), "raw")

    def plain(self, cell: Any) -> Any:
        """A cell as JSON: bytes as base64, many of them as a blob."""
        if isinstance(cell, bytes):
            if len(cell) <= 4096:
                return {"base64": b64encode(cell).decode()}
            return {
                "blob": msgspec.to_builtins(self.intake.blob(cell, of="bytes", mime_type="application/octet-stream"))
            }
        return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def decoded(cell: Any) -> Any:
    """The value of JSON in a cell, without what a log cannot hold. Raises ValueError."""
    if not isinstance(cell, str):
        raise ValueError("no JSON")
    try:
        value = _decode(cell)
    except (msgspec.DecodeError, RecursionError):
        try:
            value = clean(_slow.decode(cell))
        except RecursionError:
            raise ValueError("nested too deeply") from None
    if cell.count("{") + cell.count("[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise ValueError("nested too deeply")
    return value


def json_or(cell: Any, default: Any = None) -> Any:
    """The value of JSON in a cell; the text itself where it is none, ``default`` where there is nothing."""
    if cell is None or cell == "":
        return default
    try:
        return decoded(cell)
    except ValueError:
        return cell if isinstance(cell, str) else default


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in inner)


def text(cell: Any) -> str | None:
    """A text; None for an empty one and for what is none."""
    return cell if isinstance(cell, str) and cell else None


def needed(cell: Any) -> str:
    """A text that has to be there. Raises ValueError."""
    if not isinstance(cell, str) or not cell:
        raise ValueError("no text")
    return cell


def count(cell: Any) -> int | None:
    """A number of things; None for what is none."""
    return cell if isinstance(cell, int) and not isinstance(cell, bool) and 0 <= cell < 2**53 else None


def when(cell: Any, zone: tzinfo = UTC) -> int | None:
    """µs since the epoch of an ISO time, which is in ``zone`` where it names none; None for what is none."""
    if not isinstance(cell, str):
        return None
    try:
        moment = datetime.fromisoformat(cell.strip())
        return max(0, from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=zone)))
    except (ValueError, OverflowError):
        return None


def name_of(given: Any, longest: int = 200) -> str:
    """What a thing is called, as a part of a stream's name: itself, or a hash of what cannot be one.

    Raises ValueError for nothing.
    """
    name = needed(given)
    return name if len(name) <= longest and name.isprintable() else _hash(name)


def session_of(given: Any) -> str:
    """The id of a session, which is a part of paths: as `name_of` has it, or a hash of what no path can have in it.

    Raises ValueError for nothing.
    """
    name = name_of(given)
    return _hash(name) if "/" in name or name != name.strip() or name in (".", "..") else name


def _hash(name: str) -> str:
    return sha256(name.encode("utf-8", "replace")).hexdigest()[:32]
