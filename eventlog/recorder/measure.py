"""What a block of a program used: wall time, processor time, memory."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from typing import Any

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_BLUR = 1 << 20
_SHARE = 16
"""The kernel counts pages apart for every processor and adds them up now and then: a figure is off by so much."""


class Stopwatch:
    """Started when made.

    Processor time is of this process and the children it waited for, peak memory is of its whole life and of the
    largest child that was waited for meanwhile.
    """

    def __init__(self) -> None:
        self._wall = time.perf_counter_ns()
        self._user, self._system, self._child_peak = _used()

    def measured(self) -> dict[str, Any]:
        """Fields of RunFinished."""
        user, system, child_peak = _used()
        peak = own_peak_bytes()
        if child_peak > self._child_peak:  # else it is one from before, or even another program's: it survives exec
            peak = max(peak, peak_of_child(child_peak, peak) or 0)
        return {
            "wall_us": max(0, (time.perf_counter_ns() - self._wall) // 1000),
            "cpu_user_us": max(0, round((user - self._user) * 1e6)),
            "cpu_system_us": max(0, round((system - self._system) * 1e6)),
            "peak_memory_bytes": peak or None,
        }


def _used() -> tuple[float, float, int]:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime, children.ru_maxrss


def own_peak_bytes() -> int:
    """The most memory that this process has held, in bytes.

    VmHWM of proc(5) where there is one: on Linux ``ru_maxrss`` survives exec, and with it what the process held that
    started this one.
    """
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def peak_of_child(ru_maxrss: int, starter_peak_bytes: int) -> int | None:
    """The most memory a child held, in bytes, from its ``ru_maxrss`` and what its starter had held when it began.

    None where it is not known: on Linux a child's figure is never less than its starter's, however little it took.
    """
    peak = ru_maxrss * _RSS_UNIT
    if sys.platform == "linux" and peak <= starter_peak_bytes + max(_BLUR, starter_peak_bytes // _SHARE):
        return None
    return peak or None
