"""The server crashes and comes back under load: nothing acknowledged is lost, and clients resume by themselves."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from pg import WRITERS, Cluster, Forked, all_of, assert_sound, backends, opened, session
from under_fire import Ticked, keys_in

from eventlog.errors import ServerUnreachable
from tests.helpers import eventually, positions, thread


def acknowledged_by(children: list[Forked]) -> tuple[list[str], list[int]]:
    """The keys that stubborn clients were told to be stored; and how often they were refused, left unsure, lied to."""
    keys: list[str] = []
    figures = [0, 0, 0]
    for *mine, last in all_of(children):
        assert mine, "it stored nothing at all"
        keys += mine
        figures = [had + int(more) for had, more in zip(figures, last.split()[1:], strict=True)]
    return keys, figures


@pytest.mark.parametrize("how", ["stopped", "a backend killed"])
def test_a_server_that_crashes_under_load_comes_back_with_everything_acknowledged(cluster: Cluster, how: str) -> None:
    url = cluster.fresh_log()
    opened(url).close()
    seen: list[int] = []
    with opened(url) as reader:
        children = [Forked("stubborn", url, f"w{number}", 2.5) for number in range(4)]
        stop = threading.Event()
        with thread(lambda: seen.extend(r.position for r in reader.follow(0, stop=stop, poll_s=0.02)), 60):
            eventually(lambda: len(seen) > 20, 30)
            if how == "stopped":
                cluster.stop("immediate")
                with pytest.raises(ServerUnreachable):
                    opened(url)
                cluster.start()
            else:
                with session(url) as watch:
                    eventually(lambda: backends(watch, WRITERS))
                    os.kill(backends(watch)[0], signal.SIGKILL)
            keys, (refused, unknown, lies) = acknowledged_by(children)
            eventually(lambda: len(seen) >= len(keys), 20)
            stop.set()
    print(f"{how}: {len(keys)} acknowledged, 0 lost, {refused} refused, {unknown} unknown")
    assert lies == 0
    assert assert_sound(url, keys) == len(keys)
    assert seen == list(range(1, len(keys) + 1))


@pytest.mark.long
def test_a_server_away_for_longer_than_a_client_waits_is_told_as_unreachable_and_found_again(cluster: Cluster) -> None:
    url = cluster.fresh_log()
    with opened(url, patience_s=0.4) as log:
        log.append("fire-1", Ticked(), key="first")
        list(log.read())
        cluster.stop("immediate")
        for question in (lambda: log.append("fire-1", Ticked(), key="second"), lambda: list(log.read())):
            began = time.monotonic()
            with pytest.raises(ServerUnreachable):
                question()
            assert 0.2 < time.monotonic() - began < 6
        with pytest.raises(ServerUnreachable):
            opened(url)
        cluster.start()
        assert keys_in(log) == ["first"]
        assert log.append("fire-1", Ticked(), key="second") == (2, 2, 2, False)
        assert positions(log.read()) == [1, 2]
    assert_sound(url, ["first", "second"])


def test_a_server_that_restarts_within_a_clients_time_is_waited_for(cluster: Cluster) -> None:
    url = cluster.fresh_log()
    with opened(url) as log:
        log.append("fire-1", Ticked(), key="first")
        cluster.stop("fast")
        read: list[list[int]] = []
        with (
            thread(lambda: read.append(positions(log.read()))),
            thread(lambda: log.append("fire-1", Ticked(), key="second")),
        ):
            cluster.start()
        assert read[0] in ([1], [1, 2])
    assert_sound(url, ["first", "second"])


@pytest.mark.long
def test_what_is_in_memory_of_what_a_crash_undid_is_forgotten(cluster: Cluster) -> None:
    """Appends of durability ``process`` survive a killed client, not a killed server."""
    url = cluster.fresh_log()
    with opened(url) as log:
        log.append("fire-1", Ticked(), key="kept")
        run = log.runs.start("kept")
        for number in range(20):
            log.append("fire-1", Ticked(number=number), key=f"perhaps-{number}", durability="process")
            log.runs.start(f"perhaps {number}", durability="process")
        cluster.stop("immediate")
        cluster.start()
        version = len(list(log.read_stream("fire-1")))
        assert log.append("fire-1", Ticked(), key="after").version == version + 1
        again = log.runs.start("after")
        assert again.run_id == log.runs.count() >= run.run_id + 1
        assert log.verify().ok
        assert log.projections.verify() == []
    assert_sound(url, ["kept", "after"])
