"""Records as they are appended, over Server-Sent Events: a lost connection is made anew behind the last record."""

from __future__ import annotations

import http.client
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from eventlog.client.connection import Connection, hang_up
from eventlog.client.faults import no_eventlog
from eventlog.errors import LogBusy, LogClosed, ServerUnreachable
from eventlog.wire import StoredRecord

EVENT_STREAM = "text/event-stream"
SILENCE_S = 40.0
"""A server says every 15 s that it lives."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
TICK_S = 0.05
CHUNK = 1 << 16
AHEAD = 100
"""So many chunks are taken from the connection before somebody asked for them."""
_decode = msgspec.json.Decoder(StoredRecord).decode


class Sent(msgspec.Struct, frozen=True):
    """A record of a stream; ``exact``: its data is as it is stored, byte for byte."""

    record: StoredRecord
    exact: bool


class Follower(threading.Thread):
    """Reads a stream, and connects again where it ends, for at most as long as the server is waited for.

    What `inbox` gets are lists of `Sent`, or the error that ended it.
    """

    def __init__(self, connection: Connection, query: str, position: int) -> None:
        super().__init__(daemon=True, name="eventlog follow")
        self.inbox: queue.Queue[list[Sent] | Exception] = queue.Queue(AHEAD)
        self._connection = connection
        self._query = query
        self._position = position
        self._over = threading.Event()
        self._open: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Until `stop`, or an error that trying again does not mend."""
        heard_at, pause_s = time.monotonic(), FIRST_PAUSE_S
        while not self._over.is_set():
            try:
                for sent in self._listen():
                    heard_at, pause_s = time.monotonic(), FIRST_PAUSE_S
                    if sent and not self._put(sent):
                        return
            except (ServerUnreachable, LogBusy) as error:
                if time.monotonic() - heard_at > self._connection.timeout_s:
                    self._put(error)
                    return
            except Exception as error:
                self._put(error)
                return
            self._over.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _listen(self) -> Iterator[list[Sent]]:
        """Records from one connection, until it ends; an empty list: the server lives."""
        target = f"/api/events/stream?{self._query}{self._query and '&'}after={self._position}"
        connection, response = self._connection.stream(target, EVENT_STREAM, SILENCE_S)
        self._open = connection
        try:
            rest = b""
            while not self._over.is_set() and (data := _read(self._connection, response)):
                *events, rest = (rest + data).split(b"\n\n")
                sent = [one for event in events if (one := self._event(event)) is not None]
                if sent:
                    self._position = sent[-1].record.position
                yield sent
        finally:
            self._open = None
            connection.close()

    def _event(self, text: bytes) -> Sent | None:
        lines = [line[6:] for line in text.split(b"\n") if line.startswith(b"data: ")]
        if not lines:
            return None
        try:
            return Sent(_decode(b"\n".join(lines)), len(lines) == 1)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ServerUnreachable(no_eventlog(self._connection.url, str(error))) from error

    def _put(self, item: list[Sent] | Exception) -> bool:
        while not self._over.is_set():
            try:
                self.inbox.put(item, timeout=TICK_S)
                return True
            except queue.Full:
                continue
        return False

    def stop(self) -> None:
        """End it, whatever it waits for."""
        self._over.set()
        if (connection := self._open) is not None:
            hang_up(connection)
        self.join(timeout=5)


def _read(connection: Connection, response: Any) -> bytes:
    try:
        data: bytes = response.read1(CHUNK)
        return data
    except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
        if connection.closed:
            raise LogClosed from error
        return b""


def follow(
    connection: Connection, query: str, position: int, stop: threading.Event, timeout_s: float | None
) -> Iterator[Sent]:
    """Records behind a position; ends when ``stop`` is set, or after ``timeout_s`` without a record."""
    follower = Follower(connection, query, position)
    follower.start()
    quiet_since = time.monotonic()
    try:
        while not stop.is_set():
            try:
                item = follower.inbox.get(timeout=TICK_S)
            except queue.Empty:
                if timeout_s is not None and time.monotonic() - quiet_since > timeout_s:
                    return
                continue
            if isinstance(item, Exception):
                raise item
            for sent in item:
                yield sent
                quiet_since = time.monotonic()
                if stop.is_set():
                    return
    finally:
        follower.stop()
