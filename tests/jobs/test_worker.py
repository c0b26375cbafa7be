from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import Conflict, InvalidInput
from eventlog.recorder.measure import own_peak_bytes
from eventlog.worker import JobContext, Worker, job
from eventlog.worker.handlers import load
from eventlog.worker.left import left
from projections.jobs import Job
from tests.helpers import eventually
from tests.jobs import handlers
from tests.jobs.worker_support import PATHS, drain, is_alive, process, types_of, until_status, working


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "log.db")


@pytest.fixture
def log(path: str) -> Any:
    with eventlog.open(path) as log:
        yield log


def enqueue(log: Log, kind: str, **args: Any) -> str:
    options = {"options": {}, **args}
    return log.jobs.enqueue(kind, {k: v for k, v in options.items() if k != "options"}, **options["options"]).job_id


def shell(log: Log, command: str, **options: Any) -> str:
    return log.jobs.enqueue("shell", {"command": command}, **options).job_id


# what handlers do, in threads and in processes


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_what_a_handler_returns_or_raises_is_how_its_attempt_ends(log: Log, mode: Any) -> None:
    kinds = [
        ("add", {"a": 1, "b": 2}),
        ("add.async", {"a": 3}),
        ("progress", {}),
        ("add", {"wrong": 1}),
        ("fail", {"message": "boom"}),
        ("fatal", {}),
        *(("raise", {"what": what}) for what in
          ("exit", "interrupt", "huge", "surrogate", "nasty", "recursion", "result", "nan", "final")),
    ]  # fmt: skip
    ids = [log.jobs.enqueue(kind, args, max_retries=0).job_id for kind, args in kinds]
    assert drain(log, mode=mode, concurrency=2) == len(ids)
    jobs = [log.jobs.get(job_id) for job_id in ids]
    assert [(job.status, job.result) for job in jobs[:3]] == [("completed", 3), ("completed", 3), ("completed", None)]
    assert (jobs[2].progress_done, jobs[2].progress_message) == (5, "step 5")
    assert [job.status for job in jobs[3:]] == ["failed"] * 12
    assert [(job.error_type, job.reason) for job in jobs[3:]] == [
        ("InvalidInput", "not_retryable"),
        ("ValueError", "retries_exhausted"),
        ("KeyError", "not_retryable"),
        ("SystemExit", "retries_exhausted"),
        ("KeyboardInterrupt", "retries_exhausted"),
        ("ValueError", "retries_exhausted"),
        ("ValueError", "retries_exhausted"),
        (jobs[10].error_type, "retries_exhausted"),
        ("RecursionError", "retries_exhausted"),
        ("ResultNotStored", "not_retryable"),
        ("ResultNotStored", "not_retryable"),
        ("eventlog.worker.context.DoNotRetry", "not_retryable"),
    ]
    assert str(jobs[10].error_type).endswith("Nasty")
    assert "missing a required argument: 'a'" in str(jobs[3].error_message)
    assert "caf\\xe9 \\ud800" in str(jobs[9].error_message)
    assert len(str(jobs[8].error_message)) <= 4096
    failed = next(record.event for record in log.jobs.events(ids[4]) if record.type == "job.attempt_failed")
    assert "raise ValueError(message)" in failed.traceback  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_a_handler_may_ask_for_a_later_time(log: Log, tmp_path: Path, mode: Any) -> None:
    snoozed = enqueue(log, "later", path=str(tmp_path / "a"), delay_s=0.1)
    again = enqueue(log, "again", path=str(tmp_path / "b"), delay_s=0.1)
    with working(log, mode=mode):
        assert until_status(log, snoozed, "completed").failures == 0
        assert until_status(log, again, "completed").failures == 1
    assert types_of(log, snoozed) == ["enqueued", "started", "snoozed", "started", "succeeded"]
    assert types_of(log, again) == ["enqueued", "started", "attempt_failed", "retry_scheduled", "started", "succeeded"]


