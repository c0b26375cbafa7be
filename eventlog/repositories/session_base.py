"""What the parts of `log.sessions` share: a session inside a transaction, its guards, and finding sessions."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from eventlog.codec import find_non_finite, to_json
from eventlog.errors import InvalidEvent, InvalidInput, InvalidName, NotFound
from eventlog.events import Event
from eventlog.log import Tx, When
from eventlog.projection.kinds import Entity
from eventlog.projection.manager import Projections
from eventlog.repositories.base import Repository
from eventlog.repositories.entities import begins
from eventlog.store.base import Durability, Filter, QueryReader, Record
from projections.llm_calls import projections as _llm_calls
from projections.messages import Message
from projections.messages import projections as _messages
from projections.sessions import Session
from projections.sessions import projections as _sessions
from projections.tool_calls import projections as _tool_calls

SESSIONS, INSTANCES = _sessions
MESSAGES, COMPACTIONS, SUMMARIES = _messages
LLM_CALLS = _llm_calls[0]
TOOL_CALLS = _tool_calls[0]
MAX_LINEAGE = 1_000
MAX_ID = 200
Order = Literal["created_at", "-created_at", "updated_at", "-updated_at"]
T = TypeVar("T")


class Desk:
    """A session as one write transaction sees it. Tables that commands rely on are at the head there."""

    def __init__(self, tx: Tx, tables: Projections, session_id: str, needs: Sequence[str]) -> None:
        self.tx = tx
        self.stream = stream_of(session_id)
        self._tables = tables
        tables.bring(tx, "sessions", *needs)
        self.reader: QueryReader = tx.transaction.writer
        session: Session | None = tables.row(tx, SESSIONS, session_id)
        if session is None:
            raise no_session(session_id)
        self.session = session

    def row(self, root: Entity[Any], part: str) -> Any:
        """A row of the session's own of an entity that has many rows a stream, or None."""
        return self._tables.row(self.tx, root, (self.stream, part))

    def append(self, event: Event, occurred_at: When = None, key: str | None = None) -> int:
        """Append to the session's stream; the position."""
        return self.tx.append(self.stream, event, occurred_at=occurred_at, key=key).first


