"""Files that are not a log, or not one for us: a clear message, and not one byte changed."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from under_fire import Ticked, assert_sound, environment, fill, fingerprint, open_log, pages_in_order, raw, run, start

import eventlog
from eventlog.errors import (
    Corrupt,
    EventLogError,
    LogBusy,
    LogMissing,
    LogReadOnly,
    NotALog,
    SchemaTooNew,
    UnsupportedFilesystem,
)
from eventlog.store import environment as surroundings
from eventlog.store.sqlite import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed log with some life in it."""
    place = tmp_path / "place"
    place.mkdir()
    with open_log(place / "log.db") as log:
        fill(log, 300, text="x" * 300)
    return place / "log.db"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventlog", *map(str, arguments)], capture_output=True, text=True, env=environment()
    )


def refused_everywhere(path: Path, error: type[EventLogError], *words: str) -> None:
    """The library and the command both refuse, in words, in either mode, and the folder stays as it was."""
    before = fingerprint(path.parent)
    for mode in ("rw", "r"):
        with pytest.raises(error) as refused:
            open_log(path, mode=mode).close()
        for word in (path.name, *words):
            assert word in str(refused.value)
    done = command("--db", path, "runs", "list")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert fingerprint(path.parent) == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with raw(path) as other:
        other.execute("CREATE TABLE users (name)")
        other.execute("INSERT INTO users VALUES ('kept')")
    refused_everywhere(path, NotALog, "not an event log")


def test_another_programs_events_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with raw(path) as other:
        other.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, what TEXT)")
        other.execute("PRAGMA user_version = 2")
    refused_everywhere(path, NotALog)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"SQLite format 3\0", random.Random(1).randbytes(8192)],
    ids=["empty", "text", "magic", "noise"],
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.db"
    path.write_bytes(content)
    refused_everywhere(path, NotALog)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotALog):
        open_log(tmp_path)


def test_a_missing_log_is_not_made_by_reading(tmp_path: Path) -> None:
    for options in ({"mode": "r"}, {"create": False}):
        with pytest.raises(LogMissing):
            open_log(tmp_path / "no.db", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema_is_refused(path: Path) -> None:
    with raw(path) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1}")
    refused_everywhere(path, SchemaTooNew, "upgrade")


