"""One function says what a batch of records does to a group's tables: appending, catching up, rebuilding all use it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from operator import add, sub
from typing import Any, NamedTuple

import msgspec

from eventlog.codec import Codec
from eventlog.committer import Refused
from eventlog.errors import DecodeError
from eventlog.events import UnknownEvent, event_type
from eventlog.projection.kinds import Contribution, Entity, Group, Journal, Retired, Rollup, SearchableRow, in_table
from eventlog.store.base import Key, Reader, Record, RecordRow, Selection, Values, Writer

Item = tuple[Record, Any]
Change = tuple[Any, Any]
"""A row before and after; None where there is none, `Retired` where it was taken out and still counts."""
PAGE = 4096
MAX_SUMS = 40_000


class Failure(NamedTuple):
    """Where and why a projection's own code failed."""

    position: int
    message: str


class Broken(NamedTuple):
    """What stands for an event that does not decode."""

    problem: str


Deltas = dict[Key, list[int]]


class Plan:
    """What a batch of records does to a group's tables, computed and not yet written.

    ``failure``: the root's own code failed there, and the plan ends before; ``rollup_failures``: those of its rollups.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.fresh: list[Values] = []
        self.updated: dict[tuple[int, ...], list[Values]] = {}
        self.gone: list[Key] = []
        self.deltas: dict[Rollup, Deltas] = {}
        self.failure: Failure | None = None
        self.refused = False
        self.rollup_failures: dict[str, Failure] = {}

    def turn(self, key: Key, old: Any, new: Any) -> None:
        """A row of the root becomes another (None: there is none); of one that stays, what differs is written."""
        table = self.group.root.table
        if new is None:
            self.gone.append(key)
        elif old is None:
            self.fresh.append(table.dump(new))
        else:
            columns, values = table.changed(old, new)
            if columns:
                self.updated.setdefault(columns, []).append((*values, *key))

    def refuse(self, position: int, error: Exception) -> None:
        """Nothing is written: the first record of the batch stands for the one that made a row nobody can store."""
        self.fresh, self.updated, self.gone, self.deltas = [], {}, [], {}
        self.refused = True
        self.failure = Failure(position, f"a row cannot be stored: {type(error).__name__}: {error}")

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

    def write(self, writer: Writer, first: int) -> None:
        """Write it; the checkpoint is the caller's to save. What the store refuses stops that projection alone.

        ``first`` is the position of the batch's first record.
        """
        if self.empty:
            return
        writer.savepoint()
        try:
            self.write_all(writer)
        except Exception as error:
            writer.rollback_to_savepoint()
            if not writer.refuses(error):
                raise
            self._write_apart(writer, first)
        else:
            writer.release()

    def write_all(self, writer: Writer) -> None:
        """Write it; what the store refuses is the caller's to handle."""
        self._write_root(writer)
        for rollup, deltas in self.deltas.items():
            write_deltas(writer, rollup, deltas)

    def _write_root(self, writer: Writer) -> None:
        table = self.group.root.table
        writer.insert(table, self.fresh)
        for columns, rows in self.updated.items():
            writer.update(table, columns, rows)
        writer.delete(table, self.gone)

    def _write_apart(self, writer: Writer, first: int) -> None:
        if error := _try(writer, partial(self._write_root, writer)):
            self.refuse(first, error)
            return
        for rollup, deltas in self.deltas.items():
            if error := _try(writer, partial(write_deltas, writer, rollup, deltas)):
                self.rollup_failures[rollup.name] = Failure(first, f"a row cannot be stored: {error}")


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
    if items:
        made.write(writer, items[0][0].position)
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


def _try(writer: Writer, write: Callable[[], None]) -> Exception | None:
    writer.savepoint()
    try:
        write()
    except Exception as error:
        writer.rollback_to_savepoint()
        if not writer.refuses(error):
            raise
        return error
    writer.release()
    return None


def plan(
    reader: Reader,
    group: Group,
    rollups: Sequence[Rollup],
    items: Sequence[Item],
    to: int,
    sums: dict[Rollup, Deltas] | None = None,
    known: dict[Any, Any] | None = None,
) -> Plan:
    """How a group's tables get from before ``items`` to after them; ``to`` is the position after them.

    With ``sums`` what rollups gain is added there, to be written later, and not part of the plan. ``known`` are an
    entity's rows by key as they stand in its table (None: no row); it learns those it lacks, and what becomes of them.
    """
    made = Plan(group)
    root = group.root
    if isinstance(root, Entity):
        changes = _plan_entity(reader, root, items, made, {} if known is None else known)
    else:
        changes = _plan_journal(root, items, made)
    for rollup in rollups if changes else ():
        try:
            if sums is None:
                if deltas := _non_zero(sum_up(rollup, changes, {})):
                    made.deltas[rollup] = deltas
            else:
                sum_up(rollup, changes, sums[rollup])
        except Exception as error:
            made.rollup_failures[rollup.name] = Failure(to, f"{type(error).__name__}: {error}")
    return made


