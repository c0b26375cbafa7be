"""MLflow with its SQLite store, through `MlflowClient` in this process (no server).

A run logged is, on both sides: start with a name and two tags, one metric, end; three calls, each durable. MLflow's
SQLite runs with its default rollback journal. Of the 100,000 runs to list, MLflow's are filled in by SQL: copies of the
very rows that its API wrote for the first one (that many calls would take half an hour). Ours are appended as events.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.harness import Figure, interleave
from benchmarks.logs import Bench, opened
from benchmarks.peers.comparing import latencies, rates

AGAINST = "MLflow"
LAST = 50


def run(bench: Bench) -> Iterator[Figure]:
    """Runs logged a second, and listing the last 50 that failed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow.tracking import MlflowClient

    path = bench.fresh("mlflow")
    client = MlflowClient(tracking_uri=f"sqlite:///{path}")
    experiment = client.create_experiment("benchmark", artifact_location=str(path.parent / "artifacts"))
    yield _logged(bench, client, experiment)
    yield _listed(bench, client, experiment, path)


def _logged(bench: Bench, client: Any, experiment: str) -> Figure:
    count = max(20, bench.size.singles // 10)
    numbers = iter(range(count))
    with opened(bench.fresh("ours"), "inline") as log:

        def ours() -> None:
            run = log.runs.start("train.py", program="train.py", tags={"team": "data", "owner": "anna"})
            log.runs.metric(run.run_id, "loss", 0.25, step=1)
            log.runs.finish_success(run.run_id)

        def peer() -> None:
            run = client.create_run(experiment, run_name=f"run {next(numbers)}", tags={"team": "data", "owner": "anna"})
            client.log_metric(run.info.run_id, "loss", 0.25, step=1)
            client.set_terminated(run.info.run_id, "FINISHED")

        ours_taken, peer_taken = interleave(count, ours, peer)
    return rates("mlflow.runs", "runs logged: start, one metric, end (p50)", AGAINST, 1, ours_taken, peer_taken)


def _listed(bench: Bench, client: Any, experiment: str, path: Path) -> Figure:
    runs = bench.size.listed_runs
    _fill(path, runs)
    with opened(bench.listed(runs)) as log:

        def ours() -> int:
            return len(log.runs.list(status="fail", limit=LAST))

        def peer() -> int:
            found = client.search_runs(
                [experiment],
                filter_string="attributes.status = 'FAILED'",
                max_results=LAST,
                order_by=["attributes.start_time DESC"],
            )
            return len(found)

        if ours() != LAST or peer() != LAST:
            raise SystemExit("the two lists are not of one length")
        ours_taken, peer_taken = interleave(bench.size.queries, ours, peer)
    what = f"list the last {LAST} of {runs:,} runs that failed"
    return latencies("mlflow.list", what, AGAINST, ours_taken, peer_taken)


def _fill(path: Path, runs: int) -> None:
    """Copies of the rows of the first run, with ids, times, values and states of their own: one in ten failed."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    (first,) = connection.execute("SELECT run_uuid FROM runs LIMIT 1").fetchone()
    random = Random(1)
    fresh = [
        (uuid.UUID(int=random.getrandbits(128)).hex, number, "FAILED" if random.random() < 0.1 else "FINISHED")
        for number in range(runs)
    ]
    for table in ("runs", "tags", "metrics", "latest_metrics"):
        rows = connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (first,))
        names = [column[0] for column in rows.description]
        insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        for template in rows.fetchall():
            values = dict(zip(names, template, strict=True))
            connection.executemany(insert, (tuple(_changed(values, *one).values()) for one in fresh))
    connection.execute("COMMIT")
    connection.close()


def _changed(values: dict[str, Any], run_uuid: str, number: int, status: str) -> dict[str, Any]:
    row = {**values, "run_uuid": run_uuid}
    for column in ("start_time", "end_time", "timestamp"):
        if column in row:
            row[column] += number * 5_000
    if "status" in row:
        row |= {"status": status, "name": f"run {number}"}
    return row
