"""Names at the door: streams, keys, actors, metadata."""

from __future__ import annotations

import math
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.errors import EventTooLarge, InvalidEvent, InvalidInput, InvalidName
from tests.helpers import Measured, Noted, assert_whole

pytestmark = pytest.mark.alike

BAD_TEXTS = ["", "a\nb", "a\0b", "\x1b[0m", "a\u202eb", "\ud800", "x" * 513, 5, b"a"]


@pytest.mark.parametrize("stream", [*BAD_TEXTS, None, "-1", "-"])
def test_a_stream_that_is_none_is_refused(log: Log, stream: Any) -> None:
    with pytest.raises(InvalidName):
        log.append(stream, Noted())
    assert log.head().position == 0


@pytest.mark.parametrize("field", ["key", "actor", "correlation", "causation"])
def test_a_text_around_an_event_that_is_none_is_refused(log: Log, field: str) -> None:
    for text in BAD_TEXTS:
        with pytest.raises(InvalidName, match=field):
            log.append("note-1", Noted(), **{field: text})  # type: ignore[arg-type]
    assert log.head().position == 0


@pytest.mark.parametrize(
    "stream", ["a", "a-", "a-b-c", "Ü-ñ 1", "run-" + "9" * 500, "a-'; DROP TABLE events; --", "%-_"]
)
def test_any_printable_name_is_a_stream(log: Log, stream: str) -> None:
    assert log.append(stream, Noted()).version == 1
    assert [record.stream for record in log.read_stream(stream)] == [stream]
    assert_whole(log)


@pytest.mark.parametrize("wrong", [["a"], "text", 5, {"x": {"y": math.nan}}, {"x": "\ud800"}, {"x": object()}])
def test_metadata_that_json_cannot_hold_is_refused(log: Log, wrong: Any) -> None:
    with pytest.raises(InvalidInput):
        log.append("note-1", Noted(), metadata=wrong)
    assert log.head().position == 0


def test_metadata_has_a_limit(log: Log) -> None:
    with pytest.raises((EventTooLarge, InvalidEvent)):
        log.append("note-1", Noted(), metadata={"x": "y" * (1 << 21)})
    assert log.head().position == 0


RUN_STREAMS = [
    "run-0",
    "run-01",
    "run-",
    "run-99999999999999999999",
    "run-9223372036854775808",
    "run-٣",
    "run-1e3",
    "run",
]


@pytest.mark.parametrize("stream", RUN_STREAMS)
def test_a_stream_that_only_looks_like_a_runs_takes_events_and_is_nobodys_run(log: Log, stream: str) -> None:
    from eventlog.events.runs import RunMetricLogged, RunStarted

    log.runs.start("first")
    log.append(stream, RunStarted(command="odd"))
    log.append(stream, RunMetricLogged(name="m", value=1.0))
    log.append("note-1", Measured())
    assert log.head().position == 4
    assert log.runs.get(1).command == "first"
    assert log.runs.metrics(1) == []
    assert log.runs.start("second").run_id == 2
    assert log.projections.verify() == []
    assert all(status.state == "live" for status in log.projections.status())
