"""Files of a run: ``result/<run_id>/{input,output,logs}/`` and ``meta.json``. The run's number gives the path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from eventlog.errors import ArtifactError, InvalidName, NotFound
from eventlog.recorder.values import plain

Kind = Literal["input", "output", "logs"]
KINDS: tuple[Kind, ...] = ("input", "output", "logs")
META = "meta.json"
MAX_PART_BYTES = 255
MAX_NAME_BYTES = 1024
_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO))


class Saved(NamedTuple):
    """A file that was saved: what goes into RunArtifactSaved."""

    kind: Kind
    name: str
    size_bytes: int
    sha256: str
    source: str | None = None


def check_name(name: str) -> list[str]:
    """The parts of an artifact's name, ``a/b.txt``. Raises InvalidName for whatever could leave the run's directory."""

    def refuse(why: str) -> InvalidName:
        return InvalidName(f"artifact name {name[:100]!r} {why}", name=name)

    if not isinstance(name, str) or not name:
        raise InvalidName("an artifact needs a name", name=name)
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise refuse("holds a control character")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise refuse("is not valid Unicode") from None
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":" and name[0].isalpha()):
        raise refuse("is not a relative path with forward slashes")
    parts = name.split("/")
    decoded = [part.replace("%2e", ".").replace("%2E", ".") for part in parts]
    if any(part in ("", ".", "..") or "%2f" in part.lower() or "%5c" in part.lower() for part in decoded):
        raise refuse("would leave the run's directory, or has an empty part")
    if len(encoded) > MAX_NAME_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise refuse(f"is too long: {MAX_PART_BYTES} bytes a part, {MAX_NAME_BYTES} in all")
    return parts


class ArtifactStore:
    """The run directories of one log. Directories are 0700, files 0600; a file appears whole or not at all.

    Two logs may share a data directory: ``result/<run_id>`` belongs to the log that its ``meta.json`` names, and any
    other log uses ``result/<run_id>-<first 8 of its log id>``.
    """

    def __init__(self, data_dir: str | os.PathLike[str], log_id: str | None) -> None:
        self.root = Path(data_dir) / "result"
        self.log_id = log_id or ""

    def _candidates(self, run_id: int) -> tuple[Path, Path]:
        return self.root / str(int(run_id)), self.root / f"{int(run_id)}-{self.log_id[:8] or 'unknown'}"

    def run_dir(self, run_id: int) -> Path:
        """Where a run's files are, or would be."""
        own, other = self._candidates(run_id)
        if other.is_dir() and not self._is_ours(own):
            return other
        return own if not own.exists() or self._is_ours(own) else other

    def _is_ours(self, folder: Path) -> bool:
        try:
            meta = msgspec.json.decode((folder / META).read_bytes())
        except (OSError, msgspec.DecodeError):
            return False
        return isinstance(meta, dict) and meta.get("log_id") == self.log_id

    def create(self, run_id: int, meta: Mapping[str, Any]) -> Path:
        """Make a run's directories and its first meta.json. Raises ArtifactError."""
        with _told(f"the directory of run {run_id}"):
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = self._make(run_id)
            for kind in KINDS:
                _make_directory(folder / kind)
            self._write_meta(folder, meta)
            return folder

    def _make(self, run_id: int) -> Path:
        # A directory that exists without a meta.json of ours is another log's, or a person's.
        for folder in self._candidates(run_id):
            try:
                os.mkdir(folder, 0o700)
                os.chmod(folder, 0o700)
                return folder
            except FileExistsError:
                if self._is_ours(folder) and not folder.is_symlink():
                    return folder
        raise ArtifactError(f"{folder} is in the way: it is not a directory of this log", path=str(folder))

    def write_meta(self, run_id: int, meta: Mapping[str, Any]) -> None:
        """Replace meta.json as a whole. Raises ArtifactError."""
        with _told(f"{META} of run {run_id}"):
            self._write_meta(self.run_dir(run_id), meta)

    def _write_meta(self, folder: Path, meta: Mapping[str, Any]) -> None:
        data = msgspec.json.format(msgspec.json.encode({"log_id": self.log_id, **meta}), indent=2) + b"\n"
        with _open_directory(folder) as directory, _replacing(directory, META) as file:
            file.write(data)

    def save_bytes(self, run_id: int, name: str, data: bytes, kind: Kind = "output") -> Saved:
        """Save bytes as a file of the run. Raises InvalidName or ArtifactError."""
        with self._target(run_id, kind, name) as file:
            file.write(data)
        return Saved(kind, name, len(data), sha256(data).hexdigest())

    def save_file(self, run_id: int, name: str, source: str | os.PathLike[str], kind: Kind = "output") -> Saved:
        """Copy a file into the run's directory, streamed. Raises InvalidName or ArtifactError."""
        check_name(name)
        digest, size = sha256(), 0
        with _open_regular(source) as reader, self._target(run_id, kind, name) as file:
            while chunk := reader.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
        return Saved(kind, name, size, digest.hexdigest(), plain(os.path.abspath(source)))

    def save_input(self, run_id: int, source: str | os.PathLike[str], name: str | None = None) -> Saved:
        """A snapshot of an input file, as it is now. Two inputs of one name are told apart by a number."""
        wanted = plain(name or os.path.basename(os.fspath(source))).replace("\\", "_")
        folder = self.run_dir(run_id) / "input"
        stem, dot, ending = wanted.rpartition(".")
        numbered, count = wanted, 1
        while name is None and os.path.lexists(folder / numbered) and count < 10_000:
            count += 1
            numbered = f"{stem}-{count}.{ending}" if dot and stem else f"{wanted}-{count}"
        return self.save_file(run_id, numbered, source, "input")

    def open_new(self, run_id: int, kind: Kind, name: str) -> BinaryIO:
        """A new file to write while the run goes on, unbuffered. Raises InvalidName or ArtifactError."""
        parts = check_name(name)
        with _told(f"{kind}/{name} of run {run_id}"), self._parent(run_id, kind, parts) as parent:
            descriptor = os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=parent)
            os.fchmod(descriptor, 0o600)
            return os.fdopen(descriptor, "wb", buffering=0)

    def open(self, run_id: int, kind: Kind, name: str) -> BinaryIO:
        """A file of the run to read, unbuffered. No symbolic link in the run's directory is followed.

        Raises InvalidName, NotFound where there is no such regular file, ArtifactError where it cannot be read.
        """
        parts = check_name(name)
        missing = NotFound(f"{kind}/{name} is not among the files of run {run_id}", run_id=run_id, kind=kind, name=name)
        try:
            with self._parent(run_id, kind, parts, make=False) as parent:
                descriptor = os.open(parts[-1], _OLD_FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in _NOT_THERE:
                raise missing from error
            raise ArtifactError(f"cannot read {kind}/{name} of run {run_id}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise missing
        return os.fdopen(descriptor, "rb", buffering=0)

    def path(self, run_id: int, kind: Kind, name: str) -> Path:
        """Where a file of a run is. Raises InvalidName."""
        return self.run_dir(run_id).joinpath(kind, *check_name(name))

    def delete(self, run_id: int) -> bool:
        """Remove a run's directory with everything in it; False when there is none of this log."""
        folder = self.run_dir(run_id)
        if not self._is_ours(folder) or folder.is_symlink():
            return False
        import shutil

        with _told(f"the directory of run {run_id}"):
            shutil.rmtree(folder)
        return True

    @contextmanager
    def _target(self, run_id: int, kind: Kind, name: str) -> Iterator[BinaryIO]:
        parts = check_name(name)
        with (
            _told(f"{kind}/{name} of run {run_id}"),
            self._parent(run_id, kind, parts) as parent,
            _replacing(parent, parts[-1]) as file,
        ):
            yield file

    @contextmanager
    def _parent(self, run_id: int, kind: Kind, parts: list[str], *, make: bool = True) -> Iterator[int]:
        """The directory of a file, opened part by part: a symbolic link on the way is an error, not a way out."""
        if kind not in KINDS:
            raise InvalidName(f"files of a run are {', '.join(KINDS)}, not {kind!r}", kind=kind)
        descriptors = [os.open(self.run_dir(run_id), _DIRECTORY)]
        try:
            for part in (kind, *parts[:-1]):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=descriptors[-1])
                        os.chmod(part, 0o700, dir_fd=descriptors[-1])
                descriptors.append(os.open(part, _DIRECTORY, dir_fd=descriptors[-1]))
            yield descriptors[-1]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _open_regular(source: str | os.PathLike[str]) -> BinaryIO:
    """A file to copy from. Opened without blocking: a named pipe without a writer would hold the program up."""
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ArtifactError(f"cannot read {os.fspath(source)!r}: {why}", source=str(source)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError(f"{os.fspath(source)!r} is not a regular file", source=str(source))
    return os.fdopen(descriptor, "rb", buffering=0)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """An OSError as ArtifactError, with what could not be written and why."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        raise ArtifactError(f"cannot write {what}{where}: {error.strerror or error}") from error


def _make_directory(path: Path) -> None:
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir():
            raise


@contextmanager
def _open_directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _replacing(directory: int, name: str) -> Iterator[BinaryIO]:
    """A new file that takes the name when it is complete and on the disk; until then whatever was there stays."""
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise ArtifactError(f"{name!r} is in the way: it is not a regular file")
    except FileNotFoundError:
        pass
    temporary = f".{os.getpid():x}-{os.urandom(6).hex()}.tmp"
    descriptor = os.open(temporary, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)
