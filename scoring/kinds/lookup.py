"""Which kind a task is: the one place that asks.

A kind lives in ``scoring/kinds/<name>/kind.py`` under the name ``KIND``, where ``<name>`` is the task's ``kind`` in the
challenge file. Nothing lists the kinds a second time, so that adding one needs no change here.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from medpodium.scoring.kinds.protocol import Kind


@cache
def named(name: str) -> Kind:
    """Return the kind of a name, which is a key of :data:`medpodium.challenges.schema.kinds.KINDS`."""
    kind: Kind = import_module(f"medpodium.scoring.kinds.{name}.kind").KIND
    return kind


def of(task: Any) -> Kind:
    """Return the kind of a task."""
    return named(task.kind)
