"""What holds for every importer: nothing twice, everything explained, the same on every store, and no secrets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.cli import main
from eventlog.errors import NotFound
from eventlog.importers.formats import FORMATS
from eventlog.importers.intake import Counts
from eventlog.importers.run import Report
from eventlog.projection.manager import Projections
from tests import postgres
from tests.fixtures import transcripts
from tests.importers.planted import left, planted
from tests.importers.samples import DATABASES, LINES, PLAIN, SAMPLES
from tests.importers.support import write

every = pytest.mark.parametrize("name", FORMATS)
FATES = ("understood", "raw", "duplicate", "quarantined")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with eventlog.open(tmp_path / "log.db") as log:
        yield log


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Log]:
    """A log in PostgreSQL."""
    url = postgres.borrow_log()
    with eventlog.open(url, data_dir=tmp_path / "data-postgres") as log:
        yield log
    postgres.return_log(url)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still: what several logs have recorded, they have recorded at once."""
    for module in ("log", "committer"):
        monkeypatch.setattr(f"eventlog.{module}.now_us", lambda: 1_800_000_000_000_000)


def sample(name: str, folder: Path, values: Any = PLAIN) -> Path:
    return SAMPLES[name](folder / "source", values)


def said(log: Log, after: int = 0) -> list[tuple[str, str]]:
    """What was added but for what importers say of their sources."""
    return [(one.stream, one.type) for one in log.read(after) if not one.type.startswith("import.")]


def assert_adds_up(log: Log, report: Report) -> None:
    """Every record and every byte of the sources has a fate, and the report is their sum."""
    total = Counts()
    for source in report.sources:
        total.add(source.counts)
    assert total == report.total
    assert total.records == sum(getattr(total, f"{fate}_records") for fate in FATES)
    for source in log.imports.list(kind=report.importer):
        assert source.records == sum(getattr(source, f"{fate}_records") for fate in FATES)
        if report.importer in LINES:
            explained = sum(getattr(source, f"{fate}_bytes") for fate in FATES) + source.blank_bytes
            tail = sum(row.length_bytes for row in log.imports.quarantined(source.source_id)
                       if row.offset >= source.offset)  # fmt: skip
            assert explained == source.size_bytes == Path(source.path).stat().st_size
            assert source.offset + tail == source.size_bytes


def test_every_importer_has_a_sample() -> None:
    assert not FORMATS.keys() - SAMPLES.keys(), "a new importer brings a sample of its source"


@every
def test_imported_twice_it_is_there_once(log: Log, tmp_path: Path, name: str) -> None:
    source = sample(name, tmp_path)
    report = log.import_from(name, source)
    assert report.total.understood_records > 0 and not report.partial
    assert report.total.secrets == 0
    assert report.total.events == log.head().position
    assert_adds_up(log, report)
    head = log.head()
    again = log.import_from(name, source)
    assert {one.status for one in again.sources} == {"unchanged"} and log.head() == head
    for file in source.rglob("*"):
        file.touch()
    log.import_from(name, source)
    assert log.head() == head
    # Elsewhere, with another time: only that the source is there is said.
    copy = Path(shutil.copytree(source, tmp_path / "elsewhere" / "source"))
    assert_adds_up(log, log.import_from(name, copy))
    assert said(log, head.position) == []
    assert log.projections.verify() == []


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("other", LINES)
def test_of_another_programs_files_nothing_is_appended_and_its_importer_is_named(
    log: Log, tmp_path: Path, name: str, other: str
) -> None:
    files = [one for one in sample(other, tmp_path).rglob("*.jsonl") if name != other]
    for file in files:
        report = log.import_from(name, file)
        assert report.partial and report.sources[0].status == "failed"
        assert str(report.sources[0].problem).endswith(f"it looks like a source of `eventlog import {other}`")
    assert log.head().position == 0
    assert not log.import_from(other, tmp_path / "source").partial


def test_of_many_files_of_another_program_the_first_are_told_and_how_many_more_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(25):
        write(tmp_path / "in" / f"{number:02}.jsonl", b'{"type": "page"}\n')
    command = ["--db", str(tmp_path / "log.db"), "import", "codex", str(tmp_path / "in")]
    for form in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, *form])
        assert ended.value.code == 3
        said = capsys.readouterr().out
        assert said.count("nothing in it is as codex") == (25 if form else 10)
        assert ("and 15 sources more with a problem; the same command with --json tells them all" in said) == (not form)


@pytest.mark.parametrize("name", LINES)
def test_a_file_without_any_record_of_the_form_begins_no_session(log: Log, tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "notes.jsonl", b'{"type": "page"}\n{"colour": "red"}\n' * 100)
    with pytest.raises(SystemExit) as ended:
        main(["--db", str(tmp_path / "log.db"), "import", name, str(file)])
    assert ended.value.code == 3
    assert log.import_from(name, file).sources[0].problem == f"nothing in it is as {name} would have written it"
    assert log.head().position == 0
    # One is enough, wherever it stands; what is of no known form stays with it.
    known = next(one for one in sorted(sample(name, tmp_path).rglob("*.jsonl"))).read_bytes().splitlines()[0]
    write(file, file.read_bytes() + known + b"\n")
    report = log.import_from(name, file)
    assert (report.total.understood_records, report.total.raw_records) == (1, 200)


