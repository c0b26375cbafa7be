"""`/metrics`: what a monitoring system scrapes, in the text format of Prometheus 0.0.4."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eventlog import maintenance
from eventlog.app import Log
from eventlog.clock import now_us
from eventlog.errors import EventLogError
from eventlog.store.base import Filter
from projections.jobs import projections as _jobs

if TYPE_CHECKING:
    from eventlog.web.service import Service

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
APPEND = ("POST", "/api/events")
OUTCOMES = {201: "stored", 409: "conflict", 413: "too_large", 422: "invalid", 503: "busy", 507: "disk_full"}
JOBS = _jobs[0]
FOREVER = 2**62
MOST_PRIORITIES = 20
Labels = Mapping[str, object]
Sample = tuple[str, Labels, float]


class Metrics:
    """What happened since the start. Used by the event loop alone."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.times: dict[tuple[str, str], list[int]] = {}
        self.seconds: Counter[tuple[str, str]] = Counter()

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        key = (method if method in ("GET", "HEAD", "POST", "PATCH", "DELETE") else "other", route)
        self.requests[*key, status] += 1
        self.times.setdefault(key, [0] * (len(BOUNDS_S) + 1))[bisect_left(BOUNDS_S, seconds)] += 1
        self.seconds[key] += seconds  # type: ignore[assignment]


def render(service: Service) -> bytes:
    """Everything that is measured. Runs in a thread: it asks the log."""
    lines: list[str] = []
    families = list(_of_requests(service))
    try:
        families += [_one("eventlog_up", "gauge", "1 where the log can be read.", 1), *_of_log(service.log)]
    except EventLogError:
        families.append(_one("eventlog_up", "gauge", "1 where the log can be read.", 0))
    for name, kind, text, samples in families:
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += [f"{sample}{_labels(labels)} {value:g}" if value % 1 else f"{sample}{_labels(labels)} {int(value)}"
                  for sample, labels, value in samples]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


Family = tuple[str, str, str, Iterable[Sample]]


def _of_requests(service: Service) -> Iterator[Family]:
    metrics = service.metrics
    requests = dict(metrics.requests)
    name = "eventlog_http_requests_total"
    yield (
        name,
        "counter",
        "Requests by route and status.",
        [
            (name, {"method": method, "route": route, "status": status}, count)
            for (method, route, status), count in sorted(requests.items())
        ],
    )
    yield "eventlog_http_request_seconds", "histogram", "How long requests took.", list(_histogram(service))
    outcomes: Counter[str] = Counter(dict.fromkeys((*OUTCOMES.values(), "refused", "failed"), 0))
    for (method, route, status), count in requests.items():
        if (method, route) == APPEND:
            outcomes[OUTCOMES.get(status, "failed" if status >= 500 else "refused")] += count
    name = "eventlog_http_appends_total"
    yield (
        name,
        "counter",
        "Appends over HTTP by outcome.",
        [(name, {"outcome": outcome}, count) for outcome, count in outcomes.items()],
    )
    name = "eventlog_http_followers"
    yield name, "gauge", "Clients that follow the log now.", [(name, {}, service.watcher.followers)]


def _histogram(service: Service) -> Iterator[Sample]:
    metrics = service.metrics
    name = "eventlog_http_request_seconds"
    for (method, route), bins in sorted(metrics.times.copy().items()):
        labels = {"method": method, "route": route}
        total = 0
        for bound, count in zip((*BOUNDS_S, "+Inf"), list(bins), strict=True):
            total += count
            yield f"{name}_bucket", {**labels, "le": bound}, total
        yield f"{name}_sum", labels, metrics.seconds[method, route]
        yield f"{name}_count", labels, total


def _of_log(log: Log) -> Iterator[Family]:
    began = time.perf_counter()
    head = log.head()
    took = time.perf_counter() - began
    yield _one("eventlog_head_position", "gauge", "The version of the log: its last position.", head.position)
    yield _one("eventlog_events_total", "counter", "Events in the log.", head.position)
    yield _one("eventlog_head_recorded_seconds", "gauge", "When the last event was recorded.", head.recorded_at / 1e6)
    yield _one("eventlog_read_seconds", "gauge", "How long it took to ask for the head just now.", took)
    status = log.projections.status(counted=False)
    name = "eventlog_projection_lag"
    yield (
        name,
        "gauge",
        "Positions that a projection is behind the head.",
        [(name, {"projection": one.name}, one.lag) for one in status if one.lag is not None],
    )
    name = "eventlog_projection_live"
    yield (
        name,
        "gauge",
        "1 where a projection is live: neither pinned, failed nor old.",
        [(name, {"projection": one.name}, one.state == "live") for one in status],
    )
    if "jobs" in log.projections.names():
        yield from _of_jobs(log)
    yield from _of_database(log)


