"""Programs that fork at bad moments."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable

from under_fire import Ticked, open_log

from eventlog.app import Log
from eventlog.errors import EventLogError, LogClosed
from eventlog.log import Tx
from workers.writers import one, say


def child_of_fork(work: Callable[[], None]) -> int:
    """Fork, do the work in the child, and give the pid. The child never returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        say(f"child failed: {error!r}")
    finally:
        os._exit(code)


def fork_inside_a_transaction(path: str, rounds: str) -> None:
    """Parent and child both try to go on with the transaction they were forked in."""
    log = open_log(path)

    def in_child() -> None:
        try:
            log.append("fire-child", Ticked(), key="child")
            say("child: stored")
        except EventLogError as error:
            say(f"child: {type(error).__name__}")
        with contextlib.suppress(EventLogError):
            list(log.read())
        with contextlib.suppress(EventLogError):
            tx.append("fire-child", Ticked(), key="child-tx")

    for number in range(int(rounds)):
        with log.transaction() as tx:
            for part in range(2):
                log.append("fire-parent", Ticked(number=number), key=f"parent-{number}-{part}")
            os.waitpid(child_of_fork(in_child), 0)
            for part in range(2, 4):
                log.append("fire-parent", Ticked(number=number), key=f"parent-{number}-{part}")
    log.close()


def fork_inside_a_decision(path: str, first: str) -> None:
    """A child that goes on with the decision it was forked in, before its parent does or after it."""
    log = open_log(path)
    log.append("fire-1", Ticked(), key="before")
    pid, (waits, ended) = -1, os.pipe()

    def work(tx: Tx) -> None:
        nonlocal pid
        pid = os.fork()
        if pid == 0 and first == "parent":
            os.close(ended)
            os.read(waits, 1)
        elif pid != 0 and first == "child":
            os.waitpid(pid, 0)
        tx.append("fire-1", [Ticked(number=number) for number in range(5)])

    told = "committed"
    try:
        log.decide(work)
    except BaseException as error:
        told = type(error).__name__
    if pid == 0:
        say(f"child: {told}")
        os._exit(0)
    os.close(ended)
    if first == "parent":
        os.waitpid(pid, 0)
    say(f"parent: {told}")
    log.append("fire-1", Ticked(), key="after")
    say(f"head {log.head().position}")
    log.close()


def fork_and_leave_the_block(path: str) -> None:
    """A child that runs off the end of the transaction it was forked in, like a program that forgot os._exit."""
    log = open_log(path)
    pid = -1
    try:
        with log.transaction():
            log.append("fire-parent", Ticked(), key="parent")
            pid = os.fork()
        say("parent: committed" if pid else "child: left the block without a word")
    except EventLogError as error:
        say(f"{'parent' if pid else 'child'}: {type(error).__name__}")
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    log.close()


def fork_between_transactions(path: str, rounds: str) -> None:
    """Parent and child both append after the fork, at the same time."""
    log = open_log(path)
    reading = log.read()
    for number in range(int(rounds)):

        def write(who: str, number: int = number) -> None:
            for i in range(5):
                log.append(f"fire-{who}", Ticked(number=i), key=f"{who}-{number}-{i}")
                assert sum(1 for _ in log.read()) > i

        pid = child_of_fork(functools.partial(write, "child"))
        write("parent")
        next(reading, None)
        _, status = os.waitpid(pid, 0)
        say(f"child ended with {os.waitstatus_to_exitcode(status)}")
    log.close()


def fork_among_threads(path: str, rounds: str) -> None:
    """Fork while threads append and read; each child appends through the same log object."""
    log = open_log(path)
    ending = threading.Event()

    def loop(name: str) -> None:
        number = 0
        while not ending.is_set():
            one(log, name, number)
            number += 1

    threads = [threading.Thread(target=loop, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for number in range(int(rounds)):
        time.sleep(0.05)

        def in_child(number: int = number) -> None:
            try:
                log.append("fire-child", Ticked(), key=f"forked-{number}")
                say(f"forked-{number}")
            except LogClosed:
                say("child refused")

        pid = child_of_fork(in_child)
        deadline = time.monotonic() + 15
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                say("child hung")
                break
            time.sleep(0.01)
    ending.set()
    for thread in threads:
        thread.join()
    log.close()
    say("all children ended")


_pool_log: Log | None = None


def pool_task(path: str, number: int) -> int:
    """What each task of a multiprocessing pool does."""
    global _pool_log
    if _pool_log is None:
        _pool_log = open_log(path)
    _pool_log.append("fire-pool", Ticked(number=number), key=f"pool-{number}")
    return number


def multiprocessing_pool(path: str, method: str) -> None:
    """A pool of workers, started each way Python knows, with the log open in the parent."""
    import multiprocessing

    from workers import forks  # so that a spawned worker finds the task by its name

    log = open_log(path)
    next(log.read(), None)
    forks._pool_log = log if method == "fork" else None
    with multiprocessing.get_context(method).Pool(3) as pool:
        done = pool.starmap(forks.pool_task, [(path, n) for n in range(12)])
    assert sorted(done) == list(range(12))
    say(f"{sum(1 for r in log.read() if r.key)} stored")
    log.close()
