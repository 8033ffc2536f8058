"""FLARE: the variant as-published equals an independent restatement of the published scorer, label by label."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import surface_distance

from medpodium.challenges import registry
from medpodium.scoring.kinds.engine import score_task

ORGANS = {
    "liver": (1, 5), "right_kidney": (2, 3), "spleen": (3, 3), "pancreas": (4, 5), "aorta": (5, 2),
    "inferior_vena_cava": (6, 2), "right_adrenal_gland": (7, 2), "left_adrenal_gland": (8, 2), "gallbladder": (9, 2),
    "esophagus": (10, 3), "stomach": (11, 5), "duodenum": (12, 7), "left_kidney": (13, 3), "lesion": (14, 2),
}  # fmt: skip
CROPPED = ("aorta", "inferior_vena_cava", "esophagus")
AMOS_TO_FLARE = {1: 3, 2: 2, 3: 13, 4: 9, 5: 10, 6: 1, 7: 11, 8: 5, 9: 6, 10: 4, 11: 7, 12: 8, 13: 12}
Scores = dict[tuple[str, str], float]


def restated(truth: np.ndarray, guess: np.ndarray, spacing: tuple[float, ...], gate: float) -> Scores:
    """Restate the published scorer from its description: arrays (x, y, z), rounding and the short crop included."""
    found: Scores = {}
    for name, (label, tolerance) in ORGANS.items():
        g, s = truth == label, guess == label
        if not g.any() or not s.any():
            dsc = nsd = float(not g.any() and not s.any())
        else:
            if name in CROPPED:
                slices = np.flatnonzero(g.any(axis=(0, 1)))
                g, s = g[:, :, slices[0] : slices[-1]], s[:, :, slices[0] : slices[-1]]
            dsc = 2 * int((g & s).sum()) / (int(g.sum()) + int(s.sum()))
            nsd = 0.0
            if dsc >= gate:
                distances = surface_distance.compute_surface_distances(g, s, spacing)
                nsd = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
        found[name, "dice"], found[name, "nsd"] = round(dsc, 4), round(float(nsd), 4)
    return found


def save(path: Path, array: np.ndarray, spacing: tuple[float, ...]) -> None:
    nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([*spacing, 1.0])), path)


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Return a function that writes one case, scores it and indexes the values by structure and metric."""

    def score(truth: np.ndarray, guess: np.ndarray | None, spacing: tuple[float, ...], variant: str) -> pd.DataFrame:
        for name in ("ref", "team"):
            (tmp_path / name).mkdir(exist_ok=True)
        save(tmp_path / "ref" / "FLARE23Ts_0001.nii.gz", truth, spacing)
        if guess is not None:
            save(tmp_path / "team" / "FLARE23Ts_0001.nii.gz", guess, spacing)
        challenge = registry.load(f"flare-pancancer/2023@{variant}")
        result = score_task(challenge, "segmentation", tmp_path / "ref", {"team": tmp_path / "team"}, workers=1)
        scores = result.scores.assign(metric=result.scores["metric"].str.replace(r"^(organ|lesion)_", "", regex=True))
        return scores.set_index(["structure", "metric"])[["value", "status"]]

    return score


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Make boxes of every label in anisotropic voxels; predictions moved, some dropped, some invented."""
    rng = np.random.default_rng(seed)
    shape = (40, 36, 24)
    truth, guess = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for label in range(1, 15):
        corner = [rng.integers(0, size - 9) for size in shape]
        extent = rng.integers(2, 9, 3)
        box = tuple(slice(c, c + e) for c, e in zip(corner, extent, strict=True))
        move = rng.integers(-1, 2, 3) if rng.random() < 0.8 else rng.integers(-6, 7, 3)
        moved = tuple(slice(max(c + m, 0), max(c + m, 0) + e) for c, m, e in zip(corner, move, extent, strict=True))
        what = rng.random()
        if what > 0.1:
            truth[box] = label
        if what < 0.9:
            guess[moved] = label
    return truth, guess, (0.8, 0.8, 2.5)


def assert_equal(own: pd.DataFrame, expected: Scores) -> None:
    for key, value in expected.items():
        assert own.at[key, "value"] == value, (key, own.at[key, "value"], value)


@pytest.mark.parametrize(
    ("variant", "gate", "seeds"), [("as-published", 0.2, range(7)), ("as-published-2023", 0.1, range(7, 12))]
)
def test_random_masks_score_as_published(
    scored: Callable[..., pd.DataFrame], variant: str, gate: float, seeds: range
) -> None:
    gated = 0
    for seed in seeds:
        truth, guess, spacing = random_pair(seed)
        # a cropped structure on one slice crashes the published scorer; see the test of that case
        for label in (5, 6, 10):
            if (truth == label).any(axis=(0, 1)).sum() == 1:
                truth[truth == label] = 0
        expected = restated(truth, guess, spacing, gate)
        gated += sum(0 < expected[name, "dice"] < gate for name in ORGANS)
        assert_equal(scored(truth, guess, spacing, variant), expected)
    assert gated > 0, "no random mask reached the gate"


def amos(shared: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    image = nib.load(shared / "data/masks/amos/amos_0001.nii.gz")
    labels = np.asanyarray(image.dataobj)[::4, ::4, :]
    spacing = tuple(float(step) for step in np.array(image.header.get_zooms()) * (4, 4, 1))
    mapped = np.zeros(labels.shape, np.uint8)
    for source, target in AMOS_TO_FLARE.items():
        mapped[labels == source] = target
    return mapped, spacing


def test_real_masks_score_as_published(shared: Path, scored: Callable[..., pd.DataFrame]) -> None:
    truth, spacing = amos(shared)
    guess = np.roll(truth, (2, -1, 1), (0, 1, 2))
    guess[truth == 8] = 14
    truth = truth.copy()
    truth[4:9, 4:9, 4:9] = 14
    assert_equal(scored(truth, guess, spacing, "as-published"), restated(truth, guess, spacing, 0.2))


def test_corrected_differs_only_where_documented(shared: Path, scored: Callable[..., pd.DataFrame]) -> None:
    truth, spacing = amos(shared)
    guess = np.roll(truth, (2, -1, 1), (0, 1, 2))
    published = scored(truth, guess, spacing, "as-published")
    corrected = scored(truth, guess, spacing, "corrected")
    for name in ORGANS:
        for metric in ("dice", "nsd"):
            own, other = corrected.at[(name, metric), "value"], published.at[(name, metric), "value"]
            gated = metric == "nsd" and published.at[(name, "dice"), "value"] < 0.2
            if name in CROPPED or gated:
                continue
            assert round(own, 4) == other, (name, metric)
    assert any(
        round(corrected.at[(name, "dice"), "value"], 4) != published.at[(name, "dice"), "value"] for name in CROPPED
    )


def test_last_slice_counts_only_when_corrected(scored: Callable[..., pd.DataFrame]) -> None:
    # fact sheet, 1.8: reference on slices 4 to 7, prediction without slice 7: official 1.0, uncropped 0.857
    truth, guess = np.zeros((12, 12, 12), np.uint8), np.zeros((12, 12, 12), np.uint8)
    truth[4:8, 4:8, 4:8] = 5
    guess[4:8, 4:8, 4:7] = 5
    assert scored(truth, guess, (1, 1, 1), "as-published").at[("aorta", "dice"), "value"] == 1.0
    assert scored(truth, guess, (1, 1, 1), "corrected").at[("aorta", "dice"), "value"] == pytest.approx(6 / 7)


def test_organ_on_a_single_slice_does_not_crash(scored: Callable[..., pd.DataFrame]) -> None:
    truth = np.zeros((12, 12, 12), np.uint8)
    truth[4:8, 4:8, 5] = 6
    truth[8:12, 8:12, 7:11] = 1
    guess = truth.copy()
    guess[4:6, 4:8, 5] = 0
    guess[4:8, 4:8, 6] = 6  # outside the reference's slices
    for variant in ("as-published", "corrected"):
        own = scored(truth, guess, (1, 1, 1), variant)
        assert own.at[("inferior_vena_cava", "dice"), "value"] == pytest.approx(2 * 8 / (16 + 8), abs=5e-5)
        assert own.at[("inferior_vena_cava", "nsd"), "status"] == "ok"
        assert own.at[("liver", "dice"), "value"] == 1.0


def test_gate_is_published_only(scored: Callable[..., pd.DataFrame]) -> None:
    truth, guess = np.zeros((30, 12, 12), np.uint8), np.zeros((30, 12, 12), np.uint8)
    truth[2:12, 2:10, 2:10] = 1
    guess[11:20, 2:10, 2:10] = 1
    dice = 2 * 64 / (10 * 64 + 9 * 64)  # 0.105: below 0.2, above 0.1
    values = {
        name: scored(truth, guess, (1, 1, 1), name) for name in ("as-published", "as-published-2023", "corrected")
    }
    assert all(own.at[("liver", "dice"), "value"] == pytest.approx(dice, abs=5e-5) for own in values.values())
    assert values["as-published"].at[("liver", "nsd"), "value"] == 0.0
    assert values["as-published"].at[("liver", "nsd"), "status"] == "penalised"
    assert values["as-published-2023"].at[("liver", "nsd"), "value"] > 0.3
    assert values["corrected"].at[("liver", "nsd"), "value"] > 0.3


def test_missing_file_is_penalised(scored: Callable[..., pd.DataFrame]) -> None:
    truth = np.zeros((12, 12, 12), np.uint8)
    truth[4:8, 4:8, 4:8] = 1
    own = scored(truth, None, (1, 1, 1), "corrected")
    assert own.at[("liver", "dice"), "value"] == 0.0
    assert own.at[("liver", "nsd"), "value"] == 0.0
    assert own.at[("liver", "dice"), "status"] == "missing"


def test_2024_task1_punishes_unknown_labels_throughout(tmp_path: Path) -> None:
    truth, guess = np.zeros((12, 12, 12), np.uint8), np.zeros((12, 12, 12), np.uint8)
    truth[4:8, 4:8, 4:8] = 1
    guess[4:8, 4:8, 4:8] = 1
    guess[0, 0, 0] = 2
    healthy = np.zeros((12, 12, 12), np.uint8)
    for name in ("ref", "team"):
        (tmp_path / name).mkdir()
    for folder, arrays in (("ref", (truth, healthy)), ("team", (guess, healthy))):
        for number, array in enumerate(arrays):
            save(tmp_path / folder / f"case{number}.nii.gz", array, (1.0, 1.0, 1.0))
    challenge = registry.load("flare-pancancer/2024-task1")
    result = score_task(challenge, "segmentation", tmp_path / "ref", {"team": tmp_path / "team"}, workers=1)
    values = result.scores.set_index(["case", "metric"])["value"]
    assert values["case0", "lesion_dice"] == 0.0
    assert values["case0", "lesion_nsd"] == 0.0
    assert values["case1", "lesion_dice"] == 1.0
    assert values["case1", "lesion_nsd"] == 1.0
