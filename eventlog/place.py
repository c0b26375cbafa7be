"""Where a log is: a file, memory, a PostgreSQL database, or behind a server. No password or token is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Meta

MASK = "***"
MEMORY = ":memory:"
DEFAULT_PORT = 5432
Port = Annotated[int, Meta(ge=1, le=65_535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=1_000_000)]
Holder = Literal["file", "jsonl", "memory", "postgresql", "http"]
"""What holds a log: a SQLite file, a file of JSON lines, memory, a PostgreSQL database."""


class Secret:
    """Text that is not shown: its ``repr`` and ``str`` are ``***``; `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one who has to send it."""
        return self._text

    def __repr__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections are kept (and how many more in a rush), the longest wait for one, and how old one gets."""

    size: Count = 5
    max_overflow: CountOrNone = 10
    timeout_s: Count = 30
    recycle_s: Count = 3600
    pre_ping: bool = True


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A database of a PostgreSQL server. ``host`` may be a socket's folder; ``options`` are libpq's, by its names."""

    host: str = "localhost"
    port: Port = DEFAULT_PORT
    database: str = "coding_agent"
    user: str | None = None
    password: Secret | None = None
    options: dict[str, str] = {}
    pool: Pool = Pool()

    def url_parts(self) -> dict[str, Any]:
        """What ``sqlalchemy.engine.URL.create("postgresql+psycopg", …)`` takes, **the password in clear**."""
        return {
            "username": self.user,
            "password": None if self.password is None else self.password.reveal(),
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "query": dict(self.options),
        }

    @property
    def masked(self) -> str:
        """The URL, a password in it as ``***``; the pool is left out, it does not say where the log is."""
        return self._url(MASK)

    @property
    def address(self) -> str:
        """The URL for another program of ours to open, **the password in clear**."""
        return self._url("" if self.password is None else quote(self.password.reveal(), safe=""))

    def _url(self, password: str) -> str:
        login = quote(self.user or "", safe="") + (f":{password}" if self.password is not None else "")
        socket = self.host.startswith("/")
        host = "" if socket else f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        port = "" if self.port == DEFAULT_PORT else f":{self.port}"
        options = {"host": self.host, **self.options} if socket else self.options
        query = "&".join(f"{name}={quote(value, safe='/')}" for name, value in options.items())
        at = "@" if login else ""
        return f"postgresql://{login}{at}{host}{port}/{quote(self.database, safe='')}" + (f"?{query}" if query else "")

    def __str__(self) -> str:
        return self.masked


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A log that `eventlog serve` offers: ``url`` is ``http://host:port``. ``token_file`` holds the token, where
    ``token`` does not say it; ``told``: the file stood in the target, so whoever opens that next has to hear of it.
    """

    url: str
    token: Secret | None = None
    token_file: str | None = None
    told: bool = False

    @property
    def address(self) -> str:
        """The URL for another program of ours to open. No token is in it, but the file's name may be."""
        return f"{self.url}?token_file={quote(self.token_file)}" if self.told and self.token_file else self.url


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a log is: ``path`` is a file, ``server`` a PostgreSQL database, ``remote`` a server of ours; none: memory.

    The file is SQLite's, ``vfs`` names the VFS to open it with; or, with ``lines``, one of JSON lines.
    """

    path: Path | None = None
    lines: bool = False
    vfs: str = ""
    server: Server | None = None
    remote: Remote | None = None

    @property
    def kind(self) -> Holder:
        """What holds the log, or (``http``) offers it."""
        if self.remote is not None:
            return "http"
        if self.server is not None:
            return "postgresql"
        if self.path is None:
            return "memory"
        return "jsonl" if self.lines else "file"

    @property
    def masked(self) -> str:
        """The place as a URL, a password in it as ``***``: one name for one log, to show and to compare."""
        if self.remote is not None:
            return self.remote.url
        if self.server is not None:
            return self.server.masked
        return MEMORY if self.path is None else f"{'jsonl' if self.lines else 'sqlite'}:///{self.path}"

    def __str__(self) -> str:
        return self.masked