@pytest.mark.parametrize("mode", ["threads", "processes"])
def test_what_a_handler_records_is_linked_to_its_job(log: Log, mode: Any) -> None:
    job_id = enqueue(log, "context")
    drain(log, mode=mode)
    done = log.jobs.get(job_id)
    assert done.result["job_id"] == done.result["child"] == job_id
    assert (done.result["pid"] == os.getpid()) == (mode == "threads")
    runs = log.runs.list(job_id=job_id)
    assert [run.command for run in runs] == (["inner"] if mode == "threads" else ["inner", "job context"])
    assert log.runs.count(job_id=job_id) == len(runs)
    assert runs[0].parent_run_id == (None if mode == "threads" else runs[1].run_id)
    assert log.runs.list(job_id="another") == []


def test_a_job_in_a_process_is_a_run_with_its_output(log: Log, tmp_path: Path) -> None:
    first, second = (enqueue(log, "print", text=text) for text in ("one", "two"))
    drain(log, mode="processes")
    pids = {log.jobs.get(job_id).result for job_id in (first, second)}
    assert len(pids) == 1  # one process, one job after another
    for job_id, text in ((first, "one"), (second, "two")):
        (run,) = log.runs.list(job_id=job_id)
        assert {said.row.channel: said.text for said in log.runs.output(run.run_id)} == {
            "stdout": f"{text}\n",
            "stderr": f"{text} too\n",
        }
        assert (tmp_path / "result" / str(run.run_id) / "logs" / "stdout.log").read_text() == f"{text}\n"
        assert (run.status, run.program, run.parameters) == ("success", "print", {"text": text})


@pytest.mark.parametrize(
    ("how", "evidence"),
    [("segfault", "was ended by SIGSEGV"), ("exit", "ended with exit status 3"), ("kill", "was ended by SIGKILL")],
)
def test_a_process_that_dies_takes_nothing_with_it(log: Log, how: str, evidence: str) -> None:
    job_id, after = enqueue(log, "die", how=how, options={"max_crashes": 1}), enqueue(log, "add", a=1)
    drain(log, mode="processes")
    died = log.jobs.get(job_id)
    assert (died.status, died.reason, died.error_type, died.crashes) == ("failed", "crash_loop", "parent_wait", 1)
    assert evidence in str(died.error_message)
    assert log.jobs.get(after).result == 1
    (run,) = log.runs.list(job_id=job_id)
    assert (run.status, log.runs.output(run.run_id)[0].text) == ("killed", "last words\n")


def test_a_crash_in_a_process_is_tried_again(log: Log) -> None:
    job_id = enqueue(log, "die", how="kill", options={"max_crashes": 3, "retry_policy": {"base_us": 1, "jitter": 0.0}})
    with working(log, mode="processes"):
        assert until_status(log, job_id, "failed").crashes == 3
    assert types_of(log, job_id)[1:4] == ["started", "crashed", "requeued"]


def test_kinds_without_a_handler_are_left_alone(log: Log) -> None:
    foreign, ours = enqueue(log, "unheard.of"), enqueue(log, "add", a=1)
    assert drain(log) == 1
    assert [log.jobs.get(job_id).status for job_id in (foreign, ours)] == ["queued", "completed"]
    command, again = shell(log, "true"), enqueue(log, "add", a=1)
    assert drain(log, kinds=["add"]) == 1
    assert [log.jobs.get(job_id).status for job_id in (command, again)] == ["queued", "completed"]
    with pytest.raises(InvalidInput, match="no handler is of kind 'ad'"):
        Worker(log, handlers=handlers, kinds=["ad"])
    worker = Worker(log, handlers=handlers)
    worker.run(until_empty=True)
    with pytest.raises(InvalidInput, match="a worker runs once"):
        worker.run()
    with pytest.raises(InvalidInput, match="nothing to do"):
        Worker(log, shell=False)


def test_queues_are_served_in_the_order_given(log: Log, tmp_path: Path) -> None:
    for queue in ("low", "other", "high"):
        shell(log, f"echo {queue} >> {tmp_path}/order", queue=queue)
    drain(log, queues=["high", "low"])
    assert (tmp_path / "order").read_text().split() == ["high", "low"]


