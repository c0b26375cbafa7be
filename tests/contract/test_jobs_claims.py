"""Which jobs are claimed, in which order, and which are not: time, priority, queues, limits, expiry, bad input."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from freezegun import freeze_time

import eventlog
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import (
    EventTooLarge,
    InvalidEvent,
    InvalidInput,
    LogReadOnly,
    ProjectionFailed,
    ProjectionPinned,
    ProjectionUnknown,
)
from eventlog.events.jobs import JobProgressed, RetryPolicy
from eventlog.repositories.jobs import NewJob
from projections import jobs as jobs_module
from tests.conftest import OpenLog
from tests.contract.jobs_support import HOUR, SECOND, assert_sound, become, claim, ids, token

NOON = "2024-05-01 12:00:00"


def test_priority_goes_before_time_and_time_before_the_order_of_coming(log: Log) -> None:
    now = now_us()
    made = log.jobs.enqueue_many(
        [
            NewJob(kind="third", run_at=now - 5),
            NewJob(kind="fifth", priority=1, run_at=now - HOUR),
            NewJob(kind="fourth", run_at=now - 5),
            NewJob(kind="first", priority=-(2**63), run_at=now),
            NewJob(kind="second", run_at=now - 6),
            NewJob(kind="last", priority=2**63 - 1, run_at=-(2**53) + 1),
        ]
    )
    claimed = [claim(log).kind for _ in made]
    assert claimed == ["first", "second", "third", "fourth", "fifth", "last"]
    assert log.jobs.claim("w") == []
    assert_sound(log)


def test_jobs_of_one_microsecond_are_claimed_as_they_came(log: Log) -> None:
    with freeze_time(NOON):
        made = [log.jobs.enqueue("one").job_id for _ in range(3)]
        made += log.jobs.enqueue_many([NewJob(kind="many") for _ in range(5)])
        # With keys and without, in one call.
        made += log.jobs.enqueue_many([NewJob(kind="k", key=None if n % 2 else str(n)) for n in range(5)])
        made += log.jobs.enqueue_many([NewJob(kind="u", unique_key=str(n) if n % 2 else None) for n in range(5)])
        assert made == sorted(made)
        assert ids(log.jobs.claim("w", limit=4)) == made[:4]
        assert ids(log.jobs.claim("w", limit=100)) == made[4:]
    assert_sound(log)


def test_a_call_s_jobs_stay_in_its_order_when_the_clock_runs(log: Log) -> None:
    new = [NewJob(kind="k", key=str(n) if n % 3 == 0 else None) for n in range(9)]
    made = log.jobs.enqueue_many(new)
    assert ids(log.jobs.claim("w", limit=9)) == made


def test_a_scheduled_job_waits_for_its_time_and_nothing_sweeps_it(log: Log) -> None:
    with freeze_time(NOON) as clock:
        at = now_us() + HOUR
        job = log.jobs.enqueue("work", run_at=at)
        other = log.jobs.enqueue("work", run_at=at + 1, priority=-1)
        assert (job.status, job.ready_at) == ("queued", at)
        head = log.head()
        clock.tick(timedelta(seconds=3599, microseconds=999_999))
        assert log.jobs.claim("w") == []
        assert log.head() == head
        clock.tick(timedelta(microseconds=1))
        assert ids(log.jobs.claim("w", limit=2)) == [job.job_id]
        clock.tick(timedelta(microseconds=1))
        claimed = claim(log)
        assert (claimed.job_id, claimed.wait_us) == (other.job_id, 0)
        clock.tick(5)
        assert log.jobs.complete(claimed.job_id, token(claimed)).run_us == 5 * SECOND
    assert_sound(log)


def test_jobs_for_later_hide_none_that_can_run(log: Log) -> None:
    now = now_us()
    new = [NewJob(kind=str(n % 3), priority=n % 4, run_at=now + (HOUR if n % 5 else -n)) for n in range(40)]
    made = log.jobs.enqueue_many(new)
    due = sorted((n for n in range(40) if n % 5 == 0), key=lambda n: (n % 4, -n))
    assert ids(log.jobs.claim("w", kinds=["0", "2"], limit=3)) == [made[n] for n in due if n % 3 != 1][:3]
    rest = [made[n] for n in due if log.jobs.get(made[n]).status == "queued"]
    assert ids(log.jobs.claim("w", limit=40)) == rest
    assert log.jobs.claim("w") == []
    assert_sound(log)


def test_queues_and_kinds_are_taken_as_asked_and_others_left_alone(log: Log) -> None:
    for queue in ("a", "b", "c"):
        log.jobs.enqueue_many([NewJob(kind=kind, queue=queue) for kind in ("x", "y")])
    assert [(job.queue, job.kind) for job in log.jobs.claim("w", queues=["c", "a"], kinds=["y"], limit=9)] == [
        ("c", "y"),
        ("a", "y"),
    ]
    assert log.jobs.claim("w", queues=["c", "nowhere"], kinds=["y", "z"]) == []
    assert log.jobs.claim("w", queues=[]) == log.jobs.claim("w", kinds=[]) == []
    assert claim(log, queues="b").queue == "b"  # one name is one queue
    assert claim(log, kinds="y", queues=("b", "b")).kind == "y"
    made = log.jobs.enqueue_many([NewJob(kind="z", queue="d")] * 2)
    assert ids(log.jobs.claim("w", queues=["d", "d", "d"], kinds="z", limit=9)) == made  # named twice is named once
    assert log.jobs.counts() == {"processing": 6, "queued": 2}
    assert_sound(log)


def test_nothing_of_a_paused_queue_is_begun_and_what_runs_goes_on(log: Log) -> None:
    log.jobs.enqueue_many([NewJob(kind="work")] * 3)
    job = claim(log)
    log.queues.pause("default", by="me", reason="lunch")
    assert log.jobs.claim("w") == log.jobs.claim("w", queues=["default"]) == []
    done = log.jobs.complete_and_claim(job.job_id, token(job), worker_id="w", limit=1)
    assert (done.job.status, done.claimed) == ("completed", [])
    log.jobs.enqueue("work", queue="other")
    assert claim(log).queue == "other"
    log.queues.resume("default")
    assert len(log.jobs.claim("w", limit=9)) == 2
    assert_sound(log)


def test_no_more_of_a_queue_run_than_its_limit_says(log: Log) -> None:
    log.jobs.enqueue_many([NewJob(kind="work")] * 6)
    log.queues.limit("default", 2)
    first = log.jobs.claim("w", limit=9)
    assert len(first) == 2
    assert log.jobs.claim("other") == []
    done = log.jobs.complete_and_claim(first[0].job_id, token(first[0]), worker_id="w", limit=9)
    assert len(done.claimed) == 1
    log.jobs.release(first[1].job_id, token(first[1]))
    claim(log)
    log.queues.limit("default", 0)
    assert log.jobs.claim("w") == []
    log.queues.limit("default", None)
    assert len(log.jobs.claim("w", limit=9)) == 3
    for wrong in (-1, True, "5", 2.5):
        with pytest.raises(InvalidInput, match="limit is 0 or more"):
            log.queues.limit("default", wrong)  # type: ignore[arg-type]
    assert_sound(log)


def test_what_was_not_begun_in_time_expires_and_the_next_is_taken(log: Log) -> None:
    with freeze_time(NOON) as clock:
        at = now_us() + SECOND
        made = log.jobs.enqueue_many([NewJob(kind="work", expires_at=at) for _ in range(7)] + [NewJob(kind="fresh")])
        clock.tick(1)
        assert claim(log).job_id == made[0]  # at the very moment it is still begun
        clock.tick(timedelta(microseconds=1))
        assert claim(log).job_id == made[7]
        assert log.jobs.counts() == {"processing": 2, "expired": 6}
        assert log.jobs.get(made[3]).reason == "not begun in time"
        late = log.jobs.enqueue("work", expires_at=0)
        assert log.jobs.claim("w") == []
        assert log.jobs.get(late.job_id).status == "expired"
    assert_sound(log)


def test_what_expired_and_is_retried_is_begun_and_what_has_time_left_keeps_its_date(log: Log) -> None:
    with freeze_time(NOON) as clock:
        at = now_us() + SECOND
        late = log.jobs.enqueue("work", expires_at=at).job_id
        clock.tick(2)
        assert log.jobs.claim("w") == [] and log.jobs.get(late).status == "expired"
        assert log.jobs.retry(late).expires_at is None
        assert claim(log).job_id == late
        early = log.jobs.enqueue("work", expires_at=at + HOUR).job_id
        log.jobs.cancel(early)
        assert log.jobs.retry(early).expires_at == at + HOUR
    assert_sound(log)


def test_a_mass_of_expired_jobs_is_not_ended_in_one_transaction(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventlog.repositories.jobs.MAX_AT_ONCE", 10)
    log.jobs.enqueue_many([NewJob(kind="old", expires_at=0) for _ in range(35)])
    job = log.jobs.enqueue("work")
    transactions: list[int] = []
    begin = log.committer.begin

    def counted(*arguments: Any, **options: Any) -> Any:
        transactions.append(1)
        return begin(*arguments, **options)

    monkeypatch.setattr(log.committer, "begin", counted)
    assert claim(log).job_id == job.job_id
    assert len(transactions) == 4
    assert log.jobs.counts() == {"expired": 35, "processing": 1}
    assert_sound(log)


# who may not claim


def test_a_rolled_back_projection_refuses_claims_and_says_the_way_out(log: Log) -> None:
    jobs = [log.jobs.enqueue("work") for _ in range(2)]
    claimed = claim(log)
    for to in (log.head().position, 1, 0):
        log.projections.rollback(to)
        head = log.head()
        for command in (
            lambda: log.jobs.claim("w"),
            lambda: log.jobs.enqueue("work", unique_key="u"),
            lambda: log.jobs.complete(claimed.job_id, token(claimed)),
            lambda: log.jobs.cancel(jobs[1].job_id),
            lambda: log.jobs.crash([(claimed.job_id, token(claimed))], "process_gone", "e"),
        ):
            with pytest.raises(
                ProjectionPinned, match=f"to version {to} and pinned; run `eventlog projections resume`"
            ):
                command()
        assert log.head() == head
        assert log.jobs.count() == min(2, to)
    later = log.jobs.enqueue("work", priority=1)  # needs no table
    log.projections.resume()
    assert log.jobs.complete(claimed.job_id, token(claimed)).status == "completed"
    log.projections.rollback(1, ["queues"])
    with pytest.raises(ProjectionPinned, match="queues"):
        log.jobs.claim("w")
    log.projections.resume()
    assert ids(log.jobs.claim("w", limit=9)) == [jobs[1].job_id, later.job_id]
    assert_sound(log)


def test_a_failed_projection_refuses_claims_and_says_the_way_out(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    job = become(log, "processing")
    with monkeypatch.context() as patch:
        patch.setitem(jobs_module._STEPS, JobProgressed, lambda row, event, record: 1 / 0)
        with pytest.raises(ProjectionFailed, match="division by zero"):
            log.jobs.progress(job.job_id, token(job), 1)
        assert log.jobs.get(job.job_id) == job  # a command takes back what its table cannot take
        log.append(f"job-{job.job_id}", JobProgressed(attempt=1, done=1))
    for command in (lambda: log.jobs.claim("w"), lambda: log.jobs.complete(job.job_id, token(job))):
        with pytest.raises(ProjectionFailed, match=r"division by zero.*eventlog projections resume"):
            command()
    log.projections.resume()
    assert log.jobs.complete(job.job_id, token(job)).progress_done == 1
    assert_sound(log)


def test_the_past_answers_and_takes_no_commands(log: Log) -> None:
    job = become(log, "processing")
    at = log.head().position
    log.jobs.complete(job.job_id, token(job))
    with log.as_of(at) as past:
        assert past.jobs.get(job.job_id) == job
        assert past.jobs.counts() == {"processing": 1}
        assert ids(past.jobs.processing()) == [job.job_id]
        assert [record.type for record in past.jobs.events(job.job_id)] == ["job.enqueued", "job.started"]
        assert past.jobs.check() == []
        with pytest.raises(LogReadOnly, match="the past cannot be changed"):
            past.jobs.claim("w")
        with pytest.raises(LogReadOnly):
            past.jobs.enqueue("work")
    with log.as_of(1) as past:
        assert past.jobs.list()[0].status == "queued"


@pytest.mark.parametrize("mode", ["deferred", "off"])
def test_projections_that_are_not_inline_are_brought_along_or_asked_for(open_log: OpenLog, mode: Any) -> None:
    log = open_log(projections=mode)
    if mode == "off":
        with pytest.raises(ProjectionUnknown, match="jobs"):
            log.jobs.enqueue("work", unique_key="u")
        assert log.jobs.enqueue("work").status == "queued"  # which needs no table
        assert log.jobs.check() == []
        return
    log.queues.pause("default")
    made = log.jobs.enqueue_many([NewJob(kind="work"), NewJob(kind="work", key="k"), NewJob(kind="x", unique_key="u")])
    assert log.jobs.claim("w") == []
    log.append("queue-default", eventlog.events.workers.QueueResumed(by="somebody"))
    job = claim(log)
    done = log.jobs.complete_and_claim(job.job_id, token(job), worker_id="w", limit=9)
    assert ids([done.job, *done.claimed]) == made
    assert log.jobs.count(status="processing") == 2
    assert_sound(log)


# what is refused at the door


def nested(depth: int) -> Any:
    value: Any = None
    for _ in range(depth):
        value = [value]
    return value


BAD_JOBS: list[dict[str, Any]] = [
    *({"kind": wrong} for wrong in ("", "x" * 201, "a\nb", "\ud800", 7, None)),
    *({"queue": wrong} for wrong in ("", "x" * 201, "a\x00b", None, ["q"])),
    *({"args": wrong} for wrong in ([], "", 0, [1], "text", {"x": float("nan")}, {"x": float("inf")}, {"x": object()})),
    *({"args": wrong} for wrong in ({"x": "\ud800"}, {1j: 1}, {"x": nested(100_000)})),
    *({"priority": wrong} for wrong in (2**63, "1", 1.5, None)),
    *({"run_at": wrong} for wrong in (2**53, -(2**53), 2**63, "now", 1.5, True)),
    {"expires_at": 2**53},
    *({"max_retries": wrong} for wrong in (-1, 2**63, "3", None)),
    *({"max_crashes": wrong} for wrong in (0, -1, 2**63, "3")),
    {"timeout_us": 0},
    {"timeout_us": -1},
    {"on_crash": "explode"},
    *({name: wrong} for name in ("unique_key", "batch_id", "parent_job_id") for wrong in ("", "x" * 201, "\n", 7)),
    {"key": ""},
    {"key": "a\x1fb"},
    *({"retry_policy": RetryPolicy(factor=wrong)} for wrong in (-2.0, float("nan"), float("inf"))),
    *({"retry_policy": RetryPolicy(jitter=wrong)} for wrong in (-0.1, 1.5, 1e308, float("nan"))),
    {"retry_policy": RetryPolicy(base_us=-1)},
    {"retry_policy": RetryPolicy(cap_us=-1)},
    {"retry_policy": RetryPolicy(base_us=2**63)},
    {"retry_policy": "often"},
    {"colour": "red"},
]


def test_a_job_that_nobody_could_run_is_refused_in_a_sentence(log: Log) -> None:
    for wrong in BAD_JOBS:
        with pytest.raises(InvalidInput) as caught:
            log.jobs.enqueue(**{"kind": "work", **wrong})
        assert caught.value.message, wrong
        assert "\n" not in str(caught.value), wrong
        if "colour" not in wrong:
            with pytest.raises(InvalidInput):
                log.jobs.enqueue_many([NewJob(**{"kind": "work", **wrong})])
    with pytest.raises(EventTooLarge, match="limit"):
        log.jobs.enqueue("work", {"big": "x" * 2**20})
    assert log.head().position == 0


@pytest.mark.parametrize("options", [{}, {"key": "k"}])
def test_arguments_are_given_back_as_they_are_stored(log: Log, options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"set": {1}, "pair": (1, 2), "bytes": b"x"}
    job = log.jobs.enqueue("work", given, **options)
    assert job.args == {"set": [1], "pair": [1, 2], "bytes": "eA=="}
    assert job == log.jobs.get(job.job_id)


def test_whatever_can_be_stored_is_given_back_as_it_was(log: Log) -> None:
    args = {"nul\0": "\x00\x01\x1f", "é": ["💡", 1.5, -0.0, None, True, 2**63, 2**70], "deep": nested(50), "": {"": {}}}
    name = "q\"'%s?;--💡 \u00e9" + "x" * 150
    job = log.jobs.enqueue(name, args, queue=name, unique_key=name, batch_id=name, parent_job_id=name, key=name)
    assert job.args == args
    claimed = claim(log, name, queues=[name], kinds=[name])
    assert (claimed.args, claimed.worker_id) == (args, name)
    done = log.jobs.complete(job.job_id, token(claimed), args)
    assert done.result == args
    assert log.jobs.list(queue=name, kind=name, batch_id=name, worker_id=name) == [done]
    assert log.jobs.counts(("queue", "kind")) == {(name, name): 1}
    assert_sound(log)


def test_whoever_claims_has_a_name_and_asks_for_something(log: Log) -> None:
    log.jobs.enqueue("work")
    wrong: list[dict[str, Any]] = [
        *({"worker_id": one} for one in ("", "x" * 201, "a\nb", None, 7)),
        *({"limit": one} for one in (0, -1, 1001, True, "1", 1.0)),
        *({"lease_us": one} for one in (-1, True, "1", 1.5, 2**63)),
        *({"queues": one} for one in ([7], [None], 7, [["q"]])),
        *({"kinds": one} for one in ([7], [None], 7)),
    ]
    for options in wrong:
        with pytest.raises(InvalidInput) as caught:
            log.jobs.claim(**{"worker_id": "w", **options})
        assert "\n" not in str(caught.value), options
    assert log.head().position == 1
    job = claim(log)
    for one in (-1, 1001, True):
        with pytest.raises(InvalidInput, match="limit is 0 to 1000"):
            log.jobs.complete_and_claim(job.job_id, token(job), worker_id="w", limit=one)
    with pytest.raises(InvalidInput, match="worker"):
        log.jobs.complete_and_claim(job.job_id, token(job), limit=1)
    assert log.jobs.get(job.job_id) == job


def test_a_result_that_cannot_be_stored_leaves_the_attempt_under_way(log: Log) -> None:
    job = become(log, "processing")
    for wrong in (float("nan"), "\ud800", object(), {"x": float("inf")}):
        with pytest.raises(InvalidEvent):
            log.jobs.complete(job.job_id, token(job), wrong)
    with pytest.raises(EventTooLarge):
        log.jobs.complete(job.job_id, token(job), "x" * 2**20)
    assert log.jobs.get(job.job_id) == job
    assert log.jobs.complete(job.job_id, token(job), "x" * 2**19).status == "completed"
    assert_sound(log)


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(base_us=2**63 - 1, factor=1e308, cap_us=2**63 - 1, jitter=1.0),
        RetryPolicy(base_us=0, factor=1e308, jitter=1.0),
        RetryPolicy(base_us=1, factor=0.0, jitter=0.0),
        RetryPolicy(base_us=2**63 - 1, factor=1.0, cap_us=0),
    ],
)
def test_any_policy_that_is_taken_gives_a_delay(log: Log, policy: RetryPolicy) -> None:
    job = log.jobs.enqueue("work", retry_policy=policy, max_retries=99, max_crashes=99)
    for number in range(6):
        claimed = claim(log)
        if number % 2:
            (job,) = log.jobs.crash([(job.job_id, token(claimed))], "process_gone", "e")
        else:
            job = log.jobs.fail(job.job_id, token(claimed), "E")
        assert job.ready_at is not None and job.ready_at <= now_us() + 366 * 24 * HOUR
        log.jobs.change(job.job_id, run_at=0)
    assert_sound(log)
