"""The same server on a log in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import eventlog
from eventlog import UnknownEvent
from tests import postgres
from tests.web.support import Client, Follower, Server
from tests.web.test_metrics import samples


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    target = postgres.borrow_log()
    yield target
    postgres.return_log(target)


@pytest.fixture(scope="module")
def server(target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    served = Server(target, "--token-file", str(tmp_path_factory.mktemp("served") / "token"))
    yield served
    served.stop()


def test_events_jobs_and_the_past(client: Client) -> None:
    done = client.made("/api/events", {"stream": "note-1", "type": "note.taken", "key": "k"})
    assert client.made("/api/events", {"stream": "note-1", "type": "note.taken", "key": "k"})["duplicate"]
    job = client.made("/api/jobs", {"kind": "sum", "args": {"text": "a\u0000b"}})
    (claimed,) = client.made("/api/jobs/claim", {"worker_id": "w"})
    assert claimed["args"] == {"text": "a\u0000b"}
    client.made(f"/api/jobs/{job['job_id']}/complete", {"token": claimed["token"]})
    at = f"/api/jobs/{job['job_id']}"
    assert client.get(at).json["status"] == "completed"
    assert client.get(f"{at}?as_of={done['first'] + 1}").json["status"] == "queued"
    assert client.get("/api/jobs/history").json["total"] == 1
    tag = client.get(at).headers["etag"]
    assert client.get(at, if_none_match=tag).status == 304
    assert client.get("/api/jobs?text=%00").status in (200, 422)


def test_followers_are_told(server: Server, client: Client, target: str) -> None:
    follower = Follower(server)
    client.made("/api/events", {"stream": "note-2", "type": "note.taken"})
    with eventlog.open(target) as log:
        log.append("note-2", UnknownEvent(tag="note.taken", data={}))
    assert [one.record["version"] for one in follower.take(2)] == [1, 2]
    follower.close()


@pytest.mark.feature("S4-9")
def test_the_pool_and_the_server_are_measured(client: Client) -> None:
    found = samples(client)
    assert found["eventlog_pool_size"] >= 1
    assert found["eventlog_pool_in_use"] >= 0
    assert found['eventlog_database_connections{state="in_use"}'] >= 1
    assert found["eventlog_database_deadlocks_total"] >= 0
    assert found["eventlog_database_query_seconds_total"] > 0
    assert found["eventlog_database_transactions_total"] > 0
    assert found['eventlog_table_bytes{table="events"}'] > 0
    assert found["eventlog_database_bytes"] > 0
