"""What a server lets one read of the log itself: its head, its records, and rows by their keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from eventlog.client.calls import MOST_ROWS, Call, Server
from eventlog.client.faults import needs_the_log
from eventlog.errors import NotFound
from eventlog.store.base import GENESIS, Head, Key, RecordRow, Selection, Table
from eventlog.wire import Head as SentHead
from eventlog.wire import StoredRecord
from projections.containers import Container
from projections.contests import Contest, ContestProblem
from projections.imports import ImportSource
from projections.jobs import Job
from projections.projects import Project
from projections.runs import Run
from projections.sessions import Session
from projections.settings import Setting
from projections.tasks import Task
from projections.workers import Schedule, Worker
from projections.workspaces import Workspace

HEAD = Call("GET", "/api/head", SentHead)
EVENTS = Call("GET", "/api/events", list[StoredRecord])
STREAM = Call("GET", "/api/streams/{stream}", list[StoredRecord])
KEY = Call("GET", "/api/keys/{key}", StoredRecord)
ROWS = {
    "runs": Call("GET", "/api/runs/{key}", Run),
    "projects": Call("GET", "/api/projects/{key}", Project),
    "jobs": Call("GET", "/api/jobs/{key}", Job),
    "workers": Call("GET", "/api/workers/{key}", Worker),
    "schedules": Call("GET", "/api/schedules/{key}", Schedule),
    "sessions": Call("GET", "/api/sessions/{key}", Session),
    "workspaces": Call("GET", "/api/workspaces/{key}", Workspace),
    "contests": Call("GET", "/api/contests/{key}", Contest),
    "problems": Call("GET", "/api/problems/{key}", ContestProblem),
    "imports": Call("GET", "/api/imports/{key}", ImportSource),
    "settings": Call("GET", "/api/settings/{key}", Setting),
    "containers": Call("GET", "/api/containers/{key}", Container),
    "tasks": Call("GET", "/api/tasks/{key}", Task),
}
FIRST_PAGE = 20
PAGE_BYTES = 4 << 20
"""About so much comes at once: large events come few at a time."""


def row_of(record: StoredRecord) -> RecordRow:
    """A record that travelled as it is stored."""
    metadata = bytes(record.metadata).decode()
    return (
        record.position, record.stream, record.version, record.type, record.schema, record.occurred_at,
        record.recorded_at, record.key, record.actor, record.correlation, record.causation,
        bytes(record.data).decode(), None if metadata == "null" else metadata, bytes.fromhex(record.hash),
    )  # fmt: skip


class RemoteReader:
    """The part of a `Reader` that a server offers. Each question is one of its own: what was asked before may have
    changed since, but where the log is read as of a version.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def head(self) -> Head:
        """The last position, its hash and its recorded_at."""
        sent: SentHead = self._server.ask(HEAD, {})
        return Head(sent.position, bytes.fromhex(sent.hash) or GENESIS, sent.recorded_at)

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
        pages = self.pages(after, to, where, backwards=backwards, limit=limit, in_stream=in_stream)
        return [row for page in pages for row in page]

    def pages(
        self,
        after: int,
        to: int | None,
        where: Selection,
        *,
        backwards: bool = False,
        limit: int | None = None,
        in_stream: bool = False,
    ) -> Iterator[list[RecordRow]]:
        """As `records`, in pages as they come: none is asked for before the one before it was taken."""
        if where.part is not None:
            raise needs_the_log("reading a part of the streams")
        streams, categories, types = (
            None if texts is None else [text for text in texts if text] for texts in where[:3]
        )
        if [] in (streams, categories, types):
            return
        call = STREAM if in_stream else EVENTS
        filters: dict[str, Any] = {"streams": streams, "categories": categories, "types": types}
        if in_stream:
            filters = {"stream": (streams or [""])[0]}
        after, size, left = max(after, 0), FIRST_PAGE, limit
        while (to is None or after < to) and (left is None or left > 0):
            asked = size if left is None else min(size, left)
            bounds = {"after": after, "to": to, "backwards": backwards or None, "limit": asked}
            try:
                rows = [row_of(record) for record in self._server.ask(call, {**filters, **bounds})]
            except NotFound:
                return  # nothing that could be a stream
            if rows:
                yield rows
            if len(rows) < asked:
                return
            left = None if left is None else left - len(rows)
            last = rows[-1][2] if in_stream else rows[-1][0]
            if backwards:
                to = last - 1
            else:
                after = last
            length = sum(len(row[11]) + 400 for row in rows)
            size = max(1, min(MOST_ROWS, 4 * asked, asked * PAGE_BYTES // length))

    def record_with_key(self, key: str) -> RecordRow | None:
        """The record that carries an idempotency key."""
        try:
            return row_of(self._server.ask(KEY, {"key": key}))
        except NotFound:
            return None

    def load(self, table: Table, keys: Iterable[Key]) -> dict[Key, Any]:
        """Rows by key, as Structs; missing keys are left out."""
        call = ROWS.get(table.name)
        if call is None:
            raise needs_the_log(f"reading rows of {table.name}")
        found: dict[Key, Any] = {}
        for key in keys:
            if key[0] != "":
                try:
                    found[key] = self._server.ask(call, {"key": key[0]})
                except NotFound:
                    continue
        return found

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise needs_the_log(f"reading tables without a repository ({name})")
