"""Programs that go round the log: other libraries, careless file copies; and a whole session that must not."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from under_fire import Ticked, open_log

from eventlog.errors import EventLogError
from workers.writers import one, say


def sqlite_utils_attacks(path: str) -> None:
    """Try to change history with sqlite-utils, as it comes."""
    from sqlite_utils import Database

    db = Database(path, execute_plugins=False)
    row = dict(next(iter(db["events"].rows_where("position = 3"))))
    for name, attack in (
        ("update", lambda: db["events"].update(3, {"data": "{}"})),
        ("delete", lambda: db["events"].delete(3)),
        ("replace", lambda: db["events"].insert({**row, "data": "{}"}, pk="position", replace=True)),
        ("upsert", lambda: db["events"].upsert({**row, "data": "{}"}, pk="position")),
    ):
        try:
            attack()
        except sqlite3.IntegrityError:
            say(f"{name} refused")
        else:
            say(f"{name} went through")
    assert dict(next(iter(db["events"].rows_where("position = 3")))) == row
    db.close()


def sqlite_utils_transform(path: str) -> None:
    """Rewrite the table with sqlite-utils, which drops its triggers."""
    from sqlite_utils import Database

    db = Database(path, execute_plugins=False)
    db["events"].transform(types={"schema": int})
    db.close()


def lose_the_locks(path: str, how: str) -> None:
    """Drop this process's locks as a careless neighbour would, let another process close the log, and append on."""
    log = open_log(path)
    for number in range(10):
        log.append("fire-1", Ticked(), key=f"first-{number}")
        say(f"first-{number}")
    if how in ("open", "busy"):
        open(path, "rb").close()
    if how == "open":
        open(f"{path}-shm", "rb").close()
    elif how == "copy":
        shutil.copy(path, f"{path}.copy")
        shutil.copy(f"{path}-shm", f"{path}.copy-shm")
        os.unlink(f"{path}.copy-shm")
    else:
        read_with_another_library(path)
    script = f"import sqlite3; c = sqlite3.connect({path!r}); c.execute('SELECT 1 FROM events').fetchall(); c.close()"
    other = subprocess.Popen([sys.executable, "-c", script])
    if how != "busy":
        other.wait()
    try:
        number = 0
        while number < 20 or other.poll() is None:
            log.append("fire-1", Ticked(), key=f"second-{number}")
            say(f"second-{number}")
            number += 1
        for number in range(20):
            log.append("fire-1", Ticked(), key=f"third-{number}")
            say(f"third-{number}")
    except EventLogError as error:
        say(f"error {type(error).__name__}")
    os._exit(0)


def read_with_another_library(path: str) -> None:
    """Open, read and close the file with a second copy of the SQLite library, which knows nothing of the first."""
    import faultvfs

    found = faultvfs.library()
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        other = ctypes.CDLL(shutil.copy(os.path.realpath(found._name), folder))
        handle = ctypes.c_void_p()
        assert other.sqlite3_open(path.encode(), ctypes.byref(handle)) == 0
        assert other.sqlite3_exec(handle, b"SELECT count(*) FROM events", None, None, None) == 0
        other.sqlite3_close(handle)


def two_engines(path: str) -> None:
    """Open the file with apsw and with the log, in either order."""
    import apsw

    engine = apsw.Connection(path)
    list(engine.execute("SELECT count(*) FROM events"))
    try:
        open_log(path).append("fire-1", Ticked())
        say("engine first: went on")
    except EventLogError as error:
        say(f"engine first: {type(error).__name__}")
    engine.close()
    log = open_log(path)
    log.append("fire-1", Ticked())
    engine = apsw.Connection(path)
    list(engine.execute("SELECT count(*) FROM events"))
    try:
        log.append("fire-1", Ticked())
        say("log first: went on")
    except EventLogError as error:
        say(f"log first: {type(error).__name__}")
    os._exit(0)


COMMANDS = """runs list;runs list --json;stats runs;log head;log verify;log check;log export FOLDER/export.jsonl
log read --limit 3;projections status;projections verify;projections rebuild;db status;db check;db optimize
db backup FOLDER/backup.db;db restore FOLDER/backup.db"""


def session_under_audit(path: str) -> None:
    """Use everything there is while every open() of this process is watched; say which of the log's files it opened."""
    from click.testing import CliRunner

    from eventlog.cli.root import cli

    forbidden = {path, f"{path}-wal", f"{path}-shm"}

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            name = os.path.abspath(os.fsdecode(arguments[0]))
            if name in forbidden:
                say(f"opened {name}")

    log = open_log(path)
    sys.addaudithook(watch)
    for number in range(30):
        one(log, "audit", number)
    with log.runs.track("audited") as run:
        assert run.run_id
    log.verify()
    log.projections.rebuild()
    log.projections.rollback(to=20)
    with log.as_of(10) as past:
        past.runs.list()
    log.projections.resume()
    list(log.projections.diff(5, 25))
    log.projections.verify()
    for line in COMMANDS.replace("FOLDER", str(Path(path).parent)).replace("\n", ";").split(";"):
        done = CliRunner().invoke(cli, ["--db", path, *line.split()])
        if done.exit_code and "restore" not in line:  # restoring over a log in use is refused, and rightly
            say(f"opened nothing, but {line!r} ended with {done.exit_code}: {done.output!r} {done.exception!r}")
    log.append("fire-audit", Ticked(text="still ours"))
    log.close()
    say("session ended")
