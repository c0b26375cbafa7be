"""Files of runs over HTTP: as they were saved, in parts, and nothing that no event names, however it is asked for."""

from __future__ import annotations

import http.client
import os
import random
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

import eventlog
from eventlog import UnknownEvent
from eventlog.app import Log
from eventlog.recorder.artifacts import ArtifactStore, Kind
from eventlog.web.download import as_file
from tests.jobs.worker_support import drain
from tests.web.support import Answer, Client, Server, send_raw

SECRET = b"nobody outside may read this"
LONG = bytes(range(256)) * 5000
FUZZED = 300


class Served(NamedTuple):
    """A log that is being served, and where its files are."""

    log: Log
    folder: Path

    def store(self) -> ArtifactStore:
        return ArtifactStore(self.folder, self.log.log_id)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with eventlog.open(folder / "log.db") as log:
        yield Served(log, folder)


@pytest.fixture(scope="module")
def server(served: Served) -> Iterator[Server]:
    server = Server(str(served.folder / "log.db"))
    yield server
    assert server.stop() == 0


def record(served: Served, **files: bytes) -> int:
    """A run that saved files; ``_`` stands for the dot of a name."""
    with served.log.runs.track("train") as run:
        for name, data in files.items():
            run.save_output(name.replace("_", "."), data)
    assert run.run_id is not None
    return run.run_id


def at(run_id: int, name: str, kind: Kind = "output") -> str:
    return f"/api/runs/{run_id}/artifacts/{kind}/{name}"


def claim_saved(served: Served, run_id: int, name: str, data: bytes, kind: Kind = "output") -> None:
    """An event that no recorder would write: it names a file that another hand may have put there."""
    said = {"kind": kind, "name": name, "size_bytes": len(data), "sha256": sha256(data).hexdigest()}
    served.log.append(f"run-{run_id}", UnknownEvent(tag="run.artifact_saved", data=said))


def test_a_file_comes_back_as_it_was_saved(served: Served, client: Client) -> None:
    with served.log.runs.track("train") as run:
        for data in (LONG, b"", b"x" * 1000):
            run.save_output("deep/der Preis.bin", data)
            answer = client.get(at(run.run_id or 0, "deep/der%20Preis.bin"))
            assert (answer.status, answer.body) == (200, data)
            assert answer.headers["content-length"] == str(len(data))
            assert answer.headers["etag"] == f'"{sha256(data).hexdigest()}"'
    headers = answer.headers
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"] == "attachment; filename=\"der_Preis.bin\"; filename*=UTF-8''der%20Preis.bin"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    path = at(run.run_id or 0, quote("deep/der Preis.bin", safe=""))
    head = client.request("HEAD", path)
    assert (head.status, head.headers["content-length"], head.body) == (200, "1000", b"")
    same = client.get(path, if_none_match=headers["etag"])
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", headers["etag"])
    named = client.get(f"/api/runs/{run.run_id}/artifacts?name=deep/der%20Preis.bin").json
    assert [one["size_bytes"] for one in named] == [len(LONG), 0, 1000]
    assert client.get(f"/api/runs/{run.run_id}/artifacts?name=other").json == []


def test_the_output_of_a_job_is_a_file_of_its_run(served: Served, client: Client) -> None:
    job = served.log.jobs.enqueue("shell", {"command": "echo hello"})
    drain(served.log)
    (run,) = client.get(f"/api/runs?job_id={job.job_id}").json
    (saved,) = client.get(f"/api/runs/{run['run_id']}/artifacts?name=stdout.log").json
    assert client.get(at(run["run_id"], saved["name"], saved["kind"])).body == b"hello\n"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=5-", (5, 5)), ("bytes=2-4", (2, 3)), ("bytes=8-999", (8, 2)),
        ("bytes=-3", (7, 3)), ("bytes=-999", (0, 10)), ("bytes=10-", 416), ("bytes=-0", 416), ("bytes=999-1000", 416),
        ("bytes=4-2", None), ("bytes=-", None), ("bytes=0-1,3-4", None), ("lines=1-2", None), ("bytes=x", None),
        (f"bytes={'9' * 40}-", None),
    ],
)  # fmt: skip
def test_parts(served: Served, client: Client, wanted: str, expected: tuple[int, int] | int | None) -> None:
    """What is no single range is passed over, as RFC 9110 has it."""
    data = b"0123456789"
    answer = client.get(at(record(served, parts_bin=data), "parts.bin"), range=wanted)
    if expected == 416:
        assert (answer.status, answer.headers["content-range"]) == (416, "bytes */10")
    elif isinstance(expected, tuple):
        first, length = expected
        assert (answer.status, answer.body) == (206, data[first : first + length])
        assert answer.headers["content-range"] == f"bytes {first}-{first + length - 1}/10"
    else:
        assert (answer.status, answer.body) == (200, data)


