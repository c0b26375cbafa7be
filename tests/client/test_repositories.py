"""Jobs, queues, workers, schedules, tables and the past through a server; workers and the command line on it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

import eventlog
from eventlog import UnknownEvent
from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.clock import now_us
from eventlog.errors import (
    Conflict,
    IllegalTransition,
    InvalidInput,
    InvalidQuery,
    LogReadOnly,
    NotFound,
    ProjectionPinned,
    ProjectionUnknown,
)
from eventlog.events.workers import WorkerStarted
from eventlog.repositories.jobs import LateResult, NewJob
from tests.client.support import TOKEN, ThreadServer
from tests.conftest import OpenLog
from tests.helpers import Noted, notes
from tests.jobs.worker_support import drain
from tests.projections import things
from tests.web.support import Server

HOUR = 3_600_000_000


def as_json(value: Any) -> Any:
    """Values as JSON has them: there are no tuples in it."""
    return msgspec.json.decode(msgspec.json.encode(list(value)))


# jobs


def test_a_job_lives_from_enqueue_to_completion(log: Log, served: Log) -> None:
    job = log.jobs.enqueue("add", {"a": 1}, queue="q", priority=-1, key="k", max_retries=1)
    assert (
        log.jobs.enqueue("add", {"a": 1}, queue="q", priority=-1, key="k", max_retries=1)
        == job
        == log.jobs.get(job.job_id)
    )
    worker = log.workers.start(WorkerStarted(host="h", pid=1, kinds=("add",)))
    assert log.workers.beat(worker)
    (claimed,) = log.jobs.claim(worker, queues=["q"], kinds=["add"])
    token = claimed.token or 0
    assert log.jobs.progress(job.job_id, token, 1, 2, "half").progress_done == 1
    failed = log.jobs.fail(job.job_id, token, "ValueError", "no", retry_at=now_us() - 1)
    assert (failed.status, failed.failures) == ("queued", 1)
    (again,) = log.jobs.claim(worker)
    assert log.jobs.complete(job.job_id, again.token or 0, {"sum": 3}).result == {"sum": 3}
    assert log.jobs.complete(job.job_id, again.token or 0, {"sum": 3}).status == "completed"
    with pytest.raises(LateResult) as late:
        log.jobs.fail(job.job_id, token, "ValueError")
    assert (late.value.facts["job_id"], late.value.facts["token"]) == (job.job_id, token)
    with pytest.raises(IllegalTransition, match="is completed") as refused:
        log.jobs.cancel(job.job_id)
    assert refused.value.facts["status"] == "completed"
    assert log.jobs.retry(job.job_id, force=True).status == "queued"
    assert log.jobs.change(job.job_id, priority=5).priority == 5
    assert log.jobs.cancel(job.job_id, "anna", "enough").status == "cancelled"
    assert [one.attempt for one in log.jobs.attempts(job.job_id)] == [1, 2]
    assert log.jobs.explain(job.job_id) == served.jobs.explain(job.job_id)
    assert [one.type for one in log.jobs.events(job.job_id)] == [one.type for one in served.jobs.events(job.job_id)]
    log.jobs.delete(job.job_id)
    assert log.jobs.find(job.job_id) is None
    with pytest.raises(NotFound):
        log.jobs.get(job.job_id)
    log.workers.stop(worker, "done")
    assert log.workers.get(worker).status == "stopped"


def test_many_jobs_and_every_question_about_them(log: Log, served: Log) -> None:
    ids = log.jobs.enqueue_many(NewJob(kind=f"k{number % 2}", queue="q", args={"n": number}) for number in range(1200))
    assert [job.job_id for job in log.jobs.list(limit=None)] == ids[::-1]
    assert [job.job_id for job in log.jobs.list(limit=1100, kind="k1", status=["queued", "held"])] == ids[::-2]
    assert log.jobs.list(limit=3, before=ids[5]) == served.jobs.list(limit=3, before=ids[5])
    assert log.jobs.list(limit=0) == []
    assert [job.job_id for job in log.jobs.get_pending()] == ids
    for by in (("status",), ("queue", "kind"), ("status", "queue", "kind")):
        assert log.jobs.counts(by) == served.jobs.counts(by)
    assert log.jobs.count(status="queued", kind="k0") == 600
    assert log.jobs.history(limit=2, offset=1) == served.jobs.history(limit=2, offset=1)
    first, second = log.jobs.claim("w", limit=2)
    assert log.jobs.processing() == [first, second]
    done = log.jobs.complete_and_claim(first.job_id, first.token or 0, 1, worker_id="w", limit=1)
    assert (done.job.status, len(done.claimed)) == ("completed", 1)
    last = done.claimed[0]
    results = [(second.job_id, second.token or 0, None), (last.job_id, last.token or 0, [1])]
    assert [job and job.status for job in log.jobs.complete_many(results)] == ["completed"] * 2
    (other,) = log.jobs.claim("gone")
    (taken,) = log.jobs.crash([(other.job_id, other.token or 0)], "process_gone", "pid 7 is gone")
    assert (taken.status, taken.crashes) == ("queued", 1)
    assert log.jobs.crash([(other.job_id, other.token or 0)], "process_gone", "again") == []
    (held,) = log.jobs.claim("w")
    assert log.jobs.snooze(held.job_id, held.token or 0, now_us() + HOUR).status == "queued"
    (held,) = log.jobs.claim("w")
    assert log.jobs.release(held.job_id, held.token or 0).status == "queued"
    assert log.jobs.purge(now_us() + HOUR, ("completed",), dry_run=True) == 3
    assert log.jobs.purge(now_us() + HOUR, ("completed",)) == 3
    assert log.statistics.jobs(by="kind") == served.statistics.jobs(by="kind")


def test_what_a_job_cannot_be_is_refused_as_by_the_log_itself(log: Log) -> None:
    for wrong in ({"kind": ""}, {"kind": "k", "colour": "red"}, {"kind": "k", "args": {"x": float("nan")}}):
        with pytest.raises(InvalidInput):
            log.jobs.enqueue(**wrong)
    log.jobs.enqueue("k", unique_key="one")
    with pytest.raises(Conflict, match="has the unique key 'one'"):
        log.jobs.enqueue("k", unique_key="one")
    assert log.jobs.enqueue("k", unique_key="one", if_exists="return").kind == "k"
    with pytest.raises(InvalidQuery, match="queue"):
        log.jobs.list(queue="")
    assert log.jobs.list(text="") == log.jobs.list()


def test_queues_workers_and_schedules(log: Log, served: Log) -> None:
    log.jobs.enqueue("k", queue="a/b c")
    assert log.queues.pause("a/b c", "anna", "lunch").paused_by == "anna"
    assert log.queues.find("a/b c") == served.queues.find("a/b c")
    assert log.jobs.claim("w") == []
    assert not log.queues.resume("a/b c").paused
    assert log.queues.limit("a/b c", 3).max_running == 3
    assert log.queues.limit("a/b c", None).max_running is None
    assert log.queues.list() == served.queues.list()
    assert log.queues.find("a/b c") is None
    worker = log.workers.start(WorkerStarted(host="h", lock_path="/not/yours"), "w1")
    assert worker == "w1" and log.workers.get("w1").lock_path is None
    assert log.workers.lost("w1", "process_gone", "gone") and not log.workers.lost("w1", "process_gone", "gone")
    assert not log.workers.beat("w1")
    assert [one.status for one in log.workers.list()] == ["lost"]
    made = log.schedules.set("nightly", "0 3 * * *", "k", {"x": 1}, time_zone="Europe/Berlin", priority=3)
    assert made == served.schedules.get("nightly") == log.schedules.find("nightly")
    assert log.schedules.pause("nightly").paused and not log.schedules.resume("nightly").paused
    assert log.schedules.fire_due() == []
    log.schedules.remove("nightly", by="anna")
    assert log.schedules.list() == []


# the log and its tables


def test_what_needs_a_transaction_is_refused_and_says_so(log: Log) -> None:
    for needs in (
        lambda: log.transaction().__enter__(),
        lambda: log.decide(lambda tx: None),
        lambda: log.import_records(list(log.read())),
        lambda: log.projections.rows("runs"),
        lambda: log.projections.catch_up(),
    ):
        log.append("note-1", Noted())
        with pytest.raises(InvalidInput, match="needs the log itself"):
            needs()


def test_tables_are_rolled_back_resumed_compared_and_explained(log: Log, served: Log) -> None:
    log.runs.start("one")
    log.runs.start("two")
    head = log.head().position
    assert log.projections.status() == served.projections.status()
    assert log.projections.names() == served.projections.names()
    assert log.projections.rollback(head - 1, ["runs"]) == head - 1
    with pytest.raises(ProjectionPinned, match="projections resume") as pinned:
        log.runs.start("three")
    assert pinned.value.facts == {"name": "runs", "position": head - 1}
    with pytest.raises(ProjectionPinned):
        log.projections.require("runs")
    log.projections.resume()
    log.projections.rebuild("runs")
    assert [run.command for run in log.runs.list()] == ["two", "one"]
    assert as_json(log.projections.diff(head - 1, head)) == as_json(served.projections.diff(head - 1, head))
    assert as_json(log.projections.explain("runs", 2)) == as_json(served.projections.explain("runs", 2))
    assert log.projections.verify() == []
    with pytest.raises(ProjectionUnknown):
        log.projections.rebuild(["nothing"])


def test_the_past_answers_and_takes_no_commands(log: Log, served: Log) -> None:
    log.projects.add("p")
    run = log.runs.start("one", project_id="p")
    job = log.jobs.enqueue("k")
    middle = log.head()
    log.runs.finish_success(run.run_id)
    log.projects.delete("p")
    log.queues.pause("default")
    version = middle.position
    for asked in (version, str(version)):
        with log.as_of(asked) as past:
            assert past.version == version
            assert past.runs.get(1).status == "running" and past.runs.list()[0].status == "running"
            assert past.projects.find("p") is not None and past.runs.count(status="running") == 1
            assert past.jobs.get(job.job_id).status == "queued" and not past.queues.get("default").paused
            assert past.statistics.runs()[0].running == 1
            assert [record.type for record in past.read_stream("run-1")] == ["run.started"]
            assert len(past.runs.history(1)) == 1
            for command in (
                lambda: past.runs.update(1, note="x"), lambda: past.runs.note(1, "x"),
                lambda: past.jobs.cancel(job.job_id), lambda: past.projects.add("q"), lambda: past.runs.start("x"),
            ):  # fmt: skip
                with pytest.raises(LogReadOnly):
                    command()
    assert log.projections.version(datetime.now(UTC)) == log.head().position
    assert log.projections.version("2001-01-01") == log.projections.version("yesterday") == 0
    with log.as_of("now") as past, pytest.raises(InvalidInput, match="needs the log itself"):
        past.projections.rows("runs")
    for wrong in (version + 1000, "the other day", True, -1):
        with pytest.raises(InvalidQuery):
            log.as_of(wrong).__enter__()


def test_an_event_of_a_newer_schema_keeps_it(log: Log, served: Log) -> None:
    log.append("app-1", UnknownEvent(tag="app.changed", data={"x": 1}, schema=3))
    assert [record.schema for record in served.read()] == [3]


def test_data_with_line_ends_comes_through_a_stream_byte_for_byte(log: Log, served: Log) -> None:
    served.append("note-1", Noted(text="x"))
    encoded = served.codec.encode_raw("test.noted", 1, b'{"type":"test.noted",\r\n"text":"x"}')
    with served.transaction() as tx:
        tx.transaction.append(("note-1", [encoded], eventlog.ANY, None, 1, None, None, None, None))
    followed = [record.row for _, record in zip(range(2), log.follow(0), strict=False)]
    assert followed == [record.row for record in served.read()] == [record.row for record in log.read()]


def test_a_log_for_reading_takes_no_commands(open_log: OpenLog) -> None:
    log = open_log(mode="r")
    for command in (
        lambda: log.append("note-1", Noted()), lambda: log.jobs.enqueue("k"), lambda: log.projections.rebuild(),
    ):  # fmt: skip
        with pytest.raises(LogReadOnly):
            command()
    assert log.jobs.list() == []


def test_projections_of_ones_own_are_the_servers(target: str) -> None:
    with pytest.raises(InvalidInput, match="those of its server"):
        eventlog.open(target, extra_projections=eventlog_projections())


def test_a_table_of_a_projection_that_only_the_server_has_is_verified(
    thread_server: ThreadServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTLOG_TOKEN", TOKEN)
    with eventlog.open(":memory:", extra_projections=things.everything()) as served:
        thread_server.serve(served)
        said = Cli(thread_server.url)("projections", "verify", "things")
        thread_server.rest()
    assert "not checked" not in said.stderr and "the tables are what the events say" in said.stdout


def eventlog_projections() -> Any:
    from projections.projects import projections

    return projections


# workers and the command line


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_a_worker_does_jobs_of_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    monkeypatch.chdir(tmp_path)
    server = Server(str(tmp_path / "log.db"))
    monkeypatch.setenv("EVENTLOG_TOKEN_FILE", server.token_file)
    with eventlog.open(server.url) as log:
        added = [log.jobs.enqueue("add", {"a": number, "b": 1}) for number in range(3)]
        failed = log.jobs.enqueue("fail", {"message": "so"}, max_retries=0)
        shell = log.jobs.enqueue("shell", {"argv": ["sh", "-c", "echo hello"]})
        assert drain(log, mode=mode, concurrency=2) == 5
        assert [log.jobs.get(job.job_id).result for job in added] == [1, 2, 3]
        assert log.jobs.get(failed.job_id).error_message == "so"
        assert log.jobs.get(shell.job_id).status == "completed"
        (run,) = log.runs.list(job_id=shell.job_id)
        assert [said.text for said in log.runs.output(run.run_id)][:1] == ["hello\n"]
        assert [worker.status for worker in log.workers.list()] == ["stopped"]
    server.stop()


class Cli:
    """Calls the command line on one log."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *words: object, status: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["--db", self.url, *map(str, words)])
        assert result.exit_code == status, (words, result.exit_code, result.stdout, result.stderr, result.exception)
        return result

    def json(self, *words: object) -> Any:
        return json.loads(self(*words, "--json").stdout)


