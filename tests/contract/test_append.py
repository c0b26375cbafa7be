"""What `append` promises of one stream: bytes and columns, versions, positions, expectations."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import pytest

from eventlog import ANY, EXISTS, NO_STREAM, Append
from eventlog.app import Log
from eventlog.errors import InvalidInput, WrongExpectedVersion
from eventlog.log import Tx
from tests.helpers import Measured, Noted, assert_whole, columns, notes, positions


def test_an_append_tells_positions_and_the_streams_version(log: Log) -> None:
    assert log.append("note-1", Noted(text="a")) == (1, 1, 1, False)
    assert log.append("note-1", notes(3)) == (2, 4, 4, False)
    assert log.append("note-2", Noted()) == (5, 5, 1, False)
    assert_whole(log)


def test_a_record_comes_back_as_it_was_given(log: Log) -> None:
    log.append(
        "note-1",
        Noted(text="é\u2028\0"),
        key="k",
        occurred_at=1_700_000_000_123_456,
        actor="anna",
        correlation="c",
        causation="1",
        metadata={"trace": "x", "n": [1, None]},
    )
    (record,) = log.read()
    assert (record.position, record.stream, record.version, record.type, record.schema) == (
        1,
        "note-1",
        1,
        "test.noted",
        1,
    )
    assert record.occurred_at == 1_700_000_000_123_456
    assert (record.key, record.actor, record.correlation, record.causation) == ("k", "anna", "c", "1")
    assert record.data == '{"type":"test.noted","text":"é\u2028\\u0000"}'
    assert record.metadata == '{"trace":"x","n":[1,null]}'
    assert record.event == Noted(text="é\u2028\0")


def test_defaults_are_not_stored_and_come_back(log: Log) -> None:
    log.append("note-1", Measured())
    (record,) = log.read()
    assert record.data == '{"type":"test.measured"}'
    assert record.event == Measured()
    assert (record.key, record.actor, record.correlation, record.causation, record.metadata) == (None,) * 5


def _documented_hash(previous: bytes, row: tuple[Any, ...]) -> bytes:
    """The binary form as `chain_hash` documents it, written down a second time."""
    position, stream, version, type_, schema, occurred, recorded, key, actor, correlation, causation, data, meta = row[
        :13
    ]
    texts = [
        None if text is None else text.encode()
        for text in (stream, type_, key, actor, correlation, causation, data, meta)
    ]
    form = previous + struct.pack(">qqqqq", position, version, schema, occurred, recorded)
    form += b"".join(struct.pack(">i", -1 if text is None else len(text)) for text in texts)
    return sha256(form + b"".join(text or b"" for text in texts)).digest()


def test_every_hash_covers_the_one_before_and_all_columns(log: Log) -> None:
    log.append("note-1", notes(2))
    log.append("note-2", Noted(text="ü"), key="k", actor="a", metadata={"m": "é"})
    log.append("note-2", notes(2), key="two", causation="c")
    log.append("note-2", Noted(), correlation="c")
    log.append("note-2", Noted(), metadata={})
    previous = bytes(32)
    for record in log.read():
        assert record.hash == _documented_hash(previous, columns(record))
        previous = record.hash
    assert log.head().hash == previous
    assert log.head().position == 7


def test_the_head_of_an_empty_log_is_zero(log: Log) -> None:
    assert log.head() == (0, bytes(32), 0)
    assert log.log_id is None
    assert list(log.read()) == []


def test_the_log_id_is_of_the_first_record_and_stays(log: Log) -> None:
    log.append("note-1", Noted())
    (first,) = log.read()
    log.append("note-1", Noted())
    assert log.log_id == first.hash.hex()[:16]


def test_any_takes_every_stream(log: Log) -> None:
    assert log.append("note-1", Noted(), expect=ANY).version == 1
    assert log.append("note-1", Noted(), expect=ANY).version == 2


def test_no_stream_takes_a_stream_once(log: Log) -> None:
    log.append("note-1", Noted(), expect=NO_STREAM)
    with pytest.raises(WrongExpectedVersion) as caught:
        log.append("note-1", Noted(), expect=NO_STREAM)
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("note-1", "no stream", 1)
    assert log.head().position == 1


def test_exists_takes_a_stream_that_is_there(log: Log) -> None:
    with pytest.raises(WrongExpectedVersion) as caught:
        log.append("note-1", Noted(), expect=EXISTS)
    assert (caught.value.expected, caught.value.actual) == ("exists", 0)
    log.append("note-1", Noted())
    assert log.append("note-1", Noted(), expect=EXISTS).version == 2


@pytest.mark.parametrize("wrong", [0, 1, 3, -1, 2**70])
def test_a_number_takes_that_version_only(log: Log, wrong: int) -> None:
    log.append("note-1", notes(2))
    head = log.head()
    with pytest.raises(WrongExpectedVersion) as caught:
        log.append("note-1", Noted(), expect=wrong)
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("note-1", wrong, 2)
    assert str(wrong) in str(caught.value) and "note-1" in str(caught.value) and "2" in str(caught.value)
    assert log.head() == head
    assert log.append("note-1", Noted(), expect=2).version == 3
    assert_whole(log)


def test_zero_takes_a_stream_that_is_not_there(log: Log) -> None:
    assert log.append("note-1", Noted(), expect=0).version == 1
    with pytest.raises(WrongExpectedVersion):
        log.append("note-1", Noted(), expect=0)


def test_a_stream_that_is_not_new_is_told_where_nobody_looked(log: Log) -> None:
    log.append("note-1", Noted())
    log.committer.forget()  # as if others had appended it
    tried: list[int] = []

    def work(tx: Tx) -> None:
        tried.append(tx.append("note-2", Noted(), expect=0).version)
        tx.append("note-1", Noted(), expect=NO_STREAM)

    with pytest.raises(WrongExpectedVersion, match="note-1") as caught:
        log.decide(work)
    assert (caught.value.stream, caught.value.expected, caught.value.actual) == ("note-1", "no stream", 1)
    assert tried == [1, 1]  # the store refused the record, and with care it was seen why
    log.committer.forget()
    with pytest.raises(WrongExpectedVersion, match="note-1"):
        log.append_many([Append(stream=stream, events=Noted(), expect=0) for stream in ("note-2", "note-1")])
    assert log.append("note-2", Noted(), expect=0) == (2, 2, 1, False)


def _asks_the_tables(tx: Tx) -> None:
    tx.reader.known_keys(["any"])


@pytest.mark.parametrize("ask", [lambda tx: tx.read_stream("note-1"), _asks_the_tables])
@pytest.mark.parametrize("then", ["goes on", "stops", "raises another"])
def test_a_record_refused_while_a_decision_catches_everything_is_told_all_the_same(
    log: Log, ask: Callable[[Tx], object], then: str
) -> None:
    log.append("note-1", Noted())
    log.committer.forget()  # as if others had appended it
    tried: list[str] = []

    def work(tx: Tx) -> None:
        tx.append("note-2", Noted(), expect=NO_STREAM)
        tx.append("note-1", Noted(), expect=NO_STREAM)
        try:
            ask(tx)
        except Exception as error:
            tried.append(type(error).__name__)
            if then == "raises another":
                raise ZeroDivisionError from error
        if then == "goes on":
            tx.append("note-3", Noted())

    with pytest.raises(WrongExpectedVersion, match="note-1"):
        log.decide(work)
    assert len(tried) == 1  # and with care it was told before it was asked
    assert log.head().position == 1
    assert log.append("note-2", Noted(), expect=0) == (2, 2, 1, False)
    assert_whole(log)


def test_a_decision_that_catches_what_fails_alone_in_it_is_told_why(log: Log) -> None:
    log.append("note-1", Noted())
    log.committer.forget()  # as if others had appended it
    told: list[type[Exception]] = []

    def work(tx: Tx) -> None:
        tx.append("note-2", Noted(), expect=NO_STREAM)
        try:
            log.append("note-1", Noted(), expect=NO_STREAM)
        except Exception as error:
            told.append(type(error))

    log.decide(work)
    assert told[-1] is WrongExpectedVersion  # not what the store said when it refused the record
    assert [record.stream for record in log.read()] == ["note-1", "note-2"]
    assert_whole(log)


@pytest.mark.parametrize("wrong", [True, "any", 1.0, None])
def test_an_expectation_that_is_none_is_refused(log: Log, wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="expect"):
        log.append("note-1", Noted(), expect=wrong)
    assert log.head().position == 0


def test_a_refused_append_leaves_versions_as_they_were(log: Log) -> None:
    log.append("note-1", Noted())
    for _ in range(3):
        with pytest.raises(WrongExpectedVersion):
            log.append("note-1", notes(5), expect=7)
    assert log.append("note-1", Noted(), expect=1).version == 2
    assert_whole(log)


def test_no_events_are_no_append(log: Log) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        log.append("note-1", [])
    assert log.append_many([]) == []
    assert log.head().position == 0


def test_events_may_come_from_a_generator(log: Log) -> None:
    assert log.append("note-1", (Noted(number=n) for n in range(3))) == (1, 3, 3, False)


def test_an_append_larger_than_every_page_and_batch_is_one_append(log: Log) -> None:
    assert log.append("note-1", notes(5000)) == (1, 5000, 5000, False)
    assert positions(log.read()) == list(range(1, 5001))
    assert_whole(log)


MOMENT = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "when",
    [
        1_709_208_000_123_456,
        MOMENT,
        MOMENT.astimezone(timezone(timedelta(hours=5, minutes=30))),
        MOMENT.astimezone().replace(tzinfo=None),
    ],
    ids=["µs", "utc", "offset", "local"],
)
def test_occurred_at_is_kept_to_the_microsecond(log: Log, when: Any) -> None:
    log.append("note-1", Noted(), occurred_at=when)
    (record,) = log.read()
    assert record.occurred_at == 1_709_208_000_123_456
    assert record.recorded_at > record.occurred_at


@pytest.mark.parametrize("when", [-1, 0, -(2**53) + 1, 2**53 - 1])
def test_any_time_that_a_number_of_53_bits_holds_can_be_kept(log: Log, when: int) -> None:
    log.append("note-1", Noted(), occurred_at=when)
    assert next(log.read()).occurred_at == when


@pytest.mark.alike
@pytest.mark.parametrize("when", [2**53, -(2**53), 2**63, 1.5, True, "2024-01-01", b"1"])
def test_a_time_that_is_none_is_refused(log: Log, when: Any) -> None:
    with pytest.raises(InvalidInput, match="occurred_at"):
        log.append("note-1", Noted(), occurred_at=when)
    assert log.head().position == 0


@pytest.mark.parametrize("durability", ["full", "process"])
def test_both_durabilities_store_the_same(log: Log, durability: Any) -> None:
    assert log.append("note-1", Noted(), durability=durability) == (1, 1, 1, False)
    assert log.append_many([Append(stream="note-1", events=Noted())], durability=durability)[0].version == 2
    assert log.decide(lambda tx: tx.append("note-1", Noted()), durability=durability).version == 3
    with log.transaction(durability=durability) as tx:
        tx.append("note-1", Noted())
    assert_whole(log)
    assert log.head().position == 4


@pytest.mark.alike
@pytest.mark.parametrize("durability", ["ful", "", None, "FULL", 1])
def test_a_durability_that_is_none_is_refused_and_never_a_weaker_one(log: Log, durability: Any) -> None:
    with pytest.raises(InvalidInput):
        log.append("note-1", Noted(), durability=durability)
    with pytest.raises(InvalidInput):
        log.append_many([Append(stream="note-1", events=Noted())], durability=durability)
    with pytest.raises(InvalidInput):
        log.decide(lambda tx: tx.append("note-1", Noted()), durability=durability)
    with pytest.raises(InvalidInput), log.transaction(durability=durability):
        pass
    assert log.head().position == 0
    log.append("note-1", Noted())
