"""What `append` promises, through a server."""

from tests.client.support import TRANSACTION, contract

globals().update(
    contract(
        "test_append",
        without={
            "test_both_durabilities_store_the_same": TRANSACTION,
            "test_a_stream_that_is_not_new_is_told_where_nobody_looked": TRANSACTION,
            "test_a_record_refused_while_a_decision_catches_everything_is_told_all_the_same": TRANSACTION,
            "test_a_decision_that_catches_what_fails_alone_in_it_is_told_why": TRANSACTION,
        },
    )
)
