"""opencode's tables as its migrations make them, and rows such as it writes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE `project` (
  `id` text PRIMARY KEY NOT NULL, `worktree` text NOT NULL, `vcs` text, `name` text, `icon_url` text,
  `icon_color` text, `time_created` integer NOT NULL, `time_updated` integer NOT NULL, `time_initialized` integer,
  `sandboxes` text NOT NULL, `commands` text
);
CREATE TABLE `session` (
  `id` text PRIMARY KEY NOT NULL, `project_id` text NOT NULL, `workspace_id` text, `parent_id` text,
  `slug` text NOT NULL, `directory` text NOT NULL, `path` text, `title` text NOT NULL, `version` text NOT NULL,
  `share_url` text, `summary_additions` integer, `summary_deletions` integer, `summary_files` integer,
  `summary_diffs` text, `cost` real DEFAULT 0 NOT NULL, `tokens_input` integer DEFAULT 0 NOT NULL,
  `tokens_output` integer DEFAULT 0 NOT NULL, `tokens_reasoning` integer DEFAULT 0 NOT NULL,
  `tokens_cache_read` integer DEFAULT 0 NOT NULL, `tokens_cache_write` integer DEFAULT 0 NOT NULL, `revert` text,
  `permission` text, `agent` text, `model` text, `time_created` integer NOT NULL, `time_updated` integer NOT NULL,
  `time_compacting` integer, `time_archived` integer,
  CONSTRAINT `fk_session_project_id_project_id_fk` FOREIGN KEY (`project_id`) REFERENCES `project`(`id`)
    ON DELETE CASCADE
);
CREATE TABLE `message` (
  `id` text PRIMARY KEY NOT NULL, `session_id` text NOT NULL, `time_created` integer NOT NULL,
  `time_updated` integer NOT NULL, `data` text NOT NULL,
  CONSTRAINT `fk_message_session_id_session_id_fk` FOREIGN KEY (`session_id`) REFERENCES `session`(`id`)
    ON DELETE CASCADE
);
CREATE TABLE `part` (
  `id` text PRIMARY KEY NOT NULL, `message_id` text NOT NULL, `session_id` text NOT NULL,
  `time_created` integer NOT NULL, `time_updated` integer NOT NULL, `data` text NOT NULL,
  CONSTRAINT `fk_part_message_id_message_id_fk` FOREIGN KEY (`message_id`) REFERENCES `message`(`id`)
    ON DELETE CASCADE
);
CREATE TABLE `todo` (
  `session_id` text NOT NULL, `content` text NOT NULL, `status` text NOT NULL, `priority` text NOT NULL,
  `position` integer NOT NULL, `time_created` integer NOT NULL, `time_updated` integer NOT NULL,
  CONSTRAINT `todo_pk` PRIMARY KEY(`session_id`, `position`)
);
CREATE INDEX `message_session_time_created_id_idx` ON `message` (`session_id`,`time_created`,`id`);
CREATE INDEX `part_message_id_id_idx` ON `part` (`message_id`,`id`);
CREATE INDEX `part_session_idx` ON `part` (`session_id`);
CREATE INDEX `session_project_idx` ON `session` (`project_id`);
CREATE INDEX `session_parent_idx` ON `session` (`parent_id`);
CREATE INDEX `todo_session_idx` ON `todo` (`session_id`);
"""
T0 = 1_769_000_000_000


