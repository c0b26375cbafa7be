"""`eventlog run`: real processes, with pipes. Bytes, exit codes, signals and the record."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import eventlog
from tests.helpers import eventually
from tests.integration.run_command_support import RUNNER, only_run, run, runs, start, wait_for


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "log" / "log.db"


def test_streams_stay_apart_and_unmodified(db: Path) -> None:
    program = "import sys,os; os.write(1, bytes(range(256))); os.write(2, b'\\xff\\x00err\\r\\n')"
    done = run(db, sys.executable, "-c", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, bytes(range(256)), b"\xff\x00err\r\n")
    recorded = only_run(db)
    assert (recorded.status, recorded.exit_code) == ("success", 0)
    assert recorded.wall_us > 0
    with eventlog.open(db, mode="r") as log:
        out, err = log.runs.output(1)
        assert (out.row.channel, out.row.size_bytes) == ("stdout", 256)
        assert out.row.sha256 == hashlib.sha256(bytes(range(256))).hexdigest()
        assert "\\xff" in err.text
        kept = {artifact.name: artifact.sha256 for artifact in log.runs.artifacts(1)}
    for name, data in (("stdout.log", bytes(range(256))), ("stderr.log", b"\xff\x00err\r\n")):
        path = db.parent / "result" / "1" / "logs" / name
        assert path.read_bytes() == data
        assert kept[name] == hashlib.sha256(data).hexdigest()
        assert path.stat().st_mode & 0o777 == 0o600


def test_output_arrives_at_once(db: Path) -> None:
    program = "import sys,time; sys.stdout.write('now'); sys.stdout.flush(); time.sleep(60)"
    process = start(db, sys.executable, "-c", program)
    assert process.stdout is not None
    assert process.stdout.read(3) == b"now"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM


def test_stdin_passes_through(db: Path) -> None:
    data = os.urandom(300_000)
    assert run(db, "cat", stdin=data).stdout == data


@pytest.mark.parametrize("code", [0, 1, 2, 3, 77, 126, 127, 255])
def test_exit_codes(db: Path, code: int) -> None:
    assert run(db, "sh", "-c", f"exit {code}").returncode == code
    recorded = only_run(db)
    assert (recorded.exit_code, recorded.status) == (code, "fail" if code else "success")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGINT])
def test_a_command_ended_by_a_signal(db: Path, number: signal.Signals) -> None:
    assert run(db, "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number
    recorded = only_run(db)
    assert (recorded.status, recorded.signal, recorded.reason) == ("killed", number, number.name)


def test_not_found_not_executable_and_without_interpreter(db: Path, tmp_path: Path) -> None:
    done = run(db, "no-such-command-here")
    assert (done.returncode, done.stdout) == (127, b"")
    assert b"no-such-command-here" in done.stderr
    plain = tmp_path / "plain"
    plain.write_text("echo from a shell $1\n")
    plain.chmod(0o600)
    assert run(db, str(plain)).returncode == 126
    plain.chmod(0o700)
    assert run(db, str(plain), "x").stdout == b"from a shell x\n"
    assert [(one.status, one.exit_code) for one in runs(db)] == [("success", 0), ("fail", 126), ("fail", 127)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_signals_are_forwarded_once(db: Path, tmp_path: Path, number: signal.Signals) -> None:
    ready, seen = tmp_path / "ready", tmp_path / "seen"
    program = (
        "import signal,sys,time,pathlib\n"
        "count = 0\n"
        "def handler(*_):\n global count; count += 1\n"
        f"signal.signal({int(number)}, handler)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "end = time.monotonic() + 20\n"
        "while not count and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        f"pathlib.Path({str(seen)!r}).write_text(str(count))\n"
    )
    process = start(db, sys.executable, "-c", program)
    wait_for(ready)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert seen.read_text() == "1"
    assert process.returncode == 0
    assert only_run(db).status == "success"


def test_an_interrupt_leaves_things_whole(db: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = start(db, "sh", "-c", f"echo begun; touch {ready}; exec sleep 60")
    wait_for(ready)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"begun\n", b"")
    recorded = only_run(db)
    assert (recorded.status, recorded.signal) == ("killed", signal.SIGINT)
    assert b'"status": "killed"' in (db.parent / "result" / "1" / "meta.json").read_bytes()


def test_a_command_that_exits_because_it_was_asked_to_was_killed(db: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = start(db, "sh", "-c", f"trap 'exit 7' TERM; touch {ready}; while :; do sleep 0.05; done")
    wait_for(ready)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 7
    assert (only_run(db).status, only_run(db).exit_code) == ("killed", 7)


def test_ignored_signals_stay_ignored(db: Path) -> None:
    program = "from signal import *; print(getsignal(SIGHUP), getsignal(SIGPIPE), len(pthread_sigmask(0, [])))"
    nohup = start(db, sys.executable, "-c", program, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    out, _ = nohup.communicate(timeout=30)
    assert out == b"1 1 0\n"  # Python itself ignores SIGPIPE; the mask is empty
    assert run(db, "sh", "-c", "kill -PIPE $$; echo survived").returncode == 128 + signal.SIGPIPE


def test_nobody_reads_our_output(db: Path) -> None:
    read_end, write_end = os.pipe()
    process = start(db, "yes", stdout=write_end)
    os.close(write_end)
    assert os.read(read_end, 2) == b"y\n"
    os.close(read_end)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGPIPE
    assert only_run(db).signal == signal.SIGPIPE


def until(path: Path) -> str:
    """For a shell: wait until there is such a file, or a minute."""
    return f"for i in $(seq 1200); do [ -e {path} ] && break; sleep 0.05; done"


def test_a_grandchild_that_keeps_the_pipe_does_not_hold_us(db: Path, tmp_path: Path) -> None:
    go, mark = tmp_path / "go", tmp_path / "mark"
    done = run(db, "sh", "-c", f"(trap '' HUP; {until(go)}; echo late; touch {mark}) & echo early")
    assert (done.returncode, done.stdout) == (0, b"early\n")
    assert only_run(db).status == "success"
    go.touch()
    wait_for(mark, 10)  # it was not killed by writing to a pipe without a reader


def test_a_grandchild_still_reaches_a_file(db: Path, tmp_path: Path) -> None:
    go, target = tmp_path / "go", tmp_path / "target"
    with target.open("wb") as file:
        assert run(db, "sh", "-c", f"({until(go)}; echo late) & echo early", stdout=file).returncode == 0
    assert target.read_bytes() == b"early\n"
    go.touch()
    eventually(lambda: target.read_bytes() == b"early\nlate\n")


def test_one_place_for_both_streams_keeps_their_order(db: Path, tmp_path: Path) -> None:
    with (tmp_path / "both").open("wb") as file:
        run(db, "sh", "-c", "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done", stdout=file, stderr=file)
    expected = b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1, 6))
    assert (tmp_path / "both").read_bytes() == expected
    assert (db.parent / "result/1/logs/stdout.log").read_bytes() == expected


def test_peak_memory_is_the_commands_own_and_not_that_of_whoever_records_it(db: Path) -> None:
    grown = "held = b'x' * (200 << 20)\n" + RUNNER
    for command in (["true"], [sys.executable, "-c", "held = bytearray(300 << 20)"]):
        subprocess.run([sys.executable, "-c", grown, str(db), *command], check=True, timeout=60)
    with eventlog.open(db, mode="r") as log:
        assert log.runs.get(1).peak_memory_bytes is None
        assert 300 < log.runs.get(2).peak_memory_bytes / (1 << 20) < 400


def test_closed_standard_streams(db: Path) -> None:
    null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = start(db, "sh", "-c", "echo x; exit 4", preexec_fn=lambda: os.closerange(0, 3), **null)
    assert process.wait(timeout=30) == 4


@pytest.mark.feature("S2-6")
def test_a_lot_of_output_uses_no_memory(db: Path, tmp_path: Path) -> None:
    size = int(os.environ.get("EVENTLOG_TEST_OUTPUT_MB", "64"))
    script = (
        "import sys; import eventlog; from eventlog.recorder.command import run_command;"
        "code = run_command(sys.argv[2:], opener=eventlog.open, log_target=sys.argv[1]);"
        "sys.stderr.write(next(l for l in open('/proc/self/status') if 'VmHWM' in l).split()[1]); sys.exit(code)"
    )
    producer = f"import os\nfor _ in range({size}): os.write(1, b'0123456789abcde\\n' * 65536)"
    with open(os.devnull, "wb") as null:
        done = subprocess.run(
            [sys.executable, "-c", script, str(db), sys.executable, "-c", producer],
            stdout=null, stderr=subprocess.PIPE, check=True, timeout=300,
        )  # fmt: skip
    assert int(done.stderr) < 120 * 1024
    log_file = db.parent / "result/1/logs/stdout.log"
    assert log_file.stat().st_size == size << 20
    with eventlog.open(db, mode="r") as log:
        (out, *_) = log.runs.output(1)
        assert out.row.size_bytes == size << 20
        assert len(out.text) == 4096


def test_secrets_stay_out_of_the_record_and_pass_through(db: Path) -> None:
    secret = "ghp_" + "a1B2c3D4" * 5
    done = run(
        db, "sh", "-c", f"echo token {secret}; echo password=hunter22 >&2", env={**os.environ, "MY_TOKEN": secret}
    )
    assert secret.encode() in done.stdout
    assert done.stderr == b"password=hunter22\n"
    for path in db.parent.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
            assert b"hunter22" not in path.read_bytes(), path


def test_inputs_parent_and_metadata(db: Path, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("a,b\n")
    script = (
        "import sys; import eventlog; from eventlog.recorder.command import run_command;"
        "sys.exit(run_command(sys.argv[3:], opener=eventlog.open, log_target=sys.argv[1],"
        " inputs=[sys.argv[2]], project='p', note='n',"
        " tags={'k': 'v'}, parameters={'lr': 0.1}))"
    )
    inner = [sys.executable, "-c", RUNNER, str(db), "sh", "-c", "echo $EVENTLOG_PARENT_RUN"]
    done = subprocess.run(
        [sys.executable, "-c", script, str(db), str(source), *inner], capture_output=True, check=True, timeout=60
    )
    child, parent = runs(db)
    assert (parent.project_id, parent.note, parent.tags, parent.parameters) == ("p", "n", {"k": "v"}, {"lr": 0.1})
    assert child.parent_run_id == parent.run_id == 1
    assert done.stdout.decode().strip().endswith(":2")
    assert (db.parent / "result/1/input/data.csv").read_text() == "a,b\n"
    missing = subprocess.run(
        [sys.executable, "-c", script, str(db), str(tmp_path / "none"), "true"], capture_output=True, timeout=60
    )
    assert missing.returncode == 2
    assert len(runs(db)) == 2


def test_a_killed_recorder_leaves_a_run_that_the_next_one_marks_lost(db: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    process = start(db, "sh", "-c", f"echo $$ > {ready}.pid; touch {ready}; exec sleep 60")
    wait_for(ready)
    process.kill()
    process.communicate(timeout=30)
    os.kill(int(Path(f"{ready}.pid").read_text()), signal.SIGKILL)
    assert only_run(db).status == "running"
    run(db, "true")
    latest, lost = runs(db)
    assert (latest.status, lost.status) == ("success", "lost")
    assert "no longer there" in lost.reason
