"""The waist: what a record is, what a table of rows is, what a database has to offer. Nothing here names a database."""

from __future__ import annotations

import copy
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from itertools import compress
from operator import is_not
from pathlib import Path
from struct import Struct as Pack
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from eventlog.codec import Codec, from_json, to_json
from eventlog.errors import Corrupt, InvalidQuery
from eventlog.events import Event, UnknownEvent
from eventlog.place import Holder
from eventlog.store.words import day_terms, facet

Durability = Literal["full", "process"]
Progress = Callable[[int, int | None, str], None]
"""Called as ``progress(done, total, what)`` during long work."""

GENESIS = bytes(32)
MAX_POSITION = 2**53 - 1
MAX_KNOWN_FACETS = 4096


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event as stored. Times are µs since the epoch, UTC; ``data`` and ``metadata`` are JSON text."""

    position: int
    stream: str
    version: int
    type: str
    schema: int
    occurred_at: int
    recorded_at: int
    key: str | None
    actor: str | None
    correlation: str | None
    causation: str | None
    data: str
    metadata: str | None
    hash: bytes
    codec: Codec = Codec.default

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, msgspec.structs.astuple(self)[:-1]

    @property
    def event(self) -> Event | UnknownEvent:
        """The event, decoded at each access. Raises DecodeError."""
        return self.codec.decode(self.type, self.schema, self.data)

    @property
    def row(self) -> RecordRow:
        """The columns as they are stored, in the order of `COLUMNS`."""
        return msgspec.structs.astuple(self)[:14]

    def as_dict(self) -> dict[str, Any]:
        """The columns, with ``data`` and ``metadata`` as JSON values and the hash in hex."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        columns["data"] = from_json(self.data)
        columns["metadata"] = None if self.metadata is None else from_json(self.metadata)
        columns["hash"] = self.hash.hex()
        return columns


COLUMNS = (
    "position",
    "stream",
    "version",
    "type",
    "schema",
    "occurred_at",
    "recorded_at",
    "key",
    "actor",
    "correlation",
    "causation",
    "data",
    "metadata",
    "hash",
)
RecordRow = tuple[
    int, str, int, str, int, int, int, str | None, str | None, str | None, str | None, str, str | None, bytes
]


class Head(NamedTuple):
    """The last position and its hash; position 0 and 32 zero bytes while the log is empty."""

    position: int
    hash: bytes
    recorded_at: int = 0


class Filter(NamedTuple):
    """One condition on rows: ``column op value``.

    ``has`` asks a JSON object for (key, value), ``text`` for a substring in any of the columns named ``a|b``.
    ``=`` None finds the rows in which there is nothing. ``match`` asks the words of a row (see `Words`) for an
    `eventlog.store.searching.Search`; it has no column.
    """

    column: str
    op: Literal["=", "!=", "<", "<=", ">", ">=", "in", "has", "text", "match"]
    value: Any


def check_page(limit: int | None, offset: int) -> None:
    """Raises InvalidQuery for a page that no rows can be on: SQL takes a limit below 0 for none."""
    if not isinstance(offset, int) or offset < 0 or not (limit is None or (isinstance(limit, int) and limit >= 0)):
        raise InvalidQuery(f"a limit and an offset are integers of 0 or more, not {limit!r:.80} and {offset!r:.80}")


class Selection(NamedTuple):
    """Which records: every condition given must hold; None is no condition."""

    streams: tuple[str, ...] | None = None
    categories: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    part: tuple[int, int] | None = None
    """(which, of how many): those streams whose last character's code point, divided by how many, leaves which."""


pack_fixed = Pack(">qqqqq8i").pack
"""The numbers of a record in the form that is hashed: see `chain_hash`."""


