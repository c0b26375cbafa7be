"""How long jobs that ended stay in the tables. Their events and statistics stay anyway."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from eventlog.clock import now_us
from eventlog.worker.attempt import WorkerLog

DAY_US = 86_400_000_000
EVERY_S = 3600.0
Days = Annotated[int, Meta(ge=0, le=36_500)]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Days after which a job leaves the tables, by how it ended."""

    completed_days: Days = 30
    cancelled_days: Days = 30
    expired_days: Days = 30
    failed_days: Days = 365

    @classmethod
    def after(cls, days: int, failed_days: int = 365) -> Retention:
        """One number for all but those that failed, which somebody may still want to look into."""
        values = {"completed_days": days, "cancelled_days": days, "expired_days": days, "failed_days": failed_days}
        return msgspec.convert(values, cls)

    def apply(self, log: WorkerLog, *, now: int | None = None, dry_run: bool = False) -> int:
        """Take out of the tables whatever is older; returns how many jobs."""
        now = now_us() if now is None else now
        days = {
            "completed": self.completed_days,
            "cancelled": self.cancelled_days,
            "expired": self.expired_days,
            "failed": self.failed_days,
        }
        return sum(log.jobs.purge(now - kept * DAY_US, (status,), dry_run=dry_run) for status, kept in days.items())
