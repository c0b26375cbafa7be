"""What the core suites share: small events of their own, threads and processes that report back, short questions."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import eventlog
from eventlog import Event, Record
from eventlog.app import Log
from eventlog.store.memory import MemoryStore
from eventlog.store.postgres import PostgresStore

T = TypeVar("T")
ROOT = Path(__file__).parents[1]


class Noted(Event, frozen=True, kw_only=True, tag="test.noted"):
    """The everyday event of these tests."""

    text: str = ""
    number: int = 0


class Measured(Event, frozen=True, kw_only=True, tag="test.measured"):
    """An event that can hold anything."""

    value: float = 0.0
    anything: Any = None
    parts: dict[str, Any] = {}


EVENTS = (Noted, Measured)


def notes(count: int, start: int = 0) -> list[Noted]:
    """Events numbered from ``start``."""
    return [Noted(number=start + number) for number in range(count)]


def positions(records: Iterable[Record]) -> list[int]:
    """The positions of records, as they come."""
    return [record.position for record in records]


def numbers(records: Iterable[Record]) -> list[int]:
    """The numbers in `Noted` events, as they come."""
    return [int(record.event.number) for record in records]  # type: ignore[union-attr]


def columns(record: Record) -> tuple[Any, ...]:
    """A record's columns, without the codec that reads it."""
    return msgspec.structs.astuple(record)[:14]


def assert_whole(log: Log) -> None:
    """Positions and versions without gaps, a chain that verifies."""
    versions: dict[str, int] = {}
    for expected, record in enumerate(log.read(), start=1):
        assert record.position == expected
        versions[record.stream] = versions.get(record.stream, 0) + 1
        assert record.version == versions[record.stream], record
    report = log.verify()
    assert report.ok, report


def in_threads(count: int, work: Callable[[int], T], timeout_s: float = 30) -> list[T]:
    """``work(n)`` in threads that begin together; results in order, the first error raised."""
    barrier = threading.Barrier(count)
    results: dict[int, T] = {}

    def begin(number: int) -> None:
        barrier.wait(timeout_s)
        results[number] = work(number)

    with contextlib.ExitStack() as stack:
        for number in range(count):
            stack.enter_context(thread(lambda number=number: begin(number), timeout_s))
    return [results[number] for number in range(count)]


@contextmanager
def thread(work: Callable[[], object], timeout_s: float = 30) -> Iterator[threading.Thread]:
    """A thread beside the block; it must end, and without an error."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    yield running
    running.join(timeout_s)
    assert not running.is_alive(), "the thread hangs"
    if failed:
        raise failed[0]


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of work that must not hang."""
    results: list[T] = []
    with thread(lambda: results.append(work()), seconds):
        pass
    return results[0]


def eventually(true: Callable[[], object], timeout_s: float = 10) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def in_processes(count: int, work: Callable[..., None], *arguments: object, method: str = "spawn") -> None:
    """``work(n, *arguments)`` in processes of their own; each must end well."""
    context = multiprocessing.get_context(method)
    children = [context.Process(target=work, args=(number, *arguments)) for number in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    codes = [child.exitcode for child in children]
    for child in children:
        if child.is_alive():
            child.kill()
    assert codes == [0] * count


def append_notes(worker: int, path: str, each: int, durability: str = "process") -> None:
    """Work for a process: append to a stream of its own and to one of all, one event each call."""
    with eventlog.open(path) as log:
        for number in range(each):
            log.append(f"own-{worker}", Noted(number=number), durability=durability)  # type: ignore[arg-type]
            log.append("shared-1", Noted(number=number), durability=durability)  # type: ignore[arg-type]


def start_runs(worker: int, path: str, each: int) -> None:
    """Work for a process: start runs and finish every second one."""
    with eventlog.open(path) as log:
        for number in range(each):
            run = log.runs.start(f"worker {worker} run {number}", durability="process")
            if number % 2:
                log.runs.finish_success(run.run_id)


_CATALOGUE = "SELECT type, tbl_name FROM sqlite_schema WHERE tbl_name != 'events' ORDER BY 1, 2"
_PG_CATALOGUE = (
    "SELECT 'table', tablename FROM pg_tables WHERE schemaname = current_schema() "
    "UNION ALL SELECT 'index', tablename FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1, 2"
)
_TRIGGERS = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"


class Back:
    """A plain connection to a log's tables: ``?`` marks values, whatever the database."""

    def __init__(self, execute: Callable[..., Any], impossible: str, catalogue: str) -> None:
        self.execute = execute
        self.catalogue = catalogue
        """Asks for the kinds and tables of everything that was made."""
        self.impossible = impossible
        """What stands, in SQL, for data that no event has."""


@contextmanager
def behind_the_back(log: Log) -> Iterator[Back]:
    """A plain connection to a log's tables, its triggers out of the way while the block runs."""
    store = log.store
    if isinstance(store, PostgresStore):
        with contextlib.closing(store.builder()) as session:
            session.execute("ALTER TABLE events DISABLE TRIGGER USER")
            # JSON is never written from text by itself, and only data is of that kind here.
            yield Back(lambda sql, values=(): session.execute(_as_json(sql), values), "'[]'", _PG_CATALOGUE)
            session.execute("ALTER TABLE events ENABLE TRIGGER USER")
        return
    own = not isinstance(store, MemoryStore)
    connection = sqlite3.connect(log.path, isolation_level=None, timeout=10) if own else store._connection
    try:
        triggers = connection.execute(_TRIGGERS).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield Back(connection.execute, "CAST(X'7BFF7D' AS TEXT)", _CATALOGUE)
        for _, sql in triggers:
            connection.execute(sql)
    finally:
        if own:
            connection.close()


def _as_json(sql: str) -> str:
    return re.sub(r"SET data = (.*) WHERE", r"SET data = CAST(\1 AS JSON) WHERE", sql)


def in_child(what: str, target: str, timeout_s: float = 30) -> str:
    """A function of `tests.contract.children` in a process of its own, because it may hang; what it printed."""
    command = [sys.executable, "-P", "-m", "tests.contract.children", what, target]
    paths = os.pathsep.join([*(path for path in sys.path if path), str(ROOT)])  # the very code that runs here
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as expired:
        said = (expired.stderr or b"").decode() if isinstance(expired.stderr, bytes) else expired.stderr or ""
        raise AssertionError(f"{what} hangs\n{said[-3000:]}") from None
    assert done.returncode == 0, f"{what} ended with {done.returncode}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    return done.stdout
