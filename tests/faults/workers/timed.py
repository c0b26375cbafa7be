"""Programs whose speed, patience or endurance is measured."""

from __future__ import annotations

import time
from pathlib import Path

from under_fire import Ticked, open_log

import eventlog
from eventlog.recorder.measure import own_peak_bytes
from workers.starved import everything_wrong
from workers.writers import say


def stress(path: str, worker: str, seconds: str, durability: str) -> None:
    """Append as fast as possible for a while; say how many were acknowledged."""
    deadline = time.monotonic() + float(seconds)
    count = 0
    with open_log(path) as log:
        while time.monotonic() < deadline:
            log.append(f"fire-{worker}", Ticked(number=count), durability=durability)  # type: ignore[arg-type]
            count += 1
    say(str(count))


def checkpoint_over_and_over(path: str, seconds: str) -> None:
    """Checkpoint by the log's own means, and open and close it, for a while; say how often."""
    deadline = time.monotonic() + float(seconds)
    count = 0
    while time.monotonic() < deadline:
        with open_log(path) as log:
            log.store.exclusively(["PRAGMA wal_checkpoint(TRUNCATE)"])  # type: ignore[attr-defined]
            next(log.read(backwards=True), None)
        count += 1
    say(str(count))


def fair(path: str, worker: str, seconds: str, begin_at: str) -> None:
    """Durable appends in a tight loop; say how many, the 99th percentile and the longest, in milliseconds."""
    with open_log(path) as log:
        log.append(f"fire-{worker}", Ticked())
        time.sleep(max(0.0, float(begin_at) - time.time()))
        deadline = time.perf_counter() + float(seconds)
        waits: list[float] = []
        began = time.perf_counter()
        while began < deadline:
            log.append(f"fire-{worker}", Ticked())
            ended = time.perf_counter()
            waits.append(ended - began)
            began = ended
    count = len(waits)
    waits.sort()
    say(f"{count} {waits[int(count * 0.99)] * 1000:.2f} {waits[-1] * 1000:.2f}")


def paced(path: str, worker: str, per_second: str, seconds: str) -> None:
    """Durable appends at a pace; say each key and how long it took in milliseconds."""
    with open_log(path) as log:
        start = time.perf_counter()
        for number in range(int(per_second) * int(seconds)):
            time.sleep(max(0.0, start + number / int(per_second) - time.perf_counter()))
            began = time.perf_counter()
            log.append(f"fire-{worker}", Ticked(number=number), key=f"{worker}-{number}")
            say(f"{worker}-{number} {(time.perf_counter() - began) * 1000:.2f}")


def churn(path: str, worker: str) -> None:
    """Append so much that the file is checkpointed every second or two; say a key for each commit."""
    with open_log(path) as log:
        for number in range(1_000_000):
            key = f"{worker}-{number}"
            log.append(f"fire-{number % 50}", [Ticked(number=n, text="x" * 400) for n in range(50)], key=key)
            say(key)
            time.sleep(0.02)


def check_each(path: str, *others: str) -> None:
    """Check several logs; say "sound" or what was found first, a line each."""
    for one in (path, *others):
        say((everything_wrong(one) or ["sound"])[0])


def hold_a_transaction(path: str) -> None:
    """Say "inside" within a transaction, and stay."""
    with open_log(path) as log, log.transaction():
        log.append("fire-held", Ticked())
        say("inside")
        time.sleep(60)


def append_and_time(path: str) -> None:
    """One append; say when it begins, then how it ended and after how many seconds."""
    from eventlog.errors import StoreError

    began = time.monotonic()
    try:
        with open_log(path) as log:
            say("begins")
            began = time.monotonic()
            log.append("fire-timed", Ticked())
        told = "appended"
    except StoreError as error:
        told = type(error).__name__
    say(f"{told} {time.monotonic() - began:.2f}")


def check_flips(path: str, bits: str, copy: str) -> None:
    """Flip each bit listed in a file, one at a time in a copy, and say whether checking everything finds it."""
    whole = Path(path).read_bytes()
    for bit in map(int, Path(bits).read_text().split()):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        Path(copy).write_bytes(content)
        say(f"{bit} {'found' if everything_wrong(copy) else 'missed'}")
        for extra in ("", "-wal", "-shm"):
            Path(f"{copy}{extra}").unlink(missing_ok=True)


def append_in_bulk(path: str, count: str, length: str) -> None:
    """Append that many events, a thousand a commit, with tables left for later."""
    with eventlog.open(path, events=[Ticked], projections="off") as log:
        for first in range(0, int(count), 1000):
            size = min(1000, int(count) - first)
            events = [Ticked(number=n, text="x" * int(length)) for n in range(first, first + size)]
            log.append(f"fire-{first // 1000 % 100}", events, durability="process")


def verify_and_measure(path: str) -> None:
    """Verify the chain; say records, seconds, and the memory it took in MB."""
    with eventlog.open(path, events=[Ticked], projections="off", mode="r") as log:
        began = time.perf_counter()
        report = log.verify()
        seconds = time.perf_counter() - began
        assert report.ok, report
    say(f"{report.checked} {seconds:.3f} {own_peak_bytes() / 1e6:.0f}")
