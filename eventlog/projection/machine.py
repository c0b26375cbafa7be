"""Checkpoints, and the projector that keeps inline projections true in the transaction of each append."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from eventlog.clock import now_us
from eventlog.codec import Codec
from eventlog.projection.fold import Failure, Item, Plan, apply, decode, plan
from eventlog.projection.kinds import Entity, Group, Projection, Rollup, in_table
from eventlog.store.base import Reader, Selection, Values, Writer

INLINE_LAG = 2000
"""How far behind an inline projection may be for an append to bring it along by itself."""
MAX_KNOWN_ROWS = 2000
LAZY_STEP = 256
"""So many events a lazy projection may wait for; of a batch of a quarter of them it takes what it wants at once."""
LAZY_MOST = 20_000
"""Further behind it is left to whoever asks it."""
LAZY_LOOK = LAZY_MOST // 2
"""Every so many positions it takes what waits, however little, lest what it does not want leave it so far behind."""
State = Literal["live", "pinned", "failed"]


class Checkpoint(msgspec.Struct):
    """The position up to which a projection's tables are true, and what code made them.

    ``attached``: every append brings the tables along, so their position is the head's and is not stored each time. A
    program that cannot do so (it lacks the projection, or keeps it deferred) detaches it before its first append.
    """

    name: str
    kind: str
    version: int
    fingerprint: str
    position: int
    state: State
    error: str | None
    error_position: int | None
    generation: int
    updated_at: int
    attached: bool = False

    def values(self) -> tuple[Any, ...]:
        """As the columns of the checkpoint table."""
        values = list(msgspec.structs.astuple(self)[:-1])
        if self.attached:
            values[4] = None
        return tuple(values)


def checkpoints(reader: Reader, head: int | None = None, names: Sequence[str] | None = None) -> dict[str, Checkpoint]:
    """The stored checkpoints by name, all or some; ``head`` where it is known already."""
    return _read(reader, reader.checkpoints(names), head)


def _read(reader: Reader, rows: Sequence[Values], head: int | None) -> dict[str, Checkpoint]:
    stored = {}
    for row in rows:
        cells = list(row)
        attached = cells[4] is None
        if attached:
            cells[4] = head = reader.head().position if head is None else head
        stored[row[0]] = Checkpoint(*cells, attached)  # type: ignore[call-arg]
    return stored


def usable(group: Group, stored: dict[str, Checkpoint]) -> bool:
    """Whether this program's code may write a group's tables: same versions stored, root neither failed nor pinned."""
    root = stored.get(group.root.name)
    if root is None or root.state != "live" or root.version != group.root.version:
        return False
    return all(rollup.name in stored and stored[rollup.name].version == rollup.version for rollup in group.rollups)


def moving(group: Group, stored: dict[str, Checkpoint]) -> list[Rollup]:
    """The rollups that move with their source: live and at its position."""
    position = stored[group.root.name].position
    return [
        rollup
        for rollup in group.rollups
        if stored[rollup.name].state == "live" and stored[rollup.name].position == position
    ]


class _Moving:
    """A group that moves with every append, those of its rollups that do, and the rows that were touched last.

    Those are rows of an entity by key (mostly runs under way), true as long as nobody else writes.
    """

    __slots__ = ("group", "known", "rollups")

    def __init__(self, group: Group, rollups: list[Rollup]) -> None:
        self.group = group
        self.rollups = rollups
        self.known: dict[Any, Any] = {}


class _Lazy:
    """A group that follows in bigger steps.

    ``waiting``: how many events it may have to catch up with; ``looked``: up to where it last tried.
    """

    __slots__ = ("group", "looked", "position", "tags", "waiting")

    def __init__(self, group: Group, position: int) -> None:
        self.group = group
        self.position = self.looked = position
        self.tags = frozenset(group.tags)
        self.waiting = 0


class _Sorted(NamedTuple):
    """What the stored checkpoints say of the groups: which move, by tag and by the name of their root, and the lazy."""

    rows: list[Values]
    active: dict[str, list[_Moving]]
    roots: dict[str, _Moving]
    lazy: list[_Lazy]


class Inline:
    """Applies each append's records to every inline group that is live and at the head. See `committer.Projector`."""

    def __init__(self, groups: Iterable[Group], codec: Codec) -> None:
        self._groups = tuple(groups)
        self._codec = codec
        self.tags = frozenset(tag for group in self._groups for tag in group.tags)
        self._sorted: _Sorted | None = None
        self._last: _Sorted | None = None
        self._streams: set[str] = set()
        """Every stream that decides a row which is remembered, and maybe others."""

    def forget(self) -> None:
        self._sorted = None

    def forget_streams(self, streams: Collection[str]) -> None:
        if self._sorted is None:
            return
        for lazy in self._sorted.lazy:
            lazy.waiting = max(lazy.waiting, 1)
        if self._streams.isdisjoint(streams):
            return
        for one in self._sorted.roots.values():
            root = one.group.root
            if not one.known:
                continue
            if isinstance(root, Entity) and root.part is None:
                for stream in streams:
                    one.known.pop(root.key_of(stream), None)
            elif isinstance(root, Entity):
                for thing in [thing for thing in one.known if thing[0] in streams]:
                    del one.known[thing]

    def apply(self, writer: Writer, items: list[Item], old: int, new: int, careful: bool) -> None:
        found = self._load(writer, old) if self._sorted is None else self._sorted
        active = found.active
        if len(self._streams) > MAX_KNOWN_ROWS:
            self._forget_rows(found)
        self._streams.update([record.stream for record, _ in items])
        work: dict[_Moving, list[Item]] = {}
        for item in items:
            for one in active.get(item[0].type, ()):
                if one in work:
                    work[one].append(item)
                else:
                    work[one] = [item]
        for one, mine in work.items():
            group, rollups, known = one.group, one.rollups, one.known
            if len(known) > MAX_KNOWN_ROWS:
                known.clear()
            if careful:
                made = apply(writer, group, rollups, mine, new, known)
            else:
                made = plan(writer, group, rollups, mine, new, known=known)
                made.write_at_once(writer)
            if made.failure or made.rollup_failures:
                # What the append's other records did to this group stays, up to the failure; the others go on.
                save(writer, group, rollups, checkpoints(writer, old), new, made)
                self.forget()
        for lazy in found.lazy:
            mine = [item for item in items if item[0].type in lazy.tags]
            if mine or new - lazy.looked > LAZY_LOOK:
                self._apply_lazily(writer, lazy, mine, old, new)

    def _apply_lazily(self, writer: Writer, lazy: _Lazy, mine: list[Item], old: int, new: int) -> None:
        """Take a big batch at once, let others wait, and catch up when enough has come together or it lags far."""
        if lazy.waiting or len(mine) < LAZY_STEP // 4:
            lazy.waiting += len(mine)
            if lazy.waiting < LAZY_STEP and new - lazy.looked <= LAZY_LOOK:
                return
        lazy.looked = new
        stored = checkpoints(writer, old)
        group = lazy.group
        if not usable(group, stored) or new - stored[group.root.name].position > LAZY_MOST:
            return
        if lazy.waiting:
            sound = catch_up(writer, self._codec, group, stored, new)
        else:
            rollups = moving(group, stored)
            made = apply(writer, group, rollups, mine, new)
            save(writer, group, rollups, stored, new, made)
            sound = made.failure is None
        lazy.waiting = 0
        if not sound:
            self.forget()

    def moving(self, writer: Writer, head: int) -> Collection[str]:
        """The groups that move with every append, so that their tables are at the head, which is here."""
        found = self._load(writer, head) if self._sorted is None else self._sorted
        return found.roots.keys()

    def row(self, writer: Writer, root: Entity[Any], key: Any) -> Any:
        """A row of an entity by its key, as it stands in its table; None when there is none."""
        one = None if self._sorted is None else self._sorted.roots.get(root.name)
        if one is None:
            return writer.load(root.table, [root.row_key(key)]).get(root.row_key(key))
        if key not in one.known:
            row = writer.load(root.table, [root.row_key(key)]).get(root.row_key(key))
            if row is None and root.retires is not None:
                return None  # not remembered: the table does not tell one that was retired from one that never was
            one.known[key] = row
            self._streams.add(root.stream_of(root.row_key(key)[0]))
        return in_table(one.known[key])

    def learn(self, name: str, rows: Mapping[Any, Any]) -> None:
        """Remember rows of an entity that were just read."""
        one = None if self._sorted is None else self._sorted.roots.get(name)
        if one is not None and isinstance(root := one.group.root, Entity):
            one.known.update(rows)
            self._streams.update([root.stream_of(root.row_key(thing)[0]) for thing in rows])

    def _load(self, writer: Writer, head: int) -> _Sorted:
        """Find the groups that can move with every append, bring them to the head, detach all others.

        Where others only appended the checkpoints are what they were, and so is what they say: no row is left of what
        was remembered, and that is all. Whoever moves tables otherwise leaves another checkpoint.
        """
        rows = writer.checkpoints()
        if self._last is None or self._last.rows != rows:
            self._last = self._sort(writer, rows, head)
        self._forget_rows(self._last)
        for lazy in self._last.lazy:
            lazy.waiting = head - lazy.position
        self._sorted = self._last
        return self._sorted

    def _forget_rows(self, found: _Sorted) -> None:
        for one in found.roots.values():
            one.known.clear()
        self._streams.clear()

    def _sort(self, writer: Writer, rows: list[Values], head: int) -> _Sorted:
        stored = _read(writer, rows, head)
        active: dict[str, list[_Moving]] = {}
        lazy: list[_Lazy] = []
        attached: set[str] = set()
        for group in self._groups:
            if group.root.lazy and usable(group, stored):
                lazy.append(_Lazy(group, stored[group.root.name].position))
                continue
            if not usable(group, stored) or head - stored[group.root.name].position > INLINE_LAG:
                continue
            if stored[group.root.name].position < head and not catch_up(writer, self._codec, group, stored, head):
                continue
            one = _Moving(group, moving(group, stored))
            attached.update(member.name for member in (group.root, *one.rollups))
            for tag in group.tags:
                active.setdefault(tag, []).append(one)
        for checkpoint in stored.values():
            if checkpoint.attached != (checkpoint.name in attached):
                checkpoint.attached = checkpoint.name in attached
                checkpoint.updated_at = now_us()
                writer.save_checkpoint(checkpoint.values())
        roots = {one.group.root.name: one for ones in active.values() for one in ones}
        return _Sorted([checkpoint.values() for checkpoint in stored.values()], active, roots, lazy)


