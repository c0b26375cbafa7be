"""What stands in a store's place where there is a server: a few questions, and no transactions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from eventlog.client.calls import Call, Server
from eventlog.client.connection import Connection
from eventlog.client.faults import needs_the_log
from eventlog.client.reader import RemoteReader
from eventlog.store.base import Durability, Head

SILENCES = Call("GET", "/api/workers/silences", dict[str, int])


class RemoteStore:
    """A `Store` as far as a server is one."""

    kind: Literal["http"] = "http"
    path: Path | None = None
    swaps_under_readers = False
    longest_poll_s = 1.0

    def __init__(self, connection: Connection, address: str) -> None:
        self.url = connection.url
        self.address: str | None = address
        self.connection = connection
        self._server = Server(connection)

    @contextmanager
    def reader(self) -> Iterator[Any]:
        """The present."""
        yield RemoteReader(self._server)

    def change_counter(self) -> object:
        """The head: one small request."""
        return RemoteReader(self._server).head()

    def silences(self) -> dict[str, int]:
        """How long ago each worker said that it lives, µs by the clock of the database."""
        found: dict[str, int] = self._server.ask(SILENCES, {})
        return found

    def forget_workers(self, worker_ids: Iterable[str]) -> None:
        """The server does it when it is told that they ended."""

    def begin(self, durability: Durability, streams: Collection[str] = ()) -> Any:
        """Raises InvalidInput."""
        raise needs_the_log("a transaction")

    def commit(self, writer: Any, head: Head | None) -> None:
        """Raises InvalidInput."""
        raise needs_the_log("a transaction")

    def rollback(self, writer: Any, error: BaseException | None = None) -> None:
        """There is nothing to undo."""

    def scratch(self) -> Any:
        """Raises InvalidInput."""
        raise needs_the_log("computing tables")

    def builder(self) -> Any:
        """Raises InvalidInput."""
        raise needs_the_log("computing tables")

    def translate(self, error: BaseException) -> BaseException:
        """Errors are ours already."""
        return error

    def recover(self, error: BaseException | None = None) -> None:
        """There is nothing to give back."""

    def close(self) -> None:
        """Close every connection."""
        self.connection.close()
