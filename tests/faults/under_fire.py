"""Tools of the fault tests: events of their own, writers in processes of their own, and the question "is it sound?"."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlog
from eventlog.app import Log

_started: list[subprocess.Popen[str]] = []


class Ticked(eventlog.Event, frozen=True, kw_only=True, tag="fire.ticked"):
    """An event that only these tests know."""

    worker: int = 0
    number: int = 0
    text: str = ""


def open_log(target: Path | str, **options: object) -> Log:
    """The log, with the tests' own event type."""
    return eventlog.open(target, events=[Ticked], **options)  # type: ignore[arg-type]


def faulty(path: Path) -> str:
    """The URL that opens a log through the faulty disk."""
    return f"sqlite:///{path}?vfs=faulty"


def environment() -> dict[str, str]:
    """A child sees exactly the code that this process sees."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONFAULTHANDLER": "1"}


def start(what: str, path: Path, *arguments: object, stdin: int | None = None) -> subprocess.Popen[str]:
    """Start a worker (a function in ``workers``); it writes one line for each event the log has acknowledged."""
    command = [sys.executable, "-m", "workers", what, str(path), *map(str, arguments)]
    child = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    _started.append(child)
    return child


def end_all() -> None:
    """Kill and reap whatever a test has left running."""
    while _started:
        child = _started.pop()
        child.kill()
        child.communicate() if child.returncode is None else None


def together(path: Path, *commands: tuple[object, ...], timeout_s: float = 60) -> list[list[str]]:
    """Run several workers at once, each given as its name and arguments; every one must end well. Gives their lines."""
    children = [start(str(what), path, *arguments) for what, *arguments in commands]
    ended = [child.communicate(timeout=timeout_s) for child in children]
    for child, (out, err) in zip(children, ended, strict=True):
        assert child.returncode == 0, f"{child.returncode}\n{out[-1000:]}\n{err[-4000:]}"
    return [out.splitlines() for out, _ in ended]


def run(what: str, path: Path, *arguments: object, timeout_s: float = 60) -> list[str]:
    """Run a worker to its end and give its lines; anything but a clean end fails."""
    return together(path, (what, *arguments), timeout_s=timeout_s)[0]


def kill_after(child: subprocess.Popen[str], acknowledged: int, then_s: float = 0.0) -> list[str]:
    """Read that many acknowledgements, wait a moment, SIGKILL, and give every acknowledgement that came out."""
    assert child.stdout is not None and child.stderr is not None
    lines: list[str] = []
    while len(lines) < acknowledged:
        line = child.stdout.readline()
        if not line.endswith("\n"):
            raise AssertionError(f"the worker ended by itself: {child.communicate()[1][-4000:]}")
        lines.append(line.strip())
    time.sleep(then_s)
    child.kill()
    rest, err = child.stdout.read(), child.stderr.read()  # not communicate(), which forgets what is buffered
    child.communicate()
    assert child.returncode == -9, err[-4000:]
    return lines + [line.strip() for line in rest.splitlines(keepends=True) if line.endswith("\n")]


@contextmanager
def fault_free(path: Path) -> Iterator[Log]:
    """The log read through the real disk, beside whatever else holds it open."""
    with open_log(path, mode="r") as log:
        yield log


def keys_in(log: Log) -> list[str]:
    """The keys of all records, in order."""
    return [record.key for record in log.read() if record.key is not None]


def assert_sound(path: Path, acknowledged: Iterable[str] = (), *, open_within_s: float = 5.0) -> float:
    """What must be true after any accident; gives the seconds the open took.

    Every acknowledged key is there once, positions have no gap, the chain verifies, projections equal a fresh fold,
    SQLite finds its pages in order, and the log takes a new event.
    """
    began = time.perf_counter()
    with open_log(path) as log:
        took = time.perf_counter() - began
        assert took < open_within_s, f"opening took {took:.2f} s"
        stored = keys_in(log)
        assert len(stored) == len(set(stored)), "a key is stored twice"
        missing = set(acknowledged) - set(stored)
        assert not missing, f"{len(missing)} acknowledged events are gone, e.g. {sorted(missing)[:5]}"
        assert [r.position for r in log.read()] == list(range(1, log.head().position + 1))
        report = log.verify()
        assert report.ok, report
        assert list(log.projections.verify()) == []
        log.append("fire-afterwards", Ticked(text="works on"))
        assert list(log.projections.verify()) == []
    assert pages_in_order(path) == "ok"
    return took


def pages_in_order(path: Path) -> str:
    """SQLite's own integrity check, read only, with the same library."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """A plain connection, for doing to a log what nobody should."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        yield connection
    finally:
        connection.close()


def fingerprint(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder with its bytes and mode. Only while no connection is open in this process.

    Left out: what reading a log leaves beside it, the lock, the shared index, and a write-ahead log with nothing in it.
    """
    files = (p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix != ".lock" and p.name[-4:] != "-shm")
    found = {p.name: (p.read_bytes(), p.stat().st_mode) for p in files}
    return {name: content for name, content in found.items() if content[0] or not name.endswith("-wal")}


def fill(log: Log, count: int, *, text: str = "") -> None:
    """A small life: runs that end in each way, a project, and ticks; about ``count`` events."""
    log.projects.add("fire") if log.projects.find("fire") is None else None
    for n in range(max(1, count // 10)):
        run = log.runs.start(f"job {n}", project_id="fire", program="job")
        log.append_many(
            [eventlog.Append(stream=f"fire-{n % 7}", events=[Ticked(number=i, text=text) for i in range(7)])]
        )
        if n % 3 == 0:
            log.runs.finish_success(run.run_id, exit_code=0, wall_us=1000 + n)
        elif n % 3 == 1:
            log.runs.finish_fail(run.run_id, reason="told", exit_code=1)
