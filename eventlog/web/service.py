"""What all requests share: the log, the threads that ask it, who waits for new records, and what has been counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from typing import TypeVar

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError
from eventlog.web.metrics import Metrics

T = TypeVar("T")
THREADS = 16
SLOW_AT_ONCE = 2
POLL_S = 0.02


class Service:
    """A log that is served. Made before the event loop runs; everything but `tag` belongs to the loop."""

    def __init__(self, log: Log, *, request_timeout_s: float, body_limit: int) -> None:
        self.log = log
        self.request_timeout_s = request_timeout_s
        self.body_limit = body_limit
        self.metrics = Metrics()
        self.threads = ThreadPoolExecutor(THREADS, "eventlog-web")
        self.stop = asyncio.Event()
        self.slow = asyncio.Semaphore(SLOW_AT_ONCE)
        self.watcher = Watcher(log)
        self.document = b""
        members = [member for group in log.projections.groups.values() for member in group.members]
        code = (eventlog.__version__, sorted((m.name, m.version, m.fingerprint) for m in members))
        self._code = repr(code).encode()

    @property
    def hidden(self) -> str | None:
        """What no answer may show: where the log is."""
        return None if self.log.path is None else str(self.log.path)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do what may wait for the database, without the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, work)

    def tag(self, version: int | None) -> str:
        """The ETag of answers as of a version, or (None) of the present tables.

        It begins with the version of the log. Tables can change without it, when they are rolled back or rebuilt, so
        their checkpoints are in it too; and code that computes them otherwise.
        """
        state: object = version
        position = version
        if version is None:
            with self.log.reader() as reader:
                position, digest, _ = reader.head()
                state = (digest, reader.checkpoints())
        known = blake2b(self._code + repr((self.log.log_id, state)).encode(), digest_size=8)
        return f'"{position}-{known.hexdigest()}"'

    def close(self) -> None:
        """Let the threads end; the log stays open."""
        self.watcher.close()
        self.threads.shutdown(wait=False, cancel_futures=True)


class Watcher:
    """Tells followers that something was appended, by whichever process: one look at the log for all of them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._thread = ThreadPoolExecutor(1, "eventlog-watch")
        self._position = 0
        self._moved = asyncio.Event()
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.followers = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """While anybody follows, the log is looked at."""
        self.followers += 1
        if self._task is None:
            self._task = asyncio.create_task(self._look())
        try:
            yield
        finally:
            self.followers -= 1
            if not self.followers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def wait(self, position: int, timeout_s: float) -> int:
        """The head's position, as soon as it is above one, or after a time."""
        if self._position <= position:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._moved.wait()
        return self._position

    def poke(self) -> None:
        """Something was appended here: look at once."""
        self._poked.set()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = POLL_S
        while True:
            try:
                position = await loop.run_in_executor(self._thread, lambda: self._log.head().position)
            except EventLogError:
                position = self._position  # told to whoever reads; followers wait until it can be read again
            if position > self._position:
                self._position, pause_s = position, POLL_S
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
            else:
                pause_s = self._log.longer(pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._poked.wait()
            self._poked.clear()

    def close(self) -> None:
        """Look no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def matches(tag: str, wanted: Iterable[str]) -> bool:
    """Whether an ETag is among those of an ``If-None-Match`` header."""
    found = {one.strip().removeprefix("W/") for line in wanted for one in line.split(",")}
    return tag in found or "*" in found
