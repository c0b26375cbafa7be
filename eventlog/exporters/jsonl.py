"""Records as JSON lines, complete: an empty log that imports the export has the same head hash."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from eventlog.store.base import Record

Progress = Callable[[int, int | None, str], None]
BATCH = 1_000
NULL, EMPTY = msgspec.Raw(b"null"), msgspec.Raw(b"{}")

_encode = msgspec.json.Encoder().encode
# What may stand in stored JSON but not in a line that a terminal may show: controls, and marks that reorder text.
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One record in an export. Times are µs since the epoch, UTC.

    ``data`` and ``metadata`` are the stored JSON, byte for byte, as a value; or, where those bytes hold control
    characters, as a string with escapes that holds them.
    """

    position: int | None = None
    stream: str
    version: int | None = None
    type: str
    schema: int = 1
    occurred_at: int | None = None
    recorded_at: int | None = None
    key: str | None = None
    actor: str | None = None
    correlation: str | None = None
    causation: str | None = None
    data: msgspec.Raw = EMPTY
    metadata: msgspec.Raw = NULL
    hash: str | None = None


def line(record: Record) -> bytes:
    """A record as one line, without the line break."""
    return escaped(
        _encode(
            Line(
                position=record.position,
                stream=record.stream,
                version=record.version,
                type=record.type,
                schema=record.schema,
                occurred_at=record.occurred_at,
                recorded_at=record.recorded_at,
                key=record.key,
                actor=record.actor,
                correlation=record.correlation,
                causation=record.causation,
                data=_stored(record.data),
                metadata=NULL if record.metadata is None else _stored(record.metadata),
                hash=record.hash.hex(),
            )
        )
    )


def _stored(text: str) -> msgspec.Raw:
    if _UNSAFE.search(text) is None:
        return msgspec.Raw(text.encode())
    return msgspec.Raw(escaped(_encode(text)))


def one_line(text: str) -> str:
    """Stored JSON without the line breaks that may stand between its values."""
    broken = any(space in text for space in "\n\r\t")
    return msgspec.json.format(text, indent=-1) if broken else text


def escaped(encoded: bytes) -> bytes:
    """The same JSON with every unsafe character escaped. Only inside strings are there any."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _UNSAFE.sub(_escape, encoded.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[n] << 8 | units[n + 1]:04x}" for n in range(0, len(units), 2))


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
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
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
