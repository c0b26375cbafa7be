"""One function says what a batch of records does to a group's tables: appending, catching up, rebuilding all use it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import msgspec

from eventlog.codec import Codec
from eventlog.errors import DecodeError
from eventlog.events import UnknownEvent, event_type
from eventlog.projection.kinds import Entity, Group, Journal, Retired, Rollup, SearchableRow, in_table
from eventlog.store.base import Key, Reader, Record, RecordRow, Refused, Selection, Values, Writer

Item = tuple[Record, Any]
Change = tuple[Any, Any]
"""A row before and after; None where there is none, `Retired` where it was taken out and still counts."""
PAGE = 4096


class Failure(NamedTuple):
    """Where and why a projection's own code failed."""

    position: int
    message: str


class Broken(NamedTuple):
    """What stands for an event that does not decode."""

    problem: str


Deltas = dict[Key, list[int]]


class Plan:
    """What records do to a group's tables, computed and not yet written: `take` them in order, then `settle`.

    ``failure``: the root's own code failed there, and the plan ends before; ``rollup_failures``: those of its rollups.
    ``text_length``: characters of what an index of words takes. ``known`` are an entity's rows by key as they stand in
    its table (None: no row); it learns those it lacks, and what becomes of them.
    """

    def __init__(self, group: Group, known: dict[Any, Any] | None = None) -> None:
        self.group = group
        self._known: dict[Any, Any] = {} if known is None else known
        self._before: dict[Any, Any] = {}
        self._rows: dict[Any, Any] = {}
        self._made: list[Any] = []
        self._first = 0
        self.fresh: list[Values] = []
        self.updated: dict[tuple[int, ...], list[Values]] = {}
        self.gone: list[Key] = []
        self.deltas: dict[Rollup, Deltas] = {}
        self.text_length = 0
        self.failure: Failure | None = None
        self.refused = False
        self.rollup_failures: dict[str, Failure] = {}

    def take(self, writer: Writer, items: Sequence[Item], begun: Collection[str] = ()) -> None:
        """Fold items in. Of the streams that have ``begun`` the table has no row yet; without, these items say it."""
        if not items:
            return
        self._first = self._first or items[0][0].position
        root = self.group.root
        if isinstance(root, Entity):
            self._evolve(writer, root, items, begun)
        else:
            self._make(writer, root, items)

    def _evolve(self, reader: Reader, entity: Entity[Any], items: Sequence[Item], begun: Collection[str]) -> None:
        things = things_of(entity, items)
        rows, known = self._rows, self._known
        touched = dict.fromkeys(things)
        touched.pop(None, None)
        touched.pop(Broken, None)
        if missing := [thing for thing in touched if thing not in rows]:
            if unknown := [thing for thing in missing if thing not in known]:
                known.update(_loaded(reader, entity, unknown, items, begun))
            found = {thing: known[thing] for thing in missing}
            self._before.update(found)
            rows.update(found)
        self.failure = evolve_all(entity, items, things, rows)

    def _make(self, writer: Writer, journal: Journal[Any], items: Sequence[Item]) -> None:
        table = journal.table
        rows, self.failure = journal_rows(journal, items)
        try:
            fresh = [table.dump(row) for row in rows]
            if table.words is not None:
                fresh = writer.worded(table, fresh)
                self.text_length += sum([len(row[-1]) for row in fresh])
        except Exception as error:
            self.refuse(error)
            return
        self.fresh += fresh
        if self.group.rollups:
            self._made += rows

    def settle(self, rollups: Sequence[Rollup], to: int, sums: dict[Rollup, Deltas] | None = None) -> None:
        """Say what is to be written; ``to`` is the position after all that was taken.

        With ``sums`` what rollups gain is added there, to be written later, and not part of the plan.
        """
        root = self.group.root
        changes = self._turned(root) if isinstance(root, Entity) else [(None, row) for row in self._made]
        for rollup in rollups if changes else ():
            try:
                if sums is None:
                    if deltas := non_zero(sum_up(rollup, changes, {})):
                        self.deltas[rollup] = deltas
                else:
                    sum_up(rollup, changes, sums[rollup])
            except Exception as error:
                self.rollup_failures[rollup.name] = Failure(to, f"{type(error).__name__}: {error}")

    def _turned(self, entity: Entity[Any]) -> list[Change]:
        before, row_key = self._before, entity.row_key
        changes: list[Change] = []
        try:
            for thing, row in self._rows.items():
                old = before[thing]
                if row is not old and (old is None or row != old):
                    self.turn(row_key(thing), in_table(old), in_table(row))
                    changes.append((old, row))
        except Exception as error:
            self.refuse(error)
            return []
        self._known.update(self._rows)
        return changes

    def turn(self, key: Key, old: Any, new: Any) -> None:
        """A row of the root becomes another (None: there is none); of one that stays, what differs is written.

        Raises ValueError where the other is no row with this key.
        """
        table = self.group.root.table
        if new is None:
            self.gone.append(key)
            return
        is_same = isinstance(new, table.row)
        if is_same and old is None:
            values = table.dump(new)
            is_same = values[: len(key)] == key
            self.fresh.append(values)
        elif is_same:
            columns, values = table.changed(old, new)
            is_same = not columns or columns[0] >= len(key)
            if columns:
                self.updated.setdefault(columns, []).append((*values, *key))
        if not is_same:
            raise ValueError(f"a row of {', '.join(table.key)} {key!r} became {new!r}"[:200])

    def refuse(self, error: Exception) -> None:
        """Nothing is written: the first record that was taken stands for the one that made a row nobody can store."""
        self.fresh, self.updated, self.gone, self.deltas, self._made = [], {}, [], {}, []
        self.refused = True
        self.failure = Failure(self._first, f"a row cannot be stored: {type(error).__name__}: {error}")

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.fresh or self.updated or self.gone or self.deltas)

    def write_at_once(self, writer: Writer) -> None:
        """Write it; the checkpoint is the caller's to save. Raises Refused when the store does not take a row."""
        if self.refused:
            raise Refused(self.group.root.name)
        if self.empty:
            return
        try:
            self.write_all(writer)
        except Exception as error:
            if writer.refuses(error):
                raise Refused(self.group.root.name) from error
            raise

    def write(self, writer: Writer) -> None:
        """Write it; the checkpoint is the caller's to save. What the store refuses stops that projection alone."""
        if self.empty:
            return
        writer.savepoint()
        try:
            self.write_all(writer)
            writer.release()
        except Exception as error:
            writer.rollback_to_savepoint()
            if not writer.refuses(error):
                raise
            self._write_apart(writer)

    def write_all(self, writer: Writer) -> None:
        """Write it; what the store refuses is the caller's to handle."""
        self._write_root(writer)
        for rollup, deltas in self.deltas.items():
            write_deltas(writer, rollup, deltas)

    def _write_root(self, writer: Writer) -> None:
        table = self.group.root.table
        if self.fresh:
            writer.insert(table, self.fresh)
        for columns, rows in self.updated.items():
            writer.update(table, columns, rows)
        if self.gone:
            writer.delete(table, self.gone)

    def _write_apart(self, writer: Writer) -> None:
        if error := attempt(writer, partial(self._write_root, writer)):
            self.refuse(error)
            return
        for rollup, deltas in self.deltas.items():
            if error := attempt(writer, partial(write_deltas, writer, rollup, deltas)):
                self.rollup_failures[rollup.name] = Failure(self._first, f"a row cannot be stored: {error}")


