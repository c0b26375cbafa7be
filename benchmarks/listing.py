"""Listing the last 50 of many runs with a filter. Against: hand-written SQL on the same table, rows left as tuples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import raw
from benchmarks.harness import Figure, interleave, over
from benchmarks.logs import Bench, opened

LAST = 50


def run(bench: Bench) -> Iterator[Figure]:
    """Bar 11, one figure a filter."""
    runs = bench.size.listed_runs
    path = bench.listed(runs)
    with opened(path) as log:
        early = log.runs.get(runs // 10).created_at
    filters: list[tuple[str, dict[str, Any], str | None]] = [
        ("none", {}, "1"),
        ("status", {"status": "fail"}, "status = 'fail'"),
        ("project", {"project_id": "etl"}, "project_id = 'etl'"),
        ("program", {"program": "train.py"}, "program = 'train.py'"),
        (
            "status+project+program",
            {"status": "killed", "project_id": "ops", "program": "clean.sh"},
            "status = 'killed' AND project_id = 'ops' AND program = 'clean.sh'",
        ),
        ("tag", {"tag": ("priority", "high")}, None),
        ("time", {"to_at": early}, f"created_at < {early}"),
        ("text", {"text": "backfill"}, None),
    ]
    table = raw.read_only(path)
    with opened(path) as log:
        for name, arguments, condition in filters:
            sql = f"SELECT * FROM runs WHERE {condition} ORDER BY run_id DESC LIMIT {LAST}" if condition else None
            yield _figure(bench.size.queries, name, f"{LAST} of {runs:,} runs", log, arguments, table, sql)
    table.close()


def _figure(
    queries: int, name: str, of: str, log: Any, arguments: dict[str, Any], table: raw.Connection, sql: str | None
) -> Figure:
    found = log.runs.list(limit=LAST, **arguments)
    if sql is None:
        (ours,) = interleave(queries, lambda: log.runs.list(limit=LAST, **arguments))
        floor = None
    else:
        ours, floor = interleave(
            queries, lambda: log.runs.list(limit=LAST, **arguments), lambda: table.execute(sql).fetchall()
        )
    return Figure(
        id=f"listing.{name}",
        what=f"list the last {of}, filter: {name}",
        unit="ms",
        ours=ours.median * 1e3,
        raw=floor.median * 1e3 if floor else None,
        against="hand-written SQL" if floor else "",
        ratio=over(ours, floor) if floor else None,
        bar=5,
        sense="<=",
        on_value=True,
        detail=f"{len(found)} runs",
    )