def _plan_entity(
    reader: Reader, entity: Entity[Any], items: Sequence[Item], made: Plan, known: dict[Any, Any]
) -> list[Change]:
    keys = key_map(entity, items)
    things = things_of(entity, items, keys)
    if missing := [key for key in things if key not in known]:
        # A stream that begins here has no row yet.
        begun = {keys[record.stream] for record, _ in items if record.version == 1}
        if entity.part is not None:
            begun = {key for key in missing if key[0] in begun}
        row_key = entity.row_key
        loaded = reader.load(entity.table, [row_key(key) for key in missing if key not in begun])
        known.update((key, loaded.get(row_key(key))) for key in missing)
        if entity.retires is not None and (gone := [key for key in missing if known[key] is None and key not in begun]):
            known.update(_retired(reader, entity, gone, items[0][0].position - 1))
    before = {key: known[key] for key in things}
    rows = before.copy()
    made.failure = evolve_all(entity, items, keys, rows)
    changes: list[Change] = []
    for key, row in rows.items():
        old = before[key]
        if row is old or row == old:
            continue
        try:
            key = entity.row_key(key)
            if in_table(row) is not None and tuple([getattr(row, name, None) for name in entity.table.key]) != key:
                raise ValueError(f"a row of {', '.join(entity.table.key)} {key!r} became {row!r}"[:200])
            made.turn(key, in_table(old), in_table(row))
        except Exception as error:
            made.refuse(items[0][0].position, error)
            return []
        changes.append((old, row))
    known.update(rows)
    return changes


def _retired(reader: Reader, entity: Entity[Any], keys: Iterable[Any], to: int) -> dict[Any, Any]:
    """Of keys without a row, those whose row was retired up to a position: no table tells them from new ones."""
    assert entity.retires is not None  # noqa: S101
    rows = reader.records_of(map(entity.stream_of, keys), to, (event_type(entity.retires),))
    return {entity.key_of(row[1]): Retired(None) for row in rows}


def _plan_journal(journal: Journal[Any], items: Sequence[Item], made: Plan) -> list[Change]:
    rows, made.failure = journal_rows(journal, items)
    try:
        made.fresh = [journal.table.dump(row) for row in rows]
    except Exception as error:
        made.refuse(items[0][0].position, error)
        return []
    return [(None, row) for row in rows]


def key_map(entity: Entity[Any], items: Iterable[Item]) -> dict[str, Any]:
    """The streams of the items, each with the key of its row; where a stream has many rows, with itself."""
    streams = {record.stream for record, _ in items}
    if entity.part is not None:
        return dict(zip(streams, streams, strict=True))
    return {stream: entity.key_of(stream) for stream in streams}


def things_of(entity: Entity[Any], items: Iterable[Item], keys: dict[str, Any]) -> list[Any]:
    """What the items are about, each once, in any order; ``keys`` are those of `key_map`."""
    if entity.part is None:
        return [key for key in keys.values() if key is not None]
    # One that does not decode is about nothing that could be said; `evolve_all` stops there.
    things = (entity.thing_of(record, event) for record, event in items if type(event) is not Broken)
    return list(dict.fromkeys(things))


def evolve_all(
    entity: Entity[Any], items: Iterable[Item], keys: dict[str, Any], rows: dict[Any, Any]
) -> Failure | None:
    """Fold items into rows, in order; stops at the first that the entity's code does not take."""
    evolve, retires, part = entity.evolve, entity.retires, entity.part
    get = rows.get
    record: Record | None = None
    try:
        for record, event in items:
            key = keys[record.stream]
            if key is not None:
                if type(event) is Broken:
                    raise DecodeError(event.problem)
                if part is not None:
                    key = (key, part(event))
                row = get(key)
                if retires is not None and (type(row) is Retired or type(event) is retires):
                    rows[key] = row if type(row) is Retired else Retired(row)
                else:
                    rows[key] = evolve(row, event, record)
    except Exception as error:
        assert record is not None  # noqa: S101
        return _failure(record, event, error)
    return None


