"""Euler numbers against scikit-image and shapes whose number is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from medpodium.scoring.measures.topology import euler_error, euler_number

measure = pytest.importorskip("skimage.measure")

Volume = npt.NDArray[np.bool_]


def grid(size: int = 21) -> npt.NDArray[Any]:
    return np.indices((size, size, size)) - size // 2


def ball(radius: float) -> Volume:
    return np.asarray((grid() ** 2).sum(axis=0) <= radius**2)


def torus() -> Volume:
    z, y, x = grid()
    return np.asarray((np.hypot(y, x) - 6) ** 2 + z**2 <= 6.5)


SHAPES: dict[str, tuple[Volume, int]] = {
    "empty": (np.zeros((4, 5, 6), bool), 0),
    "full, touching every border": (np.ones((4, 5, 6), bool), 1),
    "no voxels at all": (np.zeros((0, 5, 6), bool), 0),
    "one voxel": (np.ones((1, 1, 1), bool), 1),
    "one slice": (np.ones((1, 5, 6), bool), 1),
    "ball": (ball(8), 1),
    "two balls": (np.concatenate([ball(8), ball(6)]), 2),
    "torus": (torus(), 0),
    "torus seen along y": (torus().swapaxes(0, 1), 0),
    "hollow shell": (ball(8) & ~ball(4), 2),
    "ball with a drilled hole": (ball(8) & (np.hypot(*grid()[1:]) > 2), 0),
    "shell with a torus-shaped cavity": (np.ones((21, 21, 21), bool) & ~torus(), 1 + 1 - 1),
    "voxels that meet at an edge": (np.array([[[1, 0], [0, 1]]], bool), 2),
    "voxels that meet at a corner": (np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]]], bool), 2),
    "frame of eight voxels": (np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], bool), 0),
    "cavity that leaks only over an edge": (
        # The centre meets the outside only across an edge of the block. Background is 26-connected, so it is no
        # cavity: a punctured shell, which shrinks to a point.
        np.array(
            [
                [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
                [[1, 1, 1], [1, 0, 1], [1, 1, 0]],
                [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
            ],
            bool,
        ),
        1,
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_known_shapes(name: str) -> None:
    volume, number = SHAPES[name]
    assert euler_number(volume) == number
    assert euler_number(volume.astype(np.uint8) * 7) == number


def test_six_hundred_random_volumes_as_scikit_image_counts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(600):
        volume = rng.random(rng.integers(1, 10, 3)) < rng.random()
        assert euler_number(volume) == measure.euler_number(volume, connectivity=1)


def test_a_volume_that_is_not_contiguous() -> None:
    volume = np.random.default_rng(1).random((12, 14, 16)) < 0.6
    view = volume[::2, ::-1, 3:].transpose(2, 0, 1)
    assert euler_number(view) == measure.euler_number(np.ascontiguousarray(view), connectivity=1)


def test_objects_minus_tunnels_plus_cavities_of_a_real_organ(shared: Any) -> None:
    from medpodium.scoring.masks.reader import read_mask

    labels = read_mask(shared / "data/masks/totalsegmentator/example_seg.nii.gz").array
    for label in np.unique(labels)[1:12]:
        assert euler_number(labels == label) == measure.euler_number(labels == label, connectivity=1)


def test_the_error_is_the_absolute_difference() -> None:
    assert euler_error(ball(8), torus()) == 1
    assert euler_error(torus(), ball(8) & ~ball(4)) == 2
    assert euler_error(np.zeros((2, 2, 2)), ball(3)) == 1


def test_two_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 dimensions"):
        euler_number(np.ones((3, 3)))
