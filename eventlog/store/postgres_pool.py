"""The pool of connections: what SQLAlchemy's does not do by itself, which is to stand interrupts and forks."""

from __future__ import annotations

import os
import queue
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.types.string import TextLoader
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util import queue as pool_queue

from eventlog.place import Server

Connection = psycopg.Connection[Any]


SETTINGS = {
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}
"""What every connection begins with; ``options`` in the URL come after, and so prevail."""
LIVELINESS = {
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""A server that is gone without a word (its power, its network) is noticed within half a minute, not after hours."""


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
    state = connection.pgconn
    idle = state.transaction_status == TransactionStatus.IDLE and state.pipeline_status == PipelineStatus.OFF
    return idle and not connection.lock.locked()


def engine_of(server: Server, timeout_s: float) -> Engine:
    """The engine of a server, whose connections are in autocommit.

    Readers are single statements, each a transaction of its own; writers say BEGIN and COMMIT themselves.
    """
    engine = create_engine(
        URL.create("postgresql+psycopg", **server.url_parts()),
        isolation_level="AUTOCOMMIT",
        connect_args={"options": _options(server, timeout_s), **_connect(server)},
        pool_reset_on_return=None,
        poolclass=Pool,
        pool_size=server.pool.size,
        max_overflow=server.pool.max_overflow,
        pool_timeout=server.pool.timeout_s,
        pool_recycle=server.pool.recycle_s,
        pool_pre_ping=server.pool.pre_ping,
    )
    event.listen(engine, "connect", on_connect)
    event.listen(engine, "reset", on_return)
    return engine


def _options(server: Server, timeout_s: float) -> str:
    # No single wait for the head is longer than all of them together may be.
    ours = {**SETTINGS, "lock_timeout": f"{max(1, int(1000 * min(5.0, timeout_s)))}ms"}
    settings = " ".join(f"-c {name}={value}" for name, value in ours.items())
    return f"{settings} {server.options.get('options', '')}".strip()


def _connect(server: Server) -> dict[str, Any]:
    defaults = {"application_name": "eventlog", "connect_timeout": "10", **LIVELINESS}
    # Without it text is what the environment's PGCLIENTENCODING makes of it, or bytes from a database without encoding.
    always = {"client_encoding": "utf8"}
    return always | {name: value for name, value in defaults.items() if name not in server.options}


def driver(fairy: PoolProxiedConnection) -> Connection:
    """The driver's connection behind one of the pool."""
    connection: object = fairy.dbapi_connection
    if not isinstance(connection, psycopg.Connection):
        raise psycopg.OperationalError("the connection was lost")
    return connection
