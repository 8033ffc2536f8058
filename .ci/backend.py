"""Setuptools, with what compiling needs where a wheel is built: a development installation compiles nothing."""

from __future__ import annotations

import os
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

_NEEDED = ["numba>=0.61", "numpy>=2.0", "pydantic>=2.9", "psutil>=5.9", "scipy>=1.15"]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what has to be there before a wheel is built."""
    needed = [] if os.environ.get("MEDPODIUM_PRECOMPILE") == "0" else _NEEDED
    return [*build_meta.get_requires_for_build_wheel(config_settings), *needed]
