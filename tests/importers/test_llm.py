"""The logs of ``llm``: both forms of its file, and files that have both, into sessions, messages and calls."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.blobs import Blobs
from eventlog.events.agents import (
    BlobPart,
    LlmCallCompleted,
    MessageAdded,
    RecordKept,
    ToolCallFinished,
    ToolCallStarted,
)
from eventlog.events.sessions import SessionCreated
from eventlog.importers.llm import LlmLogs
from eventlog.importers.llm_usage import provider_of, usage_of
from eventlog.importers.run import Options, Report, import_paths
from tests.fixtures import transcripts
from tests.importers.llm_schema import SCHEMA
from tests.projections.reference import check_every_way

SECRET = "ghp_" + "a1B2" * 9


def imported(log: Log, path: Path, **options: Any) -> Report:
    return import_paths(log, log.projections, LlmLogs(), [path], data_dir=path.parent, options=Options(**options))


def of(log: Log, kind: type) -> list[Any]:
    return [record.event for record in log.read() if isinstance(record.event, kind)]


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """The generated files where nothing of them is lost when they are read."""
    return Path(shutil.copytree(transcripts() / "llm-generated", tmp_path / "llm"))


@pytest.mark.parametrize(("name", "calls"), [("logs-0.27.1", 5), ("logs-0.32", 5)])
def test_each_form_has_its_conversations_and_calls(tmp_path: Path, generated: Path, name: str, calls: int) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, generated / f"{name}.db")
        assert (report.total.understood_records, report.total.raw_records, report.partial) == (calls, 0, False)
        assert len(of(log, SessionCreated)) == 3
        said = [(event.role, event.parts[0].text) for event in of(log, MessageAdded)]
        assert len(said) == 11
        assert Counter(role for role, _ in said) == {"user": 5, "assistant": 5, "system": 1}
        assert said[2:4] == [
            ("user", "Now one for a pet walrus"),
            ("assistant", "Wallace. It pairs nicely with Percy."),
        ]
        usages = [call.usage for call in of(log, LlmCallCompleted)]
        assert [(one.input, one.cache_read, one.output) for one in usages] == [
            (24, 4, 24),
            (20, 4, 18),
            (24, 4, 24),
            (20, 4, 9),
            (4, 4, 12),
        ]
        parents = {event.message_id: event.parent_id for event in of(log, MessageAdded)}
        assert list(parents.values()).count(None) == (2 if name == "logs-0.32" else 3)
        head = log.head()
        again = imported(log, generated / f"{name}.db")
        assert (again.sources[0].status, log.head()) == ("unchanged", head)
        assert log.projections.verify() == []


def test_an_upgraded_file_counts_nothing_twice(tmp_path: Path, generated: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        imported(log, generated / "logs-0.27.1.db")
        before = len(of(log, LlmCallCompleted))
        report = imported(log, generated / "logs-upgraded-0.27.1-to-0.32.db")
        assert (before, len(of(log, LlmCallCompleted))) == (5, 10)
        assert report.total.understood_records == 5
    with eventlog.open(tmp_path / "other.db") as log:
        assert imported(log, generated / "logs-upgraded-0.27.1-to-0.32.db").total.understood_records == 10
        head = log.head()
        imported(log, generated / "logs-0.27.1.db")
        assert [record.stream for record in log.read(after=head.position)] == []


class Database:
    """A ``logs.db`` with the tables that a version of the program makes, and what a test puts into them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(SCHEMA)

    def add(self, table: str, **values: Any) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            names = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join("?" * len(values))
            connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', tuple(values.values()))
            connection.commit()

    def message(self, name: str, parent: str | None, role: str, *parts: tuple[str, str | None, Any]) -> None:
        self.add("messages", hash=name, parent_hash=parent, role=role)
        for place, (kind, said, payload) in enumerate(parts):
            tool = payload.get("name") if isinstance(payload, dict) else None
            text = json.dumps(payload) if isinstance(payload, dict) else payload
            self.add("parts", message_hash=name, position=place, type=kind, tool_name=tool, text=said, payload=text)

    def turn(self, name: str, thread: str, parent: str, tip: str, **more: Any) -> None:
        at = f"2026-01-0{name[-1]}T00:00:00+00:00"
        values = {"model": "openrouter/some/model", "input_tokens": 10, "output_tokens": 5, "duration_ms": 1500}
        row = {"parent_message_hash": parent, "tip_message_hash": tip, "datetime_utc": at, **values, **more}
        self.add("turns", id=name, thread_id=thread, **row)

    def thread(self, name: str, tip: str, forked_from: str | None = None) -> None:
        row = {"tip_message_hash": tip, "forked_from": forked_from, "datetime_utc": "2026-01-01 00:00:00+00:00"}
        self.add("threads", id=name, name=f"Thread {name}", **row)


