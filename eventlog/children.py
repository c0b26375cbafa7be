"""Python in a process of its own, for work that one processor is too slow for."""

from __future__ import annotations

import os
import subprocess
import sys


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def can_start() -> bool:
    """Whether ``sys.executable`` is an interpreter: in a frozen program, or inside another one, it is not."""
    return "python" in os.path.basename(sys.executable or "") and not hasattr(sys, "frozen")


def start(module: str) -> subprocess.Popen[bytes]:
    """Run a module, with pipes to its stdin, which should end it when it closes, and from its stdout. Raises OSError.

    It has the same modules from the same places, and not from the folder this happens to run in. It is in a session of
    its own, because Ctrl-C is for the parent alone, which ends its children, and because Linux shares its processors
    out by sessions, so that on a busy machine two children in one would be no faster than one.
    """
    places = [os.path.abspath(place) for place in sys.path]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        bufsize=0,
        start_new_session=True,
    )


def leave_with_the_parent() -> None:
    """End this process when its stdin closes: for a thread of the child."""
    while os.read(0, 1):
        pass
    os._exit(1)
