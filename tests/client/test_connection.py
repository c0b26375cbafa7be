"""What can happen between a client and its server: kills, lost connections, silence, nonsense, a wrong token."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import eventlog
from eventlog import Append, UnknownEvent
from eventlog.app import Log
from eventlog.client.connection import Connection
from eventlog.config import in_force
from eventlog.errors import (
    EventTooLarge,
    InvalidInput,
    LogClosed,
    OutcomeUnknown,
    ServerUnreachable,
    StoreError,
)
from tests.client.support import TOKEN
from tests.helpers import Noted, assert_whole, eventually, in_threads, notes, numbers, thread
from tests.web.support import Server


def event(number: int) -> UnknownEvent:
    return UnknownEvent(tag="note.taken", data={"number": number})


# kills


def test_over_kills_of_the_server_keys_are_stored_once_and_a_follower_misses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    server = Server(str(path))
    monkeypatch.setenv("EVENTLOG_TOKEN_FILE", server.token_file)
    log, seen, stop = eventlog.open(server.url, timeout_s=20), [], threading.Event()

    def follow() -> None:
        seen.extend(record.position for record in log.follow(0, stop=stop))

    def append(number: int) -> None:
        while True:
            try:
                log.append(f"note-{number % 3}", event(number), key=f"k{number}")
                return
            except StoreError:
                time.sleep(0.02)

    def append_all(these: range) -> None:
        for number in these:
            append(number)

    def seen_above(count: int) -> bool:
        return len(seen) > count

    with thread(follow, 60):
        for round_ in range(2):
            first = round_ * 60
            with thread(partial(append_all, range(first, first + 60)), 60):
                eventually(partial(seen_above, first + 10))
                server.stop(signal.SIGKILL)
                server = Server(str(path), port=server.port)
        eventually(lambda: len(seen) >= 120)
        stop.set()
    log.close()
    server.stop()
    with eventlog.open(path) as local:
        assert_whole(local)
        records = list(local.read())
    assert sorted(record.key for record in records) == sorted(f"k{number}" for number in range(120))
    assert seen == list(range(1, 121))


def test_a_recorder_goes_on_without_the_server_and_what_waited_comes_in_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "log.db"
    server = Server(str(path))
    monkeypatch.setenv("EVENTLOG_TOKEN_FILE", server.token_file)
    with eventlog.open(server.url) as log:
        with log.runs.track("first", project="demo") as run:
            run.metric("loss", 0.5)
            assert run.save_output("x.txt", b"x") is None  # there is no folder for it here
            server.stop(signal.SIGKILL)
            run.note("in the dark")
        with log.runs.track("second") as second:
            assert second.run_id is None
        log.runs._sink.say()
        assert "wait in" in capsys.readouterr().err
    server = Server(str(path), port=server.port)
    with eventlog.open(server.url) as log:
        assert log.runs.import_spool().events == 4
        runs = log.runs.list()
        assert [(one.command, one.status) for one in runs] == [("second", "success"), ("first", "success")]
        assert runs[1].note == "in the dark"
        assert [metric.value for metric in log.runs.metrics(1)] == [0.5]
        assert log.runs.import_spool().events == 0
    server.stop()


# connections


def test_each_thread_keeps_one_connection_and_what_they_append_is_whole(log: Log, served: Log) -> None:
    opened: list[object] = []
    connection = log.server.connection  # type: ignore[attr-defined]
    connect = connection.connect
    connection.connect = lambda timeout_s: opened.append(connect(timeout_s)) or opened[-1]
    in_threads(6, lambda number: [log.append(f"note-{number}", Noted(number=one)) for one in range(20)])
    assert len(opened) == 6
    assert_whole(served)
    assert log.head() == served.head()


def test_a_read_asks_for_a_page_when_the_one_before_was_taken(
    log: Log, served: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 600_000
    for number in range(24):
        served.append("note-1", Noted(number=number, text="x" * size))
    served.append("note-2", notes(3000))
    asked: list[tuple[str, int]] = []
    request = Connection.request

    def spy(self: Connection, method: str, target: str, *args: object, **options: bool) -> object:
        answer = request(self, method, target, *args, **options)  # type: ignore[arg-type]
        asked.append((target, len(answer.body)))
        return answer

    monkeypatch.setattr(Connection, "request", spy)
    records = log.read_stream("note-2")
    next(records)
    assert len(asked) == 1
    assert numbers(records) == list(range(1, 3000))
    assert 4 <= len(asked) <= 8
    asked.clear()
    assert [len(record.event.text) for record in log.read(0, 24)] == [size] * 24  # type: ignore[union-attr]
    assert max(length for _, length in asked[2:]) < 8 << 20


def test_a_large_log_is_told_when_a_request_is_too_large(log: Log) -> None:
    many = [Append(stream=f"note-{number}", events=Noted(text="x" * 1_000_000)) for number in range(20)]
    with pytest.raises(EventTooLarge):
        log.append_many(many)
    assert log.head().position == 0
    log.append("note-1", Noted())
    with pytest.raises(InvalidInput, match="too much for one question"):
        next(log.read(streams=[f"note-{number}" for number in range(3000)]))


def test_closing_ends_followers_and_whatever_comes_after(log: Log) -> None:
    told: list[object] = []

    def follow() -> None:
        with pytest.raises(LogClosed):
            told.extend(log.follow())
        told.append("closed")

    with thread(follow):
        log.append("note-1", Noted())
        time.sleep(0.2)
        log.close()
    assert told[-1] == "closed"
    with pytest.raises(LogClosed):
        log.append("note-1", Noted())


def test_a_forked_child_has_connections_of_its_own(log: Log) -> None:
    log.append("note-1", Noted())
    pid = os.fork()
    if pid == 0:
        try:
            log.append("note-2", Noted())
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    log.append("note-1", Noted())
    assert log.head().position == 3


# servers that are none


Script = Callable[[socket.socket, bytes], bool]


@contextmanager
def answering(script: Script) -> Iterator[str]:
    """A server that reads a request and does with the connection what a script does; True: it goes on with it."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                while request := _request(connection):
                    if not script(connection, request):
                        return
            except OSError:
                return

    def accept() -> None:
        listener.settimeout(0.05)
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with thread(accept):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stop.set()
    listener.close()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while length is not None and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head


