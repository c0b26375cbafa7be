"""Commands that answer the same question say the same, and each says what it did, in JSON too."""

from __future__ import annotations

from pathlib import Path

import pytest

import eventlog
from eventlog.projection.machine import LAZY_STEP
from tests.helpers import notes
from tests.integration.test_cli_commands import Cli

WORDS = "search_documents"
"""A projection that waits until it is asked, or until much has come together."""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A log with nothing in it."""
    eventlog.open(tmp_path / "log.db").close()
    return Cli(tmp_path / "log.db")


def _say(cli: Cli, count: int) -> None:
    with eventlog.open(cli.db) as log:
        for number in range(count):
            log.sessions.add_message("s", "user", f"needle {number}")


# projections


def _lags(cli: Cli) -> tuple[object, object]:
    (asked,) = cli.json("projections", "status", WORDS)
    return cli.json("db", "status")["projection_lag"][WORDS], asked["lag"]


def test_what_waits_to_be_asked_lags_nowhere_until_a_step_of_it_waits(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.sessions.create(session_id="s")
    _say(cli, 3)
    assert _lags(cli) == (0, 0)
    assert {one["mode"] for one in cli.json("projections", "status")} == {"inline", "when asked"}
    with eventlog.open(cli.db, projections="deferred") as log:  # it brings nothing along
        for number in range(LAZY_STEP):
            log.sessions.add_message("s", "user", f"more {number}")
        head = log.head().position
    assert _lags(cli) == (head, head)


def test_what_wants_none_of_the_newest_events_is_at_the_head_like_the_others(cli: Cli) -> None:
    with eventlog.open(cli.db) as log:
        log.append("note-1", notes(2))
    assert {(one["position"], one["lag"]) for one in cli.json("projections", "status")} == {(2, 0)}
    said = cli("projections", "resume").stdout
    assert said.startswith("live at version 2: ") and len(said.splitlines()) == 1