@pytest.fixture
def new(tmp_path: Path) -> Database:
    return Database(tmp_path / "logs.db")


def test_a_fork_has_the_messages_of_its_parent_once(tmp_path: Path, new: Database) -> None:
    new.message("m1", None, "user", ("text", "first", None))
    new.message("m2", "m1", "assistant", ("text", "answer", None))
    new.message("m3", "m2", "user", ("text", "more", None))
    new.message("m4", "m3", "assistant", ("text", "more of it", None))
    new.message("m5", "m2", "user", ("text", "other", None))
    new.message("m6", "m5", "assistant", ("text", "another", None))
    new.message("m7", None, "user", ("text", "nobody asked for an answer yet", None))
    new.message("m8", None, "user", ("text", "of no thread", None))
    new.thread("a", "m4")
    new.thread("b", "m6", "a")
    new.thread("c", "m2", "b")
    new.thread("d", "m7")
    new.turn("t1", "a", "m1", "m2")
    new.turn("t2", "a", "m3", "m4")
    new.turn("t3", "b", "m5", "m6", response_json='{"id": "r", "finish_reason": "length"}', resolved_model="some-1")
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, new.path)
        rows = {session.session_id: session for session in log.sessions.list(limit=None)}
        told = {name: (one.link, one.parent_session_id, one.parent_message_id) for name, one in rows.items()}
        assert told == {
            "a": (None, None, None),
            "b": ("fork", "a", "m2"),
            "c": ("fork", "b", "m2"),
            "d": (None, None, None),
        }
        assert [rows[name].message_count for name in "abcd"] == [4, 2, 0, 1]
        assert [event.message_id for event in of(log, MessageAdded)] == ["m1", "m2", "m3", "m4", "m5", "m6", "m7"]
        assert report.total.raw_records == 1
        call = of(log, LlmCallCompleted)[2]
        assert (call.provider, call.response_model, call.finish_reasons) == ("openrouter", "some-1", ("length",))
        assert (call.response_id, call.duration_us, call.message_id) == ("r", 1_500_000, "m6")
        head = log.head()
        new.message("m9", "m6", "user", ("text", "and then", None))
        new.message("m10", "m9", "assistant", ("text", "the end", None))
        new.turn("t4", "b", "m9", "m10")
        assert imported(log, new.path).total.understood_records == 1
        added = [record.event for record in log.read(after=head.position)]
        assert [event.message_id for event in added if isinstance(event, MessageAdded)] == ["m9", "m10"]
        assert [event.parent_id for event in added if isinstance(event, MessageAdded)] == ["m6", "m9"]
        check_every_way(log)


