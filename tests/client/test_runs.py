"""Runs and projects through a server: what the suites of the repositories promise."""

from __future__ import annotations

import pytest

import tests.projections.test_projects
import tests.projections.test_runs
from eventlog import Record
from eventlog.app import Log
from tests.client.support import WORDS, contract
from tests.projections.reference import check_every_way

globals().update(
    contract(
        "tests.projections.test_runs",
        without={
            "test_an_update_needs_something_to_change_and_a_status_that_is_one": WORDS,
            "test_any_later_event_of_a_lost_run_itself_brings_it_back": "it is about events alone",
        },
    )
)
globals().update(
    contract(
        "tests.projections.test_projects",
        without={"test_a_name_that_cannot_be_used_is_refused": "one of them is no text, and never gets to the server"},
    )
)


@pytest.fixture
def many(log: Log, served: Log, forty: list[Record]) -> Log:
    served.import_records(forty)
    return log


@pytest.fixture(autouse=True)
def _checked_where_the_log_is(served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for suite in (tests.projections.test_runs, tests.projections.test_projects):
        monkeypatch.setattr(suite, "check_every_way", lambda log: check_every_way(served))
