"""``eventlog demo``: a few real processes, recorded, asked about, rolled back and resumed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

PYTHON = "python3"
TRAIN = '''"""A program that records itself: a run with parameters and a metric."""
import math
import sys
import time

import eventlog

lr = float(sys.argv[1])
with eventlog.open() as log:
    with log.runs.track("train.py", project_id="demo", parameters={"lr": lr}) as run:
        for step in range(5):
            time.sleep(0.05)
            run.metric("loss", math.exp(-lr * step * 10), step=step)
'''
KILL_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
RATES = ("0.01", "0.03", "0.1", "0.3")


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), help="Work here, and keep everything."
)
@click.option("--keep", is_flag=True, help="Keep the temporary directory.")
def demo(folder: Path | None, keep: bool) -> None:
    """Record a few real processes, ask about them, roll back, resume, verify: on a throw-away log, in a few seconds."""
    with _place(folder, keep) as place:
        _Demo(place).play()


@contextlib.contextmanager
def _place(folder: Path | None, keep: bool) -> Iterator[Path]:
    if folder is not None:
        if not folder.parent.is_dir():
            raise click.UsageError(f"there is no folder {folder.parent}.")
        folder.mkdir(exist_ok=True)
        if (folder / "log.db").exists():
            raise click.UsageError(f"{folder / 'log.db'} is there already; give an empty directory.")
        yield folder.resolve()
        return
    place = Path(tempfile.mkdtemp(prefix="eventlog-demo-"))
    try:
        yield place
    finally:
        if keep:
            click.echo(f"\nEverything is kept in {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


class _Demo:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.db = place / "log.db"
        # What is set for the user's own log must not reach into this one.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENTLOG_")}
        self.environment = kept | {"EVENTLOG_URL": str(self.db)}

    def play(self) -> None:
        self.title("Record commands: one that succeeds, one that fails, one that gets killed")
        click.echo(f"$ export EVENTLOG_URL={shlex.quote(str(self.db))}")
        self.ask("projects", "add", "demo", "--note", "made by eventlog demo")
        run = ("run", "--project", "demo")
        self.record(*run, "--tag", "kind=sum", "--", PYTHON, "-c", "print(6 * 7)")
        self.record(*run, "--tag", "kind=sum", "--note", "by zero", "--", PYTHON, "-c", "print(1 / 0)")
        self.record(*run, "--", PYTHON, "-c", KILL_ITSELF)

        self.title("Four programs that record themselves, all at once (train.py uses the library)")
        (self.place / "train.py").write_text(TRAIN)
        self.train()

        self.title("What happened?")
        self.ask("runs", "list")
        self.ask("runs", "compare", "1", "2")

        self.title("How are we doing?")
        self.ask("stats", "runs", "--by", "program")

        before = self.position()
        self.title(f"The log is at version {before}. Correct a run by hand, and see what that changed")
        self.ask("runs", "update", "2", "--status", "success", "--note", "it was fine, really")
        self.ask("projections", "diff", str(before), str(self.position()), "--projection", "runs")
        self.ask("projections", "explain", "runs", "2")

        self.title(f"That was wrong. Roll every table back to version {before}")
        self.ask("projections", "rollback", "--to", str(before))
        self.ask("runs", "list", "--status", "fail")

        self.title("Nothing was lost: resume, and prove that the tables are what the events say")
        self.ask("projections", "resume")
        self.ask("runs", "list", "--limit", "3", "--before", "4")
        self.ask("projections", "verify")
        self.ask("log", "verify")
        self.farewell()

    def title(self, text: str) -> None:
        click.echo("\n" + click.style(text, bold=True) + "\n")

    def ask(self, *words: str) -> None:
        """Show a command of ours and run it in this process; what it prints goes to the same place."""
        from eventlog.cli.root import cli

        self.show(("eventlog", *words))
        sys.stdout.flush()
        cli.main(["--db", str(self.db), *words], standalone_mode=False)
        click.echo()

    def record(self, *words: str) -> None:
        """Show an ``eventlog run`` and run it as a process of its own."""
        self.show(("eventlog", *words))
        sys.stdout.flush()
        status = self.start([sys.executable, "-m", "eventlog", *self.real(words)]).wait()
        click.echo(f"(exit status {status})\n")

    def train(self) -> None:
        started = []
        for rate in RATES:
            self.show((PYTHON, "train.py", rate), background=True)
            started.append(self.start([sys.executable, "train.py", rate], cwd=self.place))
        statuses = [process.wait() for process in started]
        if any(statuses):
            raise click.ClickException("a program of the demo failed; what it said stands above")

    def start(self, words: Sequence[str], cwd: Path | None = None) -> subprocess.Popen[bytes]:
        environment = self.environment
        # The programs started here have to find the package wherever this process found it.
        home = str(Path(__file__).resolve().parent.parent.parent)
        path = [home, environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else [home]
        return subprocess.Popen(
            list(words), env=dict(environment, PYTHONPATH=os.pathsep.join(path)), cwd=cwd, stdin=subprocess.DEVNULL
        )

    def real(self, words: Sequence[str]) -> list[str]:
        return [sys.executable if word == PYTHON else word for word in words]

    def show(self, words: Sequence[str], background: bool = False) -> None:
        click.echo(click.style("$ " + shlex.join(words) + (" &" if background else ""), fg="cyan"))

    def position(self) -> int:
        import eventlog

        with eventlog.open(self.db, mode="r") as log:
            return log.head().position

    def farewell(self) -> None:
        self.title("Next, with a log of your own")
        click.echo(
            "  eventlog run -- make test          record any command\n"
            "  eventlog runs list                 find it again\n"
            "  eventlog runs show last            everything about it\n"
            "  eventlog stats runs --by day       counts and durations\n"
            "  eventlog log tail --follow         watch the events arrive\n"
            "  eventlog --help                    all the rest"
        )
