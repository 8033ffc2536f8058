"""Masks of two axes are planes: their contours are measured, not the faces of a slab one voxel thick.

Sources: surface-distance#14 and GaNDLF#166 (2-D masks), where scripts disagree by what they take the third
axis for. The truth is surface-distance's and MedPy's own answer to two-dimensional arrays, or analytic.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner, Result
from PIL import Image
from ruamel.yaml import YAML
from skimage.measure import euler_number, label

from medpodium.cli import main

Mask = npt.NDArray[np.uint8]
SURFACE: dict[str, Any] = {
    "nsd": {"kind": "nsd", "tolerance_mm": 1.0},
    "hd95": {"kind": "hd_percentile", "worst": "diagonal"},
    "pooled": {"kind": "hd_percentile", "definition": "pooled", "worst": "diagonal"},
    "assd": {"kind": "assd", "worst": "diagonal"},
    "border_assd": {"kind": "assd", "definition": "border-voxel", "worst": "diagonal"},
    "dice": {"kind": "dice"},
}


def discs(shift: float, radius: float = 20.0, shape: tuple[int, int] = (64, 80)) -> tuple[Mask, Mask]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    first = (y - 30) ** 2 + (x - 30) ** 2 <= radius**2
    second = (y - 30) ** 2 + (x - 30 - shift) ** 2 <= radius**2
    return first.astype(np.uint8), second.astype(np.uint8)


def nifti(path: Path, mask: Mask, spacing: tuple[float, float] = (1.0, 1.0), *, slices: bool = False) -> None:
    """Write a plane (y, x) as NIfTI with two axes, or as a volume of one slice."""
    array = mask.T[..., None] if slices else mask.T
    image = nibabel.Nifti1Image(np.ascontiguousarray(array), np.diag([*spacing, 1.0, 1.0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def picture(path: Path, mask: Mask) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def score(
    folder: Path, metrics: dict[str, Any] = SURFACE, pattern: str = "{case}.nii.gz", **task: Any
) -> tuple[Result, pd.Series | None]:
    """Score the team's folder ``a`` against ``ref`` at the command line."""
    both = {"reference": pattern, "prediction": task.pop("prediction", pattern)}
    own = {"empty": {"both": 1.0, "reference": 0.0, "prediction": 0.0}, "structures": {"disc": {"label": 1}}}
    challenge = {
        "schema": 1,
        "name": "planes",
        "title": "Planes",
        "tasks": {"seg": own | task | {"files": both, "metrics": metrics}},
        "recipes": {"mean": {"steps": [{"mean": ["case", "structure", "metric"]}, "rank"]}},
        "ranking": {"seg": "mean"},
    }
    with (folder / "c.yaml").open("w") as file:
        YAML(typ="safe").dump(challenge, file)
    out = folder / "scores.csv"
    out.unlink(missing_ok=True)
    arguments = ["score", str(folder / "c.yaml"), "--references", str(folder / "ref")]
    result = CliRunner().invoke(main, [*arguments, "--predictions", f"a={folder / 'a'}", "--out", str(out)])
    if not out.is_file():
        return result, None
    scores = pd.read_csv(out)
    return result, scores[scores["case"] == scores["case"].iloc[0]].set_index("metric")["value"]


def libraries(reference: Mask, prediction: Mask, spacing: tuple[float, float]) -> dict[str, float]:
    """Ask surface-distance and MedPy, given arrays of two axes (x, y)."""
    import surface_distance
    from medpy.metric import binary

    first, second = (np.ascontiguousarray(mask.T > 0) for mask in (reference, prediction))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks scipy for long-deprecated names
        found = surface_distance.compute_surface_distances(first, second, spacing)
    lengths = found["surfel_areas_gt"], found["surfel_areas_pred"]
    moment = found["distances_gt_to_pred"] @ lengths[0] + found["distances_pred_to_gt"] @ lengths[1]
    return {
        "nsd": surface_distance.compute_surface_dice_at_tolerance(found, 1.0),
        "hd95": surface_distance.compute_robust_hausdorff(found, 95),
        "assd": moment / (lengths[0].sum() + lengths[1].sum()),
        "pooled": binary.hd95(second, first, spacing),
        "border_assd": binary.assd(second, first, spacing),
        "dice": binary.dc(second, first),
    }


