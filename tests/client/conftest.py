"""The fixtures of the contract tests, with a server between a test and its log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from tests.client.support import TOKEN, ThreadServer
from tests.conftest import OpenLog
from tests.helpers import EVENTS


@pytest.fixture(scope="session")
def thread_server() -> Iterator[ThreadServer]:
    server = ThreadServer()
    yield server
    server.stop()


@pytest.fixture
def served(tmp_path: Path, thread_server: ThreadServer) -> Iterator[Log]:
    """The log that is served."""
    with eventlog.open(":memory:") as log:
        thread_server.serve(log)
        yield log
        thread_server.rest()


@pytest.fixture
def target(served: Log, thread_server: ThreadServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """What to open."""
    monkeypatch.setenv("EVENTLOG_TOKEN", TOKEN)
    return thread_server.url


@pytest.fixture
def open_log(target: str) -> Iterator[OpenLog]:
    """``open_log(**options)`` opens the served log, as often as is wanted."""
    opened: list[Log] = []

    def open_one(**options: Any) -> Log:
        options.setdefault("events", EVENTS)
        opened.append(eventlog.open(target, **options))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()
