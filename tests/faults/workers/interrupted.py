"""Programs that get Ctrl-C: at every line there is, again and again, and in the middle of what a server does."""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import psycopg
import sqlalchemy
from pg import opened
from under_fire import Ticked, keys_in, open_log

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError, OutcomeUnknown
from tests.helpers import eventually, within
from workers.writers import say

OURS = (os.path.dirname(str(eventlog.__file__)),)
EVERYBODYS = (*OURS, *(os.path.dirname(str(package.__file__)) for package in (psycopg, sqlalchemy)))


class AtLine:
    """Raises KeyboardInterrupt at the n-th line that a block runs in some code.

    Also when a ``with`` has been entered and its block not yet: what it holds is then given back by nobody.
    """

    def __init__(self, number: int, code: tuple[str, ...]) -> None:
        self.left = number
        self.code = code
        self.place = ""
        self._entered: set[tuple[FrameType, int]] = set()

    def __enter__(self) -> AtLine:
        sys.settrace(self._call)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code.co_filename == contextlib.__file__ and code.co_name == "__enter__":
            return self._with if self.code in (EVERYBODYS, ()) else None
        # What is raised inside a finalizer is swallowed: it is not counted.
        if not code.co_filename.startswith(self.code) or code.co_name in ("__del__", "<lambda>"):
            return None
        return self._line

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and not self._is_leaving(frame):
            self._count(frame)
        return self._line

    def _with(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "return" and _is_suspended(frame.f_locals["self"]):
            self._count(frame)
        return self._with

    def _count(self, frame: FrameType) -> None:
        self.left -= 1
        if self.left < 0:
            self.place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
            raise KeyboardInterrupt

    def _is_leaving(self, frame: FrameType) -> bool:
        """Whether the end of a ``with`` is traced, before its lock is given back: no signal is looked at there."""
        if not linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
            return False
        if (frame, frame.f_lineno) in self._entered:
            return True
        self._entered.add((frame, frame.f_lineno))
        return False


def _is_suspended(context: object) -> bool:
    generator = getattr(context, "gen", None)
    return generator is not None and generator.gi_frame is not None


def work_of(log: Log, what: str) -> Callable[[str], object]:
    """Something to interrupt, that appends under a key."""

    def append(key: str) -> object:
        return log.append("fire-line", Ticked(), key=key)

    def many(key: str) -> object:
        """The server begins with them before the commit."""
        return log.append_many([eventlog.Append(stream="fire-many", events=[Ticked()] * 25, key=key)])

    def copy(key: str) -> object:
        return log.append_many([eventlog.Append(stream="fire-many", events=[Ticked()] * 100, key=key)])

    def run(key: str) -> object:
        from eventlog.events.runs import RunStarted

        return log.runs.append_start(RunStarted(command=key), key=key)

    def transaction(key: str) -> object:
        with log.transaction() as tx:
            return tx.append("fire-line", Ticked(), key=key)

    def read(key: str) -> object:
        list(log.read())
        with log.as_of(1) as past:
            past.runs.count()
        return log.append("fire-line", Ticked(), key=key)

    def rebuild(key: str) -> object:
        log.projections.rebuild(["runs"])
        return log.append("fire-line", Ticked(), key=key)

    return {f.__name__: f for f in (append, many, copy, run, transaction, read, rebuild)}[what]


def line_by_line(url: str, what: str, code: str, step: str) -> None:
    """Interrupt the work at each of its lines, or about every n-th.

    ``code`` is ours, or all (the driver's too), or withs: only where a ``with`` was entered and its block not yet.

    Each time the log works on, and nothing is half done or done later.
    """
    faulthandler.dump_traceback_later(100, exit=True)
    # SQLAlchemy can lose a place of its pool to an interrupt inside its own code; that is not what is asked here.
    with opened(url, pool={"max_overflow": 1000}) as log, open_log(url) as other:
        log.runs.start("first")
        work = work_of(log, what)
        work("warm")
        number, interrupts = -1, 0
        chance = random.Random(what)
        acknowledged = {"warm"}
        while True:
            number += chance.randrange(1, 2 * int(step))
            key = f"{what}-{number}"
            at = AtLine(number, {"ours": OURS, "all": EVERYBODYS, "withs": ()}[code])
            try:
                with at:
                    work(key)
                acknowledged.add(key)
                if at.left >= 0:
                    break  # it ran to its end
            except KeyboardInterrupt:
                interrupts += 1
            stored = other.store.reader
            with stored() as reader:
                before = reader.record_with_key(key)
            assert within(5, lambda: log.append("fire-next", Ticked()).first), at.place
            with stored() as reader:
                after = reader.record_with_key(key)
            assert before == after, f"interrupted at {at.place}, it was stored by what came after"
        keys = keys_in(log)
        assert acknowledged <= set(keys)
        assert len(keys) == len(set(keys))
        assert log.verify().ok
        assert log.projections.verify() == []
        say(f"{interrupts} interrupts, to line {number}")


def entering_a_copy(url: str, what: str) -> None:
    """Ctrl-C when a COPY has begun, and the block that feeds it has not: the driver's lock is still held then."""
    with open_log(url) as log:
        work = work_of(log, what)
        work("before")
        try:
            with AtLine(0, ()) as at:
                work("never")
        except KeyboardInterrupt:
            say(f"interrupted at {at.place.split(':')[0]}")
        log.append("fire-1", Ticked(), key="after")


def in_the_middle(url: str, again_s: str) -> None:
    """Ctrl-C while the server works at something for long; say when it was told in time, and what works then."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with open_log(url) as log:
        log.append("fire-1", Ticked(), key="before")

        def wait_for_the_head() -> None:
            with psycopg.connect(url) as stranger:
                stranger.execute("SELECT generation FROM log_head FOR UPDATE")
                log.append("fire-1", Ticked(), key="never")

        def read() -> None:
            with log.reader() as reader:
                reader.execute("SELECT pg_sleep(20)")  # type: ignore[attr-defined]

        def copy() -> None:
            with log.transaction() as tx:
                tx.append("fire-1", [Ticked(text="x" * 50_000)] * 400, key="never")
                tx.reader.execute("SELECT pg_sleep(20)")  # type: ignore[attr-defined]

        for work in (wait_for_the_head, read, copy):
            began = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.3, float(again_s))
            try:
                work()
                say("never interrupted")
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
                say(f"{work.__name__}: {'interrupted' if time.monotonic() - began < 10 else 'too late'}")
            assert keys_in(log) == ["before"]
        log.append("fire-1", Ticked(), key="after")


def group_interrupted_at_commit(url: str, times: str, patience_s: str = "15") -> None:
    """The main thread's commit carries the appends of others, and is interrupted while its answer is on the way."""
    told_others: list[str] = []

    def append(number: int) -> None:
        try:
            log.append(f"fire-{number}", Ticked())
            told_others.append("stored")
        except EventLogError as error:
            told_others.append(type(error).__name__)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    with open_log(url) as log:
        entered, leave, told = threading.Event(), threading.Event(), threading.Event()
        store: Any = log.store
        store.timeout_s = float(patience_s)

        def hold(tx: Any) -> None:
            entered.set()
            assert leave.wait(20)
            tx.append("fire-held", Ticked())

        threads = [threading.Thread(target=log.decide, args=(hold,))]
        threads[0].start()
        assert entered.wait(10)

        def release() -> None:
            eventually(lambda: len(log.committer._queue) == 2)  # the main thread's append is next
            for number in range(3):
                threads.append(threading.Thread(target=append, args=(number,)))
                threads[-1].start()
            eventually(lambda: len(log.committer._queue) == 5)
            leave.set()
            threads[0].join(10)
            eventually(lambda: store._in_doubt)
            for _ in range(int(times)):
                if not told.is_set():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
                    told.wait(0.15)

        releasing = threading.Thread(target=release)
        releasing.start()
        try:
            log.append("fire-main", Ticked())
            say("not interrupted")
        except KeyboardInterrupt:
            told.set()
            say("interrupted")
        except OutcomeUnknown:
            told.set()
            say("unknown")
        releasing.join(20)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        say(" ".join(told_others))
        if told_others != ["stored"] * 3:
            return
        log.append("fire-last", Ticked())
        say(" ".join(sorted(record.stream for record in log.read())))
