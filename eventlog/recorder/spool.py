"""Events that could not be appended wait in a file, and the next recorder imports them, each exactly once.

A spool file is JSON lines: a header that says which log it belongs to, then one event a line with its idempotency key.
Its writer holds an advisory lock on it for as long as it lives; whoever gets that lock may import it. A run whose
number could not be allotted is called ``run-@<token>`` until then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from eventlog.clock import now_us
from eventlog.codec import Codec
from eventlog.errors import Conflict, InvalidInput
from eventlog.events.runs import RunEvent, RunStarted
from eventlog.log import Append
from eventlog.store.base import Reader

FORMAT = 1
ENDING = ".jsonl"
DAMAGED = ".damaged"
PLACEHOLDER = "run-@"
_BATCH = 500


class Header(msgspec.Struct, kw_only=True):
    """First line of a spool file."""

    spool: int
    target: str
    log_id: str | None = None
    host: str = ""
    pid: int = 0
    at: int = 0


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One event that waits. ``parent``: token of the parent run, when that has no number either."""

    key: str
    stream: str
    at: int
    event: RunEvent
    parent: str | None = None


class Imported(NamedTuple):
    """What `import_spool` did: files done, events in the log now, files kept because of lines that the log cannot take.

    ``told``: a sentence for each of these.
    """

    files: int = 0
    events: int = 0
    damaged: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A spool file: how many events are in it, since when (µs), and the log that they are for, its password masked.

    ``waiting``: the next recorder of that log, or `eventlog runs recover` there, imports them. ``writing``: its
    recorder still runs. ``damaged``: it was imported but for some lines, and is kept for somebody to look at.
    """

    path: str
    state: Literal["waiting", "writing", "damaged"]
    events: int
    since: int
    target: str
    log_id: str | None
    host: str
    pid: int


class Runs(Protocol):
    """What allots run numbers."""

    def append_start(self, event: RunStarted, *, occurred_at: int | None = None, key: str | None = None) -> int:
        """Append the event as the next run; returns its number."""


class Log(Protocol):
    """What an import needs of a log."""

    @property
    def log_id(self) -> str | None:
        """What tells this log from others."""

    @property
    def url(self) -> str:
        """Where the log is."""

    def append_many(self, appends: Any, /) -> Any:
        """All or nothing."""

    def reader(self) -> AbstractContextManager[Reader]:
        """The present state."""


def folders(data_dir: Path | None) -> list[Path]:
    """Where spool files may be, best first: beside the log, the user's state directory, the temporary directory."""
    found = [Path(data_dir) / "spool"] if data_dir is not None and Path(data_dir).is_dir() else []
    return [*found, _state_folder(), _temporary_folder()]


def _state_folder() -> Path:
    if os.uname().sysname == "Linux":
        # What platformdirs says here; importing it costs a short command more than it takes itself.
        base = os.environ.get("XDG_STATE_HOME", "").strip() or os.path.expanduser("~/.local/state")
        return Path(base) / "eventlog" / "spool"
    import platformdirs

    return Path(platformdirs.user_state_dir("eventlog", appauthor=False)) / "spool"


def _temporary_folder() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp") / f"eventlog-{os.geteuid()}" / "spool"  # noqa: S108


def _is_private(folder: Path) -> bool:
    """Whether nobody else can have put something here: ours, a real directory, not writable by others."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _make_private(folder: Path) -> bool:
    try:
        made = not folder.parent.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if made:
            os.chmod(folder.parent, 0o700)
        if not _is_private(folder) or (folder.parent.name.startswith("eventlog-") and not _is_private(folder.parent)):
            return False
        os.chmod(folder, 0o700)
    except OSError:
        return False
    return True


class SpoolFile:
    """A spool file being written by this process. Raises OSError where no folder can be written."""

    def __init__(self, data_dir: Path | None, header: Header) -> None:
        self.path, self._descriptor = self._create(data_dir)
        self.events = 0
        self._torn = False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(msgspec.json.encode(header))
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _create(data_dir: Path | None) -> tuple[Path, int]:
        problem: OSError = OSError("no folder for a spool file")
        for folder in folders(data_dir):
            if not _make_private(folder):
                continue
            path = folder / f"{now_us():x}-{os.getpid()}-{os.urandom(4).hex()}{ENDING}"
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
                # A full disk lets an empty file be made: only bytes that are on the disk count.
                os.write(descriptor, b"")
                os.posix_fallocate(descriptor, 0, 4096) if hasattr(os, "posix_fallocate") else None
                os.ftruncate(descriptor, 0)
                return path, descriptor
            except OSError as error:
                problem = error
                with contextlib.suppress(OSError):
                    os.unlink(path)
        raise problem

    def add(self, line: Line) -> None:
        """Write one event; when this returns it survives power loss.

        Raises OSError, and InvalidInput for an event that no log would take: it is not written.
        """
        Codec.default.encode(line.event)
        self._write(msgspec.json.encode(line))
        self.events += 1

    def _write(self, data: bytes) -> None:
        # After a line that was cut short, the next one starts on a line of its own.
        data = (b"\n" if self._torn else b"") + data + b"\n"
        self._torn = True
        done = 0
        while done < len(data):
            done += os.write(self._descriptor, data[done:])
        os.fsync(self._descriptor)
        self._torn = False

    def close(self) -> None:
        """End writing; the file is free to be imported now."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def import_spool(log: Log, runs: Runs, data_dir: Path | None) -> Imported:
    """Bring every spool file of this log whose writer is gone into the log, and remove it.

    Safe to be called by several processes, and again after it was interrupted: keys keep every event single. Raises the
    log's errors; what is not in the log then stays in its file.
    """
    total = Imported()
    for folder in folders(data_dir):
        if not _is_private(folder):
            continue
        for name in sorted(os.listdir(folder)):
            if name.endswith(ENDING):
                done = _import_file(log, runs, folder / name)
                total = Imported(
                    total.files + done.files,
                    total.events + done.events,
                    total.damaged + done.damaged,
                    total.told + done.told,
                )
    return total


