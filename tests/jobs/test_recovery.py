from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time

import eventlog
from eventlog.app import Log
from eventlog.cli.jobs import error, state_of
from eventlog.cli.view import View
from eventlog.events.jobs import JobCrashed
from eventlog.events.workers import WorkerLost, WorkerStarted
from eventlog.ids import uuid7
from eventlog.recorder import capture
from eventlog.repositories.jobs import LEASE_US, NewJob, WorkerGone
from eventlog.worker import RecoveryManager, RecoveryResult
from eventlog.worker import recovery as recovery_module
from tests import postgres
from tests.helpers import eventually, in_threads
from tests.integration.test_cli_commands import Cli
from tests.jobs.worker_support import PATHS, process, types_of, until_status, working

OpenLog = Callable[..., Log]
HERE = {name: value for name, value in capture.process_facts().items() if name in WorkerStarted.__struct_fields__}
HOUR_US = 3_600_000_000


def claimed(log: Log, worker_id: str, count: int = 1, **options: Any) -> list[str]:
    """Jobs that a worker began and will never end."""
    ids = log.jobs.enqueue_many([NewJob(kind="k", **options) for _ in range(count)])
    worker = log.workers.find(worker_id)
    while any(log.jobs.claim(worker_id, limit=1000, lease_us=LEASE_US if worker is None else worker.lease_us)):
        pass
    return ids


def register(log: Log, lease_us: int = HOUR_US, worker_id: str | None = None, **facts: Any) -> str:
    return log.workers.start(WorkerStarted(**{**HERE, "pid": os.getpid(), **facts}, lease_us=lease_us), worker_id)


def rung_of(log: Log, job_id: str) -> tuple[str, str]:
    event = next(record.event for record in log.jobs.events(job_id) if record.type == "job.crashed")
    assert isinstance(event, JobCrashed)
    return event.rung, event.evidence


def dead_pid() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


@pytest.mark.shared
def test_a_heartbeat_hides_nothing_that_others_wrote(open_log: OpenLog) -> None:
    one, other = open_log(), open_log()
    worker_id = register(one)
    other.jobs.enqueue("k")
    assert one.workers.beat(worker_id)
    one.jobs.enqueue("k")
    other.jobs.enqueue("k")
    assert one.workers.silences().keys() == {worker_id}
    one.store.forget_workers([worker_id])
    assert not one.workers.beat(worker_id)
    assert one.jobs.count() == 3 and one.jobs.claim("w")[0].attempt == 1


# the ladder


def test_a_worker_that_lives_is_left_alone(log: Log) -> None:
    (job_id,) = claimed(log, register(log))
    assert RecoveryManager(log).recover_on_startup() == RecoveryResult(0, 0, 0)
    assert types_of(log, job_id) == ["enqueued", "started"]


@pytest.mark.parametrize(
    ("facts", "rung", "evidence"),
    [
        ({"boot_id": "0" * 36}, "other_boot", "was restarted since"),
        ({"pid": "dead"}, "process_gone", "is no longer there"),
        ({"process_started_ticks": 1}, "process_gone", "is another one now"),
        ({"host": "elsewhere", "machine_id": "f" * 32, "lease_us": 1}, "lease_expired", "on elsewhere said nothing"),
    ],
)
def test_evidence_of_a_dead_worker_is_in_the_events(
    tmp_path: Path, facts: dict[str, Any], rung: str, evidence: str
) -> None:
    if facts.get("pid") == "dead":
        facts = {**facts, "pid": dead_pid()}
    if rung == "other_boot" and HERE["machine_id"] is None:
        pytest.skip("without a machine id another boot proves nothing")
    with eventlog.open(tmp_path / "log.db") as log:
        worker_id = register(log, **facts)
        (job_id,) = claimed(log, worker_id)
        assert RecoveryManager(log).recover_on_startup() == RecoveryResult(1, 1, 0)
        assert rung_of(log, job_id)[0] == rung and evidence in rung_of(log, job_id)[1]
        assert types_of(log, job_id) == ["enqueued", "started", "crashed", "requeued"]
        assert (log.workers.get(worker_id).status, log.workers.silences()) == ("lost", {})


