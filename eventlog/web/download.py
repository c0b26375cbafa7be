"""A file as an answer: whole or a part of it, piece by piece, and never the end of one that is not what was saved."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from urllib.parse import quote

from starlette.types import Receive, Send

from eventlog.web.operation import BYTES, Download
from eventlog.web.problems import ClientGone, Refused
from eventlog.web.service import Service, matches
from eventlog.web.sse import until_gone

PIECE_BYTES = 256 << 10
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_log = logging.getLogger("eventlog.web")


async def send_file(
    service: Service, found: Download, method: str, headers: Mapping[str, str], receive: Receive, send: Send
) -> None:
    """Send a file, and close it. Raises Refused (410, 416) before anything is sent, ClientGone after."""
    with found.file:
        tag = f'"{found.sha256}"'
        answer = {"etag": tag, "accept-ranges": "bytes"}
        if "if-none-match" in headers and matches(tag, (headers["if-none-match"],)):
            await _begin(send, 304, answer)
            await send({"type": "http.response.body"})
            return
        status, first, length = 200, 0, found.size_bytes
        if method == "GET" and headers.get("if-range", tag) == tag:
            part = part_of(headers.get("range", ""), found.size_bytes)
            if part is not None:
                status, (first, length) = 206, part
                answer["content-range"] = f"bytes {first}-{first + length - 1}/{found.size_bytes}"
        answer |= {"content-type": BYTES, "content-length": str(length), "content-disposition": as_file(found.name)}
        if method == "HEAD":
            await _begin(send, status, answer)
            await send({"type": "http.response.body"})
            return
        await _send_pieces(service, found, first, length, (status, answer), receive, send)


async def _send_pieces(
    service: Service, found: Download, first: int, length: int, head: tuple[int, dict[str, str]],
    receive: Receive, send: Send,
) -> None:  # fmt: skip
    pieces, left, begun = _pieces(found, first, length), length, False
    gone = asyncio.create_task(until_gone(receive))
    try:
        while not gone.done():
            piece = await service.in_thread(lambda: next(pieces))
            if not begun:
                begun = True
                await _begin(send, *head)
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if not left:
                break
    except Refused as error:
        if not begun:
            raise
        # What was promised cannot be sent: a connection that ends too early says so.
        _log.warning("%s: %s", found.name, error.detail)
        raise ClientGone from error
    finally:
        gone.cancel()


def _pieces(found: Download, first: int, length: int) -> Iterator[bytes]:
    """A file's bytes; of an empty one b"". Raises Refused instead of the last piece if they are not what was saved."""
    digest = sha256() if length == found.size_bytes else None
    found.file.seek(first)
    while True:
        piece = found.file.read(min(PIECE_BYTES, length))
        length -= len(piece)
        if digest is not None:
            digest.update(piece)
        if (length and not piece) or (not length and digest is not None and digest.hexdigest() != found.sha256):
            raise Refused(410, "the file is not what was saved any more: its SHA-256 is another")
        yield piece
        if not length:
            return


async def _begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


def part_of(wanted: str, size: int) -> tuple[int, int] | None:
    """The first byte and the number of bytes that a Range header asks for; None for the whole, as for several parts.

    Raises Refused where the file has none of them (RFC 9110, 14).
    """
    found = _RANGE.fullmatch(wanted.strip())
    if found is None or found[0] == "bytes=-":
        return None
    if not found[1]:
        first, end = max(0, size - int(found[2])), size
    else:
        first, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < first:
            return None
    if first >= end:
        raise Refused(416, f"the file has {size:,} bytes", headers={"content-range": f"bytes */{size}"})
    return first, end - first


def as_file(name: str) -> str:
    """A Content-Disposition by which a browser saves a file, under the last part of its name (RFC 6266)."""
    shown = "".join(char if char.isprintable() else "_" for char in name.rpartition("/")[2])
    plain = _UNSAFE.sub("_", shown)
    return f'attachment; filename="{plain}"' + ("" if plain == shown else f"; filename*=UTF-8''{quote(shown, safe='')}")