def chain_hash(
    previous: bytes,
    position: int,
    stream: bytes,
    version: int,
    type_: bytes,
    schema: int,
    occurred_at: int,
    recorded_at: int,
    optional: tuple[str | None, str | None, str | None, str | None] | None,
    data: bytes,
    metadata: bytes | None,
) -> bytes:
    """The hash of a record: SHA-256 over the previous hash and every other column.

    Binary form: 32 bytes of the previous hash; position, version, schema, occurred_at, recorded_at as big-endian
    64-bit integers; the byte lengths of stream, type, key, actor, correlation, causation, data, metadata as
    big-endian 32-bit integers (-1: NULL); then those values in UTF-8, in this order. ``optional`` is (key, actor,
    correlation, causation).
    """
    if optional is None and metadata is None:
        lengths = pack_fixed(
            position, version, schema, occurred_at, recorded_at, len(stream), len(type_), -1, -1, -1, -1, len(data), -1
        )
        return sha256(b"".join((previous, lengths, stream, type_, data))).digest()
    texts = [None if text is None else text.encode() for text in optional or (None,) * 4]
    sizes = [-1 if text is None else len(text) for text in (*texts, data, metadata)]
    fixed = pack_fixed(position, version, schema, occurred_at, recorded_at, len(stream), len(type_), *sizes)
    return sha256(
        b"".join((previous, fixed, stream, type_, *(t or b"" for t in texts), data, metadata or b""))
    ).digest()


def hash_of(previous: bytes, row: RecordRow) -> bytes:
    """The hash that a stored row ought to have."""
    (position, stream, version, type_, schema, occurred, recorded, key, actor, correlation, causation) = row[:11]
    optional = (key, actor, correlation, causation)
    return chain_hash(
        previous,
        position,
        stream.encode(),
        version,
        type_.encode(),
        schema,
        occurred,
        recorded,
        None if optional == (None, None, None, None) else optional,
        row[11].encode(),
        None if row[12] is None else row[12].encode(),
    )


Kind = Literal["int", "float", "text", "bool", "json"]


class Column(NamedTuple):
    """A column of a projection's table."""

    name: str
    kind: Kind
    nullable: bool


class Sparse(tuple[str, ...]):
    """The columns of an index that holds only the rows in which one column is not NULL.

    Where a question compares that column with something, the index serves it, however many rows there are besides.
    """

    on: str

    def __new__(cls, columns: Iterable[str], *, on: str) -> Sparse:
        """An index over columns, of the rows that have something in the column ``on``."""
        index = super().__new__(cls, columns)
        index.on = on
        return index

    def __repr__(self) -> str:
        return f"Sparse({tuple(self)!r}, on={self.on!r})"


class Words(NamedTuple):
    """What can be searched of a table's rows: the words of their last field, which is no column and is not kept.

    ``facets`` are columns of text whose values are looked up together with the words where they are asked for, and
    ``time`` one of µs; other conditions are held against each row that has the words.
    """

    facets: tuple[str, ...] = ()
    time: str | None = None


