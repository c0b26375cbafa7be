"""What a URL, or a path, says about where a log is: settings by name. No message repeats what may be a password.

The names: ``type`` (``sqlite``, ``jsonl``, ``postgresql``, ``http``); ``path`` (``:memory:`` is no file), ``vfs``;
``url`` and ``token_file`` of a server of ours; ``host``, ``port``, ``database``, ``user``, ``password`` (a `Secret`),
libpq's options by their own names; ``pool.size``,
``pool.max_overflow``, ``pool.timeout``, ``pool.recycle``, ``pool.pre_ping``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from eventlog.errors import InvalidInput
from eventlog.place import MASK, MEMORY, Count, CountOrNone, Pool, Port, Secret, Server

Settings = dict[str, Any]

SCHEMES = {
    "sqlite": "sqlite",
    "jsonl": "jsonl",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+psycopg": "postgresql",
    "http": "http",
    "https": "http",
}
POOL = {
    "pool_size": "pool.size",
    "max_overflow": "pool.max_overflow",
    "pool_timeout": "pool.timeout",
    "pool_recycle": "pool.recycle",
    "pool_pre_ping": "pool.pre_ping",
}
"""A URL's words for the pool (SQLAlchemy's), and ours."""
POOL_FIELDS = dict(zip(POOL.values(), Pool.__struct_fields__, strict=True))
LINES = ".jsonl"
"""How the path of a file of JSON lines ends, where no scheme says what it is."""
OPTIONS = (
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslnegotiation", "ssl_min_protocol_version"),
    *("connect_timeout", "application_name", "options", "target_session_attrs", "passfile"),
    *("channel_binding", "require_auth", "gssencmode", "hostaddr"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
)
"""What is passed on to libpq as it is: https://www.postgresql.org/docs/current/libpq-connect.html"""
CHOICES = {
    "type": ("sqlite", "postgresql"),  # http is said by a URL alone
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
}
TYPES: dict[str, Any] = {
    "port": Port,
    "connect_timeout": CountOrNone,
    "pool.size": Count,
    "pool.max_overflow": CountOrNone,
    "pool.timeout": Count,
    "pool.recycle": Count,
    "pool.pre_ping": bool,
}

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
# A URL without its slashes or its scheme, libpq's other form: no file's name, and it may hold a password.
_BROKEN_URL = re.compile(
    r"(?![/.~])(?:.*://|(?:sqlite|jsonl|https?):/|\W*postgres\w*(\+\w*)?:|[^/]+:[^/]*@|.*\bpassword\s*=)",
    re.IGNORECASE | re.DOTALL,
)
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%25\w+)?)\]|([^:\[\]]*))(?::([^:]*))?")
_ELSEWHERE = "a token does not belong in it: set EVENTLOG_TOKEN, or EVENTLOG_TOKEN_FILE to the file that holds it"
_ESCAPE = "in a user name, password or database name, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"


def parse_target(text: str) -> Settings:
    """The settings in a path or a URL. Raises InvalidInput."""
    stripped = text.strip()
    if not stripped or "\0" in text:
        raise InvalidInput("the log's place is empty, or holds a NUL character")
    if stripped == MEMORY:
        return {"type": "sqlite", "path": MEMORY}
    if _URL.match(stripped):
        return parse_url(stripped)
    if _BROKEN_URL.match(text):
        raise InvalidInput(
            "the log's place is neither a path nor a URL like sqlite:///path or postgresql://user@host/database "
            "(it is not repeated here, because it may hold a password; a file of such a name is ./NAME)"
        )
    return {"type": "jsonl" if text.endswith(LINES) else "sqlite", "path": text}