def test_a_crafted_database_whose_events_are_an_endless_view_is_refused_at_once(path: Path) -> None:
    with raw(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("ALTER TABLE events RENAME TO hidden")
        connection.execute(
            "CREATE VIEW events AS WITH RECURSIVE endless(position) AS "
            "(SELECT 1 UNION ALL SELECT position + 1 FROM endless) "
            "SELECT position, 'a-1' stream, 1 version, 'a.b' type, 1 schema, 0 occurred_at, 0 recorded_at, NULL key, "
            "NULL actor, NULL correlation, NULL causation, '{}' data, NULL metadata, x'00' hash FROM endless"
        )
    lines = run("try_to_open", path, timeout_s=20)
    assert lines[0] in {"Corrupt", "NotALog"}, lines


@pytest.mark.parametrize("what", ["missing", "changed", "foreign"])
def test_a_missing_changed_or_foreign_trigger_is_found_at_the_next_open(path: Path, what: str) -> None:
    with raw(path) as connection:
        if what == "foreign":
            connection.execute("CREATE TRIGGER spy AFTER INSERT ON events BEGIN DELETE FROM runs; END")
        else:
            connection.execute("DROP TRIGGER events_no_update")
        if what == "changed":
            connection.execute("CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT 1; END")
    with pytest.raises(Corrupt) as found:
        open_log(path).close()
    assert "trigger" in str(found.value) and ("spy" if what == "foreign" else "events_no_update") in str(found.value)
    assert command("--db", path, "db", "migrate").returncode == 0
    assert_sound(path)


def damage(path: Path, page: int, size: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(random.Random(page).randbytes(size))


def test_a_damaged_page_is_reported_wherever_it_is_and_never_as_a_traceback(path: Path) -> None:
    whole = path.read_bytes()
    pages = len(whole) // 4096
    silent: list[int] = []
    for page in range(2, pages + 1, max(1, pages // 9)):
        damage(path, page)
        damaged = path.read_bytes()
        lines = run("check_everything", path)
        if lines == ["sound"]:
            silent.append(page)
        assert path.read_bytes() == damaged, "looking at a damaged log changes nothing"
        path.write_bytes(whole)
        for extra in ("-wal", "-shm"):
            path.with_name(path.name + extra).unlink(missing_ok=True)
    assert silent == []
    damage(path, 1)
    refused_everywhere(path, NotALog)


def test_a_damaged_page_gives_the_command_one_line_and_status_1(path: Path) -> None:
    for page in (2, path.stat().st_size // 4096 // 2, path.stat().st_size // 4096 - 1):
        whole = path.read_bytes()
        damage(path, page)
        done = command("--db", path, "db", "check")
        assert done.returncode == 1, (page, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr + done.stdout
        path.write_bytes(whole)


def flip(path: Path, content: bytes) -> None:
    """The first byte of this content has its highest bit flipped, and is no text any more."""
    whole = bytearray(path.read_bytes())
    whole[whole.index(content)] ^= 0x80
    path.write_bytes(whole)


@pytest.mark.parametrize("content", [b"STRICT", b"events are immutable"], ids=["table", "trigger"])
def test_a_schema_that_is_no_text_any_more_is_reported_as_damage(path: Path, tmp_path: Path, content: bytes) -> None:
    """SQLite quotes it in what it says, which Python cannot decode then."""
    assert command("--db", path, "db", "backup", tmp_path / "backup.db").returncode == 0
    flip(path, content)
    refused_everywhere(path, Corrupt, "damaged")
    done = command("--db", path, "db", "check")
    assert done.returncode == 1 and "damaged" in done.stdout and "bug" not in done.stdout + done.stderr, done
    assert "bug" not in command("--db", path, "db", "migrate").stderr
    done = command("--db", path, "db", "restore", "--yes", tmp_path / "backup.db")
    assert done.returncode == 0, done.stderr
    assert_sound(path)


def test_a_truncated_file_is_reported(path: Path) -> None:
    size = path.stat().st_size
    for keep in (size - 4096, size // 2, 4096, 8192, 100, size - 17):
        copy = path.with_name(f"cut{keep}.db")
        copy.write_bytes(path.read_bytes()[:keep])
        assert run("check_everything", copy) != ["sound"], keep


MOUNTS = {
    "nfs4": "server:/export /mnt/net nfs4 rw 0 0",
    "nfs": "server:/export /mnt/net nfs rw 0 0",
    "cifs": "//server/share /mnt/net cifs rw 0 0",
    "lustre": "mds@tcp:/fs /mnt/net lustre rw 0 0",
    "9p": "host /mnt/net 9p rw 0 0",
    "virtiofs": "tag /mnt/net virtiofs rw 0 0",
    "fuse.sshfs": "me@server: /mnt/net fuse.sshfs rw 0 0",
    "fuse": "thing /mnt/net fuse rw 0 0",
}


@pytest.mark.parametrize("kind", MOUNTS)
@pytest.mark.parametrize("name", ["net", "with space", "café", "tab\there", "back\\slash"])
def test_network_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    written = str(folder).replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")
    table = tmp_path / "mounts"
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\n{MOUNTS[kind].replace('/mnt/net', written)}\n")
    monkeypatch.setattr(surroundings, "MOUNT_TABLE", str(table))
    with pytest.raises(UnsupportedFilesystem) as refused:
        open_log(folder / "log.db")
    assert kind in str(refused.value) and "PostgreSQL" in str(refused.value)
    assert list(folder.iterdir()) == []
    open_log(tmp_path / "local.db").close()


def test_a_link_into_a_network_file_system_is_refused_and_a_local_disk_below_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote, local = tmp_path / "remote", tmp_path / "remote" / "local"
    local.mkdir(parents=True)
    (tmp_path / "link.db").symlink_to(remote / "log.db")
    table = tmp_path / "mounts"
    table.write_text(f"/dev/sda1 / ext4 rw 0 0\ns:/x {remote} nfs4 rw 0 0\n/dev/sdb1 {local} xfs rw 0 0\n")
    monkeypatch.setattr(surroundings, "MOUNT_TABLE", str(table))
    with pytest.raises(UnsupportedFilesystem):
        open_log(tmp_path / "link.db")
    open_log(local / "log.db").close()


def read_all(path: Path, **options: object) -> int:
    with open_log(path, **options) as log:
        assert log.verify().ok
        assert log.runs.count() > 0
        return sum(1 for _ in log.read())


def test_a_read_only_file_is_read_and_refuses_events(path: Path) -> None:
    expected = read_all(path)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        before = fingerprint(path.parent)
        lines = run("read_without_rights", path)
        assert lines == [f"read {expected}", "LogReadOnly"]
        assert fingerprint(path.parent) == before
    finally:
        path.parent.chmod(0o700)
        path.chmod(0o600)
    assert_sound(path)


def test_a_log_in_a_folder_that_cannot_be_written_is_read_while_nobody_writes_and_while_somebody_does(
    path: Path,
) -> None:
    with open_log(path) as log:
        fill(log, 20)
    expected = read_all(path, mode="r")
    with open_log(path) as log:
        log.append("fire-1", Ticked())
    assert not path.with_name("log.db-wal").exists()
    path.parent.chmod(0o555)
    try:
        before = sorted(os.listdir(path.parent))
        assert run("read_without_rights", path) == [f"read {expected + 1}", "LogReadOnly"]
        assert sorted(os.listdir(path.parent)) == before
        reader = start("read_again_and_again_without_rights", path, stdin=subprocess.PIPE)
        assert reader.stdout is not None and reader.stdin is not None
        assert reader.stdout.readline().split() == ["read", str(expected + 1)]
        with open_log(path) as log:  # root is kept out of no folder
            fill(log, 30)
            head = log.head().position
            reader.stdin.write("again\n")
            reader.stdin.flush()
            assert reader.stdout.readline().split() == ["read", str(head)]
        reader.stdin.write("again\n")
        reader.stdin.flush()
        assert reader.stdout.readline().split() == ["read", str(head)]
        assert reader.communicate(timeout=60)[0] == "" and reader.returncode == 0
    finally:
        path.parent.chmod(0o700)
    assert_sound(path)


def test_a_table_that_waits_where_nothing_can_be_written_says_of_when_it_is(tmp_path: Path) -> None:
    path = tmp_path / "place" / "log.db"
    with open_log(path) as log:
        log.sessions.create(session_id="s")
        log.sessions.add_message("s", "user", "needle")
    path.parent.chmod(0o555)
    try:
        told = run("search_without_rights", path)
    finally:
        path.parent.chmod(0o700)
    assert told[0] == "0" and "as of version" in told[1]
    with open_log(path) as log:
        assert len(log.search.find("needle")) == 1


def test_what_is_read_without_locks_while_somebody_writes_is_not_passed_for_the_truth(path: Path) -> None:
    with open_log(path) as log:
        fill(log, 20)
    store = SQLiteStore(path, writable=False)
    connection = store._connect_apart()
    assert connection is not None
    with contextlib.closing(store), contextlib.closing(connection):
        taken = connection.taken  # type: ignore[attr-defined]
        assert taken is not None and not store._is_outdated(taken)
        store._check_taken(taken)
        with open_log(path) as log:
            fill(log, 10)
            assert store._is_outdated(taken)
            store._check_taken(taken)  # it was true when it was read
        with pytest.raises(LogBusy, match="ask again"):
            store._check_taken(taken)


def test_events_beside_a_file_in_a_folder_that_cannot_be_written_are_not_passed_over(path: Path) -> None:
    run("append_and_die", path, 20)
    path.with_name("log.db-shm").unlink()
    path.parent.chmod(0o555)
    try:
        assert run("say_why_not_read_without_rights", path) == ["LogReadOnly: the folder, a copy"]
    finally:
        path.parent.chmod(0o700)
    assert_sound(path)


def test_mode_r_reads_and_refuses_events_and_sees_what_others_append(path: Path) -> None:
    with open_log(path, mode="r") as reader, open_log(path) as writer:
        with pytest.raises(LogReadOnly):
            fill(reader, 10)
        with pytest.raises(LogReadOnly):
            reader.projections.rebuild()
        before = reader.head().position
        fill(writer, 10)
        assert reader.head().position == writer.head().position > before


def test_a_read_only_mount_is_read_and_refuses_events(tmpfs: Callable[[float], Path]) -> None:
    folder = tmpfs(16)
    path = folder / "log.db"
    with open_log(path) as log:
        fill(log, 200)
        head = log.head()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for mode in ("r", "rw"):
        try:
            with open_log(path, mode=mode) as log:
                assert log.head() == head
                assert log.verify().ok
                assert log.runs.count() > 0
                with pytest.raises(LogReadOnly):
                    fill(log, 10)
        except LogReadOnly as refused:
            assert mode == "rw", "reading is possible"
            assert str(path) in str(refused)
    with pytest.raises(LogReadOnly):
        open_log(folder / "new.db")
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    assert_sound(path)


def test_a_read_only_mount_with_events_left_in_the_write_ahead_log_never_shows_an_old_state(
    tmpfs: Callable[[float], Path],
) -> None:
    folder = tmpfs(16)
    path = folder / "log.db"
    open_log(path).close()
    lines = run("append_and_die", path, 50)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        with open_log(path, mode="r") as log:
            assert set(lines) <= {record.key for record in log.read()}, "a stale state is worse than a refusal"
    except EventLogError as refused:
        assert "Traceback" not in str(refused)
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    assert_sound(path, lines)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_every_file_of_a_log_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    lines = run("make_every_file", tmp_path / "new" / "log.db", oct(umask))
    modes = dict(line.rsplit(" ", 1) for line in lines if " 0o" in line)
    assert {"log.db", "log.db-wal", "log.db-shm", "backup.db"} <= set(modes), modes
    assert set(modes.values()) == {"0o600"}, modes
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_link_to_a_log_shares_its_writer_lock(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with open_log(path) as real, open_log(link) as linked:
        with real.transaction():
            fill(real, 10)
            lines = run("append_or_say_why", link, "0.2")
        assert lines == ["LogBusy"], "a second name for the file must not give a second lock"
        fill(linked, 10)
        assert linked.head() == real.head()
    assert sorted(p.name for p in path.parent.glob("*.lock")) + [p.name for p in tmp_path.glob("*.lock")] == [
        "log.db.lock"
    ]
    assert_sound(path)


def test_names_with_odd_characters_are_files_like_others(tmp_path: Path) -> None:
    for name in ["with space.db", "100%.db", "a?b#c&vfs=none.db", "café ✓.db", "a'b\"c.db", "-log.db", "semi;colon.db"]:
        with eventlog.open(tmp_path / name) as log:
            log.projects.add("p")
            assert log.path == tmp_path / name
        assert (tmp_path / name).is_file()
        assert (
            pages_in_order(tmp_path / name) == "ok" if "?" not in name and "%" not in name and "#" not in name else True
        )
    assert len([p for p in tmp_path.iterdir() if p.suffix == ".db"]) == 7


def test_a_version_of_sqlite_is_classified_by_its_number() -> None:
    wrong = {"3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.49.2", "3.50.4", "3.50.6", "3.51.0", "3.51.1", "3.51.2"}
    right = {
        "3.6.23",
        "3.44.6",
        "3.44.9",
        "3.50.7",
        "3.50.12",
        "3.51.3",
        "3.51.10",
        "3.52.1",
        "3.53.0",
        "3.54.1",
        "4.0.0",
    }
    assert {v for v in wrong | right if surroundings.has_wal_reset_bug(v)} == wrong
    assert surroundings.has_wal_reset_bug() == surroundings.has_wal_reset_bug(sqlite3.sqlite_version)


def test_the_status_names_the_version_of_sqlite_and_whether_it_has_the_bug(path: Path) -> None:
    done = command("--db", path, "db", "status")
    assert done.returncode == 0, done.stderr
    assert sqlite3.sqlite_version in done.stdout
    if surroundings.has_wal_reset_bug():
        assert "WAL-reset" in done.stdout or "wal-reset" in done.stdout.lower()
