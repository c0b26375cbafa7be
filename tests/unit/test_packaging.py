"""What is shipped: two import packages, both typed, with the migrations as data, and nothing else."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import projections

ROOT = Path(__file__).resolve().parents[2]
IS_CHECKOUT = (ROOT / "eventlog").is_dir() and (ROOT / "migrations").is_dir()
NAME = "execution-eventlog"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel built from this checkout; of the installed one where the sources are not here."""
    if not IS_CHECKOUT:
        return [str(file) for file in importlib.metadata.files(NAME) or () if not str(file).startswith("..")]
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys, hatchling.builders.wheel as w; print(*w.WheelBuilder('.').build(directory=sys.argv[1]))"
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_two_packages_and_nothing_else(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"eventlog", "projections"}


def test_both_packages_are_typed(names: list[str]) -> None:
    assert {"eventlog/py.typed", "projections/py.typed"} <= set(names)


def test_migrations_travel_inside_eventlog(names: list[str]) -> None:
    up = [name for name in names if name.startswith("eventlog/migrations/sqlite/") and name.endswith(".up.sql")]
    assert up
    assert {name.replace(".up.", ".down.") for name in up} <= set(names)
    if IS_CHECKOUT:
        assert len(up) == len(list((ROOT / "migrations" / "sqlite").glob("*.up.sql")))


def test_no_test_or_benchmark_and_no_rubbish_is_shipped(names: list[str]) -> None:
    kinds = {Path(name).suffix for name in names if name.split("/")[0] in ("eventlog", "projections")}
    assert kinds - {".pyc"} <= {".py", ".typed", ".sql", ".json"}


def test_the_entry_points_name_tuples_of_projections() -> None:
    points = importlib.metadata.entry_points(group="eventlog.projections")
    ours = {point.name: point for point in points if point.dist is not None and point.dist.name == NAME}
    assert set(ours) == {module.name for module in pkgutil.iter_modules(projections.__path__)}
    for point in ours.values():
        declared = point.load()
        assert isinstance(declared, tuple)
        assert declared


def test_every_module_of_projections_has_its_entry_point() -> None:
    spec = importlib.util.find_spec("projections")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    values = {point.value for point in importlib.metadata.entry_points(group="eventlog.projections")}
    assert {f"projections.{module}:projections" for module in modules} <= values


def test_the_version_is_the_changelog_s() -> None:
    version = importlib.metadata.version(NAME)
    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        assert f"## [{version}]" in changelog.read_text()


def test_dependencies_are_ranges() -> None:
    """An application may need another patch level than the one tested; `constraints.txt` has the exact ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [item for group in project["dependency-groups"].values() for item in group if isinstance(item, str)]
    wanted = project["project"]["dependencies"] + groups
    assert [line for line in wanted if "==" in line or ">=" not in line] == []


def test_constraints_are_exact() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    names = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert names == sorted(set(names))
    assert [line for line in lines if line.count("==") != 1 or "/" in line or "@" in line] == []
