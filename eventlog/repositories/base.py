"""What repositories need of a log: questions can be asked of the live log and of one as of a version alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from eventlog.errors import LogReadOnly
from eventlog.log import EventLog
from eventlog.projection.kinds import Projection
from eventlog.projection.manager import Projections
from eventlog.store.base import QueryReader, Record, Table


class Source(Protocol):
    """A log that can be asked: the live one, or a past one."""

    @property
    def log_id(self) -> str | None:
        """See `EventLog.log_id`."""

    def reader(self) -> AbstractContextManager[QueryReader]:
        """The state to ask."""

    def read_stream(self, stream: str, *, after: int = 0) -> Iterator[Record]:
        """A stream's records."""


class Repository:
    """Queries against a source; commands need the live log."""

    def __init__(self, source: Source, projections: Projections | None = None) -> None:
        self._source = source
        self._projections = projections

    @property
    def _log(self) -> EventLog:
        if not isinstance(self._source, EventLog):
            raise LogReadOnly("the past cannot be changed: this is the log as of a version")
        return self._source

    def _before_command(self, name: str) -> EventLog:
        """The log, after making sure that the projection a command relies on can be relied on."""
        log = self._log
        if self._projections is not None:
            self._projections.require(name)
        return log

    def _fresh(self, projection: Projection) -> Table:
        """The table of a projection, brought to the head first where it lags."""
        if self._projections is not None:
            self._projections.ensure(projection.name)
        return projection.table
