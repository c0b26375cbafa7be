"""Histograms of durations as integer counts per bin: additive, subtractable, the same on every machine.

A value below 128 is its own bin; above, each power of two is split into 64 equal bins (HdrHistogram's scheme, with 7
significant bits). A bin's middle is within 0.8 % of every value in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def bin_of(value: int) -> int:
    """The bin of a non-negative integer; negative values fall into bin 0."""
    if value < 128:
        return max(value, 0)
    shift = value.bit_length() - 7
    return (shift << 6) + (value >> shift)


def middle_of(bin_: int) -> int:
    """The middle of a bin, in the unit of the values."""
    if bin_ < 128:
        return bin_
    shift = (bin_ >> 6) - 1
    low = (bin_ - (shift << 6)) << shift
    return low + (1 << shift) // 2


def percentiles(counts: Iterable[tuple[int, int]], wanted: Sequence[float]) -> list[int | None]:
    """The values below which given fractions of all values lie (nearest rank), from (bin, count) pairs.

    None for each when there is nothing to rank.
    """
    bins = sorted(counts)
    total = sum(count for _, count in bins)
    results: list[int | None] = []
    for fraction in wanted:
        rank = max(1, -(-total * round(fraction * 10_000) // 10_000))
        seen = 0
        found = None
        for bin_, count in bins:
            seen += count
            if seen >= rank:
                found = middle_of(bin_)
                break
        results.append(found)
    return results
