"""Masks that cost most: the same values as the slow way gives, by ways that do not go through every pair."""

from __future__ import annotations

import numpy as np
import pytest
import surface_distance

from medpodium.scoring.measures import kernels
from medpodium.scoring.measures.lesions import apart
from medpodium.scoring.measures.lesions.matching import LesionRule
from medpodium.scoring.measures.lesions.scores import match_lesions
from medpodium.scoring.measures.pair import measure_pair
from medpodium.scoring.measures.surfaces import bounds, dense, metrics, outline, planes, transform
from medpodium.scoring.measures.surfaces.points import Kind, Surface

ONE = [frozenset({1})]
SPACING = (1.5, 0.8, 0.8)


def test_where_rounding_decides_only_the_direction_in_doubt_is_transformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One direction of a lesion against noise takes seconds and a gigabyte; nobody asks for the other one."""
    reference, prediction = (np.zeros((12, 20, 20), np.uint8) for _ in range(2))
    reference[4:8, 5:15, 5:15] = 1
    prediction[4:8, 5:15, 5:15] = 1
    prediction[9, 2:8, 2:8] = 1
    asked = []
    whole = transform.transformed_distances

    def counted(own: tuple[np.ndarray, np.ndarray], *rest: object) -> tuple[np.ndarray, np.ndarray]:
        asked.append(len(own[0]))
        return whole(own, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(transform, "transformed_distances", counted)
    pair = measure_pair(reference, prediction, SPACING, ONE, axis_order="zyx").surfels(0)
    side = pair.from_prediction
    share = 100 * float(side.weights[0]) / side.total  # exactly where the first step of the shares is
    found = surface_distance.compute_surface_distances(reference == 1, prediction == 1, SPACING)
    assert metrics.percentile_weighted(pair, share) == surface_distance.compute_robust_hausdorff(found, share)
    assert asked == [len(pair.prediction.points)]


def noisy(shape: tuple[int, int, int] = (40, 72, 80)) -> tuple[np.ndarray, np.ndarray]:
    """Return a ball in the corner and a coin's throw in every voxel."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    ball = (((z - 12) * 2) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 15**2).astype(np.uint8)
    return ball, np.random.default_rng(1).integers(0, 2, shape).astype(np.uint8)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Take noise for what is everywhere, however small, and count the points whose distances are worked out."""
    monkeypatch.setattr(outline, "_FEW", 1 << 13)
    counted: list[int] = []
    whole = dense.sweep

    def sweep(targets: np.ndarray, corner: np.ndarray, asking: np.ndarray, *rest: object) -> int:
        counted.append(int(np.count_nonzero(asking)))
        return int(whole(targets, corner, asking, *rest))

    collect = bounds.collect

    def collected(*given: object) -> tuple[int, float]:
        found: tuple[int, float] = collect(*given)
        counted.append(found[0])
        return found

    monkeypatch.setattr(dense, "sweep", sweep)
    monkeypatch.setattr(bounds, "collect", collected)
    return counted


@pytest.mark.parametrize("spacing", [SPACING, (4.0, 0.7, 0.7), (1.0, 1.0, 1.0)])
def test_distances_of_noise_are_found_only_near_a_percentile(
    asked: list[int], spacing: tuple[float, float, float]
) -> None:
    ball, noise = noisy()
    pair = measure_pair(ball, noise, spacing, ONE, axis_order="zyx").surfels(0)
    found = surface_distance.compute_surface_distances(ball == 1, noise == 1, spacing)
    assert metrics.percentile_weighted(pair, 95.0) == surface_distance.compute_robust_hausdorff(found, 95.0)
    for tolerance in (0.9, 2.0, 11.0):
        expected = surface_distance.compute_surface_dice_at_tolerance(found, tolerance)
        assert metrics.nsd(pair, tolerance) == pytest.approx(expected, rel=1e-12)
    assert 0 < sum(asked) < 0.05 * len(found["distances_pred_to_gt"])
    assert metrics.hausdorff(pair) == max(found[key].max() for key in ("distances_gt_to_pred", "distances_pred_to_gt"))
    assert metrics.assd(pair) == pytest.approx(
        sum(found[d] @ found[w] for d, w in _DIRECTIONS) / sum(found[w].sum() for _, w in _DIRECTIONS), rel=1e-12
    )
    assert sum(asked) > len(found["distances_pred_to_gt"])


_DIRECTIONS = (("distances_gt_to_pred", "surfel_areas_gt"), ("distances_pred_to_gt", "surfel_areas_pred"))


@pytest.mark.parametrize("percent", [5.0, 50.0, 99.9])
def test_any_percentile_of_lesions_against_noise_is_exact(asked: list[int], percent: float) -> None:
    """Between lesions the nearest one changes within a block: there bounds are wide, and the nearest is looked for."""
    reference, (_, noise) = np.zeros((40, 72, 80), np.uint8), noisy()
    for z, y, x in np.random.default_rng(5).integers(2, (36, 68, 76), (12, 3)):
        reference[z : z + 2, y : y + 3, x : x + 3] = 1
    pair = measure_pair(reference, noise, SPACING, ONE, axis_order="zyx").surfels(0)
    found = surface_distance.compute_surface_distances(reference == 1, noise == 1, SPACING)
    assert metrics.percentile_weighted(pair, percent) == surface_distance.compute_robust_hausdorff(found, percent)
    assert asked


def test_what_is_solid_is_not_taken_for_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first slice of a full mask is all surface, like noise; its other slices tell them apart."""
    monkeypatch.setattr(outline, "_FEW", 1 << 15)
    ball, noise = noisy()
    full = measure_pair(ball, np.ones_like(noise), SPACING, ONE).surfels(0)
    assert isinstance(full.prediction, Surface)
    assert isinstance(measure_pair(ball, noise, SPACING, ONE).surfels(0).prediction, planes.VolumePlanes)


