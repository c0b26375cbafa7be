"""`import_records`: another log's records as they are, or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import eventlog
from eventlog import Append, Record, UnknownEvent, committer
from eventlog.app import Log
from eventlog.errors import Conflict, EventLogError
from eventlog.store.base import hash_of
from tests.conftest import OpenLog
from tests.helpers import EVENTS, Noted, assert_whole, columns, notes


@pytest.fixture
def source() -> Any:
    with eventlog.open(":memory:", events=EVENTS) as log:
        log.append("note-1", notes(3), key="k", occurred_at=5, actor="a", metadata={"m": 1})
        log.append("other-1", UnknownEvent(tag="other.done", data={"x": [1, None]}))
        run = log.runs.start("x")
        log.runs.finish_success(run.run_id)
        yield log


def test_an_import_gives_the_same_records_and_head(log: Log, source: Log) -> None:
    assert log.import_records(source.read()) == 6
    assert log.head() == source.head()
    assert [columns(record) for record in log.read()] == [columns(record) for record in source.read()]
    assert log.log_id == source.log_id
    assert log.runs.get(1) == source.runs.get(1)
    assert log.projections.verify() == []
    assert_whole(log)


def test_an_import_can_go_on_where_it_stopped(log: Log, source: Log) -> None:
    log.import_records(source.read(to=2))
    log.import_records(source.read(after=2), batch=2)
    assert log.head() == source.head()
    assert log.append("note-1", notes(3), key="k").duplicate
    assert log.append("note-1", Noted()).version == 4
    assert_whole(log)


def test_an_import_tells_its_progress(log: Log, source: Log) -> None:
    told: list[int] = []
    log.import_records(source.read(), lambda done, total, what: told.append(done), batch=2)
    assert told == [2, 4, 6]


def test_records_that_do_not_begin_at_the_head_are_refused(log: Log, source: Log) -> None:
    with pytest.raises(Conflict):
        log.import_records(source.read(after=1))
    assert log.head().position == 0


def test_records_do_not_continue_another_log(log: Log, source: Log) -> None:
    log.append("note-1", Noted(text="mine"))
    with pytest.raises(Conflict) as caught:
        log.import_records(source.read(after=1))
    assert caught.value.position == 2
    with pytest.raises(Conflict):
        log.import_records(source.read())
    assert log.head().position == 1
    assert log.append("note-1", Noted()).version == 2
    assert_whole(log)


def test_a_whole_batch_is_refused_for_one_bad_record_and_earlier_batches_stay(log: Log, source: Log) -> None:
    records = list(source.read())
    records[4] = msgspec.structs.replace(records[4], actor="eve")
    with pytest.raises(Conflict):
        log.import_records(records, batch=3)
    assert log.head().position == 3
    assert_whole(log)


def _forged(change: dict[str, Any]) -> Callable[[list[Record]], list[Record]]:
    """The second record changed, its hash made to fit again where that can be done."""

    def forge(records: list[Record]) -> list[Record]:
        changed = msgspec.structs.replace(records[1], **change)
        try:
            digest = hash_of(records[0].hash, columns(changed))
        except Exception:
            digest = bytes(32)
        return [records[0], msgspec.structs.replace(changed, hash=digest)]

    return forge


@pytest.mark.alike
@pytest.mark.parametrize(
    "change",
    [
        {"occurred_at": 2**70},
        {"recorded_at": 5},
        {"recorded_at": 2**63},
        {"version": 7},
        {"version": 1},
        {"position": 3},
        {"position": 2**70},
        {"data": "{"},
        {"data": '{"type":"test.noted","number":"x"}'},
        {"data": "\ud800"},
        {"stream": "\ud800"},
        {"type": ""},
        {"schema": 2**70},
        {"key": "k"},
    ],
    ids=str,
)
def test_a_forged_record_is_refused_even_when_its_hash_fits(log: Log, source: Log, change: dict[str, Any]) -> None:
    records = _forged(change)(list(source.read(to=2)))
    with pytest.raises(EventLogError):
        log.import_records(records)
    assert log.head().position == 0
    log.append("note-1", Noted())
    assert_whole(log)


def test_more_streams_than_are_remembered_can_be_imported(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "MAX_KNOWN_STREAMS", 3)
    with eventlog.open(":memory:", events=EVENTS) as source:
        for _ in range(3):
            for stream in range(10):
                source.append(f"note-{stream}", Noted())
        log.import_records(source.read(), batch=12)
        assert log.head() == source.head()
    log.append_many([Append(stream=f"note-{stream}", events=[Noted()]) for stream in range(10)])
    assert_whole(log)


@pytest.mark.shared
def test_an_import_between_appends_of_others_is_refused_not_mixed(log: Log, open_log: OpenLog, source: Log) -> None:
    other = open_log()
    records = source.read()
    log.import_records([next(records)])
    other.append("note-9", Noted())
    with pytest.raises(Conflict):
        log.import_records(records)
    assert_whole(log)


def test_imported_keys_are_known(log: Log, source: Log) -> None:
    with log.transaction():
        log.import_records(source.read())
        assert log.append("note-1", notes(3), key="k").duplicate
    assert log.head() == source.head()


def test_an_export_brought_in_again_has_the_same_head_and_a_second_time_adds_nothing(log: Log, source: Log) -> None:
    from eventlog.exporters import jsonl
    from eventlog.importers.jsonl import import_lines

    exported = io.BytesIO()
    assert jsonl.write(source.read(), exported) == 6
    for expected in (6, 0):
        exported.seek(0)
        assert import_lines(log, exported).added == expected
        assert log.head() == source.head()
    assert [columns(record) for record in log.read()] == [columns(record) for record in source.read()]
    assert next(log.read(streams="other-1")).event == UnknownEvent(tag="other.done", data={"x": [1, None]})
