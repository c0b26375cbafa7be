"""One function applies a batch of records to a group's tables: appending, catching up and rebuilding all use it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from eventlog.codec import Codec
from eventlog.errors import DecodeError
from eventlog.events import UnknownEvent
from eventlog.projection.kinds import Entity, Group, Journal, Rollup
from eventlog.store.base import Key, Reader, Record, RecordRow, Selection, Values, Writer

Item = tuple[Record, Any]
Change = tuple[Any, Any]
"""A row before and after; None where there is none."""
PAGE = 8192


class Failure(NamedTuple):
    """Where and why a projection's own code failed."""

    position: int
    message: str


class Applied(NamedTuple):
    """What came of a batch: the failure of the root (its tables are true up to the record before), and of rollups."""

    failure: Failure | None
    rollup_failures: dict[str, Failure]


Deltas = dict[Key, list[int]]


def apply(writer: Writer, group: Group, rollups: Sequence[Rollup], items: Sequence[Item], to: int) -> Applied:
    """Bring a group's tables from before ``items`` to after them. The checkpoint is the caller's to save."""
    root = group.root
    if isinstance(root, Entity):
        changes, failure = _apply_entity(writer, root, items)
    else:
        changes, failure = _apply_journal(writer, root, items)
    failures: dict[str, Failure] = {}
    for rollup in rollups:
        try:
            deltas = sum_up(rollup, changes)
        except Exception as error:
            failures[rollup.name] = Failure(to, f"{type(error).__name__}: {error}")
        else:
            write_deltas(writer, rollup, deltas)
    return Applied(failure, failures)


def _apply_entity(writer: Writer, entity: Entity[Any], items: Sequence[Item]) -> tuple[list[Change], Failure | None]:
    keys = key_map(entity, items)
    before = writer.load(entity.table, [(key,) for key in dict.fromkeys(keys.values()) if key is not None])
    rows: dict[Any, Any] = {key[0]: row for key, row in before.items()}
    failure = evolve_all(entity, items, keys, rows)
    changes: list[Change] = []
    fresh: list[Values] = []
    updated: list[Values] = []
    gone: list[Key] = []
    dump = entity.table.dump
    for key, row in rows.items():
        old = before.get((key,))
        if row is old or row == old:
            continue
        changes.append((old, row))
        if old is None:
            fresh.append(dump(row))
        elif row is None:
            gone.append((key,))
        else:
            updated.append(dump(row))
    writer.insert(entity.table, fresh)
    writer.update(entity.table, updated)
    writer.delete(entity.table, gone)
    return changes, failure


def key_map(entity: Entity[Any], items: Iterable[Item]) -> dict[str, Any]:
    """The streams of the items, each with the key of its row."""
    return {stream: entity.key_of(stream) for stream in {record.stream for record, _ in items}}


def evolve_all(
    entity: Entity[Any], items: Iterable[Item], keys: dict[str, Any], rows: dict[Any, Any]
) -> Failure | None:
    """Fold items into rows, in order; stops at the first that the entity's code does not take."""
    evolve = entity.evolve
    get = rows.get
    record: Record | None = None
    try:
        for record, event in items:
            key = keys[record.stream]
            if key is not None:
                rows[key] = evolve(get(key), _known(event), record)
    except Exception as error:
        assert record is not None  # noqa: S101
        return Failure(record.position, f"{type(error).__name__}: {error}")
    return None


def _known(event: Any) -> Any:
    if isinstance(event, DecodeError):
        raise event
    return event


def _apply_journal(writer: Writer, journal: Journal[Any], items: Sequence[Item]) -> tuple[list[Change], Failure | None]:
    rows, failure = journal_rows(journal, items)
    dump = journal.table.dump
    writer.insert(journal.table, [dump(row) for row in rows])
    return [(None, row) for row in rows], failure


