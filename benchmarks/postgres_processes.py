"""Eight processes appending durably to one server, one event each call, while two others follow; against raw.

Raw, in turns with ours: as many processes, each of which moves the row of the head and inserts one such event, in one
statement that commits; nobody reads. What the readers saw is held against the log: every position once, in order.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import msgspec

from benchmarks import postgres_raw, raw, workload
from benchmarks.harness import Figure, Timing
from benchmarks.logs import Bench, opened
from benchmarks.postgres import Server
from eventlog.errors import EventLogError

WRITERS = 8
READERS = 2
RUNS_APART = 100_000
EVENTS_AT_MOST = 5_000
"""A second and process; more than any server commits one by one."""
PATIENCE_S = 60.0

Work = Callable[..., None]


class Share(msgspec.Struct, frozen=True):
    """What one process got done: seconds of each append; what went wrong; positions that were seen."""

    seconds: list[float] = []
    errors: list[str] = []
    seen: list[int] = []


def run(bench: Bench, server: Server) -> Iterator[Figure]:
    """Rate, order, and p99 of eight writers."""
    seconds = bench.size.process_seconds
    url, floor_url = server.fresh(), server.fresh()
    with opened(url, "inline") as log, postgres_raw.created(floor_url):
        ours: list[list[Share]] = []
        floor: list[float] = []
        wrong = 0
        for turn in range(max(1, min(4, bench.size.rounds // 2))):
            shares = _phase(_write_raw, WRITERS, floor_url, seconds, turn)
            floor.append(sum(len(share.seconds) for share in shares) / seconds)
            first = log.head().position
            shares = _phase(_write, WRITERS, url, seconds, turn, readers=READERS)
            ours.append(shares[:WRITERS])
            wrong += sum(_wrong(share.seen, first, log.head().position) for share in shares[WRITERS:])
        gaps = _wrong([record.position for record in log.read()], 0, log.head().position)
    rates = [sum(len(share.seconds) for share in shares) / seconds for shares in ours]
    latencies = Timing([taken for shares in ours for share in shares for taken in share.seconds])
    errors = [error for shares in ours for share in shares for error in share.errors]
    yield Figure(
        id="postgres.processes",
        what=f"{WRITERS} processes, one durable append each call, inline, {READERS} following: in all",
        unit="events/s",
        ours=statistics.median(rates),
        raw=statistics.median(floor),
        against="head row and insert in one statement",
        ratio=statistics.median(rate / one for rate, one in zip(rates, floor, strict=True)),
        bar=0.5,
        detail=f"p50 {latencies.median * 1e3:.2f} ms, p99 {latencies.quantile(0.99) * 1e3:.1f} ms",
    )
    yield Figure(
        id="postgres.processes.wrong",
        what="the same: events missed, doubled or out of order, errors",
        unit="",
        ours=wrong + gaps + len(errors),
        bar=0,
        sense="<=",
        on_value=True,
        detail="; ".join(errors[:3]),
    )


def _wrong(seen: list[int], first: int, last: int) -> int:
    """How many positions of (first, last] were not seen, or were seen again, or before an earlier one."""
    if seen == list(range(first + 1, last + 1)):
        return 0
    missed = len(set(range(first + 1, last + 1)) - set(seen))
    early = sum(later <= earlier for earlier, later in pairwise(seen))
    return missed + early + (len(seen) - len(set(seen)))


def _phase(work: Work, writers: int, url: str, seconds: float, turn: int, readers: int = 0) -> list[Share]:
    """Writers, then readers, for some seconds from when all are ready; readers end at the last position written."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier = context.Barrier(writers + readers)
    last = context.Value("q", 0)
    done: Queue[bytes] = context.Queue()
    seen: Queue[bytes] = context.Queue()
    processes: list[Any] = [
        context.Process(target=work, args=(url, seconds, (turn * WRITERS + number) * RUNS_APART, barrier, done))
        for number in range(writers)
    ]
    processes += [context.Process(target=_follow, args=(url, last, barrier, seen)) for _ in range(readers)]
    for process in processes:
        process.start()
    shares = [msgspec.msgpack.decode(done.get(timeout=seconds + 120), type=Share) for _ in range(writers)]
    if readers:
        with opened(url) as log:
            last.value = log.head().position
        shares += [msgspec.msgpack.decode(seen.get(timeout=120), type=Share) for _ in range(readers)]
    for process in processes:
        process.join()
    return shares


def _write(url: str, seconds: float, first_run: int, barrier: Barrier, done: Queue[bytes]) -> None:
    """In a process of its own: append until the time is over."""
    bursts = workload.moved(workload.singles(int(seconds * EVENTS_AT_MOST), seed=first_run), first_run)
    waiting = iter(list(bursts))
    with opened(url, "inline") as log:

        def append() -> None:
            burst = next(waiting)
            log.append(burst.stream, burst.events, occurred_at=burst.occurred_at)

        log.head()
        done.put(msgspec.msgpack.encode(_until(seconds, barrier, append)))


def _write_raw(url: str, seconds: float, first_run: int, barrier: Barrier, done: Queue[bytes]) -> None:
    """In a process of its own: move the head and insert a row until the time is over."""
    bursts = workload.moved(workload.singles(int(seconds * EVENTS_AT_MOST), seed=first_run), first_run)
    waiting = iter([_row(burst, f"{first_run}-{number}") for number, burst in enumerate(bursts)])
    with postgres_raw.connected(url) as connection:
        share = _until(seconds, barrier, lambda: postgres_raw.insert_at_head(connection, next(waiting)))
    done.put(msgspec.msgpack.encode(share))


def _row(burst: workload.Burst, stream: str) -> raw.Row:
    """A row like one of ours; its stream is new, so that its version is known."""
    event = burst.events[0]
    at, tag, data = burst.occurred_at, str(event.__struct_config__.tag), msgspec.json.encode(event).decode()
    return (0, stream, 1, tag, 1, at, at, None, None, None, None, data, None, bytes(32))


def _until(seconds: float, barrier: Barrier, work: Callable[[], None]) -> Share:
    taken: list[float] = []
    errors: list[str] = []
    barrier.wait()
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        try:
            work()
        except EventLogError as error:
            errors.append(f"{type(error).__name__}: {error}")
        taken.append(time.perf_counter() - started)
    return Share(taken, errors)


def _follow(url: str, last: Any, barrier: Barrier, seen: Queue[bytes]) -> None:
    """In a process of its own: follow until the last position, which is told when it is known."""
    positions: list[int] = []
    with opened(url) as log:
        first = log.head().position
        barrier.wait()
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up and not (last.value and (positions or [first])[-1] >= last.value):
            after = positions[-1] if positions else first
            positions += [record.position for record in log.follow(after, timeout_s=0.2)]
    seen.put(msgspec.msgpack.encode(Share(seen=positions)))
