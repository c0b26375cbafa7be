"""Runs, projects, statistics and projections over HTTP, now and as of a version."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from tests.web.support import Answer, Client


def start(client: Client, **fields: Any) -> int:
    return int(client.made("/api/runs", {"command": "train", **fields})["run_id"])


def test_the_life_of_a_run(client: Client) -> None:
    run = client.made(
        "/api/runs", {"command": "make test", "project_id": "p", "tags": {"a": "b"}, "started_at": 5_000_000}
    )
    assert (run["status"], run["started_at"], run["tags"]) == ("running", 5_000_000, {"a": "b"})
    assert run["pid"] is None  # the server's own is nobody's business
    at = f"/api/runs/{run['run_id']}"
    for path, body in {
        "note": {"note": "hm"},
        "tags": {"tags": {"c": "d"}, "removed": ["a"]},
        "parameters": {"parameters": {"lr": 0.5, "deep": True}},
        "metrics": {"name": "loss", "value": 0.25, "step": 1},
        "messages": {"message": "hello", "level": "WARNING"},
        "artifacts": {"kind": "output", "name": "model.bin", "size_bytes": 3, "sha256": "00"},
    }.items():
        assert client.post(f"{at}/{path}", body).status == 204, path
    client.made(f"{at}/metrics?durability=full", {"name": "loss", "value": "nan"})
    done = client.made(f"{at}/finish", {"status": "fail", "reason": "because", "exit_code": 2, "ended_at": 6_000_000})
    assert (done["status"], done["wall_us"], done["note"], done["tags"]) == ("fail", 1_000_000, "hm", {"c": "d"})
    assert done["parameters"] == {"lr": 0.5, "deep": True}
    assert client.get(at).json == done
    assert [(one["value"], one["non_finite"]) for one in client.get(f"{at}/metrics?name=loss").json] == [
        (0.25, None), (None, "nan"),
    ]  # fmt: skip
    assert [one["text"] for one in client.get(f"{at}/messages?limit=5").json] == ["hello"]
    assert [one["name"] for one in client.get(f"{at}/artifacts").json] == ["model.bin"]
    assert client.get(f"{at}/outputs").json == []
    assert len(client.get(f"{at}/events").json) == 9
    assert client.post(f"{at}/finish", {"status": "success"}).status == 409
    assert client.request("PATCH", at, {"note": "better"}).json["note"] == "better"
    assert client.request("PATCH", at, {}).status == 422
    assert client.request("DELETE", f"{at}?reason=mistake").status == 204
    assert client.get(at).status == 404


def test_starting_with_a_key_twice_is_starting_once(client: Client) -> None:
    key = uuid.uuid4().hex
    assert start(client, key=key) == start(client, key=key)
    refused = client.post("/api/runs", {"command": "other", "key": key})
    assert (refused.status, refused.json["type"]) == (409, "urn:eventlog:KeyReused")


def test_listing_counting_comparing(client: Client) -> None:
    project = uuid.uuid4().hex
    ids = [start(client, project_id=project, tags={"n": str(n)}, parameters={"n": n}) for n in range(5)]
    client.made(f"/api/runs/{ids[0]}/finish", {"status": "success"})
    runs = client.get(f"/api/runs?project_id={project}&limit=3")
    assert [run["run_id"] for run in runs.json] == ids[:1:-1]
    rest = client.get(runs.headers["link"].partition(">")[0][1:])
    assert [run["run_id"] for run in rest.json] == ids[1::-1]
    assert "link" not in rest.headers
    assert client.get(f"/api/runs/count?project_id={project}&status=success&status=fail").json == 1
    assert [run["run_id"] for run in client.get(f"/api/runs?project_id={project}&tag=n%3D2").json] == [ids[2]]
    compared = client.get(f"/api/runs/compare?run_id={ids[1]}&run_id={ids[2]}").json
    assert compared["run_ids"] == ids[1:3]
    assert ["parameter n", [1, 2]] in compared["rows"]
    statistics = client.get(f"/api/statistics/runs?by=status&project_id={project}").json
    assert {one["bucket"]: one["runs"] for one in statistics} == {"running": 4, "success": 1}
    assert client.get("/api/statistics/runs?by=day&tz=Asia/Tokyo").status == 200


@pytest.mark.parametrize(
    "path",
    ["/api/runs?status=good", "/api/runs?tag=x", "/api/runs/compare?run_id=1", "/api/statistics/runs?by=moon",
     "/api/statistics/runs?tz=../../etc/passwd", "/api/statistics/runs?tz=Mars", "/api/runs?limit=many"],
)  # fmt: skip
def test_questions_that_cannot_be_asked(client: Client, path: str) -> None:
    assert client.get(path).status == 422


@pytest.mark.parametrize("path", ["/api/runs/x", f"/api/runs/{2**70}", "/api/runs/99999999", f"/api/runs/{'9' * 5000}"])
def test_runs_that_are_not_there(client: Client, path: str) -> None:
    assert client.get(path).status == 404


def test_a_time_is_microseconds_or_iso_8601(client: Client) -> None:
    asked = client.made("/api/projects", {"project_id": "clock"})["project_id"]
    for at in (86_400_000_000, 2 * 86_400_000_000):
        start(client, project_id=asked, started_at=at)
    for since in ("172800000000", "1970-01-03", "1970-01-03T00:00:00Z", "1970-01-03T09:00:00%2B09:00",
                  "1970-01-03T09:00:00+09:00"):  # fmt: skip
        assert client.get(f"/api/statistics/runs?project_id={asked}&since={since}").json[0]["runs"] == 1, since
        assert client.get(f"/api/statistics/runs?project_id={asked}&until={since}").json[0]["runs"] == 1, since
    for wrong in ("yesterday", "1970-13-01", "9" * 30, "0001-01-01T00:00:00+23:00", "1.5"):
        answer = client.get(f"/api/statistics/runs?since={wrong}")
        assert (answer.status, answer.json["type"]) == (422, "urn:eventlog:InvalidQuery"), wrong
        assert "since" in answer.json["detail"]


def test_saying_something_of_a_run_that_is_not_there(client: Client) -> None:
    for path, body in (("note", {"note": "x"}), ("metrics", {"name": "x", "value": 1}), ("finish", {"status": "fail"})):
        assert client.post(f"/api/runs/99999999/{path}", body).status == 404, path


def test_the_life_of_a_project(client: Client) -> None:
    name = f"a/b {uuid.uuid4().hex[:8]}"
    at = f"/api/projects/{name}".replace(" ", "%20")
    made = client.post("/api/projects", {"project_id": name, "note": "n"})
    assert (made.status, made.json["project_id"]) == (201, name)
    assert client.post("/api/projects", {"project_id": name}).status == 409
    assert client.post("/api/projects", {"project_id": ""}).status == 422
    assert client.request("PATCH", at, {"path": "/srv", "note": ""}).json["path"] == "/srv"
    assert client.get(at).json["note"] == ""
    assert name in [one["project_id"] for one in client.get("/api/projects?text=a/b").json]
    assert client.request("DELETE", at).status == 204
    assert client.get(at).status == 404


def test_the_past_can_be_asked(client: Client) -> None:
    run = start(client)
    before = client.get("/api/head").json["position"]
    time.sleep(0.001)
    between = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06}"
    time.sleep(0.001)
    client.made(f"/api/runs/{run}/finish", {"status": "success"})
    at = f"/api/runs/{run}"
    assert client.get(at).json["status"] == "success"
    for version in (before, between, f"{between}Z", f"{between}+00:00", f"{between}%2B00:00"):
        assert client.get(f"{at}?as_of={version}").json["status"] == "running", version
    assert client.get(f"{at}?as_of={before - 1}").status == 404
    assert client.get(f"/api/runs/count?as_of={before}&status=running").json >= 1
    assert client.get(f"/api/head?as_of={before}").json["position"] == before
    assert client.get(f"/api/jobs/history?as_of={before}").json["total"] == 0
    assert client.request("DELETE", f"{at}?as_of={before}").status == 422
    (changed,) = client.get(f"/api/projections/diff?first={before}&last={before + 1}&names=runs&limit=1").json
    assert (changed["table"], changed["key"], changed["change"]) == ("runs", [run], "changed")
    explained = client.get(f"/api/projections/runs/explain?key={run}").json
    assert [step["type"] for step in explained["steps"]] == ["run.started", "run.finished"]
    assert explained["steps"][1]["changes"]["status"] == ["running", "success"]


def test_an_answer_that_has_not_changed_is_not_sent_again(client: Client) -> None:
    run = start(client)
    at = f"/api/runs/{run}"
    first = client.get(at)
    tag = first.headers["etag"]
    assert tag.startswith(f'"{client.get("/api/head").json["position"]}-')
    for wanted in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = client.get(at, if_none_match=wanted)
        assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
    client.made(f"{at}/note", {"note": "new"})
    changed = client.get(at, if_none_match=tag)
    assert (changed.status, changed.json["note"]) == (200, "new")
    past = client.get(f"{at}?as_of=1", if_none_match=tag)
    assert past.headers.get("etag", "").startswith('"1-') or past.status == 404
    old = client.get("/api/runs?as_of=1")
    start(client)
    assert client.get("/api/runs?as_of=1", if_none_match=old.headers["etag"]).status == 304


def test_tables_that_were_rolled_back_say_so_until_they_go_on(client: Client) -> None:
    run = start(client)
    before = client.get("/api/head").json["position"]
    client.made(f"/api/runs/{run}/note", {"note": "later"})
    seen = client.get(f"/api/runs/{run}")
    rolled = client.made("/api/projections/rollback", {"to": before})
    assert {(one["state"], one["position"]) for one in rolled} == {("pinned", before)}
    try:
        again = client.get(f"/api/runs/{run}", if_none_match=seen.headers["etag"])
        assert (again.status, again.json["note"]) == (200, "")  # the log is as it was, the table is not
        refused = client.post(f"/api/runs/{run}/finish", {"status": "success"})
        assert (refused.status, refused.json["type"]) == (409, "urn:eventlog:ProjectionPinned")
        assert "resume" in refused.json["detail"]
        claimed = client.post("/api/jobs/claim", {"worker_id": "w"})
        assert (claimed.status, claimed.json["type"]) == (409, "urn:eventlog:ProjectionPinned")
        ready = client.get("/readyz")
        assert ready.status == 503
        assert "runs is pinned" in ready.json["problems"]
    finally:
        resumed = client.made("/api/projections/resume")
    assert {one["state"] for one in resumed} == {"live"}
    assert client.get(f"/api/runs/{run}").json["note"] == "later"
    assert client.get("/readyz").json == {"ready": True, "problems": []}


def test_tables_are_rebuilt_and_verified(client: Client) -> None:
    run = start(client)
    rebuilt = client.made("/api/projections/rebuild", {"names": ["runs"]})
    assert {one["state"] for one in rebuilt} == {"live"}
    assert client.get(f"/api/runs/{run}").status == 200
    assert client.get("/api/projections/verify?names=runs").json == []
    lagging = [one["name"] for one in client.get("/api/projections").json if one["lag"] != 0]
    assert set(lagging) <= {"search_documents"}, "it follows when it is asked"


def test_projections_that_are_not_there(client: Client) -> None:
    answers: list[Answer] = [
        client.post("/api/projections/rebuild", {"names": ["none"]}),
        client.post("/api/projections/rollback", {"to": 0, "names": ["none"]}),
        client.get("/api/projections/none/explain?key=1"),
        client.get("/api/projections/verify?names=none"),
    ]
    assert {answer.status for answer in answers} == {404}
    assert client.get("/api/projections/runs/explain?key=999999").status == 404
    assert client.get("/api/projections/runs/explain?key=x").status == 422
    assert client.get("/api/projections/runs/explain").status == 422
    assert client.post("/api/projections/rollback", {"to": 10**9}).status == 422
    assert client.post("/api/projections/rollback", {"to": "soon"}).status == 422
