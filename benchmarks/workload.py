"""Mixed histories: what a busy machine's log looks like. The same seed gives the same events, byte for byte.

About two dozen runs are under way at any time, each a stream of its own, of eight projects with three programs each. Of
all events 30 % are run.started, run.finished and run.lost; the rest are metrics, messages, captured output, artifacts,
tags, notes, parameters, corrections, a few deletions, projects added and updated, and two types of the user's own in
streams of their own. On average about 250 bytes of JSON an event: 700 for a start with everything captured, 75 for a
metric. Simulated time runs 2 s an event, so a million events span 23 days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from random import Random
from typing import Any, NamedTuple

from eventlog.events import Event
from eventlog.events.projects import ProjectAdded, ProjectUpdated
from eventlog.events.runs import (
    RunArtifactSaved,
    RunDeleted,
    RunFinished,
    RunLost,
    RunMessageLogged,
    RunMetricLogged,
    RunNoted,
    RunOutputCaptured,
    RunParametersSet,
    RunStarted,
    RunTagged,
    RunUpdated,
)

EPOCH_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""
STEP_US = 2_000_000
UNDER_WAY = 24

PROJECTS = ("vision", "ranking", "billing", "etl", "forecast", "search", "site", "ops")
PROGRAMS = ("train.py", "evaluate.py", "export.py", "ingest.py", "report.py", "backfill.py", "serve.py", "clean.sh")
METRICS = ("loss", "accuracy", "rows_per_second", "learning_rate", "gpu_memory_bytes")
BRANCHES = ("main", "develop", "fix/timeouts", "feature/embeddings")
OWNERS = ("anna", "ben", "chen", "dora")
MESSAGES = (
    "loaded %d rows from the warehouse in %d batches, no row was refused",
    "checkpoint %d written, %d bytes, validation did not improve",
    "retrying the upload of part %d after a timeout of %d ms; the previous attempts left nothing behind",
    "worker %d joined, %d are ready",
    "epoch %d done; learning rate lowered after %d steps without improvement, see the metrics for the curve",
)
DIGESTS = tuple(hashlib.sha256(b"%d" % n).hexdigest() for n in range(4096))
TAIL = "".join(f"step {n:03d}: ok, nothing to report\n" for n in range(40))


class StepDone(Event, frozen=True, kw_only=True, tag="app.step_done"):
    """A type of the user's own."""

    step: str
    attempt: int
    duration_us: int
    inputs: tuple[str, ...] = ()


class CacheMissed(Event, frozen=True, kw_only=True, tag="app.cache_missed"):
    """Another one."""

    key: str
    size_bytes: int
    reason: str = ""


APP_EVENTS: tuple[type[Event], ...] = (StepDone, CacheMissed)


class Burst(NamedTuple):
    """One or a few events of one stream, appended together."""

    stream: str
    events: tuple[Event, ...]
    occurred_at: int


def history(events: int, seed: int = 1) -> Iterator[Burst]:
    """Bursts with exactly this many events in all."""
    left = events
    for burst in _bursts(Random(seed)):
        if len(burst.events) >= left:
            yield burst._replace(events=burst.events[:left])
            return
        left -= len(burst.events)
        yield burst


def runs_only(runs: int, seed: int = 1) -> Iterator[Burst]:
    """Start and finish of this many runs, in order: what a long list of runs is made from."""
    random = Random(seed)
    for project in PROJECTS:
        yield Burst(f"project-{project}", (ProjectAdded(path=f"/srv/{project}"),), EPOCH_US)
    for run_id in range(1, runs + 1):
        at = EPOCH_US + run_id * STEP_US
        yield Burst(f"run-{run_id}", (_started(random, run_id), _finished(random)), at)


def singles(events: int, seed: int = 1) -> Iterator[Burst]:
    """The same history cut into bursts of one event."""
    for burst in history(events, seed):
        for event in burst.events:
            yield Burst(burst.stream, (event,), burst.occurred_at)


def _bursts(random: Random) -> Iterator[Burst]:
    now = EPOCH_US
    for project in PROJECTS:
        yield Burst(f"project-{project}", (ProjectAdded(path=f"/srv/{project}", note="made by the benchmark"),), now)
    next_run = 1
    under_way: list[tuple[str, list[Event]]] = []
    while True:
        while len(under_way) < UNDER_WAY:
            plan = _plan(random, next_run)
            plan.reverse()
            under_way.append((f"run-{next_run}", plan))
            next_run += 1
        chance = random.random()
        if chance < 0.22:
            yield Burst(f"job-{int(chance * 1e6) % 997}", (_app_event(random),), now)
            now += STEP_US
        elif chance < 0.225:
            project = PROJECTS[int(chance * 1e6) % len(PROJECTS)]
            yield Burst(f"project-{project}", (ProjectUpdated(note=f"reviewed after run {next_run}"),), now)
            now += STEP_US
        else:
            slot = int(random.random() * UNDER_WAY)
            stream, plan = under_way[slot]
            count = min(len(plan), 1 + int(random.random() * 3))
            yield Burst(stream, tuple(plan.pop() for _ in range(count)), now)
            now += STEP_US * count
            if not plan:
                under_way[slot] = under_way[-1]
                under_way.pop()


