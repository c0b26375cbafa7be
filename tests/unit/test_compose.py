"""The compose file and the image: parsed, not run. Nobody's password is in them, and nothing listens to the world."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from eventlog.cli.root import cli
from eventlog.config import in_force
from eventlog.place import Secret, Server
from tests.unit.docs_support import ROOT

TEXT = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)["services"]
    return found


def filled(text: str) -> str:
    """A value as compose fills it in, with only the password given."""
    text = re.sub(r"\$\{POSTGRES_PASSWORD:\?[^}]*\}", "from outside", text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.feature("S4-7")
def test_postgresql_is_16_or_later_and_keeps_its_data_in_a_named_volume(services: dict[str, Any]) -> None:
    postgres = services["postgres"]
    name, _, version = postgres["image"].partition(":")
    assert (name, int(version) >= 16) == ("postgres", True)
    volume, _, place = postgres["volumes"][0].partition(":")
    # The image's own place for data: up to version 17 this one, after that its parent.
    assert place == ("/var/lib/postgresql/data" if int(version) < 18 else "/var/lib/postgresql")
    assert volume in yaml.safe_load(TEXT)["volumes"]


def test_postgresql_listens_to_this_machine_only(services: dict[str, Any]) -> None:
    assert [filled(port) for port in services["postgres"]["ports"]] == ["127.0.0.1:5432:5432"]
    assert [name for name, service in services.items() if "ports" in service] == ["postgres"]


def test_its_health_is_asked_over_tcp(services: dict[str, Any]) -> None:
    check = services["postgres"]["healthcheck"]
    assert check["test"][0] == "CMD-SHELL"
    assert check["test"][1].startswith("pg_isready -h 127.0.0.1 ")
    assert {"interval", "timeout", "retries"} <= set(check)


@pytest.mark.feature("S4-7")
def test_the_log_waits_for_a_healthy_server_with_a_log_in_it(services: dict[str, Any]) -> None:
    for name in ("create", "eventlog"):
        assert services[name]["depends_on"]["postgres"] == {"condition": "service_healthy"}
        assert services[name]["build"] == "."
    assert services["eventlog"]["depends_on"]["create"] == {"condition": "service_completed_successfully"}
    assert "restart" not in services["create"]


def test_every_password_comes_from_the_environment(services: dict[str, Any]) -> None:
    found = {
        f"{service}.{name}": value
        for service, content in services.items()
        for name, value in content["environment"].items()
        if "PASSWORD" in name
    }
    assert set(found) == {"postgres.POSTGRES_PASSWORD", "create.DATABASE_PASSWORD", "eventlog.DATABASE_PASSWORD"}
    assert [value for value in found.values() if not re.fullmatch(r"\$\{POSTGRES_PASSWORD:\?[^}]+\}", value)] == []


def test_the_log_finds_the_database_that_the_server_makes(services: dict[str, Any]) -> None:
    server = {name: filled(value) for name, value in services["postgres"]["environment"].items()}
    ours = {name: filled(value) for name, value in services["eventlog"]["environment"].items()}
    assert in_force(None, ours).place.server == Server(
        host="postgres",
        database=server["POSTGRES_DB"],
        user=server["POSTGRES_USER"],
        password=Secret("from outside"),
    )


def test_what_is_run_exists(services: dict[str, Any]) -> None:
    image = re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert image is not None
    commands = [services["create"]["command"], services["eventlog"]["command"], yaml.safe_load(image[1])]
    for words in commands:
        assert words[0] == "eventlog"
        assert CliRunner().invoke(cli, [*words[1:], "--help"]).exit_code == 0


def test_the_image_runs_as_nobody_special_with_what_postgresql_needs() -> None:
    lines = DOCKERFILE.splitlines()
    assert lines[0] == "FROM python:3.12-slim"
    user = lines.index("USER eventlog")
    assert [number for number, line in enumerate(lines) if line.startswith("RUN ")][-1] < user
    assert "'.[postgres]'" in DOCKERFILE
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    ignore = (ROOT / ".dockerignore").read_text().splitlines() if (ROOT / ".dockerignore").exists() else None
    if ignore is not None:
        assert {line[1:] for line in ignore if line.startswith("!")} == copied
