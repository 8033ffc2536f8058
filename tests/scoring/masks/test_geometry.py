"""Grids: what is the same but for rounding passes, and every real difference is named with its axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode
from medpodium.scoring.masks.geometry import Geometry, GeometryTolerance, compare_geometry, geometry_from_affine

REFERENCE = Geometry((90, 512, 640), (5.0, 0.8, 0.7), (-179.7, -330.2, 1204.5), np.eye(3))


def only(prediction: Geometry, reference: Geometry = REFERENCE) -> Finding:
    (finding,) = compare_geometry(reference, prediction, where="team/case.nii.gz")
    assert finding.where == "team/case.nii.gz"
    assert finding.fix
    return finding


def rotation(seed: int) -> np.ndarray[Any, Any]:
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix if np.linalg.det(matrix) > 0 else -matrix


@pytest.mark.parametrize("seed", range(10))
def test_float_noise_and_float32_headers_pass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = replace(REFERENCE, direction=rotation(seed))
    noisy = replace(
        reference,
        spacing_zyx=tuple(value * (1 + 1e-8 * rng.normal()) for value in reference.spacing_zyx),
        origin_xyz=tuple(value + 1e-8 * rng.normal() for value in reference.origin_xyz),
        direction=reference.direction + 1e-8 * rng.normal(size=(3, 3)),
    )
    assert compare_geometry(reference, noisy) == []
    rounded = geometry_from_affine(reference.shape_zyx, reference.affine_lps.astype(np.float32).astype(float))
    assert compare_geometry(reference, rounded) == []
    printed = replace(
        reference,
        spacing_zyx=tuple(round(value, 3) for value in reference.spacing_zyx),
        origin_xyz=tuple(round(value, 3) for value in reference.origin_xyz),
    )
    assert compare_geometry(reference, printed) == []


def test_affine_and_parts_say_the_same() -> None:
    geometry = replace(REFERENCE, direction=rotation(1))
    again = geometry_from_affine(geometry.shape_zyx, geometry.affine_lps)
    assert again.spacing_zyx == pytest.approx(geometry.spacing_zyx)
    assert again.origin_xyz == pytest.approx(geometry.origin_xyz)
    assert np.allclose(again.direction, geometry.direction)
    assert geometry.affine_lps @ [1, 0, 0, 1] == pytest.approx(
        [*(np.array(geometry.origin_xyz) + 0.7 * geometry.direction[:, 0]), 1]
    )
    with pytest.raises(ValueError, match="singular"):
        geometry_from_affine((1, 1, 1), np.zeros((4, 4)))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("offset", [-500.0, 500.0, -0.02, 0.02])
def test_an_origin_offset_of_either_sign_is_found(axis: int, offset: float) -> None:
    origin = list(REFERENCE.origin_xyz)
    origin[axis] += offset
    finding = only(replace(REFERENCE, origin_xyz=tuple(origin)))
    assert finding.code is MaskCode.ORIGIN_DIFFERS
    assert f"{'xyz'[axis]} by {offset:+g} mm" in finding.cause


def test_offsets_do_not_cancel() -> None:
    x, y, z = REFERENCE.origin_xyz
    finding = only(replace(REFERENCE, origin_xyz=(x + 50, y - 50, z)))
    assert finding.code is MaskCode.ORIGIN_DIFFERS
    assert "x by +50 mm, y by -50 mm" in finding.cause


def test_the_fix_of_an_origin_names_common_mistakes() -> None:
    x, y, z = REFERENCE.origin_xyz
    assert "RAS taken for LPS" in only(replace(REFERENCE, origin_xyz=(-x, -y, z))).fix
    assert "x, y, z, not z, y, x" in only(replace(REFERENCE, origin_xyz=(z, y, x))).fix
    cropped = only(replace(REFERENCE, origin_xyz=(x + 7, y, z - 15)))
    assert "+10 along x, -3 along z" in cropped.fix


@pytest.mark.parametrize("axis", range(3))
def test_a_wrong_spacing_is_found_on_its_axis(axis: int) -> None:
    spacing = list(REFERENCE.spacing_zyx)
    spacing[2 - axis] *= 1.01
    finding = only(replace(REFERENCE, spacing_zyx=tuple(spacing)))
    assert finding.code is MaskCode.SPACING_DIFFERS
    assert f"{'xyz'[axis]} differs" in finding.cause
    assert "(0.7, 0.8, 5) mm" in finding.cause  # the reference's, in x, y, z


def test_spacing_in_reverse_order_is_recognised() -> None:
    finding = only(replace(REFERENCE, spacing_zyx=REFERENCE.spacing_zyx[::-1]))
    assert finding.code is MaskCode.SPACING_DIFFERS
    assert "reverse order" in finding.cause
    assert "x, y, z, not z, y, x" in finding.fix


@pytest.mark.parametrize("axis", range(3))
def test_a_flipped_direction_is_found_on_its_axis(axis: int) -> None:
    direction = rotation(4)
    reference = replace(REFERENCE, direction=direction)
    flipped = direction.copy()
    flipped[:, axis] *= -1
    finding = only(replace(reference, direction=flipped), reference)
    assert finding.code is MaskCode.AXIS_FLIPPED
    assert f"direction of {'xyz'[axis]} is opposite" in finding.cause


def test_ras_for_lps_is_recognised() -> None:
    finding = only(replace(REFERENCE, direction=np.diag([-1.0, -1.0, 1.0])))
    assert finding.code is MaskCode.AXIS_FLIPPED
    assert "RAS taken for LPS" in finding.cause


def test_swapped_direction_columns_are_found() -> None:
    finding = only(replace(REFERENCE, direction=np.eye(3)[:, [1, 0, 2]]))
    assert finding.code is MaskCode.AXES_SWAPPED
    assert "y, x, z" in finding.cause


def test_a_turned_direction_is_found_with_its_angle() -> None:
    angle = np.radians(2)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    finding = only(replace(REFERENCE, direction=turn))
    assert finding.code is MaskCode.DIRECTION_DIFFERS
    assert "2 degrees" in finding.cause


def test_swapped_array_axes_are_found_by_their_shape() -> None:
    finding = only(replace(REFERENCE, shape_zyx=(640, 512, 90)))
    assert finding.code is MaskCode.AXES_SWAPPED
    assert "(90, 512, 640)" in finding.cause
    assert "order z, y, x" in finding.cause


def test_another_shape_names_the_axes() -> None:
    finding = only(replace(REFERENCE, shape_zyx=(91, 512, 600)))
    assert finding.code is MaskCode.SHAPE_DIFFERS
    assert "x 600 instead of 640, z 91 instead of 90" in finding.cause


@pytest.mark.parametrize("seed", range(5))
def test_the_same_voxels_stored_otherwise_are_one_finding(seed: int) -> None:
    """A reoriented image with a consistent header lies in the right place, but its array does not fit."""
    reference = replace(REFERENCE, direction=rotation(seed))
    affine = reference.affine_lps
    x, y, z = affine[:3, 0], affine[:3, 1], affine[:3, 2]
    flipped = np.eye(4)
    flipped[:3] = np.column_stack([x, -y, z, affine[:3, 3] + 511 * y])
    finding = only(geometry_from_affine(reference.shape_zyx, flipped), reference)
    assert finding.code is MaskCode.AXIS_FLIPPED
    assert "reverse along y" in finding.cause
    swapped = np.eye(4)
    swapped[:3] = np.column_stack([z, -x, y, affine[:3, 3] + 639 * x])
    finding = only(geometry_from_affine((512, 640, 90), swapped), reference)
    assert finding.code is MaskCode.AXES_SWAPPED
    assert "order z, x, y, with x reversed" in finding.cause


def test_all_differences_are_listed_at_once() -> None:
    prediction = Geometry((80, 512, 640), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([1.0, -1.0, 1.0]))
    codes = [finding.code for finding in compare_geometry(REFERENCE, prediction)]
    assert codes == [
        MaskCode.SHAPE_DIFFERS, MaskCode.SPACING_DIFFERS, MaskCode.AXIS_FLIPPED, MaskCode.ORIGIN_DIFFERS
    ]  # fmt: skip


def test_a_missing_orientation_is_said_once() -> None:
    bare = replace(REFERENCE, oriented=False, origin_xyz=(0.0, 0.0, 0.0), direction=np.diag([-1.0, -1.0, 1.0]))
    finding = only(bare)
    assert finding.code is MaskCode.ORIENTATION_MISSING
    assert finding.severity is Severity.ERROR
    assert only(REFERENCE, bare).severity is Severity.WARNING
    assert compare_geometry(bare, bare) == []


def test_the_tolerance_is_the_challenge_s_to_set() -> None:
    x, y, z = REFERENCE.origin_xyz
    moved = replace(REFERENCE, origin_xyz=(x + 0.5, y, z))
    assert compare_geometry(REFERENCE, moved, GeometryTolerance(origin_mm=1.0)) == []
    assert compare_geometry(REFERENCE, moved, GeometryTolerance(origin_mm=0.4)) != []
