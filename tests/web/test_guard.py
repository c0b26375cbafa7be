"""What stands before every operation: host, origin, token, sizes, times, and errors that tell no secret."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventlog import errors
from eventlog.web.access import check_address, read_token
from eventlog.web.problems import STATUSES, answer, status_of
from tests.web.support import Client, Server, read_all, send_raw

HURRIED_S = 1.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose clients have to hurry, and that is known by another name too."""
    folder = tmp_path_factory.mktemp("guarded")
    options = ("--request-timeout", str(HURRIED_S), "--allow-host", "log.example", "--allow-host", "other.example:8443")
    served = Server(str(folder / "log.db"), *options)
    yield served
    served.stop()


def request(server: Server, *lines: str, token: bool = True, host: bool = True, body: bytes = b"") -> bytes:
    """A request, put together by hand."""
    head = [lines[0]]
    head += [f"Host: {server.authority}"] if host else []
    head += [f"Authorization: Bearer {server.token}"] if token else []
    head += [*lines[1:], "Connection: close", "", ""]
    return "\r\n".join(head).encode() + body


def status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1])


def test_health_needs_no_token(client: Client) -> None:
    assert client.get("/healthz", authorization="").json == {"ready": True, "problems": []}
    assert client.get("/readyz", authorization="").json == {"ready": True, "problems": []}


@pytest.mark.parametrize(
    "path", ["/api/head", "/api/jobs/history", "/api/openapi.json", "/metrics", "/nothing", "/api/events/stream"]
)
@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic {token}", "Bearer", "Bearer {token}x", "Bearer ünï"])
def test_without_the_token_nothing_is_told(server: Server, client: Client, path: str, given: str) -> None:
    refused = client.get(path, authorization=given.format(token=server.token))
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert server.token not in refused.body.decode()


def test_without_the_token_nothing_is_written(server: Server) -> None:
    client = Client(server)
    before = client.get("/api/head").json
    event = {"stream": "note-1", "type": "note.taken"}
    assert client.post("/api/events", event, authorization="Bearer no").status == 401
    client.close()
    assert client.get("/api/head").json == before
    client.close()


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "localhost", "127.0.0.1:1", "localhost:{port}.evil.example",
     "127.0.0.2:{port}", "[::2]:{port}", "other.example", "", "localhost:{port}, evil.example"],
)  # fmt: skip
def test_another_host_is_refused_before_anything_else(server: Server, host: str) -> None:
    given = host.format(port=server.port)
    raw = send_raw(server, request(server, "GET /healthz HTTP/1.1", f"Host: {given}", host=False))
    assert status(raw) == 421


@pytest.mark.parametrize(
    "host",
    ["LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "log.example", "log.example:{port}", "other.example:8443"],
)
def test_names_of_this_server_are_answered(server: Server, client: Client, host: str) -> None:
    assert client.get("/api/head", host=host.format(port=server.port)).status == 200


def test_no_host_or_two_are_refused(server: Server) -> None:
    assert status(send_raw(server, request(server, "GET /healthz HTTP/1.1", host=False))) == 400
    assert status(send_raw(server, request(server, "GET /healthz HTTP/1.0", host=False))) == 421
    two = request(server, "GET /healthz HTTP/1.1", "Host: evil.example")
    assert status(send_raw(server, two)) in (400, 421)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost", "http://localhost:1", "file://", "x"]
)
def test_pages_of_other_origins_cannot_write(server: Server, origin: str) -> None:
    client = Client(server)
    event = {"stream": "note-1", "type": "note.taken"}
    refused = client.post("/api/events", event, origin=origin)
    assert refused.status == 403
    assert "access-control-allow-origin" not in refused.headers
    client.close()


def test_pages_of_this_origin_can_write(server: Server, client: Client) -> None:
    event = {"stream": "note-1", "type": "note.taken"}
    for origin in (f"http://127.0.0.1:{server.port}", f"http://localhost:{server.port}", "https://log.example"):
        assert client.post("/api/events", event, origin=origin).status == 201


def test_no_page_may_ask_whether_it_may(client: Client) -> None:
    asked = client.request("OPTIONS", "/api/events", origin="http://evil.example", access_control_request_method="POST")
    assert asked.status == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/healthz", "/api/head", "/api/nothing", "/metrics"])
