"""Statements that go to PostgreSQL together, prepared, and are answered together: one wait for all of them.

libpq's pipeline is used directly: it takes as much processor time for six statements as a cursor of the driver for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg
from psycopg.abc import Buffer, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.generators import send
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

from eventlog.store.postgres_pool import Connection
from eventlog.store.postgres_text import cells, held

MOST_KNOWN = 500
"""So many statements are known on a connection, and prepared when they come again; then the oldest makes room."""
_FAILED = (int(ExecStatus.FATAL_ERROR), int(ExecStatus.PIPELINE_ABORTED))
_AUTO = PyFormat.AUTO
_READABLE = Wait.R
_Key = tuple[str, tuple[int, ...] | None]
"""A statement, and the types of its values where they are told. Else all are text, and the server infers them."""
_Statement = tuple[_Key, Sequence[Buffer | None] | None, list[Any] | None]
"""What waits to be sent: values and their formats with it."""


class Answer:
    """The rows that one statement gave."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchone(self) -> Any:
        """The next row, or None."""
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        """Every row that is left."""
        rows, self._rows = self._rows, []
        return rows


class Pipeline:
    """The statements of one connection that wait to be sent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        # The driver forgets whatever is prepared on a connection, after a ROLLBACK: here nothing is, by it.
        connection.prepare_threshold = None
        self._transformer = Transformer(connection)
        self._names: dict[_Key, bytes] = {}
        self._numbers = count()
        self._waiting: list[_Statement] = []
        self._places: list[int] = []
        """Which answers are those of the statements that were sent."""
        self._sent = 0
        self._fresh: list[tuple[_Key, int]] = []
        """What is being prepared, and which answers say whether it was."""
        self.limit: str | None = None
        """Says how long the server waits for the rest of what it began with: no other time-out runs there."""

    @property
    def waiting(self) -> int:
        """How many statements wait to be answered."""
        return len(self._waiting) + len(self._places)

    def tell(self, sql: str, values: Sequence[Any] = ()) -> int:
        """One more statement, whose values are of the types that the server infers; gives how many wait now.

        What is no number is refused for a number's column, as by COPY.
        """
        self._waiting.append(((sql, None), cells(values) if values else None, None))
        return len(self._places) + len(self._waiting)

    def ask(self, sql: str, values: Sequence[Any] = ()) -> None:
        """One more statement, whose values are of the types that the driver gives them, lists of them among these."""
        transformer = self._transformer
        dumped = transformer.dump_sequence(held(values), [_AUTO] * len(values))
        self._waiting.append(((sql, transformer.types), dumped, transformer.formats))

    def begins_with(self, sql: str) -> bool:
        """Whether this is the first statement that waits."""
        return not self._places and bool(self._waiting) and self._waiting[0][0][0] == sql

    def drop(self) -> None:
        """Forget what waits: it is sent no more. Where something is under way, the connection is not `at_rest`."""
        self._waiting, self._places, self._sent, self._fresh = [], [], 0, []

    def forget(self) -> None:
        """Prepare everything anew, where nothing waits: what is prepared keeps to the tables it found by its names."""
        self.ask("DEALLOCATE ALL")
        self.exchange()
        self._names.clear()

    def begin(self) -> None:
        """Have the server begin with what waits, while more is told; the rest has to follow soon."""
        if self.limit is not None:
            self.tell(self.limit)
        self._send(self.connection.pgconn)
        self.connection.pgconn.flush()

    def exchange(self) -> list[PGresult]:
        """Send what waits and give its answers, one a statement.

        Raises the first failure; no statement after that one was run.
        """
        pgconn = self.connection.pgconn
        results: list[PGresult] = []
        with self.connection.lock:
            try:
                self._send(pgconn)
                pgconn.pipeline_sync()
                results = self.connection.wait(_results(pgconn, self._sent + 1))
            finally:
                places, fresh = self._places, self._fresh
                self.drop()
                # After an interrupt the connection may be of use, but nobody knows what is prepared on it.
                for key, place in fresh:
                    if not results or results[place].status in _FAILED:
                        self._names.pop(key, None)
                try:
                    pgconn.exit_pipeline_mode()
                except psycopg.Error:
                    pass  # where answers are still to come it cannot be left, and the connection is not `at_rest`
        # What comes after a failure is not run, and fails, too.
        if results[places[-1]].status in _FAILED:
            raise error_from_result(next(result for result in results if result.status in _FAILED))
        return [results[place] for place in places]

    def _send(self, pgconn: PGconn) -> None:
        """Put what waits into the driver's buffer."""
        if not self._places:
            pgconn.enter_pipeline_mode()
        places, sent, fresh = self._places, self._sent, self._fresh
        names = self._names
        for key, values, formats in self._waiting:
            name = names.get(key)
            if name is None:
                # A transaction that failed takes nothing but its end, or that of its nested part.
                full = len(names) >= MOST_KNOWN and pgconn.transaction_status != TransactionStatus.INERROR
                if full and (old := names.pop(next(iter(names)))):
                    pgconn.send_query_params(b"DEALLOCATE " + old, None)
                    sent += 1
                names[key] = b""
                pgconn.send_query_params(_numbered(key[0]), values, key[1], formats)
            else:
                if not name:
                    name = b"eventlog_%d" % next(self._numbers)
                    fresh.append((key, sent))
                    names[key] = name
                    pgconn.send_prepare(name, _numbered(key[0]), key[1])
                    sent += 1
                pgconn.send_query_prepared(name, values, formats)
            places.append(sent)
            sent += 1
        self._waiting, self._sent = [], sent

    def rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        """The rows in an answer."""
        if not result.ntuples:
            return []
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)


def _results(pgconn: PGconn, expected: int) -> PQGen[list[PGresult]]:
    """As the driver's `fetch_many` for each answer, without a generator for each."""
    results: list[PGresult] = []
    is_busy, get_result = pgconn.is_busy, pgconn.get_result
    try:
        yield from send(pgconn)
        while len(results) < expected:
            while is_busy():
                while not (yield _READABLE):
                    pass
                pgconn.consume_input()
            # None stands between one statement's answer and the next one's.
            if (result := get_result()) is not None:
                results.append(result)
    except psycopg.OperationalError:
        # A server that ends a session says so before it does.
        for result in results:
            if result.status in _FAILED:
                raise error_from_result(result) from None
        raise
    return results


@lru_cache(maxsize=4096)
def _numbered(sql: str) -> bytes:
    """Our SQL with the server's marks for values."""
    first, *rest = sql.split("?")
    return (first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))).encode()
