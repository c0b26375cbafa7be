"""Where the log is, and who says so: precedence, files, variables, URLs, and passwords that nobody gets to see."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

import eventlog
from eventlog.cli.root import cli
from eventlog.config import Config, in_force
from eventlog.errors import InvalidInput
from eventlog.place import Place, Pool, Secret, Server
from eventlog.recorder.command import open_sink
from eventlog.target import data_folder, parse_target
from eventlog.url import OPTIONS, masked

PASSWORD = "Tr0ub4dor&3"
# The document's own example, as it stands there.
CONFIG_YAML = """\
llm:
  provider: other
database:
  # "sqlite" or "postgresql"
  type: "sqlite"
  sqlite:
    path: "tasks.db"
  postgresql:
    host: "localhost"
    port: 5432
    name: "coding_agent"
    user: ""
    password: ""
  pool:
    size: 5
    max_overflow: 10
    timeout: 30
    recycle: 3600
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a user without any configuration."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("EVENTLOG_URL")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return work


def toml(text: str, path: str | Path = "eventlog.toml") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def sources(config: Config) -> dict[str, str]:
    return {setting.name: setting.source for setting in config.settings}


def values(config: Config) -> dict[str, Any]:
    return {setting.name: setting.value for setting in config.settings}


def server(target: str | None = None, **environ: str) -> Server:
    found = in_force(target, environ).place.server
    assert found is not None
    return found


