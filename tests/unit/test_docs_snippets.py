"""Every snippet of the README and of the pages below runs, in order, one directory and one log a page.

- a ``python`` block is a program of its own; one that begins with ``# name.py`` is also kept under that name, and after
  ``<!-- kept: why -->`` only kept, as by a reader who saves it and types what stands below;
- a ``console`` block is typed into bash: ``$ `` begins a command, ``> `` continues it, other lines are what it prints
  (``...`` stands for anything; no lines: not compared). A command may fail only where ``$ echo $?`` follows;
- a block after ``<!-- from: FILE -->`` is not run but stands in that file;
- `docs/postgresql.md` has a server of its own: ``$ADMIN``, ``$WRITER`` and ``$READER`` are URLs of its logins;
- a block after ``<!-- not run: why -->`` is left alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.docs_support import ROOT, environment, install_example, server_environment

PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/concepts.md",
    "docs/architecture.md",
    "docs/adding-an-event.md",
    "docs/adding-a-projection.md",
    "docs/jobs.md",
    "docs/sessions.md",
    "docs/search.md",
    "docs/dual-write.md",
    "docs/executions.md",
    "docs/cost.md",
    "docs/importing.md",
    "docs/tasks.md",
    "docs/operations.md",
    "docs/configuration.md",
    "docs/postgresql.md",
    "docs/http.md",
    "docs/decisions.md",
)
FENCE = re.compile(
    r"(?P<before>(?:^<!--[^\n]*-->\n)?)^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
MARK = "\x1e"
SECONDS = 90


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str
    source: str | None
    kept: bool


class Command(NamedTuple):
    text: str
    expected: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page that are to be run."""
    text = (ROOT / page).read_text()
    found = []
    for match in FENCE.finditer(text):
        before = match["before"]
        if before.startswith(("<!-- not run:", "<!-- ci:")):
            continue
        line = text.count("\n", 0, match.start("language")) + 1
        source = re.match(r"<!-- from: (\S+) -->", before)
        found.append(
            Block(page, line, match["language"], match["text"], source[1] if source else None, "<!-- kept:" in before)
        )
    return found


def commands_of(text: str) -> list[Command]:
    """What a console block types, and what it says is printed."""
    commands: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:], ""))
            continue
        last = commands[-1]
        if line.startswith("> ") and not last.expected:
            commands[-1] = Command(f"{last.text}\n{line[2:]}", "")
        else:
            commands[-1] = Command(last.text, f"{last.expected}{line}\n")
    return commands


def run_python(block: Block, folder: Path, packages: list[Path]) -> None:
    name = re.match(r"# ([\w-]+\.py)\n", block.text)
    path = folder / (name[1] if name else "snippet.py")
    path.write_text(block.text)
    if block.kept:
        return
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=folder,
        env=environment(folder, *packages),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{block.page}:{block.line}\n{done.stdout}{done.stderr}"


def run_console(block: Block, folder: Path, packages: list[Path], server: dict[str, str]) -> None:
    commands = commands_of(block.text)
    script = "".join(
        f"{command.text}\n__status=$?; printf '{MARK}%d{MARK}' $__status; (exit $__status)\n" for command in commands
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment(folder, *packages) | server,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    parts = done.stdout.split(MARK)
    outcomes = list(zip(parts[0::2], parts[1::2], strict=False))
    assert len(outcomes) == len(commands), f"{block.page}:{block.line} stopped early\n{done.stdout}"
    asked = [command.text == "echo $?" for command in commands[1:]] + [False]
    for command, (output, status), told in zip(commands, outcomes, asked, strict=True):
        where = f"{block.page}:{block.line}: {command.text}"
        assert status == "0" or told, f"{where}\nexit status {status}\n{output}"
        if command.expected:
            assert matches(command.expected, output), f"{where}\nprinted\n{output}\nnot\n{command.expected}"


def matches(expected: str, output: str) -> bool:
    """Whether the output is as expected, ``...`` standing for anything; blanks at the ends of lines do not count."""
    expected, output = (re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip() for text in (expected, output))
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, output, re.DOTALL) is not None


# The page on PostgreSQL takes as long as all others together.
LONG = [pytest.param(page, marks=pytest.mark.long) if page == "docs/postgresql.md" else page for page in PAGES]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", LONG)
def test_every_snippet_runs(page: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if page == "docs/http.md" and shutil.which("curl") is None:
        pytest.skip("needs curl")
    folder = tmp_path_factory.mktemp("page")
    packages = []
    server = server_environment() if page == "docs/postgresql.md" else {}
    if page == "docs/adding-a-projection.md":
        packages.append(install_example(tmp_path_factory.mktemp("package")))
    for block in blocks_of(page):
        if block.source is not None:
            assert block.text in (ROOT / block.source).read_text(), f"{page}:{block.line} is not in {block.source}"
        elif block.language == "python":
            run_python(block, folder, packages)
        elif block.language == "console":
            run_console(block, folder, packages, server)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_of_a_kind_that_runs(page: str) -> None:
    """So that no snippet escapes by its name: shell is always ``console``."""
    kinds = {block.language for block in blocks_of(page)}
    assert kinds <= {"python", "console", "mermaid", "toml", "sql", "text", "json"}
