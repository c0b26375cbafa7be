from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from eventlog.app import Log
from eventlog.errors import Conflict, IllegalTransition, InvalidInput, LogReadOnly, NotFound
from eventlog.exporters.session_form import canonical
from eventlog.importers.formats import format_of
from eventlog.importers.run import import_paths
from eventlog.mirror.files import LOCK, MirrorFolder
from tests.conftest import OpenLog
from tests.projections.reference import check_every_way

pytestmark = pytest.mark.alike


def mirrored(log: Log, folder: Path, **options: Any) -> Path:
    log.dual_write.enable(folder, **options)
    log.dual_write.sync()
    return folder


def content(folder: Path, session_id: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((folder / f"{session_id}.json").read_text())
    return made


def names(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name != LOCK)


def test_each_command_writes_the_file_after_the_append(log: Log, tmp_path: Path) -> None:
    log.sessions.create(session_id="old", title="Before")
    folder = mirrored(log, tmp_path / "sessions")
    assert names(folder) == ["old.json"]
    workspace = log.workspaces.register("/home/ann/shop")
    log.sessions.create(session_id="a", title="Fix it", workspace_id=workspace.workspace_id, metadata={"colour": "red"})
    log.sessions.add_message("a", "user", "Hello", message_id="m1")
    log.sessions.create_instance("a", instance_id="i", agent="claude", worktree_path="/tmp/wt")
    log.sessions.update_instance_status("a", "i", "completed", output="done")
    log.sessions.set_status("a", "completed")
    made = content(folder, "a")
    assert list(made)[:4] == ["id", "type", "status", "task"]
    assert (made["status"], made["task"], made["workspacePath"], made["colour"]) == (
        *("completed", "Fix it", "/home/ann/shop"),
        "red",
    )
    assert made["workspaceHash"] == workspace.path_sha256
    assert made["completedAt"] == made["updatedAt"]
    assert made["chatMessages"][0] | {"timestamp": ""} == {
        "id": "m1",
        "role": "user",
        "content": "Hello",
        "timestamp": "",
    }
    assert made["instances"][0]["output"] == "done"
    assert made["instances"][0]["endTime"] >= made["instances"][0]["startTime"]
    assert stat.S_IMODE((folder / "a.json").stat().st_mode) == 0o600
    log.sessions.fork("a", new_session_id="b")
    log.sessions.delete("old")
    assert names(folder) == ["a.json", "b.json"]
    found = log.dual_write.check()
    assert (found.clean, found.sessions, found.files, found.paths) == (True, 2, 2, [])


def test_spelling(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions", spelling="snake_case")
    log.sessions.create(session_id="a", title="x")
    log.sessions.add_message("a", "user", "Hello")
    assert {"created_at", "chat_messages"} < set(content(folder, "a"))
    assert log.dual_write.check().clean
    log.dual_write.enable(folder, spelling="camelCase")
    assert log.dual_write.sync().written_files == 1
    assert "chatMessages" in content(folder, "a")
    with pytest.raises(InvalidInput, match="camelCase or snake_case"):
        log.dual_write.enable(folder, spelling="kebab-case")  # type: ignore[arg-type]


def test_a_transaction_is_mirrored_once_it_is_committed(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    with log.transaction():
        log.sessions.create(session_id="a")
        log.sessions.add_message("a", "user", "one")
        assert names(folder) == []
    assert len(content(folder, "a")["chatMessages"]) == 1
    with pytest.raises(ZeroDivisionError), log.transaction():
        log.sessions.add_message("a", "user", "two")
        raise ZeroDivisionError
    log.sessions.set_status("a", "idle")
    assert len(content(folder, "a")["chatMessages"]) == 1
    log.sessions.rewind("a", None)
    assert content(folder, "a")["chatMessages"] == []


def test_what_others_changed_is_brought_in_line(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    workspace = log.workspaces.register("/old/place")
    log.sessions.create(session_id="a", workspace_id=workspace.workspace_id)
    given = tmp_path / "in" / "new.json"
    given.parent.mkdir()
    given.write_text(json.dumps({"id": "new", "task": "t", "messages": [{"id": "1", "role": "user", "content": "x"}]}))
    import_paths(log, log.projections, format_of("sessions-json"), [given], data_dir=tmp_path)
    log.workspaces.move(workspace.workspace_id, "/new/place")
    [status] = log.dual_write.status()
    assert status.records_behind == 3
    done = log.dual_write.sync()
    assert (done.written_files, done.failures) == (2, 0)
    assert content(folder, "a")["workspacePath"] == "/new/place"
    assert canonical(content(folder, "new")) == canonical(json.loads(given.read_text()))
    head = log.head()
    assert log.dual_write.sync().written_files == 0
    assert log.head() == head


@pytest.mark.feature("S1-5")
def test_a_check_tells_what_is_wrong_by_path_and_repairs(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    for name in ("a", "b", "c", "d"):
        log.sessions.create(session_id=name, title=name)
        log.sessions.add_message(name, "user", "What it says", message_id=f"{name}1")
    (folder / "a.json").unlink()
    changed = content(folder, "b")
    changed["chatMessages"][0]["content"] = "hunter2 was here"
    changed["more"] = 1
    (folder / "b.json").write_text(json.dumps(changed))
    (folder / "c.json").write_bytes(b'{"id": "c", "hunter2')
    (folder / "stranger.json").write_text('{"id": "stranger", "task": "?"}')
    (folder / "index.json").write_text('{"version": 1}')
    found = log.dual_write.check(repair=True)
    assert (found.missing, found.extra, found.different, found.sessions) == (1, 1, 2, 4)
    assert found.paths == [
        "sessions/a.json: missing",
        "sessions/b.json: chatMessages[0].content",
        "sessions/b.json: more (extra)",
        "sessions/c.json: not valid JSON",
        "sessions/stranger.json: extra",
    ]
    assert found.repaired is not None
    assert found.repaired.written_files == 3
    assert all("hunter2" not in str(record.row) for record in log.read())
    again = log.dual_write.check()
    assert (again.missing, again.extra, again.different, again.clean_checks) == (0, 1, 0, 0)
    (folder / "stranger.json").unlink()
    assert log.dual_write.check().clean_checks == 1
    first, last = log.dual_write.checks()[-1], log.dual_write.checks()[0]
    assert (first.paths, last.paths) == (found.paths, [])
    assert first.digest == last.digest == found.digest
    log.sessions.set_status("a", "idle")
    assert log.dual_write.check().digest != found.digest


def test_key_order_spelling_and_forms_of_times_do_not_count(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    log.sessions.create(session_id="a", title="x")
    log.sessions.add_message("a", "user", "Hello", occurred_at=1_736_760_000_000_000)
    made = content(folder, "a")
    message = made.pop("chatMessages")[0]
    made["chat_history"] = [dict(reversed({**message, "timestamp": 1736760000}.items()))]
    made["created_at"] = made.pop("createdAt").replace("Z", "+00:00")
    made["completedAt"] = None
    (folder / "a.json").write_text(json.dumps(dict(reversed(made.items()))))
    assert log.dual_write.check().clean


def test_cut_over_wants_clean_checks_in_a_row(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    log.sessions.create(session_id="a")
    with pytest.raises(IllegalTransition, match="0 of 3 clean checks in a row: 3 more are needed"):
        log.dual_write.cut_over()
    log.dual_write.check()
    log.dual_write.check()
    with pytest.raises(IllegalTransition, match="1 more is needed"):
        log.dual_write.cut_over()
    (folder / "a.json").unlink()
    assert log.dual_write.check(repair=True).clean_checks == 0
    for _ in range(2):
        log.dual_write.check()
    assert log.dual_write.cut_over(after=2).state == "cut over"
    log.sessions.set_status("a", "later")
    assert content(folder, "a")["status"] == "active"
    for command in (log.dual_write.check, log.dual_write.sync, log.dual_write.disable, log.dual_write.cut_over):
        with pytest.raises(NotFound, match="not mirrored"):
            command()
    assert log.dual_write.status()[0].mirror.state == "cut over"
    with pytest.raises(InvalidInput):
        log.dual_write.cut_over(after=0)


def test_one_mirror_at_a_time(log: Log, tmp_path: Path) -> None:
    mirrored(log, tmp_path / "one")
    head = log.head()
    log.dual_write.enable(tmp_path / "one")
    assert log.head() == head
    with pytest.raises(Conflict, match="disable that first"):
        log.dual_write.enable(tmp_path / "two")
    log.dual_write.disable()
    log.sessions.create(session_id="a")
    assert names(tmp_path / "one") == []
    mirrored(log, tmp_path / "two")
    assert names(tmp_path / "two") == ["a.json"]
    assert [one.state for one in log.dual_write.list()] == ["enabled", "disabled"]
    (tmp_path / "file").write_text("")
    log.dual_write.disable()
    with pytest.raises(InvalidInput, match="cannot be written"):
        log.dual_write.enable(tmp_path / "file")


def break_with_a_file(folder: Path) -> None:
    os.rename(folder, folder.with_name("aside"))
    folder.write_text("")


def break_with_a_folder(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.json").unlink(missing_ok=True)
        (folder / f"{name}.json" / "in").mkdir(parents=True)


@pytest.mark.feature("S1-5")
@pytest.mark.parametrize("broken", [break_with_a_file, break_with_a_folder])
def test_a_mirror_that_fails_loses_nothing(
    log: Log, tmp_path: Path, broken: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    log.sessions.create(session_id="a", title="hunter2")
    log.dual_write.check()
    broken(folder)
    with caplog.at_level(logging.WARNING):
        for number in range(10):
            log.sessions.add_message("a", "user", f"hunter2 {number}")
        log.sessions.create(session_id="b")
    assert len(log.sessions.thread("a")) == 10
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text
    failed = [record for record in log.read() if record.type == "mirror.failed"]
    assert [record.event.failures for record in failed] == [1, 2, 4]  # the rest is told with the next
    [status] = log.dual_write.status()
    assert status.mirror.failures + status.untold_failures == 11
    assert 0.9 < status.error_rate <= 1
    assert status.mirror.clean_checks == 0
    assert log.dual_write.sync().failures == 2
    found = log.dual_write.check()
    assert found.missing + found.different == 2
    with pytest.raises(IllegalTransition):
        log.dual_write.cut_over(after=1)
    if folder.is_file():
        folder.unlink()
        os.rename(folder.with_name("aside"), folder)
    else:
        for name in ("a", "b"):
            (folder / f"{name}.json" / "in").rmdir()
            (folder / f"{name}.json").rmdir()
    done = log.dual_write.sync()
    assert (done.written_files, done.failures) == (2, 0)
    assert log.dual_write.check().clean
    assert len(content(folder, "a")["chatMessages"]) == 10
    assert log.dual_write.status()[0].mirror.failures == 13
    if broken is break_with_a_file:
        check_every_way(log)


KILLED = """
import os, signal, sys
import eventlog
from eventlog.mirror.files import MirrorFolder
target, what = sys.argv[1:]
log = eventlog.open(target)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if what == "before":
    MirrorFolder.lock = die
else:
    os.replace = die
log.sessions.add_message("a", "user", "the last words")
"""


@pytest.mark.shared
@pytest.mark.parametrize("what", ["before", "half-way"])
def test_killed_between_the_append_and_the_file(open_log: OpenLog, target: str, tmp_path: Path, what: str) -> None:
    with open_log() as log:
        folder = mirrored(log, tmp_path / "sessions")
        log.sessions.create(session_id="a")
    done = subprocess.run([sys.executable, "-c", KILLED, target, what], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    log = open_log()
    assert len(log.sessions.thread("a")) == 1
    assert content(folder, "a")["chatMessages"] == []
    assert log.dual_write.check().paths == ["sessions/a.json: chatMessages (missing)", "sessions/a.json: updatedAt"]
    assert log.dual_write.sync().written_files == 1
    assert content(folder, "a")["chatMessages"][0]["content"] == "the last words"
    assert names(folder) == ["a.json"]
    assert log.dual_write.check().clean


FULL_DISK = """
import resource, signal, sys
import eventlog
from eventlog.mirror import files
target = sys.argv[1]
log = eventlog.open(target)
write = files.MirrorFolder.write
def limited(*given):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        return write(*given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
files.MirrorFolder.write = limited
log.sessions.add_message("a", "user", "more than fits")
"""


@pytest.mark.shared
def test_no_room_for_the_file(open_log: OpenLog, target: str, tmp_path: Path) -> None:
    log = open_log()
    folder = mirrored(log, tmp_path / "sessions")
    log.sessions.create(session_id="a")
    before = (folder / "a.json").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, target], timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stderr
    assert (folder / "a.json").read_bytes() == before
    assert names(folder) == ["a.json"]
    assert len(log.sessions.thread("a")) == 1
    assert log.dual_write.status()[0].mirror.last_error == "File too large"
    assert log.dual_write.sync().written_files == 1
    assert log.dual_write.check().clean


@pytest.mark.shared
def test_many_writers_at_once(open_log: OpenLog, tmp_path: Path) -> None:
    one, two = open_log(), open_log()
    folder = mirrored(one, tmp_path / "sessions")
    one.sessions.create(session_id="a")

    def talk(log: Log) -> None:
        for number in range(8):
            log.sessions.add_message("a", "user", f"{number}", parent_id=None)

    threads = [threading.Thread(target=talk, args=(log,)) for log in (one, one, two, two)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert content(folder, "a")["id"] == "a"  # whole at any time
    for thread in threads:
        thread.join()
    assert len(content(folder, "a")["chatMessages"]) == 32
    assert one.dual_write.check().clean
    assert one.dual_write.status()[0].mirror.failures == 0


def test_secrets_are_masked_in_files(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    secret = "ghp_" + "a1B2" * 9
    log.sessions.create(session_id="a", title=f"use {secret}", metadata={"apiKey": "hush hush hush"})
    log.sessions.add_message("a", "user", f"it is {secret}")
    text = (folder / "a.json").read_text()
    assert secret not in text
    assert "hush" not in text
    assert log.dual_write.check().clean
    head = log.head()
    import_paths(log, log.projections, format_of("sessions-json"), [folder], data_dir=tmp_path)
    assert [record for record in log.read(after=head.position) if record.stream == "session-a"] == []


def test_ids_that_cannot_be_names(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    ids = ["..a", "a:b", "ä b%", "x" * 200, ".hidden"]
    for one in ids:
        log.sessions.create(session_id=one)
    assert len(names(folder)) == len(ids)
    assert log.dual_write.check().clean
    plain = MirrorFolder(folder)
    assert all(plain.id_of(plain.name(one)) in (one, None) for one in ids)
    log.sessions.delete("a:b")
    assert len(names(folder)) == len(ids) - 1


def test_a_session_is_read_from_its_file_or_else_from_the_log(log: Log, tmp_path: Path) -> None:
    log.sessions.create(session_id="a", title="x")
    assert log.dual_write.read("a")["task"] == "x"
    folder = mirrored(log, tmp_path / "sessions")
    (folder / "a.json").write_text('{"id": "a", "task": "from the file"}')
    assert log.dual_write.read("a")["task"] == "from the file"
    for bad in ("", "[]", '{"id"'):
        (folder / "a.json").write_text(bad)
        assert log.dual_write.read("a")["task"] == "x"
    (folder / "a.json").unlink()
    assert log.dual_write.read("a")["task"] == "x"
    with pytest.raises(NotFound):
        log.dual_write.read("b")


def test_the_past_can_be_asked_and_not_changed(log: Log, tmp_path: Path) -> None:
    mirrored(log, tmp_path / "sessions")
    log.sessions.create(session_id="a", title="one")
    before = log.head().position
    log.sessions.update("a", title="two")
    log.dual_write.disable()
    with log.as_of(before) as past:
        assert past.dual_write.status()[0].mirror.state == "enabled"
        document = past.dual_write.document("a")
        assert document is not None
        assert document["task"] == "one"
        with pytest.raises(LogReadOnly):
            past.dual_write.disable()


def test_a_folder_that_others_planted_things_in(log: Log, tmp_path: Path) -> None:
    folder = mirrored(log, tmp_path / "sessions")
    precious = tmp_path / "precious"
    precious.write_text("untouched")
    (folder / "a.json").symlink_to(precious)
    (folder / ".a.json.part").symlink_to(precious)
    log.sessions.create(session_id="a")
    assert precious.read_text() == "untouched"
    assert not (folder / "a.json").is_symlink()
    (folder / "a.json").unlink()
    (folder / "a.json").symlink_to(precious)
    assert log.dual_write.check(repair=True).paths == ["sessions/a.json: not a file"]
    assert content(folder, "a")["id"] == "a"
