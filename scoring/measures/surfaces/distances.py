"""Distances between the surfaces of one structure in two masks, exact and computed when asked for.

Nearly all points find their neighbour in a search of nearby rows, whose possible distances are few: they are summed
up per distinct distance, so that every metric is a walk over a short histogram and nothing is sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.surfaces import areas, nearest
from medpodium.scoring.measures.surfaces.outline import Codes, Floats, Ints, Kind, Points, Spacing, Surfaces

AxisOrder = Literal["xyz", "zyx"]

_FILLED = 16
"""A surface fills its box where every sixteenth corner of it is a point."""
_QUERIES = 1 << 21
"""Points of a surface whose distances are searched at once: more than an organ has, few enough for any machine."""


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
    planar
        Whether these are contours in a plane.
    """

    reference: tuple[Points, Codes]
    prediction: tuple[Points, Codes]
    spacing_zyx: Spacing
    kind: Kind
    axis_order: AxisOrder = "xyz"
    planar: bool = False

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
        from medpodium.scoring.measures.surfaces.transform import transformed_distances

        return transformed_distances(
            self.reference, self.prediction, self.spacing_zyx, self.kind, self.axis_order, self.planar
        )

    def _directed(self, points: Points, codes: Codes, targets: Points) -> Directed:
        """Sum up the distances of a surface, so many points at a time that memory stays small."""
        starts = range(0, len(points), _QUERIES)
        if len(points) > _QUERIES:
            origin, shape = _joint_box(points, targets)
            if len(points) * _FILLED > shape.prod():
                return self._everywhere(points, codes, targets, origin, shape)
        parts = [self._part(points[at : at + _QUERIES], codes[at : at + _QUERIES], targets) for at in starts]
        return parts[0] if len(parts) == 1 else _together(parts)

    def _everywhere(self, points: Points, codes: Codes, targets: Points, origin: Ints, shape: Ints) -> Directed:
        """Sum up the distances of a surface that nearly fills its box."""
        from medpodium.scoring.measures.surfaces import dense

        weights = areas.weights_of(self.kind, self.spacing_zyx, self.planar)
        known = dense.nearest_everywhere(targets, origin, shape, np.array(self.spacing_zyx))
        parts = []
        for at in range(0, len(points), _QUERIES):
            offsets = dense.looked_up(points[at : at + _QUERIES], origin, *known)
            values = in_millimetres(offsets, self.spacing_zyx, self.axis_order)
            own = weights[codes[at : at + _QUERIES]]
            parts.append(_together([Directed(values, own, np.ones(len(own), np.int64))]))
        return _together(parts)

    def _part(self, points: Points, codes: Codes, targets: Points) -> Directed:
        weights = areas.weights_of(self.kind, self.spacing_zyx, self.planar)
        reach = _reach(self.spacing_zyx, self.axis_order, self.planar)
        rank_weights, rank_counts, far = nearest.near_distances(
            points, weights, codes, targets, reach.row_steps, reach.row_squares, reach.x_squares, reach.ranks,
            reach.values.size, reach.limit,
        )  # fmt: skip
        used = np.flatnonzero(rank_counts)
        near = Directed(reach.values[used], rank_weights[used], rank_counts[used])
        if far.size == 0:
            return near
        spacing = np.array(self.spacing_zyx)
        shifts = nearest.tile_shifts(len(targets), self.spacing_zyx)
        offsets = nearest.far_offsets(points[far], targets, shifts, spacing)
        values = in_millimetres(offsets, self.spacing_zyx, self.axis_order)
        return _together([near, Directed(values, weights[codes[far]], np.ones(far.size, np.int64))])


def _joint_box(points: Points, targets: Points) -> tuple[Ints, Ints]:
    """Return the first corner and the shape of the smallest box that holds both."""
    low = np.minimum(points.min(axis=0), targets.min(axis=0)).astype(np.int64)
    high = np.maximum(points.max(axis=0), targets.max(axis=0)).astype(np.int64)
    return low, high - low + 1


def _together(parts: Sequence[Directed]) -> Directed:
    """Add up histograms; the values of a part may repeat and come in any order."""
    values, place = np.unique(np.concatenate([part.values for part in parts]), return_inverse=True)
    counts = np.bincount(place, np.concatenate([part.counts for part in parts])).astype(np.int64)
    weights = np.bincount(place, np.concatenate([part.weights for part in parts])).astype(np.float64)
    return Directed(values, weights, counts)


def distances(
    reference: Surfaces, prediction: Surfaces, structure: int, axis_order: AxisOrder = "xyz"
) -> SurfaceDistances:
    """Pair the surfaces of one structure (numbered from 0); distances are computed when asked for."""
    own, other = ((one.kind, one.spacing_zyx, one.planar) for one in (reference, prediction))
    if own != other:
        raise ValueError("both surfaces need the same kind and the same spacing, in a plane or not")
    both = reference.of(structure), prediction.of(structure)
    return SurfaceDistances(*both, reference.spacing_zyx, reference.kind, axis_order, reference.planar)


def in_millimetres(offsets: npt.NDArray[np.int64], spacing_zyx: Spacing, axis_order: AxisOrder) -> Floats:
    """Turn offsets (..., 3) in voxels into distances in mm, adding squares in the given axis order."""
    order = (2, 1, 0) if axis_order == "xyz" else (0, 1, 2)
    first, second, third = (offsets[..., axis] * spacing_zyx[axis] for axis in order)
    return np.asarray(np.sqrt(first * first + second * second + third * third))


@dataclass(frozen=True)
class _Reach:
    """Every offset the near search can return, with the rank of its distance."""

    row_steps: npt.NDArray[np.int32]
    row_squares: Floats
    x_squares: Floats
    ranks: npt.NDArray[np.int32]
    values: Floats
    limit: float


@lru_cache(maxsize=64)
def _reach(spacing_zyx: Spacing, axis_order: AxisOrder, planar: bool = False, max_rows: int = 200) -> _Reach:
    sz, sy, sx = spacing_zyx
    slices = 0 if planar else 24
    dz, dy = (grid.ravel() for grid in np.mgrid[-slices : slices + 1, -400:401])
    squares = (dz * sz) ** 2 + (dy * sy) ** 2
    order = np.argsort(squares, kind="stable")[: max_rows + 1]
    limit = min(squares[order[-1]], (nearest.REACH * sx) ** 2, (401 * sy) ** 2)
    if not planar:
        limit = min(limit, (25 * sz) ** 2)
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
