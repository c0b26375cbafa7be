"""Executions, contests, problems, settings and containers behind a server."""

from __future__ import annotations

from typing import Any

import msgspec

from eventlog.client.calls import Call, offered
from eventlog.client.repositories import Remote
from eventlog.errors import NotFound
from eventlog.repositories.containers import ContainersRepository
from eventlog.repositories.contests import ContestsRepository, ProblemsRepository
from eventlog.repositories.executions import ExecutionHistory, ExecutionsRepository
from eventlog.repositories.settings import SettingChange, SettingsRepository
from eventlog.wire import (
    ContainerRemoval,
    ContainerStart,
    ContainerStop,
    ExecutionEnd,
    NewContainer,
    NewExecution,
    SavedContainer,
    SavedContest,
    SavedExecution,
    SavedProblem,
    SettingValue,
)
from projections.containers import Container
from projections.contests import Contest, ContestProblem
from projections.executions import Execution
from projections.settings import Setting

EXECUTION = "/api/executions/{id}"
SETTING = "/api/settings/{name}"
CONTAINER = "/api/containers/{container_id}"
SAVE_EXECUTION = Call("POST", "/api/executions/save", ExecutionHistory, SavedExecution, again=True)
SAVE_CONTEST = Call("POST", "/api/contests", Contest, SavedContest, again=True)
SAVE_PROBLEM = Call("POST", "/api/problems", ContestProblem, SavedProblem, again=True)
SAVE_CONTAINER = Call("POST", "/api/containers/save", Container, SavedContainer, again=True)


class _Saves(Remote):
    """What is saved travels field by field; the rest is the log's to say."""

    def _send(self, call: Call, thing: msgspec.Struct) -> Any:
        assert call.body is not None  # noqa: S101
        return self._ask(call, {name: getattr(thing, name) for name in call.body.__struct_fields__})


@offered(
    start=Call("POST", "/api/executions", ExecutionHistory, NewExecution),
    finish=Call("POST", f"{EXECUTION}/finish", ExecutionHistory, ExecutionEnd),
    get=Call("GET", EXECUTION, ExecutionHistory),
    find_all=Call("GET", "/api/executions", list[Execution], pages=True),
    count=Call("GET", "/api/executions/count", int),
    delete=Call("DELETE", EXECUTION),
)
class RemoteExecutions(_Saves, ExecutionsRepository):
    """Executions."""

    def find(self, id: str) -> ExecutionHistory | None:
        """See `ExecutionsRepository.find`."""
        try:
            return self.get(id) if id else None
        except NotFound:
            return None

    def save(self, execution: ExecutionHistory) -> ExecutionHistory:
        """See `ExecutionsRepository.save`."""
        saved: ExecutionHistory = self._send(SAVE_EXECUTION, execution)
        return saved


@offered(
    find_all=Call("GET", "/api/contests", list[Contest], pages=True),
    delete=Call("DELETE", "/api/contests/{contest_id}"),
)
class RemoteContests(_Saves, ContestsRepository):
    """Contests."""

    def save(self, contest: Contest) -> Contest:
        """See `ContestsRepository.save`."""
        saved: Contest = self._send(SAVE_CONTEST, contest)
        return saved


@offered(
    find_all=Call("GET", "/api/problems", list[ContestProblem], pages=True),
    delete=Call("DELETE", "/api/problems/{problem_id}"),
)
class RemoteProblems(_Saves, ProblemsRepository):
    """Problems."""

    def save(self, problem: ContestProblem) -> ContestProblem:
        """See `ProblemsRepository.save`."""
        saved: ContestProblem = self._send(SAVE_PROBLEM, problem)
        return saved


@offered(
    set=Call("POST", SETTING, Setting, SettingValue, again=True),
    unset=Call("DELETE", SETTING),
    history=Call("GET", "/api/setting-history/{name}", list[SettingChange]),
    find_all=Call("GET", "/api/settings", list[Setting], pages=True),
)
class RemoteSettings(Remote, SettingsRepository):
    """Settings."""


@offered(
    create=Call(
        "POST", "/api/containers", Container, NewContainer, sends={"labels": lambda labels: dict(labels or {})}
    ),
    start=Call("POST", f"{CONTAINER}/start", Container, ContainerStart),
    stop=Call("POST", f"{CONTAINER}/stop", Container, ContainerStop),
    remove=Call("POST", f"{CONTAINER}/remove", Container, ContainerRemoval),
    find_all=Call("GET", "/api/containers", list[Container], pages=True),
    delete=Call("DELETE", CONTAINER),
)
class RemoteContainers(_Saves, ContainersRepository):
    """Containers."""

    def save(self, container: Container) -> Container:
        """See `ContainersRepository.save`."""
        saved: Container = self._send(SAVE_CONTAINER, container)
        return saved
