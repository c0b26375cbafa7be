"""``eventlog sessions dual-write``: what its commands say, as text and as JSON, and how they exit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import eventlog
from tests.integration.test_cli_commands import Cli


@pytest.mark.feature("S1-5")
def test_from_enabling_to_cutting_over(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "log.db")
    with eventlog.open(tmp_path / "log.db") as log:
        log.sessions.create(session_id="a", title="hunter2")
    folder = tmp_path / "store"
    assert cli("sessions", "dual-write", "status").stderr == "sessions are not mirrored\n"
    assert "not mirrored" in cli("sessions", "dual-write", "sync", status=1).stderr
    done = cli.json("sessions", "dual-write", "enable", str(folder), "--snake-case")
    assert (done["written_files"], done["failures"]) == (1, 0)
    cli("sessions", "message", "a", "hello")
    assert b'"chat_messages"' in (folder / "a.json").read_bytes()
    assert cli.json("sessions", "dual-write", "sync")["unchanged_files"] == 1
    (folder / "a.json").write_text("{}")
    found = cli.json("sessions", "dual-write", "check", status=3)
    assert (found["different"], found["clean_checks"]) == (1, 0)
    assert "store/a.json: chatMessages (missing)" in found["paths"]
    told = cli("sessions", "dual-write", "check", "--repair", "-n", "1", status=3).stdout
    assert told.count("store/a.json") == 1 and "1 file written" in told and "hunter2" not in told
    assert cli("sessions", "dual-write", "check").stdout.endswith("clean checks in a row: 1\n")
    assert "1 more is needed" in cli("sessions", "dual-write", "cut-over", "--after", "2", status=1).stderr
    listed = cli.json("sessions", "dual-write", "status", "--checks", "2")
    assert [one["different"] for one in listed] == [0, 1]
    [status] = cli.json("sessions", "dual-write", "status")
    assert (status["mirror"]["state"], status["mirror"]["clean_checks"], status["error_rate"]) == ("enabled", 1, 0.0)
    assert cli("sessions", "dual-write", "status", "--as-of", "1").stderr == "sessions are not mirrored\n"
    assert cli.json("sessions", "dual-write", "cut-over", "--after", "1")["state"] == "cut over"
    assert "cut over" in cli("sessions", "dual-write", "status").stdout
    cli("sessions", "dual-write", "enable", str(folder), "--no-sync")
    assert "its files stay" in cli("sessions", "dual-write", "disable").stdout


def test_what_cannot_be_written_is_told_and_the_command_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cli = Cli(tmp_path / "log.db")
    folder = tmp_path / "store"
    cli("sessions", "create", "--id", "a", "first")
    cli("sessions", "dual-write", "enable", str(folder))
    os.rename(folder, tmp_path / "aside")
    cli("sessions", "message", "a", "hello")
    assert "could not be written (No such file or directory)" in caplog.text
    [status] = cli.json("sessions", "dual-write", "status")
    assert (status["mirror"]["failures"], status["error_rate"]) == (1, 1.0)
    assert "1 could not be written: No such file" in cli("sessions", "dual-write", "sync", status=3).stdout
    os.rename(tmp_path / "aside", folder)
    assert "1 file written" in cli("sessions", "dual-write", "sync").stdout
    assert b"hello" in (folder / "a.json").read_bytes()
