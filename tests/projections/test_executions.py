"""Executions and what is around them: tables the same every way, indexes that are used, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import eventlog
from eventlog.app import Log
from eventlog.codec import MAX_EVENT_BYTES
from eventlog.errors import EventLogError, IllegalTransition, InvalidInput, LogReadOnly, NotFound
from eventlog.repositories.executions import MAX_OUTPUT_BYTES, ExecutionHistory
from projections.containers import Container
from projections.contests import Contest, ContestProblem
from projections.executions import projections as _projections
from projections.settings import Setting
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike
EXECUTIONS = _projections[0]
DAY_US = 86_400_000_000


def test_tables_are_the_same_every_way(log: Log) -> None:
    contest = log.contests.save(Contest("abc300", "ABC 300"))
    log.problems.save(ContestProblem("abc300_a", "A", "abc300"))
    log.problems.save(ContestProblem("abc300_a", "A", "abc300", time_limit_us=2_000_000))
    for number in range(3):
        log.executions.start("A", "rust", id=f"e{number}", started_at=number * DAY_US, contest_id="abc300")
    log.executions.finish("e0", "accepted", duration_us=12_000, stdout="1\n")
    first = log.executions.finish("e1", "wrong_answer", duration_us=900_000, stderr="x")
    log.executions.save(replace(first, status="accepted", started_at=7, stdout="new"))
    log.executions.delete("e0")
    log.settings.set("language", ["rust", None])
    log.settings.set("language", True)
    log.settings.set("language", 1)
    log.settings.unset("language")
    log.containers.create("rust", container_id="c")
    log.containers.start("c")
    log.containers.stop("c", exit_code=1)
    log.containers.remove("c")
    log.problems.delete("abc300_a")
    log.contests.delete(contest.contest_id)
    check_every_way(log)


@pytest.mark.feature("S0-5")
def test_every_repository_has_find_find_all_save_and_delete(log: Log) -> None:
    things: list[tuple[Any, Any, str]] = [
        (log.executions, ExecutionHistory(id="e", problem_name="A", language="rust", started_at=1), "e"),
        (log.contests, Contest("abc300", "ABC 300"), "abc300"),
        (log.problems, ContestProblem("abc300_a", "A", "abc300"), "abc300_a"),
        (log.settings, Setting("language", "rust"), "language"),
        (log.containers, Container("c", "rust:1.70", status="removed"), "c"),
    ]
    for repository, thing, name in things:
        assert repository.find(name) is None and repository.find_all() == []
        saved = repository.save(thing)
        assert repository.find(name) == saved
        (row,) = repository.find_all()
        assert getattr(row, row.__struct_fields__[0]) == name
        repository.delete(name)
        assert repository.find(name) is None and repository.find_all() == []
        with pytest.raises(NotFound):
            repository.delete(name)


QUESTIONS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"problem_name": "p3", "status": "accepted", "limit": 1}, ("problem_name", "status", "started_at", "id")),
    ({"problem_name": "p3"}, ("problem_name", "started_at", "id")),
    ({"contest_id": "c3"}, ("contest_id", "started_at", "id")),
    ({"language": "rust"}, ("language", "started_at", "id")),
    ({"status": "running"}, ("status", "started_at", "id")),
    ({"from_at": 5, "to_at": 9}, ("started_at", "id")),
    ({}, ("started_at", "id")),
]


@pytest.mark.feature("S0-11")
def test_each_index_serves_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite: found by the index, in its order, and nothing is sorted."""
    from eventlog.store.sql import SqlReader

    seen: list[str] = []
    with eventlog.open(":memory:") as log:
        with log.transaction():
            for number in range(200):
                log.executions.start(
                    f"p{number % 20}",
                    "rust" if number % 2 else "c++",
                    contest_id=f"c{number % 10}",
                    started_at=number,
                    id=f"e{number}",
                )
        above = SqlReader.select

        def spied(self: Any, *arguments: Any, **options: Any) -> Any:
            execute = self.execute

            def noted(sql: str, values: Any = ()) -> Any:
                plan = execute(f"EXPLAIN QUERY PLAN {sql}", tuple(values)).fetchall()
                names = {row[1]: row[2] for row in execute("SELECT * FROM sqlite_schema").fetchall()}
                indexes = {
                    name: tuple(row[2] for row in execute(f"PRAGMA index_info('{name}')").fetchall()) for name in names
                }
                seen.append(str([row[3] for row in plan]))
                used.extend(columns for name, columns in indexes.items() if columns and f"INDEX {name} " in seen[-1])
                used.extend(
                    columns for name, columns in indexes.items() if columns and seen[-1].endswith(f"INDEX {name}']")
                )
                return execute(sql, values)

            self.execute = noted
            try:
                return above(self, *arguments, **options)
            finally:
                self.execute = execute

        used: list[tuple[str, ...]] = []
        monkeypatch.setattr(SqlReader, "select", spied)
        served = set()
        for question, index in QUESTIONS:
            used.clear()
            log.executions.find_all(**question)
            assert used == [index], (question, seen[-1])
            assert "TEMP B-TREE" not in seen[-1], seen[-1]
            served.add(index)
    assert served == set(EXECUTIONS.table.indexes)


