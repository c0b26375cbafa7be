"""``eventlog prices``: what tokens cost, and which price counts for a model."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import counted
from eventlog.cli.view import Column, View

LANE_OPTIONS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")


@click.group()
def prices() -> None:
    """What tokens cost: price lists, and which price counts. Costs are computed from them when somebody asks."""


@prices.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", metavar="NAME", help="What the list is called. Default: as the file, without its ending.")
@click.option("--effective", metavar="DATE", default="0", help="From when on its prices hold (UTC). Default: always.")
@view_options
@pass_state
def load(state: State, view: View, file: str, name: str | None, effective: str) -> None:
    """Load the price list FILE, in the form of LiteLLM's model_prices_and_context_window.json."""
    with state.write(create=True) as log:
        found = log.prices.load(file, name=name, effective=effective)
    if view.is_json:
        view.item(found)
        return
    view.say(f"{found.catalog}: {counted(found.prices, 'price')}, {since(view, found.effective_from)}")
    for why, count in found.skipped.items():
        view.say(f"left out: {count:,} ({why})")


@prices.command("set")
@click.argument("model")
@click.option("--input", "input_", metavar="USD", required=True, help="A million tokens of input, in US dollars.")
@click.option("--output", metavar="USD", required=True, help="A million tokens of output.")
@click.option("--cache-read", metavar="USD", help="A million tokens read from a cache.")
@click.option("--cache-write-5m", metavar="USD", help="A million written to one for 5 minutes.")
@click.option("--cache-write-1h", metavar="USD", help="A million written to one for an hour.")
@click.option("--reasoning", metavar="USD", help="A million tokens of reasoning.")
@click.option(
    "--above",
    metavar="TOKENS:LANE=USD,…",
    multiple=True,
    help="What differs above 128k, 200k or 272k tokens of input: 200k:input=6,output=22.5.",
)
@click.option("--effective", metavar="DATE", default="0", help="From when on it holds (UTC). Default: always.")
@click.option("--reason", metavar="TEXT", default="", help="Why it is set.")
@view_options
@pass_state
def set_(
    state: State,
    /,
    view: View,
    model: str,
    input_: str,
    above: tuple[str, ...],
    effective: str,
    reason: str,
    **usd: str | None,
) -> None:
    """Set what MODEL costs. It goes before what price lists say, until it is unset.

    A lane that is not named keeps the price that it has now, if it has one of its own; else cached input costs what
    input does, reasoning what output does. What is printed says which.
    """
    from eventlog.repositories.price_files import rates_per_mtok

    rates = rates_per_mtok(input=input_, **usd)
    tiers = [_tier(text) for text in above]
    with state.write(create=True) as log:
        found = log.prices.set(model, rates, tiers=tiers, effective=effective, reason=reason)
    if view.is_json:
        view.item(found)
    else:
        named = {"input", "output"} | {lane for lane, amount in usd.items() if amount is not None}
        view.say(f"{model}: {_decided(found, named)} {since(view, found.effective_from)}")


@prices.command()
@click.argument("model")
@click.option("--effective", metavar="DATE", help="Only the price that holds from then on. Default: all that were set.")
@click.option("--reason", metavar="TEXT", default="", help="Why.")
@view_options
@pass_state
def unset(state: State, view: View, model: str, effective: str | None, reason: str) -> None:
    """Take back what was set for MODEL: price lists count again."""
    with state.write() as log:
        log.prices.unset(model, effective=effective, reason=reason)
    if view.is_json:
        view.item({"model": model, "effective": effective})
    else:
        view.say(f"what was set for {model} counts no more")


