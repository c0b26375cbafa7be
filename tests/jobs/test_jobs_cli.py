"""``eventlog jobs`` and ``eventlog stats jobs``, for people and for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import eventlog
from eventlog import Append
from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.clock import now_us
from eventlog.errors import ProjectionPinned
from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelRequested,
    JobEnqueued,
    JobFailed,
    JobHeld,
    JobProgressed,
    JobStarted,
)
from eventlog.events.workers import QueuePaused, WorkerStarted
from eventlog.ids import uuid7
from eventlog.recorder.capture import user_name
from eventlog.repositories.job_explain import JobExplanation
from eventlog.repositories.jobs import JobPage
from eventlog.repositories.statistics import JobStatistics
from eventlog.repositories.workers import QueueState
from projections.jobs import Job
from tests.integration.test_cli_commands import Cli
from tests.integration.test_cli_hostile import ATTACKS, CONTROL, STYLE

HOUR = 3_600_000_000
ME = user_name() or "cli"


@pytest.fixture
def empty(tmp_path: Path) -> Cli:
    eventlog.open(tmp_path / "log.db").close()
    return Cli(tmp_path / "log.db")


def fill(log: Log) -> None:
    """One job of each state, in two queues; a worker that lives."""
    worker = log.workers.start(WorkerStarted(host="web-1", pid=123, user="ada", concurrency=4))
    ids = [
        log.jobs.enqueue(
            "mail" if number % 2 else "print",
            {"number": number},
            queue="post" if number < 4 else "default",
            batch_id="b" if number < 2 else None,
            priority=number,
            max_retries=0,
            on_crash="ask" if number == 3 else "requeue",
        ).job_id
        for number in range(6)
    ]
    claimed = log.jobs.claim(worker, queues=["post", "default"], limit=5)
    tokens = {job.job_id: job.token or 0 for job in claimed}
    log.jobs.complete(ids[0], tokens[ids[0]], {"pages": 3})
    log.jobs.fail(ids[1], tokens[ids[1]], "ValueError", "no such address")
    log.jobs.cancel(ids[2])
    log.jobs.stopped(ids[2], tokens[ids[2]])
    log.jobs.crash([(ids[3], tokens[ids[3]])], "process_gone", "pid 123 is gone")
    log.jobs.progress(ids[4], tokens[ids[4]], 5, 10, "half")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs") / "log.db"
    with eventlog.open(path) as log:
        fill(log)
    return path


@pytest.fixture
def full(template: Path, tmp_path: Path) -> Cli:
    """completed, failed, cancelled, held, processing and queued: in this order from the oldest on."""
    (tmp_path / "log.db").write_bytes(template.read_bytes())
    return Cli(tmp_path / "log.db")


def ids_of(run: Cli) -> list[str]:
    """From the oldest on."""
    return [job["job_id"] for job in reversed(run.json("jobs", "list"))]


# list, history


def test_a_list_is_an_array_of_the_struct_s_fields(full: Cli) -> None:
    found = full.json("jobs", "list")
    assert set(found[0]) == set(Job.__struct_fields__)
    assert [job["status"] for job in found] == ["queued", "processing", "held", "cancelled", "failed", "completed"]
    with eventlog.open(full.db, mode="r") as log:
        assert msgspec.convert(found, list[Job]) == log.jobs.list()
    lines = full("jobs", "list", "--jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == found


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (("--status", "failed"), [1]),
        (("--status", "failed", "--status", "queued"), [5, 1]),
        (("--queue", "default"), [5, 4]),
        (("--kind", "print"), [4, 2, 0]),
        (("--batch", "b"), [1, 0]),
        (("--text", "such address"), [1]),
        (("--limit", "2"), [5, 4]),
        (("--limit", "2", "--offset", "1"), [4, 3]),
        (("--since", "1h"), [5, 4, 3, 2, 1, 0]),
        (("--until", "1h"), []),
        (("--since", "2100-01-01"), []),
        (("--as-of", "3"), [1, 0]),
    ],
)
def test_filters(full: Cli, options: tuple[str, ...], places: list[int]) -> None:
    ids = ids_of(full)
    assert [job["job_id"] for job in full.json("jobs", "list", *options)] == [ids[place] for place in places]


def test_pages_and_times_and_workers_choose(full: Cli) -> None:
    ids = ids_of(full)
    assert [job["job_id"] for job in full.json("jobs", "list", "--before", ids[2])] == [ids[1], ids[0]]
    assert [job["job_id"] for job in full.json("jobs", "list", "--before", ids[2], "--until", "now")] == ids[1::-1]
    (worker,) = full.json("jobs", "workers")
    assert len(full.json("jobs", "list", "--worker", worker["worker_id"])) == 5
    assert full.json("jobs", "list", "--worker", "nobody") == []


def test_times_choose_by_the_millisecond_in_which_a_job_was_made(empty: Cli) -> None:
    with eventlog.open(empty.db) as log:
        log.jobs.enqueue("a")
        time.sleep(0.005)
        between = now_us()
        time.sleep(0.005)
        log.jobs.enqueue("b")
    stamp = f"@{between / 1_000_000:.6f}"
    assert [job["kind"] for job in empty.json("jobs", "list", "--since", stamp)] == ["b"]
    assert [job["kind"] for job in empty.json("jobs", "list", "--until", stamp)] == ["a"]


def test_a_list_for_people(full: Cli) -> None:
    lines = full("jobs", "list", "--utc").stdout.splitlines()
    assert lines[0].split()[:4] == ["job", "status", "queue", "kind"]
    assert len(lines) == 7
    assert "5/10 half" in lines[2]
    assert "process_gone: pid 123 is gone" in lines[3]
    assert "ValueError: no such address" in lines[5]
    assert all(job_id in line for job_id, line in zip(reversed(ids_of(full)), lines[1:], strict=True))


def test_history_is_a_page_and_how_many_there_are(full: Cli) -> None:
    page = full.json("jobs", "history", "--limit", 2, "--offset", 1)
    assert msgspec.convert(page, JobPage).total == 6
    assert (page["limit"], page["offset"]) == (2, 1)
    assert [job["job_id"] for job in page["jobs"]] == ids_of(full)[4:2:-1]
    assert full.json("jobs", "history", "--status", "failed")["total"] == 1
    assert full("jobs", "history", "--limit", 2).stdout.endswith("\n2 of 6\n")
    assert full.json("jobs", "history", "--as-of", 3)["total"] == 2


# one job


def test_a_job_may_be_named_by_the_end_of_its_id(full: Cli) -> None:
    ids = ids_of(full)
    assert full.json("jobs", "show")["job_id"] == full.json("jobs", "show", "last")["job_id"] == ids[5]
    for name in (ids[1], f"job-{ids[1]}", ids[1][-6:], ids[1][-12:].upper()):
        assert full.json("jobs", "show", name)["job_id"] == ids[1]
    assert "6 characters" in full("jobs", "show", ids[1][-5:], status=1).stderr
    assert "no job whose id" in full("jobs", "show", "zzzzzz", status=1).stderr
    assert full("jobs", "show", uuid7(), status=1).stderr.startswith("error: there is no job ")
    full("jobs", "show", "\udcff" * 8, status=1)


def test_an_end_that_several_ids_have_is_refused(empty: Cli) -> None:
    with eventlog.open(empty.db) as log:
        for name in ("one-abcdef", "two-abcdef"):
            log.append(f"job-{name}", JobEnqueued(kind="abcdef"))
    assert "several jobs" in empty("jobs", "show", "abcdef", status=1).stderr
    assert empty.json("jobs", "show", "o-abcdef")["job_id"] == "two-abcdef"


def test_no_jobs_yet(empty: Cli) -> None:
    assert empty.json("jobs", "list") == []
    assert empty("jobs", "list").stderr == "no jobs\n"
    assert "jobs enqueue" in empty("jobs", "show", status=1).stderr


def test_show_has_the_attempts_the_worker_and_the_runs(full: Cli) -> None:
    ids = ids_of(full)
    with eventlog.open(full.db) as log:
        run = log.runs.start("send the mail", job_id=ids[1])
    found = full.json("jobs", "show", ids[1])
    assert {"worker", "attempts", "runs"} | set(Job.__struct_fields__) == set(found)
    assert found["worker"]["host"] == "web-1"
    assert [(one["attempt"], one["outcome"]) for one in found["attempts"]] == [(1, "failed")]
    assert [one["run_id"] for one in found["runs"]] == [run.run_id]
    text = full("jobs", "show", ids[1]).stdout
    assert "ValueError: no such address" in text
    assert "web-1, pid 123, ada, running" in text
    assert "send the mail" in text
    assert full.json("jobs", "show", ids[1], "--as-of", 3)["status"] == "queued"
    assert full.json("jobs", "show", ids[0])["result"] == {"pages": 3}


def test_explain(full: Cli) -> None:
    ids = ids_of(full)
    found = msgspec.convert(full.json("jobs", "explain", ids[3]), JobExplanation)
    with eventlog.open(full.db) as log:
        assert found == log.jobs.explain(ids[3])
    text = full("jobs", "explain", ids[3]).stdout
    assert text.startswith(f"job {ids[3]} is held\n")
    assert "pid 123 is gone" in text
    assert "- a person has to decide" in text
    assert full.json("jobs", "explain", ids[3], "--as-of", 7)["status"] == "queued"
    full("jobs", "pause", "default", "--reason", "disk full")
    assert f"paused by {ME} at event" in full("jobs", "explain").stdout
    full("jobs", "resume", "default")
    assert "nothing is in its way" in full("jobs", "explain").stdout


# enqueue


def enqueued(run: Cli, *words: object, stdin: str | None = None) -> Any:
    return json.loads(run("jobs", "enqueue", "--json", *words, stdin=stdin).stdout)


def test_enqueue_takes_every_option(empty: Cli) -> None:
    parent = enqueued(empty, "mail")
    before = now_us()
    job = enqueued(
        empty,
        *("mail", "--arg", "to=ada", "--arg", "copies=2", "--args", '{"to": "nobody", "deep": {"x": [1]}}'),
        *("--queue", "post", "--priority", -3, "--in", "10m", "--max-retries", 7, "--timeout", "90s"),
        *("--unique-key", "u", "--batch", "b", "--on-crash", "ask", "--parent", parent["job_id"][-6:]),
    )
    assert job["args"] == {"to": "ada", "copies": 2, "deep": {"x": [1]}}
    assert (job["kind"], job["queue"], job["priority"], job["max_retries"]) == ("mail", "post", -3, 7)
    assert 0 <= job["ready_at"] - before - HOUR // 6 < 60_000_000
    assert (job["timeout_us"], job["unique_key"], job["batch_id"]) == (90_000_000, "u", "b")
    assert (job["on_crash"], job["parent_job_id"]) == ("ask", parent["job_id"])
    assert job == empty.json("jobs", "list")[0]
    assert empty("jobs", "enqueue", "mail").stdout == f"job {ids_of(empty)[2]} enqueued\n"


def test_enqueue_at_a_time_and_with_arguments_from_stdin(empty: Cli) -> None:
    job = enqueued(empty, "mail", "--at", "2100-01-01", "--utc", "--args", "-", stdin='{"a": null}')
    assert (job["ready_at"], job["args"]) == (4_102_444_800_000_000, {"a": None})


@pytest.mark.parametrize("words", [("--kind", "shell"), ("shell",)])
def test_a_shell_job_has_its_command(empty: Cli, words: tuple[str, ...]) -> None:
    empty("jobs", "enqueue", *words, "--", "make", "-j4", "--json", "test it")
    (job,) = empty.json("jobs", "list")
    assert (job["kind"], job["args"]) == ("shell", {"argv": ["make", "-j4", "--json", "test it"]})
    assert "make -j4 --json 'test it'" in empty("jobs", "list").stdout
    empty("jobs", "enqueue", *words, "--arg", "command=ls | wc -l")
    assert " ls | wc -l" in empty("jobs", "list").stdout


def test_the_same_key_enqueues_once_and_a_unique_key_refuses(empty: Cli) -> None:
    first = enqueued(empty, "mail", "--key", "k")
    assert enqueued(empty, "mail", "--key", "k")["job_id"] == first["job_id"]
    assert "k" in empty("jobs", "enqueue", "print", "--key", "k", status=1).stderr
    enqueued(empty, "mail", "--unique-key", "u")
    assert "unique key 'u'" in empty("jobs", "enqueue", "mail", "--unique-key", "u", status=1).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "What kind of job"),
        (("mail", "to", "ada"), "Only a shell job has a command"),
        (("--kind", "shell"), "needs its command"),
        (("mail", "--args", "[1]"), "JSON object"),
        (("mail", "--args", "{"), "not JSON"),
        (("mail", "--args", '{"a": NaN}'), "not JSON"),
        (("mail", "--arg", "=1"), "NAME=VALUE"),
        (("mail", "--in", "soon"), "duration"),
        (("mail", "--in", "1s", "--at", "now"), "exclude"),
        (("mail", "--timeout", "-1s"), "duration"),
        (("mail", "--priority", 2**63), "range"),
        (("shell", "--arg", "command=ls", "--", "ls"), "twice"),
    ],
)
def test_what_cannot_be_enqueued_is_a_usage_error(empty: Cli, words: tuple[object, ...], told: str) -> None:
    shown = empty("jobs", "enqueue", *words, status=2).stderr
    assert told in shown
    assert empty.json("jobs", "list") == []


def test_names_that_are_none_are_refused(empty: Cli) -> None:
    for words in (("a\x1bb",), ("mail", "--queue", "")):
        assert "1 to 200 printable" in empty("jobs", "enqueue", *words, status=1).stderr
    empty("jobs", "enqueue", "mail", "--parent", "nobody", status=1)
    assert empty.json("jobs", "list") == []


# retry, cancel, purge


def test_retry_by_name_is_all_or_none(full: Cli) -> None:
    ids = ids_of(full)
    refused = full("jobs", "retry", ids[1], ids[0], status=1).stderr
    assert "completed" in refused and "--force" in refused
    assert full.json("jobs", "show", ids[1])["status"] == "failed"
    assert f"job {ids[1]} waits again" in full("jobs", "retry", ids[1], ids[2], ids[3]).stdout
    assert [full.json("jobs", "show", one)["status"] for one in ids[1:4]] == ["queued"] * 3
    (job,) = full.json("jobs", "retry", ids[0], "--force", "--reset-failures")
    assert (job["status"], job["failures"]) == ("queued", 0)
    assert "under way" in full("jobs", "retry", ids[4], status=1).stderr
    assert f"{ME} asked to run it again, its failures forgotten" in full("jobs", "explain", ids[0]).stdout


def test_retry_all_that_failed(full: Cli) -> None:
    ids = ids_of(full)
    assert [job["job_id"] for job in full.json("jobs", "retry", "--all-failed")] == [ids[1]]
    assert full.json("jobs", "retry", "--all-failed") == []
    assert full("jobs", "retry", "--all-failed").stderr == "no job has failed\n"
    full("jobs", "retry", status=2)
    full("jobs", "retry", ids[1], "--all-failed", status=2)


def test_cancel(full: Cli) -> None:
    ids = ids_of(full)
    said = full("jobs", "cancel", ids[5], ids[4], "--reason", "no use").stdout
    assert said == f"job {ids[5]} cancelled\njob {ids[4]} is asked to stop\n"
    assert full.json("jobs", "show", ids[5])["reason"] == "no use"
    assert full.json("jobs", "show", ids[4])["cancel_requested_by"] == ME
    assert "is completed" in full("jobs", "cancel", ids[3], ids[0], status=1).stderr
    assert full.json("jobs", "show", ids[3])["status"] == "held"
    assert [job["status"] for job in full.json("jobs", "cancel", ids[3])] == ["cancelled"]


def test_purge(full: Cli) -> None:
    assert full.json("jobs", "purge", "--older-than", "1h", "--yes") == {"jobs": 0, "dry_run": False}
    assert full.json("jobs", "purge", "--older-than", "now", "--dry-run") == {"jobs": 3, "dry_run": True}
    assert "--yes" in full("jobs", "purge", "--older-than", "now", status=2).stderr
    assert full.json("jobs", "purge", "--older-than", "now", "--status", "failed", "--yes")["jobs"] == 1
    before = full.json("stats", "jobs")
    assert full("jobs", "purge", "--older-than", "0s", "--yes").stdout == "2 jobs taken out of the tables\n"
    assert [job["status"] for job in full.json("jobs", "list")] == ["queued", "processing", "held"]
    assert full.json("stats", "jobs") == before
    full("jobs", "purge", status=2)
    full("jobs", "purge", "--older-than", "soon", "--yes", status=2)


# queues and workers


def test_queues(full: Cli) -> None:
    assert "paused: 1 queued, 1 processing" in full("jobs", "pause", "default", "--reason", "disk full").stdout
    assert full.json("jobs", "limit", "post", 3)["max_running"] == 3
    found = msgspec.convert(full.json("jobs", "queues"), list[QueueState])
    assert [(one.queue, one.queued, one.processing, one.held, one.paused) for one in found] == [
        ("default", 1, 1, 0, True),
        ("post", 0, 0, 1, False),
    ]
    assert (found[0].paused_by, found[0].pause_reason, found[1].max_running) == (ME, "disk full", 3)
    assert f"by {ME} since" in full("jobs", "queues").stdout
    assert full.json("jobs", "queues", "--as-of", 3)[0]["queued"] == 2
    assert full.json("jobs", "limit", "post", "none")["max_running"] is None
    assert not full.json("jobs", "resume", "default")["paused"]
    full("jobs", "limit", "post", "many", status=2)
    full("jobs", "limit", "post", "--", "-1", status=2)
    full("jobs", "pause", "", status=1)


def test_workers(full: Cli) -> None:
    (worker,) = full.json("jobs", "workers")
    ids = ids_of(full)
    assert (worker["host"], worker["status"], worker["jobs"]) == ("web-1", "running", [ids[4]])
    assert worker["silence_us"] >= 0
    text = full("jobs", "workers").stdout
    assert worker["worker_id"] in text and "1/4" in text and " ago" in text
    (past,) = full.json("jobs", "workers", "--as-of", 1)
    assert past["silence_us"] is None and past["jobs"] == []
    assert full.json("jobs", "workers", "--status", "lost") == []
    with eventlog.open(full.db) as log:
        log.workers.start(WorkerStarted(lease_us=0))
    assert "silent" in full("jobs", "workers").stdout


# statistics


def test_statistics(full: Cli) -> None:
    (found,) = msgspec.convert(full.json("stats", "jobs"), list[JobStatistics])
    with eventlog.open(full.db) as log:
        assert [found] == log.statistics.jobs()
    assert (found.jobs, found.completed, found.failed, found.cancelled, found.pending) == (6, 1, 1, 1, 3)
    assert [row["bucket"] for row in full.json("stats", "jobs", "--by", "queue")] == ["default", "post"]
    assert full.json("stats", "jobs", "--queue", "default")[0]["jobs"] == 2
    assert full.json("stats", "jobs", "--kind", "mail", "--as-of", 3)[0]["pending"] == 1
    assert full.json("stats", "jobs", "--since", "2100-01-01") == []
    text = full("stats", "jobs", "--by", "kind").stdout
    assert text.split()[:4] == ["kind", "jobs", "completed", "failed"]
    assert full("stats", "jobs", "--until", "2000-01-01").stderr == "no jobs\n"


def test_statistics_over_time_show_the_course(empty: Cli) -> None:
    with eventlog.open(empty.db) as log:
        for hour in range(3):
            event = JobEnqueued(kind="mail")
            log.append_many([Append(stream=f"job-{uuid7()}", events=event, occurred_at=hour * HOUR)])
    text = empty("stats", "jobs", "--by", "hour", "--utc").stdout
    assert "jobs per hour, 1970-01-01 00:00 to 1970-01-01 02:00" in text
    assert "completed" in text.splitlines()[-1]


# the past, and tables that are held


def test_two_moments_of_the_queue_are_compared(full: Cli) -> None:
    ids = ids_of(full)
    before = full.json("log", "head")["position"]
    full("jobs", "retry", ids[1])
    after = full.json("log", "head")["position"]
    (row,) = full.json("projections", "diff", before, after, "-p", "jobs")
    assert (row["key"], row["change"]) == ([ids[1]], "changed")
    assert (row["before"]["status"], row["after"]["status"]) == ("failed", "queued")
    assert "status: failed → queued" in full("projections", "diff", before, after, "-p", "jobs").stdout
    assert full.json("jobs", "list", "--as-of", before, "--status", "failed")[0]["job_id"] == ids[1]
    assert full.json("jobs", "list", "--status", "failed") == []


def test_jobs_that_are_rolled_back_are_neither_claimed_nor_changed(full: Cli) -> None:
    ids = ids_of(full)
    head = full.json("log", "head")["position"]
    full("projections", "rollback", "jobs", "--to", 4)
    assert len(full.json("jobs", "list")) == 3
    for words in (
        ("retry", ids[1]),
        ("retry", "--all-failed"),
        ("cancel", ids[0]),
        ("purge", "--older-than", "now", "--yes"),
        ("purge", "--older-than", "now", "--dry-run"),
    ):
        assert "eventlog projections resume" in full("jobs", *words, status=1).stderr, words
    with eventlog.open(full.db) as log, pytest.raises(ProjectionPinned, match="eventlog projections resume"):
        log.jobs.claim("w")
    assert "eventlog projections resume" in full("jobs", "explain", ids[5]).stdout
    assert full.json("log", "head")["position"] == head
    full("projections", "resume")
    assert [job["job_id"] for job in full.json("jobs", "retry", ids[1])] == [ids[1]]


# what was logged is hostile


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile") / "log.db"
    with eventlog.open(place) as log:
        log.append("worker-w", WorkerStarted(host=ATTACKS, user=ATTACKS, queues=(ATTACKS,), kinds=(ATTACKS,)))
        event = JobEnqueued(
            kind=ATTACKS, queue=ATTACKS, args={ATTACKS: ATTACKS}, unique_key=ATTACKS, batch_id=ATTACKS,
            parent_job_id=ATTACKS, schedule=ATTACKS,
        )  # fmt: skip
        failed = JobAttemptFailed(
            attempt=1, worker_id="w", duration_us=1, error_type=ATTACKS, message=ATTACKS, traceback=ATTACKS
        )
        started = JobStarted(attempt=1, worker_id="w", lease_us=1)
        running = [event, started, JobProgressed(attempt=1, done=1, total=2, message=ATTACKS)]
        log.append("job-running", [*running, JobCancelRequested(by=ATTACKS, reason=ATTACKS)])
        log.append("job-held", [*running, failed, JobHeld(reason=ATTACKS)])
        log.append(
            "job-failed",
            [event, started, failed, JobFailed(reason="crashed"), eventlog.UnknownEvent(tag="a.b", data={})],
            actor="eve",
        )
        log.append("job-waiting", JobEnqueued(kind=ATTACKS, queue="hostile"))
        log.append("queue-hostile", QueuePaused(by=ATTACKS, reason=ATTACKS))
    return place


PRINTED = (
    *(("list",), ("history",), ("queues",), ("workers",), ("watch",)),
    *((word, job) for word in ("show", "explain") for job in ("running", "held", "failed", "waiting")),
)


@pytest.mark.parametrize("words", PRINTED, ids=" ".join)
@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_hostile_values_are_shown_harmlessly(hostile: Path, words: tuple[str, ...], form: str) -> None:
    options = [] if form == "text" else [f"--{form}"]
    result = CliRunner().invoke(cli, ["--db", str(hostile), "jobs", *words, *options])
    assert result.exit_code == 0, result.stderr
    assert CONTROL.findall(result.stdout + result.stderr) == []
    assert "markup" in result.stdout
    if form == "json":
        json.loads(result.stdout)


# watch


def test_watch_tells_once_where_nobody_watches(full: Cli) -> None:
    ids = ids_of(full)
    seen = full.json("jobs", "watch")
    assert set(seen) == {"at", "queues", "running", "failures", "since", "statistics"}
    assert [job["job_id"] for job in seen["running"]] == [ids[4]]
    assert [job["job_id"] for job in seen["failures"]] == [ids[1]]
    counts = {row["queue"]: (row["queued"], row["processing"], row["completed"]) for row in seen["queues"]}
    assert counts == {"default": (1, 1, 0), "post": (0, 0, 1)}
    assert seen["statistics"]["jobs"] == 6
    text = full("jobs", "watch").stdout
    assert "5/10 half" in text and "ValueError: no such address" in text
    only = full.json("jobs", "watch", "--queue", "post")
    assert [row["queue"] for row in only["queues"]] == ["post"] and only["running"] == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_watch_shows_what_happens_and_leaves_the_terminal_whole(hostile: Path, tmp_path: Path, how: int) -> None:
    place = tmp_path / "log.db"
    place.write_bytes(hostile.read_bytes())
    leader, follower = pty.openpty()
    environment = dict(os.environ, COLUMNS="110", LINES="40", TERM="xterm-256color", PYTHONIOENCODING="utf-8")
    environment.pop("NO_COLOR", None)
    watching = subprocess.Popen(
        [sys.executable, "-m", "eventlog", "--db", str(place), "jobs", "watch", "--interval", "0.1"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
    )
    os.close(follower)
    try:
        sent = read_until(leader, "latest failures")
        with eventlog.open(place) as log:
            log.jobs.enqueue("mail", queue="brand-new")
        sent += read_until(leader, "brand-new")
        watching.send_signal(how)
        sent += read_until(leader, None)
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(leader)
    assert sent.rfind("\x1b[?25h") > sent.rfind("\x1b[?25l") >= 0  # the cursor is shown again
    assert CONTROL.findall(re.sub(r"\x1b\[\??[0-9;]*[a-zA-Z]", "", sent).replace("\r", "")) == []
    assert "\x1b]" not in sent and "\x1bc" not in sent and "\x1b[31m\x1b" not in STYLE.sub("", sent)


def read_until(leader: int, text: str | None, timeout_s: float = 30) -> str:
    """What a terminal was sent, up to a text or (None) its end."""
    sent = b""
    deadline = time.monotonic() + timeout_s
    while text is None or text not in sent.decode(errors="replace"):
        assert time.monotonic() < deadline, sent
        if not select.select([leader], [], [], 0.1)[0]:
            continue
        try:
            chunk = os.read(leader, 65536)
        except OSError:
            break
        if not chunk:
            break
        sent += chunk
    return sent.decode(errors="replace")
