"""One transaction for every append that waits: expectations, positions, versions, hashes, and group commit.

There is no background thread: the first waiter leads, commits what is queued, and hands the lead to the next.
"""

from __future__ import annotations

import enum
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from struct import error as StructError
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from eventlog.clock import now_us
from eventlog.codec import Codec, Encoded
from eventlog.errors import (
    Conflict,
    EventLogError,
    InvalidInput,
    KeyReused,
    LogClosed,
    OutcomeUnknown,
    WrongExpectedVersion,
)
from eventlog.events import Event, UnknownEvent
from eventlog.store.base import (
    MAX_POSITION,
    Durability,
    Head,
    Record,
    RecordRow,
    Refused,
    Selection,
    Store,
    Writer,
    chain_hash,
    hash_of,
    pack_fixed,
)

T = TypeVar("T")
MAX_BATCH = 1024
MAX_KNOWN_STREAMS = 100_000
PART = "\x1f"
"""Between the key of an append and the number of a record in it; no key that is given can hold it."""


class Expect(enum.Enum):
    """What a stream must be like for an append to go through; a number asks for that exact version."""

    ANY = "any"
    NO_STREAM = "no stream"
    EXISTS = "exists"


class Appended(NamedTuple):
    """An append's first and last position, and the stream's version after it; ``duplicate``: they were there before."""

    first: int
    last: int
    version: int
    duplicate: bool = False


_NEW = (Expect.NO_STREAM, 0)
"""What is expected of a stream that is to be new."""
Prepared = tuple[
    str, Sequence[Encoded], Expect | int, str | None, int, str | None, str | None, str | None, bytes | None
]
"""An append, encoded and checked: stream, events, expect, key, occurred_at, actor, correlation, causation, metadata."""


Mark = tuple[int, int, bytes, int]
"""A place in a transaction: records not flushed, position, hash and recorded_at."""


class Projector(Protocol):
    """What keeps tables true in the transaction of the append."""

    tags: frozenset[str]
    """The types of events that it wants."""

    def apply(self, writer: Writer, items: list[tuple[Record, Any]], old: int, new: int, careful: bool) -> None:
        """Apply the records of (old, new]; ``items`` are those wanted.

        Raises Refused when the store takes a row amiss; done again, ``careful``, this stops that projection alone.
        """

    def forget_streams(self, streams: Collection[str]) -> None:
        """Others appended to these streams: what is remembered of them is not true any more."""

    def forget(self) -> None:
        """Others wrote, or a transaction was undone: nothing remembered is true any more."""