def refused(target: str | None = None, **environ: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        in_force(target, environ)
    return str(caught.value)


# who is heard


ALL = {
    "EVENTLOG_URL": "postgresql://by-eventlog-url/d",
    "DATABASE_URL": "postgresql://by-database-url/d",
    "DATABASE_TYPE": "postgresql",
    "DATABASE_HOST": "by-variable",
}
FILE = '[database]\ntype = "postgresql"\n[database.postgresql]\nhost = "by-file"\n'


@pytest.mark.feature("S4-4")
@pytest.mark.parametrize(
    ("argument", "variables", "files", "host", "source"),
    [
        ("postgresql://by-argument/d", tuple(ALL), "eventlog.toml config.yaml user", "by-argument", "argument"),
        (None, tuple(ALL), "eventlog.toml config.yaml user", "by-eventlog-url", "variable EVENTLOG_URL"),
        (None, tuple(ALL)[1:], "eventlog.toml config.yaml user", "by-database-url", "variable DATABASE_URL"),
        (None, tuple(ALL)[2:], "eventlog.toml config.yaml user", "by-variable", "variable DATABASE_HOST"),
        (None, ("DATABASE_TYPE",), "eventlog.toml", "by-file", "eventlog.toml"),
        (None, (), "eventlog.toml config.yaml user", "by-file", "eventlog.toml"),
        (None, (), "config.yaml user", "by-yaml", "config.yaml"),
        (None, (), "user", "by-user", "user"),
        (None, (), "named eventlog.toml config.yaml user", "by-name", "named"),
        (None, ("DATABASE_TYPE",), "", "localhost", "default"),
        (None, (), "", None, "default"),
    ],
)
def test_the_first_that_says_anything_is_heard(
    argument: str | None, variables: tuple[str, ...], files: str, host: str | None, source: str, tmp_path: Path
) -> None:
    environ = {name: ALL[name] for name in variables}
    places = {"user": tmp_path / "config" / "eventlog" / "eventlog.toml", "named": tmp_path / "named.toml"}
    for name in files.split():
        if name == "config.yaml":
            Path(name).write_text("database: {type: postgresql, postgresql: {host: by-yaml}}\n")
        else:
            by = {"user": "by-user", "named": "by-name"}.get(name, "by-file")
            toml(FILE.replace("by-file", by), places.get(name, name))
    if "named" in files:
        environ["EVENTLOG_CONFIG"] = str(places["named"])
    found = in_force(argument, environ)
    if host is None:
        assert found.place == Place(path=tmp_path / "share" / "eventlog" / "log.db")
        assert sources(found) == {"type": "default", "path": "default"}
        return
    assert found.place.server is not None
    assert found.place.server.host == host
    assert sources(found)["host"] == str(places.get(source, Path(source).absolute() if source in files else source))


@pytest.mark.parametrize(
    ("variable", "value", "name", "wanted"),
    [
        ("DATABASE_HOST", "h2", "host", "h2"),
        ("DATABASE_PORT", "6543", "port", 6543),
        ("DATABASE_NAME", "n2", "database", "n2"),
        ("DATABASE_USER", "u2", "user", "u2"),
        ("DATABASE_PASSWORD", PASSWORD, "password", Secret(PASSWORD)),
    ],
)
def test_each_variable_takes_the_place_of_the_file_s_value(variable: str, value: str, name: str, wanted: Any) -> None:
    for text in (
        '[database]\ntype="postgresql"\n[database.postgresql]\nhost="h1"\nport=1\nname="n1"\nuser="u1"\n',
        '[database]\nurl = "postgresql://u1@h1:1/n1"\n',
    ):
        toml(text)
        found = server(**{variable: value})
        assert getattr(found, name) == wanted
        before = Server(host="h1", port=1, database="n1", user="u1")
        assert found == msgspec.structs.replace(before, **{name: wanted})
        assert sources(in_force(None, {variable: value}))[name] == f"variable {variable}"


def test_the_type_of_the_variable_wins_over_the_file_s() -> None:
    toml('[database]\nurl = "postgresql://h/d"\n[database.sqlite]\npath = "x.db"\n')
    assert in_force(None, {"DATABASE_TYPE": "sqlite"}).place.kind == "file"
    toml('[database]\nurl = "sqlite:///x.db"\n')
    assert server(DATABASE_TYPE="postgresql") == Server()


@pytest.mark.feature("S4-3")
def test_the_defaults_are_the_document_s(tmp_path: Path) -> None:
    assert server(DATABASE_TYPE="postgresql") == Server(
        host="localhost", port=5432, database="coding_agent", user=None, password=None, options={}, pool=Pool()
    )
    assert Pool() == Pool(size=5, max_overflow=10, timeout_s=30, recycle_s=3600, pre_ping=True)
    assert in_force(None, {}).place.path == tmp_path / "share" / "eventlog" / "log.db"


@pytest.mark.feature("S4-3")
def test_the_engine_has_the_pool_of_the_document() -> None:
    from sqlalchemy.pool import QueuePool

    from eventlog.store.postgres_pool import engine_of

    engine = engine_of(server(DATABASE_TYPE="postgresql"), 10.0)  # which connects when it is first used
    pool = engine.pool
    assert isinstance(pool, QueuePool) and engine.driver == "psycopg"
    assert (pool.size(), pool._max_overflow, pool.timeout(), pool._recycle, pool._pre_ping) == (5, 10, 30, 3600, True)


@pytest.mark.parametrize("name", ["EVENTLOG_URL", "DATABASE_URL", "DATABASE_TYPE", "DATABASE_PORT", "EVENTLOG_CONFIG"])
def test_an_empty_variable_is_as_one_that_is_not_set(name: str) -> None:
    assert in_force(None, {name: ""}) == in_force(None, {})


def test_a_url_is_a_whole_address() -> None:
    """Nobody's password is sent to a server that it was not meant for."""
    toml('[database]\n[database.postgresql]\nuser="u"\nsslmode="require"\nport=1\n')
    environ = {"DATABASE_PASSWORD": PASSWORD, "DATABASE_PORT": "2"}
    for found in (
        server("postgresql://h/d", **environ),
        server(EVENTLOG_URL="postgresql://h/d", **environ),
        server(DATABASE_URL="postgresql://h/d", **environ),
    ):
        assert found == Server(host="h", database="d")


def test_the_pool_of_the_file_holds_for_a_variable_s_url_but_not_for_an_argument() -> None:
    toml("[database.pool]\nsize = 20\ntimeout = 3\npre_ping = false\n")
    found = server(DATABASE_URL="postgresql://h/d?pool_size=7")
    assert found.pool == Pool(size=7, timeout_s=3, pre_ping=False)
    assert server("postgresql://h/d").pool == Pool()


def test_an_explicit_place_and_a_file_s_url_read_no_configuration() -> None:
    toml("this is not TOML")
    parse_target("log.db")
    parse_target("postgresql://h/d")
    in_force(None, {"EVENTLOG_URL": "log.db", "EVENTLOG_CONFIG": "missing.toml"})
    with pytest.raises(InvalidInput, match="not TOML"):
        in_force(None, {})


def test_what_is_set_and_not_used_is_told() -> None:
    toml(FILE)
    assert in_force("x.db", ALL).unused == tuple(ALL)
    assert in_force(None, {"DATABASE_HOST": "h", "DATABASE_TYPE": "sqlite"}).unused == ("DATABASE_HOST",)
    assert in_force(None, {"EVENTLOG_CONFIG": "eventlog.toml"}).unused == ()
    assert in_force(None, {"EVENTLOG_CONFIG": "eventlog.toml", "EVENTLOG_URL": "x"}).unused == ("EVENTLOG_CONFIG",)


# wrong values in variables


@pytest.mark.feature("S4-4")
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("EVENTLOG_URL", "mysql://h/d", "EVENTLOG_URL: mysql:// is no place for a log"),
        ("DATABASE_URL", "mysql://u:Sesame99@h/d", "DATABASE_URL: mysql:// is no place for a log"),
        ("DATABASE_URL", "postgresql+psycopg2://u:Sesame99@h/d", "names another driver; write postgresql://"),
        ("DATABASE_URL", "postgres+asyncpg://u:Sesame99@h/d", "names another driver; write postgresql://"),
        ("DATABASE_URL", "log.db", "DATABASE_URL: this is no URL"),
        ("DATABASE_URL", "sqlite:///x?timeout=20", "DATABASE_URL: the option 'timeout' of a SQLite URL is not known"),
        ("DATABASE_URL", "postgresql://h:port/d", "DATABASE_URL: port: expected int"),
        ("DATABASE_TYPE", "mysql", "DATABASE_TYPE: type: it is none of sqlite, postgresql"),
        ("DATABASE_PORT", "0", "DATABASE_PORT: port: expected int >= 1"),
        ("DATABASE_PORT", "65536", "DATABASE_PORT: port: expected int <= 65535"),
        ("DATABASE_PORT", "x", "DATABASE_PORT: port: expected int"),
        ("DATABASE_PORT", "5432 ", "DATABASE_PORT: port: expected int"),
        ("DATABASE_PASSWORD", "***", "DATABASE_PASSWORD: password: *** stands where a password was taken out"),
        ("DATABASE_USER", "\udcff", "DATABASE_USER: user: it is not valid UTF-8"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, told: str) -> None:
    message = refused(**({"DATABASE_TYPE": "postgresql"} | {variable: value}))
    assert told in message
    assert message.startswith(variable)
    assert "Sesame99" not in message
    assert ("EVENTLOG_URL or --db comes before it" in message) == (variable != "EVENTLOG_URL")


def test_another_program_s_variables_do_no_harm_to_a_log_in_a_file() -> None:
    environ = {"DATABASE_PORT": "x", "DATABASE_PASSWORD": "***", "DATABASE_HOST": "h"}
    found = in_force(None, environ)
    assert found.place.kind == "file"
    assert set(found.unused) == set(environ)


@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgresql://h/d", "postgres://h/d", "postgresql+psycopg://h/d"])
def test_database_url_is_honoured_when_its_scheme_is_ours(url: str) -> None:
    assert in_force(None, {"DATABASE_URL": url}).place == in_force(url).place
    assert in_force(None, {"DATABASE_URL": url.upper().replace("X.DB", "x.db")}).place.kind == in_force(url).place.kind


# files


@pytest.mark.feature("S4-4")
def test_the_document_s_file(folder: Path) -> None:
    Path("config.yaml").write_text(CONFIG_YAML)
    found = in_force(None, {})
    assert found.place == Place(path=folder / "tasks.db")
    assert sources(found) == {"type": str(folder / "config.yaml"), "path": str(folder / "config.yaml")}
    environ = {"DATABASE_TYPE": "postgresql", "DATABASE_USER": "u", "DATABASE_PASSWORD": PASSWORD}
    assert server(**environ) == Server(user="u", password=Secret(PASSWORD))


@pytest.mark.feature("S4-4")
def test_the_document_s_table_of_keys() -> None:
    Path("config.yaml").write_text("database: {type: postgresql, host: h, port: 1, name: n, user: u, password: ''}\n")
    assert server() == Server(host="h", port=1, database="n", user="u")
    Path("config.yaml").write_text("database: {url: 'postgresql://u@h:1/n', type: sqlite}\n")
    assert server() == Server(host="h", port=1, database="n", user="u")
    Path("config.yaml").write_text("database: {host: h, postgresql: {host: other}}\n")
    assert "database.postgresql.host: host is given twice" in refused()


def test_every_key_of_eventlog_toml(folder: Path) -> None:
    toml("""
        [database]
        type = "postgresql"
        [database.sqlite]
        path = "sub/x.db"
        [database.postgresql]
        host = "h"
        port = 5433
        name = "n"
        user = "u"
        password = ""
        sslmode = "verify-full"
        sslrootcert = "root.pem"
        sslcert = "~/cert.pem"
        sslkey = "/key.pem"
        [database.pool]
        size = 1
        max_overflow = 0
        timeout = 2
        recycle = 3
        pre_ping = false
    """)
    options = {
        "sslmode": "verify-full",
        "sslrootcert": str(folder / "root.pem"),
        "sslcert": os.path.expanduser("~/cert.pem"),
        "sslkey": "/key.pem",
    }
    pool = Pool(size=1, max_overflow=0, timeout_s=2, recycle_s=3, pre_ping=False)
    assert server() == Server(host="h", port=5433, database="n", user="u", options=options, pool=pool)
    assert in_force(None, {"DATABASE_TYPE": "sqlite"}).place.path == folder / "sub" / "x.db"


@pytest.mark.parametrize(
    "text", ['[database.sqlite]\npath = "../x.db"\n', '[database]\nurl = "sqlite:///../x.db"\n'], ids=["path", "url"]
)
def test_a_relative_path_is_relative_to_its_file(text: str, tmp_path: Path) -> None:
    toml(text, tmp_path / "a" / "b" / "settings.toml")
    found = in_force(None, {"EVENTLOG_CONFIG": str(tmp_path / "a" / "b" / "settings.toml")})
    assert found.place.path == tmp_path / "a" / "x.db"


@pytest.mark.parametrize(
    ("text", "path"), [("'~/x.db'", "{home}/x.db"), ("'/x.db'", "/x.db"), ("':memory:'", None), ("''", "{default}")]
)
def test_paths_in_a_file(text: str, path: str | None, tmp_path: Path) -> None:
    toml(f"[database.sqlite]\npath = {text}\n")
    wanted = path and path.format(home=tmp_path, default=tmp_path / "share" / "eventlog" / "log.db")
    assert in_force(None, {}).place == Place(path=wanted and Path(wanted))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[databse]", "databse is not known; did you mean database?"),
        ("[database]\nhots = 'x'", "database.hots is not known; did you mean host?"),
        ("[database.pool]\nsiez = 5", "database.pool.siez is not known; did you mean size?"),
        ("[database.postgresql]\nsslmod = 'x'", "database.postgresql.sslmod is not known; did you mean sslmode?"),
        ("[database.sqlite]\nfile = 'x'", "database.sqlite.file is not known"),
        ("[database.pool]\n'a`b.c' = 5", "database.pool.a`b.c is not known"),
        ("database = 3", "database: expected table, got int"),
        ("[database]\npool = 'x'", "database.pool: expected table, got str"),
        ("[database]\ntype = 3", "database.type: expected str, got int"),
        ("[database]\ntype = 'mysql'", "database.type: it is none of sqlite, postgresql"),
        ("[database.sqlite]\npath = 3", "database.sqlite.path: expected str, got int"),
        ("[database.sqlite]\npath = 'a\\u0000b'".replace("'", '"'), "database.sqlite.path: a NUL character is in it"),
        ('[database.postgresql]\nhost = "a\\u0000b"', "database.postgresql.host: a NUL character is in it"),
        ("[database.postgresql]\nport = '5432'", "database.postgresql.port: expected int, got str"),
        ("[database.postgresql]\nport = 0", "database.postgresql.port: expected int >= 1"),
        ("[database.postgresql]\nport = 70000", "database.postgresql.port: expected int <= 65535"),
        ("[database.postgresql]\nuser = 3", "database.postgresql.user: expected str, got int"),
        ("[database.postgresql]\nsslmode = 'on'", "database.postgresql.sslmode: it is none of disable, allow"),
        ("[database.pool]\nsize = 0", "database.pool.size: expected int >= 1"),
        ("[database.pool]\nsize = -5", "database.pool.size: expected int >= 1"),
        ("[database.pool]\nsize = true", "database.pool.size: expected int, got bool"),
        ("[database.pool]\nsize = 2000000", "database.pool.size: expected int <= 1000000"),
        ("[database.pool]\nmax_overflow = -1", "database.pool.max_overflow: expected int >= 0"),
        ("[database.pool]\ntimeout = 'long'", "database.pool.timeout: expected int, got str"),
        ("[database.pool]\ntimeout = nan", "database.pool.timeout: expected int, got float"),
        ("[database.pool]\nrecycle = -1", "database.pool.recycle: expected int >= 1"),
        ("[database.pool]\npre_ping = 1", "database.pool.pre_ping: expected bool, got int"),
        ("[database]\nurl = 'mysql://h/d'", "database.url: mysql:// is no place for a log"),
        ("[database]\nurl = 'log.db'", "database.url: this is no URL"),
        ("[database]\nurl = 'postgresql://h/d?pool_size=x'", "database.url: pool_size: expected int"),
        ("[database", "this is not TOML"),
        ("[database]\ntype = 'a\n'", "this is not TOML (at line 2)"),
        ("a = " + "[" * 5000, "this is not TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_path_and_file(text: str, told: str) -> None:
    toml(text)
    assert refused().startswith(f"eventlog.toml: {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("database:\n  pool: {siez: 5}\n", "database.pool.siez is not known; did you mean size?"),
        ("database: 'mysql://u:Sesame99@h/d'\n", "database: expected table, got str"),
        ("database: {postgresql: {port: '5432'}}\n", "database.postgresql.port: expected int, got str"),
        ("database: {postgresql: {name: no}}\n", "database.postgresql.name: expected str, got bool"),
        ("database: {postgresql: {name: 2026-11-26}}\n", "database.postgresql.name: expected str, got date"),
        ("database: {1: 2}\n", "database: a key is not text"),
        ("database: {pool: {1: 2}}\n", "database.pool: a key is not text"),
        ("database: [\n", "this is not YAML (at line 2)"),
        ("database:\n  x: !vault Sesame99\n", "this is not YAML (at line 2)"),
        ("database:\n  password: *Sesame99\n", "this is not YAML (at line 2)"),
        ("database:\n  x: 2026-99-99\n", "this is not YAML"),
        ("database:\n  name: caf\udce9\n", "it cannot be read: it is not UTF-8"),
        ("database:\n  password: &a [*a, Sesame99]\n", "database.password: a password does not belong in a file"),
        ("database: &a {postgresql: *a}\n", "database.postgresql.postgresql is not known"),
        ("database: {'x` - at `$.y': 1}\n", "database.x` - at `$.y is not known"),
        ("database:\n  x: " + "[" * 5000, "this is not YAML"),
    ],
)
def test_mistakes_in_config_yaml_say_how_to_pass_it_by(text: str, told: str) -> None:
    Path("config.yaml").write_bytes(text.encode(errors="surrogateescape"))
    message = refused()
    assert message.startswith(f"config.yaml: {told}")
    assert message.endswith("say with EVENTLOG_URL or EVENTLOG_CONFIG where the log is")
    assert "Sesame99" not in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "llm: {provider: x}\n",
        "app:\n  database:\n    type: mysql\n",
        "# database: nothing\n",
        "databases:\n  - a\n",
        "{{ templated }}: [\n",
        "x: !include y.yaml\n",
        "text: |\n  x\ndatabase_url: mysql://h\n",
        "name: caf\xe9\n",
    ],
)
def test_another_program_s_config_yaml_is_not_ours(text: str, tmp_path: Path) -> None:
    Path("config.yaml").write_bytes(text.encode("latin-1"))
    assert in_force(None, {}).place.path == tmp_path / "share" / "eventlog" / "log.db"
    toml('[database.sqlite]\npath = "/x.db"\n', tmp_path / "config" / "eventlog" / "eventlog.toml")
    assert in_force(None, {}).place.path == Path("/x.db")


