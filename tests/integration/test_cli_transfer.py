from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import eventlog
from eventlog import maintenance
from eventlog.cli.root import cli
from eventlog.errors import InvalidInput
from eventlog.exporters.jsonl import line
from eventlog.importers.jsonl import MAX_LINE_BYTES, import_lines


def run(db: Path, *words: object, status: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli, ["--db", str(db), *map(str, words)], input=stdin)
    assert result.exit_code == status, (words, result.exit_code, result.stdout, result.stderr)
    return result


def head(db: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(db, "log", "head", "--json").stdout)
    return found


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A log with every column in use, and text that is not easy."""
    place = tmp_path / "full.db"
    with eventlog.open(place) as log:
        log.projects.add("p", note="日本\u202e\x85\x1b[0m\x7f")
        log.runs.start("x", project_id="p", parameters={"f": 0.1, "n": None, "b": True})
        log.runs.finish_success(1, exit_code=0)
        log.append("note-1", eventlog.UnknownEvent(tag="note.taken", data={"big": 2**70, "f": 1e300, "": [{}]}))
        log.append(
            "note-1",
            [eventlog.UnknownEvent(tag="note.taken", data={"\x00": "\x00"}) for _ in range(3)],
            key="k",
            actor="a",
            correlation="c",
            causation="d",
            metadata={"m": "\u2028"},
            occurred_at=1,
        )
    return place


def test_an_empty_log_gets_the_same_head(full: Path, tmp_path: Path) -> None:
    export = tmp_path / "x.jsonl"
    run(full, "log", "export", export)
    assert export.stat().st_mode & 0o777 == 0o600
    copy = tmp_path / "copy.db"
    done = json.loads(run(copy, "log", "import", export, "--json").stdout)
    assert done == {"added": 7, "present": 0, **head(full)}
    assert head(copy) == head(full)
    assert run(copy, "runs", "list", "--json").stdout == run(full, "runs", "list", "--json").stdout
    run(copy, "projections", "verify")
    assert json.loads(run(copy, "log", "import", export, "--json").stdout)["added"] == 0
    assert json.loads(run(full, "log", "import", export, "--json").stdout)["present"] == 7
    assert head(copy) == head(full)


def test_what_came_later_is_added(full: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    run(copy, "log", "import", "-", stdin=run(full, "log", "export", "--to", 3).stdout_bytes)
    assert head(copy)["position"] == 3
    run(copy, "log", "import", "-", stdin=run(full, "log", "export", "--after", 3, "--to", 5).stdout_bytes)
    done = json.loads(run(copy, "log", "import", "-", "--json", stdin=run(full, "log", "export").stdout_bytes).stdout)
    assert (done["added"], done["present"]) == (2, 5)
    assert head(copy) == head(full)
    assert run(full, "log", "export", "--as-of", 3).stdout_bytes == run(full, "log", "export", "--to", 3).stdout_bytes


def test_another_log_s_streams_are_appended_once(full: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    run(other, "log", "append", "memo-1", "memo.written")
    export = run(full, "log", "export", "--category", "note", "--category", "project").stdout_bytes
    done = json.loads(run(other, "log", "import", "-", "--json", stdin=export).stdout)
    assert (done["added"], done["present"], done["position"]) == (5, 0, 6)
    again = json.loads(run(other, "log", "import", "-", "--json", stdin=export).stdout)
    assert (again["added"], again["present"], again["hash"]) == (0, 5, done["hash"])
    records = {
        name: json.loads(run(place, "log", "read", "--stream", "note-1", "--json").stdout)
        for name, place in (("old", full), ("new", other))
    }
    for old, new in zip(records["old"], records["new"], strict=True):
        for column in ("stream", "version", "type", "occurred_at", "actor", "correlation", "causation", "data"):
            assert old[column] == new[column]
        assert new["key"] == f"import:{old['hash']}"
    assert records["new"][1]["metadata"] == {"m": "\u2028", "key": "k"}
    assert json.loads(run(other, "projects", "show", "p", "--json").stdout)["note"].startswith("日本")


def test_two_logs_with_the_same_stream_are_not_mixed(full: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with eventlog.open(other) as log:
        log.runs.start("mine")
    before = head(other)
    result = run(other, "log", "import", "-", status=1, stdin=run(full, "log", "export").stdout_bytes)
    assert "run-1" in result.stderr
    assert head(other) == before


def test_lines_by_hand(tmp_path: Path) -> None:
    db = tmp_path / "log.db"
    lines = b'{"stream":"a-1","type":"a.b","data":{"n":1},"key":"one"}\n\n{"stream":"a-1","type":"a.b"}\n'
    assert json.loads(run(db, "log", "import", "-", "--json", stdin=lines).stdout)["added"] == 2
    assert json.loads(run(db, "log", "read", "--json").stdout)[0]["key"] == "one"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b'"command":"x"', b'"command":"y"'),
        lambda text: re.sub(rb'"occurred_at":1,', b'"occurred_at":2,', text),
        lambda text: b"\n".join(text.splitlines()[:2] + text.splitlines()[3:]),
        lambda text: text.replace(b'"actor":"a"', b'"actor":"b"'),
    ],
    ids=["data", "time", "gap", "actor"],
)
def test_a_spoilt_export_does_not_pass_for_the_log(full: Path, tmp_path: Path, spoil: Any) -> None:
    text = run(full, "log", "export").stdout_bytes
    assert spoil(text) != text
    copy = tmp_path / "copy.db"
    result = run(copy, "log", "import", "-", status=1, stdin=spoil(text))
    assert "does not continue" in result.stderr
    assert head(copy)["hash"] != head(full)["hash"]


@pytest.mark.parametrize(
    "text",
    [
        b"not json\n",
        b"[1]\n",
        b'{"stream":1}\n',
        b'{"stream":"a-1","type":"a.b","data":7}\n',
        b'{"stream":"a-1","type":"a.b","data":"{"}\n',
        b'{"stream":"a-1","type":"a.b","metadata":"[]"}\n',
        b'{"stream":"a-1","type":"a.b","schema":5}\n',
        b'{"stream":"a-1","type":"nodot"}\n',
        b'{"stream":"","type":"a.b"}\n',
        b'{"stream":"a-1","type":"a.b","occurred_at":1e30}\n',
        b'{"stream":"a-1","type":"a.b","position":1,"hash":"zz"}\n',
        b'{"stream":"a-1","type":"a.b","position":1,"hash":"00"}\n',
        b'{"stream":"a-1","type":"a.b","data":{"a":"\\ud800"}}\n',
        b'{"stream":"a-1","type":"a.b","data":{"a":"\xff"}}\n',
        b'{"stream":"a-1","type":"a.b","data":' + b"[" * 100_000 + b"\n",
        b'{"stream":"a-1","type":"a.b","data":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}\n",
        b'{"stream":"a-1","type":"a.b","data":{"a":NaN}}\n',
        b'{"stream":"a-1","type":"run.started","data":{}}\n',
        b'{"specversion":"1.0","id":"1","source":"/x","type":"a.b"}\n',
        b'"' + b"x" * (MAX_LINE_BYTES + 1) + b'"\n',
    ],
    ids=range(20),
)
def test_what_somebody_else_wrote_is_checked(tmp_path: Path, text: bytes) -> None:
    db = tmp_path / "log.db"
    result = run(db, "log", "import", "-", status=1, stdin=text)
    assert len(result.stderr.splitlines()) == 1
    assert "bug" not in result.stderr
    assert len(result.stderr) < 600
    assert not db.exists() or head(db)["position"] == 0


def test_an_export_over_a_file_asks(full: Path, tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_text("precious")
    run(full, "log", "export", place, status=2)
    assert place.read_text() == "precious"
    run(full, "log", "export", place, "--yes")
    assert len(place.read_text().splitlines()) == 7
    assert sorted(path.name for path in tmp_path.iterdir() if ".part" in path.name) == []


WRITERS = {
    "backup": ("db", "backup", "FILE", "--yes"),
    "log": ("log", "export", "FILE", "--yes"),
    "session": ("sessions", "export", "last", "-o", "FILE", "--yes"),
    "table": ("tables", "export", "runs", "-o", "FILE", "--yes"),
}


@pytest.mark.parametrize("name", ["full.db", "away/../full.db", "link.db", "twin.db", "full.db-wal", "full.db.lock"])
@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_no_command_writes_over_a_file_of_the_log_in_use(full: Path, words: tuple[str, ...], name: str) -> None:
    (full.parent / "away").mkdir()
    (full.parent / "link.db").symlink_to(full)
    (full.parent / "twin.db").hardlink_to(full)
    with eventlog.open(full) as log:
        log.sessions.create()
        there = (full.parent / name).stat().st_ino
        told = run(full, *(str(full.parent / name) if word == "FILE" else word for word in words), status=1)
        assert "file of the log in use" in told.stderr
        assert (full.parent / name).stat().st_ino == there
        log.projects.add("later")
        at = log.head().position
    assert head(full)["position"] == at


def test_no_command_writes_over_the_lines_of_the_log_in_use(tmp_path: Path) -> None:
    lines = tmp_path / "log.jsonl"
    run(lines, "projects", "add", "p")
    content = lines.read_bytes()
    for words in (("log", "export", lines, "--yes"), ("tables", "export", "projects", "-o", lines, "--yes")):
        assert "file of the log in use" in run(lines, *words, status=1).stderr
    assert lines.read_bytes() == content


@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_no_command_writes_over_a_database_that_somebody_has_in_use(
    full: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    other = tmp_path / "other.db"
    with eventlog.open(full) as log:
        log.sessions.create()
    with eventlog.open(other) as log:
        log.projects.add("p")
        told = run(full, *(str(other) if word == "FILE" else word for word in words), status=1)
        assert "in use, or was not closed" in told.stderr
    assert run(other, "projects", "list", "--jsonl").stdout.count("\n") == 1


@pytest.mark.parametrize("words", WRITERS.values(), ids=WRITERS)
def test_no_command_writes_over_a_database_that_is_open_and_was_not_written_to(
    full: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    other = tmp_path / "other.db"
    with eventlog.open(full) as log:
        log.sessions.create()
    with eventlog.open(other) as log:
        log.projects.add("p")
    with eventlog.open(other, mode="r") as log:
        assert len(log.projects.list()) == 1
        assert Path(f"{other}-wal").stat().st_size == 0
        told = run(full, *(str(other) if word == "FILE" else word for word in words), status=1)
        assert "is a database in use" in told.stderr
    run(full, *(str(other) if word == "FILE" else word for word in words))


@pytest.mark.parametrize("data", [b'{"a":"\xff"}', b"\xff\xfe", b"{", b"[1]", b"", b'{"a":1e999}'])
def test_an_append_of_what_is_no_json_on_stdin_is_a_wrong_use(full: Path, data: bytes) -> None:
    before = head(full)
    told = run(full, "log", "append", "a-1", "x.y", "-", status=2, stdin=data)
    assert "not JSON" in told.stderr or "not a JSON object" in told.stderr
    assert "'DATA'" in told.stderr
    assert head(full) == before


def test_a_message_on_stdin_that_is_no_text_is_a_wrong_use(full: Path) -> None:
    run(full, "sessions", "create")
    told = run(full, "sessions", "message", "last", "-", status=2, stdin=b"\xff")
    assert "not UTF-8" in told.stderr
    assert head(full)["position"] == 8


def test_a_backup_takes_no_name_that_belongs_to_the_log(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        log.projects.add("p")
        for name in ("log.db", "log.db-wal", "log.db.token"):
            with pytest.raises(InvalidInput, match="file of the log in use"):
                maintenance.backup(log, tmp_path / name)
        assert not (tmp_path / "log.db.token").exists()


def test_cloud_events(full: Path) -> None:
    events = [json.loads(text) for text in run(full, "log", "export", "--format", "cloudevents").stdout.splitlines()]
    records = json.loads(run(full, "log", "read", "--json").stdout)
    log_id = records[0]["hash"][:16]
    for event, record in zip(events, records, strict=True):
        assert {"id", "source", "specversion", "type"} <= set(event)
        assert event["specversion"] == "1.0"
        assert event["source"] == f"/eventlog/{log_id}"
        assert event["id"] == str(record["position"])
        assert (event["type"], event["subject"], event["data"]) == (record["type"], record["stream"], record["data"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["time"])
        assert None not in event.values()
        for name, value in event.items():
            assert re.fullmatch(r"[a-z0-9]{1,20}", name), name
            assert name == "data" or isinstance(value, str) or -(2**31) <= value < 2**31, name
    assert len({(event["source"], event["id"]) for event in events}) == len(events)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.dictionaries(st.text(), JSON, max_size=3), st.none() | st.dictionaries(st.text(), JSON))))
def test_any_data_comes_back_to_the_last_byte(entries: list[tuple[dict[str, Any], dict[str, Any] | None]]) -> None:
    import io

    with eventlog.open(":memory:") as log, eventlog.open(":memory:") as copy:
        for number, (data, metadata) in enumerate(entries):
            log.append(f"x-{number % 2}", eventlog.UnknownEvent(tag="x.y", data=data), metadata=metadata)
        text = b"".join(line(record) + b"\n" for record in log.read())
        assert len(text.splitlines()) == len(entries)
        import_lines(copy, io.BytesIO(text))
        assert copy.head()[:2] == log.head()[:2]