def test_a_lock_that_was_let_go_proves_more_than_anything_else(tmp_path: Path) -> None:
    worker_id, elsewhere = uuid7(), uuid7()
    (tmp_path / "workers").mkdir()
    lock, far = (tmp_path / "workers" / f"{name}.lock" for name in (worker_id, elsewhere))
    with eventlog.open(tmp_path / "log.db") as log, lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        register(log, worker_id=worker_id, lock_path=str(lock))
        (job_id,) = claimed(log, worker_id)
        assert RecoveryManager(log).requeue_processing() == 0
        fcntl.flock(held, fcntl.LOCK_UN)
        assert RecoveryManager(log).requeue_processing() == 1
        assert rung_of(log, job_id)[0] == "lock_released"
        assert not lock.exists()
        # The same path on another machine is another file.
        register(log, worker_id=elsewhere, lock_path=str(far), host="elsewhere", machine_id="f" * 32)
        far.touch()
        claimed(log, elsewhere)
        assert RecoveryManager(log).requeue_processing() == 0


def test_no_file_but_a_worker_s_own_lock_is_opened_or_removed(tmp_path: Path) -> None:
    """Whoever may append events could name any file of whoever recovers."""
    (tmp_path / "workers").mkdir()
    worker_id = uuid7()
    others = [tmp_path / "precious", tmp_path / "workers" / "precious", tmp_path / f"{worker_id}.lock"]
    with eventlog.open(tmp_path / "log.db") as log:
        for path in others:
            path.touch()
            liar = register(log, lock_path=str(path))
            claimed(log, liar)
            log.append(f"worker-../{path.name}", WorkerStarted(**HERE, lock_path=str(path)))
            claimed(log, f"../{path.name}")
        claimed(log, register(log, pid=dead_pid(), lock_path=str(others[0])))
        assert RecoveryManager(log).recover_on_startup() == RecoveryResult(1, 1, 0)
        assert all(path.exists() for path in others)


def test_a_worker_of_another_machine_has_its_lease(log: Log) -> None:
    elsewhere = register(log, host="elsewhere", machine_id="f" * 32, pid=dead_pid())
    (job_id,) = claimed(log, elsewhere)
    assert RecoveryManager(log).requeue_processing() == 0
    # It was restored from a backup, say: nobody knows what was said.
    log.store.forget_workers([elsewhere])
    assert RecoveryManager(log).requeue_processing() == 0
    assert log.jobs.get(job_id).status == "processing"


def test_of_the_leases_of_a_worker_and_of_its_claim_the_longer_one_counts(log: Log) -> None:
    for of_worker, of_claim, taken in ((1, HOUR_US, 0), (HOUR_US, 1, 0), (1, 1, 1)):
        worker_id = register(log, host="elsewhere", machine_id="f" * 32, lease_us=of_worker)
        log.jobs.enqueue("k")
        (job,) = log.jobs.claim(worker_id, lease_us=of_claim)
        kinds = {blocker.kind for blocker in log.jobs.explain(job.job_id).blockers}
        assert kinds == {"running", *(["silent"] if taken else [])}
        assert len(RecoveryManager(log).look()) == taken


def test_workers_that_went_while_they_had_nothing_to_do_are_known_to_be_lost(log: Log) -> None:
    alive, stopped, young = register(log), register(log), register(log, host="elsewhere", machine_id="f" * 32)
    log.workers.stop(stopped)
    gone = register(log, pid=dead_pid())
    silent = register(log, host="elsewhere", machine_id="f" * 32, lease_us=1)
    RecoveryManager(log, mine=lambda: [gone]).sweep(leases=False)
    assert len(log.workers.list(status="running")) == 4
    assert RecoveryManager(log).recover_on_startup() == RecoveryResult(0, 0, 0)
    assert {worker.worker_id for worker in log.workers.list(status="running")} == {alive, young}
    assert {worker.worker_id for worker in log.workers.list(status="lost")} == {gone, silent}
    assert log.workers.silences().keys() == {alive, young}
    assert [record.event.rung for record in log.read(types=["worker.lost"])] == ["lease_expired", "process_gone"]  # type: ignore[union-attr]


def test_somebody_unknown_has_the_lease_of_his_claim(log: Log) -> None:
    (job_id,) = log.jobs.enqueue_many([NewJob(kind="k")])
    log.jobs.claim("over http", lease_us=HOUR_US)
    assert RecoveryManager(log).requeue_processing() == 0
    log.jobs.release(job_id, log.jobs.get(job_id).token or 0)
    log.jobs.claim("over http", lease_us=1)
    assert RecoveryManager(log).requeue_processing() == 1
    assert rung_of(log, job_id)[0] == "worker_unknown"


