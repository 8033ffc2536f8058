"""Fixtures of the tests of campaigns and cases."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """Return the helper that makes tiny images and cases."""
    name = "medpodium_tests_tiny"
    if name not in sys.modules:
        path = Path(__file__).resolve().parents[1] / "containers" / "tiny.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
