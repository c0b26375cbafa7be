"""What `append` promises, through a server."""

from tests.client.support import TRANSACTION, contract

globals().update(contract("test_append", without={"test_both_durabilities_store_the_same": TRANSACTION}))
