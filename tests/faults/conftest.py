"""What the fault tests share: the faulty disk, and small disks that can be filled."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path[:0] = [p for p in map(str, (Path(__file__).parent, Path(__file__).parents[1])) if p not in sys.path]

import faultvfs  # noqa: E402
import mounts  # noqa: E402
import under_fire  # noqa: E402


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    """Whatever a failing test leaves running is ended."""
    yield
    under_fire.end_all()


@pytest.fixture
def disk() -> Iterator[faultvfs.FaultyDisk]:
    """The faulty disk, with nothing armed before and after."""
    yield from faultvfs.fixture()


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[[float], Path]]:
    """``tmpfs(megabytes)`` mounts a small disk in memory."""
    yield from mounts.small_disks(tmp_path, "tmpfs")
