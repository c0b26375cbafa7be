"""For commands that go on until they are told to stop."""

from __future__ import annotations

import signal
import threading
from _thread import start_new_thread


def told_to_stop() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set.

    A thread sets it: a handler runs in the main thread, which may hold the lock of the event that it waits for.
    """
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: start_new_thread(told.set, ()))
    return told
