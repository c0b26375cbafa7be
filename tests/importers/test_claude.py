"""Claude Code's transcripts, and the frame that every importer has: cursors, keys, quarantine, what is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.errors import InvalidInput, NotFound
from eventlog.events.agents import LlmCallAmended, LlmCallRetracted, MessageAdded
from eventlog.importers import run
from eventlog.importers.claude import ClaudeReader
from eventlog.importers.intake import Native
from eventlog.importers.pieces import Piece, pieces
from tests.fixtures import transcripts
from tests.importers.support import (
    CALLS,
    MESSAGES,
    SESSION,
    TOOLS,
    Totals,
    answered,
    lines,
    rows,
    said,
    totals,
    uuid,
    write,
)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    with eventlog.open(tmp_path / "log.db") as log:
        yield log  # type: ignore[misc]


def golden(folder: Path) -> dict[str, list[str]]:
    """The table of known totals, a row for each transcript."""
    table = [line.strip().strip("|").split("|") for line in (folder / "GOLDEN.md").read_text().splitlines()]
    rows = [[cell.strip() for cell in cells] for cells in table]
    return {cells[0]: cells for cells in rows if len(cells) == 9 and cells[0].endswith(".jsonl")}


def numbers(cell: str) -> Totals:
    given, output, written, read = map(int, cell.split("/"))
    return Totals(0, given, output, written, read)


def test_known_totals_come_out_exactly_one_by_one_and_in_sum(tmp_path: Path, log: Log) -> None:
    folder = transcripts()
    sums = [0] * 5
    tools = 0
    for name, cells in golden(folder).items():
        with eventlog.open(":memory:", data_dir=tmp_path) as alone:
            report = alone.import_from("claude", folder / name)
            assert report.total.records - report.total.quarantined_records == int(cells[1]), name
            assert report.total.quarantined_records == int(cells[2]), name
            assert totals(alone) == numbers(cells[6])._replace(calls=int(cells[4])), name
            calls = rows(alone, TOOLS)
            assert len(calls) == int(cells[7]), name
            assert sum(call.outcome is None for call in calls) == int(cells[8]), name
        sums = [held + new for held, new in zip(sums, (int(cells[4]), *numbers(cells[6])[1:]), strict=True)]
        tools += int(cells[7])
    report = log.import_from("claude", *(folder / name for name in golden(folder)))
    assert (
        report.total.understood_bytes == report.size_bytes == sum((folder / n).stat().st_size for n in golden(folder))
    )
    assert totals(log) == Totals(*sums)
    assert len(rows(log, TOOLS)) == tools
    head = log.head()
    again = log.import_from("claude", *(folder / name for name in golden(folder)))
    assert log.head() == head
    assert {source.status for source in again.sources} == {"unchanged"}
    assert log.projections.verify() == []


def test_every_real_transcript_is_explained_byte_by_byte(log: Log) -> None:
    folder = transcripts()
    report = log.import_from("claude", folder)
    assert len(report.sources) > 40
    for source in log.imports.list():
        explained = source.understood_bytes + source.raw_bytes + source.duplicate_bytes + source.blank_bytes
        assert explained + source.quarantined_bytes == source.size_bytes == Path(source.path).stat().st_size
    assert log.projections.verify() == []
    assert [one.state for one in log.projections.status()] == ["live"] * len(log.projections.status())


def test_a_conversation_has_its_messages_tools_and_calls(log: Log, tmp_path: Path) -> None:
    asked = answered(2, "look", parent=1)
    asked["message"]["content"] += [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
    ]
    told = said(3, "", parent=2, toolUseResult={"stdout": "a\nb", "interrupted": False, "durationMs": 12})
    told["message"]["content"] = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a\nb", "is_error": True}
    ]
    log.import_from("claude", write(tmp_path / f"p/{SESSION}.jsonl", lines([said(1, "hello"), asked, told])))
    session = log.sessions.get(SESSION)
    assert (session.agent, session.agent_version, session.git_branch, session.message_count) == (
        "claude-code",
        "1.0.108",
        "main",
        3,
    )
    assert session.created_at == 1_757_239_201_000_000
    assert log.workspaces.get(str(session.workspace_id)).path == "/path/to/demo"
    assert [(row.role, row.origin, row.parent_id) for row in rows(log, MESSAGES)] == [
        ("user", "human", None),
        ("assistant", None, uuid(1)),
        ("tool", "tool", uuid(2)),
    ]
    (tool,) = rows(log, TOOLS)
    assert (tool.name, tool.outcome, tool.duration_us) == ("Bash", "error", 12_000)
    (call,) = rows(log, CALLS)
    assert (call.model, call.input, call.output, call.finish_reason) == ("claude-sonnet-4-20250514", 5, 10, "stop")
    assert log.projections.verify() == []


def test_a_file_that_grew_adds_its_end_and_one_that_is_another_is_read_anew(log: Log, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines([said(1, "one"), said(2, "two")]))
    log.import_from("claude", path)
    write(path, path.read_bytes() + lines([said(3, "three")]), age_s=1800)
    report = log.import_from("claude", path)
    assert (report.total.records, report.total.understood_records) == (1, 1)
    write(path, lines([said(9, "nine"), said(2, "two")]), age_s=900)
    report = log.import_from("claude", path)
    assert (report.total.understood_records, report.total.duplicate_records) == (1, 1)
    (source,) = log.imports.list()
    assert (source.restarts, source.records, source.offset) == (1, 2, path.stat().st_size)
    assert len(rows(log, MESSAGES)) == 4
    os.utime(path)
    head = log.head()
    log.import_from("claude", path)
    assert log.head() == head, "touched, and not changed"


def test_an_end_that_is_cut_off_waits_or_is_quarantined_until_it_is_whole(log: Log, tmp_path: Path) -> None:
    whole = lines([said(1, "one"), said(2, "two")])
    path = write(tmp_path / "a.jsonl", whole[:-30], age_s=0)
    report = log.import_from("claude", path)
    assert (report.sources[0].status, report.partial) == ("waiting", False)
    write(path, whole[:-30])
    report = log.import_from("claude", path)
    assert report.partial
    assert "ends in the middle of a record" in log.imports.quarantined(report_source(log))[0].reason
    head = log.head()
    os.utime(path)
    os.utime(path, (1e9, 1e9))
    log.import_from("claude", path)
    assert log.head() == head
    write(path, whole, age_s=100)
    assert not log.import_from("claude", path).partial
    (source,) = log.imports.list()
    assert (source.quarantined_records, source.records, source.understood_bytes) == (0, 2, len(whole))
    assert log.imports.quarantined(source.source_id) == []


def report_source(log: Log) -> str:
    return log.imports.list()[0].source_id


def test_damage_is_quarantined_told_and_tried_again(log: Log, tmp_path: Path) -> None:
    bad = b'{"type": "user", "text": "secret words\n'
    long = lines([said(3, "x" * 3000)])
    path = write(tmp_path / "a.jsonl", lines([said(1, "one")]) + bad + b"\0\0\0\0\n" + long + lines([said(2, "two")]))
    report = log.import_from("claude", path, max_line_bytes=2000)
    assert (report.total.understood_records, report.total.quarantined_records) == (2, 3)
    source = report_source(log)
    found = log.imports.quarantined(source)
    assert [row.offset for row in found] == [len(lines([said(1, "one")])) + skip for skip in (0, 39, 44)]
    assert all("secret words" not in row.reason for row in found)
    again = log.retry_imports(source)
    assert (again.total.understood_records, again.partial) == (1, True)
    assert len(log.imports.quarantined(source)) == 2
    assert len(log.imports.quarantined(source, resolved=True)) == 3
    assert [row.text_bytes for row in rows(log, MESSAGES)] == [3, 3, 3000]
    head = log.head()
    assert log.retry_imports().partial
    assert log.head() == head
    with pytest.raises(NotFound):
        log.retry_imports("nothing")
    with pytest.raises(InvalidInput):
        log.import_from("claude", write(tmp_path / "b.jsonl", bad + long), strict=True)
    assert log.projections.verify() == []


def test_what_it_does_not_know_is_kept_and_what_is_odd_is_no_error(log: Log, tmp_path: Path) -> None:
    odd: list[dict[str, object]] = [
        {"type": "permission-mode", "permissionMode": "plan", "sessionId": SESSION},
        {"type": "tomorrow", "uuid": uuid(7), "parentUuid": None, "sessionId": SESSION, "what": [1]},
        {"type": "user", "message": {"role": "user", "content": {"not": "a list"}}, "uuid": [], "sessionId": 5},
        {"type": "assistant", "message": 5, "uuid": uuid(8), "sessionId": SESSION},
        {
            "type": "assistant",
            "uuid": uuid(9),
            "message": {"content": [None, 3, {"type": "image"}], "usage": {"input_tokens": "x"}},
        },
        {"nothing": True},
        {},
    ]
    report = log.import_from("claude", write(tmp_path / "a.jsonl", lines(odd)))
    assert report.total.records == len(odd)
    assert report.total.quarantined_records == 0
    kept = [
        record for record in log.read() if b"permission" in record.data.encode() or b"tomorrow" in record.data.encode()
    ]
    assert len(kept) == 2
    assert log.projections.verify() == []


def test_of_a_call_the_fullest_account_counts_also_when_it_comes_later(log: Log, tmp_path: Path) -> None:
    first = [answered(number, "a", tokens=tokens, call="one") for number, tokens in ((1, 3), (2, 40), (3, 7))]
    path = write(tmp_path / "a.jsonl", lines(first))
    log.import_from("claude", path)
    assert totals(log) == Totals(1, 5, 40, 0, 0)
    write(path, lines([*first, answered(4, "b", tokens=50, call="one"), answered(5, "b", tokens=1)]), age_s=100)
    log.import_from("claude", path)
    assert totals(log) == Totals(2, 10, 51, 0, 0)
    assert len(list(log.read(types=[LlmCallAmended]))) == 1
    write(path, path.read_bytes() + lines([answered(6, "b", tokens=45, call="one")]), age_s=50)
    log.import_from("claude", path)
    assert totals(log) == Totals(2, 10, 51, 0, 0)
    assert log.projections.verify() == []


def test_an_agent_of_a_workflow_is_one_session_below_that_of_the_workflow(log: Log, tmp_path: Path) -> None:
    inner = {"isSidechain": True, "agentId": "ag1", "session": f"{SESSION}#agent-ag1"}
    asked = answered(2, "ask", parent=1)
    asked["message"]["content"] = [{"type": "tool_use", "id": "toolu_1", "name": "Agent", "input": {}}]
    told = said(3, "", parent=2, toolUseResult={"agentId": "ag1"})
    told["message"]["content"] = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}]
    write(tmp_path / f"{SESSION}.jsonl", lines([said(1, "go"), asked, told]))
    agent = lines([said(4, "look", **inner), answered(5, "seen", parent=4, **inner)])
    write(tmp_path / SESSION / "subagents" / "workflows" / "wf" / "agent-ag1.jsonl", agent)
    log.import_from("claude", tmp_path)
    found = {one.session_id: (one.kind, one.parent_session_id, one.message_count) for one in log.sessions.list()}
    assert found == {SESSION: ("chat", None, 3), f"{SESSION}:ag1": ("subagent", SESSION, 2)}
    assert [tool.child_session_id for tool in rows(log, TOOLS)] == [f"{SESSION}:ag1"]


def test_a_folder_of_settings_is_taken_for_its_transcripts(log: Log, tmp_path: Path) -> None:
    write(tmp_path / "projects" / "-x" / f"{SESSION}.jsonl", lines([said(1, "go")]))
    typed = {
        "display": "go",
        "pastedContents": {},
        "timestamp": 1_759_000_000_000,
        "project": "/x",
        "sessionId": SESSION,
    }
    write(tmp_path / "history.jsonl", lines([typed]))
    report = log.import_from("claude", tmp_path)
    assert not report.partial and len(report.sources) == 1


@pytest.mark.parametrize("main_first", [True, False])
def test_a_sidechain_that_replays_a_call_does_not_count(log: Log, tmp_path: Path, main_first: bool) -> None:
    main = answered(1, "a", call="one")
    replay = answered(2, "a", call="one", isSidechain=True)
    replay["requestId"] = "req_other"
    alone = answered(3, "a", call="two", isSidechain=True)
    order = [[main], [replay, alone]]
    for number, records in enumerate(order if main_first else order[::-1]):
        log.import_from("claude", write(tmp_path / f"{number}.jsonl", lines(records)))
    assert totals(log) == Totals(2, 10, 20, 0, 0)
    assert len(list(log.read(types=[LlmCallRetracted]))) == (0 if main_first else 1)
    head = log.head()
    log.import_from("claude", tmp_path)
    assert log.head() == head
    assert log.projections.verify() == []


@pytest.mark.parametrize("together", [True, False])
def test_more_of_a_call_that_was_retracted_counts_nowhere(log: Log, tmp_path: Path, together: bool) -> None:
    side, grown = (answered(n, "a", call="one", tokens=n * 10, isSidechain=True, agentId="ag") for n in (1, 3))
    side["requestId"] = grown["requestId"] = "req_other"
    log.import_from("claude", write(tmp_path / "side.jsonl", lines([side])))
    main = lines([answered(2, "a", call="one", tokens=30)])
    if not together:
        log.import_from("claude", write(tmp_path / "main.jsonl", main))
    write(tmp_path / "side.jsonl", lines([side, grown]), age_s=900)
    write(tmp_path / "main.jsonl", main)
    log.import_from("claude", tmp_path)
    sums = {session.session_id: (session.llm_call_count, session.total_tokens) for session in log.sessions.list()}
    assert sums == {SESSION: (1, 35), f"{SESSION}:ag": (0, 0)}
    assert totals(log) == Totals(1, 5, 30, 0, 0)


def test_a_fork_shares_what_it_copied_and_counts_once(log: Log, tmp_path: Path) -> None:
    own = [said(1, "hello"), answered(2, "hi", parent=1), said(3, "one way", parent=2)]
    other = "22222222-2222-4222-8222-222222222222"
    copy = [{**record, "sessionId": other} for record in own[:2]]
    log.import_from("claude", write(tmp_path / "a.jsonl", lines(own)))
    forked = [*copy, said(4, "another way", session=other, parent=2)]
    log.import_from("claude", write(tmp_path / "b.jsonl", lines(forked)))
    assert totals(log) == Totals(1, 5, 10, 0, 0)
    fork = log.sessions.get(other)
    assert (fork.link, fork.parent_session_id, fork.parent_message_id) == ("fork", SESSION, uuid(2))
    assert fork.message_count == 1
    thread = [message.message_id for message in log.sessions.thread(other)]
    assert thread == [uuid(1), uuid(2), uuid(4)]


def test_cyclic_parents_are_no_trap(log: Log, tmp_path: Path) -> None:
    records = [said(1, "a", parent=2), said(2, "b", parent=1), said(3, "c", parent=3)]
    log.import_from("claude", write(tmp_path / "a.jsonl", lines(records)))
    assert {message.message_id for message in log.sessions.thread(SESSION)} <= {uuid(1), uuid(2), uuid(3)}


def test_secrets_are_masked_before_they_are_in_the_log_and_counted(log: Log, tmp_path: Path) -> None:
    token = "ghp_" + "a1B2" * 10
    call = answered(2, f"use\n{token}", parent=1)
    call["message"]["content"].append(
        {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": f"x {token}"}}
    )
    records = [said(1, f"my token is {token}, https://user:pa55word@host/x"), call]
    records += [{"type": "tomorrow", "uuid": uuid(5), "sessionId": SESSION, "password": "opensesame", "x": token}]
    report = log.import_from("claude", write(tmp_path / "a.jsonl", lines(records)))
    assert report.total.secrets >= 5
    everything = "".join(record.data for record in log.read())
    for secret in (token, "pa55word", "opensesame"):
        assert secret not in everything
    assert report.total.secrets == log.imports.list()[0].secrets


def test_a_dry_run_says_what_would_be_and_does_nothing(log: Log, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", lines([said(1, "a"), answered(2, "b", parent=1)]))
    foreseen = log.import_from("claude", path, dry_run=True)
    assert log.head().position == 0
    done = log.import_from("claude", path)
    assert foreseen.total == done.total
    assert done.total.events == log.head().position


def test_big_content_is_kept_beside_the_log(log: Log, tmp_path: Path) -> None:
    text = "words " * 50_000
    log.import_from("claude", write(tmp_path / "a.jsonl", lines([said(1, text)])))
    (record,) = log.read(types=[MessageAdded])
    part = json.loads(record.data)["parts"][0]
    assert part["type"] == "blob"
    kept = tmp_path / "blobs" / part["sha256"][:2] / part["sha256"]
    assert kept.read_text() == text
    assert kept.stat().st_mode & 0o777 == 0o600
    with eventlog.open(":memory:") as nowhere:
        report = nowhere.import_from("claude", tmp_path / "a.jsonl")
        assert report.partial
        assert nowhere.imports.quarantined(report_source(nowhere))[0].reason.startswith("cannot be stored")


def test_one_bad_source_does_not_stop_the_others(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", lines([said(1, "a")]))
    gone = write(tmp_path / "b.jsonl", lines([said(2, "b")]))
    write(tmp_path / "c.jsonl", lines([said(3, "c")]))
    opened = Path.open

    def vanishing(path: Path, *args: object, **options: object) -> object:
        if path == gone:
            gone.unlink()
        return opened(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", vanishing)
    report = log.import_from("claude", tmp_path)
    assert [source.status for source in report.sources] == ["imported", "failed", "imported"]
    assert report.partial
    assert len(rows(log, MESSAGES)) == 2
    with pytest.raises(NotFound):
        log.import_from("claude", tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="no importer"):
        log.import_from("cloud", tmp_path)


def test_what_a_source_that_failed_would_have_said_for_others_is_said(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.jsonl", lines([said(1, "a", session="a"), said(2, "b", session="a")]), age_s=7200)
    write(tmp_path / "b.jsonl", lines([said(3, "c", session="b")]))

    def torn(file: Any, *more: Any) -> Any:
        for number, piece in enumerate(pieces(file, *more)):
            if number and file.name.endswith("a.jsonl"):
                raise OSError(5, "Input/output error")
            yield piece

    monkeypatch.setattr(run, "pieces", torn)
    report = log.import_from("claude", tmp_path)
    assert [source.status for source in report.sources] == ["failed", "imported"]
    session = log.sessions.get("b")
    assert log.workspaces.get(str(session.workspace_id)).path == "/path/to/demo"


def test_an_empty_file_is_a_source_with_nothing_in_it(log: Log, tmp_path: Path) -> None:
    report = log.import_from("claude", write(tmp_path / "a.jsonl", b""))
    assert report.total.records == 0
    head = log.head()
    log.import_from("claude", tmp_path)
    assert log.head() == head


def test_a_fork_is_known_where_both_come_at_once(log: Log, tmp_path: Path) -> None:
    own = [said(1, "hello"), answered(2, "hi", parent=1), said(3, "one way", parent=2)]
    other = "22222222-2222-4222-8222-222222222222"
    copy = [{**record, "sessionId": other} for record in own[:2]]
    write(tmp_path / "a.jsonl", lines(own), age_s=7200)
    write(tmp_path / "b.jsonl", lines([*copy, said(4, "another way", session=other, parent=2)]))
    log.import_from("claude", tmp_path)
    fork = log.sessions.get(other)
    assert (fork.link, fork.parent_session_id, fork.parent_message_id) == ("fork", SESSION, uuid(2))
    assert log.projections.verify() == []


def test_secrets_are_counted_with_the_file_that_has_them(log: Log, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines([said(1, "use ghp_" + "a1B2" * 10)]), age_s=7200)
    write(tmp_path / "b.jsonl", lines([said(2, "nothing", session="b")]))
    report = log.import_from("claude", tmp_path)
    assert report.total.secrets == 1
    assert [source.counts.secrets for source in report.sources] == [1, 0]


def test_a_record_that_the_log_does_not_take_stops_nothing(log: Log, tmp_path: Path) -> None:
    nested = b"[" * 700 + b"]" * 700
    deep = (
        b'{"type":"user","uuid":"v","sessionId":"deep","cwd":"/d","message":{"role":"user","content":[%b]}}\n' % nested
    )
    odd = [
        {**said(1, "x"), "parentUuid": 5},
        {"type": "summary", "summary": "x", "leafUuid": [5], "sessionId": SESSION},
        said(3, "x", session="a\nb"),
        {**answered(4, "x"), "costUSD": "1e999999"},
    ]
    path = write(
        tmp_path / "a.jsonl", lines(odd) + deep + lines([said(6, "the rest"), said(7, "more", session="deep")])
    )
    report = log.import_from("claude", path)
    assert (report.total.raw_records, report.total.quarantined_records, report.total.understood_records) == (4, 1, 2)
    # The sessions that such records begin are there for those that follow.
    assert log.sessions.get(SESSION).cwd == "/path/to/demo"
    told = [type(record.event).__name__ for record in log.read_stream("session-deep")]
    assert told == ["SessionCreated", "SessionUpdated", "SessionUpdated", "MessageAdded"]
    assert log.projections.verify() == []


def test_what_was_cut_off_is_bad_until_it_is_whole_wherever_it_begins(log: Log, tmp_path: Path) -> None:
    whole = lines([said(1, "hello"), said(2, "world")])
    cut = whole.index(b"\n") + 51
    path = write(tmp_path / "a.jsonl", whole[:cut])
    assert log.import_from("claude", path).partial
    head = log.head()
    write(path, whole[:cut], age_s=1800)
    log.import_from("claude", path)
    assert log.head() == head
    write(path, whole)
    assert not log.import_from("claude", path).partial
    (source,) = log.imports.list()
    assert (source.records, source.quarantined_records, source.understood_bytes) == (2, 0, len(whole))
    assert log.imports.quarantined(source.source_id) == []
    write(path, whole + b'{"half', age_s=900)
    log.import_from("claude", path)
    write(path, whole, age_s=800)
    log.import_from("claude", path)
    (source,) = log.imports.list()
    assert (source.records, source.quarantined_records) == (2, 0)
    assert log.imports.quarantined(source.source_id) == []


def test_a_conversation_goes_on_where_it_did_when_its_middle_is_read_later(log: Log, tmp_path: Path) -> None:
    long = "y" * 3000
    records = [said(1, "a"), said(2, long, parent=1), said(3, "b", parent=2), said(4, long, parent=3)]
    path = write(tmp_path / "a.jsonl", lines(records))
    assert log.import_from("claude", path, max_line_bytes=1000).total.quarantined_records == 2
    assert log.retry_imports().total.understood_records == 2
    assert [message.message_id for message in log.sessions.thread(SESSION)] == [uuid(n) for n in (1, 2, 3, 4)]
    assert log.projections.verify() == []


def test_one_of_two_in_a_line_is_read_later(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = lines([said(1, "a")])[:-1] + b"   " + lines([said(2, "b", parent=1), said(3, "c", parent=2)])
    path = write(tmp_path / "a.jsonl", content)
    take = ClaudeReader.take

    def full(reader: ClaudeReader, value: dict[str, Any], piece: Piece) -> Native:
        if value["uuid"] == uuid(2):
            raise InvalidInput("no place for it")
        return take(reader, value, piece)

    with monkeypatch.context() as patch:
        patch.setattr(ClaudeReader, "take", full)
        assert log.import_from("claude", path).total.quarantined_records == 1
    assert not log.retry_imports().partial
    (source,) = log.imports.list()
    assert (source.records, source.understood_records, source.quarantined_records) == (3, 3, 0)
    assert source.understood_bytes + source.blank_bytes == len(content)


@pytest.mark.parametrize(
    ("first", "then"),
    [(b'{"half', b'{"half of it}\n'), (b'{"half', b'{"half of it'), (b"{bad}\n" + b" " * 400 + b"\n", b"{worse}\n")],
)
def test_what_is_bad_at_the_place_of_something_bad_is_told(log: Log, tmp_path: Path, first: bytes, then: bytes) -> None:
    good = lines([said(1, "hello")])
    path = write(tmp_path / "a.jsonl", good + first)
    log.import_from("claude", path)
    write(path, good + then, age_s=900)
    assert log.import_from("claude", path).partial
    (source,) = log.imports.list()
    assert (source.records, source.quarantined_records) == (2, 1)
    assert source.quarantined_bytes == len(then.rstrip(b"\n"))
    assert [bad.length_bytes for bad in log.imports.quarantined(source.source_id)] == [source.quarantined_bytes]


def test_a_session_begins_with_what_has_a_time_and_is_called_after_its_first_question(log: Log, tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        {"type": "summary", "summary": "What it was about", "leafUuid": uuid(2)},
        {"type": "file-history-snapshot", "messageId": uuid(1), "snapshot": {}},
        said(1, "<command-name>/clear</command-name>"),
        said(2, "Why is the checkout slow?\nIt takes a minute.", parent=1),
        said(3, "And now?", parent=2),
    ]
    path = write(tmp_path / f"{SESSION}.jsonl", lines(records))
    write(tmp_path / "22222222-2222-4222-8222-222222222222.jsonl", lines(records[:1]))
    log.import_from("claude", tmp_path)
    (session,) = log.sessions.list()
    assert (session.session_id, session.title) == (SESSION, "Why is the checkout slow?")
    assert session.created_at == 1_757_239_201_000_000
    assert session.workspace_id is not None
    assert len(log.sessions.summaries(SESSION)) == 1
    write(path, path.read_bytes() + lines([{"type": "ai-title", "aiTitle": "Slow checkout", "sessionId": SESSION}]))
    log.import_from("claude", path)
    assert log.sessions.get(SESSION).title == "Slow checkout"
    write(path, path.read_bytes() + lines([said(4, "Thanks", parent=3)]), age_s=60)
    log.import_from("claude", path)
    assert log.sessions.get(SESSION).title == "Slow checkout"
    assert log.projections.verify() == []


def test_a_secret_that_hangs_on_something_is_masked(log: Log, tmp_path: Path) -> None:
    tokens = ["ghp_" + "a1B2" * 10, "sk-ant-api03-" + "x9Y8" * 8, "AKIA" + "Q" * 16]
    texts = [f"{before}{token}" for token in tokens for before in ("x-", "key_", "v.", "(", "\n")]
    log.import_from("claude", write(tmp_path / "a.jsonl", lines(said(n, text) for n, text in enumerate(texts))))
    stored = "".join(record.data for record in log.read())
    assert not [token for token in tokens if token in stored]


def test_secrets_are_counted_where_they_are(log: Log, tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", lines([said(1, "ghp_" + "a1B2" * 10)]))
    write(tmp_path / "b.jsonl", lines([said(2, "nothing")]))
    report = log.import_from("claude", tmp_path)
    assert [source.counts.secrets for source in report.sources] == [1, 0]
    assert [source.secrets for source in log.imports.list()] == [1, 0]


def test_what_is_no_transcript_is_refused(log: Log, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="nothing that claude would have written"):
        log.import_from("claude", tmp_path / "empty")
    database = write(tmp_path / "x.db", b"SQLite format 3\0" + b"\0" * 5000)
    report = log.import_from("claude", database)
    assert (report.sources[0].status, report.total.records) == ("failed", 0)
    assert log.head().position == 0


def test_a_file_of_many_batches_is_read_once_from_its_start_to_its_end(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventlog.importers.intake.BATCH_BYTES", 300_000)
    records = [said(n, f"{n} " + "x" * (n * 7 % 7000), parent=n - 1 if n else None) for n in range(900)]
    path = write(tmp_path / "a.jsonl", lines(records))
    assert path.stat().st_size > 3 << 20, "more than the reader takes from the disk at once"
    report = log.import_from("claude", path)
    assert report.total.understood_bytes == path.stat().st_size
    assert [row.message_id for row in rows(log, MESSAGES, ["position"])] == [uuid(n) for n in range(900)]
    assert len([1 for record in log.read(types=["import.source_advanced"])]) > 5
