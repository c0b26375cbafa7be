"""Who may use the server: the token and the file it is in, and which addresses it may listen on."""

from __future__ import annotations

import ipaddress
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from eventlog.app import Log
from eventlog.config import user_data_folder
from eventlog.errors import InvalidInput

TOKEN = "EVENTLOG_TOKEN"  # noqa: S105
SHORTEST = 16


def token_path(log: Log) -> Path:
    """Where the token is kept unless somebody says otherwise: beside the log, or among this user's files."""
    if log.path is not None:
        return log.path.with_name(f"{log.path.name}.token")
    return user_data_folder() / "server.token"


def read_token(path: Path, environment: Mapping[str, str] = os.environ) -> tuple[str, Path | None]:
    """The token, and the file that holds it: of ``$EVENTLOG_TOKEN``, else of the file, which is made where it is not.

    Raises InvalidInput where others could read the file, the token can be guessed, or its folder is not there.
    """
    if given := environment.get(TOKEN, ""):
        return _checked(given, f"${TOKEN}"), None
    if path.parent == user_data_folder():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    elif not path.parent.is_dir():
        raise InvalidInput(f"there is no folder {path.parent} for the file of the token")
    fresh = secrets.token_urlsafe(32)
    # Whole or not at all: a file without a token would be refused at every start after this.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{fresh}\n")
        os.link(beside, path)
    except FileExistsError:
        return _checked(_read_private(path), str(path)), path
    finally:
        beside.unlink()
    return fresh, path


def _read_private(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise InvalidInput(f"the token file {path} cannot be read: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
            raise InvalidInput(f"the token file {path} is not yours, or no file")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise InvalidInput(f"others can read the token file {path}: chmod 600 it, or remove it for a new one")
        return os.read(descriptor, 4096).decode("ascii", errors="replace")
    finally:
        os.close(descriptor)


def _checked(token: str, source: str) -> str:
    token = token.strip()
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput(f"the token in {source} has to be at least {SHORTEST} printable characters of ASCII")
    return token


def check_address(host: str, *, tls: bool, behind_proxy: bool) -> None:
    """Refuse to speak in clear where others can listen. Raises InvalidInput."""
    if host == "localhost" or _is_loopback(host) or tls or behind_proxy:
        return
    raise InvalidInput(
        f"{host} can be reached by others: give --ssl-certfile and --ssl-keyfile, or --behind-proxy where a proxy on "
        "this machine does the encryption"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
