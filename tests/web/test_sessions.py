"""Sessions and workspaces over HTTP: their whole life, the past, and what no answer shows."""

from __future__ import annotations

from tests.web.support import Client

SECRET = "ghp_" + "a1B2" * 9


def test_the_life_of_a_session(client: Client) -> None:
    workspace = client.made("/api/workspaces", {"path": "/work/a", "name": "a"})
    assert client.get(f"/api/workspaces/{workspace['workspace_id']}").json == workspace
    assert client.made("/api/workspaces", {"path": "/work/a"}) == workspace
    assert client.post("/api/workspaces", {"path": "work"}).status == 422
    session = client.made(
        "/api/sessions", {"workspace_id": workspace["workspace_id"], "title": "Mend it", "metadata": {"a": 1}}
    )
    at = f"/api/sessions/{session['session_id']}"
    version = client.get("/api/head").json["position"]
    first = client.made(f"{at}/messages", {"role": "user", "text": "mend the test"})
    client.made(f"{at}/tool-calls", {"name": "bash", "arguments": {"command": "make"}, "tool_call_id": "t"})
    parts = [{"type": "text", "text": "I look."}, {"type": "tool_call", "id": "t", "name": "bash"}]
    client.made(f"{at}/messages", {"role": "assistant", "parts": parts, "message_id": "m2"})
    ended = client.made(f"{at}/tool-calls/t/finish", {"outcome": "ok", "result": "done", "duration_us": 5})
    assert (ended["outcome"], ended["duration_us"]) == ("ok", 5)
    assert client.post(f"{at}/tool-calls/t/finish", {}).status == 409
    assert client.post(f"{at}/tool-calls/u/finish", {}).status == 404
    assert client.post(f"{at}/messages", {"role": "user", "text": "x", "parent_id": "nobody"}).status == 404
    assert client.post(f"{at}/llm-calls", {"usage": {"input": -1}}).status == 422
    client.made(f"{at}/llm-calls", {"usage": {"input": 3, "output": 4}, "call_id": "c", "model": "opus"})
    assert client.request("PATCH", f"{at}/llm-calls/c", {"usage": {"input": 3, "output": 5}}).json["output"] == 5
    client.made(f"{at}/instances", {"instance_id": "i", "task": "part"})
    assert client.request("PATCH", f"{at}/instances/i", {"status": "busy"}).json["status"] == "busy"
    thread = client.get(f"{at}/thread").json
    assert [one["message"]["message_id"] for one in thread] == [first["message_id"], "m2"]
    assert thread[1]["parts"][1]["arguments"] == {"command": "make"}
    fork = client.made(f"{at}/fork", {"message_id": first["message_id"]})
    assert len(client.get(f"/api/sessions/{fork['session_id']}/thread").json) == 1
    assert client.made(f"{at}/rewind", {"message_id": first["message_id"]})["head_message_id"] == first["message_id"]
    assert client.get(at).json["total_tokens"] == 8
    assert client.get(f"{at}?as_of={version}").json == session
    assert client.get(f"{at}/thread?as_of={version}").json == []
    page = client.get(f"{at}/messages?limit=1")
    assert len(page.json) == 1 and "offset=1" in page.headers["link"]
    assert client.get(f"/api/sessions/count?workspace_id={workspace['workspace_id']}").json == 2
    assert client.request("DELETE", f"{at}/instances/i").status == 204
    assert client.request("DELETE", f"{at}?reason=mistake").status == 204
    assert client.get(at).status == 404
    assert client.request("DELETE", f"/api/workspaces/{workspace['workspace_id']}").status == 204


def test_secrets_that_came_by_the_interface_are_not_shown(client: Client) -> None:
    session = client.made("/api/sessions", {"title": f"use {SECRET}", "metadata": {"api_key": "hush", "n": [SECRET]}})
    assert SECRET not in str(session) and "hush" not in str(session)
    at = f"/api/sessions/{session['session_id']}"
    client.made(f"{at}/messages", {"role": "user", "text": f"export GITHUB_TOKEN={SECRET}", "message_id": "m"})
    client.made(f"{at}/tool-calls", {"name": "http", "arguments": {"headers": {"password": "hush", "x": 1}}})
    client.made(f"{at}/summaries", {"text": f"about {SECRET}"})
    for path in ("thread", "messages", "messages/m", "summaries", ""):
        answer = client.get(f"{at}/{path}".rstrip("/"))
        assert answer.status == 200
        assert SECRET not in answer.body.decode() and "hush" not in answer.body.decode(), path
    assert client.get(f"{at}/thread").json[0]["parts"][1]["arguments"]["headers"]["x"] == 1


def test_ids_with_a_slash_in_them_can_be_asked_for(client: Client) -> None:
    at = f"/api/sessions/{client.made('/api/sessions', {})['session_id']}"
    client.made(f"{at}/messages", {"role": "user", "text": "x", "message_id": "a/b"})
    assert client.get(f"{at}/messages/a%2Fb").json["message"]["message_id"] == "a/b"
    client.made(f"{at}/tool-calls", {"name": "bash", "tool_call_id": "a/b"})
    assert client.made(f"{at}/tool-calls/a%2Fb/finish", {"outcome": "ok"})["tool_call_id"] == "a/b"
    assert client.get(f"{at}/tool-calls/a%2Fb").json["outcome"] == "ok"
    client.made(f"{at}/llm-calls", {"call_id": "a/b"})
    assert client.request("PATCH", f"{at}/llm-calls/a%2Fb", {"usage": {"output": 5}}).json["output"] == 5
    assert client.made(f"{at}/llm-calls/a%2Fb/retract", {"reason": "a copy"})["status"] == "retracted"
    client.made(f"{at}/instances", {"instance_id": "a/b"})
    assert client.request("PATCH", f"{at}/instances/a%2Fb", {"status": "busy"}).json["status"] == "busy"
    assert client.request("DELETE", f"{at}/instances/a%2Fb").status == 204
