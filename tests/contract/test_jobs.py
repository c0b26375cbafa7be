"""What can be done with a job in each of its states, and what cannot: every command, every guard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import Conflict, IllegalTransition, InvalidInput, KeyReused, NotFound
from eventlog.events.jobs import RetryPolicy
from eventlog.repositories.jobs import LateResult, NewJob
from projections.jobs import Job
from tests.contract.jobs_support import (
    ENDED,
    HOUR,
    SECOND,
    STATUSES,
    assert_sound,
    become,
    claim,
    ids,
    kinds_of,
    token,
)

STAYING = RetryPolicy(base_us=0, cap_us=0)
"""Tried again at once."""

pytestmark = pytest.mark.alike


def test_a_job_lives_from_enqueue_to_completion(log: Log) -> None:
    before = now_us()
    job = log.jobs.enqueue("resize", {"width": 80}, queue="images", priority=-3, timeout_us=5, batch_id="b")
    assert (job.status, job.kind, job.queue, job.priority, job.args) == (
        "queued",
        "resize",
        "images",
        -3,
        {"width": 80},
    )
    assert job.created_at == job.ready_at and before <= job.created_at <= now_us()
    assert (job.attempt, job.token, job.worker_id, job.batch_id, job.timeout_us) == (0, None, None, "b", 5)
    claimed = claim(log, "me", lease_us=7)
    assert (claimed.job_id, claimed.attempt, claimed.lease_us, claimed.ready_at) == (job.job_id, 1, 7, None)
    assert claimed.token == log.head().position
    assert log.jobs.progress(job.job_id, token(claimed), 3, 10, "thirds").progress_done == 3
    done = log.jobs.complete(job.job_id, token(claimed), {"bytes": 1})
    assert (done.status, done.result, done.claimed_at, done.progress_message) == (
        "completed",
        {"bytes": 1},
        None,
        "thirds",
    )
    assert done.ended_at is not None and done.run_us is not None and done.wait_us is not None
    assert kinds_of(log, job) == ["enqueued", "started", "progressed", "succeeded"]
    (attempt,) = log.jobs.attempts(job.job_id)
    assert (attempt.attempt, attempt.outcome, attempt.worker_id) == (1, "succeeded", "me")
    assert_sound(log)


# what each state allows

COMMANDS: dict[str, Callable[[Log, str], Any]] = {
    "cancel": lambda log, job_id: log.jobs.cancel(job_id, "me", "why"),
    "retry": lambda log, job_id: log.jobs.retry(job_id, "me"),
    "force": lambda log, job_id: log.jobs.retry(job_id, "me", force=True),
    "change": lambda log, job_id: log.jobs.change(job_id, "me", priority=5),
    "delete": lambda log, job_id: log.jobs.delete(job_id),
}
LEGAL: dict[str, dict[str, str | None]] = {
    "cancel": {"queued": "cancelled", "held": "cancelled", "processing": "processing"},
    "retry": {"queued": "queued", "held": "queued", "failed": "queued", "cancelled": "queued", "expired": "queued"},
    "force": {one: "queued" for one in STATUSES if one != "processing"},
    "change": {"queued": "queued"},
    "delete": dict.fromkeys(ENDED),
}
WANTED = {"cancel": "cancelled", "retry": "queued", "force": "queued", "change": "queued", "delete": "purged"}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_state_takes_a_command_or_refuses_it_by_name(log: Log, command: str) -> None:
    for status in STATUSES:
        job = become(log, status)
        head = log.head()
        if status in LEGAL[command]:
            COMMANDS[command](log, job.job_id)
            found = log.jobs.find(job.job_id)
            assert (found and found.status) == LEGAL[command][status], status
            continue
        with pytest.raises(IllegalTransition) as caught:
            COMMANDS[command](log, job.job_id)
        assert f"job {job.job_id} is {status} and cannot become {WANTED[command]}" in str(caught.value)
        assert (caught.value.status, caught.value.to, caught.value.job_id) == (status, WANTED[command], job.job_id)
        assert log.head() == head
        assert log.jobs.get(job.job_id) == job
    assert_sound(log)


ENDS: dict[str, Callable[[Log, str, int], Any]] = {
    "succeeded": lambda log, job_id, token: log.jobs.complete(job_id, token, "late"),
    "failed": lambda log, job_id, token: log.jobs.fail(job_id, token, "ValueError", "late"),
    "released": lambda log, job_id, token: log.jobs.release(job_id, token),
    "snoozed": lambda log, job_id, token: log.jobs.snooze(job_id, token, now_us()),
    "cancelled": lambda log, job_id, token: log.jobs.stopped(job_id, token),
}


@pytest.mark.parametrize("outcome", ENDS)
def test_what_a_lost_owner_says_is_kept_and_changes_nothing(log: Log, outcome: str) -> None:
    for status in ("queued", "processing", "held", "completed", "failed", "cancelled"):
        job = become(log, status, max_retries=5 if status == "queued" else 0)
        old = job.token
        if status == "queued":
            old = token(claim(log, queues=[job.queue]))
            job = log.jobs.release(job.job_id, old)
        elif status == "processing":
            log.jobs.release(job.job_id, token(job))
            job = claim(log, "other", queues=[job.queue])
        elif status == "completed" and outcome == "succeeded":
            assert ENDS[outcome](log, job.job_id, token(job)) == job  # said twice is said once
            continue
        assert old is not None
        with pytest.raises(LateResult, match=f"claim {old} does not own job {job.job_id}") as caught:
            ENDS[outcome](log, job.job_id, old)
        assert (caught.value.job_id, caught.value.token) == (job.job_id, old)
        assert log.jobs.get(job.job_id) == job, status
        last = log.jobs.events(job.job_id)[-1].event
        assert (type(last).__name__, last.token, last.outcome) == ("JobLateResultDiscarded", old, outcome)  # type: ignore[union-attr]
    assert_sound(log)


def test_late_progress_is_told_and_not_kept(log: Log) -> None:
    job = claim(log) if log.jobs.enqueue("work") else None
    assert job is not None
    log.jobs.release(job.job_id, token(job))
    head = log.head()
    with pytest.raises(LateResult):
        log.jobs.progress(job.job_id, token(job), 1)
    assert log.head() == head


def test_what_is_no_claim_of_the_job_is_refused(log: Log) -> None:
    job, other = log.jobs.enqueue("work"), log.jobs.enqueue("work", queue="other")
    theirs = token(claim(log, queues=["other"]))
    head = log.head()
    wrong: list[Any] = [0, -1, True, False, None, "2", 2.5, float("nan"), 2**62, 2**63, 10**30, 1, theirs, theirs + 1]
    for said in wrong:
        for end in (*ENDS.values(), lambda log, job_id, token: log.jobs.progress(job_id, token, 1)):
            with pytest.raises(InvalidInput, match="is no claim of job"):
                end(log, job.job_id, said)
        claims = [(job.job_id, said), (other.job_id, None if said == theirs else said)]
        assert log.jobs.crash(claims, "process_gone", "e") == []  # type: ignore[arg-type]
    assert log.head() == head


def test_a_job_that_was_never_there_is_not_found(log: Log) -> None:
    for command in COMMANDS.values():
        with pytest.raises(NotFound, match="there is no job nobody"):
            command(log, "nobody")
    for end in ENDS.values():
        with pytest.raises(NotFound, match="there is no job nobody"):
            end(log, "nobody", 1)
    with pytest.raises(NotFound):
        log.jobs.events("nobody")
    assert log.jobs.find("nobody") is None
    for wrong in ("", None, 7):
        with pytest.raises(InvalidInput, match="id is text"):
            log.jobs.get(wrong)  # type: ignore[arg-type]
    assert log.jobs.crash([("nobody", 1)], "process_gone", "e") == []
    assert log.head().position == 0


# failures and retries


def test_a_failed_attempt_is_tried_again_until_its_retries_are_used_up(log: Log) -> None:
    job = log.jobs.enqueue("work", max_retries=2, retry_policy=STAYING)
    for attempt in (1, 2, 3):
        claimed = claim(log)
        assert claimed.attempt == attempt
        job = log.jobs.fail(job.job_id, token(claimed), "ValueError", "m" * 9000, traceback="t" * 9000)
        assert (job.failures, job.error_type, len(job.error_message or "")) == (attempt, "ValueError", 4096)
        assert job.status == ("failed" if attempt == 3 else "queued")
    assert (job.reason, job.crashes) == ("retries_exhausted", 0)
    assert [one.outcome for one in log.jobs.attempts(job.job_id)] == ["failed"] * 3
    assert log.jobs.claim("w") == []
    assert_sound(log)


def test_what_is_not_to_be_retried_fails_at_once(log: Log) -> None:
    log.jobs.enqueue("work", max_retries=9)
    job = claim(log)
    failed = log.jobs.fail(job.job_id, token(job), "TypeError", retryable=False)
    assert (failed.status, failed.reason, failed.failures) == ("failed", "not_retryable", 1)
    assert_sound(log)


def test_the_delay_grows_by_the_policy_and_is_stored_with_its_jitter(log: Log) -> None:
    policy = RetryPolicy(base_us=HOUR, factor=3.0, cap_us=10 * HOUR, jitter=0.1)
    job = log.jobs.enqueue("work", max_retries=9, retry_policy=policy)
    for plain in (HOUR, 3 * HOUR, 9 * HOUR, 10 * HOUR):
        claimed = claim(log)
        job = log.jobs.fail(job.job_id, token(claimed), "E")
        scheduled: Any = log.jobs.events(job.job_id)[-1].event
        assert 0.9 * plain <= scheduled.delay_us <= 1.1 * plain
        assert job.ready_at == scheduled.run_at
        assert log.jobs.claim("w") == []
        log.jobs.change(job.job_id, run_at=now_us() - 1)
    assert_sound(log)


def test_a_worker_can_say_when_to_try_again(log: Log) -> None:
    at = now_us() + HOUR
    for retry_at in (at, 0, -5):
        job = log.jobs.enqueue("work", queue=str(retry_at))
        claimed = claim(log, queues=[job.queue])
        again = log.jobs.fail(job.job_id, token(claimed), "E", retry_at=retry_at)
        if retry_at == at:
            assert again.ready_at == at
        else:
            assert again.ready_at is not None and again.ready_at <= now_us()
    assert_sound(log)


def test_a_retry_gives_one_more_attempt_and_can_begin_anew(log: Log) -> None:
    job = become(log, "failed")
    assert (job.failures, job.max_retries) == (1, 0)
    again = log.jobs.retry(job.job_id, "me")
    assert (again.status, again.failures, again.max_retries, again.ended_at) == ("queued", 1, 1, None)
    assert log.jobs.retry(job.job_id) == again  # it waits already
    claimed = claim(log)
    assert claimed.attempt == 2
    assert log.jobs.fail(job.job_id, token(claimed), "E").status == "failed"
    fresh = log.jobs.retry(job.job_id, reset_failures=True)
    assert (fresh.failures, fresh.crashes, fresh.max_retries, fresh.attempt) == (0, 0, 1, 2)
    assert claim(log).attempt == 3
    assert_sound(log)


def test_a_completed_job_is_run_again_only_by_force(log: Log) -> None:
    job = become(log, "completed")
    with pytest.raises(IllegalTransition, match="force"):
        log.jobs.retry(job.job_id)
    assert log.jobs.retry(job.job_id, force=True).status == "queued"
    again = claim(log)
    with pytest.raises(LateResult):
        log.jobs.complete(job.job_id, token(job), "the old claim")
    assert log.jobs.complete(job.job_id, token(again), "new").result == "new"
    assert_sound(log)


# crashes


@pytest.mark.parametrize(
    ("on_crash", "budget", "expected"),
    [
        ("requeue", 3, [("queued", "worker_lost"), ("queued", "worker_lost"), ("failed", "crash_loop")]),
        ("requeue", 1, [("failed", "crash_loop")]),
        ("fail", 3, [("failed", "crashed")]),
        ("ask", 2, [("held", "pid 7 is gone: retry it or cancel it"), ("failed", "crash_loop")]),
    ],
)
def test_after_a_crash_it_goes_by_the_job_s_policy_and_budget(
    log: Log, on_crash: Any, budget: int, expected: list[tuple[str, str]]
) -> None:
    job = log.jobs.enqueue("work", on_crash=on_crash, max_crashes=budget, retry_policy=STAYING)
    for crashes, (status, reason) in enumerate(expected, 1):
        claimed = claim(log)
        (job,) = log.jobs.crash([(job.job_id, token(claimed))], "process_gone", "pid 7 is gone")
        assert (job.status, job.reason, job.crashes, job.failures) == (status, reason, crashes, 0)
        assert (job.error_type, job.error_message) == ("process_gone", "pid 7 is gone")
        if status == "held":
            assert log.jobs.claim("w") == []
            log.jobs.retry(job.job_id)
    assert [one.outcome for one in log.jobs.attempts(job.job_id)] == ["crashed"] * len(expected)
    assert_sound(log)


def test_the_first_crash_is_requeued_at_once_and_later_ones_wait(log: Log) -> None:
    job = log.jobs.enqueue("work", max_crashes=9, retry_policy=RetryPolicy(base_us=HOUR, jitter=0.0, cap_us=9 * HOUR))
    for reason, rung, wait in (("lease_expired", "lease_expired", 0), ("worker_lost", "other_boot", HOUR)):
        claimed = claim(log)
        (job,) = log.jobs.crash([(job.job_id, token(claimed))], rung, "e")  # type: ignore[arg-type]
        assert job.reason == reason
        assert job.ready_at is not None and abs(job.ready_at - now_us() - wait) < 60 * SECOND
    assert log.jobs.claim("w") == []


def test_a_crash_takes_only_what_is_still_that_claim_s(log: Log) -> None:
    jobs = [log.jobs.enqueue("work") for _ in range(3)]
    first, second, third = log.jobs.claim("w", limit=3)
    log.jobs.complete(first.job_id, token(first))
    claims = [(one.job_id, token(one)) for one in (first, second, third)]
    assert ids(log.jobs.crash([*claims, claims[2], (third.job_id, token(second))], "lease_expired", "e")) == ids(
        jobs[1:]
    )
    assert log.jobs.crash(claims, "lease_expired", "e") == []
    assert log.jobs.get(first.job_id).status == "completed"
    again = claim(log)
    with pytest.raises(InvalidInput):
        log.jobs.crash([(again.job_id, token(again))], "a hunch", "e")  # type: ignore[arg-type]
    assert_sound(log)


# handing back, cancelling


def test_release_and_snooze_are_no_failures(log: Log) -> None:
    job = log.jobs.enqueue("work", max_retries=0)
    claimed = claim(log)
    released = log.jobs.release(job.job_id, token(claimed))
    assert (released.status, released.failures, released.crashes, released.attempt) == ("queued", 0, 0, 1)
    claimed = claim(log)
    until = now_us() + HOUR
    snoozed = log.jobs.snooze(job.job_id, token(claimed), until)
    assert (snoozed.status, snoozed.ready_at, snoozed.attempt, snoozed.reason) == ("queued", until, 2, "snoozed")
    assert log.jobs.claim("w") == []
    assert [one.outcome for one in log.jobs.attempts(job.job_id)] == ["released", "snoozed"]
    assert_sound(log)


def test_cancelling_what_runs_is_a_request_that_its_worker_fulfils(log: Log) -> None:
    job = become(log, "processing")
    asked = log.jobs.cancel(job.job_id, "me", "enough")
    assert (asked.status, asked.cancel_requested_by, asked.token) == ("processing", "me", job.token)
    head = log.head()
    assert log.jobs.cancel(job.job_id, "you") == asked
    assert log.head() == head
    stopped = log.jobs.stopped(job.job_id, token(job))
    assert (stopped.status, stopped.cancel_requested_by) == ("cancelled", "me")
    assert stopped.run_us == log.jobs.attempts(job.job_id)[0].ended_at - log.jobs.attempts(job.job_id)[0].started_at
    assert [one.outcome for one in log.jobs.attempts(job.job_id)] == ["cancelled"]
    assert log.jobs.retry(job.job_id).cancel_requested_by is None
    assert_sound(log)


@pytest.mark.parametrize("how", ["fails", "crashes", "is released", "is snoozed", "succeeds"])
def test_a_job_that_somebody_cancelled_is_not_run_again(log: Log, how: str) -> None:
    job = become(log, "processing", max_retries=9)
    log.jobs.cancel(job.job_id, "me")
    match how:
        case "fails":
            ended = log.jobs.fail(job.job_id, token(job), "E")
        case "crashes":
            (ended,) = log.jobs.crash([(job.job_id, token(job))], "process_gone", "e")
        case "is released":
            ended = log.jobs.release(job.job_id, token(job))
        case "is snoozed":
            ended = log.jobs.snooze(job.job_id, token(job), now_us())
        case _:
            ended = log.jobs.complete(job.job_id, token(job))
    assert ended.status == ("completed" if how == "succeeds" else "cancelled")
    assert log.jobs.claim("w") == []
    assert len(log.jobs.attempts(job.job_id)) == 1
    assert_sound(log)


def test_an_attempt_is_not_stopped_by_a_cancellation_that_nobody_asked_for(log: Log) -> None:
    job = become(log, "processing")
    with pytest.raises(IllegalTransition, match=f"job {job.job_id} is processing and cannot become cancelled"):
        log.jobs.stopped(job.job_id, token(job))
    assert log.jobs.get(job.job_id) == job


def test_a_job_that_waits_gets_another_time_priority_or_queue(log: Log) -> None:
    job = log.jobs.enqueue("work")
    changed = log.jobs.change(job.job_id, priority=-7, queue="fast")
    assert (changed.priority, changed.queue, changed.ready_at) == (-7, "fast", job.ready_at)
    later = log.jobs.change(job.job_id, run_at=now_us() + HOUR)
    assert log.jobs.claim("w") == []
    assert (later.priority, later.queue) == (-7, "fast")
    with pytest.raises(InvalidInput, match="say what to change"):
        log.jobs.change(job.job_id)
    for wrong in ("", "x" * 201, "a\nb", 7):
        with pytest.raises(InvalidInput, match="queue is 1 to 200 printable characters"):
            log.jobs.change(job.job_id, queue=wrong)  # type: ignore[arg-type]
    assert log.jobs.counts(("queue", "status")) == {("fast", "queued"): 1}
    assert_sound(log)


# keys


def test_an_idempotency_key_gives_the_first_job_again(log: Log) -> None:
    options: dict[str, Any] = {"queue": "q", "args": {"pair": (1, 2), "more": {"a": None}}}
    job = log.jobs.enqueue("work", key="k", run_at=now_us() + HOUR, **options)
    head = log.head()
    # A delay counted from now is another time at each call.
    assert log.jobs.enqueue("work", key="k", run_at=now_us() + HOUR + 5, **options) == job
    assert log.jobs.enqueue("work", key="k", **options) == job
    assert log.jobs.enqueue_many([NewJob(kind="work", key="k", **options)] * 2) == [job.job_id] * 2
    for other in ({"queue": "r"}, {"args": {"pair": [1, 3]}}, {"priority": 1}, {"unique_key": "u"}):
        with pytest.raises(KeyReused, match="'k'"):
            log.jobs.enqueue("work", key="k", **{**options, **other})
    assert log.head() == head
    log.append("note-1", log.codec.decode("test.noted", 1, "{}"), key="note")
    with pytest.raises(KeyReused):
        log.jobs.enqueue("work", key="note")
    log.jobs.cancel(job.job_id)
    assert log.jobs.enqueue("work", key="k", **options).status == "cancelled"
    assert_sound(log)


def test_the_key_of_a_purged_job_is_not_used_for_another(log: Log) -> None:
    job = log.jobs.enqueue("work", key="k")
    log.jobs.cancel(job.job_id)
    log.jobs.delete(job.job_id)
    with pytest.raises(Conflict, match=f"key 'k'.*job {job.job_id}.*purged"):
        log.jobs.enqueue("work", key="k")
    assert log.jobs.count() == 0


def test_a_unique_key_keeps_others_away_until_its_job_has_ended(log: Log) -> None:
    for status in ("queued", "processing", "held"):
        job = become(log, status, unique_key=status)
        with pytest.raises(Conflict, match=f"job {job.job_id} has the unique key '{status}' and is {status}") as caught:
            log.jobs.enqueue("work", unique_key=status)
        assert caught.value.job_id == job.job_id
        assert log.jobs.enqueue("work", unique_key=status, if_exists="return") == job
    for status in ENDED:
        job = become(log, status, unique_key=status)
        assert log.jobs.enqueue("work", unique_key=status).job_id != job.job_id
    assert_sound(log)


def test_a_retry_does_not_give_a_unique_key_to_two_jobs(log: Log) -> None:
    job = become(log, "failed", unique_key="u")
    other = log.jobs.enqueue("work", unique_key="u", queue="other")
    with pytest.raises(Conflict, match=f"job {other.job_id} has the unique key 'u' and is queued"):
        log.jobs.retry(job.job_id)
    log.jobs.cancel(other.job_id)
    assert log.jobs.retry(job.job_id).status == "queued"
    assert log.jobs.retry(job.job_id).status == "queued"
    assert_sound(log)


# many at once


def test_many_jobs_are_enqueued_all_or_none(log: Log) -> None:
    job = log.jobs.enqueue("work", unique_key="taken")
    head = log.head()
    bad: list[tuple[type[Exception], NewJob]] = [
        (Conflict, NewJob(kind="c", unique_key="taken")),
        (Conflict, NewJob(kind="c", unique_key="twice")),
        (InvalidInput, NewJob(kind="")),
        (InvalidInput, NewJob(kind="c", args={"x": float("nan")})),
        (KeyReused, NewJob(kind="c", key="key", queue="other")),
    ]
    for error, last in bad:
        with pytest.raises(error):
            log.jobs.enqueue_many(
                [NewJob(kind="a"), NewJob(kind="b", unique_key="twice"), NewJob(kind="c", key="key"), last]
            )
        assert log.head() == head
    made = log.jobs.enqueue_many([NewJob(kind="a"), NewJob(kind="b", unique_key="twice"), NewJob(kind="c", key="key")])
    assert log.jobs.enqueue_many([NewJob(kind="c", key="key")]) == made[2:]
    assert log.jobs.enqueue_many([]) == []
    assert ids(log.jobs.get_pending()) == [job.job_id, *made]
    assert_sound(log)


def test_many_jobs_are_completed_at_once_and_late_ones_are_told(log: Log) -> None:
    log.jobs.enqueue_many([NewJob(kind="work", args={"n": n}) for n in range(4)])
    jobs = log.jobs.claim("w", limit=4)
    log.jobs.release(jobs[0].job_id, token(jobs[0]))
    again = claim(log, "other")
    done = log.jobs.complete_many(
        [(one.job_id, token(one), one.args["n"]) for one in jobs] + [(again.job_id, token(again), "again")]
    )
    assert [one and one.result for one in done] == [None, 1, 2, 3, "again"]
    assert log.jobs.counts() == {"completed": 4}
    head = log.head()
    with pytest.raises(NotFound):
        log.jobs.complete_many([(jobs[0].job_id, token(jobs[0]), None), ("nobody", 1, None)])
    assert log.head() == head
    assert_sound(log)


def test_completing_claims_the_next_in_the_same_transaction(log: Log) -> None:
    log.jobs.enqueue_many([NewJob(kind="work")] * 3)
    job: Job = claim(log)
    head = log.head().position
    done = log.jobs.complete_and_claim(job.job_id, token(job), worker_id="w", limit=5)
    assert done.job.status == "completed"
    assert [one.token for one in done.claimed] == [head + 2, head + 3]
    late = log.head()
    with pytest.raises(LateResult):
        log.jobs.complete_and_claim(log.jobs.retry(job.job_id, force=True).job_id, token(job), worker_id="w", limit=5)
    assert log.head().position == late.position + 2  # the request, and what came too late
    assert log.jobs.get(job.job_id).status == "queued"  # whoever lost one is not given another
    assert_sound(log)
