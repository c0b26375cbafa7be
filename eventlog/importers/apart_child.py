"""A child that reads files for an import: ``python -m eventlog.importers.apart_child``, see `apart`.

It reads one `Task` as a line of JSON, and writes messages of `Sent`, each after its length. It leaves at once when its
stdin closes: then nobody waits for it any more. Whatever is raised ends in an exit status other than 0.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path

import msgspec

from eventlog.blobs import Blobs
from eventlog.children import leave_with_the_parent
from eventlog.codec import to_json
from eventlog.importers.apart import (
    LENGTH,
    Ended,
    Sent,
    SentAppend,
    SentCall,
    SentNative,
    SentPart,
    Task,
)
from eventlog.importers.calls import Call, time_of
from eventlog.importers.formats import format_of
from eventlog.importers.intake import Batch, Part
from eventlog.importers.run import Importing, Options, in_order
from eventlog.log import EventLog
from eventlog.projection.fold import no_collection
from eventlog.redaction import take_patterns
from eventlog.store.memory import MemoryStore

_encode = msgspec.msgpack.Encoder().encode


class _Sending(Batch):
    """Sends what would be appended. ``ended``: the sources that did, since it sent something last."""

    def __init__(self, log: EventLog, blobs: Blobs | None, out: queue.Queue[bytes | None]) -> None:
        super().__init__(log, None, blobs, dry_run=False)
        self.ended: list[Ended] = []
        self.places: dict[str, int] = {}
        self._out = out

    def commit(self) -> None:
        self.send(last=False)

    def send(self, *, last: bool) -> None:
        """Hand over what there is."""
        parts = [self._part(part) for part in self.taken()]
        ended, self.ended = self.ended, []
        self._out.put(_encode(Sent(parts, ended, last)))

    def _part(self, part: Part) -> SentPart:
        natives = []
        for native, prepared in zip(part.natives, self.each_prepared(part), strict=True):
            appends = [
                SentAppend(str(one[0]), str(one[3]), one[4], [(event[0], event[2], event[3]) for event in one[1]])
                for one in prepared
            ]
            calls = [self._call(call) for call in native.calls]
            natives.append(SentNative(native.length, native.blank, native.fate, native.message_id, appends, calls))
        return SentPart(
            self.places[part.stream],
            natives,
            part.quarantined,
            part.resolved,
            part.opening,  # type: ignore[arg-type]
            part.blank_bytes,
            part.secrets,
            part.cursor,
        )

    def _call(self, call: Call) -> SentCall:
        return SentCall(call.stream, call.key, time_of(call.occurred_at), to_json(call.event))


def main() -> None:
    """Do what stdin says."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=leave_with_the_parent, daemon=True).start()
    messages: queue.Queue[bytes | None] = queue.Queue(1)
    writer = threading.Thread(target=_write, args=(messages, out.fileno()))
    writer.start()
    try:
        with no_collection():
            _read(task, messages)
    finally:
        messages.put(None)
        writer.join()


def _read(task: Task, messages: queue.Queue[bytes | None]) -> None:
    take_patterns(task.patterns)
    form = format_of(task.kind)
    # A format may learn something of all its files while it looks for them.
    in_order(form, [_path(path) for path in task.paths])
    log = EventLog(MemoryStore())
    batch = _Sending(log, None if task.data_dir is None else Blobs(_path(task.data_dir)), messages)
    options = Options(strict=task.strict, max_line_bytes=task.max_line_bytes)
    for place, (path, row) in enumerate(task.files):
        one = Importing(log, None, form, _path(path), batch, options, row)
        batch.places[one.stream] = place
        one.run(None)
        batch.ended.append(Ended(place, one.status, one.failure, one.size, one.offset, one.waiting, one.unreadable))
        if batch.full or one.failure is not None:
            batch.commit()
    batch.send(last=True)


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def _write(messages: queue.Queue[bytes | None], descriptor: int) -> None:
    """Write while the next message is made: one call of the system for each, in which other threads run."""
    while (message := messages.get()) is not None:
        for content in (LENGTH.pack(len(message)), message):
            left = memoryview(content)
            try:
                while left:
                    left = left[os.write(descriptor, left) :]
            except OSError:
                os._exit(1)


if __name__ == "__main__":
    main()
