"""Identifiers that sort by the time they were made: UUIDs of version 7 (RFC 9562, section 5.7)."""

from __future__ import annotations

import os
import threading
import uuid

from eventlog.clock import now_us

_lock = threading.Lock()
_last = 0
os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))


def uuid7() -> str:
    """A new UUID as text, larger than any this process made before.

    The 48 bits of milliseconds are followed by the microseconds in them and a few bits of randomness (method 3 of
    section 6.2), so ids of several processes sort by microsecond.
    """
    global _last
    random = int.from_bytes(os.urandom(8))
    with _lock:
        # 10 bits of microseconds and 2 random ones fill rand_a; a clock that stands still or goes back only counts on.
        ms, us = divmod(now_us(), 1000)
        stamp = _last = max(ms << 12 | us << 2 | random & 3, _last + 1)
    bits = (stamp >> 12) << 80 | (0x7000 | stamp & 0xFFF) << 64 | 0b10 << 62 | random >> 2
    text = bits.to_bytes(16).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def floor_of(at_us: int) -> str:
    """Text above every id made up to this time, and below every one made a millisecond later or more."""
    return str(uuid.UUID(int=min(max(at_us // 1000 + 1, 0), 2**48 - 1) << 80))
