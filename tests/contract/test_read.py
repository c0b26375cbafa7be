"""Reading: ranges, filters, order, limits, pages; and a reader that stops half-way holds nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventlog import Append, Record
from eventlog.app import Log
from eventlog.errors import InvalidQuery
from eventlog.log import PAGE
from eventlog.store.base import Selection
from tests.conftest import OpenLog
from tests.helpers import Measured, Noted, assert_whole, notes, numbers, positions


@pytest.fixture
def filled(log: Log) -> Log:
    """Thirty records of four streams, two categories and two types, and a stream without a category."""
    kinds: list[Any] = [Noted, Measured]
    for number in range(30):
        stream = ("a-1", "a-2", "ab-1", "b-1", "plain")[number % 5]
        log.append(stream, kinds[number % 3 == 0]())
    return log


def test_everything_in_order(filled: Log) -> None:
    assert positions(filled.read()) == list(range(1, 31))
    assert positions(filled.read(backwards=True)) == list(range(30, 0, -1))


@pytest.mark.parametrize(
    ("after", "to", "expected"),
    [
        (0, 3, [1, 2, 3]),
        (27, None, [28, 29, 30]),
        (10, 12, [11, 12]),
        (12, 12, []),
        (20, 10, []),
        (30, None, []),
        (99, None, []),
        (-5, 2, [1, 2]),
        (28, 10**6, [29, 30]),
    ],
)
def test_a_range_is_after_its_start_up_to_its_end(filled: Log, after: int, to: int | None, expected: list[int]) -> None:
    assert positions(filled.read(after, to)) == expected
    assert positions(filled.read(after, to, backwards=True)) == expected[::-1]


@pytest.mark.parametrize("limit", [0, 1, 7, 30, 99])
def test_a_limit_counts_from_the_side_that_is_read_first(filled: Log, limit: int) -> None:
    assert positions(filled.read(limit=limit)) == list(range(1, 31))[:limit]
    assert positions(filled.read(limit=limit, backwards=True)) == list(range(30, 0, -1))[:limit]


FILTERS: list[tuple[dict[str, Any], Callable[[Record], bool]]] = [
    ({"streams": "a-1"}, lambda r: r.stream == "a-1"),
    ({"streams": ["a-1", "plain"]}, lambda r: r.stream in ("a-1", "plain")),
    ({"streams": ["a-%"]}, lambda r: False),
    ({"categories": "a"}, lambda r: r.stream.startswith("a-")),
    ({"categories": ["a", "b"]}, lambda r: r.stream[:2] in ("a-", "b-")),
    ({"categories": "plain"}, lambda r: r.stream == "plain"),
    ({"types": "test.measured"}, lambda r: r.type == "test.measured"),
    ({"types": [Measured, "test.noted"]}, lambda r: True),
    ({"types": Noted}, lambda r: r.type == "test.noted"),
    ({"types": "nobody.knows"}, lambda r: False),
    ({"categories": "a", "types": Measured}, lambda r: r.stream[:2] == "a-" and r.type == "test.measured"),
    ({"streams": "b-1", "categories": "a"}, lambda r: False),
    ({"streams": ["a-1\0", "a-1\1"]}, lambda r: False),
    ({"types": ["test.noted\0", "test.measured"]}, lambda r: r.type == "test.measured"),
    ({"streams": []}, lambda r: False),
    ({"categories": []}, lambda r: False),
    ({"types": ()}, lambda r: False),
]


@pytest.mark.parametrize(("filters", "wanted"), FILTERS, ids=[str(filters) for filters, _ in FILTERS])
def test_filters_give_what_all_conditions_hold_for(
    filled: Log, filters: dict[str, Any], wanted: Callable[[Record], bool]
) -> None:
    expected = [record.position for record in filled.read() if wanted(record)]
    assert positions(filled.read(**filters)) == expected
    assert positions(filled.read(backwards=True, **filters)) == expected[::-1]
    assert positions(filled.read(limit=3, **filters)) == expected[:3]
    assert positions(filled.read(5, 20, **filters)) == [position for position in expected if 5 < position <= 20]


def test_a_category_is_what_stands_before_the_first_dash(log: Log) -> None:
    for stream in ("a-b-c", "a-b", "a.b-c", "a", "ä-1"):
        log.append(stream, Noted())
    assert [record.stream for record in log.read(categories="a")] == ["a-b-c", "a-b", "a"]
    with pytest.raises(InvalidQuery, match="a-b"):
        log.read(categories="a-b")
    assert [record.stream for record in log.read(categories=["ä", "a.b"])] == ["a.b-c", "ä-1"]


def test_pages_are_invisible(log: Log) -> None:
    count = 2 * PAGE + 7
    log.append_many([Append(stream=f"note-{n % 2}", events=Noted(number=n)) for n in range(count)])
    assert numbers(log.read()) == list(range(count))
    assert numbers(log.read(backwards=True)) == list(range(count))[::-1]
    assert numbers(log.read(streams="note-1")) == list(range(1, count, 2))
    assert numbers(log.read(limit=PAGE + 1)) == list(range(PAGE + 1))
    assert numbers(log.read(limit=PAGE + 1, backwards=True)) == list(range(count))[::-1][: PAGE + 1]
    assert numbers(log.read(PAGE - 1, PAGE + 2)) == [PAGE - 1, PAGE, PAGE + 1]
    assert_whole(log)


def test_a_long_stream_is_read_in_pages_too(log: Log) -> None:
    count = PAGE + 5
    log.append("note-1", notes(count))
    assert numbers(log.read_stream("note-1")) == list(range(count))
    assert numbers(log.read_stream("note-1", backwards=True)) == list(range(count))[::-1]
    assert numbers(log.read_stream("note-1", backwards=True, limit=PAGE + 2))[-1] == 3


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"after": 2}, [3, 4, 5]),
        ({"after": 1, "to": 3}, [2, 3]),
        ({"to": 0}, []),
        ({"after": 9}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"backwards": True}, [5, 4, 3, 2, 1]),
        ({"backwards": True, "limit": 2, "to": 4}, [4, 3]),
    ],
)
def test_read_stream_counts_in_versions(log: Log, bounds: dict[str, Any], expected: list[int]) -> None:
    for _ in range(5):
        log.append("other-1", Noted())
        log.append("note-1", Noted())
    assert [record.version for record in log.read_stream("note-1", **bounds)] == expected


def test_a_stream_that_is_not_there_is_empty(log: Log) -> None:
    log.append("note-1", Noted())
    assert list(log.read_stream("note-2")) == []
    assert list(log.read(streams="note")) == []


def test_read_ends_at_the_head_of_when_it_began(log: Log) -> None:
    log.append("note-1", notes(PAGE + 10))
    reading = log.read()
    first = next(reading)
    log.append("note-1", notes(5))
    assert 1 + len(list(reading)) == PAGE + 10
    assert first.position == 1


def test_a_read_left_half_way_lets_others_write_and_go_on(log: Log) -> None:
    log.append("note-1", notes(PAGE * 2))
    half = log.read()
    for _ in range(10):
        next(half)
    log.append("note-1", Noted())
    with log.transaction():
        log.append("note-1", Noted())
    assert log.head().position == PAGE * 2 + 2
    assert next(half).position == 11
    half.close()  # type: ignore[attr-defined]


def test_two_reads_take_turns(log: Log) -> None:
    log.append("note-1", notes(20))
    pairs = list(zip(log.read(), log.read(backwards=True), strict=True))
    assert [(one.position, two.position) for one, two in pairs] == [(n, 21 - n) for n in range(1, 21)]


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_parts_hold_whole_streams_and_every_record_once(open_log: OpenLog, parts: int) -> None:
    log = open_log()
    for name in ("a-1", "a-2", "a-ü", "b-💡", "plain", "c-x", "c-9f"):
        log.append(name, notes(3))
    with log.reader() as reader:
        shares = [reader.records(0, None, Selection(part=(number, parts))) for number in range(parts)]
        tagged = reader.records(5, 15, Selection(types=("test.noted",), part=(0, parts)), limit=2)
    assert sorted(row[0] for share in shares for row in share) == list(range(1, 22))
    for number, share in enumerate(shares):
        assert {ord(row[1][-1]) % parts for row in share} <= {number}
        assert share == sorted(share)
    assert tagged == [row for row in shares[0] if 5 < row[0] <= 15][:2]