class Made:
    """A conversation that can be written as a database or as a tree of files."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, tuple[str, dict[str, Any]]] = {}
        self.parts: dict[str, tuple[str, dict[str, Any]]] = {}
        self.todos: list[tuple[str, str]] = []

    def session(self, name: str, at: int = 0, **more: Any) -> None:
        """A session; ``at`` is in ms after `T0`."""
        given = {
            "project_id": "p1",
            "slug": "quick-fox",
            "directory": "/work/shop",
            "title": "Cart",
            "version": "1.4.0",
        }
        self.sessions[name] = {**given, "time_created": T0 + at, "time_updated": T0 + at, **more}

    def say(self, session: str, name: str, at: int, *parts: dict[str, Any], role: str = "user", **data: Any) -> None:
        """A message with its parts."""
        user = {"agent": "build", "model": {"providerID": "anthropic", "modelID": "claude-sonnet-4-5"}}
        told = {"role": role, "time": {"created": T0 + at}, **(user if role == "user" else {}), **data}
        self.messages[name] = (session, told)
        for number, part in enumerate(parts):
            self.parts[f"prt_{name}_{number}"] = (name, part)

    def answer(self, session: str, name: str, at: int, *parts: dict[str, Any], tokens: Any = None, **data: Any) -> None:
        """An answer that was completed a second later."""
        given = {
            "time": {"created": T0 + at, "completed": T0 + at + 1000},
            "providerID": "anthropic",
            "modelID": "claude-sonnet-4-5",
            "mode": "build",
            "path": {"cwd": "/work/shop", "root": "/work/shop"},
            "cost": 0.0125,
            "tokens": tokens or spent(0, 0),
        }
        self.say(session, name, at, *parts, role="assistant", **{**given, **data})

    def database(self, path: Path) -> Path:
        """As ``opencode.db``, made anew."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(SCHEMA)
            connection.execute(
                "INSERT INTO project VALUES ('p1', '/work/shop', 'git', NULL, NULL, NULL, 1, 1, 1, '[]', NULL)"
            )
            for name, row in self.sessions.items():
                row = {"id": name, **{key: _cell(value) for key, value in row.items()}}
                names = ", ".join(row)
                connection.execute(
                    f"INSERT INTO session ({names}) VALUES ({', '.join('?' * len(row))})", [*row.values()]
                )
            for name, (session, data) in self.messages.items():
                at = data["time"]["created"]
                connection.execute(
                    "INSERT INTO message VALUES (?, ?, ?, ?, ?)", (name, session, at, at, json.dumps(data))
                )
            for name, (message, data) in self.parts.items():
                values = (name, message, self.messages[message][0], T0, T0, json.dumps(data))
                connection.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?, ?)", values)
            for number, (session, told) in enumerate(self.todos):
                connection.execute(
                    "INSERT INTO todo VALUES (?, ?, 'pending', 'high', ?, 1, 1)", (session, told, number)
                )
            connection.commit()
        return path

    def tree(self, storage: Path) -> Path:
        """As files, with the names that files have."""
        for name, row in self.sessions.items():
            told = {"id": name, "projectID": row["project_id"], "directory": row["directory"], "title": row["title"]}
            told |= {"version": row["version"], "parentID": row.get("parent_id"), "revert": row.get("revert")}
            told["time"] = {"created": row["time_created"], "updated": row["time_updated"]}
            _write(storage / "session" / "p1" / f"{name}.json", told)
        for name, (session, data) in self.messages.items():
            _write(storage / "message" / session / f"{name}.json", {"id": name, "sessionID": session, **data})
        for name, (message, data) in self.parts.items():
            whole = {"id": name, "messageID": message, "sessionID": self.messages[message][0], **data}
            _write(storage / "part" / message / f"{name}.json", whole)
        return storage


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def spent(*lanes: int) -> dict[str, Any]:
    """Tokens: input, output, reasoning, read from a cache, written to one."""
    whole = [*lanes, 0, 0, 0, 0, 0][:5]
    return {
        "input": whole[0],
        "output": whole[1],
        "reasoning": whole[2],
        "cache": {"read": whole[3], "write": whole[4]},
    }


def text(told: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": told, **more}


def step(*lanes: int, cost: float = 0.0125, reason: str = "stop") -> dict[str, Any]:
    return {"type": "step-finish", "reason": reason, "cost": cost, "tokens": spent(*lanes)}


def tool(call: str, name: str, status: str, at: int = 0, took: int = 500, **state: Any) -> dict[str, Any]:
    time = {"start": T0 + at, "end": T0 + at + took} if status in ("completed", "error") else {"start": T0 + at}
    given = {"status": status, "input": {"command": "make test"}, "time": time, **state}
    return {"type": "tool", "callID": call, "tool": name, "state": given}