class Table:
    """A projection's table, made from its row Struct: column order is field order.

    With ``words`` the row's last field, text with a default, is not among its columns; what is dumped ends with it.
    """

    def __init__(
        self,
        name: str,
        row: type[msgspec.Struct],
        key: Sequence[str],
        indexes: Iterable[Sequence[str]] = (),
        measures: Sequence[str] = (),
        words: Words | None = None,
    ) -> None:
        self.name = name
        self.row = row
        self.key = tuple(key)
        self.indexes = tuple(index if isinstance(index, Sparse) else tuple(index) for index in indexes)
        self.measures = tuple(measures)
        self.words = words
        hints = typing.get_type_hints(row, include_extras=True)
        fields = row.__struct_fields__ if words is None else row.__struct_fields__[:-1]
        self.columns = tuple(_column(name, hints[name]) for name in fields)
        self.names = tuple(column.name for column in self.columns)
        facets, time = (words.facets, words.time) if words is not None else ((), None)
        self._facets = tuple((self.names.index(name), _Facets(name)) for name in facets)
        self._time = None if time is None else self.names.index(time)
        self.nullables = sum(column.nullable for column in self.columns)
        self.key_indexes = tuple(self.names.index(name) for name in self.key)
        self._loaders = tuple(
            (index, bool if column.kind == "bool" else _json_loader(hints[column.name]))
            for index, column in enumerate(self.columns)
            if column.kind in ("bool", "json")
        )
        self._json = tuple(index for index, column in enumerate(self.columns) if column.kind == "json")
        self._places = range(len(self.columns))
        self._is_json = tuple(column.kind == "json" for column in self.columns)

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def renamed(self, name: str) -> Table:
        """A table like this one under another name."""
        twin = copy.copy(self)
        twin.name = name
        return twin

    def dump(self, row: msgspec.Struct) -> tuple[Any, ...]:
        """A row Struct as the values of its columns."""
        values = msgspec.structs.astuple(row)
        if not self._json:
            return values
        cells = list(values)
        for index in self._json:
            if (value := cells[index]) is not None:
                cells[index] = "{}" if value == {} else to_json(value).decode()
        return tuple(cells)

    def terms(self, values: Values) -> list[str]:
        """The terms by which a row is found, besides its words: those of its facets and its time."""
        terms = [facets[cell] for place, facets in self._facets if (cell := values[place]) is not None]
        if self._time is not None:
            terms += day_terms(values[self._time])
        return terms

    def changed(self, old: msgspec.Struct, new: msgspec.Struct) -> tuple[tuple[int, ...], Values]:
        """Which columns differ, by their places, and the values of ``new`` in them."""
        before, after, is_json = msgspec.structs.astuple(old), msgspec.structs.astuple(new), self._is_json
        others = compress(self._places, map(is_not, before, after))
        # Equal is not the same in JSON: 1, 1.0 and true are equal here.
        places = tuple([place for place in others if is_json[place] or before[place] != after[place]])
        values = [
            to_json(value).decode() if is_json[place] and value is not None else value
            for place in places
            for value in (after[place],)
        ]
        return places, tuple(values)

    def load(self, values: Sequence[Any]) -> Any:
        """The values of the columns as a row Struct. Raises Corrupt where a value is not what was written."""
        if self._loaders:
            cells = list(values)
            try:
                for index, load in self._loaders:
                    if cells[index] is not None:
                        cells[index] = load(cells[index])
            except (msgspec.MsgspecError, ValueError, TypeError) as error:
                raise Corrupt(
                    f"a row of {self.name} is damaged ({error}); `eventlog projections rebuild` makes it anew"
                ) from error
            values = cells
        return self.row(*values)


class _Facets(dict[str, str]):
    """The terms of the values of a column that were asked for last."""

    def __init__(self, column: str) -> None:
        self._column = column

    def __missing__(self, value: str) -> str:
        if len(self) >= MAX_KNOWN_FACETS:
            self.clear()
        term = self[value] = facet(self._column, value)
        return term


_KINDS: dict[Any, Kind] = {int: "int", float: "float", str: "text", bool: "bool"}


