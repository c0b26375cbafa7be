from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.exporters.session_form import SESSION, canonical, differences, iso, moment, spelt
from eventlog.exporters.session_json import encoded, told
from eventlog.importers.formats import format_of
from eventlog.importers.run import Report, import_paths

pytestmark = pytest.mark.alike
T0 = 1_736_760_000_000_000  # 2025-01-13T09:20:00Z
FULL: dict[str, Any] = {
    "id": "s-1",
    "workspacePath": "/home/ann/shop",
    "workspaceHash": "ab12",
    "type": "competition",
    "status": "completed",
    "task": "Fix the login",
    "createdAt": "2025-01-13T09:20:00.000Z",
    "updatedAt": "2025-01-13T10:00:00Z",
    "completedAt": "2025-01-13T09:59:00+00:00",
    "runtimeMix": {"claude": 2},
    "winnerId": None,
    "instances": [
        {
            "id": "i-1",
            "agentName": "claude",
            "task": "one",
            "status": "completed",
            "worktreePath": "/tmp/wt/1",
            "branch": "b1",
            "startTime": "2025-01-13T09:21:00Z",
            "endTime": "2025-01-13T09:30:00Z",
            "output": "done",
            "filesChanged": 3,
        },
        {"instance_id": "i-2", "agent_name": "codex", "status": "running"},
    ],
    "chatMessages": [
        {"id": "m-1", "role": "user", "content": "Fix it", "timestamp": 1736760060},
        {"id": "m-2", "role": "assistant", "content": "Done", "timestamp": 1736760120500, "instanceId": "i-1"},
        {"id": "m-3", "role": "narrator", "content": [{"kind": "image", "url": "x"}], "timestamp": "later"},
        {"role": "tool", "content": ""},
    ],
}


def bring(log: Log, *paths: Path, **options: Any) -> Report:
    place = log.data_dir or paths[0].parent / "data"
    return import_paths(log, log.projections, format_of("sessions-json"), paths, data_dir=place, **options)


def written(path: Path, value: Any, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding)
    return path


def out(log: Log, session_id: str, **options: Any) -> dict[str, Any]:
    made = told(log.read_stream(f"session-{session_id}"), None)
    workspace = log.workspaces.find(made.session.workspace_id) if made.session and made.session.workspace_id else None
    document = made.document(workspace.path if workspace else None, **options)
    assert document is not None
    return document


def snake(document: dict[str, Any]) -> dict[str, Any]:
    return json.loads(
        json.dumps(document)
        .replace("workspacePath", "workspace_path")
        .replace("chatMessages", "chat_history")
        .replace("createdAt", "created_at")
        .replace("agentName", "agent_name")
        .replace("startTime", "start_time")
    )


@pytest.mark.feature("S1-4")
@pytest.mark.parametrize("spelling", ["camelCase", "snake_case"])
@pytest.mark.parametrize("given", [FULL, snake(FULL)], ids=["camel", "snake"])
def test_what_is_imported_comes_out_the_same(log: Log, tmp_path: Path, given: dict[str, Any], spelling: Any) -> None:
    report = bring(log, written(tmp_path / "in" / "s-1.json", given))
    assert (report.partial, report.total.understood_records) == (False, 1)
    made = out(log, "s-1", spelling=spelling)
    assert differences(canonical(given), canonical(json.loads(encoded(made)))) == []
    assert ("chat_messages" in made) == (spelling == "snake_case")


def test_it_is_in_the_log_s_own_words(log: Log, tmp_path: Path) -> None:
    bring(log, written(tmp_path / "in" / "s-1.json", FULL))
    session = log.sessions.get("s-1")
    assert (session.kind, session.status, session.title, session.cwd) == (
        "competition",
        "completed",
        "Fix the login",
        "/home/ann/shop",
    )
    assert (session.created_at, session.updated_at) == (T0, moment("2025-01-13T10:00:00Z"))
    assert session.metadata["runtimeMix"] == {"claude": 2}
    assert session.message_count == 4
    assert [one.role for one in log.sessions.thread("s-1")] == ["user", "assistant", "system", "tool"]
    one, two = log.sessions.instances("s-1")
    assert {one.agent, two.agent} == {"claude", "codex"}
    assert log.workspaces.list()[0].path == "/home/ann/shop"
    assert log.projections.verify() == []


