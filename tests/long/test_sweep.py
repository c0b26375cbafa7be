"""Every operation of the disk from the first to the sixtieth fails once, and for good."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultvfs import Fault, FaultyDisk
from sizes import size
from test_io_faults import make_template, sweep


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("fault", ["read", "write", "short", "full", "sync"])
def test_a_fault_at_any_operation_is_told_truly(tmp_path: Path, disk: FaultyDisk, fault: Fault, lasting: bool) -> None:
    template = make_template(tmp_path)
    told = sweep(template, tmp_path, disk, fault, lasting, range(1, size("OPERATIONS") + 1))
    assert told["struck"]
