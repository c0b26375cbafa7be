"""Search over many messages: a word that most have, with a condition; a rare one; a phrase; as of the middle. And what
the index takes: time while messages are appended in batches, and room.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate

import eventlog
from benchmarks.harness import Figure, told
from benchmarks.logs import EVENTS_A_COMMIT, Bench
from eventlog import Append, Log
from eventlog.events.agents import MessageAdded, TextPart
from eventlog.projection.discovery import installed

VOCABULARY = 100_000
MESSAGES_A_SESSION = 200
START_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
DAY_US = 1440 * MINUTE_US


def texts(count: int, seed: int = 5) -> Iterator[str]:
    """Texts whose words are as common as those of a language: the n-th has a share of about 1/n. Half have 15 words."""
    dice = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(dice.choices(letters, k=dice.choice((2, 3, 4, 5, 6, 7, 8, 10)))) for _ in range(VOCABULARY)]
    words[0], words[700], words[VOCABULARY - 1] = "common", "middling", "rarely"
    shares = list(accumulate(1 / (rank + 2.7) for rank in range(VOCABULARY)))
    stock = dice.choices(words, cum_weights=shares, k=1_000_000)
    for number in range(count):
        length = min(2000, int(dice.lognormvariate(2.7, 1.1)) + 1)
        start = dice.randrange(len(stock) - length)
        yield " ".join([*stock[start : start + length], *(["rarely"] if number % 100_000 == 50_000 else [])])


def run(bench: Bench) -> Iterator[Figure]:
    """The bar of search, and what stands beside it."""
    count = bench.size.searched_messages
    path = bench.fresh("search")
    only = [one for one in installed() if one.name in ("search_documents", "sessions")]
    with eventlog.open(path, projections="off", extra_projections=()) as log:
        megabytes = _fill(log, count) / 1e6
    with told(f"indexing {count:,} messages"):
        began = time.perf_counter()
        with eventlog.open(path, projections="off") as log:
            log.projections = type(log.projections)(log, only)
            log.projections.prepare()
        took = time.perf_counter() - began
        yield _figure(
            "search.rebuild", f"a rebuild of search alone, {count:,} messages, a MB of text", took / megabytes
        )
    with eventlog.open(path) as log:
        yield from _asked(log, count)
        yield _size(log, megabytes)
    yield _appended(bench, count)


def _fill(log: Log, count: int) -> int:
    """Append messages; how many bytes of text they have."""
    size = 0
    batch: list[Append] = []
    for number, text in enumerate(texts(count)):
        size += len(text)
        role = "assistant" if number % 2 else "user"
        event = MessageAdded(message_id=str(number), role=role, parts=(TextPart(text=text),))
        stream = f"session-{number // MESSAGES_A_SESSION}"
        batch.append(Append(stream=stream, events=event, occurred_at=START_US + number * MINUTE_US))
        if len(batch) == EVENTS_A_COMMIT:
            log.append_many(batch, durability="process")
            batch = []
    log.append_many(batch, durability="process")
    return size


def _asked(log: Log, count: int) -> Iterator[Figure]:
    session = str(count // 2 // MESSAGES_A_SESSION)
    middle = START_US + count // 2 * MINUTE_US
    find = log.search.find
    questions: list[tuple[str, str, float | None, Callable[[], object]]] = [
        ("common", "a common word", None, partial(find, "common")),
        ("role", "a common word of one role", 200, partial(find, "common", role="user")),
        ("session", "a common word in one session of many", 200, partial(find, "common", session_id=session)),
        ("days", "a common word in three days", 200, partial(find, "common", since=middle, until=middle + 3 * DAY_US)),
        ("nothing", "a common word with a condition that nothing meets", 200, partial(find, "common", kind="note")),
        ("rare", "a rare word", None, partial(find, "rarely")),
        ("phrase", "a phrase of a common and a middling word", None, partial(find, '"common middling"')),
        ("both", "a common word beside a middling one", None, partial(find, "common middling")),
        ("prefix", "a prefix", None, partial(find, "midd*")),
        ("count", "how many have a common word", None, partial(log.search.count, "common")),
    ]  # fmt: skip
    for name, what, bar, ask in questions:
        yield _figure(f"search.{name}", f"search: {what}, of {count:,} messages", _median(ask), bar)
    version = count // 2

    def past() -> None:
        with log.as_of(version) as then:
            then.search.find("common", role="user")

    yield _figure("search.asof", "search: a common word of one role as of the middle, from nothing", _median(past), 500)


def _median(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(7):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    return sorted(times)[3]


def _size(log: Log, megabytes: float) -> Figure:
    with log.reader() as reader:
        sizes: int = reader.execute(  # type: ignore[attr-defined]
            "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'search\\_documents%' ESCAPE '\\'"
        ).fetchone()[0]
    return Figure(
        id="search.size", what="search: the table and its words, bytes a byte of text", unit="B",
        ours=sizes / 1e6 / megabytes, bar=None, sense="<=", on_value=True,
    )  # fmt: skip


def _appended(bench: Bench, count: int) -> Figure:
    """What the index takes of appends in batches: the same log with it and without."""
    took: dict[str, float] = {}
    for name in ("without", "with") * 2:
        chosen = [one for one in installed() if name == "with" or one.name != "search_documents"]
        with eventlog.open(bench.fresh(f"search-{name}"), projections="off") as log:
            log.projections = type(log.projections)(log, chosen)
            log.projections.prepare()
            began = time.process_time()
            size = _fill(log, min(count, 50_000))
            spent = time.process_time() - began
        took[name] = min(spent, took.get(name, spent))
    return _figure(
        "search.append", "search: kept while appending, a MB of text", (took["with"] - took["without"]) / (size / 1e6)
    )


def _figure(name: str, what: str, seconds: float, bar: float | None = None) -> Figure:
    return Figure(id=name, what=what, unit="ms", ours=seconds * 1e3, bar=bar, sense="<=", on_value=True)
