"""Masks through the definitions of Touchstone, FeTA and LiSeg, against values computed by other means."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import surface_distance
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import euler_number

from medpodium.challenges import registry
from medpodium.scoring.kinds.engine import score_task

SPACING = (0.75, 0.75, 2.0)


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([*SPACING, 1.0])), path)


def ball(centre: tuple[int, int, int], radius: float, shape: tuple[int, int, int] = (24, 24, 16)) -> np.ndarray:
    grid = np.ogrid[tuple(slice(size) for size in shape)]
    return sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) <= radius**2


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def border(mask: np.ndarray) -> np.ndarray:
    """Return the positions in mm of voxels with a 6-neighbour outside."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.array(SPACING)


def score(tmp_path: Path, reference: str, task: str) -> pd.DataFrame:
    folders = {team: tmp_path / team for team in ("team",)}
    result = score_task(registry.load(reference), task, tmp_path / "ref", folders, workers=1)
    return result.scores.set_index(["case", "structure", "metric"])[["value", "status"]]


def test_touchstone_leaves_absent_structures_out_and_punishes_missed_ones(tmp_path: Path) -> None:
    task = registry.load("touchstone").tasks["segmentation"]
    truth = {name: np.zeros((24, 24, 16), bool) for name in task.structures}
    guess = {name: array.copy() for name, array in truth.items()}
    truth["liver"], guess["liver"] = ball((11, 11, 8), 6), ball((12, 11, 8), 6)
    truth["spleen"] = ball((4, 4, 4), 3)
    guess["aorta"] = ball((19, 19, 12), 3)
    for name in task.structures:
        save(tmp_path / "ref" / "BDMAP_1" / "segmentations" / f"{name}.nii.gz", truth[name])
        save(tmp_path / "team" / "BDMAP_1" / "predictions" / f"{name}.nii.gz", guess[name])
    own = score(tmp_path, "touchstone", "segmentation")
    assert own.at[("BDMAP_1", "liver", "dice"), "value"] == pytest.approx(dice(truth["liver"], guess["liver"]))
    assert own.at[("BDMAP_1", "spleen", "dice"), "value"] == 0.0
    assert own.at[("BDMAP_1", "spleen", "nsd"), "value"] == 0.0
    for name in ("aorta", "stomach"):
        assert own.at[("BDMAP_1", name, "dice"), "status"] == "skipped"
        assert np.isnan(own.at[("BDMAP_1", name, "nsd"), "value"])
    one, other = border(truth["liver"]), border(guess["liver"])
    near = [cKDTree(b).query(a)[0] <= 1.0 for a, b in ((one, other), (other, one))]
    expected = sum(item.sum() for item in near) / sum(len(item) for item in near)
    assert own.at[("BDMAP_1", "liver", "nsd"), "value"] == pytest.approx(expected, abs=1e-12)


def test_feta_2024_metrics(tmp_path: Path) -> None:
    truth, guess = np.zeros((24, 24, 16), np.uint8), np.zeros((24, 24, 16), np.uint8)
    truth[ball((11, 11, 8), 7)], guess[ball((11, 11, 8), 7)] = 2, 2
    truth[ball((11, 11, 8), 4)], guess[ball((12, 11, 8), 3)] = 3, 3
    truth[ball((20, 20, 12), 2)] = 5  # missed
    guess[2:4, 2:4, 2:4] = 6  # invented
    guess[3:5, 10, 3] = 2  # an island changes the Euler number
    save(tmp_path / "ref" / "sub-001.nii.gz", truth)
    save(tmp_path / "team" / "sub-001.nii.gz", guess)
    own = score(tmp_path, "feta/2024", "segmentation")
    for name, label in (("gm", 2), ("wm", 3)):
        g, s = truth == label, guess == label
        assert own.at[("sub-001", name, "dice"), "value"] == pytest.approx(dice(g, s))
        total = g.sum() + s.sum()
        similarity = 1 - abs(int((g & ~s).sum()) - int((s & ~g).sum())) / total
        assert own.at[("sub-001", name, "vs"), "value"] == pytest.approx(similarity)
        distances = surface_distance.compute_surface_distances(g, s, SPACING)
        hd95 = surface_distance.compute_robust_hausdorff(distances, 95)
        assert own.at[("sub-001", name, "hd95"), "value"] == pytest.approx(hd95, rel=1e-9)
        error = abs(int(euler_number(s, connectivity=1)) - int(euler_number(g, connectivity=1)))
        assert own.at[("sub-001", name, "euler_error"), "value"] == error
    assert own.at[("sub-001", "gm", "euler_error"), "value"] > 0
    diagonal = float(np.linalg.norm(np.array(truth.shape) * SPACING))
    assert own.at[("sub-001", "cerebellum", "dice"), "value"] == 0.0
    assert own.at[("sub-001", "cerebellum", "hd95"), "value"] == pytest.approx(diagonal, rel=0.1)
    assert own.at[("sub-001", "cerebellum", "hd95"), "status"] == "penalised"
    assert own.at[("sub-001", "dgm", "dice"), "status"] == "skipped"


def test_liseg_uses_the_plain_hausdorff_distance(tmp_path: Path) -> None:
    truth, guess = ball((11, 11, 8), 6), ball((11, 11, 8), 6)
    guess[1, 1, 1] = True  # one stray voxel moves HD, and would not move HD95
    save(tmp_path / "ref" / "0001-A" / "mask_T2.nii.gz", truth)
    save(tmp_path / "team" / "0001-A" / "T2_pred.nii.gz", guess)
    own = score(tmp_path, "liqa/2025", "liseg-t2")
    one, other = border(truth), border(guess)
    expected = max(cKDTree(b).query(a)[0].max() for a, b in ((one, other), (other, one)))
    assert expected > 9
    assert own.at[("0001-A", "liver", "hd"), "value"] == pytest.approx(expected, rel=1e-9)
    assert own.at[("0001-A", "liver", "dice"), "value"] == pytest.approx(dice(truth, guess))
