"""From a request in a line to the rules of a task: the same models that a challenge file is read by.

Names, parameters and defaults of metrics come from these models and stand nowhere else. What a challenge's organizer
would decide is decided here once, and the same for everybody: a structure that only one of both masks holds gets the
worst value (0, or the image's diagonal for a distance), one that neither holds has no value; volumes and counts are
computed whatever is empty. Whoever wants it otherwise gives a metric as a challenge file would, ``empty`` included.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, get_args

from pydantic import ValidationError

from medpodium.challenges.schema.base import nearest
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.metrics.lesions import (
    LesionFamily,
    LesionNsdMetric,
    LesionwiseFamily,
    SizedLesionFamily,
)
from medpodium.challenges.schema.metrics.masks import SegmentationMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.metrics.surfaces import BoundaryMetric, NsdMetric, PercentileMetric
from medpodium.findings import Finding, UsageError
from medpodium.scoring.measuring.codes import MeasureCode, refuse

Labels: TypeAlias = int | Sequence[int]
"""A label value, or the labels whose union is a structure."""
Structures: TypeAlias = Mapping[str, Labels] | Sequence[str | None]
"""Labels by name; for one-hot arrays also a name per channel (``None``: not scored)."""
Metrics: TypeAlias = Sequence[str] | Mapping[str, str | Mapping[str, Any]]
"""Names of metrics, or what a challenge file would say of each."""
Tolerance: TypeAlias = float | Mapping[str, float]
"""One tolerance in mm, or one per structure."""
Facts: TypeAlias = dict[str, Any]
"""A part of a challenge file, as plain data."""

DEFAULT = ("dice", "nsd", "hd95", "assd")
"""Metrics that are measured when none are named."""
TOLERANCE_MM = 2.0
TASK = "segmentation"
_PERCENTILE = re.compile(r"hd(\d+(?:\.\d+)?)")
_NOTHING_PREDICTED = {"relative_volume_difference": -1.0, "absolute_relative_volume_difference": 1.0}
"""(P - R) / R for an empty prediction, where the kind has no value for empty masks in general."""
STEPS: list[object] = [
    {"mean": "case"},
    {"mean": "structure"},
    {"rank": {"within": "metric", "ties": "min"}},
    {"mean": "metric"},
    {"rank": {"ties": "min"}},
]


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Parameters
    ----------
    metrics : sequence of str, or mapping
        Kinds of metrics as in a challenge file; ``hd95`` is the 95th percentile, and so is any ``hdN``. As a mapping,
        what a challenge file says of each.
    structures : mapping of str to int or list of int, or sequence of str, optional
        Label (or labels, for a union) of each structure; a name per channel for one-hot arrays. Everything that is
        found when left out.
    tolerance_mm : float, or mapping of str to float
        Tolerance of ``nsd`` in mm, for all structures or for each.
    definitions : mapping of str to str
        Definition id by metric, where a kind has several (``{"hd95": "pooled"}``).
    """

    metrics: Metrics = DEFAULT
    structures: Structures | None = None
    tolerance_mm: Tolerance = TOLERANCE_MM
    definitions: Mapping[str, str] = field(default_factory=dict)


def kinds() -> dict[str, type[StructureMetric]]:
    """Return the family of every kind of metric that compares two masks."""
    return {kind: family for family in _families() if issubclass(family, StructureMetric) for kind in family.known}


def _families() -> tuple[type[MetricSpec], ...]:
    union, *_ = get_args(SegmentationMetric)
    return get_args(union)


def metric_facts(request: Request) -> dict[str, Facts]:
    """Return what a challenge file would say of the metrics asked for.

    Raises
    ------
    UsageError
        If a metric is not known, or a definition is given for none of them.
    """
    asked = request.metrics
    given = (
        dict(asked)
        if isinstance(asked, Mapping)
        else {name: name for name in ([asked] if isinstance(asked, str) else asked)}
    )
    if not given:
        raise refuse(MeasureCode.METRIC, "metrics", "none is named", f"name some of {', '.join(_names())}")
    for name in request.definitions:
        if name not in given:
            cause = f"a definition for {name!r}, which is not measured{nearest(name, given)}"
            raise refuse(MeasureCode.PARAMETER, "definitions", cause, f"measured are {', '.join(given)}")
    found = {}
    for name, said in given.items():
        own = _named(said) if isinstance(said, str) else {**_named(str(said.get("kind", name))), **said}
        if name in request.definitions:
            own["definition"] = request.definitions[name]
        several = isinstance(request.tolerance_mm, Mapping)
        if own["kind"] in NsdMetric.known:
            own.setdefault("tolerance_mm", "structure" if several else request.tolerance_mm)
        elif own["kind"] in LesionNsdMetric.known and not several:
            own.setdefault("tolerance_mm", request.tolerance_mm)
        found[name] = _judged(own)
    return found


