"""`docs/features.md` is true: every row's commands and methods are there, and each test that it names says so."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from operator import attrgetter
from typing import NamedTuple

import click
import pytest
from msgspec import Struct

import eventlog
from eventlog.app import Log
from eventlog.repositories.executions import ExecutionHistory
from eventlog.web.table import OPERATIONS
from eventlog.worker import RecoveryManager
from projections.runs import Run
from projections.tasks import Task
from tests.conftest import PLACES
from tests.unit.docs_support import ROOT
from tests.unit.test_cli_docs import LEAVES

ROWS_OF = {"S0": 12, "S1": 9, "S2": 10, "S3": 9, "S4": 11, "B": 7}
ROUTES = {f"{one.method} {one.path}" for one in OPERATIONS}


class Feature(NamedTuple):
    """A row of the page."""

    row: str
    asked: str
    done: str
    tests: list[str]


def _features() -> list[Feature]:
    found = []
    for line in (ROOT / "docs" / "features.md").read_text().splitlines():
        if re.match(r"\| (S\d|B)-", line):
            row, asked, done, tests = (cell.strip() for cell in line.strip("|\n").split(" | "))
            found.append(Feature(row, asked, done, re.findall(r"`(tests/[^`]+)`", tests)))
    return found


FEATURES = _features()


def _rows_named(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """What a test's marker ``feature`` says."""
    calls = [one for one in function.decorator_list if isinstance(one, ast.Call)]
    marks = [one for one in calls if ast.unparse(one.func) == "pytest.mark.feature"]
    return {ast.literal_eval(argument) for mark in marks for argument in mark.args}


@functools.cache
def _tests() -> dict[str, set[str]]:
    """Every test, as ``path::name``, with the rows that it says it checks."""
    found = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found[f"{file.relative_to(ROOT).as_posix()}::{node.name}"] = _rows_named(node)
    return found


def _matching(name: str) -> list[str]:
    return [one for one in _tests() if fnmatchcase(one, name)]


def _is_there(named: str, log: Log) -> bool:
    """Whether something in a row is the name of a thing that can be there; that it is not is an error."""
    base, _, path = named.partition(".")
    if base in ("log", "RecoveryManager") and path:
        attrgetter(path)(log if base == "log" else RecoveryManager)
        return True
    if re.fullmatch(r"eventlog(\.\w+)+", named) and not named.endswith(".toml"):
        module, _, name = named.rpartition(".")
        getattr(importlib.import_module(module), name)
        return True
    if named.startswith("eventlog "):
        words = named.split()
        command = " ".join(word for word in words if not word.startswith("--"))
        options = {text for one in LEAVES[command].params if isinstance(one, click.Option) for text in one.opts}
        assert options.issuperset(word for word in words if word.startswith("--")), named
        return True
    if re.match(r"(GET|POST|PATCH|DELETE) /", named):
        assert named in ROUTES, named
        return True
    return False


@pytest.fixture(scope="module")
def log() -> Iterator[Log]:
    with eventlog.open(":memory:") as log:
        yield log


def test_every_row_that_is_asked_for_is_there() -> None:
    assert [one.row for one in FEATURES] == [f"{part}-{n + 1}" for part, count in ROWS_OF.items() for n in range(count)]


@pytest.mark.parametrize("feature", FEATURES, ids=[one.row for one in FEATURES])
def test_a_row_names_what_is_there(feature: Feature, log: Log) -> None:
    there = [named for named in re.findall(r"`([^`]+)`", feature.done) if _is_there(named, log)]
    assert there, f"{feature.row} names no command, method or route"
    assert re.search(r"\]\([\w-]+\.md(#[\w-]+)?\)", feature.done), f"{feature.row} has no page"


@pytest.mark.parametrize("feature", FEATURES, ids=[one.row for one in FEATURES])
def test_the_tests_of_a_row_name_it(feature: Feature) -> None:
    assert feature.tests
    for name in feature.tests:
        matching = _matching(name)
        assert matching, f"{feature.row}: no test {name}"
        assert [one for one in matching if feature.row not in _tests()[one]] == []


def test_what_a_test_says_is_on_the_page() -> None:
    said = {(row, name) for name, rows in _tests().items() for row in rows}
    on_the_page = {(one.row, name) for one in FEATURES for pattern in one.tests for name in _matching(pattern)}
    assert said == on_the_page


@pytest.mark.feature("S0-1", "S2-1", "S4-1")
@pytest.mark.parametrize(
    ("row", "names", "whole"),
    [
        (
            ExecutionHistory,
            "id problem_name language status started_at finished_at stdout stderr exit_code",
            False,
        ),
        (
            Run,
            "run_id created_at started_at ended_at status command git_commit note project_id updated_at",
            False,
        ),
        (
            Task,
            "uuid task_source owner repo task_type task_id status created_at started_at completed_at process_id "
            "hostname llm_provider model context_length llm_call_count tool_call_count total_tokens "
            "compression_count error_message user",
            True,
        ),
    ],
)
def test_fields_are_called_what_the_documents_call_them(row: type[Struct], names: str, whole: bool) -> None:
    found = row.__struct_fields__
    assert found == tuple(names.split()) if whole else set(found) >= set(names.split())


def test_each_case_of_the_document_on_jobs_is_a_test() -> None:
    names = [name.rpartition("::")[2] for name in _matching("tests/jobs/test_persist.py::test_PERSIST_*")]
    assert sorted(name[:16] for name in names) == [f"test_PERSIST_{number:03}" for number in range(1, 13)]


@pytest.mark.feature("S4-11")
def test_the_contract_is_held_in_memory_and_on_a_server() -> None:
    """Tests that take the fixture ``log`` are made once for each of these places."""
    assert {place.name for place in PLACES} >= {"sqlite-file", "sqlite-memory", "jsonl", "postgres"}
    source = ast.parse((ROOT / "tests" / "contract" / "test_tasks.py").read_text())
    functions = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    asked = [one for one in functions if "log" in {argument.arg for argument in one.args.args}]
    assert len(asked) >= len(functions) - 2