def test_the_command_line_works_on_a_server(target: str, served: Log) -> None:
    run = Cli(target)
    assert run("log", "append", "note-1", "note.taken", '{"x": 1}').stdout == "position 1, version 1 of note-1\n"
    assert run.json("log", "head") == {"position": 1, "hash": served.head().hash.hex()}
    assert [record["type"] for record in run.json("log", "read")] == ["note.taken"]
    assert [record["position"] for record in run.json("log", "tail", "-n", "1")] == [1]
    assert run.json("log", "verify")["ok"]
    served.runs.start("train.py", project_id="p")
    run("projects", "add", "p")
    assert run.json("projects", "list")[0]["project_id"] == "p"
    assert [one["command"] for one in run.json("runs", "list", "--project", "p")] == ["train.py"]
    assert run.json("runs", "show", "1")["status"] == "running"
    run("runs", "update", "1", "--note", "n", "--tag", "a=b")
    assert run.json("runs", "list", "--tag", "a=b", "--as-of", served.head().position)[0]["note"] == "n"
    assert run.json("stats", "runs")[0]["runs"] == 1
    run("jobs", "enqueue", "--kind", "k")
    (job,) = run.json("jobs", "list")
    assert run.json("jobs", "show", job["job_id"])["status"] == "queued"
    assert run.json("jobs", "explain", job["job_id"])["status"] == "queued"
    run("jobs", "pause", "default")
    assert run.json("jobs", "queues")[0]["paused"]
    run("jobs", "cancel", job["job_id"])
    run("jobs", "retry", job["job_id"])
    assert run.json("jobs", "history")
    assert run.json("jobs", "watch")["queues"][0]["queue"] == "default"
    assert run.json("projections", "status")[0]["state"] == "live"
    assert "rebuilt at version" in run("projections", "rebuild", "runs").stdout
    assert run.json("projections", "explain", "runs", "1")["row"]["note"] == "n"
    run("runs", "delete", "1", "--yes")
    assert served.runs.count() == 0


