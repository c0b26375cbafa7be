"""The OpenAPI document: made of the same table as the routes, and true of a running server."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.routing import Route

import eventlog
from eventlog.log import EventLog
from eventlog.repositories.containers import ContainersRepository
from eventlog.repositories.contests import ContestsRepository, ProblemsRepository
from eventlog.repositories.executions import ExecutionsRepository
from eventlog.repositories.jobs import JobsRepository
from eventlog.repositories.prices import PricesRepository
from eventlog.repositories.projects import ProjectsRepository
from eventlog.repositories.runs import RunsRepository
from eventlog.repositories.sessions import SessionsRepository
from eventlog.repositories.settings import SettingsRepository
from eventlog.repositories.statistics import StatisticsRepository
from eventlog.repositories.tasks import TasksRepository
from eventlog.repositories.workers import WorkersRepository
from eventlog.repositories.workspaces import WorkspacesRepository
from eventlog.web import (
    contests,
    events,
    executions,
    jobs,
    prices,
    projects,
    queues,
    runs,
    sessions,
    settings,
    statistics,
    tasks,
    workspaces,
)
from eventlog.web.operation import Query
from eventlog.web.server import router
from eventlog.web.service import Service
from eventlog.web.table import DOCUMENT, OPERATIONS
from tests.unit.docs_support import ROOT
from tests.web.support import Client, Server

DOC: dict[str, Any] = json.loads(DOCUMENT)


@pytest.mark.parametrize(
    ("query", "method"),
    [
        (runs.RunsQuery, RunsRepository.list),
        (runs.RunsCounted, RunsRepository.count),
        (jobs.JobsQuery, JobsRepository.list),
        (jobs.JobsCounted, JobsRepository.count),
        (jobs.History, JobsRepository.history),
        (projects.ProjectsQuery, ProjectsRepository.list),
        (queues.WorkersQuery, WorkersRepository.list),
        (statistics.StatisticsQuery, StatisticsRepository.runs),
        (statistics.JobStatisticsQuery, StatisticsRepository.jobs),
        (statistics.ExecutionStatisticsQuery, StatisticsRepository.executions),
        (executions.ExecutionsQuery, ExecutionsRepository.find_all),
        (executions.ExecutionsCounted, ExecutionsRepository.count),
        (executions.ContainersQuery, ContainersRepository.find_all),
        (contests.ContestsQuery, ContestsRepository.find_all),
        (contests.ProblemsQuery, ProblemsRepository.find_all),
        (settings.SettingsQuery, SettingsRepository.find_all),
        (statistics.TokensQuery, StatisticsRepository.tokens),
        (statistics.TokensQuery, StatisticsRepository.cost),
        (statistics.CostComparisonQuery, StatisticsRepository.compare_cost),
        (statistics.ToolsQuery, StatisticsRepository.tools),
        (prices.PricesQuery, PricesRepository.list),
        (prices.ModelQuery, PricesRepository.explain),
        (prices.UnsetQuery, PricesRepository.unset),
        (events.Selected, EventLog.read),
        (workspaces.WorkspacesQuery, WorkspacesRepository.list),
        (tasks.TasksQuery, TasksRepository.list),
        (tasks.TasksCounted, TasksRepository.count),
        (sessions.SessionsQuery, SessionsRepository.list),
        (sessions.SessionsCounted, SessionsRepository.count),
    ],
)
def test_what_python_can_ask_can_be_asked_over_http(query: type[Query], method: Callable[..., Any]) -> None:
    assert set(query.__struct_fields__) == set(inspect.signature(method).parameters) - {"self"}


def test_the_server_gives_the_document(client: Client) -> None:
    answer = client.get("/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == DOC


def test_every_route_is_documented_and_everything_documented_is_a_route() -> None:
    with eventlog.open(":memory:") as log:
        service = Service(log, request_timeout_s=1, body_limit=1)
        routes = router(service).routes
        service.close()
    routed = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
    } - {(path, "HEAD") for path in DOC["paths"]}
    documented = {(path, method.upper()) for path, methods in DOC["paths"].items() for method in methods}
    assert routed == documented
    assert len(routed) == len(OPERATIONS) == len(routes)


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does() -> None:
    names = [one.name for one in OPERATIONS]
    assert len(names) == len(set(names))
    assert all(one.summary.endswith((".", "array.")) or ":" in one.summary for one in OPERATIONS)


def test_every_reference_leads_somewhere() -> None:
    schemas = DOC["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(DOC))) == set(schemas)


def test_a_time_is_documented_as_a_number_or_a_text() -> None:
    (since,) = [one for one in DOC["paths"]["/api/statistics/runs"]["get"]["parameters"] if one["name"] == "since"]
    assert since["schema"]["type"] == ["integer", "string"]


def test_every_read_that_can_travel_in_time_says_so() -> None:
    def parameters(path: str, method: str = "get") -> set[str]:
        return {one["name"] for one in DOC["paths"][path][method].get("parameters", ())}

    assert "as_of" in parameters("/api/jobs/history")
    present = {path for path, methods in DOC["paths"].items() if "get" in methods and "as_of" not in parameters(path)}
    assert present == {
        "/api/events/stream", "/api/keys/{key}", "/api/workers/silences", "/api/projections", "/api/projections/diff",
        "/api/projections/verify", "/api/projections/{table}/explain", "/api/openapi.json",
        "/api/statistics/cost/compare",
        "/api/runs/{run_id}/artifacts/{kind}/{name}",
        "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert not [
        path
        for path, methods in DOC["paths"].items()
        for method in methods
        if method != "get" and "as_of" in parameters(path, method)
    ]


def test_no_request_makes_the_server_fail(server: Server) -> None:
    """Answers are as documented, and none is a 500. `tests/long/test_http.py` sends all kinds to all operations."""
    from tests.web.fuzz import operations, send

    for number, operation in enumerate(operations(DOC)):
        assert send(server, operation, ("positive", "negative")[number % 2], 1, derandomize=True) in (0, 1)


def test_the_manual_has_every_operation_and_no_other() -> None:
    page = (ROOT / "docs" / "http.md").read_text()
    listed = re.findall(r"^\| `(GET|POST|PATCH|DELETE) (\S+)` \|", page, re.MULTILINE)
    assert sorted(listed) == sorted((one.method, one.documented_path) for one in OPERATIONS)
