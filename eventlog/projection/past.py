"""As of a version: read-only answers of an earlier state, without touching the live tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from eventlog.codec import Codec
from eventlog.errors import InvalidQuery, ProjectionFailed, ProjectionUnknown
from eventlog.log import PAGE, EventLog
from eventlog.projection.fold import as_dict, no_collection
from eventlog.projection.folder import Folder
from eventlog.projection.kinds import Group, Journal
from eventlog.projection.machine import Checkpoint, checkpoints, usable
from eventlog.projection.undo import changes_between
from eventlog.store.base import Filter, Head, Key, Record, RecordRow, Scratch, Selection, Table, Values

FOLD_FACTOR = 4
"""Folding a touched stream again costs at most about this many times what folding an event from the start does."""
MANY_EVENTS = 200_000
"""Up to so many are undone in memory wherever there are no more of them than from the start: most streams are short."""


class PastReader:
    """A `Reader` of the tables and records as of one version. A group is brought there when it is first asked for."""

    def __init__(self, log: EventLog, groups: Mapping[str, Group], version: int) -> None:
        self.version = version
        self._codec: Codec = log.codec
        self._groups = {name: group for group in groups.values() for name in group.names}
        self._scratch: Scratch = log.store.scratch()
        try:
            self._stored: dict[str, Checkpoint] = checkpoints(self._scratch)
        except BaseException:
            self._scratch.close()
            raise
        self._ready: set[str] = set()
        self._failed: dict[str, Exception] = {}

    def close(self) -> None:
        """Give the view back."""
        self._scratch.close()

    # bringing a group to the version

    def _need(self, table: Table) -> None:
        group = self._groups.get(table.name)
        if group is None:
            raise ProjectionUnknown(f"no projection is called {table.name!r}")
        if group.root.name in self._failed:
            raise self._failed[group.root.name]
        if group.root.name not in self._ready:
            try:
                self._bring(group)
            except Exception as error:
                self._failed[group.root.name] = error
                raise
            self._ready.add(group.root.name)

    def _bring(self, group: Group) -> None:
        live = self._stored.get(group.root.name)
        if live is None or not self._trusted(group):
            self._fold_from_start(group)
        elif live.position == self.version:
            return
        elif isinstance(group.root, Journal) and not group.rollups and live.position > self.version:
            self._scratch.cut(group.root.table, self.version)
        elif self._is_near(abs(live.position - self.version)):
            with no_collection():
                self._overlay(group, live.position)
        else:
            self._fold_from_start(group)

    def _is_near(self, events: int) -> bool:
        return events * FOLD_FACTOR <= self.version or events <= min(self.version * 5 // 4, MANY_EVENTS)

    def _trusted(self, group: Group) -> bool:
        stored = dict(self._stored)
        root = stored[group.root.name]
        if root.state == "pinned":
            root = Checkpoint(*root.values())
            root.state = "live"
            stored[root.name] = root
        same = all(stored[name].position == root.position and stored[name].state != "failed" for name in group.names)
        return same and usable(group, stored)

    def _fold_from_start(self, group: Group) -> None:
        for member in group.members:
            self._scratch.create_table(member.table)
        folder = Folder(self._scratch, self._codec, [group])
        folder.fold(0, self.version)
        for name, failure in folder.failures.items():
            raise ProjectionFailed(
                f"{name} failed at position {failure.position}: {failure.message}", name=name, position=failure.position
            )
        for member in group.members:
            self._scratch.create_indexes(member.table)

    def _overlay(self, group: Group, position: int) -> None:
        scratch, root = self._scratch, group.root
        first, last = sorted((position, self.version))
        changes = changes_between(scratch, self._codec, group, first, last)
        back = self.version < position
        rows = {key: pair[0] if back else pair[1] for key, pair in changes.rows.items()}
        totals = {
            rollup: self._bucket_rows(rollup.table, changes.deltas(rollup), -1 if back else 1)
            for rollup in group.rollups
        }
        if isinstance(root, Journal) and back:
            scratch.cut(root.table, self.version)
        else:
            scratch.overlay(root.table)
            kept = [root.table.dump(row) for row in rows.values() if row is not None]
            scratch.touch(root.table, rows.keys(), kept)
        for rollup, buckets in totals.items():
            scratch.overlay(rollup.table)
            scratch.touch(rollup.table, buckets.keys(), [row for row in buckets.values() if row is not None])

    def _bucket_rows(self, table: Table, deltas: Mapping[Key, list[int]], sign: int) -> dict[Key, Values | None]:
        width = len(table.key)
        live = self._scratch.load(table, deltas.keys())
        rows: dict[Key, Values | None] = {}
        for key, numbers in deltas.items():
            old = table.dump(live[key])[width:] if key in live else (0,) * len(numbers)
            new = tuple(number + sign * delta for number, delta in zip(old, numbers, strict=True))
            rows[key] = (*key, *new) if any(new) else None
        return rows

    # Reader

    def head(self) -> Head:
        row = self._scratch.records(self.version - 1, self.version, Selection())
        return Head(row[0][0], row[0][13], row[0][6]) if row else Head(0, bytes(32))

    def records(
        self,
        after: int,
        to: int | None,
        where: Selection,
        *,
        backwards: bool = False,
        limit: int | None = None,
        in_stream: bool = False,
    ) -> list[RecordRow]:
        if not in_stream:
            to = self.version if to is None else min(to, self.version)
            return self._scratch.records(after, to, where, backwards=backwards, limit=limit)
        rows = self._scratch.records(after, to, where, backwards=backwards, limit=limit, in_stream=True)
        return [row for row in rows if row[0] <= self.version]

    def records_of(self, streams: Iterable[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        return self._scratch.records_of(streams, min(to, self.version), types)

    def load(self, table: Table, keys: Iterable[Key]) -> dict[Key, Any]:
        self._need(table)
        return self._scratch.load(table, keys)

    def select(
        self,
        table: Table,
        where: Sequence[Filter] = (),
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Any]:
        self._need(table)
        return self._scratch.select(table, where, order=order, limit=limit, offset=offset)

    def count(self, table: Table, where: Sequence[Filter] = ()) -> int:
        self._need(table)
        return self._scratch.count(table, where)

    def totals(
        self, table: Table, by: Sequence[str], measures: Sequence[str], where: Sequence[Filter] = ()
    ) -> list[Values]:
        self._need(table)
        return self._scratch.totals(table, by, measures, where)


class PastLog:
    """A log as it was at a version: what repositories need to answer questions, and nothing that writes."""

    def __init__(self, log: EventLog, groups: Mapping[str, Group], version: int) -> None:
        head = log.head().position
        if not 0 <= version <= head:
            raise InvalidQuery(f"there is no version {version}: the log's versions are 0 to {head}")
        self.version = version
        self.tables = {member.name: member.table for group in groups.values() for member in group.members}
        self.codec = log.codec
        self.log_id = log.log_id
        self._translate = log.store.translate
        self._reader = PastReader(log, groups, version)

    @contextmanager
    def reader(self) -> Iterator[PastReader]:
        """The state at the version."""
        try:
            yield self._reader
        except Exception as error:
            if isinstance(error, (UnicodeEncodeError, OverflowError)):
                raise InvalidQuery(f"nothing stored can be like that: {error}") from error
            translated = self._translate(error)
            if translated is error:
                raise
            raise translated from error

    def read_stream(self, stream: str, *, after: int = 0) -> Iterator[Record]:
        """A stream's records up to the version of the log."""
        while rows := self._reader.records(after, None, Selection(streams=(stream,)), limit=PAGE, in_stream=True):
            for row in rows:
                yield Record(*row, self.codec)
            after = rows[-1][2]

    def close(self) -> None:
        """Give the view back."""
        self._reader.close()


class PastProjections:
    """The tables of a log as they were at a version."""

    def __init__(self, past: PastLog) -> None:
        self._past = past

    def names(self) -> list[str]:
        """The names of all projections."""
        return list(self._past.tables)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A projection's whole table, by key, as dicts. Raises ProjectionUnknown."""
        table = self._past.tables.get(name)
        if table is None:
            raise ProjectionUnknown(f"no projection is called {name!r}; there are {', '.join(self.names())}", name=name)
        with self._past.reader() as reader:
            return [as_dict(row) or {} for row in reader.select(table, order=table.key)]


def version_at(log: EventLog, occurred_us: int) -> int:
    """The version of the log at a time: its last record that was recorded up to then (recorded_at never goes back)."""
    low, high = 0, log.head().position
    while low < high:
        middle = (low + high + 1) // 2
        with log.reader() as reader:
            rows = reader.records(middle - 1, middle, Selection())
        if rows and rows[0][6] <= occurred_us:
            low = middle
        else:
            high = middle - 1
    return low
