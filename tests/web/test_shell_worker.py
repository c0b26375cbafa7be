"""A worker written with curl and a shell loop, side by side with one in Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

import pytest

import eventlog
from eventlog.events.workers import WorkerStarted
from tests.unit.docs_support import ROOT
from tests.web.support import Client, Server

JOBS = 12


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "jq"))), reason="needs bash, curl and jq")
def test_a_shell_and_python_share_the_jobs(server: Server, client: Client) -> None:
    texts = {f"text {number}: 'ünï \"quoted\"'" for number in range(JOBS)}
    client.made("/api/jobs/batch", {"jobs": [{"kind": "checksum", "args": {"text": text}} for text in sorted(texts)]})
    wrong = client.made("/api/jobs", {"kind": "checksum", "priority": -1})["job_id"]
    left = client.made("/api/jobs", {"kind": "unknown", "priority": -1})["job_id"]

    shell = subprocess.Popen(
        ["bash", str(ROOT / "examples" / "worker.sh"), server.url],
        env={**os.environ, "EVENTLOG_TOKEN": server.token, "UNTIL_EMPTY": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert shell.stdout is not None
    with eventlog.open(server.token_file.removesuffix(".token")) as log:
        worker = log.workers.start(WorkerStarted())
        assert shell.stdout.readline() == f"job {wrong} done\n"  # it has begun, so both take part
        for _ in range(JOBS // 3):
            for job in log.jobs.claim(worker, kinds=["checksum"]):
                digest = hashlib.sha256(job.args["text"].encode()).hexdigest()
                log.jobs.complete(job.job_id, job.token or 0, {"sha256": digest, "by": "python"})
    told, _ = shell.communicate(timeout=100)
    assert shell.returncode == 0, told

    done = client.get("/api/jobs?status=completed&limit=1000").json
    sums = {job["args"]["text"]: job["result"]["sha256"] for job in done}
    assert sums == {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
    assert {job["result"]["by"] for job in done} == {"shell", "python"}
    assert {job["attempt"] for job in done} == {1}
    assert client.get(f"/api/jobs/{wrong}").json["error_type"] == "NoText"
    assert client.get(f"/api/jobs/{left}").json["status"] == "queued"
    assert {worker["status"] for worker in client.get("/api/workers").json} == {"running", "stopped"}
