"""The token of a server: where it is found, and to whom one that was found by itself is shown."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from eventlog.config import user_data_folder
from eventlog.errors import InvalidInput
from eventlog.place import Remote

FILES = ("log.db.token", "server.token")
"""Where `eventlog serve` keeps its token for this user's own log, and for one that is no file."""
LISTENING = "0A"


def find_token(remote: Remote) -> str | None:
    """The token that was given, that of the file which was named, or that of this user's own server here.

    Raises InvalidInput where what was named cannot be read or is no token.
    """
    if remote.token_file is not None:
        path = Path(remote.token_file).expanduser()
        try:
            return _checked(path.read_text(encoding="ascii", errors="replace")[:4096], str(path))
        except OSError as error:
            raise InvalidInput(f"the token file {path} cannot be read: {error.strerror}") from error
    if remote.token is not None:
        return _checked(remote.token.reveal(), "EVENTLOG_TOKEN")
    if not _is_mine(remote.url):
        return None
    for name in FILES:
        try:
            return _checked((user_data_folder() / name).read_text(encoding="ascii"), name)
        except (OSError, ValueError, InvalidInput):
            continue
    return None


def _checked(text: str, source: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidInput(f"what stands in {source} is no token: it is printable ASCII without blanks")
    return token


def _is_mine(url: str) -> bool:
    """Whether a process of this user (or root's) listens there, on this machine: anybody may listen on a port, and a
    token that nobody named is not for everybody. Known on Linux alone.
    """
    parts = urlsplit(url)
    if parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return False
    port = f"{parts.port or (443 if parts.scheme == 'https' else 80):04X}"
    owners = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING and fields[1].endswith(f":{port}"):
                owners.add(int(fields[7]))
    return bool(owners) and all(is_trusted(owner) for owner in owners)


def is_trusted(owner: int) -> bool:
    """Whether a user may see this user's tokens."""
    return owner in (os.geteuid(), 0)
