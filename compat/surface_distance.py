"""The functions of ``surface_distance`` (github.com/google-deepmind/surface-distance): same names, arguments, values.

::

    from medpodium.compat import surface_distance

    distances = surface_distance.compute_surface_distances(mask_gt, mask_pred, spacing_mm=(3.0, 0.8, 0.8))
    surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm=2.0)

Values agree to 1e-12. Version 0.1, the one on PyPI, fails with NumPy 2 where a mask is empty (it uses names that
NumPy removed); these functions then return what its documentation says. Axes and spacing are in any order, as long as
both are in the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pair import ReferenceCase
from medpodium.scoring.measures.surfaces import areas, metrics
from medpodium.scoring.measures.surfaces.blocks import Distances
from medpodium.scoring.measures.surfaces.distances import SurfaceDistances as Engine
from medpodium.scoring.measures.surfaces.distances import kept
from medpodium.scoring.measures.surfaces.points import Codes

__all__ = [
    "compute_average_surface_distance",
    "compute_dice_coefficient",
    "compute_robust_hausdorff",
    "compute_surface_dice_at_tolerance",
    "compute_surface_distances",
    "compute_surface_overlap_at_tolerance",
]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_KEYS = ("distances_gt_to_pred", "distances_pred_to_gt", "surfel_areas_gt", "surfel_areas_pred")


class SurfaceDistances(Mapping[str, Floats]):
    """The distances of every surface element, sorted, and its area: computed when somebody looks at them.

    The functions of this module need only how much area lies at which distance, which is much less work.
    """

    def __init__(self, engine: Engine | None) -> None:
        self.engine = engine

    @cached_property
    def _arrays(self) -> dict[str, Floats]:
        pair = self.engine
        if pair is None:
            return {key: np.array([]) for key in _KEYS}
        if pair.defined:
            (forth, own), (back, other) = pair.by_transform
        else:  # one of both has no surface: everything is infinitely far away from it
            own, other = (_sorted_areas(pair, codes) for _, codes in (kept(pair.reference), kept(pair.prediction)))
            forth, back = np.full(own.shape, math.inf), np.full(other.shape, math.inf)
        return dict(zip(_KEYS, (forth, back, own, other), strict=True))

    def __getitem__(self, key: str) -> Floats:
        return self._arrays[key]

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)


def _sorted_areas(pair: Engine, codes: Codes) -> Floats:
    return np.sort(areas.weights_of(pair.kind, pair.spacing_zyx, pair.planar)[codes])


def compute_surface_distances(mask_gt: Mask, mask_pred: Mask, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks.

    Parameters
    ----------
    mask_gt, mask_pred : ndarray of bool, two or three axes
        The ground truth and the prediction.
    spacing_mm : sequence of float
        Size of a voxel in mm along the axes.

    Returns
    -------
    mapping of str to ndarray
        ``distances_gt_to_pred``, ``distances_pred_to_gt`` (mm, ascending), ``surfel_areas_gt`` and
        ``surfel_areas_pred`` (mm², in a plane mm) of every surface element, in the same order.

    Raises
    ------
    ValueError
        If a mask is no array of bool, or both masks and the spacing have not two or three axes.
    """
    for name, mask in (("mask_gt", mask_gt), ("mask_pred", mask_pred)):
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            said = f"an array of {mask.dtype}" if isinstance(mask, np.ndarray) else f"a {type(mask)}"
            raise ValueError(f"{name} is {said}; give an array of bool (mask > 0)")
    axes = len(spacing_mm)
    shapes = f"mask_gt {mask_gt.shape}, mask_pred {mask_pred.shape}, spacing_mm {tuple(spacing_mm)}"
    if not mask_gt.ndim == mask_pred.ndim == axes:  # scripts may look for these words
        raise ValueError(f"The arguments must be of compatible shape: as many axes each, got {shapes}")
    if axes not in (2, 3):
        raise ValueError(f"Only 2D and 3D masks are supported, got {shapes}")
    if mask_gt.shape != mask_pred.shape:
        raise ValueError(f"the masks have different shapes: {mask_gt.shape} and {mask_pred.shape}")
    first, second = (mask.view(np.uint8).reshape((1,) * (3 - axes) + mask.shape) for mask in (mask_gt, mask_pred))
    if not (mask_gt.any() or mask_pred.any()):
        return SurfaceDistances(None)
    spacing = [1.0] * (3 - axes) + [float(size) for size in spacing_mm]
    case = ReferenceCase(first, spacing, [frozenset({1})], axis_order="zyx", planar=axes == 2)
    return SurfaceDistances(case.compare(second).surfels(0))


