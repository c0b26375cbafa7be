"""What the log for asyncio promises, through a server."""

from tests.client.support import SLOW, TRANSACTION, contract

globals().update(
    contract(
        "test_aio",
        without={
            "test_hundreds_of_coroutines_append_and_each_gets_its_own_result": SLOW,
            "test_decide_head_and_reads_await": TRANSACTION,
            "test_the_event_loop_goes_on_while_a_commit_waits": TRANSACTION,
            "test_an_append_cancelled_while_waiting_is_stored_whole_or_not_at_all": TRANSACTION,
            "test_an_append_given_up_before_its_turn_stops_nobody": TRANSACTION,
        },
    )
)
