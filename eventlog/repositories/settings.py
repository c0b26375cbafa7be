"""`log.settings`: values that programs share, with everything that they once were."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from eventlog.errors import InvalidInput
from eventlog.events.executions import SettingSet, SettingUnset
from eventlog.redaction import redact_named
from eventlog.redaction.named import MASK
from eventlog.repositories.entities import EntityRepository, Said, check_name
from eventlog.store.base import Filter
from projections.settings import Setting
from projections.settings import projections as _projections

_SESSION = re.compile(r"(?i)(?:^|[^a-z])(?:session|cookies?|pin|otp)$")

_PART = re.compile(r"[/:\s]+|(?<=[a-z])(?=[A-Z])")


class SettingChange(msgspec.Struct, frozen=True):
    """What was said about a setting: its value from then on, or (``unset``) that it has none. ``set_at`` is µs, UTC."""

    version: int
    position: int
    set_at: int
    value: Any
    unset: bool = False
    by: str = ""


class SettingsRepository(EntityRepository[Setting]):
    """Settings: get, set, unset, and the history of each."""

    entity = _projections[0]
    noun = "setting"
    way_out = "`eventlog settings set` sets it"

    def find(self, name: str) -> Setting | None:
        """A setting, or None where it has no value."""
        return self._found(name)

    def get(self, name: str) -> Setting:
        """A setting with its value. Raises NotFound."""
        return self._must_be(name, self.find(name))

    def value(self, name: str, default: Any = None) -> Any:
        """The value alone, or a default where there is none."""
        setting = self.find(name)
        return default if setting is None else setting.value

    def find_all(
        self, *, prefix: str | None = None, text: str | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Setting]:
        """Settings by name; names begin with ``prefix``, ``text`` must occur in them."""
        where = [] if text is None else [Filter("name", "text", text)]
        if prefix:
            where += [Filter("name", ">=", prefix), Filter("name", "<", f"{prefix}\U0010ffff")]
        return self._rows(where, ("name",), limit, offset)

    def set(self, name: str, value: Any, *, by: str = "") -> Setting:
        """Give a setting a value, any JSON; one that has this value already is left alone.

        Raises InvalidInput for what looks like a secret: the log cannot forget.
        """
        check_name("the name of a setting", name)
        if (where := _secret_in(name, name, value, False)) is not None:
            raise InvalidInput(
                f"setting {where[:200]!r} looks like a secret, and the log cannot forget: keep it in a variable of "
                "the environment, or in a file that only you can read, and set its name here",
                name=name,
            )

        def work(held: Setting | None) -> Sequence[Said]:
            same = held is not None and _as_text(held.value) == _as_text(value)
            return [] if same else [Said(SettingSet(value=value, by=by))]

        self._decide(name, work)
        return self.get(name)

    def save(self, setting: Setting) -> Setting:
        """As `set`, of a setting's name and value."""
        return self.set(setting.name, setting.value, by=setting.by)

    def unset(self, name: str, *, by: str = "") -> None:
        """Take a setting's value away; its history stays. Raises NotFound."""

        def work(held: Setting | None) -> Sequence[Said]:
            self._must_be(name, held)
            return [Said(SettingUnset(by=by))]

        self._decide(name, work)

    def delete(self, name: str) -> None:
        """As `unset`."""
        self.unset(name)

    def history(self, name: str) -> builtins.list[SettingChange]:
        """Everything that was said about a setting, in order. Raises NotFound where nothing was."""
        found = []
        for record in self._source.read_stream(self.entity.stream_of(name)):
            event = record.event
            if isinstance(event, (SettingSet, SettingUnset)):
                unset = isinstance(event, SettingUnset)
                value = None if isinstance(event, SettingUnset) else event.value
                found.append(SettingChange(record.version, record.position, record.occurred_at, value, unset, event.by))
        if not found:
            raise self._missing(name)
        return found

    def list(
        self, *, prefix: str | None = None, text: str | None = None, limit: int | None = None, offset: int = 0
    ) -> builtins.list[Setting]:
        """As `find_all`."""
        return self.find_all(prefix=prefix, text=text, limit=limit, offset=offset)


def _as_text(value: Any) -> bytes | None:
    """A value as JSON, names in order; None for one that is none, which appending it will tell."""
    try:
        return msgspec.json.encode(value, order="sorted")
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None


def _hides(name: str) -> bool:
    parts = _PART.split(name)
    said = (name, "_".join(parts), *parts)
    return _SESSION.search(name) is not None or any(redact_named(one, "x") == MASK for one in said)


def _secret_in(path: str, name: str, value: Any, hidden: bool) -> str | None:
    """Where in a value something is that looks like a secret, by its name or by itself."""
    hidden = hidden or _hides(name)
    if isinstance(value, Mapping):
        parts = [(f"{path}.{key}", str(key), part) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [(f"{path}[{place}]", name, part) for place, part in enumerate(value)]
    else:
        if value is None or value == "" or isinstance(value, bool):
            return None
        text = str(value)
        return path if hidden or redact_named(name, text) != text else None
    return next((found for one in parts if (found := _secret_in(*one, hidden)) is not None), None)
