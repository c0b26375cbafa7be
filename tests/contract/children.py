"""What may hang or kill its process when it goes wrong: run by `tests.helpers.in_child`, one function each."""

from __future__ import annotations

import asyncio
import faulthandler
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlog
from eventlog.app import Log
from eventlog.errors import EventLogError
from tests.helpers import EVENTS, Noted, assert_whole, in_threads, notes, thread, within


def open_log(target: str) -> Log:
    return eventlog.open(target, events=EVENTS)


@contextmanager
def held(log: Log, seconds: float | None = None) -> Iterator[threading.Event]:
    """While the block runs (or for some seconds), a thread leads a commit that does not end."""
    entered, leave = threading.Event(), threading.Event()

    def hold(tx: Any) -> None:
        entered.set()
        assert leave.wait(seconds or 20) or seconds
        tx.append("held-1", Noted())

    with thread(lambda: log.decide(hold)):
        assert entered.wait(10)
        yield leave
        leave.set()


def append_inside_decide(target: str) -> None:
    def work(tx: Any) -> None:
        log.append("note-1", Noted())
        tx.append("note-1", Noted())
        with log.transaction() as inner:
            inner.append("note-1", Noted())
        assert log.head().position == 3

    with open_log(target) as log:
        log.decide(work)
        assert log.append("note-1", Noted()).version == 4
        assert_whole(log)
    print("part of it")


def cancelled_before_its_turn(target: str) -> None:
    """An `await` given up while a thread commits, its event loop closed before its turn comes."""
    with open_log(target) as log:
        with held(log) as leave:

            async def give_up() -> None:
                try:
                    await asyncio.wait_for(log.aio.append("note-1", Noted()), 0.2)
                except TimeoutError:
                    print("given up")

            asyncio.run(give_up())
            waiting = threading.Thread(target=lambda: log.append("note-2", Noted()))
            waiting.start()
            time.sleep(0.1)
            leave.set()
        waiting.join(10)
        assert not waiting.is_alive()
        within(10, lambda: log.append("note-3", Noted()))
        assert next(log.read()).stream == "held-1"
        assert_whole(log)


def as_of_inside_transaction(target: str) -> None:
    with open_log(target) as log:
        log.runs.start("before")
        head = log.head().position
        with log.transaction():
            log.runs.start("inside")
            try:
                with log.as_of(head) as past:
                    print(past.runs.count())
            except EventLogError:
                print("told")
        assert log.runs.count() == 2


def _interrupt_after(seconds: float, again: float = 0.0) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds, again)


def _arm() -> None:
    def raise_interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, raise_interrupt)


def interrupted_while_waiting(target: str) -> None:
    """Ctrl-C in the main thread while another thread commits: the append leaves the queue, or is stored; never both."""
    _arm()
    with open_log(target) as log:
        with held(log) as leave:
            others = [threading.Thread(target=lambda n=n: log.append(f"own-{n}", Noted())) for n in range(3)]
            for other in others[:2]:
                other.start()
            time.sleep(0.1)
            _interrupt_after(0.2)
            try:
                log.append("main-1", Noted())
            except KeyboardInterrupt:
                print("interrupted")
            others[2].start()
            time.sleep(0.05)
            leave.set()
            for other in others:
                other.join(10)
                assert not other.is_alive()
        assert log.append("main-2", Noted()).version == 1
        assert sorted(r.stream for r in log.read()) == ["held-1", "main-2", "own-0", "own-1", "own-2"]
        assert_whole(log)


def interrupted_while_next(target: str) -> None:
    """Ctrl-C while the main thread's append is the next to lead: seen through, then interrupted; others go on."""
    _arm()
    with open_log(target) as log:
        with held(log) as leave:
            threading.Timer(0.5, leave.set).start()
            _interrupt_after(0.2)
            try:
                log.append("main-1", Noted())
            except KeyboardInterrupt:
                print("interrupted")
        in_threads(3, lambda n: log.append(f"own-{n}", Noted()))
        assert log.append("main-2", Noted()).version == 1
        assert len(list(log.read_stream("main-1"))) <= 1
        assert_whole(log)


def interrupted_while_deciding(target: str) -> None:
    """Ctrl-C inside the main thread's own decision: nothing of it is stored, the others' appends are."""
    _arm()
    with open_log(target) as log:
        log.append("note-0", Noted())

        def work(tx: Any) -> None:
            tx.append("main-1", notes(3))
            tx.read_stream("main-1")
            _interrupt_after(0.2)
            time.sleep(5)

        others = [threading.Thread(target=lambda n=n: log.append(f"own-{n}", Noted())) for n in range(3)]
        for other in others:
            threading.Timer(0.1, other.start).start()
        try:
            log.decide(work)
        except KeyboardInterrupt:
            print("interrupted")
        for other in others:
            other.join(10)
            assert not other.is_alive()
        assert list(log.read_stream("main-1")) == []
        assert len(list(log.read(categories="own"))) == 3
        assert log.append("main-1", Noted()).version == 1
        assert_whole(log)


def interrupted_in_a_transaction(target: str) -> None:
    _arm()
    with open_log(target) as log:
        try:
            with log.transaction():
                log.append("note-1", Noted())
                _interrupt_after(0.1)
                time.sleep(5)
        except KeyboardInterrupt:
            print("interrupted")
        assert log.append("note-1", Noted()) == (1, 1, 1, False)


def interrupted_at_any_moment(target: str) -> None:
    """Ctrl-C again and again, at moments nobody chose: each time the log works on and nothing acknowledged is lost."""
    armed = False

    def maybe(*_: object) -> None:
        if armed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, maybe)
    chance = random.Random(7)
    acknowledged, interrupts = [], 0
    with open_log(target) as log:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            try:
                armed = True
                # Again and again: one that falls into a finalizer is swallowed.
                _interrupt_after(chance.uniform(0.0003, 0.006), 0.25)
                while True:
                    acknowledged.append(log.append("note-1", Noted(), durability="process").first)
            except KeyboardInterrupt:
                armed = False
                interrupts += 1
                assert within(5, lambda: log.append("other-1", Noted(), durability="process")).first
        _interrupt_after(0)
        assert interrupts > 10
        assert set(acknowledged) <= {record.position for record in log.read(streams="note-1")}
        assert_whole(log)
    print("whole")


if __name__ == "__main__":
    faulthandler.dump_traceback_later(20)
    globals()[sys.argv[1]](sys.argv[2])
    faulthandler.cancel_dump_traceback_later()
