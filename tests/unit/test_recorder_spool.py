"""Spool files: private, whole or torn, imported exactly once, and only into the log they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import eventlog
from eventlog.cli import main
from eventlog.errors import DiskFull, InvalidInput
from eventlog.events.runs import RunFinished, RunMetricLogged, RunStarted
from eventlog.recorder import spool
from eventlog.recorder.sink import Sink


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Any]:
    with eventlog.open(tmp_path / "log.db") as opened:
        opened.projects.add("p")
        yield opened


def no_log() -> Any:
    raise DiskFull()


def spooled(log: Any, metrics: int = 3) -> Path:
    """A run of which nothing reached the log."""
    sink = Sink(no_log, log.url, log.data_dir)
    run = sink.start(RunStarted(command="x"))
    for number in range(metrics):
        sink.append(run, [RunMetricLogged(name="m", value=number)])
    sink.append(run, [RunFinished(status="success")])
    assert sink.spooled == metrics + 2
    sink._close_file()
    (path,) = sink._paths
    sink.spooled = 0
    return path


def test_a_whole_file(log: Any) -> None:
    path = spooled(log)
    assert path.parent == log.data_dir / "spool"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert log.runs.import_spool() == spool.Imported(1, 5)
    assert not path.exists()
    assert log.runs.get(1).status == "success"
    assert [m.value for m in log.runs.metrics(1)] == [0, 1, 2]


def test_again_after_an_interruption(log: Any) -> None:
    """The import stopped after any number of events: what is in the log already stays single."""
    path = spooled(log)
    kept = path.read_bytes()
    for lines in range(1, len(kept.splitlines()) + 1):
        path.write_bytes(b"".join(kept.splitlines(keepends=True)[:lines]))
        log.runs.import_spool()
    head = log.head().position
    path.write_bytes(kept)
    log.runs.import_spool()
    assert log.head().position == head == 6
    assert log.runs.count() == 1


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_last_line(log: Any, cut: int) -> None:
    path = spooled(log)
    path.write_bytes(path.read_bytes()[:-cut])
    done = log.runs.import_spool()
    assert done == spool.Imported(1, 5 if cut == 1 else 4)
    assert not path.exists()


def test_a_line_nobody_can_read_keeps_the_file(log: Any) -> None:
    path = spooled(log)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"garbage\n", *lines[3:]]))
    done = log.runs.import_spool()
    assert (done.files, done.events) == (0, 5)
    (kept,) = done.damaged
    assert Path(kept).exists()
    (told,) = done.told
    assert told.startswith(f"{kept} holds 1 line that cannot be imported (line 4: JSON is malformed")
    assert log.runs.import_spool() == spool.Imported()
    assert log.runs.get(1).status == "success"


def test_a_file_that_was_put_right_is_imported_again(log: Any) -> None:
    path = spooled(log)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"command":"x"', b'"command":5'))
    done = log.runs.import_spool()
    assert done.events == 0
    assert (
        "holds 5 lines that cannot be imported (line 2: Expected `str`, got `int` - at `$.event.command`"
        in done.told[0]
    )
    Path(done.damaged[0]).unlink()
    path.write_bytes(whole)
    assert log.runs.import_spool() == spool.Imported(1, 5)
    assert log.runs.get(1).status == "success"


def test_the_first_three_reasons_are_told_of_what_could_not_be_recorded(log: Any) -> None:
    sink = Sink(no_log, log.url, log.data_dir)
    for number in (1, 1, 2, 3, 4):
        sink.drop(ValueError(number))
    told = "eventlog: 5 things could not be recorded (ValueError: 1; ValueError: 2; ValueError: 3)"
    assert sink.report() == told
    sink.say()
    assert sink.report() is None


def test_what_no_log_would_take_does_not_wait(log: Any) -> None:
    sink = Sink(no_log, log.url, log.data_dir)
    refused = sink.start(RunStarted(command="bad", project_id=5))  # type: ignore[arg-type]
    sink.append(refused, [RunFinished(status="success")])
    run = sink.start(RunStarted(command="good"))
    sink.append(run, [RunMetricLogged(name="m", value=1, step=2**70), RunFinished(status="success")])
    assert (sink.spooled, sink.dropped) == (2, 3)
    told = sink.report()
    assert told is not None
    assert "2 events not in the log (DiskFull" in told
    assert "3 things could not be recorded (InvalidEvent: run.started" in told
    assert "; InvalidEvent: run.metric_logged" in told
    sink._close_file()
    sink.spooled = sink.dropped = 0
    assert log.runs.import_spool() == spool.Imported(1, 2)
    assert [(row.command, row.status) for row in log.runs.list()] == [("good", "success")]


def test_what_a_recorder_tells_in_a_terminal_has_no_controls_in_it(log: Any) -> None:
    path = spooled(log)
    path.write_bytes(path.read_bytes() + rb'{"key":"k","stream":"run-1","at":1,"event":{"type":"\u001b[2J"}}' + b"\n")
    sink = log.runs._sink
    sink.import_waiting()
    sink._drop(1, InvalidInput("no \x9b31m\ud800"))
    told = sink.report()
    assert told is not None and "'\\x1b[2J'" in told and "no \\x9b31m\\ud800" in told
    assert len(told.splitlines()) == 2 and "".join(told.splitlines()).isprintable()
    sink.dropped, sink.told_of_spools = 0, ()


def test_what_waits_is_listed_for_whichever_log(log: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cli(*argv: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main(["--db", str(tmp_path / "log.db"), "runs", *argv])
        assert ended.value.code == 0
        return capsys.readouterr()

    assert cli("spool").err == "nothing waits in a spool file\n"
    own = spooled(log)
    away = Sink(no_log, "http://127.0.0.1:9", None)
    away.start(RunStarted(command="x"))
    before = cli("spool", "--jsonl").out
    told = [msgspec.json.decode(line) for line in before.splitlines()]
    assert [(one["path"], one["state"], one["events"], one["target"]) for one in told] == [
        (str(own), "waiting", 5, log.url), (str(away._paths[0]), "writing", 1, "http://127.0.0.1:9")
    ]  # fmt: skip
    assert cli("recover", "--dry-run").err.startswith("6 events still in the spool")
    assert cli("spool", "--jsonl").out == before
    done = cli("recover").err
    assert "in the log now, after waiting in the spool: 5 events\n" in done
    assert "1 event still in the spool: `eventlog runs spool` says where" in done
    away._close_file()
    away.spooled = 0
    path = spooled(log)
    strange = rb'{"key":"k","stream":"run-1","at":1,"event":{"type":"run.\u001b]0;x\u0007"}}'
    path.write_bytes(path.read_bytes() + strange + b"\n")
    done = cli("recover").err
    assert f"{path}.damaged holds 1 line that cannot be imported" in done and not re.search("[\x1b\x07]", done)
    # What is damaged was imported but for a line.
    assert (
        "1 event still in the spool: `eventlog runs spool` says where, and for which log\n"
        "1 damaged file in the spool: `eventlog runs spool` says where\n"
    ) in done
    assert [one.state for one in spool.waiting(log.data_dir)] == ["waiting", "damaged"]


def test_a_living_writer_is_left_alone(log: Any) -> None:
    sink = Sink(no_log, log.url, log.data_dir)
    sink.start(RunStarted(command="x"))
    assert log.runs.import_spool() == spool.Imported()
    sink._close_file()
    assert log.runs.import_spool().events == 1
    sink.spooled = 0


def test_only_into_the_log_it_belongs_to(log: Any, tmp_path: Path) -> None:
    path = spooled(log)
    with eventlog.open(tmp_path / "second.db") as other:
        assert other.runs.import_spool() == spool.Imported()
    assert path.exists()


def test_a_log_that_was_replaced(tmp_path: Path) -> None:
    """Run numbers of the old log must not reach the new one."""
    db = tmp_path / "log.db"
    with eventlog.open(db) as log:
        number = log.runs.start("old").run_id
        sink = log.runs._sink
        assert sink.log() is log
        log.append = log.append_many = lambda *_, **__: no_log()  # type: ignore[method-assign]
        from eventlog.recorder.sink import RunRef

        sink.append(RunRef("t", 0, number), [RunFinished(status="fail")])
        sink._close_file()
        sink.spooled = 0
    for file in tmp_path.glob("log.db*"):
        file.unlink()
    with eventlog.open(db) as log:
        log.runs.start("new")
        assert log.runs.import_spool() == spool.Imported()
        assert log.runs.get(1).status == "running"


def test_a_folder_of_somebody_else_is_not_trusted(log: Any) -> None:
    path = spooled(log)
    path.parent.chmod(0o777)
    assert log.runs.import_spool() == spool.Imported()
    path.parent.chmod(0o700)
    assert log.runs.import_spool().events == 5


def test_many_events(log: Any) -> None:
    spooled(log, metrics=1200)
    assert log.runs.import_spool().events == 1202
    assert len(log.runs.metrics(1)) == 1200
    assert log.verify().ok


def test_an_import_that_fails_keeps_the_file(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = spooled(log)
    monkeypatch.setattr(log, "append_many", lambda *_: no_log())
    with pytest.raises(DiskFull):
        log.runs.import_spool()
    assert path.exists()
    monkeypatch.undo()
    assert log.runs.import_spool().files == 1
    assert log.runs.count() == 1
