"""Small plots made of characters."""

from __future__ import annotations

import sys
from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉"


def can_draw() -> bool:
    """Whether stdout's encoding has the block characters."""
    try:
        (LEVELS + EIGHTHS).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[int]) -> str:
    """One character a value, as high as the value is beside the biggest one; 0 stays empty."""
    top = max(values, default=0)
    if top <= 0:
        return " " * len(values)
    if not can_draw():
        return "".join(" " if value <= 0 else str(min(9, value * 9 // top)) for value in values)
    return "".join(" " if v <= 0 else LEVELS[min(len(LEVELS) - 1, v * len(LEVELS) // (top + 1))] for v in values)


def bar(value: int, top: int, width: int = 20) -> str:
    """A bar of up to ``width`` characters for ``value`` out of ``top``; anything above 0 shows."""
    if top <= 0 or value <= 0:
        return ""
    if not can_draw():
        return "#" * max(1, round(value / top * width))
    eighths = max(1, round(value / top * width * 8))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()
