"""What tables ought to hold at each version, computed in the plainest way; and the ways a log has to get there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import eventlog
from eventlog import Record, UnknownEvent
from eventlog.app import Log
from eventlog.events import event_type
from eventlog.projection import Entity, Journal, Projection, Rollup
from eventlog.projection.fold import as_dict

Tables = dict[str, list[dict[str, Any]]]


def tables_at_every_version(projections: Sequence[Projection], records: Iterable[Record]) -> list[Tables]:
    """The tables at versions 0, 1, 2 … of a history."""
    held: dict[str, dict[Any, Any]] = {one.name: {} for one in projections}
    retired: dict[str, dict[Any, Any]] = {one.name: {} for one in projections}
    states = [_shown(projections, held, retired)]
    for record in records:
        event = record.event
        for one in projections:
            if isinstance(event, UnknownEvent) or event_type(type(event)) not in getattr(one, "tags", ()):
                continue
            if isinstance(one, Journal):
                row = one.make(event, record)
                if row is not None:
                    held[one.name][record.position] = row
            elif isinstance(one, Entity) and (key := one.thing_of(record, event)) is not None:
                if key in retired[one.name]:
                    continue
                if type(event) is one.retires:
                    retired[one.name][key] = held[one.name].pop(key, None)
                    continue
                row = one.evolve(held[one.name].get(key), event, record)
                held[one.name].pop(key, None)
                if row is not None:
                    held[one.name][key] = row
        states.append(_shown(projections, held, retired))
    return states


def _shown(
    projections: Sequence[Projection], held: dict[str, dict[Any, Any]], retired: dict[str, dict[Any, Any]]
) -> Tables:
    tables: Tables = {}
    for one in projections:
        if isinstance(one, Rollup):
            rows = list(held[one.source].values())
            if one.keeps_retired:
                rows += [row for row in retired[one.source].values() if row is not None]
            tables[one.name] = _sums(one, rows)
        else:
            tables[one.name] = [as_dict(row) or {} for _, row in sorted(held[one.name].items())]
    return tables


def _sums(rollup: Rollup, rows: Iterable[Any]) -> list[dict[str, Any]]:
    sums: dict[Any, list[int]] = {}
    for row in rows:
        for key, numbers in rollup.contribute(row):
            sums[tuple(key)] = [a + b for a, b in zip(sums.get(tuple(key), [0] * len(numbers)), numbers, strict=True)]
    names = rollup.table.names
    return [dict(zip(names, (*key, *sums[key]), strict=True)) for key in sorted(sums) if any(sums[key])]


def concerned(log: Log) -> list[str]:
    """The tables that a log's events have anything to do with; all of them where none has."""
    types = {record.type for record in log.read()}
    groups = [group for group in log.projections.groups.values() if types & set(group.tags)]
    return [name for group in groups for name in group.names] or log.projections.names()


def live(log: Log, names: Iterable[str] | None = None) -> Tables:
    """The tables as they stand, all or some."""
    return {name: log.projections.rows(name) for name in names or log.projections.names()}


def as_of(log: Log, version: int, names: Iterable[str] | None = None) -> Tables:
    """The tables as a past version answers, all or some."""
    tables: Tables = {}
    with log.projections.as_of(version) as past, past.reader() as reader:
        for name in names or log.projections.names():
            table = log.projections.projection(name).table
            tables[name] = [as_dict(row) or {} for row in reader.select(table, order=table.key)]
            assert reader.count(table) == len(tables[name])
    return tables


def by_key(log: Log, name: str, rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of a table by their key."""
    key = log.projections.projection(name).table.key
    return {tuple(row[column] for column in key): row for row in rows}


def check_every_way(log: Log, extra: Sequence[Projection] = (), chunks: Sequence[int] = (1, 3, 2, 7)) -> list[Tables]:
    """Every way to the tables at every version of an inline log's history agrees with the plain computation.

    Tables with which its events have nothing to do are looked at once: they are empty.
    """
    names = concerned(log)
    projections = [log.projections.projection(name) for name in names]
    records = list(log.read())
    states = tables_at_every_version(projections, records)
    head = len(records)
    assert live(log, names) == states[head], "inline"
    empty: Tables = {name: log.projections.rows(name) for name in log.projections.names() if name not in names}
    assert not any(empty.values())
    assert log.projections.verify() == []
    for version in range(head + 1):
        assert as_of(log, version, names) == states[version], f"as of {version}"
    _check_caught_up(records, states, names, extra, chunks)
    _check_rolled_back(log, states, names)
    log.projections.rebuild(names)
    assert live(log, names) == states[head], "rebuilt"
    for name in names:
        _check_explained(log, name)
    return [empty | state for state in states]


def _check_caught_up(
    records: list[Record], states: list[Tables], names: list[str], extra: Sequence[Projection], chunks: Sequence[int]
) -> None:
    with eventlog.open(":memory:", projections="deferred", extra_projections=extra) as deferred:
        deferred.projections.catch_up()
        at = turn = 0
        while at < len(records):
            size = chunks[turn % len(chunks)]
            at += deferred.import_records(records[at : at + size])
            turn += 1
            deferred.projections.catch_up(names)
            assert live(deferred, names) == states[at], f"caught up to {at}"
        deferred.projections.catch_up()
        assert deferred.projections.verify() == []


def _check_rolled_back(log: Log, states: list[Tables], names: list[str]) -> None:
    head = len(states) - 1
    down = list(range(head, -1, -1))
    for version in (*down, *down[::-2]):  # every version downwards, then every second one upwards
        log.projections.rollback(version, names)
        assert live(log, names) == states[version], f"rolled back to {version}"
    for version in {0, head // 2, head}:
        log.projections.rollback(version, names)
        assert log.projections.verify(names) == []
        middle = head // 3
        assert as_of(log, middle, names) == states[middle], f"as of {middle}, pinned at {version}"
        log.projections.resume(names)
        assert live(log, names) == states[head], f"resumed from {version}"


def check_diff(log: Log, states: list[Tables], first: int, last: int) -> None:
    """A diff turns the tables at one version into those at another, and names events between the two."""
    expected = {name: by_key(log, name, rows) for name, rows in states[first].items()}
    low, high = sorted((first, last))
    for row in log.projections.diff(first, last):
        assert expected[row.table].get(row.key) == row.before
        assert row.before != row.after
        assert row.change == ("added" if row.before is None else "removed" if row.after is None else "changed")
        if row.change == "changed":
            assert row.before is not None and row.after is not None
            assert set(row.columns) == {name for name in row.before if row.before[name] != row.after[name]}
        assert row.positions and all(low < position <= high for position in row.positions)
        if row.after is None:
            del expected[row.table][row.key]
        else:
            expected[row.table][row.key] = row.after
    assert expected == {name: by_key(log, name, rows) for name, rows in states[last].items()}


def _check_explained(log: Log, name: str) -> None:
    member = log.projections.projection(name)
    for key, row in by_key(log, name, log.projections.rows(name)).items():
        told = log.projections.explain(name, key)
        assert told.row == row
        if isinstance(member, Rollup):
            assert told.sources or member.keeps_retired
            continue
        built: dict[str, Any] = {}
        for step in told.steps:
            for column, (old, new) in step.changes.items():
                assert built.get(column) == old
                built[column] = new
        assert {column: built.get(column) for column in row} == row