def apply(
    writer: Writer,
    group: Group,
    rollups: Sequence[Rollup],
    items: Sequence[Item],
    to: int,
    known: dict[Any, Any] | None = None,
) -> Plan:
    """Plan and write. Where a row is refused the batch is halved until the record that makes it is found."""
    made = plan(writer, group, rollups, items, to, known=known)
    made.write(writer)
    if not made.refused or len(items) < 2:
        return made
    if known is not None:
        known.clear()
    middle = len(items) // 2
    first = apply(writer, group, rollups, items[:middle], items[middle][0].position - 1, known)
    if first.failure is not None:
        return first
    moving = [rollup for rollup in rollups if rollup.name not in first.rollup_failures]
    rest = apply(writer, group, moving, items[middle:], to, known)
    rest.rollup_failures.update(first.rollup_failures)
    return rest


def attempt(writer: Writer, write: Callable[[], None]) -> Exception | None:
    """Write it, or nothing of it: the error with which the store refuses it, None where it does not."""
    writer.savepoint()
    try:
        write()
        writer.release()
    except Exception as error:
        writer.rollback_to_savepoint()
        if not writer.refuses(error):
            raise
        return error
    return None


def plan(
    writer: Writer,
    group: Group,
    rollups: Sequence[Rollup],
    items: Sequence[Item],
    to: int,
    known: dict[Any, Any] | None = None,
) -> Plan:
    """How a group's tables get from before ``items`` to after them; ``to`` is the position after them."""
    made = Plan(group, known)
    made.take(writer, items)
    made.settle(rollups, to)
    return made


