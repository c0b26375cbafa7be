"""`/metrics`: the text format of Prometheus, and numbers that are true."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

import eventlog
from eventlog.store.sql import SqlReader
from eventlog.web.metrics import _labels, _of_log
from eventlog.web.table import ready
from tests.web.support import Client

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? (-?[0-9.e+-]+)')


def samples(client: Client) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.body.endswith(b"\n")
    found: dict[str, float] = {}
    typed: set[str] = set()
    for line in answer.body.decode().splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in typed
            typed.add(name)
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert re.sub("_(bucket|sum|count)$", "", match[1]) in typed or match[1] in typed, line
            key = match[1] + (match[2] or "")
            assert key not in found, key
            found[key] = float(match[3])
    return found


def test_whoever_asks_every_few_seconds_has_no_table_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of `/readyz` not even the token is asked; a count reads a table from one end to the other."""
    with eventlog.open(tmp_path / "log.db") as log:
        log.jobs.enqueue("k")
        assert {one.name: one.rows for one in log.projections.status()}["jobs"] == 1
        monkeypatch.setattr(SqlReader, "count", lambda *given: pytest.fail("a table is counted"))
        assert ready(log).ready
        assert {name for name, *_ in _of_log(log)} >= {"eventlog_projection_lag", "eventlog_jobs"}


def test_everything_is_counted(client: Client) -> None:
    event = {"stream": "note-1", "type": "note.taken"}
    before = samples(client)
    client.made("/api/events", event)
    assert client.post("/api/events", event | {"expect": 77}).status == 409
    assert client.post("/api/events", event | {"type": "x"}).status == 422
    assert client.get("/api/jobs/none").status == 404
    assert client.get("/nowhere/at/all").status == 404
    after = samples(client)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('eventlog_http_appends_total{outcome="stored"}') == 1
    assert grown('eventlog_http_appends_total{outcome="conflict"}') == 1
    assert grown('eventlog_http_appends_total{outcome="invalid"}') == 1
    assert grown("eventlog_events_total") == grown("eventlog_head_position") == 1
    route = 'method="GET",route="/api/jobs/{job_id}"'
    assert grown(f'eventlog_http_requests_total{{{route},status="404"}}') == 1
    assert grown('eventlog_http_requests_total{method="GET",route="(none)",status="404"}') == 1
    assert grown(f"eventlog_http_request_seconds_count{{{route}}}") == 1
    assert grown(f'eventlog_http_request_seconds_bucket{{{route},le="+Inf"}}') == 1
    assert 0 < grown(f"eventlog_http_request_seconds_sum{{{route}}}") < 10
    assert after["eventlog_database_bytes"] > 0
    assert after["eventlog_up"] == 1
    assert after['eventlog_projection_lag{projection="jobs"}'] == 0
    assert after['eventlog_projection_live{projection="jobs"}'] == 1


def test_jobs_and_workers_are_counted(client: Client) -> None:
    now = time.time_ns() // 1000
    for at, priority in ((now - 5_000_000, 7), (now - 90_000_000, 9), (now + 90_000_000, 1)):
        client.made("/api/jobs", {"kind": "k", "queue": "slow", "run_at": at, "priority": priority})
    client.made("/api/jobs", {"kind": "k", "queue": "later", "run_at": now + 90_000_000})
    client.made("/api/workers", {"host": "there"})
    gone = client.made("/api/workers", {"host": "there", "lease_us": 1})["worker_id"]
    found = samples(client)
    assert found['eventlog_jobs{status="queued",queue="slow"}'] == 3
    assert 90 <= found['eventlog_jobs_oldest_waiting_seconds{queue="slow"}'] < 120
    assert 'eventlog_jobs_oldest_waiting_seconds{queue="later"}' not in found
    assert found["eventlog_workers_live"] == 1
    client.made(f"/api/workers/{gone}/stop")


def test_labels_are_escaped() -> None:
    assert _labels({"queue": 'a"b\\c\nd'}) == '{queue="a\\"b\\\\c\\nd"}'