@pytest.mark.parametrize("text", ["database:\n", "database: {}\n", "database: {pool: , sqlite: null, type: null}\n"])
def test_empty_sections_say_nothing(text: str, tmp_path: Path) -> None:
    Path("config.yaml").write_text(text)
    assert in_force(None, {}).place.path == tmp_path / "share" / "eventlog" / "log.db"


def test_without_a_yaml_parser_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    Path("config.yaml").write_text("llm: {}\n")
    in_force(None, {})
    Path("config.yaml").write_text(CONFIG_YAML)
    message = refused()
    assert "pip install 'execution-eventlog[yaml]'" in message
    assert "eventlog.toml" in message
    assert "EVENTLOG_URL" in message


def test_the_file_that_is_named_must_be_there(folder: Path) -> None:
    assert refused(EVENTLOG_CONFIG="missing.toml") == "EVENTLOG_CONFIG: there is no file missing.toml"
    assert "there is no file" in refused(EVENTLOG_CONFIG=str(folder))
    Path("other.yml").write_text("llm: {}\n")
    assert refused(EVENTLOG_CONFIG="other.yml").startswith("other.yml: there is no section database")
    Path("other.yml").write_text("database: {sqlite: {path: x.db}}\n")
    assert in_force(None, {"EVENTLOG_CONFIG": "other.yml"}).place.path == folder / "x.db"
    toml("")
    assert in_force(None, {"EVENTLOG_CONFIG": "eventlog.toml"}).place == in_force(None, {}).place


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("eventlog.toml").write_bytes(b"[database]\nurl = '\xff'\n")
    assert refused() == "eventlog.toml: it cannot be read: it is not UTF-8"

    def denied(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert refused() == "eventlog.toml: it cannot be read: Permission denied"


def test_an_absolute_path_needs_no_working_directory(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert in_force(str(tmp_path / "x.db"), {}).place.path == tmp_path / "x.db"
    assert in_force(None, {"EVENTLOG_URL": str(tmp_path / "x.db")}).place.path == tmp_path / "x.db"
    assert in_force(None, {}).place.path == tmp_path / "share" / "eventlog" / "log.db"


def test_files_with_a_mark_at_the_beginning_and_folders_of_the_name() -> None:
    Path("eventlog.toml").write_bytes(b"\xef\xbb\xbf[database]\ntype = 'postgresql'\n")
    assert server() == Server()
    Path("eventlog.toml").unlink()
    Path("eventlog.toml").mkdir()
    assert in_force(None, {}).place.kind == "file"


@pytest.mark.feature("S4-10")
@pytest.mark.parametrize(
    "text",
    [
        '[database.postgresql]\npassword = "Sesame99"\n',
        '[database]\npassword = "Sesame99"\n',
        "[database]\npassword = 99\n",
        '[database]\nurl = "postgresql://u:Sesame99@h/d"\n',
    ],
)
def test_a_password_in_a_file_is_refused_with_the_way_out(text: str) -> None:
    toml(text)
    environs: list[dict[str, str]] = [{}, {"DATABASE_TYPE": "sqlite"}, {"DATABASE_PASSWORD": "x"}]
    for environ in environs:
        message = refused(**environ)
        assert message.startswith(("eventlog.toml: database.postgresql.password", "eventlog.toml: database."))
        for way in ("DATABASE_PASSWORD", "~/.pgpass", "PGPASSFILE", "EVENTLOG_URL"):
            assert way in message
        assert "Sesame99" not in message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eventlog.toml", 'database.url = "postgresql://u:Sesame99@@h/d"\n'),
        ("eventlog.toml", 'database.url = "postgresql://u:Sesame99@h:x/d"\n'),
        ("eventlog.toml", 'database.postgresql.password = "Sesame99\n'),
        ("eventlog.toml", "database.postgresql.password = Sesame99\n"),
        ("eventlog.toml", 'database.password = ["Sesame99"]\n'),
        ("config.yaml", "database: {password: [Sesame99, {}\n"),
        ("config.yaml", "database:\n  password: %Sesame99\n"),
        ("config.yaml", "database:\n  password: '\udcffSesame99'\n"),
    ],
)
def test_no_error_about_a_file_holds_its_password(name: str, text: str) -> None:
    Path(name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidInput) as caught:
        in_force(None, {})
    assert "Sesame99" not in shown(caught.value)


