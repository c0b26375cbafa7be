"""A server's own commands write the files of its mirror, and a client is told where that can be changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventlog.app import Log
from eventlog.errors import InvalidInput
from tests.conftest import OpenLog


def test_what_a_client_changes_is_mirrored_by_the_server(served: Log, open_log: OpenLog, tmp_path: Path) -> None:
    served.dual_write.enable(tmp_path / "store")
    remote = open_log()
    remote.sessions.create(session_id="a", title="from afar")
    remote.sessions.add_message("a", "user", "Hello")
    made = json.loads((tmp_path / "store" / "a.json").read_text())
    assert (made["task"], made["chatMessages"][0]["content"]) == ("from afar", "Hello")
    assert served.dual_write.check().clean
    with pytest.raises(InvalidInput, match="where the log is"):
        remote.dual_write.status()
    for imported in (lambda: remote.import_from("claude", tmp_path), remote.retry_imports):
        with pytest.raises(InvalidInput, match="needs the log itself"):
            imported()
    with remote.as_of(served.head().position) as past, pytest.raises(InvalidInput):
        past.dual_write.status()
