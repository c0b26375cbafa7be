"""Records as JSON lines, complete: an empty log that imports the export has the same head hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from eventlog.store.base import Record
from eventlog.store.lines import encode

Progress = Callable[[int, int | None, str], None]
BATCH = 1_000


def line(record: Record) -> bytes:
    """A record as one line, without the line break."""
    return encode(record.row)


def one_line(text: str) -> str:
    """Stored JSON without the line breaks that may stand between its values."""
    broken = any(space in text for space in "\n\r\t")
    return msgspec.json.format(text, indent=-1) if broken else text


def write(
    records: Iterable[Record],
    out: BinaryIO,
    *,
    encode: Callable[[Record], bytes] = line,
    total: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Write each record as a line and return how many there were."""
    count = 0
    for batch in _batches(records):
        out.write(b"\n".join(encode(record) for record in batch) + b"\n")
        count += len(batch)
        if progress is not None:
            progress(count, total, "export")
    out.flush()
    return count


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def private_file(target: Path) -> Iterator[BinaryIO]:
    """A file that only its owner can read, which appears under its name when it is complete and on disk."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        error.filename = os.fspath(target)  # the name that somebody gave
        raise
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
