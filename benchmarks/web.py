"""The HTTP interface, served by a real `eventlog serve`: appends over many connections, and live events."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from benchmarks.harness import Figure, Timing
from benchmarks.logs import Bench

CLIENTS, CONNECTIONS = 2, 8
"""Processes, and connections of each."""
TOKEN = "benchmark-token-of-sufficient-length"


def run(bench: Bench) -> Iterator[Figure]:
    """Appends a second from 16 connections, the latency of live events, and a page of the history."""
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        print("  left out: pip install 'execution-eventlog[web]'", file=sys.stderr)
        return
    with _served(bench.fresh("web")) as port:
        yield _appends(port, bench.size.process_seconds)
        yield _live(port, min(200, bench.size.singles))
    with _served(bench.finished()) as port:
        yield from _history(port, bench.size.queries)


@contextmanager
def _served(path: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "eventlog", "--db", str(path), "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        env={**os.environ, "EVENTLOG_TOKEN": TOKEN},
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield int(line.split("://")[1].split("/")[0].rsplit(":", 1)[1])
    finally:
        process.terminate()
        process.wait(timeout=30)


def _appends(port: int, seconds: float) -> Figure:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(CLIENTS)
    done: Queue[list[float]] = context.Queue()
    processes = [
        context.Process(target=_append, args=(port, number, seconds, barrier, done)) for number in range(CLIENTS)
    ]
    for process in processes:
        process.start()
    taken = Timing([one for _ in processes for one in done.get(timeout=seconds + 120)])
    for process in processes:
        process.join()
    return Figure(
        id="web.appends",
        what=f"append over HTTP, one durable event a request, {CLIENTS * CONNECTIONS} connections",
        unit="events/s",
        ours=len(taken.seconds) / seconds,
        bar=1_000,
        on_value=True,
        detail=f"p50 {taken.median * 1e3:.1f} ms, p99 {taken.quantile(0.99) * 1e3:.1f} ms",
    )


def _append(port: int, number: int, seconds: float, barrier: Barrier, done: Queue[list[float]]) -> None:
    """In a process of its own: several connections, each with its own thread."""
    taken: list[float] = []

    def write(connection: int) -> None:
        stream = f"web-{number}-{connection}"
        body = json.dumps({"stream": stream, "type": "web.done", "data": {"text": "x" * 100}}).encode()
        head = (
            f"POST /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        with socket.create_connection(("127.0.0.1", port)) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end = time.perf_counter() + seconds
            while (started := time.perf_counter()) < end:
                wire.sendall(head + body)
                answer = wire.recv(65536)
                assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), answer
                taken.append(time.perf_counter() - started)

    threads = [threading.Thread(target=write, args=(connection,)) for connection in range(CONNECTIONS)]
    barrier.wait()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.put(taken)


def _live(port: int, count: int) -> Figure:
    """From the moment an append is sent to its event in another client's stream."""
    sent: dict[str, float] = {}
    taken: list[float] = []
    events = http.client.HTTPConnection("127.0.0.1", port)
    events.request("GET", "/api/events/stream?types=web.live", headers={"Authorization": f"Bearer {TOKEN}"})
    stream = events.getresponse()

    def listen() -> None:
        while len(taken) < count:
            line = stream.readline()
            if line.startswith(b"data:"):
                seen = time.perf_counter()
                taken.append(seen - sent[json.loads(line[5:])["data"]["number"]])

    listener = threading.Thread(target=listen)
    listener.start()
    writer = http.client.HTTPConnection("127.0.0.1", port)
    for number in range(count):
        body = json.dumps({"stream": "web-live", "type": "web.live", "data": {"number": str(number)}})
        sent[str(number)] = time.perf_counter()
        writer.request("POST", "/api/events", body, {"Authorization": f"Bearer {TOKEN}"} | _JSON)
        writer.getresponse().read()
        time.sleep(0.02)
    listener.join(timeout=30)
    return Figure(
        id="web.live",
        what="an append over HTTP to its event in another client's stream, p50",
        unit="ms",
        ours=Timing(taken).median * 1e3,
        bar=60,
        sense="<=",
        on_value=True,
        detail=f"p99 {Timing(taken).quantile(0.99) * 1e3:.0f} ms",
    )


_JSON = {"Content-Type": "application/json"}


def _history(port: int, queries: int) -> Iterator[Figure]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(query: str) -> dict[str, object]:
        connection.request("GET", f"/api/jobs/history?limit=50{query}", headers={"Authorization": f"Bearer {TOKEN}"})
        page: dict[str, object] = json.loads(connection.getresponse().read())
        return page

    jobs = ask("&offset=0")
    middle = ask(f"&offset={int(str(jobs['total'])) // 2}")["jobs"]
    assert isinstance(middle, list)
    for name, what, query in (
        ("first", "the first page", ""),
        ("cursor", "a page half-way, by cursor", f"&before={middle[0]['job_id']}"),
    ):
        taken = []
        for _ in range(queries):
            started = time.perf_counter()
            ask(query)
            taken.append(time.perf_counter() - started)
        yield Figure(
            id=f"web.history.{name}",
            what=f"history of {jobs['total']:,} jobs over HTTP, 50 a page: {what}, p50",
            unit="ms",
            ours=Timing(taken).median * 1e3,
            bar=10,
            sense="<=",
            on_value=True,
        )
