"""Distances between the surfaces of one structure in two masks, exact and computed when asked for.

Nearly all points find their neighbour in a search of nearby rows, whose possible distances are few: they are summed
up per distinct distance, so that every metric is a walk over a short histogram and nothing is sorted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures import budget
from medpodium.scoring.measures.surfaces import areas, nearest
from medpodium.scoring.measures.surfaces.histograms import Directed, Scattered, joined
from medpodium.scoring.measures.surfaces.outline import Surfaces
from medpodium.scoring.measures.surfaces.points import Floats, Ints, Kind, Spacing, Surface

if TYPE_CHECKING:
    from medpodium.scoring.measures.surfaces.blocks import Blocked, Distances
    from medpodium.scoring.measures.surfaces.planes import Box, Planes, VolumePlanes

AxisOrder = Literal["xyz", "zyx"]

_MANY = 1 << 15
"""Up to so many points are looked for one by one, however few the other surface has, unless blocks of them are few."""
_SOME = 1 << 12
_NEARBY_NS = 300.0
_PER_BLOCK = 8
"""What a point with nothing nearby costs that is looked for there, and how much fewer blocks than points there are."""
_FEW = 256
"""A surface of no more points is searched as it is."""
_ONE_BY_ONE_NS = 2500.0
_IN_A_SWEEP_NS = 20.0
"""What a point with nothing nearby costs in a search among tiles, and in a distance transform."""
_MARGIN = 12
"""Voxels around points within which a surface that is everywhere has its nearest point."""


@dataclass(frozen=True)
class SurfaceDistances:
    """The distances between the surfaces of one structure in two masks.

    Attributes
    ----------
    reference, prediction
        Both surfaces: points and codes, or where to find them slice by slice.
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

    reference: Surface | VolumePlanes
    prediction: Surface | VolumePlanes
    spacing_zyx: Spacing
    kind: Kind
    axis_order: AxisOrder = "xyz"
    planar: bool = False

    @property
    def reference_empty(self) -> bool:
        """Whether the reference has no surface."""
        return size(self.reference) == 0

    @property
    def prediction_empty(self) -> bool:
        """Whether the prediction has no surface."""
        return size(self.prediction) == 0

    @property
    def defined(self) -> bool:
        """Whether both surfaces exist, so that distances do."""
        return not (self.reference_empty or self.prediction_empty)

    @cached_property
    def from_reference(self) -> Distances:
        """Distances from the reference's surface to the prediction's."""
        return self._directed(self.reference, self.prediction)

    @cached_property
    def from_prediction(self) -> Distances:
        """Distances from the prediction's surface to the reference's."""
        return self._directed(self.prediction, self.reference)

    @property
    def by_transform(self) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Sorted ``(distances, weights)`` of both directions exactly as surface-distance computes them.

        Slow (distance transforms of the joint bounding box); asked for only where rounding decides.
        """
        return self.transformed_from_reference, self.transformed_from_prediction

    @cached_property
    def transformed_from_reference(self) -> tuple[Floats, Floats]:
        """The first half of :attr:`by_transform`."""
        return self._transformed(self.reference, self.prediction)

    @cached_property
    def transformed_from_prediction(self) -> tuple[Floats, Floats]:
        """The other half of :attr:`by_transform`."""
        return self._transformed(self.prediction, self.reference)

    def _transformed(self, own: Surface | VolumePlanes, other: Surface | VolumePlanes) -> tuple[Floats, Floats]:
        from medpodium.scoring.measures.surfaces.transform import transformed_distances

        both = kept(own), kept(other)
        return transformed_distances(*both, self.spacing_zyx, self.kind, self.axis_order, self.planar)

    def _directed(self, own: Surface | VolumePlanes, other: Surface | VolumePlanes) -> Distances:
        """Sum up the distances of a surface: point by point where most have a neighbour nearby, else in sweeps."""
        budget.step()
        if isinstance(own, Surface) and not isinstance(other, Surface):
            return self._beside(own, other)
        if not (isinstance(own, Surface) and isinstance(other, Surface)):
            return self._blocked(_planes(own), _planes(other))
        number = len(own.points)
        # what is asked of border voxels, whose points weigh 1, is mostly a mean or a count: all of their distances
        if number > max(_SOME if self.kind == "surfel-area" else _MANY, 4 * len(other.points)):
            points, others = _planes(own), _planes(other)
            many = number > _MANY or self._cost_ns(points, others) < _PER_BLOCK * _NEARBY_NS * number
            if many and self._sweeps(number, points, others):
                return self._blocked(points, others)
        if len(other.points) <= _FEW and len(own.points) > 4 * _FEW:
            return self._searched(own, other)
        reach = _reach(self.spacing_zyx, self.axis_order, self.planar)
        rank_weights, rank_counts, far = nearest.near_distances(
            own.points, self._weights, own.codes, other.points, reach.row_steps, reach.row_squares, reach.x_squares,
            reach.ranks, reach.values.size, reach.limit,
        )  # fmt: skip
        used = np.flatnonzero(rank_counts)
        near = Directed(reach.values[used], rank_weights[used], rank_counts[used])
        if far.size == 0:
            return near
        return joined(near, self._far(Surface(own.points[far], own.codes[far]), other))

    def _beside(self, own: Surface, other: VolumePlanes) -> Distances:
        """Sum up the distances to a surface that is nearly everywhere: it is looked for around each point."""
        steps = _steps(self.spacing_zyx, self.axis_order, self.planar)
        found = other.nearest(own.points, steps.offsets)
        near = found >= 0
        place, weights = steps.ranks[found[near]], self._weights[own.codes[near]]
        counts = np.bincount(place, minlength=steps.values.size)
        used = np.flatnonzero(counts)
        sums = np.bincount(place, weights, steps.values.size).astype(np.float64)
        known = Directed(steps.values[used], sums[used], counts[used])
        if near.all():
            return known
        return joined(known, self._swept(_planes(Surface(own.points[~near], own.codes[~near])), other))

    def _blocked(self, own: Planes, other: Planes) -> Scattered | Blocked:
        """Sum up the distances of a surface of many points, as far as somebody asks for them."""
        from medpodium.scoring.measures.surfaces import blocks
        from medpodium.scoring.measures.surfaces.planes import VolumePlanes

        budget.step(2 * math.prod(other.box.shape))
        weights = self._weights.copy()
        weights[0] = 0.0  # of border voxels, whose code is 1 here
        if isinstance(own, VolumePlanes):
            found = own.known.get(self.spacing_zyx) or blocks.blocks_of(own, weights, self.spacing_zyx)
            own.known[self.spacing_zyx] = found
        else:
            found = blocks.blocks_of(own, weights, self.spacing_zyx)
        if found.weights.size < blocks.FEW:
            return self._swept(own, other)
        return blocks.Blocked(
            own, other, found, weights, self.axis_order, self._rows_within, lambda: self._swept(own, other)
        )

    def _rows_within(self, limit_mm: float) -> tuple[Ints, Ints]:
        """Return the rows (dz, dy) that have offsets no longer than a limit, and how far along x these go."""
        reach = [int(limit_mm / step) + 1 for step in self.spacing_zyx]
        if self.planar:
            reach[0] = 0
        offsets = np.moveaxis(np.mgrid[: reach[0] + 1, : reach[1] + 1, : reach[2] + 1], 0, -1)
        inside = in_millimetres(offsets, self.spacing_zyx, self.axis_order) <= limit_mm
        farthest = inside.sum(axis=2) - 1
        rows = [
            (dz * to_z, dy * to_y, farthest[dz, dy])
            for dz, dy in np.argwhere(farthest >= 0).tolist()
            for to_z in ((1, -1) if dz else (1,))
            for to_y in ((1, -1) if dy else (1,))
        ]
        found = np.array(rows, np.int64).reshape(-1, 3)
        return found[:, :2].copy(), found[:, 2].copy()

    def _far(self, own: Surface, other: Surface) -> Scattered:
        """Sum up the distances of points that have nothing nearby."""
        if len(own.points) > _MANY >> 6 and self._sweeps(len(own.points), _planes(own), _planes(other)):
            return self._swept(_planes(own), _planes(other))
        return self._searched(own, other)

    def _searched(self, own: Surface, other: Surface) -> Scattered:
        """Look for the nearest point of each point by itself, however far."""
        shifts = nearest.tile_shifts(len(other.points), self.spacing_zyx)
        offsets = nearest.far_offsets(own.points, other.points, shifts, np.array(self.spacing_zyx))
        values = in_millimetres(offsets, self.spacing_zyx, self.axis_order)
        number = len(values)
        return Scattered(values, self._weights[own.codes], lambda: np.ones(number, np.int64))

    def _sweeps(self, queries: int, own: Planes, other: Planes) -> bool:
        """Whether sweeps over the box cost less than a search for each point."""
        from medpodium.scoring.measures.surfaces import dense

        cost = self._cost_ns(own, other) + _IN_A_SWEEP_NS * queries
        return cost < _ONE_BY_ONE_NS * queries and _apart(own.box, other.box) <= dense.LONGEST

    def _cost_ns(self, own: Planes, other: Planes) -> float:
        """Return what sweeps over the box cost, points apart."""
        from medpodium.scoring.measures.surfaces import dense

        return dense.cost_ns(other.box.shape, (len(own.slices), own.box.shape[1], own.box.shape[2]))

    def _swept(self, own: Planes, other: Planes) -> Scattered:
        """Sum up the distances of a surface in sweeps over the box of both.

        A surface that is everywhere is first looked at around the points only; what they find there counts unless
        something outside could be nearer.
        """
        around = own.box.wider((_MARGIN, _MARGIN, _MARGIN)).within(other.box)
        if min(around.shape) > 0 and 2 * math.prod(around.shape) < math.prod(other.box.shape):
            known = self._swept_in(own, other, around)
            if known.distances.size > 0 and known.largest <= _MARGIN * min(self.spacing_zyx):
                return known
        return self._swept_in(own, other, other.box)

    def _swept_in(self, own: Planes, other: Planes, within: Box) -> Scattered:
        from medpodium.scoring.measures.surfaces import dense

        # a byte for every corner of both boxes, and what the offsets between them weigh
        budget.step(math.prod(within.shape) + 9 * math.prod(own.box.shape))

        def sweep(weights: Floats) -> tuple[Floats, Floats]:
            return dense.swept(own, other, within, weights, self.spacing_zyx, self.axis_order)

        # how many points there are at each distance is asked of border voxels, which weigh 1, and hardly ever of others
        values, weights = sweep(self._weights)
        return Scattered(values, weights, lambda: sweep(areas.ones())[1].astype(np.int64))

    @property
    def _weights(self) -> Floats:
        return areas.weights_of(self.kind, self.spacing_zyx, self.planar)


def size(surface: Surface | VolumePlanes) -> int:
    """Return how many points a surface has, or may have; 0 only where it has none."""
    return len(surface.points) if isinstance(surface, Surface) else surface.most


def kept(surface: Surface | VolumePlanes) -> Surface:
    """Return a surface as points, as many as there are."""
    return surface if isinstance(surface, Surface) else surface.points()


def _planes(surface: Surface | VolumePlanes) -> Planes:
    from medpodium.scoring.measures.surfaces import planes

    return planes.PointPlanes(*surface) if isinstance(surface, Surface) else surface


def _apart(own: Box, other: Box) -> int:
    """Return the largest number of voxels along an axis that lie between points of two boxes."""
    low, high = np.minimum(own.low, other.low), np.maximum(own.high, other.high)
    return int((high - low).max())


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


@dataclass(frozen=True)
class _Steps:
    """Offsets in ascending order of their length, all that are no longer than the last."""

    offsets: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    values: Floats


@lru_cache(maxsize=64)
def _steps(spacing_zyx: Spacing, axis_order: AxisOrder, planar: bool) -> _Steps:
    reach = 3
    slices = 0 if planar else reach
    grids = np.mgrid[-slices : slices + 1, -reach : reach + 1, -reach : reach + 1]
    offsets = np.column_stack([grid.ravel() for grid in grids]).astype(np.int64)
    lengths = in_millimetres(np.abs(offsets), spacing_zyx, axis_order)
    offsets = offsets[lengths < (reach + 1) * min(spacing_zyx[planar:]) * (1 - 1e-9)]
    lengths = in_millimetres(np.abs(offsets), spacing_zyx, axis_order)
    order = np.argsort(lengths, kind="stable")
    values, ranks = np.unique(lengths[order], return_inverse=True)
    return _Steps(offsets[order], ranks.astype(np.int64), values)