def waiting(data_dir: Path | None) -> list[Waiting]:
    """Every spool file there is, whichever log it is for, the oldest first."""
    names = (ENDING, ENDING + DAMAGED)
    places = [folder for folder in folders(data_dir) if _is_private(folder)]
    paths = [folder / name for folder in places for name in os.listdir(folder) if name.endswith(names)]
    found = [one for one in map(_waiting, paths) if one is not None]
    return sorted(found, key=lambda one: (one.since, one.path))


def _waiting(path: Path) -> Waiting | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        header = _header(file.readline())
        if header is None:
            return None
        state: Literal["waiting", "writing", "damaged"] = "damaged" if path.name.endswith(DAMAGED) else "waiting"
        try:
            # Only once there is a header: whoever makes a file locks it before, and must not find it locked.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            state = "writing"
        events = sum(bool(line.strip()) for line in file)
    return Waiting(
        path=str(path), state=state, events=events, since=header.at,
        target=header.target, log_id=header.log_id, host=header.host, pid=header.pid,
    )  # fmt: skip


def _import_file(log: Log, runs: Runs, path: Path) -> Imported:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return Imported()
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return Imported()
        if not os.path.lexists(path) or os.stat(path).st_ino != os.fstat(descriptor).st_ino:
            return Imported()
        lines = iter(file)
        header = _header(next(lines, b""))
        if header is None or not _belongs(header, log):
            return Imported()
        events, problems = _append_all(log, runs, lines)
        if problems:
            os.rename(path, path.with_name(path.name + DAMAGED))
            first = " ".join(problems[0].split())[:300]
            told = (
                f"{path}{DAMAGED} holds {len(problems)} line{'s' * (len(problems) > 1)} that cannot be imported "
                f"({first}); the others are in the log. Put it right and take {DAMAGED!r} off its name to import it "
                "again, or delete it"
            )
            return Imported(0, events, (f"{path}{DAMAGED}",), (told,))
        os.unlink(path)
        return Imported(1, events)


def _header(line: bytes) -> Header | None:
    try:
        header = msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError:
        return None
    return header if header.spool == FORMAT else None


def _belongs(header: Header, log: Log) -> bool:
    """A log that was replaced by another one at the same place has other run numbers."""
    if header.log_id is not None:
        return header.log_id == log.log_id
    return header.target == log.url


def _append_all(log: Log, runs: Runs, lines: Iterator[bytes]) -> tuple[int, list[str]]:
    """Returns how many events are in the log now, and what is wrong with each line that cannot be.

    A torn last one is no such.
    """
    numbers: dict[str, int] = {}
    waiting: list[tuple[int, Append]] = []
    events = 0
    problems: list[str] = []
    for at, raw in enumerate(lines, start=2):
        try:
            line: Line = msgspec.json.decode(raw, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if raw.strip() and raw.endswith(b"\n"):
                problems.append(f"line {at}: {error}")
            continue
        if isinstance(line.event, RunStarted):
            event = line.event
            if line.parent is not None and line.parent in numbers:
                event = msgspec.structs.replace(event, parent_run_id=numbers[line.parent])
            try:
                stored = _number(log, line.key)
                numbers[line.stream] = stored or runs.append_start(event, occurred_at=line.at, key=line.key)
                events += 1
            except (InvalidInput, Conflict) as error:
                problems.append(f"line {at}: {error}")
            continue
        stream = line.stream
        if stream.startswith(PLACEHOLDER):
            # Its start may have come in with another file: the placeholder is the start's key.
            if stream not in numbers and (stored := _number(log, stream.removeprefix(PLACEHOLDER))):
                numbers[stream] = stored
            if stream not in numbers:
                problems.append(f"line {at}: the start of its run is not in the log")
                continue
            stream = f"run-{numbers[stream]}"
        waiting.append((at, Append(stream=stream, events=line.event, key=line.key, occurred_at=line.at)))
        if len(waiting) == _BATCH:
            events += _append(log, waiting, problems)
            waiting = []
    events += _append(log, waiting, problems)
    return events, problems


def _number(log: Log, key: str) -> int | None:
    """The number of the run whose start is in the log under this key."""
    with log.reader() as reader:
        row = reader.record_with_key(key)
    if row is None or not row[1].startswith("run-") or not row[1][4:].isdecimal():
        return None
    return int(row[1][4:])


def _append(log: Log, appends: Sequence[tuple[int, Append]], problems: list[str]) -> int:
    if not appends:
        return 0
    try:
        log.append_many([one for _, one in appends])
        return len(appends)
    except (InvalidInput, Conflict) as error:
        if len(appends) == 1:
            problems.append(f"line {appends[0][0]}: {error}")
            return 0
    return sum(_append(log, [one], problems) for one in appends)