# URLs


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgresql://h/d", Server(host="h", database="d")),
        ("postgres://h/d", Server(host="h", database="d")),
        ("postgresql+psycopg://h/d", Server(host="h", database="d")),
        ("POSTGRESQL://h/d", Server(host="h", database="d")),
        (" postgresql://h/d\n", Server(host="h", database="d")),
        ("postgresql://", Server()),
        ("postgresql:///d", Server(database="d")),
        ("postgresql://h", Server(host="h")),
        ("postgresql://h:6543/", Server(host="h", port=6543)),
        ("postgresql://h:/d", Server(host="h", database="d")),
        ("postgresql://u@h/d", Server(host="h", database="d", user="u")),
        ("postgresql://u:@h/d", Server(host="h", database="d", user="u")),
        ("postgresql://u:p@h/d", Server(host="h", database="d", user="u", password=Secret("p"))),
        ("postgresql://:p@h/d", Server(host="h", database="d", password=Secret("p"))),
        ("postgresql://u:a:b@h/d", Server(host="h", database="d", user="u", password=Secret("a:b"))),
        (
            "postgresql://%40u:%2F%3f%23%25@h/a%2Fb",
            Server(host="h", database="a/b", user="@u", password=Secret("/?#%")),
        ),
        ("postgresql://日本:語@h/d", Server(host="h", database="d", user="日本", password=Secret("語"))),
        ("postgresql://[::1]:6543/d", Server(host="::1", port=6543, database="d")),
        ("postgresql://%2Frun%2Fpg/d", Server(host="/run/pg", database="d")),
        ("postgresql://u:@/d?host=/run/pg", Server(host="/run/pg", database="d", user="u")),
        ("postgresql:///d?host=/run/pg&port=6543", Server(host="/run/pg", port=6543, database="d")),
        ("postgresql://h/d?sslmode=require", Server(host="h", database="d", options={"sslmode": "require"})),
        ("postgresql://h/d?sslmode=", Server(host="h", database="d")),
        ("postgresql://h/d?", Server(host="h", database="d")),
        ("postgresql://h/d?connect_timeout=0", Server(host="h", database="d", options={"connect_timeout": "0"})),
        ("postgresql://h/d?options=-c%20a%3D+1", Server(host="h", database="d", options={"options": "-c a=+1"})),
        (
            "postgresql://h/d?pool_size=1&max_overflow=0&pool_timeout=2&pool_recycle=3&pool_pre_ping=false",
            Server(
                host="h",
                database="d",
                pool=Pool(size=1, max_overflow=0, timeout_s=2, recycle_s=3, pre_ping=False),
            ),
        ),
        ("postgresql://h/d?pool_pre_ping=1", Server(host="h", database="d")),
    ],
)
def test_a_postgresql_url(url: str, wanted: Server) -> None:
    assert parse_target(url) == Place(server=wanted)
    assert Place(server=wanted).kind == "postgresql"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:p@ss@h/d", "write @ as %40"),
        ("postgresql://u:p/ss@h/d", "write @ as %40"),
        ("postgresql://u:p?ss@h/d", "write @ as %40"),
        ("postgresql://u:p#ss@h/d", "write @ as %40"),
        ("postgresql://u:p%ss@h/d", "write @ as %40"),
        ("postgresql://u:p\nss@h/d", "write @ as %40"),
        ("postgresql://h/a/b", "write @ as %40"),
        ("postgresql://h:1:2/d", "not host or host:port"),
        ("postgresql://[::1/d", "not host or host:port"),
        ("postgresql://h:x/d", "port: expected int"),
        ("postgresql://h:0/d", "port: expected int >= 1"),
        ("postgresql://h:99999/d", "port: expected int <= 65535"),
        ("postgresql://a,b/d", "host: only one"),
        ("postgresql://h/a%00b", "database: a NUL character"),
        ("postgresql://u:a%00b@h/d", "password: a NUL character"),
        ("postgresql://u:%ff@h/d", "password: it is not valid UTF-8"),
        ("postgresql://u:***@h/d", "password: *** stands where a password was taken out"),
        (
            "postgresql://h/d?sslmod=require",
            "the option 'sslmod' of a PostgreSQL URL is not known; did you mean sslmode?",
        ),
        ("postgresql://h/d?pool_sise=3", "did you mean pool_size?"),
        ("postgresql://h/d?sslmode=on", "sslmode: it is none of disable"),
        ("postgresql://h/d?sslmode=require&sslmode=disable", "sslmode is given twice"),
        ("postgresql://h/d?host=x", "host is given twice"),
        ("postgresql://h/d?password=x", "it has its place before the question mark"),
        ("postgresql://h/d?sslpassword=x", "'sslpassword' of a PostgreSQL URL is not known; use a key that needs none"),
        ("postgresql://h/d?connect_timeout=soon", "connect_timeout: expected int"),
        ("postgresql://h/d?pool_size=-1", "pool_size: expected int >= 1"),
        ("postgresql://h/d?pool_size=many", "pool_size: expected int"),
        ("postgresql://h/d?max_overflow=-1", "max_overflow: expected int >= 0"),
        ("postgresql://h/d?pool_timeout=0", "pool_timeout: expected int >= 1"),
        ("postgresql://h/d?pool_recycle=-1", "pool_recycle: expected int >= 1"),
        ("postgresql://h/d?pool_pre_ping=maybe", "pool_pre_ping: expected bool"),
        ("sqlite://host/x.db", "three slashes"),
        ("sqlite:/x.db", "neither a path nor a URL"),
        ("http:/host:8411", "neither a path nor a URL"),
        ("sqlite:///", "names no file"),
        ("sqlite:///?vfs=x", "names no file"),
        ("sqlite:///x.db?mode=ro", "the option 'mode' of a SQLite URL is not known"),
        ("ftp://h/d", "ftp:// is no place for a log"),
        ("", "empty"),
        ("   ", "empty"),
        ("a\0b", "NUL"),
        ("~nobody-here/x.db", "there is no home directory ~nobody-here"),
    ],
)
def test_a_wrong_url_says_what_is_wrong(url: str, told: str) -> None:
    assert told in refused(url)


