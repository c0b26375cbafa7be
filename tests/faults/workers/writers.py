"""Programs that append, in every way there is."""

from __future__ import annotations

import os
import random
import sqlite3
import threading

from under_fire import Ticked, open_log

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError


def say(line: str) -> None:
    """One write call a line: it is whole or not there, even when the process is killed."""
    os.write(1, line.encode() + b"\n")


def one(log: Log, worker: str, number: int, durability: str = "full") -> None:
    """Append one acknowledged thing: mostly a tick, now and then the start and end of a run."""
    key = f"{worker}-{number}"
    if number % 5 == 0:
        from eventlog.events.runs import RunStarted

        run_id = log.runs.append_start(RunStarted(command=f"job {key}", program="job"), key=key)
        say(key)
        log.runs.finish_success(run_id, exit_code=0, wall_us=number)
    else:
        log.append(f"fire-{worker}", Ticked(number=number), key=key, durability=durability)  # type: ignore[arg-type]
        say(key)


def append(path: str, worker: str = "w", count: str = "1000000", durability: str = "full") -> None:
    """One event at a time."""
    with open_log(path) as log:
        for number in range(int(count)):
            one(log, worker, number, durability)


def append_and_die(path: str, count: str) -> None:
    """Append, and end without closing anything."""
    log = open_log(path)
    for number in range(int(count)):
        one(log, "died", number)
    os._exit(0)


def group(path: str, worker: str = "w", threads: str = "8") -> None:
    """Many threads, so that commits carry several events; atomic batches among them."""

    def loop(name: str) -> None:
        for number in range(1_000_000):
            if number % 4 == 3:
                keys = [f"{name}-{number}-{part}" for part in range(3)]
                events = [Ticked(number=number)]
                log.append_many([eventlog.Append(stream=f"fire-{key}", events=events, key=key) for key in keys])
                for key in keys:
                    say(key)
            else:
                one(log, name, number)

    log = open_log(path)
    running = [threading.Thread(target=loop, args=(f"{worker}{n}",)) for n in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def rebuild(path: str, worker: str = "w") -> None:
    """Rebuild every projection over and over while a thread appends."""
    log = open_log(path)
    threading.Thread(target=lambda: [one(log, worker, n) for n in range(1_000_000)], daemon=True).start()
    while True:
        log.projections.rebuild()


def rebuild_some_times(path: str, times: str, threads: str) -> None:
    """Rebuild in several threads, with appends between; busy is an answer, anything else is not."""
    failures: list[BaseException] = []
    log = open_log(path)

    def loop() -> None:
        try:
            for number in range(int(times)):
                log.projections.rebuild()
                log.append("fire-between", Ticked(number=number))
        except BaseException as error:
            failures.append(error)

    running = [threading.Thread(target=loop) for _ in range(int(threads))]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    log.close()
    if failures:
        raise failures[0]


def rollback(path: str, worker: str = "w") -> None:
    """Append, roll back, resume, over and over."""
    with open_log(path) as log:
        log.projections.resume()  # an earlier life may have been killed while rolled back, and that is kept
        for number in range(1_000_000):
            one(log, worker, number)
            if number % 5 == 4:
                log.projections.rollback(to=max(1, log.head().position - random.randrange(1, 30)))
                log.projections.resume()


def shared_keys(path: str, seed: str, count: str, batch: str = "25") -> None:
    """Every key of 0…count in an order of its own, and 30 % of them a second time."""
    chance = random.Random(int(seed))
    numbers = list(range(int(count)))
    numbers += chance.sample(numbers, int(count) * 3 // 10)
    chance.shuffle(numbers)
    size = int(batch)
    with open_log(path) as log:
        for at in range(0, len(numbers), size):
            some = dict.fromkeys(numbers[at : at + size])
            log.append_many(
                [eventlog.Append(stream="fire-shared", events=[Ticked(number=n)], key=f"once-{n}") for n in some]
            )


def append_traced(path: str, worker: str, count: str) -> None:
    """Append with every statement watched. Say: BEGIN IMMEDIATEs, COMMITs, other BEGINs of a writer, errors."""
    begins = commits = bare = errors = 0
    connect = sqlite3.connect

    def watch(statement: str) -> None:
        nonlocal begins, commits, bare
        words = statement.upper().split()[:2]
        begins += words == ["BEGIN", "IMMEDIATE"]
        commits += words[:1] == ["COMMIT"]
        bare += words[:1] == ["BEGIN"] and words != ["BEGIN", "IMMEDIATE"]

    def watched(target: str, *arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(target, *arguments, **options)  # type: ignore[call-overload]
        if "mode=ro" not in str(target):
            connection.set_trace_callback(watch)
        return connection

    sqlite3.connect = watched  # type: ignore[assignment]
    with open_log(path) as log:
        for number in range(int(count)):
            try:
                if number % 10 == 9:
                    log.decide(lambda tx: (tx.read_stream("fire-all"), tx.append("fire-all", Ticked())))
                log.append("fire-all", Ticked(number=number), key=f"{worker}-{number}", durability="process")
            except Exception as error:
                say(f"error {error!r}")
                errors += 1
    say(f"{begins} {commits} {bare} {errors}")


def append_or_say_why(path: str, patience_s: str) -> None:
    """One append, given up after a while; say how it ended."""
    try:
        with open_log(path, timeout_s=float(patience_s)) as log:
            log.append("fire-why", Ticked())
        say("appended")
    except EventLogError as error:
        say(type(error).__name__)
