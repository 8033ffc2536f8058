"""Distances of a surface that is nearly everywhere, block by block: only what a question needs is worked out.

Noise has a surface element at every corner. How many of them are within a tolerance, or where a percentile lies, is a
question about few. Most blocks lie wholly below or above what is asked, and so do most points of the others
(:mod:`medpodium.scoring.measures.surfaces.bounds`); only what is left is looked for. Exact: nothing is sampled that is
not bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel
from medpodium.scoring.measures.surfaces import bounds, columns, dense
from medpodium.scoring.measures.surfaces.bounds import SIDE, SLACK
from medpodium.scoring.measures.surfaces.envelopes import lattice_nearest
from medpodium.scoring.measures.surfaces.histograms import Directed, Scattered, first_reached
from medpodium.scoring.measures.surfaces.nearest import tile_shifts, tiled
from medpodium.scoring.measures.surfaces.planes import Box, Planes, PointPlanes, VolumePlanes
from medpodium.scoring.measures.surfaces.points import Floats, Ints, Points, Spacing, Words

FEW = 512
"""With fewer it is not worth it."""
_MOST = 0.9
"""Share of the blocks above which all points are looked at instead."""
_SOME = 0.06
"""Share of the blocks up to which these are looked at one by one."""
_BINS = 1 << 13
_MARGINS = (0.15, 0.5)
"""How far around a good guess a percentile is looked for first, in radii of a block."""
_MARK_NS = 0.5
_ROW = 4
"""What it takes to mark a voxel, and how many of them the start of a row costs."""
_PAIR_NS = 1.5
"""What it takes to compare a point with another."""


@kernel
def add_weights(plane, weights, side_y, side_x, sums):  # type: ignore[no-untyped-def]
    """Add the weights of the points of a plane to those of its blocks, shape (ny, nx)."""
    ny, nx = plane.shape
    whole = nx // side_x if side_x == SIDE else 0
    for y in range(ny):
        row, to = plane[y], sums[y // side_y]
        for at in range(whole):  # eight at once, in no order that one of them would have to wait for
            x = at * SIDE
            first = (weights[row[x]] + weights[row[x + 1]]) + (weights[row[x + 2]] + weights[row[x + 3]])
            second = (weights[row[x + 4]] + weights[row[x + 5]]) + (weights[row[x + 6]] + weights[row[x + 7]])
            to[at] += first + second
        for at in range(whole, to.size):
            total = 0.0
            for x in range(at * side_x, min((at + 1) * side_x, nx)):
                total += weights[row[x]]
            to[at] += total


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
    def nodes(self) -> tuple[Ints, Ints, Ints]:
        """Coordinates of the corners of blocks: z, y, x."""
        along = [
            low + side * np.arange(number + 1)
            for low, side, number in zip(self.box.low, self.sides, self.weights.shape, strict=True)
        ]
        return along[0], along[1], along[2]

    @property
    def radius(self) -> float:
        """Half the diagonal of a block in mm."""
        return 0.5 * math.hypot(*(side * step for side, step in zip(self.sides, self.spacing_zyx, strict=True)))

    def part(self, first: Sequence[int], last: Sequence[int]) -> Box:
        """Return the box from one block to another, that one included, as far as the surface goes."""
        along = zip(self.box.low, self.sides, self.box.high, first, last, strict=True)
        low, high = zip(*((a + b * side, min(a + (c + 1) * side, end)) for a, side, end, b, c in along), strict=True)
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

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
    box, edge = own.box, SIDE * min(spacing_zyx)
    sides = tuple(max(1, min(round(edge / step), SIDE)) for step in spacing_zyx)
    sums = np.zeros([-(-number // side) for number, side in zip(box.shape, sides, strict=True)])
    blocks = Blocks(box, (sides[0], sides[1], sides[2]), sums, spacing_zyx)
    if isinstance(own, VolumePlanes) and own.kind == "surfel-area":
        columns.weigh(own, blocks.sides, weights, sums)
        return blocks
    for z, plane in zip(dense.inside(own.slices, box).tolist(), own.codes(box), strict=True):
        add_weights(plane, weights, sides[1], sides[2], sums[(z - box.low[0]) // sides[0]])
    return blocks


@dataclass(frozen=True, eq=False)
class _Cells:
    """Some blocks, shape (n, 3), and their codes (``bounds.gather``)."""

    blocks: Ints
    cells: Words = field(repr=False)

    def between(self, chosen: npt.NDArray[np.bool_]) -> _Cells:
        """Return those of them that are chosen among all blocks."""
        own = chosen[tuple(self.blocks.T)]
        return _Cells(self.blocks[own], self.cells[own])


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
    axis_order : {"xyz", "zyx"}
        Order in which squares are added up.
    rows_within : callable
        Returns what lies within a distance (:func:`mark_around`): rows, and how far along each.
    sweep : callable
        Returns the distances of all of the first surface.
    """

    def __init__(
        self,
        own: Planes,
        other: Planes,
        blocks: Blocks,
        weights: Floats,
        axis_order: str,
        rows_within: Callable[[float], tuple[Ints, Ints]],
        sweep: Callable[[], Scattered],
    ) -> None:
        self._own, self._other, self._blocks, self._weights = own, other, blocks, weights
        self._x_fastest, self._rows_within, self._sweep = axis_order == "xyz", rows_within, sweep

    @cached_property
    def whole(self) -> Scattered:
        """The distances of all points."""
        return self._sweep()

    @property
    def _targets(self) -> Points:
        """The points of the other surface, if they are kept."""
        return self._other.points if isinstance(self._other, PointPlanes) else np.zeros((0, 3), np.int16)

    @cached_property
    def _corners(self) -> bounds.Corners:
        blocks, spacing = self._blocks, np.array(self._blocks.spacing_zyx)
        squares, nearest = lattice_nearest(self._targets, *blocks.nodes, spacing)
        return bounds.Corners(squares, nearest, np.array(blocks.box.low), np.array(blocks.sides), spacing)

    @cached_property
    def _ranges(self) -> tuple[Floats, Floats]:
        """Bounds of the squared distances in every block."""
        found: tuple[Floats, Floats] = bounds.ranges(*self._corners.all)
        return found

    @cached_property
    def _tiles(self) -> tuple[Any, Any, Any]:
        """The other surface in tiles."""
        shifts = tile_shifts(len(self._targets), self._blocks.spacing_zyx)
        found: tuple[Any, Any, Any] = tiled(self._targets, shifts)
        return found

    def _between(self, low: float, high: float, known: _Cells | None = None) -> tuple[float, Scattered] | None:
        """Return the weight that is surely nearer than ``low``, and all points that may be between both.

        Both are squares. ``None`` where these are so many that all points may as well be looked at. ``known`` is what
        was gathered for a wider question.
        """
        if "whole" in self.__dict__ or not isinstance(self._other, PointPlanes):
            return None
        low, high = low * (1 - SLACK), high * (1 + SLACK)
        own = self._cells(low, high) if known is None else known.between(self._chosen(low, high))
        if own is None:
            return None
        room = int(np.count_nonzero(own.cells.view(np.uint8)))
        values, parts = np.empty(room), np.empty(room)
        patience = int(dense.cost_ns(self._other.box.shape, self._own.box.shape) / _PAIR_NS)
        n, nearer = bounds.collect(
            own.cells, own.blocks, *self._corners.all, self._weights, low, high, *self._tiles, self._x_fastest,
            patience, values, parts,
        )  # fmt: skip
        if n < 0:
            return None
        below = nearer + float(self._blocks.weights[self._ranges[1] < low].sum())
        return below, Scattered(values[:n], parts[:n], lambda: np.ones(n, np.int64))

    def _chosen(self, low: float, high: float) -> npt.NDArray[np.bool_]:
        """Tell which blocks may have points whose squared distances are between two."""
        lows, highs = self._ranges
        return np.asarray((highs >= low) & (lows <= high) & (self._blocks.weights > 0))

    def _cells(self, low: float, high: float) -> _Cells | None:
        """Gather the codes of these blocks; ``None`` where they are so many that all may as well be looked at."""
        chosen, blocks = self._chosen(low, high), self._blocks
        if np.count_nonzero(chosen) > _MOST * chosen.size:
            return None
        found = _Cells(np.argwhere(chosen), np.zeros((np.count_nonzero(chosen), *blocks.sides[:2]), np.uint64))
        if not len(found.blocks):
            return found
        own = self._own
        if isinstance(own, VolumePlanes) and own.kind == "surfel-area" and len(found.blocks) < _SOME * chosen.size:
            columns.codes_in(own, self._corners.low, self._corners.sides, found.blocks, found.cells)
            return found
        first, last = found.blocks.min(axis=0).tolist(), found.blocks.max(axis=0).tolist()
        box = blocks.part(first, last)
        starts = np.searchsorted(found.blocks[:, 0], np.arange(chosen.shape[0] + 1)).tolist()
        for z, plane in zip(dense.inside(own.slices, box).tolist(), own.codes(box), strict=True):
            layer, at = divmod(z - blocks.box.low[0], blocks.sides[0])
            some = starts[layer], starts[layer + 1]
            bounds.gather(plane, at, found.blocks, *some, *first[1:], self._corners.sides, found.cells)
        return found

    def _narrowed(
        self, low: float, high: float, least: float, most: float
    ) -> tuple[tuple[float, float], _Cells] | None:
        """Return squares between which the sum of weights passes from ``least`` to ``most``, if both lie between two.

        With them comes what was gathered. ``None`` where all points may as well be looked at.
        """
        own = None if "whole" in self.__dict__ else self._cells(low * (1 - 4 * SLACK), high * (1 + 4 * SLACK))
        if own is None or high <= low:
            return None
        by_low, by_high = np.zeros(_BINS), np.zeros(_BINS)
        scale = (_BINS - 2) / (high - low)
        bounds.add_bounds(own.cells, own.blocks, *self._corners.all, self._weights, low, scale, by_low, by_high)
        below = float(self._blocks.weights[self._ranges[1] < low * (1 - 4 * SLACK)].sum())
        passed = bounds.passed(by_low, by_high, below, least, most, low, scale)
        return None if passed is None else (passed, own)

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
        found = self._between(limit_mm**2, limit_mm**2)
        return self.whole.within(limit_mm) if found is None else found[0] + found[1].within(limit_mm)

    def _marked(self, other: PointPlanes, rows: Ints, reaches: Ints) -> float:
        """Return the weight of the points in rows around those of the other surface."""
        if not reaches.size:
            return 0.0
        more_z, more_y = np.abs(rows).max(axis=0).tolist()
        box = other.box.wider((more_z, more_y, int(reaches.max()))).within(self._own.box)
        if min(box.shape) <= 0:
            return 0.0
        nz, ny, nx = box.shape
        near = np.zeros((nz, ny, -(-nx // 8) * 8), np.uint8)
        dense.mark_around(other.points, rows, reaches, np.array(box.low), nx, near)
        return self._own.weight_in(near, box, self._weights)

    def between(self, low_mm: float, high_mm: float) -> bool:
        """Return whether some distance is at least ``low_mm`` and less than ``high_mm``."""
        found = self._between(low_mm**2, high_mm**2)
        return (self.whole if found is None else found[1]).between(low_mm, high_mm)

    def reached(self, quantile: float) -> float | None:
        """Return the first distance at which the share of weight reaches a quantile; see ``Directed.reached``.

        The bounds of blocks tell about where it is, those of points closely.
        """
        if isinstance(self._other, PointPlanes) and quantile <= 1 - 1e-6:
            lows, highs = self._ranges
            least, most = (quantile - 4 * SLACK) * self.total, (quantile + 4 * SLACK) * self.total
            scale = (_BINS - 2) / max(float(highs.max()), 1e-300)
            by_low, by_high = (self._in_bins(of * scale) for of in (lows, highs))
            first = bounds.passed(by_low, by_high, 0.0, least, most, 0.0, scale)
            if first is None:
                return self.whole.reached(quantile)
            guess = self._guess(quantile)
            radii = [share * self._blocks.radius for share in _MARGINS]
            tried = [(max(guess - radius, 0.0) ** 2, (guess + radius) ** 2) for radius in radii]
            all_found = (self._narrowed(*both, least, most) for both in (*tried, first))
            then = next((some for some in all_found if some is not None), None)
            found = None if then is None else self._between(*then[0], then[1])
            if found is not None and found[1].distances.size:
                return first_reached(found[1].distances, found[1].parts, quantile, found[0], self.total)
        return self.whole.reached(quantile)

    def _in_bins(self, places: Floats) -> Floats:
        """Add up the weights of blocks by what each has a place for."""
        found = np.bincount(places.astype(np.int64).ravel(), self._blocks.weights.ravel(), _BINS)
        return found.astype(np.float64, copy=False)

    def _guess(self, quantile: float) -> float:
        """Return about where the share of weight reaches a quantile: from the middle of each block and around it."""
        squares, radius = self._corners.squares, self._blocks.radius
        for axis in range(3):
            before, behind = (np.take(squares, range(k, squares.shape[axis] - 1 + k), axis) for k in (0, 1))
            squares = before + behind
        middles = np.sqrt(np.maximum(squares.ravel() / 8 - radius**2, 0.0))
        scale = (_BINS - 1) / (float(middles.max()) + radius)
        sums = np.zeros(_BINS)
        for share in (-0.5, -0.17, 0.17, 0.5):
            sums += self._in_bins(np.maximum(middles + share * radius, 0.0) * scale)
        return (int(np.searchsorted(np.cumsum(sums), quantile * sums.sum())) + 0.5) / scale

    @property
    def largest(self) -> float:
        """The largest distance in mm."""
        if isinstance(self._other, PointPlanes):
            lows, some = self._ranges[0], self._blocks.weights > 0
            found = self._between(float(lows[some].max()), math.inf)
            if found is not None:
                return found[1].largest
        return self.whole.largest

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
