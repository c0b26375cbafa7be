"""``python -m benchmarks [GROUP…]``: run, print a table, save JSON."""

from __future__ import annotations

from benchmarks.command import main

GROUPS = (
    "append",
    "threads",
    "processes",
    "replay",
    "rebuild",
    "rollback",
    "asof",
    "listing",
    "startup",
    "jobs",
    "search",
    "sessions",
    "tokens",
    "web",
    "imports",
    "postgres",
)

if __name__ == "__main__":
    raise SystemExit(main("python -m benchmarks", {name: f"benchmarks.{name}" for name in GROUPS}, other="raw"))
