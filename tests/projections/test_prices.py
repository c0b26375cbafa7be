"""What tokens cost: hand-computed amounts, which price counts, and what costs were at earlier versions."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eventlog
from eventlog import Append
from eventlog.app import Log
from eventlog.clock import from_datetime
from eventlog.errors import InvalidInput, InvalidName, InvalidQuery, LogReadOnly, NotFound
from eventlog.events.agents import (
    LlmCallAmended,
    LlmCallCompleted,
    LlmCallFailed,
    LlmCallRetracted,
    ToolCallFinished,
    ToolCallStarted,
    Usage,
)
from eventlog.events.prices import LANES, LongContext, ModelPrice, PriceSet, Rates
from eventlog.repositories.price_book import Price, PriceBook, lane_of, micro_usd, names_of
from eventlog.repositories.price_files import built_in, parse, pico_usd, rates_per_mtok, read_file

pytestmark = pytest.mark.alike

HOUR = 3_600_000_000
DAY = 24 * HOUR
DAY_1 = from_datetime(datetime(2025, 6, 2, tzinfo=UTC))
SONNET = "claude-sonnet-4-20250514"
LIST = "built-in 2025-11-24"


def call(
    log: Log,
    name: str,
    usage: Usage = Usage(),  # noqa: B008
    *,
    model: str | None = SONNET,
    at: int = DAY_1,
    stream: str = "session-s",
    **more: Any,
) -> None:
    event = LlmCallCompleted(call_id=name, usage=usage, response_model=model, **more)
    log.append(stream, event, occurred_at=at, durability="process")


def cost(source: Any, **chosen: Any) -> tuple[int | None, str, int, int]:
    (row,) = source.statistics.cost(**chosen)
    return row.cost_micro_usd, row.cost_basis, row.unpriced_calls, row.unpriced_tokens


def test_one_row_where_nothing_is_grouped_even_without_calls(log: Log) -> None:
    (row,) = log.statistics.tokens()
    assert (row.model, row.calls, row.total_tokens, row.cost_micro_usd, row.cost_basis) == (None, 0, 0, 0, "computed")
    assert (
        log.statistics.tokens(by=["day"])
        == log.statistics.cost(by=["model"])
        == log.statistics.tools(by=["tool"])
        == []
    )
    (tools,) = log.statistics.tools()
    assert (tools.calls, tools.error_rate, tools.p50_us) == (0, None, None)


def test_lanes_are_told_as_providers_name_them(log: Log) -> None:
    call(log, "a", Usage(input=1, cache_read=10, cache_write_5m=100, cache_write_1h=1_000, output=10_000, reasoning=5))
    (row,) = log.statistics.tokens()
    assert (row.input_tokens, row.cache_read_input_tokens, row.cache_creation_input_tokens) == (1, 10, 1_100)
    assert (row.cache_creation_1h_input_tokens, row.output_tokens, row.reasoning_tokens) == (1_000, 10_005, 5)
    assert (row.total_tokens, row.calls, row.failed) == (11_116, 1, 0)


@pytest.mark.parametrize(
    ("model", "usage", "micro"),
    [
        # an hour of cache costs twice the input, five minutes 1.25 times
        ("claude-opus-4-5", Usage(cache_write_1h=1_000_000), 10_000_000),
        ("claude-opus-4-5", Usage(cache_write_5m=1_000_000), 6_250_000),
        ("claude-opus-4-5", Usage(cache_read=1_000_000), 500_000),
        ("gpt-5", Usage(input=1_000, output=200, reasoning=300), 6_250),  # 1,250 + 500 × 10
        ("anthropic/claude-sonnet-4-5-20250929", Usage(input=200_000), 600_000),
        ("claude-sonnet-4-5", Usage(input=200_001), 1_200_006),  # above 200,000 each token costs double
        ("claude-sonnet-4-5", Usage(1, 100_000, 50_000, 50_000, 1_000), 1_057_506),
        ("claude-sonnet-4-5", Usage(300_000, output=1_000_000), 24_300_000),
        ("gpt-4.1", Usage(input=300_000), 600_000),  # no other price for long contexts
        ("gpt-5-nano", Usage(cache_read=100), 1),  # half a micro-USD is rounded up
        ("gpt-5-nano", Usage(cache_read=99), 0),
    ],
)
def test_list_prices_by_hand(log: Log, model: str, usage: Usage, micro: int) -> None:
    call(log, "a", usage, model=model)
    assert cost(log) == (micro, "computed", 0, 0)
    assert log.statistics.cost()[0].catalogs == (LIST,)


def test_reported_computed_mixed_and_unpriced_are_told(log: Log) -> None:
    call(log, "a", Usage(input=1_000_000), reported_cost_micro_usd=42, agent="one")
    assert cost(log) == (42, "reported", 0, 0)
    assert cost(log, basis="computed") == (6_000_000, "computed", 0, 0)
    call(log, "b", Usage(input=100_000), agent="two")
    assert cost(log) == (300_042, "mixed", 0, 0)
    call(log, "c", Usage(input=7, output=1), model="nobody-knows", agent="three")
    call(log, "d", Usage(output=2), model=None, agent="three")
    assert cost(log) == (300_042, "mixed", 2, 10)
    assert cost(log, agent="three") == (None, "unpriced", 2, 10)
    call(log, "e", Usage(), model="nobody-knows", reported_cost_micro_usd=0, agent="three")
    assert cost(log, agent="three") == (0, "reported", 2, 10)
    assert cost(log, agent="three", basis="computed") == (None, "unpriced", 3, 10)
    log.append("session-s", LlmCallFailed(call_id="f", error_type="overloaded", request_model=SONNET, agent="four"))
    assert cost(log, agent="four") == (0, "computed", 0, 0)
    (row,) = log.statistics.cost()
    assert (row.reported_micro_usd, row.computed_micro_usd, row.catalogs) == (42, 300_000, (LIST,))


def test_amended_and_retracted_calls_count_as_what_they_are_now(log: Log) -> None:
    call(log, "a", Usage(input=1_000))
    log.append("session-s", LlmCallAmended(call_id="a", usage=Usage(input=1_000, output=200), replaced=Usage(1_000)))
    assert cost(log) == (6_000, "computed", 0, 0)
    log.append(
        "session-s",
        LlmCallAmended(call_id="a", usage=Usage(5), replaced=Usage(1_000, output=200), reported_cost_micro_usd=9),
    )
    assert cost(log) == (9, "reported", 0, 0)
    log.append("session-s", LlmCallRetracted(call_id="a", reason="a copy", replaced=Usage(5)))
    assert cost(log) == (0, "computed", 0, 0)
    with log.as_of(1) as past:
        assert cost(past) == (3_000, "computed", 0, 0)


def test_a_price_holds_from_its_hour_on(log: Log) -> None:
    log.prices.set("m", rates_per_mtok(input=1, output=1))
    log.prices.set("m", rates_per_mtok(input=2, output=2), effective="2025-06-03")
    log.prices.set("m", rates_per_mtok(input=4, output=4), effective="2025-06-03T12:00+02:00")
    for number, at in enumerate(
        (DAY_1, DAY_1 + DAY - 1, DAY_1 + DAY, DAY_1 + DAY + 10 * HOUR - 1, DAY_1 + DAY + 10 * HOUR)
    ):
        call(log, f"c{number}", Usage(input=1_000_000), model="m", at=at)
    assert cost(log) == (10_000_000, "computed", 0, 0)
    assert [row.cost_micro_usd for row in log.statistics.tokens(by="day")] == [2_000_000, 8_000_000]
    tokyo = log.statistics.tokens(by=["day"], tz=ZoneInfo("Asia/Tokyo"))
    assert [(row.bucket, row.cost_micro_usd) for row in tokyo] == [("2025-06-02", 1_000_000), ("2025-06-03", 9_000_000)]
    steps = [(one.effective_from, one.price and one.price.rates.input) for one in log.prices.explain("m").periods]
    assert steps == [(0, 1_000_000), (DAY_1 + DAY, 2_000_000), (DAY_1 + DAY + 10 * HOUR, 4_000_000)]
    log.prices.unset("m", effective="2025-06-03")
    assert cost(log) == (8_000_000, "computed", 0, 0)
    with pytest.raises(NotFound):
        log.prices.unset("m", effective="2025-06-03")


def test_by_hand_before_lists_later_before_earlier_the_log_before_the_program(log: Log) -> None:
    def listed(name: str, rate: int, effective: int = 0) -> None:
        price = ModelPrice("gpt-5", Rates(rate, output=rate))
        log.prices.load_catalog(name, [price], digest=f"{rate}", source="f", effective=effective)

    def now() -> tuple[int | None, tuple[str, ...]]:
        (row,) = log.statistics.cost()
        return row.cost_micro_usd, row.catalogs

    call(log, "a", Usage(input=1_000_000), model="openai/gpt-5-2025-08-07")
    assert now() == (1_250_000, (LIST,))
    listed("first", 3_000_000)
    assert now() == (3_000_000, ("first",))
    listed("dated", 4_000_000, DAY_1)
    listed("second", 5_000_000)
    assert now() == (4_000_000, ("dated",))
    log.prices.set("gpt-5", rates_per_mtok(input=6, output=6))
    assert now() == (6_000_000, ("set by hand",))
    log.prices.unset("gpt-5")
    listed("later", 7_000_000, DAY_1 + DAY)
    listed("again", 8_000_000, DAY_1)
    assert now() == (8_000_000, ("again",))
    with log.as_of(1) as past:
        assert cost(past) == (1_250_000, "computed", 0, 0)
        assert past.prices.catalogs() == []
        with pytest.raises(LogReadOnly):
            past.prices.set("m", Rates(1, output=1))
    shown = [(one.source, one.catalog) for one in log.prices.list(text="GPT-5") if one.model == "gpt-5"]
    assert shown == [("catalog", "second"), ("catalog", "again"), ("catalog", "later"), ("built-in", LIST)]
    assert [one.catalog for one in log.prices.catalogs()] == ["first", "dated", "second", "later", "again"]
    assert log.prices.list(limit=2, offset=1) == log.prices.list()[1:3]


def test_a_lane_that_is_not_named_keeps_its_price(log: Log) -> None:
    found = log.prices.set(SONNET, rates_per_mtok(input="2.5", output="12.5"))
    assert (found.rates.input, found.rates.cache_read, found.rates.cache_write_5m) == (2_500_000, 300_000, 3_750_000)
    (stored,) = (record.event for record in log.read_stream(f"price-{SONNET}"))
    assert isinstance(stored, PriceSet)
    assert stored.rates == found.rates
    again = log.prices.set(SONNET, rates_per_mtok(input=2, output=12, cache_read=0))
    assert (again.rates.cache_read, again.rates.cache_write_5m) == (0, 3_750_000)
    assert log.prices.set("ours", rates_per_mtok(input=2, output=12)).rates == Rates(2_000_000, output=12_000_000)


def test_two_versions_are_compared_and_the_events_between_are_told(log: Log) -> None:
    call(log, "a", Usage(input=1_000_000), model="m", agent="x")
    call(log, "b", Usage(input=1_000_000), model=SONNET, agent="y")
    log.prices.set("m", rates_per_mtok(input=1, output=1))
    first = log.head().position
    call(log, "c", Usage(input=2_000_000), model="m", agent="x")
    log.prices.set("m", rates_per_mtok(input=3, output=1))
    last = log.head().position
    log.prices.set("m", rates_per_mtok(input=100, output=1))
    found = log.statistics.compare_cost(last, first, by=("model",))
    (row,) = found.rows
    assert (row.model, row.before_micro_usd, row.after_micro_usd) == ("m", 1_000_000, 9_000_000)
    assert (row.difference_micro_usd, row.by_prices_micro_usd, row.by_calls_micro_usd) == (
        8_000_000,
        2_000_000,
        6_000_000,
    )
    assert (found.first, found.last, found.total.before_micro_usd) == (first, last, 7_000_000)
    assert [(one.position, one.type, one.about) for one in found.events] == [
        (4, "llm.call_completed", "calls"),
        (5, "price.set", "prices"),
    ]
    assert (found.events[1].model, found.events[1].rates) == ("m", Rates(3_000_000, output=1_000_000))
    log.prices.set("another", rates_per_mtok(input=1, output=1), reason="no call is of it")
    log.prices.set("m", rates_per_mtok(input=2, output=1), effective="2025-06-01", reason="agreed")
    found = log.statistics.compare_cost(last, log.head().position)
    assert (found.price_events, [one.reason for one in found.events]) == (2, ["", "agreed"])
    assert found.call_types == {}
    assert log.statistics.compare_cost(first, first).rows == []
    with log.as_of(first) as past, pytest.raises(InvalidQuery):
        past.statistics.compare_cost(1, 2)


def test_groups_and_filters_agree_with_the_calls_themselves(log: Log) -> None:
    chance = random.Random(2)
    calls = []
    for number in range(150):
        one = {
            "at": DAY_1 + chance.randrange(60 * DAY),
            "model": chance.choice([SONNET, "gpt-5", "m", None]),
            "provider": chance.choice(["anthropic", None]),
            "workspace_id": chance.choice(["w1", "w2"]),
            "agent": chance.choice(["a", None]),
            "usage": Usage(*(chance.randrange(200_000) for _ in LANES)),
        }
        calls.append(one)
        more = {name: one[name] for name in ("provider", "workspace_id", "agent")}
        call(log, f"{number}", one["usage"], model=one["model"], at=one["at"], **more)
    for by in (["month", "model"], ["week", "workspace", "agent"], ["provider"], ["hour"], ["day", "agent", "model"]):
        rows = log.statistics.tokens(by=by)
        assert sum(row.calls for row in rows) == 150
        assert sum(row.total_tokens for row in rows) == sum(one["usage"].total for one in calls)
        assert len({(row.bucket, row.model, row.provider, row.workspace_id, row.agent) for row in rows}) == len(rows)
    since, until = DAY_1 + 10 * DAY, DAY_1 + 30 * DAY + 5 * HOUR
    chosen = [
        one for one in calls if since <= one["at"] < until and one["model"] == "gpt-5" and one["workspace_id"] == "w1"
    ]
    (row,) = log.statistics.tokens(since=since, until=until, model="gpt-5", workspace_id="w1")
    assert (row.calls, row.total_tokens) == (len(chosen), sum(one["usage"].total for one in chosen))
    for wrong in ({"by": ["day", "hour"]}, {"by": ["tool"]}, {"basis": "guessed"}):
        with pytest.raises(InvalidInput):
            log.statistics.tokens(**wrong)


def test_tools_by_outcome(log: Log) -> None:
    outcomes: Sequence[tuple[str, str | None, int]] = [
        ("Bash", "ok", 100), ("Bash", "ok", 100), ("Bash", "error", 90_000),
        ("Read", "cancelled", 5), ("Read", None, 0),
    ]  # fmt: skip
    for number, (tool, outcome, took) in enumerate(outcomes):
        log.append("session-s", ToolCallStarted(tool_call_id=f"t{number}", name=tool, agent="a"), occurred_at=DAY_1)
        if outcome is not None:
            done = ToolCallFinished(tool_call_id=f"t{number}", outcome=outcome, duration_us=took)  # type: ignore[arg-type]
            log.append("session-s", done, occurred_at=DAY_1 + DAY)
    bash, read = log.statistics.tools(by=["day", "tool"])
    assert (bash.bucket, bash.tool, bash.calls, bash.ok, bash.error, bash.error_rate) == (
        "2025-06-02",
        "Bash",
        3,
        2,
        1,
        1 / 3,
    )
    assert (bash.p50_us, bash.duration_us_total) == (100, 90_200)
    assert bash.p95_us is not None and abs(bash.p95_us - 90_000) < 900
    assert (read.calls, read.cancelled, read.unanswered, read.error_rate) == (2, 1, 1, 0)
    by_outcome = {row.outcome: (row.calls, row.p50_us) for row in log.statistics.tools(by=["outcome"], tool="Bash")}
    assert by_outcome["ok"] == (2, 100) and by_outcome["error"][0] == 1
    assert log.statistics.tools(outcome="error", tool="Bash", since=DAY_1, until=DAY_1 + HOUR)[0].p50_us != 100


# files


def entry(**costs: Any) -> dict[str, Any]:
    return {"mode": "chat", "litellm_provider": "p", **costs}


FILE = {
    "sample_spec": {"mode": "one of chat, embedding …", "input_cost_per_token": 0.0},
    "m": entry(
        input_cost_per_token=3e-06,
        output_cost_per_token="0.000015",
        cache_read_input_token_cost=3e-07,
        cache_creation_input_token_cost=3.75e-06,
        cache_creation_input_token_cost_above_1hr=6e-06,
        output_cost_per_reasoning_token=1.6e-05,
        input_cost_per_token_above_200k_tokens=6e-06,
        cache_creation_input_token_cost_above_1hr_above_200k_tokens=1.2e-05,
        input_cost_per_token_above_128k_tokens=4e-06,
        max_input_tokens=200000,
    ),
    "e": entry(mode="embedding", input_cost_per_token=2e-08),
    "image": entry(mode="image_generation", output_cost_per_image=0.04),
    "free": entry(input_cost_per_token=0.0, output_cost_per_token=0.0),
    "nothing": entry(),
    "half": entry(output_cost_per_token=1e-06),
    "wrong": entry(input_cost_per_token="much", output_cost_per_token=-1),
    "odd": [1],
}


def test_litellms_file_is_read_exactly_and_what_is_left_out_is_counted(log: Log, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(FILE))
    loaded = log.prices.load(path)
    assert (loaded.catalog, loaded.source, loaded.prices) == ("list", "list.json", 3)
    assert loaded.skipped == {"another kind": 1, "incomplete": 1, "malformed": 2, "no price of tokens": 1}
    (price,) = [one for one in log.prices.list(text="m") if one.model == "m"]
    assert price.rates == Rates(3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000, 16_000_000)
    assert price.tiers == (
        LongContext(128_000, Rates(4_000_000)), LongContext(200_000, Rates(6_000_000, cache_write_1h=12_000_000)),
    )  # fmt: skip
    head = log.head().position
    assert log.prices.load(path) == loaded and log.head().position == head
    assert log.prices.load(path, effective="2025-06-02").position == head + 1


def test_a_real_sized_list_goes_in_whole(log: Log, tmp_path: Path) -> None:
    models = {f"provider/model-{number}": entry(input_cost_per_token=number * 1e-9, output_cost_per_token=1e-6)
              for number in range(3_000)}  # fmt: skip
    path = tmp_path / "all.json"
    path.write_text(json.dumps(models))
    assert log.prices.load(path, name="all").prices == 3_000
    assert log.prices.explain("model-7").periods[0].price is None
    found = log.prices.explain("provider/model-7").periods[0].price
    assert found is not None and found.rates.input == 7_000


@pytest.mark.parametrize("text", ["", "[]", '{"a": {}}', "\x00", '{"sample_spec": {}}', "[" * 100_000])
def test_what_is_no_price_list_is_refused(log: Log, tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        log.prices.load(path)
    with pytest.raises(InvalidInput):
        log.prices.load(tmp_path / "missing.json")
    assert log.head().position == 0


def test_what_no_price_is_is_refused(log: Log) -> None:
    good = Rates(1, output=1)
    for rates, more in (
        (Rates(1), {}),
        (good, {"tiers": [LongContext(5, Rates(2))]}),
        (good, {"tiers": [LongContext(200_000, Rates(2))] * 2}),
        (good, {"effective": HOUR + 1}),
        (good, {"effective": "2025-06-02T00:30"}),
        (good, {"effective": "soon"}),
        (good, {"effective": -HOUR}),
    ):
        with pytest.raises(InvalidInput):
            log.prices.set("m", rates, **more)
    for wrong in ("", "a\nb", "x" * 201):
        with pytest.raises(InvalidName):
            log.prices.set(wrong, good)
    with pytest.raises(InvalidInput):
        log.prices.load_catalog("n", [], digest="d", source="s")
    with pytest.raises(InvalidInput):
        rates_per_mtok(input="much", output=1)
    with pytest.raises(NotFound):
        log.prices.unset("m")
    assert log.head().position == 0


@pytest.mark.parametrize(
    ("written", "pico"),
    [(3e-06, 3_000_000), ("1e-12", 1), (0.1 + 0.2, 300_000_000_000), (0, 0), (1.02e-07, 102_000), (None, None)],
)
def test_amounts_are_converted_exactly(written: Any, pico: int | None) -> None:
    assert pico_usd(written, 10**12) == pico


@pytest.mark.parametrize("written", ["nan", "inf", "-1e-9", "1e999999999999", True, "x", [], 1e4])
def test_amounts_that_are_none_are_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r".*"):
        pico_usd(written, 10**12)


def test_the_list_that_comes_with_the_program_keeps_its_makers_rules() -> None:
    for price in built_in().values():
        rates = price.rates
        if price.provider == "anthropic" and price.model != "claude-3-haiku":
            assert rates.input and rates.cache_write_5m and rates.cache_write_1h and rates.cache_read
            assert (rates.cache_write_5m, rates.cache_write_1h) == (rates.input * 5 // 4, rates.input * 2)
            assert rates.cache_read * 10 == rates.input
    for model in (
        "claude-3-5-sonnet-20241022", "claude-3-7-sonnet-latest", "claude-opus-4-1-20250805",
        "claude-haiku-4-5-20251001",
        "gpt-4o-2024-08-06", "gpt-4.1-mini-2025-04-14", "o3-2025-04-16", "openai/o4-mini", "claude-sonnet-4@20250514",
    ):  # fmt: skip
        assert PriceBook([], built_in()).price_at(model, 0) is not None, model


def test_names_are_tried_from_the_most_to_the_least_said() -> None:
    assert names_of("a/b/c-20250514") == [
        ("a/b/c-20250514", "exact"),
        ("b/c-20250514", "without provider"),
        ("c-20250514", "without provider"),
        ("a/b/c", "without date"),
        ("b/c", "without provider and date"),
        ("c", "without provider and date"),
    ]
    assert names_of("gpt-5") == [("gpt-5", "exact")]


def test_lanes_without_a_price_borrow_one() -> None:
    price = Price("m", 0, "set", "", 1, None, Rates(100, 10, 125, output=500), (LongContext(200_000, Rates(200)),))
    plain = {lane: lane_of(price, lane, 0) for lane in LANES}
    assert [one.pico_usd for one in plain.values()] == [100, 10, 125, 200, 500, 500]
    assert (plain["cache_write_1h"].origin, plain["reasoning"].origin) == ("twice input", "as output")
    # Input costs double: so do the cache's lanes, which say nothing of long contexts.
    assert [lane_of(price, lane, 272_000).pico_usd for lane in LANES] == [200, 20, 250, 400, 500, 500]
    bare = Price("m", 0, "set", "", 1, None, Rates(100, output=500))
    assert [lane_of(bare, lane, 0).pico_usd for lane in LANES] == [100, 100, 100, 100, 500, 500]


# sums

TOKENS = st.tuples(*[st.integers(0, 300_000)] * len(LANES))
CALLS = st.lists(
    st.tuples(
        st.sampled_from([SONNET, "gpt-5", "m", "x/m-20250101", "none"]),
        st.integers(0, 3 * 24),
        TOKENS,
        st.one_of(st.none(), st.integers(0, 10**7)),
    ),
    max_size=25,
)
SET = st.lists(
    st.tuples(st.sampled_from(["m", SONNET, "gpt-5"]), st.integers(0, 10**7), st.integers(0, 3 * 24)), max_size=4
)


@settings(max_examples=25, deadline=None)
@given(CALLS, SET)
def test_the_cost_of_sums_is_the_sum_of_the_costs_of_calls(calls: list[Any], prices: list[Any]) -> None:
    with eventlog.open(":memory:") as log:
        for model, rate, hour in prices:
            above = (LongContext(128_000, Rates(2 * rate)),)
            lanes = Rates(rate, rate, rate, rate, rate + 1, rate + 1)
            log.prices.set(model, lanes, tiers=above, effective=DAY_1 + hour * HOUR)
        log.append_many(
            Append(
                stream=f"session-{number % 3}",
                events=LlmCallCompleted(
                    call_id=f"{number}", usage=Usage(*tokens), response_model=model, reported_cost_micro_usd=reported
                ),
                occurred_at=DAY_1 + hour * HOUR + number,
            )
            for number, (model, hour, tokens, reported) in enumerate(calls)
        )
        assert log.statistics.tokens(by=["model"]) == log.statistics.tokens(by=["model"], tz=ZoneInfo("Asia/Tokyo"))
        pico, unpriced = 0, 0
        for model, hour, tokens, reported in calls:
            one = _alone(prices, model, hour, tokens)
            if reported is not None:
                pico += reported * 10**6
            elif one is None:
                unpriced += 1
            else:
                pico += one
        (row,) = log.statistics.tokens()
        assert (row.cost_micro_usd or 0, row.unpriced_calls) == (micro_usd(pico), unpriced)
        daily = log.statistics.cost(by=["day", "model"])
        assert abs(sum(one.cost_micro_usd or 0 for one in daily) - micro_usd(pico)) <= len(daily)


def _alone(prices: list[Any], model: str, hour: int, tokens: Sequence[int]) -> int | None:
    """What one call costs, in the plainest way."""
    names = [model] if model != "x/m-20250101" else ["m"]
    names += ["claude-sonnet-4"] if model == SONNET else []
    for name in names:
        held = {start: rate for one, rate, start in prices if one == name and start <= hour}
        if held:
            rate = held[max(held)]
            entry = 2 * rate if sum(tokens[:4]) > 128_000 else rate
            return entry * sum(tokens[:4]) + (rate + 1) * (tokens[4] + tokens[5])
    for name in names:
        if (price := built_in().get(name)) is not None:
            long = 200_000 if sum(tokens[:4]) > 200_000 else 0
            return sum(lane_of(price, lane, long).pico_usd * count for lane, count in zip(LANES, tokens, strict=True))
    return None


def test_a_file_that_is_too_big_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_file(tmp_path)
    with (tmp_path / "big").open("wb") as big:
        big.truncate(100 << 20)
    with pytest.raises(InvalidInput, match="at most"):
        read_file(tmp_path / "big")
    assert parse(json.dumps({"a": entry(input_cost_per_token=1e-6, output_cost_per_token=0)}).encode()).skipped == {}