def _named(name: str) -> Facts:
    """Return the kind that a name means, with the parameter that it carries."""
    if name in kinds():
        return {"kind": name}
    percentile = _PERCENTILE.fullmatch(name)
    if percentile is None:
        cause = f"no metric {name!r}{nearest(name, _names())}"
        if any(name in family.known for family in _families()):
            cause = f"{name!r} is no number of one pair of masks: a challenge file declares it and 'score' computes it"
        raise refuse(MeasureCode.METRIC, "metrics", cause, f"use some of {', '.join(_names())}")
    (kind,) = PercentileMetric.known
    return {"kind": kind, "percentile": float(percentile[1])}


def _names() -> list[str]:
    return ["hd95", *kinds()]


def _judged(own: Facts) -> Facts:
    """Add what empty masks and missing predictions count, as the module's first lines say."""
    kind = str(own["kind"])
    family = kinds()[kind]
    info = family.known[kind]
    said: Facts = {}
    if info.computable:
        said["empty"] = {"both": "compute", "reference": "compute", "prediction": "compute"}
    if issubclass(family, LesionwiseFamily):  # a mean over no lesions is no number
        said["empty"] = {"both": "skip", "reference": "compute", "prediction": "compute"}
    if info.worst is None and own.get("cap") is None:
        if info.unit == "mm" and own.get("distances", "mm") == "mm":
            said["worst"] = "diagonal"
        else:  # no number is bad enough for a missing one, so it is shown and not ranked
            said |= {"missing": "skip", "ranked": False}
    if kind in _NOTHING_PREDICTED:
        said["empty"] = {"both": "skip", "reference": "skip", "prediction": _NOTHING_PREDICTED[kind]}
    return {"kind": kind, **said, **own}


def structure_facts(request: Request, found: Mapping[str, Labels]) -> dict[str, Facts]:
    """Return what a challenge file would say of structures.

    Parameters
    ----------
    request : Request
        May give tolerances.
    found : mapping of str to int or list of int
        Labels of each structure.

    Raises
    ------
    UsageError
        If there is no structure, or a tolerance is missing or given for none.
    """
    if not found:
        cause = "neither mask holds a voxel that is not background"
        raise refuse(MeasureCode.NOTHING, "structures", cause, "name the structures: structures={'liver': 1}")
    facts: dict[str, Facts] = {}
    for name, labels in found.items():
        if isinstance(labels, Sequence):
            facts[name] = {"union": [_whole(name, own) for own in labels]}
        else:
            facts[name] = {"label": _whole(name, labels)}
    tolerances = request.tolerance_mm if isinstance(request.tolerance_mm, Mapping) else {}
    for name, tolerance in tolerances.items():
        if name not in facts:
            cause = f"a tolerance for {name!r}, which is no structure{nearest(name, facts)}"
            raise refuse(MeasureCode.PARAMETER, "tolerance_mm", cause, f"structures are {', '.join(facts)}")
        facts[name]["tolerance_mm"] = tolerance
    return facts


def _whole(name: str, label: object) -> int:
    try:
        number = int(label)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        number = -1
    if number != label or number < 1:
        cause = f"the label of {name!r} is {label!r}"
        raise refuse(
            MeasureCode.STRUCTURES, "structures", cause, "give a whole number from 1 to 65535, or a list of them"
        )
    return int(number)