def parse_url(text: str) -> Settings:
    """The settings in a URL. Raises InvalidInput."""
    found = _URL.match(text.strip())
    if found is None:
        raise InvalidInput("this is no URL; one looks like sqlite:///path or postgresql://user@host/database")
    kind = SCHEMES.get(found[1].lower())
    if kind == "postgresql":
        return {"type": kind} | _server(found[2])
    if kind == "http":
        return {"type": kind} | _remote(found[1].lower(), found[2])
    if kind is not None:
        return {"type": kind} | _file(kind, found[2])
    if found[1].lower().startswith(("postgresql+", "postgres+")):
        raise InvalidInput(f"{found[1]}:// names another driver; write postgresql:// (psycopg 3 is used)")
    raise InvalidInput(
        f"{found[1]}:// is no place for a log; sqlite:///path, jsonl:///path, postgresql://user@host/database and "
        "http://host:port are"
    )


def masked(text: str) -> str:
    """A path or URL as it may be shown: a password as ``***``, and nothing but the scheme where it is malformed."""
    try:
        found = parse_target(text)
    except InvalidInput:
        scheme = _URL.match(text.strip())
        return f"{scheme[1]}://{MASK}" if scheme else MASK if _BROKEN_URL.match(text) else text
    if found["type"] == "http":
        return str(found["url"])
    return server_of(found).masked if found["type"] == "postgresql" else text


def server_of(settings: Settings) -> Server:
    """The database that settings name; what they leave open is as by default."""
    named = {name: settings[name] for name in ("host", "port", "database", "user", "password") if name in settings}
    options = {name: settings[name] for name in OPTIONS if name in settings}
    pool = {field: settings[name] for name, field in POOL_FIELDS.items() if name in settings}
    return Server(**named, options=options, pool=Pool(**pool))


def setting(name: str, value: Any, shown: str = "") -> Any:
    """A value, checked; text is converted to the setting's type. Raises InvalidInput that begins with ``shown``."""
    kind = TYPES.get(name, str)
    problem = None
    try:
        value = msgspec.convert(value, kind, strict=kind is str)
    except msgspec.ValidationError as error:
        problem = plain_problem(error).replace(", got str", "")
    if problem is None and isinstance(value, str):
        problem = _wrong_text(name, value)
    if problem is not None:
        raise InvalidInput(f"{shown or name}: {problem}")
    return str(value) if name in OPTIONS else value


def plain_problem(error: msgspec.ValidationError) -> str:
    """``expected int >= 1``: what msgspec says, in our words; it repeats no value."""
    return str(error).replace("`", "").replace("Expected", "expected").replace(" | null", "")


def _wrong_text(name: str, value: str) -> str | None:
    if "\0" in value:
        return "a NUL character is in it"
    if name != "path" and not is_utf8(value):
        return "it is not valid UTF-8"
    if name in CHOICES and value not in CHOICES[name]:
        return f"it is none of {', '.join(CHOICES[name])}"
    return None


def expanded(path: str) -> str:
    """A path with ``~`` spelled out. Raises InvalidInput where there is no such user."""
    found = os.path.expanduser(path)
    if found.startswith("~"):
        raise InvalidInput(f"there is no home directory {path.partition('/')[0]}; a file of such a name is ./NAME")
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean size?``, where something is alike."""
    from difflib import get_close_matches

    alike = get_close_matches(word, known, 1)
    return f"; did you mean {alike[0]}?" if alike else ""


def is_utf8(text: str) -> bool:
    """Whether a text from outside is one: what was no UTF-8 there has lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _file(kind: str, rest: str) -> Settings:
    name = {"sqlite": "SQLite", "jsonl": "jsonl"}[kind]
    place, _, query = rest.partition("?")
    if place not in ("", "/") and not place.startswith("/"):
        raise InvalidInput(f"a {name} URL has three slashes before a relative path and four before an absolute one")
    path = unquote(place[1:])
    if place == "/" or (kind == "jsonl" and path in ("", MEMORY)):
        raise InvalidInput(f"the {name} URL names no file")
    found = {"path": path or MEMORY}
    known = ["vfs"] if kind == "sqlite" else []
    for option, value in _parameters(query):
        if option not in known:
            raise InvalidInput(f"the option {option!r} of a {name} URL is not known{did_you_mean(option, known)}")
        found[option] = value
    return {setting_name: setting(setting_name, value) for setting_name, value in found.items()}