def test_a_shifted_disc_in_a_2d_nifti(tmp_path: Path) -> None:
    """surface-distance#14, GaNDLF#166: 0.1.0 gave NSD 0.868, pooled HD95 4.0, ASSD 0.54."""
    reference, prediction = discs(6)
    nifti(tmp_path / "ref/one.nii.gz", reference)
    nifti(tmp_path / "a/one.nii.gz", prediction)
    result, scores = score(tmp_path)
    assert scores is not None, result.output
    for name, value in libraries(reference, prediction, (1.0, 1.0)).items():
        assert scores[name] == pytest.approx(value, rel=1e-12), name
    assert scores["nsd"] == pytest.approx(0.192, abs=5e-4)
    assert scores["hd95"] == scores["pooled"] == 6.0
    assert scores["border_assd"] == pytest.approx(3.60, abs=0.02)
    assert "measured-in-the-plane" in result.output


@pytest.mark.parametrize("suffix", [".png", ".tif", ".mha", ".nrrd", ".nii"])
def test_every_format_of_planes_gives_the_same(tmp_path: Path, suffix: str) -> None:
    """surface-distance#14: pictures, and ITK's formats with two axes, with 0.7 x 1.3 mm."""
    reference, prediction = discs(5)
    spacing = (0.7, 1.3)
    for place, mask in (("ref", reference), ("a", prediction)):
        path = tmp_path / place / f"one{suffix}"
        if suffix in (".png", ".tif"):
            picture(path, mask)
        else:
            path.parent.mkdir()
            image = SimpleITK.GetImageFromArray(mask)
            image.SetSpacing(spacing)
            SimpleITK.WriteImage(image, str(path))
    declared = {"geometry": {"spacing_mm": list(spacing)}} if suffix in (".png", ".tif") else {}
    result, scores = score(tmp_path, pattern="{case}" + suffix, **declared)
    assert scores is not None, result.output
    for name, value in libraries(reference, prediction, spacing).items():
        assert scores[name] == pytest.approx(value, rel=1e-6), name  # NIfTI keeps spacing as float32


def test_units_are_said_where_a_picture_has_none(tmp_path: Path) -> None:
    """GaNDLF#166: distances of pictures are in pixels, unless the task says how large they are."""
    reference, prediction = discs(3)
    for place, mask in (("ref", reference), ("a", prediction)):
        picture(tmp_path / place / "one.png", mask)
    metrics = {**SURFACE, "missed": {"kind": "fn_volume", "worst": 1e6}}
    result, scores = score(tmp_path, metrics, "{case}.png")
    assert scores is not None, result.output
    assert scores["missed"] == np.count_nonzero((reference > 0) & (prediction == 0))
    shown = CliRunner().invoke(main, ["show", str(tmp_path / "c.yaml")], env={"COLUMNS": "300"}).output
    assert "HD95 (px)" in shown
    assert "False negative area (pixel-wise) (px²)" in shown
    assert "tolerance 1 px" in shown
    _, scores = score(tmp_path, metrics, "{case}.png", geometry={"spacing_mm": 0.5})
    assert scores is not None
    assert scores["missed"] == np.count_nonzero((reference > 0) & (prediction == 0)) * 0.25
    assert scores["hd95"] == libraries(reference, prediction, (0.5, 0.5))["hd95"]
    shown = CliRunner().invoke(main, ["show", str(tmp_path / "c.yaml")], env={"COLUMNS": "300"}).output
    assert "HD95 (mm)" in shown
    assert "False negative area (pixel-wise) (mm²)" in shown


def test_a_single_slice_is_a_plane_only_where_declared(tmp_path: Path) -> None:
    """surface-distance#14: the libraries measure the slab of (x, y, 1), so this is what it is without a word."""
    reference, prediction = discs(6)
    nifti(tmp_path / "ref/one.nii.gz", reference, slices=True)
    nifti(tmp_path / "a/one.nii.gz", prediction, slices=True)
    result, slab = score(tmp_path)
    assert slab is not None, result.output
    assert slab["nsd"] == pytest.approx(0.868, abs=5e-4)
    assert "single-slice-measured-as-volume" in result.output
    result, plane = score(tmp_path, dimensions=2)
    assert plane is not None
    assert plane["nsd"] == pytest.approx(0.192, abs=5e-4)
    assert "measured-in-the-plane" in result.output


