"""Tasks through a server: what the suite of the repository promises."""

from __future__ import annotations

from importlib import import_module

import pytest

from eventlog.app import Log
from eventlog.errors import InvalidInput
from tests.client.support import contract

LOCAL = "it looks at tables, which a server does not lend"
WORDS = "a server refuses it in its own words"
globals().update(
    contract(
        "test_tasks",
        without={
            "test_a_call_in_a_task_has_its_row": LOCAL,
            "test_what_is_wrong_is_refused_by_its_name": WORDS,
            "test_what_makes_no_sense_is_refused_and_appends_nothing": WORDS,
        },
    )
)


@pytest.fixture(autouse=True)
def _checked_where_the_log_is(served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("tests.contract.test_tasks")
    monkeypatch.setattr(module, "check_every_way", lambda log: None)


@pytest.mark.parametrize(
    "columns", [{"colour": "red"}, {"owner": 7}, {"created_at": "yesterday"}, {"total_tokens": -1}]
)
def test_what_is_wrong_is_refused(log: Log, served: Log, columns: dict[str, object]) -> None:
    issue = {"task_source": "github", "owner": "acme", "repo": "shop", "task_type": "issue", "task_id": "42"}
    with pytest.raises(InvalidInput, match=next(iter(columns))):
        log.tasks.create({**issue, **columns})
    log.tasks.create(issue, uuid="t")
    with pytest.raises(InvalidInput, match=next(iter(columns))):
        log.tasks.update("t", columns)
    assert served.head().position == 1


def test_pages_follow_each_other(log: Log, served: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        served.tasks.create(task_source="s", owner="o", repo="r", task_type="issue", task_id=str(number), user="anna")
    monkeypatch.setattr("eventlog.client.calls.MOST_ROWS", 2)
    assert log.tasks.list(limit=None) == served.tasks.list()
    assert log.tasks.list_by_user("anna", limit=3, offset=1) == served.tasks.list_by_user("anna", 3, 1)
