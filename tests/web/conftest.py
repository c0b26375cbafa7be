"""One server a module, and a connection to it a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web.support import Client, Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = Server(str(tmp_path_factory.mktemp("served") / "log.db"))
    yield served
    served.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = Client(server)
    yield client
    client.close()
