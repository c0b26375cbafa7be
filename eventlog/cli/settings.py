"""``eventlog settings``: values that programs share, with everything that they once were."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.as_json import to_json
from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import Column, View


@click.group()
def settings() -> None:
    """Values that programs share, with everything they once were."""


@settings.command("list")
@click.option("--prefix", metavar="TEXT", help="Only those whose names begin so.")
@click.option("--text", metavar="WORDS", help="Only those whose names contain this.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the first.")
@as_of_option
@view_options
@pass_state
def list_settings(
    state: State, view: View, as_of: str | None, prefix: str | None, text: str | None, limit: int | None, offset: int
) -> None:
    """List settings, by name."""
    with asked(state, as_of, view) as source:
        found = source.settings.list(prefix=prefix, text=text, limit=limit, offset=offset)
    columns = [
        Column("setting", lambda one: one.name),
        Column("version", lambda one: str(one.version), right=True),
        Column("set", lambda one: view.time(one.set_at)[:19]),
        Column("by", lambda one: one.by, optional=True),
        Column("value", lambda one: _shown(one.value), wide=True),
    ]
    view.rows(found, columns, empty="no settings")


@settings.command()
@click.argument("name", metavar="NAME")
@as_of_option
@view_options
@pass_state
def get(state: State, view: View, as_of: str | None, name: str) -> None:
    """Print the value of setting NAME: text as it is, anything else as JSON."""
    with asked(state, as_of, view) as source:
        setting = source.settings.get(name)
    if view.is_json:
        view.item(setting)
    else:
        view.say(_shown(setting.value))


@settings.command("set")
@click.argument("name", metavar="NAME")
@click.argument("value", metavar="VALUE")
@click.option("--json-value", is_flag=True, help="VALUE is JSON. Default: it is text.")
@click.option("--by", metavar="NAME", default="", help="Who wants it so.")
@view_options
@pass_state
def set_(state: State, view: View, name: str, value: str, json_value: bool, by: str) -> None:
    """Give setting NAME a value. What looks like a secret is refused: the log cannot forget."""
    import msgspec

    try:
        meant: Any = msgspec.json.decode(value) if json_value else value
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise click.BadParameter(f"{value!r} is no JSON: {error}", param_hint="'VALUE'") from None
    with state.write(create=True) as log:
        setting = log.settings.set(name, meant, by=by)
    if view.is_json:
        view.item(setting)
    else:
        view.say(f"setting {name} is at version {setting.version}")


@settings.command()
@click.argument("name", metavar="NAME")
@click.option("--by", metavar="NAME", default="", help="Who wants it so.")
@yes_option
@view_options
@pass_state
def unset(state: State, view: View, name: str, by: str, yes: bool) -> None:
    """Take the value of setting NAME away; its history stays."""
    confirm(f"Unset setting {name!r}?", yes)
    with state.write() as log:
        log.settings.unset(name, by=by)
    view.done(f"setting {name} unset", "unset", name=name)


@settings.command()
@click.argument("name", metavar="NAME")
@as_of_option
@view_options
@pass_state
def history(state: State, view: View, as_of: str | None, name: str) -> None:
    """Show every value that setting NAME had, and when."""
    with asked(state, as_of, view) as source:
        told = source.settings.history(name)
    columns = [
        Column("version", lambda one: str(one.version), right=True),
        Column("position", lambda one: str(one.position), right=True),
        Column("set", lambda one: view.time(one.set_at)[:19]),
        Column("by", lambda one: one.by, optional=True),
        Column("value", lambda one: "(unset)" if one.unset else _shown(one.value), wide=True),
    ]
    view.rows(told, columns)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value)
