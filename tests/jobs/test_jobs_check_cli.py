"""``eventlog jobs check``: silent where all is well, one line for what cannot have happened, exit status 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import eventlog
from eventlog.cli import jobs_check
from eventlog.cli.root import cli
from eventlog.events.jobs import JobEnqueued, JobStarted, JobSucceeded


def check(path: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--db", str(path), "jobs", "check", *words])


def test_jobs_that_went_as_they_may_are_no_problem(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        log.jobs.enqueue("work")
        (job,) = log.jobs.claim("w")
        log.jobs.complete(job.job_id, job.token or 0)
    done = check(tmp_path / "log.db")
    assert (done.exit_code, done.stdout) == (0, "every job went as it may\n")
    assert json.loads(check(tmp_path / "log.db", "--json").stdout) == {"ok": True, "problems": []}


def test_what_cannot_have_happened_is_told_and_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        log.append("job-a", [JobEnqueued(kind="work"), JobStarted(attempt=1, worker_id="w", lease_us=1)])
        log.append("job-a", JobStarted(attempt=2, worker_id="v\x1b[2J", lease_us=1))
        log.append("job-a", JobSucceeded(attempt=1, worker_id="w", duration_us=1))
    done = check(tmp_path / "log.db")
    first, *_, last = done.stdout.splitlines()
    assert (done.exit_code, last) == (1, "3 problems")
    assert first.startswith("position 3: job a: two owners: claimed by 'v")
    assert "\x1b" not in done.stdout
    found = json.loads(check(tmp_path / "log.db", "--json").stdout)
    assert not found["ok"]
    assert [(one["position"], one["job_id"]) for one in found["problems"]] == [(3, "a"), (4, "a"), (4, "a")]
    monkeypatch.setattr(jobs_check, "SHOWN", 1)
    assert "and 2 more (--json lists all)" in check(tmp_path / "log.db").stdout
    assert check(tmp_path / "none.db").exit_code == 1
