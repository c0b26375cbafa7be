"""``eventlog contests`` and ``eventlog problems``: what is programmed for."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import replace

from eventlog.cli.options import as_of_option, asked, confirm, view_options, yes_option
from eventlog.cli.state import State, pass_state, together
from eventlog.cli.times import show_duration, show_size, time_option
from eventlog.cli.view import Column, View


@click.group()
def contests() -> None:
    """Contests."""


@contests.command("list")
@click.option("--platform", metavar="NAME", help="Only of this platform.")
@click.option("--text", metavar="WORDS", help="Only those whose id, name, URL or note contains this.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the first.")
@as_of_option
@view_options
@pass_state
def list_contests(
    state: State, view: View, as_of: str | None, platform: str | None, text: str | None, limit: int | None, offset: int
) -> None:
    """List contests, by id."""
    with asked(state, as_of, view) as source:
        found = source.contests.find_all(platform=platform, text=text, limit=limit, offset=offset)
    columns = [
        Column("contest", lambda one: one.contest_id),
        Column("platform", lambda one: one.platform or "", optional=True),
        Column("starts", lambda one: view.time(one.starts_at)[:19], optional=True),
        Column("name", lambda one: one.name, wide=True),
        Column("url", lambda one: one.url or "", optional=True, spare=True),
    ]
    view.rows(found, columns, empty="no contests")


@contests.command("show")
@click.argument("contest_id", metavar="ID")
@as_of_option
@view_options
@pass_state
def show_contest(state: State, view: View, as_of: str | None, contest_id: str) -> None:
    """Show contest ID."""
    with asked(state, as_of, view) as source:
        _contest(view, source.contests.get(contest_id))


@contests.command("save")
@click.argument("contest_id", metavar="ID")
@click.option("--name", metavar="TEXT", help="Its name. Default: the id.")
@click.option("--url", metavar="URL", help="Where it is.")
@click.option("--platform", metavar="NAME", help="Who holds it.")
@click.option("--starts", metavar="TIME", help="When it starts.")
@click.option("--ends", metavar="TIME", help="When it ends.")
@click.option("--note", metavar="TEXT", help="A remark.")
@view_options
@pass_state
def save_contest(
    state: State,
    view: View,
    contest_id: str,
    name: str | None,
    url: str | None,
    platform: str | None,
    starts: str | None,
    ends: str | None,
    note: str | None,
) -> None:
    """Add contest ID, or change it; what is not given stays, and what is given empty is none."""
    from projections.contests import Contest

    given = _given(
        name=name,
        url=url,
        platform=platform,
        starts_at=time_option(starts, view.zone, "--starts"),
        ends_at=time_option(ends, view.zone, "--ends"),
        note=note,
    )
    with state.write(create=True) as log, together(log):
        held = log.contests.find(contest_id) or Contest(contest_id, contest_id)
        saved = log.contests.save(replace(held, **given))
    _told(view, saved, _contest, f"contest {contest_id}")


@contests.command("delete")
@click.argument("contest_id", metavar="ID")
@yes_option
@view_options
@pass_state
def delete_contest(state: State, view: View, contest_id: str, yes: bool) -> None:
    """Take contest ID out of the tables; its problems and executions stay."""
    confirm(f"Delete contest {contest_id!r}?", yes)
    with state.write() as log:
        log.contests.delete(contest_id)
    view.done(f"contest {contest_id} deleted", "deleted", contest_id=contest_id)


@click.group()
def problems() -> None:
    """Problems, of contests or of none."""


@problems.command("list")
@click.option("--contest", "-c", metavar="ID", help="Only of this contest.")
@click.option("--name", metavar="TEXT", help="Only those called so.")
@click.option("--text", metavar="WORDS", help="Only those whose id, name or URL contains this.")
@click.option("--limit", "-n", type=click.IntRange(1), help="At most this many.")
@click.option("--offset", type=click.IntRange(0), default=0, help="Leave out this many of the first.")
@as_of_option
@view_options
@pass_state
def list_problems(
    state: State,
    view: View,
    as_of: str | None,
    contest: str | None,
    name: str | None,
    text: str | None,
    limit: int | None,
    offset: int,
) -> None:
    """List problems, by id."""
    with asked(state, as_of, view) as source:
        found = source.problems.find_all(contest_id=contest, name=name, text=text, limit=limit, offset=offset)
    columns = [
        Column("problem", lambda one: one.problem_id),
        Column("contest", lambda one: one.contest_id or "", optional=True),
        Column("name", lambda one: one.name, wide=True),
        Column("time", lambda one: show_duration(one.time_limit_us), right=True, optional=True),
        Column("memory", lambda one: _size(one.memory_limit_bytes), right=True, optional=True),
        Column("url", lambda one: one.url or "", optional=True, spare=True),
    ]
    view.rows(found, columns, empty="no problems")


@problems.command("show")
@click.argument("problem_id", metavar="ID")
@as_of_option
@view_options
@pass_state
def show_problem(state: State, view: View, as_of: str | None, problem_id: str) -> None:
    """Show problem ID."""
    with asked(state, as_of, view) as source:
        _problem(view, source.problems.get(problem_id))


@problems.command("save")
@click.argument("problem_id", metavar="ID")
@click.option("--name", metavar="TEXT", help="Its name. Default: the id.")
@click.option("--contest", "-c", metavar="ID", help="The contest it belongs to.")
@click.option("--url", metavar="URL", help="Where it is.")
@click.option("--time-limit", metavar="TIME", help="How long a program may take: 2s, 500ms.")
@click.option("--memory-limit", metavar="SIZE", help="How much memory it may take, in bytes: 1073741824, 1024MiB, 1g.")
@view_options
@pass_state
def save_problem(
    state: State,
    view: View,
    problem_id: str,
    name: str | None,
    contest: str | None,
    url: str | None,
    time_limit: str | None,
    memory_limit: str | None,
) -> None:
    """Add problem ID, or change it; what is not given stays, and what is given empty is none."""
    from eventlog.cli.times import parse_duration, parse_size
    from projections.contests import ContestProblem

    try:
        time_limit_us = None if time_limit is None else parse_duration(time_limit)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--time-limit'") from None
    try:
        limit_bytes = None if memory_limit is None else parse_size(memory_limit)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--memory-limit'") from None
    given = _given(name=name, contest_id=contest, url=url, time_limit_us=time_limit_us, memory_limit_bytes=limit_bytes)
    with state.write(create=True) as log, together(log):
        held = log.problems.find(problem_id) or ContestProblem(problem_id, problem_id)
        saved = log.problems.save(replace(held, **given))
    _told(view, saved, _problem, f"problem {problem_id}")


@problems.command("delete")
@click.argument("problem_id", metavar="ID")
@yes_option
@view_options
@pass_state
def delete_problem(state: State, view: View, problem_id: str, yes: bool) -> None:
    """Take problem ID out of the tables; its executions stay."""
    confirm(f"Delete problem {problem_id!r}?", yes)
    with state.write() as log:
        log.problems.delete(problem_id)
    view.done(f"problem {problem_id} deleted", "deleted", problem_id=problem_id)


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are given; an empty URL and the like is none."""
    named = ("name", "note")
    return {
        field: value if value != "" or field in named else None for field, value in fields.items() if value is not None
    }


def _told(view: View, saved: Any, item: Any, what: str) -> None:
    if view.is_json:
        item(view, saved)
    else:
        view.say(f"{what} saved")


def _contest(view: View, one: Any) -> None:
    view.item(
        one,
        [
            ("contest", one.contest_id),
            ("name", one.name),
            ("platform", one.platform or ""),
            ("url", one.url or ""),
            ("starts", view.time(one.starts_at)),
            ("ends", view.time(one.ends_at)),
            ("note", one.note),
            ("created", view.time(one.created_at)),
            ("updated", view.time(one.updated_at)),
        ],
    )


def _problem(view: View, one: Any) -> None:
    view.item(
        one,
        [
            ("problem", one.problem_id),
            ("name", one.name),
            ("contest", one.contest_id or ""),
            ("url", one.url or ""),
            ("time limit", show_duration(one.time_limit_us)),
            ("memory limit", _size(one.memory_limit_bytes)),
            ("created", view.time(one.created_at)),
            ("updated", view.time(one.updated_at)),
        ],
    )


def _size(size: int | None) -> str:
    return "" if size is None else show_size(size)