def test_a_download_goes_on_where_it_was_cut_off(served: Served, client: Client) -> None:
    path = at(record(served, long_bin=LONG), "long.bin")
    tag = client.request("HEAD", path).headers["etag"]
    rest = client.get(path, range="bytes=700000-", if_range=tag)
    assert (rest.status, rest.body) == (206, LONG[700_000:])
    whole = client.get(path, range="bytes=700000-", if_range='"other"')
    assert (whole.status, whole.body) == (200, LONG)


def test_what_is_not_there_is_not_found(served: Served, client: Client) -> None:
    run = record(served, here_txt=b"x", gone_txt=b"y")
    served.store().path(run, "output", "gone.txt").unlink()
    (served.store().run_dir(run) / "output" / "stray.txt").write_bytes(SECRET)
    for path in (
        at(run, "other.txt"), at(run, "gone.txt"), at(run, "stray.txt"), at(run, "here.txt", "input"),
        at(10**9, "here.txt"), f"/api/runs/x/artifacts/output/{SECRET.decode()[:6]}", f"/api/runs/{run}/artifacts/x/y",
    ):  # fmt: skip
        answer = client.get(path)
        assert (answer.status, answer.json["status"]) == (404, 404), path
    assert client.get(at(run, "here.txt")).body == b"x"
    client.request("DELETE", f"/api/runs/{run}")
    assert client.get(at(run, "here.txt")).status == 404


def test_a_file_that_is_not_what_was_saved_is_never_sent_whole(served: Served, server: Server, client: Client) -> None:
    run = record(served, short_txt=b"short", other_txt=b"other", long_bin=LONG, odd_txt=b"odd")
    served.store().path(run, "output", "short.txt").write_bytes(b"shorter")
    served.store().path(run, "output", "other.txt").write_bytes(b"OTHER")
    served.store().path(run, "output", "long.bin").write_bytes(LONG[:-1] + b"?")
    for name in ("short.txt", "other.txt"):
        answer = client.get(at(run, name))
        assert (answer.status, answer.json["title"]) == (410, "Gone")
        assert "not what was saved" in answer.json["detail"]
    cut = Client(server)
    with pytest.raises(http.client.IncompleteRead) as caught:
        cut.get(at(run, "long.bin"))
    assert len(caught.value.partial) < len(LONG)
    cut.close()
    said = {"kind": "output", "name": "odd.txt", "size_bytes": 3, "sha256": 'x"\r\nset-cookie: a=b'}
    client.made(f"/api/runs/{run}/artifacts", said)
    odd = client.get(at(run, "odd.txt"))
    assert (odd.status, "set-cookie" in odd.headers) == (410, False)


def test_two_logs_share_a_folder_and_see_their_own_files(served: Served, client: Client, tmp_path: Path) -> None:
    run = record(served, same_txt=b"mine")
    with eventlog.open(tmp_path / "other.db", data_dir=served.folder) as other:
        while (tracked := other.runs.track("x").__enter__()).run_id != run:
            tracked.__exit__(None, None, None)
        tracked.save_output("same.txt", b"theirs")
        tracked.save_output("their.txt", SECRET)
        tracked.__exit__(None, None, None)
    claim_saved(served, run, "their.txt", SECRET)
    assert client.get(at(run, "same.txt")).body == b"mine"
    assert client.get(at(run, "their.txt")).status == 404


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("model.bin", 'attachment; filename="model.bin"'),
        ('a"b;c.txt', "attachment; filename=\"a_b_c.txt\"; filename*=UTF-8''a%22b%3Bc.txt"),
        ("x/図.png", "attachment; filename=\"_.png\"; filename*=UTF-8''%E5%9B%B3.png"),
        ("evil\u202egnp.exe", 'attachment; filename="evil_gnp.exe"'),
    ],
)
def test_a_browser_saves_it_under_a_name_that_does_no_harm(name: str, header: str) -> None:
    assert as_file(name) == header


# what could lead out of the store

OUT = [
    "../secret.txt", "../../secret.txt", "../../../secret.txt", "../meta.json", "../input/../../../secret.txt",
    "a/../../../../secret.txt", "./x", "x/.", "..", ".", "/", "//", "/etc/passwd", "//etc/passwd", "a//b", "a/",
    "..\\..\\..\\secret.txt", "C:\\secret.txt", "C:secret.txt", "c:/secret.txt", "\\\\host\\share", "a\\b",
    "%2e%2e/%2e%2e/%2e%2e/secret.txt", "%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.txt", "..%2f..%2fsecret.txt",
    "..%5c..%5csecret.txt", "%2E%2E/secret.txt", ".%2e/secret.txt",
    "nul\0.txt", "nul.txt\0.png", "../../../secret.txt\0", "line\nbreak", "tab\t", "delete\x7f", "escape\x1b[2J",
    "x" * 256, "x/" * 600 + "x", "\u00e9" * 128,
]  # fmt: skip
PLANTED = ["link.txt", "up/secret.txt", "up", "loop", "pipe", "folder", "folder/inner.txt", "absolute.txt"]


