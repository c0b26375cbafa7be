"""Programs whose log is in PostgreSQL, and that are stopped, killed or cut off."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from under_fire import Ticked, open_log

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError, LogBusy, OutcomeUnknown, ServerUnreachable
from eventlog.events.runs import RunNoted, RunStarted, RunTagged
from eventlog.store.retrying import Pauses
from tests.helpers import eventually
from workers.writers import say


def hold_and_go_on(url: str) -> None:
    """Say "inside" within a transaction; say how its end is told, and append again."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
    with open_log(url) as log:
        try:
            with log.transaction() as tx:
                tx.append("fire-held", Ticked(), key="held")
                tx.read_stream("fire-held")
                say("inside")
                signal.sigwait({signal.SIGCONT})
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


def stall_before_the_commit(url: str) -> None:
    """Have the server insert, and stop before it is told to commit: where projections are computed."""
    log = open_log(url)

    def compute(writer: Any, *_: object) -> None:
        say(str(writer.connection.info.backend_pid))
        time.sleep(60)

    log.committer.projector.apply = compute  # type: ignore[union-attr,method-assign]
    log.append("fire-stalled", [Ticked() for _ in range(8)])


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


def open_deferred(url: str) -> Log:
    """The log with tables that are only caught up on demand."""
    return eventlog.open(url, events=[Ticked], projections="deferred")


def keep_caught_up(url: str, how: str, until: str) -> None:
    """Keep the tables caught up, by `follow` or in a loop, until the file is there."""
    with open_deferred(url) as log:
        stop = threading.Event()
        threading.Thread(target=lambda: (eventually(Path(until).exists, 60), stop.set()), daemon=True).start()
        covered = 0
        if how == "follow":
            log.projections.follow(stop=stop, poll_s=0.005)
        else:
            while not stop.is_set():
                covered += log.projections.catch_up()
        log.projections.catch_up()
        say(str(covered))


def live(url: str, worker: str, count: str, projections: str) -> None:
    """Start, tell of and finish runs, many of them in the same few streams as the others do; say the key of each."""
    log = open_deferred(url) if projections == "deferred" else open_log(url)
    for number in range(int(count)):
        key = f"{worker}-{number}"
        run_id = log.runs.append_start(RunStarted(command=f"job {key}", program="job"), key=key)
        shared = f"run-{1 + number % 5}"
        log.append_many(
            [
                eventlog.Append(stream=shared, events=RunNoted(note=key), key=f"{key}-note"),
                eventlog.Append(stream=shared, events=RunTagged(tags={worker: str(number)}), key=f"{key}-tag"),
            ],
            durability="process",
        )
        log.runs.finish_success(run_id, exit_code=0, wall_us=number)
        say(key)
    log.close()


def read_over_and_over(url: str, until: str) -> None:
    """Ask every kind of question until the file is there; what it is told is never half of anything."""
    asked = 0
    with open_log(url, mode="r") as log:
        last = 0
        while not Path(until).exists():
            assert log.runs.count() >= last
            last = log.runs.count()
            head = log.head().position
            with log.as_of(head) as past:
                first = past.runs.count()
                time.sleep(0.01)
                assert past.runs.count() == first == len(past.runs.list(limit=None))
            asked += 1
    say(str(asked))


def rebuild_until(url: str, until: str) -> None:
    """Rebuild over and over until the file is there."""
    times = 0
    with open_log(url) as log:
        while not Path(until).exists() or not times:
            log.projections.rebuild()
            times += 1
    say(str(times))


def roll_back_until(url: str, until: str) -> None:
    """Roll back and resume over and over until the file is there."""
    times = 0
    with open_log(url) as log:
        while not Path(until).exists() or not times:
            log.projections.rollback(max(0, log.head().position - 20))
            log.projections.resume()
            times += 1
    say(str(times))


def dawdle(url: str, worker: str, seconds: str) -> None:
    """Append, sleeping inside the transaction for up to 50 ms, before and after the insert; say how many there were."""
    chance = random.Random(worker)
    count = 0
    with open_log(url) as log:
        deadline = time.monotonic() + float(seconds)
        while time.monotonic() < deadline:
            with log.transaction() as tx:
                time.sleep(chance.uniform(0, 0.025))
                for _ in range(chance.randrange(1, 4)):
                    tx.append(f"fire-{chance.randrange(5)}", Ticked(number=count))
                    count += 1
                tx.stream_version("fire-0")
                tx.read_stream(f"fire-{worker}")
                time.sleep(chance.uniform(0, 0.025))
            time.sleep(chance.uniform(0, 0.01))
    say(str(count))


def follow_log_of_deaths(url: str, until: str) -> None:
    """Follow from the beginning through any restart of the server, resuming with the last position; say each."""
    position = 0
    log = open_within(url, 30)
    while not Path(until).exists() or position < log.head().position:
        with contextlib.suppress(ServerUnreachable):
            for record in log.follow(position, poll_s=0.02, timeout_s=0.5):
                position = record.position
                say(str(position))
