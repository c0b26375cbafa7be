"""Sessions as JSON files: a file a session, or one file with a list of them (alone, or under ``sessions``).

Names, times and what is compared are in `eventlog.exporters.session_form`. A file that changed adds what is new in it:
messages and instances by their ids, and, where the file is not older than what the log knows of the session, its
status, its title and whatever else is different. The log is the truth: what happened there stays, whatever a file says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw

from eventlog.codec import to_json
from eventlog.errors import InvalidEvent, InvalidInput, InvalidName
from eventlog.events import Event
from eventlog.events.agents import AnyPart, BlobPart, MessageAdded, RawPart, Role
from eventlog.events.sessions import (
    InstanceCreated,
    InstanceStatusChanged,
    SessionCreated,
    SessionStatusChanged,
    SessionUpdated,
    WorkspaceRegistered,
)
from eventlog.exporters.session_form import (
    INSTANCE,
    MESSAGE,
    RESERVED,
    SESSION,
    Names,
    canonical,
    canonical_part,
    digest,
    is_session,
    iso,
    latest_of,
    moment,
    split,
)
from eventlog.exporters.session_json import ENDED, Told, comparable, masked, told
from eventlog.importers.intake import Cursor, Intake, Native, Wanted, key_of
from eventlog.importers.pieces import clean, pieces
from eventlog.importers.run import LOOKED_AT, SourceFailed, looks_like
from projections.workspaces import projections as _workspaces

MAX_FILE_BYTES = 256 << 20
"""A larger file is not held in memory: it is quarantined."""
_ROLES: dict[str, Role] = {
    "user": "user", "human": "user", "assistant": "assistant", "ai": "assistant", "model": "assistant",
    "agent": "assistant", "bot": "assistant", "system": "system", "tool": "tool", "function": "tool",
}  # fmt: skip


class Unfit(Exception):
    """An object that is no session; it says why."""


class SessionFiles:
    """See `eventlog.importers.run.TableFormat`."""

    name = "sessions-json"
    looks_for = "*.json"

    def sources(self, path: Path) -> Iterator[Path]:
        """The JSON files in a folder and below, but hidden ones."""
        for one in path.rglob("*.json"):
            if not any(part.startswith(".") for part in one.relative_to(path).parts):
                yield one

    def scan(self, path: Path, intake: Intake) -> Iterator[float]:
        """Add every session of a file; yields how much is done. Raises SourceFailed for a file of another name than
        `sources` finds in which no session is.
        """
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            intake.quarantine(0, size, f"the file is larger than {MAX_FILE_BYTES:,} bytes", str(size))
            return
        data = path.read_bytes()
        named = path.suffix.lower() == ".json"
        try:
            values = _sessions(data)
            if not named and values and not any(isinstance(value, dict) and is_session(value) for value in values):
                raise SourceFailed(self._refused(path, data))
        except Unfit as error:
            if not named:
                raise SourceFailed(self._refused(path, data, f": {error}")) from None
            intake.quarantine(0, len(data), str(error), sha256(data).hexdigest())
            yield 1.0
            return
        reader = SessionReader(path, intake)
        for place, value in enumerate(values):
            try:
                reader.take(value, place, alone=len(values) == 1)
            except RecursionError:
                intake.quarantine(place, len(data) // len(values), "nested too deeply", sha256(data).hexdigest())
            yield (place + 1) / len(values)

    def _refused(self, path: Path, data: bytes, why: str = "") -> str:
        found = pieces(BytesIO(data), 0, len(data))
        values = list(islice((piece.value for piece in found if piece.value is not None), LOOKED_AT))
        return f"no session is in it{why}{looks_like(self.name, path, values)}"


def _sessions(data: bytes) -> list[Any]:
    """The objects of a file. Raises Unfit, which does not say what is in it."""
    bare = data.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\0")
    if not bare:
        raise Unfit("the file is empty" if not data else "the file holds nothing but blanks")
    try:
        value = msgspec.json.decode(bare)
    except UnicodeDecodeError:
        raise Unfit("not valid UTF-8") from None
    except RecursionError:
        raise Unfit("nested too deeply") from None
    except msgspec.DecodeError as error:
        value = _lenient(bare, f"not valid JSON: {error}"[:200])
    if isinstance(value, dict) and isinstance(value.get("sessions"), (list, dict)) and "id" not in value:
        value = value["sessions"]
        value = list(value.values()) if isinstance(value, dict) else value
    return value if isinstance(value, list) else [value]


def _lenient(data: bytes, problem: str) -> Any:
    """What another JSON library reads all the same: NaN, and text with half a character in it."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Unfit(problem) from None


