"""Surfaces slice by slice, as an array of codes: for those that have more points than can be kept.

A mask of noise has a surface element of every structure at nearly every corner. Kept as points these are a hundred
bytes per voxel; here they are worked out anew for each slice, from the label volume, whenever somebody looks at them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.compiled import kernel, part
from medpodium.scoring.measures.surfaces import areas
from medpodium.scoring.measures.surfaces.points import Codes, Floats, Ints, Kind, Points, Surface, Volume, look_around

Bytes = npt.NDArray[np.uint8]
_TOGETHER = 8
"""Slices that are worked out at once."""
_WIDE = 128
"""Rows of no fewer voxels are compared, as that many take one instruction each and fewer as many as there are."""


class Box(NamedTuple):
    """Corners ``low <= (z, y, x) < high``."""

    low: tuple[int, int, int]
    high: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of corners along z, y, x."""
        (z, y, x), (sz, sy, sx) = self.low, self.high
        return sz - z, sy - y, sx - x

    def wider(self, by: tuple[int, int, int]) -> Box:
        """Return the box with so many corners more on every side."""
        low = tuple(a - b for a, b in zip(self.low, by, strict=True))
        return Box((low[0], low[1], low[2]), _sum(self.high, by))

    def within(self, other: Box) -> Box:
        """Return what both hold; its shape is not positive where they have nothing in common."""
        low = tuple(max(a, b) for a, b in zip(self.low, other.low, strict=True))
        high = tuple(min(a, b) for a, b in zip(self.high, other.high, strict=True))
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _sum(a: tuple[int, int, int], b: tuple[int, int, int]) -> tuple[int, int, int]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


class Planes(Protocol):
    """A surface that can be looked at slice by slice."""

    @property
    def box(self) -> Box:
        """A box that holds all points."""

    @property
    def slices(self) -> Ints:
        """Slices that can have points, ascending."""

    @property
    def most(self) -> int:
        """At most so many points."""

    def codes(self, box: Box) -> Iterator[Bytes]:
        """Yield the codes in a box for each of its slices among ``slices``, shape (ny, nx); 0 where there is no point.

        The next one may come in the same array. Border voxels have the code 1.
        """

    def weight_in(self, near: Bytes, box: Box, weights: Floats) -> float:
        """Return the weight of the points in a part of the box that are marked; see ``areas.weight_of_marked``."""


@part
def _set(points, codes, y, x, out):  # type: ignore[no-untyped-def]
    for i in range(points.shape[0]):
        at_y, at_x = points[i, 1] - y, points[i, 2] - x
        if 0 <= at_y < out.shape[0] and 0 <= at_x < out.shape[1]:
            out[at_y, at_x] = max(codes[i], 1)


@kernel
def put(points, codes, y, x, out):  # type: ignore[no-untyped-def]
    """Write the codes of points into a plane whose first corner is ``y, x``; 1 for the code 0."""
    for row in range(out.shape[0]):
        out[row, :] = 0
    _set(points, codes, y, x, out)


@kernel
def extent(points):  # type: ignore[no-untyped-def]
    """Return the smallest and the largest coordinate along each axis, shape (2, 3), and whether ``z`` ascends."""
    box = np.empty((2, 3), np.int64)
    for axis in range(3):
        box[0, axis] = points[0, axis]
        box[1, axis] = points[0, axis]
    ascends = True
    for i in range(points.shape[0]):
        for axis in range(3):
            box[0, axis] = min(box[0, axis], points[i, axis])
            box[1, axis] = max(box[1, axis], points[i, axis])
        ascends &= i == 0 or points[i, 0] >= points[i - 1, 0]
    return box, ascends


