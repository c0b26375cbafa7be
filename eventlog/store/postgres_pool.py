"""The pool of connections: what SQLAlchemy's does not do by itself, which is to stand interrupts and forks."""

from __future__ import annotations

import os
import queue
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.util import queue as pool_queue


class _Queue(pool_queue.QueueCommon[Any]):
    """Connections at rest, first in, first out. SQLAlchemy's own queue can be left locked for ever by a Ctrl-C."""

    def __init__(self, maxsize: int = 0, use_lifo: bool = False) -> None:
        self.maxsize = maxsize
        self.use_lifo = False
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def empty(self) -> bool:
        return self._waiting.empty()

    def full(self) -> bool:
        return 0 < self.maxsize <= self._waiting.qsize()

    def qsize(self) -> int:
        return self._waiting.qsize()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self._waiting.get(block, timeout)
        except queue.Empty:
            raise pool_queue.Empty from None

    def get_nowait(self) -> Any:
        return self.get(False)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if self.full():
            raise pool_queue.Full
        self._waiting.put(item)

    def put_nowait(self, item: Any) -> None:
        self.put(item)


class Pool(QueuePool):
    """SQLAlchemy's pool on a queue of our own."""

    _queue_class = _Queue


def on_connect(connection: Any, record: ConnectionPoolEntry) -> None:
    """What every new connection needs: JSON as the text it is."""
    connection.adapters.register_loader("json", TextLoader)
    record.info["pid"] = os.getpid()


def on_return(connection: psycopg.Connection[Any], record: ConnectionPoolEntry | None, _state: object) -> None:
    """What comes back to the pool in the middle of something is closed; in a forked child it is the parent's."""
    if record is None or record.info.get("pid") != os.getpid():
        return
    if not at_rest(connection):
        record.invalidate()


def at_rest(connection: psycopg.Connection[Any]) -> bool:
    """Whether no transaction and no statement is open; nor the driver's lock held by one that was interrupted."""
    return connection.pgconn.transaction_status == TransactionStatus.IDLE and not connection.lock.locked()
