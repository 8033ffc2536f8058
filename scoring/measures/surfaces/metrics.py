"""Every metric made of distances between two surfaces.

A metric's meaning depends on the definition of a surface (:mod:`medpodium.scoring.measures.surfaces.outline`) and of a
percentile::

    pair = measured.surfels(0)      # or measured.borders(0), see medpodium.scoring.measures.pair
    nsd(pair, tolerance_mm=2.0), percentile_weighted(pair, 95.0), assd(pair), masd(pair)

Distances are mm. Where a mask has no surface at all, every metric here is nan (undefined); what an empty mask is
worth is the business of ``policy``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from medpodium.scoring.measures.surfaces.distances import AxisOrder, SurfaceDistances, in_millimetres
from medpodium.scoring.measures.surfaces.histograms import Directed
from medpodium.scoring.measures.surfaces.points import Spacing

if TYPE_CHECKING:
    from medpodium.scoring.measures.surfaces.blocks import Distances

_ROUNDING = 1e-12
"""Relative size below which two distances may be one distance computed in two ways."""


SAME = 1e-9
"""Relative difference below which two numbers are one where a score hangs on which is larger."""


def tolerant(tolerance_mm: float) -> float:
    """Return the tolerance to count with: a distance of exactly the tolerance is within it, in whatever unit.

    Three voxels of 0.1 mm are 0.30000000000000004 mm and not within 0.3 mm, three of 1 mm are within 3 mm: libraries
    leave that to the last bit. The functions here decide as those do, for the number they are given.
    """
    return tolerance_mm * (1 + SAME)


def reached(percent: float) -> float:
    """Return the percentile to look up where a distance is reached in steps: a share that is just reached counts."""
    return percent if percent >= 100 else percent * (1 - 4 * SAME)


def nsd(pair: SurfaceDistances, tolerance_mm: float) -> float:
    """Return the normalised surface distance: the share of both surfaces within a tolerance of the other.

    ``surfel-area`` is surface-distance's ``compute_surface_dice_at_tolerance`` (Nikolov et al. 2018,
    arXiv:1809.04430); ``border-voxel`` is MONAI's ``compute_surface_dice``.
    """
    if not pair.defined:
        return float("nan")
    sides = (pair.from_reference, pair.from_prediction)
    if rounding_decides(pair, tolerance_mm):
        inside = sum(float(w[d <= tolerance_mm].sum()) for d, w in pair.by_transform)
    else:
        inside = sum(side.within(tolerance_mm) for side in sides)
    return inside / sum(side.total for side in sides)


def nsd_mean(pair: SurfaceDistances, tolerance_mm: float) -> float:
    """Return the mean of two shares: how much of either surface is within a tolerance of the other.

    Over border voxels this is ``normalized_surface_dice`` of GaNDLF and panoptica. It is :func:`nsd` where both
    surfaces are equally large.
    """
    if not pair.defined:
        return float("nan")
    if rounding_decides(pair, tolerance_mm):
        shares = [float(w[d <= tolerance_mm].sum()) / float(w.sum()) for d, w in pair.by_transform]
    else:
        sides = (pair.from_reference, pair.from_prediction)
        shares = [float(side.weights[side.values <= tolerance_mm].sum()) / side.total for side in sides]
    return (shares[0] + shares[1]) / 2


def hausdorff(pair: SurfaceDistances) -> float:
    """Return the Hausdorff distance in mm (``border-voxel``: MedPy ``hd``, MONAI)."""
    if not pair.defined:
        return float("nan")
    return max(pair.from_reference.largest, pair.from_prediction.largest)


def percentile_weighted(pair: SurfaceDistances, percent: float) -> float:
    """Return the larger of the two weighted percentiles (definition ``directed-max-area-weighted``).

    surface-distance's ``compute_robust_hausdorff``: per direction the first distance at which the cumulative
    area reaches ``percent``; no interpolation.
    """
    if not pair.defined:
        return float("nan")
    quantile = percent / 100.0
    result = 0.0
    for side, of_reference in ((pair.from_reference, True), (pair.from_prediction, False)):
        found = side.reached(quantile)
        if found is None:
            values, weights = pair.transformed_from_reference if of_reference else pair.transformed_from_prediction
            place = int(np.searchsorted(np.cumsum(weights) / np.sum(weights), quantile))
            found = float(values[min(place, values.size - 1)])
        result = max(result, found)
    return result


def percentile_directed(pair: SurfaceDistances, percent: float) -> float:
    """Return the larger of the two point percentiles, linearly interpolated (``directed-max``, MONAI)."""
    if not pair.defined:
        return float("nan")
    return max(_percentile(side, percent) for side in (pair.from_reference, pair.from_prediction))


def percentile_pooled(pair: SurfaceDistances, percent: float) -> float:
    """Return one percentile of the distances of both directions together (``pooled``, MedPy ``hd95``)."""
    if not pair.defined:
        return float("nan")
    first, second = pair.from_reference, pair.from_prediction
    values = np.concatenate([first.values, second.values])
    order = np.argsort(values, kind="stable")
    pooled = (values, np.concatenate([first.weights, second.weights]), np.concatenate([first.counts, second.counts]))
    return _percentile(Directed(*(part[order] for part in pooled)), percent)


def assd(pair: SurfaceDistances) -> float:
    """Return the average symmetric surface distance in mm: the mean over both surfaces taken together.

    ``border-voxel`` is MedPy's ``assd`` and MONAI's; ``surfel-area`` weights by area.
    """
    if not pair.defined:
        return float("nan")
    sides = (pair.from_reference, pair.from_prediction)
    return sum(side.moment for side in sides) / sum(side.total for side in sides)


def directed_means(pair: SurfaceDistances) -> tuple[float, float]:
    """Return the mean distances (from reference, from prediction) in mm.

    ``surfel-area`` is surface-distance's ``compute_average_surface_distance``.
    """
    if not pair.defined:
        return float("nan"), float("nan")
    first, second = pair.from_reference, pair.from_prediction
    return first.moment / first.total, second.moment / second.total


def masd(pair: SurfaceDistances) -> float:
    """Return the mean average surface distance in mm: the mean of the two directed means (MetricsReloaded)."""
    first, second = directed_means(pair)
    return (first + second) / 2


def _percentile(side: Distances, percent: float) -> float:
    """Linear percentile of a histogram, interpolated the way ``numpy.percentile`` does it."""
    place = (side.counts.sum() - 1) * (percent / 100.0)
    below = int(np.floor(place))
    ends = np.cumsum(side.counts)
    low, high = side.values[np.minimum(np.searchsorted(ends, [below, below + 1], "right"), ends.size - 1)]
    share = place - below
    return float(high - (high - low) * (1 - share)) if share >= 0.5 else float(low + (high - low) * share)


def rounding_decides(pair: SurfaceDistances, tolerance_mm: float) -> bool:
    """Whether some point's decision hangs on which of several equal distances the reference happened to compute."""
    if not _straddled(tolerance_mm, pair.spacing_zyx, pair.axis_order, pair.planar):
        return False
    margin = _ROUNDING * tolerance_mm
    sides = (pair.from_reference, pair.from_prediction)
    return any(side.between(tolerance_mm - margin, tolerance_mm + margin) for side in sides)


@lru_cache(maxsize=256)
def _straddled(tolerance_mm: float, spacing_zyx: Spacing, axis_order: AxisOrder, planar: bool) -> bool:
    """Whether offsets exist whose distance is the tolerance, on either side of it by rounding."""
    sz, sy, sx = spacing_zyx
    reach = [1 if planar else int(tolerance_mm / sz) + 2, int(tolerance_mm / sy) + 2]
    dz, dy = (grid.ravel() for grid in np.mgrid[: reach[0], : reach[1]])
    rest = tolerance_mm**2 - (dz * sz) ** 2 - (dy * sy) ** 2
    dx = np.rint(np.sqrt(np.maximum(rest, 0)) / sx).astype(np.int64)
    found = in_millimetres(np.column_stack([dz, dy, dx]), spacing_zyx, axis_order)
    found = found[np.abs(found - tolerance_mm) <= _ROUNDING * tolerance_mm]
    return bool(np.any(found <= tolerance_mm) and np.any(found > tolerance_mm))
