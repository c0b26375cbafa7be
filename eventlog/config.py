"""Which log is meant, and who says so: an argument, a variable, a file, or nobody.

The first of these that says anything: an explicit argument; ``EVENTLOG_URL``; ``DATABASE_URL``; then
``DATABASE_TYPE/HOST/PORT/NAME/USER/PASSWORD``, each in the place of the file's value; the file
(`eventlog.config_file`); the defaults. A variable that is empty is as one that is not set. A URL is a whole address:
nothing is mixed into it, but the pool's settings that a variable's URL does not have come from the file. The token of a
server is the one in the file that its URL names, else ``EVENTLOG_TOKEN``, else in the file ``EVENTLOG_TOKEN_FILE``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from eventlog.errors import InvalidInput
from eventlog.place import MASK, MEMORY, Place, Remote, Secret
from eventlog.url import (
    OPTIONS,
    POOL_FIELDS,
    Settings,
    expanded,
    is_utf8,
    parse_target,
    parse_url,
    secret,
    server_of,
    setting,
)

Target = str | os.PathLike[str] | None

FIELDS = {
    "DATABASE_TYPE": "type",
    "DATABASE_HOST": "host",
    "DATABASE_PORT": "port",
    "DATABASE_NAME": "database",
    "DATABASE_USER": "user",
    "DATABASE_PASSWORD": "password",
}
TOKEN, TOKEN_FILE = "EVENTLOG_TOKEN", "EVENTLOG_TOKEN_FILE"
VARIABLES = ("EVENTLOG_URL", "DATABASE_URL", *FIELDS, "EVENTLOG_CONFIG")
ARGUMENT, DEFAULT = "argument", "default"


class Setting(msgspec.Struct, frozen=True):
    """One setting in force; ``source``: ``argument``, ``variable NAME``, the path of a file, or ``default``."""

    name: str
    value: str | int | bool | None
    source: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log is, and who says so; ``unused``: variables that are set and have no part in it."""

    place: Place
    settings: tuple[Setting, ...]
    unused: tuple[str, ...]


class _Said:
    """Settings, and who said each; whoever speaks later wins."""

    def __init__(self) -> None:
        self.values: Settings = {}
        self.sources: dict[str, str] = {}

    def add(self, source: str, settings: Settings) -> None:
        self.values |= settings
        self.sources |= dict.fromkeys(settings, source)


def in_force(target: Target = None, environ: Mapping[str, str] = os.environ) -> Config:
    """What is in force for a log opened with this target. Raises InvalidInput, which says where the mistake is."""
    said = _Said()
    said.add(DEFAULT, {"type": "sqlite"})
    if target is not None:
        said.add(ARGUMENT, parse_target(os.fspath(target)))
    elif name := next((name for name in ("EVENTLOG_URL", "DATABASE_URL") if environ.get(name)), None):
        _hear_url(said, name, environ)
    else:
        _hear_file(said, environ)
        for name, field in FIELDS.items():
            if said.values["type"] != "postgresql" and field != "type":
                break  # another program's variables: wrong or not, they have no part in this
            if value := environ.get(name):
                said.add(f"variable {name}", {field: _told(name, partial(_field, field, value))})
    return _config(said, environ)


def user_data_folder() -> Path:
    """This user's folder for data, where nothing else is said: ``log.db`` and ``result/`` are there."""
    from platformdirs import user_data_path

    return user_data_path("eventlog", appauthor=False)


def _hear_url(said: _Said, name: str, environ: Mapping[str, str]) -> None:
    parse = parse_target if name == "EVENTLOG_URL" else parse_url
    found = _told(name, partial(parse, environ[name]))
    if found["type"] == "postgresql":
        _hear_file(said, environ, only="pool.")
    said.add(f"variable {name}", found)


def _hear_file(said: _Said, environ: Mapping[str, str], only: str = "") -> None:
    from eventlog import config_file

    if (file := config_file.read(environ)) is not None:
        said.add(str(file.path), {name: value for name, value in file.settings.items() if name.startswith(only)})


def _field(name: str, value: str) -> Any:
    return secret(value) if name == "password" else setting(name, value)


def _told(variable: str, parse: Callable[[], Any]) -> Any:
    """What the variable says; an error names it, and what to do when it is not meant for us."""
    try:
        return parse()
    except InvalidInput as error:
        problem = error.message
    theirs = "; if it is another program's, EVENTLOG_URL or --db comes before it" if variable != "EVENTLOG_URL" else ""
    raise InvalidInput(f"{variable}: {problem}{theirs}")


def _config(said: _Said, environ: Mapping[str, str]) -> Config:
    if said.values["type"] == "http":
        _hear_token(said, environ)
    values = said.values
    if values["type"] == "http":
        place = Place(remote=_remote(values, said.sources))
        shown: dict[str, Any] = {name: values[name] for name in ("url", "token", "token_file") if name in values}
    elif values["type"] == "postgresql":
        server = server_of(values)
        place = Place(server=server)
        shown = {name: getattr(server, name) for name in ("host", "port", "database", "user", "password")}
        shown |= {name: values[name] for name in OPTIONS if name in values}
        shown |= {name: getattr(server.pool, field) for name, field in POOL_FIELDS.items()}
    else:
        path = values.get("path") or str(user_data_folder() / "log.db")
        lines = values["type"] == "jsonl"
        if not lines and not is_utf8(path):
            raise InvalidInput(f"SQLite takes no path that is not valid UTF-8: {path!a}")
        place = Place(path=None if path == MEMORY else _real(path), lines=lines, vfs=values.get("vfs", ""))
        shown = {"path": MEMORY if place.path is None else str(place.path)}
        shown |= {"vfs": place.vfs} if place.vfs else {}
    shown = {"type": values["type"], **shown}
    settings = tuple(
        Setting(name, MASK if isinstance(value, Secret) else value, said.sources.get(name, DEFAULT))
        for name, value in shown.items()
    )
    return Config(place=place, settings=settings, unused=tuple(_unused(settings, environ)))


def _hear_token(said: _Said, environ: Mapping[str, str]) -> None:
    if "token_file" in said.values:
        return
    if token := environ.get(TOKEN):
        said.add(f"variable {TOKEN}", {"token": Secret(token)})
    elif file := environ.get(TOKEN_FILE):
        said.add(f"variable {TOKEN_FILE}", {"token_file": file})


def _remote(values: Settings, sources: Mapping[str, str]) -> Remote:
    told = "token_file" in values and sources["token_file"] != f"variable {TOKEN_FILE}"
    return Remote(url=values["url"], token=values.get("token"), token_file=values.get("token_file"), told=told)


def _unused(settings: Iterable[Setting], environ: Mapping[str, str]) -> Iterator[str]:
    used = {each.source for each in settings}
    for name in VARIABLES:
        if not (value := environ.get(name)):
            continue
        source = os.path.abspath(os.path.expanduser(value)) if name == "EVENTLOG_CONFIG" else f"variable {name}"
        if source not in used:
            yield name


def _real(place: str) -> Path:
    # One name for one file, whatever link leads to it: the lock, the spool and the artifacts go by it.
    return Path(os.path.realpath(expanded(place)))