def test_every_answer_has_the_headers(client: Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


def test_a_form_cannot_write(client: Client) -> None:
    body = json.dumps({"stream": "note-1", "type": "note.taken"}).encode()
    for media in ("application/x-www-form-urlencoded", "text/plain", ""):
        refused = client.request("POST", "/api/events", body, content_type=media)
        assert refused.status == 415


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"nul", b'{"stream": "a-1", "type": "note.taken", "data": {"x": NaN}}', b"\xff\xfe",
     b'{"stream":"\xff"}', b'{"stream":"a-1","type":"note.taken"}{"stream":"a-1"}'],
)  # fmt: skip
def test_malformed_json_is_refused(client: Client, body: bytes) -> None:
    refused = client.request("POST", "/api/events", body)
    assert refused.status == 400, refused
    assert refused.json["type"].startswith("urn:eventlog:")


@pytest.mark.parametrize("depth", [1_100, 100_000, 2_000_000])
def test_deep_json_is_refused(client: Client, depth: int) -> None:
    deep = b'{"stream":"a-1","type":"note.taken","data":{"x":' + b"[" * depth + b"]" * depth + b"}}"
    refused = client.request("POST", "/api/events", deep)
    assert refused.status in (400, 422), refused
    assert "deep" in refused.json["detail"]
    job = b'{"kind":"k","args":{"x":' + b"[" * depth + b"]" * depth + b"}}"
    assert client.request("POST", "/api/jobs", job).status in (400, 422)


def test_a_lone_surrogate_is_refused(client: Client) -> None:
    body = b'{"stream":"a-1","type":"note.taken","data":{"x":"\\ud800"}}'
    assert client.request("POST", "/api/events", body).status in (400, 422)


def test_a_body_that_says_that_it_is_too_large_is_refused(server: Server) -> None:
    begun = time.monotonic()
    head = request(server, "POST /api/events HTTP/1.1", "Content-Type: application/json", f"Content-Length: {1 << 40}")
    raw = send_raw(server, head)
    assert status(raw) == 413
    assert b"application/problem+json" in raw
    assert time.monotonic() - begun < 5


def test_a_body_that_turns_out_too_large_is_refused(server: Server) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    head = request(server, "POST /api/events HTTP/1.1", "Content-Type: application/json", "Transfer-Encoding: chunked")
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(head)
        for _ in range(17):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        assert status(read_all(connection)) == 413


def test_headers_that_never_end_are_refused(server: Server) -> None:
    raw = send_raw(server, f"GET /healthz HTTP/1.1\r\nHost: {server.authority}\r\nX: {'x' * 100_000}".encode())
    assert status(raw) == 400


@pytest.mark.parametrize("begun", ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nHost: {authority}\r\nX-Slow: "])
def test_headers_that_do_not_come_end_the_connection(server: Server, begun: str) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(begun.format(authority=server.authority).encode())
        start = time.monotonic()
        assert connection.recv(1000) == b""
        assert time.monotonic() - start < HURRIED_S + 3


def test_headers_that_trickle_in_end_the_connection(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < start + HURRIED_S + 5:
                connection.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - start < HURRIED_S + 3


def test_a_body_that_does_not_come_is_not_waited_for(server: Server) -> None:
    head = request(server, "POST /api/events HTTP/1.1", "Content-Type: application/json", "Content-Length: 100")
    raw = send_raw(server, head + b'{"stream"')
    assert status(raw) == 408
    assert b"too long" in raw


def test_a_client_that_goes_away_half_way_does_no_harm(server: Server, client: Client) -> None:
    head = request(server, "POST /api/events HTTP/1.1", "Content-Type: application/json", "Content-Length: 100")
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(head + b"{")
    assert client.get("/healthz").status == 200


@pytest.mark.parametrize(
    "raw", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 50 + b"\r\n\r\n"]
)
def test_what_is_no_http_is_refused(server: Server, client: Client, raw: bytes) -> None:
    assert send_raw(server, raw, wait_s=3)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 421", b"")
    assert client.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/api/nothing", 404), ("GET", "/", 404), ("GET", "/api/head/", 404), ("DELETE", "/api/head", 405),
     ("PUT", "/api/events", 405), ("TRACE", "/api/head", 405), ("GET", "/api/../healthz", 404),
     ("GET", "/api/runs/%ff", 404)],
)  # fmt: skip
def test_what_is_not_there(client: Client, method: str, path: str, expected: int) -> None:
    refused = client.request(method, path)
    assert refused.status == expected
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json["status"] == expected
    client.close()


