"""``eventlog stats tokens|cost|tools``: what agents used, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.stats import STEP_US, plot
from eventlog.cli.times import counted, show_duration, time_option, version_option
from eventlog.cli.view import Column, View
from eventlog.cli.workspaces import workspace_of

Command = Callable[..., Any]
PERIODS = ("hour", "day", "week", "month")
TOKENS_BY = (*PERIODS, "model", "provider", "workspace", "agent")
TOOLS_BY = (*PERIODS, "tool", "workspace", "agent", "outcome")
FIELDS = {"workspace": "workspace_id"}
SHOWN_EVENTS = 20


def _by_option(names: Sequence[str]) -> Callable[[Command], Command]:
    return click.option(
        "--by", type=click.Choice(names), multiple=True, help="One line for each; several: for each pair, and so on."
    )


def _usage_options(command: Command) -> Command:
    """What tokens and costs are asked with."""
    for option in reversed(
        (
            _by_option(TOKENS_BY),
            click.option("--since", metavar="TIME", help="Only calls answered at or after this: 28d, 2h, 2026-11-21."),
            click.option("--until", metavar="TIME", help="Only calls answered before this."),
            click.option("--model", "-m", metavar="NAME", help="Only calls of this model, by its whole name."),
            click.option("--provider", metavar="NAME", help="Only calls of this provider."),
            click.option("--workspace", "-w", metavar="ID|PATH", help="Only calls of this workspace."),
            click.option("--agent", metavar="NAME", help="Only calls of this agent."),
            click.option(
                "--basis",
                type=click.Choice(("reported", "computed")),
                default="reported",
                show_default=True,
                help="Costs as reported where they are, or all computed from prices.",
            ),
        )
    ):
        command = option(command)
    return command


def _asked_for(view: View, given: dict[str, Any]) -> dict[str, Any]:
    """Options as the repository takes them."""
    times = {name: time_option(given.pop(name), view.zone, f"--{name}") for name in ("since", "until")}
    return {**given, **times, "by": list(given["by"]) or None, "tz": view.zone}


@click.command()
@_usage_options
@as_of_option
@view_options
@pass_state
def tokens(state: State, /, view: View, as_of: str | None, **given: Any) -> None:
    """Count the tokens of language models, and what they cost.

    Input is what no cache had; output has what was reasoning. Costs are of the calls that could be priced: unpriced
    says how many could not. `eventlog prices` has the prices.
    """
    chosen = _asked_for(view, given)
    with asked(state, as_of, view) as source:
        chosen = _in_workspace(source, chosen)
        rows = source.statistics.tokens(**chosen)
        whole = source.statistics.tokens(**{**chosen, "by": None}) if _has_total(view, rows, chosen) else []
        _tell_unknown(source.statistics.tokens, rows, chosen)
    columns = [
        _number("calls"),
        _number("failed", optional=True),
        _number("input", "input_tokens"),
        _number("cache read", "cache_read_input_tokens", optional=True),
        _number("cache write", "cache_creation_input_tokens", optional=True),
        _number("output", "output_tokens"),
        _number("reasoning", "reasoning_tokens", optional=True, spare=True),
        _number("total", "total_tokens"),
        Column("cost", _cost, right=True),
        _number("unpriced", "unpriced_calls", optional=True),
    ]
    _show(view, [*rows, *whole], chosen, columns)
    lines = {"tokens": lambda row: row.total_tokens, "calls": lambda row: row.calls}
    _course(view, rows, chosen, "tokens", lines)


@click.command()
@_usage_options
@click.option(
    "--compare",
    nargs=2,
    metavar="VERSION VERSION",
    help="What it cost as of two versions, and what made the difference.",
)
@as_of_option
@view_options
@pass_state
def cost(state: State, /, view: View, as_of: str | None, compare: tuple[str, str] | None, **given: Any) -> None:
    """What language models cost, and on what grounds that is said.

    A call costs what was reported with it, else what its tokens cost by the price of its hour. Basis says which; what
    could not be priced has no part in the cost.
    """
    chosen = _asked_for(view, given)
    if compare is not None:
        if as_of is not None:
            raise click.UsageError("--compare and --as-of exclude each other.")
        first, last = (version_option(one, view.zone, "--compare") or 0 for one in compare)
        with state.query() as log:
            chosen = _in_workspace(log, chosen)
            _show_comparison(view, log.statistics.compare_cost(first, last, **chosen), chosen)
        return
    with asked(state, as_of, view) as source:
        chosen = _in_workspace(source, chosen)
        rows = source.statistics.cost(**chosen)
        whole = source.statistics.cost(**{**chosen, "by": None}) if _has_total(view, rows, chosen) else []
        _tell_unknown(source.statistics.tokens, rows, chosen)
    columns = [
        _number("calls"),
        _number("tokens", "total_tokens"),
        Column("cost", _cost, right=True),
        Column("basis", lambda row: row.cost_basis),
        _number("unpriced calls", "unpriced_calls", optional=True),
        _number("unpriced tokens", "unpriced_tokens", optional=True, spare=True),
        Column("prices", lambda row: ", ".join(row.catalogs), wide=True, optional=True, spare=True),
    ]
    _show(view, [*rows, *whole], chosen, columns)
    _course(view, rows, chosen, "micro-USD", {"cost": lambda row: row.cost_micro_usd or 0})


@click.command()
@_by_option(TOOLS_BY)
@click.option("--since", metavar="TIME", help="Only calls that began at or after this: 28d, 2h, 2026-11-21.")
@click.option("--until", metavar="TIME", help="Only calls that began before this.")
@click.option("--tool", "-t", metavar="NAME", help="Only calls of this tool.")
@click.option("--workspace", "-w", metavar="ID|PATH", help="Only calls of this workspace.")
@click.option("--agent", metavar="NAME", help="Only calls of this agent.")
@click.option(
    "--outcome", type=click.Choice(("ok", "error", "cancelled", "unknown")), help="Only calls that ended like this."
)
@as_of_option
@view_options
@pass_state
def tools(state: State, /, view: View, as_of: str | None, **given: Any) -> None:
    """Count calls of tools: how they ended, how long they took.

    The rate of errors is of those that were answered. Percentiles are within 1 %.
    """
    chosen = _asked_for(view, given)
    with asked(state, as_of, view) as source:
        chosen = _in_workspace(source, chosen)
        rows = source.statistics.tools(**chosen)
        whole = source.statistics.tools(**{**chosen, "by": None}) if _has_total(view, rows, chosen) else []
        _tell_unknown(source.statistics.tools, rows, chosen)
    columns = [
        *(_number(name) for name in ("calls", "ok", "error")),
        *(_number(name, optional=True) for name in ("cancelled", "unknown", "unanswered")),
        Column("error rate", lambda row: "" if row.error_rate is None else f"{row.error_rate:.1%}", right=True),
        Column("p50", lambda row: show_duration(row.p50_us), right=True),
        Column("p95", lambda row: show_duration(row.p95_us), right=True),
        Column("total", lambda row: show_duration(row.duration_us_total), right=True, spare=True),
    ]
    _show(view, [*rows, *whole], chosen, columns)
    _course(view, rows, chosen, "calls", {"all": lambda row: row.calls, "errors": lambda row: row.error})


def _in_workspace(source: Any, chosen: dict[str, Any]) -> dict[str, Any]:
    others = {name: value for name, value in chosen.items() if name != "workspace"}
    return {**others, "workspace_id": workspace_of(source, chosen["workspace"])}


def _tell_unknown(ask: Callable[..., Any], rows: Sequence[Any], chosen: dict[str, Any]) -> None:
    """Where nothing was counted because of a name that no call has, say which."""
    if any(row.calls or getattr(row, "failed", 0) for row in rows):
        return
    for name in ("model", "provider", "tool", "agent"):
        value = chosen.get(name)
        if value is not None and not ask(by=[name], **{name: value}):
            click.echo(f"no {name} is called {value!r}", err=True)


def usd(micro: int | None, *, signed: bool = False) -> str:
    """Micro-USD as dollars: ``$12.34``; below ten cents with all the places there are."""
    if micro is None:
        return ""
    sign = "-" if micro < 0 else "+" if signed and micro > 0 else ""
    amount = abs(micro) / 1e6
    return f"{sign}${amount:,.2f}" if amount >= 0.1 or not micro else f"{sign}${amount:.6f}".rstrip("0")


def _cost(row: Any) -> str:
    return "?" if row.cost_micro_usd is None else usd(row.cost_micro_usd)


def _number(title: str, field: str = "", *, optional: bool = False, spare: bool = False) -> Column:
    def text(row: Any) -> str:
        number = getattr(row, field or title)
        return "" if optional and not number else f"{number:,}"

    return Column(title, text, right=True, optional=optional, spare=spare)


def _has_total(view: View, rows: Sequence[Any], chosen: dict[str, Any]) -> bool:
    return not view.is_json and chosen["by"] is not None and len(rows) > 1


def _groups(chosen: dict[str, Any]) -> list[Column]:
    """The columns that say which group a row is; the row of everything says so in the first."""
    by = chosen["by"] or []

    def column(name: str, first: bool) -> Column:
        field = "bucket" if name in PERIODS else FIELDS.get(name, name)

        def text(row: Any) -> str:
            value = getattr(row, field)
            return ("total" if first else "") if value is None else value or "(none)"

        return Column(name, text)

    return [column(name, number == 0) for number, name in enumerate(by)]


def _show(view: View, rows: Sequence[Any], chosen: dict[str, Any], columns: list[Column]) -> None:
    view.rows(rows, [*_groups(chosen), *columns], empty="no calls")


def _course(
    view: View, rows: Sequence[Any], chosen: dict[str, Any], what: str, lines: dict[str, Callable[[Any], int]]
) -> None:
    period = next((one for one in chosen["by"] or () if one in STEP_US), None)
    if period is not None and not view.is_json:
        plot(view, rows, period, f"{what} per {period}", lines)


def _show_comparison(view: View, found: Any, chosen: dict[str, Any]) -> None:
    if view.is_json:
        view.item(found)
        return
    columns = [
        Column(f"v{found.first}", lambda row: usd(row.before_micro_usd) or "?", right=True),
        Column(f"v{found.last}", lambda row: usd(row.after_micro_usd) or "?", right=True),
        Column("difference", lambda row: usd(row.difference_micro_usd, signed=True), right=True),
        Column("by calls", lambda row: usd(row.by_calls_micro_usd, signed=True), right=True),
        Column("by prices", lambda row: usd(row.by_prices_micro_usd, signed=True), right=True),
    ]
    rows = found.rows if chosen["by"] is None or not found.rows else [*found.rows, found.total]
    view.rows(rows, [*_groups(chosen), *columns], empty="the costs are the same")
    types = ", ".join(f"{type_} {number:,}" for type_, number in sorted(found.call_types.items()))
    view.say(f"\n{counted(found.call_events, 'event')} of calls between{types and ': '}{types}")
    view.say(f"{counted(found.price_events, 'event')} of prices of these models between:")
    told = [event for event in found.events if event.about == "prices"]
    for event in told[:SHOWN_EVENTS]:
        view.say(f"  {event.position}  {event.type}  {_price_told(view, event)}")
    left = found.price_events - SHOWN_EVENTS
    if left > 0:
        view.say(f"  … and {left:,} more; --json has the first thousand")


def _price_told(view: View, event: Any) -> str:
    from eventlog.cli.prices import since, usd_of

    told = [view.line(event.model)]
    if event.rates is not None:
        told.append(usd_of(event.rates))
    if event.effective_from is not None:
        told.append(since(view, event.effective_from))
    if event.catalog is not None:
        told.append(f"in {view.line(event.catalog)}")
    return ", ".join(told) + (f": {view.line(event.reason)}" if event.reason else "")
