"""Sizes of the long suite, ``pytest -m long tests/long``. Each has an environment variable, and a small default.

EVENTLOG_LONG_KILLS       processes killed                          (12)
EVENTLOG_LONG_IMAGES      power-cut images for each durability      (60)
EVENTLOG_LONG_OPERATIONS  of the disk, each of which fails          (12)
EVENTLOG_LONG_SECONDS     of each stress of writers                 (6)
EVENTLOG_LONG_BACKUPS     taken under load                          (8)
EVENTLOG_LONG_COPIES      file copies of a log in use               (40)
EVENTLOG_LONG_FLIPS       single flipped bits                       (60)
EVENTLOG_LONG_EVENTS      in the log that is verified               (50,000)
EVENTLOG_LONG_REOPENINGS  of a log on a full disk                   (6)
EVENTLOG_LONG_EXAMPLES    histories of commands                     (10)
EVENTLOG_LONG_CRASHES     of a PostgreSQL server under load         (2)
EVENTLOG_LONG_JOB_KILLS   workers and recoverers killed             (50)
EVENTLOG_LONG_STEP        lines between two interrupts              (40)
EVENTLOG_LONG_REQUESTS    of each kind and operation over HTTP      (5)
EVENTLOG_LONG_INJECTIONS  hostile texts in each parameter           (20)
"""

from __future__ import annotations

import os

DEFAULTS = {
    "KILLS": 12,
    "IMAGES": 60,
    "SECONDS": 6,
    "BACKUPS": 8,
    "COPIES": 40,
    "FLIPS": 60,
    "EVENTS": 50_000,
    "REOPENINGS": 6,
    "EXAMPLES": 10,
    "OPERATIONS": 12,
    "CRASHES": 2,
    "JOB_KILLS": 50,
    "STEP": 40,
    "REQUESTS": 5,
    "INJECTIONS": 20,
}


def size(name: str) -> int:
    """A size of the suite, from the environment."""
    return int(os.environ.get(f"EVENTLOG_LONG_{name}", DEFAULTS[name]))


def is_small(name: str) -> bool:
    """Whether a size is no larger than the default: figures of speed are then only printed, or asked for loosely."""
    return size(name) <= DEFAULTS[name]
