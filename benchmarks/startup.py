"""What starting the command costs: whole processes, over plain ``true`` started the same way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure, interleave
from benchmarks.logs import Bench


def run(bench: Bench) -> Iterator[Figure]:
    """Bar 12."""
    folder = bench.fresh("startup").parent
    environment = {**os.environ, "EVENTLOG_URL": str(folder / "log.db")}
    # As installed: with bytecode, which a checkout may be kept from writing.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    checkout = str(Path(__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))

    def start(*command: str) -> None:
        subprocess.run(command, check=True, env=environment, cwd=folder, stdout=subprocess.DEVNULL)

    true = shutil.which("true") or "true"
    eventlog = _command()
    # Once each beforehand: bytecode, page cache, and the log itself.
    start(*eventlog, "--help")
    start(*eventlog, "run", "--", true)
    floor, python, shown, recorded = interleave(
        bench.size.starts,
        lambda: start(true),
        lambda: start(sys.executable, "-c", ""),
        lambda: start(*eventlog, "--help"),
        lambda: start(*eventlog, "run", "--", true),
    )
    for name, what, timing, bar in (
        ("startup.help", "eventlog --help, over plain true", shown, 150),
        ("startup.run", "eventlog run -- true, over plain true", recorded, 200),
        ("startup.python", "python -c '', over plain true", python, None),
    ):
        yield Figure(
            id=name, what=what, unit="ms", ours=(timing.median - floor.median) * 1e3, raw=floor.median * 1e3,
            against="true", bar=bar, sense="<=", on_value=True,
        )  # fmt: skip


def _command() -> list[str]:
    """The installed command of this Python, or the module where there is none."""
    script = Path(sys.executable).with_name("eventlog")
    return [str(script)] if script.exists() else [sys.executable, "-m", "eventlog"]