def _of_jobs(log: Log) -> Iterator[Family]:
    name = "eventlog_jobs"
    counts = log.jobs.counts(("status", "queue"))
    yield (
        name,
        "gauge",
        "Jobs in the tables by status and queue.",
        [(name, {"status": status, "queue": queue}, jobs) for (status, queue), jobs in counts.items()],
    )
    now = now_us()
    waiting = [queue for (status, queue), jobs in counts.items() if status == "queued" and jobs]
    ages = {queue: age for queue in waiting if (age := oldest_us(log, queue, now)) is not None}
    name = "eventlog_jobs_oldest_waiting_seconds"
    yield (
        name,
        "gauge",
        "How long the oldest job of a queue could have begun.",
        [(name, {"queue": queue}, age / 1e6) for queue, age in ages.items()],
    )
    silences = log.workers.silences()
    running = log.workers.list(status="running", limit=None)
    live = sum(1 for worker in running if silences.get(worker.worker_id, FOREVER) <= worker.lease_us)
    yield _one("eventlog_workers_live", "gauge", "Workers that said within their lease that they live.", live)


def oldest_us(log: Log, queue: str, now: int) -> int | None:
    """How long, µs, the job of a queue that could have begun first has been waiting; None where none can begin yet."""
    where = [Filter("queue", "=", queue), Filter("ready_at", ">", -FOREVER)]
    first: list[int] = []
    above: list[Filter] = []
    # By index: within a priority jobs stand in the order of their time.
    with log.reader() as reader:
        for _ in range(MOST_PRIORITIES):
            order = ("priority", "ready_at", "job_id")
            found = reader.select(JOBS.table, [*where, *above], order=order, limit=1)
            if not found:
                break
            first.append(found[0].ready_at)
            above = [Filter("priority", ">", found[0].priority)]
    ready = [at for at in first if at <= now]
    return now - min(ready) if ready else None


def _of_database(log: Log) -> Iterator[Family]:
    if log.path is not None:
        size = sum(path.stat().st_size for path in (log.path, log.path.with_name(f"{log.path.name}-wal"))
                   if path.exists())  # fmt: skip
        yield _one("eventlog_database_bytes", "gauge", "Size of the database.", size)
    if log.store.kind != "postgresql":
        return
    try:
        status: dict[str, Any] = maintenance.status(log)
    except EventLogError:
        return  # a login that may not ask; what was told above stands
    yield _one("eventlog_database_bytes", "gauge", "Size of the database.", status["size_bytes"])
    pool = status["pool"]
    yield _one("eventlog_pool_size", "gauge", "Connections that the pool keeps.", pool["size"])
    yield _one("eventlog_pool_in_use", "gauge", "Connections of the pool that are in use.", pool["checked_out"])
    name = "eventlog_database_connections"
    yield (
        name,
        "gauge",
        "Connections to the database by all programs.",
        [(name, {"state": state}, count) for state, count in status["connections"].items()],
    )
    yield _one("eventlog_database_deadlocks_total", "counter", "Deadlocks of the database.", status["deadlocks"])
    yield _one(
        "eventlog_database_query_seconds_total",
        "counter",
        "How long the database has been at work on statements of all programs.",
        status["query_time_s"],
    )
    yield _one(
        "eventlog_database_transactions_total",
        "counter",
        "Transactions of the database; a question is one.",
        status["transactions"],
    )
    name = "eventlog_table_bytes"
    yield (
        name,
        "gauge",
        "Size of a table with its indexes.",
        [
            (name, {"table": table}, one["table_bytes"] + one["index_bytes"])
            for table, one in status["tables"].items()
            if one["table_bytes"] is not None
        ],
    )


def _one(name: str, kind: str, text: str, value: float) -> Family:
    return name, kind, text, [(name, {}, value)]


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(str(value))}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
