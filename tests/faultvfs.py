"""A SQLite VFS that fails on command and remembers every write: the disk of the tests.

It is registered with ctypes in the very SQLite library that Python's ``sqlite3`` uses, so the code under test runs
unchanged: ``sqlite3.connect("file:PATH?vfs=faulty", uri=True)``. Every call goes to the real VFS; what is armed fails.

    disk = faultvfs.install()            # None where SQLite cannot be reached (linked statically)
    disk.arm("full", at=3)               # the third write from now on says SQLITE_FULL, once
    disk.arm("sync", at=1, lasting=True) # every sync from now on fails
    disk.clear()
    with disk.recording() as journal: …  # list of Op, for power-cut images

Only one such disk exists in a process; it is safe under threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

NAME = "faulty"
Fault = Literal["read", "write", "short", "full", "sync", "truncate", "open", "shm"]
FAULTS: tuple[Fault, ...] = ("read", "write", "short", "full", "sync", "truncate", "open", "shm")

_OK, _FULL, _CANTOPEN, _IOERR = 0, 13, 14, 10
_RESULT = {
    "read": _IOERR | 1 << 8,
    "write": _IOERR | 3 << 8,
    "short": _IOERR | 3 << 8,
    "full": _FULL,
    "sync": _IOERR | 4 << 8,
    "truncate": _IOERR | 6 << 8,
    "open": _CANTOPEN,
    "shm": _IOERR | 21 << 8,
}
_COUNTED_AS = {"short": "write", "full": "write"}
_OPEN_MAIN, _OPEN_WAL, _OPEN_MAIN_JOURNAL = 0x100, 0x80000, 0x800

_ptr, _int, _i64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_OpenFn = ctypes.CFUNCTYPE(_int, _ptr, _ptr, _ptr, _int, ctypes.POINTER(_int))
_DeleteFn = ctypes.CFUNCTYPE(_int, _ptr, _ptr, _int)
_ReadFn = ctypes.CFUNCTYPE(_int, _ptr, _ptr, _int, _i64)
_WriteFn = ctypes.CFUNCTYPE(_int, _ptr, _ptr, _int, _i64)
_TruncateFn = ctypes.CFUNCTYPE(_int, _ptr, _i64)
_SyncFn = ctypes.CFUNCTYPE(_int, _ptr, _int)
_ShmMapFn = ctypes.CFUNCTYPE(_int, _ptr, _int, _int, _int, _ptr)


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_ = [
        ("iVersion", _int),
        ("szOsFile", _int),
        ("mxPathname", _int),
        ("pNext", _ptr),
        ("zName", ctypes.c_char_p),
        ("pAppData", _ptr),
        ("xOpen", _ptr),
        ("xDelete", _ptr),
        *[(f"kept{n}", _ptr) for n in range(14)],
    ]


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_ = [
        ("iVersion", _int),
        ("xClose", _ptr),
        ("xRead", _ptr),
        ("xWrite", _ptr),
        ("xTruncate", _ptr),
        ("xSync", _ptr),
        *[(f"kept{n}", _ptr) for n in range(7)],  # file size, locks, control, sector size, characteristics
        ("xShmMap", _ptr),
        *[(f"kept{n}", _ptr) for n in range(7, 12)],
    ]


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that reached the disk: ``write`` (offset, data), ``sync``, ``truncate`` (offset is the new size),
    ``delete``, or ``mark`` (data is what the test wrote down at that moment)."""

    kind: Literal["write", "sync", "truncate", "delete", "mark"]
    path: str
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    at: int
    lasting: bool
    suffix: str | None


def library() -> ctypes.CDLL | None:
    """The SQLite that Python's ``sqlite3`` is linked to; None when it is linked statically or cannot be found."""
    sqlite3.connect(":memory:").close()
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return None
    for line in maps.splitlines():
        path = line.split(maxsplit=5)[-1]
        if path.startswith("/") and Path(path).name.startswith("libsqlite3"):
            found = ctypes.CDLL(path)
            found.sqlite3_libversion.restype = ctypes.c_char_p
            same = found.sqlite3_libversion().decode() == sqlite3.sqlite_version
            return found if same else None
    return None


