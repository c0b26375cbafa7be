"""`settings`: one row per setting that has a value."""

from __future__ import annotations

from typing import Any

from eventlog.events.executions import SettingSet, SettingUnset
from eventlog.projection import Entity, Record, Row


class Setting(Row, frozen=True):
    """A setting. ``version`` counts what was said about it, 1, 2, 3 …; ``set_at`` is µs since the epoch, UTC."""

    name: str
    value: Any | None
    version: int = 0
    set_at: int = 0
    by: str = ""


def evolve(row: Setting | None, event: SettingSet | SettingUnset, record: Record) -> Setting | None:
    """A setting after one more event; without a value it has no row."""
    if isinstance(event, SettingUnset):
        return None
    return Setting(record.stream.partition("-")[2], event.value, record.version, record.occurred_at, event.by)


projections = (
    Entity("settings", version=1, row=Setting, category="setting", types=(SettingSet, SettingUnset), evolve=evolve),
)