HEAD = b'{"position":0,"hash":"%s","recorded_at":0,"log_id":null}' % (b"0" * 64)


def http(body: bytes, status: str = "200 OK", kind: str = "application/json", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n".encode() + body


def scripted(answer: bytes) -> Script:
    """It opens well; then each request gets this answer, and the connection is closed."""

    def script(connection: socket.socket, request: bytes) -> bool:
        if request.startswith(b"GET /api/head") and b"as_of" not in request:
            connection.sendall(http(HEAD))
            return True
        # Told, it is not taken for one that goes on, however late its end is noticed.
        connection.sendall(answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        return False

    return script


HTML = b"<html><body>Bad gateway</body></html>"


@pytest.mark.parametrize(
    ("answer", "reading", "writing"),
    [
        (http(HTML, "502 Bad Gateway", "text/html"), ServerUnreachable, OutcomeUnknown),
        (http(HTML, "503 Service Unavailable", "text/html"), ServerUnreachable, ServerUnreachable),
        (http(HTML, "404 Not Found", "text/html"), ServerUnreachable, ServerUnreachable),
        (http(b"", "302 Found"), ServerUnreachable, ServerUnreachable),
        (http(HTML, kind="text/html"), ServerUnreachable, OutcomeUnknown),
        (http(b'{"some": "thing else"}'), ServerUnreachable, OutcomeUnknown),
        (http(b"[" * 100_000), ServerUnreachable, OutcomeUnknown),
        (http(b"[{]", length=500), ServerUnreachable, OutcomeUnknown),
        (b"SSH-2.0-OpenSSH_9.6\r\n", ServerUnreachable, OutcomeUnknown),
        (b"", ServerUnreachable, OutcomeUnknown),
    ],
    ids=["502", "503", "404", "302", "html", "other json", "deep", "cut short", "not http", "nothing"],
)
def test_an_answer_that_is_none_of_ours_is_told_in_a_line(
    answer: bytes, reading: type[Exception], writing: type[Exception]
) -> None:
    with answering(scripted(answer)) as url, eventlog.open(url) as log:
        with pytest.raises(StoreError) as caught:
            log.projections.status()
        assert type(caught.value) is reading
        assert url in str(caught.value) and "\n" not in str(caught.value)
        with pytest.raises(StoreError) as caught:
            log.append("note-1", Noted())
        assert type(caught.value) is writing


def test_what_can_be_asked_twice_is_asked_again_where_a_connection_is_lost() -> None:
    requests: list[bytes] = []

    def script(connection: socket.socket, request: bytes) -> bool:
        requests.append(request.partition(b" HTTP")[0])
        if request.startswith(b"GET /api/head"):
            connection.sendall(http(HEAD))
            return True
        if requests.count(requests[-1]) == 1:
            return False
        body = b'[{"first":1,"last":1,"version":1,"duplicate":true}]' if b"POST" in request else b"[]"
        connection.sendall(http(body))
        return True

    with answering(script) as url, eventlog.open(url) as log:
        assert log.projections.status() == []
        assert log.append("note-1", Noted(), key="k").duplicate
        assert requests[1:] == [b"GET /api/projections"] * 2 + [b"POST /api/events?durability=full"] * 2
        requests.clear()
        with pytest.raises(OutcomeUnknown, match="with a key"):
            log.append("note-1", Noted())
        assert len(requests) == 1


def test_a_connection_that_the_server_closed_meanwhile_is_made_anew() -> None:
    requests: list[bytes] = []

    def script(connection: socket.socket, request: bytes) -> bool:
        requests.append(request)
        connection.sendall(http(HEAD if b"GET" in request else b'[{"first":1,"last":1,"version":1,"duplicate":false}]'))
        return False

    with answering(script) as url, eventlog.open(url) as log:
        for number in range(3):
            time.sleep(0.05)
            assert log.append("note-1", Noted(number=number)).version == 1
    assert len(requests) == 4


def test_a_server_that_does_not_answer_is_given_up() -> None:
    def script(connection: socket.socket, request: bytes) -> bool:
        if request.startswith(b"GET /api/head"):
            connection.sendall(http(HEAD))
            return True
        time.sleep(2)
        return False

    with answering(script) as url, eventlog.open(url, timeout_s=0.3) as log:
        with pytest.raises(ServerUnreachable, match=r"did not answer within 0\.3 s"):
            log.projections.status()
        with pytest.raises(OutcomeUnknown, match=r"did not answer within 0\.3 s"):
            log.append("note-1", Noted(), key="k")


def test_where_nobody_listens_it_is_told_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerUnreachable, match=r"nothing was written. Is `eventlog serve` running\?"):
        eventlog.open(f"http://127.0.0.1:{port}")


# who may


def test_without_the_token_nothing_is_told(target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVENTLOG_TOKEN", "some-other-token-of-mine")
    with pytest.raises(ServerUnreachable, match="does not know this token") as caught:
        eventlog.open(target)
    assert "some-other" not in str(caught.value)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("EVENTLOG_TOKEN")
    with pytest.raises(ServerUnreachable, match="EVENTLOG_TOKEN_FILE"):
        eventlog.open(target)


def test_a_token_is_read_from_its_file(target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EVENTLOG_TOKEN")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = tmp_path / "a token"
    file.write_text(f"{TOKEN}\n")
    with eventlog.open(target, token_file=file) as log:
        address = log.store.address
        assert TOKEN not in repr(log.server) and TOKEN not in str(vars(log.store)) and TOKEN not in log.url  # type: ignore[attr-defined]
    assert address == f"{target}?token_file={tmp_path}/a%20token"
    eventlog.open(address).close()
    monkeypatch.setenv("EVENTLOG_TOKEN_FILE", str(file))
    with eventlog.open(target) as log:
        assert log.store.address == target
    file.write_text("two words")
    with pytest.raises(InvalidInput, match="is no token"):
        eventlog.open(target)
    with pytest.raises(InvalidInput, match="cannot be read"):
        eventlog.open(target, token_file=tmp_path / "nothing")
    with pytest.raises(InvalidInput, match="http://"):
        eventlog.open(tmp_path / "x.db", token_file=file)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="who listens is known on Linux alone")
def test_the_token_of_this_users_own_server_is_found(
    target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EVENTLOG_TOKEN")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "eventlog").mkdir()
    (tmp_path / "eventlog" / "log.db.token").write_text(TOKEN)
    eventlog.open(target).close()
    monkeypatch.setattr("eventlog.client.token.is_trusted", lambda owner: False)  # another user listens there
    with pytest.raises(ServerUnreachable, match="token"):
        eventlog.open(target)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:my-own-secret@localhost:8411",
        "http://my-own-secret@localhost:8411",
        "http://localhost:8411?token=my-own-secret",
        "http://localhost:8411/?access_token=my-own-secret",
        "http://localhost:8411#my-own-secret",
    ],
)
def test_a_token_in_the_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="a token does not belong in it") as caught:
        eventlog.open(url)
    assert "my-own-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_"),
    [
        ("http://127.0.0.1:8411", "http://127.0.0.1:8411"),
        ("HTTP://LocalHost:8411/", "http://localhost:8411"),
        ("http://localhost:8411/api", "http://localhost:8411"),
        ("https://log.example.com", "https://log.example.com"),
        ("http://[::1]:8411/api/", "http://[::1]:8411"),
    ],
)
def test_urls_of_servers(url: str, is_: str) -> None:
    place = in_force(url, {"EVENTLOG_TOKEN": "my-own-secret"}).place
    assert (place.kind, place.masked, str(place)) == ("http", is_, is_)
    assert "my-own-secret" not in repr(place)


@pytest.mark.parametrize("url", ["http://", "http:///api", "http://h/x", "http://h:0", "http://h:99999", "http://a b"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidInput):
        in_force(url, {})


def test_the_configuration_shows_who_says_what_and_no_token() -> None:
    found = in_force(None, {"EVENTLOG_URL": "http://h:1", "EVENTLOG_TOKEN": "my-own-secret"})
    assert [(one.name, one.value, one.source) for one in found.settings] == [
        ("type", "http", "variable EVENTLOG_URL"),
        ("url", "http://h:1", "variable EVENTLOG_URL"),
        ("token", "***", "variable EVENTLOG_TOKEN"),
    ]
    found = in_force("http://h:1?token_file=/t", {"EVENTLOG_TOKEN": "my-own-secret"})
    assert ("token_file", "/t", "argument") in [(one.name, one.value, one.source) for one in found.settings]
    assert found.place.remote is not None and found.place.remote.token is None
