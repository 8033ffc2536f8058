"""A label map that takes memory only where it holds something."""

from __future__ import annotations

import math
import mmap

import numpy as np
import numpy.typing as npt

from medpodium.scoring.masks.labels import LabelArray
from medpodium.scoring.measures import budget, kernels

Rows = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]

_SMALL_BYTES = 1 << 22
"""Volumes below this are ordinary arrays."""
_NARROW = 32
"""Rows shorter than this are not described: two numbers for each would take as much as they do."""


class KeptMemory:
    """Memory for one mask after the other, so that the system is asked for it once.

    A mask that was read into it is gone as soon as the next one is: only for those who keep none.
    """

    def __init__(self) -> None:
        self._bytes: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._last: SparseVolume | None = None

    def lend(self, volume: SparseVolume, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return zeros, shape (n_bytes,), to a volume."""
        if self._last is not None:
            self._last.clear()
        if self._bytes.size < n_bytes:
            self._last = None
            self._bytes = np.empty(0, np.uint8)
            self._bytes = _zeros(n_bytes)
        self._last = volume
        return self._bytes[:n_bytes]


class SparseVolume:
    """A volume that is filled from its first voxel to its last, and whose background is never written.

    The system hands out memory at the first touch. An ordinary array is filled throughout, or comes in pages of 2 MB,
    which is the same; most of a medical label map is background.

    Parameters
    ----------
    shape_zyx : tuple of int
    memory : KeptMemory, optional
        Where to put it.
    """

    def __init__(self, shape_zyx: tuple[int, int, int], memory: KeptMemory | None = None) -> None:
        self._shape = shape_zyx
        self._voxels = math.prod(shape_zyx)
        self._filled = 0
        depth, height, width = shape_zyx
        n_rows = depth * height if width >= _NARROW else 0
        self._rows = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.int32)
        self._array: LabelArray = _zeros(self._voxels) if memory is None else memory.lend(self, self._voxels)

    def clear(self) -> None:
        """Make everything background again."""
        if self._rows[0].size:
            kernels.clear_rows(self._array, self._shape[2], *self._rows)
        else:
            self._array[: self._filled] = 0

    def add(self, values: LabelArray) -> None:
        """Put the next voxels, shape (n,); the volume becomes uint16 at the first piece that is."""
        budget.step(values.itemsize * self._voxels)
        if values.dtype != self._array.dtype:
            if values.dtype == np.uint16:
                self._widen()
            values = values.astype(np.uint16)  # once a piece was wide, all are
        if self._rows[0].size:
            kernels.place_rows(values, self._filled, self._shape[2], self._array, *self._rows)
        else:
            self._array[self._filled : self._filled + values.size] = values
        self._filled += values.size

    def _widen(self) -> None:
        wide = _zeros(2 * self._voxels).view(np.uint16)
        width = self._shape[2]
        if self._rows[0].size:
            for row in np.flatnonzero(self._rows[1]):
                part = slice(row * width + self._rows[0][row], row * width + self._rows[1][row])
                wide[part] = self._array[part]
        else:
            wide[: self._filled] = self._array[: self._filled]
        self.clear()  # the memory may be kept for others
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


def _zeros(n_bytes: int) -> npt.NDArray[np.uint8]:
    if n_bytes < _SMALL_BYTES:
        return np.zeros(n_bytes, np.uint8)
    try:
        memory = mmap.mmap(-1, n_bytes)  # zeros, in pages of 4 KB
    except OSError:
        raise MemoryError(f"no {n_bytes} bytes for a mask") from None
    array: npt.NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
    return array