class Transaction:
    """A write transaction: append and read in it, all or nothing."""

    def __init__(self, committer: Committer, writer: Writer, head: Head, careful: bool = False) -> None:
        self.writer = writer
        self.careful = careful
        self._position, self._hash, self._recorded = head
        self._start = head.position
        self._projector = committer.projector
        self._codec = committer.codec
        self._versions = committer.versions
        self._rows: list[RecordRow] = []
        self._events: list[Event | UnknownEvent] = []
        self._keys: dict[str, RecordRow] = {}
        self._pid = os.getpid()
        self._failure: BaseException | None = None
        self.over = False

    @property
    def inherited(self) -> bool:
        """Whether this process was forked inside the transaction, which is its parent's to finish."""
        return os.getpid() != self._pid

    def check_ours(self) -> None:
        """Raises LogClosed in a process that was forked inside the transaction."""
        if self.inherited:
            raise LogClosed("this process was forked inside the transaction, which is its parent's to finish")

    @property
    def appended(self) -> bool:
        """Whether the head has moved."""
        return self._position != self._start

    @property
    def failure(self) -> BaseException | None:
        """Why nothing of this can be written, whoever caught the error."""
        return self._failure or self.writer.failure

    @property
    def refused(self) -> bool:
        """Whether the store did not take what was sent to it without care, whoever caught the error."""
        failure = self.failure
        return not self.careful and isinstance(failure, Exception) and self.writer.refuses(failure)

    @property
    def position(self) -> int:
        """The last position as this transaction leaves it."""
        return self._position

    @property
    def head(self) -> Head:
        """The head as this transaction leaves it."""
        return Head(self._position, self._hash, self._recorded)

    def append(self, prepared: Prepared) -> Appended:
        """Add records at the head. Raises WrongExpectedVersion or KeyReused, and then adds nothing."""
        key = prepared[3]
        if key is not None and (duplicate := self._duplicate(prepared, key)):
            return duplicate
        return self._append(prepared)

    def _append(self, prepared: Prepared) -> Appended:
        stream, events, expect, key, occurred, actor, correlation, causation, metadata = prepared
        version = self._versions.get(stream)
        if version is None:
            version = self._version(stream, expect)
        if expect is not Expect.ANY and not _holds(expect, version):
            raise WrongExpectedVersion(stream, expect.value if isinstance(expect, Expect) else expect, version)
        position, previous = self._position, self._hash
        recorded = max(self._recorded, now_us())
        stream_bytes = stream.encode()
        stream_size = len(stream_bytes)
        meta_text = None if metadata is None else metadata.decode()
        plain = key is None and actor is None and correlation is None and causation is None and metadata is None
        first, own_key = position + 1, key
        add_row, add_event = self._rows.append, self._events.append
        for tag, tag_bytes, schema, data, event in events:
            position += 1
            version += 1
            if plain:
                # `chain_hash` for the common case, in place: this loop is the hot path of every batch.
                fixed = pack_fixed(
                    position, version, schema, occurred, recorded, stream_size, len(tag_bytes), -1, -1, -1, -1,
                    len(data), -1,
                )  # fmt: skip
                previous = sha256(b"".join((previous, fixed, stream_bytes, tag_bytes, data))).digest()
            else:
                if key is not None and position > first:
                    own_key = f"{key}{PART}{position - first}"
                previous = chain_hash(
                    previous, position, stream_bytes, version, tag_bytes, schema, occurred, recorded,
                    (own_key, actor, correlation, causation), data, metadata,
                )  # fmt: skip
            row = (
                position, stream, version, tag, schema, occurred, recorded, own_key, actor, correlation, causation,
                data.decode(), meta_text, previous,
            )  # fmt: skip
            add_row(row)
            add_event(event)
            if own_key is not None:
                self._keys[own_key] = row
        self._versions[stream] = version
        self._position, self._hash, self._recorded = position, previous, recorded
        return Appended(first, position, version)

    def append_all(self, appends: Sequence[Prepared]) -> list[Appended]:
        """Several appends, with one look at the store for the versions of all streams."""
        self._look_up({prepared[0] for prepared in appends if not self._begins(prepared[2])})
        append = self.append
        return [append(prepared) for prepared in appends]

    def append_new(self, appends: Sequence[Prepared]) -> None:
        """Appends whose keys nobody has, which the caller knows; the key stands with the first record of each alone."""
        self._look_up({prepared[0] for prepared in appends})
        for stream, events, expect, key, *rest in appends:
            self._append((stream, events[:1], expect, key, *rest))  # type: ignore[arg-type]
            if len(events) > 1:
                self._append((stream, events[1:], Expect.ANY, None, *rest))  # type: ignore[arg-type]

    def append_rows(self, rows: Sequence[RecordRow], events: Sequence[Event | UnknownEvent]) -> int:
        """Add records as they stand in another log; each must continue the chain. Returns how many."""
        with suppress(UnicodeError):  # told of the row that has it, below
            self._look_up({row[1] for row in rows})
        for row, event in zip(rows, events, strict=True):
            if not self._continues(row):
                raise Conflict(
                    f"record {row[0]} does not continue this log (head {self._position}); nothing was written",
                    position=row[0],
                )
            self._position, self._hash, self._recorded = row[0], row[13], row[6]
            self._versions[row[1]] = row[2]
            self._rows.append(row)
            self._events.append(event)
        self._keys.update((row[7], row) for row in rows if row[7] is not None)
        return len(rows)

    def _continues(self, row: RecordRow) -> bool:
        try:
            genuine = row[13] == hash_of(self._hash, row)
        except (StructError, UnicodeError):
            return False
        ordered = row[0] == self._position + 1 and row[6] >= self._recorded
        return genuine and ordered and row[2] == self.stream_version(row[1]) + 1

    def flush(self, *, last: bool = False) -> None:
        """Write what was appended, and bring the inline projections along; ``last``: the commit follows.

        Where it has failed it fails again: what was to be written is lost, though whoever asked may have caught that.
        """
        rows, events = self._rows, self._events
        if (failure := self.failure) is not None:
            raise failure
        if not rows:
            return
        self.check_ours()
        if rows[-1][0] > MAX_POSITION:
            raise InvalidInput(f"a log holds at most {MAX_POSITION} events")
        self._rows, self._events = [], []
        try:
            self._write(rows, events, last)
        except BaseException as error:
            self._failure = error
            raise

    def _write(self, rows: list[RecordRow], events: list[Event | UnknownEvent], last: bool) -> None:
        self.writer.insert_records(rows, last=last)
        projector = self._projector
        if projector is not None:
            tags, codec = projector.tags, self._codec
            items: list[tuple[Record, Any]] = [
                (Record(*row, codec), event)
                for row, event in zip(rows, events, strict=True)
                if row[3] in tags and type(event) is not UnknownEvent
            ]
            projector.apply(self.writer, items, rows[0][0] - 1, rows[-1][0], self.careful)

    def stream_version(self, stream: str) -> int:
        """The version of a stream, with what this transaction has appended."""
        version = self._versions.get(stream)
        return self._version(stream) if version is None else version

    def read_stream(self, stream: str, after: int = 0, types: tuple[str, ...] | None = None) -> list[Record]:
        """The records of a stream above a version (of some types), with what this transaction has appended."""
        self.flush()
        rows = self.writer.records(after, None, Selection(streams=(stream,), types=types), in_stream=True)
        return [Record(*row, self._codec) for row in rows]

    def _begins(self, expect: Expect | int) -> bool:
        """Whether a stream is taken to be new without a look: that it is not, the store tells when it has to insert."""
        return not self.careful and expect in _NEW

    def _look_up(self, streams: set[str]) -> None:
        """Learn the versions of streams, all at once."""
        self._make_room()
        versions = self._versions
        unknown = [stream for stream in streams if stream not in versions]  # a difference would walk over all known
        if len(unknown) > 1:
            versions.update(self.writer.stream_versions(unknown))

    def _make_room(self) -> None:
        """Forget the versions of streams when there are many, but not what this transaction is still to write."""
        if len(self._versions) > MAX_KNOWN_STREAMS:
            self._versions.clear()
            for row in self._rows:
                self._versions[row[1]] = row[2]

    def _version(self, stream: str, expect: Expect | int = Expect.ANY) -> int:
        self._make_room()
        version = self._versions.get(stream)
        if version is None:
            version = 0 if self._begins(expect) else self.writer.stream_version(stream)
        self._versions[stream] = version
        return version

    def _row_with_key(self, key: str) -> RecordRow | None:
        return self._keys.get(key) or self.writer.record_with_key(key)

    def _duplicate(self, prepared: Prepared, key: str) -> Appended | None:
        stream, events = prepared[:2]
        first = self._row_with_key(key)
        if first is None:
            return None
        stored: RecordRow | None = first
        last = first
        for number, (tag, _, _, data, _) in enumerate(events):
            stored = first if number == 0 else self._row_with_key(f"{key}{PART}{number}")
            same = stored is not None and (stored[1], stored[3], stored[11].encode()) == (stream, tag, data)
            if stored is None or not same:
                raise KeyReused(key, first[0])
            last = stored
        if self._row_with_key(f"{key}{PART}{len(events)}") is not None:
            raise KeyReused(key, first[0])
        return Appended(first[0], last[0], last[2], duplicate=True)

    # what a part that fails has to give back

    def mark(self) -> Mark:
        """Where the transaction is now."""
        return len(self._rows), self._position, self._hash, self._recorded

    def undo(self, mark: Mark) -> None:
        """Forget the rows appended since a mark, which must not be flushed yet."""
        count, self._position, self._hash, self._recorded = mark
        self._rows = self._rows[:count]
        self._events = self._events[:count]
        self._versions.clear()
        self._keys = {row[7]: row for row in self._rows if row[7] is not None}
        for row in self._rows:
            self._versions[row[1]] = row[2]

    def begin_nested(self) -> Mark:
        """Begin a part that can fail alone, whatever it does; returns the mark to undo it to."""
        self.flush()
        self.writer.savepoint()
        return self.mark()

    def end_nested(self) -> None:
        """Keep the part."""
        self.flush()
        self.writer.release()

    def undo_nested(self, mark: Mark) -> None:
        """Undo the part, with all that failed in it but what is to be done again with care."""
        kept = self.failure if self.refused else None
        self.writer.rollback_to_savepoint()
        self._failure = kept
        if self._projector is not None:
            self._projector.forget()
        self.undo(mark)