def _loaded(
    reader: Reader, entity: Entity[Any], things: Sequence[Any], items: Sequence[Item], begun: Collection[str]
) -> dict[Any, Any]:
    """The rows of these things as they were before ``items``; None where there is none."""
    row_key, part = entity.row_key, entity.part
    rows: dict[Any, Any] = dict.fromkeys(things)
    # A stream that begins here has no row yet.
    begun = begun or {record.stream for record, _ in items if record.version == 1}
    streams = [thing[0] if part is not None else entity.stream_of(thing) for thing in things]
    older = [thing for thing, stream in zip(things, streams, strict=True) if stream not in begun]
    if older:
        loaded = reader.load(entity.table, [row_key(thing) for thing in older])
        rows.update((thing, loaded.get(row_key(thing))) for thing in older)
        if entity.retires is not None and (gone := [thing for thing in older if rows[thing] is None]):
            rows.update(_retired(reader, entity, gone, items[0][0].position - 1))
    return rows


def _retired(reader: Reader, entity: Entity[Any], keys: Iterable[Any], to: int) -> dict[Any, Any]:
    """Of keys without a row, those whose row was retired up to a position: no table tells them from new ones."""
    assert entity.retires is not None  # noqa: S101
    rows = reader.records_of(map(entity.stream_of, keys), to, (event_type(entity.retires),))
    return {entity.key_of(row[1]): Retired(None) for row in rows}


def things_of(entity: Entity[Any], items: Sequence[Item]) -> list[Any]:
    """What each item is about: the key of a row where there is one a stream, else stream and part.

    None: nothing of this entity's; `Broken`: it does not decode, so that its part cannot be said.
    """
    streams = [record.stream for record, _ in items]
    part = entity.part
    if part is None:
        keys = {stream: entity.key_of(stream) for stream in set(streams)}
        return [keys[stream] for stream in streams]
    parts = [event if type(event) is Broken else part(event) for _, event in items]
    things: list[Any] = list(zip(streams, parts, strict=True))
    if Broken in set(map(type, parts)):
        return [Broken if type(thing[1]) is Broken else thing for thing in things]
    return things


