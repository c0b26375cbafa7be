"""What the injection test asks about: hostile texts, and a served log in which everything is called by them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode

from eventlog import Append, Event, UnknownEvent
from eventlog.app import Log
from eventlog.errors import InvalidName
from eventlog.events.agents import (
    ContextCompacted,
    LlmCallCompleted,
    MessageAdded,
    SummaryAdded,
    TextPart,
    ToolCallFinished,
    ToolCallStarted,
)
from eventlog.events.imports import RecordQuarantined, SourceOpened
from eventlog.events.prices import PriceSet, Rates
from eventlog.events.runs import RunArtifactSaved, RunStarted
from eventlog.events.sessions import InstanceCreated, SessionCreated, WorkspaceRegistered
from eventlog.events.workers import WorkerStarted
from eventlog.recorder.artifacts import check_name
from eventlog.repositories.executions import ExecutionHistory
from eventlog.repositories.jobs import NewJob
from eventlog.web.operation import Operation
from projections.contests import Contest, ContestProblem
from projections.search import text_of
from tests.web.support import Answer, Client

Row = dict[str, Any]
DAY_US = 86_400_000_000
PAGED = (
    "events", "runs", "jobs", "workers", "projects", "executions", "containers", "contests", "problems", "settings",
    "tasks", "workspaces", "sessions", "imports", "prices",
)  # fmt: skip
# What no path lists whole is read from its table.
TABLES = ("messages", "compactions", "summaries", "instances", "tool_calls", "llm_calls", "import_quarantine")
# Where the name of an operation does not say of what it has rows.
ROWS = {
    "read_stream": "events", "list_session_events": "events", "list_quarantined": "import_quarantine",
    "get_thread": "messages", "search": "documents", "count_found": "documents", "tool_statistics": "tool_calls",
    "token_statistics": "llm_calls", "cost_statistics": "llm_calls", "compare_cost": "llm_calls",
}  # fmt: skip
WORD = "planted"
"""It is in every text that can be searched and belongs to a session."""
NEEDED = {
    "diff_projections": {"first": "0", "last": "1"},
    "explain_row": {"key": "1"},
    "compare_cost": {"first": "0"},
    "search": {"query": WORD},
    "count_found": {"query": WORD},
    "explain_price": {"model": "x"},
}


def hostile(count: int) -> list[str]:
    """Texts as sqlmap sends them, the same ones each time."""
    opened = ["", "1", "x", "'", '"', "')", '")', "'))", "`", "\\'", "1'", "-1", "%' ", "x' ", "]", "$$", "{", "?"]
    middle = [
        " OR 1=1", " AND 1=2", " OR 'a'='a", ' OR "a"="a', " UNION SELECT NULL", " ORDER BY 99", " LIMIT 1 OFFSET 1",
        " UNION ALL SELECT 1,2,3,sql FROM sqlite_master", "; DROP TABLE runs", "; DELETE FROM events", "; SELECT 1",
        "; ATTACH DATABASE '/tmp/x' AS x", " AND SLEEP(5)", " AND (SELECT pg_sleep(5))", " OR randomblob(1000000000)",
        "||(SELECT group_concat(name) FROM pragma_table_list)", " GLOB '*'", " LIKE '%'", " OR EXISTS(SELECT 1)",
        " IN (SELECT stream FROM events)", " HAVING 1=1", " COLLATE NOCASE", "; PRAGMA writable_schema=1",
        " OR load_extension('x')", "; COPY x TO PROGRAM 'id'", " AND CAST((SELECT version()) AS int)=1", " RETURNING *",
        " => x", ":1", "%(x)s", "%s", "?1", "@x", "$1", "\x00", "\n--\n", "\u02bc OR 1=1", "\uff07 OR 1=1",
    ]  # fmt: skip
    ended = ["", "--", "-- -", "#", "/*", "*/", ";", "'", '"', ")", "\\", "%", "_"]
    first = [
        "' OR '1'='1", "'; DROP TABLE runs; --", '" OR ""="', "a.b'/**/OR/**/1=1--", "%", "_%", "\\", "\x00' OR 1=1",
        "x' UNION SELECT NULL--",
    ]  # fmt: skip
    others = ["".join(parts) for parts in itertools.product(opened, middle, ended)]
    random.Random(36).shuffle(others)
    return [*first, *others][:count]


class Planted:
    """A served log with rows that have hostile texts, and everything in it as the server lists it unasked."""

    def __init__(self, log: Log, client: Client, texts: list[str]) -> None:
        self.client = client
        self.run_id = _plant(log, texts)
        job_id = log.jobs.enqueue("plain").job_id
        self.parts = {
            "run_id": str(self.run_id), "job_id": job_id, "kind": "output", "name": "x", "table": "runs",
            "stream": "x", "key": "x", "queue": "x", "worker_id": "x", "schedule": "x", "project_id": "x",
            "id": "x", "container_id": "x", "contest_id": "x", "problem_id": "x", "uuid": "x", "workspace_id": "x",
            "session_id": "x", "message_id": "x", "instance_id": "x", "tool_call_id": "x", "call_id": "x",
            "source_id": "x",
        }  # fmt: skip
        of_run = {name: f"/api/runs/{self.run_id}/{name}" for name in ("metrics", "artifacts")}
        paged = {name: f"/api/{name}?limit=1000" for name in PAGED}
        paths = {**of_run, **paged, "queues": "/api/queues"}
        self.rows = {name: list(self._all(path)) for name, path in paths.items()}
        self.rows |= {name: log.projections.rows(name) for name in TABLES}
        self.rows["documents"] = [
            {**row, "text": text_of(next(log.read(after=row["position"] - 1, limit=1)).event)}
            for row in log.projections.rows("search_documents")
        ]
        self.head = log.head().position

    def _all(self, path: str) -> Iterator[Row]:
        while path:
            answer = self.client.get(path)
            yield from answer.json
            path = answer.headers.get("link", "").partition(">")[0][1:]

    def rows_of(self, operation: Operation) -> list[Row]:
        """Every row of what an operation gives rows of."""
        if operation.name in ROWS:
            return self.rows[ROWS[operation.name]]
        return next(rows for name, rows in self.rows.items() if name.rstrip("s") in operation.name)

    def ask(self, operation: Operation, name: str, text: str) -> Answer:
        """Ask with a text in one place, and what has to be there in the others."""
        parts = {part: text if part == name else self.parts[part] for part in operation.parts}
        query = dict(NEEDED.get(operation.name, {}))
        if operation.name == "compare_cost":
            query["last"] = str(self.head)
        if "limit" in operation.columns:
            query["limit"] = "1000"
        if name not in operation.parts:
            query[name] = text
        path = operation.documented_path.format(**{part: quote(value, safe="") for part, value in parts.items()})
        return self.client.get(f"{path}?{urlencode(query)}")


def _plant(log: Log, texts: list[str]) -> int:
    """A run, a job, a project, events and more for each text that may be a name; the run with all metrics."""
    names = [text for text in texts if text.isprintable()]
    run_id = 0
    for name in names:
        key, _, value = name.partition("=")
        said = RunStarted(
            command=name, project_id=name, program=name, note=name, job_id=name, tags={key: value} if key else {}
        )
        run_id = log.runs.append_start(said, durability="process")
        log.projects.add(name, note=name)
    log.jobs.enqueue_many([NewJob(kind=name, queue=name, batch_id=name, parent_job_id=name) for name in names])
    log.append_many([*_of_no_repository(names), *_of_agents(names)])
    for name in names:
        assert log.jobs.claim(name, queues=[name], lease_us=DAY_US, durability="process")
        log.runs.metric(run_id, name, 1.0, durability="process")
        with suppress(InvalidName):
            check_name(name)
            log.runs.save_artifact(run_id, RunArtifactSaved(kind="output", name=name, size_bytes=1, sha256="0" * 64))
    for name in names:
        log.contests.save(Contest(name, name, name, name, note=name))
        log.problems.save(ContestProblem(name, name, name, name))
        log.settings.set(name, name)
        log.containers.create(name, container_id=name, name=name)
        log.executions.start(name, name, problem_id=name, contest_id=name, container_id=name, command=name)
        log.executions.save(ExecutionHistory(problem_name=name, language=name, status=name))
        log.tasks.create(
            task_source=name, owner=name, repo=name, task_type=name, task_id=name, status=name, user=name
        )  # fmt: skip
    log.workers.start(WorkerStarted(host="h", pid=1, kinds=("x",), lease_us=DAY_US))
    return run_id


def _of_no_repository(names: list[str]) -> Iterator[Append]:
    """Events in streams that have a text for a name, and what a repository would not call so."""
    for name in names:
        tag = name if "." in name and " " not in name else "note.taken"
        if not name.startswith("-"):  # no category
            yield Append(stream=name, events=[UnknownEvent(tag=tag, data={})], key=name, metadata={"key": name})
            yield Append(stream=name, events=[_message("y", name)])
        yield Append(
            stream=f"workspace-{name}",
            events=[WorkspaceRegistered(path=name, path_sha256="0" * 64, name=name, repository_url=name)],
        )
        lost = RecordQuarantined(offset=0, length_bytes=1, reason=name)
        yield Append(stream=f"import-{name}", events=[SourceOpened(kind=name, path=name), lost])
        yield Append(stream=f"price-{name}", events=[PriceSet(model=name, rates=Rates(input=1, output=1))])


def _of_agents(names: list[str]) -> Iterator[Append]:
    """A session of each name, and one with everything of each name in it."""
    for name in names:
        said = [
            SessionCreated(
                workspace_id=name, kind=name, status=name, title=name, agent=name, parent_session_id=name
            ),
            *_done("x", name),
            ContextCompacted(trigger=name),
            SummaryAdded(text=f"{WORD} {name}"),
        ]  # fmt: skip
        yield Append(stream=f"session-{name}", events=said)
    done = [event for name in [*names, "x"] for event in _done(name, name)]
    yield Append(stream="session-x", events=[SessionCreated(), *done])


def _done(part_id: str, name: str) -> list[Event]:
    return [
        _message(part_id, name),
        ToolCallStarted(tool_call_id=part_id, name=name, workspace_id=name, agent=name),
        ToolCallFinished(tool_call_id=part_id, outcome="ok", duration_us=1),
        LlmCallCompleted(
            call_id=part_id, response_model=name, provider=name, workspace_id=name, agent=name,
            reported_cost_micro_usd=1,
        ),
        InstanceCreated(instance_id=part_id, status=name),
    ]  # fmt: skip


def _message(message_id: str, name: str) -> MessageAdded:
    return MessageAdded(message_id=message_id, role="user", name=name, parts=(TextPart(text=f"{WORD} {name}"),))
