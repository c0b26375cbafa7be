"""Verifying a long log: fast, and in little memory."""

from __future__ import annotations

from pathlib import Path

from sizes import is_small, size
from under_fire import run


def test_verifying_a_long_log_is_fast_and_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    count = size("EVENTS")
    run("append_in_bulk", path, count, 150, timeout_s=600)
    checked, seconds, peak_mb = run("verify_and_measure", path, timeout_s=600)[-1].split()
    assert int(checked) == count
    rate = count / float(seconds)
    print(f"verify {count:,} events of 300 B: {float(seconds):.2f} s ({rate:,.0f} events/s), peak memory {peak_mb} MB")
    assert float(peak_mb) < 200
    if not is_small("EVENTS"):
        assert rate >= 100_000