def _plan(random: Random, run_id: int) -> list[Event]:
    """Everything that is going to happen to one run."""
    plan: list[Event] = [_started(random, run_id)]
    if random.random() < 0.15:
        plan.append(
            RunParametersSet(parameters={"batch_size": 64, "optimizer": "adam", "warmup": 0.1, "resumed": False})
        )
    # One run in 2,000 is long: a stream of some 600 events.
    steps = int(random.random() * 3.8) if random.random() > 0.0005 else 400
    for step in range(steps):
        plan.append(RunMetricLogged(name=METRICS[int(random.random() * 5)], value=round(random.random(), 6), step=step))
        if random.random() < 0.55:
            text = MESSAGES[int(random.random() * 5)] % (run_id % 1000, step)
            plan.append(RunMessageLogged(message=text, level="INFO" if step else "WARNING", logger="pipeline.worker"))
    chance = random.random()
    if chance < 0.25:
        plan.append(RunTagged(tags={"owner": OWNERS[run_id % 4], "stage": "candidate"}))
    elif chance < 0.32:
        plan.append(RunNoted(note=f"second attempt after run {run_id - 1}, with the corrected input"))
    if random.random() < 0.40:
        tail = TAIL[: 100 + int(random.random() * 900)]
        plan.append(RunOutputCaptured(channel="stdout", tail=tail, size_bytes=len(tail) * 7, sha256=_sha256(random)))
    if random.random() < 0.35:
        name = f"model-{run_id}.bin"
        size_bytes = int(random.random() * 1e8)
        plan.append(RunArtifactSaved(kind="output", name=name, size_bytes=size_bytes, sha256=_sha256(random)))
    plan.append(RunLost(evidence="no such process since boot") if random.random() < 0.005 else _finished(random))
    chance = random.random()
    if chance < 0.03:
        plan.append(RunUpdated(note="checked by hand"))
    elif chance < 0.035:
        plan.append(RunDeleted(reason="started by mistake"))
    return plan


def _started(random: Random, run_id: int) -> RunStarted:
    number = int(random.random() * 8)
    project = PROJECTS[number]
    program = PROGRAMS[(number + int(random.random() * 3)) % 8]
    argv = ("python", program, "--epochs", "12", "--input", f"/data/{project}/part-{run_id % 512:04d}.parquet")
    return RunStarted(
        command=" ".join(argv),
        argv=argv,
        program=program,
        cwd=f"/srv/{project}",
        project_id=project,
        tags={"team": "data"} if run_id % 3 else {"team": "data", "priority": "high"},
        parameters={"epochs": 12, "seed": run_id % 97},
        git_commit=_sha256(random)[:40],
        git_branch=BRANCHES[run_id % 4],
        git_dirty=run_id % 5 == 0,
        host="worker-3",
        boot_id="5e0bd1a4-6f0f-4e55-9d2e-0d4a53c0b1de",
        pid=1000 + run_id % 30000,
        process_started_ticks=run_id * 7,
        user=OWNERS[run_id % 4],
        python_version="3.11.7",
        machine_id="9c5f2b6d51f14f0b8c7d6a1e2f3b4c5d",
        environment={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "8", "VIRTUAL_ENV": f"/srv/{project}/.venv", "TZ": "UTC"},
    )


def _finished(random: Random) -> RunFinished:
    chance = random.random()
    # Around one of a dozen usual durations, from a quarter of a second to ten minutes, within a factor of 1.3.
    wall_us = int(250_000 * 2 ** int(random.random() * 12) * 1.3 ** (2 * random.random() - 1))
    usage: dict[str, Any] = {"wall_us": wall_us, "cpu_user_us": wall_us * 3 // 4, "cpu_system_us": wall_us // 20}
    if chance < 0.86:
        return RunFinished(status="success", exit_code=0, peak_memory_bytes=wall_us * 3, **usage)
    if chance < 0.96:
        return RunFinished(
            status="fail", exit_code=1, error_type="ValueError", reason="column price is missing", **usage
        )
    return RunFinished(status="killed", signal=9, reason="killed by signal 9", **usage)


def _app_event(random: Random) -> Event:
    chance = random.random()
    if chance < 0.6:
        inputs = tuple(f"/data/landing/2026-01-{day:02d}.csv" for day in range(1, 2 + int(chance * 6)))
        return StepDone(step="normalise", attempt=1, duration_us=int(chance * 1e7), inputs=inputs)
    return CacheMissed(key=_sha256(random)[:32], size_bytes=int(chance * 1e6), reason="expired")


def _sha256(random: Random) -> str:
    return DIGESTS[int(random.random() * len(DIGESTS))]


def moved(bursts: Iterable[Burst], runs: int) -> Iterator[Burst]:
    """The same history with its run numbers moved up, so that several writers do not write each other's runs."""
    for burst in bursts:
        category, _, name = burst.stream.partition("-")
        yield burst._replace(stream=f"run-{int(name) + runs}") if category == "run" else burst
