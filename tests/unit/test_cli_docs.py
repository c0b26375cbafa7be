from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import eventlog
from eventlog.cli.lazy import LazyGroup
from eventlog.cli.root import cli
from eventlog.repositories.usage_statistics import TokenStatistics
from tests.unit.docs_support import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text()
SHARED = {"--json", "--jsonl", "--raw", "--jst", "--utc", "--tz", "--as-of", "--yes"}


def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(words), command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield from walk(child, (*words, name))


COMMANDS = dict(walk(cli, ("eventlog",)))
LEAVES = {name: command for name, command in COMMANDS.items() if not isinstance(command, click.Group)}


def section(title: str) -> str:
    """The text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/cli.md has no section {title!r}"
    return found[1]


def options(command: click.Command) -> set[str]:
    named = [option for option in command.params if isinstance(option, click.Option)]
    return {text for option in named for text in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_and_option_is_documented(name: str) -> None:
    text = section(name)
    missing = {option for option in options(LEAVES[name]) - SHARED if f"`{option}`" not in text}
    # A short form whose long one is documented with it, and shared options, stand in tables of their own.
    assert missing - {"-y"} == set()


@pytest.mark.parametrize("name", LEAVES)
def test_special_options_that_are_documented_exist(name: str) -> None:
    there = options(LEAVES[name])
    assert set(re.findall(r"^\| `(--[\w-]+)`", section(name), re.MULTILINE)) <= there
    for option in ("--yes", "--as-of"):
        assert (option in there) == (f"`{option}`" in section(name)), option


def test_shared_and_global_options_are_documented() -> None:
    assert all(f"`{option}" in section("Shared options") for option in SHARED)
    assert all(f"`{option}" in section("Before the subcommand") for option in options(cli))


def test_every_documented_command_exists() -> None:
    assert set(re.findall(r"^##+ (eventlog[\w -]*)$", PAGE, re.MULTILINE)) == set(LEAVES)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if isinstance(command, LazyGroup)])
def test_one_line_of_help_is_the_command_s_own(name: str) -> None:
    group = COMMANDS[name]
    assert isinstance(group, LazyGroup)
    for child, (_, line) in group.table.items():
        assert line.endswith((".", "…"))
        assert len(line) < 80
        command = group.get_command(click.Context(group), child)
        assert command is not None
        assert command.name in (child, f"{child}_")


@pytest.mark.parametrize("name", COMMANDS)
def test_everything_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert param.help.endswith((".", "…")), param.help


READS = {
    *(
        "runs list",
        "runs show",
        "runs compare",
        "runs tail",
        "runs spool",
        "projects list",
        "projects show",
        "stats runs",
    ),
    *("log read", "log tail", "log head", "log verify", "log check"),
    *("projections list", "projections status", "projections diff", "projections explain", "projections verify"),
    *("db status", "db check", "config show", "stats jobs"),
    *("jobs list", "jobs history", "jobs show", "jobs explain", "jobs queues", "jobs workers", "jobs watch"),
    *("tasks list", "tasks show", "tasks history"),
    *("executions list", "executions show", "contests list", "contests show", "problems list", "problems show"),
    *("settings list", "settings get", "settings history", "containers list", "containers show", "stats executions"),
    "jobs check",
    *("import list", "import quarantine"),
    *("workspaces list", "workspaces show", "sessions list", "sessions show", "sessions instances"),
    *("sessions messages", "sessions tools", "sessions llm-calls"),
    *("stats tokens", "stats cost", "stats tools", "prices list", "prices explain"),
}
QUERIES = {
    *("import list", "import quarantine"),
    *("tasks list", "tasks show", "tasks history"),
    *("executions list", "executions show", "contests list", "contests show", "problems list", "problems show"),
    *("settings list", "settings get", "settings history", "containers list", "containers show", "stats executions"),
    *("runs list", "runs show", "runs compare", "projects list", "projects show", "stats runs"),
    *("log read", "log tail", "log head", "log export"),
    *("jobs list", "jobs history", "jobs show", "jobs explain", "jobs queues", "jobs workers", "stats jobs"),
    *("workspaces list", "workspaces show", "sessions list", "sessions show", "sessions instances"),
    *("sessions messages", "sessions tools", "sessions llm-calls", "sessions export", "tables export"),
    *("stats tokens", "stats cost", "stats tools", "prices list", "prices explain"),
}


def test_every_read_has_json_and_every_query_as_of() -> None:
    for name in READS:
        assert {"--json", "--jsonl", "--raw", "--jst", "--utc", "--tz"} <= options(LEAVES[f"eventlog {name}"])
    for name in QUERIES:
        assert "--as-of" in options(LEAVES[f"eventlog {name}"])


@pytest.mark.parametrize("name", LEAVES)
def test_the_line_of_usage_says_which_arguments_can_be_left_out(name: str) -> None:
    context = click.Context(LEAVES[name])
    arguments = [one for one in LEAVES[name].params if isinstance(one, click.Argument) and not one.required]
    assert [shown for one in arguments if not (shown := one.make_metavar(context)).startswith("[")] == []


def test_every_field_of_the_tokens_is_documented() -> None:
    grouped = {"bucket", "bucket_start", "provider", "workspace_id", "agent"}
    text = section("eventlog stats tokens")
    assert [name for name in TokenStatistics.__struct_fields__ if f"`{name}`" not in text and name not in grouped] == []


def test_a_lock_of_a_log_is_as_large_as_the_documents_say(tmp_path: Path) -> None:
    with eventlog.open(tmp_path / "log.db") as log:
        log.runs.start("x")
    assert (tmp_path / "log.db.lock").stat().st_size == 16
    assert "| `log.db.lock` | the writer lock; 16 bytes" in (ROOT / "docs" / "operations.md").read_text()