def test_options_are_libpq_s_own() -> None:
    from psycopg import pq

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    assert set(OPTIONS) <= known


@pytest.mark.feature("S4-10")
def test_the_parts_are_those_that_sqlalchemy_and_psycopg_take() -> None:
    from psycopg.conninfo import make_conninfo
    from sqlalchemy.engine import URL

    found = server(f"postgresql://u:{quote(PASSWORD)}@h:6543/d?sslmode=require&connect_timeout=3&options=-c%20a%3Db")
    url = URL.create("postgresql+psycopg", **found.url_parts())
    _, arguments = url.get_dialect()().create_connect_args(url)
    assert arguments == {
        "host": "h", "port": 6543, "dbname": "d", "user": "u", "password": PASSWORD,
        "sslmode": "require", "connect_timeout": "3", "options": "-c a=b",
    }  # fmt: skip
    make_conninfo(**arguments)
    url = URL.create("postgresql+psycopg", **server("postgresql:///d?host=/run/pg").url_parts())
    assert url.get_dialect()().create_connect_args(url)[1] == {"host": "/run/pg", "port": 5432, "dbname": "d"}


@pytest.mark.parametrize("target", [":memory:", "sqlite://", "sqlite:///:memory:", " :memory: "])
def test_memory(target: str) -> None:
    assert parse_target(target) == Place()
    assert Place().kind == "memory"
    assert str(Place()) == ":memory:"


