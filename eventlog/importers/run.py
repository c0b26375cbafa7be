"""Bringing the past in: which sources there are, how far each is, and what an import made of them.

A source is a file or a database. Its cursor is in the log, in the transaction of the events that it stands for, so an
import that was killed goes on where it was, and one that is repeated adds nothing. One bad record never stops a source,
and one bad source never stops an import.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, takewhile
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

import msgspec

from eventlog.blobs import Blobs
from eventlog.clock import counted
from eventlog.errors import InvalidEvent, InvalidInput, InvalidName, NotFound
from eventlog.events.agents import MessageAdded
from eventlog.events.imports import SourceOpened, SourceRestarted
from eventlog.events.sessions import SessionRewound
from eventlog.importers import apart
from eventlog.importers.formats import FORMATS, format_of
from eventlog.importers.intake import Batch, Counts, Cursor, Intake, Native, Status, Wanted, key_of, stream_of
from eventlog.importers.pieces import BLANK, MAX_LINE_BYTES, Piece, pieces
from eventlog.log import EventLog
from eventlog.projection.fold import no_collection
from eventlog.projection.manager import Projections
from eventlog.redaction import PATTERNS
from eventlog.store.base import Filter, Progress, Reader
from projections.imports import ImportSource, Quarantined
from projections.imports import projections as _imports
from projections.sessions import projections as _sessions

IMPORTS, QUARANTINE = _imports
SESSIONS = _sessions[0]
LIVE_S = 10
"""A file that was written to so lately may be in the middle of a line."""
EDGE = 4096
SQLITE = b"SQLite format 3\0"
LOOKED_AT = 20
"""Records of a file that a format does not know, by which it is told whose it may be."""
_UNEXPECTED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError, ArithmeticError)
"""What a reader raises where a record is not as such records are."""


class LineReader(Protocol):
    """Makes appends of the records of one file of JSON lines, in their order."""

    @property
    def state(self) -> Any:
        """What the next import has to know to go on after the last record, as JSON; None: nothing."""

    def take(self, value: dict[str, Any], piece: Piece) -> Native | None:
        """What a record asks for; None: it says nothing. KeyError, TypeError, ValueError: it is not as it should be.

        Before it masks anything it shows the masker the line, or what of it is going to be masked: `Masker.look`.
        """


class LineFormat(Protocol):
    """A program whose past is in files of JSON lines."""

    @property
    def name(self) -> str:
        """What the command calls it."""

    @property
    def looks_for(self) -> str:
        """The names that its sources have in a folder, for people."""

    def sources(self, path: Path) -> Iterable[Path]:
        """Its files below a folder, in any order."""

    def knows(self, path: Path, value: dict[str, Any]) -> bool:
        """Whether a record looks as if this program wrote it, also one of a type that nobody knows."""

    def begin(self, path: Path, state: Any, intake: Intake) -> LineReader:
        """A reader that goes on from a state; None: from the start."""


class TableFormat(Protocol):
    """A program whose past is read as a whole each time: a database, or a tree of small files."""

    @property
    def name(self) -> str:
        """What the command calls it."""

    @property
    def looks_for(self) -> str:
        """The names that its sources have in a folder, for people."""

    def sources(self, path: Path) -> Iterable[Path]:
        """Its databases below a folder, in any order."""

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every record to the intake; yields how much is done, 0 to 1, wherever a batch may end."""


class Source(msgspec.Struct, frozen=True):
    """What an import made of a source. ``offset``: how far it is read; ``problem``: why not, or why not all of it."""

    path: str
    status: Status
    size_bytes: int
    offset: int
    counts: Counts
    problem: str | None = None


class Report(msgspec.Struct, frozen=True):
    """What an import did. ``partial``: something was quarantined, or a source could not be read."""

    importer: str
    dry_run: bool
    sources: list[Source]
    total: Counts
    size_bytes: int
    elapsed_us: int

    @property
    def partial(self) -> bool:
        """Whether something is not in the log that should be."""
        return any(one.problem is not None for one in self.sources)


class Options(NamedTuple):
    """How to import. ``strict``: the first record that cannot be read ends it with an error."""

    dry_run: bool = False
    strict: bool = False
    max_line_bytes: int = MAX_LINE_BYTES


