"""`log.dual_write`: sessions are written to JSON files, too, while older programs read those and the log is the truth.

A command appends first; then the session's file is written anew from what the log says. What cannot be written is
counted and loses nothing: `sync` brings the files in line, `check` proves that they are, and after enough clean checks
in a row `cut_over` ends it.
"""

from __future__ import annotations

import builtins
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from eventlog.blobs import Blobs
from eventlog.errors import Conflict, EventLogError, IllegalTransition, InvalidInput, NotFound
from eventlog.events import Event
from eventlog.events.mirrors import (
    MirrorChecked,
    MirrorCutOver,
    MirrorDisabled,
    MirrorEnabled,
    MirrorFailed,
    MirrorSynced,
)
from eventlog.exporters.session_form import Spelling
from eventlog.exporters.session_json import Told, encoded
from eventlog.log import EventLog
from eventlog.mirror.files import MirrorFolder, Unreadable, reason
from eventlog.mirror.look import Look
from eventlog.projection.manager import Projections
from eventlog.repositories.base import Repository, Source
from eventlog.store.base import Filter, Progress, Selection
from projections.mirrors import Mirror, MirrorCheck
from projections.mirrors import projections as _mirrors
from projections.sessions import projections as _sessions
from projections.workspaces import projections as _workspaces

MIRRORS, CHECKS = _mirrors
SESSIONS = _sessions[0]
WORKSPACES = _workspaces[0]
CLEAN_CHECKS = 3
PAGE = 1_000
MAX_PATHS = 20
"""How many paths the event of a check keeps."""
HELD = 8
"""How many sessions are remembered as they were last, so that a message more does not read all before."""
_log = logging.getLogger("eventlog.mirror")


class MirrorStatus(msgspec.Struct, frozen=True):
    """A mirror and how well it does. ``error_rate``: failures per record of a session since it was enabled, 0 to 1;
    ``records_behind``: records of sessions that no sync or clean check has looked at yet.
    """

    mirror: Mirror
    error_rate: float
    records_behind: int
    untold_failures: int = 0


class Synced(msgspec.Struct, frozen=True):
    """What a sync did, up to ``position``."""

    position: int
    written_files: int
    removed_files: int
    unchanged_files: int
    failures: int
    error: str | None = None


class Checked(msgspec.Struct, frozen=True):
    """What a check found at ``position``. ``paths`` are of whatever is missing, extra or different, as
    ``folder/file.json: chatMessages[3].content``; ``repaired`` is what was put right afterwards.
    """

    position: int
    sessions: int
    files: int
    missing: int
    extra: int
    different: int
    digest: str
    paths: list[str]
    clean_checks: int
    repaired: Synced | None = None

    @property
    def clean(self) -> bool:
        """Whether every session and its file say the same, and there is no file besides."""
        return not (self.missing or self.extra or self.different)


