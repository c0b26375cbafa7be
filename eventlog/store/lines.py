"""Records as lines of JSON: what `eventlog log export` writes, and what a log in a ``.jsonl`` file is made of."""

from __future__ import annotations

import re

import msgspec

from eventlog.store.base import RecordRow

NULL, EMPTY = msgspec.Raw(b"null"), msgspec.Raw(b"{}")
MAX_LINE_BYTES = 16 << 20
"""More than any record needs: data and metadata of 1 MiB each, every byte of them escaped."""

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


def encode(row: RecordRow) -> bytes:
    """A record as one line, without the line break."""
    (position, stream, version, type_, schema, occurred, recorded, key, actor, correlation, causation) = row[:11]
    return escaped(
        _encode(
            Line(
                position=position,
                stream=stream,
                version=version,
                type=type_,
                schema=schema,
                occurred_at=occurred,
                recorded_at=recorded,
                key=key,
                actor=actor,
                correlation=correlation,
                causation=causation,
                data=_raw(row[11]),
                metadata=NULL if row[12] is None else _raw(row[12]),
                hash=row[13].hex(),
            )
        )
    )


def _raw(text: str) -> msgspec.Raw:
    # Blanks around a value do not survive reading, and a string would be taken for the other form.
    if text[:1] == "{" and text[-1:] == "}" and _UNSAFE.search(text) is None:
        return msgspec.Raw(text.encode())
    return msgspec.Raw(escaped(_encode(text)))


def escaped(encoded: bytes) -> bytes:
    """The same JSON with every unsafe character escaped. Only inside strings are there any."""
    if encoded.isascii() and b"\x7f" not in encoded:
        return encoded
    return _UNSAFE.sub(_escape, encoded.decode()).encode()


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[n] << 8 | units[n + 1]:04x}" for n in range(0, len(units), 2))


def row_of(line: Line) -> RecordRow:
    """The record that a line holds, as it was stored. Raises ValueError."""
    return (
        _given(line.position, "position"),
        line.stream,
        _given(line.version, "version"),
        line.type,
        line.schema,
        _given(line.occurred_at, "occurred_at"),
        _given(line.recorded_at, "recorded_at"),
        line.key,
        line.actor,
        line.correlation,
        line.causation,
        stored(line.data),
        None if line.metadata == NULL else stored(line.metadata),
        bytes.fromhex(line.hash or ""),
    )


def _given(value: int | None, name: str) -> int:
    if value is None:
        raise ValueError(f"`{name}` is missing")
    return value


def stored(value: msgspec.Raw) -> str:
    """The JSON text that a value of an export stands for. Raises ValueError."""
    text = bytes(value)
    return msgspec.json.decode(text, type=str) if text.startswith(b'"') else text.decode()
