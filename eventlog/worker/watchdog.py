"""A small process that outlives a worker by a moment: when the worker is gone, it kills what the worker started.

Without it a command would go on after its worker was killed, while the job is done again elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading

_PROGRAM = """
import os, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
groups = set()
for line in sys.stdin.buffer:
    (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class Watchdog:
    """Started at the first `watch`; ends with the worker. Never raises: without it a crash is only less tidy."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def watch(self, group: int) -> None:
        """Kill this process group when the worker is gone."""
        self._tell(b"+%d\n" % group)

    def forget(self, group: int) -> None:
        """It ended: its number may be another's soon."""
        self._tell(b"-%d\n" % group)

    def _tell(self, line: bytes) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _PROGRAM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                )
            assert self._process.stdin is not None  # noqa: S101
            os.write(self._process.stdin.fileno(), line)

    def close(self) -> None:
        """The worker ends, and has nothing running."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.wait()
