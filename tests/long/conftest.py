"""The long suite: marked ``long``, sizes in `sizes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
sys.path[:0] = [p for p in map(str, (Path(__file__).parent, _TESTS / "postgres_faults", _TESTS / "faults", _TESTS))
                 if p not in sys.path]  # fmt: skip

import faultvfs  # noqa: E402
import mounts  # noqa: E402
import pg  # noqa: E402
import under_fire  # noqa: E402

from tests import postgres  # noqa: E402


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Whatever a failing test leaves running is ended."""
    yield
    under_fire.end_all()


@pytest.fixture
def url() -> Iterator[str]:
    """An empty schema of PostgreSQL."""
    url = pg.named(postgres.fresh_log())
    yield url
    postgres.drop_log(url)


@pytest.fixture
def disk() -> Iterator[faultvfs.FaultyDisk]:
    """The faulty disk, with nothing armed before and after."""
    yield from faultvfs.fixture()


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[float], Path]]:
    """``tmpfs(megabytes)`` mounts a small disk in memory."""
    yield from mounts.small_disks(tmp_path, "tmpfs")


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Callable[[float], Path]]:
    """``ext4(megabytes)`` mounts a small ext4 in a file."""
    yield from mounts.small_disks(tmp_path, "ext4")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.timeout(3600))