def journal_rows(journal: Journal[Any], items: Iterable[Item]) -> tuple[list[Any], Failure | None]:
    """The rows of a journal for these items; stops at the first that its code does not take."""
    rows = []
    record: Record | None = None
    try:
        for record, event in items:
            row = journal.make(_known(event), record)
            if row is not None:
                rows.append(row)
    except Exception as error:
        assert record is not None  # noqa: S101
        return rows, Failure(record.position, f"{type(error).__name__}: {error}")
    return rows, None


def sum_up(rollup: Rollup, changes: Iterable[Change]) -> Deltas:
    """What changes of the source add to, and take from, a rollup's rows."""
    deltas: Deltas = {}
    width = len(rollup.table.key)
    contribute = rollup.contribute
    for old, new in changes:
        taken = () if old is None else contribute(old)
        given = () if new is None else contribute(new)
        if taken == given:
            continue
        for values, sign in ((taken, -1), (given, 1)):
            for value in values:
                key = value[:width]
                numbers = deltas.get(key)
                if numbers is None:
                    deltas[key] = [sign * number for number in value[width:]]
                else:
                    for index, number in enumerate(value[width:]):
                        numbers[index] += sign * number
    return {key: numbers for key, numbers in deltas.items() if any(numbers)}


def write_deltas(writer: Writer, rollup: Rollup, deltas: Deltas) -> None:
    """Add deltas to a rollup's rows."""
    writer.add(rollup.table, [(*key, *numbers) for key, numbers in deltas.items()])


def decode(codec: Codec, rows: Iterable[RecordRow]) -> list[Item]:
    """Stored rows with their events; one that does not decode carries its error, for whoever needs it to meet."""
    items: list[Item] = []
    for row in rows:
        record = Record(*row, codec)
        try:
            items.append((record, codec.decode(record.type, record.schema, record.data)))
        except DecodeError as error:
            items.append((record, error))
    return items


def known_only(items: list[Item]) -> list[Item]:
    """Without the events of a newer schema than this program knows: those are passed over."""
    return [item for item in items if type(item[1]) is not UnknownEvent]


def fold_range(
    writer: Writer,
    codec: Codec,
    groups: Sequence[Group],
    after: int,
    to: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Failure]:
    """Apply every record of ``(after, to]`` to empty or matching tables; returns failures by root and by rollup."""
    failures: dict[str, Failure] = {}
    tags = tuple(dict.fromkeys(tag for group in groups for tag in group.tags))
    with no_collection():
        while after < to:
            end, items = page(writer, codec, tags, after, to)
            by_group = _split(groups, items)
            for group in groups:
                if group.root.name not in failures:
                    rollups = [rollup for rollup in group.rollups if rollup.name not in failures]
                    applied = apply(writer, group, rollups, by_group[group], end)
                    failures.update(applied.rollup_failures)
                    if applied.failure is not None:
                        failures[group.root.name] = applied.failure
            after = end
            if progress is not None:
                progress(after)
    return failures


def _split(groups: Sequence[Group], items: list[Item]) -> dict[Group, list[Item]]:
    """The items that each group wants."""
    mine: dict[Group, list[Item]] = {group: [] for group in groups}
    takers: dict[str, list[list[Item]]] = {}
    for group in groups:
        for tag in group.tags:
            takers.setdefault(tag, []).append(mine[group])
    for item in known_only(items):
        for taker in takers[item[0].type]:
            taker.append(item)
    return mine


def page(reader: Reader, codec: Codec, tags: tuple[str, ...], after: int, to: int) -> tuple[int, list[Item]]:
    """The next records of these types, and the position up to which they are all there are."""
    rows = reader.records(after, to, Selection(types=tags), limit=PAGE)
    end = to if len(rows) < PAGE else rows[-1][0]
    return end, decode(codec, rows)


@contextmanager
def no_collection() -> Iterator[None]:
    """Events and rows hold no cycles: looking for them costs a fifth of a long fold."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def as_dict(row: Any) -> dict[str, Any] | None:
    """A row Struct as a dict of its fields."""
    return None if row is None else msgspec.structs.asdict(row)
