"""What `follow` promises, through a server."""

from tests.client.support import SLOW, contract

globals().update(contract("test_follow", without={"test_follow_sees_what_other_processes_append": SLOW}))
