"""A real server process, and a plain client to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 20


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Server:
    """`eventlog serve` on a log, as a process of its own."""

    def __init__(self, target: str | None, *options: str, port: int = 0, env: dict[str, str] | None = None) -> None:
        place = [] if target is None else ["--db", target]
        command = [sys.executable, "-m", "eventlog", *place, "serve", "--port", str(port), *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        found = re.search(r"(https?)://(\[[\w:.]+\]|[\w.]+):(\d+)/api", first)
        assert found is not None, f"{first}{self.process.communicate(timeout=10)}"
        second = self.process.stdout.readline()
        self.host, self.port = found[2], int(found[3])
        self.url = f"{found[1]}://{self.host}:{self.port}"
        self.token_file = re.search(r"token is in (.*?);", second)[1]  # type: ignore[index]
        self.token = (env or {}).get("EVENTLOG_TOKEN") or Path(self.token_file).read_text().strip()

    @property
    def authority(self) -> str:
        """What stands in ``Host``."""
        return f"{self.host}:{self.port}"

    def stop(self, sig: int = signal.SIGTERM, timeout_s: float = 10) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(sig)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 10) -> int:
        """Wait for the end; the exit status."""
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()


class Client:
    """One connection that is kept alive."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask; a body that is no bytes is sent as JSON. ``headers``: names with ``_`` for ``-``; "" leaves one out."""
        sent = {"authorization": f"Bearer {self.server.token}"}
        if body is not None:
            sent["content-type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request(method, path, data, {name: value for name, value in sent.items() if value})
        with self.connection.getresponse() as response:
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST."""
        return self.request("POST", path, body, **headers)

    def made(self, path: str, body: Any = None) -> Any:
        """POST, and what came of it; it has to succeed."""
        answer = self.post(path, body)
        assert answer.status in (200, 201, 204), answer
        return answer.json if answer.body else None

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Followed(NamedTuple):
    """An event of a stream."""

    id: int
    record: dict[str, Any]


class Follower:
    """A client of Server-Sent Events."""

    def __init__(
        self, server: Server, query: str = "", last_id: int | None = None, path: str = "/api/events/stream"
    ) -> None:
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_S)
        headers = {"authorization": f"Bearer {server.token}", "accept": "text/event-stream"}
        if last_id is not None:
            headers["last-event-id"] = str(last_id)
        self.connection.request("GET", f"{path}{query and '?'}{query}", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.getheader("content-type") == "text/event-stream"

    def __iter__(self) -> Iterator[Followed]:
        """Events as they come; ends when the server ends the stream or is gone."""
        position, data = 0, []
        while True:
            try:
                line = self.response.readline().decode()
            except (OSError, http.client.HTTPException):
                return
            if not line:
                return
            if line == "\n":
                if data:
                    yield Followed(position, json.loads("\n".join(data)))
                data = []
            elif line.startswith("id: "):
                position = int(line[4:])
            elif line.startswith("data: "):
                data.append(line[6:].rstrip("\n"))

    def take(self, count: int) -> list[Followed]:
        """So many events."""
        found = []
        for one in self:
            found.append(one)
            if len(found) == count:
                break
        return found

    def close(self) -> None:
        """Go away."""
        self.connection.close()
        self.response.close()


def send_raw(server: Server, data: bytes, *, wait_s: float = 10) -> bytes:
    """Send bytes as they are; everything that comes back until the server closes, or until it is silent."""
    with socket.create_connection((server.host, server.port), timeout=wait_s) as connection:
        connection.sendall(data)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes, or is silent."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except (TimeoutError, ConnectionResetError):
        pass
    return b"".join(parts)


def wait_until(true: Any, timeout_s: float = 10) -> None:
    """Wait until something holds."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
