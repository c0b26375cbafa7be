"""``eventlog jobs``: the queue."""

from __future__ import annotations

import click

from eventlog.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "work": ("jobs_work:work", "Do jobs, until stopped or until there are none."),
        "recover": ("jobs_work:recover", "Take jobs from workers that are gone, and queue them again."),
        "schedule": ("jobs_schedule:schedule", "Jobs that are enqueued by the clock."),
    },
)
def jobs() -> None:
    """Jobs: enqueue them, do them, and ask what became of them."""
