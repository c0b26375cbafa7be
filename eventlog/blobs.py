"""Content that is too big for an event: files beside the log, named by the SHA-256 of what is in them.

``blobs/<first two digits>/<sha256>`` in the log's data directory; directories are 0700, files 0600. A file appears
whole or not at all, and is on disk before the event that names it. Until then it is ``.<sha256>.<anything>``, locked by
who writes it; one that nobody has locked was left by a process that was ended, and the next writer there removes it.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from eventlog.errors import ArtifactError, NotFound

HEAD_BYTES = 4096
"""How much of a blob its event tells."""


class Blobs:
    """The blobs of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "blobs"
        self._cleared: set[Path] = set()

    def put(self, content: bytes) -> str:
        """Keep content, once however often it comes; returns its SHA-256 in hex. Raises ArtifactError."""
        digest = sha256(content).hexdigest()
        path = self._path(digest)
        try:
            if path.is_file() and path.stat().st_size == len(content):
                return digest
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clear(path.parent)
            self._write(path, content)
        except OSError as error:
            raise ArtifactError(f"a blob cannot be kept in {self.root}: {error}") from error
        return digest

    def _write(self, path: Path, content: bytes) -> None:
        part, descriptor = _part_of(path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(part, path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _clear(self, folder: Path) -> None:
        """Remove what nobody writes any more; looked for once, because a folder may hold many files."""
        if folder in self._cleared:
            return
        self._cleared.add(folder)
        for part in folder.glob(f".{'[0-9a-f]' * 64}.*"):
            with suppress(OSError):
                descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    part.unlink()
                finally:
                    os.close(descriptor)

    def get(self, digest: str) -> bytes:
        """The content of a blob. Raises NotFound; ArtifactError where the file is not what its name says."""
        try:
            content = self._path(digest).read_bytes()
        except (OSError, ValueError) as error:
            raise NotFound(f"there is no blob {digest[:80]!r} in {self.root}") from error
        if sha256(content).hexdigest() != digest:
            raise ArtifactError(f"the blob {digest} is damaged: its content has another hash")
        return content

    def _path(self, digest: str) -> Path:
        if len(digest) != 64 or any(char not in "0123456789abcdef" for char in digest):
            raise ValueError(digest)
        return self.root / digest[:2] / digest


def _part_of(path: Path) -> tuple[Path, int]:
    """A file beside ``path``, and its descriptor; it is this writer's for as long as that is open."""
    while True:
        part = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # where there are no locks nobody can have one, and nothing is removed
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if part.exists():  # else it was taken for one that was left, before it was locked
            return part, descriptor
        os.close(descriptor)
