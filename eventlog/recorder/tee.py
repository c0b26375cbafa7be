"""A copy of a stream that passes by: hashed, kept in a log file without secrets, and its end remembered."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import BinaryIO

from eventlog.redaction import redact_bytes

TAIL_BYTES = 4096
MAX_HELD = 64 * 1024
_KEY_BEGIN = b"-----BEGIN "
_KEY_NAME = b"PRIVATE KEY"


class Tee:
    """Takes the bytes of one stream. ``size_bytes`` and ``sha256`` are those of the stream as it was written.

    The log file gets whole lines, since a secret may arrive in pieces; `flush` writes a line that is not complete.
    What is written there differs from the stream only where a secret was replaced; ``file_size`` and ``file_sha256``
    are those of the file. A file that cannot be written is given up, and ``on_problem`` called once.
    """

    def __init__(self, file: BinaryIO | None, on_problem: Callable[[OSError], None] | None = None) -> None:
        self.size_bytes = 0
        self.redacted = False
        self.file_size = 0
        self._file = file
        self._on_problem = on_problem
        self._hash = sha256()
        self._file_hash = sha256()
        self._held = b""
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        self.size_bytes += len(data)
        self._hash.update(data)
        data = self._held + data if self._held else data
        cut = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if cut == 0 and len(data) > MAX_HELD:
            cut = data.rfind(b" ") + 1 or len(data)
        cut = _before_open_key(data, cut)
        self._held = data[cut:]
        if cut:
            self._write(data[:cut] if self._held else data)

    @property
    def holding(self) -> bool:
        """Whether an incomplete line waits."""
        return bool(self._held)

    def flush(self) -> None:
        """Write what waits for the end of its line."""
        held, self._held = self._held, b""
        if held:
            self._write(held)

    def _write(self, data: bytes) -> None:
        clean = redact_bytes(data)
        if clean is not data:
            self.redacted = True
            data = clean
        self._tail = data[-TAIL_BYTES:] if len(data) >= TAIL_BYTES else (self._tail + data)[-TAIL_BYTES:]
        if self._file is None:
            return
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
            self._file_hash.update(data)
            self.file_size += len(data)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError:
            pass
        if self._on_problem is not None:
            self._on_problem(error)

    def close(self) -> bool:
        """The end of the stream; whether the file is complete."""
        self.flush()
        if self._file is None:
            return False
        try:
            self._file.close()
        except OSError as error:
            self._give_up(error)
            return False
        return True

    @property
    def sha256(self) -> str:
        """Of the stream as it was written, so far."""
        return self._hash.hexdigest()

    @property
    def file_sha256(self) -> str:
        """Of the log file, so far."""
        return self._file_hash.hexdigest()

    def tail(self) -> str:
        """The last 4 KiB without secrets; bytes that are not UTF-8 as backslash escapes."""
        data = self._tail
        start = 0
        if self.size_bytes > len(data):
            # A cut inside a character: leave its rest away.
            while start < min(4, len(data)) and data[start] & 0xC0 == 0x80:
                start += 1
        return data[start:].decode("utf-8", errors="backslashreplace")


def _before_open_key(data: bytes, cut: int) -> int:
    """Where a private key begins that has not ended yet: it is held back as a whole, within bounds."""
    begin = data.rfind(_KEY_BEGIN, 0, cut)
    if begin < 0 or len(data) - begin > MAX_HELD:
        return cut
    line_end = data.find(b"\n", begin)
    if _KEY_NAME not in data[begin:line_end] or b"-----END " in data[begin:cut]:
        return cut
    return begin
