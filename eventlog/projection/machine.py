"""Checkpoints, and the projector that keeps inline projections true in the transaction of each append."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from eventlog.clock import now_us
from eventlog.codec import Codec
from eventlog.errors import ProjectionError
from eventlog.events import Event
from eventlog.projection.fold import Applied, Failure, Item, apply, decode, known_only
from eventlog.projection.kinds import Group, Projection, Rollup
from eventlog.store.base import Reader, Record, Selection, Writer

INLINE_LAG = 2000
"""How far behind an inline projection may be for an append to bring it along by itself."""
State = Literal["live", "pinned", "failed"]


class Checkpoint(msgspec.Struct):
    """The position up to which a projection's tables are true, and what code made them."""

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

    def values(self) -> tuple[Any, ...]:
        """As the columns of the checkpoint table."""
        return msgspec.structs.astuple(self)


def checkpoints(reader: Reader) -> dict[str, Checkpoint]:
    """Every stored checkpoint by name."""
    return {row[0]: Checkpoint(*row) for row in reader.checkpoints()}


def usable(group: Group, stored: dict[str, Checkpoint]) -> bool:
    """Whether this program's code may write a group's tables: same versions stored, root neither failed nor pinned."""
    root = stored.get(group.root.name)
    if root is None or root.state != "live" or root.version != group.root.version:
        return False
    return all(
        rollup.name in stored and stored[rollup.name].version == rollup.version for rollup in group.rollups
    )


def moving(group: Group, stored: dict[str, Checkpoint]) -> list[Rollup]:
    """The rollups that move with their source: live and at its position."""
    position = stored[group.root.name].position
    return [
        rollup
        for rollup in group.rollups
        if stored[rollup.name].state == "live" and stored[rollup.name].position == position
    ]


class Inline:
    """Applies each append's records to every inline group that is live and at the head. See `committer.Projector`."""

    def __init__(self, groups: Iterable[Group], codec: Codec) -> None:
        self._groups = tuple(groups)
        self._codec = codec
        self._tags = frozenset(tag for group in self._groups for tag in group.tags)
        self._active: list[tuple[Group, frozenset[str], list[Rollup]]] | None = None
        self._names: list[str] = []

    def wants(self, tag: str) -> bool:
        return tag in self._tags

    def forget(self) -> None:
        self._active = None

    def apply(self, writer: Writer, items: list[tuple[Record, Event]], old: int, new: int) -> None:
        if self._active is None:
            self._load(writer, old)
        assert self._active is not None  # noqa: S101
        failed = False
        for group, tags, rollups in self._active:
            mine = [item for item in items if item[0].type in tags]
            if mine:
                applied = apply(writer, group, rollups, known_only(mine, tags), new)
                if applied.failure or applied.rollup_failures:
                    self._keep_failures(writer, group, applied, new)
                    failed = True
        if failed:
            self._advance_rest(writer, old, new)
        elif self._names and not writer.advance(self._names, old, new, now_us()):
            raise ProjectionError(f"the checkpoints of {', '.join(self._names)} are not at {old}")

    def _load(self, writer: Writer, position: int) -> None:
        stored = checkpoints(writer)
        active = []
        for group in self._groups:
            if not usable(group, stored):
                continue
            root = stored[group.root.name]
            if position - root.position > INLINE_LAG:
                continue
            if root.position < position and not catch_up(writer, self._codec, group, stored, position):
                continue
            active.append((group, frozenset(group.tags), moving(group, stored)))
        self._active = active
        self._names = [name for group, _, rollups in active for name in (group.root.name, *(r.name for r in rollups))]

    def _keep_failures(self, writer: Writer, group: Group, applied: Applied, new: int) -> None:
        stored = checkpoints(writer)
        save(writer, group, moving(group, stored), stored, new, applied)

    def _advance_rest(self, writer: Writer, old: int, new: int) -> None:
        self._active = None
        stored = checkpoints(writer)
        rest = [name for name in self._names if stored[name].position == old and stored[name].state == "live"]
        if rest:
            writer.advance(rest, old, new, now_us())


def save(
    writer: Writer,
    group: Group,
    rollups: Sequence[Rollup],
    stored: dict[str, Checkpoint],
    to: int,
    applied: Applied,
) -> None:
    """Save the checkpoints of a group after a batch up to ``to``, with its failures."""
    position = to if applied.failure is None else applied.failure.position - 1
    for member in (group.root, *rollups):
        checkpoint = stored[member.name]
        failure = applied.failure if member is group.root else applied.rollup_failures.get(member.name)
        checkpoint.updated_at = now_us()
        if failure is not None:
            checkpoint.state, checkpoint.error, checkpoint.error_position = "failed", failure.message, failure.position
        if failure is None or member is group.root:
            checkpoint.position = position
        writer.save_checkpoint(checkpoint.values())


def catch_up(writer: Writer, codec: Codec, group: Group, stored: dict[str, Checkpoint], to: int) -> bool:
    """Bring one group from its checkpoint to a position, in the present transaction; False when its code failed."""
    after = stored[group.root.name].position
    items: list[Item] = decode(codec, writer.records(after, to, Selection(types=group.tags)))
    rollups = moving(group, stored)
    applied = apply(writer, group, rollups, known_only(items, group.tags), to)
    save(writer, group, rollups, stored, to, applied)
    return applied.failure is None


def fresh_checkpoint(
    projection: Projection, position: int, state: State, generation: int, failure: Failure | None = None
) -> Checkpoint:
    """The checkpoint of newly made tables."""
    return Checkpoint(
        projection.name,
        projection.kind,
        projection.version,
        projection.fingerprint(),
        position,
        "failed" if failure else state,
        failure.message if failure else None,
        failure.position if failure else None,
        generation,
        now_us(),
    )
