"""What the points of a surface are made of."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Volume: TypeAlias = "npt.NDArray[np.uint8] | npt.NDArray[np.uint16]"
Kind = Literal["surfel-area", "border-voxel"]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Points: TypeAlias = "npt.NDArray[np.int16] | npt.NDArray[np.int32]"
Codes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Spacing = tuple[float, float, float]


class Surface(NamedTuple):
    """The surface points of one structure, ``(z, y, x)`` of shape (n, 3), and their codes, shape (n,)."""

    points: Points
    codes: Codes
