"""Connected components of one structure in one mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.components import runs
from medpodium.scoring.measures.surfaces.points import Volume

Counts = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]

RANK = {6: 1, 18: 2, 26: 3}
"""Along how many axes neighbours may differ."""


def reaches(largest: int, total: int) -> Counts:
    """Return how far along x voxels may lie apart whose rows are ``(dz, dy)`` apart; negative where they never meet.

    Parameters
    ----------
    largest : int
        Largest offset along any axis.
    total : int
        Largest sum of the absolute offsets.
    """
    dz, dy = np.mgrid[: largest + 1, : largest + 1]
    return np.asarray(np.minimum(largest, total - dz - dy), np.int64)


def joining(connectivity: int, dilation: int) -> Counts:
    """Return the :func:`reaches` of voxels that belong to one component after some dilations.

    Parameters
    ----------
    connectivity : {6, 18, 26}
        Which voxels of the dilated mask are neighbours.
    dilation : int
        How often the mask is dilated by its 18-neighbourhood.
    """
    return reaches(2 * dilation + 1, 4 * dilation + RANK[connectivity])


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of a structure, sorted by row and x.

    Parameters
    ----------
    shape : tuple of int
        Shape (nz, ny, nx) of the mask.
    rows, starts, stops : ndarray of int32, shape (n_runs,)
        Row ``z * ny + y`` and voxels ``start <= x < stop``.
    """

    shape: tuple[int, int, int]
    rows: Indices
    starts: Indices
    stops: Indices

    @cached_property
    def first_of(self) -> Counts:
        """First run of every row, shape (nz * ny + 1,)."""
        nz, ny, _ = self.shape
        return np.asarray(np.searchsorted(self.rows, np.arange(nz * ny + 1)), np.int64)

    def components(self, connectivity: int, dilation: int = 0) -> Components:
        """Return the components; with dilations, what they join is one (:func:`joining`)."""
        ny, reach = self.shape[1], joining(connectivity, dilation)
        owner, count = runs.join_runs(self.rows, self.starts, self.stops, self.first_of, ny, reach)
        return Components(self, owner, *runs.measure_runs(self.rows, self.starts, self.stops, owner, count, ny))