def task_facts(
    request: Request,
    found: Mapping[str, Labels],
    *,
    planar: bool = False,
    pixel_mm: Sequence[float] | None = None,
    files: Mapping[str, str] | None = None,
    ignore: Sequence[int] = (),
) -> Facts:
    """Return the task of a challenge file that says the same as a request.

    Parameters
    ----------
    request : Request
        Metrics, tolerances, definitions.
    found : mapping of str to int or list of int
        Labels of each structure.
    planar : bool
        Whether the masks are files or arrays of two axes.
    pixel_mm : sequence of two float, optional
        Size of a picture's pixel along x and y.
    files : mapping, optional
        Patterns of ``reference`` and ``prediction``.
    ignore : sequence of int
        Labels of the reference that are left out of everything.
    """
    facts: Facts = {"kind": "segmentation"}
    if files:
        facts["files"] = dict(files)
    facts["structures"] = structure_facts(request, found)
    if pixel_mm is not None:
        facts["geometry"] = {"spacing_mm": [float(size) for size in pixel_mm]}
    if planar:
        facts["dimensions"] = 2
    facts["unknown_labels"] = "ignore"
    if ignore:
        facts["ignore_labels"] = list(ignore)
    facts["empty"] = {"both": "skip", "reference": "worst", "prediction": "worst"}
    facts["metrics"] = metric_facts(request)
    return facts


def make_task(facts: Facts) -> SegmentationTask:
    """Return the rules.

    Raises
    ------
    UsageError
        If a parameter is not one that its metric takes, with every problem as a finding.
    """
    try:
        task = SegmentationTask.model_validate(facts)
    except ValidationError as error:
        raise _explained(error) from None
    broken = [Finding(rule.code, ".".join(map(str, rule.at)), rule.cause, rule.fix) for rule in task.broken()]
    if broken:
        raise UsageError(*broken)
    return task


def challenge_facts(task: Facts, title: str) -> Facts:
    """Return a challenge file, as plain data, whose only task is this one; ranked metric by metric, then on average."""
    return {
        "schema": 1,
        "name": "measured",
        "title": title,
        "tasks": {TASK: task},
        "recipes": {"mean-of-ranks": {"steps": STEPS}},
        "ranking": {TASK: "mean-of-ranks"},
    }


def make_challenge(facts: Facts) -> Challenge:
    """Return the challenge that a file with these facts is.

    Raises
    ------
    UsageError
        As :func:`make_task`.
    """
    for task in facts["tasks"].values():
        make_task(task)
    return Challenge.model_validate({**facts, "edition": "1"})


def _explained(error: ValidationError) -> UsageError:
    found: dict[str, Finding] = {}
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"][:3]) or "metrics"
        given = "" if isinstance(problem["input"], Mapping) else f" (given: {problem['input']!r})"
        cause = problem["msg"].removeprefix("Value error, ") + given
        fix = "docs/metrics.md says what a metric takes"
        found.setdefault(where, Finding(MeasureCode.PARAMETER, where, cause, fix))
    return UsageError(*found.values())


def needs_spacing(spec: MetricSpec) -> bool:
    """Return whether a metric's value depends on how large a voxel is."""
    if isinstance(spec, LesionFamily):
        size = spec.size if isinstance(spec, SizedLesionFamily) else None
        sized = size is not None and (size.from_ml, size.below_ml) != (None, None)
        if sized or max(spec.lesions.min_volume_ml, spec.lesions.min_area_mm2) > 0:
            return True
    if isinstance(spec, BoundaryMetric):
        return spec.definition == "distance"
    return isinstance(spec, (NsdMetric, LesionNsdMetric)) or spec.info.unit not in ("", "px", "px²", "voxels")


def checked_spacing(spacing: object, axes: int) -> tuple[float, ...]:
    """Return the spacing of an array with that many axes, in mm and in the order of its axes.

    Raises
    ------
    UsageError
        If it has another number of values, or one that is not positive and finite.
    """
    order = "(z, y, x)" if axes == 3 else "(y, x)"
    fix = f"give the spacing in mm in the order of the array's axes: spacing={order}"
    try:
        values = [float(spacing)] * axes if isinstance(spacing, (int, float)) else [float(one) for one in spacing]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise refuse(MeasureCode.SPACING_INVALID, "spacing", f"is {spacing!r}, not {axes} numbers", fix) from None
    if len(values) != axes:
        cause = f"has {len(values)} values {tuple(values)}, the masks have {axes} axes"
        raise refuse(MeasureCode.SPACING_INVALID, "spacing", cause, fix)
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise refuse(MeasureCode.SPACING_INVALID, "spacing", f"is {tuple(values)}; each has to be above 0", fix)
    return tuple(values)
