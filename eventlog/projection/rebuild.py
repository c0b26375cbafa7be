"""Rebuild: fold into temporary tables of a private view, copy them beside the live ones, swap. Verify: same fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from eventlog.committer import Transaction
from eventlog.errors import ProjectionFailed
from eventlog.log import EventLog
from eventlog.projection.fold import Failure, as_dict, fold_range
from eventlog.projection.kinds import Group, Projection
from eventlog.projection.machine import Checkpoint, State, catch_up, checkpoints, fresh_checkpoint
from eventlog.store.base import Progress, Scratch, Table

COPY_BATCH = 5000
NEAR = 2000
"""When the fold is this close to the head, the rest is done in the swapping transaction."""


class Difference(NamedTuple):
    """A row that is not what the log says: ``stored`` in the live table, ``expected`` by a fresh fold."""

    table: str
    key: tuple[object, ...]
    stored: dict[str, object] | None
    expected: dict[str, object] | None


def rebuild(
    log: EventLog,
    groups: Sequence[Group],
    progress: Progress | None = None,
    *,
    to: int | None = None,
    state: State = "live",
    keep_failed: bool = False,
) -> None:
    """Make groups anew from the events up to ``to`` (default: the head), while others read and write.

    Until the swap the old tables serve. Where a projection's code fails the old tables stay and ProjectionFailed is
    raised; with ``keep_failed`` the new ones are taken, true up to the failure.
    """
    scratch = log.store.scratch()
    try:
        for member in _members(groups):
            scratch.create_table(member.table)
        position, failures = _fold(log, scratch, groups, progress, to)
        if failures and not keep_failed:
            name, failure = next(iter(failures.items()))
            raise ProjectionFailed(
                f"{name} cannot be rebuilt: it failed at position {failure.position}: {failure.message}. "
                "The tables are as they were",
                name=name,
                position=failure.position,
            )
        with log.reader() as reader:
            generation = 1 + max((row.generation for row in checkpoints(reader).values()), default=0)
        for member in _members(groups):
            _copy(log, scratch, member.table, f"{member.name}__g{generation}", progress)
    finally:
        scratch.close()
    with log.transaction(durability="process") as tx:
        _swap(log, tx.transaction, groups, generation, position, state, failures, to)
    log.committer.forget()


def _members(groups: Iterable[Group]) -> list[Projection]:
    return [member for group in groups for member in group.members]


def _fold(
    log: EventLog, scratch: Scratch, groups: Sequence[Group], progress: Progress | None, to: int | None
) -> tuple[int, dict[str, Failure]]:
    head = scratch.head().position
    end = head if to is None else min(to, head)
    label = f"rebuilding {', '.join(group.root.name for group in groups)}"

    def told(position: int) -> None:
        if progress is not None:
            progress(position, end, label)

    failures = fold_range(scratch, log.codec, groups, 0, end, told)
    while to is None:
        scratch.advance_view()
        head = scratch.head().position
        if head - end <= NEAR:
            break
        end, after = head, end
        alive = [group for group in groups if group.root.name not in failures]
        failures.update(fold_range(scratch, log.codec, alive, after, end, told))
    return end, failures


def _copy(log: EventLog, scratch: Scratch, table: Table, name: str, progress: Progress | None) -> None:
    with log.transaction(durability="process") as tx:
        writer = tx.transaction.writer
        writer.drop_table(name)
        writer.create_table(table, name)
    done = 0
    for rows in scratch.drain(table, COPY_BATCH):
        with log.transaction(durability="process") as tx:
            tx.transaction.writer.insert(table, rows, name)
        done += len(rows)
        if progress is not None:
            progress(done, None, f"writing {table.name}")
    with log.transaction(durability="process") as tx:
        tx.transaction.writer.create_indexes(table, name)


def _swap(
    log: EventLog,
    transaction: Transaction,
    groups: Sequence[Group],
    generation: int,
    position: int,
    state: State,
    failures: dict[str, Failure],
    to: int | None,
) -> None:
    writer = transaction.writer
    for group in groups:
        for member in group.members:
            writer.drop_table(member.name)
            writer.rename_table(f"{member.name}__g{generation}", member.name)
            failure = failures.get(member.name)
            root_failure = failures.get(group.root.name)
            at = position if root_failure is None else root_failure.position - 1
            writer.save_checkpoint(fresh_checkpoint(member, at, state, generation, failure).values())
        if to is None and group.root.name not in failures:
            catch_up(writer, log.codec, group, checkpoints(writer), transaction.head.position)


def verify(log: EventLog, groups: Sequence[Group], progress: Progress | None = None) -> list[Difference]:
    """Fold every event again into temporary tables and compare row by row with the live ones, at their checkpoints."""
    scratch = log.store.scratch()
    try:
        stored = checkpoints(scratch)
        differences: list[Difference] = []
        by_position: dict[int, list[Group]] = {}
        for group in groups:
            by_position.setdefault(stored[group.root.name].position, []).append(group)
        for position, together in by_position.items():
            for member in _members(together):
                scratch.create_table(member.table)
            told = _teller(progress, position)
            fold_range(scratch, log.codec, together, 0, position, told)
            for member in _members(together):
                if _comparable(stored[member.name], position):
                    differences += _compare(scratch, member.table)
        return differences
    finally:
        scratch.close()


def _comparable(checkpoint: Checkpoint, position: int) -> bool:
    # A rollup that stopped before its source says so itself, in status; it has no rows to be held against.
    return checkpoint.position == position


def _teller(progress: Progress | None, total: int) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(done, total, "verifying projections")


def _compare(scratch: Scratch, table: Table) -> list[Difference]:
    differences = []
    for expected, stored in scratch.differing(table, f"main.{table.name}"):
        row = expected or stored or ()
        differences.append(
            Difference(
                table.name,
                tuple(row[index] for index in table.key_indexes),
                None if stored is None else as_dict(table.load(stored)),
                None if expected is None else as_dict(table.load(expected)),
            )
        )
    return differences
