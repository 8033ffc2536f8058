"""Fixtures of the container tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def load_tiny() -> ModuleType:
    """Return the helper that makes tiny images, loaded once whatever folder asks for it."""
    name = "medpodium_tests_tiny"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, Path(__file__).resolve().parents[1] / "containers" / "tiny.py"
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """Return the helper that makes tiny images and cases."""
    return load_tiny()
