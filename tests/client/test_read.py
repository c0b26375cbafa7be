"""What reading promises, through a server."""

import pytest

from tests.client.support import TRANSACTION, contract

pytestmark = pytest.mark.long
globals().update(
    contract(
        "test_read",
        without={
            "test_a_read_left_half_way_lets_others_write_and_go_on": TRANSACTION,
            "test_parts_hold_whole_streams_and_every_record_once": "parts are for rebuilds, which the server does",
        },
    )
)