def evolve_all(
    entity: Entity[Any], items: Sequence[Item], things: Iterable[Any], rows: dict[Any, Any]
) -> Failure | None:
    """Fold items into rows, in order; stops at the first that the entity's code does not take.

    ``things`` are those of `things_of`.
    """
    evolve, retires = entity.evolve, entity.retires
    get = rows.get
    record: Record | None = None
    try:
        for thing, (record, event) in zip(things, items, strict=True):
            if thing is None:
                continue
            if type(event) is Broken:
                raise DecodeError(event.problem)
            row = get(thing)
            if retires is not None and (type(row) is Retired or type(event) is retires):
                rows[thing] = row if type(row) is Retired else Retired(row)
            else:
                rows[thing] = evolve(row, event, record)
    except Exception as error:
        assert record is not None  # noqa: S101
        return _failure(record, event, error)
    return None


def _failure(record: Record, event: Any, error: Exception) -> Failure:
    if isinstance(event, Broken):
        return Failure(record.position, f"the record does not decode: {event.problem}")
    return Failure(record.position, f"{type(error).__name__}: {error}")


def journal_rows(journal: Journal[Any], items: Sequence[Item]) -> tuple[list[Any], Failure | None]:
    """The rows of a journal for these items; stops at the first that its code does not take."""
    make = journal.make
    rows = []
    record: Record | None = None
    try:
        for record, event in items:
            if type(event) is Broken:
                raise DecodeError(event.problem)
            row = make(event, record)
            if row is not None:
                rows.append(row)
    except Exception as error:
        assert record is not None  # noqa: S101
        return rows, _failure(record, event, error)
    return rows, None


def sum_up(rollup: Rollup, changes: Iterable[Change], deltas: Deltas) -> Deltas:
    """Add to ``deltas`` what changes of the source give to, and take from, a rollup's rows."""
    contribute = rollup.contribute
    # First all that a key gets, then its sums: columns of numbers add up faster than one row to another.
    gained: dict[Key, list[Sequence[int]]] = {}
    for old, new in changes:
        if type(old) is Retired:
            old = rollup.counted(old)
        if type(new) is Retired:
            new = rollup.counted(new)
        given = () if new is None else contribute(new)
        if old is not None:
            taken = contribute(old)
            if taken == given:
                continue
            for key, numbers in taken:
                gained.setdefault(key, []).append([-number for number in numbers])
        for key, numbers in given:
            gained.setdefault(key, []).append(numbers)
    for key, rows in gained.items():
        if key in deltas:
            rows.append(deltas[key])
        deltas[key] = list(rows[0] if len(rows) == 1 else map(sum, zip(*rows)))  # noqa: B905
    return deltas


def non_zero(deltas: Deltas) -> Deltas:
    """Without those that change nothing."""
    return {key: numbers for key, numbers in deltas.items() if any(numbers)}


def write_deltas(writer: Writer, rollup: Rollup, deltas: Deltas) -> None:
    """Add deltas to a rollup's rows."""
    writer.add(rollup.table, [(*key, *numbers) for key, numbers in deltas.items()])


def decode(codec: Codec, rows: Iterable[RecordRow]) -> list[Item]:
    """Stored rows as records with their events, without those this program does not know.

    A record that does not decode carries a `Broken` in place of its event, for the projections that want it to meet.
    """
    items: list[Item] = []
    current = codec.current
    for row in rows:
        record = Record(*row, codec)
        kind = current.get(row[3])
        try:
            if kind is not None and kind[0] == row[4]:
                items.append((record, kind[1](row[11])))
            else:
                event = codec.decode(row[3], row[4], row[11])
                if type(event) is not UnknownEvent:
                    items.append((record, event))
        except (DecodeError, msgspec.DecodeError, RecursionError) as error:
            items.append((record, Broken(str(error))))
    return items


def page(reader: Reader, codec: Codec, wanted: Selection, after: int, to: int) -> tuple[int, list[Item]]:
    """The next records that are wanted, and the position up to which they are all there are."""
    rows = reader.records(after, to, wanted, limit=PAGE)
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
    """A row Struct as a dict of its columns."""
    if row is None:
        return None
    columns = msgspec.structs.asdict(row)
    if isinstance(row, SearchableRow):
        del columns["text"]
    return columns
