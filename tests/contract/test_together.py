"""Several appends together: `append_many`, `transaction`, `decide`; all or nothing, and reads inside see it."""

from __future__ import annotations

import threading

import pytest

from eventlog import ANY, EXISTS, NO_STREAM, Append
from eventlog.app import Log
from eventlog.committer import Appended
from eventlog.errors import EventLogError, InvalidEvent, KeyReused, WrongExpectedVersion
from eventlog.log import Tx
from tests.conftest import OpenLog
from tests.helpers import Noted, assert_whole, in_child, in_threads, notes, numbers, positions, thread, within


def test_append_many_writes_to_several_streams_in_order(log: Log) -> None:
    log.append("note-2", Noted())
    results = log.append_many(
        [
            Append(stream="note-1", events=notes(2), expect=NO_STREAM, actor="a"),
            Append(stream="note-2", events=Noted(), expect=1, occurred_at=5),
            Append(stream="note-1", events=Noted(), expect=2, metadata={"m": 1}),
        ]
    )
    assert results == [Appended(2, 3, 2), Appended(4, 4, 2), Appended(5, 5, 3)]
    assert [(r.stream, r.version, r.actor) for r in log.read(1)] == [
        ("note-1", 1, "a"),
        ("note-1", 2, "a"),
        ("note-2", 2, None),
        ("note-1", 3, None),
    ]
    assert_whole(log)


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (Append(stream="note-2", events=Noted(), expect=EXISTS), WrongExpectedVersion),
        (Append(stream="note-1", events=Noted(), expect=0), WrongExpectedVersion),
        (Append(stream="note-2", events=Noted(text="other"), key="k"), KeyReused),
        (Append(stream="note-2", events=Noted(text="\ud800")), InvalidEvent),
    ],
    ids=["not there", "wrong after the first part", "key", "invalid"],
)
def test_append_many_writes_nothing_when_a_part_fails(log: Log, last: Append, error: type[Exception]) -> None:
    log.append("note-0", Noted(), key="k")
    head = log.head()
    with pytest.raises(error):
        log.append_many([Append(stream="note-1", events=notes(3)), last])
    assert log.head() == head
    assert list(log.read_stream("note-1")) == []
    assert log.append("note-1", Noted(), expect=NO_STREAM).version == 1
    assert_whole(log)


def test_a_transaction_commits_everything_at_its_end(log: Log) -> None:
    with log.transaction() as tx:
        log.append("note-1", Noted(number=1))
        tx.append("note-1", Noted(number=2))
        log.append_many([Append(stream="note-2", events=notes(2))])
        log.decide(lambda inner: inner.append("note-2", Noted()))
    assert [(r.stream, r.version) for r in log.read()] == [
        ("note-1", 1),
        ("note-1", 2),
        ("note-2", 1),
        ("note-2", 2),
        ("note-2", 3),
    ]
    assert_whole(log)


@pytest.mark.shared
def test_others_see_nothing_of_an_open_transaction(log: Log, open_log: OpenLog) -> None:
    other = open_log()
    with log.transaction():
        log.append("note-1", Noted())
        assert other.head().position == 0
        assert within(10, lambda: log.head().position) == 0
    assert other.head().position == 1


def test_a_transaction_that_raises_leaves_nothing(log: Log) -> None:
    log.append("note-1", Noted())
    head = log.head()
    with pytest.raises(ZeroDivisionError), log.transaction():
        log.append("note-1", notes(3))
        assert log.head().position == 4
        raise ZeroDivisionError
    assert log.head() == head
    assert log.append("note-1", Noted(), expect=1) == (2, 2, 2, False)
    assert_whole(log)


def test_reads_inside_a_transaction_see_what_it_did(log: Log) -> None:
    log.append("note-1", Noted(number=0))
    with log.transaction() as tx:
        log.append("note-1", Noted(number=1))
        assert positions(log.read()) == [1, 2]
        assert numbers(log.read_stream("note-1")) == [0, 1]
        assert [record.version for record in tx.read_stream("note-1", after=1)] == [2]
        assert tx.stream_version("note-1") == 2
        assert log.head().position == 2
        assert tx.reader.head() == log.head()
        run = log.runs.start("inside")
        assert log.runs.get(run.run_id).command == "inside"
        assert log.runs.count() == 1
    assert log.runs.count() == 1


def test_an_append_that_fails_inside_a_transaction_fails_alone(log: Log) -> None:
    with log.transaction():
        log.append("note-1", Noted())
        with pytest.raises(WrongExpectedVersion):
            log.append("note-1", notes(2), expect=7)
        with pytest.raises(WrongExpectedVersion):
            log.append_many(
                [Append(stream="note-2", events=Noted()), Append(stream="note-1", events=Noted(), expect=9)]
            )
        log.append("note-1", Noted(), expect=1)
    assert [(r.stream, r.version) for r in log.read()] == [("note-1", 1), ("note-1", 2)]
    assert_whole(log)


def test_a_nested_transaction_can_fail_alone(log: Log) -> None:
    with log.transaction():
        log.append("note-1", Noted(number=1))
        with pytest.raises(ZeroDivisionError), log.transaction():
            log.append("note-1", Noted(number=2))
            log.runs.start("undone")
            with log.transaction():
                log.append("note-2", Noted())
            raise ZeroDivisionError
        assert log.runs.count() == 0
        with log.transaction():
            log.append("note-1", Noted(number=3))
    assert numbers(log.read_stream("note-1")) == [1, 3]
    assert list(log.read_stream("note-2")) == []
    assert_whole(log)
    assert log.projections.verify() == []


