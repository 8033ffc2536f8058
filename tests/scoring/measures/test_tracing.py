"""Surfaces that are traced in one pass are those that NumPy finds structure by structure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.surfaces import outline
from medpodium.scoring.measures.surfaces.outline import find_surfaces
from medpodium.scoring.measures.surfaces.points import Kind, Surface

Bools = npt.NDArray[np.bool_]
SHAPES = [(1, 1, 1), (2, 3, 1), (3, 1, 40), (4, 5, 31), (4, 5, 32), (4, 5, 33), (7, 8, 100), (9, 12, 65)]
LAYERS: dict[str, list[set[int]]] = {
    "one label each": [{1}, {2}, {3}],
    "some labels": [{3}],
    "several labels": [{1, 3}, {2}],
    "shared labels": [{1}, {1, 2}, {2, 3}],
}
SCORE = """
import sys
import numpy as np
from medpodium.scoring.measures.pair import measure_pair
from medpodium.scoring.measures.surfaces import metrics
from medpodium.scoring.measures.tracing import search
truth = np.zeros((90, 90, 90), np.uint8)
truth[5:30, 5:30, 5:30] = 1
said = truth.copy()
said[65:88, 65:88, 65:88] = 1  # far enough for sweeps
metrics.assd(measure_pair(truth, said, (1.0, 1.0, 1.0), [frozenset({1})]).surfels(0))
print(sum(search.surface_elements.stats.cache_hits.values()), "scipy.linalg" in sys.modules)
"""


def labels_of(shape: tuple[int, int, int], pattern: str, dtype: Any) -> npt.NDArray[Any]:
    rng = np.random.default_rng(sum(shape))
    if pattern == "noise":
        volume = rng.integers(0, 4, shape)
    elif pattern == "solid":
        volume = np.ones(shape, np.int64)
    else:
        blocks = rng.integers(0, 4, [-(-n // 5) for n in shape])
        volume = np.kron(blocks, np.ones((5, 5, 5), np.int64))[: shape[0], : shape[1], : shape[2]]
    return np.ascontiguousarray(volume).astype(dtype) * dtype(300 if dtype is np.uint16 else 1)


def table_of(structures: Sequence[set[int]], step: int) -> npt.NDArray[np.int32]:
    table = np.zeros((len(structures), 3 * step + 1), np.int32)
    for number, labels in enumerate(structures):
        table[number, [label * step for label in labels]] = number + 1
    if not any(one & other for one, other in pairwise(structures)):
        table = table.max(axis=0, keepdims=True)
    return np.ascontiguousarray(table)


def corners(member: Bools, planar: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    padded = np.pad(np.concatenate([member, member]) if planar else member, 0 if planar else 1)
    padded = np.pad(padded, [(0, 0), (1, 1), (1, 1)]) if planar else padded
    nz, ny, nx = (n - 1 for n in padded.shape)
    code = np.zeros((nz, ny, nx), np.int64)
    for place, (dz, dy, dx) in enumerate(product((0, 1), repeat=3)):
        code |= padded[dz : dz + nz, dy : dy + ny, dx : dx + nx].astype(np.int64) << (7 - place)
    found = (code != 0) & (code != 255)
    return np.argwhere(found), code[found]


def borders(member: Bools, planar: bool) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    inner, padded = member.copy(), np.pad(member, 1)
    for axis, step in product((1, 2) if planar else (0, 1, 2), (-1, 1)):
        inner &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    points = np.argwhere(member & ~inner)
    return points, np.zeros(len(points), np.uint8)


def assert_same(
    volume: npt.NDArray[Any], structures: Sequence[set[int]], step: int, kind: Kind, ranges: Any, planar: bool
) -> None:
    table = table_of(structures, step)
    found = find_surfaces(
        volume, table, len(structures), (1.0, 1.0, 1.0), kind=kind, z_ranges=np.array(ranges), planar=planar
    )
    for number, labels in enumerate(structures):
        member = np.isin(volume, [label * step for label in labels])
        member[: ranges[number][0]] = False
        member[ranges[number][1] :] = False
        points, codes = (corners if kind == "surfel-area" else borders)(member, planar)
        own = found.of(number)
        assert isinstance(own, Surface)
        np.testing.assert_array_equal(own.points, points)
        np.testing.assert_array_equal(own.codes, codes)


@pytest.mark.parametrize("kind", ["surfel-area", "border-voxel"])
@pytest.mark.parametrize("structures", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_surfaces_are_those_of_each_structure_alone(kind: Kind, structures: list[set[int]], dtype: Any) -> None:
    step = 300 if dtype is np.uint16 else 1
    for shape, pattern in product(SHAPES, ("noise", "solid", "blocks")):
        volume = labels_of(shape, pattern, dtype)
        whole = [(0, shape[0])] * len(structures)
        assert_same(volume, structures, step, kind, whole, planar=False)
        cut = [(number % 2, max(shape[0] - number, number % 2)) for number in range(len(structures))]
        assert_same(volume, structures, step, kind, cut, planar=False)
        plane = np.ascontiguousarray(volume[:1])
        assert_same(plane, structures, step, kind, [(0, 1)] * len(structures), planar=True)


@pytest.mark.parametrize("kind", ["surfel-area", "border-voxel"])
def test_points_in_the_order_they_were_found_are_the_same(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outline, "_GROUPED", 0)
    volume = labels_of((9, 12, 65), "noise", np.uint8)
    for structures in LAYERS.values():
        assert_same(volume, structures, 1, kind, [(0, 9)] * len(structures), planar=False)


def test_kernels_that_are_loaded_bring_no_linear_algebra() -> None:
    for _ in range(2):  # the second finds all of it compiled, unless nothing can be kept
        done = subprocess.run([sys.executable, "-c", SCORE], capture_output=True, text=True, check=True, timeout=600)
        hits, loaded = done.stdout.split()
    assert hits == "0" or loaded == "False"
