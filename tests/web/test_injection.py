"""Whatever a parameter holds is a value: hostile texts find exactly the rows that have them, or are refused.

Every read operation of the table is asked with every one of its parameters; a new parameter has to be told of here.
"""

from __future__ import annotations

import itertools
import random
import re
import typing
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

import eventlog
from eventlog import Append, UnknownEvent
from eventlog.app import Log
from eventlog.errors import InvalidName
from eventlog.events.runs import RunArtifactSaved, RunStarted
from eventlog.events.workers import WorkerStarted
from eventlog.recorder.artifacts import check_name
from eventlog.repositories.executions import ExecutionHistory
from eventlog.repositories.jobs import NewJob
from eventlog.web.operation import AS_OF, Operation
from eventlog.web.table import OPERATIONS
from projections.contests import Contest, ContestProblem
from tests import postgres
from tests.helpers import assert_whole
from tests.long.sizes import size
from tests.web.support import Answer, Client, Server

EVERY_DAY = 10
DAY_US = 86_400_000_000
# What a driver or a database says; no text below has it in it.
TOLD = re.compile(
    r"syntax error|unrecognized token|no such (table|column)|incomplete input|unterminated|malformed|mismatch|SQLSTATE"
    r"|(Operational|Programming|Data|Integrity|Interface)Error|psycopg|sqlalchemy|traceback|near \\\"|does not exist",
    re.IGNORECASE,
)


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


Row = dict[str, Any]
Finds = Callable[[Row, str], bool]


def has(field: str) -> Finds:
    return lambda row, text: row[field] == text


def holds(*fields: str) -> Finds:
    return lambda row, text: any(text.lower() in (row[field] or "").lower() for field in fields)


RUNS = {
    "project_id": has("project_id"),
    "program": has("program"),
    "job_id": has("job_id"),
    "text": holds("command", "note", "program"),
    "tag": lambda row, text: row["tags"].get(text.partition("=")[0]) == text.partition("=")[2],
}
JOBS = {
    **{name: has(name) for name in ("queue", "kind", "batch_id", "parent_job_id", "worker_id")},
    "text": holds("job_id", "kind", "error_message"),
}
EXECUTIONS = {
    **{name: has(name) for name in ("problem_name", "problem_id", "contest_id", "container_id", "language", "status")},
    "text": holds("problem_name", "command"),
}
TASKS = {name: has(name) for name in ("status", "user", "task_source", "owner", "repo")}
CURSORS: dict[str, Finds] = {
    "before": lambda row, text: row["job_id"] < text,
    "after": lambda row, text: row["job_id"] > text,
}
# By operation and parameter: the rows that a text finds.
FINDS: dict[str, dict[str, Finds]] = {
    "list_runs": RUNS,
    "count_runs": RUNS,
    "run_statistics": {name: RUNS[name] for name in ("project_id", "program")},
    "list_jobs": JOBS | CURSORS,
    "count_jobs": JOBS,
    "job_statistics": {name: JOBS[name] for name in ("queue", "kind")},
    "job_history": {"before": CURSORS["before"]},
    "list_workers": {"before": lambda row, text: row["worker_id"] < text},
    "list_projects": {"text": holds("project_id", "path", "note")},
    "list_run_metrics": {"name": has("name")},
    "list_run_artifacts": {"name": has("name")},
    "read_events": {
        "streams": has("stream"),
        "categories": lambda row, text: row["stream"].partition("-")[0] == text,
        "types": has("type"),
    },
    "list_executions": EXECUTIONS,
    "count_executions": EXECUTIONS,
    "execution_statistics": {name: EXECUTIONS[name] for name in ("problem_name", "language", "status")},
    "list_containers": {name: has(name) for name in ("image", "name")},
    "list_contests": {"platform": has("platform"), "text": holds("contest_id", "name", "url", "note")},
    "list_problems": {
        "contest_id": has("contest_id"),
        "name": has("name"),
        "text": holds("problem_id", "name", "url"),
    },
    "list_tasks": TASKS,
    "count_tasks": TASKS,
    "list_settings": {"prefix": lambda row, text: row["name"].startswith(text), "text": holds("name")},
    # parts of paths
    "list_job_attempts": {"job_id": has("job_id")},
    "read_stream": {"stream": has("stream")},
    "get_event_with_key": {"key": lambda row, text: row["metadata"] == {"key": text}},
    "get_project": {"project_id": has("project_id")},
    "get_queue": {"queue": has("queue")},
    "get_container": {"container_id": has("container_id")},
    "get_contest": {"contest_id": has("contest_id")},
    "get_problem": {"problem_id": has("problem_id")},
    "get_setting": {"name": has("name")},
    "get_setting_history": {"name": has("name")},
}
# Texts that are no answer to what is asked there: they are refused, or nothing is found.
REFUSES = {
    "run_statistics": {"tz"},
    "job_statistics": {"tz"},
    "execution_statistics": {"tz"},
    "get_execution": {"id"},
    "get_task": {"uuid"},
    "list_task_events": {"uuid"},
    "diff_projections": {"first", "last", "names"},
    "verify_projections": {"names"},
    "explain_row": {"key", "table"},
    "get_job": {"job_id"},
    "list_job_events": {"job_id"},
    "explain_job": {"job_id"},
    "get_worker": {"worker_id"},
    "get_schedule": {"schedule"},
    "read_run_artifact": {"name"},
}
PAGED = (
    "events", "runs", "jobs", "workers", "projects", "executions", "containers", "contests", "problems", "settings",
    "tasks",
)  # fmt: skip
STATISTICS = ("run_statistics", "job_statistics", "execution_statistics")
ENDLESS = "follow_events"
READS = [one for one in OPERATIONS if one.method == "GET" and one.name != ENDLESS]


