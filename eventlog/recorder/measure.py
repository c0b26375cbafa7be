"""What a block of a program used: wall time, processor time, memory."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Stopwatch:
    """Started when made.

    Processor time is of this process and the children it waited for, peak memory is of its whole life.
    """

    def __init__(self) -> None:
        self._wall = time.perf_counter_ns()
        self._user, self._system, _ = _used()

    def measured(self) -> dict[str, Any]:
        """Fields of RunFinished."""
        user, system, peak = _used()
        return {
            "wall_us": max(0, (time.perf_counter_ns() - self._wall) // 1000),
            "cpu_user_us": max(0, round((user - self._user) * 1e6)),
            "cpu_system_us": max(0, round((system - self._system) * 1e6)),
            "peak_memory_bytes": peak or None,
        }


def _used() -> tuple[float, float, int]:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = max(own.ru_maxrss, children.ru_maxrss) * _RSS_UNIT
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime, peak