def test_everything_that_a_message_can_hold(tmp_path: Path, new: Database) -> None:
    picture = b"\x89PNG\0" * 20
    digest = sha256(picture).hexdigest()
    new.add("fragments", id=1, hash="f", content="a whole book", source="book.txt")
    new.add("attachments", id=digest, type="image/png", content=picture)
    new.add("attachments", id="u", type="audio/wav", url="https://example.com/a.wav")
    new.add("tools", id=1, hash="h", name="look", description="Looks", input_schema='{"type": "object"}')
    new.add("schemas", id="s", content='{"type": "object"}')
    new.message(
        "m1",
        None,
        "user",
        ("text", None, {"text_ref": [{"fragment": 1}, {"literal": " to read"}]}),
        ("attachment", None, {"attachment": {"id": digest}}),
        ("attachment", None, {"attachment": {"id": "u"}}),
        ("attachment", None, {"attachment": {"id": "gone"}}),
    )
    new.message(
        "m2",
        "m1",
        "assistant",
        ("reasoning", "let me look", None),
        ("tool_call", None, {"name": "look", "arguments": {"at": "it", "token": SECRET}, "tool_call_id": "c1"}),
        ("tool_call", None, {"name": "look", "arguments": {}}),
    )
    results = ("tool_result", None, {"name": "look", "output": "seen " * 20_000, "tool_call_id": "c1"})
    failed = ("tool_result", None, {"name": "look", "output": "", "tool_call_id": "m2#2", "exception": "Gone: it"})
    new.message("m3", "m2", "tool", results, failed)
    new.message("m4", "m3", "assistant", ("future", "odd", {"a": 1}), ("text", "\0", "no json"))
    new.thread("a", "m4")
    new.turn("t1", "a", "m1", "m2", schema_id="s", options_json='{"temperature": 0.5}')
    new.turn("t2", "a", "m3", "m4", token_details='{"cache_read_input_tokens": 3, "reasoning_tokens": 2}')
    new.add("turn_tools", turn_id="t1", tool_id=1)
    new.add("turn_fragments", turn_id="t1", fragment_id=1, order=0, kind="prompt")
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, new.path)
        assert (report.total.secrets, report.partial) == (1, False)
        asked, answered, results, last = of(log, MessageAdded)
        assert asked.parts[0].text == "a whole book to read"
        assert asked.parts[1] == BlobPart(
            sha256=digest, size_bytes=100, mime_type="image/png", head="", of="attachment"
        )
        assert Blobs(tmp_path).get(digest) == picture
        assert asked.parts[2].uri == "https://example.com/a.wav"
        assert b"gone" in bytes(asked.parts[3].data)
        assert answered.parts[0].text == "let me look"
        first, second = of(log, ToolCallStarted)
        assert (first.tool_call_id, bytes(first.arguments)) == ("c1", b'{"at":"it","token":"[redacted]"}')
        assert (second.tool_call_id, second.message_id) == ("m2#2", "m2")
        good, bad = of(log, ToolCallFinished)
        assert (good.outcome, good.blob.size_bytes) == ("ok", 100_002)
        assert (bad.outcome, bad.error_type, bad.tool_call_id) == ("error", "Gone: it", "m2#2")
        assert b"future" in bytes(last.parts[0].data)
        assert last.parts[1].text == "\\x00"
        usage = of(log, LlmCallCompleted)[1].usage
        assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (10, 3, 3, 2)
        besides = json.loads(bytes(of(log, RecordKept)[0].data))
        assert besides == {
            "id": "t1",
            "options": {"temperature": 0.5},
            "schema": {"type": "object"},
            "tools": [{"name": "look", "description": "Looks", "input_schema": {"type": "object"}}],
            "fragments": [{"hash": "f", "source": "book.txt", "kind": "prompt"}],
        }
        assert log.projections.verify() == []


def test_the_older_form_has_fragments_attachments_and_tools_too(tmp_path: Path, new: Database) -> None:
    new.add("conversations", id="c", name="About it", model="gpt-9")
    row = {"model": "gpt-9", "conversation_id": "c", "datetime_utc": "2025-01-01T00:00:00", "duration_ms": 10}
    new.add("responses", id="r1", prompt="look", system="be brief", response="", **row)
    new.add("responses", id="r2", prompt="", response="there", input_tokens=3, output_tokens=4, **row)
    new.add("responses", id="r3", prompt="alone", response="x", model="m", datetime_utc="nonsense")
    new.add("fragments", id=1, hash="f", content="a book")
    new.add("prompt_fragments", response_id="r1", fragment_id=1, order=0)
    new.add("attachments", id="u", type="image/png", path="/pictures/a.png")
    new.add("prompt_attachments", response_id="r1", attachment_id="u", order=0)
    new.add("tool_calls", response_id="r1", name="look", arguments='{"at": 1}', tool_call_id="t")
    new.add("tool_results", response_id="r2", name="look", output="seen", tool_call_id="t")
    with eventlog.open(tmp_path / "log.db") as log:
        assert imported(log, new.path).total.understood_records == 3
        said = [(event.message_id, event.role, len(event.parts)) for event in of(log, MessageAdded)]
        assert said == [
            ("r1:system", "system", 1),
            ("r1:prompt", "user", 3),
            ("r1:response", "assistant", 1),
            ("r2:results", "tool", 1),
            ("r2:response", "assistant", 1),
            ("r3:prompt", "user", 1),
            ("r3:response", "assistant", 1),
        ]
        assert of(log, ToolCallStarted)[0].tool_call_id == of(log, ToolCallFinished)[0].tool_call_id == "t"
        assert [call.quality for call in of(log, LlmCallCompleted)] == ["partial", "exact", "partial"]
        assert {session.session_id for session in log.sessions.list()} == {"c", "r3"}
        assert log.sessions.get("c").created_at == 1_735_689_600_000_000
        assert log.projections.verify() == []


