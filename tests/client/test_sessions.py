"""Sessions and workspaces through a server: what the suite of the repository promises."""

from __future__ import annotations

from importlib import import_module

import pytest
from click.testing import CliRunner

from eventlog.app import Log
from eventlog.cli.root import cli
from eventlog.exporters.sessions import as_markdown, collect
from eventlog.redaction.shown import shown
from tests.client.support import TRANSACTION, contract
from tests.contract.test_sessions import full_session
from tests.projections.reference import check_every_way

globals().update(
    contract(
        "test_sessions",
        without={
            "test_what_makes_no_sense_is_refused_and_appends_nothing": "a server refuses it in its own words",
            "test_tables_that_are_not_inline_are_brought_along": "that is for the server to say",
            "test_what_is_told_in_a_transaction_goes_together": TRANSACTION,
        },
    )
)


@pytest.fixture(autouse=True)
def _checked_where_the_log_is(served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("tests.contract.test_sessions")
    monkeypatch.setattr(module, "check_every_way", lambda log: check_every_way(served))


def test_what_is_exported_through_a_server_is_the_same(log: Log, served: Log) -> None:
    full_session(served)
    served.sessions.rewind("s-1", "m1")
    served.sessions.add_message("s-1", "user", "otherwise")
    here, there = (collect(one.sessions, "s-1", shown) for one in (served, log))
    assert there == here
    assert b"".join(as_markdown(there, str)).count(b"\n## ") == 2
    with log.as_of(served.head().position - 1) as past:
        assert [one.message_id for one in past.sessions.thread("s-1")] == ["m1"]


def test_a_session_is_shown_by_command_through_a_server(target: str, served: Log) -> None:
    full_session(served)
    for words in (["sessions", "show", "s"], ["sessions", "export", "s-1"], ["workspaces", "show", "/work/project"]):
        done = CliRunner().invoke(cli, ["--db", target, *words])
        assert done.exit_code == 0, done.stderr
    refused = CliRunner().invoke(cli, ["--db", target, "tables", "export", "sessions"])
    assert (refused.exit_code, "needs the log itself" in refused.stderr) == (1, True)