def _holds(expect: Expect | int, version: int) -> bool:
    if expect is Expect.NO_STREAM:
        return version == 0
    if expect is Expect.EXISTS:
        return version > 0
    return version == expect


class Request(Generic[T]):
    """Work to be done in a write transaction, and what came of it."""

    __slots__ = ("durability", "error", "finished", "gate", "pure", "result", "streams", "taken", "wake", "work")

    def __init__(
        self, work: Callable[[Transaction], T], durability: Durability, pure: bool, streams: Sequence[str] = ()
    ) -> None:
        self.work = work
        self.streams = streams
        self.durability = durability
        self.pure = pure
        self.finished = False
        self.taken = False
        self.result: T | None = None
        self.error: BaseException | None = None
        self.gate: threading.Lock | None = None
        self.wake: Callable[[Request[T]], None] | None = None

    def notify(self) -> None:
        """Tell whoever waits: it is finished, or it is its turn to lead."""
        if self.wake is not None:
            self.wake(self)
        elif self.gate is not None and self.gate.locked():
            self.gate.release()

    def value(self) -> T:
        """The result, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]


class Committer:
    """Runs requests in write transactions, many in one."""

    def __init__(self, store: Store, codec: Codec) -> None:
        self.store = store
        self.codec = codec
        self.projector: Projector | None = None
        self.versions: dict[str, int] = {}
        self._head: Head | None = None
        self.reset()

    def reset(self) -> None:
        """Begin anew, with no one waiting (in a forked child)."""
        self._mutex = threading.Lock()
        self._queue: deque[Request[Any]] = deque()
        self._leader: Request[Any] | None = None
        self._batch: list[Request[Any]] = []
        self._planned = Head(0, b"")
        self.forget_now()

    def forget(self) -> None:
        """What is remembered of the log may not be true any more: the next transaction begins by forgetting it."""
        self._stale = True

    def forget_now(self) -> None:
        """As `forget`, at once: for whoever is in a transaction."""
        self._stale = False
        self._head = None
        self.versions.clear()
        if self.projector is not None:
            self.projector.forget()

    def _forget_streams(self, streams: Collection[str]) -> None:
        self._head = None
        for stream in streams:
            self.versions.pop(stream, None)
        if self.projector is not None:
            self.projector.forget_streams(streams)

    # transactions

    def begin(self, durability: Durability, *, careful: bool = True, streams: Iterable[str] = ()) -> Transaction:
        """Open a transaction that this thread holds until `commit` or `rollback`; ``streams`` will be appended to.

        One that is not ``careful`` is faster, and has to be done again when it raises Refused.
        """
        writer = self.store.begin(durability, [stream for stream in streams if stream not in self.versions])
        try:
            if writer.changed or self._stale:
                self.forget_now()
            elif writer.touched:
                self._forget_streams(writer.touched)
            if len(self.versions) > MAX_KNOWN_STREAMS:
                self.versions.clear()
            self.versions.update(writer.versions)
            head = self._head or writer.head()
        except BaseException as error:
            self.store.rollback(writer, error)
            raise self.store.translate(error) from error
        return Transaction(self, writer, head, careful)

    def commit(self, transaction: Transaction) -> None:
        """Flush and commit. Raises the store's errors; then nothing was written."""
        try:
            transaction.check_ours()
            transaction.flush(last=True)
        except BaseException as error:
            if (told := self._undone(transaction, error)) is not error:
                raise told from error
            raise
        # Remembered before the lock is given back: the next transaction may begin at once.
        head = self._head = transaction.head
        try:
            self.store.commit(transaction.writer, head if transaction.appended else None)
        except BaseException as error:
            self.forget()
            if isinstance(error, Refused) and transaction.careful:
                raise self.store.translate(error.__cause__ or error) from error
            raise
        transaction.over = True

    def rollback(self, transaction: Transaction, error: BaseException | None = None) -> None:
        """Undo the transaction."""
        transaction.over = True
        self.forget()
        if not transaction.inherited:
            self.store.rollback(transaction.writer, error)

    def _undone(self, transaction: Transaction, error: BaseException) -> BaseException:
        """Undo the transaction after an error; gives what it is told as."""
        self.rollback(transaction, error)
        translated = self.store.translate(error)
        if not isinstance(error, Exception):
            return error
        late = translated is not error and not transaction.careful and transaction.writer.refuses(error)
        return Refused(str(error)) if late or transaction.refused else translated

    # group commit

    def submit(
        self,
        work: Callable[[Transaction], T],
        durability: Durability,
        *,
        pure: bool = False,
        streams: Sequence[str] = (),
    ) -> T:
        """Do the work in a transaction, alone or with others; returns when it is as durable as asked.

        ``pure`` work only appends: it needs no table or stream brought up to date before it. ``streams`` are those it
        is known to append to. Interrupted (Ctrl-C), the work is either wholly done or not at all, and everybody else
        goes on.
        """
        request = Request(work, durability, pure, streams)
        try:
            if not self.enqueue(request):
                self._wait(request)
            if not request.finished:
                self.lead(request)
        except BaseException:
            self.recover(request)
            raise
        return request.value()

    def enqueue(self, request: Request[Any]) -> bool:
        """Queue a request; True when nobody leads, and the caller has to call `lead` for it."""
        with self._mutex:
            self._queue.append(request)
            if self._leader is None:
                self._leader = request
                return True
            if request.wake is None:
                request.gate = threading.Lock()
                request.gate.acquire()
        return False

    def _wait(self, request: Request[Any]) -> None:
        assert request.gate is not None  # noqa: S101
        while not request.finished and self._leader is not request:
            request.gate.acquire()

    def lead(self, own: Request[Any]) -> None:
        """Commit what is queued (``own`` is first in the queue), wake the others, hand the lead on."""
        with self._mutex:
            batch = self._batch = list(islice(self._queue, MAX_BATCH))
            for request in batch:
                request.taken = True
        try:
            self._run(batch)
        except Exception as error:
            for request in batch:
                if request.error is None:
                    request.error = error if request is own else _copy(error)
        self._hand_on(batch)

    def _hand_on(self, done: list[Request[Any]]) -> None:
        with self._mutex:
            for request in done:
                request.finished = True
            while self._queue and self._queue[0].finished:
                self._queue.popleft()
            self._batch = []
            successor = self._leader = self._queue[0] if self._queue else None
        # Those who are done first: what they append next is then in the queue when the next one leads.
        for request in done:
            request.notify()
        if successor is not None:
            successor.notify()

    def recover(self, own: Request[Any] | None = None, error: BaseException | None = None) -> None:
        """After an interrupt at whatever point: give back what this thread holds, so that all others go on."""
        while True:
            try:
                self.forget()
                self.store.recover(error)
                if own is not None:
                    self._leave(own)
                return
            except Exception:
                raise
            except BaseException:  # noqa: S112
                continue  # interrupted again: the first interrupt is on its way already

    def _leave(self, own: Request[Any]) -> None:
        if self._leader is own:
            # The others' events are either all stored, or still to be committed by the next; unless nobody can tell.
            stored = self._is_stored()
            batch = [] if stored is False else self._batch
            if stored is None:
                for request in batch:
                    request.error = OutcomeUnknown(
                        "the commit was interrupted and the log cannot be asked: whether the events were stored is not "
                        "known. Retry with a key"
                    )
            with self._mutex:
                for request in self._batch:
                    request.taken = False
                own.finished = True
                if own in self._queue and self._queue[0] is not own:
                    self._queue.remove(own)
            self._hand_on([own, *batch])
            return
        with self._mutex:
            if own in self._queue and not own.taken:
                self._queue.remove(own)
            leader = self._leader
        if leader is not None and not leader.taken:
            leader.notify()

    def _is_stored(self) -> bool | None:
        """Whether what was to be committed is there; None when the store cannot be asked."""
        position, digest, _ = self._planned
        if not position:
            return False
        try:
            with self.store.reader() as reader:
                rows = reader.records(position - 1, position, Selection())
        except EventLogError:
            return None
        return bool(rows) and rows[0][13] == digest

    def _run(self, batch: list[Request[Any]]) -> None:
        try:
            self._attempt(batch, careful=False)
        except Refused:
            for request in batch:
                request.error = None
            self._attempt(batch, careful=True)

    def _attempt(self, batch: list[Request[Any]], *, careful: bool) -> None:
        durability: Durability = "process"
        for request in batch:
            if request.durability == "full":
                durability = "full"
        self._planned = Head(0, b"")
        streams = {stream for request in batch for stream in request.streams}
        transaction = self.begin(durability, careful=careful, streams=streams)
        try:
            for request in batch:
                # Alone in its transaction, work that fails takes nothing of others' with it.
                if request.pure or len(batch) == 1:
                    self._plainly(request, transaction)
                else:
                    self._nested(request, transaction)
            self._planned = transaction.head
            if transaction.refused:
                raise Refused(str(transaction.failure))
        except BaseException as error:
            if (told := self._undone(transaction, error)) is not error:
                raise told from error
            raise
        if transaction.appended:
            self.commit(transaction)
        else:
            self.rollback(transaction)

    def _plainly(self, request: Request[Any], transaction: Transaction) -> None:
        mark = transaction.mark()
        try:
            request.result = request.work(transaction)
        except Exception as error:
            if transaction.refused or isinstance(error, Refused) or self.store.translate(error) is not error:
                raise
            request.error = error
            transaction.undo(mark)

    def _nested(self, request: Request[Any], transaction: Transaction) -> None:
        mark = transaction.begin_nested()
        try:
            request.result = request.work(transaction)
            transaction.end_nested()
        except Exception as error:
            if transaction.refused or isinstance(error, Refused) or self.store.translate(error) is not error:
                raise
            request.error = error
            transaction.undo_nested(mark)


def _copy(error: BaseException) -> BaseException:
    if isinstance(error, EventLogError):
        clone = error.__class__.__new__(error.__class__)
        EventLogError.__init__(clone, error.message, **error.facts)
        clone.__cause__ = error.__cause__
        return clone
    return error


__all__ = ["Appended", "Committer", "Expect", "Prepared", "Projector", "Request", "Transaction"]
