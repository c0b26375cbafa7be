"""Events of users and of strangers: learned, kept when unknown, lifted when old."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import pytest

import eventlog
from eventlog import Event, UnknownEvent, Upcaster
from eventlog.app import Log
from eventlog.errors import DecodeError, EventTooLarge, InvalidEvent
from tests.conftest import OpenLog
from tests.helpers import Measured, Noted, assert_whole, columns


class StepDone(Event, frozen=True, kw_only=True, tag="app.step_done"):
    name: str
    duration_us: int = 0


class First(Event, frozen=True, kw_only=True, tag="app.changed"):
    name: str


class Second(Event, frozen=True, kw_only=True, tag="app.changed"):
    schema_version: ClassVar[int] = 2
    first_name: str


class Third(Event, frozen=True, kw_only=True, tag="app.changed"):
    schema_version: ClassVar[int] = 3
    first_name: str
    last_name: str


def _rename(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": data["type"], "first_name": data["name"]}


def _add_last(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "last_name": f"of {data['first_name']}"}


def test_events_of_a_users_own_are_stored_like_ours(log: Log) -> None:
    log.append("step-1", StepDone(name="load", duration_us=5))
    (record,) = log.read()
    assert (record.type, record.schema) == ("app.step_done", 1)
    assert record.event == StepDone(name="load", duration_us=5)


@pytest.mark.shared
def test_an_event_nobody_here_knows_is_kept_and_readable(open_log: OpenLog) -> None:
    with open_log() as log:
        log.append("step-1", StepDone(name="load"), key="k")
        stored = columns(next(log.read()))
    stranger = open_log(events=())
    (record,) = stranger.read()
    assert columns(record) == stored
    assert record.event == UnknownEvent(tag="app.step_done", data={"type": "app.step_done", "name": "load"})
    assert stranger.verify().ok
    knows = open_log(events=[StepDone])
    assert next(knows.read()).event == StepDone(name="load")


@pytest.mark.shared
def test_an_unknown_event_is_passed_over_by_projections(open_log: OpenLog) -> None:
    with open_log() as log:
        log.append("run-1", UnknownEvent(tag="run.dreamt", data={"of": "sheep"}))
        run = log.runs.start("x")
        assert run.run_id == 2
        assert log.projections.verify() == []
        log.projections.rebuild()
        assert log.runs.count() == 1


def test_an_unknown_event_that_was_read_can_be_appended_again(log: Log) -> None:
    event = UnknownEvent(tag="other.done", data={"type": "other.done", "deep": [{"a": None}], "n": 2**60})
    log.append("other-1", event)
    again = next(log.read()).event
    assert again == event
    log.append("other-2", again)
    first, second = log.read()
    assert first.data == second.data


@pytest.mark.alike
@pytest.mark.parametrize("tag", ["", "nodot", "with space.x", "a.b\n", "a.\x00", "x." + "y" * 300])
def test_a_tag_that_is_none_is_refused(log: Log, tag: str) -> None:
    with pytest.raises(InvalidEvent):
        log.append("note-1", UnknownEvent(tag=tag, data={}))
    assert log.head().position == 0


@pytest.mark.alike
@pytest.mark.parametrize("data", [[], "text", 1, None, [1, 2]])
def test_an_unknown_events_data_is_an_object(log: Log, data: object) -> None:
    with pytest.raises(InvalidEvent, match="object"):
        log.append("note-1", UnknownEvent(tag="a.b", data=data))


def test_an_unknown_event_with_a_known_tag_must_decode(log: Log) -> None:
    with pytest.raises(InvalidEvent):
        log.append("run-1", UnknownEvent(tag="run.started", data={"type": "run.started", "command": 5}))
    log.append("run-1", UnknownEvent(tag="run.started", data={"type": "run.started", "command": "x", "later": 1}))
    assert log.runs.get(1).command == "x"
    assert '"later":1' in next(log.read()).data


@pytest.mark.alike
def test_two_classes_cannot_share_a_tag(log: Log) -> None:
    log.append("app-1", First(name="a"))
    with pytest.raises(InvalidEvent, match=r"app\.changed"):
        log.append("app-1", Third(first_name="a", last_name="b"))
    assert log.head().position == 1


@pytest.mark.alike
def test_a_class_without_a_tag_is_refused(log: Log) -> None:
    class Untagged(Event, frozen=True, kw_only=True):
        name: str = ""

    with pytest.raises((TypeError, InvalidEvent), match="tag"):
        log.append("note-1", Untagged())
    assert log.head().position == 0


@pytest.mark.alike
@pytest.mark.shared
def test_older_schemas_are_lifted_step_by_step(open_log: OpenLog) -> None:
    with open_log(events=[First]) as log:
        log.append("app-1", First(name="Anna"))
    with open_log(events=[Second], upcasters=[Upcaster("app.changed", 1, _rename)]) as log:
        assert next(log.read()).event == Second(first_name="Anna")
        log.append("app-1", Second(first_name="Bob"))
    steps = [Upcaster("app.changed", 2, _add_last), Upcaster("app.changed", 1, _rename)]
    log = open_log(events=[Third], upcasters=steps)
    log.append("app-1", Third(first_name="C", last_name="D"))
    assert [record.schema for record in log.read()] == [1, 2, 3]
    assert [record.event for record in log.read()] == [
        Third(first_name="Anna", last_name="of Anna"),
        Third(first_name="Bob", last_name="of Bob"),
        Third(first_name="C", last_name="D"),
    ]
    assert next(log.read()).data == '{"type":"app.changed","name":"Anna"}'
    assert log.codec.gaps() == []
    assert_whole(log)


@pytest.mark.alike
@pytest.mark.shared
def test_a_gap_in_the_chain_of_upcasters_is_told_with_both_ends(open_log: OpenLog) -> None:
    with open_log(events=[First]) as log:
        log.append("app-1", First(name="Anna"))
    log = open_log(events=[Third], upcasters=[Upcaster("app.changed", 1, _rename)])
    record = next(log.read())
    with pytest.raises(DecodeError, match=r"app\.changed from schema 2 to 3"):
        _ = record.event
    assert record.data == '{"type":"app.changed","name":"Anna"}'
    assert len(log.codec.gaps()) == 1
    assert log.verify().ok


@pytest.mark.shared
def test_a_newer_schema_is_an_unknown_event(open_log: OpenLog) -> None:
    with open_log(events=[Second]) as log:
        log.append("app-1", Second(first_name="Anna"))
    log = open_log(events=[First])
    event = UnknownEvent(tag="app.changed", data={"type": "app.changed", "first_name": "Anna"}, schema=2)
    assert next(log.read()).event == event
    log.append("app-2", event)
    first, second = log.read()
    assert (second.schema, second.data) == (first.schema, first.data)


def _no_attribute(data: dict[str, Any]) -> dict[str, Any]:
    raise AttributeError("no such thing")


def _no_index(data: dict[str, Any]) -> dict[str, Any]:
    raise IndexError("out of range")


def _nonsense(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": "app.changed", "first_name": 5}


def _not_a_dict(data: dict[str, Any]) -> Any:
    return None


@pytest.mark.alike
@pytest.mark.shared
@pytest.mark.parametrize("convert", [_no_attribute, _no_index, _nonsense, _not_a_dict, _add_last])
def test_whatever_goes_wrong_in_an_upcaster_is_a_decode_error(open_log: OpenLog, convert: Any) -> None:
    with open_log(events=[First]) as log:
        log.append("app-1", First(name="Anna"))
    log = open_log(events=[Second], upcasters=[Upcaster("app.changed", 1, convert)])
    with pytest.raises(DecodeError, match=r"app\.changed"):
        _ = next(log.read()).event


@pytest.mark.shared
def test_a_field_added_with_a_default_needs_no_upcaster(open_log: OpenLog) -> None:
    class Wider(Event, frozen=True, kw_only=True, tag="app.changed"):
        name: str
        added: int = 7

    with open_log(events=[First]) as log:
        log.append("app-1", First(name="Anna"))
    with open_log(events=[Wider]) as log:
        assert next(log.read()).event == Wider(name="Anna")
        log.append("app-1", Wider(name="B", added=1))
    log = open_log(events=[First])
    assert [record.event for record in log.read()] == [First(name="Anna"), First(name="B")]


def test_a_record_travels_between_processes(log: Log) -> None:
    log.append("note-1", Noted(text="é"), key="k", metadata={"a": 1})
    (record,) = log.read()
    copied = pickle.loads(pickle.dumps(record))
    assert columns(copied) == columns(record)


def test_a_record_as_a_dict_holds_json_values(log: Log) -> None:
    log.append("note-1", Noted(text="a"), metadata={"m": 1})
    (record,) = log.read()
    shown = record.as_dict()
    assert shown["data"] == {"type": "test.noted", "text": "a"}
    assert shown["metadata"] == {"m": 1}
    assert shown["hash"] == record.hash.hex()
    assert list(shown)[:3] == ["position", "stream", "version"]


@pytest.mark.alike
@pytest.mark.parametrize(
    ("event", "path"),
    [
        (Measured(value=float("nan")), "value"),
        (Measured(value=float("-inf")), "value"),
        (Measured(anything=[0, {"x": float("inf")}]), r"anything\[1\].x"),
        (Measured(parts={"deep": [float("nan")]}), r"parts.deep\[0\]"),
        (Measured(parts={"a\ud800": 1}), "parts"),
        (Noted(text="\ud800"), "text"),
        (UnknownEvent(tag="a.b", data={"x": [1.0, float("nan")]}), r"x\[1\]"),
        (Noted(text=5), "text"),  # type: ignore[arg-type]
        (Measured(value="x"), "value"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_json_cannot_hold_is_refused_with_its_path(log: Log, event: Any, path: str) -> None:
    with pytest.raises(InvalidEvent, match=path):
        log.append("note-1", event)
    assert log.head().position == 0


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30])
def test_an_integer_is_kept_exactly_or_refused(log: Log, number: int) -> None:
    try:
        log.append("note-1", Noted(number=number))
    except InvalidEvent:
        assert abs(number) > 2**62
    else:
        assert next(log.read()).event == Noted(number=number)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\U0010ffff\ufffe", "\x1b[31m", '"\\\n', ""])
def test_any_text_is_kept_exactly(log: Log, text: str) -> None:
    log.append("note-1", Noted(text=text), metadata={"t": text})
    (record,) = log.read()
    assert record.event == Noted(text=text)
    assert_whole(log)


def test_an_event_may_be_large_but_not_larger_than_the_limit(log: Log) -> None:
    limit = eventlog.codec.MAX_EVENT_BYTES
    rest = limit - len('{"type":"test.noted","text":""}')
    log.append("note-1", Noted(text="x" * rest))
    with pytest.raises(EventTooLarge) as caught:
        log.append("note-1", Noted(text="x" * (rest + 1)))
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (limit + 1, limit)
    with pytest.raises(EventTooLarge):
        log.append("note-1", UnknownEvent(tag="a.b", data={"x": "y" * limit}))
    assert log.head().position == 1


@pytest.mark.alike
@pytest.mark.parametrize("wrong", ["text", {"type": "test.noted"}, 5, b"x", object(), [Noted(), "x"], Noted])
def test_what_is_no_event_is_refused(log: Log, wrong: Any) -> None:
    with pytest.raises(InvalidEvent):
        log.append("note-1", wrong)
    assert log.head().position == 0


@pytest.mark.parametrize("depth", [50, 5_000, 200_000])
def test_deep_nesting_is_stored_or_refused(log: Log, depth: int) -> None:
    value: Any = None
    for _ in range(depth):
        value = [value]
    try:
        log.append("note-1", Measured(anything=value))
    except InvalidEvent:
        assert log.head().position == 0
    else:
        assert next(log.read()).event.anything is not None  # type: ignore[union-attr]
    log.append("note-1", Noted())
