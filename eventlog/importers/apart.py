"""A long import in two processes: a child reads files, masks and encodes what they say; this one appends it.

What comes over the pipe are the parts of batches, in the order in which one process would append them. The child is no
judge: whatever goes wrong in it, what came from it is in the log with its cursors, and one process goes on from there.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any, NamedTuple, cast

import msgspec

from eventlog.children import can_start, cores, start
from eventlog.codec import Encoded, to_json
from eventlog.committer import Expect, Prepared
from eventlog.events import EVENTS, Event, UnknownEvent
from eventlog.events.agents import LlmCallCompleted
from eventlog.events.imports import QuarantineResolved, RecordQuarantined, SourceOpened, SourceRestarted
from eventlog.importers.calls import Call
from eventlog.importers.formats import FORMATS, format_of
from eventlog.importers.intake import Cursor, Fate, Native, Part, Status, Wanted
from eventlog.log import EventLog
from eventlog.redaction import Pattern
from projections.imports import ImportSource

MIN_BYTES = 8 << 20
"""An import of fewer bytes takes less time than starting a process is worth."""
LENGTH = struct.Struct("<Q")
"""Before each message its length."""


class Task(msgspec.Struct, frozen=True):
    """What a child is told: the format, what was asked for, its files with what is known of each, and how to read.

    Paths are as the system has them: not every one is text.
    """

    kind: str
    paths: list[bytes]
    files: list[tuple[bytes, ImportSource | None]]
    data_dir: bytes | None
    strict: bool
    max_line_bytes: int
    patterns: list[Pattern]
    """Of secrets: the program may have added some."""


class SentAppend(NamedTuple):
    """An append as it is prepared: its events are tags, schemas and JSON."""

    stream: str
    key: str
    at: int
    events: list[tuple[str, int, bytes]]


class SentCall(NamedTuple):
    """An account of a call of a language model; the event is JSON."""

    stream: str
    key: str
    at: int | None
    event: bytes


class SentNative(NamedTuple):
    """See `Native`."""

    length: int
    blank: int
    fate: Fate
    message_id: str | None
    appends: list[SentAppend]
    calls: list[SentCall]


class SentPart(msgspec.Struct, array_like=True, frozen=True):
    """A part of a batch; ``source`` is a place in the task's files."""

    source: int
    natives: list[SentNative]
    quarantined: list[tuple[RecordQuarantined, int]]
    resolved: list[QuarantineResolved]
    opening: list[SourceOpened | SourceRestarted]
    blank_bytes: int
    secrets: int
    cursor: Cursor


class Ended(msgspec.Struct, array_like=True, frozen=True):
    """What became of a source, all of whose parts are in this message or in one before."""

    source: int
    status: Status
    failure: str | None
    size: int
    offset: int
    waiting: bool
    unreadable: int


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """A batch, and the sources that ended with it; ``last``: that was all."""

    parts: list[SentPart]
    ended: list[Ended]
    last: bool


_decode = msgspec.msgpack.Decoder(Sent).decode


def pays(log: EventLog, form: Any, files: Sequence[tuple[int, ImportSource | None]]) -> bool:
    """Whether files of these sizes, and of which so much is known, are to be read by a process of its own.

    What was quarantined of a file is asked of the log, which a child has not.
    """
    to_read = sum(max(0, size - (row.offset if row else 0)) for size, row in files)
    return (
        to_read >= MIN_BYTES
        and getattr(form, "apart", False)
        and form.name in FORMATS
        and type(form) is type(format_of(form.name))
        and not any(row is not None and row.quarantined_records for _, row in files)
        and log.codec.is_plain(EVENTS)
        and can_start()
        and cores() > 1
    )


@contextmanager
def reading(task: Task) -> Iterator[Iterator[Sent]]:
    """What a child sends: the last message is marked as such, or the child failed. It is gone when the block ends."""
    child = None
    try:
        with suppress(OSError):
            child = start("eventlog.importers.apart_child")
        yield iter(()) if child is None else _sent(child, task)
    finally:
        if child is not None:
            child.kill()
            with child:
                pass


def _sent(child: subprocess.Popen[bytes], task: Task) -> Iterator[Sent]:
    assert child.stdin is not None and child.stdout is not None  # noqa: S101
    told = memoryview(to_json(task) + b"\n")
    try:
        # Its stdin stays open: when it closes, the parent is gone.
        while told:
            told = told[child.stdin.write(told) :]
    except OSError:
        return
    pipe = child.stdout = BufferedReader(cast(Any, child.stdout), 1 << 16)
    while len(head := pipe.read(LENGTH.size)) == LENGTH.size:
        try:
            sent = _decode(pipe.read(LENGTH.unpack(head)[0]))
        except (msgspec.DecodeError, MemoryError, OverflowError):
            return  # it died while it wrote, or something else in it has written there
        yield sent


_UNREAD = UnknownEvent(tag="unread.event", data={})


def _unread(data: bytes | str) -> Event | UnknownEvent:
    """In the place of an event that nobody looks at."""
    return _UNREAD


class Received:
    """Makes parts of a batch of what was sent."""

    def __init__(self, log: EventLog) -> None:
        # The child decoded each event, to see that its class takes it. Here it is done for tables that want it.
        wanted = log.committer.projector.tags if log.committer.projector is not None else ()
        self._kinds = {
            tag: (tag.encode(), decode if tag in wanted else _unread) for tag, (_, decode) in log.codec.current.items()
        }
        self._call_of = log.codec.current["llm.call_completed"][1]

    def part(self, part: SentPart, stream: str, total: Any) -> Part:
        """A part of the source of this stream, whose counts are added to ``total``."""
        made = Part(stream, False, total)
        for native in part.natives:
            appends = [self._prepared(one) for one in native.appends]
            wanted = [Wanted(one.stream, (), one.key, one.at) for one in native.appends]
            calls = [self._call(one) for one in native.calls]
            made.natives.append(Native(0, native.length, wanted, calls, native.fate, native.blank, native.message_id))
            made.prepared.append(appends)
        made.quarantined, made.resolved, made.opening = part.quarantined, part.resolved, [*part.opening]
        made.blank_bytes, made.secrets, made.cursor = part.blank_bytes, part.secrets, part.cursor
        return made

    def _prepared(self, one: SentAppend) -> Prepared:
        events = [self._encoded(*event) for event in one.events]
        return one.stream, events, Expect.ANY, one.key, one.at, None, None, None, None

    def _encoded(self, tag: str, schema: int, data: bytes) -> Encoded:
        tag_bytes, decode = self._kinds[tag]
        return tag, tag_bytes, schema, data, decode(data)

    def _call(self, one: SentCall) -> Call:
        return Call(one.stream, cast(LlmCallCompleted, self._call_of(one.event)), one.key, one.at)
