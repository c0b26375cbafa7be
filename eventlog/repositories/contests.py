"""`log.contests` and `log.problems`: what is programmed for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from eventlog.errors import InvalidInput
from eventlog.events import Event
from eventlog.events.executions import (
    ContestAdded,
    ContestDeleted,
    ContestUpdated,
    ProblemAdded,
    ProblemDeleted,
    ProblemUpdated,
)
from eventlog.repositories.entities import EntityRepository, R, Said, check_name, equal
from eventlog.store.base import Filter
from projections.contests import Contest, ContestProblem
from projections.contests import projections as _projections


class _Described(EntityRepository[R]):
    """Things that are added, updated and deleted, each field by its name."""

    added: ClassVar[Any]
    updated: ClassVar[Any]
    deleted: ClassVar[type[Event]]

    def _save(self, key: str, thing: R) -> R:
        fields = {name: getattr(thing, name) for name in self.added.__struct_fields__}
        check_name(f"the name of a {self.noun}", fields["name"])

        def work(held: R | None) -> Sequence[Said]:
            if held is None:
                return [Said(self.added(**fields))]
            changes = {name: value for name, value in fields.items() if value != getattr(held, name)}
            return [Said(self.updated(**changes))] if changes else []

        self._decide(key, work)
        return self._must_be(key, self._found(key))

    def _delete(self, key: str) -> None:
        def work(held: R | None) -> Sequence[Said]:
            self._must_be(key, held)
            return [Said(self.deleted())]

        self._decide(key, work)


class ContestsRepository(_Described[Contest]):
    """Contests: find, save, delete."""

    entity = _projections[0]
    noun = "contest"
    way_out = "`eventlog contests save` adds it (executions may name one that was not added)"
    added, updated, deleted = ContestAdded, ContestUpdated, ContestDeleted

    def find(self, contest_id: str) -> Contest | None:
        """A contest, or None."""
        return self._found(contest_id)

    def get(self, contest_id: str) -> Contest:
        """A contest. Raises NotFound."""
        return self._must_be(contest_id, self.find(contest_id))

    def find_all(
        self, *, platform: str | None = None, text: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Contest]:
        """Contests by id; ``text`` must occur in id, name, url or note."""
        where = equal(platform=platform)
        where += [] if text is None else [Filter("contest_id|name|url|note", "text", text)]
        return self._rows(where, ("contest_id",), limit, offset)

    def save(self, contest: Contest) -> Contest:
        """Add a contest, or change the one of this id to be as this; one that is so already is left alone.

        ``created_at`` and ``updated_at`` are not looked at. Raises InvalidInput where it ends before it starts.
        """
        if contest.starts_at is not None and contest.ends_at is not None and contest.ends_at < contest.starts_at:
            raise InvalidInput(f"contest {contest.contest_id!r} ends before it starts")
        return self._save(contest.contest_id, contest)

    def delete(self, contest_id: str) -> None:
        """Delete a contest; its problems and executions stay. Raises NotFound."""
        self._delete(contest_id)


class ProblemsRepository(_Described[ContestProblem]):
    """Problems: find, save, delete."""

    entity = _projections[1]
    noun = "problem"
    way_out = "`eventlog problems save` adds it (executions may name one that was not added)"
    added, updated, deleted = ProblemAdded, ProblemUpdated, ProblemDeleted

    def find(self, problem_id: str) -> ContestProblem | None:
        """A problem, or None."""
        return self._found(problem_id)

    def get(self, problem_id: str) -> ContestProblem:
        """A problem. Raises NotFound."""
        return self._must_be(problem_id, self.find(problem_id))

    def find_all(
        self,
        *,
        contest_id: str | None = None,
        name: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[ContestProblem]:
        """Problems by id; ``text`` must occur in id, name or url."""
        where = equal(contest_id=contest_id, name=name)
        where += [] if text is None else [Filter("problem_id|name|url", "text", text)]
        return self._rows(where, ("problem_id",), limit, offset)

    def save(self, problem: ContestProblem) -> ContestProblem:
        """Add a problem, or change the one of this id to be as this; one that is so already is left alone.

        ``created_at`` and ``updated_at`` are not looked at. Raises InvalidInput for a limit below 1.
        """
        for limit in (problem.time_limit_us, problem.memory_limit_bytes):
            if limit is not None and limit < 1:
                raise InvalidInput(f"a limit of problem {problem.problem_id!r} is at least 1, not {limit!r}")
        return self._save(problem.problem_id, problem)

    def delete(self, problem_id: str) -> None:
        """Delete a problem; its executions stay. Raises NotFound."""
        self._delete(problem_id)
