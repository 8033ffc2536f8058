"""Surfaces of all structures of a mask, distances between two surfaces, and every metric made of them.

Two kinds of surface exist in the field, and so two families of metrics (``facts`` of a definition id):

``surfel-area``
    Surface elements on the half-voxel grid, weighted by area in mm² (DeepMind surface-distance; FLARE).
``border-voxel``
    Border voxels under the 6-neighbourhood, each of weight 1 (MedPy, MONAI, MetricsReloaded).

Use::

    first = find_surfaces(reference, lookup, n_structures, spacing_zyx)
    second = find_surfaces(prediction, lookup, n_structures, spacing_zyx)
    pair = distances(first, second, structure=0)
    nsd(pair, tolerance_mm=2.0), percentile_weighted(pair, 95.0), assd(pair), masd(pair)

Arrays are ``(z, y, x)``, spacing is ``(z, y, x)`` in mm, distances are mm. Where a mask has no surface at all, every
metric here is nan (undefined); what an empty mask is worth is the business of ``policy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.scoring import areas, kernels, nearest

Volume: TypeAlias = "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]"
Kind = Literal["surfel-area", "border-voxel"]
AxisOrder = Literal["xyz", "zyx"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Points = npt.NDArray[np.int32]
Spacing = tuple[float, float, float]

_ROUNDING = 1e-12
"""Relative size below which two distances may be one distance computed in two ways."""
_STEP_ROUNDING = 1e-9
"""Cumulative weights nearer than this to a quantile are decided in the reference's own order of operations."""


@dataclass(frozen=True)
class Surfaces:
    """The surface points of every structure of one mask.

    Attributes
    ----------
    kind
        Which definition of a surface.
    points : ndarray of int32, shape (n, 3)
        ``(z, y, x)`` of voxel corners (``surfel-area``) or voxels (``border-voxel``), structure after structure.
    codes : ndarray of uint8, shape (n,)
        Neighbour codes of surfels; 0 for border voxels.
    offsets : ndarray of int64, shape (n_structures + 1,)
        Structure ``i`` has the points ``offsets[i]:offsets[i + 1]``.
    spacing_zyx
        Voxel size in mm.
    """

    kind: Kind
    points: Points
    codes: npt.NDArray[np.uint8]
    offsets: Ints
    spacing_zyx: Spacing

    def of(self, structure: int) -> tuple[Points, npt.NDArray[np.uint8]]:
        """Return the points and codes of one structure (numbered from 0)."""
        part = slice(self.offsets[structure], self.offsets[structure + 1])
        return self.points[part], self.codes[part]


def find_surfaces(
    volume: Volume,
    layers: npt.NDArray[np.int32],
    n_structures: int,
    spacing_zyx: Sequence[float],
    *,
    kind: Kind = "surfel-area",
    z_ranges: Ints | None = None,
    rows: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]] | None = None,
) -> Surfaces:
    """Find the surfaces of all structures of a label volume in one pass.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), C order
    layers : ndarray of int32, shape (n_labels,) or (n_layers, n_labels)
        Structure number (from 1; 0 for none) of each label; several layers where structures share labels.
        ``n_labels`` exceeds the largest label in the volume.
    n_structures
        Number of structures over all layers.
    spacing_zyx
        Voxel size in mm.
    kind
        Which definition of a surface.
    z_ranges : ndarray of int64, shape (n_structures, 2), optional
        Slices ``start <= z < stop`` each structure is limited to, as if the volume ended there.
    rows
        What ``kernels.row_extents`` found, if known already.

    Returns
    -------
    Surfaces
    """
    volume = frozen(volume)
    if rows is None:
        rows = kernels.row_extents(volume)
    if z_ranges is None:
        z_ranges = np.tile(np.array([0, volume.shape[0]], np.int64), (n_structures, 1))
    search: Any = kernels.surface_elements if kind == "surfel-area" else kernels.border_voxels
    found = search(volume, rows, np.atleast_2d(layers), z_ranges[:, 0].copy(), z_ranges[:, 1].copy())
    points, codes, offsets = kernels.group_by_owner(found[0], found[1], found[2], n_structures)
    sz, sy, sx = (float(s) for s in spacing_zyx)
    return Surfaces(kind, points, codes, offsets, (sz, sy, sx))


