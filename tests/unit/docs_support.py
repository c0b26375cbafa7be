"""What the tests of the documents share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE_PACKAGE = ROOT / "examples" / "eventlog-deploys"


def environment(folder: Path, *packages: Path) -> dict[str, str]:
    """A new user's: an empty home, the log beside the snippets, a terminal of known width without colours."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    inherited = os.environ.get("PYTHONPATH", "")
    python_path = os.pathsep.join([*map(str, packages), *([inherited] if inherited else [])])
    return kept | {
        "PATH": path,
        "PYTHONPATH": python_path,
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "EVENTLOG_URL": str(folder / "log.db"),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "TZ": "UTC",
        "PYTHONWARNINGS": "error",
    }


def server_environment() -> dict[str, str]:
    """A PostgreSQL server of its own, for a page that makes roles: URLs of its logins, psql and pg_dump on the path."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    from tests import postgres
    from tests.postgres_ops.support import programs

    server = postgres.start_server()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE DATABASE coding_agent TEMPLATE template0 ENCODING 'UTF8'")
    host = conninfo_to_dict(server)["host"]
    logins = {"ADMIN": "postgres", "WRITER": "recorder", "READER": "viewer"}
    places = {name: f"postgresql://{login}@/coding_agent?host={host}" for name, login in logins.items()}
    path = os.pathsep.join((str(Path(sys.executable).parent), str(programs()), os.environ.get("PATH", os.defpath)))
    return {**places, "RESTORED": f"postgresql://postgres@/restored?host={host}", "PATH": path}


def install_example(folder: Path) -> Path:
    """Install the example package as any user would, into a directory of its own; nothing is downloaded."""
    source = shutil.copytree(EXAMPLE_PACKAGE, folder / "source")
    target = folder / "site"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return target