def test_a_nested_transaction_goes_down_with_the_outer_one(log: Log) -> None:
    with pytest.raises(ZeroDivisionError), log.transaction():
        with log.transaction():
            log.append("note-1", Noted())
        raise ZeroDivisionError
    assert log.head().position == 0
    assert log.append("note-1", Noted()).version == 1


def test_an_empty_transaction_writes_nothing(log: Log) -> None:
    log.append("note-1", Noted())
    head = log.head()
    with log.transaction():
        pass
    assert log.head() == head


def test_a_transaction_is_of_its_thread_and_others_wait(log: Log) -> None:
    order: list[str] = []

    def other() -> None:
        log.append("note-2", Noted())
        order.append("other")

    with log.transaction():
        waiting = threading.Thread(target=other)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        log.append("note-1", Noted())
        order.append("first")
    waiting.join(10)
    assert order == ["first", "other"]
    assert [record.stream for record in log.read()] == ["note-1", "note-2"]


def test_a_transaction_used_after_its_end_is_refused_and_harms_nothing(log: Log) -> None:
    with log.transaction() as tx:
        tx.append("note-1", Noted())
    leaked: list[Tx] = []
    log.decide(leaked.append)
    for over in (tx, *leaked):
        with pytest.raises(EventLogError):
            over.append("note-1", Noted())
    assert log.append("note-1", Noted()) == (2, 2, 2, False)
    assert_whole(log)


def test_decide_reads_the_present_and_appends_together(log: Log) -> None:
    log.append("note-1", notes(2))

    def work(tx: Tx) -> str:
        assert tx.stream_version("note-1") == 2
        assert len(tx.read_stream("note-1")) == 2
        tx.append("note-1", Noted(number=7))
        assert [record.event.number for record in tx.read_stream("note-1", after=2)] == [7]  # type: ignore[union-attr]
        tx.append("note-2", Noted(), expect=NO_STREAM)
        return "done"

    assert log.decide(work) == "done"
    assert [(r.stream, r.version) for r in log.read(2)] == [("note-1", 3), ("note-2", 1)]


def test_decide_that_raises_leaves_nothing_not_even_what_reading_wrote(log: Log) -> None:
    def work(tx: Tx) -> None:
        tx.append("run-1", Noted())
        assert tx.read_stream("run-1")  # writes what was appended, so that it can be read
        tx.append("run-1", Noted())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.decide(work)
    assert log.head().position == 0
    assert log.append("run-1", Noted(), expect=NO_STREAM).version == 1
    assert_whole(log)


def test_decide_undoes_table_rows_with_its_events(log: Log) -> None:
    run = log.runs.start("kept")

    def work(tx: Tx) -> None:
        from eventlog.events.runs import RunNoted, RunStarted

        tx.append("run-9", RunStarted(command="undone"))
        tx.append(f"run-{run.run_id}", RunNoted(note="undone"))
        assert tx.read_stream("run-9")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.decide(work)
    assert log.runs.find(9) is None
    assert log.runs.get(run.run_id).note == ""
    log.runs.note(run.run_id, "after")
    assert log.projections.verify() == []


def _while_the_writer_is_held(log: Log, count: int, work: object) -> list[object]:
    """Threads whose work waits together, so that one commit takes it all."""
    entered = threading.Event()

    def hold(tx: Tx) -> None:
        entered.set()
        threading.Event().wait(0.3)

    with thread(lambda: log.decide(hold)):
        assert entered.wait(10)
        return in_threads(count, work)  # type: ignore[arg-type]


def test_decides_in_one_commit_see_each_other(log: Log) -> None:
    def work(number: int) -> int:
        def claim(tx: Tx) -> int:
            version = tx.stream_version("counter-1")
            assert version == len(tx.read_stream("counter-1"))
            tx.append("counter-1", Noted(number=version), expect=version)
            return version

        return log.decide(claim)

    assert sorted(_while_the_writer_is_held(log, 8, work)) == list(range(8))  # type: ignore[type-var]
    assert numbers(log.read_stream("counter-1")) == list(range(8))
    assert_whole(log)


def test_decides_and_appends_in_one_commit_fail_alone(log: Log) -> None:
    log.append("taken-1", Noted())

    def work(number: int) -> str:
        def decision(tx: Tx) -> None:
            tx.append(f"own-{number}", notes(2))
            tx.read_stream(f"own-{number}")
            if number % 4 == 1:
                raise ZeroDivisionError

        try:
            if number % 2:
                log.decide(decision)
            else:
                log.append_many(
                    [
                        Append(stream=f"own-{number}", events=notes(2)),
                        Append(stream="taken-1", events=Noted(), expect=ANY if number % 4 else 0),
                    ]
                )
        except (ZeroDivisionError, WrongExpectedVersion) as error:
            return type(error).__name__
        return "stored"

    outcomes = _while_the_writer_is_held(log, 8, work)
    assert outcomes == ["WrongExpectedVersion", "ZeroDivisionError", "stored", "stored"] * 2
    assert {r.stream for r in log.read(categories="own")} == {"own-2", "own-3", "own-6", "own-7"}
    assert_whole(log)
    assert log.projections.verify() == []


def test_the_log_used_inside_decide_is_part_of_it(target: str) -> None:
    assert in_child("append_inside_decide", target) == "part of it\n"


def test_a_decision_that_fails_takes_back_what_the_log_itself_did_inside(log: Log) -> None:
    def work(tx: Tx) -> None:
        log.append("note-1", Noted())
        with log.transaction():
            log.append("note-1", Noted())
        assert log.head().position == 2
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.decide(work)
    assert log.head().position == 0
    assert log.append("note-1", Noted()) == (1, 1, 1, False)