@pytest.fixture(scope="module")
def trap(served: Served) -> int:
    """A run whose folder is full of ways out, all of them named by its events with the right size and hash."""
    run = record(served, real_txt=b"real")
    output = served.store().run_dir(run) / "output"
    (served.folder / "secret.txt").write_bytes(SECRET)
    (output.parent.parent / "secret.txt").write_bytes(SECRET)
    (output.parent / "secret.txt").write_bytes(SECRET)
    (output / "link.txt").symlink_to("../../../secret.txt")
    (output / "absolute.txt").symlink_to(served.folder / "secret.txt")
    (output / "up").symlink_to("../..")
    (output / "loop").symlink_to("loop")
    os.mkfifo(output / "pipe")
    (output / "folder").mkdir()
    (output / "folder" / "inner.txt").symlink_to(served.folder / "secret.txt")
    for name in (*OUT, *PLANTED):
        claim_saved(served, run, name, SECRET)
    return run


def written(name: str) -> set[str]:
    """The ways to write a name in a URL: as it is, escaped, escaped twice, its dots escaped."""
    escaped = quote(name, safe="")
    ways = {escaped, quote(name), escaped.replace(".", "%2e"), quote(name).replace(".", "%2E"), quote(escaped, safe="")}
    return ways | ({name} if re.fullmatch(r"[!-~]+", name) else set())


def assert_nothing_served(answer: Answer, asked: str) -> None:
    assert 400 <= answer.status < 500, (asked, answer.status)
    assert SECRET not in answer.body, asked
    assert answer.json["status"] == answer.status, asked
    assert b"root:" not in answer.body, asked


def test_no_name_leads_out_of_a_runs_folder(client: Client, trap: int) -> None:
    for name in (*OUT, *PLANTED):
        for way in written(name):
            assert_nothing_served(client.get(at(trap, way)), way)


def test_a_run_whose_folder_is_a_link_has_no_files(served: Served, client: Client, trap: int) -> None:
    run = record(served, real_txt=b"real")
    folder = served.store().run_dir(run)
    folder.rename(folder.with_name("moved"))
    folder.symlink_to("moved")
    assert client.get(at(run, "real.txt")).status == 404
    folder.unlink()
    folder.symlink_to(served.store().run_dir(trap))
    assert client.get(at(run, "real.txt")).status == 404
    folder.unlink()
    folder.with_name("moved").rename(folder)
    (folder / "output").rename(folder / "really")
    (folder / "output").symlink_to("really")
    assert client.get(at(run, "real.txt")).status == 404
    assert client.get(at(trap, "real.txt")).body == b"real"


def test_fuzzed_paths_lead_nowhere(server: Server, client: Client, trap: int) -> None:
    chance = random.Random(34)
    parts = [
        "..", ".", "%2e%2e", "%2e", "%252e%252e", "..%00", "%c0%ae%c0%ae", "%e0%80%ae", "%ff", "%u002e", "..;",
        "/", "/", "/", "%2f", "%252f", "%5c", "%c0%af", "//", "secret.txt", "meta.json", "result", str(trap),
        "input", "logs", "output", "link.txt", "up", "folder", "pipe", "etc/passwd", "%00", "C:", "~", "x" * 300, "a",
        "%0d%0aset-cookie:a=b", "%20", "proc/self/environ", "%F0%9F%92%BE", "*", "'", "log.db", "log.db.token",
    ]  # fmt: skip
    asked = 0
    for _ in range(FUZZED):
        tail = "".join(chance.choices(parts, k=chance.randint(1, 8)))
        kind = chance.choice(["output/", "input/", "logs/", "", "../", "%2e%2e/"])
        answer = client.get(f"/api/runs/{trap}/artifacts/{kind}{tail}")
        assert_nothing_served(answer, kind + tail)
        assert "set-cookie" not in answer.headers
        assert server.token.encode() not in answer.body
        asked += 1
    assert asked == FUZZED


@pytest.mark.parametrize("name", [b"\xff\xfe", b"..\x00", b"\xc3\x28.txt", b"..\\..\\secret.txt", b"%", b"%zz/../.."])
def test_bytes_that_are_no_url_lead_nowhere(server: Server, trap: int, name: bytes) -> None:
    lines = [
        b"GET /api/runs/%d/artifacts/output/%s HTTP/1.1" % (trap, name),
        b"Host: " + server.authority.encode(),
        b"Authorization: Bearer " + server.token.encode(),
        b"Connection: close",
    ]
    answered = send_raw(server, b"\r\n".join(lines) + b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 4\d\d ", answered), answered
    assert SECRET not in answered


def test_events_of_files_with_such_names_are_refused(served: Served, client: Client, trap: int) -> None:
    before = served.log.head()
    for name in ("", *OUT):
        body = {"kind": "output", "name": name, "size_bytes": 1, "sha256": "0" * 64}
        refused = client.post(f"/api/runs/{trap}/artifacts", body)
        assert (refused.status, refused.json["type"]) == (422, "urn:eventlog:InvalidName"), name
    assert served.log.head() == before
