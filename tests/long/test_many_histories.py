"""The histories of the fault tests, more of them and longer."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from sizes import size
from test_history import History


class LongHistory(History):
    """The same machine."""


LongHistory.TestCase.settings = settings(
    max_examples=size("EXAMPLES"), stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)


class TestManyHistories(LongHistory.TestCase):  # type: ignore[misc, valid-type]
    """Examples differ from run to run; a failure prints how to repeat it."""
