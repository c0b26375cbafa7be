"""What repositories of simple things share: each thing is a stream, and has a row while it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from eventlog.errors import InvalidName, NotFound
from eventlog.events import Event
from eventlog.events.executions import MAX_NAME
from eventlog.log import Tx
from eventlog.projection import Entity
from eventlog.repositories.base import Repository
from eventlog.store.base import Filter

R = TypeVar("R")


class Said(NamedTuple):
    """An event to append, and when it happened; None: now."""

    event: Event
    occurred_at: int | None = None


class EntityRepository(Repository, Generic[R]):
    """Things of one kind. ``noun`` is what one is called, ``way_out`` how one comes to be."""

    entity: ClassVar[Entity[Any]]
    noun: ClassVar[str]
    way_out: ClassVar[str]

    def _found(self, key: str) -> R | None:
        table = self._fresh(self.entity)
        with self._source.reader() as reader:
            found: R | None = reader.load(table, [(key,)]).get((key,))
            return found

    def _rows(self, where: Sequence[Filter], order: Sequence[str], limit: int | None, offset: int) -> list[R]:
        table = self._fresh(self.entity)
        with self._source.reader() as reader:
            return reader.select(table, where, order=order, limit=limit, offset=offset)

    def _number(self, where: Sequence[Filter]) -> int:
        table = self._fresh(self.entity)
        with self._source.reader() as reader:
            return reader.count(table, where)

    def _missing(self, key: str) -> NotFound:
        return NotFound(f"there is no {self.noun} {key[:MAX_NAME]!r}; {self.way_out}", key=key)

    def _decide(self, key: str, work: Callable[[R | None], Sequence[Said]]) -> None:
        """Append to a thing's stream what ``work`` says of it as it is now, by its own events; None: it is not there.

        All or nothing. Nothing is appended where ``work`` says nothing.
        """
        check_name(f"the name of a {self.noun}", key)
        stream = self.entity.stream_of(key)

        def run(tx: Tx) -> None:
            for event, occurred_at in work(self._now(tx, stream)):
                tx.append(stream, event, occurred_at=occurred_at)

        self._before_command(self.entity.name).decide(run)

    def _now(self, tx: Tx, stream: str) -> R | None:
        row: R | None = None
        for record in tx.read_stream(stream, types=self.entity.types):
            row = self.entity.evolve(row, record.event, record)
        return row

    def _must_be(self, key: str, held: R | None) -> R:
        if held is None:
            raise self._missing(key)
        return held


def check_name(what: str, text: object) -> str:
    """``text`` where it is 1 to 200 printable characters. Raises InvalidName."""
    if not isinstance(text, str) or not text or len(text) > MAX_NAME or not text.isprintable():
        raise InvalidName(f"{what} is 1 to {MAX_NAME} printable characters, not {str(text)[:80]!r}")
    return text


def begins(column: str, prefix: str | None) -> list[Filter]:
    """Filters for the values of a column that begin so; None: any."""
    return [] if prefix is None else [Filter(column, ">=", prefix), Filter(column, "<", f"{prefix}\U0010ffff")]


def equal(**columns: object) -> list[Filter]:
    """Filters for the columns that are given."""
    return [Filter(column, "=", value) for column, value in columns.items() if value is not None]