def frozen(volume: Volume) -> Volume:
    """Return a read-only C-ordered view, so that kernels compile once for read-only and writable arrays.

    Raises
    ------
    ValueError
        If the volume is not a three-dimensional array of uint8 or uint16.
    """
    if volume.ndim != 3 or volume.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected a 3-D volume of uint8 or uint16, got {volume.ndim}-D {volume.dtype}")
    view: Any = np.ascontiguousarray(volume).view()
    view.flags.writeable = False
    read_only: Volume = view
    return read_only


@dataclass(frozen=True)
class Directed:
    """Distances from every point of one surface to the nearest point of another, as a weighted histogram.

    Attributes
    ----------
    values : ndarray of float64, shape (m,)
        Distinct distances in mm, ascending.
    weights : ndarray of float64, shape (m,)
        Total weight at each distance: mm² for surfels, number of voxels for border voxels.
    counts : ndarray of int64, shape (m,)
        Number of points at each distance.
    """

    values: Floats
    weights: Floats
    counts: Ints

    @property
    def total(self) -> float:
        """Total weight (mm² for surfels)."""
        return float(self.weights.sum())

    @property
    def moment(self) -> float:
        """Sum of distance times weight."""
        return float(self.values @ self.weights)


@dataclass(frozen=True)
class SurfaceDistances:
    """The distances between the surfaces of one structure in two masks.

    Attributes
    ----------
    reference, prediction
        Points and codes of both surfaces.
    spacing_zyx
        Voxel size in mm.
    kind
        Which definition of a surface.
    axis_order
        Axis order of the arrays a reference implementation would be given. It decides the order in which squared
        components are added, hence the last bit of a distance, hence ``<= tolerance`` in rare cases.
    """

    reference: tuple[Points, npt.NDArray[np.uint8]]
    prediction: tuple[Points, npt.NDArray[np.uint8]]
    spacing_zyx: Spacing
    kind: Kind
    axis_order: AxisOrder = "xyz"

    @property
    def reference_empty(self) -> bool:
        """Whether the reference has no surface."""
        return len(self.reference[0]) == 0

    @property
    def prediction_empty(self) -> bool:
        """Whether the prediction has no surface."""
        return len(self.prediction[0]) == 0

    @property
    def defined(self) -> bool:
        """Whether both surfaces exist, so that distances do."""
        return not (self.reference_empty or self.prediction_empty)

    @cached_property
    def from_reference(self) -> Directed:
        """Distances from the reference's surface to the prediction's."""
        return self._directed(*self.reference, self.prediction[0])

    @cached_property
    def from_prediction(self) -> Directed:
        """Distances from the prediction's surface to the reference's."""
        return self._directed(*self.prediction, self.reference[0])

    @cached_property
    def by_transform(self) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Sorted ``(distances, weights)`` of both directions exactly as surface-distance computes them.

        Slow (distance transforms of the joint bounding box); asked for only where rounding decides.
        """
        from medpodium.scoring.transform import transformed_distances

        return transformed_distances(self)

    def _directed(self, points: Points, codes: npt.NDArray[np.uint8], targets: Points) -> Directed:
        weights = areas.surfel_areas(self.spacing_zyx) if self.kind == "surfel-area" else areas.ones()
        reach = _reach(self.spacing_zyx, self.axis_order)
        rank_weights, rank_counts, far = nearest.near_distances(
            points, weights, codes, targets, reach.row_steps, reach.row_squares, reach.x_squares, reach.ranks,
            reach.values.size, reach.limit,
        )  # fmt: skip
        used = np.flatnonzero(rank_counts)
        near = Directed(reach.values[used], rank_weights[used], rank_counts[used])
        if far.size == 0:
            return near
        spacing = np.array(self.spacing_zyx)
        edges = np.maximum(1, np.rint(8 * spacing.min() / spacing)).astype(np.int64)
        offsets = nearest.far_offsets(points[far], targets, edges, spacing)
        values = in_millimetres(offsets, self.spacing_zyx, self.axis_order)
        values, place = np.unique(np.concatenate([near.values, values]), return_inverse=True)
        every_weight = np.concatenate([near.weights, weights[codes[far]]])
        every_count = np.concatenate([near.counts, np.ones(far.size, np.int64)])
        counts = np.bincount(place, every_count).astype(np.int64)
        return Directed(values, np.bincount(place, every_weight).astype(np.float64), counts)


def distances(
    reference: Surfaces, prediction: Surfaces, structure: int, axis_order: AxisOrder = "xyz"
) -> SurfaceDistances:
    """Pair the surfaces of one structure (numbered from 0); distances are computed when asked for."""
    if (reference.kind, reference.spacing_zyx) != (prediction.kind, prediction.spacing_zyx):
        raise ValueError("both surfaces need the same kind and the same spacing")
    both = reference.of(structure), prediction.of(structure)
    return SurfaceDistances(*both, reference.spacing_zyx, reference.kind, axis_order)


def in_millimetres(offsets: npt.NDArray[np.int64], spacing_zyx: Spacing, axis_order: AxisOrder) -> Floats:
    """Turn offsets (..., 3) in voxels into distances in mm, adding squares in the given axis order."""
    order = (2, 1, 0) if axis_order == "xyz" else (0, 1, 2)
    first, second, third = (offsets[..., axis] * spacing_zyx[axis] for axis in order)
    return np.asarray(np.sqrt(first * first + second * second + third * third))


@dataclass(frozen=True)
class _Reach:
    """Every offset the near search can return, with the rank of its distance."""

    row_steps: Points
    row_squares: Floats
    x_squares: Floats
    ranks: Points
    values: Floats
    limit: float


@lru_cache(maxsize=64)
def _reach(spacing_zyx: Spacing, axis_order: AxisOrder, max_rows: int = 400) -> _Reach:
    sz, sy, sx = spacing_zyx
    dz, dy = (grid.ravel() for grid in np.mgrid[-24:25, -400:401])
    squares = (dz * sz) ** 2 + (dy * sy) ** 2
    order = np.argsort(squares, kind="stable")[: max_rows + 1]
    limit = min(squares[order[-1]], (nearest.REACH * sx) ** 2, (25 * sz) ** 2, (401 * sy) ** 2)
    order = order[squares[order] < limit]
    x = np.arange(nearest.REACH + 1)
    offsets = np.empty((order.size, x.size, 3), np.int64)
    offsets[..., 0] = np.abs(dz[order])[:, None]
    offsets[..., 1] = np.abs(dy[order])[:, None]
    offsets[..., 2] = x
    millimetres = in_millimetres(offsets, spacing_zyx, axis_order)
    # beyond the limit nothing is accepted (the margin covers rounding), so those distances need no rank
    within = millimetres <= np.sqrt(limit) * (1 + 1e-9)
    values, place = np.unique(millimetres[within], return_inverse=True)
    ranks = np.full(millimetres.shape, -1, np.int32)
    ranks[within] = place
    steps = np.column_stack([dz[order], dy[order]]).astype(np.int32)
    x_squares = np.asarray((x * sx) ** 2, np.float64)
    return _Reach(steps, squares[order], x_squares, ranks, values, float(limit))


def nsd(pair: SurfaceDistances, tolerance_mm: float) -> float:
    """Return the normalised surface distance: the share of both surfaces within a tolerance of the other.

    ``surfel-area`` is surface-distance's ``compute_surface_dice_at_tolerance`` (Nikolov et al. 2018,
    arXiv:1809.04430); ``border-voxel`` is MONAI's ``compute_surface_dice``.
    """
    if not pair.defined:
        return float("nan")
    sides = (pair.from_reference, pair.from_prediction)
    if _rounding_decides(pair, tolerance_mm):
        inside = sum(float(w[d <= tolerance_mm].sum()) for d, w in pair.by_transform)
    else:
        inside = sum(float(side.weights[side.values <= tolerance_mm].sum()) for side in sides)
    return inside / sum(side.total for side in sides)


def hausdorff(pair: SurfaceDistances) -> float:
    """Return the Hausdorff distance in mm (``border-voxel``: MedPy ``hd``, MONAI)."""
    if not pair.defined:
        return float("nan")
    return float(max(pair.from_reference.values[-1], pair.from_prediction.values[-1]))


def percentile_weighted(pair: SurfaceDistances, percent: float) -> float:
    """Return the larger of the two weighted percentiles (definition ``directed-max-area-weighted``).

    surface-distance's ``compute_robust_hausdorff``: per direction the first distance at which the cumulative
    area reaches ``percent``; no interpolation.
    """
    if not pair.defined:
        return float("nan")
    quantile = percent / 100.0
    result = 0.0
    for direction, side in enumerate((pair.from_reference, pair.from_prediction)):
        values, cumulative = side.values, np.cumsum(side.weights) / side.total
        if np.any(np.abs(cumulative[:-1] - quantile) < _STEP_ROUNDING):
            values, weights = pair.by_transform[direction]
            cumulative = np.cumsum(weights) / np.sum(weights)
        place = int(np.searchsorted(cumulative, quantile))
        result = max(result, float(values[min(place, values.size - 1)]))
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


def _percentile(side: Directed, percent: float) -> float:
    """Linear percentile of a histogram, interpolated the way ``numpy.percentile`` does it."""
    place = (side.counts.sum() - 1) * (percent / 100.0)
    below = int(np.floor(place))
    ends = np.cumsum(side.counts)
    low, high = side.values[np.minimum(np.searchsorted(ends, [below, below + 1], "right"), ends.size - 1)]
    share = place - below
    return float(high - (high - low) * (1 - share)) if share >= 0.5 else float(low + (high - low) * share)


def _rounding_decides(pair: SurfaceDistances, tolerance_mm: float) -> bool:
    """Whether some point's decision hangs on which of several equal distances the reference happened to compute."""
    margin = _ROUNDING * tolerance_mm
    for side in (pair.from_reference, pair.from_prediction):
        low, high = np.searchsorted(side.values, [tolerance_mm - margin, tolerance_mm + margin])
        if low < high:
            return _straddled(tolerance_mm, pair.spacing_zyx, pair.axis_order)
    return False


@lru_cache(maxsize=256)
def _straddled(tolerance_mm: float, spacing_zyx: Spacing, axis_order: AxisOrder) -> bool:
    """Whether offsets exist whose distance is the tolerance, on either side of it by rounding."""
    sz, sy, sx = spacing_zyx
    reach = [int(tolerance_mm / s) + 2 for s in (sz, sy)]
    dz, dy = (grid.ravel() for grid in np.mgrid[: reach[0], : reach[1]])
    rest = tolerance_mm**2 - (dz * sz) ** 2 - (dy * sy) ** 2
    dx = np.rint(np.sqrt(np.maximum(rest, 0)) / sx).astype(np.int64)
    found = in_millimetres(np.column_stack([dz, dy, dx]), spacing_zyx, axis_order)
    found = found[np.abs(found - tolerance_mm) <= _ROUNDING * tolerance_mm]
    return bool(np.any(found <= tolerance_mm) and np.any(found > tolerance_mm))
