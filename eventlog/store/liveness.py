"""Who says that he lives: one row a worker beside the log, for stores whose writers take turns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from eventlog.clock import now_us
from eventlog.store.base import Durability, Head

_FIRST = "INSERT INTO worker_liveness (worker_id, beat_at) VALUES (?, ?)"
_AGAIN = "UPDATE worker_liveness SET beat_at = ? WHERE worker_id = ?"
SILENCES = "SELECT worker_id, beat_at FROM worker_liveness"
FORGET = "DELETE FROM worker_liveness WHERE worker_id = ?"


class Liveness(ABC):
    """`eventlog.store.base.Store`'s methods about workers, in short transactions by this machine's clock."""

    @abstractmethod
    def translate(self, error: BaseException) -> BaseException: ...

    @abstractmethod
    def reader(self) -> AbstractContextManager[Any]: ...

    @abstractmethod
    def begin(self, durability: Durability) -> Any: ...

    @abstractmethod
    def commit(self, writer: Any, head: Head | None) -> None: ...

    @abstractmethod
    def rollback(self, writer: Any, error: BaseException | None = None) -> None: ...

    def beat(self, worker_id: str, *, first: bool = False) -> bool:
        if first:
            self._write(_FIRST, (worker_id, now_us()))
            return True
        return self._write(_AGAIN, (now_us(), worker_id)) == 1

    def silences(self) -> dict[str, int]:
        now = now_us()
        with self.reader() as reader:
            return {worker: max(0, now - at) for worker, at in reader.execute(SILENCES).fetchall()}

    def forget_workers(self, worker_ids: Iterable[str]) -> None:
        for worker_id in worker_ids:
            self._write(FORGET, (worker_id,))

    def _write(self, sql: str, values: tuple[Any, ...]) -> int:
        writer = self.begin("process")
        try:
            rows: int = writer.execute(sql, values).rowcount
        except BaseException as error:
            self.rollback(writer, error)
            raise self.translate(error) from error
        self.commit(writer, None)
        return rows
