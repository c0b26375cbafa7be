"""Server-Sent Events: nothing missed and nothing twice, over kills and restarts; and the end of a server."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import UnknownEvent
from tests.web.support import Client, Follower, Server, wait_until


def event(number: int, stream: str = "note-1", kind: str = "note.taken") -> dict[str, Any]:
    return {"stream": stream, "type": kind, "data": {"number": number}}


def test_records_arrive_as_they_are_appended(server: Server, client: Client) -> None:
    follower = Follower(server)
    first = client.made("/api/events", event(1))["first"]
    client.made("/api/events", [event(2), event(3)])
    arrived = follower.take(3)
    assert [one.id for one in arrived] == [first, first + 1, first + 2]
    assert [one.record for one in arrived] == client.get(f"/api/events?after={first - 1}").json
    follower.close()


def test_records_of_other_processes_arrive_too(server: Server, tmp_path: Path) -> None:
    log_file = server.token_file.removesuffix(".token")
    follower = Follower(server)
    with eventlog.open(log_file) as log:
        done = log.append("note-2", UnknownEvent(tag="note.taken", data={"number": 7}))
    (arrived,) = follower.take(1)
    assert (arrived.id, arrived.record["data"]) == (done.first, {"number": 7})
    follower.close()


def test_filters_and_beginnings(server: Server, client: Client) -> None:
    start = client.get("/api/head").json["position"]
    client.made("/api/events", [event(1), event(2, "thing-1"), event(3, kind="note.lost"), event(4, "thing-2")])
    for query, expected in (
        (f"after={start}", [1, 2, 3, 4]),
        (f"after={start}&categories=thing", [2, 4]),
        (f"after={start}&streams=note-1", [1, 3]),
        (f"after={start}&types=note.lost&types=thing.done", [3]),
    ):
        follower = Follower(server, query)
        assert [one.record["data"]["number"] for one in follower.take(len(expected))] == expected
        follower.close()
    resumed = Follower(server, f"after={start}", last_id=start + 2)
    assert [one.id for one in resumed.take(2)] == [start + 3, start + 4]
    resumed.close()
    accepted = Follower(server, f"after={start}&categories=thing", path="/api/events")
    assert [one.id for one in accepted.take(2)] == [start + 2, start + 4]
    accepted.close()


def test_what_cannot_be_followed_is_refused(client: Client) -> None:
    assert client.get("/api/events/stream?categories=a-b").status == 422
    assert client.get("/api/events/stream?limit=5").status == 422
    assert client.get("/api/events/stream", last_event_id="x").status == 400
    assert client.get("/api/events/stream", last_event_id="9" * 30).status == 400


def test_asking_for_the_head_of_a_stream_ends(client: Client) -> None:
    answer = client.request("HEAD", "/api/events/stream")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/event-stream", b"")


def test_line_breaks_in_stored_json_stay_inside_their_event(server: Server, client: Client) -> None:
    with eventlog.open(server.token_file.removesuffix(".token")) as log:
        encoded = log.codec.encode_raw("note.taken", 1, b'{\r\n"text": "a\\nb",\n"n": 1\r}')
        log.decide(
            lambda tx: tx.transaction.append(("note-3", [encoded], eventlog.ANY, None, 1, None, None, None, None))
        )
        position = log.head().position
    follower = Follower(server, f"after={position - 1}")
    (arrived,) = follower.take(1)
    assert arrived.record["data"] == {"text": "a\nb", "n": 1}
    follower.close()


def test_a_killed_server_and_no_event_missed(tmp_path: Path) -> None:
    """A follower comes back with the last id, to a server that was killed and started again, while others append."""
    target = str(tmp_path / "log.db")
    server = Server(target)
    port, token = server.port, server.token
    stop = threading.Event()

    def append() -> None:
        with eventlog.open(target) as log:
            number = 0
            while not stop.is_set():
                log.append("note-1", UnknownEvent(tag="note.taken", data={"number": number}))
                number += 1
                time.sleep(0.002)

    writer = threading.Thread(target=append)
    writer.start()
    seen: list[int] = []
    try:
        for _ in range(3):
            follower = Follower(server, last_id=seen[-1] if seen else 0)
            seen += [one.id for one in follower.take(60)]
            server.process.send_signal(signal.SIGKILL)
            seen += [one.id for one in follower]  # what was on its way
            follower.close()
            assert server.wait() == -signal.SIGKILL
            server = Server(target, port=port)
            assert server.token == token
    finally:
        stop.set()
        writer.join()
    follower = Follower(server, last_id=seen[-1])
    with eventlog.open(target) as log:
        head = log.head().position
    seen += [one.id for one in follower.take(head - seen[-1])]
    follower.close()
    assert seen == list(range(1, head + 1))
    assert head > 180
    server.stop()


def test_a_signal_ends_a_server_that_is_followed(tmp_path: Path) -> None:
    server = Server(str(tmp_path / "log.db"))
    client = Client(server)
    client.made("/api/events", [event(number) for number in range(3)])
    followers = [Follower(server, "after=0") for _ in range(3)]
    for follower in followers:
        follower.take(3)
    # One who never reads: its connection is full.
    deaf = socket.create_connection((server.host, server.port))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = (
        f"GET /api/events/stream?after=0 HTTP/1.1\r\nHost: {server.authority}\r\nAuthorization: Bearer {server.token}"
    )
    deaf.sendall(f"{head}\r\n\r\n".encode())
    big = {"text": "x" * 500_000}
    for _ in range(20):
        client.made("/api/events?durability=process", {"stream": "note-2", "type": "note.taken", "data": big})
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 2
    assert len(list(followers[0])) <= 20  # the stream ends
    with eventlog.open(server.token_file.removesuffix(".token"), mode="r") as log:
        assert log.head().position == 23
    deaf.close()
    client.close()
    for follower in followers:
        follower.close()


def test_a_follower_that_goes_away_is_forgotten(server: Server, client: Client) -> None:
    def followers() -> bytes:
        return next(
            line for line in client.get("/metrics").body.splitlines() if line.startswith(b"eventlog_http_followers ")
        )

    follower = Follower(server)
    wait_until(lambda: followers().endswith(b" 1"))
    follower.close()
    wait_until(lambda: followers().endswith(b" 0"))


def test_the_token_may_come_from_the_environment(tmp_path: Path) -> None:
    server = Server(str(tmp_path / "log.db"), env={"EVENTLOG_TOKEN": "a-token-of-mine-0123456789"})
    client = Client(server)
    assert client.get("/api/head").status == 200
    assert not list(tmp_path.glob("*.token"))
    client.close()
    assert server.stop(signal.SIGINT) == 0


@pytest.mark.feature("S3-8")
def test_jobs_persist_where_it_is_asked_for(tmp_path: Path) -> None:
    """A server that was killed is started again: it has the jobs, gives back what nobody does, and lets old ones go."""
    folder = tmp_path / "kept"
    options = ("--persist", "--data-dir", str(folder))
    server = Server(None, *options)
    assert [path.name for path in folder.glob("*.jsonl")] == ["jobs.jsonl"]
    client = Client(server)
    worker = client.made("/api/workers", {"host": "here"})["worker_id"]
    job, old = (client.made("/api/jobs", {"kind": "k", "priority": number})["job_id"] for number in (1, 2))
    client.made("/api/jobs/claim", {"worker_id": worker})
    client.made(f"/api/jobs/{old}/cancel")
    client.made(f"/api/workers/{worker}/stop")
    client.close()
    server.stop(signal.SIGKILL)
    server = Server(None, *options, "--retention-days", "0")
    client = Client(server)
    wait_until(lambda: client.get(f"/api/jobs/{job}").json["status"] == "queued")
    assert client.get(f"/api/jobs/{old}").status == 404
    client.close()
    assert server.stop() == 0