def takes_text(hint: Any) -> bool:
    return hint is str or any(takes_text(option) for option in typing.get_args(hint))


class Planted:
    """A served log with rows that have hostile texts, and everything in it as the server lists it unasked."""

    def __init__(self, log: Log, client: Client, texts: list[str]) -> None:
        self.texts = texts
        self.client = client
        self.run_id = _plant(log, texts)
        job_id = log.jobs.enqueue("plain").job_id
        self.parts = {
            "run_id": str(self.run_id), "job_id": job_id, "kind": "output", "name": "x", "table": "runs",
            "stream": "x", "key": "x", "queue": "x", "worker_id": "x", "schedule": "x", "project_id": "x",
            "id": "x", "container_id": "x", "contest_id": "x", "problem_id": "x", "uuid": "x",
        }  # fmt: skip
        of_run = {name: f"/api/runs/{self.run_id}/{name}" for name in ("metrics", "artifacts")}
        paged = {name: f"/api/{name}?limit=1000" for name in PAGED}
        paths = {**of_run, **paged, "queues": "/api/queues"}
        self.rows = {name: list(self._all(path)) for name, path in paths.items()}

    def _all(self, path: str) -> Iterator[Row]:
        while path:
            answer = self.client.get(path)
            yield from answer.json
            path = answer.headers.get("link", "").partition(">")[0][1:]

    def rows_of(self, operation: Operation) -> list[Row]:
        """Every row of what an operation gives rows of."""
        if operation.name == "read_stream":
            return self.rows["events"]
        return next(rows for name, rows in self.rows.items() if name.rstrip("s") in operation.name)

    def ask(self, operation: Operation, name: str, text: str) -> Answer:
        """Ask with a text in one place, and what has to be there in the others."""
        parts = {part: text if part == name else self.parts[part] for part in operation.parts}
        query = {"first": "0", "last": "1", "key": "1"} if operation.name in ("diff_projections", "explain_row") else {}
        query = {key: value for key, value in query.items() if key in operation.columns}
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
    types = {name: name if "." in name and " " not in name else "note.taken" for name in names}
    log.append_many(
        [
            Append(stream=name, events=[UnknownEvent(tag=tag, data={})], key=name, metadata={"key": name})
            for name, tag in types.items()
            if not name.startswith("-")  # no category
        ]
    )
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


