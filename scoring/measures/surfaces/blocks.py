"""Distances of a surface that is nearly everywhere, block by block: only what a question needs is worked out.

Noise has a surface element at every corner. How many of them are within a tolerance, or where a percentile lies, is a
question about few: the middle of a block knows its distance, and no point of the block is nearer or farther by more
than the way to it. So a distance transform of the middles says which blocks lie wholly below or above what is asked,
and only the others are looked at point by point. Exact: nothing is sampled that is not bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel
from medpodium.scoring.measures.surfaces import dense
from medpodium.scoring.measures.surfaces.envelopes import lattice_squares
from medpodium.scoring.measures.surfaces.histograms import Directed, Scattered, first_reached
from medpodium.scoring.measures.surfaces.planes import Box, Bytes, Planes, PointPlanes
from medpodium.scoring.measures.surfaces.points import Floats, Ints, Spacing

_SIDE = 8
"""Corners of a block along the axis of the smallest voxels; about as many mm along the others."""
FEW = 512
"""With fewer it is not worth it."""
_MOST = 0.6
"""Share of the blocks above which all points are looked at instead."""
_SHARES = (0.25, 1.01)
"""How far around the percentile of the middles one is looked for, in radii of a block."""
_MARK_NS = 0.5
_ROW = 4
"""What it takes to mark a voxel, and how many of them the start of a row costs."""
_SLACK = 1e-9
"""Relative size of what rounding could do to a distance."""


@kernel
def add_weights(plane, weights, side_y, side_x, sums):  # type: ignore[no-untyped-def]
    """Add the weights of the points of a plane to those of its blocks, shape (ny, nx)."""
    ny, nx = plane.shape
    for y in range(ny):
        row, to = plane[y], sums[y // side_y]
        for at in range(to.size):
            total = 0.0
            for x in range(at * side_x, min((at + 1) * side_x, nx)):
                total += weights[row[x]]
            to[at] += total


@kernel
def leave_out(plane, chosen, first_y, first_x, side_y, side_x):  # type: ignore[no-untyped-def]
    """Empty the blocks of a plane that are not chosen; its first corner is ``first_y, first_x`` among them."""
    ny, nx = plane.shape
    for y in range(ny):
        row, own = plane[y], chosen[(first_y + y) // side_y]
        for at in range(first_x // side_x, (first_x + nx - 1) // side_x + 1):
            if not own[at]:
                row[max(at * side_x - first_x, 0) : min((at + 1) * side_x - first_x, nx)] = 0


@kernel
def mark_around(points, rows, reaches, low, near):  # type: ignore[no-untyped-def]
    """Set to 1 what lies around points: ``reaches[k]`` along x on both sides in the row ``rows[k]`` (dz, dy) away.

    Parameters
    ----------
    points : ndarray of int16 or int32, shape (n, 3)
    rows : ndarray of int64, shape (k, 2)
    reaches : ndarray of int64, shape (k,)
    low : ndarray of int64, shape (3,)
        Where the first corner of ``near`` lies: z, y, x.
    near : ndarray of uint8, shape (nz, ny, nx)
    """
    nz, ny, nx = near.shape
    for i in range(points.shape[0]):
        at_z, at_y, at_x = points[i, 0] - low[0], points[i, 1] - low[1], points[i, 2] - low[2]
        for k in range(rows.shape[0]):
            z, y = at_z + rows[k, 0], at_y + rows[k, 1]
            if 0 <= z < nz and 0 <= y < ny:
                row = near[z, y]
                for x in range(max(at_x - reaches[k], 0), min(at_x + reaches[k] + 1, nx)):
                    row[x] = 1


@kernel
def weight_where(plane, near, weights):  # type: ignore[no-untyped-def]
    """Return the weight of a plane's points where ``near`` is 1."""
    total = 0.0
    for y in range(plane.shape[0]):
        row, own = plane[y], near[y]
        for x in range(row.size):
            if own[x] != 0:
                total += weights[row[x]]
    return total


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of a surface's box and the weight of the points in each.

    Attributes
    ----------
    box : Box
        The surface's.
    sides : tuple of three int
        Corners of a block along z, y, x.
    weights : ndarray of float64, shape (nz, ny, nx)
        Total weight of the points of each.
    spacing_zyx
        Voxel size in mm.
    """

    box: Box
    sides: tuple[int, int, int]
    weights: Floats = field(repr=False)
    spacing_zyx: Spacing

    @property
    def middles(self) -> tuple[Ints, Ints, Ints]:
        """Coordinates of the middles: z, y, x."""
        along = [
            low + side // 2 + side * np.arange(number)
            for low, side, number in zip(self.box.low, self.sides, self.weights.shape, strict=True)
        ]
        return along[0], along[1], along[2]

    @property
    def radius(self) -> float:
        """How far a point can be from the middle, in mm."""
        return math.hypot(*(side // 2 * step for side, step in zip(self.sides, self.spacing_zyx, strict=True)))

    @cached_property
    def total(self) -> float:
        """The weight of all points."""
        return float(self.weights.sum())


def blocks_of(own: Planes, weights: Floats, spacing_zyx: Spacing) -> Blocks:
    """Sum up the weights of a surface's points by block.

    Parameters
    ----------
    own : Planes
        The surface.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0, where there is none.
    spacing_zyx
        Voxel size in mm.
    """
    box, edge = own.box, _SIDE * min(spacing_zyx)
    sides = tuple(max(1, min(round(edge / step), _SIDE)) for step in spacing_zyx)
    sums = np.zeros([-(-number // side) for number, side in zip(box.shape, sides, strict=True)])
    for z, plane in zip(dense.inside(own.slices, box).tolist(), own.codes(box), strict=True):
        add_weights(plane, weights, sides[1], sides[2], sums[(z - box.low[0]) // sides[0]])
    return Blocks(box, (sides[0], sides[1], sides[2]), sums, spacing_zyx)


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a surface has in some of its blocks.

    Attributes
    ----------
    own : Planes
        The surface.
    blocks : Blocks
        Its blocks.
    chosen : ndarray of bool
        Which of them; at least one.
    """

    own: Planes
    blocks: Blocks
    chosen: npt.NDArray[np.bool_] = field(repr=False)

    @cached_property
    def box(self) -> Box:
        """The box of these blocks, as far as the surface's goes."""
        low, high = [], []
        for axis in range(3):
            others = tuple(other for other in range(3) if other != axis)
            used = np.flatnonzero(self.chosen.any(axis=others))
            side, begin = self.blocks.sides[axis], self.blocks.box.low[axis]
            low.append(begin + side * int(used[0]))
            high.append(min(begin + side * (int(used[-1]) + 1), self.blocks.box.high[axis]))
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    @cached_property
    def slices(self) -> Ints:
        """Slices that can have points."""
        return dense.inside(self.own.slices, self.box)

    @property
    def most(self) -> int:
        """At most so many points."""
        return math.prod(self.box.shape)

    def codes(self, box: Box) -> Iterator[Bytes]:
        """Yield the codes in a box, slice by slice; it lies in the one of these blocks."""
        begin, sides = self.blocks.box.low, self.blocks.sides
        first = box.low[1] - begin[1], box.low[2] - begin[2]
        for z, plane in zip(dense.inside(self.slices, box).tolist(), self.own.codes(box), strict=True):
            leave_out(plane, self.chosen[(z - begin[0]) // sides[0]], *first, sides[1], sides[2])
            yield plane


class Blocked:
    """Distances of a surface like :class:`~medpodium.scoring.measures.surfaces.histograms.Scattered`, by block.

    Parameters
    ----------
    own, other : Planes
        The surface that asks and the other one, neither empty.
    blocks : Blocks
        Those of the first.
    weights : ndarray of float64, shape (256,)
        Weight of a point by its code; 0 for the code 0.
    rows_within : callable
        Returns what lies within a distance (:func:`mark_around`): rows, and how far along each.
    sweep : callable
        Returns the distances of a part of the first surface.
    """

    def __init__(
        self,
        own: Planes,
        other: Planes,
        blocks: Blocks,
        weights: Floats,
        rows_within: Callable[[float], tuple[Ints, Ints]],
        sweep: Callable[[Planes], Scattered],
    ) -> None:
        self._own, self._other, self._blocks, self._weights = own, other, blocks, weights
        self._rows_within, self._sweep = rows_within, sweep

    @cached_property
    def whole(self) -> Scattered:
        """The distances of all points."""
        return self._sweep(self._own)

    @cached_property
    def _middles(self) -> tuple[Floats, Floats]:
        """Distances of the middles of blocks that have points, ascending, and the weights of the blocks."""
        far = self._far[self._blocks.weights > 0]
        order = np.argsort(far)
        return far[order], self._blocks.weights[self._blocks.weights > 0][order]

    @cached_property
    def _far(self) -> Floats:
        """Distance of the middle of every block in mm."""
        box = self._other.box
        targets = np.ascontiguousarray(dense.filled(self._other, box).transpose(0, 2, 1))
        spacing = np.array(self._blocks.spacing_zyx)
        return np.asarray(np.sqrt(lattice_squares(targets, np.array(box.low), *self._blocks.middles, spacing)))

    def _between(self, low: float, high: float) -> tuple[float, Scattered] | None:
        """Return the weight that is surely nearer than ``low``, and all points that may be between both.

        ``None`` where these are so many that all points may as well be looked at.
        """
        if "whole" in self.__dict__:
            return None
        radius, weights = self._blocks.radius, self._blocks.weights
        nearest, farthest = self._far * (1 - _SLACK) - radius, self._far * (1 + _SLACK) + radius
        chosen = (farthest >= low) & (nearest <= high) & (weights > 0)
        if chosen.sum() > _MOST * chosen.size:
            return None
        below = float(weights[farthest < low].sum())
        if not chosen.any():
            return below, Scattered(np.zeros(0), np.zeros(0), lambda: np.zeros(0, np.int64))
        return below, self._sweep(Chosen(self._own, self._blocks, chosen))

    @property
    def total(self) -> float:
        """Total weight (mm² for surfels)."""
        return self._blocks.total

    def within(self, limit_mm: float) -> float:
        """Return the weight of the points that are no farther."""
        if isinstance(self._other, PointPlanes) and "whole" not in self.__dict__:
            rows, reaches = self._rows_within(limit_mm)
            marks = self._other.most * int((2 * reaches + 1 + _ROW).sum())
            if _MARK_NS * marks < dense.cost_ns(self._other.box.shape, self._own.box.shape):
                return self._marked(self._other, rows, reaches)
        found = self._between(limit_mm, limit_mm)
        return self.whole.within(limit_mm) if found is None else found[0] + found[1].within(limit_mm)

    def _marked(self, other: PointPlanes, rows: Ints, reaches: Ints) -> float:
        """Return the weight of the points in rows around those of the other surface."""
        if not reaches.size:
            return 0.0
        more_z, more_y = np.abs(rows).max(axis=0).tolist()
        box = other.box.wider((more_z, more_y, int(reaches.max()))).within(self._own.box)
        if min(box.shape) <= 0:
            return 0.0
        near = np.zeros(box.shape, np.uint8)
        mark_around(other.points, rows, reaches, np.array(box.low), near)
        total = 0.0
        for z, plane in zip(dense.inside(self._own.slices, box).tolist(), self._own.codes(box), strict=True):
            total += weight_where(plane, near[z - box.low[0]], self._weights)
        return total

    def between(self, low_mm: float, high_mm: float) -> bool:
        """Return whether some distance is at least ``low_mm`` and less than ``high_mm``."""
        found = self._between(low_mm, high_mm)
        return (self.whole if found is None else found[1]).between(low_mm, high_mm)

    def reached(self, quantile: float) -> float | None:
        """Return the first distance at which the share of weight reaches a quantile; see ``Directed.reached``.

        That of the middles is a good guess. What is found between two distances is right if it lies between them.
        """
        far, weights = self._middles
        place = int(np.searchsorted(np.cumsum(weights), quantile * self.total))
        guess, radius = far[min(place, far.size - 1)], self._blocks.radius
        for share in _SHARES if quantile <= 1 - 1e-6 else ():
            low, high = guess - share * radius, guess + share * radius
            found = self._between(low, high)
            if found is None:
                break
            below, some = found
            if some.distances.size:
                value = first_reached(some.distances, some.parts, quantile, below, self.total)
                if value is None or low <= value <= high:
                    return value
        return self.whole.reached(quantile)

    @property
    def largest(self) -> float:
        """The largest distance in mm."""
        found = self._between(self._middles[0][-1] * (1 - _SLACK) - self._blocks.radius, math.inf)
        return (self.whole if found is None else found[1]).largest

    @property
    def moment(self) -> float:
        """Sum of distance times weight."""
        return self.whole.moment

    @property
    def values(self) -> Floats:
        """Distinct distances in mm, ascending."""
        return self.whole.values

    @property
    def weights(self) -> Floats:
        """Total weight at each distinct distance."""
        return self.whole.weights

    @property
    def counts(self) -> Ints:
        """Number of points at each distinct distance."""
        return self.whole.counts


Distances: TypeAlias = Directed | Scattered | Blocked
"""Distances in one direction."""
