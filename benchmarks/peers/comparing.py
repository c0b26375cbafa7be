"""Figures whose ratio says how many times as fast ours is."""

from __future__ import annotations

from benchmarks.harness import Figure, Timing, over


def rates(
    name: str, what: str, against: str, count: int, ours: Timing, peer: Timing, *, bar: float | None = 1
) -> Figure:
    """Things a second, from the seconds that ``count`` of them took."""
    return Figure(
        id=name,
        what=what,
        unit="/s",
        ours=count / ours.median,
        raw=count / peer.median,
        against=against,
        ratio=over(peer, ours),
        bar=bar,
    )


def latencies(name: str, what: str, against: str, ours: Timing, peer: Timing) -> Figure:
    """Milliseconds of one answer."""
    return Figure(
        id=name,
        what=what,
        unit="ms",
        ours=ours.median * 1e3,
        raw=peer.median * 1e3,
        against=against,
        ratio=over(peer, ours),
        bar=1,
    )
