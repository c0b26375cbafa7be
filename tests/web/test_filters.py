"""Filters are values: whatever text they hold, an answer is what Python gets for it, or a refusal that tells no SQL."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

import eventlog
from eventlog.repositories.jobs import NewJob
from eventlog.web.jobs import JobsQuery
from eventlog.web.table import OPERATIONS
from tests.web.support import Client, Server

HOSTILE = (
    "' OR '1'='1", "'; DROP TABLE jobs; --", '" OR ""="', "1) UNION SELECT hash FROM events--", "%", "_", "\\", "%27",
    "mail' AND sleep(5)--", "[a-z]*", "mail*", "a/**/b", "\x00", "\r\n", "\u202e", "$1", "?1", ":x", "{0}", "%s",
    "NULL",
)  # fmt: skip
LEAKS = ("SQL", "syntax", "sqlite", "Traceback", 'near "', ".db")


@pytest.fixture(scope="module")
def names(server: Server) -> list[str]:
    """Jobs whose names are the hostile texts, as far as a name can be one, beside harmless ones."""
    with eventlog.open(server.token_file.removesuffix(".token")) as log:
        good = [text for text in HOSTILE if text.isprintable()]
        log.jobs.enqueue_many([NewJob(kind=text, queue=text, batch_id=text) for text in (*good, "mail", "post")])
    return good


@pytest.mark.parametrize(
    "column", ["queue", "kind", "batch_id", "parent_job_id", "worker_id", "text", "before", "after"]
)
def test_a_filter_of_jobs_finds_what_python_finds(
    server: Server, client: Client, names: list[str], column: str
) -> None:
    assert column in JobsQuery.__struct_fields__
    with eventlog.open(Path(server.token_file.removesuffix(".token")), mode="r") as log:
        for text in HOSTILE:
            answer = client.get(f"/api/jobs?{urlencode({column: text, 'limit': 1000})}")
            found = log.jobs.list(**{column: text}, limit=1000)  # type: ignore[arg-type]
            assert answer.status == 200, answer
            assert [one["job_id"] for one in answer.json] == [job.job_id for job in found]
            if column in ("queue", "kind", "batch_id"):
                assert len(found) == (text in names)


def test_no_parameter_of_any_question_is_taken_for_more_than_a_value(client: Client, names: list[str]) -> None:
    before = client.get("/api/head").json
    asked = 0
    for operation in OPERATIONS:
        if operation.method != "GET" or operation.streams or operation.slow:
            continue
        path = operation.documented_path
        for part in operation.parts:
            path = path.replace(f"{{{part}}}", "1")
        for name in (*operation.columns, *(["as_of"] if operation.time_travels else [])):
            for text in HOSTILE[:4]:
                answer = client.get(f"{path}?{urlencode({name: text})}")
                asked += 1
                assert answer.status in (200, 404, 422), (path, name, text, answer)
                if answer.status == 422:
                    said = json.dumps(answer.json).replace(json.dumps(text)[1:-1], "")
                    assert not [leak for leak in LEAKS if leak in said], said
    assert asked > 300
    assert client.get("/api/head").json == before