def test_head_is_get_without_the_body(client: Client) -> None:
    got, asked = client.get("/api/head"), client.request("HEAD", "/api/head")
    assert asked.body == b""
    assert asked.headers["content-length"] == got.headers["content-length"]
    assert asked.headers["etag"] == got.headers["etag"]


def test_a_body_where_none_belongs_is_refused(client: Client) -> None:
    assert client.request("GET", "/api/head", b"{}").status == 400
    assert client.request("DELETE", "/api/jobs/x", b"{}").status == 400


def test_every_error_has_a_status_and_tells_no_path() -> None:
    for name, cls in vars(errors).items():
        if (
            isinstance(cls, type)
            and issubclass(cls, errors.EventLogError)
            and name != "WrongExpectedVersion"
            and name != "KeyReused"
        ):
            code, body, _ = answer(cls("it is at /srv/secret/log.db"), hidden="/srv/secret/log.db")
            assert 400 <= code < 600
            assert b"/srv/secret" not in body, name
    assert set(STATUSES) <= {cls for cls in vars(errors).values() if isinstance(cls, type)}
    assert status_of(errors.LogBusy()) == 503
    assert answer(errors.LogBusy())[2] == {"retry-after": "1"}


def test_an_error_that_nobody_foresaw_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    code, body, _ = answer(ValueError("secret"))
    assert code == 500
    assert b"secret" not in body
    assert "secret" in caplog.text


# starting


def refused_start(tmp_path: Path, *options: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "eventlog", "--db", str(tmp_path / "log.db"), "serve", "--port", "0", *options],
        capture_output=True, text=True, timeout=30, env={**os.environ, **(env or {})},
    )  # fmt: skip
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_token_is_kept_in_a_private_file(server: Server) -> None:
    path = Path(server.token_file)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == "log.db.token"
    assert len(server.token) >= 32


def test_no_folder_is_made_for_the_file_of_a_token(tmp_path: Path) -> None:
    assert "there is no folder" in refused_start(tmp_path, "--token-file", str(tmp_path / "typo" / "token"))
    assert not (tmp_path / "typo").exists()


def test_a_token_that_others_know_or_guess_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x" * 40)
    path.chmod(0o644)
    assert "others can read" in refused_start(tmp_path, "--token-file", str(path))
    path.chmod(0o600)
    assert read_token(path, {}) == ("x" * 40, path)
    path.write_text("short")
    (tmp_path / "link").symlink_to(path)
    for file, told in ((path, "at least 16"), (tmp_path / "link", "cannot be read"), (tmp_path, "no file")):
        with pytest.raises(errors.InvalidInput, match=told):
            read_token(file, {})
    with pytest.raises(errors.InvalidInput, match="EVENTLOG_TOKEN"):
        read_token(path, {"EVENTLOG_TOKEN": "short"})


def test_an_address_that_others_reach_is_refused_in_clear(tmp_path: Path) -> None:
    assert "--ssl-certfile" in refused_start(tmp_path, "--host", "0.0.0.0")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(errors.InvalidInput, match="--behind-proxy"):
            check_address(host, tls=False, behind_proxy=False)
        check_address(host, tls=True, behind_proxy=False)
        check_address(host, tls=False, behind_proxy=True)
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_address(host, tls=False, behind_proxy=False)
    (tmp_path / "no.pem").write_text("no certificate")
    assert "certificate" in refused_start(tmp_path, "--host", "0.0.0.0", "--ssl-certfile", str(tmp_path / "no.pem"))


def test_a_port_that_is_taken_is_told(server: Server, tmp_path: Path) -> None:
    assert "--port 0" in refused_start(tmp_path, "--port", str(server.port))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls_is_spoken_on_any_address(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    options = ("--host", "0.0.0.0", "--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    server = Server(str(tmp_path / "log.db"), *options)
    assert server.url.startswith("https://")
    context = ssl.create_default_context(cafile=str(certificate))
    connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=10)
    connection.request("GET", "/api/head", headers={"authorization": f"Bearer {server.token}"})
    with connection.getresponse() as response:
        assert response.status == 200
        response.read()
    connection.close()
    assert server.stop() == 0


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['uvicorn'] = None; from eventlog.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, "--db", str(tmp_path / "log.db"), "serve"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: serving needs pip install 'execution-eventlog[web]'\n")
    assert not list(tmp_path.iterdir())