def parameters(operation: Operation) -> Iterator[tuple[str, Any]]:
    """What can be given, each with its type."""
    yield from operation.parts.items()
    yield from ((name, column.type) for name, column in operation.columns.items())
    if operation.time_travels:
        yield AS_OF, None


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("kind", "count"),
    [
        pytest.param("sqlite", EVERY_DAY, id="sqlite"),
        pytest.param("sqlite", None, id="sqlite-many", marks=pytest.mark.long),
        pytest.param("postgres", None, id="postgres-many", marks=pytest.mark.long),
    ],
)
def test_a_hostile_text_is_a_value(kind: str, count: int | None, tmp_path: Path) -> None:
    target = str(tmp_path / "log.db") if kind == "sqlite" else postgres.borrow_log()
    server = Server(target, "--token-file", str(tmp_path / "token"))
    try:
        with eventlog.open(target, data_dir=tmp_path) as log, closing(Client(server)) as client:
            planted = Planted(log, client, hostile(size("INJECTIONS") if count is None else count))
            for operation in READS:
                for name, hint in parameters(operation):
                    ask_everything(planted, operation, name, hint)
            assert_whole(log)
            assert log.projections.verify() == []
    finally:
        assert server.stop() == 0
        if kind == "postgres":
            postgres.return_log(target)


def ask_everything(planted: Planted, operation: Operation, name: str, hint: Any) -> None:
    finds = FINDS.get(operation.name, {}).get(name)
    refused = name in REFUSES.get(operation.name, ()) or not takes_text(hint)
    assert (finds is not None) != refused, f"{operation.name}: say what {name} finds"
    for text in planted.texts:
        answer = planted.ask(operation, name, text)
        about = (operation.name, name, text, answer.status, answer.body[:500])
        assert not TOLD.search(answer.body.decode()), about
        if answer.status == 200 and finds is not None:
            found = [row for row in planted.rows_of(operation) if finds(row, text)]
            assert seen(operation, answer.json) == expected(operation, found), about
        else:
            assert answer.status in (404, 422), about
            assert finds is None or may_be_refused(operation, name, text, planted, finds), about


def may_be_refused(operation: Operation, name: str, text: str, planted: Planted, finds: Finds) -> bool:
    """Whether a filter cannot be asked with a text, or there is no such thing at a path."""
    if name == "categories":
        return "-" in text
    if name == "tag":
        return "=" not in text
    if name in operation.parts:
        return not any(finds(row, text) for row in planted.rows_of(operation))
    return False


def seen(operation: Operation, answer: Any) -> Any:
    """What an answer has of what is compared: rows, how many there are, or the thing at a path."""
    if operation.name == "job_history":
        return answer["jobs"]
    if operation.name == "get_setting_history":
        return answer[0]["value"]
    if operation.name in STATISTICS:
        return sum(one[operation.name.partition("_")[0] + "s"] for one in answer)
    return answer


def expected(operation: Operation, found: list[Row]) -> Any:
    if operation.name.startswith("count_") or operation.name in STATISTICS:
        return len(found)
    if operation.name == "get_setting_history":
        return found[0]["value"]
    return found[0] if operation.name.startswith("get_") else found


def test_every_table_above_names_what_is_there() -> None:
    there = {one.name: {*one.parts, *one.columns} for one in READS}
    for table in (FINDS, REFUSES):
        assert not {name: set(keys) - there.get(name, set()) for name, keys in table.items()
                    if set(keys) - there.get(name, set())}  # fmt: skip


def test_the_texts_are_many_and_none_looks_like_a_leak() -> None:
    texts = hostile(500)
    assert len(set(texts)) == 500
    assert not [text for text in texts if TOLD.search(text)]