def test_the_box_of_a_structure_holds_all_of_it_and_no_more() -> None:
    rng = np.random.default_rng(6)
    for share in (0.0005, 0.01, 0.9):
        for labels in ([2], [1, 3]):
            mask = np.where(rng.random((9, 13, 40)) < share, rng.integers(1, 4, (9, 13, 40)), 0).astype(np.uint8)
            member = np.isin(np.arange(256), labels).astype(np.uint8)
            volume = outline.frozen(mask)
            box = planes.structure_box(volume, *kernels.row_extents(volume), member, 1, 8)
            found = np.argwhere(np.isin(mask[1:8], labels)) + np.array([1, 0, 0])
            expected = [found.min(axis=0), found.max(axis=0) + 1] if len(found) else np.zeros((2, 3))
            np.testing.assert_array_equal(box, expected)


def test_what_is_everywhere_is_found_around_each_point(asked: list[int]) -> None:
    """No box is swept for the few points of a reference: noise is a step away from each of them."""
    ball, noise = noisy()
    for kind in ("surfels", "borders"):
        pair = getattr(measure_pair(ball, noise, SPACING, ONE), kind)(0)
        near = pair.from_reference
        assert not asked
        (distances, weights), _ = pair.by_transform
        values, place = np.unique(distances, return_inverse=True)
        np.testing.assert_array_equal(near.values, values)
        np.testing.assert_allclose(near.weights, np.bincount(place, weights), rtol=1e-12)


def test_where_half_of_the_volume_is_noise_the_other_half_is_swept(asked: list[int]) -> None:
    """A surface that is everywhere need not be where the points are: the search gives up, and nothing is lost."""
    ball, noise = noisy()
    noise[:, :, :50] = 0
    noise[:, :, 50:] = np.random.default_rng(2).integers(0, 2, noise[:, :, 50:].shape)
    pair = measure_pair(ball, noise, SPACING, ONE, axis_order="zyx").surfels(0)
    found = surface_distance.compute_surface_distances(ball == 1, noise == 1, SPACING)
    assert metrics.percentile_weighted(pair, 95.0) == surface_distance.compute_robust_hausdorff(found, 95.0)
    assert pair.from_reference.largest == found["distances_gt_to_pred"].max()
    assert asked


def test_the_surface_of_a_match_of_many_lesions_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is one component that every lesion meets: painting and tracing it for each took most of the time."""
    shape = (64, 72, 80)
    noise = np.random.default_rng(3).integers(0, 2, shape).astype(np.uint8)
    lesions = np.zeros(shape, np.uint8)
    corners = [(2, 3, 4), (30, 40, 50), (50, 9, 60)]
    for z, y, x in corners:
        lesions[z : z + 4, y : y + 5, x : x + 6] = 1
    sizes = []
    whole = apart.find_surfaces

    def counted(volume: np.ndarray, *rest: object, **named: object) -> object:
        sizes.append(volume.size)
        return whole(volume, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(apart, "find_surfaces", counted)
    rule = LesionRule(connectivity=26)
    found = match_lesions(measure_pair(lesions, noise, SPACING, ONE), 0, rule)
    for kind in ("surfel-area", "border-voxel"):
        sizes.clear()
        values = found.on_surfaces(kind, lambda pair: metrics.percentile_weighted(pair, 95.0))  # type: ignore[arg-type]
        assert sorted(sizes) == [120, 120, 120, noise.size]
        for (z, y, x), value in zip(corners, values, strict=True):
            alone = np.zeros(shape, np.uint8)
            alone[z : z + 4, y : y + 5, x : x + 6] = 1
            own = measure_pair(alone, noise, SPACING, ONE)
            pair = own.surfels(0) if kind == "surfel-area" else own.borders(0)
            assert value == metrics.percentile_weighted(pair, 95.0)


@pytest.mark.parametrize("kind", ["surfel-area", "border-voxel"])
@pytest.mark.parametrize("edge", [True, False])
@pytest.mark.parametrize("planar", [False, True])
def test_marked_places_weigh_what_the_planes_say(kind: Kind, edge: bool, planar: bool) -> None:
    """Marks in any box, at its edges and the volume's: looked up one by one, or found in the slices of codes."""
    rng = np.random.default_rng(7)
    shape = (1 if planar else 9, 14, 21)
    volume = outline.frozen((rng.random(shape) < 0.5).astype(np.uint8))
    member = np.zeros(65536, np.uint8)
    member[1] = 1
    z_range = (0, 1) if planar else (1, 8)
    voxels = planes.structure_box(volume, *kernels.row_extents(volume), member, *z_range)
    own = planes.VolumePlanes(volume, member, z_range, voxels, kind, planar, edge)
    weights = np.r_[0.0, rng.random(255)]
    points = own.points()
    kept = planes.PointPlanes(points.points, points.codes)
    first, behind = own.box.low[0], own.box.high[0]
    boxes = [own.box, planes.Box((first, 3, 5), (first + 1, 9, 18)), planes.Box((first, 0, 2), (behind, 14, 11))]
    for box in boxes:
        nz, ny, nx = box.shape
        near = np.zeros((nz, ny, -(-nx // 8) * 8), np.uint8)
        near[:, :, :nx] = rng.random(box.shape) < 0.4
        slices = dense.inside(own.slices, box)
        expected = sum(
            float((weights[plane] * near[z - box.low[0], :, :nx]).sum())
            for z, plane in zip(slices.tolist(), own.codes(box), strict=True)
        )
        assert own.weight_in(near, box, weights) == pytest.approx(expected, rel=1e-12)
        assert kept.weight_in(near, box, weights) == pytest.approx(expected, rel=1e-12)
