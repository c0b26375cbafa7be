"""What was brought in. Importing itself reads files of this machine, and is not offered over HTTP."""

from __future__ import annotations

from typing import Any

from eventlog.app import Log, Past
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from projections.imports import ImportSource, Quarantined


class ImportsQuery(Query, frozen=True, kw_only=True):
    """Which sources, by path."""

    kind: str | None = None
    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


class QuarantineQuery(Query, frozen=True, kw_only=True):
    """Which parts of a source, by offset."""

    resolved: bool = False
    limit: Rows = 50
    offset: Offset = 0


def list_imports(ask: Log | Past, query: ImportsQuery) -> list[ImportSource]:
    """Sources that were imported, by path."""
    return ask.imports.list(kind=query.kind, text=query.text, limit=query.limit, offset=query.offset)


def get_import(ask: Log | Past, source_id: str) -> ImportSource:
    """A source: how far it is in the log, and what became of its bytes."""
    return ask.imports.get(source_id)


def list_quarantined(ask: Log | Past, source_id: str, query: QuarantineQuery) -> list[Quarantined]:
    """What could not be read of a source."""
    return ask.imports.quarantined(source_id, resolved=query.resolved, limit=query.limit, offset=query.offset)


def _next(query: Any, rows: list[Any]) -> dict[str, Any] | None:
    return {"offset": query.offset + query.limit} if len(rows) == query.limit else None


OPERATIONS = (
    Operation("GET", "/api/imports", list_imports, follows=_next),
    Operation("GET", "/api/imports/{source_id}", get_import),
    Operation("GET", "/api/imports/{source_id}/quarantine", list_quarantined, follows=_next),
)
