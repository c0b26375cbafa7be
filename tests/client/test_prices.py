"""Prices and costs through a server: what the suite of the repository promises."""

from __future__ import annotations

from tests.client.support import contract

globals().update(
    contract(
        "tests.projections.test_prices",
        "test_one_row_where_nothing_is_grouped_even_without_calls",
        "test_reported_computed_mixed_and_unpriced_are_told",
        "test_a_price_holds_from_its_hour_on",
        "test_by_hand_before_lists_later_before_earlier_the_log_before_the_program",
        "test_two_versions_are_compared_and_the_events_between_are_told",
        "test_tools_by_outcome",
        "test_litellms_file_is_read_exactly_and_what_is_left_out_is_counted",
        "test_what_no_price_is_is_refused",
    )
)
