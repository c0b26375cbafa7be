"""Programs whose log is in PostgreSQL, and that are stopped, killed or cut off."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from under_fire import Ticked, open_log

from eventlog.app import Log
from eventlog.errors import EventLogError
from workers.writers import say


def hold_and_go_on(url: str) -> None:
    """Say "inside" within a transaction; say how its end is told, and append again."""
    with open_log(url) as log:
        try:
            with log.transaction() as tx:
                tx.append("fire-held", Ticked(), key="held")
                tx.read_stream("fire-held")
                say("inside")
                time.sleep(1.0)
        except EventLogError as error:
            say(type(error).__name__)
        log.append("fire-held", Ticked(), key="again")
        say("again")


def stall(url: str, what: str) -> None:
    """Hold the head, and stop in the middle of sending to the server, or of taking what it sends."""
    log = open_log(url)
    with log.transaction() as tx:
        tx.append("fire-stalled", Ticked())
        connection: Any = tx.reader.connection  # type: ignore[attr-defined]

        def rows() -> Iterator[tuple[Any, ...]]:
            yield from ((number,) for number in range(100_000))
            say("stalling")
            time.sleep(60)

        if what == "sending":
            connection.execute("CREATE TEMP TABLE numbers (number int)")
            with connection.cursor() as cursor, cursor.copy("COPY numbers FROM STDIN") as copy:
                for row in rows():
                    copy.write_row(row)
        else:
            with (
                connection.cursor() as cursor,
                cursor.copy("COPY (SELECT data FROM events, generate_series(1, 100)) TO STDOUT") as copy,
            ):
                next(iter(copy))
                say("stalling")
                time.sleep(60)


def child_that_ends(url: str, how: str) -> None:
    """A child, forked in the midst of everything, that ends by itself; its parent goes on and closes."""
    log = open_log(url)
    log.append("fire-1", Ticked(), key="before")
    reading = log.read()
    next(reading)
    with log.as_of(1) as past:
        past.runs.count()
        with log.transaction() as tx:
            tx.append("fire-1", Ticked(), key="in the transaction")
            tx.read_stream("fire-1")
            pid = os.fork()
            if pid == 0:
                child_of_all(log, how)
        _, status = os.waitpid(pid, 0)
        assert past.runs.count() == 0
    assert sum(1 for _ in reading) == 0
    log.append("fire-1", Ticked(), key="after")
    say(f"parent goes on, child ended with {os.waitstatus_to_exitcode(status)}")
    log.close()


def child_of_all(log: Log, how: str) -> NoReturn:
    """Append, and end with all finalizers, or through an error and a collection of garbage."""
    log.append("fire-1", Ticked(), key="child")
    say(f"child {how}")
    if how == "raises":
        sys.stderr.close()
        gc.collect()
        raise ZeroDivisionError
    sys.exit(0)