@every
def test_where_a_folder_has_nothing_it_is_told_which_names_were_looked_for(log: Log, tmp_path: Path, name: str) -> None:
    source = sample(name, tmp_path)
    with pytest.raises(NotFound, match="a file that is called otherwise has to be named itself") as told:
        log.import_from(name, write(tmp_path / "empty" / "x.txt", b"").parent)
    looked_for = str(told.value).partition("looks for ")[2]
    files = [one for one in source.rglob("*") if one.is_file()]
    assert any(word.strip(",;") in (one.name, f"*{one.suffix}") for one in files for word in looked_for.split())


@pytest.mark.parametrize("name", sorted(DATABASES))
def test_a_database_that_is_called_otherwise_is_imported_by_its_name(log: Log, tmp_path: Path, name: str) -> None:
    file = sample(name, tmp_path) / DATABASES[name]
    other = file.rename(file.with_name(f"{file.stem}-0.27.1{file.suffix}"))
    assert log.import_from(name, other).total.understood_records


NO_RECORDS = {
    "Markdown": b"# Notes\n\nthe first\n{curly}\n" * 9,
    "binary": bytes(range(256)) * 40,
    "NUL": b"\0" * 400,
    "JSON over many lines": json.dumps({"name": "x", "deep": {"a": [1, 2]}}, indent=2).encode(),
    "cut off": b'{"type": "us',
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("what", NO_RECORDS)
@pytest.mark.parametrize("name", [*LINES, "sessions-json"])
def test_a_file_of_which_no_line_is_an_object_is_refused_and_makes_no_log(
    log: Log, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, what: str, strict: bool
) -> None:
    file = write(tmp_path / "NOTES.md", NO_RECORDS[what])
    with pytest.raises(SystemExit) as ended:
        main(["--db", str(tmp_path / "new.db"), "import", name, str(file), *(["--strict"] if strict else [])])
    assert ended.value.code == 3
    assert "0 events added" in capsys.readouterr().out
    assert not list(tmp_path.glob("new.db*"))
    report = log.import_from(name, file, strict=strict)
    assert (report.sources[0].status, report.total.records, log.head().position) == ("failed", 0, 0)


@pytest.mark.parametrize("name", LINES)
def test_a_file_in_the_middle_of_its_first_record_is_waited_for(log: Log, tmp_path: Path, name: str) -> None:
    file = next(one for one in sorted(sample(name, tmp_path).rglob("*.jsonl")))
    whole = file.read_bytes().splitlines(keepends=True)[0]
    write(file, whole[:-9], age_s=0)
    report = log.import_from(name, file)
    assert (report.sources[0].status, report.partial, log.head().position) == ("waiting", False, 0)
    write(file, b"no record\n" + whole[:-9], age_s=0)
    assert log.import_from(name, file).sources[0].status == "failed"
    write(file, whole, age_s=0)
    report = log.import_from(name, file)
    assert (report.sources[0].status, report.total.records, report.partial) == ("imported", 1, False)


def test_lines_that_are_too_long_to_be_looked_at_are_no_sign_of_another_program(log: Log, tmp_path: Path) -> None:
    file = next(one for one in sorted(sample("claude", tmp_path).rglob("*.jsonl")))
    write(file, file.read_bytes())
    lines = len(file.read_bytes().splitlines())
    assert log.import_from("claude", file, max_line_bytes=20).total.quarantined_records == lines
    assert not log.retry_imports().partial


@pytest.mark.parametrize("name", LINES)
def test_while_the_end_of_a_file_is_waited_for_what_could_not_be_read_before_it_is_told(
    log: Log, tmp_path: Path, name: str
) -> None:
    file = next(one for one in sorted(sample(name, tmp_path).rglob("*.jsonl")))
    whole = file.read_bytes()
    write(file, b"no record\n" + whole + b'{"type": "us', age_s=0)
    first = log.import_from(name, file)
    head = log.head()
    again = log.import_from(name, file)
    for report in (first, again):
        assert report.partial and report.sources[0].status == "waiting"
        assert report.sources[0].problem == "1 record could not be read"
    assert again.total.events == 0 and log.head() == head
    write(file, file.read_bytes() + b'er"}\n')
    grown = log.import_from(name, file)
    assert grown.total.records == 1 and grown.total.quarantined_records == 0
    assert grown.sources[0].problem == "1 record could not be read"


@every
def test_a_dry_run_says_what_an_import_does(log: Log, tmp_path: Path, name: str) -> None:
    source = sample(name, tmp_path)
    told = log.import_from(name, source, dry_run=True)
    assert log.head().position == 0
    report = log.import_from(name, source)
    for field in ("records", "understood_records", "raw_records", "quarantined_records"):
        assert getattr(told.total, field) == getattr(report.total, field)


@every
def test_as_of_before_an_import_there_is_nothing_of_it(log: Log, tmp_path: Path, name: str) -> None:
    log.runs.start("before", note="cart")
    before = log.head().position
    source = sample(name, tmp_path)
    log.import_from(name, source)
    tables = rows(log.projections)
    with log.as_of(before) as past:
        assert past.imports.list() == [] and past.sessions.list() == [] and len(past.runs.list()) == 1
        assert [hit.position for hit in past.search.find("cart")] == [before]
    log.projections.rollback(before)
    empty = rows(log.projections)
    assert {name for name, held in empty.items() if held} <= {
        "runs",
        "run_journal",
        "search_documents",
        "run_statistics",
    }
    log.projections.resume()
    assert rows(log.projections) == tables and log.projections.verify() == []


# SQLite, PostgreSQL and JSON lines


def rows(projections: Projections) -> dict[str, list[dict[str, Any]]]:
    """Every table of a log, by key."""
    return {name: projections.rows(name) for name in projections.names()}


def answers(log: Log) -> dict[str, Any]:
    """What a log answers to questions."""
    found: dict[str, Any] = {}
    for query in ("cart", '"second line"', "größer", "大きい", "src*", "look -cart", "foo_bar", "Total OR cart"):
        found[query] = log.search.find(query, limit=None)
    found["counts"] = [log.search.count(query) for query in ("cart", "twice")]
    for by in (None, "model", "day", "agent"):
        for what in (log.statistics.tokens, log.statistics.cost):
            found[f"{what.__name__} {by}"] = what(by=by)
    found["tools"] = [log.statistics.tools(by=by) for by in (None, "tool")]
    found["sessions"] = [log.sessions.thread(one.session_id) for one in log.sessions.list()]
    return found


def assert_alike(one: Log, other: Log) -> None:
    assert [record.row for record in one.read()] == [record.row for record in other.read()]
    ours, theirs = rows(one.projections), rows(other.projections)
    assert sum(map(len, ours.values())) >= 5
    for name in ours:
        assert ours[name] == theirs[name], name
    assert answers(one) == answers(other)


@every
@pytest.mark.long
@pytest.mark.usefixtures("still")
def test_sqlite_and_postgresql_say_the_same(log: Log, server: Log, tmp_path: Path, name: str) -> None:
    source = sample(name, tmp_path)
    assert log.import_from(name, source).total == server.import_from(name, source).total
    assert_alike(log, server)
    assert server.projections.verify() == []


@pytest.mark.usefixtures("still")
def test_all_together_are_the_same_on_every_store(log: Log, server: Log, tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "lines.jsonl") as lines:
        for name in FORMATS:
            source = sample(name, tmp_path / name)
            for one in (log, server, lines):
                assert not one.import_from(name, source).partial
        assert_alike(log, server)
        assert_alike(log, lines)
        kinds = {source.kind for source in log.imports.list()}
        assert kinds == set(FORMATS) and len(log.sessions.list()) >= 12
        assert log.projections.verify() == lines.projections.verify() == []
    with eventlog.open(tmp_path / "lines.jsonl") as lines:
        assert_alike(log, lines)


# secrets


def command(folder: Path, *argv: str) -> int:
    """The exit status of a command on the log."""
    with pytest.raises(SystemExit) as done:
        main(["--db", str(folder / "log.db"), *argv])
    return int(done.value.code or 0)


@every
def test_planted_secrets_are_nowhere(log: Log, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = planted()
    assert len(found) >= 200
    source = sample(name, tmp_path, [one.value for one in found])
    report = log.import_from(name, source)
    assert report.total.secrets >= len(found)
    assert sum(one.secrets for one in log.imports.list()) == report.total.secrets
    assert left(found, b"".join(file.read_bytes() for file in source.rglob("*") if file.is_file())), "they were planted"
    hits = [log.search.find(query, limit=None) for query in ("password", "token", "key*", "use", "bob")]
    log.import_from(name, source, dry_run=True)
    exports = [["sessions", "export", one.session_id, "--format", "json"] for one in log.sessions.list()[:4]]
    for argv in (["log", "export"], ["import", "list", "--json"], ["tasks", "list", "--json"], *exports):
        assert command(tmp_path, *argv) == 0
    told = capfd.readouterr()
    stored = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and not file.is_relative_to(source)]
    slipped = left(found, b"\n".join([*stored, told.out.encode(), told.err.encode(), repr(hits).encode()]))
    assert not slipped, {one.shape for one in slipped}


def test_of_real_transcripts_nothing_is_masked(log: Log) -> None:
    assert log.import_from("claude", transcripts()).total.secrets == 0
