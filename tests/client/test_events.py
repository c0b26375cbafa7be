"""What events, names, several appends together and several processes promise, through a server."""

import pytest

from tests.client.support import contract

pytestmark = pytest.mark.long
globals().update(contract("test_events"))
globals().update(contract("test_names"))
globals().update(
    contract(
        "test_together",
        "test_append_many_writes_to_several_streams_in_order",
        "test_append_many_writes_nothing_when_a_part_fails",
    )
)
globals().update(
    contract(
        "test_processes",
        "test_forked_children_append_through_the_inherited_log_and_the_parent_goes_on",
        "test_a_forked_child_that_leaves_without_a_word_harms_nothing",
    )
)
globals().update(
    contract(
        "test_open",
        "test_two_log_objects_in_one_process_take_turns",
        "test_a_log_for_reading_reads_and_refuses_to_write",
        "test_what_was_appended_is_there_after_closing",
    )
)
