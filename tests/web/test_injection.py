"""Whatever a parameter holds is a value: hostile texts find exactly the rows that have them, or are refused.

Every read operation of the table is asked with every one of its parameters; a new parameter has to be told of here.
"""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.errors import InvalidQuery
from eventlog.store.searching import Phrase, parse
from eventlog.store.words import words
from eventlog.web.operation import AS_OF, Operation
from eventlog.web.table import OPERATIONS
from tests import postgres
from tests.helpers import assert_whole
from tests.long.sizes import size
from tests.web.planting import WORD, Planted, Row, hostile
from tests.web.support import Client, Server

EVERY_DAY = 10
REFUSED_EVERY_DAY = 4
# What a driver or a database says; no text below has it in it.
TOLD = re.compile(
    r"syntax error|unrecognized token|no such (table|column)|incomplete input|unterminated|malformed|mismatch|SQLSTATE"
    r"|(Operational|Programming|Data|Integrity|Interface)Error|psycopg|sqlalchemy|traceback|near \\\"|does not exist",
    re.IGNORECASE,
)


Finds = Callable[[Row, str], bool]


def has(field: str) -> Finds:
    return lambda row, text: row[field] == text


def holds(*fields: str) -> Finds:
    return lambda row, text: any(text.lower() in (row[field] or "").lower() for field in fields)


def within(prefix: str, field: str = "stream") -> Finds:
    """A part of a path that no slash can be in: what is called by it is in the stream of this name."""
    return lambda row, text: "/" not in text and bool(row[field] == prefix + text)


def in_x(finds: Finds) -> Finds:
    """Of the session that the path names."""
    return lambda row, text: row["stream"] == "session-x" and finds(row, text)


def met(finds: Finds) -> Finds:
    """Of what has the word that is searched for."""
    return lambda row, text: WORD in row["text"] and finds(row, text)


def of_agent(row: Row, text: str) -> bool:
    """A session's, whose agent and workspace are called as it is."""
    return bool(row["stream"] == f"session-{text}")


def says(row: Row, text: str) -> bool:
    """Whether a text has all that is searched for."""
    asked = parse(text)
    held = f" {' '.join(words(row['text']))} "

    def there(phrase: Phrase) -> bool:
        return f" {' '.join(phrase.words)}{'' if phrase.prefix else ' '}" in held

    return all(any(map(there, either)) for either in asked.every) and not any(map(there, asked.without))


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
    "prefix": lambda row, text: row["id"].startswith(text),
}
SESSIONS = {
    **{name: has(name) for name in ("workspace_id", "status", "kind", "agent", "parent_session_id")},
    "text": holds("title"),
    "prefix": lambda row, text: row["session_id"].startswith(text),
}
USED = {name: has(name) for name in ("model", "provider", "workspace_id", "agent")}
FOUND = {name: met(has(name)) for name in ("role", "name", "stream")} | {"session_id": met(of_agent), "query": says}
SESSION: dict[str, Finds] = {"session_id": within("session-")}
TASKS = {
    **{name: has(name) for name in ("status", "user", "task_source", "owner", "repo")},
    "prefix": lambda row, text: row["uuid"].startswith(text),
}
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
    "list_workspaces": {"path": has("path"), "text": holds("path", "name", "repository_url")},
    "list_sessions": SESSIONS,
    "count_sessions": SESSIONS,
    "search": FOUND | {"workspace_id": met(of_agent), "agent": met(of_agent)},
    "count_found": FOUND,
    "list_imports": {"kind": has("kind"), "text": holds("path")},
    "token_statistics": USED,
    "cost_statistics": USED,
    "compare_cost": USED,
    "tool_statistics": {"tool": has("name"), "workspace_id": has("workspace_id"), "agent": has("agent")},
    "list_prices": {"text": holds("model")},
    "explain_price": {"model": has("model")},
    # parts of paths
    "get_workspace": {"workspace_id": within("", "workspace_id")},
    "get_session": {"session_id": within("", "session_id")},
    "get_thread": SESSION,
    "list_messages": SESSION,
    "list_compactions": SESSION,
    "list_summaries": SESSION,
    "list_session_events": SESSION,
    "list_instances": {**SESSION, "status": in_x(has("status"))},
    "list_tool_calls": {**SESSION, "outcome": in_x(has("outcome")), "name": in_x(has("name"))},
    "list_llm_calls": {**SESSION, "status": in_x(has("status"))},
    "get_message": {**SESSION, "message_id": in_x(has("message_id"))},
    "get_instance": {**SESSION, "instance_id": in_x(has("instance_id"))},
    "get_tool_call": {**SESSION, "tool_call_id": in_x(has("tool_call_id"))},
    "get_llm_call": {**SESSION, "call_id": in_x(has("call_id"))},
    "get_import": {"source_id": within("", "source_id")},
    "list_quarantined": {"source_id": within("import-")},
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
    "token_statistics": {"tz"},
    "cost_statistics": {"tz"},
    "compare_cost": {"tz", "first", "last"},
    "tool_statistics": {"tz"},
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
# By statistics: the number that says how many rows there were.
STATISTICS = {
    "run_statistics": "runs", "job_statistics": "jobs", "execution_statistics": "executions",
    "token_statistics": "calls", "cost_statistics": "calls", "tool_statistics": "calls",
}  # fmt: skip
COUNTS = ("compare_cost", *STATISTICS)
ENDLESS = "follow_events"
READS = [one for one in OPERATIONS if one.method == "GET" and one.name != ENDLESS]


