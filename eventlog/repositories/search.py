"""`log.search`: what was said, called, run and noted, found by its words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from eventlog.errors import InvalidQuery
from eventlog.redaction import redact
from eventlog.repositories.base import Repository
from eventlog.repositories.snippets import snippet
from eventlog.store.base import Filter, QueryReader, Record, Selection, check_page
from eventlog.store.searching import Search, parse
from projections.search import SearchDocument, text_of
from projections.search import projections as _projections
from projections.sessions import projections as _sessions

DOCUMENTS = _projections[0]
SESSIONS = _sessions[0]
MAX_STREAMS = 400
"""Sessions of a workspace that are asked for together; of more, each row that is found is looked at."""
PAGE = 500
DocumentKind = Literal["message", "tool_call", "tool_result", "command", "note", "summary"]


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was found: the record at ``position``. ``snippet`` is a piece of its text on one line, secrets
    masked; ``marks`` are the places (first, end) in it of what was searched for, in characters. Of what is in a session
    also its title, and the message it is or belongs to.
    """

    position: int
    stream: str
    kind: str
    role: str | None
    name: str | None
    occurred_at: int
    snippet: str
    marks: list[tuple[int, int]]
    session_title: str | None = None
    message_id: str | None = None


class SearchRepository(Repository):
    """Find messages, calls of tools and their results, commands, notes and summaries."""

    def find(
        self,
        query: str,
        *,
        kind: DocumentKind | None = None,
        role: str | None = None,
        name: str | None = None,
        stream: str | None = None,
        session_id: str | None = None,
        workspace_id: str | None = None,
        agent: str | None = None,
        since: int | None = None,
        until: int | None = None,
        before: int | None = None,
        limit: int | None = 20,
        offset: int = 0,
    ) -> list[Hit]:
        """What has these words, newest first (by position). See `eventlog.store.searching` for what can be asked.

        ``name`` is a tool's, ``since`` ≤ occurred_at < ``until`` (µs), ``before`` a position: that of the last hit
        gives the next page. Raises InvalidQuery, which says what is wrong with the query.
        """
        check_page(limit, offset)
        search = parse(query)
        where = _where(search, kind, role, name, stream, session_id, since, until)
        if before is not None:
            where.append(Filter("position", "<", before))
        table = self._fresh(DOCUMENTS)
        self._fresh(SESSIONS)
        with self._source.reader() as reader:
            streams = self._streams(reader, workspace_id, agent)
            if streams is None or len(streams) <= MAX_STREAMS:
                if streams is not None:
                    where.append(Filter("stream", "in", tuple(streams)))
                rows = reader.select(table, where, order=("-position",), limit=limit, offset=offset)
            else:
                rows = _picked(_all(reader, where), set(streams), limit, offset)
            titles = self._titles(reader, rows)
            return [self._hit(reader, row, search, titles.get(row.stream)) for row in rows]

    def count(
        self,
        query: str,
        *,
        kind: DocumentKind | None = None,
        role: str | None = None,
        name: str | None = None,
        stream: str | None = None,
        session_id: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> int:
        """How much has these words."""
        where = _where(parse(query), kind, role, name, stream, session_id, since, until)
        table = self._fresh(DOCUMENTS)
        with self._source.reader() as reader:
            return reader.count(table, where)

    def _streams(self, reader: QueryReader, workspace_id: str | None, agent: str | None) -> list[str] | None:
        if workspace_id is None and agent is None:
            return None
        given = (("workspace_id", workspace_id), ("agent", agent))
        where = [Filter(column, "=", value) for column, value in given if value is not None]
        rows = reader.select(self._fresh(SESSIONS), where)
        return [f"session-{row.session_id}" for row in rows]

    def _titles(self, reader: QueryReader, rows: Sequence[SearchDocument]) -> dict[str, str]:
        ids = {row.stream.removeprefix("session-") for row in rows if row.stream.startswith("session-")}
        found = reader.load(SESSIONS.table, [(one,) for one in sorted(ids)]) if ids else {}
        return {f"session-{key[0]}": redact(row.title) for key, row in found.items() if row.title}

    def _hit(self, reader: QueryReader, row: SearchDocument, search: Search, title: str | None) -> Hit:
        (record,) = reader.records(row.position - 1, row.position, Selection())
        event = Record(*record).event
        found = snippet(redact(text_of(event)), search)
        return Hit(
            position=row.position,
            stream=row.stream,
            kind=row.kind,
            role=row.role,
            name=row.name,
            occurred_at=row.occurred_at,
            snippet=found.text,
            marks=found.marks,
            session_title=title,
            message_id=getattr(event, "message_id", None),
        )


def _where(
    search: Search,
    kind: str | None,
    role: str | None,
    name: str | None,
    stream: str | None,
    session_id: str | None,
    since: int | None,
    until: int | None,
) -> list[Filter]:
    if session_id is not None:
        if stream is not None:
            raise InvalidQuery("a session is a stream: say one of session_id and stream")
        stream = f"session-{session_id}"
    given = (
        ("kind", "=", kind),
        ("role", "=", role),
        ("name", "=", name),
        ("stream", "=", stream),
        ("occurred_at", ">=", since),
        ("occurred_at", "<", until),
    )
    where = [Filter(column, op, value) for column, op, value in given if value is not None]  # type: ignore[arg-type]
    return [Filter("", "match", search), *where]


def _all(reader: QueryReader, where: Sequence[Filter]) -> Iterator[SearchDocument]:
    """Every row that is found, newest first, page by page."""
    before: list[Filter] = []
    while rows := reader.select(DOCUMENTS.table, [*where, *before], order=("-position",), limit=PAGE):
        yield from rows
        before = [Filter("position", "<", rows[-1].position)]


def _picked(rows: Iterable[SearchDocument], streams: set[str], limit: int | None, offset: int) -> list[SearchDocument]:
    picked: list[SearchDocument] = []
    for row in rows:
        if limit is not None and len(picked) >= offset + limit:
            break
        if row.stream in streams:
            picked.append(row)
    return picked[offset:]
