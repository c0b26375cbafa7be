"""For any history the tables at every version are the same, whichever way they were reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

import eventlog
from eventlog import Append, Event, UnknownEvent
from eventlog.app import Log
from eventlog.events.jobs import (
    JobAttemptFailed,
    JobCancelled,
    JobCancelRequested,
    JobChanged,
    JobCrashed,
    JobEnqueued,
    JobExpired,
    JobFailed,
    JobHeld,
    JobLateResultDiscarded,
    JobProgressed,
    JobPurged,
    JobReleased,
    JobRequeued,
    JobRetryRequested,
    JobRetryScheduled,
    JobSnoozed,
    JobStarted,
    JobSucceeded,
)
from eventlog.events.projects import ProjectAdded, ProjectDeleted, ProjectUpdated
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
from tests.projections import things
from tests.projections.reference import Tables, check_diff, check_every_way

HOUR = 3_600_000_000
WORDS = st.sampled_from(["", "a", "b", "é\0"])
TIMES = st.sampled_from([0, 5, HOUR - 1, HOUR, 25 * HOUR, -7])
PROJECTS = st.sampled_from([None, "p", "q-1"])
NUMBERS = st.sampled_from([None, 0, 1, 127, 128, 10**6, 2**40])
STATUSES = st.sampled_from(["success", "fail", "killed"])
SMALL = st.dictionaries(st.sampled_from(["k", "l"]), WORDS, max_size=2)

RUN_EVENTS: dict[str, Any] = {
    "started": st.builds(
        RunStarted,
        command=WORDS,
        program=WORDS,
        project_id=PROJECTS,
        tags=SMALL,
        git_dirty=st.sampled_from([None, True]),
    ),
    "finished": st.builds(RunFinished, status=STATUSES, wall_us=NUMBERS, cpu_user_us=NUMBERS, reason=st.none() | WORDS),
    "lost": st.builds(RunLost, evidence=WORDS),
    "updated": st.builds(
        RunUpdated,
        status=st.sampled_from([UNSET, "running", "fail", "lost"]),
        note=st.just(UNSET) | WORDS,
        project_id=st.just(UNSET) | PROJECTS,
    ),
    "deleted": st.builds(RunDeleted),
    "tagged": st.builds(RunTagged, tags=SMALL, removed=st.sampled_from([(), ("k",)])),
    "noted": st.builds(RunNoted, note=WORDS),
    "parameters": st.builds(RunParametersSet, parameters=st.dictionaries(WORDS, NUMBERS | WORDS, max_size=2)),
    "metric": st.builds(
        RunMetricLogged, name=WORDS, value=st.sampled_from([0.0, -0.0, 1.5, "nan", 1e300]), step=NUMBERS
    ),
    "message": st.builds(RunMessageLogged, message=WORDS),
    "output": st.builds(RunOutputCaptured, channel=st.sampled_from(["stdout", "stderr"]), tail=WORDS),
    "artifact": st.builds(RunArtifactSaved, kind=st.just("input"), name=WORDS, size_bytes=st.just(1), sha256=WORDS),
}
PROJECT_EVENTS = st.one_of(
    st.builds(ProjectAdded, path=st.none() | WORDS, note=WORDS),
    st.builds(ProjectUpdated, path=st.just(UNSET) | st.none() | WORDS, note=st.just(UNSET) | WORDS),
    st.builds(ProjectDeleted),
)
UNKNOWN = st.builds(UnknownEvent, tag=st.just("run.dreamt"), data=st.just({"x": 1}))
RUN_STREAMS = st.sampled_from(["run-1", "run-2", "run-3", "run-07", "run-x"])
ON_RUNS = st.tuples(
    RUN_STREAMS, st.one_of(RUN_EVENTS["started"], RUN_EVENTS["finished"], *RUN_EVENTS.values(), UNKNOWN), TIMES
)
ON_PROJECTS = st.tuples(st.sampled_from(["project-p", "project-q-1", "run-1"]), PROJECT_EVENTS, TIMES)
AT = st.sampled_from([0, 5, HOUR, 2**40])
SMALL_NUMBERS = st.integers(0, 2)
DURATIONS = st.sampled_from([0, 1, 127, 10**6])
ATTEMPT: dict[str, Any] = {"attempt": SMALL_NUMBERS, "worker_id": WORDS, "duration_us": DURATIONS}
ENQUEUED = st.builds(
    JobEnqueued,
    kind=st.sampled_from(["k", "l"]),
    queue=st.sampled_from(["q", "é\0"]),
    args=SMALL,
    run_at=st.none() | AT,
    unique_key=st.none() | WORDS,
    batch_id=st.none() | WORDS,
)
ENDS_OF_JOBS = st.one_of(
    st.builds(JobSucceeded, result=st.none() | SMALL, **ATTEMPT),
    st.builds(JobFailed, reason=st.just("crashed")),
    st.builds(JobCancelled, by=WORDS, attempt=st.none() | SMALL_NUMBERS),
    st.builds(JobExpired),
)
JOB_EVENTS = st.one_of(
    ENQUEUED,
    st.builds(JobStarted, attempt=SMALL_NUMBERS, worker_id=WORDS, lease_us=SMALL_NUMBERS),
    ENDS_OF_JOBS,
    st.builds(JobPurged),
    st.one_of(
        st.builds(JobProgressed, attempt=SMALL_NUMBERS, done=SMALL_NUMBERS),
        st.builds(JobAttemptFailed, error_type=WORDS, **ATTEMPT),
        st.builds(JobRetryScheduled, run_at=AT, delay_us=SMALL_NUMBERS),
        st.builds(JobCrashed, rung=st.just("process_gone"), evidence=WORDS, **ATTEMPT),
        st.builds(JobRequeued, attempt=SMALL_NUMBERS, reason=st.just("shutdown"), run_at=AT),
        st.builds(JobHeld, reason=WORDS),
        st.builds(JobReleased, run_at=AT, **ATTEMPT),
        st.builds(JobSnoozed, until=AT, **ATTEMPT),
        st.builds(JobCancelRequested, by=WORDS),
        st.builds(JobRetryRequested, by=WORDS, run_at=AT, max_retries=SMALL_NUMBERS, reset_failures=st.booleans()),
        st.builds(JobChanged, by=WORDS, run_at=st.none() | AT, queue=st.none() | st.just("r")),
        st.builds(JobLateResultDiscarded, token=SMALL_NUMBERS, outcome=st.just("failed")),
    ),
)
JOB_STREAMS = st.sampled_from(["job-a", "job-b", "job-b", "run-1"])
JOB_HISTORIES = st.lists(
    st.lists(st.tuples(JOB_STREAMS, JOB_EVENTS, TIMES), min_size=1, max_size=4), min_size=1, max_size=10
)
HISTORIES = st.lists(
    st.lists(st.one_of(ON_RUNS, ON_RUNS, ON_RUNS, ON_PROJECTS), min_size=1, max_size=3), min_size=1, max_size=12
)


def write(log: Log, history: list[list[tuple[str, Event | UnknownEvent, int]]]) -> None:
    for batch in history:
        log.append_many(
            [Append(stream=stream, events=event, occurred_at=when) for stream, event, when in batch],
            durability="process",
        )


def check_statistics(log: Log, states: list[Tables]) -> None:
    for version in (len(states) - 1, len(states) // 2):
        runs = states[version]["runs"]
        with log.as_of(version) as past:
            assert sum(one.runs for one in past.statistics.runs(by="hour")) == len(runs)
            for one in past.statistics.runs(by="status"):
                mine = [run for run in runs if run["status"] == one.bucket]
                assert one.runs == len(mine)
                assert one.wall_us_total == sum(run["wall_us"] or 0 for run in mine)


CHUNKS = st.lists(st.integers(1, 9), min_size=1, max_size=4)
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(HISTORIES, st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_any_history_gives_the_same_tables_every_way(history: Any, chunks: list[int], data: st.DataObject) -> None:
    with eventlog.open(":memory:") as log:
        write(log, history)
        states = check_every_way(log, chunks=chunks)
        version = st.integers(0, len(states) - 1)
        for _ in range(3):
            check_diff(log, states, data.draw(version), data.draw(version))
        check_statistics(log, states)


@settings(SLOW, max_examples=8)
@given(JOB_HISTORIES, CHUNKS, st.data())
def test_any_history_of_jobs_gives_the_same_tables_every_way(
    history: Any, chunks: list[int], data: st.DataObject
) -> None:
    """Events in any order, purges in the middle of them, and whatever follows a purge."""
    check_history_of_jobs(history, chunks, data)


def check_history_of_jobs(history: Any, chunks: list[int], data: st.DataObject) -> None:
    with eventlog.open(":memory:") as log:
        write(log, history)
        states = check_every_way(log, chunks=chunks)
        version = st.integers(0, len(states) - 1)
        for _ in range(3):
            check_diff(log, states, data.draw(version), data.draw(version))
        check_jobs(log, states[-1])


def check_jobs(log: Log, state: Tables) -> None:
    """However wrong a history is, each job is found where those of its state are looked for."""
    jobs = state["jobs"]
    for job in jobs:
        marks = {"queued": "ready_at", "processing": "claimed_at", "held": "claimed_at"}
        mark = marks.get(job["status"], "ended_at")
        assert [name for name in ("ready_at", "claimed_at", "ended_at") if job[name] is not None] == [mark]
    assert log.jobs.count() == len(jobs)
    for status in ("queued", "processing", "held", "completed", "cancelled"):
        mine = sorted(job["job_id"] for job in jobs if job["status"] == status)
        assert log.jobs.count(status=status) == len(mine)
        assert sorted(job.job_id for job in log.jobs.list(status=status)) == mine
    assert {found.position for found in log.jobs.check()} <= set(range(1, log.head().position + 1))


LIFE: list[Event] = [
    JobEnqueued(kind="k", unique_key="u"),
    JobStarted(attempt=1, worker_id="w", lease_us=1),
    JobSucceeded(attempt=1, worker_id="w", duration_us=7),
    JobPurged(),
    JobLateResultDiscarded(token=2, outcome="failed"),
    JobEnqueued(kind="l"),
    JobPurged(),
    JobStarted(attempt=2, worker_id="w", lease_us=1),
]


@pytest.mark.parametrize("first", [0, 2, 3, 5])
def test_what_follows_a_purge_is_ignored_also_by_programs_that_have_not_seen_it(first: int, tmp_path: Path) -> None:
    for step in LIFE[first:]:
        with eventlog.open(tmp_path / "log.db") as log:
            log.append_many([Append(stream="job-a", events=step), Append(stream="job-b", events=step)])
    with eventlog.open(tmp_path / "log.db") as log:
        assert log.jobs.count() == 0
        states = check_every_way(log, chunks=[3, 1, 2])
        for low in range(0, len(states), 3):
            check_diff(log, states, low, len(states) - 1)
            check_diff(log, states, len(states) - 1, low)


THINGS = st.lists(
    st.tuples(
        st.sampled_from(["thing-0", "thing-1", "thing-2", "thing-02", "other-1"]),
        st.one_of(
            st.builds(things.ThingMade, size=st.integers(-3, 3), color=st.sampled_from(["red", "blue"])),
            st.builds(things.ThingGrew, by=st.integers(-3, 3)),
            st.builds(things.ThingGone),
        ),
        TIMES,
    ),
    min_size=1,
    max_size=25,
)


@SLOW
@given(THINGS, st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_any_history_of_a_users_own_projections_gives_the_same_tables_every_way(
    history: Any, chunks: list[int]
) -> None:
    with eventlog.open(":memory:", extra_projections=things.everything()) as log:
        write(log, [[one] for one in history])
        states = check_every_way(log, extra=things.everything(), chunks=chunks)
        check_diff(log, states, len(states) - 1, 0)
        check_diff(log, states, len(states) // 3, len(states) - 1)


@pytest.mark.parametrize("inline_first", [True, False])
def test_a_history_in_a_file_gives_the_same_tables_every_way(tmp_path: Path, inline_first: bool) -> None:
    with eventlog.open(tmp_path / "log.db", projections="inline" if inline_first else "off") as log:
        for number in range(1, 7):
            log.append(
                f"run-{number}", RunStarted(command="x", program="p", tags={"n": str(number)}), occurred_at=number
            )
            log.append(f"run-{number}", RunMetricLogged(name="loss", value=0.1 * number))
            if number % 3:
                log.append(f"run-{number}", RunFinished(status="success" if number % 2 else "fail", wall_us=number))
        log.append("run-2", RunDeleted())
        log.append("project-p", ProjectAdded())
    with eventlog.open(tmp_path / "log.db") as log:
        states = check_every_way(log)
        check_diff(log, states, 3, 15)
        check_diff(log, states, 15, 3)
        check_statistics(log, states)


@pytest.mark.feature("B-1")
def test_a_long_history_is_undone_by_both_means(tmp_path: Path) -> None:
    """Far back a rollback folds from the start, near the head it undoes; as-of has the same two ways."""
    with eventlog.open(tmp_path / "log.db", extra_projections=things.everything()) as log:
        things.fill(log, 400)
        with log.transaction():
            for number in range(1, 301):
                log.append(f"run-{number}", RunStarted(command="x", program=str(number % 3)), occurred_at=number * HOUR)
                log.append(f"run-{number}", RunFinished(status="success", wall_us=number))
        from tests.projections.reference import as_of, live, tables_at_every_version

        members = [log.projections.projection(name) for name in log.projections.names()]
        states = tables_at_every_version(members, log.read())
        head = log.head().position
        for version in (head - 1, head - 150, 401, 399, 7, 0, 390, head):
            assert as_of(log, version) == states[version]
            log.projections.rollback(version)
            assert live(log) == states[version]
            assert as_of(log, 395) == states[395]
        log.projections.resume()
        assert live(log) == states[head]
        assert log.projections.verify() == []


@pytest.mark.feature("B-1")
def test_what_a_rollback_reads_grows_with_what_is_undone_and_not_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eventlog.projection import undo

    folded: list[int] = []
    decode = undo.decode

    def counted(codec: Any, records: Any) -> Any:
        items = decode(codec, records)
        folded.append(len(items))
        return items

    monkeypatch.setattr(undo, "decode", counted)

    def undone(length: int, events: int) -> int:
        with eventlog.open(tmp_path / f"{length}.db") as log:
            log.append_many(
                [eventlog.Append(stream=f"run-{n}", events=[RunStarted(command="x")]) for n in range(1, length + 1)]
            )
            for number in range(1, events + 1):
                log.runs.note(number, "later")
            folded.clear()
            log.projections.rollback(length, "runs")
            assert log.runs.list(text="later") == [] and log.runs.count() == length
            return sum(folded)

    assert undone(600, 10) == undone(3_000, 10) > 0
    assert undone(601, 20) == 2 * undone(602, 10)