def _column(name: str, hint: Any) -> Column:
    nullable = False
    hint = _bare(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = [_bare(option) for option in typing.get_args(hint) if option is not type(None)]
        nullable = len(options) < len(typing.get_args(hint))
        hint = options[0] if len(options) == 1 else object
    if typing.get_origin(hint) is Literal:
        hint = type(typing.get_args(hint)[0])
    return Column(name, _KINDS.get(hint, "json"), nullable)


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _json_loader(hint: Any) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(hint).decode


Key = tuple[Any, ...]
Values = tuple[Any, ...]


class QueryReader(Protocol):
    """One consistent view of the log and its tables: what questions need."""

    def head(self) -> Head:
        """The last position, its hash and its recorded_at."""

    def records(
        self,
        after: int,
        to: int | None,
        where: Selection,
        *,
        backwards: bool = False,
        limit: int | None = None,
        in_stream: bool = False,
    ) -> list[RecordRow]:
        """Records with ``after < position <= to`` in order of position; ``in_stream``: versions instead."""

    def records_of(self, streams: Iterable[str], to: int, types: Sequence[str]) -> list[RecordRow]:
        """Every record of these streams and types up to a position, in order of position."""

    def load(self, table: Table, keys: Iterable[Key]) -> dict[Key, Any]:
        """Rows by key, as Structs; missing keys are left out."""

    def select(
        self,
        table: Table,
        where: Sequence[Filter] = (),
        *,
        order: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Any]:
        """Rows as Structs; ``order`` names columns, ``-name`` descending."""

    def count(self, table: Table, where: Sequence[Filter] = ()) -> int:
        """How many rows there are."""

    def totals(
        self, table: Table, by: Sequence[str], measures: Sequence[str], where: Sequence[Filter] = ()
    ) -> list[Values]:
        """Sums of the measures grouped by columns, ordered by them; the measure ``*`` counts rows."""


class Reader(QueryReader, Protocol):
    """A view of the present, with what commands and the projection machine need besides."""

    records_at_once: int
    """How many of many records are best read at a time."""

    def stream_version(self, stream: str) -> int:
        """The last version of a stream; 0 when it has no records."""

    def stream_versions(self, streams: Sequence[str]) -> dict[str, int]:
        """The last versions of many streams at once."""

    def record_with_key(self, key: str) -> RecordRow | None:
        """The record that carries an idempotency key."""

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Those of these idempotency keys that a record carries."""

    def checkpoints(self, names: Sequence[str] | None = None) -> list[Values]:
        """The rows of the checkpoint table, of all projections or some, in the order of `CHECKPOINT_COLUMNS`."""

    def shadows(self, name: str) -> list[str]:
        """The tables that were made beside one of this name, in whatever rebuild: ``<name>__…``."""


CHECKPOINT_COLUMNS = (
    "name",
    "kind",
    "version",
    "fingerprint",
    "position",
    "state",
    "error",
    "error_position",
    "generation",
    "updated_at",
)


class Refused(Exception):
    """The store does not take a row of a projection, or a record: the transaction is to be done again, with care."""


class Writer(Reader, Protocol):
    """A write transaction, alone on the log. Positions, versions and hashes come from the caller.

    What is written may be sent to the database later: before the next read, when a nested part is released, at the
    commit. An error of it is told then.
    """

    def refuses(self, error: Exception) -> bool:
        """Whether an error says that values cannot be stored, rather than that the store failed."""

    changed: bool
    """Whether others may have written whatever it was since this store's last transaction: caches are stale."""

    touched: Collection[str]
    """Where nothing but records was written by others: the streams they were appended to."""

    failure: BaseException | None
    """Where errors are told late, the first one, whoever caught it; None again when the nested part is undone."""

    versions: Mapping[str, int]
    """Of the streams that were asked about at the beginning, the last versions; empty where asking costs nothing."""

    def insert_records(self, rows: Sequence[RecordRow], *, last: bool = False) -> None:
        """Append records at the head; ``last``: nothing but what follows from them is done before the commit."""

    def save_checkpoint(self, values: Values) -> None:
        """Insert or replace one row of the checkpoint table."""

    def create_table(self, table: Table) -> None:
        """Create a table without its secondary indexes (in a scratch view: a temporary one)."""

    def create_indexes(self, table: Table) -> None:
        """Create a table's secondary indexes."""

    def drop_table(self, name: str) -> None:
        """Drop a table with its indexes, if it exists."""

    def rename_table(self, old: str, new: str) -> None:
        """Rename a table."""

    def worded(self, table: Table, rows: Sequence[Values]) -> list[Values]:
        """Rows of a table with words as `insert` takes them: with what an index takes in the place of the text.

        That takes time, and no lock: it is done before they are written.
        """

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        """Insert rows whose keys are not there."""

    def update(self, table: Table, columns: tuple[int, ...], rows: Sequence[Values]) -> None:
        """Write some columns, by their places, of rows whose keys are there: each their values, then the key."""

    def delete(self, table: Table, keys: Sequence[Key]) -> None:
        """Delete rows by key."""

    def add(self, table: Table, deltas: Sequence[Values]) -> None:
        """Add numbers to a rollup's rows, by key; rows whose numbers all become zero are deleted."""

    def savepoint(self) -> None:
        """Begin a nested part of the transaction."""

    def release(self) -> None:
        """Keep the nested part."""

    def rollback_to_savepoint(self) -> None:
        """Undo the nested part."""


class Builder(Writer, Protocol):
    """A private connection that makes tables beside the live ones; it reads the present, and writes in `writing`."""

    def writing(self) -> AbstractContextManager[object]:
        """A short write transaction, alone on the log."""

    def close(self) -> None:
        """Give everything back."""


class Scratch(Writer, Protocol):
    """A private view frozen at one head, in which tables of a projection's name are temporary copies of its own."""

    keeps_words: bool
    """Whether words of rows are kept in temporary tables; without them nothing can be searched there."""

    def overlay(self, table: Table) -> None:
        """Shadow a live table by a view: live rows without those in `touched`, plus those in `folded`."""

    def touch(self, table: Table, keys: Iterable[Key], rows: Iterable[Values]) -> None:
        """Say which live rows of an overlay no longer count, and which rows stand in their place."""

    def cut(self, table: Table, position: int) -> None:
        """Shadow a journal by a view of its rows up to a position."""

    def differing(self, table: Table) -> list[tuple[Values | None, Values | None]]:
        """Pairs of rows (the temporary table's, the live one's) that differ or stand in one of the two only."""

    def close(self) -> None:
        """Give everything back."""


class Store(Protocol):
    """One database that holds one log."""

    @property
    def kind(self) -> Holder:
        """What holds the log: whose upkeep it needs."""

    @property
    def url(self) -> str:
        """Where the log is, a password in it masked."""

    @property
    def path(self) -> Path | None:
        """The log's file, where it has one."""

    @property
    def swaps_under_readers(self) -> bool:
        """Whether tables can be put in the place of others that an open view of the past still reads."""

    @property
    def longest_poll_s(self) -> float:
        """How long followers may pause when nothing happens: where asking costs, longer."""

    @property
    def address(self) -> str | None:
        """The URL by which another process opens the same log, **a password in it in clear**; None: none can."""

    def reader(self) -> AbstractContextManager[Reader]:
        """A short read; leave the context before doing anything slow."""

    def scratch(self) -> Scratch:
        """A private view of the present with temporary tables."""

    def builder(self) -> Builder:
        """A private connection that makes tables beside the live ones."""

    def begin(self, durability: Durability, streams: Collection[str] = ()) -> Writer:
        """Take the writer lock and begin. Raises LogBusy, LogReadOnly, DiskFull.

        ``streams`` are those whose versions will be wanted: where asking costs, they are asked for along with the head.
        """

    def commit(self, writer: Any, head: Head | None) -> None:
        """Commit; ``head`` is what the last record is then, None when none was added. A failure is told truly.

        Raises Refused when only now it is known that a row cannot be stored; nothing is written then.
        """

    def rollback(self, writer: Any, error: BaseException | None = None) -> None:
        """Undo everything since `begin`, give the lock back; where ``error`` is the disk's, drop the connection."""

    def translate(self, error: BaseException) -> BaseException:
        """A driver's error as one of ours; any other error as it is."""

    def recover(self, error: BaseException | None = None) -> None:
        """Give back whatever this thread still holds of a transaction that was interrupted, or failed."""

    def beat(self, worker_id: str, *, first: bool = False) -> bool:
        """Say that a worker lives; no event, and not durable. False: it was forgotten, and has to stop what it does."""

    def silences(self) -> dict[str, int]:
        """How long ago each worker said that it lives, µs by the clock of the database."""

    def forget_workers(self, worker_ids: Iterable[str]) -> None:
        """Drop what workers said: they are gone."""

    def change_counter(self) -> object:
        """What differs from an earlier answer whenever anyone has written meanwhile; cheap to poll."""

    def close(self) -> None:
        """Close every connection."""
