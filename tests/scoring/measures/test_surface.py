"""Surfaces and distances: analytic shapes, crops, shared labels, empty masks and the exact searches."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medpodium.scoring.measures import overlap
from medpodium.scoring.measures.pair import ReferenceCase, measure_pair
from medpodium.scoring.measures.surfaces import areas, nearest
from medpodium.scoring.measures.surfaces import metrics as surface

ONE = [frozenset({1})]


def cube(shape: tuple[int, int, int], start: tuple[int, int, int], size: int, label: int = 1) -> np.ndarray:
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(s, s + size) for s in start)] = label
    return labels


def test_area_table_equals_surface_distance() -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    for spacing in [(1.0, 1.0, 1.0), (5.0, 0.8, 0.7), (0.3, 2.0, 1.1)]:
        expected = tables.create_table_neighbour_code_to_surface_area(spacing)
        np.testing.assert_allclose(areas.surfel_areas(spacing), expected, rtol=1e-14)


def test_area_of_a_single_voxel_is_that_of_an_octahedron() -> None:
    pair = measure_pair(cube((5, 5, 5), (2, 2, 2), 1), cube((5, 5, 5), (2, 2, 2), 1), (1, 1, 1), ONE).surfels(0)
    assert pair.from_reference.total == pytest.approx(math.sqrt(3))  # edge 1/sqrt(2)
    assert pair.from_reference.counts.tolist() == [8]


@pytest.mark.parametrize("shift", [(3, 0, 0), (0, 3, 0), (0, 0, 3), (2, 1, 4), (0, 0, 70)])
def test_a_shifted_cube_is_its_shift_away(shift: tuple[int, int, int]) -> None:
    spacing = (2.5, 0.5, 0.75)
    shape = (20, 20, 100)
    first = cube(shape, (4, 4, 4), 8)
    second = cube(shape, tuple(4 + s for s in shift), 8)
    pair = measure_pair(first, second, spacing, ONE)
    # the farthest point is the corner that stands out; nearest to it is where the other cube's face or corner is
    own, other = (np.clip(3 + np.array(shift) + 8, 0, None), np.full(3, 11))
    away = math.sqrt((((own - np.minimum(own, other)) * spacing) ** 2).sum())
    assert surface.hausdorff(pair.borders(0)) == pytest.approx(away)
    assert surface.percentile_weighted(pair.surfels(0), 100) == surface.hausdorff(pair.surfels(0))


def test_parallel_planes_have_one_distance_and_a_sharp_tolerance() -> None:
    first, second = np.zeros((9, 6, 6), np.uint8), np.zeros((9, 6, 6), np.uint8)
    first[2], second[5] = 1, 1
    borders = measure_pair(first, second, (0.7, 1.0, 1.0), ONE).borders(0)
    away = 3 * 0.7
    for metric in (surface.hausdorff, surface.assd, surface.masd):
        assert metric(borders) == pytest.approx(away)
    assert surface.percentile_pooled(borders, 95) == pytest.approx(away)
    assert surface.nsd(borders, away) == 1
    assert surface.nsd(borders, np.nextafter(away, 0)) == 0


def test_assd_pools_points_and_masd_averages_directions() -> None:
    reference, prediction = np.zeros((1, 1, 40), np.uint8), np.zeros((1, 1, 40), np.uint8)
    reference[0, 0, 0] = 1
    prediction[0, 0, [0, 10, 20]] = 1
    borders = measure_pair(reference, prediction, (1, 1, 1), ONE).borders(0)
    assert surface.directed_means(borders) == (0, 10)
    assert surface.masd(borders) == 5
    assert surface.assd(borders) == pytest.approx(30 / 4)
    assert surface.percentile_directed(borders, 95) == pytest.approx(19)
    assert surface.percentile_pooled(borders, 50) == pytest.approx(5)


@pytest.mark.parametrize("empty", ["reference", "prediction", "both"])
def test_empty_masks_are_undefined_and_never_crash(empty: str) -> None:
    full = cube((6, 7, 8), (1, 1, 1), 4)
    none = np.zeros_like(full)
    reference = none if empty != "prediction" else full
    prediction = none if empty != "reference" else full
    pair = measure_pair(reference, prediction, (1, 1, 1), ONE)
    for distances in (pair.surfels(0), pair.borders(0)):
        assert not distances.defined
        assert distances.reference_empty == (empty != "prediction")
        assert distances.prediction_empty == (empty != "reference")
        values = [
            surface.nsd(distances, 1),
            surface.hausdorff(distances),
            surface.assd(distances),
            surface.masd(distances),
        ]
        values += [surface.percentile_weighted(distances, 95), surface.percentile_directed(distances, 95)]
        values += [surface.percentile_pooled(distances, 95), *surface.directed_means(distances)]
        assert all(math.isnan(value) for value in values)


@pytest.mark.parametrize(("crop", "last"), [("corrected", 1), ("off-by-one", 0)])
def test_a_cropped_structure_scores_as_on_the_cut_volume(crop: str, last: int) -> None:
    rng = np.random.default_rng(5)
    reference = np.where(rng.random((12, 10, 11)) < 0.7, rng.integers(0, 3, (12, 10, 11)), 0).astype(np.uint8)
    reference[:3][reference[:3] == 1] = 0
    reference[9:][reference[9:] == 1] = 0
    prediction = rng.integers(0, 3, reference.shape).astype(np.uint8)
    spacing = (3.0, 1.0, 1.5)
    both = [frozenset({1}), frozenset({2})]
    pair = measure_pair(reference, prediction, spacing, both, crops=[crop, "none"])
    cut = slice(3, 8 + last)
    alone = measure_pair(reference[cut], prediction[cut], spacing, ONE)
    whole = measure_pair(reference, prediction, spacing, [frozenset({2})])
    for mine, other in ((0, alone), (1, whole)):
        assert pair.overlap(mine) == other.overlap(0)
        for kind in ("surfels", "borders"):
            ours, theirs = getattr(pair, kind)(mine), getattr(other, kind)(0)
            for side in ("from_reference", "from_prediction"):
                assert getattr(ours, side).values.tolist() == getattr(theirs, side).values.tolist()
                assert getattr(ours, side).counts.tolist() == getattr(theirs, side).counts.tolist()
                np.testing.assert_allclose(getattr(ours, side).weights, getattr(theirs, side).weights)


def test_off_by_one_crop_of_a_single_slice_keeps_it() -> None:
    reference = cube((8, 8, 8), (3, 2, 2), 1)
    pair = measure_pair(reference, reference, (1, 1, 1), ONE, crops=["off-by-one"])
    assert pair.z_ranges.tolist() == [[3, 4]]
    assert overlap.dice(pair.overlap(0)) == 1


def test_structures_may_share_labels() -> None:
    rng = np.random.default_rng(2)
    reference, prediction = (rng.integers(0, 4, (9, 8, 7)).astype(np.uint8) for _ in range(2))
    structures = [frozenset({1}), frozenset({1, 2}), frozenset({3}), frozenset({2, 3})]
    pair = measure_pair(reference, prediction, (2, 1, 1), structures)
    for number, labels in enumerate(structures):
        masks = [np.isin(array, list(labels)).astype(np.uint8) for array in (reference, prediction)]
        alone = measure_pair(*masks, (2, 1, 1), ONE)
        assert pair.overlap(number) == alone.overlap(0)
        assert surface.nsd(pair.surfels(number), 1.0) == pytest.approx(surface.nsd(alone.surfels(0), 1.0))
        assert surface.assd(pair.borders(number)) == pytest.approx(surface.assd(alone.borders(0)))


def test_a_second_team_gets_the_values_of_a_first() -> None:
    rng = np.random.default_rng(4)
    reference, first, second = (rng.integers(0, 2, (9, 8, 7)).astype(np.uint8) for _ in range(3))
    shared = ReferenceCase(reference, (2, 1, 1), ONE)
    shared.compare(first).surfels(0)
    again, fresh = shared.compare(second), measure_pair(reference, second, (2, 1, 1), ONE)
    assert overlap.dice(again.overlap(0)) == overlap.dice(fresh.overlap(0))
    assert surface.assd(again.surfels(0)) == surface.assd(fresh.surfels(0))


def test_labels_above_255_and_mixed_types() -> None:
    wide = cube((6, 6, 6), (1, 1, 1), 3).astype(np.uint16) * 300
    pair = measure_pair(wide, wide, (1, 1, 1), [frozenset({300}), frozenset({44})])
    assert overlap.dice(pair.overlap(0)) == 1
    assert surface.nsd(pair.surfels(0), 0) == 1
    assert pair.overlap(1).reference_empty  # 300 is not 44, whatever a byte says
    narrow = measure_pair(wide, np.zeros((6, 6, 6), np.uint8), (1, 1, 1), [frozenset({300})])
    assert narrow.overlap(0).false_negative == 27


def test_bad_arguments_are_named() -> None:
    labels = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="uint8 or uint16"):
        ReferenceCase(labels.astype(float), (1, 1, 1), ONE)
    with pytest.raises(ValueError, match="spacing must be positive"):
        ReferenceCase(labels, (1, 0, 1), ONE)
    with pytest.raises(ValueError, match="labels from 1"):
        ReferenceCase(labels, (1, 1, 1), [frozenset({0})])
    with pytest.raises(ValueError, match="1 structures but 2 crops"):
        ReferenceCase(labels, (1, 1, 1), ONE, crops=["none", "none"])
    with pytest.raises(ValueError, match="shape"):
        ReferenceCase(labels, (1, 1, 1), ONE).compare(np.zeros((2, 2, 3), np.uint8))


@pytest.mark.parametrize("number", [1, 5, 4000])
@pytest.mark.parametrize("edges", [None, (0, 0, 0), (2, 5, 4), (9, 9, 9)])
def test_far_search_finds_what_brute_force_finds(number: int, edges: tuple[int, ...] | None) -> None:
    """Tiles and blocks of any size: they only save work."""
    rng = np.random.default_rng(8)
    spacing = np.array([4.0, 0.6, 0.9])
    targets = rng.integers(0, 300, (number, 3)).astype(np.int16)
    queries = np.concatenate([rng.integers(0, 400, (200, 3)), rng.integers(900, 1200, (100, 3))]).astype(np.int16)
    shifts = nearest.tile_shifts(number, (4.0, 0.6, 0.9)) if edges is None else np.array(edges)
    offsets = nearest.far_offsets(queries, targets, shifts, spacing)
    found = np.sqrt(((offsets * spacing) ** 2).sum(axis=1))
    gaps = (queries[:, None].astype(float) - targets[None]) * spacing
    np.testing.assert_allclose(found, np.sqrt((gaps**2).sum(axis=2)).min(axis=1), rtol=1e-12)


def test_all_metrics_of_a_structure_share_one_search() -> None:
    mask = cube((8, 8, 8), (2, 2, 2), 3)
    pair = measure_pair(mask, mask, (1, 1, 1), ONE)
    assert pair.surfels(0) is pair.surfels(0)
    assert pair.borders(0) is pair.borders(0)
    assert pair.surfels(0) is not pair.borders(0)
