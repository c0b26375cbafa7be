"""Price lists as files: LiteLLM's ``model_prices_and_context_window.json``, and the one that comes with the program."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventlog.errors import InvalidInput
from eventlog.events.prices import LANES, LongContext, ModelPrice, Rates
from eventlog.repositories.price_book import BUILT_IN, Price
from projections.llm_calls import CONTEXT_TIERS

LIST_PRICES_DATE = "2025-11-24"
"""When the list that comes with the program was true, as far as was known."""
MAX_FILE_BYTES = 64 << 20
MAX_NAME = 200
PICO = 10**12
MAX_PICO = 10**15
MODES = ("chat", "completion", "responses", "embedding")
KEYS = {
    "input": "input_cost_per_token{}",
    "cache_read": "cache_read_input_token_cost{}",
    "cache_write_5m": "cache_creation_input_token_cost{}",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr{}",
    "output": "output_cost_per_token{}",
    "reasoning": "output_cost_per_reasoning_token{}",
}
"""What LiteLLM calls the lanes; for long contexts ``_above_200k_tokens`` stands behind."""
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode


class PriceFile(NamedTuple):
    """What a file says: prices, its SHA-256, and how many of its entries were left out, by reason."""

    prices: list[ModelPrice]
    digest: str
    skipped: dict[str, int]


def read_file(path: str | os.PathLike[str]) -> PriceFile:
    """The prices in a file. Raises InvalidInput where it cannot be read, is no JSON object or has none."""
    try:
        size = Path(path).stat().st_size
        if size > MAX_FILE_BYTES:
            raise InvalidInput(f"{path} has {size:,} bytes; a price list has at most {MAX_FILE_BYTES:,}")
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return parse(data)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error.message}") from error


def parse(data: bytes) -> PriceFile:
    """The prices in LiteLLM's form: an object with an object of USD a token for each model. Raises InvalidInput."""
    try:
        entries = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"this is no price list in LiteLLM's form, an object of objects: {error}") from error
    prices: list[ModelPrice] = []
    skipped: Counter[str] = Counter()
    for model, entry in entries.items():
        if model == "sample_spec":
            continue  # it says what the others mean
        found = _price(model, entry)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            prices.append(found)
    if not prices:
        raise InvalidInput(f"there is no price of tokens in it, among {len(entries):,} entries")
    return PriceFile(prices, hashlib.sha256(data).hexdigest(), dict(sorted(skipped.items())))


def _price(model: str, entry: Any) -> ModelPrice | str:
    """A model's price, or why there is none."""
    if not isinstance(entry, dict) or not 0 < len(model) <= MAX_NAME or not model.isprintable():
        return "malformed"
    mode = entry.get("mode", "chat")
    if mode not in MODES:
        return "another kind"
    if entry.get(KEYS["input"].format("")) is None and entry.get(KEYS["output"].format("")) is None:
        return "no price of tokens"
    try:
        rates = _rates(entry, "")
        long = [(tier, _rates(entry, f"_above_{tier // 1000}k_tokens")) for tier in sorted(CONTEXT_TIERS)]
    except ValueError:
        return "malformed"
    if rates.output is None and mode == "embedding":
        rates = msgspec.structs.replace(rates, output=0)
    if rates.input is None or rates.output is None:
        return "incomplete"
    tiers = tuple(LongContext(tier, rates) for tier, rates in long if rates != Rates())
    provider = entry.get("litellm_provider")
    return ModelPrice(model, rates, tiers, provider if isinstance(provider, str) else None)


def _rates(entry: Mapping[str, Any], behind: str) -> Rates:
    return Rates(**{lane: pico_usd(entry.get(KEYS[lane].format(behind)), PICO) for lane in LANES})


def pico_usd(amount: Any, factor: int) -> int | None:
    """An amount of USD as written (a number or text), times ``factor``, as a whole number. Raises ValueError."""
    if amount is None:
        return None
    try:
        if isinstance(amount, bool):
            raise ValueError(amount)
        pico = Decimal(str(amount)) * factor
        if not pico.is_finite() or not 0 <= pico <= MAX_PICO:
            raise ValueError(amount)
    except ArithmeticError:
        raise ValueError(amount) from None
    return int(pico.to_integral_value())


def rates_per_mtok(**usd: Any) -> Rates:
    """Rates from USD per million tokens, in the lanes of `Rates`: ``rates_per_mtok(input=3, output="15")``.

    Raises InvalidInput where one is no amount from 0 to 1,000,000,000.
    """
    try:
        return Rates(**{lane: pico_usd(amount, PICO // 10**6) for lane, amount in usd.items()})
    except ValueError as error:
        raise InvalidInput(f"{error} is no price in USD per million tokens") from error


@cache
def built_in() -> Mapping[str, Price]:
    """The list prices that come with the program, as known on `LIST_PRICES_DATE`, by model."""
    from importlib import resources  # slow to import

    data = resources.files("eventlog.repositories").joinpath("list_prices.json").read_bytes()
    catalog = f"{BUILT_IN} {LIST_PRICES_DATE}"
    return {
        one.model: Price(one.model, 0, "built-in", catalog, None, one.provider, one.rates, one.tiers)
        for one in parse(data).prices
    }
