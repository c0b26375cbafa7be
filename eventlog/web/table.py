"""Every operation of the interface, in one table: the routes and the OpenAPI document are made of it."""

from __future__ import annotations

from eventlog.app import Log
from eventlog.projection.manager import UNKNOWN
from eventlog.web import (
    artifacts,
    contests,
    events,
    evidence,
    executions,
    imports,
    jobs,
    metrics,
    openapi,
    prices,
    projections,
    projects,
    queues,
    runs,
    schedules,
    search,
    session_calls,
    sessions,
    settings,
    statistics,
    tasks,
    workspaces,
)
from eventlog.web.operation import Operation
from eventlog.web.service import Service
from eventlog.wire import Health


def live() -> Health:
    """The process lives."""
    return Health(True, [])


def ready(log: Log) -> Health:
    """The log can be read, and every table is live. Answers 503 where not."""
    log.head()
    status = log.projections.status(counted=False)
    wrong = [one for one in status if one.state != "live" and one.mode != UNKNOWN]
    return Health(not wrong, [f"{one.name} is {one.state}" for one in wrong])


def prometheus(service: Service) -> bytes:
    """What a monitoring system scrapes, in the text format of Prometheus."""
    return metrics.render(service)


def openapi_document(service: Service) -> bytes:
    """This document."""
    return service.document


# In this order they are looked for, so those that are asked for most come first.
OPERATIONS: tuple[Operation, ...] = (
    *events.OPERATIONS,
    *jobs.OPERATIONS,
    *queues.OPERATIONS,
    *evidence.OPERATIONS,
    *schedules.OPERATIONS,
    *runs.OPERATIONS,
    *artifacts.OPERATIONS,
    *projects.OPERATIONS,
    *workspaces.OPERATIONS,
    *sessions.OPERATIONS,
    *search.OPERATIONS,
    *session_calls.OPERATIONS,
    *executions.OPERATIONS,
    *imports.OPERATIONS,
    *contests.OPERATIONS,
    *settings.OPERATIONS,
    *tasks.OPERATIONS,
    *statistics.OPERATIONS,
    *prices.OPERATIONS,
    *projections.OPERATIONS,
    Operation("GET", "/api/openapi.json", openapi_document, cached=False),
    Operation("GET", "/healthz", live, cached=False),
    Operation("GET", "/readyz", ready, cached=False, status_of=lambda health: 200 if health.ready else 503),
    Operation("GET", "/metrics", prometheus, cached=False, media=metrics.MEDIA_TYPE),
)
DOCUMENT: bytes = openapi.document(OPERATIONS)
