"""The file that says where the log is: which one counts, and what stands in its ``database`` section."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from eventlog.errors import InvalidInput
from eventlog.place import MEMORY, Count, CountOrNone, Port, Secret
from eventlog.url import Settings, did_you_mean, expanded, parse_url, plain_problem, setting

NOT_IN_A_FILE = (
    "a password does not belong in a file; take it out and set DATABASE_PASSWORD, or keep it in ~/.pgpass "
    "(PGPASSFILE), or put the whole URL into EVENTLOG_URL"
)
PATHS = ("sslrootcert", "sslcert", "sslkey", "token_file")


class _Table(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    pass


class _SQLite(_Table):
    path: str | None = None


class _Address(_Table):
    host: str | None = None
    port: Port | None = None
    name: str | None = None
    user: str | None = None
    password: Any = None


class _PostgreSQL(_Address):
    sslmode: str | None = None
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None


class _Pool(_Table):
    size: Count | None = None
    max_overflow: CountOrNone | None = None
    timeout: Count | None = None
    recycle: Count | None = None
    pre_ping: bool | None = None


class _Database(_Address):
    type: str | None = None
    url: str | None = None
    sqlite: _SQLite | None = None
    postgresql: _PostgreSQL | None = None
    pool: _Pool | None = None


class _File(_Table):
    database: _Database | None = None


_TABLES: dict[str, type[_Table]] = {
    "": _File,
    "database": _Database,
    "database.sqlite": _SQLite,
    "database.postgresql": _PostgreSQL,
    "database.pool": _Pool,
}


class ConfigFile(NamedTuple):
    """A file that was found, and its settings by the names of `eventlog.url`."""

    path: Path
    settings: Settings


def read(environ: Mapping[str, str] = os.environ) -> ConfigFile | None:
    """The file that counts; None where there is none.

    That is ``$EVENTLOG_CONFIG``; else ``eventlog.toml``, else a ``config.yaml`` with a section ``database``, both in
    the working directory; else ``eventlog.toml`` in this user's configuration folder. Raises InvalidInput, which names
    the file and the key.
    """
    if named := environ.get("EVENTLOG_CONFIG"):
        path = Path(os.path.expanduser(named))
        if not path.is_file():
            raise InvalidInput(f"EVENTLOG_CONFIG: there is no file {named}")
        found = _yaml(path) if path.suffix in (".yaml", ".yml") else _toml(path)
        if found is None:
            raise InvalidInput(f"{path}: there is no section database, and EVENTLOG_CONFIG says that it is there")
        return ConfigFile(Path(os.path.abspath(path)), _settings(path, found))
    for path, parse in ((Path("eventlog.toml"), _toml), (Path("config.yaml"), _yaml)):
        if path.is_file() and (found := parse(path)) is not None:
            return ConfigFile(Path(os.path.abspath(path)), _settings(path, found))
    from platformdirs import user_config_path

    path = user_config_path("eventlog", appauthor=False) / "eventlog.toml"
    return ConfigFile(path, _settings(path, _toml(path))) if path.is_file() else None


def _toml(path: Path) -> dict[str, Any]:
    import tomllib

    text = _text(path, _bytes(path))
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line \d+|at end of document", str(error))
    # Raised here: what a parser says may repeat the line, and a password with it.
    raise _wrong(path, f"this is not TOML{f' ({line[0]})' if line else ''}")


def _yaml(path: Path) -> dict[str, Any] | None:
    """The section ``database`` of a file that may be another program's; None where it has none."""
    data = _bytes(path)
    if not re.search(rb"""^(?:\xef\xbb\xbf)?(?:\{\s*)?["']?database["']?\s*:""", data, re.MULTILINE):
        return None
    text = _text(path, data)
    try:
        import yaml
    except ImportError:
        raise _wrong(
            path,
            "it has a section database, and reading YAML needs pip install 'execution-eventlog[yaml]'; "
            "or write the section into eventlog.toml",
        ) from None
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
    else:
        there = isinstance(content, dict) and "database" in content
        return {"database": content["database"]} if there else None
    raise _wrong(path, f"this is not YAML{f' (at line {mark.line + 1})' if mark else ''}")


def _wrong(path: Path, problem: str) -> InvalidInput:
    theirs = "If this file is another program's, say with EVENTLOG_URL or EVENTLOG_CONFIG where the log is"
    return InvalidInput(f"{path}: {problem}{f'. {theirs}' if path == Path('config.yaml') else ''}")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _wrong(path, f"it cannot be read: {error.strerror}") from None


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise _wrong(path, "it cannot be read: it is not UTF-8")  # here, so that no exception holds the file


def _settings(path: Path, content: dict[str, Any]) -> Settings:
    """Raises InvalidInput with the file's name and the path of the key."""
    try:
        file = msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        problem = _key_problem(error)
    else:
        try:
            return _flat(file.database or _Database(), path.absolute().parent)
        except InvalidInput as error:
            problem = error.message
    raise _wrong(path, problem)


def _key_problem(error: msgspec.ValidationError) -> str:
    """What msgspec says, "… - at `$.database.pool`" with the path in front, and what an unknown key may have meant."""
    text, at, where = str(error).rpartition(" - at `")
    if not at:
        text, where = where, ""
    table = where.strip("`").removeprefix("$").lstrip(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", text, re.DOTALL):
        key = f"{table}.{unknown[1]}".lstrip(".")
        return f"{key} is not known{did_you_mean(unknown[1], _TABLES.get(table, _File).__struct_fields__)}"
    if text.startswith("Expected `str`") and where.startswith("key` in"):
        return f"{where.partition('$.')[2].strip('`')}: a key is not text"
    return f"{table or 'the whole'}: {plain_problem(msgspec.ValidationError(text))}".replace("object", "table")


def _flat(database: _Database, folder: Path) -> Settings:
    """The section's settings by name: the file's ``url`` says all about the address, else the tables do."""
    found: Settings = {}

    def take(key: str, name: str, value: Any) -> None:
        if value is None or value == "":
            return
        if name == "password":
            raise InvalidInput(f"{key}: {NOT_IN_A_FILE}")
        if name in found and found[name] != value:
            raise InvalidInput(f"{key}: {name} is given twice, and not the same")
        found[name] = setting(name, value, key)

    take("database.type", "type", database.type)
    for prefix, address in (("database", database), ("database.postgresql", database.postgresql or _PostgreSQL())):
        for field in address.__struct_fields__:
            if field in _PostgreSQL.__struct_fields__:
                take(f"{prefix}.{field}", "database" if field == "name" else field, getattr(address, field))
    take("database.sqlite.path", "path", database.sqlite and database.sqlite.path)
    pool = {} if database.pool is None else msgspec.structs.asdict(database.pool)
    for field, value in pool.items():
        take(f"database.pool.{field}", f"pool.{field}", value)
    if database.url:
        found = {name: value for name, value in found.items() if name.startswith("pool.")} | _from_url(database.url)
    return {name: _beside(name, value, folder) for name, value in found.items()}


def _from_url(url: str) -> Settings:
    try:
        found = parse_url(url)
    except InvalidInput as error:
        raise InvalidInput(f"database.url: {error.message}") from None
    if isinstance(found.get("password"), Secret):
        raise InvalidInput(f"database.url: {NOT_IN_A_FILE}")
    return found


def _beside(name: str, value: Any, folder: Path) -> Any:
    """A relative path in a file is relative to that file."""
    if (name in PATHS and value != "system") or (name == "path" and value != MEMORY):
        return os.path.join(folder, expanded(value))
    return value
