"""What is worked out without an array of codes is what the codes say."""

from __future__ import annotations

import numpy as np
import pytest

from medpodium.scoring.measures.surfaces import bounds, columns
from medpodium.scoring.measures.surfaces.areas import surfel_areas
from medpodium.scoring.measures.surfaces.blocks import add_weights
from medpodium.scoring.measures.surfaces.planes import VolumePlanes, structure_box


@pytest.mark.parametrize("edge", [True, False])
@pytest.mark.parametrize("labels", [(1,), (1, 3)])
@pytest.mark.parametrize("shape", [(1, 9, 17), (5, 3, 7), (9, 21, 40), (6, 16, 71)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_blocks_are_as_their_codes_say(
    shape: tuple[int, int, int], labels: tuple[int, ...], edge: bool, kind: type
) -> None:
    rng = np.random.default_rng(3)
    volume = np.zeros(shape, kind)
    inner = tuple(slice(k, None) for k in rng.integers(0, 2, 3))
    volume[inner] = rng.integers(0, 4, volume[inner].shape)
    volume[:, :2, : shape[2] // 2] = 1  # corners whose eight voxels are all inside
    member = np.zeros(4, np.uint8)
    member[list(labels)] = 1
    z_range = (0, max(1, shape[0] - 1))
    start, stop = np.zeros(shape[:2], np.int32), np.full(shape[:2], shape[2], np.int32)
    voxels = structure_box(volume, start, stop, member, *z_range)
    own = VolumePlanes(volume, member, z_range, voxels, "surfel-area", shape[0] == 1, edge)
    weights = surfel_areas((1.5, 0.8, 0.7))
    for sides in ((4, 8, 8), (8, 3, 5), (1, 1, 8)):
        numbers = [-(-number // side) for number, side in zip(own.box.shape, sides, strict=True)]
        sums, expected = np.zeros(numbers), np.zeros(numbers)
        blocks = np.argwhere(rng.random(numbers) < 0.7)
        cells, gathered = (np.zeros((len(blocks), *sides[:2]), np.uint64) for _ in range(2))
        starts = np.searchsorted(blocks[:, 0], np.arange(numbers[0] + 1))
        for at, plane in enumerate(own.codes(own.box)):
            layer, inside = divmod(at, sides[0])
            add_weights(plane, weights, sides[1], sides[2], expected[layer])
            some = starts[layer], starts[layer + 1]
            bounds.gather(plane, inside, blocks, *some, 0, 0, np.array(sides), gathered)
        columns.weigh(own, sides, weights, sums)
        columns.codes_in(own, np.array(own.box.low), np.array(sides), blocks, cells)
        assert np.array_equal(cells, gathered)
        assert np.array_equal(sums, expected)
        assert expected.any()
