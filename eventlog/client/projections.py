"""The tables of a log behind a server: how they stand, and what a person does with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec

from eventlog.client.calls import Call, Server, listed
from eventlog.errors import InvalidQuery, ProjectionFailed, ProjectionPinned
from eventlog.log import EventLog
from eventlog.projection.discovery import installed
from eventlog.projection.kinds import Group, groups_of
from eventlog.projection.manager import (
    UNKNOWN,
    Explanation,
    Projections,
    ProjectionStatus,
    RowDiff,
    Step,
    Version,
    read_version,
)
from eventlog.projection.rebuild import Difference
from eventlog.store.base import Progress
from eventlog.wire import Difference as SentDifference
from eventlog.wire import Explanation as SentExplanation
from eventlog.wire import Head, Names, Rollback
from eventlog.wire import ProjectionStatus as SentStatus
from eventlog.wire import RowDiff as SentDiff

MOST_DIFFERENCES = 10_000
STATUS = Call("GET", "/api/projections", list[SentStatus])
REBUILD = Call("POST", "/api/projections/rebuild", list[SentStatus], Names, again=True, slow=True)
ROLLBACK = Call("POST", "/api/projections/rollback", list[SentStatus], Rollback, again=True, slow=True)
RESUME = Call("POST", "/api/projections/resume", list[SentStatus], Names, again=True, slow=True)
DIFF = Call("GET", "/api/projections/diff", list[SentDiff], slow=True)
VERIFY = Call("GET", "/api/projections/verify", list[SentDifference], slow=True)
EXPLAIN = Call("GET", "/api/projections/{table}/explain", SentExplanation)
HEAD = Call("GET", "/api/head", Head)


class RemoteProjections(Projections):
    """`log.projections` as far as a server offers it. Progress is not told."""

    inline = True

    def __init__(self, log: EventLog, server: Server) -> None:
        self._log = log
        self._server = server
        self.held = {}
        self.stopped = {}
        self.behind = {}

    @cached_property
    def groups(self) -> dict[str, Group]:  # type: ignore[override]
        """The projections that this program knows; the server may have others."""
        return groups_of(installed())

    def names(self) -> list[str]:
        """See `Projections.names`."""
        return [one.name for one in self.status() if one.mode != UNKNOWN]

    def status(self, *, counted: bool = True) -> list[ProjectionStatus]:
        """See `Projections.status`; the server counts in any case."""
        return [ProjectionStatus(*msgspec.structs.astuple(one)) for one in self._server.ask(STATUS, {})]

    def require(self, name: str) -> None:
        """See `Projections.require`."""
        for one in self.status():
            if one.name == name and one.state == "pinned":
                raise ProjectionPinned(
                    f"{name} is rolled back to version {one.position} and pinned; run `eventlog projections resume` "
                    "(log.projections.resume()) first",
                    name=name,
                    position=one.position,
                )
            if one.name == name and one.state == "failed":
                raise ProjectionFailed(
                    f"{name} failed at position {one.error_position}: {one.error}",
                    name=name,
                    position=one.error_position,
                )

    def version(self, version: Version) -> int:
        """See `Projections.version`."""
        if isinstance(version, bool) or not isinstance(version, (int, str, datetime)):
            raise InvalidQuery(f"a version is a position or a time, not {version!r}")
        if isinstance(version, str):
            version = read_version(version)
        if isinstance(version, datetime):
            version = version.astimezone().isoformat()
        head: Head = self._server.ask(HEAD, {"as_of": version})
        return head.position

    def rebuild(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> None:
        """See `Projections.rebuild`."""
        self._command(REBUILD, names)

    def rollback(self, to: Version, names: Iterable[str] | None = None, progress: Progress | None = None) -> int:
        """See `Projections.rollback`."""
        target = self.version(to)
        self._command(ROLLBACK, names, to=target)
        return target

    def resume(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> None:
        """See `Projections.resume`."""
        self._command(RESUME, names)

    def _command(self, call: Call, names: Iterable[str] | None, **given: Any) -> None:
        self._log.check_writable()
        self._server.ask(call, {"names": listed(names), **given})

    def diff(self, first: Version, last: Version, names: Iterable[str] | None = None) -> Iterator[RowDiff]:
        """See `Projections.diff`. Raises InvalidQuery behind the first 10,000 rows: a server gives no more."""
        given = {"first": self.version(first), "last": self.version(last), "names": listed(names)}
        found: list[SentDiff] = self._server.ask(DIFF, {**given, "limit": MOST_DIFFERENCES})
        for one in found:
            yield RowDiff(*msgspec.structs.astuple(one))
        if len(found) == MOST_DIFFERENCES:
            raise InvalidQuery(f"a server gives {MOST_DIFFERENCES:,} rows that differ, and there may be more")

    def explain(self, table: str, key: Any) -> Explanation:
        """See `Projections.explain`."""
        parts = key if isinstance(key, (tuple, list)) else (key,)
        found: SentExplanation = self._server.ask(EXPLAIN, {"table": table, "key": [str(part) for part in parts]})
        steps = [Step(*msgspec.structs.astuple(step)) for step in found.steps]
        return Explanation(found.table, found.key, found.row, steps, found.sources)

    def verify(self, names: Iterable[str] | None = None, progress: Progress | None = None) -> list[Difference]:
        """See `Projections.verify`."""
        found: list[SentDifference] = self._server.ask(VERIFY, {"names": listed(names)})
        return [Difference(*msgspec.structs.astuple(one)) for one in found]