def test_long_outputs_keep_their_end_and_their_size(log: Log) -> None:
    execution = log.executions.start("A", "rust")
    out, err = "0123456789" * 200_000 + "the end", "\0" * 300_000 + "ü" * 300_000
    done = log.executions.finish(execution.id, "output_limit", stdout=out, stderr=err)
    assert out.endswith(done.stdout) and len(done.stdout) == MAX_OUTPUT_BYTES - 2
    assert err.endswith(done.stderr) and len(done.stderr) == MAX_OUTPUT_BYTES // 2 - 1
    assert (done.stdout_bytes, done.stderr_bytes) == (2_000_007, 900_000)
    assert all(len(record.data) < MAX_EVENT_BYTES for record in log.read())
    position = log.head().position
    assert log.executions.save(done) == done
    assert log.head().position == position
    whole = log.executions.save(
        ExecutionHistory(problem_name="A", language="c", status="accepted", stdout="x" * 400_000)
    )
    assert len(whole.stdout) == whole.stdout_bytes == 400_000


def test_secrets_are_not_kept(log: Log) -> None:
    execution = log.executions.start("A", "rust", command="./a --token=s3cret-s3cret")
    log.executions.finish(execution.id, "accepted", stdout="password=hunter2222\n42\n")
    assert log.executions.get(execution.id).stdout.endswith("\n42\n")
    assert not any(secret in record.data for record in log.read() for secret in ("s3cret", "hunter2222"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("atcoder.password", "x"),
        ("judge/password", "x"),
        ("judgePassword", "x"),
        ("api key", "x"),
        ("judge:secret/name", ["x"]),
        ("API_TOKEN", 12345),
        ("REVEL_SESSION", "abc"),
        ("judge", {"url": "https://example.org", "api_key": ["x"]}),
        ("headers", "Authorization: Bearer abcdef0123456789"),
        ("remote", ["https://anna:hunter2@example.org"]),
    ],
)
def test_a_setting_that_looks_like_a_secret_is_refused_with_the_way_out(log: Log, name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match="environment"):
        log.settings.set(name, value)
    assert log.head().position == 0


@pytest.mark.parametrize("value", ["plain", {"max_tokens": 4096, "keymap": "vi"}, "", None])
def test_other_settings_are_not(log: Log, value: Any) -> None:
    assert log.settings.set("editor", value).value == value


