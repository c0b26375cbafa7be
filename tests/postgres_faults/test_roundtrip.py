"""A log copied to PostgreSQL and back is the same log: head hash, bytes and rows, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pg import assert_sound

import eventlog
from eventlog import Event, UnknownEvent
from eventlog.app import Log
from eventlog.events.runs import RunNoted, RunParametersSet, RunStarted, RunTagged
from eventlog.exporters.jsonl import line
from eventlog.projection import Entity, Journal, Record, Rollup, Row
from tests import postgres
from tests.helpers import columns


class Said(Event, frozen=True, kw_only=True, tag="hostile.said"):
    text: str = ""
    number: int = 0
    fraction: float = 0.0
    flag: bool = False
    anything: Any = None


class Voice(Row, frozen=True):
    voice: str
    text: str
    number: int
    fraction: float
    flag: bool
    anything: Any | None
    perhaps: str | None
    times: int


class Saying(Row, frozen=True):
    position: int
    text: str
    fraction: float | None
    anything: Any | None


class Count(Row, frozen=True):
    text: str
    flag: bool
    times: int


def hear(row: Voice | None, event: Said, record: Record) -> Voice:
    times = 1 if row is None else row.times + 1
    perhaps = event.text if event.flag else None
    voice = record.stream.partition("-")[2]
    return Voice(voice, event.text, event.number, event.fraction, event.flag, event.anything, perhaps, times)


def write_down(event: Said, record: Record) -> Saying:
    return Saying(record.position, event.text, None if event.flag else event.fraction, event.anything)


voices = Entity("voices", version=1, row=Voice, category="voice", types=(Said,), evolve=hear)
sayings = Journal("sayings", version=1, row=Saying, types=(Said,), make=write_down)


def count(row: Saying) -> list[tuple[tuple[str, bool], tuple[int]]]:
    return [((row.text, row.fraction is None), (1,))]


counts = Rollup("counts", version=1, source="sayings", row=Count, measures=("times",), contribute=count)
OURS = (voices, sayings, counts)
HOSTILE = "\0\x01\x02\ue000\ue001\U0010ffff\u2028\u202e'\\\"%?;$-"
TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from(HOSTILE), max_size=30)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
FRACTIONS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | FRACTIONS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=2)
EVENTS = st.builds(Said, text=TEXTS, number=NUMBERS, fraction=FRACTIONS, flag=st.booleans(), anything=JSON)
WORST = [
    Said(text=text, number=number, fraction=fraction, flag=flag, anything={text: [number, fraction, text]})
    for text, number, fraction, flag in (
        ("\0", 2**63 - 1, 1.7976931348623157e308, True),
        ("\ue000", -(2**63), 5e-324, False),
        ("\ue000\0\ue001", 0, -1e-9, True),
        ("\ue0010", 1, 0.1 + 0.2, False),
        ("\ue001\0", 2**53 + 1, 1e22, True),
        ("a\0b" * 5, -1, 3.0, False),
        ("\U0010ffff\U0001f409", 7, 2.5, True),
        ("%s ? $1 \\N \\. \t\r\n", 8, -0.5, False),
        ("\x01\x02\x01\x01\0\x02", 10, 4.0, False),
        ("\x01", 11, 5.0, True),
        ("", 9, 1.0, True),
    )
]
PROFILE = settings(
    max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def at(target: str) -> Log:
    """A log with the tables of this test."""
    return eventlog.open(target, events=[Said], extra_projections=OURS)


@contextmanager
def empty() -> Iterator[str]:
    url = postgres.fresh_log()
    yield url
    postgres.drop_log(url)


def exported(log: Log) -> bytes:
    """The whole log as JSON lines."""
    return b"\n".join(line(record) for record in log.read())


def rows(log: Log) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    return {name: log.projections.rows(name) for name in log.projections.names()}


def assert_same(one: Log, other: Log) -> None:
    assert one.head() == other.head()
    assert [columns(record) for record in one.read()] == [columns(record) for record in other.read()]
    assert exported(one) == exported(other)
    assert rows(one) == rows(other)
    for log in (one, other):
        assert log.verify().ok
        assert {status.state for status in log.projections.status()} == {"live"}
        assert log.projections.verify() == []


@pytest.mark.feature("B-6")
@PROFILE
@example(events=WORST)
@given(events=st.lists(EVENTS, min_size=1, max_size=30))
def test_a_log_that_goes_to_postgres_and_back_is_the_same(events: list[Said]) -> None:
    with at(":memory:") as first, empty() as url, at(url) as second, at(":memory:") as third:
        for number, event in enumerate(events):
            first.append(f"voice-{number % 3}", event, key=f"k{number}", actor="somebody", metadata={"m": event.text})
        first.append("voice-many", events)
        assert second.import_records(first.read(), batch=25) == 2 * len(events)
        assert_same(first, second)
        third.import_records(second.read(), batch=7)
        assert_same(second, third)
        for name in ("voices", "sayings", "counts"):
            assert rows(second)[name] == rows(first)[name]
        second.projections.rebuild()
        assert_same(first, second)
        middle = len(events)
        for log in (first, second):
            log.projections.rollback(middle)
        assert rows(first) == rows(second)
        with first.as_of(middle // 2) as here, second.as_of(middle // 2) as there:
            assert here.runs.count() == there.runs.count() == 0


@PROFILE
@given(
    commands=st.lists(
        st.tuples(
            TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2), st.dictionaries(TEXTS, NUMBERS | TEXTS, max_size=2)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_runs_with_any_text_have_the_same_rows_and_answers_in_both(commands: list[tuple[str, Any, Any]]) -> None:
    with empty() as url, at(url) as first, at(":memory:") as second:
        for number, (text, tags, parameters) in enumerate(commands, start=1):
            stream = f"run-{number}"
            first.append(stream, RunStarted(command=text, program=text[:5]))
            first.append(stream, [RunNoted(note=text), RunTagged(tags=tags), RunParametersSet(parameters=parameters)])
        second.import_records(first.read())
        assert_same(first, second)
        listed = [[run.command for run in log.runs.list(limit=None)] for log in (first, second)]
        assert listed == [[text for text, _, _ in reversed(commands)]] * 2
        for text, _, _ in commands:
            asked = [[run.run_id for run in log.runs.list(program=text[:5], limit=None)] for log in (first, second)]
            assert asked[0] == asked[1] != []
            found = [[run.run_id for run in log.runs.list(text=text[1:4], limit=None)] for log in (first, second)]
            assert found[0] == found[1]


def test_a_lived_in_log_has_one_hash_and_one_content_wherever_it_goes(tmp_path: Path) -> None:
    with at(str(tmp_path / "log.db")) as first, empty() as url:
        fill_with_life(first)
        with at(url) as second, at(str(tmp_path / "back.db")) as third:
            second.import_records(first.read())
            third.import_records(second.read())
            assert_same(first, second)
            assert_same(second, third)
            assert first.log_id == second.log_id == third.log_id
        assert_sound(url)


def fill_with_life(log: Log) -> None:
    log.projects.add("fire")
    for number in range(30):
        run = log.runs.start(f"job {number}", project_id="fire", program="job", tags={"n": str(number)})
        log.append(f"voice-{number}", Said(text="x" * number, number=number), key=f"said-{number}")
        log.append("foreign-1", UnknownEvent(tag="foreign.done", data={"x": [None, number]}))
        if number % 3:
            log.runs.finish_success(run.run_id, exit_code=0, wall_us=number * 1000)