class FaultyDisk:
    """The registered VFS: counts, fails and records. ``fired`` lists the faults that struck."""

    def __init__(self, lib: ctypes.CDLL) -> None:
        self._lib = lib
        self._lock = threading.RLock()
        self._armed: list[_Armed] = []
        self._journal: list[Op] | None = None
        self._paths: dict[int, str] = {}
        self._tables: dict[int, tuple[_Methods, tuple[Any, ...]]] = {}
        self.counts: Counter[str] = Counter()
        self.fired: list[tuple[str, str]] = []
        lib.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        lib.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        lib.sqlite3_vfs_register.argtypes = [ctypes.POINTER(_Vfs), _int]
        self._real = lib.sqlite3_vfs_find(None)
        self._vfs = _Vfs()
        ctypes.memmove(ctypes.byref(self._vfs), self._real, ctypes.sizeof(_Vfs))
        self._vfs.pNext = None
        self._vfs.zName = NAME.encode()
        self._kept_alive = (_OpenFn(self._open), _DeleteFn(self._delete))
        self._real_open = _OpenFn(self._real.contents.xOpen)
        self._real_delete = _DeleteFn(self._real.contents.xDelete)
        self._vfs.xOpen, self._vfs.xDelete = (ctypes.cast(f, _ptr).value for f in self._kept_alive)
        if lib.sqlite3_vfs_register(ctypes.byref(self._vfs), 0) != _OK:
            raise RuntimeError("SQLite refused the VFS")

    # -- what tests call

    def arm(self, fault: Fault, at: int = 1, *, lasting: bool = False, suffix: str | None = None) -> None:
        """Let the ``at``-th operation of that kind from now on fail; ``lasting``: and every later one.

        ``suffix`` counts only files whose name ends like this ("-wal", ".db").
        """
        with self._lock:
            self._armed.append(_Armed(fault, at, lasting, suffix))

    def clear(self) -> None:
        """From now on nothing fails; counts and ``fired`` start again."""
        with self._lock:
            self._armed.clear()
            self.counts.clear()
            self.fired.clear()

    @contextmanager
    def recording(self) -> Iterator[list[Op]]:
        """Everything that reaches the disk inside the block, in order."""
        with self._lock:
            journal: list[Op] = []
            self._journal = journal
        try:
            yield journal
        finally:
            with self._lock:
                self._journal = None

    def mark(self, data: bytes) -> None:
        """Write a moment into the recording: what had been acknowledged by then."""
        self._note(Op("mark", "", 0, data))

    # -- what SQLite calls

    def _note(self, op: Op) -> None:
        with self._lock:
            if self._journal is not None:
                self._journal.append(op)

    def _strikes(self, counted: str, path: str) -> str | None:
        """The fault that strikes this operation, if one does."""
        with self._lock:
            self.counts[counted] += 1
            struck: str | None = None
            for armed in list(self._armed):
                if _COUNTED_AS.get(armed.fault, armed.fault) != counted:
                    continue
                if armed.suffix is not None and not path.endswith(armed.suffix):
                    continue
                armed.at -= 1
                if armed.at <= 0 and struck is None:
                    struck = armed.fault
                    self.fired.append((armed.fault, os.path.basename(path)))
                    if not armed.lasting:
                        self._armed.remove(armed)
            return struck

    def _open(self, _vfs: int, name: int | None, file: int, flags: int, out_flags: Any) -> int:
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        if self._strikes("open", path):
            ctypes.c_void_p.from_address(file).value = None  # xOpen must say that there is nothing to close
            return _RESULT["open"]
        code: int = self._real_open(ctypes.cast(self._real, _ptr), name, file, flags, out_flags)
        slot = ctypes.c_void_p.from_address(file)
        if code == _OK and slot.value:
            with self._lock:
                self._paths[file] = path
                slot.value = ctypes.addressof(self._patched(slot.value))
        return code

    def _delete(self, _vfs: int, name: int, sync_dir: int) -> int:
        self._note(Op("delete", os.fsdecode(ctypes.string_at(name))))
        code: int = self._real_delete(ctypes.cast(self._real, _ptr), name, sync_dir)
        return code

    def _patched(self, original: int) -> _Methods:
        if original in self._tables:
            return self._tables[original][0]
        table = _Methods()
        real = _Methods.from_address(original)
        ctypes.memmove(ctypes.byref(table), original, ctypes.sizeof(_Methods))
        kept: list[Any] = []
        for field, kind, make in (
            ("xRead", _ReadFn, self._make_read),
            ("xWrite", _WriteFn, self._make_write),
            ("xTruncate", _TruncateFn, self._make_truncate),
            ("xSync", _SyncFn, self._make_sync),
            ("xShmMap", _ShmMapFn, self._make_shm_map),
        ):
            if getattr(real, field):
                callback = kind(make(kind(getattr(real, field))))
                kept.append(callback)
                setattr(table, field, ctypes.cast(callback, _ptr).value)
        self._tables[original] = (table, tuple(kept))
        return table

    def _make_read(self, real: Any) -> Any:
        def read(file: int, buffer: int, size: int, offset: int) -> int:
            struck = self._strikes("read", self._paths.get(file, ""))
            return _RESULT[struck] if struck else int(real(file, buffer, size, offset))

        return read

    def _make_write(self, real: Any) -> Any:
        def write(file: int, buffer: int, size: int, offset: int) -> int:
            path = self._paths.get(file, "")
            struck = self._strikes("write", path)
            if struck == "short":
                size //= 2
            elif struck:
                return _RESULT[struck]
            if self._journal is not None:
                self._note(Op("write", path, offset, ctypes.string_at(buffer, size)))
            code = int(real(file, buffer, size, offset))
            return _RESULT["short"] if struck else code

        return write

    def _make_truncate(self, real: Any) -> Any:
        def truncate(file: int, size: int) -> int:
            path = self._paths.get(file, "")
            struck = self._strikes("truncate", path)
            if struck:
                return _RESULT[struck]
            self._note(Op("truncate", path, size))
            return int(real(file, size))

        return truncate

    def _make_sync(self, real: Any) -> Any:
        def sync(file: int, flags: int) -> int:
            path = self._paths.get(file, "")
            struck = self._strikes("sync", path)
            if struck:
                return _RESULT[struck]
            code = int(real(file, flags))
            self._note(Op("sync", path))
            return code

        return sync

    def _make_shm_map(self, real: Any) -> Any:
        def shm_map(file: int, region: int, size: int, extend: int, pages: int) -> int:
            struck = self._strikes("shm", self._paths.get(file, ""))
            if struck:
                ctypes.c_void_p.from_address(pages).value = None
                return _RESULT[struck]
            return int(real(file, region, size, extend, pages))

        return shm_map


@functools.cache
def install() -> FaultyDisk | None:
    """Register the VFS (once a process); None where SQLite cannot be reached."""
    lib = library()
    return None if lib is None else FaultyDisk(lib)


def fixture() -> Iterator[FaultyDisk]:
    """Body of a pytest fixture: the disk with nothing armed before and after; skips where there is none."""
    import pytest

    disk = install()
    if disk is None:
        pytest.skip("SQLite is linked statically here: no faulty disk")
    disk.clear()
    yield disk
    disk.clear()