class SessionBase(Repository):
    """Find sessions, and do something with one inside a transaction."""

    observer: Callable[[str], None] | None = None
    """Is told of each session that a command changed, once that is committed. It must not raise."""

    @property
    def _tables(self) -> Projections:
        assert self._projections is not None  # noqa: S101 - only the past has none, and it takes no commands
        return self._projections

    def _decide(self, session_id: str, work: Callable[[Desk], T], *needs: str, durability: Durability = "full") -> T:
        log, tables = self._log, self._tables
        made = log.decide(lambda tx: work(Desk(tx, tables, session_id, needs)), durability=durability)
        self._told(session_id)
        return made

    def _told(self, session_id: str) -> None:
        if (observer := self.observer) is not None:
            self._log.after_commit(f"session-{session_id}", lambda: observer(session_id))

    def _tell(self, session_id: str, event: Event, occurred_at: When = None) -> Session:
        """Append an event to a session that there is, and return it."""
        self._decide(session_id, lambda desk: desk.append(event, occurred_at))
        return self.get(session_id)

    def find(self, session_id: str) -> Session | None:
        """A session, or None."""
        table = self._fresh(SESSIONS)
        with self._source.reader() as reader:
            return reader.load(table, [(session_id,)]).get((session_id,))

    def get(self, session_id: str) -> Session:
        """A session. Raises NotFound."""
        if (session := self.find(session_id)) is None:
            raise no_session(session_id)
        return session

    def list(
        self,
        *,
        workspace_id: str | None = None,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        agent: str | None = None,
        archived: bool | None = None,
        parent_session_id: str | None = None,
        text: str | None = None,
        prefix: str | None = None,
        since: int | None = None,
        until: int | None = None,
        order: Order = "-created_at",
        limit: int | None = 50,
        offset: int = 0,
    ) -> builtins.list[Session]:
        """Sessions, the newest first (``order``); ``text`` must occur in the title, an id begins with
        ``prefix``, ``since`` ≤ created_at < ``until``. ``limit=None``: all there are. Raises InvalidInput.
        """
        if order.removeprefix("-") not in ("created_at", "updated_at"):
            raise InvalidInput(f"order is created_at, -created_at, updated_at or -updated_at, not {order!r}")
        where = _filters(workspace_id, status, kind, agent, archived, parent_session_id, text, prefix, since, until)
        table = self._fresh(SESSIONS)
        last = "-session_id" if order.startswith("-") else "session_id"
        with self._source.reader() as reader:
            return reader.select(table, where, order=(order, last), limit=limit, offset=offset)

    def count(
        self,
        *,
        workspace_id: str | None = None,
        status: str | Sequence[str] | None = None,
        kind: str | None = None,
        agent: str | None = None,
        archived: bool | None = None,
        parent_session_id: str | None = None,
        text: str | None = None,
        prefix: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> int:
        """How many sessions `list` would give without a limit."""
        where = _filters(workspace_id, status, kind, agent, archived, parent_session_id, text, prefix, since, until)
        table = self._fresh(SESSIONS)
        with self._source.reader() as reader:
            return reader.count(table, where)

    def history(self, session_id: str) -> builtins.list[Record]:
        """Every record of a session's stream, also of one that was deleted. Raises NotFound."""
        records = list(self._source.read_stream(stream_of(session_id)))
        if not records:
            raise no_session(session_id)
        return records


def _filters(
    workspace_id: str | None,
    status: str | Sequence[str] | None,
    kind: str | None,
    agent: str | None,
    archived: bool | None,
    parent_session_id: str | None,
    text: str | None,
    prefix: str | None,
    since: int | None,
    until: int | None,
) -> list[Filter]:
    equal = (
        ("workspace_id", workspace_id),
        ("kind", kind),
        ("agent", agent),
        ("archived", archived),
        ("parent_session_id", parent_session_id),
    )
    where = [Filter(column, "=", value) for column, value in equal if value is not None]
    if status is not None:
        statuses = (status,) if isinstance(status, str) else tuple(status)
        where.append(Filter("status", "in", statuses))
    if text is not None:
        where.append(Filter("title", "text", text))
    where += begins("session_id", prefix)
    if since is not None:
        where.append(Filter("created_at", ">=", since))
    if until is not None:
        where.append(Filter("created_at", "<", until))
    return where


def lineage(reader: QueryReader, session: Session) -> list[str]:
    """The streams of a session and of those it comes from, nearest first; a circle of parents ends where it closes."""
    streams = {stream_of(session.session_id): None}
    parent = session.parent_session_id
    while parent is not None and (stream := f"session-{parent}") not in streams and len(streams) < MAX_LINEAGE:
        streams[stream] = None
        row: Session | None = reader.load(SESSIONS.table, [(parent,)]).get((parent,))
        parent = None if row is None else row.parent_session_id
    return list(streams)


def located(reader: QueryReader, message_id: str, streams: Sequence[str]) -> Message | None:
    """The message of an id: of the nearest of these streams that has it, else of whichever had it first."""
    rows = reader.select(MESSAGES.table, [Filter("message_id", "=", message_id)], order=("position",))
    places = {stream: place for place, stream in enumerate(streams)}
    return min(rows, key=lambda row: (places.get(row.stream, len(places)), row.position), default=None)


def known_message(desk: Desk, message_id: str) -> Message:
    """A message of a session or of those it comes from. Raises NotFound."""
    if isinstance(message_id, str):
        streams = lineage(desk.reader, desk.session)
        found = located(desk.reader, message_id, streams)
        if found is not None and found.stream in streams:
            return found
    raise NotFound(
        f"session {desk.session.session_id} has no message {str(message_id)[:80]!r}",
        session_id=desk.session.session_id,
        message_id=message_id,
    )


def no_session(session_id: str) -> NotFound:
    """What there is to say of a session that is not in the table."""
    return NotFound(
        f"there is no session {str(session_id)[:80]!r}, or it was deleted; `eventlog sessions list` shows them all",
        session_id=session_id,
    )


def stream_of(session_id: str) -> str:
    """The stream of a session."""
    return f"session-{session_id}"


def checked_id(what: str, given: object) -> str:
    """An id. Raises InvalidName."""
    if not isinstance(given, str) or not 0 < len(given) <= MAX_ID or not given.isprintable() or given != given.strip():
        raise InvalidName(f"a {what}'s id is 1 to {MAX_ID} printable characters, not {str(given)[:80]!r}")
    return given


def checked_session_id(given: object) -> str:
    """A session's id, which is a part of paths. Raises InvalidName."""
    session_id = checked_id("session", given)
    if "/" in session_id or session_id in (".", ".."):
        raise InvalidName(f"a session's id has no '/' in it, because it stands in paths: {session_id[:80]!r}")
    return session_id


def as_raw(what: str, value: object) -> Any:
    """A value as the JSON that an event keeps. Raises InvalidEvent."""
    from msgspec import Raw

    try:
        data = to_json(value)
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidEvent(f"{what}: {error or 'nested too deeply'}") from error
    if b"null" in data and (path := find_non_finite(value)):
        raise InvalidEvent(f"{what}: a number that JSON cannot hold (NaN or infinite) at `{path}`", path=path)
    return Raw(data)


def at_least_zero(**numbers: object) -> None:
    """Raises InvalidInput for a number that is no integer of 0 or more; None is none."""
    for name, number in numbers.items():
        if number is not None and (type(number) is not int or number < 0):
            raise InvalidInput(f"{name} is an integer of 0 or more, not {number!r}")
