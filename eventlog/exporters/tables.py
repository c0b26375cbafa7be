"""A projection's table as CSV, JSON, JSON lines or Parquet, in pages: the whole of it is never in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Literal

import msgspec

from eventlog.codec import to_json
from eventlog.errors import InvalidInput
from eventlog.store.base import Filter, QueryReader, Table

Format = Literal["csv", "json", "jsonl", "parquet"]
Progress = Callable[[int, int | None, str], None]
PAGE = 5_000
GROUP = 50_000
"""Rows of a Parquet row group."""
HAZARDS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def pages(reading: Callable[[], AbstractContextManager[QueryReader]], table: Table) -> Iterator[list[Any]]:
    """The rows of a table in order of their keys, page after page; each begins after the last row of the one before."""
    last: tuple[Any, ...] | None = None
    while True:
        with reading() as reader:
            rows = _following(reader, table, last)
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        last = tuple(getattr(rows[-1], name) for name in table.key)


def _following(reader: QueryReader, table: Table, last: tuple[Any, ...] | None) -> list[Any]:
    if last is None:
        return reader.select(table, order=table.key, limit=PAGE)
    found: list[Any] = []
    # After (a, b): those with a and more than b, then those with more than a.
    for depth in range(len(table.key) - 1, -1, -1):
        where = [Filter(name, "=", value) for name, value in zip(table.key[:depth], last, strict=False)]
        where.append(Filter(table.key[depth], ">", last[depth]))
        found += reader.select(table, where, order=table.key, limit=PAGE - len(found))
        if len(found) == PAGE:
            break
    return found


def write(
    rows: Iterable[list[Any]],
    table: Table,
    form: Format,
    out: BinaryIO,
    *,
    exact: bool = False,
    total: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write pages of rows and return how many rows there were.

    CSV is UTF-8 with a line of names; JSON stands in its cells as text, nothing is an empty cell. A text that a
    spreadsheet would take for a formula gets an apostrophe before it, unless it is wanted ``exact``.
    Raises InvalidInput where Parquet is asked for and pyarrow is missing.
    """
    counted = _counted(rows, total, progress)
    writers = {"csv": _csv, "json": _json, "jsonl": _lines, "parquet": _parquet}
    count = writers[form](counted, table, out, exact)
    out.flush()
    return count


def _counted(rows: Iterable[list[Any]], total: int | None, progress: Progress | None) -> Iterator[list[Any]]:
    done = 0
    for page in rows:
        yield page
        done += len(page)
        if progress is not None:
            progress(done, total, "export")


def _csv(rows: Iterable[list[Any]], table: Table, out: BinaryIO, exact: bool) -> int:
    count = 0
    text = io.TextIOWrapper(out, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    try:
        writer.writerow(table.names)
        for page in rows:
            writer.writerows([_cell(value, exact) for value in table.dump(row)] for row in page)
            count += len(page)
    finally:
        text.detach()
    return count


def _cell(value: Any, exact: bool) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not exact and value.startswith(HAZARDS):
        return f"'{value}"
    return value


def _json(rows: Iterable[list[Any]], table: Table, out: BinaryIO, exact: bool) -> int:
    count = 0
    out.write(b"[")
    for page in rows:
        for row in page:
            out.write((b",\n" if count else b"\n") + _object(row))
            count += 1
    out.write(b"\n]\n" if count else b"]\n")
    return count


def _lines(rows: Iterable[list[Any]], table: Table, out: BinaryIO, exact: bool) -> int:
    count = 0
    for page in rows:
        out.write(b"".join(_object(row) + b"\n" for row in page))
        count += len(page)
    return count


def _object(row: msgspec.Struct) -> bytes:
    return to_json({name: getattr(row, name) for name in row.__struct_fields__})


def _parquet(rows: Iterable[list[Any]], table: Table, out: BinaryIO, exact: bool) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("Parquet needs pip install 'execution-eventlog[parquet]'") from error
    kinds = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "bool": pa.bool_(), "json": pa.string()}
    schema = pa.schema([pa.field(one.name, kinds[one.kind], one.nullable) for one in table.columns])
    count = 0
    with pq.ParquetWriter(out, schema) as writer:
        for group in _groups(rows):
            columns = list(zip(*(table.dump(row) for row in group), strict=True))
            arrays = [pa.array(values, one.type) for values, one in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(group)
    return count


def _groups(rows: Iterable[list[Any]]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for page in rows:
        group += page
        if len(group) >= GROUP:
            yield group
            group = []
    if group:
        yield group