DEFAULTS = Options()


def options(*, dry_run: bool = False, strict: bool = False, max_line_bytes: int | None = None) -> Options:
    """Options, where None is the default. Raises InvalidInput."""
    limit = MAX_LINE_BYTES if max_line_bytes is None else max_line_bytes
    if limit < 1:
        raise InvalidInput("a line has at least one byte")
    return Options(dry_run, strict, limit)


class SourceFailed(InvalidInput):
    """A source that cannot be read, or not any more."""


def import_paths(
    log: EventLog,
    projections: Projections,
    form: LineFormat | TableFormat,
    paths: Sequence[Path],
    *,
    data_dir: Path | None = None,
    options: Options = DEFAULTS,
    progress: Progress | None = None,
) -> Report:
    """Import every source of a format at, or below, these paths.

    Raises NotFound for a path that is not there, or where there is no source; InvalidInput with ``strict`` (what was
    read before is in the log), and what the log raises.
    """
    started = time.monotonic()
    projections.require(IMPORTS.name)
    files = in_order(form, paths)
    if not files:
        places = ", ".join(_text(Path(path)) for path in paths)
        raise NotFound(
            f"there is nothing that {form.name} would have written at or below {places}: in a folder it looks for "
            f"{form.looks_for}; a file that is called otherwise has to be named itself"
        )
    batch = Batch(log, projections, None if data_dir is None else Blobs(data_dir), dry_run=options.dry_run)
    with log.reader() as reader:
        rows = _known(reader, batch, [source_id(form.name, path) for path in files])
    if hasattr(form, "begin"):
        # Nothing was written there yet, so there is nothing to tell.
        files = [path for path in files if _size(path) or source_id(form.name, path) in rows]
    imports = [
        Importing(log, projections, form, path, batch, options, rows.get(source_id(form.name, path))) for path in files
    ]
    sizes = [_size(path) for path in files]
    told = _Told(progress, sizes, form.name)
    with no_collection():
        if not options.dry_run and apart.pays(
            log, form, [(size, one.row) for size, one in zip(sizes, imports, strict=True)]
        ):
            _run_apart(projections, batch, imports, paths, data_dir, told)
        for number, importing in enumerate(imports):
            if not importing.over:
                importing.run(lambda offset, number=number: told(number, offset))  # type: ignore[misc]
                if batch.full or importing.failure is not None:
                    batch.commit()
                told(number)
        batch.commit()
    report, total = [one.report() for one in imports], Counts()
    for source in report:
        total.add(source.counts)
    elapsed = int((time.monotonic() - started) * 1_000_000)
    return Report(form.name, options.dry_run, report, total, sum(sizes), elapsed)


def retry(
    log: EventLog,
    projections: Projections,
    *,
    sources: Sequence[str] = (),
    data_dir: Path | None = None,
    options: Options = DEFAULTS,
    progress: Progress | None = None,
) -> Report:
    """Read again what was quarantined: of some sources by id, or of all. What can be read now is imported.

    Raises NotFound for an id that no source has, and what the log raises.
    """
    started = time.monotonic()
    projections.require(IMPORTS.name)
    projections.require(QUARANTINE.name)
    with log.reader() as reader:
        rows = reader.select(IMPORTS.table, order=("source_id",))
        bad = {row.stream for row in reader.select(QUARANTINE.table) if row.outcome is None}
    if unknown := set(sources) - {row.source_id for row in rows}:
        raise NotFound(f"no source has the id {sorted(unknown)[0]!r}; `eventlog import list` has those there are")
    ids = [row.source_id for row in rows if stream_of(row.source_id) in bad]
    batch = Batch(log, projections, None if data_dir is None else Blobs(data_dir), dry_run=options.dry_run)
    with log.reader() as reader:
        known = _known(reader, batch, [one for one in ids if not sources or one in sources])
    wanted = list(known.values())
    imports = []
    for number, row in enumerate(wanted):
        importing = Importing(log, projections, format_of(row.kind), Path(row.path), batch, options, row)
        importing.again()
        imports.append(importing)
        batch.commit()
        if progress is not None:
            progress(number + 1, len(wanted), "reading quarantined records again")
    total = Counts()
    report = [one.report() for one in imports]
    for source in report:
        total.add(source.counts)
    elapsed = int((time.monotonic() - started) * 1_000_000)
    return Report("retry", options.dry_run, report, total, sum(one.size_bytes for one in report), elapsed)