class PointPlanes:
    """Points that are kept, as planes.

    Parameters
    ----------
    points : ndarray of int16 or int32, shape (n, 3), n > 0
    codes : ndarray of uint8, shape (n,)
    """

    def __init__(self, points: Points, codes: Codes) -> None:
        found, ascends = extent(points)
        if not ascends:
            order = np.argsort(points[:, 0], kind="stable")
            points, codes = points[order], codes[order]
        self.points, self._codes = points, codes
        low, high = found.tolist()
        self.box = Box((low[0], low[1], low[2]), (high[0] + 1, high[1] + 1, high[2] + 1))
        along = points[:, 0]
        first = np.flatnonzero(np.r_[True, along[1:] != along[:-1]])
        self.slices: Ints = along[first].astype(np.int64)
        self._starts = np.append(first, len(points))
        self.most = len(points)

    def codes(self, box: Box) -> Iterator[Bytes]:
        """Yield the codes in a box, slice by slice."""
        plane = np.zeros(box.shape[1:], np.uint8)
        for at, z in enumerate(self.slices.tolist()):
            if box.low[0] <= z < box.high[0]:
                own = slice(self._starts[at], self._starts[at + 1])
                put(self.points[own], self._codes[own], box.low[1], box.low[2], plane)
                yield plane

    def weight_in(self, near: Bytes, box: Box, weights: Floats) -> float:
        """Return the weight of the points in a box that are marked."""
        return float(areas.weight_of_points(near, np.array(box.low), weights, self.points, self._codes))


@part
def members_of(volume, member, only, z, z_start, z_stop, edge, y, x, out):  # type: ignore[no-untyped-def]
    """Write where a structure is in a slice, from voxel ``y, x`` on.

    Beyond the volume and the structure's slices it is nowhere, or, without ``edge``, where the outermost voxels are.
    ``only`` is its label, where it has one: comparing takes a fraction of looking up.
    """
    nz, ny, nx = volume.shape
    if not edge:
        own = min(max(z, max(z_start, 0)), min(z_stop, nz) - 1)
        for at in range(out.shape[0]):
            row = volume[own, min(max(y + at, 0), ny - 1)]
            for i in range(out.shape[1]):
                out[at, i] = member[row[min(max(x + i, 0), nx - 1)]]
        return
    out[:] = 0
    if z < 0 or z >= nz or z < z_start or z >= z_stop:
        return
    first = max(0, -x)
    n = min(out.shape[1], nx - x) - first
    for at in range(out.shape[0]):
        if 0 <= y + at < ny and n > 0:
            row = volume[z, y + at, x + first : x + first + n]
            to = out[at, first : first + n]
            if only.size > 0:
                label = only[0]
                for i in range(n):
                    to[i] = row[i] == label
                continue
            for i in range(n):
                to[i] = member[row[i]]


@kernel
def surfel_codes(volume, member, only, z, z_start, z_stop, planar, edge, y, x, held, members, halves, out):  # type: ignore[no-untyped-def]
    """Find the neighbour codes of a structure in one slice of corners, as ``search.surface_elements`` does.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only
    member : ndarray of uint8, shape (n_labels,)
        1 for the labels of the structure.
    only : ndarray of the volume's type, shape (1,) or (0,)
        Its label, where there is one.
    z, z_start, z_stop : int
        Slice of corners; the slices that the structure is limited to.
    planar : bool
        Whether the volume is a plane.
    edge : bool
        Whether the image's border is a surface.
    y, x : int
        The first corner of ``out``.
    held, members, halves : ndarray of int64, shape (3,), and of uint8, (ny + 1, more than nx) and (2, ny, as many)
        Slices that are known from the call before, where the structure is in the last one, and the four voxels of each
        around every corner: half a code.
    out : ndarray of uint8, shape (n, ny, nx)
        Gets that slice and the next ones.
    """
    n, ny, nx = out.shape
    width = members.shape[1]
    for at_z in range(n):
        above = z if planar else z - 1
        for own in (above, z):
            k = own & 1
            if held[k] == own:
                continue
            held[k] = own
            members_of(volume, member, only, own, z_start, z_stop, edge, y - 1, x - 1, members)
            half = halves[k].ravel()
            upper, lower = members[:ny].ravel(), members[1 : ny + 1].ravel()
            for i in range(half.size - 1):
                half[i] = (upper[i] << 3) | (upper[i + 1] << 2) | (lower[i] << 1) | lower[i + 1]
        code, second = halves[above & 1].ravel(), halves[z & 1].ravel()
        held[above & 1] = -9  # what comes next does not need it
        for i in range(code.size):
            code[i] = (code[i] << 4) | second[i]
        for i in range(code.size):  # apart from the above, or neither is done with vectors of bytes
            code[i] = code[i] if code[i] != 255 else 0
        for at in range(ny):
            row, to = code[at * width : at * width + nx], out[at_z, at]
            for i in range(nx):
                to[i] = row[i]
        z += 1


