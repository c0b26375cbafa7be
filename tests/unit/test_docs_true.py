"""What the documents say is there is there: links, files, commands, events, errors. No machine's paths are in them."""

from __future__ import annotations

import importlib
import re
from importlib import util
from pathlib import Path

import click
import pytest

from eventlog import errors
from eventlog.events import EVENTS, event_type
from tests.unit.docs_support import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT)) for folder in (".", "docs", "examples") for path in (ROOT / folder).rglob("*.md")
    if folder != "." or path.parent == ROOT
)  # fmt: skip
IS_CHECKOUT = (ROOT / "eventlog").is_dir()


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as repository hosts make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors_of(file.read_text()), f"{page}: {target}"


def test_what_pages_append_to_one_log_does_not_clash() -> None:
    """Pages may be followed one after the other, on the same log: a tag is one class's, with the same fields."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in (*PAGES, *(str(one.relative_to(ROOT)) for one in (ROOT / "examples").rglob("*.py"))):
        for tag, body in re.findall(
            r'^class \w+\(.*\btag="([^"]+)"\):\n((?:    .*\n|\n)*)', text_of(path), re.MULTILINE
        ):
            if "schema_version" not in body:
                fields = re.sub(r'""".*?"""', "", body, flags=re.DOTALL).split()
                found.setdefault(tag, set()).add((tag, " ".join(fields)))
    assert "deploy.finished" in found and "release.shipped" in found
    assert [both for both in found.values() if len(both) > 1] == []


def exists(path: str) -> bool:
    """Whether a path named in a document is there; what is installed is looked for where it is installed."""
    head, _, rest = path.partition("/")
    if (ROOT / path).exists():
        return True
    if head == ".ci" and not IS_CHECKOUT:
        return True
    if IS_CHECKOUT or head not in ("eventlog", "projections", "migrations"):
        return False
    spec = util.find_spec("eventlog" if head == "migrations" else head)
    assert spec is not None
    place = Path(next(iter(spec.submodule_search_locations or ())))
    return (place / ("migrations" if head == "migrations" else "") / rest).exists()


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(
        r"`((?:eventlog|projections|migrations|tests|benchmarks|examples|docs|\.ci)/[\w./-]*)`", text_of(page)
    )
    assert [path for path in named if not exists(path) and "NNNN" not in path] == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_are_named_import(page: str) -> None:
    for name in re.findall(r"`(eventlog(?:\.\w+)+)`", text_of(page)):
        if name.startswith("eventlog.projections") or name == "eventlog.toml":  # the group of entry points; a file
            continue
        module, _, attribute = name.rpartition(".")
        if util.find_spec(module) is None or not hasattr(importlib.import_module(module), attribute):
            importlib.import_module(name)


def commands() -> set[str]:
    """Every command and group of the command line, as it is typed after ``eventlog``."""
    from eventlog.cli.root import cli

    found = set()

    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        found.add(" ".join(words))
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(child, (*words, name))

    walk(cli, ())
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_are_named_exist(page: str) -> None:
    known = commands()
    groups = {name.split()[0] for name in known if " " in name}
    for line in re.findall(r"(?:`|\$ )eventlog ([^`\n]*)", text_of(page)):
        words = re.sub(r"^(--db \S+|--debug) ", "", line).split()
        if not words or words[0].startswith("-"):
            continue
        wanted = " ".join(words[: 2 if words[0] in groups and len(words) > 1 else 1])
        alternatives = [re.sub(r"\S+$", word, wanted) for word in wanted.split()[-1].split("|")]
        assert set(alternatives) <= known, f"{page}: eventlog {line}"


def test_errors_that_are_named_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`(\w+(?:Failed|Full|Unknown|Reused|Busy|Version|Missing|TooNew|Pinned))`", text_of(page)
        ):
            assert hasattr(errors, name), f"{page}: {name}"


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^\s*[│├└─ ]*── (\w+)", errors.__doc__ or "", re.MULTILINE)
    classes = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(drawn) | {"EventLogError"} == classes


def test_tags_in_the_architecture_and_tutorial_are_ours() -> None:
    ours = {event_type(cls) for cls in EVENTS}
    for page in ("docs/architecture.md", "docs/concepts.md"):
        for tag in re.findall(r"`((?:run|project)\.[a-z_]+)`", text_of(page)):
            assert tag in ours, f"{page}: {tag}"


@pytest.mark.parametrize("page", PAGES)
def test_no_absolute_path_of_a_machine(page: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|root|Users|work|tmp)/\S+", text_of(page)) == []
