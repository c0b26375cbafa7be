"""Values that break databases, decoders and terminals: stored exactly, or refused at the door with the field's path."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from under_fire import Ticked, assert_sound, open_log

import eventlog
from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.codec import from_json
from eventlog.errors import EventLogError, InvalidEvent, InvalidInput, InvalidQuery, NotFound

LONE = "a\ud800b"
HOSTILE_TEXTS = [
    "",
    "\0",
    "a\0b",
    "\x1b]0;owned\x07\x1b[2J\x9b31m",
    "\u202eevil\u2066",
    "\r\n\t\x7f\x85\u2028",
    "'; DROP TABLE events; --",
    "<script>alert(1)</script>",
    "%s %n {0} ${HOME} $(id)",
    "\U0001f4a9é\ufeff\uffff\U0010ffff",
    "x" * 200_000,
]


class Measured(eventlog.Event, frozen=True, kw_only=True, tag="fire.measured"):
    """Numbers and nesting, as a user's program would have them."""

    value: float = 0.0
    count: int = 0
    nested: dict[str, Any] = {}
    parts: list[Any] = []


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with eventlog.open(tmp_path / "log.db", events=[Ticked, Measured]) as opened:
        yield opened
    assert_sound(tmp_path / "log.db")


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_any_text_in_an_event_comes_back_exactly(log: Log, text: str) -> None:
    log.append("fire-1", [Ticked(text=text)], metadata={"text": text, text: 1})
    run = log.runs.start(text or "-", note=text, tags={"tag": text}, parameters={"parameter": text})
    log.runs.message(run.run_id, text, "INFO", "hostile")
    log.close()
    with eventlog.open(log.path, events=[Ticked]) as again:
        stored = next(again.read(types=["fire.ticked"]))
        assert stored.event == Ticked(text=text)
        assert from_json(stored.metadata or "") == {"text": text, text: 1}
        row = again.runs.get(run.run_id)
        assert (row.note, row.tags, row.parameters) == (text, {"tag": text}, {"parameter": text})


@pytest.mark.parametrize("field", ["stream", "key", "actor", "correlation"])
@pytest.mark.parametrize("text", [*HOSTILE_TEXTS, LONE], ids=[*range(len(HOSTILE_TEXTS)), "lone-surrogate"])
def test_any_text_around_an_event_comes_back_exactly_or_is_refused(log: Log, field: str, text: str) -> None:
    arguments: dict[str, Any] = {"stream": "fire-1", field: text}
    head = log.head()
    try:
        log.append(arguments.pop("stream"), Ticked(), **arguments)
    except InvalidInput as error:
        assert log.head() == head
        assert str(error).isprintable() or "\\" in str(error)
        str(error).encode()  # a refusal can be printed
    else:
        record = next(log.read(backwards=True))
        assert getattr(record, field) == text
        if field == "stream":
            assert [r.position for r in log.read_stream(text)] == [record.position]
            assert [r.position for r in log.read(streams=[text])] == [record.position]


def test_a_lone_surrogate_is_refused_with_the_path_of_its_field(log: Log) -> None:
    for event, path in [
        (Ticked(text=LONE), "text"),
        (Measured(nested={"deep": {"er": LONE}}), "nested.deep.er"),
        (Measured(parts=["fine", LONE]), "parts[1]"),
        (eventlog.UnknownEvent(tag="other.thing", data={"a": [LONE]}), "a[0]"),
    ]:
        with pytest.raises(InvalidEvent) as refused:
            log.append("fire-1", event)
        assert path in str(refused.value), refused.value
        str(refused.value).encode()
    with pytest.raises(InvalidInput):
        log.append("fire-1", Ticked(), metadata={"m": LONE})
    assert log.head().position == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_a_number_that_json_cannot_hold_is_refused_and_never_becomes_null(log: Log, value: float) -> None:
    for event, path in [
        (Measured(value=value), "value"),
        (Measured(nested={"a": [1.0, value]}), "nested.a[1]"),
        (eventlog.UnknownEvent(tag="other.thing", data={"x": value, "nothing": None}), "x"),
    ]:
        with pytest.raises(InvalidEvent) as refused:
            log.append("fire-1", event)
        assert path in str(refused.value)
    with pytest.raises(InvalidInput):
        log.append("fire-1", Ticked(), metadata={"m": value})
    assert log.head().position == 0


def test_a_metric_that_is_not_finite_is_kept_as_what_it_is(log: Log) -> None:
    run = log.runs.start("train")
    for value in (math.nan, math.inf, -math.inf, 1e308, -0.0, 5e-324):
        log.runs.metric(run.run_id, "loss", value)
    rows = log.runs.metrics(run.run_id, "loss")
    assert [(row.value, row.non_finite) for row in rows[:3]] == [(None, "nan"), (None, "inf"), (None, "-inf")]
    assert [row.value for row in rows[3:]] == [1e308, -0.0, 5e-324]


