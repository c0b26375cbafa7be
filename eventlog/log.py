"""The log: append, read, follow, verify. `committer` has what happens in a transaction, `store` where records are."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from struct import error as StructError
from typing import Any, NamedTuple, TypeVar

import msgspec

from eventlog.clock import from_datetime, now_us
from eventlog.codec import Codec, find_non_finite, to_json
from eventlog.committer import MAX_KNOWN_STREAMS, Appended, Committer, Expect, Prepared, Transaction
from eventlog.errors import (
    EventLogError,
    EventTooLarge,
    InvalidEvent,
    InvalidInput,
    InvalidName,
    InvalidQuery,
    LogClosed,
    LogReadOnly,
)
from eventlog.events import Event, UnknownEvent
from eventlog.store.base import (
    GENESIS,
    Durability,
    Head,
    Progress,
    Reader,
    Record,
    RecordRow,
    Selection,
    Store,
    hash_of,
)

T = TypeVar("T")
ANY, NO_STREAM, EXISTS = Expect.ANY, Expect.NO_STREAM, Expect.EXISTS
PAGE = 2048
MAX_NAME = 512
MAX_METADATA_BYTES = 1 << 20
Events = Event | UnknownEvent | Iterable[Event | UnknownEvent]
When = int | datetime | None
_logs: weakref.WeakSet[EventLog] = weakref.WeakSet()


class Append(msgspec.Struct, frozen=True, kw_only=True):
    """One append of several that go together: see `EventLog.append_many`."""

    stream: str
    events: Events
    expect: Expect | int = Expect.ANY
    key: str | None = None
    occurred_at: When = None
    actor: str | None = None
    correlation: str | None = None
    causation: str | None = None
    metadata: Mapping[str, Any] | None = None


class ChainReport(NamedTuple):
    """What `EventLog.verify` found. ``bad_position`` is the first record that is not as it was written."""

    ok: bool
    checked: int
    head: Head
    bad_position: int | None = None
    problem: str | None = None


class Tx:
    """What `EventLog.decide` and `EventLog.transaction` hand out: append and read inside one write transaction."""

    def __init__(self, log: EventLog, transaction: Transaction) -> None:
        self._log = log
        self.transaction = transaction

    def append(self, stream: str, events: Events, **options: Any) -> Appended:
        """As `EventLog.append`; part of this transaction."""
        return self._open().append(self._log.prepare(stream, events, **options))

    def append_new(self, appends: Sequence[Prepared]) -> None:
        """Appends that `EventLog.prepare` made before, under keys that nobody has: the caller has looked."""
        self._open().append_new(appends)

    def stream_version(self, stream: str) -> int:
        """The version of a stream as this transaction sees it."""
        return self._open().stream_version(_texts((stream,))[0])

    def read_stream(
        self, stream: str, after: int = 0, *, types: Iterable[str | type[Event]] | None = None
    ) -> list[Record]:
        """The records of a stream above a version, of all types or some, as this transaction sees them."""
        where = self._log.selection(streams=(stream,), types=types)
        return self._open().read_stream(stream, after, where.types)

    @property
    def reader(self) -> Reader:
        """The tables as this transaction sees them."""
        self._open().flush()
        return self.transaction.writer

    def _open(self) -> Transaction:
        if self.transaction.over:
            raise LogClosed("this transaction is over; nothing was written")
        return self.transaction


class EventLog:
    """An append-only log of events in one store. Safe under threads, fork and several processes."""

    def __init__(self, store: Store, codec: Codec | None = None, *, writable: bool = True) -> None:
        self.store = store
        self.codec = codec or Codec()
        self.writable = writable
        self.committer = Committer(store, self.codec)
        self._local = threading.local()
        self._log_id: str | None = None
        self._checked: set[str] = set()
        _logs.add(self)

    # appending

    def append(
        self,
        stream: str,
        events: Events,
        *,
        expect: Expect | int = Expect.ANY,
        key: str | None = None,
        occurred_at: When = None,
        actor: str | None = None,
        correlation: str | None = None,
        causation: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        durability: Durability = "full",
    ) -> Appended:
        """Append events to a stream; when it returns they are stored, ``durability="full"``: even over a power loss.

        ``key`` makes a retry safe: the same key with the same content returns the first result. ``occurred_at`` is µs
        since the epoch or a datetime. Raises WrongExpectedVersion, KeyReused, InvalidEvent, EventTooLarge and the
        store's errors; in every case but OutcomeUnknown nothing was written then.
        """
        prepared = self.prepare(
            stream,
            events,
            expect=expect,
            key=key,
            occurred_at=occurred_at,
            actor=actor,
            correlation=correlation,
            causation=causation,
            metadata=metadata,
        )
        return self._submit(
            lambda transaction: transaction.append(prepared), durability, pure=True, streams=(prepared[0],)
        )

    def append_many(self, appends: Iterable[Append], *, durability: Durability = "full") -> list[Appended]:
        """Append to several streams, all or nothing. Raises as `append`."""
        prepared = self.prepare_many(appends)
        streams = [one[0] for one in prepared]
        return self._submit(
            lambda transaction: transaction.append_all(prepared), durability, pure=True, streams=streams
        )

    def decide(self, work: Callable[[Tx], T], *, durability: Durability = "full") -> T:
        """Run ``work(tx)`` inside a write transaction: what it reads is the present, what it appends goes together.

        It runs while every other writer waits, so it must be quick, and it may run twice (when a projection makes a row
        that cannot be stored, or a stream that was to be new is not). If it raises, nothing is appended; nor if the
        store failed to write something, though ``work`` caught that: it is told at the end.
        """

        def run(transaction: Transaction) -> T:
            outer = getattr(self._local, "transaction", None)
            self._local.transaction = transaction
            try:
                return work(Tx(self, transaction))
            finally:
                self._local.transaction = outer

        return self._submit(run, durability, pure=False)

    @contextmanager
    def transaction(self, *, durability: Durability = "full") -> Iterator[Tx]:
        """Several appends and reads of this thread, all or nothing. Other writers wait; nested, it can fail alone."""
        self.check_writable()
        outer: Transaction | None = getattr(self._local, "transaction", None)
        if outer is not None:
            mark = outer.begin_nested()
            try:
                yield Tx(self, outer)
            except BaseException:
                outer.undo_nested(mark)
                raise
            outer.end_nested()
            self.committer.forget_now()
            return
        _check_durability(durability)
        transaction: Transaction | None = None
        try:
            transaction = self.committer.begin(durability)
            self._local.transaction = transaction
            yield Tx(self, transaction)
            self._local.transaction = None
            # It may have moved projections: nothing is remembered past it.
            transaction.flush()
            self.committer.forget_now()
            self.committer.commit(transaction)
        except BaseException as error:
            self._local.transaction = None
            self._local.afterwards = {}
            if transaction is not None:
                transaction.over = True
            if transaction is None or not transaction.inherited:
                self.committer.recover(error=error)
            if (translated := self.store.translate(error)) is not error:
                raise translated from error
            raise
        afterwards, self._local.afterwards = getattr(self._local, "afterwards", {}), {}
        for call in afterwards.values():
            call()

    def after_commit(self, name: str, call: Callable[[], None]) -> None:
        """Make a call when what this thread appended is committed: now, or at the end of the transaction it is in; of
        several of one name the last one. It must not raise.
        """
        if getattr(self._local, "transaction", None) is None:
            call()
            return
        if getattr(self._local, "afterwards", None) is None:
            self._local.afterwards = {}
        self._local.afterwards[name] = call

    def import_records(self, records: Iterable[Record], progress: Progress | None = None, batch: int = 5000) -> int:
        """Append records of another log as they are; they must continue this log's chain, hash by hash.

        Returns how many were appended. Raises Conflict at the first that does not fit; whole batches before it stay.
        """
        count = 0
        pending: list[Record] = []
        for record in records:
            pending.append(record)
            if len(pending) == batch:
                count += self._import(pending)
                pending = []
                if progress is not None:
                    progress(count, None, "importing")
        return count + (self._import(pending) if pending else 0)

    def _import(self, records: list[Record]) -> int:
        rows: list[RecordRow] = [record.row for record in records]
        try:
            events = [self.codec.check(row[3], row[4], row[11]) for row in rows]
        except UnicodeEncodeError as error:
            raise InvalidEvent(f"a record's data is not valid Unicode: {error}") from error
        return self._submit(lambda transaction: transaction.append_rows(rows, events), "full", pure=True)

    def prepare(
        self,
        stream: str,
        events: Events,
        *,
        expect: Expect | int = Expect.ANY,
        key: str | None = None,
        occurred_at: When = None,
        actor: str | None = None,
        correlation: str | None = None,
        causation: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Prepared:
        """Check and encode an append, without storing it."""
        if stream not in self._checked:
            self._check_stream(stream)
        if key is not None:
            _check_name("key", key)
        if actor is not None or correlation is not None or causation is not None:
            for what, text in (("actor", actor), ("correlation", correlation), ("causation", causation)):
                if text is not None:
                    _check_name(what, text)
        if expect is not Expect.ANY and (isinstance(expect, bool) or not isinstance(expect, (int, Expect))):
            raise InvalidInput(f"expect is ANY, NO_STREAM, EXISTS or a version, not {expect!r}")
        encode = self.codec.encode
        if isinstance(events, (Event, UnknownEvent)):
            encoded = [encode(events)]
        elif isinstance(events, Iterable) and not isinstance(events, (str, bytes, type, Mapping)):
            encoded = [encode(one) for one in events]
        else:
            raise InvalidEvent(f"events are an Event, or a list of them, not {type(events).__name__}")
        if not encoded:
            raise InvalidInput("an append needs at least one event")
        if occurred_at is None:
            when = now_us()
        else:
            when = occurred_at if type(occurred_at) is int and 0 <= occurred_at < 2**53 else _microseconds(occurred_at)
        meta = None if metadata is None else _encode_metadata(metadata)
        return stream, encoded, expect, key, when, actor, correlation, causation, meta

    def _check_stream(self, stream: str) -> None:
        _check_name("stream", stream)
        if stream[0] == "-":
            raise InvalidName("the category of a stream (the part before the first '-') is empty")
        if len(self._checked) >= MAX_KNOWN_STREAMS:
            self._checked.clear()
        self._checked.add(stream)

    def prepare_many(self, appends: Iterable[Append]) -> list[Prepared]:
        """Check and encode several appends."""
        prepare = self.prepare
        return [
            prepare(
                one.stream,
                one.events,
                expect=one.expect,
                key=one.key,
                occurred_at=one.occurred_at,
                actor=one.actor,
                correlation=one.correlation,
                causation=one.causation,
                metadata=one.metadata,
            )
            for one in appends
        ]

    def _submit(
        self, work: Callable[[Transaction], T], durability: Durability, *, pure: bool, streams: Sequence[str] = ()
    ) -> T:
        self.check_writable()
        if durability != "full":
            _check_durability(durability)
        transaction: Transaction | None = getattr(self._local, "transaction", None)
        if transaction is None:
            return self.committer.submit(work, durability, pure=pure, streams=streams)
        mark = transaction.begin_nested()
        try:
            result = work(transaction)
        except BaseException:
            transaction.undo_nested(mark)
            raise
        transaction.end_nested()
        return result

    def check_writable(self) -> None:
        """Raises LogReadOnly when the log was opened for reading."""
        if not self.writable:
            raise LogReadOnly("the log was opened for reading only (mode='r'); nothing was written")

    # reading

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The present state of records and tables; inside `transaction`, with what it has done so far."""
        transaction: Transaction | None = getattr(self._local, "transaction", None)
        if transaction is not None:
            transaction.flush()
            yield transaction.writer
        else:
            with self.store.reader() as reader:
                yield reader

    def head(self) -> Head:
        """The last position and its hash."""
        with self.reader() as reader:
            return reader.head()

    @property
    def log_id(self) -> str | None:
        """What tells this log from others, also in its copies: the first 16 hex digits of its first record's hash."""
        if self._log_id is None:
            with self.reader() as reader:
                first = reader.records(0, 1, Selection())
            self._log_id = first[0][13].hex()[:16] if first else None
        return self._log_id

    def read(
        self,
        after: int = 0,
        to: int | None = None,
        *,
        streams: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
        types: Iterable[str | type[Event]] | None = None,
        backwards: bool = False,
        limit: int | None = None,
    ) -> Iterator[Record]:
        """Records with ``after < position <= to`` (default: the head as it is now), in order of position.

        Read in pages: a reader that stops half-way holds nothing open.
        """
        _check_bounds(after, to, limit)
        where = self.selection(streams, categories, types)
        end = self.head().position if to is None else min(to, self.head().position)
        return self._pages(after, end, where, backwards, limit)

    def _pages(self, after: int, to: int, where: Selection, backwards: bool, limit: int | None) -> Iterator[Record]:
        left = limit
        codec = self.codec
        while after < to and (left is None or left > 0):
            size = PAGE if left is None else min(PAGE, left)
            with self.reader() as reader:
                rows = reader.records(after, to, where, backwards=backwards, limit=size)
            for row in rows:
                yield Record(*row, codec)
            if len(rows) < size:
                return
            left = None if left is None else left - len(rows)
            if backwards:
                to = rows[-1][0] - 1
            else:
                after = rows[-1][0]

    def read_stream(
        self, stream: str, *, after: int = 0, to: int | None = None, backwards: bool = False, limit: int | None = None
    ) -> Iterator[Record]:
        """A stream's records with ``after < version <= to``, in order of version."""
        _check_bounds(after, to, limit)
        where = self.selection(streams=(stream,))
        codec = self.codec
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            with self.reader() as reader:
                rows = reader.records(after, to, where, backwards=backwards, limit=size, in_stream=True)
            for row in rows:
                yield Record(*row, codec)
            if len(rows) < size:
                return
            left = None if left is None else left - len(rows)
            if backwards:
                to = rows[-1][2] - 1
            else:
                after = rows[-1][2]

    def selection(
        self,
        streams: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
        types: Iterable[str | type[Event]] | None = None,
    ) -> Selection:
        """Filters of `read` and `follow`. Classes of events stand for their tags."""
        tags = None
        if types is not None:
            tags = tuple(kind if isinstance(kind, str) else str(kind.__struct_config__.tag) for kind in _many(types))
        kinds = None if categories is None else _texts(categories)
        if kinds is not None and (wrong := [kind for kind in kinds if "-" in kind]):
            raise InvalidQuery(f"a category is the part of a stream before the first '-', not {wrong[0]!r}")
        return Selection(None if streams is None else _texts(streams), kinds, None if tags is None else _texts(tags))

    def follow(
        self,
        after: int | None = None,
        *,
        streams: Iterable[str] | None = None,
        categories: Iterable[str] | None = None,
        types: Iterable[str | type[Event]] | None = None,
        poll_s: float = 0.05,
        stop: threading.Event | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Record]:
        """Records as they are appended, by any process, from position ``after`` on (default: from now).

        Resume with the last position seen. Ends when ``stop`` is set, or after ``timeout_s`` without a record. It looks
        every ``poll_s`` at most; on a server the pauses grow while nothing happens, up to 2 s.
        """
        where = self.selection(streams, categories, types)
        position = self.head().position if after is None else after
        stop = stop or threading.Event()
        seen: object = None
        quiet_since = time.monotonic()
        pause_s = poll_s
        while not stop.is_set():
            counter = self.store.change_counter()
            if counter == seen:
                if timeout_s is not None and time.monotonic() - quiet_since > timeout_s:
                    return
                stop.wait(pause_s)
                pause_s = self.longer(pause_s)
                continue
            seen, pause_s, looked = counter, poll_s, time.monotonic()
            end = self.head().position
            for record in self._pages(position, end, where, False, None):
                yield record
                quiet_since = time.monotonic()
                if stop.is_set():
                    return
            position = max(position, end)
            if timeout_s is not None and time.monotonic() - quiet_since > timeout_s:
                return
            # Where appends come one upon another, a follower that looked again at once would take them one by one, at a
            # price that the writers pay.
            stop.wait(max(0.0, looked + poll_s - time.monotonic()))

    def longer(self, pause_s: float) -> float:
        """The pause after one in which nothing happened: where asking costs, followers ask less and less often."""
        return max(pause_s, min(pause_s * 1.5, self.store.longest_poll_s))

    # trust

    def verify(self, progress: Progress | None = None, *, after: int = 0, previous: bytes | None = None) -> ChainReport:
        """Recompute the hash chain over every record; says where the first bad record is.

        ``after`` and ``previous`` (its hash) start behind a position that is trusted already.
        """
        end = self.head().position
        position, digest, recorded = after, previous if after and previous else GENESIS, 0
        if after and previous is None:
            raise InvalidQuery("to verify from the middle, give the hash of the record there")
        while position < end:
            rows, unreadable = self._page_or_record(position, end)
            if not rows:
                missing = "the records up to the head are missing"
                return self._broken(position, digest, position + 1, unreadable or missing)
            for row in rows:
                problem = _problem(row, position, digest, recorded)
                if problem is not None:
                    return self._broken(position, digest, position + 1, problem)
                position, digest, recorded = row[0], row[13], row[6]
            if progress is not None:
                progress(position, end, "verifying")
        return ChainReport(True, position - after, Head(position, digest, recorded))

    def _page_or_record(self, position: int, end: int) -> tuple[list[RecordRow], str | None]:
        """The next records; where a page cannot be read the next one alone, and where that cannot be, why."""
        problem = None
        for limit in (PAGE, 1):
            try:
                with self.reader() as reader:
                    return reader.records(position, end, Selection(), limit=limit), None
            except EventLogError as error:
                problem = f"the record cannot be read: {error}"
        return [], problem

    def _broken(self, checked: int, digest: bytes, bad: int, problem: str) -> ChainReport:
        return ChainReport(False, checked, Head(checked, digest), bad, problem)

    # the end

    def close(self) -> None:
        """Close the log; appends and reads raise LogClosed from then on."""
        self.store.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _problem(row: RecordRow, position: int, digest: bytes, recorded: int) -> str | None:
    if row[0] != position + 1:
        return f"position {position + 1} is missing"
    try:
        if row[13] != hash_of(digest, row):
            return "the record, or one before it, is not what was written: its hash differs"
        return "recorded_at goes back" if row[6] < recorded else None
    except (AttributeError, TypeError, UnicodeError, OverflowError, ValueError, StructError) as error:
        return f"the record cannot be read: {error}"


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    texts = tuple(_many(values))
    for text in texts:
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError) as error:
            raise InvalidQuery(f"a filter is valid text, not {text!r}") from error
    return texts


