"""What `follow` promises, through a server."""

from tests.client.support import contract

globals().update(contract("test_follow"))
