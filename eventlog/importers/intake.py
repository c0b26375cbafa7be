"""What an importer hands over, and how it gets into the log: batches with their cursor in one transaction.

Each record of a source becomes appends under keys made of its native id, so what is there already is left out, however
often and from wherever it comes. Of a call of a language model the fullest account counts: a later one amends it.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from eventlog.blobs import HEAD_BYTES, Blobs
from eventlog.codec import to_json
from eventlog.committer import Prepared
from eventlog.errors import EventTooLarge, InvalidInput
from eventlog.events import Event, event_type
from eventlog.events.agents import (
    AnyPart,
    BlobPart,
    RecordKept,
    TextPart,
)
from eventlog.events.imports import QuarantineResolved, RecordQuarantined, SourceAdvanced
from eventlog.events.sessions import SessionLinked
from eventlog.importers.calls import Call, Calls, fullest, time_of
from eventlog.importers.masking import Masker
from eventlog.importers.numbers import Numbers, RunOf
from eventlog.log import EventLog, Tx
from eventlog.projection.manager import Projections

BATCH_BYTES = 6 << 20
BATCH_APPENDS = 4000
INLINE_BYTES = 64 << 10
"""Content above this is kept as a blob beside the log."""
Fate = Literal["understood", "raw"]
Status = Literal["imported", "unchanged", "waiting", "failed"]
"""Of a source, when an import is over."""


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def key_of(*native: object) -> str:
    """The idempotency key of a record: a hash of what tells it from all others, importer's name first."""
    digest = sha256("\x1f".join(map(str, native)).encode("utf-8", "replace")).digest()
    return f"i:{b2a_base64(digest[:18], newline=False).translate(_URL_SAFE).decode()}"


class Wanted(NamedTuple):
    """An append that a record asks for. ``fresh``: only where its stream has no events yet."""

    stream: str | RunOf
    events: Sequence[Event]
    key: str
    occurred_at: int | None = None
    fresh: bool = False


class Native(NamedTuple):
    """A record of a source: where it is, how many bytes it has (``blank`` ones not counted), and what it asks for."""

    offset: int
    length: int
    wanted: Sequence[Wanted] = ()
    calls: Sequence[Call] = ()
    fate: Fate = "understood"
    blank: int = 0
    message_id: str | None = None
    """Where it is a message: that is the last append it asks for."""


class Cursor(NamedTuple):
    """How far a source is in the log when a batch is: see `SourceAdvanced`."""

    offset: int
    size_bytes: int = 0
    mtime_us: int = 0
    fingerprint: str = ""
    state: Any = None


