"""``eventlog jobs schedule``: jobs that are enqueued by the clock."""

from __future__ import annotations

from typing import Any

import click

from eventlog.cli.as_json import struct_fields
from eventlog.cli.options import as_of_option, asked, view_options
from eventlog.cli.state import State, pass_state
from eventlog.cli.view import Column, View


@click.group()
def schedule() -> None:
    """Jobs that are enqueued by the clock. Every worker looks each second; exactly one fires."""


@schedule.command("set")
@click.argument("name")
@click.option("--cron", required=True, metavar="EXPR", help="Minute, hour, day, month, weekday: '30 4 * * mon-fri'.")
@click.option("--time-zone", metavar="ZONE", default="UTC", show_default=True, help="Whose clock: Europe/Berlin.")
@click.option("--kind", metavar="K", default="shell", show_default=True, help="The kind of its jobs.")
@click.option("--queue", metavar="Q", default="default", show_default=True, help="Their queue.")
@click.option("--args", "args_json", metavar="JSON", help="Their arguments, a JSON object.")
@click.option("--max-retries", type=click.IntRange(0), metavar="N", help="How often one is tried again.")
@click.option("--timeout", metavar="DURATION", help="How long one may take: 90s, 1h.")
@click.option("--no-overlap", is_flag=True, help="Enqueue none while the last one has not ended.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@view_options
@pass_state
def set_(
    state: State,
    view: View,
    name: str,
    cron: str,
    time_zone: str,
    kind: str,
    queue: str,
    args_json: str | None,
    max_retries: int | None,
    timeout: str | None,
    no_overlap: bool,
    command: tuple[str, ...],
) -> None:
    """Set schedule NAME, or change it: from now on, at the times of --cron, a job is enqueued.

    A COMMAND after -- is what a job of kind shell runs.
    """
    options: dict[str, Any] = {}
    if max_retries is not None:
        options["max_retries"] = max_retries
    if timeout is not None:
        options["timeout_us"] = _duration(timeout)
    if no_overlap:
        options["unique_key"] = f"schedule {name}"
    args = _args(args_json, kind, command)
    with state.write(create=True) as log:
        made = log.schedules.set(name, cron, kind, args, queue=queue, time_zone=time_zone, by="cli", **options)
        at = log.schedules.next_time(made)
    if view.is_json:
        view.item(made)
    else:
        view.say(f"schedule {name} set, next at {view.time(at)}")


def _args(args_json: str | None, kind: str, command: tuple[str, ...]) -> dict[str, Any]:
    import msgspec

    if command and (args_json is not None or kind != "shell"):
        raise click.UsageError("a COMMAND is for jobs of kind shell, and excludes --args.")
    if command:
        return {"argv": list(command)}
    if args_json is None:
        if kind == "shell":
            raise click.UsageError("Which command? Put it at the end, after --.")
        return {}
    try:
        return msgspec.json.decode(args_json, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"not a JSON object: {error}", param_hint="'--args'") from None


def _duration(text: str) -> int:
    from eventlog.cli.times import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--timeout'") from None


@schedule.command("list")
@as_of_option
@view_options
@pass_state
def list_schedules(state: State, view: View, as_of: str | None) -> None:
    """List schedules, with when each fires next."""
    with asked(state, as_of, view) as source:
        found = source.schedules.list()
        if view.is_json:
            view.objects(struct_fields(one) | {"next_at": source.schedules.next_time(one)} for one in found)
            return
        shown = [
            Column("schedule", lambda one: one.schedule),
            Column("cron", lambda one: one.cron),
            Column("zone", lambda one: one.time_zone),
            Column("next", lambda one: "paused" if one.paused else view.time(source.schedules.next_time(one))[:19]),
            Column("fired", lambda one: view.time(one.fired_at)[:19], optional=True),
            Column("times", lambda one: str(one.fires), right=True),
            Column("kind", lambda one: one.kind),
            Column("queue", lambda one: one.queue, spare=True),
        ]
        view.rows(found, shown, empty="no schedules")


@schedule.command()
@click.argument("name")
@view_options
@pass_state
def remove(state: State, view: View, name: str) -> None:
    """Remove schedule NAME; the jobs that it enqueued stay."""
    with state.write() as log:
        log.schedules.remove(name, by="cli")
    view.done(f"schedule {name} removed", "removed", schedule=name)


@schedule.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Let it fire again, as `resume` does.")
@view_options
@pass_state
def pause(state: State, view: View, name: str, off: bool) -> None:
    """Let schedule NAME not fire until `resume`; times that go by meanwhile do not count as missed.

    JSON: the schedule as it is then.
    """
    _pause(state, view, name, paused=not off)


@schedule.command()
@click.argument("name")
@view_options
@pass_state
def resume(state: State, view: View, name: str) -> None:
    """Let schedule NAME fire again. JSON: the schedule as it is then."""
    _pause(state, view, name, paused=False)


def _pause(state: State, view: View, name: str, *, paused: bool) -> None:
    with state.write() as log:
        found = (log.schedules.pause if paused else log.schedules.resume)(name, by="cli")
    if view.is_json:
        view.item(found)
    else:
        view.say(f"schedule {name} {'paused' if paused else 'resumed'}")
