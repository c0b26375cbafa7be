"""A small source of every importer, made of given texts: what every importer has to be tried with.

Each value is said by a person and by a model, is what a tool was asked and what it answered, and is in a record that
nobody knows, in titles, notes, parameters and tags: wherever the format has room. Ids and times depend on the place of
a value alone, so a source made twice is the same, byte for byte where it is text.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.importers.opencode_schema import Made, spent, step, text, tool
from tests.importers.support import answered, lines, said, uuid, write
from tests.importers.test_agent_jsonl import UUID
from tests.importers.test_codex import context, event, item, meta, tokens, usage
from tests.importers.test_codex import line as rollout_line
from tests.importers.test_codex import said as codex_said
from tests.importers.test_llm import Database as Llm
from tests.importers.test_mlflow import SCHEMA as MLFLOW
from tests.importers.test_openai_agents import ADVANCED
from tests.importers.test_openai_agents import SCHEMA as AGENTS
from tests.importers.test_openai_agents import Database as Agents
from tests.importers.test_tasks_db import Database as Tasks

PLAIN: Sequence[Any] = (
    "look at the cart, please",
    "größer – 大きい 🦉\nand a second line",
    {"path": "src/app.py", "count": 3, "deep": [{"ok": True, "none": None}]},
    "Total: 1,234.50 (50 %) of `foo_bar`\ttabbed 'quoted' \"twice\"",
)
"""Nothing that should be masked. The second half is said in another session."""
T0 = 1_767_225_600
Write = Callable[[Path, Sequence[Any]], Path]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"command": value}


def _halves(values: Sequence[Any]) -> list[list[tuple[int, Any]]]:
    """The values with their numbers, in two parts."""
    numbered = list(enumerate(values))
    middle = (len(numbered) + 1) // 2
    return [numbered[:middle], numbered[middle:]]


def _at(number: int) -> str:
    return (datetime.fromtimestamp(T0, UTC) + timedelta(seconds=number)).isoformat(timespec="milliseconds")


def _connected(path: Path, script: str, *many: tuple[str, list[tuple[Any, ...]]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        for sql, rows in many:
            connection.executemany(sql, rows)
        connection.commit()
    return path


def claude(folder: Path, values: Sequence[Any]) -> Path:
    """Two transcripts, one with a subagent's part, and records of types that nobody knows."""
    for place, part in enumerate(_halves(values)):
        session = f"{place:08}-1111-4111-8111-111111111111"
        records: list[dict[str, Any]] = []
        for number, value in part:
            first = 10 * number + 1
            records.append(said(first, _text(value), session=session, note=value))
            asked = answered(first + 1, _text(value), session=session, parent=first, isSidechain=bool(place))
            asked["message"]["content"] += [
                {"type": "thinking", "thinking": _text(value), "signature": "s"},
                {"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": _object(value)},
            ]
            told = said(first + 2, "", session=session, parent=first + 1, toolUseResult={"stdout": value})
            result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": _text(value)}
            told["message"]["content"] = [{**result, "is_error": number % 3 == 2}]
            unknown = {"type": "tomorrow", "uuid": uuid(first + 3), "sessionId": session, "what": value}
            records += [asked, told, unknown, {"type": "summary", "summary": _text(value), "leafUuid": uuid(first)}]
            records.append({"type": "ai-title", "aiTitle": _text(value), "sessionId": session})
        write(folder / "projects" / "demo" / f"{session}.jsonl", lines(records))
    return folder


