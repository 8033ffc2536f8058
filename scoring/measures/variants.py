"""Graphs of structures: which are there, what they touch, in how many pieces, and whether two masks agree on that.

The rules are those of TopCoW 2024 (Yang et al., arXiv:2312.17670, and its public evaluation), restated: vessels are
numbers in a label map, and two touch where a voxel of one has one of the other among its 26 neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from medpodium.scoring.measures.boxes import foreground_box
from medpodium.scoring.measures.instances import presence

Numbered: TypeAlias = npt.NDArray[np.uint8]
_ALL = np.ones((3, 3, 3), np.bool_)


class Anatomy:
    """The structures of one mask.

    Parameters
    ----------
    numbered : ndarray of uint8, shape (nz, ny, nx)
        Number of the structure of every voxel, from 1; 0 is background.
    """

    def __init__(self, numbered: Numbered) -> None:
        box = foreground_box(numbered)
        self._first_x = (box[2].start if numbered[box].size else 0) - 1
        self._map = np.pad(numbered[box], 1)
        self._boxes = ndimage.find_objects(self._map)

    def _around(self, number: int) -> tuple[npt.NDArray[np.bool_], Numbered]:
        """Return a structure and the map, one voxel more than its box on every side."""
        box = self._boxes[number - 1] if number <= len(self._boxes) else None
        if box is None:
            return np.zeros((0, 0, 0), np.bool_), np.zeros((0, 0, 0), np.uint8)
        near = self._map[tuple(slice(side.start - 1, side.stop + 1) for side in box)]
        return near == number, near

    def has(self, number: int) -> bool:
        """Return whether there is such a structure."""
        return self._around(number)[1].size > 0

    def neighbours(self, number: int) -> frozenset[int]:
        """Return the numbers of the structures that a structure touches."""
        own, near = self._around(number)
        if not own.size:
            return frozenset()
        return frozenset(np.unique(near[ndimage.binary_dilation(own, _ALL) & ~own]).tolist()) - {0}

    def pieces(self, number: int) -> int:
        """Return the number of 26-connected components of a structure."""
        own, _ = self._around(number)
        return int(ndimage.label(own, _ALL)[1]) if own.size else 0

    def middle_x(self, number: int) -> float:
        """Return the median x of a structure's voxels."""
        return float(np.median(np.nonzero(self._map == number)[2])) + self._first_x

    def edges(self, edges: Sequence[tuple[int, int]]) -> str:
        """Return which edges are there, a digit each: (structure, what it touches, or 0 for anything)."""
        return "".join(str(int(self.has(one) and (not other or other in self.neighbours(one)))) for one, other in edges)


def same_topology(
    reference: Any, prediction: Any, compared: Sequence[int], threshold: float, left_right: Sequence[tuple[int, int]]
) -> bool:
    """Return whether structures are found, in as many pieces, with the same neighbours, and not on the wrong side.

    Parameters
    ----------
    reference, prediction : ndarray of uint8, shape (nz, ny, nx)
        Numbered structures, see :class:`Anatomy`.
    compared : sequence of int
        Which ones.
    threshold : float
        Smallest intersection over union by which one is found.
    left_right : sequence of pair of int
        Left and right structures; the first pair that the prediction has has the left one at the larger x, or at the
        same.
    """
    truth, said = Anatomy(reference), Anatomy(prediction)
    for number in compared:
        own, other = reference == number, prediction == number
        sizes = [int(np.count_nonzero(mask)) for mask in (own, other, own & other)]
        objects = presence(sizes[0], sizes[1], sizes[2], threshold)
        if not objects.referenced == objects.predicted == objects.found[0].matched:
            return False
        if truth.neighbours(number) != said.neighbours(number) or truth.pieces(number) != said.pieces(number):
            return False
    for left, right in left_right:
        if said.has(left) and said.has(right):
            return said.middle_x(left) >= said.middle_x(right)
    return True