@dataclass(frozen=True, eq=False)
class Components:
    """Components of a mask, numbered from 0 in the order of their first voxels (by z, then y, then x).

    Parameters
    ----------
    runs : Runs
        What they are made of.
    owner : ndarray of int32, shape (n_runs,)
        Component of every run.
    sizes : ndarray of int64, shape (n,)
        Their voxels.
    boxes : ndarray of int32, shape (n, 6)
        Lowest z, y, x of each, and the ones after the highest.
    """

    runs: Runs
    owner: Indices
    sizes: Counts
    boxes: Indices

    @cached_property
    def order(self) -> Counts:
        """Runs sorted by component."""
        return np.asarray(np.argsort(self.owner, kind="stable"), np.int64)

    @cached_property
    def limits(self) -> Counts:
        """Where the runs of each component begin in :attr:`order`, shape (n + 1,)."""
        return np.asarray(np.searchsorted(self.owner[self.order], np.arange(self.sizes.size + 1)), np.int64)

    def only(self, keep: npt.NDArray[np.bool_]) -> Components:
        """Return those that are to be kept, renumbered."""
        if keep.all():
            return self
        number = np.cumsum(keep, dtype=np.int32) - 1
        left = keep[self.owner]
        own = self.runs
        rest = Runs(own.shape, own.rows[left], own.starts[left], own.stops[left])
        return Components(rest, number[self.owner[left]].astype(np.int32), self.sizes[keep], self.boxes[keep])

    def meeting(self, other: Components, dilation: int = 0) -> tuple[Counts, Counts, Counts]:
        """Return (own index, other's index, shared voxels) of every pair that meets, sorted.

        Parameters
        ----------
        other : Components
            Components of a mask of the same shape.
        dilation : int
            Meeting is to share a voxel after the own components were dilated so often by their 18-neighbourhood.
        """
        nz, ny, _ = self.runs.shape
        found = runs.meeting(
            self.runs.rows, self.runs.starts, self.runs.stops, self.owner, self.order,
            (other.runs.starts, other.runs.stops), other.runs.first_of, other.owner, other.sizes.size, nz, ny,
            reaches(dilation, 2 * dilation),
        )  # fmt: skip
        order = np.lexsort((found[1], found[0]))
        return found[0][order], found[1][order], found[2][order]

    def beside(self, other: Components) -> Components:
        """Return the components where those that touch the same one of another mask are one.

        Touching is to lie within one step of the 18-neighbourhood. One that touches several counts with the first of
        them: that of the lowest x, then y and z. What touches nothing stays as it is.

        Parameters
        ----------
        other : Components
            Components of a mask of the same shape.
        """
        own, theirs, _ = self.meeting(other, 1)
        if own.size == 0:
            return self
        number = self.sizes.size
        rank = np.empty(other.sizes.size, np.int64)
        rank[np.lexsort(other.boxes[:, :3].T)] = np.arange(other.sizes.size)
        touched = np.arange(other.sizes.size, other.sizes.size + number)
        np.minimum.at(touched, own, rank[theirs])
        _, first, group = np.unique(touched, return_index=True, return_inverse=True)
        place = np.empty(first.size, np.int32)
        place[np.argsort(first)] = np.arange(first.size, dtype=np.int32)
        owner, mask = place[group][self.owner], self.runs
        found = runs.measure_runs(mask.rows, mask.starts, mask.stops, owner, first.size, mask.shape[1])
        return Components(mask, owner, *found)

    def paint(self, wanted: Counts, marks: Counts, shifts: Counts, canvas: npt.NDArray[np.uint8]) -> None:
        """Paint some components into a volume.

        Parameters
        ----------
        wanted : ndarray of int64, shape (n,)
            Which ones.
        marks : ndarray of int64, shape (n,)
            What their voxels become.
        shifts : ndarray of int64, shape (n, 3)
            How far each is moved along z, y and x; it has to lie within the volume then.
        canvas : ndarray of uint8, shape (nz, ny, nx)
            The volume.
        """
        own = self.runs
        runs.paint_runs(
            own.rows, own.starts, own.stops, self.order, self.limits, wanted, marks, shifts, own.shape[1], canvas
        )


class MaskComponents:
    """The components of a mask's structures, each found once.

    Parameters
    ----------
    volume : ndarray of uint8 or uint16, shape (nz, ny, nx), C order
    extents : pair of ndarray of int32, shape (nz, ny)
        Extent of every row (``kernels.row_extents``).
    structures : sequence of frozenset of int
        Labels of each structure.
    z_ranges : ndarray of int64, shape (n_structures, 2)
        The slices ``start <= z < stop`` that count for each.
    """

    def __init__(
        self, volume: Volume, extents: tuple[Indices, Indices], structures: Sequence[frozenset[int]], z_ranges: Counts
    ) -> None:
        self._volume, self._extents, self._structures, self._z_ranges = volume, extents, structures, z_ranges
        self._runs: dict[int, Runs] = {}
        self._found: dict[tuple[int, int, int], Components] = {}

    def of(self, structure: int, connectivity: int, dilation: int = 0) -> Components:
        """Return the components of a structure; with dilations, what they join is one (:func:`joining`)."""
        key = (structure, connectivity, dilation)
        if key not in self._found:
            if structure not in self._runs:
                self._runs[structure] = self._runs_of(structure)
            self._found[key] = self._runs[structure].components(connectivity, dilation)
        return self._found[key]

    def _runs_of(self, structure: int) -> Runs:
        member = np.zeros(np.iinfo(self._volume.dtype).max + 1, np.uint8)
        member[[label for label in self._structures[structure] if label < member.size]] = 1
        nz, ny, nx = self._volume.shape
        start, stop = (int(z) for z in self._z_ranges[structure])
        return Runs((nz, ny, nx), *runs.find_runs(self._volume, *self._extents, member, start, stop))