class _Doc(NamedTuple):
    """A session as a file has it: what is known, the rest, and the times."""

    id: str
    known: dict[str, Any]
    rest: dict[str, Any]
    absent: list[str]
    created: int
    whole: dict[str, Any]
    latest: int | None
    """The last time it tells of; None where it tells of none."""

    @property
    def title(self) -> str | None:
        return next((t for t in (self.known.get("title"), self.known.get("task")) if isinstance(t, str)), None)

    @property
    def at(self) -> int:
        return self.created if self.latest is None else self.latest


class SessionReader:
    """Makes appends of the sessions of one file."""

    def __init__(self, path: Path, intake: Intake) -> None:
        self._intake = intake
        self._stem = path.stem
        self._name = path.name
        self._mtime = int(path.stat().st_mtime * 1_000_000)

    def take(self, value: Any, place: int, *, alone: bool) -> None:
        """One object of the file: a session, or something that is kept as it is."""
        value = clean(value)
        data = to_json(value)
        try:
            wanted = self._wanted(self._doc(self._intake.masker.value(value), alone))
            if wanted:
                self._intake.add(Native(place, len(data), wanted))
        except Unfit as error:
            kept = self._intake.kept(str(error), value)
            own = key_of("sessions-json", self._name, place, sha256(data).hexdigest())
            self._intake.add(
                Native(place, len(data), [Wanted(self._intake.stream, [kept], own, self._mtime)], (), "raw")
            )
        except (InvalidInput, InvalidEvent, InvalidName) as error:
            reason = f"cannot be stored: {type(error).__name__}"
            self._intake.quarantine(place, len(data), reason, sha256(data).hexdigest())

    def _doc(self, value: Any, alone: bool) -> _Doc:
        if not isinstance(value, dict):
            raise Unfit("not an object")
        if not is_session(value):
            raise Unfit("not a session")
        known, rest = split(value, SESSION)
        session_id = known_id = known.pop("id", self._stem if alone else None)
        if isinstance(session_id, int):
            session_id = str(session_id)
        if not isinstance(session_id, str) or not 0 < len(session_id) <= 200 or not session_id.isprintable():
            raise Unfit("a session without an id")
        if "/" in session_id or session_id != session_id.strip() or session_id in (".", ".."):
            raise Unfit("a session with an id that cannot be one")
        created = moment(known.get("createdAt"))
        times = [moment(one.get("timestamp")) for one in _parts(known, "chatMessages", MESSAGE)]
        earliest = [at for at in (*times, moment(known.get("updatedAt"))) if at is not None]
        names = ("type", "status", "workspaceHash", "createdAt", "updatedAt")
        absent = [*([] if "id" in value or "sessionId" in value or "session_id" in value else ["id"])]
        absent += [name for name in names if name not in known]
        first = created if created is not None else min(earliest, default=self._mtime)
        whole = {**value, "id": known_id}
        return _Doc(session_id, known, rest, absent, first, whole, latest_of(known))

    # what it asks for

    def _wanted(self, doc: _Doc) -> list[Wanted]:
        stream = f"session-{doc.id}"
        if not self._intake.first(key_of("sessions-json", "seen", doc.id)):
            # Another file, or another part of this one, tells of it, too: what is compared has to be in the log.
            self._intake.commit(Cursor(0))
        before = told(self._intake.batch.log.read_stream(stream), self._intake.batch.blobs)
        if before.deleted:
            return []
        path = _workspace_path(self._intake, before)
        if before.session is not None and canonical(before.document(path) or {}) == comparable(doc.whole):
            return []
        wanted: list[Wanted] = []
        own = key_of("sessions-json", "session", doc.id)
        is_new = before.session is None
        if is_new:
            workspace = self._workspace(doc, wanted)
            wanted.append(Wanted(stream, [self._created(doc, workspace)], own, doc.created))
        newer = is_new or self._newer(doc, before)
        for number, one in enumerate(_parts(doc.known, "instances", INSTANCE, whole=True)):
            wanted += self._instance(stream, doc, one, number, before, newer)
        latest = self._messages(stream, doc, before, newer, wanted)
        if before.session is not None and newer:
            wanted += self._changes(stream, doc, before, path)
            latest = max(latest, before.session.updated_at)
        if newer and doc.latest is not None and doc.latest > latest and "updatedAt" not in doc.absent:
            last = wanted[-1] if wanted else None
            if last is None or not isinstance(last.events[-1], (SessionUpdated, SessionStatusChanged)):
                key = key_of("sessions-json", "touched", doc.id, doc.latest)
                wanted.append(Wanted(stream, [SessionUpdated(metadata={})], key, doc.latest))
        return wanted

    def _newer(self, doc: _Doc, before: Told) -> bool:
        """Whether the file may say what the session is now: it is not older than what the log knows of it."""
        if before.session is None:
            return True
        return before.imported if doc.latest is None else doc.latest >= before.session.updated_at

    def _workspace(self, doc: _Doc, wanted: list[Wanted]) -> str | None:
        path = doc.known.get("workspacePath")
        if not isinstance(path, str) or not path:
            return None
        hashed = sha256(path.encode("utf-8", "replace")).hexdigest()
        key = key_of("workspace", hashed)
        if self._intake.first(key):
            event = WorkspaceRegistered(path=path, path_sha256=hashed)
            wanted.append(Wanted(f"workspace-{hashed[:16]}", [event], key, doc.created))
        return hashed[:16]

    def _metadata(self, doc: _Doc) -> dict[str, Any]:
        """What of a session has no field: unknown names under their own, and how its file says what it says."""
        odd = {name: doc.known[name] for name in ("type", "status", "title", "task") if not _is_word(doc.known, name)}
        odd |= {
            name: item
            for name, item in doc.known.items()
            if (name in SESSION.times and moment(item) is None)
            or (name == "workspacePath" and not isinstance(item, str))
            or (name in ("instances", "chatMessages") and not _objects(item))
        }
        kept = _kept(doc.absent, odd)
        made = self._slim({name: item for name, item in doc.rest.items() if name != RESERVED}, kept)
        if isinstance(doc.known.get("title"), str) and isinstance(doc.known.get("task"), str):
            made["task"] = doc.known["task"]
        if "completedAt" in doc.known:
            made["completedAt"] = doc.known["completedAt"]
        path, hashed = doc.known.get("workspacePath"), doc.known.get("workspaceHash")
        if hashed is not None and (not isinstance(path, str) or hashed != sha256(path.encode()).hexdigest()):
            made["workspaceHash"] = hashed
        return {**made, RESERVED: kept} if kept else made

    def _slim(self, rest: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
        """What a file says besides; where it is much, it goes into a blob that ``kept`` names."""
        data = self._intake.raw(rest)
        if isinstance(data, BlobPart):
            kept["more"] = data.sha256
            return {}
        return rest

    def _created(self, doc: _Doc, workspace: str | None) -> SessionCreated:
        path = doc.known.get("workspacePath")
        return SessionCreated(
            workspace_id=workspace,
            kind=_word(doc.known.get("type"), "chat"),
            status=_word(doc.known.get("status"), "active"),
            title=doc.title,
            cwd=path if isinstance(path, str) and path else None,
            metadata=self._metadata(doc),
        )

    def _changes(self, stream: str, doc: _Doc, before: Told, path: str | None) -> Iterator[Wanted]:
        """What a newer file says otherwise of a session that there is."""
        row = before.session
        assert row is not None  # noqa: S101
        again = "" if doc.latest is not None else before.records
        status = _word(doc.known.get("status"), row.status)
        if status != row.status:
            key = key_of("sessions-json", "status", doc.id, status, doc.latest, again)
            yield Wanted(stream, [SessionStatusChanged(status=status)], key, doc.at)
        changes: dict[str, Any] = {}
        kind = _word(doc.known.get("type"), row.kind)
        if kind != row.kind:
            changes["kind"] = kind
        if doc.title is not None and doc.title != row.title:
            changes["title"] = doc.title
        given = doc.known.get("workspacePath")
        if isinstance(given, str) and given and given != path:
            moved: list[Wanted] = []
            changes |= {"workspace_id": self._workspace(doc, moved), "cwd": given}
            yield from moved
        metadata = self._metadata(doc)
        ended = metadata.pop("completedAt", None)
        new = {name: item for name, item in metadata.items() if row.metadata.get(name) != item}
        if RESERVED in row.metadata and RESERVED not in metadata:
            new[RESERVED] = None
        completed = before.completed
        if status != row.status:
            completed = iso(doc.at) if status in ENDED else None
        if (moment(ended), ended is None) != (moment(completed), completed is None):
            new["completedAt"] = ended
        if new:
            changes["metadata"] = new
        if changes:
            key = key_of("sessions-json", "update", doc.id, doc.latest, digest(changes), again)
            yield Wanted(stream, [SessionUpdated(**changes)], key, doc.at)

    # instances

    def _instance(
        self, stream: str, doc: _Doc, given: dict[str, Any], number: int, before: Told, newer: bool
    ) -> Iterator[Wanted]:
        known, rest = split(given, INSTANCE)
        own = known.get("id")
        instance_id = str(own) if isinstance(own, (str, int)) and _is_id(str(own)) else f"instance-{number + 1}"
        start = moment(known.get("startTime"))
        event = self._instance_created(instance_id, known, rest)
        if instance_id not in before.instance_ids:
            key = key_of("sessions-json", "instance", doc.id, instance_id)
            yield Wanted(stream, [event], key, doc.created if start is None else start)
            return
        row = before.instances.get(instance_id)
        if row is None or not newer or (doc.latest is not None and doc.latest < row.updated_at):
            return
        old = canonical_part(before.instance(instance_id), INSTANCE)
        new = masked(canonical_part(given, INSTANCE))
        if old == new:
            return
        told_event: Event = event
        at = doc.at
        status, end = known.get("status"), moment(known.get("endTime"))
        same = {name: item for name, item in new.items() if name not in ("status", "output", "endTime")}
        was = {name: item for name, item in old.items() if name not in ("status", "output", "endTime")}
        output = known.get("output")
        if same == was and _is_text(status) and (end is not None) == (status in ENDED) and _none_or_text(output):
            told_event = InstanceStatusChanged(instance_id=instance_id, status=str(status), output=output)
            at = at if end is None else end
        elif start is not None and start != row.created_at:
            told_event = msgspec.structs.replace(event, metadata={**event.metadata, "startTime": known["startTime"]})
        again = "" if doc.latest is not None else before.records
        yield Wanted(
            stream, [told_event], key_of("sessions-json", "instance", doc.id, digest(new), doc.latest, again), at
        )

    def _instance_created(self, instance_id: str, known: dict[str, Any], rest: dict[str, Any]) -> InstanceCreated:
        texts = ("task", "status", "agentName", "worktreePath", "branch", "baseCommit")
        odd = {name: known[name] for name in (*texts, "id") if name in known and not _is_text(known[name])}
        absent = [name for name in ("id", "task", "status", "startTime") if name not in known]
        if "startTime" in known and moment(known["startTime"]) is None:
            odd["startTime"] = known["startTime"]
        metadata = {name: item for name, item in rest.items() if name != RESERVED}
        kept = _kept(absent, odd)
        metadata = self._slim(metadata, kept)
        if "endTime" in known:
            metadata["endTime"] = known["endTime"]
        if "output" in known:
            output = known["output"]
            part = self._intake.text(output) if isinstance(output, str) else self._intake.raw(output)
            metadata["output"] = msgspec.to_builtins(part) if isinstance(part, BlobPart) else output
        return InstanceCreated(
            instance_id=instance_id,
            status=_word(known.get("status"), "idle"),
            task=known["task"] if _is_text(known.get("task")) else "",
            agent=_text_or_none(known.get("agentName")),
            worktree_path=_text_or_none(known.get("worktreePath")),
            git_branch=_text_or_none(known.get("branch")),
            base_commit=_text_or_none(known.get("baseCommit")),
            metadata={**metadata, RESERVED: kept} if kept else metadata,
        )

    # messages

    def _messages(self, stream: str, doc: _Doc, before: Told, newer: bool, wanted: list[Wanted]) -> int:
        """Ask for the messages that are new; returns the time of the last."""
        held = {one.message_id: one.shown for one in before.messages}
        at, parent = doc.created, None if before.session is None else before.session.head_message_id
        seen: dict[str, int] = {}
        last = max(doc.created, before.last_said_at)
        for given in _parts(doc.known, "chatMessages", MESSAGE, whole=True):
            known, rest = split(given, MESSAGE)
            when = moment(known.get("timestamp"))
            at = at if when is None else when
            message_id, extra = _message_id(known, given, seen)
            if message_id not in before.parents:
                beside = before.session is not None and at < before.last_said_at
                event = self._said(message_id, known, rest, parent, extra, beside=beside)
                wanted.append(Wanted(stream, [event], key_of("sessions-json", "message", doc.id, message_id), at))
                parent = parent if beside else message_id
                last = max(last, at)
            elif newer and message_id in held:
                new = masked(canonical_part(given, MESSAGE))
                if new != canonical_part(held[message_id], MESSAGE):
                    # The file has it in another form now, which takes the place of the one that was told.
                    extra = {"replaces": message_id, **extra}
                    beside = before.session is None or before.session.head_message_id != before.accounts.get(
                        message_id, message_id
                    )
                    fresh = f"{message_id}~{digest(new)[:8]}"
                    event = self._said(fresh, known, rest, before.parents[message_id], extra, beside=beside)
                    key = key_of("sessions-json", "message", doc.id, message_id, digest(new))
                    wanted.append(Wanted(stream, [event], key, at))
        return last

    def _said(
        self,
        message_id: str,
        known: dict[str, Any],
        rest: dict[str, Any],
        parent: str | None,
        extra: dict[str, Any],
        *,
        beside: bool,
    ) -> MessageAdded:
        role = known.get("role")
        word = role if isinstance(role, str) else ""
        content = known.get("content")
        odd = dict(extra.pop("odd", {}))
        if word not in ("user", "assistant", "system", "tool") and role is not None:
            odd["role"] = role
        if "timestamp" in known and moment(known["timestamp"]) is None:
            odd["timestamp"] = known["timestamp"]
        absent = [name for name in ("role", "content", "timestamp") if name not in known] + extra.pop("absent", [])
        kept = {**extra, **_kept(absent, odd)}
        if slim := self._slim(rest, kept):
            kept["rest"] = slim
        source: Any = Raw(to_json({RESERVED: kept})) if kept else UNSET
        return MessageAdded(
            message_id=message_id,
            role=_ROLES.get(word.lower(), "system"),
            parts=self._parts_of(content),
            parent_id=parent,
            origin="human" if _ROLES.get(word.lower()) == "user" else None,
            sidechain=beside,
            source=source,
        )

    def _parts_of(self, content: Any) -> tuple[AnyPart, ...]:
        if content is None or content == "":
            return ()
        if isinstance(content, str):
            return (self._intake.text(content),)
        data = self._intake.raw(content)
        return (data if isinstance(data, BlobPart) else RawPart(data=data),)


def _workspace_path(intake: Intake, before: Told) -> str | None:
    if before.session is None or (workspace_id := before.session.workspace_id) is None:
        return None
    with intake.batch.log.reader() as reader:
        row = reader.load(_workspaces[0].table, [(workspace_id,)]).get((workspace_id,))
    return None if row is None else row.path


def _kept(absent: list[str], odd: dict[str, Any]) -> dict[str, Any]:
    return {**({"absent": absent} if absent else {}), **({"odd": odd} if odd else {})}


def _message_id(known: dict[str, Any], given: dict[str, Any], seen: dict[str, int]) -> tuple[str, dict[str, Any]]:
    """The id of a message, and what has to be kept where the file has it otherwise."""
    own = known.get("id")
    text = str(own) if isinstance(own, (str, int)) and not isinstance(own, bool) else ""
    extra: dict[str, Any] = {}
    if not _is_id(text):
        text = f"m-{digest(canonical_part(given, MESSAGE))[:16]}"
        extra = {"absent": ["id"]} if own is None else {"odd": {"id": own}}
    elif not isinstance(own, str):
        extra = {"odd": {"id": own}}
    seen[text] = count = seen.get(text, 0) + 1
    if count > 1:
        extra = extra or {"odd": {"id": own}}
        text = f"{text}~{count}"
    return text, extra


def _parts(known: dict[str, Any], name: str, names: Names, *, whole: bool = False) -> list[dict[str, Any]]:
    items = known.get(name)
    if not _objects(items):
        return []
    return [one if whole else split(one, names)[0] for one in items]  # type: ignore[union-attr]


def _objects(items: Any) -> bool:
    """Whether it is a list of objects: what is not, is kept as it is."""
    return isinstance(items, list) and all(isinstance(one, dict) for one in items)


def _is_id(text: str) -> bool:
    return 0 < len(text) <= 180 and text.isprintable() and text == text.strip()


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _none_or_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_word(known: dict[str, Any], name: str) -> bool:
    return name not in known or (isinstance(known[name], str) and (known[name] != "" or name in ("title", "task")))


def _word(value: Any, default: str) -> str:
    return value if isinstance(value, str) and value else default