@prices.command("list")
@click.option("--model", "-m", "text", metavar="TEXT", help="Only models with this in their names.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@as_of_option
@view_options
@pass_state
def list_prices(state: State, view: View, as_of: str | None, text: str | None, limit: int | None) -> None:
    """List every price that can count, in US dollars a million tokens."""
    with asked(state, as_of, view) as source:
        view.rows(
            source.prices.list(text=text, limit=limit),
            [
                Column("model", lambda price: price.model),
                *(_lane(lane) for lane in LANE_OPTIONS),
                Column("above", lambda price: _above(price.tiers), optional=True, spare=True),
                Column("from", lambda price: view.time(price.effective_from)[:16] if price.effective_from else "",
                       optional=True),
                Column("said by", lambda price: price.catalog),
                Column("reason", lambda price: price.reason, wide=True, optional=True, spare=True),
            ],
            empty="no price",
        )  # fmt: skip


@prices.command()
@click.argument("model")
@as_of_option
@view_options
@pass_state
def explain(state: State, view: View, as_of: str | None, model: str) -> None:
    """Which price counts for calls of MODEL, from when on, and what each kind of token costs by it."""
    with asked(state, as_of, view) as source:
        found = source.prices.explain(model)
    if view.is_json:
        view.item(found)
        return
    view.say(f"looked for: {', '.join(found.names)}")
    for period in found.periods:
        when = since(view, period.effective_from)
        if period.price is None:
            view.say(f"{when}: no price; its calls are unpriced")
            continue
        where = "" if period.price.position is None else f" (event {period.price.position})"
        reason = f": {period.price.reason}" if period.price.reason else ""
        view.say(f"{when}: {period.price.model} ({period.rule}), {period.price.catalog}{where}{reason}")
    for tier in found.lanes:
        view.say(f"\nUSD a million tokens{_more(tier.above_tokens)}:")
        for lane, one in tier.lanes.items():
            view.say(f"  {lane:<14}  {_per_mtok(one.pico_usd):>10}  {one.origin}")


def _tier(text: str) -> Any:
    from eventlog.cli.pairs import pairs
    from eventlog.events.prices import LongContext
    from eventlog.repositories.price_files import rates_per_mtok

    above, _, rest = text.partition(":")
    number = above.strip().lower().removesuffix("k")
    usd = pairs(tuple(part for part in rest.split(",") if part), "--above")
    if not number.isdecimal() or not usd or not set(usd) <= set(LANE_OPTIONS):
        raise click.BadParameter(f"{text!r} is not like 200k:input=6,output=22.5", param_hint="'--above'")
    return LongContext(int(number) * (1000 if above.strip().lower().endswith("k") else 1), rates_per_mtok(**usd))


def since(view: View, effective_from: int) -> str:
    """From when on a price holds."""
    return f"from {view.time(effective_from)[:16]} on" if effective_from else "always"


def _more(tokens: int) -> str:
    return f", in calls with more than {tokens:,} tokens of input" if tokens else ""


def _per_mtok(pico: int | None) -> str:
    """Pico-USD a token as US dollars a million tokens."""
    if pico is None:
        return ""
    text = f"{pico / 1e6:,.6f}".rstrip("0")
    whole, _, rest = text.partition(".")
    return f"{whole}.{rest:0<2}"


def _lane(lane: str) -> Column:
    spare = lane in ("cache_write_1h", "reasoning")
    title = lane.replace("_", " ")
    return Column(title, lambda price: _per_mtok(getattr(price.rates, lane)), right=True, optional=True, spare=spare)


def usd_of(rates: Any) -> str:
    """The prices of the lanes that have one of their own, in US dollars a million tokens."""
    lanes = ((lane, getattr(rates, lane)) for lane in LANE_OPTIONS)
    return ", ".join(f"{lane.replace('_', ' ')} ${_per_mtok(pico)}" for lane, pico in lanes if pico is not None)


def _decided(price: Any, named: set[str]) -> str:
    """Every lane, and where its price is from where it was not named."""
    from eventlog.repositories.price_book import lane_of

    told = []
    for lane in LANE_OPTIONS:
        one = lane_of(price, lane, 0)
        kept = getattr(price.rates, lane) is not None
        why = "" if lane in named else " (kept)" if kept else f" ({one.origin})"
        told.append(f"{lane.replace('_', ' ')} ${_per_mtok(one.pico_usd)}{why}")
    return ", ".join(told)


def _above(tiers: Any) -> str:
    return "; ".join(f"{tier.above_tokens // 1000}k: {usd_of(tier.rates)}" for tier in tiers)
