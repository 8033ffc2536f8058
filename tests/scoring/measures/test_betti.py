"""Betti numbers: shapes whose numbers are known, and a cubical complex that is reduced by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.topology import betti_error, betti_numbers

measure = pytest.importorskip("skimage.measure")

Volume = npt.NDArray[np.bool_]


def grid(size: int = 21) -> npt.NDArray[Any]:
    return np.indices((size, size, size)) - size // 2


def ball(radius: float) -> Volume:
    return np.asarray((grid() ** 2).sum(axis=0) <= radius**2)


def torus() -> Volume:
    z, y, x = grid()
    return np.asarray((np.hypot(y, x) - 6) ** 2 + z**2 <= 6.5)


SHAPES: dict[str, tuple[Volume, tuple[int, int, int], tuple[int, int, int]]] = {
    "empty": (np.zeros((3, 4, 5), bool), (0, 0, 0), (0, 0, 0)),
    "full": (np.ones((3, 4, 5), bool), (1, 0, 0), (1, 0, 0)),
    "ball": (ball(8), (1, 0, 0), (1, 0, 0)),
    "torus": (torus(), (1, 1, 0), (1, 1, 0)),
    "hollow shell": (ball(8) & ~ball(4), (1, 0, 1), (1, 0, 1)),
    "two balls": (np.concatenate([ball(8), ball(6)]), (2, 0, 0), (2, 0, 0)),
    "full with a torus-shaped cavity": (np.ones((21, 21, 21), bool) & ~torus(), (1, 1, 1), (1, 1, 1)),
    "ring in one slice": (np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], bool), (1, 1, 0), (1, 1, 0)),
    "voxels that meet at a corner": (np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]], bool), (2, 0, 0), (1, 0, 0)),
    "diamond of four pixels": (np.array([[[0, 1, 0], [1, 0, 1], [0, 1, 0]]], bool), (4, 0, 0), (1, 1, 0)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_known_shapes(name: str) -> None:
    volume, by_faces, by_corners = SHAPES[name]
    assert betti_numbers(volume, 6) == by_faces
    assert betti_numbers(volume.astype(np.uint8) * 3, 26) == by_corners


def _rank(columns: list[int]) -> int:
    """Return the rank of a matrix over two elements, a column as the bits of a number."""
    by_top: dict[int, int] = {}
    for column in columns:
        while column and (top := column.bit_length()) in by_top:
            column ^= by_top[top]
        if column:
            by_top[column.bit_length()] = column
    return len(by_top)


def _homology(mask: Volume, connectivity: int) -> tuple[int, int, int]:
    """Return Betti numbers from ranks of boundary matrices of a cubical complex; no components, no Euler number.

    Cells have doubled coordinates, odd along the axes they extend along. With faces as neighbours voxels are the
    vertices, with corners they are the cubes and bring all of their faces along.
    """
    filled = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    cells: set[tuple[int, ...]] = set()
    if connectivity == 26:
        for voxel in filled:
            cells |= set(itertools.product(*((2 * v, 2 * v + 1, 2 * v + 2) for v in voxel)))
    else:
        for cell in itertools.product(*(range(2 * size - 1) for size in mask.shape)):
            corners = itertools.product(*((c // 2, c // 2 + 1) if c % 2 else (c // 2,) for c in cell))
            if all(corner in filled for corner in corners):
                cells.add(cell)
    order = [sorted(cell for cell in cells if sum(c % 2 for c in cell) == dimension) for dimension in range(4)]
    place = [{cell: at for at, cell in enumerate(own)} for own in order]
    ranks = [0]
    for dimension in (1, 2, 3):
        columns = []
        for cell in order[dimension]:
            column = 0
            for axis in range(3):
                if cell[axis] % 2:
                    for step in (-1, 1):
                        face = (*cell[:axis], cell[axis] + step, *cell[axis + 1 :])
                        column |= 1 << place[dimension - 1][face]
            columns.append(column)
        ranks.append(_rank(columns))
    first, second, third = (len(order[n]) - ranks[n] - ranks[n + 1] for n in range(3))
    return first, second, third


@pytest.mark.parametrize("connectivity", [6, 26])
def test_three_hundred_random_masks_as_their_boundary_matrices_say(connectivity: int) -> None:
    rng = np.random.default_rng(connectivity)
    for at in range(300):
        shape = (1, *rng.integers(1, 9, 2)) if at % 2 else tuple(rng.integers(1, 5, 3))
        mask = rng.random(shape) < rng.uniform(0.3, 0.9)
        assert betti_numbers(mask, connectivity) == _homology(mask, connectivity), (shape, mask)


def test_larger_masks_as_scikit_image_counts_them() -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        mask = rng.random(rng.integers(4, 20, 3)) < rng.uniform(0.1, 0.95)
        for connectivity, rank in ((6, 1), (26, 3)):
            first, second, third = betti_numbers(mask, connectivity)
            assert first == measure.label(mask, connectivity=rank).max()
            outside = np.pad(~mask, 1, constant_values=True)
            assert third == measure.label(outside, connectivity=4 - rank).max() - 1
            assert first - second + third == measure.euler_number(mask, connectivity=rank)


def test_error_and_refusals() -> None:
    both = torus(), ball(8) & ~ball(4)
    assert [betti_error(*both, dimension, 26) for dimension in (0, 1, 2)] == [0, 1, 1]
    assert betti_error(np.zeros((0, 0, 0)), both[0], 0, 6) == 1
    with pytest.raises(ValueError, match="not 6 or 26"):
        betti_numbers(both[0], 18)
    with pytest.raises(ValueError, match="2 dimensions"):
        betti_numbers(both[0][0], 6)
