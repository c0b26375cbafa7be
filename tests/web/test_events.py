"""Events over HTTP: append one or many, read by range and filter, and what is refused."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest

from eventlog import wire
from eventlog.committer import Appended
from eventlog.projection.manager import Explanation, ProjectionStatus, RowDiff, Step
from eventlog.projection.rebuild import Difference
from tests.web.support import Client, Server


def a_stream() -> str:
    return f"note-{uuid.uuid4().hex[:8]}"


def event(stream: str, **more: Any) -> dict[str, Any]:
    return {"stream": stream, "type": "note.taken", "data": {"text": "hé"}, **more}


def test_an_event_is_appended_and_read(client: Client) -> None:
    stream = a_stream()
    at = 1_700_000_000_000_000
    full = event(stream, occurred_at=at, actor="me", correlation="c", causation="d", metadata={"a": [1]}, key=stream)
    done = client.post("/api/events", full)
    assert done.status == 201
    assert done.json == {"first": done.json["first"], "last": done.json["first"], "version": 1, "duplicate": False}
    (record,) = client.get(f"/api/streams/{stream}").json
    position, digest, recorded = (record.pop(name) for name in ("position", "hash", "recorded_at"))
    assert record == {
        "stream": stream, "version": 1, "type": "note.taken", "schema": 1, "occurred_at": at, "key": stream,
        "actor": "me", "correlation": "c", "causation": "d", "data": {"text": "hé"}, "metadata": {"a": [1]},
    }  # fmt: skip
    assert client.get("/api/head").json | {"log_id": 0} == {
        "position": position, "hash": digest, "recorded_at": recorded, "log_id": 0,
    }  # fmt: skip


def test_a_repeated_append_changes_nothing(client: Client) -> None:
    stream = a_stream()
    first = client.made("/api/events", event(stream, key=stream))
    assert client.made("/api/events", event(stream, key=stream)) == first | {"duplicate": True}
    reused = client.post("/api/events", event(stream, key=stream, type="note.lost"))
    assert (reused.status, reused.json["type"]) == (409, "urn:eventlog:KeyReused")


def test_expected_versions(client: Client) -> None:
    stream = a_stream()
    client.made("/api/events", event(stream, expect="none"))
    client.made("/api/events", event(stream, expect=1))
    client.made("/api/events", event(stream, expect="exists"))
    for wrong in ("none", 1, 7):
        refused = client.post("/api/events", event(stream, expect=wrong))
        assert (refused.status, refused.json["facts"]["actual"]) == (409, 3)
        assert refused.json["type"] == "urn:eventlog:WrongExpectedVersion"
    assert client.post("/api/events", event(stream, expect="some")).status == 422
    assert client.post("/api/events", event(stream, expect=-1)).status == 422


def test_many_appends_go_together_or_not_at_all(client: Client) -> None:
    one, two = a_stream(), a_stream()
    done = client.made("/api/events", [event(one), event(two, events=[{"type": "note.taken"}] * 3, type=None, data={})])
    assert [answer["version"] for answer in done] == [1, 3]
    assert client.post("/api/events", [event(one), event(two, expect=9)]).status == 409
    assert len(client.get(f"/api/streams/{one}").json) == 1
    assert client.post("/api/events", []).status == 422


def test_a_type_that_the_log_knows_has_to_decode(client: Client) -> None:
    refused = client.post("/api/events", {"stream": "run-900000", "type": "run.started", "data": {"command": 7}})
    assert refused.status == 422
    assert "command" in refused.json["detail"]
    client.made(
        "/api/events", {"stream": "project-over-http", "type": "project.added", "data": {"note": "n", "new": 1}}
    )
    assert client.get("/api/projects/over-http").json["note"] == "n"
    assert client.get("/api/streams/project-over-http").json[0]["data"] == {"note": "n", "new": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"stream": ""},
        {"stream": "-x"},
        {"type": "no"},
        {"type": None},
        {"data": [1]},
        {"data": 1},
        {"events": [{"type": "note.taken"}]},
        {"key": ""},
        {"occurred_at": "yesterday"},
        {"occurred_at": "2026-01-01T00:00:00"},
        {"occurred_at": 2**63},
        {"metadata": []},
        {"steam": "x"},
        {"actor": "a\nb"},
    ],
)
def test_what_cannot_be_an_append_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    before = client.get("/api/head").json
    refused = client.post("/api/events", event(a_stream()) | wrong)
    assert refused.status == 422, refused
    assert client.get("/api/head").json == before


@pytest.mark.parametrize("tag", ["note.taken", "project.added", "run.started"])
@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000, b'"\xff"'])
def test_data_of_which_no_value_can_be_made_is_refused(client: Client, tag: str, number: bytes) -> None:
    before = client.get("/api/head").json
    refused = client.post("/api/events", b'{"stream":"note-1","type":"%s","data":{"x":%s}}' % (tag.encode(), number))
    assert refused.status == 422, refused
    assert tag in refused.json["detail"]
    assert client.get("/api/head").json == before


def test_an_event_that_is_too_large_is_refused(client: Client) -> None:
    refused = client.post("/api/events", event(a_stream(), data={"text": "x" * (1 << 20)}))
    assert (refused.status, refused.json["type"]) == (413, "urn:eventlog:EventTooLarge")


def test_a_time_may_be_given_in_iso_8601(client: Client) -> None:
    stream = a_stream()
    client.made("/api/events", event(stream, occurred_at="2026-11-21T09:30:00.000001+09:00"))
    assert client.get(f"/api/streams/{stream}").json[0]["occurred_at"] == 1_795_221_000_000_001


def test_stored_json_comes_back_as_it_is(client: Client) -> None:
    stream = a_stream()
    text = '{"big":12345678901234567,"float":1.0,"text":"a\\u2028b"}'
    client.made("/api/events", f'{{"stream":"{stream}","type":"note.taken","data":{text}}}'.encode())
    answer = client.get(f"/api/streams/{stream}")
    assert answer.json[0]["data"] == json.loads(text)
    assert b'"float":1.0' in answer.body


def test_reading_by_range_and_filter(client: Client) -> None:
    stream, other = a_stream(), f"thing-{uuid.uuid4().hex[:8]}"
    start = client.get("/api/head").json["position"]
    client.made("/api/events", [event(stream), event(other, type="thing.done"), event(stream), event(stream)])

    def read(query: str) -> list[int]:
        return [record["position"] - start for record in client.get(f"/api/events?after={start}&{query}").json]

    assert read("") == [1, 2, 3, 4]
    assert read(f"to={start + 2}") == [1, 2]
    assert read("limit=2") == [1, 2]
    assert read("limit=2&backwards=true") == [4, 3]
    assert read(f"streams={stream}") == [1, 3, 4]
    assert read(f"streams={stream}&streams={other}") == [1, 2, 3, 4]
    assert read("categories=thing") == [2]
    assert read("types=thing.done&types=thing.undone") == [2]
    assert read(f"as_of={start + 3}") == [1, 2, 3]
    assert read(f"as_of={start + 3}&to={start + 1}") == [1]
    versions = [record["version"] for record in client.get(f"/api/streams/{stream}?as_of={start + 3}").json]
    assert versions == [1, 2]
    assert client.get("/api/streams/nobody-1").json == []


@pytest.mark.parametrize("backwards", ["false", "true"])
def test_links_lead_through_all_records(client: Client, backwards: str) -> None:
    stream = a_stream()
    client.made("/api/events", event(stream, type=None, data={}, events=[{"type": "note.taken"}] * 5))
    for path in (f"/api/streams/{stream}?limit=2", f"/api/events?streams={stream}&limit=2"):
        found, following = [], f"{path}&backwards={backwards}"
        while following:
            answer = client.get(following)
            found += [record["version"] for record in answer.json]
            following = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
        assert found == ([5, 4, 3, 2, 1] if backwards == "true" else [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "limit=0", "limit=1001", "limt=5", "after=1&after=2", "categories=a-b", "backwards=maybe",
     "as_of=never", "as_of=99999999999999999999", "as_of=999999999", "to=9223372036854775808"],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(client: Client, query: str) -> None:
    refused = client.get(f"/api/events?{query}")
    assert refused.status == 422, refused
    assert refused.headers["content-type"] == "application/problem+json"


def test_appends_of_many_connections_are_all_stored(server: Server, client: Client) -> None:
    streams = [a_stream() for _ in range(16)]

    def write(stream: str) -> None:
        mine = Client(server)
        for expected in range(20):
            mine.made("/api/events", event(stream, expect=expected or "none"))
        mine.close()

    threads = [threading.Thread(target=write, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for stream in streams:
        assert [record["version"] for record in client.get(f"/api/streams/{stream}").json] == list(range(1, 21))


def test_telemetry_may_be_less_durable(client: Client) -> None:
    assert client.post("/api/events?durability=process", event(a_stream())).status == 201
    assert client.post("/api/events?durability=none", event(a_stream())).status == 422


@pytest.mark.parametrize(
    ("ours", "sent"),
    [
        (Appended, wire.Appended),
        (ProjectionStatus, wire.ProjectionStatus),
        (RowDiff, wire.RowDiff),
        (Step, wire.Step),
        (Explanation, wire.Explanation),
        (Difference, wire.Difference),
    ],
)
def test_what_is_sent_has_the_fields_of_what_python_gets(ours: Any, sent: Any) -> None:
    assert ours._fields == sent.__struct_fields__


@pytest.mark.parametrize(
    ("ours", "sent", "more"),
    [
        ("runs.RunStarted", wire.NewRun, {"started_at", "key"}),
        ("runs.RunFinished", wire.RunEnd, {"ended_at", "key"}),
        ("runs.RunArtifactSaved", wire.NewArtifact, set()),
        ("workers.WorkerStarted", wire.NewWorker, {"worker_id"}),
    ],
)
def test_what_is_taken_has_the_fields_of_its_event(ours: str, sent: Any, more: set[str]) -> None:
    from importlib import import_module

    module, _, name = ours.partition(".")
    fields = set(getattr(import_module(f"eventlog.events.{module}"), name).__struct_fields__) - {"lock_path"}
    assert set(sent.__struct_fields__) == fields | more
