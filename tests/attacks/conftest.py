"""The modules of the attacks, for tests: one loader."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _arenas() -> ModuleType:
    """Return tests/attacks/arena.py, which is no test and loads what else is needed."""
    name = "medpodium_tests_attacks_arena"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("arena.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def attack_names() -> list[str]:
    """Return the names of all attacks."""
    found = _arenas()
    return [*found.attacks(found.load("containers/tiny"), files=False)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every attack to a test that asks for one."""
    if "attack" in metafunc.fixturenames:
        metafunc.parametrize("attack", attack_names())


@pytest.fixture(scope="session")
def arenas() -> ModuleType:
    """Return the helper that runs attacks (tests/attacks/arena.py)."""
    return _arenas()


@pytest.fixture(scope="session")
def names() -> list[str]:
    """Return the names of all attacks."""
    return attack_names()