@pytest.mark.parametrize("delivered", ["slice", "png", "mha"])
def test_a_prediction_only_needs_the_pixels_of_the_plane(tmp_path: Path, delivered: str) -> None:
    """GaNDLF#166: references of two axes, answers as a slice, as a picture, or in another format."""
    reference, prediction = discs(6)
    nifti(tmp_path / "ref/one.nii.gz", reference, (0.5, 0.5))
    pattern = "{case}.nii.gz"
    if delivered == "slice":
        nifti(tmp_path / "a/one.nii.gz", prediction, (0.5, 0.5), slices=True)
    elif delivered == "png":
        pattern = "{case}.png"
        picture(tmp_path / "a/one.png", prediction)
    else:
        pattern = "{case}.mha"
        (tmp_path / "a").mkdir()
        image = SimpleITK.GetImageFromArray(prediction)
        image.SetSpacing((0.5, 0.5))
        image.SetDirection((-1, 0, 0, -1))  # nibabel's RAS is LPS with both axes reversed
        SimpleITK.WriteImage(image, str(tmp_path / "a/one.mha"))
    result, scores = score(tmp_path, prediction=pattern)
    assert scores is not None, result.output
    assert scores["hd95"] == 3.0
    assert ("only its shape was compared" in result.output.replace("\n", " ")) == (delivered == "png")


@pytest.mark.parametrize("wrong", ["shape", "spacing"])
def test_a_plane_of_another_grid_is_refused(tmp_path: Path, wrong: str) -> None:
    reference, prediction = discs(6)
    nifti(tmp_path / "ref/one.nii.gz", reference)
    nifti(tmp_path / "a/one.nii.gz", prediction if wrong == "spacing" else prediction[:-1], (1.0, 1.5), slices=True)
    if wrong == "shape":
        nifti(tmp_path / "a/one.nii.gz", prediction[:-1])
    result, scores = score(tmp_path)
    assert scores is not None
    assert f"{wrong}-differs" in result.output
    assert scores["dice"] == 0


def test_planes_and_volumes_in_one_task_are_an_error(tmp_path: Path) -> None:
    """GaNDLF#166: some references have two axes, some three: nobody could read the table."""
    reference, prediction = discs(6)
    for place, mask in (("ref", reference), ("a", prediction)):
        nifti(tmp_path / place / "one.nii.gz", mask)
        nifti(tmp_path / place / "two.nii.gz", mask, slices=True)
    result, scores = score(tmp_path)
    assert result.exit_code == 1, result.output
    assert scores is None
    assert "references-planes-and-volumes" in result.output


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ({"kind": "fp_volume", "worst": 9.0}, "is in ml"),
        ({"kind": "lesion_f1", "lesions": {"min_volume_ml": 0.1}}, "give min_area_mm2"),
    ],
)
def test_a_volume_of_a_plane_is_refused(tmp_path: Path, metric: dict[str, Any], says: str) -> None:
    reference, prediction = discs(6)
    nifti(tmp_path / "ref/one.nii.gz", reference)
    nifti(tmp_path / "a/one.nii.gz", prediction)
    result, scores = score(tmp_path, {"own": metric})
    assert result.exit_code == 1, result.output
    assert scores is None
    assert says in " ".join(result.output.split())


