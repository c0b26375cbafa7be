"""What can happen: one module a subject. A new event type is one class there, and its name in that module's union."""

from __future__ import annotations

from eventlog.events.agents import AGENT_EVENTS, AgentEvent
from eventlog.events.base import Event, UnknownEvent, event_type
from eventlog.events.executions import EXECUTION_EVENTS, ExecutionEvent
from eventlog.events.imports import IMPORT_EVENTS, ImportEvent
from eventlog.events.jobs import JOB_EVENTS, JobEvent
from eventlog.events.mirrors import MIRROR_EVENTS, MirrorEvent
from eventlog.events.prices import PRICE_EVENTS, PriceEvent
from eventlog.events.projects import PROJECT_EVENTS, ProjectEvent
from eventlog.events.runs import RUN_EVENTS, RunEvent
from eventlog.events.sessions import SESSION_EVENTS, SessionEvent
from eventlog.events.tasks import TASK_EVENTS, TaskEvent
from eventlog.events.workers import WORKER_EVENTS, WorkerEvent

EVENTS: tuple[type[Event], ...] = (
    PROJECT_EVENTS
    + RUN_EVENTS
    + JOB_EVENTS
    + WORKER_EVENTS
    + SESSION_EVENTS
    + AGENT_EVENTS
    + TASK_EVENTS
    + IMPORT_EVENTS
    + EXECUTION_EVENTS
    + PRICE_EVENTS
    + MIRROR_EVENTS
)
AnyEvent = (
    ProjectEvent
    | RunEvent
    | JobEvent
    | WorkerEvent
    | SessionEvent
    | AgentEvent
    | TaskEvent
    | ImportEvent
    | ExecutionEvent
    | PriceEvent
    | MirrorEvent
)

__all__ = ["EVENTS", "AnyEvent", "Event", "UnknownEvent", "event_type"]
