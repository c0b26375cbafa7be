"""Statistics through a server: what the suite of the repository promises."""

from __future__ import annotations

import pytest

from eventlog import Record
from eventlog.app import Log
from tests.client.support import contract

globals().update(
    contract(
        "tests.projections.test_statistics",
        "test_groups_by_name_hold_against_the_runs",
        "test_this_machines_zone_has_each_day_week_and_month_once",
        "test_all_in_one",
        "test_filters_choose_runs",
        "test_a_grouping_that_is_none_is_refused",
        "test_an_empty_log_has_no_statistics",
        "test_statistics_as_of_a_version_are_those_of_that_version",
    )
)


@pytest.fixture
def many(log: Log, served: Log, three_weeks: list[Record]) -> Log:
    served.import_records(three_weeks)
    return log
