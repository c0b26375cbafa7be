"""Every example runs as it stands; the example package installs as a user would install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs_support import ROOT, environment, install_example

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    assert done.stderr == ""


def test_a_package_adds_projections_to_a_log_that_has_events_already(tmp_path: Path) -> None:
    """Its tables appear in every log, filled from what was there before the package was, and rebuild like ours."""
    site = install_example(tmp_path)
    append = (
        "import eventlog\n"
        "with eventlog.open() as log:\n"
        "    log.append('deploy-red', eventlog.UnknownEvent(tag='deploy.started',"
        " data={'type': 'deploy.started', 'version': '2.1', 'environment': 'test'}))\n"
        "    assert 'deploys' not in log.projections.names()\n"
    )
    look = (
        "import eventlog\n"
        "with eventlog.open() as log:\n"
        "    assert {'deploys', 'deploy_steps', 'deploy_counts', 'runs'} <= set(log.projections.names())\n"
        "    log.projections.catch_up()\n"
        "    (row,) = log.projections.rows('deploys')\n"
        "    assert (row['deploy'], row['version'], row['status']) == ('red', '2.1', 'running')\n"
        "    log.projections.rebuild(['deploys'])\n"
        "    assert list(log.projections.rows('deploys')) == [row]\n"
        "    assert log.projections.verify() == []\n"
        "    assert log.projections.explain('deploys', 'red').steps[0].position == 1\n"
    )
    for program, packages in ((append, ()), (look, (site,)), (append.replace("red", "blue"), ())):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=environment(tmp_path, *packages),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
