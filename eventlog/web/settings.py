"""Settings: values that programs share, with everything that they once were."""

from __future__ import annotations

from msgspec.structs import asdict

from eventlog.app import Log, Past
from eventlog.repositories.settings import SettingChange
from eventlog.web.executions import next_page
from eventlog.web.operation import Operation, Query
from eventlog.web.runs import Offset, Rows
from eventlog.wire import SettingValue
from projections.settings import Setting


class SettingsQuery(Query, frozen=True, kw_only=True):
    """Which settings, by name; names begin with ``prefix``, ``text`` occurs in them."""

    prefix: str | None = None
    text: str | None = None
    limit: Rows = 50
    offset: Offset = 0


class Who(Query, frozen=True, kw_only=True):
    """Who wants it."""

    by: str = ""


def list_settings(ask: Log | Past, query: SettingsQuery) -> list[Setting]:
    """Settings, by name."""
    return ask.settings.find_all(**asdict(query))


def get_setting(ask: Log | Past, name: str) -> Setting:
    """A setting with its value."""
    return ask.settings.get(name)


def set_setting(log: Log, name: str, body: SettingValue) -> Setting:
    """Give a setting a value. 422 for what looks like a secret: the log cannot forget."""
    return log.settings.set(name, body.value, by=body.by)


def unset_setting(log: Log, name: str, query: Who) -> None:
    """Take a setting's value away; its history stays."""
    log.settings.unset(name, by=query.by)


def get_setting_history(ask: Log | Past, name: str) -> list[SettingChange]:
    """Everything that was said about a setting, in order."""
    return ask.settings.history(name)


SETTING = "/api/settings/{name:path}"
OPERATIONS = (
    Operation("GET", "/api/settings", list_settings, follows=next_page),
    Operation("GET", "/api/setting-history/{name:path}", get_setting_history),
    Operation("GET", SETTING, get_setting),
    Operation("POST", SETTING, set_setting),
    Operation("DELETE", SETTING, unset_setting, status=204),
)