@kernel
def border_codes(volume, member, only, z, z_start, z_stop, planar, edge, y, x, held, members, out):  # type: ignore[no-untyped-def]
    """Find the border voxels of a structure in one slice, as ``search.border_voxels`` does: 1 there, 0 elsewhere.

    Parameters are those of :func:`surfel_codes`, but that ``members`` holds three slices, shape (3, ny + 2, nx + 2).
    """
    for at_z in range(out.shape[0]):
        above, below = (z, z) if planar else (z - 1, z + 1)
        for own in (above, z, below):
            if held[own % 3] != own:
                members_of(volume, member, only, own, z_start, z_stop, edge, y - 1, x - 1, members[own % 3])
                held[own % 3] = own
        width = out.shape[2]
        for at in range(out.shape[1]):
            m, a, b = members[z % 3, at + 1], members[z % 3, at], members[z % 3, at + 2]
            c, d = members[above % 3, at + 1], members[below % 3, at + 1]
            to = out[at_z, at]
            for i in range(width):
                inside = m[i] & m[i + 2] & a[i + 1] & b[i + 1] & c[i + 1] & d[i + 1]
                to[i] = m[i + 1] & (1 - inside)
        z += 1


@part
def _has(row, member, only):  # type: ignore[no-untyped-def]
    """Tell whether a structure is anywhere in a row."""
    found = False
    if only.size > 0:
        label = only[0]
        for i in range(row.size):
            found |= row[i] == label
        return found
    for i in range(row.size):
        found |= member[row[i]] != 0
    return found


@kernel
def structure_box(volume, start, stop, member, z_start, z_stop):  # type: ignore[no-untyped-def]
    """Return the first voxel of a structure's bounding box and the one behind its last, shape (2, 3); zeros for none.

    Parameters
    ----------
    volume, start, stop
        The volume, and what ``kernels.row_extents`` found.
    member : ndarray of uint8, shape (n_labels,)
    z_start, z_stop : int
        The slices it is limited to.
    """
    nz, ny, nx = volume.shape
    only = np.zeros(1, volume.dtype)
    n_labels = 0
    for label in range(member.size):
        if member[label] != 0:
            only[0] = label
            n_labels += 1
    only = only[: 1 if n_labels == 1 else 0]
    box = np.zeros((2, 3), np.int64)
    box[0, 0], box[0, 1], box[0, 2] = nz, ny, nx
    for z in range(max(z_start, 0), min(z_stop, nz)):
        for y in range(ny):
            x, end = np.int64(start[z, y]), np.int64(stop[z, y])
            row = volume[z, y]
            # only what would widen the box is looked at closely: noise has little of it
            low, high = min(box[0, 2], end), max(box[1, 2], x)
            known = box[1, 0] == z + 1 and box[0, 1] <= y < box[1, 1]
            if known and low <= x and high >= end:
                continue
            before, behind = _has(row[x:low], member, only), _has(row[high:end], member, only)
            if not (before or behind or (not known and _has(row[low:high], member, only))):
                continue
            while before and member[row[x]] == 0:
                x += 1
            while behind and member[row[end - 1]] == 0:
                end -= 1
            box[0, 0], box[0, 1], box[0, 2] = min(box[0, 0], z), min(box[0, 1], y), x if before else box[0, 2]
            box[1, 0], box[1, 1] = max(box[1, 0], z + 1), max(box[1, 1], y + 1)
            box[1, 2] = end if behind else box[1, 2]
    if box[1, 0] == 0:
        box[:] = 0
    return box