def takes_text(hint: Any) -> bool:
    return hint is str or any(takes_text(option) for option in typing.get_args(hint))


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
            texts = hostile(size("INJECTIONS") if count is None else count)
            planted = Planted(log, client, texts)
            # What is no text is refused by its type alone, so each of these is asked with some of the texts in turn.
            turns, turn = itertools.cycle(texts), len(texts) if count is None else REFUSED_EVERY_DAY
            for operation in READS:
                for name, hint in parameters(operation):
                    finds = what_it_finds(operation, name, hint)
                    asked = list(itertools.islice(turns, turn)) if finds is None else texts
                    ask_everything(planted, operation, name, finds, asked)
            assert_whole(log)
            assert log.projections.verify() == []
    finally:
        assert server.stop() == 0
        if kind == "postgres":
            postgres.return_log(target)


def what_it_finds(operation: Operation, name: str, hint: Any) -> Finds | None:
    """The rows that a text finds as a parameter; None where it is refused."""
    finds = FINDS.get(operation.name, {}).get(name)
    refused = name in REFUSES.get(operation.name, ()) or not takes_text(hint)
    assert (finds is not None) != refused, f"{operation.name}: say what {name} finds"
    return finds


def ask_everything(planted: Planted, operation: Operation, name: str, finds: Finds | None, texts: list[str]) -> None:
    for text in texts:
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
    if name == "query":
        with pytest.raises(InvalidQuery):
            parse(text)
        return True
    if name in operation.parts or operation.name == "explain_price":
        return not any(finds(row, text) for row in planted.rows_of(operation))
    return False


def seen(operation: Operation, answer: Any) -> Any:
    """What an answer has of what is compared: rows, how many there are, or the thing at a path."""
    match operation.name:
        case "job_history":
            return answer["jobs"]
        case "get_setting_history":
            return answer[0]["value"]
        case "compare_cost":
            return answer["total"]["after_micro_usd"] or 0
        case "explain_price":
            return answer["periods"][-1]["price"]
        case "list_messages" | "get_thread":
            return [one["message"] for one in answer]
        case "get_message":
            return answer["message"]
        case "search" | "list_summaries":
            return sorted(one["position"] for one in answer)
        case name if name in STATISTICS:
            return sum(one[STATISTICS[name]] for one in answer)
    return answer


def expected(operation: Operation, found: list[Row]) -> Any:
    match operation.name:
        case name if name.startswith("count_") or name in COUNTS:
            return len(found)
        case "get_setting_history":
            return found[0]["value"]
        case "search" | "list_summaries":
            return [row["position"] for row in found]
        case name if (name.startswith("get_") and name != "get_thread") or name == "explain_price":
            return found[0]
    return found


def test_every_table_above_names_what_is_there() -> None:
    there = {one.name: {*one.parts, *one.columns} for one in READS}
    for table in (FINDS, REFUSES):
        assert not {name: set(keys) - there.get(name, set()) for name, keys in table.items()
                    if set(keys) - there.get(name, set())}  # fmt: skip


def test_the_texts_are_many_and_none_looks_like_a_leak() -> None:
    texts = hostile(500)
    assert len(set(texts)) == 500
    assert not [text for text in texts if TOLD.search(text)]