class Counts(msgspec.Struct):
    """What became of a source's records and bytes; ``events`` were appended, ``secrets`` masked."""

    records: int = 0
    understood_records: int = 0
    understood_bytes: int = 0
    raw_records: int = 0
    raw_bytes: int = 0
    duplicate_records: int = 0
    duplicate_bytes: int = 0
    quarantined_records: int = 0
    quarantined_bytes: int = 0
    blank_bytes: int = 0
    events: int = 0
    secrets: int = 0

    def add(self, other: Counts) -> None:
        """Add the counts of another."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Part(msgspec.Struct):
    """What one source adds to a batch."""

    stream: str
    scanning: bool
    total: Counts
    """Of the whole source; what this part adds is added when it is in the log."""
    natives: list[Native] = []
    prepared: list[list[Prepared]] = []
    """What each of the natives wants, as far as that was known when it was added."""
    quarantined: list[tuple[RecordQuarantined, int]] = []
    resolved: list[QuarantineResolved] = []
    opening: list[Event] = []
    blank_bytes: int = 0
    secrets: int = 0
    cursor: Cursor = Cursor(0)

    def counted(self, known: set[str]) -> Counts:
        """What became of its records, where these keys were in the log before."""
        counts = Counts(blank_bytes=self.blank_bytes, secrets=self.secrets)
        for native in self.natives:
            counts.records += 1
            counts.blank_bytes += native.blank
            keys = [one.key for one in native.wanted] or [one.key for one in native.calls]
            if keys and known.issuperset(keys):
                if self.scanning:
                    counts.records -= 1
                    continue
                counts.duplicate_records += 1
                counts.duplicate_bytes += native.length
            elif native.fate == "raw":
                counts.raw_records += 1
                counts.raw_bytes += native.length
            else:
                counts.understood_records += 1
                counts.understood_bytes += native.length
        for event, blank in self.quarantined:
            counts.records += 1
            counts.blank_bytes += blank
            counts.quarantined_records += 1
            counts.quarantined_bytes += event.length_bytes
        return counts

    def told(self, counts: Counts) -> list[Event]:
        """What is said of the source itself; nothing where there is nothing new.

        What is over comes first: what is found now may be bad at the same place.
        """
        over: list[Event] = [*self.resolved]
        found = [event for event, _ in self.quarantined]
        if self.scanning and not counts.events and not over and not found:
            return []
        cursor = self.cursor
        advanced = SourceAdvanced(
            offset=cursor.offset,
            size_bytes=cursor.size_bytes,
            mtime_us=cursor.mtime_us,
            fingerprint=cursor.fingerprint,
            state=UNSET if cursor.state is None else Raw(to_json(cursor.state)),
            **{name: getattr(counts, name) for name in counts.__struct_fields__},
        )
        return [*over, *self.opening, *found, advanced]


class _Forks(NamedTuple):
    """What is known of sessions that may be forks, by their streams."""

    copied: dict[str, tuple[str, str]]
    """The key and the id of the last message that is another's, where there is none of its own yet."""
    own: set[str]
    """Those that have a message of their own."""

    def copy(self) -> _Forks:
        return _Forks(self.copied.copy(), self.own.copy())