def test_components_holes_and_areas_of_a_plane(tmp_path: Path) -> None:
    """scikit-image's 4- and 8-connected components and Euler number of two-dimensional arrays."""
    rng = np.random.default_rng(7)
    reference = (rng.random((40, 40)) < 0.45).astype(np.uint8)
    prediction = (rng.random((40, 40)) < 0.45).astype(np.uint8)
    spacing = (0.5, 2.0)
    nifti(tmp_path / "ref/one.nii.gz", reference, spacing)
    nifti(tmp_path / "a/one.nii.gz", prediction, spacing)
    lesions = {"found": "lesion_tp", "lost": "lesion_fn", "invented": "lesion_fp"}
    metrics: dict[str, Any] = {"euler": {"kind": "euler_error", "worst": 99}}
    for neighbours in (4, 8):
        rule = {"connectivity": neighbours, "min_area_mm2": 3.0}
        metrics |= {
            f"{name}{neighbours}": {"kind": kind, "worst": 999, "lesions": rule} for name, kind in lesions.items()
        }
    metrics["fp"] = {"kind": "fp_volume", "worst": 9e9}
    result, scores = score(tmp_path, metrics, dimensions=2)
    assert scores is not None, result.output
    assert scores["euler"] == abs(euler_number(reference, 1) - euler_number(prediction, 1))
    assert scores["fp"] == pytest.approx(np.count_nonzero((prediction > 0) & (reference == 0)) * math.prod(spacing))
    for neighbours, steps in ((4, 1), (8, 2)):
        kept = []
        for mask in (reference, prediction):
            parts = label(mask, connectivity=steps)
            sizes = np.bincount(parts.ravel())
            parts[sizes[parts] * math.prod(spacing) < 3.0] = 0
            kept.append(parts)
        both = (kept[0] > 0) & (kept[1] > 0)
        found, hitting = np.unique(kept[0][both]), np.unique(kept[1][both])
        present = [set(np.unique(parts)) - {0} for parts in kept]
        assert scores[f"found{neighbours}"] == found.size
        assert scores[f"lost{neighbours}"] == len(present[0]) - found.size
        assert scores[f"invented{neighbours}"] == len(present[1]) - hitting.size


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ({"dimensions": 3, "pattern": "{case}.png"}, "names pictures"),
        ({"geometry": {"spacing_mm": 2.0}}, "is for PNG and TIFF"),
        ({"dimensions": 2, "structures": {"disc": {"label": 1, "crop": "reference-z"}}}, "limits slices"),
        (
            {"dimensions": 2, "metrics": {"own": {"kind": "lesion_f1", "lesions": {"connectivity": 18}}}},
            "connectivity: 8",
        ),
        ({"metrics": {"own": {"kind": "lesion_f1", "lesions": {"connectivity": 8}}}}, "add 'dimensions: 2'"),
        ({"metrics": {"own": {"kind": "lesion_f1", "lesions": {"min_area_mm2": 8}}}}, "add 'dimensions: 2'"),
    ],
)
def test_lint_tells_what_does_not_fit_a_plane(tmp_path: Path, task: dict[str, Any], says: str) -> None:
    score(tmp_path, **task)
    result = CliRunner().invoke(main, ["lint", str(tmp_path / "c.yaml")])
    assert result.exit_code == 1, result.output
    assert says in " ".join(result.output.split())


def test_nothing_is_wrong_with_a_task_of_pictures(tmp_path: Path) -> None:
    score(tmp_path, {"dice": {"kind": "dice"}, "nsd": {"kind": "nsd", "tolerance_mm": 2.0}}, "{case}.png")
    result = CliRunner().invoke(main, ["lint", str(tmp_path / "c.yaml")])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("written", ["nifti", "png"])
def test_a_collected_plane_stays_a_plane(tmp_path: Path, written: str) -> None:
    """GaNDLF#166: rewriting a file of two axes with three makes it a slab. A picture gets the place of its input."""
    mask = discs(4)[0]
    nifti(tmp_path / "image.nii.gz", mask, (0.5, 0.25))
    source = tmp_path / ("out.nii.gz" if written == "nifti" else "out.png")
    nifti(source, mask, (0.5, 0.25)) if written == "nifti" else picture(source, mask)
    asked = {"kind": "mask", "source": str(source), "target": str(tmp_path / "kept.nii.gz"), "max_bytes": 1 << 20}
    command = [sys.executable, "-m", "medpodium.containers.run.normalise"]
    said = json.dumps(asked | {"like": str(tmp_path / "image.nii.gz")}) + "\n"
    ran = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[1])["refusal"] is None, ran.stdout
    kept = nibabel.load(tmp_path / "kept.nii.gz")
    assert kept.shape == mask.T.shape
    np.testing.assert_array_equal(np.asarray(kept.dataobj), mask.T)
    assert kept.header.get_zooms() == (0.5, 0.25)
    np.testing.assert_allclose(kept.affine, nibabel.load(tmp_path / "image.nii.gz").affine, atol=1e-6)


def test_one_picture_per_structure_may_be_black_and_white(tmp_path: Path) -> None:
    """GaNDLF#166: 0 and 255 are what a binary picture holds; cup and disc overlap."""
    disc, moved = discs(4)
    cup, other = discs(4, radius=8)
    for place, masks in (("ref", (disc, cup)), ("a", (moved, other))):
        for name, mask in zip(("disc", "cup"), masks, strict=True):
            picture(tmp_path / place / f"one_{name}.png", mask * 255)
    structures = {"disc": {"label": 1}, "cup": {"label": 2}}
    result, _ = score(tmp_path, pattern="{case}_{structure}.png", structures=structures)
    assert result.exit_code == 0, result.output
    assert "not-binary" not in result.output
    scores = pd.read_csv(tmp_path / "scores.csv").set_index(["structure", "metric"])["value"]
    for name, pair in (("disc", (disc, moved)), ("cup", (cup, other))):
        for metric, value in libraries(*pair, (1.0, 1.0)).items():
            assert scores[name, metric] == pytest.approx(value, rel=1e-12), (name, metric)
