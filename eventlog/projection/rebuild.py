"""Rebuild: fold into tables beside the live ones, then swap. Verify: fold into temporary ones, then compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from eventlog.committer import Transaction
from eventlog.errors import Corrupt, EventLogError, LogBusy, ProjectionError, ProjectionFailed
from eventlog.log import EventLog
from eventlog.projection.fold import Failure, as_dict
from eventlog.projection.folder import Folder
from eventlog.projection.kinds import Group, Projection
from eventlog.projection.machine import Checkpoint, State, catch_up, checkpoints, fresh_checkpoint
from eventlog.store.base import Progress, Scratch, Table, Values
from eventlog.store.retrying import Pauses

SWAP_TIMEOUT_S = 30.0
CLEAN_UP_TIMEOUT_S = 5.0
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
    making = _Making(log, groups, progress, to)
    try:
        try:
            making.create()
            failures = making.fill(keep_failed=keep_failed)
        finally:
            making.builder.close()
        making.publish(state, failures)
    except BaseException as error:
        translated = log.store.translate(error)
        gone = making.made and not isinstance(error, (Overtaken, ProjectionFailed)) and making.is_gone()
        making.clean_up()  # of several tables the other may have dropped some
        if gone:
            raise making.overtaken() from error
        if translated is not error:
            raise translated from error
        # A frame and an error that hold each other would keep alive what the error interrupted: a transaction, perhaps.
        del translated
        raise


class _Making:
    """Tables that are made beside the live ones, under names with a suffix of their own."""

    def __init__(self, log: EventLog, groups: Sequence[Group], progress: Progress | None, to: int | None) -> None:
        self.log = log
        self.groups = groups
        self.suffix = os.urandom(4).hex()
        self.shadows = [group.shadow(self.suffix) for group in groups]
        self.builder = log.store.builder()
        self.position = 0
        self.made = False
        self._progress = progress
        self._to = to
        self._label = f"rebuilding {', '.join(group.root.name for group in groups)}"

    def create(self) -> None:
        """Empty tables, in place of those there may be."""
        with self.builder.writing():
            for member in _members(self.shadows):
                self.builder.drop_table(member.table.name)
                self.builder.create_table(member.table)
        self.made = True

    def fill(self, *, keep_failed: bool) -> dict[str, Failure]:
        """Fill and index the tables; returns what failed. They are true up to `position` then."""
        head = self.builder.head().position
        end = head if self._to is None else min(self._to, head)
        self._fold_in_parts(end)
        failures = self._fold(end)
        if failures and not keep_failed:
            raise _cannot(*next(iter(failures.items())))
        for member in _members(self.shadows):
            if self._progress is not None:
                self._progress(0, None, f"indexing {member.name}")
            with self.builder.writing():
                self.builder.create_indexes(member.table)
        return failures

    def _fold_in_parts(self, end: int) -> None:
        """Fold in several processes, where that pays and nothing goes wrong in any of them."""
        from eventlog.projection import parallel  # it imports what only a long log needs

        parts = parallel.parts_for(self.log, self.groups, end)
        if parts < 2:
            return
        task = parallel.Task(
            str(self.log.store.address), self.suffix, tuple(group.root.name for group in self.groups), end
        )
        if parallel.fold(task, parts, _teller(self._progress, end, self._label)):
            self.position = end
            return
        if self.is_gone():
            raise self.overtaken()
        self.create()
        self._label += " in one process"

    def _fold(self, end: int) -> dict[str, Failure]:
        folder = Folder(self.builder, self.log.codec, self.shadows, self.builder.writing)
        while True:
            folder.fold(self.position, end, _teller(self._progress, end, self._label))
            self.position = end
            head = self.builder.head().position
            if self._to is not None or head - end <= NEAR:
                return folder.failures
            end = head

    def publish(self, state: State, failures: dict[str, Failure]) -> None:
        """Swap. Where readers keep the old tables it is tried again and again: writers get their turn in between."""
        pauses = Pauses(SWAP_TIMEOUT_S)
        while True:
            try:
                with self.log.transaction() as tx:
                    self._swap(tx.transaction, state, failures)
                return
            except LogBusy:
                if self.log.store.swaps_under_readers or not pauses.pause():
                    raise

    def _swap(self, transaction: Transaction, state: State, failures: dict[str, Failure]) -> None:
        """Put the tables in the place of the live ones, and bring them to the head."""
        writer = transaction.writer
        stored = checkpoints(writer)
        for group in self.groups:
            root_failure = failures.get(group.root.name)
            at = self.position if root_failure is None else root_failure.position - 1
            for member in group.members:
                made = f"{member.name}__{self.suffix}"
                others = writer.shadows(member.name)
                if made not in others:
                    raise self.overtaken()
                for name in (member.name, *(other for other in others if other != made)):
                    writer.drop_table(name)
                writer.rename_table(made, member.name)
                generation = 1 + (stored[member.name].generation if member.name in stored else 0)
                failure = failures.get(member.name)
                writer.save_checkpoint(fresh_checkpoint(member, at, state, generation, failure).values())
            if self._to is None and root_failure is None:
                catch_up(writer, self.log.codec, group, checkpoints(writer), transaction.head.position)

    def clean_up(self) -> None:
        """Drop what was built; where even that fails, the next rebuild drops it."""
        pauses = Pauses(CLEAN_UP_TIMEOUT_S)
        with suppress(EventLogError):
            while True:
                try:
                    with self.log.transaction() as tx:
                        for member in _members(self.shadows):
                            tx.transaction.writer.drop_table(member.table.name)
                    return
                except LogBusy:
                    if not pauses.pause():
                        return

    def is_gone(self) -> bool:
        """Whether somebody else's swap has dropped the tables."""
        with self.log.reader() as reader:
            return any(member.table.name not in reader.shadows(member.name) for member in _members(self.shadows))

    def overtaken(self) -> Overtaken:
        """What to raise then."""
        return Overtaken(f"another process has rebuilt {self.groups[0].root.name} meanwhile")


def _members(groups: Iterable[Group]) -> list[Projection]:
    return [member for group in groups for member in group.members]


def _cannot(name: str, failure: Failure) -> ProjectionFailed:
    return ProjectionFailed(
        f"{name} cannot be rebuilt: it failed at position {failure.position}: {failure.message}. "
        "The tables are as they were",
        name=name,
        position=failure.position,
    )


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
    scratch.keeps_words = False  # rows are compared; of words it is asked whether there are any
    try:
        stored = checkpoints(scratch)
        differences: list[Difference] = []
        by_position: dict[int, list[Group]] = {}
        for group in groups:
            by_position.setdefault(stored[group.root.name].position, []).append(group)
        for position, together in by_position.items():
            for member in _members(together):
                scratch.create_table(member.table)
            Folder(scratch, log.codec, together).fold(0, position, _teller(progress, position, "verifying projections"))
            for member in _members(together):
                if _comparable(stored[member.name], position):
                    differences += _compare(scratch, member.table)
        return differences
    finally:
        scratch.close()


def _comparable(checkpoint: Checkpoint, position: int) -> bool:
    # A rollup that stopped before its source says so itself, in status; it has no rows to be held against.
    return checkpoint.position == position


def _teller(progress: Progress | None, total: int, label: str) -> Callable[[int], None] | None:
    return None if progress is None else lambda done: progress(done, total, label)


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
