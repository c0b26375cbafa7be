"""``eventlog log``: the events themselves."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from eventlog.cli.lazy import LazyGroup
from eventlog.cli.options import as_of_option, capped, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import time_option
from eventlog.cli.view import Column, View


@click.group(
    cls=LazyGroup,
    package="eventlog.cli",
    table={
        "append": ("log:append", "Append one event to a stream."),
        "read": ("log:read", "Print records in the order of the log."),
        "tail": ("log:tail", "Print the last records, and follow the log."),
        "head": ("log:head", "Print the last position and its hash."),
        "verify": ("log_check:verify", "Check the chain of hashes over the whole log."),
        "check": ("log_check:check", "Check that every record still decodes."),
        "export": ("log_transfer:export", "Write records as JSON lines or CloudEvents."),
        "import": ("log_transfer:import_", "Take in what `log export` wrote."),
    },
)
def log() -> None:
    """The events themselves: append, read, verify, export."""


def selection_options(function: Any) -> Any:
    """``--stream --category --type``."""
    for option in (
        click.option(
            "--type", "types", metavar="TAG", multiple=True, help="Only events of this type; may be repeated."
        ),
        click.option("--category", "-c", "categories", metavar="NAME", multiple=True, help="Only streams NAME-…"),
        click.option(
            "--stream", "-s", "streams", metavar="NAME", multiple=True, help="Only this stream; may be repeated."
        ),
    ):
        function = option(function)
    return function


def selection(streams: tuple[str, ...], categories: tuple[str, ...], types: tuple[str, ...]) -> dict[str, Any]:
    """The filters of `Log.read`; nothing given is no filter."""
    return {"streams": streams or None, "categories": categories or None, "types": types or None}


def columns(view: View) -> list[Column]:
    """The columns of a list of records."""
    return [
        Column("position", lambda record: str(record.position), right=True),
        Column("occurred", lambda record: view.time(record.occurred_at), spare=True),
        Column("stream", lambda record: record.stream),
        Column("version", lambda record: str(record.version), right=True, spare=True),
        Column("type", lambda record: record.type),
        Column("data", lambda record: record.data, wide=True),
    ]


@click.command()
@click.argument("stream")
@click.argument("event_type", metavar="TYPE")
@click.argument("data", default="{}")
@click.option("--expect", metavar="any|none|exists|N", default="any", help="What version the stream has to be at.")
@click.option("--key", metavar="KEY", help="Idempotency key: the same append again adds nothing.")
@click.option("--at", metavar="TIME", help="When it happened. Default: now.")
@click.option("--actor", metavar="WHO", help="Who did it.")
@click.option("--correlation", metavar="ID", help="The conversation it belongs to.")
@click.option("--causation", metavar="ID", help="What caused it.")
@click.option("--metadata", metavar="JSON", help="A JSON object kept beside the event.")
@view_options
@pass_state
def append(
    state: State,
    view: View,
    stream: str,
    event_type: str,
    data: str,
    expect: str,
    key: str | None,
    at: str | None,
    actor: str | None,
    correlation: str | None,
    causation: str | None,
    metadata: str | None,
) -> None:
    """Append one event of TYPE to STREAM. DATA is its JSON object; - reads it from stdin."""
    import eventlog

    event = eventlog.UnknownEvent(
        tag=event_type, data=_object(sys.stdin.buffer.read() if data == "-" else data, "DATA")
    )
    with state.write(create=True) as target:
        done = target.append(
            stream,
            event,
            expect=_expectation(expect),
            key=key,
            occurred_at=time_option(at, view.zone, "--at"),
            actor=actor,
            correlation=correlation,
            causation=causation,
            metadata=None if metadata is None else _object(metadata, "--metadata"),
        )
        if view.is_json:
            view.item(done)
        elif done.duplicate:
            view.say(f"already there at position {done.first}")
        else:
            view.say(f"position {done.last}, version {done.version} of {stream}")


def _object(text: str | bytes, name: str) -> dict[str, Any]:
    import msgspec

    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = str(error) or "nested too deeply"
        raise click.BadParameter(f"not JSON: {reason}", param_hint=f"'{name}'") from None
    if not isinstance(value, dict):
        raise click.BadParameter("not a JSON object", param_hint=f"'{name}'")
    return value


def _expectation(word: str) -> Any:
    import eventlog

    named = {"any": eventlog.ANY, "none": eventlog.NO_STREAM, "exists": eventlog.EXISTS}
    if word in named:
        return named[word]
    if word.isascii() and word.isdigit():
        return int(word)
    raise click.BadParameter(f"{word!r} is not any, none, exists or a version", param_hint="'--expect'")


@click.command()
@click.option("--after", type=click.IntRange(0), default=0, help="Only records above this position.")
@click.option("--to", type=click.IntRange(0), help="Only records up to this position.")
@selection_options
@click.option("--backwards", "-b", is_flag=True, help="Newest first.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@as_of_option
@view_options
@pass_state
def read(
    state: State,
    view: View,
    as_of: str | None,
    after: int,
    to: int | None,
    streams: tuple[str, ...],
    categories: tuple[str, ...],
    types: tuple[str, ...],
    backwards: bool,
    limit: int | None,
) -> None:
    """Print records in the order of the log. JSON: the record's fields, its data as an object."""
    with state.read() as source:
        end = _smaller(to, capped(source, as_of, view))
        found = source.read(after, end, **selection(streams, categories, types), backwards=backwards, limit=limit)
        view.rows(found, columns(view), empty="no records")


def _smaller(one: int | None, other: int | None) -> int | None:
    return min((bound for bound in (one, other) if bound is not None), default=None)


@click.command()
@click.option("--lines", "-n", type=click.IntRange(0), default=10, show_default=True, help="So many records.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is appended from now on.")
@selection_options
@as_of_option
@view_options
@pass_state
def tail(
    state: State,
    view: View,
    as_of: str | None,
    lines: int,
    follow: bool,
    streams: tuple[str, ...],
    categories: tuple[str, ...],
    types: tuple[str, ...],
) -> None:
    """Print the last records, and with --follow those to come. With --follow, --json means --jsonl."""
    if follow and as_of is not None:
        raise click.UsageError("--follow shows what comes, --as-of what was: they exclude each other.")
    where = selection(streams, categories, types)
    with state.read() as source:
        end = capped(source, as_of, view)
        if end is None:
            end = source.head().position
        found = list(source.read(0, end, **where, backwards=True, limit=lines)) if lines else []
        found.reverse()
        if not follow:
            view.rows(found, columns(view), empty="no records")
            return
        if view.form == "json":
            view = View(form="jsonl", raw=view.raw, zone=view.zone)
        for record in _chain(found, source.follow(end, **where)):
            _print_now(record, view)


def _chain(first: Iterable[Any], then: Iterable[Any]) -> Iterator[Any]:
    yield from first
    yield from then


def _print_now(record: Any, view: View) -> None:
    if view.is_json:
        view.objects((record,))
    else:
        cells = [view.line(column.text(record)) for column in columns(view)]
        view.echo("  ".join(cells))
    sys.stdout.flush()


@click.command()
@as_of_option
@view_options
@pass_state
def head(state: State, view: View, as_of: str | None) -> None:
    """Print the last position and its hash: two logs with the same head hold the same events."""
    with state.read() as source:
        version = capped(source, as_of, view)
        if version is None:
            position, digest = source.head()[:2]
        else:
            position, digest = version, bytes(32)
            for record in source.read(max(0, version - 1), version):
                digest = record.hash
    view.item({"position": position, "hash": digest.hex()}, [("position", str(position)), ("hash", digest.hex())])