@pytest.mark.parametrize("number", [2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**30])
def test_a_big_integer_comes_back_exactly_or_is_refused(log: Log, number: int) -> None:
    for event in (Measured(count=number), Measured(nested={"n": number}), Measured(parts=[[number]])):
        head = log.head()
        try:
            log.append("fire-1", event)
        except InvalidEvent:
            assert log.head() == head
        else:
            stored = next(log.read(backwards=True))
            assert stored.event == event
            assert str(number) in stored.data
    run = log.runs.start("train")
    head = log.head()
    try:
        log.runs.set_parameters(run.run_id, {"n": number})
        log.runs.metric(run.run_id, "loss", 1.0, step=number)
    except InvalidInput:
        pass
    else:
        assert log.runs.get(run.run_id).parameters == {"n": number}
        assert log.runs.metrics(run.run_id)[0].step == number


@pytest.mark.parametrize("when", [2**63, 2**53 + 1, -1, -(2**63) - 1, True, 1.5, "now", 10**17])
def test_an_impossible_time_is_refused_or_kept_exactly(log: Log, when: Any) -> None:
    head = log.head()
    try:
        log.append("fire-1", Ticked(), occurred_at=when)
    except InvalidInput:
        assert log.head() == head
    else:
        assert next(log.read(backwards=True)).occurred_at == when


@pytest.mark.parametrize("depth", [10, 60, 200, 400, 600, 900, 5_000, 100_000])
@pytest.mark.parametrize("leaf", [1, None], ids=["number", "null"])
def test_deep_nesting_is_stored_or_refused_but_never_a_recursion_error(log: Log, depth: int, leaf: object) -> None:
    value: Any = leaf
    for _ in range(depth):
        value = {"d": value}
    for event in (Measured(nested={"top": value}), eventlog.UnknownEvent(tag="other.deep", data={"top": value})):
        head = log.head()
        try:
            log.append("fire-1", event)
        except InvalidEvent as refused:
            assert "deep" in str(refused) or "nested" in str(refused)
            assert log.head() == head
        else:
            assert next(log.read(backwards=True)).event == event
            assert log.verify().ok
    if depth <= 60:
        assert log.head().position == 2, "reasonable nesting is stored"


def test_a_huge_event_is_refused_by_its_size_without_eating_the_memory(tmp_path: Path) -> None:
    # In a process of its own: what others have held would hide what this takes.
    program = """
import sys, eventlog
from eventlog.errors import EventTooLarge
from eventlog.recorder.measure import own_peak_bytes

class Long(eventlog.Event, tag="fire.long"):
    text: str

with eventlog.open(sys.argv[1], events=[Long]) as log:
    before = own_peak_bytes()
    try:
        log.append("fire-1", Long(text="x" * 20_000_000))
    except EventTooLarge as error:
        print(error.size_bytes, log.head().position, own_peak_bytes() - before)
"""
    words = [sys.executable, "-c", program, str(tmp_path / "log.db")]
    size, position, grown = map(int, subprocess.run(words, capture_output=True, check=True, timeout=60).stdout.split())
    assert (size > 20_000_000, position) == (True, 0)
    assert grown < 150 << 20


def test_one_bad_event_in_a_batch_refuses_the_whole_batch(log: Log) -> None:
    with pytest.raises(InvalidEvent):
        log.append("fire-1", [Ticked(), Ticked(text=LONE), Ticked()])
    with pytest.raises(InvalidEvent):
        log.append_many(
            [
                eventlog.Append(stream="fire-1", events=[Ticked()]),
                eventlog.Append(stream="fire-2", events=[Measured(value=math.nan)]),
            ]
        )
    assert log.head().position == 0


def test_not_an_event_is_refused(log: Log) -> None:
    for nonsense in (None, 1, "run.started", {"type": "run.started"}, object(), b"{}"):
        with pytest.raises((InvalidInput, TypeError)):
            log.append("fire-1", nonsense)  # type: ignore[arg-type]
    assert log.head().position == 0


def test_hostile_names_in_questions_find_nothing_and_break_nothing(log: Log) -> None:
    log.runs.start("fine", project_id="p")
    for text in [*HOSTILE_TEXTS[:-1], "%", "_", "*", "fi%"]:
        assert list(log.read(types=[text], streams=[text])) == []
        with contextlib.suppress(InvalidQuery):
            assert list(log.read(categories=[text])) == []
        assert log.runs.list(project_id=text) == []
        assert log.runs.list(text=f"{text}nowhere") == []
        with pytest.raises(NotFound):
            log.projects.get(text)
    assert log.runs.count() == 1