# commands


def test_a_command_is_a_run_with_artifacts(log: Log, tmp_path: Path) -> None:
    job_id = shell(log, "echo out; echo err >&2; echo $EVENTLOG_JOB_ID; cd /; pwd", timeout_us=20_000_000)
    drain(log)
    (run,) = log.runs.list(job_id=job_id)
    assert log.jobs.get(job_id).result == {"exit_code": 0, "run_id": run.run_id}
    assert log.runs.output(run.run_id)[0].text == f"out\n{job_id}\n/\n"
    assert (tmp_path / "result" / str(run.run_id) / "logs" / "stderr.log").read_text() == "err\n"
    assert [artifact.name for artifact in log.runs.artifacts(run.run_id)] == ["stdout.log", "stderr.log"]
    assert (run.status, run.exit_code, run.command) == ("success", 0, log.jobs.get(job_id).args["command"])
    assert run.wall_us is not None and run.cpu_user_us is not None


def test_peak_memory_of_a_command_is_not_that_of_its_worker(log: Log) -> None:
    more = own_peak_bytes() + (100 << 20)
    ids = [shell(log, "true"), shell(log, f"{sys.executable} -c 'held = bytearray({more})'")]
    drain(log)
    less, above = (log.runs.list(job_id=job_id)[0].peak_memory_bytes for job_id in ids)
    assert less is None
    assert more < above < more + (50 << 20)


def test_commands_inside_a_job_are_linked_to_it(log: Log, path: str) -> None:
    inner = [sys.executable, "-P", "-m", "eventlog", "--db", path, "run", "--", "true"]
    job_id = log.jobs.enqueue("shell", {"argv": inner, "env": {"PYTHONPATH": PATHS}}).job_id
    drain(log)
    inside, outside = log.runs.list(job_id=job_id)
    assert (inside.command, inside.parent_run_id) == ("true", outside.run_id)


def test_a_command_that_fails_is_a_failed_attempt(log: Log, tmp_path: Path) -> None:
    ids = [
        shell(log, "echo first; echo 'it broke' >&2; exit 3", max_retries=0),
        shell(log, "kill -9 $$", max_retries=0),
        log.jobs.enqueue("shell", {"argv": ["/does/not/exist"]}, max_retries=0).job_id,
        log.jobs.enqueue("shell", {"argv": ["true"], "command": "true"}).job_id,
        log.jobs.enqueue("shell", {"argv": ["tr\0ue"]}).job_id,
        log.jobs.enqueue("shell", {"argv": ["true"], "cwd": str(tmp_path / "nowhere")}, max_retries=0).job_id,
    ]
    drain(log)
    jobs = [log.jobs.get(job_id) for job_id in ids]
    assert [(job.status, job.error_type) for job in jobs] == [
        ("failed", "ExitStatus"), ("failed", "Signal"), ("failed", "CommandNotStarted"),
        ("failed", "InvalidInput"), ("failed", "InvalidInput"), ("failed", "CommandNotStarted"),
    ]  # fmt: skip
    assert jobs[0].error_message == "exit status 3: it broke"
    assert jobs[1].error_message == "ended by SIGKILL"


# time-outs and cancellation


def test_a_thread_that_takes_too_long_is_left_behind(log: Log) -> None:
    stuck = enqueue(log, "sleep", seconds=60, options={"timeout_us": 100_000, "max_retries": 0})
    polite = enqueue(log, "heed", options={"timeout_us": 100_000, "max_retries": 0})
    async_ = enqueue(log, "sleep.async", seconds=60, options={"timeout_us": 100_000, "max_retries": 0})
    after = enqueue(log, "add", a=1)
    drain(log)
    for job_id in (stuck, polite, async_):
        ended = log.jobs.get(job_id)
        assert (ended.status, ended.error_type, ended.error_message) == ("failed", "Timeout", "took longer than 0.1 s")
    assert log.jobs.get(after).result == 1


