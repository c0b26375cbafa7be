"""Calls, prices and costs: the same on every store, and every way to their tables."""

from __future__ import annotations

from eventlog.app import Log
from eventlog.events.agents import LlmCallAmended, LlmCallRetracted, Usage
from eventlog.events.prices import ModelPrice, Rates
from tests.projections.reference import check_every_way
from tests.projections.test_prices import DAY, DAY_1, SONNET, call, cost


def test_a_call_is_found_again_whatever_its_id_is_made_of(log: Log) -> None:
    for call_id in ("a\0b", "a\1b", "a\1\2b"):
        call(log, call_id, Usage(10))
    log.committer.forget()  # as if others had appended
    for call_id in ("a\0b", "a\1b", "a\1\2b"):
        log.append("session-s", LlmCallRetracted(call_id=call_id, reason="copy", replaced=Usage(10)))
    assert [row["status"] for row in log.projections.rows("llm_calls")] == ["retracted"] * 3
    assert log.projections.verify() == []


def test_a_history_of_calls_and_prices_is_the_same_every_way(log: Log) -> None:
    call(log, "a", Usage(1_000, 2_000, 400, 300, 50, 10), workspace_id="w", agent="claude", provider="anthropic")
    call(log, "b", Usage(10), model="ours", at=DAY_1 + DAY)
    before = log.head().position
    log.prices.load_catalog("list", [ModelPrice("ours", Rates(5, output=7))], digest="d", source="f", effective=DAY_1)
    log.prices.set("ours", Rates(9, output=9), effective=DAY_1 + DAY, reason="agreed")
    log.append("session-s", LlmCallAmended(call_id="b", usage=Usage(1_000_000), replaced=Usage(10)))
    log.append("session-s", LlmCallRetracted(call_id="a", reason="copy", replaced=Usage(1_000)))
    log.prices.unset("ours")
    assert cost(log) == (5, "computed", 0, 0)  # a million times 5 pico-USD
    with log.as_of(before) as past:
        # 1000 × 3 + 2000 × 0.3 + 400 × 3.75 + 300 × 6 + 60 × 15 millionths, and "ours" without a price
        assert cost(past) == (7_800, "computed", 1, 10)
        assert [row.cost_micro_usd for row in past.statistics.cost(by=["day", "model"])] == [7_800, None]
    found = log.statistics.compare_cost(before, log.head().position, by=["model"])
    assert [(row.model, row.before_micro_usd, row.after_micro_usd) for row in found.rows] == [
        (SONNET, 7_800, 0),
        ("ours", None, 5),
    ]
    assert (found.call_events, found.price_events) == (2, 3)
    assert [one.about for one in found.events] == ["prices", "prices", "calls", "calls", "prices"]
    check_every_way(log)
