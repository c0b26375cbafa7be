"""Several processes, forks, and programs of different versions on one file."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import time
from pathlib import Path

import pytest
from under_fire import Ticked, assert_sound, fill, keys_in, open_log, raw, run, start, together

from eventlog.errors import Conflict, LocksLost


def test_four_processes_that_retry_the_same_keys_store_each_once(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_log(path).close()
    together(path, *[("shared_keys", seed, 2500) for seed in range(4)])
    with open_log(path) as log:
        assert sorted(keys_in(log)) == sorted(f"once-{n}" for n in range(2500))
        assert log.head().position == 2500
    assert_sound(path)


def test_four_processes_write_without_an_error_and_never_upgrade_a_read_to_a_write(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_log(path).close()
    outcomes = together(path, *[("append_traced", f"w{n}", 400) for n in range(4)])
    for lines in outcomes:
        begins, commits, bare, errors = map(int, lines[-1].split())
        assert begins >= 400 and bare == 0 and errors == 0, lines[-1]
        assert commits >= 400
    assert_sound(path, [f"w{n}-{i}" for n in range(4) for i in range(400)])


def test_eight_processes_that_open_a_new_log_at_once_all_get_the_same_one(tmp_path: Path) -> None:
    for place in range(2):
        path = tmp_path / f"log{place}.db"
        together(path, *[("append", f"w{n}", 3) for n in range(8)])
        with open_log(path) as log:
            assert len(keys_in(log)) == 24
        with raw(path) as connection:
            applied = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations")]
        assert len(applied) == len(set(applied)) > 0
        assert_sound(path)
        assert [p.name for p in tmp_path.iterdir() if ".new" in p.name] == []


def to_schema_1(path: Path) -> None:
    from eventlog.store import sqlite_schema as migrate

    store = migrate.open_for_schema(path)
    migrate.rollback(store, 1)
    store.close()


def triggers_of(path: Path) -> list[tuple[str, str]]:
    with raw(path) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY name").fetchall()


@pytest.mark.long
def test_eight_processes_that_open_an_old_log_at_once_migrate_it_once_even_if_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 200)
        head = log.head()
    triggers = triggers_of(path)
    for pause in (0.0, 0.1, 0.25):
        to_schema_1(path)
        children = [start("append", path, f"{pause}w{n}", 2) for n in range(8)]
        victim = children.pop()
        try:
            victim.wait(timeout=pause)
        except Exception:
            victim.kill()
        victim.communicate()
        for child in children:
            _, err = child.communicate(timeout=60)
            assert child.returncode == 0, err[-3000:]
        with raw(path) as connection:
            applied = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations")]
        assert len(applied) == len(set(applied))
        assert triggers_of(path) == triggers
        assert_sound(path, [f"{pause}w{n}-{i}" for n in range(7) for i in range(2)])
    with open_log(path) as log:
        assert list(log.read(to=head.position))[-1].hash == head.hash


def test_a_child_forked_inside_a_transaction_is_refused_and_its_parent_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    lines = run("fork_inside_a_transaction", path, 10)
    assert lines.count("child: LogClosed") == 10, lines
    assert not any(line.startswith("child: stored") for line in lines)
    assert_sound(path, [f"parent-{n}-{part}" for n in range(10) for part in range(4)])


def test_a_child_that_runs_off_the_end_of_its_parents_transaction_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert sorted(run("fork_and_leave_the_block", path)) == ["child: LogClosed", "parent: committed"]
    assert_sound(path, ["parent"])


@pytest.mark.parametrize("first", ["child", "parent"])
def test_a_child_that_goes_on_with_its_parents_decision_is_told_and_stores_nothing(tmp_path: Path, first: str) -> None:
    path = tmp_path / "log.db"
    lines = run("fork_inside_a_decision", path, first)
    assert lines == ["child: LogClosed", "parent: committed", "head 7"]
    assert_sound(path, ["before", "after"])


def test_a_child_forked_between_transactions_writes_through_connections_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    lines = run("fork_between_transactions", path, 10)
    assert sorted(lines) == sorted(["child ended with 0"] * 10)
    assert_sound(path, [f"{who}-{n}-{i}" for who in ("parent", "child") for n in range(10) for i in range(5)])


def test_a_child_forked_while_threads_append_neither_hangs_nor_loses(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    lines = run("fork_among_threads", path, 8, timeout_s=60)
    assert lines[-1] == "all children ended"
    acknowledged = [line for line in lines[:-1] if not line.startswith("child")]
    assert len(acknowledged) > 20
    assert_sound(path, acknowledged)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers_may_use_the_log(tmp_path: Path, method: str) -> None:
    path = tmp_path / "log.db"
    lines = run("multiprocessing_pool", path, method)
    assert lines == ["12 stored"]
    assert_sound(path, [f"pool-{n}" for n in range(12)])


@pytest.mark.parametrize("how", ["open", "busy", "copy", "engine"])
def test_locks_lost_to_a_careless_neighbour_are_noticed_before_the_next_event(tmp_path: Path, how: str) -> None:
    """A descriptor of the database closed in this process drops its locks; then another process takes the -wal away."""
    path = tmp_path / "log.db"
    lines = run("lose_the_locks", path, how)
    told = [line for line in lines if line.startswith("error")]
    assert told in ([], ["error LocksLost"]), lines
    assert_sound(path, [line for line in lines if not line.startswith("error")])


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_writer_whose_database_was_replaced_or_removed_is_told(tmp_path: Path, change: str) -> None:
    path, other = tmp_path / "log.db", tmp_path / "other.db"
    open_log(other).close()
    with open_log(path) as log:
        log.append("note-1", Ticked(number=1))
        if change == "replaced":
            other.replace(path)
        else:
            path.unlink()
        with pytest.raises(LocksLost, match="nothing was written"):
            for number in range(1000):
                log.append("note-1", Ticked(number=number))
                time.sleep(0.001)


def test_another_sqlite_library_on_the_same_file_in_one_process_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("apsw")
    path = tmp_path / "log.db"
    open_log(path).close()
    assert run("two_engines", path) == ["engine first: LocksLost", "log first: LocksLost"]
    assert_sound(path)


def test_a_whole_session_never_opens_the_databases_files_itself(tmp_path: Path) -> None:
    """Opening and closing db, -wal or -shm as files would drop SQLite's locks."""
    lines = run("session_under_audit", tmp_path / "log.db", timeout_s=90)
    assert lines[-1] == "session ended"
    assert [line for line in lines if line.startswith("opened")] == []


