"""The histories of jobs, by commands and by events in any order: more of them and longer."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sizes import size

from tests.projections.test_histories import CHUNKS, JOB_HISTORIES, check_history_of_jobs
from tests.projections.test_jobs_machine import Jobs

EXAMPLES = settings(max_examples=5 * size("EXAMPLES"), deadline=None, suppress_health_check=list(HealthCheck))


class LongJobs(Jobs):
    """The same machine."""


LongJobs.TestCase.settings = settings(EXAMPLES, stateful_step_count=60)


class TestManyJobs(LongJobs.TestCase):  # type: ignore[misc, valid-type]
    """Examples differ from run to run; a failure prints how to repeat it."""


@EXAMPLES
@given(JOB_HISTORIES, CHUNKS, st.data())
def test_many_histories_of_jobs_give_the_same_tables_every_way(
    history: Any, chunks: list[int], data: st.DataObject
) -> None:
    check_history_of_jobs(history, chunks, data)
