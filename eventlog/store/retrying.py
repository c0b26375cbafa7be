"""Pauses between attempts: short at first, then longer, until the time is up."""

from __future__ import annotations

import random
import time


class Pauses:
    """``pause()`` sleeps and says True, as long as there is time for another attempt."""

    def __init__(self, timeout_s: float, first_s: float = 0.02, longest_s: float = 1.0) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._next_s = first_s
        self._longest_s = longest_s

    def pause(self) -> bool:
        """Sleep before the next attempt; False when the time is up."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, self._next_s * (0.5 + random.random())))  # noqa: S311 (jitter, not a secret)
        self._next_s = min(self._next_s * 2, self._longest_s)
        return True
