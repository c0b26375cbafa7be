"""Search as people and programs ask it: the repository on every store, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import Raw

import eventlog
from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.errors import InvalidQuery
from eventlog.events.agents import (
    MessageAdded,
    ReasoningPart,
    Role,
    SummaryAdded,
    TextPart,
    ToolCallFinished,
    ToolCallStarted,
)
from eventlog.events.jobs import JobEnqueued
from eventlog.events.projects import ProjectAdded
from eventlog.events.runs import RunNoted, RunStarted
from eventlog.events.sessions import SessionCreated
from eventlog.repositories.search import Hit
from eventlog.repositories.snippets import snippet
from eventlog.store.searching import parse

DAY = 86_400_000_000
START = 1_700_000_000_000_000
JOB = "job-0190f0a0-0000-7000-8000-000000000001"
TOKEN = "ghp_" + "a1B2" * 9


def said_by(role: Role, text: str) -> MessageAdded:
    return MessageAdded(message_id=text[:9], role=role, parts=(TextPart(text=text),))


def fill(log: Log) -> None:
    log.append("session-a", SessionCreated(agent="coder", workspace_id="0123456789abcdef"), occurred_at=START)
    log.append("session-b", SessionCreated(agent="writer"), occurred_at=START)
    said = (
        ("session-a", said_by("user", "Why does the parser time out?")),
        ("session-a", MessageAdded(message_id="2", role="assistant", parts=(ReasoningPart(text="The parser loops."),))),
        ("session-a", ToolCallStarted(tool_call_id="c", name="Bash", arguments=Raw(b'{"command":"pytest -k parser"}'))),
        ("session-a", ToolCallFinished(tool_call_id="c", outcome="ok", name="Bash", result=Raw(b'"parser ok"'))),
        ("session-b", said_by("user", f"the parser has {TOKEN} in it")),
        ("session-b", SummaryAdded(text="Of parsers and prose")),
        ("run-1", RunStarted(command="make parser", note="nightly")),
        ("run-1", RunNoted(note="the parser was slow")),
        ("project-p", ProjectAdded(note="home of the parser")),
        (JOB, JobEnqueued(kind="shell", args={"command": "lint parser", "env": {"A": "hidden"}})),
    )  # fmt: skip
    for number, (stream, event) in enumerate(said):
        log.append(stream, event, occurred_at=START + number * DAY)


def kinds(hits: list[Hit]) -> list[str]:
    return [hit.kind for hit in hits]


def test_everything_with_a_text_is_found_newest_first(log: Log) -> None:
    fill(log)
    hits = log.search.find("parser")
    assert kinds(hits) == [
        "command",
        "note",
        "note",
        "command",
        "message",
        "tool_result",
        "tool_call",
        "message",
        "message",
    ]
    assert [hit.position for hit in hits] == sorted((hit.position for hit in hits), reverse=True)
    assert log.search.count("parser") == 9
    assert kinds(log.search.find("parser*", kind="summary")) == ["summary"]
    assert [hit.stream for hit in log.search.find("parser", role="user")] == ["session-b", "session-a"]
    assert kinds(log.search.find("parser", name="Bash")) == ["tool_result", "tool_call"]
    assert len(log.search.find("parser", session_id="a")) == len(log.search.find("parser", agent="coder")) == 4
    assert log.search.find("parser", workspace_id="0123456789abcdef") == log.search.find("parser", stream="session-a")
    assert log.search.find("parser", agent="nobody") == []
    assert kinds(log.search.find("parser", since=START + 8 * DAY)) == ["command", "note"]
    assert kinds(log.search.find("parser", until=START + DAY)) == ["message"]
    first = log.search.find("parser", limit=4)
    assert first + log.search.find("parser", limit=5, before=first[-1].position) == hits
    assert log.search.find("parser", limit=2, offset=3) == hits[3:5]
    assert log.search.find("hidden") == []
    with log.as_of(5) as past:
        assert kinds(past.search.find("parser")) == ["tool_call", "message", "message"]
        assert past.search.count("parser") == 3


@pytest.mark.alike
def test_many_sessions_of_an_agent_are_looked_at_one_by_one(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log)
    expected = log.search.find("parser", agent="coder"), log.search.find("parser", agent="coder", limit=2, offset=1)
    monkeypatch.setattr("eventlog.repositories.search.MAX_STREAMS", 0)
    monkeypatch.setattr("eventlog.repositories.search.PAGE", 2)
    assert log.search.find("parser", agent="coder") == expected[0]
    assert log.search.find("parser", agent="coder", limit=2, offset=1) == expected[1]


@pytest.mark.alike
def test_secrets_are_masked_in_what_is_shown(log: Log) -> None:
    fill(log)
    (hit,) = log.search.find("parser", role="user", session_id="b")
    assert hit.snippet == "the parser has [redacted] in it"
    assert [hit.snippet[first:end] for first, end in hit.marks] == ["parser"]


@pytest.mark.parametrize(
    ("text", "query", "shown"),
    [
        ("The parser,\n\tthe PARSER.", "parser", "The <parser>, the <PARSER>."),
        ("time out and timeout", '"time out"', "<time out> and timeout"),
        ("time out and timeout", "time*", "<time> out and <timeout>"),
        ("Ein Café, naïve", "cafe naive", "Ein <Café>, <naïve>"),
        ("東京都に行く", "京都", "東<京都>に行く"),
        ("私は都に", "都", "私は<都>に"),
        ("e\u0301cole", "école", "<e\u0301cole>"),
        ("x" * 300, "y", "x" * 240 + "…"),
        ("foo.bar foo bar", "foo.bar", "<foo.bar> <foo bar>"),
        ("", "a", ""),
    ],
)
def test_snippets_mark_what_was_searched_for(text: str, query: str, shown: str) -> None:
    found = snippet(text, parse(query))
    marked = found.text
    for first, end in reversed(found.marks):
        marked = f"{marked[:first]}<{marked[first:end]}>{marked[end:]}"
    assert marked == shown


def test_a_snippet_is_cut_around_the_first_match() -> None:
    found = snippet(f"{'before ' * 100}here {'after ' * 100}", parse("here"))
    assert found.text.startswith("…before ") and found.text.endswith(" after…") and len(found.text) < 260
    assert [found.text[first:end] for first, end in found.marks] == ["here"]


@pytest.mark.alike
def test_hostile_queries_find_nothing_or_are_refused(log: Log) -> None:
    fill(log)
    for query in (
        "'; DROP TABLE events; --",
        "words:parser",
        "NEAR(a b)",
        "^parser -",
        "{x} : y",
        "a\0b",
        "\\",
        "' & !'",
    ):
        try:
            hits = log.search.find(query)
        except InvalidQuery:
            continue
        assert all("parser" in hit.snippet.lower() for hit in hits), query
    for bad in ("", '"', "-parser", "a OR", "😀"):
        with pytest.raises(InvalidQuery):
            log.search.find(bad)
    with pytest.raises(InvalidQuery, match="say one of"):
        log.search.find("a", session_id="a", stream="run-1")


def test_the_command_line_shows_and_answers_in_json(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with eventlog.open(path) as log:
        fill(log)
        log.append("run-2", RunNoted(note="evil \x1b[31mparser\x1b[0m \x07"))
    runner = CliRunner()
    shown = runner.invoke(cli, ["--db", path, "search", "parser", "--role", "user", "--utc"])
    assert shown.exit_code == 0
    assert shown.output.splitlines() == [
        "2023-11-18 22:13:20  session-b  message user  id the parse  at 7",
        "  the parser has [redacted] in it",
        "2023-11-14 22:13:20  session-a  message user  id Why does   at 3",
        "  Why does the parser time out?",
    ]
    evil = runner.invoke(cli, ["--db", path, "search", "evil", "--stream", "run-2"], color=True)
    assert "\x07" not in evil.output and "\x1b[31m" not in evil.output
    hits = json.loads(
        runner.invoke(cli, ["--db", path, "search", '"the parser"', "-n", "1", "--as-of", "3", "--json"]).output
    )
    assert [(hit["position"], hit["marks"]) for hit in hits] == [(3, [[9, 19]])]
    nothing = runner.invoke(cli, ["--db", path, "search", "unheard"])
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "nothing was found\n")
    assert runner.invoke(cli, ["--db", path, "search", '"open']).exit_code == 1