def test_commands_that_need_the_log_itself_say_so(target: str, tmp_path: Path) -> None:
    for words in (
        *[("db", word) for word in ("status", "migrate", "check")],
        ("db", "backup", tmp_path / "b"),
        ("serve", "--port", "0"),
        ("projections", "follow"),
    ):
        assert "the log itself" in Cli(target)(*words, status=1).stderr, words


def test_the_configuration_of_a_server_is_shown_without_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTLOG_TOKEN", "my-own-secret")
    shown = Cli("http://localhost:8411")("config", "show").stdout
    assert "http://localhost:8411" in shown and "***" in shown and "my-own-secret" not in shown


def test_pages_of_runs_follow_each_other_in_whichever_order(
    log: Log, served: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        served.runs.start(f"{number}", started_at=1_000_000 * (number % 3 + 1))
    monkeypatch.setattr("eventlog.client.calls.MOST_ROWS", 2)
    for filters in ({}, {"from_at": 0}, {"to_at": 3_000_000}, {"from_at": 0, "offset": 1}):
        assert log.runs.list(**filters, limit=None) == served.runs.list(**filters, limit=None)
        assert log.runs.list(**filters, limit=3) == served.runs.list(**filters, limit=3)


def test_reading_goes_on_where_a_page_ends(log: Log, served: Log) -> None:
    served.append("note-1", notes(450))
    assert len(log.runs.list()) == 0
    assert len(list(log.read(0, 300, limit=280))) == 280