def test_twice_adds_nothing(log: Log, tmp_path: Path) -> None:
    written(tmp_path / "in" / "s-1.json", FULL)
    written(tmp_path / "in" / "bad.json", "x").write_bytes(b'{"id": "s-2", "task')
    written(tmp_path / "in" / "index.json", {"version": 3})
    first = bring(log, tmp_path / "in")
    head = log.head()
    assert (first.total.quarantined_records, first.total.raw_records, first.total.understood_records) == (1, 1, 1)
    bring(log, tmp_path / "in")
    for path in (tmp_path / "in").iterdir():
        path.touch()
    again = bring(log, tmp_path / "in")
    assert log.head() == head
    assert again.total.events == 0


def test_a_file_that_grew_adds_its_news(log: Log, tmp_path: Path) -> None:
    path = written(tmp_path / "in" / "s-1.json", {**FULL, "status": "running", "completedAt": None})
    bring(log, path)
    before = log.head().position
    newer = json.loads(json.dumps(FULL)) | {"updatedAt": "2025-01-13T11:00:00Z", "task": "Fix the log-in", "extra": 1}
    newer["chatMessages"][1]["content"] = "Done, all of it"
    newer["chatMessages"].append({"id": "m-5", "role": "user", "content": "Thanks", "timestamp": 1736762000})
    newer["instances"][1]["status"] = "failed"
    newer["instances"][0]["branch"] = "b1-again"
    newer["instances"].append({"id": "i-3", "status": "idle"})
    written(path, newer)
    bring(log, path)
    assert differences(canonical(newer), canonical(out(log, "s-1"))) == []
    types = [record.type for record in log.read(after=before) if record.stream == "session-s-1"]
    assert sorted(types) == [
        *("instance.created", "instance.created", "instance.created"),
        *("message.added", "message.added", "session.status_changed", "session.updated"),
    ]
    session = log.sessions.get("s-1")
    assert (session.status, session.title, session.metadata["extra"]) == ("completed", "Fix the log-in", 1)
    assert len(log.sessions.thread("s-1")) == 5
    head = log.head()
    path.touch()
    bring(log, path)
    assert log.head() == head


def test_an_older_file_changes_nothing(log: Log, tmp_path: Path) -> None:
    path = written(tmp_path / "in" / "s-1.json", FULL)
    bring(log, path)
    log.sessions.set_status("s-1", "reopened")
    log.sessions.update("s-1", title="Something else")
    log.sessions.update_instance_status("s-1", "i-2", "stopped")
    log.sessions.remove_instance("s-1", "i-1")
    log.sessions.rewind("s-1", "m-1")
    head = log.head()
    written(tmp_path / "copy" / "s-1.json", FULL)
    written(path, {**FULL, "title": "Older still"})
    bring(log, tmp_path / "copy", path)
    records = [record for record in log.read(after=head.position) if record.stream == "session-s-1"]
    assert records == []
    made = out(log, "s-1")
    assert [one["id"] for one in made["chatMessages"]] == ["m-1"]
    assert (made["status"], made["task"]) == ("reopened", "Something else")
    log.sessions.delete("s-1")
    head = log.head()
    written(path, {**FULL, "updatedAt": "2035-01-01T00:00:00Z"})
    bring(log, path)
    assert log.head() == head


def test_what_the_log_began_is_known_in_a_file(log: Log, tmp_path: Path) -> None:
    log.sessions.create(session_id="own", title="Mine", metadata={"colour": "red"})
    log.sessions.add_message("own", "user", "Hello", message_id="a")
    log.sessions.add_message("own", "assistant", "Hi", message_id="b")
    path = tmp_path / "in" / "own.json"
    written(path, {}).write_bytes(encoded(out(log, "own")))
    head = log.head()
    bring(log, path)
    assert log.head() == head


