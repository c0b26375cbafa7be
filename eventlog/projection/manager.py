"""`log.projections`: what a person or a program does with projections."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Literal, NamedTuple

from eventlog.clock import from_datetime, parse_time, to_datetime
from eventlog.codec import Codec
from eventlog.errors import (
    DiskFull,
    InvalidQuery,
    LogReadOnly,
    NotFound,
    ProjectionError,
    ProjectionFailed,
    ProjectionPinned,
    ProjectionUnknown,
)
from eventlog.log import EventLog, Tx
from eventlog.projection.fold import Broken, Failure, Item, Plan, apply, as_dict, decode, evolve_all, page, things_of
from eventlog.projection.kinds import Entity, Group, Journal, Projection, Rollup, groups_of, in_table
from eventlog.projection.machine import (
    LAZY_MOST,
    LAZY_STEP,
    Checkpoint,
    Inline,
    State,
    catch_up,
    checkpoints,
    fresh_checkpoint,
    moving,
    save,
    usable,
)
from eventlog.projection.past import FOLD_FACTOR, PastLog, version_at
from eventlog.projection.rebuild import Difference, Overtaken, rebuild, verify
from eventlog.projection.undo import changes_between, contributions
from eventlog.store.base import Key, Progress, Reader, Record, RecordRow, Selection

REBUILD_LAG = 50_000
"""From this lag on, and more than half the log, a rebuild is cheaper than catching up."""
Version = int | datetime | str
UNKNOWN = "unknown here"
"""The mode of a projection that another program made, and whose code this one has not."""
_MAKERS = {"stale": "an older program", "newer": "a newer program"}


class ProjectionStatus(NamedTuple):
    """How a projection stands: live, pinned, failed, new (not made yet), stale (older code made it), or newer.

    ``mode`` is inline, deferred, ``when asked`` (it waits for a question, or until much has come together), or
    ``unknown here``. ``lag`` is in positions: 0 where nothing waits but what such a projection lets wait.
    """

    name: str
    kind: str
    state: str
    mode: str
    position: int | None
    lag: int | None
    version: int
    stored_version: int | None
    fingerprint_matches: bool | None
    rows: int | None
    error: str | None
    error_position: int | None
    updated_at: int | None


class RowDiff(NamedTuple):
    """A row that differs between two versions, which columns differ, and the positions of the events that did it."""

    table: str
    key: tuple[object, ...]
    change: Literal["added", "changed", "removed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    columns: tuple[str, ...]
    positions: tuple[int, ...]


class Step(NamedTuple):
    """One event behind a row: the columns it set, as (before, after)."""

    position: int
    version: int
    type: str
    occurred_at: int
    changes: dict[str, tuple[Any, Any]]


class Explanation(NamedTuple):
    """A row and the events behind it; for a rollup ``sources`` are the keys of the rows with a share in it."""

    table: str
    key: tuple[object, ...]
    row: dict[str, Any] | None
    steps: list[Step]
    sources: list[Any]


class Projections:
    """Every projection of a log. Names are tables; naming one of a group acts on the whole group.

    ``held`` are those that were asked here and found pinned, with the version at which they are: answers are of then.
    ``stopped`` are those that were found failed, ``behind`` those that waited and could not be brought along because
    nothing may be written, likewise.
    """

    def __init__(self, log: EventLog, projections: Iterable[Projection], *, inline: bool = True) -> None:
        self._log = log
        self._codec: Codec = log.codec
        self.groups = groups_of(projections)
        self.inline = inline
        self.held: dict[str, int] = {}
        self.stopped: dict[str, int] = {}
        self.behind: dict[str, int] = {}
        for group in self.groups.values():
            for cls in group.root.types:
                log.codec.learn(cls)
        # Without inline groups of its own it still detaches those that other programs keep inline.
        self._inline = log.committer.projector = Inline(self.groups.values() if inline else (), log.codec)

    # looking

    def names(self) -> list[str]:
        """The names of all projections."""
        return [name for group in self.groups.values() for name in group.names]

    def projection(self, name: str) -> Projection:
        """The projection of a name. Raises ProjectionUnknown."""
        return next(member for member in self._group(name).members if member.name == name)

    def _group(self, name: str) -> Group:
        for group in self.groups.values():
            if name in group.names:
                return group
        raise self.unknown(name)

    def unknown(self, name: str) -> ProjectionUnknown:
        """The error that tells why nothing can be done with a projection of this name."""
        if name in self.left_out():
            return ProjectionUnknown(
                f"the table {name!r} was made by another program, and its code is not here: install the package that "
                "has it, or ask in that program",
                name=name,
            )
        names = self.names()
        others = f"there are {', '.join(names)}" if names else "none are installed, or they are switched off"
        return ProjectionUnknown(f"no projection is called {name!r}; {others}", name=name)

    def left_out(self, names: Iterable[str] | None = None) -> dict[str, str]:
        """Why `verify` does not look at tables that are there, by their names: of these projections, or of all.

        ``made by another program`` (its code is not here: commands for all projections leave them alone, too), or
        ``made by an older program``, or ``by a newer``; with it all that moves together with it. ``failed at position
        N``: what it says of the events from there on is not in the tables, and only what came before is compared.
        """
        status = self.status(counted=False)
        found = {
            one.name: f"made by {maker}"
            for one in status
            if (maker := "another program" if one.mode == UNKNOWN else _MAKERS.get(one.state))
        }
        for group in self.groups.values():
            if why := next((found[name] for name in group.names if name in found), None):
                found |= {name: why for name in group.names if name not in found}
        for one in status:
            if one.state == "failed":
                found.setdefault(one.name, f"failed at position {one.error_position}")
        if names is None:
            return found
        picked = {names} if isinstance(names, str) else set(names)  # not `_pick`: a server has some that are not here
        for group in self.groups.values():
            if not picked.isdisjoint(group.names):
                picked.update(group.names)
        return {name: why for name, why in found.items() if name in picked}

    def _pick(self, names: Iterable[str] | None) -> list[Group]:
        if names is None:
            return list(self.groups.values())
        picked = {self._group(name).root.name for name in ([names] if isinstance(names, str) else names)}
        return [group for name, group in self.groups.items() if name in picked]

    def status(self, *, counted: bool = True) -> list[ProjectionStatus]:
        """How every projection stands; ``counted``: with the number of its rows, which looks at all of them."""
        with self._log.reader() as reader:
            head = reader.head().position
            stored = checkpoints(reader)
            known = [self._status(reader, member, stored.get(member.name), head, counted) for member in self._members()]
        known = [self._with_its_source(one, stored) for one in known]
        here = {one.name for one in known}
        return known + [
            ProjectionStatus(
                row.name, row.kind, row.state, UNKNOWN, row.position, head - row.position, 0, row.version, None, None,
                row.error, row.error_position, row.updated_at,
            )
            for row in stored.values()
            if row.name not in here
        ]  # fmt: skip

    def _with_its_source(self, status: ProjectionStatus, stored: dict[str, Checkpoint]) -> ProjectionStatus:
        """A rollup whose source failed is failed with it: it gets nothing to count any more."""
        root = stored.get(self._group(status.name).root.name)
        if status.state != "live" or root is None or root.state != "failed":
            return status
        return status._replace(
            state="failed", error=f"{root.name} failed: {root.error}", error_position=root.error_position
        )

    def _members(self) -> list[Projection]:
        return [member for group in self.groups.values() for member in group.members]

    def _status(
        self, reader: Any, member: Projection, row: Checkpoint | None, head: int, counted: bool
    ) -> ProjectionStatus:
        group = self._group(member.name)
        mode = "deferred" if not self.inline else "when asked" if group.root.lazy else "inline"
        if row is None:
            return ProjectionStatus(
                member.name, member.kind, "new", mode, None, None, member.version, None, None, None, None, None, None
            )
        state: str = row.state
        if row.version != member.version:
            state = "stale" if row.version < member.version else "newer"
        rows = reader.count(member.table) if counted and state in ("live", "pinned", "failed") else None
        position, lag = row.position, head - row.position
        if state == "live" and group.root.lazy and lag <= LAZY_MOST:
            waiting = len(reader.records(position, head, Selection(types=group.tags), limit=LAZY_STEP))
            position, lag = position if waiting else head, lag if waiting == LAZY_STEP else 0
        return ProjectionStatus(
            member.name, member.kind, state, mode, position, lag, member.version, row.version,
            row.fingerprint == member.fingerprint, rows, row.error, row.error_position, row.updated_at,
        )  # fmt: skip

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A projection's whole table, by key, as dicts: of the version at which it stands.

        Where that is not the head, because it is rolled back or its code failed, `held` or `stopped` has its name then,
        and `status` says why; `require` raises.
        """
        table = self.projection(name).table
        asked = self._group(name).root.lazy and self.inline
        if asked:
            self.ensure(name)
        with self._log.reader() as reader:
            if not asked:
                self._note(name, checkpoints(reader, names=self._group(name).names))
            return [as_dict(row) or {} for row in reader.select(table, order=table.key)]

    def _note(self, name: str, stored: dict[str, Checkpoint]) -> None:
        """Remember whether what is answered from a projection is old."""
        root, own = stored.get(self._group(name).root.name), stored.get(name)
        self.held.pop(name, None)
        self.stopped.pop(name, None)
        self.behind.pop(name, None)
        if root is not None and root.state == "pinned":
            self.held[name] = root.position
        for row in (root, own):
            if row is not None and row.state == "failed":
                self.stopped[name] = row.position

    # moving forward

    def prepare(self, progress: Progress | None = None, *, lazy: bool = False) -> None:
        """Make what is not there yet, rebuild what older code made, catch up what lags. Newer ones are left alone.

        ``lazy``: those that wait until they are asked, too.
        """
        with self._log.reader() as reader:
            stored = checkpoints(reader)
            head = reader.head().position
        behind = [group for group in self.groups.values() if self._is_behind(group, stored)]
        if behind and head == 0:
            self._create_empty(behind)
        elif behind:
            self._rebuild_in_place(behind, stored, progress, keep_failed=True)
        if self.inline:
            self.catch_up([name for name, group in self.groups.items() if lazy or not group.root.lazy], progress)

    def _is_behind(self, group: Group, stored: dict[str, Checkpoint]) -> bool:
        if any(member.name in stored and stored[member.name].version > member.version for member in group.members):
            return False
        return any(
            member.name not in stored or stored[member.name].version < member.version for member in group.members
        )

    def _create_empty(self, groups: Sequence[Group]) -> None:
        with self._log.transaction() as tx:
            writer = tx.transaction.writer
            stored = checkpoints(writer)
            made = [member for group in groups if self._is_behind(group, stored) for member in group.members]
            for member in made:
                writer.drop_table(member.name)
                writer.create_table(member.table)
                writer.create_indexes(member.table)
            for member in made:
                writer.save_checkpoint(fresh_checkpoint(member, 0, "live", 1).values())

    def catch_up(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> int:
        """Apply what was appended since each checkpoint; returns how many positions were covered, by all groups."""
        with self._log.reader() as reader:
            stored, head = checkpoints(reader), reader.head().position
            behind = [group for group in self._pick(names) if self._has_news(reader, group, stored, head)]
        return sum(self._catch_up_group(group, progress) for group in behind)

    def _catch_up_group(self, group: Group, progress: Progress | None) -> int:
        covered = 0
        while step := self._catch_up_step(group, progress):
            covered += step
        return covered

    def _catch_up_step(self, group: Group, progress: Progress | None) -> int:
        log = self._log
        with log.reader() as reader:
            stored = checkpoints(reader)
            head = reader.head().position
            if not self._has_news(reader, group, stored, head):
                return 0
        with log.transaction(durability="process") as tx:
            writer = tx.transaction.writer
            stored = checkpoints(writer)
            if not usable(group, stored):
                return 0
            after, head = stored[group.root.name].position, tx.transaction.head.position
            if after >= head:
                return 0
            end, items = page(writer, self._codec, Selection(types=group.tags), after, head)
            rollups = moving(group, stored)
            made = apply(writer, group, rollups, items, end)
            save(writer, group, rollups, stored, end, made)
        if progress is not None:
            progress(end, head, f"catching up {group.root.name}")
        return end - after

    def _has_news(self, reader: Reader, group: Group, stored: dict[str, Checkpoint], head: int) -> bool:
        """Whether there is anything to catch up with. A lazy group need not follow events that it does not want."""
        if not usable(group, stored):
            return False
        lag = head - stored[group.root.name].position
        if not group.root.lazy or lag > LAZY_MOST:
            return lag > 0
        return lag > 0 and bool(reader.records(head - lag, head, Selection(types=group.tags), limit=1))

    def follow(
        self,
        names: Iterable[str] | None = None,
        *,
        stop: threading.Event | None = None,
        poll_s: float = 0.2,
        progress: Progress | None = None,
    ) -> None:
        """Keep deferred projections caught up until ``stop`` is set."""
        stop = stop or threading.Event()
        seen: object = None
        pause_s = poll_s
        while not stop.is_set():
            counter = self._log.store.change_counter()
            if counter == seen:
                stop.wait(pause_s)
                pause_s = self._log.longer(pause_s)
                continue
            seen, pause_s, looked = counter, poll_s, time.monotonic()
            self.catch_up(names, progress)
            stop.wait(max(0.0, looked + poll_s - time.monotonic()))

    def rebuild(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> None:
        """Make tables anew from the events; pinned ones up to where they are pinned. See `rebuild.rebuild`."""
        with self._log.reader() as reader:
            stored = checkpoints(reader)
        groups = self._pick(names)
        for group in groups:
            self._refuse_newer(group, stored)
        self._rebuild_in_place(groups, stored, progress)

    def _rebuild_in_place(
        self,
        groups: Sequence[Group],
        stored: dict[str, Checkpoint],
        progress: Progress | None,
        *,
        keep_failed: bool = False,
    ) -> None:
        """Rebuild live groups up to the head, pinned ones up to where they are pinned."""
        places: dict[int | None, list[Group]] = {}
        for group in groups:
            row = stored.get(group.root.name)
            places.setdefault(row.position if row and row.state == "pinned" else None, []).append(group)
        for to, together in places.items():
            state: State = "live" if to is None else "pinned"
            # Whoever overtakes has made the same tables: from the same events, by the same code.
            with suppress(Overtaken):
                rebuild(self._log, together, progress, to=to, state=state, keep_failed=keep_failed)

    def _refuse_newer(self, group: Group, stored: dict[str, Checkpoint]) -> None:
        for member in group.members:
            row = stored.get(member.name)
            if row is not None and row.version > member.version:
                raise ProjectionError(
                    f"{member.name} was made by newer code (version {row.version}, this program has {member.version}): "
                    "it is left alone"
                )

    # moving back

    def version(self, version: Version) -> int:
        """A position, or the version of the log at a time: a datetime, or text (`clock.parse_time`), local without an
        offset. Raises InvalidQuery.
        """
        head = self._log.head().position
        if isinstance(version, str):
            version = read_version(version)
        if isinstance(version, datetime):
            return version_at(self._log, from_datetime(version))
        if isinstance(version, bool) or not isinstance(version, int):
            raise InvalidQuery(f"a version is a position or a time, not {version!r}")
        if not 0 <= version <= head:
            raise InvalidQuery(f"there is no version {version}: the log's versions are 0 to {head}")
        return version

    def rollback(self, to: Version, names: Iterable[str] | None = None, progress: Progress | None = None) -> int:
        """Take tables back to a version and pin them there, all groups together; returns the version.

        The events stay. Raises ProjectionFailed or ProjectionError when a group cannot be taken there: those that are
        near go together or not at all; those that are cheaper to fold from the start follow, each as it is done.
        """
        target = self.version(to)
        groups = self._pick(names)
        with self._log.reader() as reader:
            stored = checkpoints(reader)
        far: list[Group] = []
        for group in groups:
            self._refuse_newer(group, stored)
            row = stored.get(group.root.name)
            if row is None or not self._undoable(group, stored) or _is_far(row.position, target):
                far.append(group)
        near = [group for group in groups if group not in far]
        if near:
            with self._log.transaction() as tx:
                stored = checkpoints(tx.transaction.writer)
                for group in near:
                    self._roll(tx.transaction.writer, group, stored, target)
        if far:
            rebuild(self._log, far, progress, to=target, state="pinned")
        return target

    def _undoable(self, group: Group, stored: dict[str, Checkpoint]) -> bool:
        rows = [stored.get(member.name) for member in group.members]
        first = rows[0]
        return all(
            row is not None
            and first is not None
            and row.version == member.version
            and row.state != "failed"
            and row.position == first.position
            for row, member in zip(rows, group.members, strict=True)
        )

    def _roll(self, writer: Any, group: Group, stored: dict[str, Checkpoint], target: int) -> None:
        position = stored[group.root.name].position
        first, last = sorted((position, target))
        changes = changes_between(writer, self._codec, group, first, last)
        back = target < position
        made = Plan(group)
        for key, (old, new) in changes.rows.items():
            made.turn(key, new, old) if back else made.turn(key, old, new)
        if group.root.table.words is not None:
            made.fresh = writer.worded(group.root.table, made.fresh)
        for rollup in group.rollups:
            sign = -1 if back else 1
            deltas = changes.deltas(rollup)
            made.deltas[rollup] = {key: [sign * n for n in numbers] for key, numbers in deltas.items()}
        made.write_all(writer)
        for member in group.members:
            row = stored[member.name]
            row.position, row.state, row.attached = target, "pinned", False
            writer.save_checkpoint(row.values())

    def resume(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> None:
        """Let pinned projections go on, and failed ones try again, and bring them to the head."""
        groups = self._pick(names)
        with self._log.reader() as reader:
            stored = checkpoints(reader)
            head = reader.head().position
        again = [group for group in groups if self._needs_rebuild(group, stored, head)]
        if again:
            rebuild(self._log, again, progress)
        with self._log.transaction() as tx:
            writer = tx.transaction.writer
            stored = checkpoints(writer)
            for group in groups:
                for member in group.members:
                    row = stored.get(member.name)
                    if row is not None and row.state != "live" and row.version == member.version:
                        row.state, row.error, row.error_position = "live", None, None
                        writer.save_checkpoint(row.values())
        self.catch_up([group.root.name for group in groups], progress)
        self._raise_failures(groups)

    def _needs_rebuild(self, group: Group, stored: dict[str, Checkpoint], head: int) -> bool:
        self._refuse_newer(group, stored)
        root = stored.get(group.root.name)
        if root is None or self._is_behind(group, stored):
            return True
        rollup_stopped = any(stored[r.name].state == "failed" or stored[r.name].position != root.position
                             for r in group.rollups)  # fmt: skip
        lag = head - root.position
        return rollup_stopped or (root.state != "failed" and lag > REBUILD_LAG and lag * 2 > head)

    def _raise_failures(self, groups: Sequence[Group]) -> None:
        with self._log.reader() as reader:
            stored = checkpoints(reader)
        for group in groups:
            for name in group.names:
                row = stored[name]
                if row.state == "failed":
                    raise ProjectionFailed(
                        f"{name} failed again at position {row.error_position}: {row.error}",
                        name=name,
                        position=row.error_position,
                    )

    def require(self, name: str) -> None:
        """Make sure that commands can rely on a projection, bringing it to the head where it lags.

        Raises ProjectionPinned, ProjectionFailed, or ProjectionError when newer code made it.
        """
        with self._log.reader() as reader:
            stored = checkpoints(reader, names=self._group(name).names)
        self._refuse_unreliable(name, stored)
        self.ensure(name, stored)

    def _refuse_unreliable(self, name: str, stored: dict[str, Checkpoint]) -> None:
        group = self._group(name)
        self._refuse_newer(group, stored)
        row = stored.get(group.root.name)
        if row is not None and row.state == "pinned":
            raise ProjectionPinned(
                f"{name} is rolled back to version {row.position} and pinned; "
                "run `eventlog projections resume` (log.projections.resume()) first",
                name=name,
                position=row.position,
            )
        if row is not None and row.state == "failed":
            raise ProjectionFailed(
                f"{name} failed at position {row.error_position}: {row.error}; once its code is mended, "
                "run `eventlog projections resume`",
                name=name,
                position=row.error_position,
            )

    def bring(self, tx: Tx, *names: str) -> None:
        """Make sure that commands can rely on projections inside a transaction. Raises as `require`.

        Where they are inline and nobody else has written since, this costs nothing.
        """
        reader = tx.reader
        moving = self._inline.moving(tx.transaction.writer, tx.transaction.position)
        for name in names:
            if name not in moving:
                self._bring(tx, reader, name)

    def _bring(self, tx: Tx, reader: Reader, name: str) -> None:
        group, head = self._group(name), tx.transaction.position
        stored = checkpoints(reader, head)
        self._refuse_unreliable(name, stored)
        if stored[group.root.name].position < head:
            catch_up(tx.transaction.writer, self._codec, group, stored, head)
            self._refuse_unreliable(name, checkpoints(reader, head))

    def row(self, tx: Tx, root: Entity[Any], key: Any) -> Any:
        """A row of an entity by its key, as it was at the last `bring` of a transaction; None when there is none."""
        return self._inline.row(tx.transaction.writer, root, key)

    def learn(self, name: str, rows: Mapping[Any, Any]) -> None:
        """Remember rows of an entity by their keys, which this transaction has just read and not touched."""
        self._inline.learn(name, rows)

    def ensure(self, name: str, stored: dict[str, Checkpoint] | None = None) -> None:
        """Bring a projection to the head if it is live, lags, and may be written here."""
        group = self._group(name)
        with self._log.reader() as reader:
            stored = checkpoints(reader) if stored is None else stored
            row = stored.get(group.root.name)
            behind = (
                row is not None and not row.attached and self._has_news(reader, group, stored, reader.head().position)
            )
        self._note(name, stored)
        if row is not None and behind and not self._caught_up(group):
            self.behind[name] = row.position

    def _caught_up(self, group: Group) -> bool:
        """Bring a projection along if it may be written. What cannot be written can still be read."""
        if not self._log.writable:
            return False
        try:
            self._catch_up_group(group, None)
        except LogReadOnly:
            self._log.writable = False  # each append will say so
            return False
        except DiskFull:
            return False
        return True

    # the past

    @contextmanager
    def as_of(self, version: Version) -> Iterator[PastLog]:
        """Read-only answers of the state at a version."""
        past = PastLog(self._log, self.groups, self.version(version))
        try:
            yield past
        finally:
            past.close()

    def diff(self, first: Version, last: Version, names: Iterable[str] | None = None) -> Iterator[RowDiff]:
        """Rows that differ between two versions, table by table, and the events that did it."""
        low, high = self.version(first), self.version(last)
        groups = self._pick(names)
        with self._log.reader() as reader:
            found = [(g, changes_between(reader, self._codec, g, *sorted((low, high)))) for g in groups]
        for group, changes in found:
            for key, pair in sorted(changes.rows.items(), key=lambda item: item[0]):
                before, after = pair if low <= high else pair[::-1]
                yield _row_diff(group.root.name, key, before, after, changes.positions[key])
            yield from self._diff_rollups(group, changes, low, high)

    def _diff_rollups(self, group: Group, changes: Any, low: int, high: int) -> Iterator[RowDiff]:
        for rollup in group.rollups:
            deltas = changes.deltas(rollup)
            shares: dict[Key, set[int]] = {}
            for key, pair in changes.turned.items():
                for row in pair:
                    counted = rollup.counted(row)
                    for bucket, _ in () if counted is None else rollup.contribute(counted):
                        shares.setdefault(bucket, set()).update(changes.positions[key])
            sides = []
            for version in (low, high):
                with self.as_of(version) as past, past.reader() as reader:
                    sides.append(reader.load(rollup.table, deltas.keys()))
            for key in sorted(deltas, key=repr):
                yield _row_diff(rollup.name, key, sides[0].get(key), sides[1].get(key), sorted(shares[key]))

    def explain(self, table: str, key: Any) -> Explanation:
        """The events behind one row, and which column each one set. ``key``: a value, or a tuple of them.

        Raises NotFound when no event ever touched such a row.
        """
        member = self.projection(table)
        group = self._group(table)
        wanted = _typed_key(member, key if isinstance(key, (tuple, list)) else (key,))
        self.ensure(table)
        with self._log.reader() as reader:
            end = checkpoints(reader)[group.root.name].position
            row = reader.load(member.table, [wanted]).get(wanted)
            if isinstance(member, Rollup):
                sources = contributions(reader, member, group.root, wanted)
                columns = group.root.table.key
                keys = [
                    getattr(source, columns[0]) if len(columns) == 1 else tuple(getattr(source, c) for c in columns)
                    for source in sources
                ]
                steps: list[Step] = []
            else:
                keys = []
                steps = self._steps(reader, member, wanted, end)
        if row is None and not steps:
            never = "" if isinstance(member, Rollup) else ", and never had"
            raise NotFound(f"{table} has no row {', '.join(map(str, wanted))}{never}", table=table, key=wanted)
        return Explanation(table, wanted, as_dict(row), steps, keys)

    def _steps(self, reader: Reader, member: Projection, key: Key, end: int) -> list[Step]:
        if isinstance(member, Journal):
            position = int(key[0])
            rows: list[RecordRow] = reader.records(position - 1, min(position, end), Selection(types=member.tags))
        else:
            assert isinstance(member, Entity)  # noqa: S101
            rows = reader.records_of([member.stream_of(key[0])], end, member.tags)
        steps: list[Step] = []
        before: Any = None
        for row in rows:
            record = Record(*row, self._codec)
            items = decode(self._codec, [row])
            if isinstance(member, Journal):
                after = member.make(items[0][1], record) if items else None
            else:
                if member.part is not None and not (items and _is_about(member, items[0], key)):
                    continue
                thing = key[0] if member.part is None else key
                held = {thing: before}
                failure: Failure | None = evolve_all(member, items, things_of(member, items), held)
                after = before if failure else held[thing]
            columns = _changed(in_table(before), in_table(after))
            steps.append(Step(record.position, record.version, record.type, record.occurred_at, columns))
            before = after
        return steps

    def verify(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> list[Difference]:
        """Compare live tables with a fresh fold of the log, at their checkpoints; an empty list means equal.

        Projections that are not made yet, or were made by other code, are left out, and those that failed are compared
        up to where they did: `left_out` names them.
        """
        with self._log.reader() as reader:
            stored = checkpoints(reader)
        groups = [
            group
            for group in self._pick(names)
            if all(m.name in stored and stored[m.name].version == m.version for m in group.members)
        ]
        return verify(self._log, groups, progress)


def read_version(text: str) -> int | datetime:
    """What a text says: a position, or a time. Raises InvalidQuery."""
    try:
        return int(text) if text.isdecimal() else to_datetime(parse_time(text))
    except ValueError as error:
        raise InvalidQuery(f"a version is a position or a time: {error}") from error


def _is_about(entity: Entity[Any], item: Item, key: Key) -> bool:
    record, event = item
    return type(event) is not Broken and entity.row_key(entity.thing_of(record, event)) == key


def _is_far(position: int, target: int) -> bool:
    """Whether folding from the start is cheaper than folding the touched streams again."""
    return abs(position - target) * FOLD_FACTOR > max(target, 1000)


def _typed_key(member: Projection, key: Sequence[Any]) -> Key:
    columns = [member.table.columns[index] for index in member.table.key_indexes]
    if len(key) != len(columns):
        raise InvalidQuery(f"a key of {member.name} is {', '.join(column.name for column in columns)}")
    try:
        typed = tuple(int(part) if column.kind == "int" else part for part, column in zip(key, columns, strict=True))
        if any(isinstance(part, int) and abs(part) >= 2**63 for part in typed):
            raise ValueError("too large")
        return typed
    except (TypeError, ValueError) as error:
        raise InvalidQuery(f"a key of {member.name} is {', '.join(c.name for c in columns)}, not {key!r}") from error


def _changed(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    old, new = as_dict(before) or {}, as_dict(after) or {}
    names = list(new or old)
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def _row_diff(table: str, key: Key, before: Any, after: Any, positions: Sequence[int]) -> RowDiff:
    change: Literal["added", "changed", "removed"] = "changed"
    if before is None or after is None:
        change = "added" if before is None else "removed"
    columns = tuple(_changed(before, after)) if change == "changed" else ()
    return RowDiff(table, key, change, as_dict(before), as_dict(after), columns, tuple(positions))
