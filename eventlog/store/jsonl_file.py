"""A file of JSON lines as it lies on disk: whole commits of records, a torn end, and the side file of who writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import error as StructError
from typing import Annotated, BinaryIO, NamedTuple

import msgspec

from eventlog.errors import Corrupt, EventLogError, LogBusy, LogReadOnly, NotALog
from eventlog.store.base import GENESIS, Head, RecordRow, hash_of
from eventlog.store.lines import MAX_LINE_BYTES, Line, encode, row_of

FIRST = b'{"position":1,'
"""How the first line begins: another program's file must not be taken for a torn one, and cut."""


class StoredLine(Line, frozen=True, kw_only=True):
    """A line of the file: a record, and how many of the same commit follow."""

    more: Annotated[int, msgspec.Meta(ge=0)] = 0


class Mark(NamedTuple):
    """A place between two commits: bytes and lines before it, and the record there."""

    size: int = 0
    lines: int = 0
    head: Head = Head(0, GENESIS)


_decode = msgspec.json.Decoder(StoredLine).decode


def lines_of(rows: Sequence[RecordRow]) -> bytes:
    """The lines of one commit."""
    last = len(rows) - 1
    texts = [encode(row) for row in rows]
    return b"".join(
        text + b"\n" if number == last else b'%b,"more":%d}\n' % (text[:-1], last - number)
        for number, text in enumerate(texts)
    )


def commits(file: BinaryIO, mark: Mark, path: Path) -> Iterator[tuple[list[RecordRow], Mark]]:
    """The records of each whole commit behind a mark, their chain verified, and the mark behind them.

    A torn end is not a commit and ends it. Raises Corrupt with the number of the line; NotALog where the first is no
    first record of a log.
    """
    size, number, head = mark
    rows: list[RecordRow] = []
    due = 0
    while text := file.readline(MAX_LINE_BYTES + 2):
        ended = text.endswith(b"\n")
        size += len(text)
        number += ended
        line_number = number + (not ended)
        if not text.strip():
            if ended and not rows:
                yield rows, Mark(size, number, head)
            continue
        try:
            if len(text) > MAX_LINE_BYTES + ended:
                raise ValueError(f"longer than {MAX_LINE_BYTES:,} bytes")
            line = _decode(text)
            row = row_of(line)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if not ended and len(text) <= MAX_LINE_BYTES and (head.position or rows or _begins(text)):
                return
            raise _damaged(path, line_number, str(error) or "nested too deeply", text) from error
        problem = _problem(row, head)
        if problem is None and rows and line.more != due - 1:
            problem = "it does not belong to the commit that the line before it began"
        if problem is not None:
            raise _damaged(path, line_number, problem, text)
        rows.append(row)
        head, due = Head(row[0], row[13], row[6]), line.more
        if not due:
            yield rows, Mark(size, number, head)
            rows = []


def _begins(text: bytes) -> bool:
    return text.startswith(FIRST) or FIRST.startswith(text)


def _problem(row: RecordRow, head: Head) -> str | None:
    if row[0] != head.position + 1:
        return f"position {row[0]} follows position {head.position}"
    try:
        if row[13] != hash_of(head.hash, row):
            return "the record, or one before it, is not what was written: its hash differs"
    except (StructError, UnicodeError) as error:
        return str(error)
    return "recorded_at goes back" if row[6] < head.recorded_at else None


def _damaged(path: Path, number: int, problem: str, text: bytes) -> EventLogError:
    if number == 1 and not text.startswith(FIRST):
        return NotALog(
            f"{path} is no log in JSON lines, its first line is not the first record of one ({problem}); nothing was "
            "changed. `eventlog log import` takes in lines written by hand, and exports of a part"
        )
    sound = (
        f"The lines before it are sound: keep them with head -n {number - 1}, or restore" if number > 1 else "Restore"
    )
    return Corrupt(f"{path}, line {number}: {problem}. {sound} a copy of the file", line=number)


def hold(path: Path, timeout_s: float) -> int:
    """Lock the side file for writing; the descriptor to close. Raises LogBusy, which says who has it, LogReadOnly."""
    side = f"{path}.lock"
    deadline = time.monotonic() + timeout_s
    try:
        descriptor = os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise _busy(path, os.pread(descriptor, 20, 0))
                time.sleep(0.02)
            with contextlib.suppress(OSError):  # on a full disk nobody can be named
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(descriptor)
            raise
    except OSError as error:
        raise LogReadOnly(
            f"cannot lock {side}: {error.strerror}; nothing was written. With mode='r' the log can be read"
        ) from error
    return descriptor


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _busy(path: Path, holder: bytes) -> LogBusy:
    pid = int(holder) if holder.strip().isdigit() else None
    who = "this process" if pid == os.getpid() else "another process" if pid is None else f"process {pid}"
    return LogBusy(
        f"{who} has {path} open for writing, and a log in JSON lines is written by one at a time: close it there, or "
        "read it beside that one (mode='r'). Several processes can write to a log in SQLite or PostgreSQL",
        pid=pid,
    )


def writer_of(path: Path) -> int | None:
    """The process that has the file open for writing; None: nobody has, or it cannot be told."""
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).strip()
        return int(holder) if holder.isdigit() else None
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything. Raises OSError; part of it may be written then."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def set_aside(path: Path, torn: bytes) -> None:
    """Keep the torn end of a file in one beside it. Raises OSError."""
    kept = path.with_name(f"{path.name}.torn-{os.urandom(4).hex()}")
    descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, torn)
        os.fsync(descriptor)
    except BaseException:
        kept.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """Bring to the disk that a file is in its folder. Raises OSError."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
