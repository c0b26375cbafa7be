"""What the client asks for is what the server offers: one by one, by method, path, parameters, body and answer."""

from __future__ import annotations

import inspect
import re
from typing import Any

import msgspec
import pytest

from eventlog.client import executions, jobs, projections, reader, repositories, sessions, store, tasks
from eventlog.client.calls import Call
from eventlog.client.executions import (
    RemoteContainers,
    RemoteContests,
    RemoteExecutions,
    RemoteProblems,
    RemoteSettings,
)
from eventlog.client.jobs import RemoteJobs
from eventlog.client.repositories import (
    RemotePrices,
    RemoteProjects,
    RemoteQueues,
    RemoteRuns,
    RemoteSchedules,
    RemoteStatistics,
    RemoteWorkers,
)
from eventlog.client.search import RemoteSearch
from eventlog.client.sessions import RemoteSessions, RemoteWorkspaces
from eventlog.client.tasks import RemoteTasks
from eventlog.web.operation import Operation
from eventlog.web.table import OPERATIONS

REPOSITORIES = (
    RemoteRuns, RemoteProjects, RemoteJobs, RemoteQueues, RemoteWorkers, RemoteSchedules, RemoteStatistics,
    RemoteWorkspaces, RemoteSessions, RemoteSearch,
    RemoteExecutions, RemoteContests, RemoteProblems, RemoteSettings, RemoteContainers,
    RemoteWorkspaces, RemoteSessions, RemoteTasks,
    RemotePrices,
)  # fmt: skip
METHODS = [
    pytest.param(cls, name, call, id=f"{cls.__name__}.{name}")
    for cls in REPOSITORIES
    for name, call in cls.calls.items()
]
OTHERS = [
    pytest.param(call, id=f"{call.method} {call.path}")
    for module in (executions, jobs, projections, reader, repositories, sessions, store)
    for module in (jobs, projections, reader, repositories, sessions, store, tasks)
    for call in vars(module).values()
    if isinstance(call, Call)
]


def operation(call: Call) -> Operation:
    """The server's; parts of paths may be called otherwise."""

    def plain(path: str) -> str:
        return re.sub(r"\{\w+(:path)?\}", "{}", path)

    found = [one for one in OPERATIONS if one.method == call.method and plain(one.path) == plain(call.path)]
    assert len(found) == 1, call
    return found[0]


@pytest.mark.parametrize("call", OTHERS)
def test_every_call_is_an_operation_of_the_server(call: Call) -> None:
    offered = operation(call)
    assert (call.answer or type(None)) == offered.returns
    assert call.body == offered.body
    assert call.pages == (offered.follows is not None and call.pages)


@pytest.mark.parametrize(("cls", "name", "call"), METHODS)
def test_every_method_is_an_operation_that_takes_its_arguments(cls: Any, name: str, call: Call) -> None:
    offered = operation(call)
    assert (call.answer or type(None)) == offered.returns
    assert call.body == offered.body
    assert call.pages == (offered.follows is not None and offered.returns is not None and "limit" in offered.columns
                          and "history" not in call.path)  # fmt: skip
    taken = {*re.findall(r"\{(\w+)\}", call.path), *offered.columns}
    if call.body is not None:
        taken |= set(call.body.__struct_fields__)
    parameters = inspect.signature(getattr(cls, name)).parameters.values()
    names: set[str] = set()
    for parameter in parameters:
        if parameter.name == "self" or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.name == "event":
            kind = inspect.get_annotations(inspect.unwrap(getattr(cls, name)), eval_str=True)["event"]
            names |= {field.name for field in msgspec.structs.fields(kind)}
        else:
            names.add(call.names.get(parameter.name, parameter.name))
    assert names - taken <= NOT_SENT.get((cls, name), set())


NOT_SENT = {
    (RemoteWorkers, "start"): {"lock_path"},  # a path means nothing on another machine
    (RemoteSchedules, "remove"): {"by"},
    (RemoteJobs, "crash"): {"also"},
    (RemoteRuns, "list"): set(),
}