def test_two_files_of_one_session_in_one_import(log: Log, tmp_path: Path) -> None:
    newer = {**FULL, "status": "reopened", "updatedAt": "2025-02-01T00:00:00Z", "completedAt": None}
    for number, given in enumerate((FULL, newer, FULL)):
        os.utime(written(tmp_path / "in" / f"{number}.json", given), (1e9 + number, 1e9 + number))
    bring(log, tmp_path / "in")
    assert log.sessions.get("s-1").status == "reopened"
    assert differences(canonical(newer), canonical(out(log, "s-1"))) == []
    assert log.sessions.get("s-1").message_count == 4


@pytest.mark.feature("S1-4")
def test_a_list_in_one_file(log: Log, tmp_path: Path) -> None:
    many = [{"id": f"s{n}", "task": f"t{n}", "createdAt": T0 // 1000 + n} for n in range(600)]
    path = written(
        tmp_path / "all.json", {"sessions": [*many[:300], "nonsense", {"id": "a/b", "task": ""}, *many[300:]]}
    )
    seen: list[int] = []
    report = bring(log, path, progress=lambda done, total, label: seen.append(done))
    assert (report.total.understood_records, report.total.raw_records) == (600, 2)
    assert log.sessions.count() == 600
    assert log.sessions.get("s7").created_at == T0 + 7000
    assert seen == sorted(seen)
    assert len(seen) > 100
    head = log.head()
    path.touch()
    bring(log, path)
    assert log.head() == head


@pytest.mark.feature("S1-4")
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 50,
        b'{"id": "x", "task": "hunter2',
        b'{"id": "x", "task": "\xff\xfe"}',
        b"[" * 5000,
        b'{"id": "x", "task": "t"} {"id": "y"}',
        b'{"id": "x", "task": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=["empty", "nul", "truncated", "not UTF-8", "deep", "glued", "nearly too deep"],
)
def test_a_file_that_cannot_be_read_stops_no_other_and_can_be_repaired(
    log: Log, tmp_path: Path, content: bytes
) -> None:
    bad = written(tmp_path / "in" / "bad.json", "")
    bad.write_bytes(content)
    written(tmp_path / "in" / "good.json", {"id": "good", "task": "t", "status": "active"})
    report = bring(log, tmp_path / "in")
    assert report.partial
    assert log.sessions.find("good") is not None
    rows = log.projections.rows("import_quarantine")
    assert len(rows) == 1
    assert "hunter2" not in str(rows)
    written(bad, {"id": "bad", "task": "now it is well"})
    assert not bring(log, tmp_path / "in").partial
    assert log.sessions.get("bad").title == "now it is well"
    assert [row["outcome"] for row in log.projections.rows("import_quarantine")] == ["gone"]
    assert log.projections.verify() == []


@pytest.mark.parametrize("name", ["none.json", "NONE.JSON", "none.bak", "none"])
def test_an_export_of_no_sessions_is_one_whatever_it_is_called(log: Log, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"sessions": []}')
    report = log.import_from("sessions-json", tmp_path / name)
    assert not report.partial


def test_a_file_of_another_name_without_a_session_is_refused_and_whose_it_is_told(log: Log, tmp_path: Path) -> None:
    said = b'{"type": "user", "uuid": "u", "sessionId": "s", "message": {"role": "user", "content": "hunter2"}}\n'
    lines, other, good = (tmp_path / name for name in ("a.jsonl", "package.txt", "good.txt"))
    lines.write_bytes(said * 2)
    other.write_text('{"name": "hunter2"}')
    for file in (lines, other):
        report = bring(log, file)
        assert (report.partial, report.sources[0].status, log.head().position) == (True, "failed", 0)
        assert "no session is in it" in str(report.sources[0].problem) and "hunter2" not in str(report)
        assert ("`eventlog import claude`" in str(report.sources[0].problem)) == (file == lines)
    assert bring(log, written(good, [{"id": "x", "task": "t"}, 5])).total.understood_records == 1


def test_wrong_types_are_kept(log: Log, tmp_path: Path) -> None:
    odd: dict[str, Any] = {
        "id": 7,
        "type": 3,
        "status": ["x"],
        "task": {"a": 1},
        "title": 9,
        "createdAt": "yesterday",
        "workspacePath": 5,
        "instances": "none",
        "chatMessages": [
            {"id": 1, "role": 2, "content": 3, "timestamp": True},
            {"id": 1, "role": "user", "content": "again", "n": 2**70},
            {"id": "", "content": {"deep": [1, {"x": None}]}},
        ],
        "far": "\ud800",
    }
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(odd))
    report = bring(log, path)
    assert report.total.understood_records == 1
    made = out(log, "7")
    assert (made["status"], made["type"], made["workspacePath"], made["instances"]) == (["x"], 3, 5, "none")
    assert [one.get("content") for one in made["chatMessages"]] == [3, "again", {"deep": [1, {"x": None}]}]
    assert [one.get("id") for one in made["chatMessages"]] == [1, 1, ""]
    head = log.head()
    path.touch()
    bring(log, path)
    assert log.head() == head


