"""Where real input is, for tests that want it: beside the checkout, or where ``EVENTLOG_FIXTURES`` says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def transcripts() -> Path:
    """The folder of transcripts; skips where there is none."""
    beside = Path(__file__).parents[2] / "shared" / "fixtures"
    folder = Path(os.environ.get("EVENTLOG_FIXTURES", beside)) / "transcripts"
    if not folder.is_dir():
        pytest.skip("the folder of real transcripts is not here")
    return folder