@pytest.mark.parametrize("text", [LONE, "\0", "x" * 100_000], ids=["lone-surrogate", "nul", "long"])
def test_impossible_text_in_a_question_is_an_error_of_the_log_or_finds_nothing(log: Log, text: str) -> None:
    log.runs.start("fine", project_id="p")
    for ask in (
        lambda: list(log.read(types=[text])),
        lambda: list(log.read(streams=[text])),
        lambda: list(log.read(categories=[text])),
        lambda: list(log.read_stream(text)),
        lambda: log.runs.list(project_id=text),
        lambda: log.runs.list(program=text),
        lambda: log.runs.list(tag=(text, text)),
        lambda: log.runs.list(text=text),
        lambda: log.runs.metrics(1, text),
        lambda: [found] if (found := log.projects.find(text)) else [],
        lambda: log.statistics.runs(project_id=text),
    ):
        try:
            assert ask() == []
        except EventLogError as refused:
            str(refused).encode()


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70, -1, 0])
def test_impossible_numbers_in_a_question_are_an_error_of_the_log_or_find_nothing(log: Log, number: int) -> None:
    run_id = log.runs.start("fine").run_id
    for ask in (
        lambda: list(log.read(after=number)),
        lambda: list(log.read(to=number)),
        lambda: list(log.read_stream("run-1", after=number)),
        lambda: list(log.read_stream("run-1", to=number)),
        lambda: list(log.read(limit=number)),
        lambda: log.runs.find(number),
        lambda: log.runs.list(from_at=number),
        lambda: log.runs.list(limit=abs(number) or 1),
        lambda: log.runs.list(offset=abs(number)),
        lambda: log.runs.list(before=number),
        lambda: log.runs.metrics(number),
        lambda: log.statistics.runs(since=number),
        lambda: log.projections.rollback(to=number) if number else None,
        lambda: log.projections.explain("runs", number),
        lambda: log.append("fire-1", Ticked(), expect=number) if number > 2 or number < 0 else None,
    ):
        with contextlib.suppress(EventLogError):
            ask()
    with pytest.raises(EventLogError):
        log.runs.get(number)
    assert log.runs.get(run_id).command == "fine"


@pytest.mark.parametrize(
    "page", [{"limit": -1}, {"offset": -1}, {"limit": -1, "offset": 3}, {"limit": "1"}, {"limit": 1.5}]
)
def test_a_page_of_less_than_nothing_is_refused(log: Log, page: dict[str, Any]) -> None:
    run_id = log.runs.start("fine").run_id
    log.runs.message(run_id, "hello")
    for ask in (
        lambda: log.runs.list(**page),
        lambda: log.jobs.list(**page),
        lambda: log.jobs.list(status=["queued", "processing"], **page),
        lambda: log.prices.list(**page),
        lambda: log.sessions.list(**page),
        lambda: log.settings.find_all(**page),
        lambda: log.search.find("fine", **page),
    ):
        with pytest.raises(InvalidInput, match="0 or more"):
            ask()
    if "offset" not in page:
        with pytest.raises(InvalidInput, match="0 or more"):
            log.runs.messages(run_id, page["limit"])


def test_metadata_has_a_limit_too(log: Log) -> None:
    with pytest.raises(InvalidInput):
        log.append("fire-1", Ticked(), metadata={"big": "x" * 20_000_000})
    assert log.head().position == 0


@pytest.mark.parametrize(
    "tag", ["", " ", "nodot", "a.b c", "a.\0b", "a.\x1b[2J", "a." + "x" * 1000, "a.\ud800", "\u202ea.b"]
)
def test_a_hostile_type_is_refused(log: Log, tag: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        log.append("fire-1", eventlog.UnknownEvent(tag=tag, data={}))
    str(refused.value).encode()
    assert log.head().position == 0


JSON_FROM_OUTSIDE = {
    "a number out of range": b'{"x": 1e400}',
    "not a number": b'{"x": NaN}',
    "infinite": b'{"x": -Infinity}',
    "an escaped lone surrogate": b'{"x": "\\ud800"}',
    "invalid UTF-8": b'{"x": "\xff\xfe"}',
    "a NUL": b'{"x": "\\u0000"}',
    "a big integer": b'{"x": 18446744073709551616}',
    "the biggest exact integer": b'{"x": 9007199254740993}',
    "control characters": b'{"x": "\\u001b]0;owned\\u0007\\u009b2J\\u202e"}',
    "too deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep with a null": b'{"x": ' + b"[" * 600 + b"null" + b"]" * 600 + b"}",
    "not an object": b"[1, 2]",
    "nothing": b"",
    "cut off": b'{"x": ',
    "huge": b'{"x": "' + b"y" * 3_000_000 + b'"}',
}


@pytest.mark.parametrize("what", JSON_FROM_OUTSIDE)
def test_json_from_outside_is_stored_exactly_or_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path, data = tmp_path / "log.db", JSON_FROM_OUTSIDE[what]
    open_log(path).close()
    arguments = ["--db", str(path), "log", "append", "fire-1", "outside.came", "-"]
    done = CliRunner().invoke(cli, arguments, input=data)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    with open_log(path) as log:
        if done.exit_code == 0:
            assert json.loads(next(log.read()).data) == json.loads(data)
            shown = CliRunner().invoke(cli, ["--db", str(path), "log", "read"])
            assert shown.exit_code == 0
            assert all(char.isprintable() or char == "\n" for char in shown.output), "shown harmlessly"
        else:
            assert done.exit_code in {1, 2}
            assert log.head().position == 0
            assert "Traceback" not in done.output
    assert_sound(path)
