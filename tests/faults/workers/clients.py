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
from eventlog.errors import EventLogError, LogBusy, OutcomeUnknown, ServerUnreachable
from eventlog.store.retrying import Pauses
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


def import_over_and_over(url: str, source: str) -> None:
    """Import another log's records in small batches, from wherever an earlier life was killed; say each position."""
    with open_log(source, mode="r") as other, open_log(url) as log:
        head = log.head().position
        log.import_records(other.read(after=head), lambda done, total, what: say(str(head + done)), batch=40)


def stubborn(url: str, worker: str, seconds: str, think_ms: str = "0") -> None:
    """Append under keys for a while; what fails is given again until it is stored. Say the key of each that is.

    At the end: how often it was told that nothing was written, and how often that the outcome is unknown; and how often
    either was not the truth, as the key shows.
    """
    refused = unknown = lies = number = 0
    log = open_within(url, 20)
    deadline = time.monotonic() + float(seconds)
    while time.monotonic() < deadline:
        key = f"{worker}-{number}"
        told = ""
        while True:
            try:
                appended = log.append(f"fire-{worker}", Ticked(number=number), key=key)
                lies += appended.duplicate and told == "refused"
                break
            except OutcomeUnknown:
                unknown += 1
                told = "unknown"
            except (ServerUnreachable, LogBusy):
                refused += 1
                told = told or "refused"
        say(key)
        number += 1
        if number % 10 == 0:
            assert next(log.read_stream(f"fire-{worker}", backwards=True)).key == key
        time.sleep(float(think_ms) / 1000)
    say(f"end {refused} {unknown} {lies}")
    log.close()


def open_within(url: str, seconds: float) -> Log:
    """The log, once its server can be reached."""
    pauses = Pauses(seconds)
    while True:
        try:
            return open_log(url)
        except ServerUnreachable:
            if not pauses.pause():
                raise


def follow_to(url: str, last: str) -> None:
    """Follow from the beginning; say each position, until the last that is asked for."""
    with open_log(url, mode="r") as log:
        for record in log.follow(0, poll_s=0.01):
            say(str(record.position))
            if record.key == last:
                return
