"""Sessions and workspaces through a server: what the suite of the repository promises."""

from __future__ import annotations

from importlib import import_module

import pytest

from eventlog.app import Log
from tests.client.support import contract
from tests.projections.reference import check_every_way

INSIDE = "it looks inside the log that the server has"
globals().update(
    contract(
        "test_sessions",
        without={
            "test_what_makes_no_sense_is_refused_and_appends_nothing": "a server refuses it in its own words",
            "test_tables_that_are_not_inline_are_brought_along": "that is for the server to say",
        },
    )
)


@pytest.fixture(autouse=True)
def _checked_where_the_log_is(served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("tests.contract.test_sessions")
    monkeypatch.setattr(module, "check_every_way", lambda log: check_every_way(served))
