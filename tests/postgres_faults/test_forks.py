"""A child of a process with an open log has connections of its own; its parent's are neither used nor closed by it."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pg import assert_sound, backends, opened, session, somebody_waits
from under_fire import Ticked, keys_in, run

from eventlog.app import Log
from eventlog.errors import LogClosed
from tests.helpers import thread


def in_fork(work: Callable[[], object]) -> None:
    """Work in a child, which ends as a program does whose work is done; or that of a test, with an error."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            os.write(2, f"the child failed: {error!r}\n".encode())
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def my_backends(log: Log) -> list[int]:
    """The backends that this process's connections of a log belong to."""
    with log.reader() as reader, log.transaction() as tx:
        return [reader.connection.info.backend_pid, tx.reader.connection.info.backend_pid]  # type: ignore[attr-defined]


def test_a_child_appends_and_reads_by_connections_of_its_own(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        log.append("fire-1", Ticked(), key="before")
        list(log.read())
        mine = my_backends(log)

        def work() -> None:
            assert keys_in(log) == ["before"]
            assert log.append("fire-1", Ticked(), key="child") == (2, 2, 2, False)
            theirs = my_backends(log)
            assert set(theirs).isdisjoint(mine)
            log.close()
            gc.collect()

        in_fork(work)
        assert set(mine) <= set(backends(watch))
        assert my_backends(log) == mine
        assert log.append("fire-1", Ticked(), key="after") == (3, 3, 3, False)
    assert_sound(url, ["before", "child", "after"])


@pytest.mark.parametrize("how", ["ends", "raises"])
def test_a_child_that_ends_like_any_program_leaves_its_parents_connections_alone(url: str, how: str) -> None:
    """It runs its finalizers and collects its garbage, which a child that leaves by os._exit does not."""
    lines = run("child_that_ends", url, how)
    assert lines == [f"child {how}", f"parent goes on, child ended with {int(how == 'raises')}"]
    assert_sound(url, ["before", "child", "in the transaction", "after"])


def test_a_child_forked_inside_a_transaction_cannot_use_it_and_its_parent_loses_nothing(url: str) -> None:
    with opened(url) as log:
        with log.transaction() as tx:
            tx.append("fire-1", [Ticked(number=n) for n in range(30)], key="first")
            tx.stream_version("fire-1")

            def work() -> None:
                for refused in (
                    lambda: tx.read_stream("fire-1"),
                    lambda: tx.append("fire-unknown", Ticked()),
                    lambda: tx.reader.head(),
                    lambda: log.committer.commit(tx.transaction),
                ):
                    with pytest.raises(LogClosed):
                        refused()
                assert log.head().position == 0
                gc.collect()

            in_fork(work)
            tx.append("fire-1", Ticked(), key="second")
        assert keys_in(log)[0] == "first"
        assert log.head().position == 31
    assert_sound(url, ["first", "second"])


def test_a_child_that_runs_off_the_end_of_its_parents_transaction_is_told(url: str) -> None:
    assert sorted(run("fork_and_leave_the_block", url)) == ["child: LogClosed", "parent: committed"]
    assert_sound(url, ["parent"])


def told_by(log: Any, decide: Callable[[Any], str]) -> object:
    """What a decision gives, or raises: also in a child that was forked in it, which must not run on into pytest."""
    try:
        return log.decide(decide)
    except BaseException as error:
        return error


def test_a_child_forked_inside_a_decision_is_told_and_the_decision_is_its_parents(url: str) -> None:
    with opened(url) as log:
        children: list[int] = []

        def decide(tx: Any) -> str:
            tx.append("fire-1", Ticked(), key="decided")
            tx.read_stream("fire-1")
            children.append(os.fork())
            tx.append("fire-1", Ticked(), key="afterwards")
            return "decided"

        told = told_by(log, decide)
        if children[0] == 0:
            os._exit(0 if isinstance(told, LogClosed) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
        assert told == "decided"
    assert_sound(url, ["decided", "afterwards"])


@pytest.mark.parametrize("many", [1, 5, 100])
def test_a_child_that_ends_its_parents_decision_sends_and_stores_nothing(url: str, many: int) -> None:
    """However its records would go in: one by one, begun before the commit, or by COPY."""
    with opened(url) as log:
        log.append("fire-1", Ticked(), key="before")
        children: list[int] = []

        def decide(tx: Any) -> str:
            children.append(os.fork())
            if children[0] != 0:
                assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
            tx.append("fire-2", [Ticked(number=n) for n in range(many)], expect=0)
            return "decided"

        told = told_by(log, decide)
        if children[0] == 0:
            os._exit(0 if isinstance(told, LogClosed) and len(children) == 1 else 1)
        assert (told, len(children)) == ("decided", 1)
        assert log.head().position == 1 + many
    assert_sound(url, ["before"])


def test_a_child_forked_while_its_parent_reads_reads_on_and_so_does_its_parent(url: str) -> None:
    with opened(url) as log:
        log.append("fire-1", [Ticked(number=n) for n in range(3000)])
        records = log.read()
        assert next(records).position == 1
        with log.reader() as reader, log.as_of(3000) as past:
            assert past.runs.count() == 0
            mine = reader.connection.info.backend_pid  # type: ignore[attr-defined]

            def work() -> None:
                assert [record.position for record in records] == list(range(2, 3001))
                assert reader.head().position == 3000
                assert reader.connection.info.backend_pid != mine  # type: ignore[attr-defined]
                with pytest.raises(LogClosed):
                    past.runs.count()
                past_log.close()
                gc.collect()

            past_log = past.runs._source
            in_fork(work)
            assert reader.head().position == 3000
            assert reader.connection.info.backend_pid == mine  # type: ignore[attr-defined]
            assert past.runs.count() == 0
        assert [record.position for record in records] == list(range(2, 3001))
    assert_sound(url)


def test_a_child_leaving_a_view_of_the_past_or_a_reader_does_not_close_its_parents(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        log.runs.start("once")
        before = set(backends(watch))
        with log.reader() as reader:
            with log.as_of(1) as past:
                assert past.runs.count() == 1
                child = os.fork()
                if child:
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                    assert past.runs.count() == 1
            if child == 0:
                del past
                gc.collect()
            else:
                assert reader.head().position == 1
        if child == 0:
            gc.collect()
            os._exit(0)
        assert before <= set(backends(watch))
        assert log.append("fire-1", Ticked()).first == 2
    assert_sound(url)


def test_children_of_children_append_too(url: str) -> None:
    with opened(url) as log:
        log.append("fire-0", Ticked(), key="0")

        def generation(number: int) -> None:
            log.append(f"fire-{number}", Ticked(), key=str(number))
            if number < 4:
                in_fork(lambda: generation(number + 1))
            log.append(f"fire-{number}", Ticked(), key=f"{number} again")

        in_fork(lambda: generation(1))
        log.append("fire-0", Ticked(), key="0 again")
        assert keys_in(log) == ["0", "1", "2", "3", "4", "4 again", "3 again", "2 again", "1 again", "0 again"]
    assert_sound(url)


def test_children_forked_while_threads_append_and_read_neither_hang_nor_lose(url: str) -> None:
    lines = run("fork_among_threads", url, 3, timeout_s=60)
    assert lines[-1] == "all children ended"
    assert [line for line in lines if line.startswith("child")] == []
    assert_sound(url, lines[:-1])


def test_a_parents_log_is_as_it_was_after_a_child_is_gone_in_the_middle_of_its_transaction(url: str) -> None:
    with opened(url) as log, session(url) as watch:
        log.append("fire-1", Ticked(), key="before")
        before = set(backends(watch))
        inside = os.pipe()
        pid = os.fork()
        if pid == 0:
            with log.transaction() as tx:
                tx.append("fire-1", [Ticked(), Ticked()], key="lost")
                tx.read_stream("fire-1")
                os.write(inside[1], b"x")
                threading.Event().wait(60)
            os._exit(1)
        os.read(inside[0], 1)
        with thread(lambda: log.append("fire-1", Ticked(), key="after")):
            somebody_waits(watch)
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        for end in inside:
            os.close(end)
        assert keys_in(log) == ["before", "after"]
        assert before <= set(backends(watch))
    assert_sound(url)
