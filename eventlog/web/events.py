"""The events themselves: append, read, follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta, Raw, UnsetType

from eventlog.app import Log, Past
from eventlog.codec import from_json
from eventlog.errors import InvalidEvent, InvalidInput
from eventlog.events import Event, UnknownEvent
from eventlog.log import ANY, EXISTS, NO_STREAM, Append
from eventlog.web.operation import Operation, Query
from eventlog.wire import Appended, Durability, Head, NewAppend, NewEvent, Position, StoredRecord

MOST_RECORDS = 1000
EXPECTATIONS = {"any": ANY, "none": NO_STREAM, "exists": EXISTS}


class Durable(Query, frozen=True, kw_only=True):
    """How safe it has to be before the answer: ``full`` survives power loss, ``process`` a killed process."""

    durability: Durability = "full"


class Selected(Query, frozen=True, kw_only=True):
    """Which records, by position and by what they are. Streams, categories and types may be repeated."""

    after: Position = 0
    to: Position | None = None
    streams: list[str] | None = None
    categories: list[str] | None = None
    types: list[str] | None = None
    backwards: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST_RECORDS)] = 100


class InStream(Query, frozen=True, kw_only=True):
    """Which records of a stream, by version."""

    after: Position = 0
    to: Position | None = None
    backwards: bool = False
    limit: Annotated[int, Meta(ge=1, le=MOST_RECORDS)] = 100


class Followed(Query, frozen=True, kw_only=True):
    """Which records, from a position on (default: from now). ``Last-Event-ID`` prevails over ``after``."""

    after: Position | None = None
    streams: list[str] | None = None
    categories: list[str] | None = None
    types: list[str] | None = None


async def append_events(log: Log, query: Durable, body: NewAppend | list[NewAppend]) -> Appended | list[Appended]:
    """Append events: one append, or an array of them, all or nothing.

    An event whose type the log knows has to decode; any other is kept as it is. With a key, the same again changes
    nothing and gives the first answer.
    """
    if isinstance(body, NewAppend):
        done = await log.aio.append_many([to_append(log, body)], durability=query.durability)
        return Appended(*done[0])
    if not body:
        raise InvalidInput("an append needs at least one event")
    many = await log.aio.append_many([to_append(log, one) for one in body], durability=query.durability)
    return [Appended(*one) for one in many]


def to_append(log: Log, new: NewAppend) -> Append:
    """What came over HTTP as `EventLog.append_many` takes it. Raises InvalidInput."""
    if (new.type is None) == (not new.events):
        raise InvalidInput("an append has either a type (and data), or events")
    given = new.events if new.type is None else [NewEvent(type=new.type, data=new.data, schema=new.schema)]
    return Append(
        stream=new.stream,
        events=[event_of(log, one.type, one.data, one.schema) for one in given],
        expect=EXPECTATIONS[new.expect] if isinstance(new.expect, str) else new.expect,
        key=new.key,
        occurred_at=new.occurred_at,
        actor=new.actor,
        correlation=new.correlation,
        causation=new.causation,
        metadata=new.metadata,
    )


def event_of(log: Log, tag: str, data: Raw | UnsetType, schema: int | None = None) -> Event | UnknownEvent:
    """An event by its tag and JSON, in the schema that is given or the newest known. Raises InvalidEvent."""
    given = b"{}" if isinstance(data, UnsetType) else bytes(data)
    known = log.codec.current.get(tag)
    try:
        if known is None or known[0] == 1 or schema is not None:
            # Kept as it was given, even fields that a newer program added; a known tag is checked when it is encoded.
            return UnknownEvent(tag=tag, data=from_json(given), schema=schema or 1)
        return known[1](given)
    except ValueError as error:
        raise InvalidEvent(f"{tag}: {error}", tag=tag) from error


def read_events(log: Log, query: Selected, version: int | None) -> list[StoredRecord]:
    """Records of the whole log, in order of position: those after one, up to another."""
    to = query.to if version is None else min(version, version if query.to is None else query.to)
    return _stored(
        log.read(
            query.after,
            to,
            streams=query.streams,
            categories=query.categories,
            types=query.types,
            backwards=query.backwards,
            limit=query.limit,
        )
    )


def read_stream(log: Log, stream: str, query: InStream, version: int | None) -> list[StoredRecord]:
    """Records of one stream, in order of version. A stream that nobody appended to has none."""
    to = query.to
    if version is not None:
        last = next(iter(log.read(0, version, streams=[stream], backwards=True, limit=1)), None)
        newest = 0 if last is None else last.version
        to = newest if to is None else min(to, newest)
    return _stored(log.read_stream(stream, after=query.after, to=to, backwards=query.backwards, limit=query.limit))


def _stored(records: Iterable[Any]) -> list[StoredRecord]:
    return [StoredRecord.of(record) for record in records]


async def follow_events(log: Log, query: Followed) -> str:
    """Records as they are appended, by any process, as Server-Sent Events.

    Each has its position as ``id`` and a StoredRecord as ``data``. Whoever comes back with the header ``Last-Event-ID``
    misses none. A comment every 15 s says that the connection lives.
    """
    raise NotImplementedError  # the endpoint answers with a stream: see `sse`


def get_head(ask: Log | Past) -> Head:
    """The version of the log: its last position and that record's hash."""
    source = ask if isinstance(ask, Log) else ask.runs._source
    with source.reader() as reader:
        head = reader.head()
    return Head(head.position, head.hash.hex(), head.recorded_at, source.log_id)


def _next_page(query: Selected, records: list[StoredRecord]) -> dict[str, Any] | None:
    if len(records) < query.limit:
        return None
    last = records[-1].position
    return {"to": last - 1} if query.backwards else {"after": last}


def _next_of_stream(query: InStream, records: list[StoredRecord]) -> dict[str, Any] | None:
    if len(records) < query.limit:
        return None
    last = records[-1].version
    return {"to": last - 1} if query.backwards else {"after": last}


FOLLOW = Operation("GET", "/api/events/stream", follow_events, streams=True, cached=False)
OPERATIONS = (
    Operation("POST", "/api/events", append_events, status=201),
    Operation("GET", "/api/events", read_events, follows=_next_page, live=FOLLOW),
    FOLLOW,
    Operation("GET", "/api/streams/{stream:path}", read_stream, follows=_next_of_stream),
    Operation("GET", "/api/head", get_head),
)