def compute_average_surface_distance(surface_distances: Mapping[str, Floats]) -> tuple[float, float]:
    """Return the mean distance, weighted by area, from the ground truth's surface and from the prediction's."""
    pair = _fast(surface_distances)
    if pair is not None:
        return metrics.directed_means(pair)
    forth, back = _sides(surface_distances)
    return tuple(_ratio(np.sum(distances * area), area) for distances, area in (forth, back))  # type: ignore[return-value]


def compute_robust_hausdorff(surface_distances: Mapping[str, Floats], percent: float) -> float:
    """Return the larger of both directions' percentiles, weighted by area; infinite where a mask is empty."""
    pair = _fast(surface_distances)
    if pair is not None:
        return metrics.percentile_weighted(pair, percent)
    found = []
    for distances, area in _sides(surface_distances):
        if not len(distances):
            found.append(math.inf)
            continue
        place = int(np.searchsorted(np.cumsum(area) / np.sum(area), percent / 100.0))
        found.append(float(distances[min(place, len(distances) - 1)]))
    return max(found)


def compute_surface_overlap_at_tolerance(
    surface_distances: Mapping[str, Floats], tolerance_mm: float
) -> tuple[float, float]:
    """Return the share of the ground truth's surface within the tolerance, and that of the prediction's."""
    inside, totals = _within(surface_distances, tolerance_mm)
    return tuple(_divided(part, total) for part, total in zip(inside, totals, strict=True))  # type: ignore[return-value]


def compute_surface_dice_at_tolerance(surface_distances: Mapping[str, Floats], tolerance_mm: float) -> float:
    """Return the share of both surfaces within the tolerance of the other; NaN where neither mask has a surface."""
    pair = _fast(surface_distances)
    if pair is not None:
        return metrics.nsd(pair, tolerance_mm)
    inside, totals = _within(surface_distances, tolerance_mm)
    return _divided(sum(inside), sum(totals))


def compute_dice_coefficient(mask_gt: Mask, mask_pred: Mask) -> float:
    """Return the Dice coefficient of two masks of bool; NaN where both are empty."""
    total = int(np.count_nonzero(mask_gt)) + int(np.count_nonzero(mask_pred))
    return 2 * int(np.count_nonzero(mask_gt & mask_pred)) / total if total else math.nan


def _fast(surface_distances: Mapping[str, Floats]) -> Engine | None:
    """Return what the engine knows, where both masks have a surface and the mapping is ours."""
    engine = surface_distances.engine if isinstance(surface_distances, SurfaceDistances) else None
    return engine if engine is not None and engine.defined else None


def _sides(surface_distances: Mapping[str, Floats]) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    forth, back, own, other = (surface_distances[key] for key in _KEYS)
    return (forth, own), (back, other)


def _within(surface_distances: Mapping[str, Floats], tolerance_mm: float) -> tuple[list[float], list[float]]:
    """Return the areas within the tolerance, and all areas, of the ground truth and of the prediction."""
    pair = _fast(surface_distances)
    sides: Sequence[tuple[Floats, Floats]]
    if pair is not None and not metrics.rounding_decides(pair, tolerance_mm):
        sides = [_histogram(side) for side in (pair.from_reference, pair.from_prediction)]
    else:
        sides = _sides(surface_distances)
    inside = [float(np.sum(area[distances <= tolerance_mm])) for distances, area in sides]
    return inside, [float(np.sum(area)) for _, area in sides]


def _histogram(side: Distances) -> tuple[Floats, Floats]:
    return side.values, side.weights


def _ratio(moment: float, area: Floats) -> float:
    return _divided(float(moment), float(np.sum(area)))


def _divided(part: float, total: float) -> float:
    """Return a share; NaN of nothing, with the warning that NumPy gives for it."""
    if total == 0:
        warnings.warn("invalid value encountered in scalar divide", RuntimeWarning, stacklevel=3)
        return math.nan
    return part / total
