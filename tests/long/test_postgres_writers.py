"""PostgreSQL: many writers that dawdle inside their transactions, and pollers that must miss nothing."""

from __future__ import annotations

from pg import assert_sound, opened
from sizes import size
from under_fire import Ticked, start


def test_pollers_see_every_event_once_and_in_order_however_long_writers_dawdle(url: str) -> None:
    """Eight writers sleep up to 50 ms inside their transactions; four pollers follow from the beginning."""
    seconds = size("SECONDS")
    opened(url).close()
    pollers = [start("follow_to", url, "last") for _ in range(4)]
    writers = [start("dawdle", url, f"w{number}", seconds) for number in range(8)]
    written = 0
    for writer in writers:
        out, err = writer.communicate(timeout=seconds + 90)
        assert writer.returncode == 0, err[-3000:]
        written += int(out)
    with opened(url) as log:
        head = log.append("fire-last", Ticked(), key="last").first
    seen = []
    for poller in pollers:
        out, err = poller.communicate(timeout=60)
        assert poller.returncode == 0, err[-3000:]
        seen.append([int(line) for line in out.splitlines()])
    print(f"8 writers, {seconds} s: {written} events; 4 pollers saw each of them once and in order")
    assert head == written + 1 > 5 * seconds
    assert all(one == list(range(1, head + 1)) for one in seen)
    assert_sound(url)
