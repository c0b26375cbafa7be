r"""JSON records out of files that other programs write line by line, and sometimes badly.

Lines end with ``\n`` alone. What a line should not have is told apart: two objects glued together are
two records, runs of NUL are blank, bytes that are not UTF-8 stand in the text as ``\xNN``. Whatever cannot be read is
a piece with a problem, and the next line goes on.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

CHUNK = 1 << 20
MAX_LINE_BYTES = 32 << 20
"""A longer line is not held in memory: it is quarantined."""
MAX_SALVAGED = 200
"""How many beginnings of an object are tried in a damaged line."""
LIKE = 3
"""An object in the middle of a damaged line is a record of its own, and no part of one, if it has so many fields that
another record of the file has.
"""
BLANK = b" \t\r\0\xef\xbb\xbf"
"""What may stand around a record."""
_SPACE = re.compile(rb"[ \t\r\n\0]*")
_START = re.compile(rb'\{"')
_decode = msgspec.json.Decoder().decode
_slow = json.JSONDecoder()


def read_plain(path: Path) -> bytes:
    """The content of a file in a tree that somebody else made: no link leads out of it, and no pipe is waited for.

    Raises OSError for what is no plain file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file")
        return file.read()


class Piece(NamedTuple):
    """A record, or what should have been one: where it is in its file, and what it is or why it is nothing.

    ``blank`` bytes of ``length`` are around the record. ``value`` is the decoded object.
    """

    offset: int
    length: int
    value: dict[str, Any] | None
    problem: str = ""
    blank: int = 0
    sha256: str = ""
    ended: bool = True
    """Whether a line break follows; without one a file may go on growing."""
    line: bytes = b""
    """The line that it stands in."""


def pieces(file: BinaryIO, offset: int, end: int, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Piece]:
    """The pieces of a file from an offset on, up to ``end`` or where it turns out to be shorter."""
    fields: Collection[str] = ()
    for at, line, length, digest, ended in _lines(file, offset, end, max_line_bytes):
        if line is None:
            problem = f"the line is longer than {max_line_bytes:,} bytes"
            yield Piece(at, length, None, problem, sha256=digest, ended=ended)
            continue
        try:
            value = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
        if type(value) is dict:
            fields = value.keys() if len(value) >= LIKE else fields
            yield Piece(at, length, value, ended=ended, line=line)
        else:
            yield from _apart(at, line, length, ended, fields)


def _lines(file: BinaryIO, offset: int, end: int, limit: int) -> Iterator[tuple[int, bytes | None, int, str, bool]]:
    """Lines as (offset, content, length with the line break, hash of one that is too long, whether it ended)."""
    file.seek(offset)
    held = bytearray()
    start = at = offset
    digest: Any = None
    while at < end:
        chunk = file.read(min(CHUNK, end - at))
        if not chunk:
            break
        at += len(chunk)
        done = 0
        while (stop := chunk.find(b"\n", done)) >= 0:
            part = chunk[done:stop]
            length = at - len(chunk) + stop + 1 - start
            if digest is not None:
                digest.update(part)
                yield start, None, length, digest.hexdigest(), True
                digest = None
            elif len(held) + len(part) > limit:
                yield start, None, length, sha256(bytes(held) + part).hexdigest(), True
            else:
                yield start, (bytes(held) + part if held else part), length, "", True
            held.clear()
            start += length
            done = stop + 1
        rest = chunk[done:]
        if digest is not None:
            digest.update(rest)
        elif len(held) + len(rest) > limit:
            digest = sha256(bytes(held) + rest)
            held.clear()
        else:
            held += rest
    if at > start:
        if digest is not None:
            yield start, None, at - start, digest.hexdigest(), False
        else:
            yield start, bytes(held), at - start, "", False


def _apart(at: int, line: bytes, length: int, ended: bool, fields: Collection[str]) -> Iterator[Piece]:
    """The pieces of a line that is not simply one object. ``fields`` are those of a record before it."""
    bare = line.strip(BLANK)
    if not bare:
        if b"\0" in line:
            yield _bad(at, line, length, f"{line.count(0):,} NUL bytes where a record should be", ended)
        else:
            yield Piece(at, length, None, blank=length, ended=ended)
        return
    place = line.index(bare[:1]) if line[:1] != bare[:1] else 0
    stop = place + len(bare)
    where, tried, made = place, 0, []
    bad_from: int | None = None
    while where < stop and tried < MAX_SALVAGED:
        found = _object_at(line, where, stop)
        if found is None or (bad_from is not None and len(found[0].keys() & fields) < LIKE):
            tried += 1
            bad_from = where if bad_from is None else bad_from
            # What is cut off may go on: only of a line that ended is anything to be looked for in the middle.
            again = _START.search(line, where + 1, stop) if ended else None
            where = again.start() if again else stop
            continue
        if bad_from is not None:
            made.append(_bad(at + bad_from, line[bad_from:where], where - bad_from, _why(line[bad_from:where]), True))
            bad_from = None
        value, after = found
        made.append(Piece(at + where, after - where, value, line=line))
        where = _SPACE.match(line, after, stop).end()  # type: ignore[union-attr]
    if bad_from is not None or where < stop:
        begin = where if bad_from is None else bad_from
        made.append(_bad(at + begin, line[begin:stop], stop - begin, _why(line[begin:stop]), ended))
    yield from _spread(at, length, made, ended)


def _spread(at: int, length: int, made: list[Piece], ended: bool) -> Iterator[Piece]:
    """The same pieces, so that each byte of the line belongs to one: what is between them is blank and goes before."""
    where = at
    for number, piece in enumerate(made):
        last = number == len(made) - 1
        stop = at + length if last else piece.offset + piece.length
        blank = (piece.offset - where) + (stop - piece.offset - piece.length)
        yield piece._replace(offset=where, length=stop - where, blank=blank, ended=ended or not last)
        where = stop


def _object_at(line: bytes, where: int, stop: int) -> tuple[dict[str, Any], int] | None:
    """The object that begins here, and where it ends."""
    if line[where : where + 1] != b"{":
        return None
    text = line[where:stop].decode("utf-8", "surrogateescape")
    try:
        value, size = _slow.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    try:
        cleaned = clean(value)
    except RecursionError:
        return None
    return cleaned, where + len(text[:size].encode("utf-8", "surrogateescape"))


def clean(value: Any) -> Any:
    """A value without what JSON or UTF-8 cannot hold: such a thing stands as text that says what it was."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub(_named, value)
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


_SURROGATE = re.compile("[\ud800-\udfff]")


def _named(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _bad(at: int, data: bytes, length: int, why: str, ended: bool) -> Piece:
    return Piece(at, length, None, why, sha256=sha256(data).hexdigest(), ended=ended)


def _why(data: bytes) -> str:
    """What is wrong with a piece, without saying what is in it."""
    if data.strip(BLANK)[:1] != b"{":
        return "not a JSON object"
    try:
        _decode(data)
    except UnicodeDecodeError:
        return "not valid UTF-8"
    except RecursionError:
        return "nested too deeply"
    except msgspec.DecodeError as error:
        return f"not valid JSON: {error}"[:200]
    return "not a JSON object"
