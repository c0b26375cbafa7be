"""Small disks of their own, for tests that fill them or make them read-only. They need root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal


def small_disks(folder: Path, kind: Literal["tmpfs", "ext4"]) -> Iterator[Callable[[float], Path]]:
    """Yields a function from a size in megabytes to a mounted folder; everything is unmounted afterwards."""
    import pytest

    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted: list[Path] = []

    def mount(megabytes: float) -> Path:
        place = folder / f"{kind}{len(mounted)}"
        place.mkdir()
        kilobytes = int(megabytes * 1024)
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
        else:
            image = folder / f"{place.name}.img"
            with image.open("wb") as file:
                file.truncate(kilobytes * 1024)
            made = subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], capture_output=True)
            if made.returncode:
                pytest.skip("mkfs.ext4 is not here")
            command = ["mount", "-o", "loop", str(image), str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(place)
        return place

    try:
        yield mount
    finally:
        for place in mounted:
            subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


def fill_up(file: Path) -> None:
    """Write to a file until its disk is full."""
    with file.open("ab", buffering=0) as other, contextlib.suppress(OSError):
        while True:
            other.write(b"\0" * 4096)
