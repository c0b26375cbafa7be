"""MLflow's store: a small one by its schema, and a real one where MLflow is installed."""

from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import eventlog
from eventlog.app import Log
from eventlog.importers.mlflow import MlflowStore
from eventlog.importers.run import Report, import_paths
from tests.projections.reference import check_every_way

SECRET = "ghp_" + "a1B2" * 9
SCHEMA = """
CREATE TABLE experiments (experiment_id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(256) NOT NULL,
    artifact_location VARCHAR(256), lifecycle_stage VARCHAR(32), creation_time BIGINT, last_update_time BIGINT,
    workspace VARCHAR(63) DEFAULT 'default' NOT NULL);
CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(250), source_type VARCHAR(20),
    source_name VARCHAR(500), entry_point_name VARCHAR(50), user_id VARCHAR(256), status VARCHAR(9),
    start_time BIGINT, end_time BIGINT, source_version VARCHAR(50), lifecycle_stage VARCHAR(20),
    artifact_uri VARCHAR(200), experiment_id INTEGER, deleted_time BIGINT);
CREATE TABLE params ("key" VARCHAR(250) NOT NULL, value VARCHAR(8000) NOT NULL, run_uuid VARCHAR(32) NOT NULL,
    PRIMARY KEY ("key", run_uuid));
CREATE TABLE tags ("key" VARCHAR(250) NOT NULL, value VARCHAR(8000), run_uuid VARCHAR(32) NOT NULL,
    PRIMARY KEY ("key", run_uuid));
CREATE INDEX index_tags_run_uuid ON tags (run_uuid);
CREATE TABLE metrics ("key" VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL,
    run_uuid VARCHAR(32) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL,
    PRIMARY KEY ("key", timestamp, step, run_uuid, value, is_nan));
CREATE TABLE datasets (dataset_uuid VARCHAR(36) NOT NULL, experiment_id INTEGER NOT NULL, name VARCHAR(500) NOT NULL,
    digest VARCHAR(36) NOT NULL, dataset_source TEXT NOT NULL, PRIMARY KEY (experiment_id, name, digest));
"""
ROWS = f"""
INSERT INTO experiments VALUES (0, 'Default', '/mlruns/0', 'active', 1767225600000, NULL, 'default');
INSERT INTO experiments VALUES (1, 'demo', '/mlruns/1', 'active', 1767225600000, NULL, 'default');
INSERT INTO runs VALUES ('aa', 'one', 'LOCAL', '', '', 'me', 'FINISHED', 1767225600000, 1767225660000, '', 'active',
    '/mlruns/1/aa/artifacts', 1, NULL);
INSERT INTO runs VALUES ('bb', 'two', 'LOCAL', 'train.py', 'main', 'me', 'RUNNING', 1767225700000, NULL, 'abc',
    'active', '/mlruns/1/bb/artifacts', 1, NULL);
INSERT INTO runs VALUES ('cc', 'three', NULL, NULL, NULL, NULL, 'FAILED', 1767225700000, 1767225701000, NULL, 'active',
    NULL, 0, NULL);
INSERT INTO runs VALUES ('dd', 'four', NULL, NULL, NULL, NULL, 'KILLED', 1767225700000, NULL, NULL, 'deleted', NULL, 9,
    1767225800000);
INSERT INTO params VALUES ('lr', '0.1', 'aa'), ('api_key', '{SECRET}', 'aa'), ('x', 'of nobody', 'zz');
INSERT INTO tags VALUES ('mlflow.source.name', '/home/train.py', 'aa'), ('a', 'b', 'aa'),
    ('mlflow.note.content', 'A note', 'aa'), ('mlflow.parentRunId', 'aa', 'bb'),
    ('mlflow.source.git.commit', 'c0ffee', 'bb');
INSERT INTO metrics VALUES ('loss', 1.0, 1767225601000, 'aa', 0, 0), ('loss', 0.5, 1767225602000, 'aa', 1, 0),
    ('odd', 0.0, 1767225603000, 'aa', 0, 1), ('odd', 1.7976931348623157e308, 1767225603000, 'aa', 1, 0),
    ('odd', -1.7976931348623157e308, 1767225603000, 'aa', 2, 0), ('loss', 1, 1767225601000, 'zz', 0, 0),
    ('loss', 'text', 1767225601000, 'aa', 9, 0);
INSERT INTO datasets VALUES ('u', 1, 'numbers', 'd1', '{{"path": "numbers.csv"}}');
"""


def imported(log: Log, path: Path) -> Report:
    return import_paths(log, log.projections, MlflowStore(), [path], data_dir=path.parent)


