"""Executions, contests, problems, settings and containers over HTTP."""

from __future__ import annotations

from tests.web.support import Client


def test_an_execution_from_its_start_to_its_end(client: Client) -> None:
    started = client.made("/api/executions", {"problem_name": "A", "language": "rust", "started_at": 1_000_000})
    at = f"/api/executions/{started['id']}"
    ended = {"status": "accepted", "stdout": "42\n", "exit_code": 0, "finished_at": 3_000_000}
    done = client.made(f"{at}/finish", ended)
    assert (done["status"], done["stdout"], done["duration_us"]) == ("accepted", "42\n", 2_000_000)
    assert client.get(at).json == done
    refused = client.post(f"{at}/finish", ended)
    assert (refused.status, refused.json["type"]) == (409, "urn:eventlog:IllegalTransition")
    saved = {name: done[name] for name in done if not name.endswith("_bytes")}
    head = client.get("/api/head").json
    assert client.made("/api/executions/save", saved) == done
    assert client.get("/api/head").json == head
    assert [one["id"] for one in client.get("/api/executions?problem_name=A&status=accepted&limit=1").json] == [
        done["id"]
    ]
    assert client.get("/api/executions/count?language=rust").json == 1
    (numbers,) = client.get("/api/statistics/executions?by=problem").json
    assert (numbers["bucket"], numbers["statuses"], numbers["accepted_rate"]) == ("A", {"accepted": 1}, 1.0)
    assert client.get(f"{at}?as_of={head['position'] - 1}").json["status"] == "running"
    assert client.request("DELETE", f"{at}?reason=why").status == 204
    assert client.get(at).status == 404


def test_a_setting_and_what_it_was(client: Client) -> None:
    at = "/api/settings/editor/theme"
    for value in ("dark", {"name": "light", "size": [1, 2.5, None]}):
        assert client.made(at, {"value": value, "by": "anna"})["value"] == value
    assert client.get(at).json["version"] == 2
    assert client.get("/api/setting-history/editor/theme").json[0]["value"] == "dark"
    refused = client.post("/api/settings/api_token", {"value": "x"})
    assert (refused.status, "environment" in refused.json["detail"]) == (422, True)
    assert client.post(at, {}).status == 422
    assert client.request("DELETE", f"{at}?by=anna").status == 204
    assert (client.get(at).status, client.request("DELETE", at).status) == (404, 404)
    assert client.get("/api/settings?prefix=editor/").json == []


def test_contests_problems_and_containers(client: Client) -> None:
    contest = client.made("/api/contests", {"contest_id": "abc300", "name": "ABC 300"})
    problem = client.made("/api/problems", {"problem_id": "abc300_a", "name": "A", "contest_id": "abc300"})
    assert client.get("/api/contests/abc300").json == contest
    assert client.get("/api/problems?contest_id=abc300").json == [problem]
    assert client.post("/api/contests", {"contest_id": "x", "name": "x", "colour": "red"}).status == 422
    made = client.made("/api/containers", {"image": "rust:1.70"})
    at = f"/api/containers/{made['container_id']}"
    assert client.made(f"{at}/start")["status"] == "running"
    assert client.made(f"{at}/stop", {"exit_code": 0})["exit_code"] == 0
    assert client.made(f"{at}/remove")["status"] == "removed"
    assert client.post(f"{at}/start").status == 409
    assert len(client.get("/api/containers?status=removed").json) == 1
    for path in (at, "/api/contests/abc300", "/api/problems/abc300_a"):
        assert client.request("DELETE", path).status == 204
        assert client.get(path).status == 404
