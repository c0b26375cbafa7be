"""Words of rows, kept like any table: found inline, caught up, rebuilt in one process or many, rolled back, as of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec import Raw

import eventlog
from eventlog.app import Log
from eventlog.errors import InvalidEvent
from eventlog.events.agents import MessageAdded, SummaryAdded, TextPart, ToolCallFinished
from eventlog.events.runs import RunStarted
from eventlog.projection import parallel
from eventlog.store.base import Filter, QueryReader
from eventlog.store.searching import parse
from projections.search import projections
from tests.conftest import OpenLog
from tests.projections.reference import check_every_way

DOCUMENTS = projections[0].table
TEXTS = (
    "the red fox",
    "a red herring and the dog",
    "naïve café",
    "東京都に行く",
    "time timeout timer",
    "the end\0the fox",
)


def fill(log: Log, texts: Sequence[str] = TEXTS) -> None:
    """A message a text, in two sessions; the days are one apart."""
    for number, text in enumerate(texts):
        log.append(
            f"session-{number % 2}",
            MessageAdded(
                message_id=str(number), role="user" if number % 3 else "assistant", parts=(TextPart(text=text),)
            ),
            occurred_at=1_700_000_000_000_000 + number * 86_400_000_000,
        )


def found(reader: QueryReader, query: str, *where: Filter, limit: int | None = None) -> list[int]:
    """Positions, newest first."""
    conditions = [Filter("", "match", parse(query)), *where]
    rows = reader.select(DOCUMENTS, conditions, order=("-position",), limit=limit)
    if limit is None:
        assert reader.count(DOCUMENTS, conditions) == len(rows)
    return [row.position for row in rows]


def ask(log: Log, query: str, *where: Filter, limit: int | None = None) -> list[int]:
    log.projections.ensure(DOCUMENTS.name)
    with log.reader() as reader:
        return found(reader, query, *where, limit=limit)


def test_words_phrases_prefixes_and_what_is_left_out(log: Log) -> None:
    fill(log)
    assert ask(log, "red") == [2, 1]
    assert ask(log, "RED the") == [2, 1]
    assert ask(log, '"the red"') == [1]
    assert ask(log, '"red the"') == []
    assert ask(log, "red -herring") == [1]
    assert ask(log, "fox OR dog red") == [2, 1]
    assert ask(log, "NAIVE") == ask(log, "café") == ask(log, "cafe naïve") == [3]
    assert ask(log, "time*") == ask(log, "timeout") == [5]
    assert ask(log, "tim") == []
    assert ask(log, "東京") == ask(log, "京都") == ask(log, "都") == ask(log, "行く") == ask(log, "く") == [4]
    assert ask(log, "東都") == []
    assert ask(log, "fox", limit=1) == [6]
    assert ask(log, "end.the") == [6]


def test_conditions_on_columns_hold_beside_the_words(log: Log) -> None:
    fill(log)
    assert ask(log, "the") == [6, 2, 1]
    assert ask(log, "the", Filter("role", "=", "assistant")) == [1]
    assert ask(log, "the", Filter("stream", "=", "session-1")) == [6, 2]
    assert ask(log, "the", Filter("stream", "in", ("session-1", "session-7")), Filter("kind", "=", "message")) == [6, 2]
    assert ask(log, "the", Filter("stream", "in", ())) == ask(log, "the", Filter("kind", "=", "note")) == []
    day = 1_700_000_000_000_000 + 86_400_000_000
    assert ask(log, "the", Filter("occurred_at", ">=", day)) == [6, 2]
    assert ask(log, "the", Filter("occurred_at", "<", day)) == [1]
    assert ask(log, "the", Filter("occurred_at", ">=", day), Filter("occurred_at", "<=", day)) == [2]
    assert ask(log, "the", Filter("position", "<", 6)) == [2, 1]
    with log.reader() as reader:
        where = [Filter("", "match", parse("the"))]
        assert reader.totals(DOCUMENTS, ("role",), ("*",), where) == [("assistant", 1), ("user", 2)]


def test_what_was_rolled_back_is_not_found_and_then_found_once(log: Log) -> None:
    fill(log)
    log.projections.rollback(3)
    assert ask(log, "fox") == [1]
    with log.projections.as_of(6) as past, past.reader() as reader:
        assert found(reader, "fox") == [6, 1]
    log.projections.rollback(5)
    assert ask(log, "time") == [5]
    log.projections.resume()
    assert ask(log, "fox") == [6, 1]
    fill(log, ["fox again"])
    assert ask(log, "fox") == [7, 6, 1]
    assert log.projections.verify() == []
    log.projections.rebuild()
    assert ask(log, "fox") == [7, 6, 1]


def test_every_version_finds_what_there_was(log: Log) -> None:
    fill(log)
    for version in range(7):
        expected = [position for position in (6, 1) if position <= version]
        with log.projections.as_of(version) as past, past.reader() as reader:
            assert found(reader, "fox") == expected
            assert found(reader, "fox", limit=1) == expected[:1]


def test_as_of_where_the_table_lags(open_log: OpenLog) -> None:
    log = open_log(projections="deferred")
    for _ in range(3):
        fill(log)
    log.projections.catch_up()
    fill(log, ["a late fox"])
    with log.projections.as_of(19) as past, past.reader() as reader:  # near: what came since is laid over
        assert found(reader, "fox") == [19, 18, 13, 12, 7, 6, 1]
        assert found(reader, "late") == [19]
        assert found(reader, "fox", limit=2) == [19, 18]
    log.projections.rollback(2)
    with log.projections.as_of(19) as past, past.reader() as reader:  # far: folded from the start
        assert found(reader, "fox") == [19, 18, 13, 12, 7, 6, 1]


@pytest.mark.alike
def test_every_way_to_the_table_agrees(log: Log) -> None:
    fill(log, TEXTS[:2])
    log.append(
        "session-1", ToolCallFinished(tool_call_id="c", outcome="ok", result=Raw(b'[{"type":"text","text":"dug"}]'))
    )
    log.append("session-1", SummaryAdded(text="about foxes"))
    log.append("run-1", RunStarted(command="make fox"))
    check_every_way(log)
    assert ask(log, "fox*") == [5, 4, 1]
    assert ask(log, "dug") == [3]
    assert ask(log, "text") == []


@pytest.mark.shared
@pytest.mark.alike
def test_a_rebuild_in_several_processes_has_every_word(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "MIN_EVENTS", 1)
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    fill(log)
    log.projections.rebuild(["search_documents"])
    assert ask(log, "fox") == [6, 1]
    assert ask(log, "red") == [2, 1]
    fill(log, ["red"])
    assert ask(log, "red") == [7, 2, 1]
    assert ask(log, "the", Filter("stream", "=", "session-1")) == [6, 2]


def test_verify_tells_rows_without_words(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with eventlog.open(path) as log:
        fill(log, [*TEXTS, "long " * 2000])
        log.projections.ensure("search_documents")
        assert log.projections.verify() == []
        with log.transaction() as tx:
            tx.transaction.writer.execute("DELETE FROM search_documents__words_docsize WHERE id = 2")  # type: ignore[attr-defined]
            tx.transaction.writer.execute("DELETE FROM search_documents__words_late")  # type: ignore[attr-defined]
        assert [one.key for one in log.projections.verify(["search_documents"])] == [(2,)]
        log.projections.rebuild(["search_documents"])
        assert log.projections.verify() == []
        assert ask(log, "herring") == [2]


def test_what_is_nested_too_deeply_is_searched_as_it_stands(log: Log) -> None:
    deep = b"[" * 5000 + b'"deep fox"' + b"]" * 5000
    try:
        log.append("session-1", ToolCallFinished(tool_call_id="c", outcome="ok", result=Raw(deep)))
    except InvalidEvent:
        return
    assert log.projections.status()[0].state == "live"
    assert ask(log, "deep fox") == [1]


def test_single_appends_do_not_touch_the_words_and_big_ones_do(log: Log) -> None:
    position = lambda: next(one.position for one in log.projections.status() if one.name == DOCUMENTS.name)  # noqa: E731
    fill(log)
    assert position() == 0
    assert ask(log, "fox") == [6, 1]
    assert position() == 6
    many = [MessageAdded(message_id=f"m{n}", role="user", parts=(TextPart(text=f"wolf {n}"),)) for n in range(100)]
    log.append("session-2", many)
    assert position() == 106
    log.append("session-2", SummaryAdded(text="a lone wolf"))
    for number in range(300):
        log.append("other-1", MessageAdded(message_id=f"o{number}", role="user", parts=(TextPart(text="owl"),)))
    assert 106 < position() < 407
    assert len(ask(log, "wolf")) == 101
    assert len(ask(log, "owl")) == 300
    assert log.projections.verify() == []


def test_a_log_that_lags_finds_what_others_appended(open_log: OpenLog) -> None:
    first = open_log()
    off = open_log(projections="off")
    fill(first)
    assert ask(first, "fox") == [6, 1]
    fill(off, ["fox by another"])
    first.append("session-1", [SummaryAdded(text=f"fox {number}") for number in range(70)])
    assert len(ask(first, "fox")) == 73
    assert first.projections.verify() == []