@dataclass(frozen=True, eq=False)
class VolumePlanes:
    """The surface of one structure of a label volume, worked out whenever it is looked at.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), read-only
    member : ndarray of uint8, shape (n_labels,)
        1 for the labels of the structure.
    z_range
        The slices it is limited to.
    voxels : ndarray of int64, shape (2, 3)
        Its bounding box (:func:`structure_box`).
    kind
        Which definition of a surface.
    planar
        Whether the volume is a plane.
    edge
        Whether the image's border is a surface; else beyond it everything is like the outermost voxels.
    """

    volume: Volume
    member: Bytes = field(repr=False)
    z_range: tuple[int, int]
    voxels: Ints
    kind: Kind
    planar: bool
    edge: bool = True
    known: dict[object, Any] = field(init=False, repr=False, default_factory=dict)
    """What was worked out about all of it, for whoever asks the same again."""

    @property
    def box(self) -> Box:
        """A box that holds all points."""
        low, high = self.voxels.tolist()
        more = 1 if self.kind == "surfel-area" and high[0] > 0 else 0
        return Box((low[0], low[1], low[2]), (high[0] + (0 if self.planar else more), high[1] + more, high[2] + more))

    @property
    def slices(self) -> Ints:
        """Slices that can have points."""
        return np.arange(self.box.low[0], self.box.high[0])

    @cached_property
    def only(self) -> npt.NDArray[Any]:
        """Its label, where it has one; see :func:`surfel_codes`."""
        labels = np.flatnonzero(self.member)
        return labels[: labels.size == 1].astype(self.volume.dtype)

    def codes(self, box: Box) -> Iterator[Bytes]:
        """Yield the codes in a box, slice by slice."""
        ny, nx = box.shape[1:]
        planes = np.zeros((_TOGETHER, ny, nx), np.uint8)
        scratch: tuple[Bytes, ...]
        if self.kind == "surfel-area":
            width = max(nx, _WIDE) + 1
            find, scratch = surfel_codes, (np.empty((ny + 1, width), np.uint8), np.empty((2, ny, width), np.uint8))
        else:
            find, scratch = border_codes, (np.empty((3, ny + 2, nx + 2), np.uint8),)
        own, held = self.box, np.full(3, -9, np.int64)
        first, stop = max(box.low[0], own.low[0]), min(box.high[0], own.high[0])
        for z in range(first, stop, _TOGETHER):
            some = planes[: stop - z]
            find(self.volume, self.member, self.only, z, *self.how[:4], *box.low[1:], held, *scratch, some)
            yield from some

    def nearest(self, points: Points, steps: Ints) -> Ints:
        """Return the first step from each point that leads to this surface; see :func:`.points.look_around`."""
        found: Ints = look_around(points, steps, *np.array(self.box), self.volume, self.member, *self.how)
        return found

    def weight_in(self, near: Bytes, box: Box, weights: Floats) -> float:
        """Return the weight of the points in a box that are marked."""
        return float(areas.weight_of_marked(near, np.array(box.low), weights, self.volume, self.member, *self.how))

    @property
    def how(self) -> tuple[int, int, bool, bool, bool]:
        """How kernels are told what it is: z_start, z_stop, planar, edge, surfels."""
        return (*self.z_range, self.planar, self.edge, self.kind == "surfel-area")

    @property
    def most(self) -> int:
        """At most so many points: a corner of the box each; 0 only where there is none."""
        return math.prod(self.box.shape) if self.edge else self._number

    @cached_property
    def _number(self) -> int:
        return sum(int(np.count_nonzero(plane)) for plane in self.codes(self.box))

    def points(self) -> Surface:
        """Return all points, as many as there are."""
        box = self.box
        found = [
            (z, *np.nonzero(plane), plane[plane != 0])
            for z, plane in zip(self.slices.tolist(), self.codes(box), strict=True)
        ]
        like: Any = np.int16 if max(self.volume.shape) < np.iinfo(np.int16).max else np.int32
        parts = [np.column_stack([np.full(y.size, z), y + box.low[1], x + box.low[2]]) for z, y, x, _ in found]
        points: Points = np.concatenate(parts).astype(like) if parts else np.zeros((0, 3), like)
        codes = np.concatenate([own for *_, own in found]) if found else np.zeros(0, np.uint8)
        return Surface(points, codes if self.kind == "surfel-area" else np.zeros_like(codes))
