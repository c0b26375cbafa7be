"""A rebuild in several processes: the same rows, the same failures, and nothing left behind by whatever kills it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog import Append
from eventlog.app import Log
from eventlog.codec import Upcaster
from eventlog.errors import ProjectionFailed
from eventlog.events.jobs import JobEnqueued, JobPurged, JobStarted, JobSucceeded
from eventlog.events.projects import ProjectAdded, ProjectUpdated
from eventlog.events.runs import RunFinished, RunMessageLogged, RunMetricLogged, RunStarted, RunTagged
from eventlog.projection import parallel
from eventlog.projection.discovery import installed
from tests.helpers import eventually
from tests.projections import things
from tests.projections.things import status


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes for logs of any size."""
    monkeypatch.setattr(parallel, "MIN_EVENTS", 1)
    monkeypatch.setattr(parallel, "cores", lambda: 3)


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each fold in several processes came to."""
    kept: list[bool] = []
    fold = parallel.fold

    def kept_fold(*arguments: Any) -> bool:
        kept.append(fold(*arguments))
        return kept[-1]

    monkeypatch.setattr(parallel, "fold", kept_fold)
    return kept


Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """``install(code)``: a package with a projection called ``extra``, whose ``make(event, record)`` is given."""
    place = tmp_path / "site"
    (place / "extra-1.0.dist-info").mkdir(parents=True)
    (place / "extra-1.0.dist-info" / "entry_points.txt").write_text(
        "[eventlog.projections]\nextra = extra_projection:projections\n"
    )
    monkeypatch.syspath_prepend(place)

    def write(make: str) -> None:
        (place / "extra_projection.py").write_text(
            textwrap.dedent(
                """
                import os, time
                from eventlog.events.runs import RunStarted
                from eventlog.projection import Journal, Row

                class Extra(Row, frozen=True):
                    position: int
                    program: str

                def make(event, record):
                    {make}
                    return Extra(record.position, event.program)

                projections = (Journal("extra", version=1, row=Extra, types=(RunStarted,), make=make),)
                """
            ).format(make=make)
        )
        installed.cache_clear()

    yield write
    sys.modules.pop("extra_projection", None)
    installed.cache_clear()


def fill(path: Path, runs: int = 60) -> None:
    """A history of runs and projects, without any table."""
    with eventlog.open(path, projections="off") as log:
        appends = [Append(stream=f"project-{name}", events=ProjectAdded(path=name)) for name in ("a", "bé", "c💡")]
        for number in range(1, runs + 1):
            stream, project = f"run-{number}", ("a", "bé", None)[number % 3]
            started = RunStarted(command="x", program=f"p{number % 4}", project_id=project, tags={"n": str(number)})
            said = [RunMetricLogged(name="loss", value=number / 8), RunMessageLogged(message="m"), RunTagged(tags={})]
            appends.append(Append(stream=stream, events=[started, *said], occurred_at=number * 10**9))
            if number % 5:
                ended = RunFinished(status="success", wall_us=number * 1000)
                appends.append(Append(stream=stream, events=ended, occurred_at=number * 10**9 + 5))
        appends.append(Append(stream="project-a", events=ProjectUpdated(note="later")))
        for number in range(1, runs + 1):
            enqueued = JobEnqueued(kind=f"k{number % 3}", queue="é", args={"n": number}, priority=number % 2)
            started = JobStarted(attempt=1, worker_id="w", lease_us=1)
            appends.append(Append(stream=f"job-{number}", events=[enqueued, started], occurred_at=number * 10**9))
            if number % 4:
                done = JobSucceeded(attempt=1, worker_id="w", duration_us=number)
                appends.append(Append(stream=f"job-{number}", events=done, occurred_at=number * 10**9 + 7))
            if number % 4 == 2:
                again = [JobPurged(), JobEnqueued(kind="again"), JobPurged()]
                appends.append(Append(stream=f"job-{number}", events=again))
        log.append_many(appends)


def tables(log: Log) -> dict[str, list[dict[str, Any]]]:
    return {name: log.projections.rows(name) for name in log.projections.names()}


def leftovers(log: Log) -> list[str]:
    """Tables of a rebuild that is over."""
    with log.reader() as reader:
        return [shadow for name in log.projections.names() for shadow in reader.shadows(name)]


def in_one_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    with monkeypatch.context() as alone, eventlog.open(path, projections="deferred") as log:
        alone.setattr(parallel, "MIN_EVENTS", 10**9)
        log.projections.rebuild()
        return tables(log)


def test_the_rows_are_those_of_a_rebuild_in_one_process(
    tmp_path: Path, outcomes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    fill(path)
    with eventlog.open(path) as log:  # made when it is opened
        assert outcomes == [True]
        made = tables(log)
        log.projections.rebuild()
        assert outcomes == [True, True]
        assert tables(log) == made
        assert log.projections.verify() == []
        log.projections.rollback(150)
        log.projections.rebuild()
        assert {status(log, name).position for name in log.projections.names()} == {150}
        log.projections.resume()
        assert tables(log) == made
        assert leftovers(log) == []
    assert in_one_process(path, monkeypatch) == made
    assert all(made[name] for name in ("projects", "runs", "run_metrics", "run_statistics", "run_durations"))
    assert len(made["jobs"]) == 45
    assert sum(row["jobs"] for row in made["job_statistics"]) == 60


def test_progress_is_told_and_never_goes_back(tmp_path: Path, outcomes: list[bool]) -> None:
    path = tmp_path / "log.db"
    fill(path)
    told: list[tuple[int, int | None, str]] = []
    with eventlog.open(path, projections="deferred", progress=lambda *one: told.append(one)) as log:
        end, label = log.head().position, f"rebuilding {', '.join(log.projections.groups)}"
    assert outcomes == [True]
    positions = [done for done, total, what in told if (total, what) == (end, label)]
    assert positions == sorted(positions)
    assert positions[-1] == end


def test_a_failing_projection_ends_as_it_does_in_one_process(
    tmp_path: Path, install: Install, outcomes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("assert event.program != 'p3' or record.position < 40, 'no p3 here'")
    fill(tmp_path / "many.db")
    shutil.copy(tmp_path / "many.db", tmp_path / "one.db")
    seen = []
    for name in ("many.db", "one.db"):
        if name == "one.db":
            assert outcomes == [False, False]
            monkeypatch.setattr(parallel, "MIN_EVENTS", 10**9)
        with eventlog.open(tmp_path / name, projections="deferred") as log:
            kept = tables(log), [one._replace(updated_at=None) for one in log.projections.status()]
            with pytest.raises(ProjectionFailed, match="no p3 here") as caught:
                log.projections.rebuild()
            seen.append((kept, tables(log), str(caught.value), caught.value.facts, leftovers(log)))
    assert seen[0] == seen[1]
    assert outcomes == [False, False]
    assert seen[0][0][0]["extra"]


@pytest.mark.parametrize("make", ["os._exit(0)", "print('hello')", "os.kill(os.getpid(), 9)"])
def test_whatever_a_child_does_the_tables_are_right(
    tmp_path: Path, install: Install, outcomes: list[bool], make: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(f"if os.getpid() != {os.getpid()}: {make}")
    path = tmp_path / "log.db"
    fill(path)
    told: list[tuple[str, int]] = []
    with eventlog.open(path, progress=lambda done, total, what: told.append((what, done))) as log:
        made = tables(log)
        assert log.projections.verify() == []
        assert leftovers(log) == []
    assert outcomes == ["print" in make]
    for label in {what for what, _ in told}:
        assert [done for what, done in told if what == label] == sorted(done for what, done in told if what == label)
    assert in_one_process(path, monkeypatch) == made


def test_a_child_that_is_killed_costs_nothing_but_time(
    tmp_path: Path, install: Install, outcomes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("time.sleep(0.01)")
    start, pids = parallel._start, []

    def start_and_kill() -> subprocess.Popen[bytes]:
        child = start()
        pids.append(child.pid)
        if len(pids) == 3:
            os.kill(pids[1], signal.SIGKILL)
        return child

    monkeypatch.setattr(parallel, "_start", start_and_kill)
    path = tmp_path / "log.db"
    fill(path, 12)
    with eventlog.open(path) as log:
        assert outcomes == [False]
        assert log.projections.verify() == []
    assert not any(map(is_running, pids))


def test_a_program_that_cannot_be_started_is_done_without(
    tmp_path: Path, outcomes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    path = tmp_path / "log.db"
    fill(path)
    with eventlog.open(path) as log:
        assert outcomes == [False]
        assert log.projections.verify() == []


def test_another_rebuild_that_is_faster_wins(
    tmp_path: Path, outcomes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.db"
    fill(path)
    with eventlog.open(path) as log, eventlog.open(path) as other:
        made = tables(log)
        fold = parallel.fold

        def overtaken(*arguments: Any) -> bool:
            monkeypatch.setattr(parallel, "fold", fold)
            other.projections.rebuild()
            return fold(*arguments)

        monkeypatch.setattr(parallel, "fold", overtaken)
        log.projections.rebuild()
        assert tables(log) == made
        assert leftovers(log) == []


def test_only_what_a_child_can_do_as_well_is_given_to_children(tmp_path: Path) -> None:
    def parts(log: Log) -> int:
        return parallel.parts_for(log, list(log.projections.groups.values()), log.head().position)

    fill(tmp_path / "log.db")
    with eventlog.open(tmp_path / "log.db", projections="deferred") as log:
        assert parts(log) == 3
    with eventlog.open(tmp_path / "log.db", events=things.THING_EVENTS, projections="deferred") as log:
        assert parts(log) == 3
    with eventlog.open(tmp_path / "log.db", extra_projections=things.everything()) as log:
        assert parts(log) == 1
    lift = Upcaster("run.started", 1, lambda data: data)
    with eventlog.open(tmp_path / "log.db", upcasters=[lift], projections="deferred") as log:
        assert parts(log) == 1
    fill(tmp_path / "what?.db")
    with eventlog.open(tmp_path / "what?.db", projections="deferred") as log:
        assert parts(log) == 1
    with eventlog.open(":memory:") as log:
        log.runs.start("x")
        assert parts(log) == 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_parent_that_is_ended_leaves_the_old_tables_and_no_process(
    tmp_path: Path, install: Install, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    install(f"time.sleep(0.1 if os.path.exists({str(slow)!r}) else 0)")
    path = tmp_path / "log.db"
    fill(path)
    made = in_one_process(path, monkeypatch)
    slow.touch()
    program = (
        "import sys, eventlog; from eventlog.projection import parallel\n"
        "parallel.MIN_EVENTS = 1; parallel.cores = lambda: 2; start = parallel._start\n"
        "def told(): child = start(); print(child.pid, flush=True); return child\n"
        "parallel._start = told\n"
        "log = eventlog.open(sys.argv[1], projections='deferred'); print('open', flush=True)\n"
        "log.projections.rebuild()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "open\n"
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    with eventlog.open(path, projections="deferred") as log:
        eventually(lambda: leftovers(log))
        assert all(map(is_running, pids))
        parent.send_signal(how)
        _, problem = parent.communicate(timeout=20)
        assert parent.returncode in (-how, 1), problem
        eventually(lambda: not any(map(is_running, pids)))
        slow.unlink()
        assert tables(log) == made
        if how == signal.SIGINT:
            assert leftovers(log) == []
        assert log.projections.verify() == []
        log.projections.rebuild()
        assert leftovers(log) == []


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip()[:1] not in ("", "Z")
