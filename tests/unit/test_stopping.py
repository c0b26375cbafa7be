"""Commands that go on until they are told to stop."""

import subprocess
import sys

import pytest

INSIDE_ITS_LOCK = """
import os, signal, sys
from eventlog.cli.stopping import told_to_stop
told = told_to_stop()
with told._cond:
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
sys.exit(0 if told.wait(20) else 1)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_the_event_is_looked_at_sets_it(name: str) -> None:
    assert subprocess.run([sys.executable, "-c", INSIDE_ITS_LOCK, name], timeout=60).returncode == 0