class Batch:
    """What goes into the log in one transaction: parts of several sources, each with its cursor."""

    def __init__(self, log: EventLog, projections: Projections | None, blobs: Blobs | None, *, dry_run: bool) -> None:
        self.log = log
        self.blobs = blobs
        self.dry_run = dry_run
        self._calls = Calls(log, projections)
        self._parts: list[Part] = []
        self._bytes = self._appends = 0
        self._said: set[str] = set()
        self._forks = _Forks({}, set())
        self._versions: dict[str, int | None] = {}
        self._last: tuple[dict[str, list[Prepared]], int, int] = ({}, 0, 0)
        """What was told of calls last, and where the log ended before and after."""

    def expect(self, stream: str, version: int) -> None:
        """The version of a source's stream when it was looked at: where another import goes on with it meanwhile, that
        one tells how far it is, and this one adds its records alone.
        """
        self._versions[stream] = version

    def first(self, key: str) -> bool:
        """Whether no append of this import asked for a key before; asked once, it has."""
        if key in self._said:
            return False
        if len(self._said) > 50_000:
            self._said.clear()
        self._said.add(key)
        return True

    def ask_again(self) -> None:
        """What was asked for may not come into the log: whoever wants it has to ask for it, too."""
        self._said.clear()

    def grow(self, native: Native) -> None:
        """Count what a record adds."""
        self._bytes += native.length
        self._appends += len(native.wanted) + len(native.calls)

    @property
    def full(self) -> bool:
        """Whether what was added is worth a transaction."""
        return self._bytes >= BATCH_BYTES or self._appends >= BATCH_APPENDS

    def add(self, part: Part) -> None:
        """A part that is complete, with its cursor."""
        self._parts.append(part)

    def taken(self) -> list[Part]:
        """What was added, which is not in the batch any more."""
        parts, self._parts = self._parts, []
        self._bytes = self._appends = 0
        return parts

    def commit(self) -> None:
        """Append what was added. Raises what the log raises; nothing is written then."""
        parts = self.taken()
        natives = [native for part in parts for native in part.natives]
        calls = fullest(call for native in natives for call in native.calls)
        prepared = [[one for made in self.each_prepared(part) for one in made] for part in parts]
        keys = list(dict.fromkeys([*(one[3] for ones in prepared for one in ones if one[3]), *calls]))
        self._calls.look(calls)
        if self.dry_run:
            with self.log.reader() as reader:
                known = reader.known_keys(keys)
            counted = self._foreseen(parts, prepared, calls, known)
        else:
            # The work may be done twice: what is remembered of it is that of the last time.
            forks, versions = self._forks, self._versions
            counted = self.log.decide(lambda tx: self._write(tx, parts, prepared, calls, keys, forks, versions))
            self._calls.remember(calls, *self._last)
        for part, counts in zip(parts, counted, strict=True):
            part.total.add(counts)

    def _foreseen(
        self, parts: list[Part], prepared: list[list[Prepared]], calls: dict[str, Call], known: set[str]
    ) -> list[Counts]:
        seen, counted = set(known), []
        for part, wanted in zip(parts, prepared, strict=True):
            counts = part.counted(seen)
            counts.events = sum(len(one[1]) for one in _new(wanted, seen))
            mine = {call.key for native in part.natives for call in native.calls} & calls.keys()
            counts.events += len(mine - seen)
            seen |= mine
            counts.events += len(part.told(counts))
            counted.append(counts)
        return counted

    def each_prepared(self, part: Part) -> list[list[Prepared]]:
        """What each record of a part wants: until it is closed, a reader may ask for more of one it gave before."""
        return [
            made + [self.prepared(one) for one in native.wanted[len(made) :]]
            if len(native.wanted) > len(made)
            else made
            for native, made in zip(part.natives, part.prepared, strict=True)
        ]

    def prepared(self, wanted: Wanted) -> Prepared:
        """An append, checked and encoded; what is too large for an event is in a blob."""
        at = time_of(wanted.occurred_at)
        # The stream of a run is not known before the transaction.
        stream = wanted.stream if isinstance(wanted.stream, str) else "run-0"
        try:
            return self.log.prepare(stream, wanted.events, key=wanted.key, occurred_at=at)
        except EventTooLarge:
            whole = to_json([{"type": event_type(type(event)), "event": event} for event in wanted.events])
            blob = self.blob(whole, of="json", mime_type="application/json")
            return self.log.prepare(stream, RecordKept(kind="too large", blob=blob), key=wanted.key, occurred_at=at)

    def blob(self, content: bytes, *, of: str, mime_type: str | None = None) -> BlobPart:
        """Content that is kept beside the log. Raises InvalidInput where there is no place for it."""
        if self.blobs is None:
            raise InvalidInput("content of this size is kept beside the log, which has no data directory (--data-dir)")
        digest = sha256(content).hexdigest() if self.dry_run else self.blobs.put(content)
        text = mime_type is None or mime_type.startswith("text/") or mime_type == "application/json"
        head = content[:HEAD_BYTES].decode("utf-8", "ignore") if text else ""
        return BlobPart(sha256=digest, size_bytes=len(content), mime_type=mime_type, head=head, of=of)

    # in the transaction

    def _write(
        self,
        tx: Tx,
        parts: list[Part],
        prepared: list[list[Prepared]],
        calls: dict[str, Call],
        keys: list[str],
        forks: _Forks,
        versions: dict[str, int | None],
    ) -> list[Counts]:
        known = tx.reader.known_keys(keys)
        self._forks = forks.copy()
        begun: dict[str, str] = {}
        overtaken: set[str] = set()
        seen = set(known)
        # Calls are told at the end of the batch, with the part that has the account which counts.
        of_calls = self._calls.told(tx, calls, known)
        told, before = {**of_calls}, tx.transaction.head.position
        numbers = Numbers(self.log, tx)
        new: list[Prepared] = []
        counted: list[Counts] = []
        for part, wanted in zip(parts, prepared, strict=True):
            counts = part.counted(seen)
            mine = self._placed(tx, numbers, part, _new(wanted, seen))
            mine += self._forked(tx, part, known, begun)
            for native in part.natives:
                for call in native.calls:
                    mine += told.pop(call.key, ())
                    seen.add(call.key)
            counts.events = sum(len(one[1]) for one in mine)
            alone = tx.stream_version(part.stream) == versions.get(part.stream)
            if alone and (said := part.told(counts)):
                mine.append(self.log.prepare(part.stream, said))
                counts.events += len(said)
            new += mine
            counted.append(counts)
            if not alone:
                overtaken.add(part.stream)
        if new:
            tx.append_new(new)
        now = {part.stream: None if part.stream in overtaken else tx.stream_version(part.stream) for part in parts}
        self._versions = {**versions, **now}
        self._last = (of_calls, before, tx.transaction.head.position)
        return counted

    def _placed(self, tx: Tx, numbers: Numbers, part: Part, new: list[Prepared]) -> list[Prepared]:
        """New appends of a part with the streams they belong to, without those that only a fresh one should get."""
        if not any(one.fresh or not isinstance(one.stream, str) for native in part.natives for one in native.wanted):
            return new
        asked = {one.key: one for native in reversed(part.natives) for one in reversed(native.wanted)}
        placed: list[Prepared] = []
        begun: set[str] = set()
        for one in new:
            wanted = asked[one[3]]  # type: ignore[index]
            if isinstance(wanted.stream, RunOf):
                one = (numbers.stream(wanted.stream), *one[1:])
            if wanted.fresh:
                if one[0] in begun or tx.stream_version(one[0]):
                    continue
                begun.add(one[0])
            placed.append(one)
        return placed

    # forks

    def _forked(self, tx: Tx, part: Part, known: set[str], begun: dict[str, str]) -> list[Prepared]:
        """Sessions that begin with messages of another: each is a fork of it, from the last message of both.

        ``begun``: the messages that are new with this batch, by their keys, and the streams that have them.
        """
        made = []
        copied, own = self._forks
        for native in part.natives:
            if native.message_id is None or not native.wanted:
                continue
            stream, _, key, at, _ = native.wanted[-1]
            if not isinstance(stream, str):
                continue
            first = begun.setdefault(key, stream)
            if stream in own:
                continue
            if key in known or first != stream:
                copied[stream] = (key, native.message_id)
                continue
            own.add(stream)
            if (last := copied.pop(stream, None)) and (event := self._fork(tx, stream, *last, begun)):
                own_key = key_of("fork", stream)
                if not tx.reader.known_keys([own_key]):
                    made.append(self.log.prepare(stream, event, key=own_key, occurred_at=time_of(at)))
        return made

    def _fork(self, tx: Tx, stream: str, key: str, message_id: str, begun: dict[str, str]) -> SessionLinked | None:
        row = tx.reader.record_with_key(key)
        parent = begun.get(key, stream) if row is None else row[1]
        if parent == stream or not parent.startswith("session-"):
            return None
        return SessionLinked(link="fork", parent_session_id=parent[8:], parent_message_id=message_id)


