"""Any history of commands and accidents: the log keeps exactly what it acknowledged, and its tables are its fold."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from under_fire import Ticked, open_log, raw

from eventlog.errors import IllegalTransition, KeyReused, NotFound, WrongExpectedVersion

STREAMS = st.sampled_from(["fire-1", "fire-2", "fire-3", "run-x", "project-x", "run-1"])


class Abort(Exception):
    """Thrown inside a transaction."""


class History(RuleBasedStateMachine):
    """Appends, aborts, reopenings, crashes, checkpoints, rebuilds and rollbacks, against a list in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="history"))
        self.copies = 0
        self.path = self.folder / "log.db"
        self.model: list[tuple[str, str | None]] = []  # stream and key of each record, in order

    @initialize()
    def create(self) -> None:
        self.log = open_log(self.path)

    def version(self, stream: str) -> int:
        return sum(name == stream for name, _ in self.model)

    def catch_model_up(self) -> None:
        """Runs and projects append by themselves: take over what they did."""
        self.model += [(r.stream, r.key) for r in self.log.read(after=len(self.model))]

    @rule(stream=STREAMS, count=st.integers(1, 4), key=st.none() | st.sampled_from(["a", "b", "c"]))
    def append(self, stream: str, count: int, key: str | None) -> None:
        events = [Ticked(number=n) for n in range(count)]
        held = next((n for n, (_, k) in enumerate(self.model) if key is not None and k == key), None)
        try:
            done = self.log.append(stream, events, key=key)
        except KeyReused:
            assert held is not None
            return
        if held is not None:
            assert done.duplicate and done.first == held + 1
            return
        assert (done.first, done.last) == (len(self.model) + 1, len(self.model) + count)
        assert done.version == self.version(stream) + count
        self.catch_model_up()

    @rule(stream=STREAMS, off=st.integers(-1, 1))
    def append_at_a_version(self, stream: str, off: int) -> None:
        expected = self.version(stream) + off
        try:
            self.log.append(stream, Ticked(), expect=max(0, expected))
        except WrongExpectedVersion as error:
            assert max(0, expected) != self.version(stream) == error.actual
        else:
            assert max(0, expected) == self.version(stream)
            self.model.append((stream, None))

    @rule(command=st.sampled_from(["a", "b"]), end=st.sampled_from(["success", "fail", "killed", "none"]))
    def run(self, command: str, end: str) -> None:
        started = self.log.runs.start(command, project_id="p", program=command)
        if end != "none":
            getattr(self.log.runs, f"finish_{end}")(started.run_id, wall_us=len(self.model))
        self.catch_model_up()

    @rule(data=st.data(), what=st.sampled_from(["delete", "note", "tag", "metric", "update"]))
    def change_a_run(self, data: st.DataObject, what: str) -> None:
        runs = self.log.runs.list(limit=None)
        if not runs:
            return
        run_id = data.draw(st.sampled_from(runs)).run_id
        try:
            if what == "delete":
                self.log.runs.delete(run_id)
            elif what == "note":
                self.log.runs.note(run_id, "noted")
            elif what == "tag":
                self.log.runs.tag(run_id, {"k": str(len(self.model))})
            elif what == "metric":
                self.log.runs.metric(run_id, "loss", 0.5, step=len(self.model))
            else:
                self.log.runs.update(run_id, status="success")
        except (IllegalTransition, NotFound):
            pass
        self.catch_model_up()

    @rule(commit=st.booleans(), nested=st.booleans())
    def transaction(self, commit: bool, nested: bool) -> None:
        before = self.log.head()
        try:
            with self.log.transaction():
                self.log.append("fire-1", [Ticked(), Ticked()])
                if nested:
                    with pytest.raises(Abort), self.log.transaction():
                        self.log.append("fire-2", Ticked())
                        list(self.log.read_stream("fire-2"))
                        raise Abort
                self.log.runs.start("in a transaction")
                assert self.log.head().position == before.position + 3
                if not commit:
                    raise Abort
        except Abort:
            assert self.log.head() == before
        self.catch_model_up()
        assert len(self.model) == before.position + (3 if commit else 0)

    @rule(read=st.booleans())
    def decide_and_fail(self, read: bool) -> None:
        before = self.log.head()

        def work(tx: Any) -> None:
            tx.append("fire-1", Ticked())
            if read:
                tx.read_stream("fire-1")
            raise Abort

        with pytest.raises(Abort):
            self.log.decide(work)
        assert self.log.head() == before

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = open_log(self.path)

    @rule()
    def crash(self) -> None:
        """Go on with what a killed process would leave: the files as they are now, without the -shm."""
        self.copies += 1
        folder = self.folder / f"copy{self.copies}"
        folder.mkdir()
        # A program of its own copies: closing the file in this process would drop SQLite's locks.
        files = [str(p) for p in self.path.parent.glob("log.db*") if p.name in {"log.db", "log.db-wal"}]
        subprocess.run(["cp", *files, str(folder)], check=True)
        self.log.close()
        self.path = folder / "log.db"
        self.log = open_log(self.path)

    @rule()
    def checkpoint(self) -> None:
        with raw(self.path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @rule()
    def rebuild(self) -> None:
        self.log.projections.rebuild()

    @precondition(lambda self: self.model)
    @rule(data=st.data(), resume_later=st.booleans())
    def roll_back_and_resume(self, data: st.DataObject, resume_later: bool) -> None:
        to = data.draw(st.integers(1, len(self.model)))
        self.log.projections.rollback(to=to)
        assert list(self.log.projections.verify()) == []
        if resume_later:
            self.log.append("fire-3", Ticked())
            self.catch_model_up()
            self.log.close()
            self.log = open_log(self.path)
        self.log.projections.resume()

    @invariant()
    def the_log_is_what_was_acknowledged(self) -> None:
        if hasattr(self, "log"):
            assert [(r.stream, r.key) for r in self.log.read()] == self.model
            assert self.log.verify().ok

    def teardown(self) -> None:
        try:
            if hasattr(self, "log"):
                assert list(self.log.projections.verify()) == []
                self.log.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


History.TestCase.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


class TestAnyHistory(History.TestCase):  # type: ignore[misc, valid-type]
    """Run by unittest under pytest; the long suite runs it with more examples."""
