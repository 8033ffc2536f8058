"""Real label maps: AMOS against perturbed copies, TotalSegmentator's examples against each other."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy import ndimage

from medpodium.scoring.masks.reader import read_mask
from medpodium.scoring.measures.pair import ReferenceCase

AMOS_TOLERANCES = [3, 2, 3, 2.5, 3, 5, 5, 2, 2.5, 3, 2, 2, 7, 3, 3]  # mm, in label order


def perturbed(labels: np.ndarray) -> np.ndarray:
    """Return a copy with eroded, dilated and shifted organs, a missed organ, a far island and noisy borders."""
    rng = np.random.default_rng(7)
    result = labels.copy()
    boxes = ndimage.find_objects(labels)
    for label in range(1, len(boxes) + 1):
        box = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in boxes[label - 1])
        organ = labels[box] == label
        part = result[box]
        part[organ] = 0
        if label == 4:
            continue
        if label % 3 == 0:
            organ = ndimage.binary_erosion(organ, np.ones((1, 3, 3)))
        elif label % 3 == 1:
            organ = ndimage.binary_dilation(organ, np.ones((1, 3, 3)), iterations=2)
        else:
            organ = np.roll(organ, (0, 2, 3), (0, 1, 2))
        edge = organ ^ ndimage.binary_erosion(organ, np.ones((1, 3, 3)))
        organ &= ~(edge & (rng.random(organ.shape) < 0.3))
        part[organ] = label
    result[10:13, 20:40, 20:40] = 6
    return result


def masks_of(label: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """Return one structure of each array in (x, y, z), cut to their joint box and one voxel around it.

    The voxels around are background, as voxels beyond the volume are: no value changes, the peers take minutes less.
    """
    masks = [np.pad(array == label, 1) for array in arrays]
    filled = [np.flatnonzero((masks[0] | masks[1]).any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(ends[0] - 1, ends[-1] + 2) for ends in filled)
    return [mask[box].T for mask in masks]


def test_amos_scores_as_in_surface_distance(shared: Path, peers: SimpleNamespace) -> None:
    mask = read_mask(shared / "data/masks/amos/amos_0001.nii.gz")
    prediction = perturbed(mask.array)
    spacing = tuple(float(s) for s in mask.geometry.spacing_zyx)
    pair = ReferenceCase(mask.array, spacing, [frozenset({n}) for n in range(1, 16)]).compare(prediction)
    compared = 0
    for number, tolerance in enumerate(AMOS_TOLERANCES):
        masks = masks_of(number + 1, mask.array, prediction)
        found = peers.ours(pair, number, tolerance)
        if not masks[1].any():
            assert pair.surfels(number).prediction_empty
            assert found["dice"] == 0
            continue
        expected = peers.by_surface_distance(*masks, list(spacing[::-1]), tolerance)
        assert not peers.differences(expected, found), f"label {number + 1}"
        assert found["dice"] == peers.by_nnunet(*masks)
        compared += 1
    assert compared == 14


def test_amos_organs_score_as_in_medpy(shared: Path, peers: SimpleNamespace) -> None:
    mask = read_mask(shared / "data/masks/amos/amos_0001.nii.gz")
    prediction = perturbed(mask.array)
    spacing = tuple(float(s) for s in mask.geometry.spacing_zyx)
    pair = ReferenceCase(mask.array, spacing, [frozenset({n}) for n in range(1, 16)]).compare(prediction)
    for label in (5, 9, 14):
        masks = masks_of(label, mask.array, prediction)
        expected = peers.by_medpy(*masks, list(spacing[::-1]))
        expected |= peers.by_transform(*masks, list(spacing[::-1]), 2.0)
        assert not peers.differences(expected, peers.ours(pair, label - 1, 2.0), limit=1e-12), f"label {label}"


def test_totalsegmentator_examples_score_as_in_the_reference_libraries(shared: Path, peers: SimpleNamespace) -> None:
    files = sorted((shared / "data/masks/totalsegmentator").glob("example_seg*.nii.gz"))
    masks = {path.name: read_mask(path) for path in files}
    compared = 0
    for first, second in combinations(masks, 2):
        reference, prediction = masks[first].array, masks[second].array
        spacing = tuple(float(s) for s in masks[first].geometry.spacing_zyx)
        if reference.shape != prediction.shape or spacing != tuple(masks[second].geometry.spacing_zyx):
            continue
        labels = sorted({int(n) for n in np.unique(reference)} & {int(n) for n in np.unique(prediction)} - {0})
        assert labels
        pair = ReferenceCase(reference, spacing, [frozenset({n}) for n in labels]).compare(prediction)
        for number, label in enumerate(labels):
            both = masks_of(label, reference, prediction)
            expected = peers.by_surface_distance(*both, list(spacing[::-1]), 3.0)
            expected |= peers.by_medpy(*both, list(spacing[::-1]))
            expected |= peers.by_transform(*both, list(spacing[::-1]), 3.0)
            found = peers.ours(pair, number, 3.0)
            assert not peers.differences(expected, found), f"{first} {second} label {label}"
            assert found["dice"] == peers.by_nnunet(*both)
            compared += 1
    assert compared >= 20
