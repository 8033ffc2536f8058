"""Objects of one case, matched as pooled metrics declare, and written down so that any set of cases can be pooled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.instances import MatchedMetric, ObjectMetric, TopologyMetric, VariantFamily

if TYPE_CHECKING:
    from medpodium.scoring.measures.instances import Objects
    from medpodium.scoring.measures.overlap import Overlap

Seen: TypeAlias = tuple[str, str, str, float]
"""Place (metric and structure), number of reference objects, what was matched, number of predicted objects."""
_NEIGHBOURS = {6: 1, 18: 2, 26: 3}


class Pair(Protocol):
    """What is asked of two masks of a case."""

    def overlap(self, structure: str) -> Overlap:
        """Return the overlap counts of a structure."""

    def binaries(self, structure: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return a structure as 0/1 arrays."""

    def instances(self, structure: str) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Return the labels of a structure's instances."""

    @property
    def names(self) -> list[str]:
        """Structures of one label, in the order of their numbers."""

    def numbered(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the numbers of those structures, from 1, in reference and prediction."""


class Truth(Protocol):
    """What is asked of the reference of a case."""

    task: SegmentationTask

    @property
    def against_nothing(self) -> Pair:
        """The reference beside an empty prediction."""


def place(metric: str, structure: str) -> str:
    """Return under which structure the observations of a metric of a structure stand."""
    return f"{metric}/{structure}"


def pooled_cells(task: SegmentationTask) -> Iterator[tuple[str, ObjectMetric | VariantFamily, str]]:
    """Yield every (metric, spec, structure) that is pooled over cases; no structure where all are looked at at once."""
    for metric, spec in task.metrics.items():
        if isinstance(spec, (ObjectMetric, VariantFamily)):
            for structure in task.structures_of(spec):
                yield metric, spec, structure


def seen_objects(measures: Truth, pair: Pair, case: str) -> list[Seen]:
    """Match the objects of a prediction, for every pooled metric and structure that the case is labelled with."""
    task, found = measures.task, []
    scored = task.scored_structures(case)
    for metric, spec, structure in pooled_cells(task):
        if isinstance(spec, VariantFamily):
            if scored.issuperset(spec.needed):
                found.append((place(metric, structure), *_variants(spec, pair), 1.0))
        elif structure in scored:
            objects = _matched(spec, pair, structure)
            matched = json.dumps([[one.matched, one.iou, one.dice] for one in objects.found])
            found.append((place(metric, structure), str(objects.referenced), matched, float(objects.predicted)))
    return found


def unseen_objects(measures: Truth, case: str) -> list[Seen]:
    """Return the same where there is no usable prediction: every object of the reference is missed."""
    if not any(True for _ in pooled_cells(measures.task)):
        return []
    return [
        (where, truth, "", float("nan"))
        for where, truth, _, _ in seen_objects(measures, measures.against_nothing, case)
    ]


def _variants(spec: VariantFamily, pair: Pair) -> tuple[str, str]:
    """Return the variant of the reference and that of the prediction; for the topology nothing where they differ."""
    from medpodium.scoring.measures import variants

    number = {name: at for at, name in enumerate(pair.names, start=1)}
    reference, prediction = pair.numbered()
    edges = [(number[edge.structure], number.get(edge.touches or "", 0)) for edge in spec.edges]
    truth = variants.Anatomy(reference).edges(edges)
    if not isinstance(spec, TopologyMetric):
        return truth, variants.Anatomy(prediction).edges(edges)
    compared = [number[name] for name in spec.compared]
    sides = [(number[left], number[right]) for left, right in spec.left_right]
    return truth, truth if variants.same_topology(reference, prediction, compared, spec.threshold, sides) else ""


def _matched(spec: ObjectMetric, pair: Pair, structure: str) -> Objects:
    from medpodium.scoring.measures import instances
    from medpodium.scoring.measures.lesions.matching import Matching

    if not isinstance(spec, MatchedMetric):
        counts = pair.overlap(structure)
        return instances.presence(counts.reference, counts.prediction, counts.true_positive, *spec.overlaps)
    if spec.objects == "components":
        first, second = (_components(mask, spec.connectivity) for mask in pair.binaries(structure))
        return instances.matched_objects(first, second, spec.overlaps, Matching(spec.matching))
    return instances.matched_objects(*pair.instances(structure), spec.overlaps, Matching(spec.matching))


def _components(mask: npt.NDArray[Any], connectivity: int) -> npt.NDArray[np.int32]:
    from scipy import ndimage

    joined = ndimage.generate_binary_structure(3, _NEIGHBOURS[connectivity])
    numbered: npt.NDArray[np.int32] = ndimage.label(mask, structure=joined, output=np.int32)[0]
    return numbered
