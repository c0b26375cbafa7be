"""The three kinds of projection. Each is a declaration with pure functions; each is exactly reversible."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Generic, NamedTuple, Self, TypeVar

import msgspec

from eventlog.errors import ProjectionError
from eventlog.events import Event, event_type
from eventlog.store.base import Record, Table, Words

MAX_KNOWN_KEYS = 10_000
MAX_DIGITS = 18
"""Numbers of more digits do not fit a column; a stream named like that is not an entity's."""
R = TypeVar("R", bound=msgspec.Struct)
Contribution = tuple[tuple[Any, ...], Sequence[int]]
Evolve = Callable[[R | None, Any, Record], R | None]


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row of a projection's table: field order is column order, the first field is the key of an entity."""


class SearchableRow(Row, frozen=True, kw_only=True):
    """A row that is found by its words. ``text`` is read once, for its words: a row that is read back has none."""

    text: str = ""


class Retired(NamedTuple):
    """The last row of a thing whose row was taken out of its table while what it counted for stays."""

    row: Any


def in_table(row: Any) -> Any:
    """What a table has of a row: nothing once it is retired."""
    return None if type(row) is Retired else row


class Projection:
    """What the three kinds have in common. ``version`` rises when the code gives other rows for the same events."""

    kind = ""

    def __init__(
        self,
        name: str,
        version: int,
        row: type[msgspec.Struct],
        key: Sequence[str],
        indexes: Iterable[Sequence[str]],
        code: Callable[..., Any],
        measures: Sequence[str] = (),
        words: Words | None = None,
    ) -> None:
        if not name.isidentifier() or "__" in name:
            raise ProjectionError(f"a projection's name is its table's name, an identifier without '__', not {name!r}")
        self.name = name
        self.version = version
        self.table = Table(name, row, key, indexes, measures, words)
        self._code = code

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, version={self.version})"

    def shadow(self, suffix: str) -> Self:
        """The same projection, on a table of another name."""
        twin = copy.copy(self)
        twin.table = self.table.renamed(f"{self.name}__{suffix}")
        return twin

    @cached_property
    def fingerprint(self) -> str:
        """What tells two pieces of code of one version apart: a hash of the module's source and the table."""
        import inspect

        try:
            source = inspect.getsource(inspect.getmodule(self._code) or self._code)
        except (OSError, TypeError):
            source = ""
        shape = f"{self.kind} {self.table.columns} {self.table.key} {self.table.indexes}"
        shape += f" {self.table.words}" if self.table.words is not None else ""
        return hashlib.sha256(f"{shape}\n{source}".encode()).hexdigest()[:16]


class _Root(Projection):
    """A projection computed from records: an entity or a journal."""

    types: tuple[type[Event], ...]
    lazy = False
    """Whether it follows in bigger steps, and when it is asked, instead of with every append."""

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the events it is computed from."""
        return tuple(event_type(cls) for cls in self.types)


class Entity(_Root, Generic[R]):
    """One row per thing, folded from the events of its stream.

    ``evolve(row | None, event, record) -> row | None`` is pure. The stream ``<category>-<key>`` alone decides the row;
    the key is the row's first field, text or an integer without leading zeros.

    With ``part``, the name of a field that all its events have, a stream has many things: a row for each value of that
    field. The row's first two fields are then ``stream`` and that field, and both together are the key; streams of any
    category have such rows.

    An event of the type ``retires`` takes the row out of the table for good, and rollups that keep what was retired
    still count it; no later event of the stream is looked at.
    """

    kind = "entity"

    def __init__(
        self,
        name: str,
        *,
        version: int,
        row: type[R],
        types: Sequence[type[Event]],
        evolve: Evolve[R],
        category: str = "",
        part: str | None = None,
        indexes: Iterable[Sequence[str]] = (),
        retires: type[Event] | None = None,
    ) -> None:
        if (part is None) is (not category) or (part is not None and retires is not None):
            raise ProjectionError(f"the entity {name} has a category, or a part and nothing that retires its rows")
        if part is not None and row.__struct_fields__[:2] != ("stream", part):
            raise ProjectionError(f"the first fields of the entity {name} are stream and {part}")
        super().__init__(name, version, row, row.__struct_fields__[: 1 if part is None else 2], indexes, evolve)
        self.category = category
        self.part = None if part is None else attrgetter(part)
        self.types = tuple(types)
        self.evolve = evolve
        self.retires = retires
        self._prefix = f"{category}-"
        self._numbered = self.table.columns[0].kind == "int"
        self._keys: dict[str, Any] = {}

    def key_of(self, stream: str) -> Any:
        """The key of a stream's row; None when the stream is not of this category or not of this form."""
        try:
            return self._keys[stream]
        except KeyError:
            if len(self._keys) >= MAX_KNOWN_KEYS:
                self._keys.clear()
            key = self._keys[stream] = self._parse(stream)
            return key

    def _parse(self, stream: str) -> Any:
        if not stream.startswith(self._prefix):
            return None
        text = stream[len(self._prefix) :]
        if not self._numbered:
            return text or None
        if not text.isdecimal() or not text.isascii() or len(text) > MAX_DIGITS or (text[0] == "0" and text != "0"):
            return None
        return int(text)

    def stream_of(self, key: Any) -> str:
        """The stream that decides a row; ``key`` is the first column of its key."""
        return key if self.part is not None else f"{self._prefix}{key}"

    def thing_of(self, record: Record, event: Any) -> Any:
        """What a record is about: the key of a row where there is one a stream, else stream and part."""
        return self.key_of(record.stream) if self.part is None else (record.stream, self.part(event))

    def row_key(self, thing: Any) -> tuple[Any, ...]:
        """The key of the row of a thing, column by column."""
        return (thing,) if self.part is None else thing


