"""Metrics of lesions: what a challenge file declares, as the rules of :mod:`medpodium.scoring.measures.lesions`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from medpodium.challenges.schema.metrics.lesion_rules import LesionRule
from medpodium.challenges.schema.metrics.lesions import (
    ComponentVolumeMetric,
    LesionDiceMetric,
    LesionFamily,
    LesionMetric,
    LesionNsdMetric,
    LesionPercentileMetric,
    SizedLesionFamily,
)
from medpodium.scoring.measures.lesions import matching, scores
from medpodium.scoring.measures.pair import PairMeasures
from medpodium.scoring.measures.surfaces import distances
from medpodium.scoring.measures.surfaces import metrics as surface
from medpodium.scoring.measures.surfaces.points import Kind

_COUNTS = {
    "lesion_tp": "true_positives",
    "lesion_fp": "false_positives",
    "lesion_fn": "false_negatives",
    "lesion_f1": "f1",
    "lesion_sensitivity": "sensitivity",
    "lesion_precision": "precision",
    "panoptic_quality": "panoptic_quality",
    "segmentation_quality": "segmentation_quality",
}

_PERCENTILES: dict[str, tuple[Kind, Callable[[distances.SurfaceDistances, float], float]]] = {
    "directed-max-area-weighted": ("surfel-area", surface.percentile_weighted),
    "directed-max": ("border-voxel", surface.percentile_directed),
    "pooled": ("border-voxel", surface.percentile_pooled),
}

_NSDS: dict[str, tuple[Kind, Callable[[distances.SurfaceDistances, float], float]]] = {
    "surfel-area": ("surfel-area", surface.nsd),
    "border-voxel": ("border-voxel", surface.nsd),
    "border-voxel-mean": ("border-voxel", surface.nsd_mean),
}


class LesionScores:
    """Everything that is said of the lesions of one prediction beside its reference.

    Parameters
    ----------
    pairs : mapping of str to (PairMeasures, int)
        Both masks, by structure, and the structure's number there.
    planar : bool
        Whether they are measured in the plane.
    """

    def __init__(self, pairs: Mapping[str, tuple[PairMeasures, int]], planar: bool) -> None:
        self._pairs = pairs
        self._planar = planar
        self._matched: dict[tuple[tuple[str, matching.LesionRule], ...], scores.MeasuredLesions] = {}

    def held(self, spec: LesionFamily, structure: str) -> tuple[int, int]:
        """Return how many lesions that count reference and prediction hold."""
        counts = self._lesions(spec, structure).lesions.counts(self._size(spec, structure))
        return counts.referenced, counts.predicted

    def value(self, spec: LesionFamily, structure: str) -> float:
        """Compute a metric of a structure.

        Raises
        ------
        TypeError
            If nobody knows how to.
        """
        own, size = self._lesions(spec, structure), self._size(spec, structure)
        if isinstance(spec, LesionMetric):
            if spec.kind == "lesion_count_difference":
                return float(own.count_difference(size))
            return float(getattr(own.lesions.counts(size, spec.lesions.found_from), _COUNTS[spec.kind]))
        if isinstance(spec, ComponentVolumeMetric):
            voxels = own.invented_voxels if spec.kind == "fp_component_volume" else own.missed_voxels
            pair, _ = self._pairs[structure]
            return float(voxels * pair.reference.voxel_size)
        if isinstance(spec, LesionDiceMetric):
            values = own.dice
        elif isinstance(spec, LesionNsdMetric):
            kind, share = _NSDS[spec.definition]
            tolerance = surface.tolerant(spec.tolerance_mm)
            values = own.on_surfaces(kind, lambda pair: share(pair, tolerance))
        elif isinstance(spec, LesionPercentileMetric):
            kind, percentile = _PERCENTILES[spec.definition]
            percent = surface.reached(spec.percentile) if kind == "surfel-area" else spec.percentile
            values = own.on_surfaces(kind, lambda pair: percentile(pair, percent))
        else:
            raise TypeError(f"no value of {spec.kind}")
        missed, invented = (math.nan if one == "skip" else one for one in (spec.missed, spec.invented))
        worth = scores.Worth(missed, invented, math.nan if spec.all_missed is None else spec.all_missed)
        return own.lesions.mean(values, worth, size)

    def _lesions(self, spec: LesionFamily, structure: str) -> scores.MeasuredLesions:
        rules = [(name, self._rule(spec.lesions.of(name))) for name in (structure, *spec.lesions.beside(structure))]
        if (key := tuple(rules)) not in self._matched:
            own, *beside = ((*self._pairs[name], rule) for name, rule in rules)
            self._matched[key] = scores.match_lesions(*own, beside)
        return self._matched[key]

    def _rule(self, declared: LesionRule) -> matching.LesionRule:
        """Return the rule for voxels; the slice of a plane is 1 mm thick, and 4 (8) pixels are 6 (26) voxels there."""
        neighbours = declared.connected(self._planar)
        return matching.LesionRule(
            connectivity={4: 6, 8: 26}.get(neighbours, neighbours),
            overlap=matching.OverlapRule(declared.overlap),
            threshold=declared.threshold,
            matching=matching.Matching(declared.matching),
            min_volume_ml=declared.smallest(self._planar) / (1000.0 if self._planar else 1.0),
            dilation=declared.dilation,
            joined=matching.Joined(declared.joined),
            min_voxels=declared.min_voxels,
            small=matching.Small(declared.small),
        )

    def _size(self, spec: LesionFamily, structure: str) -> scores.SizeClass:
        """Return which lesions count; a size in ml (in a plane an area) as voxels."""
        if not isinstance(spec, SizedLesionFamily) or spec.size is None:
            return scores.EVERY
        own = spec.size
        low: float | None
        high: float | None
        if (own.from_voxels, own.below_voxels) != (None, None):
            low, high, voxel = own.from_voxels, own.below_voxels, 1.0
        else:
            low, high, voxel = own.from_ml, own.below_ml, self._pairs[structure][0].reference.voxel_size
        invented = scores.Invented(own.invented)
        return scores.SizeClass((low or 0.0) / voxel, math.inf if high is None else high / voxel, invented)