def test_a_program_without_our_event_type_reads_appends_and_leaves_our_tables_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 100)
        before = list(log.runs.list(limit=None))
    lines = run("old_program", path)
    assert lines[0] == "unknown fire.ticked"
    with open_log(path) as log:
        assert next(r.event for r in log.read_stream("fire-0")) == Ticked(number=0)
        assert [run for run in log.runs.list(limit=None) if run.run_id <= len(before)] == before
    assert_sound(path, ["old"])


def test_programs_with_two_versions_of_a_projection_do_not_take_turns_rebuilding_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 100)
    assert run("program_with_projection_version", path, 1) == ["live 1 1 rebuilt"]
    for _ in range(2):
        assert run("program_with_projection_version", path, 2) == ["live 2 2 rebuilt"]
        assert run("program_with_projection_version", path, 1) == ["newer 1 2 refused"]
    assert run("program_with_projection_version", path, 2) == ["live 2 2 rebuilt"]
    assert_sound(path)


@pytest.mark.long
def test_two_processes_and_two_threads_that_rebuild_at_once_leave_true_tables(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 300)
    together(path, *[("rebuild_some_times", 15, threads) for threads in (2, 2, 1)])
    assert_sound(path)


def test_a_log_dropped_while_another_is_in_a_transaction_does_not_hold_it_up(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_log(path).append("fire-1", Ticked(), key="dropped")
    with open_log(path) as log, log.transaction():
        began = time.monotonic()
        gc.collect()
        log.append("fire-1", Ticked(), key="inside")
        assert time.monotonic() - began < 1
    assert_sound(path, ["dropped", "inside"])


def test_many_logs_opened_and_closed_leave_no_descriptor_behind(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    open_log(path).close()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        with open_log(path) as log:
            log.append("fire-1", Ticked(number=number))
            next(log.read())
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_log_dropped_without_close_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for number in range(10):
        open_log(path).append("fire-1", Ticked(), key=f"dropped-{number}")
    assert_sound(path, [f"dropped-{n}" for n in range(10)])


def test_a_copy_of_the_three_files_of_a_killed_writer_opens_too(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    acknowledged = run("append_and_die", path, 40)
    (tmp_path / "copy").mkdir()
    for name in ("log.db", "log.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    assert_sound(tmp_path / "copy" / "log.db", acknowledged)
    assert_sound(path, acknowledged)


def test_rows_written_behind_the_logs_back_are_noticed_and_do_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 20)
        with raw(path) as other:
            other.execute(
                "INSERT INTO events SELECT max(position) + 1, 'fire-raw', 1, 'fire.ticked', 1, 0, max(recorded_at), "
                "NULL, NULL, NULL, NULL, '{}', NULL, zeroblob(32) FROM events"
            )
        head = log.head().position
        with contextlib.suppress(Conflict):  # told once, and looked at anew
            log.append("fire-1", Ticked(), key="after")
        log.append("fire-1", Ticked(), key="after")
        assert log.head().position == head + 1
        report = log.verify()
        assert not report.ok and report.bad_position == head, "the row is found by the chain"


def test_a_writer_that_bypasses_the_log_is_told_as_busy_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_log(path) as log:
        fill(log, 20)
        with raw(path) as other:
            other.execute("BEGIN IMMEDIATE")
            assert run("append_or_say_why", path, "0.3") == ["LogBusy"]
            other.execute("ROLLBACK")
        log.append("fire-1", Ticked())
    assert_sound(path)