def change(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    change(tmp_path / "mlflow.db", SCHEMA + ROWS)
    return tmp_path / "mlflow.db"


def test_a_store_by_its_schema(tmp_path: Path, store: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        log.projects.add("Default", "/here", "was here before")
        log.runs.start("was here before")
        report = imported(log, store)
        assert (report.total.raw_records, report.total.quarantined_records, report.total.secrets) == (4, 0, 1)
        assert [(one.project_id, one.note) for one in log.projects.list()] == [
            ("Default", "was here before"),
            ("demo", "MLflow experiment 1"),
        ]
        three, two, one, _ = log.runs.list()
        assert [run.run_id for run in log.runs.list()] == [4, 3, 2, 1]
        assert (one.status, one.command, one.program) == ("success", "/home/train.py", "train.py")
        assert (one.project_id, one.note, one.user) == ("demo", "A note", "me")
        assert (one.started_at, one.ended_at) == (1_767_225_600_000_000, 1_767_225_660_000_000)
        assert one.parameters == {"lr": "0.1", "api_key": "[redacted]"}
        assert one.tags == {
            "mlflow.source.name": "/home/train.py",
            "a": "b",
            "mlflow.run_id": "aa",
            "mlflow.artifact_uri": "/mlruns/1/aa/artifacts",
        }
        assert (two.status, two.ended_at, two.git_commit) == ("running", None, "c0ffee")
        assert (two.tags["mlflow.parentRunId"], two.command) == ("aa", "train.py main")
        assert (three.status, three.project_id, three.command) == ("fail", "Default", "three")
        told = [(row.name, row.value, row.non_finite, row.step) for row in log.runs.metrics(2)]
        assert told == [
            ("loss", 1.0, None, 0),
            ("loss", 0.5, None, 1),
            ("odd", None, "nan", 0),
            ("odd", None, "inf", 1),
            ("odd", None, "-inf", 2),
        ]
        assert log.runs.metrics(2)[1].occurred_at == 1_767_225_602_000_000
        assert [record.type for record in log.runs.history(5)][-1] == "run.deleted"
        check_every_way(log)


def test_what_changed_there_changes_here_and_nothing_else(tmp_path: Path, store: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        imported(log, store)
        head = log.head()
        change(store, "CREATE TABLE unrelated (a)")
        imported(log, store)
        assert log.head() == head
        change(
            store,
            """
            UPDATE runs SET status = 'FINISHED', end_time = 1767225900000 WHERE run_uuid = 'bb';
            INSERT INTO params VALUES ('late', '1', 'bb');
            INSERT INTO metrics VALUES ('loss', 2, 1767225801000, 'bb', 0, 0);
            UPDATE tags SET value = 'c' WHERE key = 'a';
            """,
        )
        imported(log, store)
        added = [(record.stream, record.type) for record in log.read(after=head.position)]
        assert added[:-1] == [
            ("run-1", "run.tagged"),
            ("run-2", "run.parameters_set"),
            ("run-2", "run.finished"),
            ("run-2", "run.metric_logged"),
        ]
        assert (log.runs.get(2).status, log.runs.get(2).ended_at) == ("success", 1_767_225_900_000_000)
        assert log.runs.get(1).tags["a"] == "c"
        assert log.projections.verify() == []


REAL = """
import math, sys, mlflow
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}")
mlflow.set_experiment("demo")
with mlflow.start_run(run_name="outer"):
    mlflow.log_params({"lr": 0.1, "layers": 3})
    for step in range(3):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metrics({"nan": math.nan, "inf": math.inf})
    with mlflow.start_run(nested=True):
        mlflow.set_tag("inner", "yes")
try:
    with mlflow.start_run():
        raise RuntimeError("it failed")
except RuntimeError:
    pass
mlflow.start_run()
import os; os._exit(0)
"""


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="MLflow is not installed (group peers)")
def test_a_store_that_mlflow_made(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    subprocess.run([sys.executable, "-c", REAL, path], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    with eventlog.open(tmp_path / "log.db") as log:
        report = imported(log, path)
        assert [source.problem for source in report.sources] == [None]
        runs: list[Any] = log.runs.list()[::-1]
        assert [run.status for run in runs] == ["success", "success", "fail", "running"]
        assert {run.project_id for run in runs} == {"demo"}
        assert runs[0].parameters == {"lr": "0.1", "layers": "3"}
        assert runs[1].tags["mlflow.parentRunId"] == runs[0].tags["mlflow.run_id"]
        assert [(row.name, row.value, row.non_finite) for row in log.runs.metrics(1)] == [
            ("loss", 1.0, None),
            ("loss", 0.5, None),
            ("loss", 1 / 3, None),
            ("nan", None, "nan"),
            ("inf", None, "inf"),
        ]
        head = log.head()
        imported(log, path)
        assert log.head() == head
