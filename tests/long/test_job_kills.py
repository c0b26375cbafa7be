"""Workers and recoverers are killed at random moments, and others take their place. Folding the log then shows that no
job was lost, and that no attempt had two owners.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest
from sizes import size

import eventlog
from eventlog.app import Log
from eventlog.events.jobs import RetryPolicy
from eventlog.repositories.jobs import NewJob
from tests.helpers import eventually
from tests.jobs.killed import recover, work
from tests.jobs.ledger import Ledger

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
WORKERS, RECOVERERS = 3, 2


def killed_at_random(target: str, folder: Path, kills: int) -> tuple[list[str], float]:
    """The jobs that were enqueued, and the longest time until a killed worker's job was taken from it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.jobs.killed"])
    draw = random.Random(kills)
    running: list[tuple[Any, Any]] = []
    with eventlog.open(target, data_dir=folder) as log:
        ids: list[str] = []

        def start(what: Any) -> None:
            child = context.Process(target=what, args=(target, str(folder)), daemon=True)
            child.start()
            running.append((what, child))

        def feed() -> None:
            if log.jobs.count(status="queued") < 20:
                options = {"max_crashes": 10_000, "max_retries": 10_000}
                policy = RetryPolicy(base_us=1000, factor=1.0)
                ids.extend(
                    log.jobs.enqueue_many(
                        NewJob(
                            kind="mark", args={"path": str(folder / "began"), "seconds": draw.random() ** 4},
                            retry_policy=policy, **options,
                        )
                        for _ in range(20)
                    )
                )  # fmt: skip

        for what in (work,) * WORKERS + (recover,) * RECOVERERS:
            start(what)
        slowest = 0.0
        for _ in range(kills):
            feed()
            time.sleep(draw.random() * 0.4)
            what, child = running.pop(draw.randrange(len(running)))
            child.kill()
            child.join()
            start(what)
            if what is work:
                slowest = max(slowest, _until_taken(log, child.pid))
        eventually(lambda: log.jobs.get_pending() == [], 120)
        for _, child in running:
            child.kill()
            child.join()
    return ids, slowest


def _until_taken(log: Log, pid: int) -> float:
    """How long the jobs of a dead process stay with it."""
    began = time.monotonic()
    dead = {worker.worker_id for worker in log.workers.list(limit=100) if worker.pid == pid}
    eventually(lambda: not any(one.worker_id in dead for one in log.jobs.processing()), 30)
    return time.monotonic() - began


@pytest.mark.parametrize("where", ["file", "server"])
def test_nothing_is_lost_and_no_attempt_has_two_owners(where: str, tmp_path: Path, request: Any) -> None:
    target = str(tmp_path / "log.db") if where == "file" else request.getfixturevalue("url")
    kills = size("JOB_KILLS") if where == "file" else max(1, size("JOB_KILLS") // 5)
    ids, slowest = killed_at_random(target, tmp_path, kills)
    with eventlog.open(target) as log:
        ledger = Ledger(log.read(categories=["job"]))
        assert ledger.wrong == []
        assert set(ledger.states) == set(ids)
        assert set(ledger.states.values()) == {"completed"}
        began = (tmp_path / "began").read_text().splitlines()
        assert len(began) == len(set(began))
        assert set(log.jobs.counts()) == {"completed"}
        for name in ("jobs", "job_attempts", "job_statistics", "workers"):
            assert not list(log.projections.verify([name])), name
        print(
            f"\n{where}: {kills} kills, {len(ids)} jobs, {len(began)} attempts, {ledger.types['crashed']} crashed,"
            f" {ledger.types['late_result_discarded']} late results; a crash was noticed within {slowest:.2f} s"
        )