def _failure(record: Record, event: Any, error: Exception) -> Failure:
    if isinstance(event, Broken):
        return Failure(record.position, f"the record does not decode: {event.problem}")
    return Failure(record.position, f"{type(error).__name__}: {error}")


def journal_rows(journal: Journal[Any], items: Iterable[Item]) -> tuple[list[Any], Failure | None]:
    """The rows of a journal for these items; stops at the first that its code does not take."""
    rows = []
    record: Record | None = None
    try:
        for record, event in items:
            if type(event) is Broken:
                raise DecodeError(event.problem)
            row = journal.make(event, record)
            if row is not None:
                rows.append(row)
    except Exception as error:
        assert record is not None  # noqa: S101
        return rows, _failure(record, event, error)
    return rows, None


def sum_up(rollup: Rollup, changes: Iterable[Change], deltas: Deltas) -> Deltas:
    """Add to ``deltas`` what changes of the source give to, and take from, a rollup's rows."""
    contribute = rollup.contribute
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
            _add(deltas, taken, -1)
        _add(deltas, given, 1)
    return deltas


def _non_zero(deltas: Deltas) -> Deltas:
    return {key: numbers for key, numbers in deltas.items() if any(numbers)}


def _add(deltas: Deltas, contributions: Iterable[Contribution], sign: int) -> None:
    for key, numbers in contributions:
        held = deltas.get(key)
        if held is None:
            deltas[key] = [sign * number for number in numbers]
        else:
            deltas[key] = list(map(add if sign > 0 else sub, held, numbers))


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


class Folder:
    """Folds long ranges of records into tables, page by page: what rebuilding, verifying and the far past share.

    The sums of rollups are kept in memory and written when there are many, because most keys come again.
    """

    def __init__(
        self,
        writer: Writer,
        codec: Codec,
        groups: Sequence[Group],
        writing: Callable[[], AbstractContextManager[object]] = nullcontext,
        part: tuple[int, int] | None = None,
    ) -> None:
        self._writer = writer
        self._codec = codec
        self._writing = writing
        self._groups = list(groups)
        self._sums: dict[Rollup, Deltas] = {rollup: {} for group in groups for rollup in group.rollups}
        tags = tuple(dict.fromkeys(tag for group in groups for tag in group.tags))
        self._wanted = Selection(types=tags, part=part)
        self.failures: dict[str, Failure] = {}

    def fold(self, after: int, to: int, progress: Callable[[int], None] | None = None) -> None:
        """Apply every record of ``(after, to]``; what fails is kept in ``failures``, by root and by rollup."""
        start = after
        with no_collection():
            while after < to:
                end, items = page(self._writer, self._codec, self._wanted, after, to)
                self._apply(items, after, end)
                after = end
                if progress is not None:
                    progress(end)
        self._write([], start + 1, flush=True)

    def _apply(self, items: list[Item], after: int, end: int) -> None:
        plans = []
        by_group = _split(self._groups, items)
        for group in self._groups:
            if group.root.name not in self.failures:
                rollups = [rollup for rollup in group.rollups if rollup.name not in self.failures]
                plans.append(plan(self._writer, group, rollups, by_group[group], end, self._sums))
        self._write(plans, after + 1, flush=sum(map(len, self._sums.values())) > MAX_SUMS)

    def _write(self, plans: list[Plan], first: int, *, flush: bool) -> None:
        with self._writing():
            for made in plans:
                sound = made.failure is None
                made.write(self._writer, first)
                self.failures.update(made.rollup_failures)
                if made.failure is not None:
                    self.failures[made.group.root.name] = made.failure
                    if sound:
                        # Its sums hold what the refused rows would have given: they are to be made again.
                        self.failures.update((rollup.name, made.failure) for rollup in made.group.rollups)
            if flush:
                for rollup, deltas in self._sums.items():
                    self._write_sums(rollup, _non_zero(deltas), first)
                    deltas.clear()

    def _write_sums(self, rollup: Rollup, deltas: Deltas, first: int) -> None:
        if rollup.name not in self.failures and (
            error := _try(self._writer, partial(write_deltas, self._writer, rollup, deltas))
        ):
            self.failures[rollup.name] = Failure(first, f"a row cannot be stored: {error}")


def _split(groups: Sequence[Group], items: list[Item]) -> dict[Group, list[Item]]:
    """The items that each group wants."""
    mine: dict[Group, list[Item]] = {group: [] for group in groups}
    takers: dict[str, list[list[Item]]] = {}
    for group in groups:
        for tag in group.tags:
            takers.setdefault(tag, []).append(mine[group])
    for item in items:
        for taker in takers[item[0].type]:
            taker.append(item)
    return mine


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
