"""Tokens and their cost: the daily report by model, of now and of earlier versions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import eventlog
from benchmarks.harness import Figure, interleave, told
from benchmarks.logs import Bench
from eventlog import Append, Log
from eventlog.events.agents import LlmCallAmended, LlmCallCompleted, LlmCallRetracted, Usage
from eventlog.events.sessions import SessionCreated
from eventlog.repositories.price_files import rates_per_mtok

DAYS = 90
DAY_US = 86_400_000_000
CALLS_A_SESSION = 50
BEGIN_US = 1_756_000_000_000_000 // DAY_US * DAY_US
MODELS = (
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-opus-4-1-20250805"),
    ("anthropic", "claude-haiku-4-5-20251001"),
    ("openai", "gpt-5"),
    ("openai", "gpt-5-codex"),
    ("elsewhere", "nobody-knows"),
)
WORKSPACES = 20
AGENTS = ("claude", "codex")
BACK = (0.1, 0.5, 0.9)


def run(bench: Bench) -> Iterator[Figure]:
    """The report of now, of 1 % back, and of versions all over the log, each from nothing."""
    calls, queries = bench.size.llm_calls, bench.size.queries
    path = bench.fresh("tokens")
    with told(f"making a log of {calls:,} calls of language models"):
        write(path, calls)
    with eventlog.open(path) as log:
        head = log.head().position
        report, whole = interleave(queries, lambda: _report(log), lambda: log.statistics.tokens())
        near = iter(range(head - head // 100, 0, -1))
        (back,) = interleave(bench.size.rounds, lambda: _as_of(log, next(near)))
        far = [interleave(min(3, bench.size.rounds), lambda at=at: _as_of(log, int(head * at)))[0] for at in BACK]
    of = f"of {calls:,} calls"
    yield _figure("tokens.report", f"daily tokens and cost by model {of}, p50", report.median, 100)
    yield _figure("tokens.total", f"tokens and cost {of} in one row, p50", whole.median, None)
    yield _figure("tokens.asof", f"daily report {of}, as of a version 1 % back", back.median, 500)
    worst = max(timing.median for timing in far)
    detail = ", ".join(f"{at:.0%}: {timing.median * 1e3:.0f} ms" for at, timing in zip(BACK, far, strict=True))
    yield _figure(
        "tokens.asof.far", f"daily report {of}, as of 10, 50 and 90 % of the log, the worst", worst, 4_000, detail
    )


def write(path: Path, calls: int) -> None:
    """A log of so many calls in sessions, some of them amended or retracted, with prices that change half-way."""
    chance = random.Random(5)
    with eventlog.open(path, projections="deferred") as log:
        appends: list[Append] = []
        for session in range(-(-calls // CALLS_A_SESSION)):
            appends += _session(session, min(CALLS_A_SESSION, calls - session * CALLS_A_SESSION), calls, chance)
            if len(appends) >= 5_000:
                log.append_many(appends, durability="process")
                appends = []
        if appends:
            log.append_many(appends, durability="process")
        log.projections.rebuild()
        log.prices.set("gpt-5", rates_per_mtok(input=2, output=12), effective=BEGIN_US + DAYS // 2 * DAY_US)


def _session(number: int, count: int, calls: int, chance: random.Random) -> Iterator[Append]:
    stream = f"session-{number:08}"
    at = BEGIN_US + number * CALLS_A_SESSION * DAYS * DAY_US // calls
    workspace, agent = f"w{number % WORKSPACES}", AGENTS[number % len(AGENTS)]
    yield Append(stream=stream, events=SessionCreated(), occurred_at=at)
    provider, model = MODELS[chance.randrange(len(MODELS))]
    for call in range(count):
        at += chance.randrange(5_000_000, 90_000_000)
        usage = Usage(
            input=chance.randrange(2_000),
            cache_read=call * chance.randrange(6_000),
            cache_write_5m=chance.randrange(4_000),
            cache_write_1h=chance.randrange(4_000) if number % 3 else 0,
            output=chance.randrange(3_000),
            reasoning=chance.randrange(500) if provider == "openai" else 0,
        )
        event = LlmCallCompleted(
            call_id=f"call-{call}",
            usage=usage,
            provider=provider,
            response_model=model,
            finish_reasons=("stop",),
            duration_us=chance.randrange(30_000_000),
            reported_cost_micro_usd=chance.randrange(100_000) if number % 10 == 0 else None,
            workspace_id=workspace,
            agent=agent,
        )
        yield Append(stream=stream, events=event, occurred_at=at)
        if call % 25 == 7:
            more = Usage(input=usage.input, output=usage.output + 100)
            amended = LlmCallAmended(call_id=event.call_id, usage=more, replaced=usage)
            yield Append(stream=stream, events=amended, occurred_at=at)
        elif call % 50 == 9:
            retracted = LlmCallRetracted(call_id=event.call_id, reason="a copy", replaced=usage)
            yield Append(stream=stream, events=retracted, occurred_at=at)


def _report(log: Log) -> None:
    assert log.statistics.tokens(by=("day", "model"))


def _as_of(log: Log, version: int) -> None:
    with log.as_of(version) as past:
        assert past.statistics.tokens(by=("day", "model"))


def _figure(name: str, what: str, seconds: float, bar: float | None, detail: str = "") -> Figure:
    return Figure(id=name, what=what, unit="ms", ours=seconds * 1e3, bar=bar, sense="<=", on_value=True, detail=detail)
