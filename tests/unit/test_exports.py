"""What modules say they offer is what they offer."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import eventlog
import projections

MODULES = sorted(
    module.name
    for package in (eventlog, projections)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["eventlog", *MODULES])
def test_all_is_honest(name: str) -> None:
    module = importlib.import_module(name)
    names = list(getattr(module, "__all__", ()))
    assert len(names) == len(set(names))
    assert [each for each in names if not hasattr(module, each)] == []


def test_the_top_level_offers_what_users_need_and_nothing_is_forgotten() -> None:
    assert eventlog.__all__ == sorted(eventlog.__all__, key=lambda name: (name.islower(), not name.isupper(), name))
    assert set(eventlog.__all__) <= set(dir(eventlog))
    namespace: dict[str, object] = {}
    exec("from eventlog import *", namespace)
    assert set(eventlog.__all__) <= namespace.keys()


def test_names_from_the_top_are_those_of_their_home() -> None:
    for name, home in eventlog._HOMES.items():
        assert getattr(eventlog, name) is getattr(importlib.import_module(f"eventlog.{home}"), name)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = eventlog.nothing_like_it


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name: str) -> None:
    assert importlib.import_module(name).__doc__