def _check_bounds(*bounds: int | None) -> None:
    for bound in bounds:
        if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int) or abs(bound) >= 2**63):
            raise InvalidQuery(f"a position or version is an integer of 64 bits, not {bound!r}")


def _check_durability(durability: str) -> None:
    if durability not in ("full", "process"):
        raise InvalidInput(f"durability is 'full' or 'process', not {durability!r}")


def _many(values: Iterable[Any]) -> Iterable[Any]:
    return (values,) if isinstance(values, (str, type)) else values


def _check_name(what: str, text: object) -> None:
    if not isinstance(text, str) or not text or len(text) > MAX_NAME or not text.isprintable():
        raise InvalidName(f"a {what} is 1 to {MAX_NAME} printable characters, not {str(text)[:80]!r}")


def _microseconds(when: int | datetime) -> int:
    if isinstance(when, datetime):
        return from_datetime(when)
    if isinstance(when, bool) or not isinstance(when, int) or not -(2**53) < when < 2**53:
        raise InvalidInput(f"occurred_at is µs since the epoch, or a datetime, not {when!r}")
    return when


def _encode_metadata(metadata: Mapping[str, Any]) -> bytes:
    try:
        data = to_json(metadata)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidEvent(f"metadata: {error}") from error
    if not data.startswith(b"{"):
        raise InvalidEvent("metadata is a mapping")
    if len(data) > MAX_METADATA_BYTES:
        raise EventTooLarge(f"metadata: {len(data):,} bytes, the limit is {MAX_METADATA_BYTES:,}")
    if b"null" in data and (path := find_non_finite(metadata)):
        raise InvalidEvent(f"metadata: a number that JSON cannot hold (NaN or infinite) at `{path}`", path=path)
    return data


def _after_fork_in_child() -> None:
    for log in list(_logs):
        log.committer.reset()
        log._local = threading.local()


os.register_at_fork(after_in_child=_after_fork_in_child)
