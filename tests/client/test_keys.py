"""What idempotency keys promise, through a server."""

from tests.client.support import TRANSACTION, contract

globals().update(
    contract(
        "test_keys",
        without={
            "test_a_key_used_in_a_transaction_that_failed_is_free": TRANSACTION,
            "test_a_reused_key_fails_alone_in_a_group_commit": TRANSACTION,
        },
    )
)
