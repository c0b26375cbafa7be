"""The HTTP interface asked more than the everyday suite asks it: EVENTLOG_LONG_REQUESTS requests of each kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import eventlog
from eventlog.web.table import DOCUMENT
from tests.helpers import assert_whole
from tests.long.sizes import size
from tests.web.support import Server

pytestmark = pytest.mark.long


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_makes_the_server_fail(tmp_path: Path, mode: str) -> None:
    from tests.web.fuzz import operations, send

    server = Server(str(tmp_path / "log.db"))
    try:
        for operation in operations(json.loads(DOCUMENT)):
            send(server, operation, mode, size("REQUESTS"), derandomize=False)
    finally:
        assert server.stop() == 0
    with eventlog.open(tmp_path / "log.db") as log:
        assert_whole(log)
        assert log.projections.verify() == []