def _server(rest: str) -> Settings:
    if not _is_regular(rest):
        raise InvalidInput(f"the URL is malformed; {_ESCAPE}")
    location, _, query = rest.partition("?")
    authority, _, database = location.partition("/")
    login, _, address = authority.rpartition("@")
    user, _, password = login.partition(":")
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise InvalidInput("the URL is malformed: what stands before the database's name is not host or host:port")
    found: dict[str, str] = {
        "host": _plain(parts[1] or parts[2]),
        "port": parts[3] or "",
        "database": _plain(database),
        "user": _plain(user),
    }
    for name, value in _parameters(query):
        key = POOL.get(name, name)
        if name not in (*POOL, *OPTIONS, "host", "port"):
            raise InvalidInput(f"the option {name!r} of a PostgreSQL URL is not known{_instead(name)}")
        if value and found.get(key):
            raise InvalidInput(f"{name} is given twice")
        found[key] = value or found.get(key, "")
    if "," in found["host"]:
        raise InvalidInput("host: only one can be given")
    words = {ours: word for word, ours in POOL.items()}
    settings = {name: setting(name, value, words.get(name, name)) for name, value in found.items() if value}
    if password:
        settings["password"] = secret(_plain(password))
    return settings


def _remote(scheme: str, rest: str) -> Settings:
    """A server of ours, ``host:port``; ``/api`` may stand behind it, as `eventlog serve` shows it."""
    location, _, query = rest.partition("?")
    address, _, path = location.partition("/")
    if "@" in rest or "#" in rest:
        raise InvalidInput(f"the URL of a server is {scheme}://host:port; {_ELSEWHERE}")
    parts = _ADDRESS.fullmatch(address)
    host = "" if parts is None else parts[1] or parts[2]
    if parts is None or not re.fullmatch(r"[A-Za-z0-9._:-]+", host) or path.rstrip("/") not in ("", "api"):
        raise InvalidInput(f"the URL of a server is {scheme}://host:port, and nothing behind it")
    port = f":{setting('port', parts[3])}" if parts[3] else ""
    host = f"[{host}]" if ":" in host else host.lower()
    found = {"url": f"{scheme}://{host}{port}"}
    for name, value in _parameters(query):
        if name != "token_file" or not value:
            raise InvalidInput(f"the only option in the URL of a server is token_file; {_ELSEWHERE}")
        found[name] = setting(name, value)
    return found


def secret(text: str) -> Secret:
    """A password, checked. Raises InvalidInput."""
    setting("password", text)
    if text == MASK:
        raise InvalidInput(f"password: {MASK} stands where a password was taken out to be shown")
    return Secret(text)


def _instead(name: str) -> str:
    if name in ("password", "user", "dbname"):
        return "; it has its place before the question mark: postgresql://user:password@host/dbname"
    if name == "sslpassword":
        return "; use a key that needs none and that only you can read"
    return did_you_mean(name, (*POOL, *OPTIONS, "host"))


def _is_regular(rest: str) -> bool:
    """Whether each character with a meaning is where it can be: else part of a password could be taken for a host."""
    return (
        rest.count("@") <= 1
        and not re.search(r"[#\x00-\x1f\x7f]|[/?].*@|%(?![0-9A-Fa-f]{2})", rest, re.DOTALL)
        and rest.partition("?")[0].count("/") <= 1
    )


def _plain(text: str) -> str:
    """Percent-decoded; what is not UTF-8 becomes surrogates, which `setting` refuses by name."""
    return unquote(text, errors="surrogateescape")


def _parameters(query: str) -> list[tuple[str, str]]:
    # As libpq reads them: a + is a plus.
    pairs = [part.partition("=") for part in query.split("&") if part]
    return [(_plain(name), _plain(value)) for name, _, value in pairs]
