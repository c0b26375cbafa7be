"""Idempotency keys: a retry adds nothing, another content is refused, and nobody else suffers."""

from __future__ import annotations

import threading

import pytest

from eventlog import NO_STREAM, Append
from eventlog.app import Log
from eventlog.errors import InvalidName, KeyReused
from tests.conftest import OpenLog
from tests.helpers import Measured, Noted, assert_whole, in_threads, notes, thread


def test_a_retry_gives_the_first_result_again(log: Log) -> None:
    first = log.append("note-1", Noted(text="a"), key="k")
    log.append("note-1", Noted(text="between"))
    again = log.append("note-1", Noted(text="a"), key="k")
    assert again == (first.first, first.last, first.version, True)
    assert log.head().position == 2


def test_a_retry_of_several_events_gives_the_first_result_again(log: Log) -> None:
    first = log.append("note-1", notes(3), key="k")
    again = log.append("note-1", notes(3), key="k")
    assert again == (first.first, first.last, first.version, True)
    keys = [record.key for record in log.read()]
    assert keys[0] == "k"
    assert len(set(keys)) == 3


@pytest.mark.shared
def test_a_retry_after_reopening_gives_the_first_result_again(open_log: OpenLog) -> None:
    with open_log() as log:
        log.append("note-1", notes(3), key="k")
    assert open_log().append("note-1", notes(3), key="k") == (1, 3, 3, True)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_shorter_or_longer_retry_is_other_content(log: Log, count: int) -> None:
    log.append("note-1", notes(3), key="k")
    with pytest.raises(KeyReused) as caught:
        log.append("note-1", notes(count), key="k")
    assert (caught.value.key, caught.value.position) == ("k", 1)
    assert log.head().position == 3


def test_other_data_another_type_or_another_stream_is_other_content(log: Log) -> None:
    log.append("note-1", Noted(text="a"), key="k")
    for stream, event in (("note-1", Noted(text="b")), ("note-1", Measured()), ("note-2", Noted(text="a"))):
        with pytest.raises(KeyReused):
            log.append(stream, event, key="k")
    assert log.head().position == 1


def test_a_difference_in_the_last_of_several_events_is_other_content(log: Log) -> None:
    log.append("note-1", [Noted(number=1), Noted(number=2)], key="k")
    with pytest.raises(KeyReused):
        log.append("note-1", [Noted(number=1), Noted(number=3)], key="k")


def test_a_retry_need_not_meet_the_expectation_again(log: Log) -> None:
    first = log.append("note-1", Noted(), expect=NO_STREAM, key="k")
    assert log.append("note-1", Noted(), expect=NO_STREAM, key="k") == (*first[:3], True)


def test_a_retry_may_have_another_time_and_context(log: Log) -> None:
    log.append("note-1", Noted(), key="k", occurred_at=1, actor="a")
    assert log.append("note-1", Noted(), key="k", occurred_at=2, actor="b").duplicate
    assert next(log.read()).actor == "a"


def test_records_without_a_key_never_collide(log: Log) -> None:
    assert not any(log.append("note-1", Noted()).duplicate for _ in range(3))


def test_the_same_key_twice_in_one_batch_counts_once(log: Log) -> None:
    one = Append(stream="note-1", events=notes(2), key="k")
    first, second = log.append_many([one, one])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first[:3] == second[:3]
    assert log.head().position == 2


def test_a_key_used_in_a_transaction_that_failed_is_free(log: Log) -> None:
    with pytest.raises(ZeroDivisionError), log.transaction() as tx:
        tx.append("note-1", Noted(), key="k")
        raise ZeroDivisionError
    assert not log.append("note-2", Noted(text="other"), key="k").duplicate


@pytest.mark.parametrize("text", ["k#1", "k:1", "k-1", "k/1", "k.1", "k 1"])
def test_no_key_that_can_be_given_collides_with_a_part_of_another(log: Log, text: str) -> None:
    log.append("note-1", Noted(text="a"), key=text)
    log.append("note-2", notes(2), key="k")
    log.append("note-3", Noted(text="b"), key="other")
    assert log.append("note-1", Noted(text="a"), key=text).duplicate
    assert log.append("note-2", notes(2), key="k").duplicate
    assert_whole(log)


def test_the_stored_keys_of_the_parts_cannot_be_given(log: Log) -> None:
    log.append("note-1", notes(2), key="k")
    for record in log.read(after=1):
        with pytest.raises(InvalidName):
            log.append("note-2", Noted(), key=record.key)


def test_a_reused_key_fails_alone_in_a_group_commit(log: Log) -> None:
    log.append("note-1", Noted(), key="k")
    entered, leave = threading.Event(), threading.Event()

    def hold(tx: object) -> None:
        entered.set()
        assert leave.wait(10)

    def one(number: int) -> str:
        try:
            if number == 0:
                log.append("note-2", notes(2), key="k")
            else:
                log.append(f"own-{number}", Noted(), key=f"own-{number}")
        except KeyReused:
            return "reused"
        return "stored"

    with thread(lambda: log.decide(hold)):
        assert entered.wait(10)
        threading.Timer(0.3, leave.set).start()
        assert in_threads(6, one) == ["reused"] + ["stored"] * 5
    assert_whole(log)


def test_many_threads_that_retry_one_key_store_it_once(log: Log) -> None:
    results = in_threads(8, lambda number: log.append("note-1", notes(2), key="k"))
    assert sum(not result.duplicate for result in results) == 1
    assert {result[:3] for result in results} == {(1, 2, 2)}
    assert log.head().position == 2
