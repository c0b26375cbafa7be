"""``eventlog jobs enqueue``."""

from __future__ import annotations

import sys
from typing import Any

import click

from eventlog.cli.jobs import resolve
from eventlog.cli.options import view_options
from eventlog.cli.pairs import parameters
from eventlog.cli.state import State, pass_state
from eventlog.cli.times import parse_duration, time_option
from eventlog.cli.view import View

INT64 = click.IntRange(-(2**63), 2**63 - 1)


@click.command()
@click.argument("words", metavar="[KIND] [-- COMMAND…]", nargs=-1, type=click.UNPROCESSED)
@click.option("--kind", "-k", metavar="NAME", help="What kind of job, instead of KIND.")
@click.option("--arg", "pairs_", metavar="K=V", multiple=True, help="An argument; may be repeated.")
@click.option("--args", "text", metavar="JSON", help="The arguments as a JSON object; - reads it from stdin.")
@click.option("--queue", "-q", metavar="NAME", default="default", show_default=True, help="Which queue.")
@click.option("--priority", type=INT64, default=0, show_default=True, help="Smaller ones go first.")
@click.option("--in", "delay", metavar="DURATION", help="Not before so long from now: 10m, 2h, 1h30m.")
@click.option("--at", metavar="TIME", help="Not before this time.")
@click.option("--max-retries", type=click.IntRange(0), default=3, show_default=True, help="Try again so often.")
@click.option("--timeout", metavar="DURATION", help="How long an attempt may take.")
@click.option("--unique-key", metavar="TEXT", help="Refuse it while a job with this key has not ended.")
@click.option("--key", metavar="TEXT", help="Idempotency key: the same command again adds nothing.")
@click.option("--batch", metavar="ID", help="The batch it belongs to.")
@click.option(
    "--on-crash",
    type=click.Choice(("requeue", "fail", "ask")),
    default="requeue",
    show_default=True,
    help="What becomes of it when its worker is lost.",
)
@click.option("--parent", metavar="JOB", help="The job that it is a part of.")
@view_options
@pass_state
def enqueue(
    state: State,
    view: View,
    words: tuple[str, ...],
    kind: str | None,
    pairs_: tuple[str, ...],
    text: str | None,
    queue: str,
    priority: int,
    delay: str | None,
    at: str | None,
    max_retries: int,
    timeout: str | None,
    unique_key: str | None,
    key: str | None,
    batch: str | None,
    on_crash: str,
    parent: str | None,
) -> None:
    """Enqueue a job of KIND, or with --kind shell the command after --.

    What reads as a JSON number, true, false or null after = is one. JSON: the job's fields.
    """
    kind, command = _kind(words, kind)
    options: dict[str, Any] = {
        "queue": queue, "priority": priority, "run_at": _run_at(delay, at, view), "max_retries": max_retries,
        "timeout_us": _duration(timeout, "--timeout"), "unique_key": unique_key, "key": key, "batch_id": batch,
        "on_crash": on_crash,
    }  # fmt: skip
    args = _arguments(text, pairs_)
    told = [name for name in ("argv", "command") if name in args]
    if command and told:
        raise click.UsageError(f"The command is given twice: after -- and as the argument {told[0]}.")
    if command:
        args["argv"] = list(command)
    elif kind == "shell" and not told:
        raise click.UsageError("A shell job needs its command: eventlog jobs enqueue --kind shell -- COMMAND…")
    with state.write(create=True) as log:
        parent_id = None if parent is None else resolve(log, parent)
        job = log.jobs.enqueue(kind, args, parent_job_id=parent_id, **options)
    if view.is_json:
        view.item(job)
    else:
        view.say(f"job {job.job_id} enqueued")


def _kind(words: tuple[str, ...], kind: str | None) -> tuple[str, tuple[str, ...]]:
    if kind is None:
        if not words:
            raise click.UsageError("What kind of job? Give KIND, or --kind shell -- COMMAND…")
        kind, *rest = words
        words = tuple(rest)
    if words and kind != "shell":
        raise click.UsageError(f"Only a shell job has a command; arguments are given by --arg: {' '.join(words)}")
    return kind, words


def _arguments(text: str | None, given: tuple[str, ...]) -> dict[str, Any]:
    args: dict[str, Any] = {}
    if text is not None:
        import msgspec

        try:
            args = msgspec.json.decode(sys.stdin.buffer.read() if text == "-" else text.encode())
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise click.BadParameter(f"that is not JSON: {error}", param_hint="'--args'") from None
        if not isinstance(args, dict):
            raise click.BadParameter("arguments are a JSON object", param_hint="'--args'")
    return args | parameters(given, "--arg")


def _run_at(delay: str | None, at: str | None, view: View) -> int | None:
    from eventlog.clock import now_us

    if delay is not None and at is not None:
        raise click.UsageError("--in and --at exclude each other.")
    wait = _duration(delay, "--in")
    return time_option(at, view.zone, "--at") if wait is None else now_us() + wait


def _duration(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"'{option}'") from None
