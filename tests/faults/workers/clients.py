"""Programs whose log is in PostgreSQL, and that are stopped, killed or cut off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from under_fire import Ticked, open_log

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
