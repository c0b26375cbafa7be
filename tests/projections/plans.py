"""Which indexes SQLite takes for the questions that a piece of work asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.store.sql import SqlReader


def indexes_taken(monkeypatch: pytest.MonkeyPatch, log: Log, table: str, work: Callable[[], object]) -> set[Any]:
    """The columns of each index by which a table was looked into; ``primary key``; None for a look at all rows."""
    asked: list[tuple[str, tuple[Any, ...]]] = []
    select = SqlReader.select

    def spied(self: Any, *arguments: Any, **options: Any) -> Any:
        execute = self.execute

        def noted(sql: str, values: Any = ()) -> Any:
            asked.append((sql, tuple(values)))
            return execute(sql, values)

        self.execute = noted
        try:
            return select(self, *arguments, **options)
        finally:
            self.execute = execute

    with monkeypatch.context() as patch:
        patch.setattr(SqlReader, "select", spied)
        work()
    taken: set[Any] = set()
    with log.reader() as reader:
        execute = reader.execute  # type: ignore[attr-defined]
        for sql, values in asked:
            if f' FROM "{table}" ' not in sql:
                continue
            for _, _, _, step in execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall():
                if step.startswith(f"SEARCH {table} USING PRIMARY KEY"):
                    taken.add("primary key")
                elif step.startswith((f"SEARCH {table} ", f"SCAN {table}")):
                    name = step.partition(" INDEX ")[2].split(" ")[0]
                    columns = execute(f"PRAGMA index_info('{name}')").fetchall()
                    taken.add(tuple(row[2] for row in columns) or None)
    return taken
