"""`log.imports`: what was brought in, how far each source is, and what could not be read."""

from __future__ import annotations

import builtins

from eventlog.errors import NotFound
from eventlog.repositories.base import Repository
from eventlog.store.base import Filter, check_page
from projections.imports import ImportSource, Quarantined
from projections.imports import projections as _projections

IMPORTS, QUARANTINE = _projections


class ImportsRepository(Repository):
    """Questions about imports; `Log.import_from` makes them."""

    def list(
        self, *, kind: str | None = None, text: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[ImportSource]:
        """Sources by path, of one importer, or with a text in their path."""
        where = [] if kind is None else [Filter("kind", "=", kind)]
        where += [] if text is None else [Filter("path", "text", text)]
        table = self._fresh(IMPORTS)
        with self._source.reader() as reader:
            return reader.select(table, where, order=("path", "source_id"), limit=limit, offset=offset)

    def find(self, source_id: str) -> ImportSource | None:
        """A source, or None."""
        table = self._fresh(IMPORTS)
        with self._source.reader() as reader:
            return reader.load(table, [(source_id,)]).get((source_id,))

    def get(self, source_id: str) -> ImportSource:
        """A source. Raises NotFound."""
        if (source := self.find(source_id)) is None:
            raise NotFound(f"there is no source {source_id!r}", source_id=source_id)
        return source

    def quarantined(
        self, source_id: str, *, resolved: bool = False, limit: int | None = None, offset: int = 0
    ) -> builtins.list[Quarantined]:
        """What could not be read of a source, by offset; ``resolved``: also what could be later. Raises NotFound."""
        check_page(limit, offset)
        self.get(source_id)
        table = self._fresh(QUARANTINE)
        with self._source.reader() as reader:
            rows = reader.select(table, [Filter("stream", "=", f"import-{source_id}")], order=("offset",))
        found = [row for row in rows if resolved or row.outcome is None]
        return found[offset:] if limit is None else found[offset : offset + limit]