def test_jobs_of_workers_that_stopped_or_are_known_to_be_lost_are_taken(log: Log) -> None:
    stopped, lost = register(log), register(log)
    (first,) = claimed(log, stopped)
    log.workers.stop(stopped)
    (second,) = claimed(log, lost)
    log.workers.lost(lost, "lease_expired", "it was silent")
    assert RecoveryManager(log).recover_on_startup() == RecoveryResult(2, 2, 0)
    assert rung_of(log, first) == ("process_gone", f"worker {stopped} stopped and did not hand the job back")
    assert rung_of(log, second) == ("lease_expired", "it was silent")


def test_a_worker_that_is_said_to_be_lost_in_strange_words_holds_up_no_recovery(log: Log) -> None:
    strange, other = register(log), register(log, pid=dead_pid())
    (first,) = claimed(log, strange)
    claimed(log, other)
    log.append(f"worker-{strange}", WorkerLost(rung="a feeling", evidence="it was quiet"))
    assert RecoveryManager(log).recover_on_startup() == RecoveryResult(2, 2, 0)
    assert rung_of(log, first) == ("process_gone", "it was quiet")


@pytest.mark.shared
def test_a_worker_that_is_gone_claims_nothing_that_would_be_taken_from_it_at_once(open_log: OpenLog) -> None:
    log, other = open_log(), open_log()
    lost, stopped = register(log), register(log)
    (job_id,) = claimed(log, lost)
    log.jobs.enqueue_many([NewJob(kind="k") for _ in range(2)])
    other.workers.lost(lost, "lease_expired", "it was silent")
    other.workers.stop(stopped)
    # Before anybody took its job it may still say how it ended.
    done = log.jobs.complete_and_claim(job_id, log.jobs.get(job_id).token or 0, worker_id=lost, limit=1)
    assert (done.job.status, done.claimed) == ("completed", [])
    for worker_id, end in ((lost, "lost"), (stopped, "stopped")):
        with pytest.raises(WorkerGone, match=f"is {end}: register anew"):
            log.jobs.claim(worker_id)
    log.projections.rollback(log.head().position - 2, ["workers"])
    assert len(log.jobs.claim("over http", limit=9)) == 2


