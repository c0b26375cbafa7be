"""`log.jobs.explain`: every sentence has its event, and every blocker is what really keeps a job from being claimed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from eventlog import UnknownEvent
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import NotFound, ProjectionPinned
from eventlog.events import EVENTS, event_type
from eventlog.events.jobs import JOB_EVENTS, JobChanged
from eventlog.events.workers import WorkerStarted
from eventlog.repositories.job_explain import Blocker, JobExplanation
from eventlog.repositories.job_story import _SENTENCES
from eventlog.repositories.jobs import LateResult

HOUR = 3_600_000_000


def begin_worker(log: Log, **facts: Any) -> str:
    return log.workers.start(WorkerStarted(host="web-1", pid=123, user="ada", **facts))


def texts(found: JobExplanation) -> list[str]:
    return [sentence.text for sentence in found.sentences]


def kinds(found: JobExplanation) -> list[str]:
    return [blocker.kind for blocker in found.blockers]


def blocker(log: Log, job_id: str, kind: str) -> Blocker:
    (one,) = [each for each in log.jobs.explain(job_id).blockers if each.kind == kind]
    return one


def test_the_story_of_a_job_that_failed_and_was_done_the_second_time(log: Log) -> None:
    worker = begin_worker(log)
    job_id = log.jobs.enqueue("mail", {"to": "x"}, queue="post", priority=2).job_id
    (first,) = log.jobs.claim(worker)
    for done in (1, 2, 3):
        log.jobs.progress(job_id, first.token or 0, done, 10, "sending")
    log.jobs.fail(job_id, first.token or 0, "OSError", "no route", traceback="Traceback", retry_at=now_us())
    (second,) = log.jobs.claim(worker)
    log.jobs.complete(job_id, second.token or 0, {"sent": 3})
    found = log.jobs.explain(job_id)
    assert (found.job_id, found.status, found.blockers) == (job_id, "completed", [])
    told = texts(found)
    assert told[0] == "enqueued as mail in the queue post, with priority 2"
    name = f"worker {worker[-12:]} (host web-1, pid 123, user ada)"
    assert told[1].startswith(f"attempt 1 began on {name}, ")
    assert told[2] == "attempt 1: 3 of 10 done: sending"
    assert told[3].startswith("attempt 1 failed after ") and told[3].endswith(": OSError: no route")
    assert told[4].startswith("to be tried again in ") and told[4].endswith("; 1 of at most 3 retries")
    assert told[5].startswith(f"attempt 2 began on {name}, ")
    assert told[6].startswith("attempt 2 succeeded after ")
    assert len(told) == 7
    records = {record.position: record for record in log.jobs.events(job_id)}
    assert all(records[sentence.position].occurred_at == sentence.at for sentence in found.sentences)
    begun, report, failed = (found.sentences[place].evidence or {} for place in (1, 2, 3))
    assert begun["worker_id"] == worker
    assert begun["worker"] == {"host": "web-1", "pid": 123, "user": "ada"}
    assert report["reports"] == 3
    assert (failed["error_type"], failed["message"], failed["traceback"]) == ("OSError", "no route", "Traceback")
    assert all("result" not in (sentence.evidence or {}) for sentence in found.sentences)
    assert "args" not in (found.sentences[0].evidence or {})


def test_every_event_of_a_job_has_a_sentence() -> None:
    assert set(_SENTENCES) == set(JOB_EVENTS)


def test_what_others_wrote_beside_a_job_is_told_too(log: Log) -> None:
    job_id = log.jobs.enqueue("mail").job_id
    log.append(f"job-{job_id}", UnknownEvent(tag="note.taken", data={"x": 1}))
    log.append(f"job-{job_id}", JobChanged(by="ada", run_at=2**62))
    told = texts(log.jobs.explain(job_id))
    assert told[1] == "an event note.taken, which changes nothing"
    assert told[2] == f"ada put it elsewhere: not before {2**62} µs"


def test_a_job_that_is_for_later_says_how_long(log: Log) -> None:
    begin_worker(log)
    job_id = log.jobs.enqueue("mail", run_at=now_us() + HOUR).job_id
    (one,) = log.jobs.explain(job_id).blockers
    assert one.kind == "not_before"
    assert 0 < one.facts["in_us"] <= HOUR
    assert "in 60 min" in one.text or "in 1 h" in one.text


def test_a_paused_queue_is_named_with_who_and_why_and_where(log: Log) -> None:
    begin_worker(log)
    job_id = log.jobs.enqueue("mail", queue="post").job_id
    log.queues.pause("post", "ada", "first")
    log.queues.resume("post", "ada")
    assert log.jobs.explain(job_id).blockers == []
    before = log.head().position
    log.queues.pause("post", "bob", "disk full")
    (one,) = log.jobs.explain(job_id).blockers
    assert (one.kind, one.facts["by"], one.facts["reason"]) == ("paused", "bob", "disk full")
    assert one.facts["position"] == log.head().position
    assert f"paused by bob at event {log.head().position}: disk full" in one.text
    log.queues.pause("post", "eve")
    assert blocker(log, job_id, "paused").facts["reason"] == "disk full"
    log.queues.pause("other", "eve")
    with log.as_of(before) as past:
        assert past.jobs.explain(job_id).blockers == []
    with log.as_of(before + 1) as past:
        assert kinds(past.jobs.explain(job_id)) == ["paused"]


def test_a_limit_names_the_jobs_that_hold_it(log: Log) -> None:
    worker = begin_worker(log, concurrency=5)
    ids = [log.jobs.enqueue("mail", queue="post").job_id for _ in range(3)]
    log.jobs.enqueue("mail", queue="other")
    log.queues.limit("post", 2)
    claimed = log.jobs.claim(worker, limit=10)
    assert [job.job_id for job in claimed if job.queue == "post"] == ids[:2]
    (one,) = log.jobs.explain(ids[2]).blockers
    assert (one.kind, one.facts["limit"], one.facts["job_ids"]) == ("limit", 2, ids[:2])
    assert all(job_id[-12:] in one.text for job_id in ids[:2])
    log.queues.limit("post", 0)
    for job in claimed:
        log.jobs.complete(job.job_id, job.token or 0)
    assert "nothing of it runs" in blocker(log, ids[2], "limit").text
    log.queues.limit("post", None)
    assert log.jobs.explain(ids[2]).blockers == []


@pytest.mark.parametrize(
    ("facts", "lives"),
    [
        ({}, True),
        ({"queues": ("post",), "kinds": ("mail", "print")}, True),
        ({"queues": ("other",)}, False),
        ({"kinds": ("print",)}, False),
        ({"lease_us": 0}, False),
    ],
)
def test_a_job_waits_for_a_worker_that_lives_and_takes_it(log: Log, facts: dict[str, Any], lives: bool) -> None:
    job_id = log.jobs.enqueue("mail", queue="post").job_id
    assert blocker(log, job_id, "no_worker").facts["silent"] == []
    worker = begin_worker(log, **facts)
    assert ("no_worker" in kinds(log.jobs.explain(job_id))) != lives
    if "lease_us" in facts:
        assert blocker(log, job_id, "no_worker").facts["silent"] == [worker]
    if lives:
        log.workers.stop(worker)
        assert kinds(log.jobs.explain(job_id)) == ["no_worker"]


def test_workers_that_are_busy_are_counted(log: Log) -> None:
    workers = [begin_worker(log, concurrency=2), begin_worker(log, concurrency=1)]
    begin_worker(log, kinds=("print",))
    ids = [log.jobs.enqueue("mail").job_id for _ in range(4)]
    log.jobs.claim(workers[0], limit=2)
    assert kinds(log.jobs.explain(ids[3])) == ["jobs_ahead"]
    log.jobs.claim(workers[1])
    (one,) = log.jobs.explain(ids[3]).blockers
    assert (one.kind, one.facts["places"], one.facts["taken"]) == ("workers_busy", 3, 3)


def test_as_many_jobs_go_before_one_as_are_said_to(log: Log) -> None:
    worker = begin_worker(log)
    chance = random.Random(5)
    now = now_us()
    ids = [
        log.jobs.enqueue("mail", priority=chance.randrange(3), run_at=now - chance.randrange(3) * HOUR).job_id
        for _ in range(12)
    ]
    log.jobs.enqueue("mail", priority=-1, run_at=now + HOUR)
    log.jobs.enqueue("mail", priority=-1, queue="other")
    said = {
        job_id: sum(one.facts["jobs"] for one in log.jobs.explain(job_id).blockers if one.kind == "jobs_ahead")
        for job_id in ids
    }
    order = [log.jobs.claim(worker, queues=["default"])[0].job_id for _ in ids]
    assert {job_id: place for place, job_id in enumerate(order)} == said


def test_a_held_job_waits_for_a_person(log: Log) -> None:
    worker = begin_worker(log)
    job_id = log.jobs.enqueue("mail", on_crash="ask").job_id
    (claimed,) = log.jobs.claim(worker)
    log.jobs.crash([(job_id, claimed.token or 0)], "process_gone", "pid 123 is gone")
    found = log.jobs.explain(job_id)
    assert (found.status, kinds(found)) == ("held", ["person"])
    assert found.blockers[0].facts["position"] == log.head().position
    crashed, held = found.sentences[-2:]
    assert "its process is gone, or is another by now (pid 123 is gone)" in crashed.text
    assert f"worker {worker[-12:]} (host web-1, pid 123, user ada)" in crashed.text
    assert (crashed.evidence or {})["rung"] == "process_gone"
    assert (crashed.evidence or {})["worker"]["host"] == "web-1"
    assert "a person has to decide" in held.text
    log.jobs.retry(job_id, "ada", reset_failures=True)
    assert texts(log.jobs.explain(job_id))[-1] == "ada asked to run it again, its failures forgotten"


def test_a_job_that_runs_says_where_since_when_and_how_far(log: Log) -> None:
    worker = begin_worker(log)
    job_id = log.jobs.enqueue("mail").job_id
    (claimed,) = log.jobs.claim(worker)
    log.jobs.progress(job_id, claimed.token or 0, 4, 9, "at it")
    (one,) = log.jobs.explain(job_id).blockers
    assert one.kind == "running"
    assert one.facts["worker_id"] == worker and one.facts["token"] == claimed.token
    assert (one.facts["progress_done"], one.facts["progress_total"]) == (4, 9)
    assert 0 <= one.facts["silence_us"] < 60_000_000
    assert "pid 123" in one.text and "4 of 9 done: at it" in one.text and "it was heard of" in one.text
    log.jobs.cancel(job_id, "bob", "not needed")
    assert kinds(log.jobs.explain(job_id)) == ["running", "cancel_requested"]
    asked = blocker(log, job_id, "cancel_requested")
    assert (asked.facts["by"], asked.facts["reason"]) == ("bob", "not needed")
    assert asked.facts["position"] == log.head().position
    log.workers.lost(worker, "process_gone", "gone")
    assert kinds(log.jobs.explain(job_id)) == ["running", "silent", "cancel_requested"]


def test_a_worker_that_is_silent_for_longer_than_its_lease_is_told(log: Log) -> None:
    worker = begin_worker(log, lease_us=0)
    job_id = log.jobs.enqueue("mail").job_id
    log.jobs.claim(worker, lease_us=0)
    one = blocker(log, job_id, "silent")
    assert one.facts["silence_us"] > one.facts["lease_us"] == 0
    assert "jobs recover" in one.text


def test_who_came_too_late_and_who_cancelled_is_told(log: Log) -> None:
    worker = begin_worker(log)
    job_id = log.jobs.enqueue("mail", max_crashes=5).job_id
    (old,) = log.jobs.claim(worker)
    log.jobs.crash([(job_id, old.token or 0)], "lease_expired", "silent for 31 s")
    with pytest.raises(LateResult):
        log.jobs.complete(job_id, old.token or 0)
    log.jobs.cancel(job_id, "ada", "no use")
    told = texts(log.jobs.explain(job_id))
    assert "it was silent for longer than its lease (silent for 31 s)" in told[2]
    assert told[3].startswith("it waits again, because its worker was silent for too long")
    assert told[4] == f"whoever had claimed it at {old.token} said that it succeeded: too late, kept and not applied"
    assert told[5] == "cancelled by ada: no use"


def test_a_job_that_was_purged_can_still_be_explained(log: Log) -> None:
    job_id = log.jobs.enqueue("mail").job_id
    log.jobs.cancel(job_id)
    log.jobs.delete(job_id, "old")
    found = log.jobs.explain(job_id)
    assert found.status == "cancelled"
    assert texts(found)[-1] == "taken out of the tables: old; its events and statistics stay"


def test_the_past_is_explained_as_it_was_and_without_who_lives(log: Log) -> None:
    worker = begin_worker(log)
    first, second = (log.jobs.enqueue("mail").job_id for _ in range(2))
    waiting = log.head().position
    (claimed,) = log.jobs.claim(worker)
    running = log.head().position
    log.jobs.complete(first, claimed.token or 0)
    with log.as_of(waiting) as past:
        found = past.jobs.explain(second)
        assert (found.status, kinds(found)) == ("queued", ["jobs_ahead"])
        assert past.jobs.explain(first).blockers == []
        assert len(past.jobs.explain(first).sentences) == 1
    with log.as_of(running) as past:
        (one,) = past.jobs.explain(first).blockers
        assert one.kind == "running" and "silence_us" not in one.facts
        assert 0 <= one.facts["for_us"] < 10_000_000
    with log.as_of(1) as past, pytest.raises(NotFound):
        past.jobs.explain(first)


def test_tables_that_are_rolled_back_hold_up_every_job(log: Log) -> None:
    begin_worker(log)
    job_id = log.jobs.enqueue("mail").job_id
    log.projections.rollback(1, ["jobs"])
    one = blocker(log, job_id, "tables")
    assert "eventlog projections resume" in one.text
    commands: list[Callable[[], Any]] = [
        lambda: log.jobs.claim("w"),
        lambda: log.jobs.retry(job_id),
        lambda: log.jobs.cancel(job_id),
    ]
    for command in commands:
        with pytest.raises(ProjectionPinned, match="eventlog projections resume"):
            command()
    log.projections.resume()
    assert log.jobs.explain(job_id).blockers == []


def test_a_job_that_may_not_begin_any_more_says_so(log: Log) -> None:
    worker = begin_worker(log)
    limit = now_us() - 1
    job_id = log.jobs.enqueue("mail", expires_at=limit).job_id
    assert blocker(log, job_id, "expiry").facts["expires_at"] == limit
    assert log.jobs.claim(worker) == []
    assert log.jobs.explain(job_id).status == "expired"
    assert texts(log.jobs.explain(job_id))[-1].startswith("expired: it was not begun by ")


def test_what_is_no_job_is_not_explained(log: Log) -> None:
    with pytest.raises(NotFound):
        log.jobs.explain("nobody")
    log.append("job-strange", UnknownEvent(tag="note.taken", data={}))
    with pytest.raises(NotFound):
        log.jobs.explain("strange")


def test_the_events_told_are_those_that_there_are() -> None:
    """So that a new event of jobs is not forgotten in the list of all."""
    assert {event_type(cls) for cls in JOB_EVENTS} == {
        event_type(cls) for cls in EVENTS if event_type(cls).startswith("job.")
    }