def codex(folder: Path, values: Sequence[Any]) -> Path:
    """Two rollouts."""
    for place, part in enumerate(_halves(values)):
        thread = f"019a000{place}-0000-7000-8000-000000000001"
        records = [meta("10:00:00.000", thread), context("10:00:00.010")]
        spent_so_far = 0
        for number, value in part:
            at = f"{10 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"
            spent_so_far += 100
            used = usage(100, 40, 10, 4), usage(spent_so_far, 0, spent_so_far // 10, 0)
            records += [
                codex_said(f"{at}.100", "user", _text(value)),
                event(f"{at}.101", "user_message", message=_text(value)),
                item(f"{at}.200", "reasoning", summary=[{"type": "summary_text", "text": _text(value)}]),
                item(f"{at}.300", "function_call", name="exec_command", arguments=json.dumps(_object(value)),
                     call_id=f"call_{number}"),
                item(f"{at}.400", "function_call_output", call_id=f"call_{number}", output=_text(value)),
                item(f"{at}.500", "custom_tool_call", name="apply_patch", input=_text(value), call_id=f"c_{number}"),
                item(f"{at}.510", "custom_tool_call_output", call_id=f"c_{number}",
                     output=json.dumps({"output": value})),
                event(f"{at}.520", "exec_command_end", call_id=f"call_{number}", exit_code=0, stdout=_text(value)),
                codex_said(f"{at}.600", "assistant", _text(value)),
                tokens(f"{at}.700", *used),
                rollout_line(f"{at}.800", "brand_new_thing", some=value),
                rollout_line(f"{at}.900", "compacted", message=_text(value), replacement_history=[]),
            ]  # fmt: skip
        write(folder / "sessions" / "2026" / f"rollout-2026-03-01T10-00-00-{thread}.jsonl", lines(records))
    return folder


def opencode(folder: Path, values: Sequence[Any]) -> Path:
    """A database, and a tree of files with another session."""
    for place, part in enumerate(_halves(values)):
        made = Made()
        session = f"ses_{place}"
        made.session(session, title=_text(part[0][1]) if part else "Empty")
        for number, value in part:
            at = 10_000 * (number + 1)
            made.say(session, f"msg_{number:04}a", at, text(_text(value)), {"type": "brand-new", "x": value})
            done = {"output": _text(value), "title": _text(value), "metadata": {"exit": 0, "output": value}}
            made.answer(
                session, f"msg_{number:04}b", at + 1000, {"type": "reasoning", "text": _text(value)},
                {**tool(f"call_{number}", "bash", "completed", at, input=_object(value), **done)},
                tool(f"call_{number}e", "read", "error", at, error=_text(value)), text(_text(value)),
                step(100, 20, 5, 1000, 300, cost=0.01), tokens=spent(100, 20, 5, 1000, 300),
            )  # fmt: skip
            made.todos.append((session, _text(value)))
        if place:
            made.tree(folder / "old" / "storage")
        else:
            made.database(folder / "opencode.db")
    return folder


def llm(folder: Path, values: Sequence[Any]) -> Path:
    """A file with conversations of the older form and threads of the newer."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Llm(folder / "logs.db")
    old, new = _halves(values)
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for number, value in old:
        rows.setdefault("conversations (id, name, model)", []).append((f"c{number}", _text(value), "gpt-9"))
        rows.setdefault(
            "responses (id, model, prompt, system, options_json, response, conversation_id, datetime_utc, input_tokens,"
            " output_tokens, prompt_json, response_json)", []
        ).append((
            f"r{number}", "gpt-9", _text(value), _text(value), json.dumps(_object(value)), _text(value), f"c{number}",
            _at(number), 10, 5, json.dumps({"messages": [value]}), json.dumps({"id": f"x{number}", "said": value}),
        ))  # fmt: skip
        rows.setdefault("tool_calls (id, response_id, name, arguments, tool_call_id)", []).append(
            (number, f"r{number}", "look", json.dumps(_object(value)), f"t{number}")
        )
        rows.setdefault("tool_results (id, response_id, name, output, tool_call_id)", []).append(
            (number, f"r{number}", "look", _text(value), f"t{number}")
        )
        rows.setdefault("fragments (id, hash, content, source)", []).append((number, f"h{number}", _text(value), "-"))
        rows.setdefault("prompt_fragments (response_id, fragment_id)", []).append((f"r{number}", number))
    above = None
    for number, value in new:
        asked, call, result, answer = (f"m{number}{name}" for name in "abcd")
        chain = [
            (asked, above, "user"),
            (call, asked, "assistant"),
            (result, call, "tool"),
            (answer, result, "assistant"),
        ]
        rows.setdefault("messages (hash, parent_hash, role)", []).extend(chain)
        rows.setdefault("parts (message_hash, position, type, tool_name, text, payload)", []).extend([
            (asked, 0, "text", None, _text(value), None),
            (call, 0, "tool_call", "look", None,
             json.dumps({"name": "look", "arguments": _object(value), "tool_call_id": f"t{number}"})),
            (result, 0, "tool_result", "look", _text(value),
             json.dumps({"name": "look", "output": _text(value), "tool_call_id": f"t{number}"})),
            (answer, 0, "text", None, _text(value), None),
            (answer, 1, "reasoning", None, _text(value), None),
            (answer, 2, "brand-new", None, _text(value), json.dumps({"x": value})),
        ])  # fmt: skip
        rows.setdefault(
            "turns (id, thread_id, parent_message_hash, tip_message_hash, model, options_json, input_tokens,"
            " output_tokens, datetime_utc, response_json)", []
        ).append((
            f"u{number}", "thread", asked, answer, "openrouter/some/model", json.dumps(_object(value)), 20, 7,
            _at(number), json.dumps({"said": value}),
        ))  # fmt: skip
        above = answer
    if above is not None:
        rows["threads (id, name, tip_message_hash, datetime_utc)"] = [("thread", _text(new[0][1]), above, _at(0))]
        rows.setdefault("messages (hash, parent_hash, role)", []).append(("alone", None, "user"))
        rows["parts (message_hash, position, type, tool_name, text, payload)"].append(
            ("alone", 0, "text", None, _text(new[-1][1]), None)
        )
    inserts = [(f"INSERT INTO {into} VALUES ({', '.join('?' * len(many[0]))})", many) for into, many in rows.items()]
    _connected(made.path, "", *inserts)
    return folder


def openai_agents(folder: Path, values: Sequence[Any]) -> Path:
    """A file of the plain session, and one of the advanced with a branch."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, part in enumerate(_halves(values)):
        path = folder / ("advanced.db" if place else "agents.db")
        Agents(path, AGENTS + ADVANCED if place else AGENTS)
        items: list[tuple[Any, ...]] = []
        for number, value in part:
            many: list[Any] = [
                {"role": "user", "content": _text(value), "note": value},
                {"type": "reasoning", "id": f"rs_{number}",
                 "summary": [{"type": "summary_text", "text": _text(value)}]},
                {"type": "function_call", "call_id": f"c{number}", "name": "f",
                 "arguments": json.dumps(_object(value))},
                {"type": "function_call_output", "call_id": f"c{number}", "output": _text(value)},
                {"type": "message", "id": f"m{number}", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": _text(value), "annotations": []}]},
                {"type": "web_search_call", "id": f"ws{number}", "action": value},
                [value],
            ]  # fmt: skip
            items += [(f"conversation-{place}", json.dumps(one)) for one in many]
        inserts = [("INSERT INTO agent_messages (session_id, message_data) VALUES (?, ?)", items)]
        if place:
            branches = [("main", number) for number in range(1, len(items) + 1)]
            branches += [("left", number) for number in range(1, min(3, len(items) + 1))]
            inserts.append((
                "INSERT INTO message_structure (session_id, message_id, branch_id, message_type, sequence_number) "
                "VALUES ('conversation-1', ?, ?, 'user', 0)", [(number, branch) for branch, number in branches],
            ))  # fmt: skip
            inserts.append((
                "INSERT INTO turn_usage (session_id, branch_id, user_turn_number, requests, input_tokens, "
                "output_tokens, input_tokens_details) VALUES ('conversation-1', 'main', ?, 1, 100, 10, ?)",
                [(number, '{"cached_tokens": 30}') for number, _ in part],
            ))  # fmt: skip
        _connected(path, "", *inserts)
    return folder


def mlflow(folder: Path, values: Sequence[Any]) -> Path:
    """A store with an experiment and two runs."""
    ms = T0 * 1000
    params: list[tuple[Any, ...]] = []
    tags: list[tuple[Any, ...]] = [("mlflow.parentRunId", "run0", "run1")]
    metrics: list[tuple[Any, ...]] = []
    datasets: list[tuple[Any, ...]] = []
    runs: list[tuple[Any, ...]] = []
    for place, part in enumerate(_halves(values)):
        run = f"run{place}"
        runs.append((run, "one", "LOCAL", "train.py", "main", "me", ("FINISHED", "RUNNING")[place], ms,
                     None if place else ms + 60_000, "abc", "active", f"/mlruns/1/{run}", 1, None))  # fmt: skip
        tags += [("mlflow.note.content", _text(part[0][1]) if part else "", run)]
        tags += [("mlflow.source.name", _text(part[-1][1]) if part else "", run)]
        for number, value in part:
            params.append((f"p{number}", _text(value), run))
            tags.append((f"t{number}", _text(value), run))
            datasets.append((f"u{number}", 1, f"d{number}", f"g{number}", json.dumps({"path": value})))
            metrics += [("loss", 1.0 / (number + 1), ms + number, run, number, 0), ("odd", 0.0, ms, run, number, 1)]
    of_nobody = [("p", _text(value), "gone") for value in values[:1]]
    row = f"INSERT INTO experiments VALUES (1, 'demo', '/mlruns/1', 'active', {ms}, NULL, 'default');"
    _connected(
        folder / "mlflow.db", MLFLOW + row,
        (f"INSERT INTO runs VALUES ({', '.join('?' * 14)})", runs),
        ("INSERT INTO params VALUES (?, ?, ?)", params + of_nobody),
        ("INSERT INTO tags VALUES (?, ?, ?)", tags),
        ("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", metrics),
        ("INSERT INTO datasets VALUES (?, ?, ?, ?, ?)", datasets),
    )  # fmt: skip
    return folder


def sessions_json(folder: Path, values: Sequence[Any]) -> Path:
    """A file with one session, and one with a list."""
    for place, part in enumerate(_halves(values)):
        messages = []
        for number, value in part:
            at = T0 + 60 * number
            messages += [
                {"id": f"m-{number}", "role": "user", "content": _text(value), "timestamp": at},
                {"id": f"n-{number}", "role": "assistant", "content": [value], "timestamp": at + 1, "more": value},
                {"id": f"o-{number}", "role": "narrator", "content": _text(value), "timestamp": "later"},
            ]
        first = _text(part[0][1]) if part else "empty"
        session = {
            "id": f"s-{place}", "workspacePath": "/home/ann/shop", "type": "competition", "status": "completed",
            "task": first, "title": f"{first}!", "createdAt": _at(0), "updatedAt": _at(90_000), "notes": list(values),
            "instances": [
                {"id": f"i-{number}", "agentName": "claude", "task": _text(value), "status": "completed",
                 "startTime": _at(number), "output": _text(value), "more": value} for number, value in part
            ],
            "chatMessages": messages,
        }  # fmt: skip
        whole = {"sessions": [session, {"of": "another kind", "what": list(values)}]} if place else session
        data = json.dumps(whole, ensure_ascii=False).encode()
        write(folder / f"{'list' if place else 's-0'}.json", data)
    return folder


def tasks_db(folder: Path, values: Sequence[Any]) -> Path:
    """A database with a task for each value, and files beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Tasks(folder / "tasks.db")) as made:
        for number, value in enumerate(values):
            name = f"{number:08}-2222-4222-8222-222222222222"
            made.add(uuid=name, error_message=_text(value), status="failed", completed_at=_at(20_000 + number))
            if number < 40:
                write(folder / "completed" / name / "metadata.json", json.dumps({"what": value}).encode())
    return folder


def agent_jsonl(folder: Path, values: Sequence[Any]) -> Path:
    """The four files of a task, and those of a session."""
    for place, part in enumerate(_halves(values)):
        files: dict[str, list[dict[str, Any]]] = {"messages": [], "tools": [], "summaries": [], "current": []}
        for number, value in part:
            at = _at(10 * number)
            call = {"id": f"call_{place}_{number}", "type": "function"}
            asked = {**call, "function": {"name": "bash", "arguments": json.dumps(_object(value))}}
            spent = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}}
            files["messages"] += [
                {"role": "user", "content": _text(value), "timestamp": at, "note": value},
                {"role": "assistant", "content": _text(value), "tool_calls": [asked], "timestamp": at, "usage": spent,
                 "model": "gpt-4.1", "reasoning_content": _text(value)},
                {"role": "tool", "tool_call_id": call["id"], "content": _text(value), "timestamp": at},
                {"role": "narrator", "content": value},
            ]  # fmt: skip
            tool_told = {"tool": "edit", "args": _object(value), "result": value, "status": "success", "durationMs": 15}
            files["tools"] += [
                {**tool_told, "id": f"edit_{place}_{number}", "timestamp": at},
                {"tool": "read", "args": {"path": _text(value)}, "error": _text(value), "timestamp": at},
            ]
            files["summaries"].append(
                {"summary": _text(value), "originalTokens": 50, "summaryTokens": 5, "timestamp": at}
            )
            files["current"].append({"role": "user", "content": _text(value)})
        for name, records in files.items():
            write(folder / ("vibe-7" if place else UUID) / f"{name}.jsonl", lines(records))
    return folder


RUNS = """
CREATE TABLE projects (project_id TEXT PRIMARY KEY, project_path TEXT NOT NULL, created_at TEXT NOT NULL,
    note TEXT NOT NULL DEFAULT '');
CREATE TABLE runs (run_id INTEGER PRIMARY KEY AUTOINCREMENT, created_at TEXT NOT NULL, started_at TEXT NOT NULL,
    ended_at TEXT, status TEXT NOT NULL, command TEXT NOT NULL, git_commit TEXT, note TEXT NOT NULL DEFAULT '',
    project_id TEXT REFERENCES projects(project_id), updated_at TEXT NOT NULL);
"""


def runs_db(folder: Path, values: Sequence[Any]) -> Path:
    """A history with a run for each value, and what some of them said of themselves in files."""
    at = "2026-02-01T12:00:00+09:00"
    runs = []
    for number, value in enumerate(values, 1):
        status, ended = ("running", None) if number % 4 == 0 else (("success", "fail")[number % 2], at)
        runs.append((number, at, at, ended, status, _text(value), "c0ffee", _text(value), "analysis", at))
        if number < 40:
            write(folder / "result" / str(number) / "meta.json", json.dumps({"what": value}).encode())
    first = _text(values[0]) if values else ""
    _connected(
        folder / ".runmeta" / "run_history.db", RUNS,
        ("INSERT INTO projects VALUES (?, ?, ?, ?)", [("analysis", "/work/analysis", at, first)]),
        (f"INSERT INTO runs VALUES ({', '.join('?' * 10)})", runs),
    )  # fmt: skip
    return folder


SAMPLES: dict[str, Write] = {
    "claude": claude, "sessions-json": sessions_json, "codex": codex, "llm": llm, "opencode": opencode,
    "tasks-db": tasks_db, "agent-jsonl": agent_jsonl, "openai-agents": openai_agents, "mlflow": mlflow,
    "runs-db": runs_db,
}  # fmt: skip
"""How a source of each importer is written below a folder, by the importer's name."""
LINES = ("claude", "codex", "agent-jsonl")
"""Those whose sources are files of JSON lines."""
DATABASES = {
    "llm": "logs.db", "opencode": "opencode.db", "tasks-db": "tasks.db", "openai-agents": "agents.db",
    "mlflow": "mlflow.db", "runs-db": ".runmeta/run_history.db",
}  # fmt: skip
"""Where in a sample a database is."""


def sample_lines(path: Path) -> list[bytes]:
    """The lines of a file of a sample."""
    return path.read_bytes().splitlines()
