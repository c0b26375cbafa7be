"""Rebuild: fold into tables beside the live ones, then swap. Verify: fold into temporary ones, then compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from eventlog.committer import Transaction
from eventlog.errors import Corrupt, EventLogError, LogBusy, ProjectionError, ProjectionFailed
from eventlog.log import EventLog
from eventlog.projection.fold import Failure, Folder, as_dict
from eventlog.projection.kinds import Group, Projection
from eventlog.projection.machine import Checkpoint, State, catch_up, checkpoints, fresh_checkpoint
from eventlog.store.base import Builder, Progress, Scratch, Table, Values
from eventlog.store.retrying import Pauses

SWAP_TIMEOUT_S = 30.0
NEAR = 2000
"""When the fold is this close to the head, the rest is done in the swapping transaction."""


class Overtaken(ProjectionError):
    """Another process has rebuilt the same projection meanwhile, and was first."""


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

    Until the swap the old tables serve; of two rebuilds at once the first to finish wins. Where a projection's code
    fails the old tables stay and ProjectionFailed is raised; with ``keep_failed`` the new ones are taken, true up to
    the failure.
    """
    suffix = os.urandom(4).hex()
    shadows = [group.shadow(suffix) for group in groups]
    builder = log.store.builder()
    made = False
    try:
        try:
            with builder.writing():
                for member in _members(shadows):
                    builder.create_table(member.table)
            made = True
            position, failures = _build(builder, log, shadows, progress, to, keep_failed=keep_failed)
        finally:
            builder.close()
        _publish(log, groups, suffix, position, state, failures, to)
    except BaseException as error:
        translated = log.store.translate(error)
        if made and not isinstance(error, (Overtaken, ProjectionFailed)) and _is_gone(log, shadows):
            raise Overtaken(f"another process has rebuilt {shadows[0].root.name} meanwhile") from error
        _clean_up(log, shadows)
        if translated is not error:
            raise translated from error
        # A frame and an error that hold each other would keep alive what the error interrupted: a transaction, perhaps.
        del translated
        raise


def _clean_up(log: EventLog, shadows: Sequence[Group]) -> None:
    """Drop what was built; where even that fails, the next rebuild drops it."""
    with suppress(EventLogError), log.transaction() as tx:
        for member in _members(shadows):
            tx.transaction.writer.drop_table(member.table.name)


def _is_gone(log: EventLog, shadows: Sequence[Group]) -> bool:
    """Whether somebody else's swap has dropped our tables."""
    with log.reader() as reader:
        return any(member.table.name not in reader.shadows(member.name) for member in _members(shadows))


def _build(
    builder: Builder,
    log: EventLog,
    shadows: Sequence[Group],
    progress: Progress | None,
    to: int | None,
    *,
    keep_failed: bool,
) -> tuple[int, dict[str, Failure]]:
    """Fill the shadow tables; returns the position up to which they are true, and what failed."""
    position, failures = _fold(builder, log, shadows, progress, to)
    if failures and not keep_failed:
        raise _cannot(*next(iter(failures.items())))
    for member in _members(shadows):
        if progress is not None:
            progress(0, None, f"indexing {member.name}")
        with builder.writing():
            builder.create_indexes(member.table)
    return position, failures


def _members(groups: Iterable[Group]) -> list[Projection]:
    return [member for group in groups for member in group.members]


def _cannot(name: str, failure: Failure) -> ProjectionFailed:
    return ProjectionFailed(
        f"{name} cannot be rebuilt: it failed at position {failure.position}: {failure.message}. "
        "The tables are as they were",
        name=name,
        position=failure.position,
    )


def _fold(
    builder: Builder, log: EventLog, groups: Sequence[Group], progress: Progress | None, to: int | None
) -> tuple[int, dict[str, Failure]]:
    folder = Folder(builder, log.codec, groups, builder.writing)
    label = f"rebuilding {', '.join(group.root.name for group in groups)}"
    head = builder.head().position
    end = head if to is None else min(to, head)
    done = 0

    def told(position: int) -> None:
        if progress is not None:
            progress(position, end, label)

    while True:
        folder.fold(done, end, told)
        done = end
        head = builder.head().position
        if to is not None or head - end <= NEAR:
            return end, folder.failures
        end = head


def _publish(
    log: EventLog,
    groups: Sequence[Group],
    suffix: str,
    position: int,
    state: State,
    failures: dict[str, Failure],
    to: int | None,
) -> None:
    """Swap. Where readers keep the old tables it is tried again and again: writers get their turn in between."""
    pauses = Pauses(SWAP_TIMEOUT_S)
    while True:
        try:
            with log.transaction() as tx:
                _swap(log, tx.transaction, groups, suffix, position, state, failures, to)
            return
        except LogBusy:
            if log.store.swaps_under_readers or not pauses.pause():
                raise


def _swap(
    log: EventLog,
    transaction: Transaction,
    groups: Sequence[Group],
    suffix: str,
    position: int,
    state: State,
    failures: dict[str, Failure],
    to: int | None,
) -> None:
    writer = transaction.writer
    stored = checkpoints(writer)
    for group in groups:
        root_failure = failures.get(group.root.name)
        at = position if root_failure is None else root_failure.position - 1
        for member in group.members:
            made = f"{member.name}__{suffix}"
            others = writer.shadows(member.name)
            if made not in others:
                raise Overtaken(f"another process has rebuilt {member.name} meanwhile")
            for name in (member.name, *(other for other in others if other != made)):
                writer.drop_table(name)
            writer.rename_table(made, member.name)
            generation = 1 + (stored[member.name].generation if member.name in stored else 0)
            failure = failures.get(member.name)
            writer.save_checkpoint(fresh_checkpoint(member, at, state, generation, failure).values())
        if to is None and root_failure is None:
            catch_up(writer, log.codec, group, checkpoints(writer), transaction.head.position)


def verify(log: EventLog, groups: Sequence[Group], progress: Progress | None = None) -> list[Difference]:
    """Fold every event again into temporary tables and compare row by row with the live ones, at their checkpoints."""
    try:
        return _verify(log, groups, progress)
    except Exception as error:
        translated = log.store.translate(error)
        if translated is error:
            raise
        raise translated from error


def _verify(log: EventLog, groups: Sequence[Group], progress: Progress | None) -> list[Difference]:
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
            Folder(scratch, log.codec, together).fold(0, position, _teller(progress, position))
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


def _shown(table: Table, values: Values | None) -> dict[str, object] | None:
    if values is None:
        return None
    try:
        return as_dict(table.load(values))
    except Corrupt:
        return dict(zip(table.names, values, strict=True))


def _compare(scratch: Scratch, table: Table) -> list[Difference]:
    differences = []
    for expected, stored in scratch.differing(table):
        row = expected or stored or ()
        differences.append(
            Difference(
                table.name,
                tuple(row[index] for index in table.key_indexes),
                _shown(table, stored),
                _shown(table, expected),
            )
        )
    return differences
