"""Surfaces that ignore the image's border, voxel units, and rims."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from medpodium.scoring.measures.boundary import eroded_rim, near_rim, rim_iou
from medpodium.scoring.measures.pair import measure_pair
from medpodium.scoring.measures.surfaces import metrics, outline
from medpodium.scoring.measures.surfaces.planes import VolumePlanes
from medpodium.scoring.measures.surfaces.points import Kind

Mask = npt.NDArray[np.uint8]
SPACING = (3.0, 1.0, 0.7)


def border(mask: Mask) -> npt.NDArray[np.bool_]:
    """Return the border voxels of a mask that goes on beyond the image: erosion that sees foreground there."""
    cross = ndimage.generate_binary_structure(3, 1)
    padded = np.pad(mask > 0, 1, mode="edge")
    return np.asarray(padded & ~ndimage.binary_erosion(padded, cross, border_value=1))[1:-1, 1:-1, 1:-1]


def distances(reference: Mask, prediction: Mask, spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    first, second = border(reference), border(prediction)
    return (
        ndimage.distance_transform_edt(~second, sampling=spacing)[first],
        ndimage.distance_transform_edt(~first, sampling=spacing)[second],
    )


def blobs(rng: np.random.Generator) -> tuple[Mask, Mask]:
    shape = tuple(rng.integers(4, 12, 3))
    field = ndimage.gaussian_filter(rng.standard_normal((2, *shape)), (0, 1, 1, 1))
    field[1] += 2 * field[0]
    first, second = (field > 0).astype(np.uint8)
    return first, second


def test_border_voxels_of_masks_that_go_on_beyond_the_image() -> None:
    rng, tried = np.random.default_rng(1), 0
    for _ in range(60):
        reference, prediction = blobs(rng)
        if not (border(reference).any() and border(prediction).any()):
            continue
        tried += 1
        pair = measure_pair(reference, prediction, SPACING, [frozenset({1})])
        found = pair.between(0, "border-voxel", edge=False)
        there, back = distances(reference, prediction, SPACING)
        assert metrics.assd(found) == pytest.approx((there.sum() + back.sum()) / (there.size + back.size))
        assert metrics.hausdorff(found) == pytest.approx(max(there.max(), back.max()))
        inside = (there <= 1.0).sum() + (back <= 1.0).sum()
        assert metrics.nsd(found, metrics.tolerant(1.0)) == pytest.approx(inside / (there.size + back.size))
        there, back = distances(reference, prediction, (1, 1, 1))
        voxels = pair.between(0, "border-voxel", edge=False, voxels=True)
        assert metrics.hausdorff(voxels) == pytest.approx(max(there.max(), back.max()))
    assert tried > 40


def test_surface_elements_are_those_of_an_image_that_goes_on() -> None:
    """The elements of a mask whose image was enlarged by repeating its outermost voxels, without those beyond."""
    rng = np.random.default_rng(2)
    for _ in range(40):
        reference, prediction = blobs(rng)
        found = measure_pair(reference, prediction, SPACING, [frozenset({1})]).between(0, "surfel-area", edge=False)
        wide = [np.pad(mask, 1, mode="edge") for mask in (reference, prediction)]
        traced = measure_pair(wide[0], wide[1], SPACING, [frozenset({1})]).surfels(0)
        for own, other in ((found.reference, traced.reference), (found.prediction, traced.prediction)):
            points = other.points.astype(int) - 1
            inside = ((points >= 0) & (points <= reference.shape)).all(axis=1)
            expected = {(*map(int, p), int(c)) for p, c in zip(points[inside], other.codes[inside], strict=True)}
            assert {(*map(int, p), int(c)) for p, c in zip(own.points, own.codes, strict=True)} == expected


def test_a_slab_that_is_cut_off_by_the_image() -> None:
    reference = np.zeros((10, 10, 10), np.uint8)
    reference[:, :, :4] = 1
    prediction = np.zeros_like(reference)
    prediction[:, :, :6] = 1
    pair = measure_pair(reference, prediction, (1, 1, 1), [frozenset({1})])
    for kind in ("surfel-area", "border-voxel"):
        found = pair.between(0, kind, edge=False)  # two planes, 2 mm from each other everywhere
        assert metrics.assd(found) == metrics.hausdorff(found) == 2.0
        assert metrics.assd(pair.between(0, kind)) < 1.0  # most of the surface is the image's border
    plane = measure_pair(reference[:1], prediction[:1], (1, 1, 1), [frozenset({1})], planar=True)
    assert metrics.assd(plane.between(0, "surfel-area", edge=False)) == 2.0
    full = measure_pair(np.ones_like(reference), prediction, (1, 1, 1), [frozenset({1})])
    assert full.between(0, "border-voxel", edge=False).reference_empty


def _published_rim(mask: Mask, steps: int) -> npt.NDArray[np.bool_]:
    """Return mask minus its erosion by 3 x 3 (x 3) neighbours, repeated, with background beyond the image."""
    inner = np.pad(mask > 0, 1)
    full = np.ones((3, 3, 3), bool) if mask.shape[0] > 1 else np.ones((1, 3, 3), bool)
    return np.asarray((mask > 0) & ~ndimage.binary_erosion(inner, full, iterations=steps)[1:-1, 1:-1, 1:-1])


def test_rims() -> None:
    rng = np.random.default_rng(3)
    for at in range(60):
        mask = np.kron(rng.random((3, 3, 3)) < 0.6, np.ones((4, 5, 5))).astype(np.uint8)
        mask = mask[:1] if at % 2 else mask
        steps = int(rng.integers(1, 4))
        planar = mask.shape[0] == 1
        assert np.array_equal(eroded_rim(mask, steps, planar=planar), _published_rim(mask, steps))
        width = float(rng.uniform(0.5, 4))
        padded = np.pad(mask, ((0, 0) if planar else (1, 1), (1, 1), (1, 1)))
        near = ndimage.distance_transform_edt(padded, sampling=SPACING) <= width
        expected = (padded > 0) & near
        inside = expected[:, 1:-1, 1:-1] if planar else expected[1:-1, 1:-1, 1:-1]
        assert np.array_equal(near_rim(mask, width, SPACING, planar=planar), inside)
    square = np.zeros((1, 10, 10), np.uint8)
    square[0, 2:8, 2:8] = 1
    inner = np.zeros_like(square)
    inner[0, 3:7, 3:7] = 1
    rims = [eroded_rim(mask, 1, planar=True) for mask in (square, inner)]
    assert rim_iou(*rims) == 0.0  # squares one in another: Dice is .62, and no pixel of the rims is shared
    assert rim_iou(*(eroded_rim(mask, 2, planar=True) for mask in (square, inner))) == 12 / 36
    assert eroded_rim(np.ones((3, 3, 3), np.uint8), 1, edge=False).sum() == 0
    assert near_rim(np.ones((3, 3, 3), np.uint8), 1.0, SPACING, edge=False).sum() == 0


def test_a_rim_is_the_same_in_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    from medpodium.scoring.measures import boundary

    mask = (np.random.default_rng(4).random((30, 8, 8)) < 0.97).astype(np.uint8)
    whole = near_rim(mask, 2.5, (1.0, 1.0, 1.0))
    monkeypatch.setattr(boundary, "_SLAB", 3 * 100)
    assert np.array_equal(near_rim(mask, 2.5, (1.0, 1.0, 1.0)), whole)


@pytest.mark.parametrize("kind", ["surfel-area", "border-voxel"])
def test_noise_that_is_not_kept_as_points_has_the_same_surface(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    for shape in ((6, 9, 11), (1, 12, 10)):
        masks = [(rng.random(shape) < share).astype(np.uint8) for share in (0.5, 0.7)]
        kept = measure_pair(*masks, SPACING, [frozenset({1})]).between(0, kind, edge=False)
        with monkeypatch.context() as few:
            few.setattr(outline, "_FEW", 8)
            swept = measure_pair(*masks, SPACING, [frozenset({1})]).between(0, kind, edge=False)
        assert isinstance(swept.prediction, VolumePlanes)
        assert swept.prediction.most == len(kept.prediction.points)
        assert metrics.hausdorff(swept) == pytest.approx(metrics.hausdorff(kept))
        assert metrics.assd(swept) == pytest.approx(metrics.assd(kept))
    full = np.ones((4, 5, 6), np.uint8)
    with monkeypatch.context() as few:
        few.setattr(outline, "_FEW", 8)
        assert not measure_pair(full, full, SPACING, [frozenset({1})]).between(0, kind, edge=False).defined
