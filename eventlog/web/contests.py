"""Contests and problems."""

from __future__ import annotations

from msgspec.structs import asdict

from eventlog.app import Log, Past
from eventlog.web.executions import next_page
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import SavedContest, SavedProblem
from projections.contests import Contest, ContestProblem


class ContestsQuery(Query, frozen=True, kw_only=True):
    """Which contests, by id; ``text`` occurs in id, name, url or note."""

    platform: str | None = None
    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


class ProblemsQuery(Query, frozen=True, kw_only=True):
    """Which problems, by id; ``text`` occurs in id, name or url."""

    contest_id: str | None = None
    name: str | None = None
    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


def list_contests(ask: Log | Past, query: ContestsQuery) -> list[Contest]:
    """Contests, by id."""
    return ask.contests.find_all(**asdict(query))


def save_contest(log: Log, body: SavedContest) -> Contest:
    """Add a contest, or change the one of this id to be as this."""
    return log.contests.save(Contest(**asdict(body)))


def get_contest(ask: Log | Past, contest_id: str) -> Contest:
    """A contest."""
    return ask.contests.get(contest_id)


def delete_contest(log: Log, contest_id: str) -> None:
    """Delete a contest; its problems and executions stay."""
    log.contests.delete(contest_id)


def list_problems(ask: Log | Past, query: ProblemsQuery) -> list[ContestProblem]:
    """Problems, by id."""
    return ask.problems.find_all(**asdict(query))


def save_problem(log: Log, body: SavedProblem) -> ContestProblem:
    """Add a problem, or change the one of this id to be as this."""
    return log.problems.save(ContestProblem(**asdict(body)))


def get_problem(ask: Log | Past, problem_id: str) -> ContestProblem:
    """A problem."""
    return ask.problems.get(problem_id)


def delete_problem(log: Log, problem_id: str) -> None:
    """Delete a problem; its executions stay."""
    log.problems.delete(problem_id)


CONTEST = "/api/contests/{contest_id:path}"
PROBLEM = "/api/problems/{problem_id:path}"
OPERATIONS = (
    Operation("GET", "/api/contests", list_contests, follows=next_page),
    Operation("POST", "/api/contests", save_contest),
    Operation("GET", CONTEST, get_contest),
    Operation("DELETE", CONTEST, delete_contest, status=204),
    Operation("GET", "/api/problems", list_problems, follows=next_page),
    Operation("POST", "/api/problems", save_problem),
    Operation("GET", PROBLEM, get_problem),
    Operation("DELETE", PROBLEM, delete_problem, status=204),
)
