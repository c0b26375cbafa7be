"""The past of a group's rows: which rows changed between two positions, and what they were."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from eventlog.codec import Codec
from eventlog.errors import ProjectionFailed
from eventlog.projection.fold import (
    Change,
    Deltas,
    Failure,
    Item,
    decode,
    evolve_all,
    journal_rows,
    sum_up,
    things_of,
)
from eventlog.projection.kinds import Entity, Group, Journal, Rollup, in_table
from eventlog.store.base import Key, Reader, Selection


class Changes(NamedTuple):
    """Rows of a group's root by key, before and after, with the positions of the events between that touched them."""

    turned: dict[Key, Change]
    positions: dict[Key, list[int]]

    @property
    def rows(self) -> dict[Key, Change]:
        """The rows that differ in the table."""
        pairs = {key: (in_table(old), in_table(new)) for key, (old, new) in self.turned.items()}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}

    def deltas(self, rollup: Rollup) -> Deltas:
        """What the same changes do to a rollup."""
        return {key: numbers for key, numbers in sum_up(rollup, self.turned.values(), {}).items() if any(numbers)}


def changes_between(reader: Reader, codec: Codec, group: Group, first: int, last: int) -> Changes:
    """How the root's rows at ``last`` differ from those at ``first``; folds only the streams touched in between.

    Raises ProjectionFailed where the projection's code does not take an event.
    """
    touched = decode(codec, reader.records(first, last, Selection(types=group.tags)))
    root = group.root
    if isinstance(root, Journal):
        return _journal_changes(root, touched)
    return _entity_changes(reader, codec, root, touched, first)


def _journal_changes(journal: Journal[Any], touched: list[Item]) -> Changes:
    rows, failure = journal_rows(journal, touched)
    _stop(journal.name, failure)
    changes: dict[Key, Change] = {(row.position,): (None, row) for row in rows}
    return Changes(changes, {key: [int(key[0])] for key in changes})


def _entity_changes(reader: Reader, codec: Codec, entity: Entity[Any], touched: list[Item], first: int) -> Changes:
    things = things_of(entity, touched)
    about = zip(things, touched, strict=True)
    streams = dict.fromkeys(record.stream for thing, (record, _) in about if thing is not None)
    earlier = decode(codec, reader.records_of(streams, first, entity.tags))
    rows: dict[Any, Any] = {}
    _stop(entity.name, evolve_all(entity, earlier, things_of(entity, earlier), rows))
    before = dict(rows)
    _stop(entity.name, evolve_all(entity, touched, things, rows))
    positions: dict[Key, list[int]] = {}
    pairs: dict[Key, Change] = {}
    for thing, (record, _) in zip(things, touched, strict=True):
        if thing is not None:
            key = entity.row_key(thing)
            positions.setdefault(key, []).append(record.position)
            pairs[key] = (before.get(thing), rows.get(thing))
    return Changes({key: pair for key, pair in pairs.items() if pair[0] != pair[1]}, positions)


def _stop(name: str, failure: Failure | None) -> None:
    if failure is not None:
        raise ProjectionFailed(
            f"{name} failed at position {failure.position}: {failure.message}", name=name, position=failure.position
        )


def contributions(reader: Reader, rollup: Rollup, root: Any, key: Key) -> list[Any]:
    """The source's rows that have a share in one row of a rollup."""
    rows: Iterable[Any] = reader.select(root.table, ())
    return [row for row in rows if any(bucket == key for bucket, _ in rollup.contribute(row))]