def test_sqlite_urls(folder: Path) -> None:
    assert parse_target("sqlite:///a%20b.db?vfs=unix-none") == Place(path=folder / "a b.db", vfs="unix-none")
    assert parse_target("SQLITE:///x.db") == Place(path=folder / "x.db")
    assert parse_target("sqlite:////srv/x.db").path == Path("/srv/x.db")
    assert parse_target(Path("x.db")).masked == f"sqlite:///{folder}/x.db"


@pytest.mark.parametrize("name", ["a:b.db", "x@y.db", "a b", "100%.db", "./u:p@h", "/u:p@h", "a//b", "./x://y"])
def test_odd_names_of_files_stay_files(name: str) -> None:
    assert parse_target(name).path == Path(os.path.realpath(name))


# passwords


@pytest.mark.parametrize(
    "target",
    [
        "'postgresql://u:Sesame99@h/d'",
        "postgresql:/u:Sesame99@h/d",
        "postgresql:u:Sesame99@h/d",
        "postgres :u:Sesame99@h/d",
        "psql postgresql://u:Sesame99@h/d",
        "u:Sesame99@h/d",
        "host=h user=u password=Sesame99",
        "host=h PASSWORD = Sesame99",
        "DATABASE_URL=postgresql://u:Sesame99@h/d",
        Path("postgresql://u:Sesame99@h/d"),
    ],
)
def test_what_looks_like_a_broken_url_is_no_file_and_is_not_repeated(target: Any, folder: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        eventlog.open(target)
    assert "Sesame99" not in str(caught.value)
    assert "Sesame99" not in masked(os.fspath(target))
    assert list(folder.iterdir()) == []


def test_a_secret_does_not_show_itself() -> None:
    found = Secret(PASSWORD)
    for text in (repr(found), str(found), f"{found}", f"{found!r}", "%s" % found, "{}".format(found)):  # noqa: UP031, UP032
        assert text == "***"
    assert found.reveal() == PASSWORD
    assert found == Secret(PASSWORD) != Secret("x")
    assert len({found, Secret(PASSWORD)}) == 1
    with pytest.raises(TypeError):
        msgspec.json.encode(Server(password=found))
    assert pickle.loads(pickle.dumps(found)) == found


# Long enough not to be in a message by chance, of every kind of character.
passwords = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=6).filter(
    lambda text: text != "***" and "xq" not in text
).map(lambda text: f"xq{text}")  # fmt: skip


