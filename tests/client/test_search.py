"""Search through a server."""

from __future__ import annotations

import pytest

from eventlog.app import Log
from eventlog.errors import InvalidQuery
from tests.integration.test_search import fill


def test_a_server_finds_what_the_log_does(log: Log, served: Log) -> None:
    fill(served)
    assert log.search.find("parser") == served.search.find("parser")
    assert log.search.find("parser", limit=3, since=1, kind="message") == served.search.find("parser", kind="message")
    assert log.search.count("parser", role="user") == 2
    with log.as_of(5) as past:
        assert len(past.search.find("parser", agent="coder")) == 3
    with pytest.raises(InvalidQuery, match="not closed"):
        log.search.find('"parser')
