"""The files of a mirror: a JSON file a session, named by its id, that appears whole or not at all.

Whoever writes holds the folder's lock and reads the log under it, so that what was written last is what was read last.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import msgspec

LOCK = ".eventlog-mirror.lock"
WAIT_S = 5.0
MAX_NAME = 200
MAX_FILE_BYTES = 256 << 20


class Unreadable(Exception):
    """A file that does not hold a JSON object."""


class MirrorFolder:
    """A folder with a file for each session. Raises OSError where the folder or a file cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def name(self, session_id: str) -> str:
        """The name of a session's file: its id, with what cannot stand in a name written as ``%XX``."""
        plain = quote(session_id, safe="-_.~@+=, ")
        if plain.startswith("."):
            plain = f"%2E{plain[1:]}"
        if len(plain) > MAX_NAME:
            plain = f"{plain[: MAX_NAME - 70]}~{sha256(session_id.encode('utf-8', 'replace')).hexdigest()}"
        return f"{plain}.json"

    def id_of(self, name: str) -> str | None:
        """The id of the session whose file has this name; None where names like it have none."""
        own = unquote(name.removesuffix(".json"))
        return own if self.name(own) == name else None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes, and other threads of this one, from writing here. Raises OSError after 5 s."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _wait(descriptor)
            yield
        finally:
            os.close(descriptor)

    def write(self, session_id: str, content: bytes) -> bool:
        """Write a session's file; False where it holds just that already."""
        path = self.path / self.name(session_id)
        if self._holds(path, content):
            return False
        part = path.with_name(f".{path.name}.part")
        with suppress(FileNotFoundError):
            part.unlink()
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        self._keep()
        return True

    def remove(self, session_id: str) -> bool:
        """Remove a session's file; False where there is none."""
        try:
            (self.path / self.name(session_id)).unlink()
        except FileNotFoundError:
            return False
        self._keep()
        return True

    def clean(self) -> None:
        """Remove what writers left that were killed; the caller holds the lock."""
        for part in self.path.glob(".*.json.part"):
            with suppress(OSError):
                part.unlink()

    def read(self, name: str) -> dict[str, Any] | None:
        """What a file says; None where there is none. Raises Unreadable, which does not say what is in it."""
        path = self.path / name
        try:
            if path.is_symlink() or not path.is_file():
                if not path.is_symlink() and not path.exists():
                    return None
                raise Unreadable("not a file")
            if path.stat().st_size > MAX_FILE_BYTES:
                raise Unreadable(f"larger than {MAX_FILE_BYTES:,} bytes")
            value = msgspec.json.decode(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unreadable(reason(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Unreadable("not valid JSON") from None
        if not isinstance(value, dict):
            raise Unreadable("not a JSON object")
        return value

    def names(self) -> set[str]:
        """The names of the JSON files that are there. Raises OSError."""
        return {name for name in os.listdir(self.path) if name.endswith(".json") and not name.startswith(".")}

    def _holds(self, path: Path, content: bytes) -> bool:
        try:
            return not path.is_symlink() and path.stat().st_size == len(content) and path.read_bytes() == content
        except OSError:
            return False

    def _keep(self) -> None:
        """Have the folder's entries on disk."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _wait(descriptor: int) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise
        time.sleep(0.005)


def reason(error: BaseException) -> str:
    """Why something failed, without a word of what was to be written."""
    if isinstance(error, BlockingIOError):
        return f"another process held the folder's lock for {WAIT_S:g} s"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
