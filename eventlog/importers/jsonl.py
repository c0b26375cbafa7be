"""An export of `eventlog.exporters.jsonl` into a log. Repeating an import adds nothing.

Records that continue the log's head are taken over as they are, so an empty log ends with the head of the exported one.
Records of another log are appended anew, each under a key made of its hash, and only to streams that are not in use
here: two logs that both have a ``run-1`` cannot become one by mixing their events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from eventlog.codec import Codec
from eventlog.errors import Conflict, DecodeError, InvalidInput, WrongExpectedVersion
from eventlog.events import Event, UnknownEvent
from eventlog.log import Append, EventLog
from eventlog.store.base import Record
from eventlog.store.lines import MAX_LINE_BYTES, NULL, Line, row_of, stored

Progress = Callable[[int, int | None, str], None]
BATCH = 500
GZIP = b"\x1f\x8b"

_decode = msgspec.json.Decoder(Line).decode


class Imported(NamedTuple):
    """How an import went: records added, records that were there, and the head after it."""

    added: int
    present: int
    position: int
    hash: str


class Entry(NamedTuple):
    """A line of an export with its number in the file."""

    number: int
    line: Line


def read(source: BinaryIO) -> Iterator[Entry]:
    """The lines of an export, checked one by one. Raises InvalidInput with the number of the line."""
    number = 0
    while text := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(text) > MAX_LINE_BYTES:
            raise InvalidInput(f"line {number}: longer than {MAX_LINE_BYTES:,} bytes")
        if not text.strip():
            continue
        try:
            entry = Entry(number, _decode(text))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(f"line {number}: {_hint(text, error)}") from error
        yield entry


def _hint(text: bytes, error: Exception) -> str:
    if b'"specversion"' in text[:400]:
        return "this is a CloudEvent; import the form that `eventlog log export` writes by default"
    return str(error) or "nested too deeply"


def import_lines(log: EventLog, source: BinaryIO, *, progress: Progress | None = None) -> Imported:
    """Bring an export into a log.

    Raises InvalidInput (the file), Conflict (the file and the log do not go together); what stood before the line named
    is in the log then, and the import can be repeated.
    """
    return import_entries(log, read(source), progress=progress)


def begun(source: BinaryIO) -> Iterator[Entry]:
    """The entries of an export, the first of which was read. Raises InvalidInput where that is none."""
    entries = read(source)
    first = next(entries, None)
    return iter(()) if first is None else chain((first,), entries)


def import_entries(log: EventLog, entries: Iterator[Entry], *, progress: Progress | None = None) -> Imported:
    """See `import_lines`."""
    present, rest = _skip_present(log, entries)
    first = next(rest, None)
    added = again = 0
    if first is not None:
        rest = chain((first,), rest)
        if first.line.hash is not None and first.line.position == log.head().position + 1:
            added = log.import_records(_records(rest), progress)
        else:
            added, again = _append_anew(log, rest, present, progress)
    head = log.head()
    return Imported(added, present + again, head.position, head.hash.hex())


def _skip_present(log: EventLog, entries: Iterator[Entry]) -> tuple[int, Iterator[Entry]]:
    """How many of the first entries are this log's own records, and the entries after them."""
    first = next(entries, None)
    if first is None or first.line.position is None or first.line.hash is None:
        return 0, entries if first is None else chain((first,), entries)
    own = log.read(first.line.position - 1)
    present = 0
    for entry in chain((first,), entries):
        record = next(own, None)
        if record is None or record.position != entry.line.position or record.hash.hex() != entry.line.hash:
            return present, chain((entry,), entries)
        present += 1
    return present, iter(())


@contextmanager
def records(source: Path) -> Iterator[Iterator[Record]]:
    """The records in an exported file, as they were stored; it may be compressed by gzip.

    Raises InvalidInput with the number of the line, and where the compressed data are damaged or cut off.
    """
    with source.open("rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        if not packed:
            yield _records(read(file))
            return
        import gzip
        import zlib

        try:
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                yield _records(read(BufferedReader(unpacked)))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InvalidInput(str(error)) from error


def _records(entries: Iterable[Entry]) -> Iterator[Record]:
    for number, line in entries:
        try:
            yield Record(*row_of(line))
        except ValueError as error:
            raise InvalidInput(f"line {number}: {error}") from error


def _append_anew(log: EventLog, entries: Iterable[Entry], present: int, progress: Progress | None) -> tuple[int, int]:
    added = again = 0
    entries = iter(entries)
    while batch := list(islice(entries, BATCH)):
        appends = [_append(entry, log.codec) for entry in batch]
        try:
            results = log.append_many(appends)
        except WrongExpectedVersion as error:
            raise Conflict(
                f"lines {batch[0].number} to {batch[-1].number}: the stream {error.stream!r} has other events in this "
                f"log (version {error.actual}, the import goes on after {error.expected}). Use a log of its own; "
                f"{added} records before these lines were added"
            ) from error
        again += sum(result.duplicate for result in results)
        added += sum(not result.duplicate for result in results)
        if progress is not None:
            progress(present + added + again, None, "import")
    return added, again


def _append(entry: Entry, codec: Codec) -> Append:
    number, line = entry
    try:
        options: dict[str, Any] = {"expect": line.version - 1} if line.version else {}
        key = f"import:{line.hash}" if line.hash else line.key
        metadata = None if line.metadata == NULL else _object(stored(line.metadata))
        if line.hash and line.key:
            metadata = {**(metadata or {}), "key": line.key}
        event = _event(line, codec)
    except (DecodeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"line {number}: {error}") from error
    return Append(
        stream=line.stream,
        events=event,
        key=key,
        occurred_at=line.occurred_at,
        actor=line.actor,
        correlation=line.correlation,
        causation=line.causation,
        metadata=metadata,
        **options,
    )


def _event(line: Line, codec: Codec) -> Event | UnknownEvent:
    """The event to append. One of the first schema keeps fields that this program does not know; an older schema than
    this program's is lifted; a newer one cannot be appended under another position without losing what it means.
    """
    text = stored(line.data)
    if line.schema == 1:
        return UnknownEvent(tag=line.type, data=_object(text))
    event = codec.decode(line.type, line.schema, text)
    if isinstance(event, UnknownEvent):
        raise ValueError(f"{line.type} of schema {line.schema} is not known to this program")
    return event


def _object(text: str) -> Mapping[str, Any]:
    value = msgspec.json.decode(text)
    if not isinstance(value, Mapping):
        raise ValueError("`data` and `metadata` are JSON objects")
    return value