def test_whoever_is_killed_while_he_says_that_a_worker_is_lost_does_not_leave_it_in_doubt(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_id = register(log)

    def killed(*given: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    for owner, step in ((log, "decide"), (log.store, "forget_workers")):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(owner, step, killed)
            log.workers.lost(worker_id, "lease_expired", "it was silent")
        # It never believes to live while the log says that it is lost.
        assert not (log.workers.beat(worker_id) and log.workers.get(worker_id).status == "lost")


@pytest.mark.parametrize(("own_s", "lease_us", "patience_s"), [(30, 1, 30), (5, 60_000_000, 60)])
def test_who_slept_gives_others_one_lease_more(
    log: Log, monkeypatch: pytest.MonkeyPatch, own_s: float, lease_us: int, patience_s: float
) -> None:
    """Of his leases and theirs the longer one: theirs may beat only three times in it."""
    worker_id = register(log, host="elsewhere", machine_id="f" * 32, lease_us=lease_us)
    claimed(log, worker_id)
    monkeypatch.setattr(log.store, "silences", lambda: {worker_id: 600_000_000})
    clock = [1000.0]
    monkeypatch.setattr(recovery_module, "_awake_clock", lambda: clock[0])
    manager = RecoveryManager(log)
    manager.longest_gap_s = own_s
    manager.sweep(leases=False)
    clock[0] += 600
    assert manager.sweep() == []
    woke = clock[0]
    while clock[0] < woke + patience_s - own_s:
        clock[0] += own_s
        assert manager.sweep() == []
    clock[0] = woke + patience_s - 1
    assert manager.sweep() == []
    clock[0] += 2
    assert len(manager.sweep()) == 1


def test_a_clock_that_was_put_forward_proves_nobody_silent(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    if log.store.kind == "postgresql":
        pytest.skip("there the clock of the database counts")
    worker_id = register(log, host="elsewhere", machine_id="f" * 32, lease_us=30_000_000)
    claimed(log, worker_id)
    awake = [1000.0]
    monkeypatch.setattr(recovery_module, "_awake_clock", lambda: awake[0])
    manager = RecoveryManager(log)
    with freeze_time("2026-11-27 12:00:00") as clock:
        assert log.workers.beat(worker_id) and manager.sweep() == []
        clock.tick(3600)
        awake[0] += 1
        assert manager.sweep() == []
        assert log.workers.beat(worker_id)
        clock.tick(29)
        awake[0] += 29
        assert manager.sweep() == []
        clock.tick(2)
        awake[0] += 2
        assert len(manager.sweep()) == 1


# what becomes of the jobs


def test_what_follows_a_crash_is_the_job_s_choice(log: Log) -> None:
    worker_id = register(log, pid=dead_pid())
    ids = [
        *claimed(log, worker_id, on_crash="requeue"),
        *claimed(log, worker_id, on_crash="fail"),
        *claimed(log, worker_id, on_crash="ask"),
        *claimed(log, worker_id, max_crashes=1),
        *claimed(log, worker_id),
    ]
    log.jobs.cancel(ids[-1], by="me")
    assert RecoveryManager(log).recover_on_startup() == RecoveryResult(5, 1, 2)
    assert [log.jobs.get(job_id).status for job_id in ids] == ["queued", "failed", "held", "failed", "cancelled"]
    assert [log.jobs.get(job_id).reason for job_id in ids[1::2]] == ["crashed", "crash_loop"]


@pytest.mark.feature("S3-5")
def test_failed_jobs_with_retries_left_are_run_again(log: Log) -> None:
    (few,) = claimed(log, "w", max_retries=0)
    log.jobs.fail(few, log.jobs.get(few).token or 0, "E")
    (many,) = claimed(log, "w", max_retries=0)
    for _ in range(3):
        log.jobs.fail(many, log.jobs.get(many).token or 0, "E")
        log.jobs.retry(many)
        log.jobs.claim("w")
    log.jobs.fail(many, log.jobs.get(many).token or 0, "E")
    manager = RecoveryManager(log)
    assert manager.retry_failed(0) == 0
    assert manager.retry_failed(3) == 1
    assert [log.jobs.get(job_id).status for job_id in (few, many)] == ["queued", "failed"]
    assert manager.retry_failed(3) == 0


# many at once


@pytest.mark.shared
def test_eight_recoverers_at_once_requeue_each_job_once(open_log: OpenLog) -> None:
    log = open_log()
    count = 1000 if log.path is not None else 300
    ids = claimed(log, register(log, host="elsewhere", machine_id="f" * 32, lease_us=1), count)
    logs = [open_log() for _ in range(8)]
    results = in_threads(8, lambda number: RecoveryManager(logs[number]).recover_on_startup(), 60)
    assert sum(result.recovered for result in results) == sum(result.requeued for result in results) == count
    counts: dict[str, list[str]] = {}
    for record in log.read(categories=["job"]):
        counts.setdefault(record.stream[4:], []).append(record.type)
    assert set(counts) == set(ids)
    assert all(types == ["job.enqueued", "job.started", "job.crashed", "job.requeued"] for types in counts.values())
    assert [record.type for record in log.read(categories=["worker"])] == ["worker.started", "worker.lost"]


# real processes


def test_another_worker_of_the_machine_notices_a_killed_one_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with eventlog.open(path) as log, process(path, folder=tmp_path) as victim:
        job_id = log.jobs.enqueue("touch", {"path": str(tmp_path / "began"), "seconds": 3}).job_id
        eventually((tmp_path / "began").exists, 20)
        with working(log, kinds=["add", "shell"]):
            victim.kill()
            began = time.monotonic()
            until_status(log, job_id, "queued")
            print(f"noticed after {time.monotonic() - began:.2f} s")
        crashed = log.jobs.get(job_id)
        assert (crashed.crashes, crashed.error_type) == (1, "lock_released")
        # The lease, 30 s, had nothing to do with it.
        assert crashed.updated_at - (crashed.started_at or 0) < 25_000_000
        with working(log):
            assert until_status(log, job_id, "completed").attempt == 2
        assert not list((tmp_path / "workers").iterdir())


def test_the_run_of_a_command_is_lost_with_its_worker(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with eventlog.open(path) as log, process(path, folder=tmp_path) as victim:
        command = f"touch {tmp_path}/began; sleep 30"
        job_id = log.jobs.enqueue("shell", {"command": command}, on_crash="fail").job_id
        eventually((tmp_path / "began").exists, 20)
        with working(log, kinds=["add"]):
            victim.kill()
            until_status(log, job_id, "failed")
            eventually(lambda: log.runs.list(job_id=job_id)[0].status == "lost", 20)


def test_what_proves_a_worker_gone_is_told_before_anybody_acts_on_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with eventlog.open(path) as log, process(str(path), folder=tmp_path) as victim:
        job_id = log.jobs.enqueue("touch", {"path": str(tmp_path / "began"), "seconds": 30}).job_id
        eventually((tmp_path / "began").exists, 20)
        waiting = log.jobs.enqueue("touch", {"path": "x"}).job_id
        assert [one.kind for one in log.jobs.explain(waiting).blockers] == ["workers_busy"]
        assert Cli(path).json("jobs", "workers")[0]["gone"] is None
        victim.kill()
        (one,) = [one for one in log.jobs.explain(job_id).blockers if one.kind == "gone"]
        assert "is not locked any more" in one.text
        (none,) = log.jobs.explain(waiting).blockers
        assert (none.kind, none.facts["gone"], none.facts["silent"]) == ("no_worker", [one.facts["worker_id"]], [])
        (row,) = Cli(path).json("jobs", "workers")
        assert (row["status"], row["gone"]) == ("running", one.facts["evidence"])
        assert Cli(path)("jobs", "workers").stdout.splitlines()[1].split()[1] == "gone"


def test_what_was_handed_back_is_not_told_with_the_crash_before(log: Log) -> None:
    (job_id,) = claimed(log, log.workers.start(WorkerStarted(**HERE)))
    log.jobs.crash([(job_id, log.jobs.get(job_id).token or 0)], "process_gone", "pid 1 is gone")
    assert state_of(log.jobs.get(job_id), View()) == "process_gone: pid 1 is gone"
    (job,) = log.jobs.claim(log.workers.start(WorkerStarted(**HERE)))
    log.jobs.release(job_id, job.token or 0)
    given_back = log.jobs.get(job_id)
    assert (state_of(given_back, View()), error(given_back)) == ("handed back", "")


def test_a_worker_takes_what_a_crash_left_before_it_begins(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with eventlog.open(path) as log:
        job_id = log.jobs.enqueue("touch", {"path": str(tmp_path / "began"), "seconds": 1.5}).job_id
        with process(path, folder=tmp_path) as victim:
            eventually(lambda: (tmp_path / "began").exists() and (tmp_path / "began").read_text(), 20)
            victim.kill()
        with process(path, "--until-empty", folder=tmp_path) as worker:
            status, output = worker.end()
        assert status == 0 and "recovered 1 job of workers that are gone: 1 requeued, 0 failed" in output
        assert log.jobs.get(job_id).status == "completed"
        assert len((tmp_path / "began").read_text().split()) == 2


def test_two_machines_share_a_queue_on_postgresql(tmp_path: Path) -> None:
    """Each with a data directory and a machine id of its own: only leases count between them."""
    url = postgres.fresh_log()
    machines = []
    for name in ("left", "right"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "machine-id").write_text(name * 8)
        machines.append(folder)
    prelude = (
        "import os; from eventlog.recorder import capture; "
        "capture._MACHINE_ID_FILES = (os.path.abspath('machine-id'),); os.environ['EVENTLOG_DATA_DIR'] = os.getcwd()"
    )
    try:
        with (
            eventlog.open(url) as log,
            process(url, "--lease", "2", folder=machines[0], prelude=prelude) as left,
        ):
            job_id = log.jobs.enqueue("touch", {"path": str(tmp_path / "began"), "seconds": 600}).job_id
            eventually((tmp_path / "began").exists, 30)
            with process(url, "--lease", "2", "--grace", "0", folder=machines[1], prelude=prelude) as right:
                eventually(lambda: len(log.workers.list(status="running")) == 2, 30)
                left.kill()
                eventually(lambda: log.jobs.get(job_id).attempt == 2, 30)
                assert rung_of(log, job_id)[0] == "lease_expired"
                assert len({worker.machine_id for worker in log.workers.list()}) == 2
                right.ask()
                assert right.end()[0] == 0
            assert log.jobs.get(job_id).status == "queued"
        assert len(list((machines[0] / "workers").iterdir())) == 1  # nobody of its machine looked
        assert not list((machines[1] / "workers").iterdir())
    finally:
        postgres.drop_log(url)


def test_the_command_shows_and_takes(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with eventlog.open(path) as log:
        worker_id = register(log, pid=dead_pid())
        claimed(log, worker_id)

    def recover(*options: str) -> str:
        return subprocess.run(
            [sys.executable, "-P", "-m", "eventlog", "--db", path, "jobs", "recover", *options],
            env={**os.environ, "PYTHONPATH": PATHS}, capture_output=True, text=True, check=True, timeout=30,
        ).stdout  # fmt: skip

    assert "process_gone" in recover("--dry-run")
    assert json.loads(recover("--json")) == {"recovered": 1, "requeued": 1, "failed": 0}
    assert recover() == "recovered 0: 0 requeued, 0 failed\n"
