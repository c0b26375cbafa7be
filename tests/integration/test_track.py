"""`log.runs.track` and `tracked`: how a block ends is how the run ends, and the log never gets in the way."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.errors import ArtifactError, InvalidInput, InvalidName, LogBusy
from eventlog.events.runs import RunFinished, RunMetricLogged, RunStarted
from eventlog.recorder.handler import RunLogHandler
from eventlog.recorder.recording import PARENT_VARIABLE
from eventlog.recorder.track import current_run


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Any]:
    with eventlog.open(tmp_path / "log.db") as opened:
        yield opened


def test_a_block_that_ends_well(log: Any) -> None:
    with log.runs.track(
        "train", project="p", note="n", tags={"k": 1}, parameters={"lr": 0.5, "path": Path("x")}
    ) as run:
        assert log.runs.get(run.run_id).status == "running"
        assert current_run() is run
        time.sleep(0.01)
    row = log.runs.get(1)
    assert (row.status, row.command, row.project_id, row.note) == ("success", "train", "p", "n")
    assert (row.tags, row.parameters) == ({"k": "1"}, {"lr": 0.5, "path": "x"})
    assert row.wall_us >= 10_000
    assert row.pid == os.getpid()
    assert row.process_started_ticks
    assert row.boot_id
    assert row.peak_memory_bytes > 1 << 20
    assert current_run() is None
    assert PARENT_VARIABLE not in os.environ


class Odd(Exception):
    pass


@pytest.mark.feature("S2-8")
@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (SystemExit(), "success", 0, None),
        (SystemExit(0), "success", 0, None),
        (SystemExit(3), "fail", 3, "SystemExit"),
        (SystemExit("words"), "fail", 1, "SystemExit"),
        (KeyboardInterrupt(), "killed", None, "KeyboardInterrupt"),
        (ValueError("bad password=hunter22"), "fail", None, "ValueError"),
        (RuntimeError(), "fail", None, "RuntimeError"),
    ],
)
def test_how_a_block_ends(log: Any, error: BaseException, status: str, code: int | None, kind: str | None) -> None:
    with pytest.raises(type(error)) as raised, log.runs.track("x"):
        raise error
    assert raised.value is error
    row = log.runs.get(1)
    assert (row.status, row.exit_code) == (status, code)
    assert row.error_type == kind
    assert "hunter22" not in str(row.reason)


def test_an_exception_of_a_module_has_its_full_name(log: Any) -> None:
    with pytest.raises(Odd), log.runs.track("x"):
        raise Odd("boom")
    assert log.runs.get(1).error_type.endswith("test_track.Odd")
    assert log.runs.get(1).reason == "boom"


def test_what_a_run_says(log: Any) -> None:
    with log.runs.track("x") as run:
        for step, value in enumerate([1.5, math.nan, math.inf, -math.inf, 3, True]):
            run.metric("loss", value, step=step)
        run.parameters({"a": math.nan}, b=2**70, token="abc", c=None)
        run.tag({"x": "y"}, z=1)
        run.tag(removed=["x"])
        run.note("better")
        run.message("hello \udcff", level="WARNING", logger="me")
    values = [(m.value, m.non_finite) for m in log.runs.metrics(1)]
    assert values[0] == (1.5, None)
    assert [word for _, word in values] == [None, "nan", "inf", "-inf", None, None]
    row = log.runs.get(1)
    assert row.parameters == {"a": "nan", "b": str(2**70), "token": "[redacted]", "c": None}
    assert (row.tags, row.note) == ({"z": "1"}, "better")
    assert [said.text for said in log.runs.messages(1)] == ["hello \\xff"]


@pytest.mark.feature("S2-6")
def test_files(log: Any, tmp_path: Path) -> None:
    source = tmp_path / "config.toml"
    source.write_text("a = 1\n")
    with log.runs.track("x", inputs=[source]) as run:
        source.write_text("changed later")
        assert run.save_output("model/weights.bin", b"\0\1").size_bytes == 2
        run.input_snapshot(source)
        assert (run.dir / "output/model/weights.bin").read_bytes() == b"\0\1"
        meta = json.loads((run.dir / "meta.json").read_text())
        assert (meta["status"], meta["run_id"], meta["log_id"]) == ("running", 1, log.log_id)
        with pytest.raises(InvalidName):
            run.save_output("../escape", b"")
        with pytest.raises(ArtifactError):
            run.save_output("gone", tmp_path / "gone")
    assert (run.dir / "input/config.toml").read_text() == "a = 1\n"
    assert (run.dir / "input/config-2.toml").read_text() == "changed later"
    assert [(a.kind, a.name) for a in log.runs.artifacts(1)] == [
        ("input", "config.toml"), ("output", "model/weights.bin"), ("input", "config-2.toml")
    ]  # fmt: skip
    meta = json.loads((run.dir / "meta.json").read_text())
    assert meta["status"] == "success"
    assert len(meta["files"]) == 3
    assert log.runs.files(1) == run.dir


@pytest.mark.feature("S2-7")
def test_an_input_that_cannot_be_read_fails_the_run(log: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError), log.runs.track("x", inputs=[tmp_path / "none"]):
        raise AssertionError("the block does not run")
    row = log.runs.get(1)
    assert (row.status, row.error_type) == ("fail", "eventlog.errors.ArtifactError")
    assert json.loads((tmp_path / "result/1/meta.json").read_text())["status"] == "fail"


@pytest.mark.feature("S2-7")
def test_files_that_cannot_be_written_do_not_stop_the_program(
    log: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result").write_text("in the way")
    with log.runs.track("x") as run:
        assert run.dir is None
        assert run.save_output("a", b"b") is None
    assert log.runs.get(1).status == "success"
    log.runs._sink.say()
    assert "result" in capsys.readouterr().err


def test_nested_runs_and_threads(log: Any) -> None:
    with log.runs.track("outer") as outer:
        assert os.environ[PARENT_VARIABLE] == f"{log.log_id}:{outer.run_id}"
        with log.runs.track("inner"):
            assert os.environ[PARENT_VARIABLE].endswith(":2")
        assert os.environ[PARENT_VARIABLE].endswith(":1")
        thread = threading.Thread(target=log.runs.tracked("thread")(lambda: None))
        thread.start()
        thread.join()
    assert [log.runs.get(n).parent_run_id for n in (1, 2, 3)] == [None, 1, 1]


def test_decorated_functions(log: Any) -> None:
    @log.runs.tracked
    def plain(a: int, b: int = 2) -> int:
        """Adds."""
        return a + b

    @log.runs.tracked("named", project="p")
    def named() -> str:
        raise ValueError("no")

    @log.runs.tracked(tags={"a": "b"})
    def numbers() -> Iterator[int]:
        yield from range(3)

    assert plain(1) == 3
    assert (plain.__name__, plain.__doc__) == ("plain", "Adds.")
    with pytest.raises(ValueError, match="no"):
        named()
    assert list(numbers()) == [0, 1, 2]
    first = next(iterator := numbers())
    iterator.close()
    assert first == 0
    rows = [log.runs.get(n) for n in (1, 2, 3, 4)]
    assert [row.status for row in rows] == ["success", "fail", "success", "success"]
    assert rows[0].command.endswith("plain")
    assert (rows[1].command, rows[1].project_id) == ("named", "p")


def test_asynchronous_code(log: Any) -> None:
    @log.runs.tracked
    async def work(number: int) -> int:
        await asyncio.sleep(0.01)
        run = current_run()
        assert run is not None
        run.metric("number", number)
        return number

    @log.runs.tracked
    async def stream() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        async with log.runs.track("outer") as outer:
            assert await asyncio.gather(*(work(n) for n in range(8))) == list(range(8))
            assert current_run() is outer
        assert [one async for one in stream()] == [1]
        begun = asyncio.Event()
        task = asyncio.create_task(forever(begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def forever(begun: asyncio.Event) -> None:
        async with log.runs.track("forever"):
            begun.set()
            await asyncio.sleep(60)

    asyncio.run(main())
    rows = log.runs.list(limit=None)
    assert [row.status for row in rows] == ["killed", *["success"] * 10]
    assert rows[0].reason == "cancelled"
    assert all(row.parent_run_id == 1 for row in rows if row.command.endswith("work"))
    assert sorted(log.runs.metrics(row.run_id)[0].value for row in rows if row.command.endswith("work")) == list(
        range(8)
    )


def test_logging(log: Any) -> None:
    logger = logging.getLogger("app.part")
    handler = RunLogHandler(level=logging.INFO)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        logger.info("outside of any run")
        with log.runs.track("x"):
            logger.debug("too quiet")
            logger.warning("count %d token=%s", 3, "abcdefgh12345678")
            logger.info("x" * 100_000)
            handler.handle(logging.LogRecord("app", logging.INFO, "", 1, "wrong %d", ("arguments",), None))
            logging.getLogger("eventlog.inner").warning("not this")
            try:
                raise ValueError("inside")
            except ValueError:
                logger.exception("trouble")
    finally:
        logger.removeHandler(handler)
    said = log.runs.messages(1)
    assert len(said) == 3
    assert said[0].text == "count 3 token=[redacted]"
    assert (said[0].row.level, said[0].row.logger) == ("WARNING", "app.part")
    assert len(said[1].text) <= 8192
    assert "ValueError: inside" in said[2].text


def test_a_run_is_used_once(log: Any) -> None:
    run = log.runs.track("x")
    with pytest.raises(InvalidInput):
        run.metric("a", 1)
    with run:
        pass
    with pytest.raises(InvalidInput):
        run.__enter__()


def test_wrong_values_do_not_raise(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    class Rude:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class RudeError(Exception):
        __str__ = Rude.__str__

    class Worse:
        def __float__(self) -> float:
            raise RudeError

    with log.runs.track("x", parameters={"r": Rude()}, tags={"r": Rude()}) as run:
        run.metric("a", "no number")
        run.metric("b", Rude())  # type: ignore[arg-type]
        run.metric("c", Worse())
        run.message(Rude())
        run.parameters(**{f"p{n}": n for n in range(5000)})
        run.note("x" * 10_000_000)
        run.metric("n" * 100_000, 1)
    row = log.runs.get(1)
    assert row.status == "success"
    assert "without text" in row.parameters["r"]
    assert len(row.note) < 20_000
    log.runs._sink.say()
    told = capsys.readouterr().err
    assert "3 things could not be recorded (InvalidInput: metric 'a': could not convert string to float" in told
    assert "; InvalidInput: metric 'b': float() argument must be" in told
    assert "; InvalidInput: metric 'c': <RudeError without text: RuntimeError>)" in told


def test_a_project_that_is_no_text_becomes_text(log: Any) -> None:
    with log.runs.track("x", project_id=5, note=6, program=7):
        pass
    with log.runs.track("y", project=Path("p")) as run:
        assert run.run_id == 2
    assert [(row.project_id, row.note, row.status) for row in log.runs.list()] == [
        ("p", "", "success"), ("5", "6", "success")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given", [{"tags": 5}, {"parameters": [1]}, {"inputs": 5}, {"inputs": [5]}, {"inputs": "a.txt"}]
)
def test_what_cannot_become_a_run_s_is_refused_at_the_call(log: Any, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(given)).rstrip("s")):
        log.runs.track("x", **given)
    assert log.runs.count() == 0


def test_a_start_that_is_refused_does_not_hold_back_later_runs(log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with log.runs.track("huge", parameters={str(n): "x" * 16_000 for n in range(100)}) as run:
        run.metric("m", 1)
        assert run.run_id is None
    with log.runs.track("good") as run:
        assert run.run_id == 1
    assert [row.command for row in log.runs.list()] == ["good"]
    log.runs._sink.say()
    told = capsys.readouterr().err
    assert "3 things could not be recorded (EventTooLarge: run.started" in told
    assert "wait" not in told
    assert not (log.data_dir / "spool").exists()


def test_an_event_that_is_refused_takes_no_other_with_it(log: Any) -> None:
    sink = log.runs._sink
    assert sink.log() is log
    run = sink.start(RunStarted(command="x"))
    wrong = RunMetricLogged(name=5, value=1)  # type: ignore[arg-type]
    assert not sink.append(run, [RunMetricLogged(name="m", value=2), wrong, RunFinished(status="success")])
    assert [m.value for m in log.runs.metrics(1)] == [2]
    assert log.runs.get(1).status == "success"
    assert (sink.dropped, sink.spooled) == (1, 0)
    sink.dropped = 0


def test_start_fills_in_who_and_where(log: Any) -> None:
    row = log.runs.start("by hand", pid=None)
    assert row.pid is None
    assert row.host
    assert row.python_version
    assert log.runs.start("mine").pid == os.getpid()
    assert log.runs.recover() == []


def test_in_memory() -> None:
    with eventlog.open(":memory:") as log:
        with log.runs.track("x") as run:
            assert run.dir is None
        assert log.runs.get(1).status == "success"


def test_a_log_that_fails_in_between(
    log: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events of the bad time wait, and are in the log when the run ends."""
    sink = log.runs._sink
    real = log.append
    with log.runs.track("x") as run:
        run.metric("a", 1)

        def busy(*_: Any, **__: Any) -> Any:
            raise LogBusy()

        monkeypatch.setattr(log, "append", busy)
        run.metric("a", 2)
        run.metric("a", 3)
        assert sink.spooled == 2
        monkeypatch.setattr(log, "append", real)
        run.metric("a", 4)  # the pause is not over: it waits too
        assert sink.spooled == 3
        monkeypatch.setattr(sink, "_retry_at", 0.0)
        run.metric("a", 5)
    assert [m.value for m in log.runs.metrics(1)] == [1, 2, 3, 4, 5]
    assert sink.spooled == 0
    sink.say()
    assert capsys.readouterr().err == ""
    assert list((log.data_dir / "spool").iterdir()) == []
    assert log.verify().ok