def test_what_cannot_be_is_refused_and_nothing_is_written(log: Log) -> None:
    log.executions.start("A", "rust", id="e", started_at=5)
    log.executions.finish("e", "accepted")
    log.executions.start("A", "rust", id="running", started_at=-(2**52))
    log.containers.create("rust", container_id="c")
    held = log.containers.get("c")
    execution = log.executions.get("e")
    position = log.head().position
    uses: list[Any] = [
        lambda: log.executions.start("", "rust"),
        lambda: log.executions.start("A", "x" * 201),
        lambda: log.executions.start("A", "rust", id="a\nb"),
        lambda: log.executions.start("A", "rust", id="e"),
        lambda: log.executions.start("A", "rust", command="x" * 20_000),
        lambda: log.executions.finish("e", "accepted"),
        lambda: log.executions.finish("none", "accepted"),
        lambda: log.executions.finish("e", "running"),
        lambda: log.executions.finish("running", "accepted", duration_us=-1),
        lambda: log.executions.finish("running", "accepted", duration_us=2**62),
        lambda: log.executions.finish("running", "accepted", stdout="\ud800"),
        lambda: log.executions.finish("running", "accepted", stdout=b"bytes"),  # type: ignore[arg-type]
        lambda: log.executions.save(replace(execution, started_at=-(2**60), duration_us=1)),
        lambda: log.executions.save(replace(execution, started_at=1, finished_at=2**52, duration_us=None)),
        lambda: log.contests.save(Contest("x", "x", starts_at=2**60)),
        lambda: log.executions.save(replace(execution, finished_at=4)),
        lambda: log.executions.save(replace(execution, id="f", status="running")),
        lambda: log.executions.delete("none"),
        lambda: log.executions.get("none"),
        lambda: log.contests.save(Contest("", "x")),
        lambda: log.contests.save(Contest("x", "")),
        lambda: log.contests.save(Contest("x", "x", starts_at=2, ends_at=1)),
        lambda: log.contests.delete("x"),
        lambda: log.problems.save(ContestProblem("x", "x", time_limit_us=0)),
        lambda: log.settings.set("", 1),
        lambda: log.settings.set("x", float("nan")),
        lambda: log.settings.set("x", object()),
        lambda: log.settings.unset("x"),
        lambda: log.settings.history("x"),
        lambda: log.containers.stop("c"),
        lambda: log.containers.start("none"),
        lambda: log.containers.create("", container_id="d"),
        lambda: log.containers.save(replace(held, image="other")),
        lambda: log.containers.list(status="gone"),
    ]
    for number, use in enumerate(uses):
        with pytest.raises(EventLogError):
            use()
        assert log.head().position == position, number
    log.executions.finish("running", "accepted", finished_at=2**52)  # as far apart as can be
    assert len(log.statistics.executions(by="month")) == 2
    with pytest.raises(IllegalTransition, match="removed"):
        log.containers.remove("c")
        log.containers.save(Container("c", "rust", status="running"))
    with log.as_of(position) as past, pytest.raises(LogReadOnly):
        past.settings.set("x", 1)
    with pytest.raises(NotFound):
        log.contests.get("nothing")


@pytest.mark.feature("S0-12")
def test_statistics_count_and_time_executions(log: Log) -> None:
    for number, (problem, status, took) in enumerate(
        [("A", "accepted", 10_000), ("A", "wrong_answer", 20_000), ("B", "accepted", 30_000), ("A", None, None)]
    ):
        log.executions.start(problem, "rust", id=f"e{number}", started_at=number * DAY_US)
        if status is not None:
            log.executions.finish(f"e{number}", status, duration_us=took)
    a, b = log.statistics.executions(by="problem")
    assert (a.bucket, a.executions, a.statuses, a.ended) == (
        "A",
        3,
        {"accepted": 1, "running": 1, "wrong_answer": 1},
        2,
    )
    assert (a.accepted_rate, a.duration_us_total, b.accepted_rate) == (0.5, 30_000, 1.0)
    assert b.p50_us is not None and abs(b.p50_us - 30_000) < 300
    assert [one.bucket for one in log.statistics.executions(by="day")] == [f"1970-01-0{day}" for day in (1, 2, 3, 4)]
    assert [one.bucket for one in log.statistics.executions(by="status", problem_name="A", since=DAY_US)] == [
        "running", "wrong_answer",
    ]  # fmt: skip
    with log.as_of(2) as past:
        (one,) = past.statistics.executions()
        assert (one.executions, one.ended, one.p50_us) == (1, 1, 9_984 + 64)
