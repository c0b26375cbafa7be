"""The machine that keeps projections: the three kinds, catch up, rebuild, roll back, as of, diff, explain, verify."""

from __future__ import annotations

from eventlog.projection.histogram import bin_of, middle_of, percentiles
from eventlog.projection.kinds import Entity, Journal, Projection, Rollup, Row, SearchableRow
from eventlog.store.base import Record, Sparse, Words

__all__ = [
    "Entity",
    "Journal",
    "Projection",
    "Record",
    "Rollup",
    "Row",
    "SearchableRow",
    "Sparse",
    "Words",
    "bin_of",
    "middle_of",
    "percentiles",
]
