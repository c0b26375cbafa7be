"""Jobs through a server: what the suites of the repository promise."""

from __future__ import annotations

from importlib import import_module

import pytest

pytest.importorskip("tests.contract.jobs_support")

from eventlog.app import Log
from tests.client.support import WORDS, contract
from tests.contract.jobs_support import assert_sound

INSIDE = "it looks inside the log that the server has"
WITHOUT = {
    "test_jobs": {
        "test_what_is_no_claim_of_the_job_is_refused": WORDS,
        "test_a_job_that_waits_gets_another_time_priority_or_queue": WORDS,
    },
    "test_jobs_claims": {
        "test_no_more_of_a_queue_run_than_its_limit_says": WORDS,
        "test_whoever_claims_has_a_name_and_asks_for_something": WORDS,
        "test_a_mass_of_expired_jobs_is_not_ended_in_one_transaction": INSIDE,
        "test_the_past_answers_and_takes_no_commands": INSIDE,
        "test_projections_that_are_not_inline_are_brought_along_or_asked_for": "that is for the server to say",
    },
    "test_jobs_history": {
        "test_counts_are_those_of_the_rows_at_every_turn": WORDS,
        "test_what_ended_long_ago_is_purged_by_status_and_the_rest_stays": "no server is asked for times before 1970",
        "test_statistics_keep_what_was_purged_and_counts_do_not": INSIDE,
        "test_nothing_that_follows_a_purge_brings_a_job_back": INSIDE,
    },
    "test_jobs_together": {
        "test_a_worker_is_lost_once_and_is_told_at_its_next_beat": INSIDE,
        "test_a_log_opened_for_reading_beats_for_nobody": INSIDE,
    },
}
for suite, without in WITHOUT.items():
    globals().update(contract(suite, without=without))


@pytest.fixture(autouse=True)
def _sound_where_the_log_is(served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WITHOUT:
        monkeypatch.setattr(import_module(f"tests.contract.{name}"), "assert_sound", lambda log: assert_sound(served))