def stream_of(source_id: str) -> str:
    """What is said of a source stands there."""
    return f"import-{source_id}"


class Intake:
    """One source on its way into the log: what importers speak to. ``scanning``: it is read as a whole each time."""

    def __init__(self, batch: Batch, source_id: str, *, scanning: bool = False, total: Counts | None = None) -> None:
        self.batch = batch
        self.stream = stream_of(source_id)
        self.masker = Masker()
        self.total = Counts() if total is None else total
        self.opening: list[Event] = []
        """What is to be said of the source with the first batch."""
        self.unreadable = 0
        """How many parts could not be read so far."""
        self.resolved = 0
        """How many of those that could not be read before are told of no more."""
        self.reason = ""
        """Why not, of the last of them."""
        self.known_bad: dict[tuple[int, str], int] = {}
        """What could not be read when the source was scanned last: offset and hash, and its length."""
        self.scanning = scanning
        self._part = self._new_part()
        self._secrets_before = self.masker.count

    def _new_part(self) -> Part:
        return Part(self.stream, self.scanning, self.total)

    # what importers say

    def add(self, native: Native) -> None:
        """A record, understood or kept raw. Raises what the log would raise for it (InvalidEvent, InvalidName)."""
        prepared = [self.batch.prepared(one) for one in native.wanted]
        for call in native.calls:
            self.batch.log.prepare(call.stream, call.event, key=call.key)
        self._part.natives.append(native)
        self._part.prepared.append(prepared)
        self.batch.grow(native)

    def sound(self, wanted: Iterable[Wanted]) -> list[Wanted]:
        """Those of a record's appends that the log takes."""
        sound = []
        for one in wanted:
            with suppress(InvalidInput):
                self.batch.prepared(one)
                sound.append(one)
        return sound

    def quarantine(
        self, offset: int, length: int, reason: str, digest: str = "", *, line: int | None = None, blank: int = 0
    ) -> None:
        """A part of the source that cannot be read; ``reason`` says nothing of what is in it."""
        self.unreadable += 1
        self.reason = reason
        if self.known_bad.pop((offset, digest), None) is None:
            event = RecordQuarantined(offset=offset, length_bytes=length, reason=reason, sha256=digest, line=line)
            self._part.quarantined.append((event, blank))

    def resolve(self, offset: int, outcome: str, length: int) -> None:
        """What was quarantined at an offset could be read now, or is gone."""
        self.resolved += 1
        self._part.resolved.append(QuarantineResolved(offset=offset, outcome=outcome, length_bytes=length))

    def resolve_rest(self) -> None:
        """What could not be read the last time, and was not met again."""
        for (offset, _), length in self.known_bad.items():
            self.resolve(offset, "gone", length)
        self.known_bad = {}

    @property
    def changed(self) -> bool:
        """Whether anything was said since the last part was closed."""
        part = self._part
        return bool(part.natives or part.quarantined or part.resolved)

    def blank(self, length: int) -> None:
        """Bytes that say nothing."""
        self._part.blank_bytes += length

    def first(self, key: str) -> bool:
        """Whether this import has not asked for a key before; asked once, it has. For what many records ask for."""
        return self.batch.first(key)

    @property
    def full(self) -> bool:
        """Whether what was added is worth a transaction."""
        return self.batch.full

    # content

    def text(self, text: str, *, of: str = "text") -> AnyPart:
        """A text part, masked; a blob where it is too big."""
        clean = self.masker.text(text)
        if len(clean) <= INLINE_BYTES // 4 or len(clean.encode("utf-8", "replace")) <= INLINE_BYTES:
            return TextPart(text=clean)
        return self.blob(clean.encode("utf-8", "replace"), of=of, mime_type="text/plain")

    def raw(self, value: Any) -> Raw | BlobPart:
        """A JSON value, masked; a blob where it is too big."""
        data = self.masker.json(value)
        return Raw(data) if len(data) <= INLINE_BYTES else self.blob(data, of="json", mime_type="application/json")

    def blob(self, content: bytes, *, of: str, mime_type: str | None = None) -> BlobPart:
        """Content that is kept beside the log. Raises InvalidInput where there is no place for it."""
        return self.batch.blob(content, of=of, mime_type=mime_type)

    def kept(self, kind: str, value: Any) -> RecordKept:
        """The event of a record that is kept as it is."""
        data = self.raw(value)
        if isinstance(data, BlobPart):
            return RecordKept(kind=kind[:200], blob=data)
        return RecordKept(kind=kind[:200], data=data)

    # into the log

    def close_part(self, cursor: Cursor) -> None:
        """Say how far the source is with what was added; it is in the log when the batch is."""
        part, self._part = self._part, self._new_part()
        part.cursor = cursor
        part.opening, self.opening = self.opening, []
        part.secrets, self._secrets_before = self.masker.count - self._secrets_before, self.masker.count
        self.batch.add(part)

    def commit(self, cursor: Cursor) -> None:
        """Append what was added, and how far the source is now, with what other sources added before."""
        self.close_part(cursor)
        self.batch.commit()


def _new(wanted: list[Prepared], seen: set[str]) -> list[Prepared]:
    """Those appends whose key nobody has; now they have it."""
    new = []
    for one in wanted:
        if one[3] not in seen:
            seen.add(one[3])  # type: ignore[arg-type]
            new.append(one)
    return new