class DualWriteRepository(Repository):
    """Enable, sync, check and end the mirror of the sessions; there is one at a time."""

    def __init__(self, source: Source, projections: Projections | None = None, data_dir: Path | None = None) -> None:
        super().__init__(source, projections)
        self._blobs = None if data_dir is None else Blobs(data_dir)
        self._held: OrderedDict[str, tuple[int, Told]] = OrderedDict()
        self._guard = threading.Lock()
        self._untold = 0
        self._patience = 1
        self._warned = False

    # commands

    def enable(self, path: str | os.PathLike[str], *, spelling: Spelling = "camelCase") -> Mirror:
        """Write each session that is changed from here on to ``path/<id>.json``, too; `sync` writes those there are.

        The folder is made where there is none. Raises InvalidInput for a folder that cannot be written; Conflict where
        another one is a mirror.
        """
        if spelling not in ("camelCase", "snake_case"):
            raise InvalidInput(f"spelling is camelCase or snake_case, not {str(spelling)[:80]!r}")
        folder = Path(path).expanduser().absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = folder.resolve()
            with MirrorFolder(folder).lock():
                pass
        except OSError as error:
            raise InvalidInput(f"sessions cannot be written to {folder}: {reason(error)}", path=str(folder)) from error
        mirror_id = sha256(os.fsencode(folder)).hexdigest()[:16]
        log = self._before_command(MIRRORS.name)

        def work(tx: Any) -> None:
            for row in tx.reader.select(MIRRORS.table, [Filter("state", "=", "enabled")]):
                if row.mirror_id != mirror_id:
                    raise Conflict(f"sessions are mirrored to {row.path} already; disable that first", path=row.path)
                if row.spelling == spelling:
                    return
            tx.append(f"mirror-{mirror_id}", MirrorEnabled(path=_text(folder), spelling=spelling))

        log.decide(work)
        self._untold, self._patience, self._warned = 0, 1, False
        return self._row(mirror_id)

    def disable(self) -> Mirror:
        """Write no files from here on; those there are stay. Raises NotFound where nothing is mirrored."""
        mirror = self.current()
        self._append(mirror, MirrorDisabled())
        return self._row(mirror.mirror_id)

    def sync(self, *, progress: Progress | None = None) -> Synced:
        """Bring the files in line with the log: of all sessions the first time, of those that changed since later.

        Files of deleted sessions are removed; files of sessions that the log does not know stay. Raises NotFound where
        nothing is mirrored.
        """
        mirror = self.current()
        log = self._before_command(MIRRORS.name)
        self._tell_failures(mirror)
        head = log.head().position
        counted = self._count(log, max(mirror.counted_position, mirror.enabled_position), head)
        ids = self._all_ids(log) if not mirror.synced_position else self._touched(log, mirror.synced_position, head)
        return self._put(mirror, ids, head, counted, progress)

    def _put(
        self, mirror: Mirror, ids: list[str], head: int, records: int | None, progress: Progress | None = None
    ) -> Synced:
        """Write the files of these sessions; with ``records``, say that everything up to the head is in line."""
        folder = MirrorFolder(Path(mirror.path))
        counts = {"written": 0, "removed": 0, "unchanged": 0}
        failures, problem = 0, None
        for place, session_id in enumerate(ids):
            try:
                with folder.lock():
                    if not place:
                        folder.clean()
                    counts[self._write(mirror, folder, session_id)] += 1
            except OSError as error:
                failures, problem = failures + 1, problem or reason(error)
            if progress is not None:
                progress(place + 1, len(ids), "sessions")
        if failures:
            self._append(mirror, MirrorFailed(error=problem or "", failures=failures))
        elif records is not None and (
            records > PAGE or counts["written"] or counts["removed"] or not mirror.synced_position
        ):
            self._append(
                mirror,
                MirrorSynced(
                    position=head,
                    records=records,
                    written_files=counts["written"],
                    removed_files=counts["removed"],
                ),
            )
        return Synced(head, counts["written"], counts["removed"], counts["unchanged"], failures, problem)

    def check(self, *, repair: bool = False, limit: int = 100, progress: Progress | None = None) -> Checked:
        """Compare every session with its file, and keep the result as an event; ``repair``: put right what was wrong.

        What is compared is parsed JSON: the order of keys, their spelling and the form of times do not count. Secrets
        are masked in files, and are compared as such. At most ``limit`` paths are told. Files of sessions that the log
        does not know are not touched. Raises NotFound where nothing is mirrored.
        """
        mirror = self.current()
        log = self._before_command(MIRRORS.name)
        self._tell_failures(mirror)
        self._fresh(SESSIONS)
        look = Look(self, log, mirror, limit)
        look.run(progress)
        head = look.head
        event = MirrorChecked(
            position=head,
            records=self._count(log, max(mirror.counted_position, mirror.enabled_position), head),
            sessions=look.sessions,
            files=look.files,
            missing=look.missing,
            extra=look.extra,
            different=look.different,
            digest=look.digest.hexdigest(),
            paths=tuple(look.paths[:MAX_PATHS]),
        )
        self._append(mirror, event)
        repaired = self._put(mirror, look.wrong, head, None) if repair and look.wrong else None
        return Checked(
            head,
            look.sessions,
            look.files,
            look.missing,
            look.extra,
            look.different,
            event.digest,
            look.paths,
            self._row(mirror.mirror_id).clean_checks,
            repaired,
        )

    def cut_over(self, *, after: int = CLEAN_CHECKS) -> Mirror:
        """Say that nobody reads the files any more, and write none from here on.

        Raises IllegalTransition unless the last ``after`` checks in a row were clean and nothing failed since.
        """
        if type(after) is not int or after < 1:
            raise InvalidInput(f"after is a number of clean checks, 1 or more, not {after!r}")
        mirror = self.current()
        self._tell_failures(mirror)
        log = self._before_command(MIRRORS.name)

        def work(tx: Any) -> None:
            row = tx.reader.load(MIRRORS.table, [(mirror.mirror_id,)])[(mirror.mirror_id,)]
            if (lacking := after - row.clean_checks) > 0:
                raise IllegalTransition(
                    f"{row.clean_checks} of {after} clean checks in a row: {lacking} more "
                    f"{'is' if lacking == 1 else 'are'} needed (`eventlog sessions dual-write check`)",
                    clean_checks=row.clean_checks,
                    needed=after,
                )
            tx.append(f"mirror-{mirror.mirror_id}", MirrorCutOver(clean_checks=row.clean_checks, required_checks=after))

        log.decide(work)
        return self._row(mirror.mirror_id)

    # queries

    def list(self) -> builtins.list[Mirror]:
        """Every folder that is or was a mirror, the latest first."""
        table = self._fresh(MIRRORS)
        with self._source.reader() as reader:
            return reader.select(table, order=("-enabled_at", "mirror_id"))

    def enabled(self) -> Mirror | None:
        """The folder to which sessions are mirrored, or None."""
        table = self._fresh(MIRRORS)
        with self._source.reader() as reader:
            return next(iter(reader.select(table, [Filter("state", "=", "enabled")])), None)

    def current(self) -> Mirror:
        """The folder to which sessions are mirrored. Raises NotFound where there is none."""
        if (mirror := self.enabled()) is None:
            raise NotFound("sessions are not mirrored; `eventlog sessions dual-write enable DIR` begins it")
        return mirror

    def status(self) -> builtins.list[MirrorStatus]:
        """Every folder that is or was a mirror, and how well it does, the latest first."""
        made = []
        for row in self.list():
            records, behind = row.records, 0
            if row.state == "enabled":
                with self._source.reader() as reader:
                    head = reader.head().position
                records += self._count(self._source, row.counted_position, head)
                behind = self._count(self._source, row.synced_position, head)
            untold = self._untold if row.state == "enabled" else 0
            failures = row.failures + untold
            rate = failures / max(records, failures) if failures else 0.0
            made.append(MirrorStatus(row, rate, behind, untold))
        return made

    def checks(self, *, limit: int | None = 20, offset: int = 0) -> builtins.list[MirrorCheck]:
        """The checks that were made, the latest first."""
        table = self._fresh(CHECKS)
        with self._source.reader() as reader:
            return reader.select(table, order=("-position",), limit=limit, offset=offset)

    def document(self, session_id: str, *, spelling: Spelling = "camelCase") -> dict[str, Any] | None:
        """A session as its file should have it; None for one that there is not."""
        stream = f"session-{session_id}"
        with self._guard:
            version, told = self._held.pop(stream, (0, None))
        told = Told(self._blobs) if told is None else told
        for record in self._source.read_stream(stream, after=version):
            told.take(record)
            version = record.version
        workspace = None if told.session is None else told.session.workspace_id
        made = told.document(None if workspace is None else self._path_of(workspace), spelling)
        if self._projections is not None:  # the past is asked once
            with self._guard:
                self._held[stream] = (version, told)
                while len(self._held) > HELD:
                    self._held.popitem(last=False)
        return made

    def read(self, session_id: str) -> dict[str, Any]:
        """A session from its file, and from the log where the file cannot be had. Raises NotFound where neither can."""
        mirror = self.enabled()
        if mirror is not None:
            folder = MirrorFolder(Path(mirror.path))
            try:
                if (found := folder.read(folder.name(session_id))) is not None:
                    return found
            except Unreadable:
                pass
            spelling: Any = mirror.spelling
        else:
            spelling = "camelCase"
        if (document := self.document(session_id, spelling=spelling)) is None:
            raise NotFound(f"there is no session {session_id[:80]!r}", session_id=session_id)
        return document

    # after a command

    def told(self, session_id: str) -> None:
        """Write a session's file, now that a command has changed it. What fails is counted, and raised to nobody."""
        mirror = None
        try:
            if (mirror := self.enabled()) is None:
                return
            folder = MirrorFolder(Path(mirror.path))
            with folder.lock():
                self._write(mirror, folder, session_id)
            self._patience = 1
        except Exception as error:
            self._failed(mirror, session_id, error)

    def _failed(self, mirror: Mirror | None, session_id: str, error: Exception) -> None:
        with self._guard:
            self._untold += 1
            due = self._untold >= self._patience
        if not self._warned:
            self._warned = True
            where = "" if mirror is None else f" in {mirror.path}"
            _log.warning(
                "the file of session %s%s could not be written (%s); the log has it, and "
                "`eventlog sessions dual-write sync` writes it",
                session_id,
                where,
                reason(error),
            )
        if mirror is None or not due:
            return
        try:
            self._tell_failures(mirror, reason(error), session_id)
        except Exception as again:
            _log.debug("a failure of the mirror could not be told: %s", reason(again))

    def _tell_failures(
        self, mirror: Mirror, error: str = "files could not be written", session_id: str | None = None
    ) -> None:
        """Append how often it failed since this was told last. Of many in a row ever fewer are told by themselves."""
        with self._guard:
            count, self._untold = self._untold, 0
        if not count:
            return
        try:
            self._append(mirror, MirrorFailed(error=error, session_id=session_id, failures=count))
            self._patience = min(self._patience * 2, 1024)
        except BaseException:
            with self._guard:
                self._untold += count
            raise

    # one session

    def _write(self, mirror: Mirror, folder: MirrorFolder, session_id: str) -> str:
        """Bring a session's file in line; the caller holds the folder's lock."""
        document = self.document(session_id, spelling=mirror.spelling)  # type: ignore[arg-type]
        if document is None:
            return "removed" if folder.remove(session_id) else "unchanged"
        return "written" if folder.write(session_id, encoded(document)) else "unchanged"

    def _path_of(self, workspace_id: str) -> str | None:
        table = self._fresh(WORKSPACES)
        with self._source.reader() as reader:
            row = reader.load(table, [(workspace_id,)]).get((workspace_id,))
        return None if row is None else str(row.path)

    # many

    def _all_ids(self, log: EventLog) -> builtins.list[str]:
        table = self._fresh(SESSIONS)
        with log.reader() as reader:
            ids = [row.session_id for row in reader.select(table, order=("session_id",))]
        folder, known = MirrorFolder(Path(self.current().path)), set(ids)
        with suppress(OSError):
            # Those that were deleted have a file still.
            named = {one for name in folder.names() if (one := folder.id_of(name)) is not None} - known
            ids += sorted(one for one in named if self.was(log, one))
        return ids

    def was(self, log: EventLog, session_id: str) -> bool:
        """Whether the log knows, or knew, a session."""
        try:
            return next(iter(log.read_stream(f"session-{session_id}", limit=1)), None) is not None
        except EventLogError:
            return False

    def _touched(self, log: EventLog, after: int, to: int) -> builtins.list[str]:
        """The sessions that something was said of between two positions, and those of workspaces that changed."""
        found: dict[str, None] = {}
        moved: dict[str, None] = {}
        for row in _rows(log, after, to, ("session", "workspace")):
            category, _, own = row[1].partition("-")
            (found if category == "session" else moved)[own] = None
        if moved:
            table = self._fresh(SESSIONS)
            with log.reader() as reader:
                for row in reader.select(table, [Filter("workspace_id", "in", tuple(moved))]):
                    found[row.session_id] = None
        return builtins.list(found)

    def _count(self, source: Source, after: int, to: int) -> int:
        return sum(1 for _ in _rows(source, after, to, ("session",)))

    def _append(self, mirror: Mirror, event: Event) -> None:
        self._log.append(f"mirror-{mirror.mirror_id}", event)

    def _row(self, mirror_id: str) -> Mirror:
        table = self._fresh(MIRRORS)
        with self._source.reader() as reader:
            row: Mirror = reader.load(table, [(mirror_id,)])[(mirror_id,)]
            return row


def _rows(source: Source, after: int, to: int, categories: tuple[str, ...]) -> Iterator[Any]:
    """Records of some categories between two positions, in pages."""
    while after < to:
        with source.reader() as reader:
            rows = reader.records(after, to, Selection(categories=categories), limit=PAGE)
        yield from rows
        if len(rows) < PAGE:
            return
        after = rows[-1][0]


def _text(path: Path) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
