"""Records as Server-Sent Events: each one's position is its ``id``, so whoever comes back goes on where he was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import msgspec
from starlette.types import Receive, Send

from eventlog.log import EventLog
from eventlog.store.base import Record
from eventlog.web.events import Followed
from eventlog.web.operation import EVENT_STREAM
from eventlog.web.problems import Refused
from eventlog.web.service import Service
from eventlog.wire import StoredRecord

HEARTBEAT_S = 15.0
PAGE = 500
_LINE_END = re.compile(rb"\r\n|\r|\n")
_to_json = msgspec.json.Encoder().encode


async def follow(service: Service, query: Followed, last_id: str | None, receive: Receive, send: Send) -> None:
    """Send records until the client goes or the server stops."""
    log = service.log
    log.selection(query.streams, query.categories, query.types)  # what cannot be asked is refused before it begins
    position = await _beginning(service, query, last_id)
    headers = [(b"content-type", EVENT_STREAM.encode()), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    tasks = [
        asyncio.create_task(_send_records(service, query, position, send)),
        asyncio.create_task(until_gone(receive)),
        asyncio.create_task(service.stop.wait()),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if tasks[1] not in done:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):  # a client that does not read would hold up the end
                await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _beginning(service: Service, query: Followed, last_id: str | None) -> int:
    if last_id:
        if not (last_id.isascii() and last_id.isdigit() and len(last_id) < 19):
            raise Refused(400, "Last-Event-ID is the id of an event of this stream: a position")
        return int(last_id)
    if query.after is not None:
        return query.after
    return await service.in_thread(lambda: service.log.head().position)


async def _send_records(service: Service, query: Followed, position: int, send: Send) -> None:
    await send(_chunk(b"retry: 1000\n: the log from here on\n\n"))
    async with service.watcher.following():
        while True:
            end = await service.watcher.wait(position, HEARTBEAT_S)
            if end <= position:
                await send(_chunk(b": alive\n\n"))
                continue
            while position < end:
                position, text = await service.in_thread(partial(_page, service.log, query, position, end))
                if text:
                    await send(_chunk(text))


def _page(log: EventLog, query: Followed, after: int, to: int) -> tuple[int, bytes]:
    """Some records, and the position up to which there are no others."""
    records = list(
        log.read(after, to, streams=query.streams, categories=query.categories, types=query.types, limit=PAGE)
    )
    return (records[-1].position if len(records) == PAGE else to), as_events(records)


def as_events(records: Iterable[Record]) -> bytes:
    """Records in the format of an event stream."""
    return b"".join(
        b"id: %d\n%s\n" % (record.position, b"".join(b"data: %s\n" % line for line in _lines(record)))
        for record in records
    )


def _lines(record: Record) -> list[bytes]:
    return _LINE_END.split(_to_json(StoredRecord.of(record)))


def _chunk(text: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": text, "more_body": True}


async def until_gone(receive: Receive) -> None:
    """Wait until the client goes away, or has its whole answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