def _known(reader: Reader, batch: Batch, ids: Sequence[str]) -> dict[str, ImportSource]:
    """What is known of sources, by id. Their versions are asked first: what is said of one from then on is noticed."""
    for stream, version in reader.stream_versions([stream_of(one) for one in ids]).items():
        batch.expect(stream, version)
    found = reader.load(IMPORTS.table, [(one,) for one in ids])
    return {one: found[one,] for one in ids if (one,) in found}


def in_order(form: LineFormat | TableFormat, paths: Sequence[Path]) -> list[Path]:
    """The sources, the oldest first: a session is there before those that were forked from it. A format whose files
    belong together has an ``order`` of its own.
    """
    found: dict[Path, float] = {}
    for path in paths:
        path = Path(path).expanduser().absolute()
        if not path.exists():
            raise NotFound(f"there is nothing at {path}", path=str(path))
        root, places = path.resolve(), {}
        for one in [path] if path.is_file() else form.sources(path):
            try:
                if one.parent not in places:
                    places[one.parent] = one.parent.resolve()
                real = one.resolve() if one.is_symlink() else places[one.parent] / one.name
                about = real.stat()
            except (OSError, RuntimeError):
                continue  # a link to nothing, or to itself
            # A link in somebody's tree leads to no file that was not asked for; pipes and devices have no end.
            if (one == path or real.is_relative_to(root)) and (S_ISREG(about.st_mode) or real.is_dir()):
                found[real] = about.st_mtime
    order: Callable[[Path], Any] = getattr(form, "order", found.__getitem__)
    return sorted(found, key=lambda path: (order(path), str(path)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


class _Told:
    """Tells how much of all sources is done, when so much of one is, or all of it."""

    def __init__(self, progress: Progress | None, sizes: Sequence[int], name: str) -> None:
        self._progress = progress
        self._before = [0, *accumulate(sizes)]
        self._label = f"importing {name}"

    def __call__(self, source: int, offset: int | None = None) -> None:
        if self._progress is not None:
            done = self._before[source + 1] if offset is None else self._before[source] + offset
            self._progress(done, self._before[-1], self._label)


def _run_apart(
    projections: Projections,
    batch: Batch,
    imports: Sequence[Importing],
    paths: Sequence[Path],
    data_dir: Path | None,
    told: _Told,
) -> None:
    """Append what a child reads. What it did not come to, whatever the reason, is left to be run here."""
    one = imports[0]
    task = apart.Task(
        kind=one.form.name,
        paths=[os.fsencode(path) for path in paths],
        files=[(os.fsencode(each.path), each.row) for each in imports],
        data_dir=None if data_dir is None else os.fsencode(data_dir),
        strict=one.options.strict,
        max_line_bytes=one.options.max_line_bytes,
        patterns=PATTERNS,
    )
    received = apart.Received(one.log)
    with apart.reading(task) as messages:
        for sent in messages:
            for part in sent.parts:
                into = imports[part.source]
                batch.add(received.part(part, into.stream, into.total))
            batch.commit()
            for end in sent.ended:
                imports[end.source].end(end)
                told(end.source)
            if sent.parts and not imports[sent.parts[-1].source].over:
                told(sent.parts[-1].source, sent.parts[-1].cursor.offset)
            if sent.last:
                return
    projections.require(IMPORTS.name)
    left = [each for each in imports if not each.over]
    with one.log.reader() as reader:
        rows = _known(reader, batch, [each.id for each in left])
    for each in left:
        each.go_on(rows.get(each.id))


def source_id(kind: str, path: Path) -> str:
    """What tells a source from others: the first 16 hex digits of a hash of its kind and its path."""
    return sha256(f"{kind}\0{path}".encode("utf-8", "replace")).hexdigest()[:16]


def has_sources(log: EventLog, projections: Projections, kind: str, paths: Sequence[Path]) -> bool:
    """Whether anything at these paths can be read as a format has it: looks at each source until one can.

    Raises NotFound for a path that is not there.
    """
    form = format_of(kind)
    batch = Batch(log, projections, None, dry_run=True)
    return any(_begins(form, path, batch) for path in in_order(form, paths))


def _begins(form: Any, path: Path, batch: Batch) -> bool:
    try:
        if hasattr(form, "begin"):
            with path.open("rb") as file:
                return _recognise(form, path, file, os.fstat(file.fileno()).st_size, MAX_LINE_BYTES)
        else:
            next(form.scan(path, Intake(batch, source_id(form.name, path), scanning=True)), None)
    except (OSError, SourceFailed):
        return False
    return True


def _recognise(form: LineFormat, path: Path, file: BinaryIO, size: int, max_line_bytes: int) -> bool:
    """Look for one record of the form: what is kept raw of a file without any would make sessions of nothing, and what
    is quarantined of a file that is no such file would stay so. False: it may be in the middle of its first record.
    """
    if os.pread(file.fileno(), len(SQLITE), 0) == SQLITE:
        raise SourceFailed(f"it is a SQLite database, and {form.name} writes JSON lines")
    strange: list[dict[str, Any]] = []
    bad, begun = 0, False
    for piece in pieces(file, 0, size, max_line_bytes):
        if piece.value is None:
            if piece.problem:
                bad, begun = bad + 1, not piece.ended and _begins_one(file, piece)
                if piece.length > max_line_bytes and _begins_one(file, piece):
                    return True  # which is too long to be looked at
            continue
        if form.knows(path, piece.value):
            return True
        if len(strange) < LOOKED_AT:
            strange.append(piece.value)
    if not strange:
        if bad == 1 and begun and os.fstat(file.fileno()).st_mtime > time.time() - LIVE_S:
            return False
        if bad:
            raise SourceFailed(
                f"nothing in it can be read as {form.name} would have written it: no line is a JSON object"
            )
        return True
    raise SourceFailed(f"nothing in it is as {form.name} would have written it{looks_like(form.name, path, strange)}")


def _begins_one(file: BinaryIO, piece: Piece) -> bool:
    """Whether a piece that is no object begins as one."""
    return os.pread(file.fileno(), EDGE, piece.offset).lstrip(BLANK)[:1] == b"{"


def looks_like(name: str, path: Path, values: Sequence[dict[str, Any]]) -> str:
    """Whose records these are, as the end of a sentence; empty where no other importer knows them."""
    others: list[Any] = [format_of(other) for other in FORMATS if other != name]
    fits = [one.name for one in others if hasattr(one, "knows") and any(one.knows(path, value) for value in values)]
    return f"; it looks like a source of `eventlog import {fits[0]}`" if fits else ""


class Importing:
    """One source on its way in. ``projections`` are None in a process without a log: nothing of the source is in
    quarantine then.
    """

    def __init__(
        self,
        log: EventLog,
        projections: Projections | None,
        form: LineFormat | TableFormat,
        path: Path,
        batch: Batch,
        options: Options,
        row: ImportSource | None,
    ) -> None:
        self.log, self.projections, self.form, self.path = log, projections, form, path
        self.options = options
        self.lines = cast(LineFormat, form) if hasattr(form, "begin") else None
        self.id = source_id(form.name, path)
        self.row = row
        self.total = Counts()
        self._batch = batch
        self._intake: Intake | None = None
        self.unreadable = 0
        """How many parts of it could not be read."""
        self._resolved = 0
        self.status: Status = "imported"
        self.failure: str | None = None
        self.offset = 0
        self.size = 0
        self.waiting = False
        self.over = False
        self._heads: dict[str, str | None] | None = None
        """Of sessions the message after which they go on, while what was quarantined is read again."""

    @property
    def stream(self) -> str:
        """What is said of it stands there."""
        return stream_of(self.id)

    @property
    def intake(self) -> Intake:
        """Its way into the log, from when it is read on: there may be many sources that wait, or are read elsewhere."""
        if self._intake is None:
            self._intake = Intake(self._batch, self.id, scanning=self.lines is None, total=self.total)
        return self._intake

    def run(self, tell: Callable[[int], None] | None) -> None:
        """Read it; a source that cannot be read is told of, not raised."""
        try:
            if self.row is None:
                self.intake.opening.append(SourceOpened(kind=self.form.name, path=_text(self.path)))
            if self.lines is not None:
                self.status = self._lines(self.lines, tell)
            else:
                self.status = self._tables(self.form, tell)
        except (OSError, SourceFailed) as error:
            self.status, self.failure = "failed", _said(error)
            self._batch.ask_again()
        self._let_go()
        self.over = True

    def end(self, told: apart.Ended) -> None:
        """It was read elsewhere, and is in the log."""
        self.status, self.failure, self.size, self.offset = told.status, told.failure, told.size, told.offset
        self.waiting, self.unreadable, self.over = told.waiting, told.unreadable, True

    def go_on(self, row: ImportSource | None) -> None:
        """What was read of it elsewhere is in the log, as this row says; nothing else of it."""
        self.row = row

    def again(self) -> None:
        """Read what was quarantined of it again."""
        try:
            if self.lines is None:
                self.status = self._tables(self.form, None, anew=True)
            else:
                self.status = self._lines_again(self.lines)
        except (OSError, SourceFailed) as error:
            self.status, self.failure = "failed", _said(error)
        self._let_go()

    def _let_go(self) -> None:
        """It was read: of its way into the log two numbers stay, its parts are the batch's."""
        if self._intake is not None:
            self.unreadable, self._resolved, self._intake = self._intake.unreadable, self._intake.resolved, None

    def report(self) -> Source:
        """What became of it, once its last batch is in the log."""
        counts, problem, status = self.total, self.failure, self.status
        unreadable = self.unreadable
        if self.row is not None and (self.lines is not None or status == "unchanged"):
            # What was quarantined before stays so; only of what is read as a whole each time it is met again.
            unreadable += self.row.quarantined_records - self._resolved
        if problem is None and unreadable:
            problem = f"{counted(unreadable, 'record')} could not be read"
        if status == "imported" and self.waiting:
            status = "waiting"
        return Source(_text(self.path), status, self.size, self.offset, counts, problem)

    # files of lines

    def _lines(self, form: LineFormat, tell: Callable[[int], None] | None) -> Status:
        with self.path.open("rb") as file:
            stat = os.fstat(file.fileno())
            self.size, mtime = stat.st_size, stat.st_mtime_ns // 1000
            row = self.row
            if row is not None and (row.size_bytes, row.mtime_us) == (self.size, mtime):
                self.offset = row.offset
                return "unchanged"
            state = tail = None
            if row is not None:
                if self.size < row.offset or fingerprint(file, row.offset) != row.fingerprint:
                    self._restart("it is shorter than it was" if self.size < row.offset else "it begins otherwise")
                else:
                    self.offset, state = row.offset, row.state if row.offset else None
                    tail = self._tail() if row.quarantined_records else None
                    if self._is_as_it_was(file, tail):
                        return "unchanged"
            if not self.offset and not _recognise(form, self.path, file, self.size, self.options.max_line_bytes):
                self._batch.ask_again()
                return "waiting"
            reader = form.begin(self.path, state, self.intake)
            self._read(file, reader, mtime, tail, tell)
        return "imported"

    def _restart(self, reason: str) -> None:
        for row in self._open_quarantine():
            self.intake.resolve(row.offset, "gone", row.length_bytes)
        self.intake.opening.append(SourceRestarted(reason=reason))

    def _open_quarantine(self) -> list[Quarantined]:
        if self.projections is None:
            return []
        self.projections.ensure(QUARANTINE.name)
        with self.log.reader() as reader:
            rows = reader.select(QUARANTINE.table, [Filter("stream", "=", self.stream)])
        return [row for row in rows if row.outcome is None]

    def _is_as_it_was(self, file: BinaryIO, tail: Quarantined | None) -> bool:
        """Whether nothing was added since; an end that was cut off then may be the same still."""
        assert self.row is not None  # noqa: S101
        if self.size != self.row.size_bytes:
            return False
        if self.offset == self.size:
            return True
        file.seek(self.offset)
        return tail is not None and sha256(file.read(self.size - self.offset)).hexdigest() == tail.sha256

    def _tail(self) -> Quarantined | None:
        """What was quarantined where the cursor is: the end of a file that was cut off."""
        return next((row for row in self._open_quarantine() if row.offset == self.offset), None)

    def _read(
        self,
        file: BinaryIO,
        reader: LineReader,
        mtime: int,
        tail: Quarantined | None,
        tell: Callable[[int], None] | None,
    ) -> None:
        """Read from the cursor on; ``tail`` is what was cut off there the last time."""
        for piece in pieces(file, self.offset, self.size, self.options.max_line_bytes):
            if not piece.ended and piece.value is None and piece.problem:
                self._cut_off(piece, tail, mtime)
                tail = None
                break
            if tail is not None:
                self.intake.resolve(tail.offset, "understood", tail.length_bytes)
                tail = None
            self._take(reader, piece)
            self.offset = piece.offset + piece.length
            if self.intake.full:
                # Half-way the size and the time of the whole would say that there is nothing left to read.
                self.intake.commit(Cursor(self.offset, self.offset, 0, fingerprint(file, self.offset), reader.state))
                if tell is not None:
                    tell(self.offset)
        if tail is not None:
            self.intake.resolve(tail.offset, "gone", tail.length_bytes)
        at = self.offset
        size, time_us = (at, 0) if self.waiting else (self.size, mtime)
        row = self.row
        as_it_was = row is not None and (at, size, time_us) == (row.offset, row.size_bytes, row.mtime_us)
        if self.intake.changed or self.intake.opening or not as_it_was:
            self.intake.close_part(Cursor(at, size, time_us, fingerprint(file, at), reader.state))

    def _cut_off(self, piece: Piece, tail: Quarantined | None, mtime: int) -> None:
        if mtime > (time.time() - LIVE_S) * 1_000_000:
            self.waiting = True
        elif tail is None or tail.sha256 != piece.sha256:
            if tail is not None:
                self.intake.resolve(tail.offset, "changed", tail.length_bytes)
            reason = f"the file ends in the middle of a record ({piece.problem})"
            self._quarantine(piece._replace(problem=reason))

    def _take(self, reader: LineReader, piece: Piece) -> None:
        if piece.value is None:
            if piece.problem:
                self._quarantine(piece)
            else:
                self.intake.blank(piece.length)
            return
        try:
            native: Native | None = None
            try:
                native = reader.take(piece.value, piece)
                if native is None:
                    self.intake.blank(piece.length)
                    return
                if native.length + native.blank != piece.length:
                    native = native._replace(blank=piece.blank, length=piece.length - piece.blank)
                self.intake.add(native if self._heads is None else self._late(native, self._heads))
            except (*_UNEXPECTED, InvalidEvent, InvalidName):
                kept = self._kept(piece)
                # What else it asked for stays: the session that it begins, say, is there for those that follow.
                sound = [] if native is None else self.intake.sound(native.wanted)
                self.intake.add(kept._replace(wanted=[*sound, *kept.wanted]))
        except (InvalidInput, RecursionError) as error:
            what = (
                "nested too deeply"
                if isinstance(error, RecursionError)
                else f"cannot be stored: {type(error).__name__}"
            )
            self._quarantine(piece._replace(problem=what))

    def _late(self, native: Native, heads: dict[str, str | None]) -> Native:
        """A record that is read after those that follow it: conversations go on where they did before."""
        wanted = []
        for one in native.wanted:
            said = [event for event in one.events if isinstance(event, MessageAdded) and not event.sidechain]
            if said and isinstance(one.stream, str) and (head := self._head(one.stream, heads)) is not None:
                if said[0].parent_id == head:
                    heads[one.stream] = said[-1].message_id
                else:
                    back = SessionRewound(message_id=head, reason="what came before it was read later")
                    one = one._replace(events=[*one.events, back])
            wanted.append(one)
        return native._replace(wanted=wanted)

    def _head(self, stream: str, heads: dict[str, str | None]) -> str | None:
        if stream not in heads and self.projections is not None:
            self.projections.ensure(SESSIONS.name)
            key = (stream.partition("-")[2],)
            with self.log.reader() as reader:
                row = reader.load(SESSIONS.table, [key]).get(key) if stream.startswith("session-") else None
            heads[stream] = None if row is None else row.head_message_id
        return heads[stream]

    def _kept(self, piece: Piece) -> Native:
        """A record that is not as it should be, as it is."""
        self.intake.masker.look(piece.line)
        event = self.intake.kept("unexpected", piece.value)
        own = key_of(self.form.name, self.path.name, piece.offset, sha256(repr(piece.value).encode()).hexdigest())
        size = piece.length - piece.blank
        return Native(piece.offset, size, [Wanted(self.stream, [event], own)], (), "raw", piece.blank)

    def _quarantine(self, piece: Piece) -> None:
        if self.options.strict:
            raise InvalidInput(f"{_text(self.path)}, byte {piece.offset}: {piece.problem}")
        length = piece.length - piece.blank
        self.intake.quarantine(piece.offset, length, piece.problem, piece.sha256, blank=piece.blank)

    def _lines_again(self, form: LineFormat) -> Status:
        row = self.row
        assert row is not None  # noqa: S101
        with self.path.open("rb") as file:
            self.size, self.offset = os.fstat(file.fileno()).st_size, row.offset
            if self.size < row.offset or fingerprint(file, row.offset) != row.fingerprint:
                raise SourceFailed(f"it is not the file it was; `eventlog import {form.name}` reads it from its start")
            reader = form.begin(self.path, row.state, self.intake)
            self._heads = {}
            still = 0
            for bad in self._open_quarantine():
                # Blanks before it are not in its length, so the line is read on.
                line = pieces(file, bad.offset, row.offset, self.options.max_line_bytes)
                end = bad.offset + bad.length_bytes
                found = list(takewhile(lambda piece, end=end: piece.offset < end, line))  # type: ignore[misc]
                if bad.offset >= row.offset or any(piece.problem for piece in found):
                    still += 1
                    continue
                if len(found) == 1:
                    found = [found[0]._replace(length=bad.length_bytes, blank=0)]
                for piece in found:
                    self._take(reader, piece)
                self.intake.resolve(bad.offset, "understood", bad.length_bytes)
            cursor = Cursor(row.offset, row.size_bytes, row.mtime_us, row.fingerprint, row.state)
            if self.intake.changed:
                self.intake.close_part(cursor)
        if still:
            self.failure = f"{counted(still, 'record')} cannot be read still"
        return "imported"

    # databases

    def _tables(self, form: Any, tell: Callable[[int], None] | None, *, anew: bool = False) -> Status:
        self.size, mtime = _tree_size(self.path)
        if not anew and self.row is not None and (self.row.size_bytes, self.row.mtime_us) == (self.size, mtime):
            self.offset = self.row.offset
            return "unchanged"
        bad = [] if self.row is None else self._open_quarantine()
        self.intake.known_bad = {(row.offset, row.sha256): row.length_bytes for row in bad}
        cursor = Cursor(self.size, 0, 0)
        for share in form.scan(self.path, self.intake):
            self._check_strict()
            if self.intake.full:
                self.intake.commit(cursor)
            if tell is not None:
                tell(int(share * self.size))
        self._check_strict()
        self.offset = self.size
        self.intake.resolve_rest()
        self.intake.close_part(Cursor(self.size, self.size, mtime))
        return "imported"

    def _check_strict(self) -> None:
        if self.options.strict and self.intake.unreadable:
            raise InvalidInput(f"{_text(self.path)}: {self.intake.reason}")


def _tree_size(path: Path) -> tuple[int, int]:
    """Size and time of a database with its write-ahead log, or of all files below a folder."""
    files = [path, Path(f"{path}-wal")] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    stats = [one.stat() for one in files if one.exists()]
    # An empty write-ahead log appears where a database is only read.
    stats = [one for one in stats if one.st_size]
    return sum(one.st_size for one in stats), max((one.st_mtime_ns // 1000 for one in stats), default=0)


def fingerprint(file: BinaryIO, offset: int) -> str:
    """A hash of a file's first 4 KiB and of the last 4 KiB before an offset, and of none of what follows it."""
    # Not by the file's own position, where somebody may be reading on.
    digest = sha256(os.pread(file.fileno(), min(EDGE, offset), 0))
    digest.update(os.pread(file.fileno(), min(EDGE, offset), max(0, offset - EDGE)))
    return digest.hexdigest()[:32]


def _text(path: Path) -> str:
    """A path as text that can be stored, whatever bytes are in it."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _said(error: BaseException) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
