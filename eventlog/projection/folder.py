"""Folding long ranges of records into tables: what rebuilding, verifying and the far past share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import compress
from typing import Any

from eventlog.codec import Codec
from eventlog.projection.fold import (
    Deltas,
    Failure,
    Item,
    Plan,
    apply,
    attempt,
    decode,
    no_collection,
    non_zero,
    write_deltas,
)
from eventlog.projection.kinds import Group, Rollup
from eventlog.store.base import Selection, Writer

PAGE = 512
"""Records that are folded at once: so few, with all that is made of them, are still in the processor's cache."""
HELD = 8192
"""Records whose plans are written together: an index of words, and the write-ahead log, take big bites best."""
HELD_TEXT = 8_000_000
"""Characters: when the texts that are to be written come to so many, they are, however few records they are of."""
MAX_KNOWN = 8_000
"""When so many rows and streams are remembered after a write, all are forgotten."""
MAX_SUMS = 40_000


class Folder:
    """Folds long ranges of records into tables.

    What records do is planned page by page while others write, and written when there is enough of it. The sums of
    rollups are kept in memory and written when there are many, because most keys come again.
    """

    def __init__(
        self,
        writer: Writer,
        codec: Codec,
        groups: Sequence[Group],
        writing: Callable[[], AbstractContextManager[object]] = nullcontext,
        part: tuple[int, int] | None = None,
    ) -> None:
        """``writing`` begins a transaction, where the writer is not in one."""
        self._writer = writer
        self._codec = codec
        self._writing = writing
        self._groups = [(group, frozenset(group.tags)) for group in groups]
        self._sums: dict[Rollup, Deltas] = {rollup: {} for group in groups for rollup in group.rollups}
        tags = tuple(dict.fromkeys(tag for group in groups for tag in group.tags))
        self._wanted = Selection(types=tags, part=part)
        # Since the last write: what was planned, of how many records.
        self._plans: dict[Group, Plan] = {}
        self._planned = 0
        self._first = 1
        # Rows of entities as they stand or will, and the streams that began: all rows of these are known.
        self._known: dict[Group, dict[Any, Any]] = {group: {} for group in groups}
        self._begun: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def fold(self, after: int, to: int, progress: Callable[[int], None] | None = None) -> None:
        """Apply every record of ``(after, to]``; what fails is kept in ``failures``, by root and by rollup."""
        limit = self._writer.records_at_once
        with no_collection():
            while after < to:
                rows = self._writer.records(after, to, self._wanted, limit=limit)
                if not self._planned:
                    self._first = after + 1
                after = to if len(rows) < limit else rows[-1][0]
                for at in range(0, len(rows), PAGE):
                    self._plan(decode(self._codec, rows[at : at + PAGE]))
                if self._is_enough():
                    self._write(after, flush=sum(map(len, self._sums.values())) > MAX_SUMS)
                if progress is not None:
                    progress(after)
            self._write(to, flush=True)

    def _plan(self, items: list[Item]) -> None:
        self._planned += len(items)
        self._begun.update([record.stream for record, _ in items if record.version == 1])
        for group, mine in self._split(items):
            if group.root.name not in self.failures:
                made = self._plans.get(group) or self._plans.setdefault(group, Plan(group, self._known[group]))
                made.take(self._writer, mine, self._begun)
                if made.failure is not None:
                    self.failures[group.root.name] = made.failure

    def _split(self, items: list[Item]) -> Iterator[tuple[Group, list[Item]]]:
        """The items that each group wants, for those that want any."""
        types = [record.type for record, _ in items]
        present = set(types)
        for group, tags in self._groups:
            if not tags.isdisjoint(present):
                yield group, items if present <= tags else list(compress(items, map(tags.__contains__, types)))

    def _is_enough(self) -> bool:
        return self._planned >= HELD or sum([made.text_length for made in self._plans.values()]) >= HELD_TEXT

    def _write(self, to: int, *, flush: bool) -> None:
        for group, made in self._plans.items():
            made.settle([rollup for rollup in group.rollups if rollup.name not in self.failures], to, self._sums)
            self.failures.update(made.rollup_failures)
            if made.failure is not None:
                self.failures[group.root.name] = made.failure
        every = list(self._plans.values())
        plans = [made for made in every if not made.empty]
        sums = self._taken_sums() if flush else []
        self._plans, self._planned = {}, 0
        if plans or sums:
            with self._writing():
                if attempt(self._writer, partial(self._write_all, plans, sums)):
                    self._write_apart(plans, sums)
        for made in every:
            if made.refused:
                with self._writing():
                    self._go_on_to_refused(made.group, to)
        if len(self._begun) + sum(map(len, self._known.values())) > MAX_KNOWN:
            self._forget()

    def _go_on_to_refused(self, group: Group, to: int) -> None:
        """Of thousands of records one made a row that cannot be stored: find it, and write what comes before it."""
        wanted = self._wanted._replace(types=group.tags)
        items = decode(self._codec, self._writer.records(self._first - 1, to, wanted))
        moving = [rollup for rollup in group.rollups if rollup.name not in self.failures]
        made = apply(self._writer, group, moving, items, to)
        self._forget()
        told = self.failures.pop(group.root.name)
        if made.failure is not None:
            same = [member.name for member in group.members if self.failures.get(member.name) is told]
            self.failures.update((name, made.failure) for name in (group.root.name, *same))
        self.failures.update(made.rollup_failures)

    def _forget(self) -> None:
        for rows in self._known.values():
            rows.clear()
        self._begun.clear()

    def _taken_sums(self) -> list[tuple[Rollup, Deltas]]:
        sums = [(rollup, non_zero(deltas)) for rollup, deltas in self._sums.items()]
        for deltas in self._sums.values():
            deltas.clear()
        return [(rollup, deltas) for rollup, deltas in sums if deltas]

    def _write_all(self, plans: Iterable[Plan], sums: Iterable[tuple[Rollup, Deltas]]) -> None:
        for made in plans:
            made.write_all(self._writer)
        for rollup, deltas in sums:
            if rollup.name not in self.failures:
                write_deltas(self._writer, rollup, deltas)

    def _write_apart(self, plans: Iterable[Plan], sums: Iterable[tuple[Rollup, Deltas]]) -> None:
        """Each by itself, so that where the store refuses a row that projection alone stops."""
        for made in plans:
            made.write(self._writer)
            if made.refused and made.failure is not None:
                # Its sums hold what the refused rows would have given: they are to be made again.
                self.failures.update((member.name, made.failure) for member in made.group.members)
        for rollup, deltas in sums:
            if rollup.name not in self.failures and (
                error := attempt(self._writer, partial(write_deltas, self._writer, rollup, deltas))
            ):
                self.failures[rollup.name] = Failure(self._first, f"a row cannot be stored: {error}")
