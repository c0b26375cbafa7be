"""Several processes keep, rebuild, roll back and read the same tables while others append to the same streams."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from pg import Forked, all_of, ask, assert_sound, session
from under_fire import Ticked, fill, open_log
from workers.clients import open_deferred

from eventlog.events.runs import RunNoted, RunStarted
from eventlog.log import Tx
from tests.helpers import eventually, in_threads, thread

LEFT = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE '%\\_\\_%'"


def test_two_processes_that_keep_the_same_tables_apply_nothing_twice(url: str, tmp_path: Path) -> None:
    open_deferred(url).close()
    until = tmp_path / "done"
    keepers = [Forked("keep_caught_up", url, how, until) for how in ("follow", "loop")]
    writers = [Forked("live", url, f"w{number}", 8, "deferred") for number in range(2)]
    keys = [key for lines in all_of(writers) for key in lines]
    until.touch()
    all_of(keepers)
    with open_deferred(url) as log:
        assert len(keys) == 16
        assert log.runs.count(status="success") == 16
        assert log.projections.verify() == []
        assert {status.lag for status in log.projections.status()} == {0}
    assert_sound(url, keys)


def test_tables_are_rebuilt_by_two_at_once_while_others_write_and_read(url: str, tmp_path: Path) -> None:
    with open_log(url) as log:
        fill(log, 100)
    until = tmp_path / "done"
    others = [Forked("rebuild_until", url, until) for _ in range(2)]
    others += [Forked("read_over_and_over", url, until)]
    writers = [Forked("live", url, f"w{number}", 8, "inline") for number in range(2)]
    keys = [key for lines in all_of(writers) for key in lines]
    until.touch()
    assert all(int(lines[-1]) > 0 for lines in all_of(others))
    with session(url) as watch:
        assert ask(watch, LEFT) == 0
    assert_sound(url, keys)


def test_processes_that_append_to_the_same_runs_see_what_each_other_did_to_their_rows(url: str) -> None:
    """What a process remembers of a row is given up when another one appends to its stream."""
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(open_log(url)) for _ in range(3)]
        run = logs[0].runs.start("shared", program="job")
        for turn in range(12):
            mine = logs[turn % 3]
            mine.runs.tag(run.run_id, {f"t{turn}": "x"})
            mine.runs.note(run.run_id, f"note {turn}")
            if turn % 4 == 3:
                # A stream of its own in between, so that there is something to remember.
                mine.runs.finish_success(mine.runs.start(f"own {turn}").run_id)
        assert set(logs[0].runs.get(run.run_id).tags) == {f"t{turn}" for turn in range(12)}
        assert logs[1].runs.get(run.run_id).note == "note 11"
        logs[1].runs.finish_success(run.run_id)
        with pytest.raises(Exception, match="has ended already"):
            logs[2].runs.finish_fail(run.run_id, reason="late")
        assert logs[0].projections.verify() == []
    assert_sound(url)


@pytest.mark.feature("S0-10")
@pytest.mark.parametrize("many", [3, 250], ids=["a few", "more than are looked at"])
def test_versions_and_rows_remembered_are_given_up_for_exactly_what_others_appended(url: str, many: int) -> None:
    with open_log(url) as one, open_log(url) as two:
        for log in (one, two):
            log.append_many([])
        run = one.runs.start("first")
        one.append("fire-1", Ticked())
        for turn in range(3):
            two.append("fire-1", [Ticked(number=n) for n in range(many)])
            two.append(f"run-{run.run_id}", [RunNoted(note=f"two {turn}")])
            assert (
                one.append("fire-1", Ticked(), expect=1 + (turn + 1) * many + turn).version
                == 2 + turn + (turn + 1) * many
            )
            one.append(f"run-{run.run_id}", RunNoted(note=f"one {turn}"))
            assert two.runs.get(run.run_id).note == f"one {turn}"
        assert one.projections.verify() == []
    assert_sound(url)


def test_tables_rolled_back_by_one_are_not_appended_to_by_another_that_remembers_them(url: str) -> None:
    with open_log(url) as one, open_log(url) as two:
        run = one.runs.start("kept")
        one.runs.note(run.run_id, "first")  # now one remembers the row, and that it may write it
        two.projections.rollback(1)
        one.append(f"run-{run.run_id}", RunNoted(note="while pinned"))
        assert two.runs.get(run.run_id).note == ""
        assert one.projections.verify() == []
        two.projections.resume()
        assert one.runs.get(run.run_id).note == "while pinned"
        one.append(f"run-{run.run_id}", RunNoted(note="afterwards"))
        assert two.runs.get(run.run_id).note == "afterwards"
        two.projections.rebuild()
        one.append(f"run-{run.run_id}", RunNoted(note="in the new table"))
        assert two.runs.get(run.run_id).note == "in the new table"
        assert one.projections.verify() == []
    assert_sound(url)


def test_a_follower_of_tables_notices_that_they_were_let_go_without_any_append(url: str) -> None:
    """As a process leaves them that was killed between resuming them and bringing them to the head."""
    with open_deferred(url) as log, open_deferred(url) as other:
        log.runs.start("one")
        log.projections.catch_up()
        log.projections.rollback(0)
        stop = threading.Event()
        with thread(lambda: other.projections.follow(stop=stop, poll_s=0.005)):
            try:
                eventually(lambda: log.projections.status()[0].state == "pinned")
                threading.Event().wait(0.2)
                with log.transaction() as tx:
                    let_go(tx)
                eventually(lambda: {status.lag for status in log.projections.status()} == {0})
            finally:
                stop.set()
        assert log.projections.verify() == []


def let_go(tx: Tx) -> None:
    from eventlog.projection.machine import checkpoints

    writer = tx.transaction.writer
    for row in checkpoints(writer).values():
        row.state = "live"
        writer.save_checkpoint(row.values())


def test_tables_are_swapped_while_views_of_the_past_are_open_or_told_as_busy_and_no_view_is_torn(url: str) -> None:
    with open_log(url) as log, open_log(url) as other:
        for number in range(6):
            log.runs.finish_success(log.runs.start(f"job {number}").run_id)
        head = log.head().position
        with log.as_of(head) as now, log.as_of(4) as past:
            assert now.runs.count() == 6
            with thread(other.projections.rebuild, 60):
                for _ in range(10):
                    assert (now.runs.count(), past.runs.count()) == (6, 2)
                    log.append("fire-1", Ticked())
                    threading.Event().wait(0.02)
                past_runs = past.runs.list(limit=None)
                assert [run.run_id for run in past_runs] == [2, 1]
                release(now, past)
        assert log.projections.verify() == []
    assert_sound(url)


def release(*views: object) -> None:
    """End views of the past before their block ends."""
    for view in views:
        view.runs._source.close()  # type: ignore[attr-defined]


def test_threads_and_logs_of_one_process_start_runs_without_gaps(url: str) -> None:
    with open_log(url) as one, open_log(url) as two:
        started = in_threads(
            6,
            lambda number: [
                (one, two)[number % 2].runs.append_start(RunStarted(command=f"{number}")) for _ in range(5)
            ],
        )
        assert sorted(run for mine in started for run in mine) == list(range(1, 31))
    assert_sound(url)
