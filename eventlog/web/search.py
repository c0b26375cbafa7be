"""Search: what was said, called, run and noted, by its words. Secrets are masked."""

from __future__ import annotations

from typing import Any

import msgspec

from eventlog.app import Log, Past
from eventlog.events.base import Int64
from eventlog.repositories.search import DocumentKind, Hit
from eventlog.web.operation import Moment, Operation, Query
from eventlog.web.runs import Offset, Rows


class SearchQuery(Query, frozen=True, kw_only=True):
    """What is searched for: words, "phrases", prefix*, -without, OR. ``since`` ≤ occurred_at < ``until`` (µs);
    ``before``: a position.
    """

    query: str
    kind: DocumentKind | None = None
    role: str | None = None
    name: str | None = None
    stream: str | None = None
    session_id: str | None = None
    workspace_id: str | None = None
    agent: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    before: Int64 | None = None
    limit: Rows = 20
    offset: Offset = 0


class SearchCounted(Query, frozen=True, kw_only=True):
    """What is searched for."""

    query: str
    kind: DocumentKind | None = None
    role: str | None = None
    name: str | None = None
    stream: str | None = None
    session_id: str | None = None
    since: Moment | None = None
    until: Moment | None = None


def search(ask: Log | Past, query: SearchQuery) -> list[Hit]:
    """What has these words, what came into the log last first, with a piece of its text."""
    return ask.search.find(**msgspec.structs.asdict(query))


def count_found(ask: Log | Past, query: SearchCounted) -> int:
    """How much has these words."""
    return ask.search.count(**msgspec.structs.asdict(query))


def _next_page(query: SearchQuery, hits: list[Hit]) -> dict[str, Any] | None:
    return {"before": hits[-1].position, "offset": 0} if len(hits) == query.limit else None


OPERATIONS = (
    Operation("GET", "/api/search", search, follows=_next_page),
    Operation("GET", "/api/search/count", count_found),
)
