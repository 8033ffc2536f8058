"""A label map that takes memory only where it holds something."""

from __future__ import annotations

import math
import mmap

import numpy as np
import numpy.typing as npt

from medpodium.scoring.masks.labels import LabelArray
from medpodium.scoring.measures import kernels

Rows = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]

_SMALL_BYTES = 1 << 22
"""Volumes below this are ordinary arrays."""
_NARROW = 32
"""Rows shorter than this are not described: two numbers for each would take as much as they do."""


class SparseVolume:
    """A volume that is filled from its first voxel to its last, and whose background is never written.

    The system hands out memory at the first touch. An ordinary array is filled throughout, or comes in pages of 2 MB,
    which is the same; most of a medical label map is background.

    Parameters
    ----------
    shape_zyx : tuple of int
    """

    def __init__(self, shape_zyx: tuple[int, int, int]) -> None:
        self._shape = shape_zyx
        self._voxels = math.prod(shape_zyx)
        self._array: LabelArray = _zeros(self._voxels, np.dtype(np.uint8))
        self._filled = 0
        depth, height, width = shape_zyx
        n_rows = depth * height if width >= _NARROW else 0
        self._rows = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.int32)

    def add(self, values: LabelArray) -> None:
        """Put the next voxels, shape (n,); the volume becomes uint16 at the first piece that is."""
        if values.dtype != self._array.dtype:
            if values.dtype == np.uint16:
                self._widen()
            values = values.astype(self._array.dtype)
        if self._rows[0].size:
            kernels.place_rows(values, self._filled, self._shape[2], self._array, *self._rows)
        else:
            self._array[self._filled : self._filled + values.size] = values
        self._filled += values.size

    def _widen(self) -> None:
        wide = _zeros(self._voxels, np.dtype(np.uint16))
        width = self._shape[2]
        if self._rows[0].size:
            for row in np.flatnonzero(self._rows[1]):
                part = slice(row * width + self._rows[0][row], row * width + self._rows[1][row])
                wide[part] = self._array[part]
        else:
            wide[: self._filled] = self._array[: self._filled]
        self._array = wide

    @property
    def array(self) -> LabelArray:
        """The volume, shape (z, y, x)."""
        return self._array.reshape(self._shape)

    @property
    def rows(self) -> Rows | None:
        """First and past-the-last labelled voxel of every row, shape (z, y); ``None`` for short rows."""
        start, stop = self._rows
        return (start.reshape(self._shape[:2]), stop.reshape(self._shape[:2])) if start.size else None


def _zeros(size: int, dtype: np.dtype[np.uint8] | np.dtype[np.uint16]) -> LabelArray:
    n_bytes = size * dtype.itemsize
    if n_bytes < _SMALL_BYTES:
        return np.zeros(size, dtype)
    try:
        memory = mmap.mmap(-1, n_bytes)  # zeros, in pages of 4 KB
    except OSError:
        raise MemoryError(f"no {n_bytes} bytes for a mask") from None
    array: LabelArray = np.frombuffer(memory, dtype)
    return array
