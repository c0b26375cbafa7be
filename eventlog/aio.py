"""`log.aio`: the same log for asyncio. Coroutines share commits, and the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from eventlog.committer import Appended, Request, Transaction
from eventlog.events import Event
from eventlog.log import PAGE, Append, EventLog, Events
from eventlog.store.base import Durability, Head, Record

T = TypeVar("T")


class AsyncLog:
    """Awaitable `EventLog`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def append(self, stream: str, events: Events, *, durability: Durability = "full", **options: Any) -> Appended:
        """As `EventLog.append`. Cancelled while waiting, the append may be stored all the same."""
        prepared = self._log.prepare(stream, events, **options)
        return await self._submit(lambda transaction: transaction.append(prepared), durability, (prepared[0],))

    async def append_many(self, appends: Iterable[Append], *, durability: Durability = "full") -> list[Appended]:
        """As `EventLog.append_many`: all or nothing."""
        prepared = self._log.prepare_many(appends)
        streams = [one[0] for one in prepared]
        return await self._submit(lambda transaction: transaction.append_all(prepared), durability, streams)

    async def _submit(self, work: Callable[[Transaction], T], durability: Durability, streams: Sequence[str]) -> T:
        self._log.check_writable()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        committer = self._log.committer

        def settle() -> None:
            if not done.done():
                done.set_result(None)

        def wake(request: Request[Any]) -> None:
            if not request.finished:
                # Its turn to lead, which waits for the disk and so needs a thread; the loop may be gone by now.
                threading.Thread(target=committer.lead, args=(request,), name="eventlog-commit").start()
                return
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle)

        request: Request[T] = Request(work, durability, True, streams)
        request.wake = wake
        if committer.enqueue(request):
            loop.run_in_executor(None, committer.lead, request)
        await done
        return request.value()

    async def decide(self, work: Callable[[Any], T], *, durability: Durability = "full") -> T:
        """As `EventLog.decide`; ``work`` runs in a thread."""
        return await asyncio.to_thread(self._log.decide, work, durability=durability)

    async def head(self) -> Head:
        """As `EventLog.head`."""
        return await asyncio.to_thread(self._log.head)

    async def read(self, after: int = 0, to: int | None = None, **filters: Any) -> AsyncIterator[Record]:
        """As `EventLog.read`, page by page."""
        records = self._log.read(after, to, **filters)
        while page := await asyncio.to_thread(_take, records):
            for record in page:
                yield record

    async def read_stream(self, stream: str, **bounds: Any) -> AsyncIterator[Record]:
        """As `EventLog.read_stream`, page by page."""
        records = self._log.read_stream(stream, **bounds)
        while page := await asyncio.to_thread(_take, records):
            for record in page:
                yield record

    async def follow(
        self,
        after: int | None = None,
        *,
        poll_s: float = 0.05,
        timeout_s: float | None = None,
        streams: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
        types: Iterable[str | type[Event]] | None = None,
    ) -> AsyncIterator[Record]:
        """As `EventLog.follow`; ends when the iteration is left or cancelled."""
        position = (await self.head()).position if after is None else after
        quiet_since = time.monotonic()
        pause_s = poll_s
        while timeout_s is None or time.monotonic() - quiet_since <= timeout_s:
            end = (await self.head()).position
            if end <= position:
                await asyncio.sleep(pause_s)
                pause_s = self._log.longer(pause_s)
                continue
            pause_s, looked = poll_s, time.monotonic()
            async for record in self.read(position, end, streams=streams, categories=categories, types=types):
                yield record
                quiet_since = time.monotonic()
            position = end
            await asyncio.sleep(max(0.0, looked + poll_s - time.monotonic()))


def _take(records: Any) -> list[Record]:
    page = []
    for record in records:
        page.append(record)
        if len(page) == PAGE:
            break
    return page
