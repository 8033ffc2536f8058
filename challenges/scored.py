"""What a score depends on in a challenge file, and its digest.

:attr:`~medpodium.challenges.schema.definition.Challenge.digest` changes with every word of a definition. A score does
not: titles, recipes, baselines or another metric's parameters leave it what it is. So every metric of a task has a
digest of its own, over what its value depends on and nothing else, and that is what a score table carries.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.metrics.resource import MeasuredMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.task import TaskModel

Facts: TypeAlias = Mapping[str, Any]
"""JSON values by field, nested as in the challenge file."""

PREFIX = "d-"
"""A spreadsheet takes hex digits alone for a number now and then (``12e45678``)."""
_DIGITS = 12
_DIGEST = re.compile(rf"{PREFIX}[0-9a-f]{{{_DIGITS}}}")

_TOLD = frozenset({"title", "unit", "unconfirmed"})
"""Fields of any model that are only printed."""
_NOT_OF_TASK = frozenset({"metrics", "empty", "files", "groups", "container", "labelled_structures"})
"""Told per metric, or without a say in a score: how predictions are named may change from one team to the next."""
_NOT_OF_METRIC = frozenset({"ranked", "margin", "rewards", "structures", "empty"})
_NOT_OF_STRUCTURE = frozenset({"role", "file"})


def facts(challenge: Challenge, task_name: str, metric_name: str) -> Facts:
    """Return everything in a definition that decides the scores of one metric.

    Fields at their default are left out, so that a field that a later version adds changes no digest. What a field's
    default means is up to the version, as every formula is; the hash of the sources
    (:func:`medpodium.challenges.sources.source_hash`) stands for that.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    task_name, metric_name : str
        Which metric.

    Raises
    ------
    KeyError
        If there is no such task or metric.
    """
    task = challenge.tasks[task_name]
    metric = task.metrics[metric_name]
    own = _of_metric(task, metric)
    pool = challenge.groups.get(task.pooled_within or "")
    if pool is not None and pool.derived_from is not None:
        own["pools"] = {"derived_from": pool.derived_from, "map": pool.map}
    return {"metric": own, "task": _of_task(task, metric)}


def _of_metric(task: TaskModel, metric: MetricSpec, gated: bool = True) -> dict[str, Any]:
    """Return what a metric says, with everything that it takes over from its task or its gate's metric in its place."""
    own = _said(metric, _NOT_OF_METRIC) | {"kind": metric.kind}
    if metric.definition_id:
        own["definition"] = metric.definition_id
    if isinstance(metric, MeasuredMetric) and metric.unit_name != metric.info.unit:
        own["unit"] = metric.unit_name  # not only printed: values are converted to it
    structures, policy = task.structures_of(metric), task.policy_for(metric)
    if structures != [""]:
        own["structures"] = sorted(structures)
    if policy is not None:
        own["empty"] = _said(policy)
    gate = getattr(metric, "gate", None)
    if gated and gate is not None and gate.metric in task.metrics:
        own["gate"]["of"] = _of_metric(task, task.metrics[gate.metric], gated=False)  # two may gate each other
    return own


def _of_task(task: TaskModel, metric: MetricSpec) -> dict[str, Any]:
    """Return what the task says that counts for a metric."""
    if isinstance(metric, MeasuredMetric):  # measured while a container runs, whatever it predicts
        return {"kind": task.kind}
    found = _said(task, _NOT_OF_TASK) | {"kind": task.kind, "reference": task.files.reference}
    if getattr(metric, "tolerance_mm", None) != "structure":
        for structure in found.get("structures", {}).values():
            if structure is not None:
                structure.pop("tolerance_mm", None)
    return found


def digest(facts: Facts) -> str:
    """Return the digest of :func:`facts`: ``d-`` and 12 hex digits of the SHA-256, the same on every machine."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def is_digest(text: str) -> bool:
    """Return whether a text looks like a digest."""
    return _DIGEST.fullmatch(text) is not None


def differences(before: Facts, now: Facts) -> list[str]:
    """Return what differs, one short text per field: ``tolerance_mm 2.0 -> 1.0``."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    texts = []
    # what the metric itself says comes first
    for path in sorted(dict.fromkeys([*old, *new]), key=lambda path: not path.startswith("metric")):
        if old.get(path) != new.get(path):
            name = path.partition(".")[2] or path  # without "task" or "metric" in front
            texts.append(f"{name} {_shown(old.get(path))} -> {_shown(new.get(path))}")
    return texts


def _said(model: BaseModel, left_out: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return what a model says beyond its defaults, as JSON values, without what is only printed."""
    found = {}
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if name in _TOLD or name in left_out or value == field.get_default(call_default_factory=True):
            continue
        found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _said(value, _NOT_OF_STRUCTURE)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path, node


def _shown(value: Any) -> str:
    return "unset" if value is None else json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