def save(
    writer: Writer,
    group: Group,
    rollups: Sequence[Rollup],
    stored: dict[str, Checkpoint],
    to: int,
    made: Plan,
) -> None:
    """Save the checkpoints of a group after a batch up to ``to``, with its failures."""
    position = to if made.failure is None else made.failure.position - 1
    for member in (group.root, *rollups):
        checkpoint = stored[member.name]
        failure = made.failure if member is group.root else made.rollup_failures.get(member.name)
        checkpoint.updated_at = now_us()
        if failure is not None:
            checkpoint.state, checkpoint.error, checkpoint.error_position = "failed", failure.message, failure.position
        if failure is None or member is group.root:
            checkpoint.position = position
        checkpoint.attached = False
        writer.save_checkpoint(checkpoint.values())


def catch_up(writer: Writer, codec: Codec, group: Group, stored: dict[str, Checkpoint], to: int) -> bool:
    """Bring one group from its checkpoint to a position, in the present transaction; False when its code failed."""
    after = stored[group.root.name].position
    items: list[Item] = decode(codec, writer.records(after, to, Selection(types=group.tags)))
    rollups = moving(group, stored)
    made = apply(writer, group, rollups, items, to)
    save(writer, group, rollups, stored, to, made)
    return made.failure is None


def fresh_checkpoint(
    projection: Projection, position: int, state: State, generation: int, failure: Failure | None = None
) -> Checkpoint:
    """The checkpoint of newly made tables."""
    return Checkpoint(
        projection.name,
        projection.kind,
        projection.version,
        projection.fingerprint,
        position,
        "failed" if failure else state,
        failure.message if failure else None,
        failure.position if failure else None,
        generation,
        now_us(),
    )