class Journal(_Root, Generic[R]):
    """One row per event: ``row(event, record) -> row | None`` is pure; the row's first field is ``position``.

    With ``words`` (see `Words`) its rows, each a `SearchableRow`, are found by the words of their ``text``. An index of
    words costs more for one row than all else that an append does, and little more for a hundred: it is lazy.
    """

    kind = "journal"

    def __init__(
        self,
        name: str,
        *,
        version: int,
        row: type[R],
        types: Sequence[type[Event]],
        make: Callable[[Any, Record], R | None],
        indexes: Iterable[Sequence[str]] = (),
        words: Words | None = None,
    ) -> None:
        if row.__struct_fields__[:1] != ("position",):
            raise ProjectionError(f"the first field of the journal {name} is position")
        if (words is not None) is not issubclass(row, SearchableRow):
            raise ProjectionError(f"the journal {name} has words if, and only if, its row is a SearchableRow")
        if words is not None and not {"words", "place"}.isdisjoint(row.__struct_fields__):
            raise ProjectionError(f"a column of the journal {name} is called words or place: name it otherwise")
        super().__init__(name, version, row, ("position",), indexes, make, words=words)
        self.types = tuple(types)
        self.make = make
        self.lazy = words is not None


class Rollup(Projection):
    """Numbers that add up over the rows of an entity or a journal.

    ``contribute(row)`` gives, for one row of the source, pairs of a key (a tuple of the row's first fields) and its
    integer measures; a row that changes takes its old contribution away and brings its new one. Rows whose measures are
    all zero are not kept. With ``keeps_retired`` a row that is retired (see `Entity`) still counts as it did last.
    """

    kind = "rollup"

    def __init__(
        self,
        name: str,
        *,
        version: int,
        row: type[msgspec.Struct],
        source: str,
        measures: Sequence[str],
        contribute: Callable[[Any], Iterable[Contribution]],
        indexes: Iterable[Sequence[str]] = (),
        keeps_retired: bool = False,
    ) -> None:
        fields = row.__struct_fields__
        key = fields[: len(fields) - len(measures)]
        if fields[len(key) :] != tuple(measures):
            raise ProjectionError(f"the last fields of the rollup {name} are its measures: {', '.join(measures)}")
        super().__init__(name, version, row, key, indexes, contribute, measures)
        self.source = source
        self.contribute = contribute
        self.keeps_retired = keeps_retired

    def counted(self, row: Any) -> Any:
        """The row of the source that counts here, for one that may be retired."""
        if type(row) is Retired:
            return row.row if self.keeps_retired else None
        return row


class Group:
    """An entity or a journal with the rollups over it: they move together, position by position."""

    def __init__(self, root: Entity[Any] | Journal[Any], rollups: Sequence[Rollup]) -> None:
        self.root = root
        self.rollups = tuple(rollups)
        self.members: tuple[Projection, ...] = (root, *rollups)
        self.names = tuple(member.name for member in self.members)
        self.tags = root.tags

    def shadow(self, suffix: str) -> Group:
        """The same group, on tables of other names."""
        return Group(self.root.shadow(suffix), [rollup.shadow(suffix) for rollup in self.rollups])

    def __repr__(self) -> str:
        return f"Group({', '.join(self.names)})"


def groups_of(projections: Iterable[Projection]) -> dict[str, Group]:
    """Projections as groups, by the name of their root. Raises ProjectionError on doubled names or missing sources."""
    by_name: dict[str, Projection] = {}
    for projection in projections:
        if projection.name in by_name:
            raise ProjectionError(f"two projections are called {projection.name!r}")
        by_name[projection.name] = projection
    rollups = [projection for projection in by_name.values() if isinstance(projection, Rollup)]
    for rollup in rollups:
        if not isinstance(by_name.get(rollup.source), _Root):
            raise ProjectionError(f"the rollup {rollup.name} sums up {rollup.source!r}, which is no entity or journal")
    return {
        root.name: Group(root, [rollup for rollup in rollups if rollup.source == root.name])
        for root in by_name.values()
        if isinstance(root, (Entity, Journal))
    }
