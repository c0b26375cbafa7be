"""The test cases of the document on persistence, by their numbers, on both backends where it matters."""

from __future__ import annotations

from pathlib import Path

import pytest
from freezegun import freeze_time

import eventlog
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import IllegalTransition, InvalidInput, NotFound
from eventlog.persistence import PersistenceConfig, config_of, open_persistent
from eventlog.worker import RecoveryManager, RecoveryResult
from eventlog.worker.retention import DAY_US, Retention
from tests.helpers import eventually, in_processes
from tests.jobs.worker_support import drain, process

BACKENDS = ("json", "sqlite")


@pytest.fixture(autouse=True)
def clock_that_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of jobs only grow in one process; here its clock is turned back."""
    monkeypatch.setattr("eventlog.ids._last", 0)


@pytest.fixture(params=BACKENDS)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> PersistenceConfig:
    return PersistenceConfig(enabled=True, storage_path=tmp_path / "data", backend=request.param)


def opened(config: PersistenceConfig) -> Log:
    return open_persistent(config).log


def fail(log: Log) -> str:
    """A job that failed for good."""
    job_id = log.jobs.enqueue("k", max_retries=0).job_id
    (job,) = log.jobs.claim("w")
    log.jobs.fail(job_id, job.token or 0, "E")
    return job_id


def complete(log: Log) -> str:
    job_id = log.jobs.enqueue("k").job_id
    (job,) = log.jobs.claim("w")
    log.jobs.complete(job_id, job.token or 0)
    return job_id


@pytest.mark.feature("S3-1", "S3-9")
def test_PERSIST_001_configuration_defaults() -> None:
    """PERSIST-001: the defaults of PersistenceConfig."""
    config = PersistenceConfig()
    assert (config.enabled, config.storage_path, config.backend) == (False, Path("./data"), "json")
    assert (config.auto_save_interval, config.retention_days) == (30, 30)
    assert config == config_of(False) == PersistenceConfig(storage_path="./data")  # type: ignore[arg-type]
    assert config_of(True, "/srv/jobs", 7, backend="sqlite") == PersistenceConfig(
        enabled=True, storage_path=Path("/srv/jobs"), backend="sqlite", retention_days=7
    )
    for wrong in ({"retention_days": -1}, {"backend": "paper"}, {"retention_days": "x"}):
        with pytest.raises(InvalidInput, match="persistence"):
            config_of(True, **wrong)  # type: ignore[arg-type]


@pytest.mark.feature("S3-9")
def test_PERSIST_002_the_store_is_made(config: PersistenceConfig) -> None:
    """PERSIST-002: the JSON store is made, with its folder."""
    assert not config.storage_path.exists()
    with opened(config) as log:
        assert log.jobs.list() == []
    assert config.file.exists()
    assert config.file.name == {"json": "jobs.jsonl", "sqlite": "jobs.db"}[config.backend]
    assert oct(config.storage_path.stat().st_mode)[-3:] == "700"


@pytest.mark.feature("S3-2", "S3-9")
def test_PERSIST_003_a_job_is_saved(config: PersistenceConfig) -> None:
    """PERSIST-003: saving a job."""
    with opened(config) as log:
        job = log.jobs.enqueue("k", {"a": 1})
        assert (job.status, job.args) == ("queued", {"a": 1})
        assert log.head().position == 1


@pytest.mark.feature("S3-9")
def test_PERSIST_004_a_job_is_got(config: PersistenceConfig) -> None:
    """PERSIST-004: getting a job; one that is not there is None."""
    with opened(config) as log:
        job = log.jobs.enqueue("k")
        assert log.jobs.get(job.job_id) == log.jobs.find(job.job_id) == job
        assert log.jobs.find("0" * 36) is None
        with pytest.raises(NotFound):
            log.jobs.get("0" * 36)


@pytest.mark.feature("S3-9")
def test_PERSIST_005_jobs_are_listed(config: PersistenceConfig) -> None:
    """PERSIST-005: listing all jobs."""
    with opened(config) as log:
        ids = [log.jobs.enqueue("k").job_id for _ in range(3)]
        assert [job.job_id for job in log.jobs.list()] == ids[::-1]


@pytest.mark.feature("S3-9")
def test_PERSIST_006_a_job_is_deleted(config: PersistenceConfig) -> None:
    """PERSIST-006: deleting a job; its events stay, and one that has not ended is refused."""
    with opened(config) as log:
        done = complete(log)
        log.jobs.delete(done)
        assert log.jobs.find(done) is None
        assert [record.type for record in log.jobs.events(done)][-1] == "job.purged"
        with pytest.raises(IllegalTransition, match="cancel it first"):
            log.jobs.delete(log.jobs.enqueue("k").job_id)


@pytest.mark.feature("S3-2", "S3-9")
def test_PERSIST_007_pending_jobs(config: PersistenceConfig) -> None:
    """PERSIST-007: getting the jobs that have not ended."""
    with opened(config) as log:
        complete(log), fail(log)
        processed = log.jobs.enqueue("k").job_id
        log.jobs.claim("w")
        waiting = log.jobs.enqueue("k").job_id
        assert [job.job_id for job in log.jobs.get_pending()] == [processed, waiting]


@pytest.mark.feature("S3-3", "S3-9")
def test_PERSIST_008_jobs_are_in_the_file(config: PersistenceConfig, tmp_path: Path) -> None:
    """PERSIST-008: a job is in the file as soon as it is enqueued, whatever becomes of the process."""
    config.storage_path.mkdir()
    in_processes(1, enqueue_and_die, str(config.file))
    with eventlog.open(config.file) as log:
        assert [job.kind for job in log.jobs.list()] == ["survivor"]


def enqueue_and_die(_number: int, path: str) -> None:
    import os

    eventlog.open(path).jobs.enqueue("survivor")
    os._exit(0)


@pytest.mark.feature("S3-3", "S3-9")
def test_PERSIST_009_jobs_are_read_from_the_file(config: PersistenceConfig) -> None:
    """PERSIST-009: what one process left, the next one finds."""
    with opened(config) as log:
        failed, waiting = fail(log), log.jobs.enqueue("k", {"a": [1, "é"]}).job_id
        before = log.jobs.list()
    with opened(config) as log:
        assert log.jobs.list() == before
        assert [log.jobs.get(job_id).status for job_id in (failed, waiting)] == ["failed", "queued"]
        assert log.verify().ok


@pytest.mark.feature("S3-2", "S3-9")
def test_PERSIST_010_old_jobs_are_cleaned_up(config: PersistenceConfig) -> None:
    """PERSIST-010: jobs that ended long ago leave the tables; failed ones stay longer; statistics stay."""
    with freeze_time("2026-01-01"), opened(config) as log:
        old = [complete(log), fail(log), log.jobs.cancel(log.jobs.enqueue("k").job_id).job_id]
        pending = log.jobs.enqueue("k").job_id
    with freeze_time("2026-02-15"):
        again = open_persistent(config)
        with again.log as log:
            new = complete_other(log)
            assert again.purged == 2
            assert [log.jobs.find(job_id) is None for job_id in (*old, pending, new)] == [
                True,
                False,
                True,
                False,
                False,
            ]
            assert sum(log.jobs.counts().values()) == 3
            assert log.jobs.cleanup(now_us() + DAY_US) == 2
    with freeze_time("2027-02-15"), opened(config) as log:
        assert [job.job_id for job in log.jobs.list()] == [pending]


def complete_other(log: Log) -> str:
    job_id = log.jobs.enqueue("other").job_id
    (job,) = log.jobs.claim("w", kinds=["other"])
    log.jobs.complete(job_id, job.token or 0)
    return job_id


@pytest.mark.feature("S3-5", "S3-9")
def test_PERSIST_011_recovery_on_startup(config: PersistenceConfig) -> None:
    """PERSIST-011: what a crash left is recovered when the log is opened."""
    with opened(config) as log:
        job_id = log.jobs.enqueue("k").job_id
        log.jobs.claim("w", lease_us=1)
    again = open_persistent(config)
    with again.log as log:
        assert again.recovered == RecoveryResult(recovered=1, requeued=1, failed=0)
        assert log.jobs.get(job_id).status == "queued"
        assert RecoveryManager(log).recover_on_startup() == RecoveryResult(0, 0, 0)


@pytest.mark.feature("S3-5", "S3-9")
def test_PERSIST_012_processing_jobs_are_requeued(config: PersistenceConfig) -> None:
    """PERSIST-012: jobs that nobody processes any more go back to the queue, and failed ones are tried again."""
    with opened(config) as log:
        failed = fail(log)
        ids = [log.jobs.enqueue("k").job_id for _ in range(3)]
        log.jobs.claim("gone", limit=2, lease_us=1)
        log.jobs.claim("busy", limit=1, lease_us=3_600_000_000)
        manager = RecoveryManager(log)
        assert manager.requeue_processing() == 2
        assert [log.jobs.get(job_id).status for job_id in ids] == ["queued", "queued", "processing"]
        assert manager.retry_failed(1) == 1
        assert log.jobs.get(failed).status == "queued"


def test_persistence_that_is_not_enabled_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with eventlog.open(path) as log:
        log.jobs.enqueue("k")
        log.jobs.claim("w", lease_us=1)
    found = open_persistent(PersistenceConfig(retention_days=0), path)
    with found.log as log:
        assert (found.recovered, found.purged) == (RecoveryResult(0, 0, 0), 0)
        assert log.jobs.counts() == {"processing": 1}


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=r"cannot make .*data"):
        open_persistent(PersistenceConfig(enabled=True, storage_path=tmp_path / "file" / "data"))


def test_each_way_to_end_has_days_of_its_own(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        with freeze_time("2026-01-01"):
            complete(log), fail(log)
            log.jobs.cancel(log.jobs.enqueue("k").job_id)
        now = now_us()
        with freeze_time("2026-01-11"):
            now = now_us()
        assert Retention().apply(log, now=now) == 0
        kept = Retention(completed_days=9, cancelled_days=10, failed_days=10)
        assert kept.apply(log, now=now, dry_run=True) == 1
        assert kept.apply(log, now=now) == 1
        assert log.jobs.counts() == {"cancelled": 1, "failed": 1}
        assert Retention.after(5) == Retention(completed_days=5, cancelled_days=5, expired_days=5, failed_days=365)


def test_a_worker_applies_retention(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        with freeze_time("2026-01-01"):
            old = complete(log)
        drain(log)
        assert log.jobs.find(old) is not None
        drain(log, retention=Retention())
        assert log.jobs.find(old) is None


@pytest.mark.feature("S3-8")
def test_the_command_keeps_jobs_where_it_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with opened(PersistenceConfig(enabled=True, storage_path=data)) as log:
        with freeze_time("2026-01-01"):
            old = complete(log)
        job_id = log.jobs.enqueue("touch", {"path": str(tmp_path / "began"), "seconds": 2}).job_id
    options = ("--persist", "--data-dir", str(data), "--retention-days", "7")
    with process(None, *options, folder=tmp_path) as worker:
        eventually((tmp_path / "began").exists, 20)
        worker.kill()
    with process(None, *options, "--until-empty", folder=tmp_path) as worker:
        status, output = worker.end()
    assert status == 0, output
    assert "recovered 1 job, requeued 1" in output
    with eventlog.open(data / "jobs.jsonl") as log:
        assert (log.jobs.get(job_id).status, log.jobs.get(job_id).crashes) == ("completed", 1)
        assert log.jobs.find(old) is None
    with process(str(tmp_path / "other.db"), "--persist", folder=tmp_path) as worker:
        status, output = worker.end()
    assert status == 2 and "--persist keeps jobs in --data-dir" in output
