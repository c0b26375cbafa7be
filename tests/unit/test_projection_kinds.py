"""The three kinds as declarations: keys, groups, fingerprints, and declarations that are refused."""

from __future__ import annotations

from typing import Any

import pytest

from eventlog import Event
from eventlog.errors import ProjectionError
from eventlog.projection import Entity, Journal, Record, Rollup, Row
from eventlog.projection.fold import sum_up
from eventlog.projection.kinds import Retired, groups_of, in_table


class Made(Event, frozen=True, kw_only=True, tag="kind.made"):
    size: int = 0


class Thing(Row, frozen=True):
    thing_id: int
    size: int


class Named(Row, frozen=True):
    name: str
    size: int


class Line(Row, frozen=True):
    position: int
    size: int


class Sum(Row, frozen=True):
    size: int
    things: int


def evolve(row: Any, event: Made, record: Record) -> Any:
    return row


def make(event: Made, record: Record) -> Line | None:
    return Line(record.position, event.size)


def contribute(row: Thing) -> Any:
    return [((row.size,), (1,))]


def entity(name: str = "things", row: Any = Thing, **options: Any) -> Entity[Any]:
    return Entity(name, row=row, category="thing", types=(Made,), evolve=evolve, **{"version": 1, **options})


def rollup(name: str = "sums", source: str = "things", **options: Any) -> Rollup:
    return Rollup(
        name, row=Sum, source=source, measures=("things",), contribute=contribute, **{"version": 1, **options}
    )


def journal(name: str = "lines", row: Any = Line) -> Journal[Any]:
    return Journal(name, version=1, row=row, types=(Made,), make=make)


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        ("thing-1", 1),
        ("thing-0", 0),
        ("thing-9007199254740991", 2**53 - 1),
        ("thing-01", None),
        ("thing-", None),
        ("thing", None),
        ("thing--1", None),
        ("thing-1.0", None),
        ("thing-x", None),
        ("thing-٣", None),
        ("thing-²", None),
        ("things-1", None),
        ("other-1", None),
        ("thing-99999999999999999999", None),
    ],
)
def test_the_key_of_a_numbered_stream(stream: str, key: int | None) -> None:
    assert entity().key_of(stream) == key
    if key is not None:
        assert entity().stream_of(key) == stream


@pytest.mark.parametrize(
    ("stream", "key"), [("thing-a", "a"), ("thing-01", "01"), ("thing-a-b", "a-b"), ("thing-", None), ("thin-a", None)]
)
def test_the_key_of_a_named_stream(stream: str, key: str | None) -> None:
    assert entity(row=Named).key_of(stream) == key


def test_an_entitys_table_is_keyed_by_its_first_field_and_a_journals_by_position() -> None:
    assert entity().table.key == ("thing_id",)
    assert journal().table.key == ("position",)
    assert rollup().table.key == ("size",)
    assert rollup().table.measures == ("things",)


@pytest.mark.parametrize("name", ["", "two words", "a-b", "1a", "a__b", "drop table", "x;y"])
def test_a_name_that_is_no_table_is_refused(name: str) -> None:
    with pytest.raises(ProjectionError, match="name"):
        entity(name)


def test_a_journal_begins_with_position() -> None:
    with pytest.raises(ProjectionError, match="position"):
        journal(row=Thing)


def test_a_rollup_ends_with_its_measures() -> None:
    with pytest.raises(ProjectionError, match="measures"):
        Rollup("sums", version=1, row=Sum, source="things", measures=("size",), contribute=contribute)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_retired_row_is_in_no_table_and_counts_where_that_is_kept(keeps: bool) -> None:
    row, other = Thing(1, 5), Thing(1, 7)
    assert in_table(row) is row
    assert in_table(Retired(row)) is in_table(Retired(None)) is in_table(None) is None
    sums = rollup(keeps_retired=keeps)
    assert sums.counted(row) is row
    assert sums.counted(Retired(row)) is (row if keeps else None)
    assert sums.counted(Retired(None)) is sums.counted(None) is None
    history = [(None, row), (row, other), (other, Retired(other)), (None, Retired(None))]
    expected = {(7,): [1]} if keeps else {}
    assert {key: numbers for key, numbers in sum_up(sums, history, {}).items() if any(numbers)} == expected
    back = [(after, before) for before, after in history[::-1]]
    assert not any(map(any, sum_up(sums, history + back, {}).values()))


def test_groups_are_roots_with_the_rollups_over_them() -> None:
    groups = groups_of([rollup(), entity(), journal(), rollup("more")])
    assert {name: group.names for name, group in groups.items()} == {
        "things": ("things", "sums", "more"),
        "lines": ("lines",),
    }
    assert groups["things"].tags == ("kind.made",)


@pytest.mark.parametrize(
    "declared",
    [
        lambda: [entity(), entity()],
        lambda: [entity("same"), journal("same")],
        lambda: [rollup()],
        lambda: [entity(), rollup(), rollup("second", source="sums")],
    ],
    ids=["twice", "two kinds", "no source", "rollup of a rollup"],
)
def test_declarations_that_do_not_fit_together_are_refused(declared: Any) -> None:
    with pytest.raises(ProjectionError):
        groups_of(declared())


def test_a_fingerprint_tells_shapes_apart_and_is_the_same_for_the_same() -> None:
    assert entity().fingerprint == entity().fingerprint
    prints = {
        entity().fingerprint,
        entity(row=Named).fingerprint,
        entity(indexes=(("size",),)).fingerprint,
        journal().fingerprint,
        rollup().fingerprint,
    }
    assert len(prints) == 5
