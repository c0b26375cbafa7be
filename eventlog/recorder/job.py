"""Which job a piece of code works for: a context variable here, an environment variable for child processes."""

from __future__ import annotations

import os
from contextvars import ContextVar

JOB_VARIABLE = "EVENTLOG_JOB_ID"
current_job: ContextVar[str | None] = ContextVar("eventlog_job", default=None)
_LONGEST = 200


def current_job_id() -> str | None:
    """The job around the calling code, or the one that started this process; None where there is none."""
    if (here := current_job.get()) is not None:
        return here
    given = os.environ.get(JOB_VARIABLE, "")
    return given if given and len(given) <= _LONGEST and given.isascii() and given.isprintable() else None
