"""Jobs, queues and workers over HTTP: what a worker in any language needs, and what a person asks."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.web.support import Client, wait_until


def a_queue() -> str:
    return f"q{uuid.uuid4().hex[:8]}"


def enqueue(client: Client, queue: str, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = client.made("/api/jobs", {"kind": "sum", "queue": queue, **fields})
    return made


def register(client: Client, **fields: Any) -> str:
    return str(client.made("/api/workers", {"host": "there", **fields})["worker_id"])


def claim(client: Client, queue: str, worker: str = "w", **fields: Any) -> list[dict[str, Any]]:
    return list(client.made("/api/jobs/claim", {"worker_id": worker, "queues": [queue], **fields}))


@pytest.mark.feature("S3-6")
def test_the_history_is_as_it_is_documented(client: Client) -> None:
    queue = a_queue()
    ids = [enqueue(client, queue, args={"n": n})["job_id"] for n in range(3)]
    page = client.get("/api/jobs/history?limit=2&offset=0&status=").json
    assert set(page) == {"jobs", "total", "limit", "offset"}
    assert (page["limit"], page["offset"]) == (2, 0)
    assert [job["job_id"] for job in page["jobs"]] == ids[:0:-1]
    assert page["total"] >= 3
    standard = client.get("/api/jobs/history").json
    assert (standard["limit"], standard["offset"]) == (50, 0)
    none = client.get("/api/jobs/history?status=expired").json
    assert none == {"jobs": [], "total": 0, "limit": 50, "offset": 0}
    assert client.get("/api/jobs/history?status=lost").status == 422
    assert client.get("/api/jobs/history?limit=0").status == 422


@pytest.mark.feature("S3-7")
def test_a_retry_is_as_it_is_documented(client: Client) -> None:
    queue = a_queue()
    job = enqueue(client, queue)
    path = f"/api/jobs/{job['job_id']}/retry"
    expected = {"job_id": job["job_id"], "status": "queued", "message": "Job requeued for processing"}
    assert client.post(path).json == expected  # one that waits is left alone
    assert len(client.get(f"/api/jobs/{job['job_id']}/events").json) == 1
    (claimed,) = claim(client, queue)
    refused = client.post(path)
    assert refused.status == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert "processing" in refused.json["detail"]
    failed = {"token": claimed["token"], "error_type": "ValueError", "retryable": False}
    assert client.made(f"/api/jobs/{job['job_id']}/fail", failed)["status"] == "failed"
    again = client.post(path)
    assert (again.status, again.json) == (200, expected)
    assert client.get(f"/api/jobs/{job['job_id']}").json["status"] == "queued"
    assert client.post("/api/jobs/nothing/retry").status == 404


def test_the_whole_life_of_a_worker(client: Client) -> None:
    queue = a_queue()
    worker = register(client, queues=[queue], lease_us=60_000_000)
    ids = client.made(
        "/api/jobs/batch", {"jobs": [{"kind": "sum", "queue": queue, "args": {"n": n}} for n in (1, 2, 3)]}
    )
    assert len(ids["job_ids"]) == 3
    (job,) = claim(client, queue, worker)
    assert (job["status"], job["worker_id"], job["attempt"]) == ("processing", worker, 1)
    at = f"/api/jobs/{job['job_id']}"
    told = client.made(f"{at}/progress", {"token": job["token"], "done": 1, "total": 2, "message": "half"})
    assert (told["progress_done"], told["progress_message"]) == (1, "half")
    assert client.made(f"{at}/heartbeat", {"token": job["token"]})["cancel_requested_by"] is None
    assert client.made(f"/api/workers/{worker}/beat") == {"alive": True, "cancel": []}
    client.made(f"{at}/cancel", {"by": "someone", "reason": "no need"})
    assert client.made(f"/api/workers/{worker}/beat")["cancel"] == [job["job_id"]]
    done = {"token": job["token"], "result": {"sum": 3}, "worker_id": worker, "queues": [queue]}
    fused = client.made(f"{at}/complete-and-claim", done)
    assert (fused["job"]["status"], fused["job"]["result"]) == ("completed", {"sum": 3})
    (second,) = fused["claimed"]
    assert second["args"] == {"n": 2}
    assert client.made(f"/api/jobs/{second['job_id']}/release", {"token": second["token"]})["status"] == "queued"
    (again,) = claim(client, queue, worker)
    until = time.time_ns() // 1000 + 60_000_000
    snoozed = client.made(f"/api/jobs/{again['job_id']}/snooze", {"token": again["token"], "until": until})
    assert (snoozed["status"], snoozed["ready_at"]) == ("queued", until)
    (third,) = claim(client, queue, worker)
    many = client.made("/api/jobs/complete", {"results": [{"job_id": third["job_id"], "token": third["token"]}]})
    assert [one["status"] for one in many] == ["completed"]
    assert claim(client, queue, worker) == []
    assert client.post(f"/api/workers/{worker}/stop", {"reason": "done"}).status == 204
    assert client.get(f"/api/workers/{worker}").json["status"] == "stopped"
    assert client.made(f"/api/workers/{worker}/beat") == {"alive": False, "cancel": []}
    late = client.post(f"{at}/heartbeat", {"token": job["token"]})
    assert (late.status, late.json["type"]) == (409, "urn:eventlog:LateResult")


def test_a_late_result_is_refused_and_kept(client: Client) -> None:
    queue = a_queue()
    job = enqueue(client, queue)
    (first,) = claim(client, queue)
    at = f"/api/jobs/{job['job_id']}"
    client.made(f"{at}/release", {"token": first["token"]})
    (second,) = claim(client, queue)
    late = client.post(f"{at}/complete", {"token": first["token"], "result": 1})
    assert (late.status, late.json["type"]) == (409, "urn:eventlog:LateResult")
    assert client.made(f"{at}/complete", {"token": second["token"], "result": 2})["result"] == 2
    assert "job.late_result_discarded" in [record["type"] for record in client.get(f"{at}/events").json]
    assert [one["outcome"] for one in client.get(f"{at}/attempts").json] == ["released", "succeeded"]


def test_a_cancelled_attempt_is_told_as_stopped(client: Client) -> None:
    queue = a_queue()
    job = enqueue(client, queue)
    (claimed,) = claim(client, queue)
    at = f"/api/jobs/{job['job_id']}"
    assert client.made(f"{at}/cancel", {"by": "me"})["cancel_requested_by"] == "me"
    assert client.made(f"{at}/stopped", {"token": claimed["token"]})["status"] == "cancelled"


def test_an_idempotency_key_and_a_unique_key(client: Client) -> None:
    queue = a_queue()
    first = enqueue(client, queue, key=f"key-{queue}")
    assert enqueue(client, queue, key=f"key-{queue}")["job_id"] == first["job_id"]
    unique = enqueue(client, queue, unique_key=queue)
    same = {"kind": "sum", "queue": queue, "unique_key": queue}
    refused = client.post("/api/jobs", same)
    assert (refused.status, refused.json["facts"]) == (409, {"job_id": unique["job_id"]})
    assert client.made("/api/jobs?if_exists=return", same)["job_id"] == unique["job_id"]


def test_changing_and_deleting(client: Client) -> None:
    queue = a_queue()
    job = enqueue(client, queue)
    at = f"/api/jobs/{job['job_id']}"
    assert client.request("PATCH", at, {"priority": -5}).json["priority"] == -5
    assert client.request("PATCH", at, {}).status == 422
    assert client.request("DELETE", at).status == 409
    client.made(f"{at}/cancel")
    assert client.request("DELETE", f"{at}?reason=tidy").status == 204
    assert client.get(at).status == 404


def test_purging_says_how_many_first(client: Client) -> None:
    queue = a_queue()
    job = enqueue(client, queue)
    client.made(f"/api/jobs/{job['job_id']}/cancel")
    later = time.time_ns() // 1000 + 60_000_000
    dry = client.made("/api/jobs/purge", {"ended_before": later, "statuses": ["cancelled"], "dry_run": True})
    assert dry["purged"] >= 1
    assert client.get(f"/api/jobs/{job['job_id']}").status == 200
    assert client.made("/api/jobs/purge", {"ended_before": later, "statuses": ["cancelled"]}) == dry
    assert client.get(f"/api/jobs/{job['job_id']}").status == 404
    assert client.post("/api/jobs/purge", {"ended_before": later, "statuses": ["queued"]}).status == 422


def test_counting(client: Client) -> None:
    queue = a_queue()
    enqueue(client, queue)
    enqueue(client, queue)
    claim(client, queue)
    counts = client.get("/api/jobs/counts?by=status&by=queue").json
    mine = {one["status"]: one["jobs"] for one in counts if one["queue"] == queue}
    assert mine == {"queued": 1, "processing": 1}
    assert client.get(f"/api/jobs/count?queue={queue}").json == 2
    assert client.get(f"/api/jobs/count?queue={queue}&status=queued&status=processing").json == 2
    assert {job["status"] for job in client.get(f"/api/jobs?queue={queue}").json} == {"queued", "processing"}
    assert queue in [job["queue"] for job in client.get("/api/jobs/processing").json]


def test_a_job_is_explained(client: Client) -> None:
    queue = a_queue()
    job = enqueue(client, queue)
    before = client.get("/api/head").json["position"]
    client.made(f"/api/queues/{queue}/pause", {"by": "someone", "reason": "repairs"})
    at = f"/api/jobs/{job['job_id']}/explain"
    told = client.get(at).json
    assert (told["job_id"], told["status"]) == (job["job_id"], "queued")
    assert [one["position"] for one in told["sentences"]] == [before]
    assert "paused" in [blocker["kind"] for blocker in told["blockers"]]
    assert "paused" not in [blocker["kind"] for blocker in client.get(f"{at}?as_of={before}").json["blockers"]]
    assert client.get("/api/jobs/none/explain").status == 404


def test_jobs_are_added_up(client: Client) -> None:
    queue = a_queue()
    enqueue(client, queue)
    (claimed,) = (enqueue(client, queue), *claim(client, queue))[1:]
    client.made(f"/api/jobs/{claimed['job_id']}/complete", {"token": claimed["token"]})
    (bucket,) = client.get(f"/api/statistics/jobs?by=queue&queue={queue}").json
    assert (bucket["bucket"], bucket["jobs"], bucket["completed"], bucket["pending"]) == (queue, 2, 1, 1)
    assert client.get("/api/statistics/jobs?by=program").status == 422


def test_a_cursor_leads_through_all_pages(client: Client) -> None:
    queue = a_queue()
    ids = [enqueue(client, queue)["job_id"] for _ in range(5)]
    found, path = [], f"/api/jobs?queue={queue}&limit=2&offset=0"
    while path:
        answer = client.get(path)
        found += [job["job_id"] for job in answer.json]
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
        assert "offset" not in path
    assert found == ids[::-1]


def test_queues_are_paused_limited_and_resumed(client: Client) -> None:
    queue = f"{a_queue()}/with a blank"
    at = f"/api/queues/{queue}".replace(" ", "%20").replace("/with", "%2Fwith")
    enqueue(client, queue)
    assert client.made(f"{at}/pause", {"by": "me", "reason": "later"})["paused"] is True
    assert claim(client, queue) == []
    assert client.made(f"{at}/resume")["paused"] is False
    assert client.made(f"{at}/limit", {"max_running": 0})["max_running"] == 0
    assert claim(client, queue) == []
    assert client.made(f"{at}/limit", {"max_running": None})["max_running"] is None
    assert len(claim(client, queue)) == 1
    assert client.get(at).json["processing"] == 1
    assert queue in [one["queue"] for one in client.get("/api/queues").json]
    assert client.get("/api/queues/none-like-it").status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"kind": ""},
        {"kind": "k", "max_retries": -1},
        {"kind": "k", "args": []},
        {"kind": "k", "priority": 2**64},
        {"kind": "k", "max_retires": 0},
        {},
        [],
    ],
)
def test_a_job_that_cannot_be_is_refused(client: Client, body: Any) -> None:
    refused = client.post("/api/jobs", body)
    assert refused.status == 422, refused
    assert refused.json["status"] == 422


def test_the_life_of_a_schedule(client: Client) -> None:
    name = f"nightly/{a_queue()}"
    at = f"/api/schedules/{name}"
    new = {"schedule": name, "cron": "0 3 * * *", "kind": "sum", "time_zone": "Asia/Tokyo", "options": {"priority": 3}}
    made = client.made("/api/schedules", new)
    assert (made["cron"], made["options"], made["paused"]) == ("0 3 * * *", {"priority": 3}, False)
    assert client.made(f"{at}/pause", {"by": "me"})["paused"] is True
    assert client.made(f"{at}/resume")["paused"] is False
    assert name in [one["schedule"] for one in client.get("/api/schedules").json]
    for wrong in ({"cron": "x"}, {"time_zone": "Mars"}, {"options": {"kind": "k"}}, {"options": {"color": "red"}}):
        assert client.post("/api/schedules", new | wrong).status == 422, wrong
    assert client.request("DELETE", at).status == 204
    assert client.get(at).status == 404


def test_jobs_of_a_worker_that_falls_silent_are_given_to_others(client: Client) -> None:
    queue = a_queue()
    worker = register(client, lease_us=1_000_000)
    job = enqueue(client, queue)
    (claimed,) = claim(client, queue, worker, lease_us=1_000_000)
    wait_until(lambda: client.get(f"/api/jobs/{job['job_id']}").json["status"] == "queued", 30)
    assert client.get(f"/api/jobs/{job['job_id']}").json["crashes"] == 1
    assert client.get(f"/api/workers/{worker}").json["status"] == "lost"
    assert client.made(f"/api/workers/{worker}/beat")["alive"] is False
    late = client.post(f"/api/jobs/{job['job_id']}/complete", {"token": claimed["token"]})
    assert late.status == 409


def test_workers_are_listed(client: Client) -> None:
    workers = [register(client) for _ in range(3)]
    assert [one["worker_id"] for one in client.get("/api/workers?limit=2").json] == workers[:0:-1]
    assert {one["status"] for one in client.get("/api/workers?status=running").json} == {"running"}
    assert set(workers) <= set(client.get("/api/workers/silences").json)
    assert client.get("/api/workers/none").status == 404
    assert client.post("/api/workers/none/stop").status == 404
    assert client.post("/api/workers", {"worker_id": workers[0]}).status == 409