def shown(error: BaseException) -> str:
    """All that a log, a person or a reporter of errors gets to see of it."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    told = [f"{each} {each!r} {each.args} {getattr(each, 'facts', '')}" for each in chain]
    return "\n".join([*told, *traceback.format_exception(chain[0])])


@given(passwords)
@example("xq@/?#%&+ =:[]")
@example("xq%41%zz@h")
def test_a_password_is_never_shown(password: str) -> None:
    encoded = quote(password, safe="")
    url = f"postgresql://user:{encoded}@host/db?sslmode=require"
    place = parse_target(url)
    assert place.server is not None
    assert place.server.password == Secret(password)
    assert place.server.url_parts()["password"] == password
    assert place.masked == "postgresql://user:***@host/db?sslmode=require" == masked(url)
    config = in_force(None, {"DATABASE_TYPE": "postgresql", "DATABASE_PASSWORD": password})
    for text in (repr(place), str(place), repr(place.server), str(place.server), repr(config), str(config)):
        assert "xq" not in text
        assert "***" in text
    assert "xq" not in msgspec.json.encode(config.settings).decode()


@given(
    passwords, st.sampled_from(["user", "", "a.b"]), st.sampled_from(["/db", "", "/db?sslmode=on", "/d?pool_size=x"])
)
@example("xqp@ss", "user", "/db")
@example("xq/12345", "user", "/db")
@example("xq?a=b&sslpassword=c", "user", "/db")
@example("xq#%", "user", "/db")
@example("xq]:[", "user", "/db")
def test_a_password_is_not_shown_when_it_is_not_escaped_and_the_url_is_malformed(
    password: str, user: str, rest: str
) -> None:
    bad = [
        f"postgresql://{user}:{password}@host{rest}",
        f"postgresql://{user}:{quote(password)}@host:port{rest}",
        f"postgresql://{user}:{password}@ho@st{rest}",
        f"postgresql+psycopg2://{user}:{password}@host{rest}",
        f"mysql://{user}:{password}@host{rest}",
        f"postgresql://host/db?password={password}",
        f"postgresql://host/db?sslmode=require&sslpassword={quote(password, safe='')}",
    ]
    for url in bad:
        assert "xq" not in masked(url), url
        for attempt in ({"EVENTLOG_URL": url}, {"DATABASE_URL": url}):
            try:
                text = repr(in_force(None, attempt))
            except InvalidInput as error:
                text = shown(error)
            assert "xq" not in text, url


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"sqlite://{text}", f"postgresql://h/d?{text}"):
        masked(url)
        try:
            found = parse_target(url)
        except InvalidInput:
            continue
        assert str(found) == found.masked
        if found.server is not None and found.server.password is None:
            assert parse_target(found.masked).masked == found.masked


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h:6543/d?sslmode=require&options=-c%20a%3Db",
        "postgresql://u@/d?host=/run/p%20g",
        "postgresql://%2Fu@[::1]:1/a%2Fb",
        "postgresql://h/d",
    ],
)
def test_a_masked_place_names_the_same_place(url: str) -> None:
    place = parse_target(url)
    assert parse_target(place.masked) == place
    assert place.masked == url


def test_the_spool_of_a_recorder_names_its_log_without_the_password() -> None:
    def no_log(*_: object, **__: object) -> None:
        raise InvalidInput("no")

    for url in (f"postgresql://u:{quote(PASSWORD)}@h/d", f"postgresql://u:{PASSWORD}@@h/d", f"mysql://u:{PASSWORD}@h"):
        sink = open_sink(no_log, url)
        assert "ub4dor" not in sink.target
        assert sink.target in ("postgresql://u:***@h/d", "postgresql://***", "mysql://***")


# what uses it


def test_without_its_store_postgresql_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eventlog.store.postgres_schema", None)
    with pytest.raises(InvalidInput, match=r"pip install 'execution-eventlog\[postgres\]'"):
        eventlog.open(f"postgresql://u:{quote(PASSWORD)}@127.0.0.1:1/d")


def test_a_file_opens_the_log_that_it_names(folder: Path) -> None:
    toml('[database.sqlite]\npath = "mine.db"\n')
    with eventlog.open() as log:
        assert log.path == folder / "mine.db"
        assert log.url == parse_target().masked
        assert log.data_dir == folder


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    postgresql = parse_target("postgresql://h/d")
    assert data_folder(None, postgresql) == tmp_path / "share" / "eventlog"
    assert data_folder("x", postgresql) == tmp_path / "work" / "x"
    assert data_folder(None, Place(path=Path("/srv/log.db"))) == Path("/srv")
    assert data_folder(None, Place()) is None
    monkeypatch.setenv("EVENTLOG_DATA_DIR", str(tmp_path / "data"))
    assert {data_folder(None, place) for place in (postgresql, Place())} == {tmp_path / "data"}


def test_config_show_tells_values_and_sources(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    toml(FILE + "[database.pool]\nsize = 7\n")
    monkeypatch.setenv("DATABASE_PASSWORD", PASSWORD)
    monkeypatch.setenv("DATABASE_TYPE", "postgresql")
    done = CliRunner().invoke(cli, ["config", "show"])
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["host", "by-file", str(folder / "eventlog.toml")] in lines
    assert ["password", "***", "variable", "DATABASE_PASSWORD"] in lines
    assert ["pool.size", "7", str(folder / "eventlog.toml")] in lines
    assert ["pool.pre_ping", "yes", "default"] in lines
    assert "the log: postgresql://:***@by-file/coding_agent" in done.stdout
    answer = json.loads(CliRunner().invoke(cli, ["--db", "x.db", "config", "show", "--json"]).stdout)
    assert answer == {
        "url": f"sqlite:///{folder}/x.db",
        "settings": [
            {"name": "type", "value": "sqlite", "source": "argument"},
            {"name": "path", "value": f"{folder}/x.db", "source": "argument"},
            {"name": "data_dir", "value": str(folder), "source": "default"},
        ],
        "unused": ["DATABASE_TYPE", "DATABASE_PASSWORD"],
    }
    told = CliRunner().invoke(cli, ["--db", "x.db", "config", "show"]).stdout
    assert told.endswith("set, but not used: DATABASE_TYPE, DATABASE_PASSWORD\n")
    assert PASSWORD not in done.stdout + told


def test_the_command_line_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def eventlog_says(*words: str, **variables: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "eventlog", *words],
            env=environ | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == ""
        return done.returncode, done.stderr

    url = f"postgresql://u:{PASSWORD}@@h/d"
    for words, variables in (
        (("--db", url, "runs", "list"), {}),
        (("runs", "list"), {"EVENTLOG_URL": url}),
        (("--debug", "config", "show"), {"DATABASE_URL": url}),
        (("db", "restore", sys.executable), {"DATABASE_URL": url}),
    ):
        status, told = eventlog_says(*words, **variables)
        assert status == 1
        assert "error: " in told
        assert "%40" in told
        assert "ub4dor" not in told
    assert eventlog_says("--db", "", "runs", "list")[0] == 1
    status, told = eventlog_says("--db", ":memory:", "db", "restore", sys.executable)
    assert (status, told.splitlines()[-1]) == (2, "error: A log in memory is no file.")


def test_finding_the_place_loads_no_driver_and_no_parser() -> None:
    program = (
        "import sys; from eventlog.target import parse_target; parse_target('postgresql://u:p@h/d');"
        "parse_target('x.db'); parse_target(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    modules = set(done.stdout.split())
    assert modules & {"sqlalchemy", "psycopg", "yaml", "tomllib", "difflib", "click"} == set()