def test_a_process_that_takes_too_long_is_killed(log: Log, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    deaf = shell(log, f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.1; done", timeout_us=300_000, max_retries=0)
    child = enqueue(log, "sleep", seconds=60, options={"timeout_us": 500_000, "max_retries": 0})
    drain(log, mode="processes", concurrency=2, kill_after_s=0.2)
    for job_id in (deaf, child):
        assert (log.jobs.get(job_id).status, log.jobs.get(job_id).error_type) == ("failed", "Timeout")
        (run,) = log.runs.list(job_id=job_id)
        assert run.status == "killed"
    assert not is_alive(int(pid.read_text()))


def test_a_cancelled_job_is_stopped(log: Log, tmp_path: Path) -> None:
    ids = [enqueue(log, "heed"), enqueue(log, "sleep.async", seconds=60), shell(log, "sleep 60")]
    with working(log, concurrency=3):
        for job_id in ids:
            until_status(log, job_id, "processing")
            log.jobs.cancel(job_id, by="me")
        for job_id in ids:
            assert until_status(log, job_id, "cancelled").cancel_requested_by == "me"
    assert types_of(log, ids[0]) == ["enqueued", "started", "cancel_requested", "cancelled"]


def test_a_cancelled_job_in_a_process_is_asked_and_then_killed(log: Log, tmp_path: Path) -> None:
    polite = enqueue(log, "heed", path=str(tmp_path / "seen"))
    deaf = enqueue(log, "sleep", seconds=60, path=str(tmp_path / "pid"))
    with working(log, concurrency=2, mode="processes"):
        eventually((tmp_path / "pid").exists)
        pid = int((tmp_path / "pid").read_text() or "0")
        until_status(log, polite, "processing")
        for job_id in (polite, deaf):
            log.jobs.cancel(job_id)
        for job_id in (polite, deaf):
            until_status(log, job_id, "cancelled")
        assert not pid or not is_alive(pid)
    assert (tmp_path / "seen").read_text() == "cancelled=True stopping=False"


# stopping


def test_sigterm_lets_jobs_finish_within_the_grace_and_hands_back_the_rest(log: Log, path: str, tmp_path: Path) -> None:
    short, long, command = (
        enqueue(log, "sleep", seconds=1, path=str(tmp_path / "short")),
        enqueue(log, "sleep", seconds=60, path=str(tmp_path / "long")),
        shell(log, f"touch {tmp_path}/command; exec sleep 60"),
    )
    waiting = enqueue(log, "sleep", seconds=0)
    with process(path, "--concurrency", "3", "--grace", "2", folder=tmp_path) as worker:
        eventually(lambda: all((tmp_path / name).exists() for name in ("short", "long", "command")))
        worker.ask()
        status, output = worker.end()
    assert status == 0, output
    assert [log.jobs.get(job_id).status for job_id in (short, long, command, waiting)] == [
        "completed", "queued", "queued", "queued",
    ]  # fmt: skip
    assert types_of(log, long) == types_of(log, command) == ["enqueued", "started", "released"]
    assert log.jobs.get(long).failures == 0
    (stopped,) = log.workers.list()
    assert (stopped.status, stopped.reason) == ("stopped", "asked to stop")
    assert not Path(str(stopped.lock_path)).exists()


def test_a_second_signal_stops_at_once(log: Log, path: str, tmp_path: Path) -> None:
    ids = [
        shell(log, f"trap '' TERM; touch {tmp_path}/command; while :; do sleep 0.1; done"),
        enqueue(log, "sleep", seconds=60, path=str(tmp_path / "long")),
    ]
    with process(path, "--concurrency", "2", "--grace", "600", folder=tmp_path) as worker:
        eventually(lambda: all((tmp_path / name).exists() for name in ("long", "command")))
        worker.ask()
        eventually(lambda: "stops" in str(worker.popen.stdout.readline()))  # type: ignore[union-attr]
        worker.ask(signal.SIGINT)
        assert worker.end()[0] == 0
    assert [log.jobs.get(job_id).status for job_id in ids] == ["queued", "queued"]


def test_a_handler_is_told_that_the_worker_stops(log: Log) -> None:
    ids = [enqueue(log, "stopping") for _ in range(2)]
    for mode in ("threads", "processes"):
        with working(log, mode=mode) as worker:
            eventually(lambda: any(job.progress_done == 1 for job in log.jobs.processing()))
            worker.stop()
            eventually(lambda: all(log.jobs.get(job_id).status == "queued" for job_id in ids))
    assert sum(types_of(log, job_id).count("snoozed") for job_id in ids) == 2


def test_commands_do_not_outlive_a_worker_that_was_killed(log: Log, path: str, tmp_path: Path) -> None:
    shell(log, f"echo $$ > {tmp_path}/pid; sleep 60; true")
    enqueue(log, "sleep", seconds=60, path=str(tmp_path / "child"))
    with process(path, "--processes", "--concurrency", "2", folder=tmp_path) as worker:
        eventually(lambda: all((tmp_path / n).exists() and (tmp_path / n).read_text() for n in ("pid", "child")))
        pids = [int((tmp_path / name).read_text()) for name in ("pid", "child")]
        assert all(map(is_alive, pids))
        worker.kill()
        eventually(lambda: not any(map(is_alive, pids)))


# a lost lease


def test_a_worker_that_was_taken_for_lost_gives_up_its_work_and_goes_on_under_a_new_id(
    log: Log, tmp_path: Path
) -> None:
    held = enqueue(log, "heed", path=str(tmp_path / "seen"), options={"max_crashes": 1})
    deaf = enqueue(log, "sleep", seconds=60, options={"max_crashes": 1})
    command = shell(log, f"echo $$ > {tmp_path}/pid; exec sleep 60", max_crashes=1)
    with working(log, lease_s=0.6, concurrency=3) as worker:
        for job_id in (held, deaf, command):
            until_status(log, job_id, "processing")
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        first = worker.worker_id
        assert first is not None
        assert log.workers.lost(first, "lease_expired", "somebody thought so")
        log.jobs.crash(
            [(row.job_id, row.token or 0) for row in log.jobs.processing()], "lease_expired", "he thought so"
        )
        eventually(lambda: worker.worker_id not in (None, first))
        eventually((tmp_path / "seen").exists)
        eventually(lambda: not is_alive(int((tmp_path / "pid").read_text())))
        after = enqueue(log, "add", a=1)
        assert until_status(log, after, "completed").worker_id == worker.worker_id
    assert {log.jobs.get(job_id).status for job_id in (held, deaf, command)} == {"failed"}
    assert [one.status for one in log.workers.list()] == ["stopped", "lost"]
    assert list((tmp_path / "workers").iterdir()) == []


def test_a_worker_that_does_not_know_yet_that_it_is_lost_claims_under_its_new_id(log: Log) -> None:
    """Under the old one each attempt would be taken from it again, until the job had crashed too often."""
    with working(log, lease_s=600) as worker:
        first = worker.worker_id
        assert first is not None and log.workers.lost(first, "lease_expired", "somebody's clock jumped")
        done = until_status(log, enqueue(log, "add", a=1), "completed")
        assert (done.worker_id, done.attempt) == (worker.worker_id, 1) and done.worker_id != first


def test_a_claim_that_nobody_knows_of_is_handed_back(log: Log) -> None:
    job_id = enqueue(log, "unheard.of")
    with working(log, lease_s=0.6) as worker:
        assert worker.worker_id is not None
        log.jobs.claim(worker.worker_id)  # its answer gets lost
        eventually(lambda: types_of(log, job_id)[-1] == "released")


def test_two_workers_in_one_process_do_not_take_each_other_for_dead(log: Log) -> None:
    job_id = enqueue(log, "sleep", seconds=2.5)
    with working(log), working(log, shell=False):
        until_status(log, job_id, "completed")
    assert types_of(log, job_id) == ["enqueued", "started", "succeeded"]


def test_the_lock_of_a_worker_is_its_own(log: Log, tmp_path: Path) -> None:
    """A child that was forked by a handler does not keep it, and neither does a command."""
    from eventlog.worker.registration import is_unlocked

    with working(log) as worker:
        (lock,) = (tmp_path / "workers").iterdir()
        assert lock.name == f"{worker.worker_id}.lock"
        assert not is_unlocked(str(lock))
        assert oct(lock.stat().st_mode)[-3:] == "600"
        script = "import os,sys; print(any('workers' in os.path.realpath(f'/proc/self/fd/{n}') for n in range(3, 64)))"
        found = shell(log, f'{sys.executable} -c "{script}"')
        until_status(log, found, "completed")
    (run,) = log.runs.list(job_id=found)
    assert log.runs.output(run.run_id)[0].text == "False\n"


# many at once


def test_several_workers_begin_each_attempt_once(log: Log, path: str, tmp_path: Path) -> None:
    ids = [enqueue(log, "touch", path=str(tmp_path / "began")) for _ in range(120)]
    workers = []
    with (
        process(path, "--until-empty", "--quiet", folder=tmp_path) as one,
        process(path, "--until-empty", "--quiet", "-c", "3", folder=tmp_path) as two,
    ):
        workers = [one, two]
        assert [worker.end() for worker in workers] == [(0, ""), (0, "")]
    assert [log.jobs.get(job_id).attempt for job_id in ids] == [1] * 120
    assert log.jobs.counts() == {"completed": 120}
    assert len((tmp_path / "began").read_text().split()) == 120


def test_a_worker_goes_on_when_nobody_listens_to_it_any_more(path: str, log: Log, tmp_path: Path) -> None:
    ids = [shell(log, "true") for _ in range(3)]
    with process(path, "--until-empty", folder=tmp_path) as worker:
        worker.popen.stdout.close()  # type: ignore[union-attr]
        worker.popen.wait(20)
    assert {log.jobs.get(job_id).status for job_id in ids} == {"completed"}
    assert [one.status for one in log.workers.list()] == ["stopped"]


def test_until_empty_waits_for_what_others_process(log: Log) -> None:
    claimed = enqueue(log, "add", a=1)
    log.jobs.claim("somebody", kinds=["add"])
    seen: list[int] = []
    drained = threading.Thread(target=lambda: seen.append(drain(log)))
    drained.start()
    eventually(lambda: log.workers.list(status="running"))
    drained.join(0.5)
    assert drained.is_alive()
    log.jobs.release(claimed, log.jobs.get(claimed).token or 0)
    drained.join(40)
    assert seen == [1]


def test_until_empty_tells_what_stays_in_the_queues_and_why(log: Log) -> None:
    told: list[str] = []
    for queue in ("held", "held", "full", "later", "foreign"):
        later = now_us() + 3_600_000_000 if queue == "later" else None
        log.jobs.enqueue("wings" if queue == "foreign" else "add", {"a": 1}, queue=queue, run_at=later)
    log.queues.pause("held", "ada", "disk full")
    log.queues.limit("full", 0)
    assert drain(log, tell=told.append) == 0
    assert told[1:-1] == [
        "1 job left in the queue foreign: nothing here does wings",
        "1 job left in the queue full: the limit is 0; `eventlog jobs limit full none` lifts it",
        "2 jobs left in the queue held: paused by ada (disk full); `eventlog jobs resume held` lets it go on",
        "1 job left in the queue later: not to run yet",
    ]
    told.clear()
    drain(log, tell=told.append, queues=["nosuch", "later"])
    assert told[1:-1] == ["there is no queue nosuch: no job is in it", "1 job left in the queue later: not to run yet"]


def test_what_is_left_is_told_of_a_queue_that_came_to_be_meanwhile(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.jobs.enqueue("add", {"a": 1})

    def then_enqueue(asked: Callable[..., Any], queue: str) -> Callable[..., Any]:
        def answer(**given: Any) -> Any:
            found = asked(**given)
            log.jobs.enqueue("add", {"a": 1}, queue=queue)
            return found

        return answer

    monkeypatch.setattr(log.queues, "list", then_enqueue(log.queues.list, "first"))
    monkeypatch.setattr(log.jobs, "counts", then_enqueue(log.jobs.counts, "second"))
    assert list(left(log, None, ["add"])) == ["1 job left in the queue default: not to run yet"]


# making handlers


def test_a_handler_enqueues_jobs_for_itself(log: Log) -> None:
    @log.job("greet", queue="mail", max_retries=7, timeout_s=1.5, non_retryable=(KeyError,))
    def greet(name: str, context: JobContext) -> str:
        return f"hello {name}"

    made: Job = greet.enqueue(name="you")
    assert (made.kind, made.queue, made.args, made.max_retries, made.timeout_us) == (
        "greet", "mail", {"name": "you"}, 7, 1_500_000,
    )  # fmt: skip
    assert greet.having(priority=-3, key="once").enqueue(name="a").priority == -3
    assert drain(log, handlers=None) == 2
    assert log.jobs.get(made.job_id).result == "hello you"
    with pytest.raises(InvalidInput, match=r"unexpected keyword argument 'nam'|missing a required argument: 'name'"):
        greet.enqueue(nam="x")
    with pytest.raises(InvalidInput, match="two handlers of kind 'greet'"):
        log.job("greet")(lambda: None)
    with pytest.raises(InvalidInput, match="which log"):
        handlers.add.enqueue(a=1)
    with pytest.raises(InvalidInput, match="no option 'queu'"):
        job("x", queu="q")
    with pytest.raises(InvalidInput, match="max_retries"):
        job("x", max_retries="3")
    with pytest.raises(InvalidInput, match="are commands"):
        job("shell")
    with pytest.raises(Conflict):
        for _ in range(2):
            greet.having(unique_key="u").enqueue(name="twice")


def test_a_handler_that_a_process_cannot_import_is_refused(log: Log) -> None:
    log.job("local")(lambda: None)
    with pytest.raises(InvalidInput, match="a child process cannot import it"):
        Worker(log, mode="processes")


def test_handlers_are_found_by_an_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {function.kind for function in load("tests.jobs.handlers")} >= {"add", "fail"}
    assert [function.kind for function in load("tests.jobs.handlers:add")] == ["add"]
    for reference, problem in (
        ("tests.jobs.nowhere", "No module named"),
        ("tests.jobs.handlers:nothing", "has no attribute 'nothing'"),
        ("tests.jobs.worker_support:is_alive", "holds no handler"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            load(reference)


def test_a_program_with_handlers_of_its_own_works_in_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import eventlog, os\n"
        "from eventlog.worker import Worker, job\n"
        "@job('who')\n"
        "def who(): return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    with eventlog.open('log.db') as log:\n"
        "        job_id = who.on(log).enqueue().job_id\n"
        "        Worker(log, handlers=[who], mode='processes').run(until_empty=True)\n"
        "        print(log.jobs.get(job_id).status, log.jobs.get(job_id).result != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-P", str(program)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PATHS},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("completed True\n", "")


def test_the_command_says_what_it_does(log: Log, path: str, tmp_path: Path) -> None:
    shell(log, "exit 3", max_retries=0)
    with process(path, "--until-empty", folder=tmp_path) as worker:
        status, output = worker.end()
    assert status == 0
    lines = output.splitlines()
    assert lines[0].startswith("worker 0") and lines[-1] == "worker stopped after 1 attempt"
    assert "(shell) failed: ExitStatus: exit status 3; it is failed now" in lines[1]
    for options, problem in (
        (("-i", "no.such.module"), "error: cannot import 'no.such.module': ModuleNotFoundError"),
        (("-k", "nothing"), "error: no handler is of kind 'nothing'"),
        (("--data-dir", "x"), "error: --data-dir needs --persist"),
    ):
        with process(path, *options, folder=tmp_path) as worker:
            status, output = worker.end()
        assert status in (1, 2) and problem in output