def test_a_log_closed_too_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = eventlog.open(tmp_path / "log.db")
    with log.runs.track("x") as run:
        log.close()
        run.metric("a", 1)
        run.save_output("o", b"x")
    log.runs._sink.say()
    told = capsys.readouterr().err
    assert "3 events not in the log (LogClosed" in told
    with eventlog.open(tmp_path / "log.db") as again:
        assert again.runs.get(1).status == "running"
        assert again.runs.import_spool().events == 3
        assert again.runs.get(1).status == "success"
        assert len(again.runs.metrics(1)) == 1
        assert again.runs.import_spool().events == 0


def test_a_child_from_before_the_run_is_not_counted(tmp_path: Path) -> None:
    program = """
import subprocess, sys, eventlog
big = [sys.executable, "-c", "held = bytearray(300 << 20)"]
subprocess.run(big, check=True)
with eventlog.open(sys.argv[1]) as log:
    for name in ("without", "with"):
        with log.runs.track(name):
            if name == "with":
                subprocess.run([*big[:2], "held = bytearray(400 << 20)"], check=True)
    print(*[log.runs.get(number).peak_memory_bytes for number in (1, 2)])
"""
    words = [sys.executable, "-c", program, str(tmp_path / "log.db")]
    without, with_it = map(int, subprocess.run(words, capture_output=True, check=True, timeout=60).stdout.split())
    assert without < 200 << 20
    assert with_it > 400 << 20