def test_a_conversation_that_goes_on_as_a_thread_has_its_past_once(tmp_path: Path, new: Database) -> None:
    new.add("conversations", id="c", name="About it", model="gpt-9")
    row = {"model": "gpt-9", "conversation_id": "c", "datetime_utc": "2025-01-01T00:00:00"}
    new.add("responses", id="r1", prompt="hello", response="hi", **row)
    new.add("responses", id="t2", prompt="and", response="so on", **row)  # in both forms: it counts once
    for place, (role, said) in enumerate(
        [("user", "hello"), ("assistant", "hi"), ("user", "and"), ("assistant", "so on")]
    ):
        new.message(f"m{place}", f"m{place - 1}" if place else None, role, ("text", said, None))
    new.thread("c", "m3")
    new.turn("t2", "c", "m2", "m3")
    with eventlog.open(tmp_path / "log.db") as log:
        imported(log, new.path)
        said = [(event.message_id, event.parent_id) for event in of(log, MessageAdded)]
        assert said == [("r1:prompt", None), ("r1:response", "r1:prompt"), ("m2", "r1:response"), ("m3", "m2")]
        assert [call.call_id for call in of(log, LlmCallCompleted)] == ["r1", "t2"]
        assert len(log.sessions.list()) == 1


def test_rows_that_are_not_as_they_should_be_are_kept_and_the_others_read(tmp_path: Path, new: Database) -> None:
    new.message("m1", None, "user", ("text", "a", None))
    new.message("m2", "m1", "odd role", ("text", "b", '{"a": NaN, "b": "\\ud800"}'))
    new.message("m3", "m3", "user", ("text", None, None), ("text", "circle", "[" * 500))
    new.thread("a", "m2")
    new.thread("z", "m3")
    new.turn("t1", "a", "m1", "m2", input_tokens="many", output_tokens=-4, token_details="[1", datetime_utc=b"\xff")
    new.turn("t2", "z", "m3", "m3", model=None)
    with closing(sqlite3.connect(new.path)) as connection:
        connection.execute("INSERT INTO turns (id, thread_id) VALUES (NULL, x'00ff')")
        connection.execute("INSERT INTO threads (id, name) VALUES ('b', CAST(x'61ff00' AS TEXT))")
        connection.execute(f"INSERT INTO threads (id, name) VALUES ('c', zeroblob({33 << 20}))")
        connection.commit()
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, new.path)
        assert report.sources[0].problem == "1 record could not be read"
        assert (report.total.raw_records, report.total.quarantined_records) == (1, 1)
        assert [event.message_id for event in of(log, MessageAdded)] == ["m1", "m2", "m3"]
        assert log.sessions.get("b").title == "a\\xff\\x00"
        assert log.projections.verify() == []
        head = log.head()
        new.thread("d", "m1")
        assert imported(log, new.path).total.quarantined_records == 0
        added = [record.type for record in log.read(after=head.position)]
        assert added == ["session.created", "message.added", "import.source_advanced"]


def test_what_is_no_such_file_leaves_the_log_as_it_is(tmp_path: Path, new: Database) -> None:
    (tmp_path / "text.db").write_text("words")
    whole = new.path.read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    with eventlog.open(tmp_path / "log.db") as log:
        for name in ("text.db", "cut.db", "log.db"):
            report = imported(log, tmp_path / name)
            assert (report.sources[0].status, report.partial) == ("failed", True)
        assert log.head().position == 0


def test_the_lanes_of_tokens_share_nothing() -> None:
    assert usage_of(10, 5, {"prompt_tokens_details": {"cached_tokens": 4}}).input == 6
    google = usage_of(10, 5, {"cachedContentTokenCount": 40, "thoughtsTokenCount": 2})
    assert (google.input, google.cache_read, google.output, google.reasoning) == (0, 10, 3, 2)
    beside = usage_of(
        10,
        5,
        {
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 9,
            "cache_creation": {"ephemeral_1h_input_tokens": 2},
        },
    )
    assert (beside.input, beside.cache_read, beside.cache_write_5m, beside.cache_write_1h) == (10, 7, 7, 2)
    assert [provider_of(name) for name in ("gpt-9", "groq/x", "mlx-community/x", None, "groq")] == [
        None,
        "groq",
        None,
        None,
        None,
    ]