def test_secrets_are_masked_and_big_content_is_kept_beside(log: Log, tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    big = "word " * 30_000
    given = {
        "id": "s",
        "task": f"use {secret}",
        "apiKey": "hush hush",
        "notes": [big],
        "createdAt": T0 // 1000,
        "instances": [{"id": "i", "output": big}],
        "chatMessages": [{"id": "m", "role": "user", "content": f"{secret} {big}"}, {"id": "n", "content": [big]}],
    }
    report = bring(log, written(tmp_path / "s.json", given))
    assert report.total.secrets >= 3
    assert report.total.quarantined_records == 0
    assert all(secret not in str(record.row) and "hush" not in str(record.row) for record in log.read())
    from eventlog.blobs import Blobs

    made = told(log.read_stream("session-s"), Blobs(log.data_dir or tmp_path / "data")).document(None)
    assert made is not None
    assert made["notes"] == [big]
    assert made["instances"][0]["output"] == big
    assert made["chatMessages"][0]["content"].endswith(big)
    assert made["chatMessages"][1]["content"] == [big]
    head = log.head()
    (tmp_path / "s.json").touch()
    bring(log, tmp_path / "s.json")
    assert log.head() == head


def test_times() -> None:
    for given in (
        "2025-01-13T09:20:00Z",
        "2025-01-13T18:20:00+09:00",
        "2025-01-13T09:20:00",
        T0 // 10**6,
        T0 // 10**3,
        T0,
    ):
        assert moment(given) == T0
    assert moment(str(T0 // 1000)) == T0
    assert moment(1736760000.5) == T0 + 500_000
    assert [moment(bad) for bad in ("", "soon", None, True, -1, 1e300, [], "2025")] == [None] * 8
    assert iso(T0 + 1) == "2025-01-13T09:20:00.000001Z"
    assert iso(T0) == "2025-01-13T09:20:00.000Z"


def test_differences_are_told_by_path() -> None:
    one = canonical(FULL)
    other = json.loads(json.dumps(FULL))
    other["chatMessages"][3]["content"] = "secret words"
    del other["instances"][1]
    other["more"] = 1
    assert differences(one, canonical(other)) == ["chatMessages[3].content", "instances[1] (missing)", "more (extra)"]
    assert differences(one, canonical(dict(reversed(spelt(FULL, SESSION, "snake_case").items())))) == []


def test_dry_run(log: Log, tmp_path: Path) -> None:
    from eventlog.importers.run import Options

    report = bring(log, written(tmp_path / "s.json", FULL), options=Options(dry_run=True))
    assert report.total.events >= 7
    assert log.head().position == 0


def test_without_a_place_for_blobs_the_session_is_quarantined(tmp_path: Path) -> None:
    big = {"id": "s", "task": "t", "chatMessages": [{"id": "m", "role": "user", "content": "x" * 100_000}]}
    with eventlog.open(":memory:") as log:
        path = written(tmp_path / "s.json", big)
        report = import_paths(log, log.projections, format_of("sessions-json"), [path], data_dir=None)
        assert report.total.quarantined_records == 1
