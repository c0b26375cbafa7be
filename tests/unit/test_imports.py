"""What importing costs: ``import eventlog`` stays light, and so does the command that wraps others."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.unit.docs_support import ROOT

HEAVY = ("rich", "sqlite_utils", "click", "projections", "asyncio", "eventlog.cli", "eventlog.recorder")


def imported_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after a statement."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_importing_eventlog_stays_light() -> None:
    loaded = imported_by("import eventlog")
    assert "eventlog" in loaded
    assert sorted(loaded.intersection(HEAVY)) == []


def test_opening_a_log_needs_no_drawing_and_no_sqlite_utils_once_it_exists(tmp_path: object) -> None:
    path = f"{tmp_path}/log.db"
    imported_by(f"import eventlog; eventlog.open({path!r}).close()")
    loaded = imported_by(f"import eventlog; eventlog.open({path!r}).close()")
    assert sorted(loaded.intersection({"rich", "sqlite_utils", "click", "asyncio"})) == []


def test_wrapping_a_command_needs_no_drawing_and_no_sqlite_utils(tmp_path: object) -> None:
    path = f"{tmp_path}/log.db"
    imported_by(f"import eventlog; eventlog.open({path!r}).close()")
    statement = (
        f"sys.argv = ['eventlog', '--db', {path!r}, 'run', '--', 'true']; import eventlog.cli as c\n"
        "try: c.main()\nexcept SystemExit as done: assert not done.code, done.code\nimport sys"
    )
    program = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert sorted(set(done.stdout.split()).intersection({"rich", "sqlite_utils", "asyncio"})) == []


@pytest.mark.parametrize("name", ["eventlog", "eventlog.errors", "eventlog.events", "eventlog.projection"])
def test_all_is_honest(name: str) -> None:
    """Everything in ``__all__`` is there, each name once."""
    __import__(name)
    module = sys.modules[name]
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names))
    assert [each for each in names if not hasattr(module, each)] == []


def test_the_public_names_are_there() -> None:
    import eventlog

    wanted = "open Event UnknownEvent Record Append Appended ANY NO_STREAM EXISTS errors"
    for name in wanted.split():
        assert name in eventlog.__all__
        assert hasattr(eventlog, name)


def test_every_module_has_its_layer() -> None:
    """A new top-level module takes its place in the contract that says which way imports point."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["id"] == "layers")
    placed = {name.strip() for layer in layers for name in layer.split("|")}
    spec = importlib.util.find_spec("eventlog")
    assert spec is not None
    modules = pkgutil.iter_modules(spec.submodule_search_locations)
    assert {f"eventlog.{module.name}" for module in modules} - {"eventlog.__main__", "eventlog.migrations"} <= placed


DRIVERS = {"sqlite3", "sqlite_utils", "psycopg", "sqlalchemy", "apsw"}
SQL = re.compile(r"^\s*(SELECT\s.*\bFROM|INSERT\s+INTO|UPDATE\s.*\bSET|DELETE\s+FROM|CREATE\s+TABLE)\b", re.DOTALL)


@pytest.mark.feature("S0-7")
@pytest.mark.parametrize("package", ["eventlog.repositories", "eventlog.web", "eventlog.cli", "projections"])
def test_above_the_store_there_is_no_sql_and_no_driver(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    files = [file for place in spec.submodule_search_locations or () for file in Path(place).rglob("*.py")]
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not DRIVERS & {one.name.split(".")[0] for one in node.names}, file
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in DRIVERS, file
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not SQL.match(node.value), f"{file}:{node.lineno}"
