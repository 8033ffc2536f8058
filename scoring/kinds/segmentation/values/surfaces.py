"""Values of the metrics of surfaces, rims and centrelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.metrics.surfaces import (
    BoundaryMetric,
    CentrelineMetric,
    DistanceMetric,
    EdgedMetric,
    NsdMetric,
    PercentileMetric,
)
from medpodium.scoring.measures.pair import PairMeasures
from medpodium.scoring.measures.surfaces import metrics as surface
from medpodium.scoring.measures.surfaces.distances import SurfaceDistances, size
from medpodium.scoring.measures.surfaces.points import Kind

if TYPE_CHECKING:
    from medpodium.scoring.measures.boundary import Mask

_PERCENTILES: dict[str, Callable[[SurfaceDistances, float], float]] = {
    "directed-max-area-weighted": surface.percentile_weighted,
    "directed-max": surface.percentile_directed,
    "directed-max-26": surface.percentile_directed,
    "pooled": surface.percentile_pooled,
}
_DISTANCES: dict[str, Callable[[SurfaceDistances], float]] = {
    "hd": surface.hausdorff,
    "assd": surface.assd,
    "masd": surface.masd,
}
_AREAS = ("surfel-area", "directed-max-area-weighted")


def surface_value(spec: StructureMetric, pair: PairMeasures, index: int, tolerance_mm: float | None) -> float | None:
    """Compute a metric of surfaces; ``None`` where it is none.

    Parameters
    ----------
    spec : StructureMetric
        What to compute.
    pair : PairMeasures
        Both masks.
    index : int
        Number of the structure, which both hold.
    tolerance_mm : float, optional
        Tolerance in force (only ``nsd``).
    """
    if isinstance(spec, CentrelineMetric):
        from medpodium.scoring.measures.skeletons import centreline_dice

        return centreline_dice(*pair.centreline_shares(index, spec.definition))
    if isinstance(spec, BoundaryMetric):
        from medpodium.scoring.measures.boundary import rim_iou

        return rim_iou(*_rims(spec, pair, index))
    if isinstance(spec, NsdMetric):
        if tolerance_mm is None:
            raise ValueError("a structure has no NSD tolerance")
        return surface.nsd(_between(spec, pair, index), surface.tolerant(tolerance_mm))
    if not isinstance(spec, DistanceMetric):
        return None
    distances = _between(spec, pair, index)
    if isinstance(spec, PercentileMetric):
        percent = surface.reached(spec.percentile) if spec.definition_id in _AREAS else spec.percentile
        value = _PERCENTILES[spec.definition_id](distances, percent)
    else:
        value = _DISTANCES[spec.kind](distances)
    return value if spec.cap is None else min(value, spec.cap)


def edgeless_size(spec: StructureMetric, pair: PairMeasures, index: int) -> tuple[int, int] | None:
    """Return how much surface reference and prediction have apart from the image's border.

    Parameters
    ----------
    spec : StructureMetric
        Which metric asks.
    pair : PairMeasures
        Both masks.
    index : int
        Number of the structure.

    Returns
    -------
    tuple of two int, or None
        Points of a surface, or voxels of a rim; ``None`` for a metric for which the border is surface like any other:
        there a mask with a voxel has a surface.
    """
    if not isinstance(spec, EdgedMetric) or spec.edge == "surface":
        return None
    if isinstance(spec, BoundaryMetric):
        reference, prediction = _rims(spec, pair, index)
        return int(reference.sum()), int(prediction.sum())
    found = _between(spec, pair, index)
    return size(found.reference), size(found.prediction)


def _between(spec: EdgedMetric, pair: PairMeasures, index: int) -> SurfaceDistances:
    voxels = isinstance(spec, DistanceMetric) and spec.distances == "voxels"
    if spec.definition_id == "directed-max-26":
        return pair.full_borders(index, edge=spec.edge == "surface", voxels=voxels)
    kind: Kind = "surfel-area" if spec.definition_id in _AREAS else "border-voxel"
    return pair.between(index, kind, edge=spec.edge == "surface", voxels=voxels)


def _rims(spec: BoundaryMetric, pair: PairMeasures, index: int) -> tuple[Mask, Mask]:
    from medpodium.scoring.measures import boundary

    edge, planar = spec.edge == "surface", pair.reference.planar
    spacing = pair.reference.spacing_zyx
    reference, prediction = (
        boundary.eroded_rim(mask, int(spec.width), edge=edge, planar=planar)
        if spec.definition == "eroded"
        else boundary.near_rim(mask, spec.width, spacing, edge=edge, planar=planar)
        for mask in pair.binaries(index, margin=1)
    )
    return reference, prediction
