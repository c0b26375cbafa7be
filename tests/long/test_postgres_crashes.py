"""PostgreSQL: the server crashes, loses backends and ends sessions under load, over and over."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import psycopg
from pg import Cluster, ask, assert_sound, backends, opened, session
from sizes import size
from under_fire import start


def test_a_server_that_crashes_again_and_again_loses_nothing_it_had_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(45)
    until = tmp_path / "done"
    with Cluster() as cluster:
        url = cluster.fresh_log()
        opened(url).close()
        crashes = size("CRASHES")
        children = [start("stubborn", url, f"w{number}", 4 + 4 * crashes, 5) for number in range(4)]
        pollers = [start("follow_log_of_deaths", url, until) for _ in range(2)]
        ended = 0
        for crash in range(crashes):
            for _ in range(20):
                threading.Event().wait(chance.uniform(0, 0.1))
                with contextlib.suppress(psycopg.OperationalError), session(url) as watch:
                    found = backends(watch)
                    ended += bool(found and ask(watch, "SELECT pg_terminate_backend(%s)", chance.choice(found)))
            if crash % 2:
                with session(url) as watch:
                    found = backends(watch)
                if found:
                    os.kill(chance.choice(found), signal.SIGKILL)
            else:
                cluster.stop("immediate")
                threading.Event().wait(chance.uniform(0, 1))
                cluster.start()
        keys: list[str] = []
        figures = [0, 0, 0]
        for child in children:
            out, err = child.communicate(timeout=120)
            assert child.returncode == 0, err[-3000:]
            *mine, last = out.splitlines()
            keys += mine
            figures = [had + int(more) for had, more in zip(figures, last.split()[1:], strict=True)]
        until.touch()
        refused, unknown, lies = figures
        print(
            f"{crashes} crashes, {ended} sessions ended: {len(keys):,} acknowledged, 0 lost, "
            f"{refused} told as not written, {unknown} as unknown, {lies} of them wrongly"
        )
        assert lies == 0
        for poller in pollers:
            out, err = poller.communicate(timeout=60)
            assert poller.returncode == 0, err[-3000:]
            assert [int(line) for line in out.splitlines()] == list(range(1, len(keys) + 1))
        assert assert_sound(url, keys) == len(keys)
