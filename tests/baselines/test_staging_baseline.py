"""The staging baseline: features against analytic shapes, and a table that scoring reads."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from medpodium.baselines.staging import model as staging
from medpodium.baselines.staging.features import FEATURES, describe_liver
from medpodium.challenges import registry
from medpodium.findings import MedpodiumError, UsageError


def ball(radius: float, spacing: tuple[float, float, float]) -> np.ndarray:
    edges = [2 * math.ceil(radius / step) + 9 for step in spacing]
    grids = np.meshgrid(
        *[(np.arange(edge) - edge // 2) * step for edge, step in zip(edges, spacing, strict=True)], indexing="ij"
    )
    return sum(grid**2 for grid in grids) <= radius**2


def features(
    inside: np.ndarray, spacing: tuple[float, float, float], image: np.ndarray | None = None
) -> dict[str, float]:
    noise = np.random.default_rng(0).normal(100, 10, inside.shape) if image is None else image
    return dict(zip(FEATURES, describe_liver(noise, inside, spacing).tolist(), strict=True))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 1.0, 1.0)])
def test_a_ball(spacing: tuple[float, float, float]) -> None:
    """Volume 4/3 pi r^3; faces of voxels have 3/2 of a ball's surface; nothing is longer than anything else."""
    found = features(ball(20, spacing), spacing)
    volume = 4 / 3 * math.pi * 20**3
    assert found["volume_ml"] == pytest.approx(volume / 1000, rel=0.01)
    assert found["surface_cm2"] == pytest.approx(1.5 * 4 * math.pi * 20**2 / 100, rel=0.03)
    assert found["sphericity"] == pytest.approx(1 / 1.5, rel=0.03)
    assert found["elongation"] == pytest.approx(1, abs=0.02)
    assert found["flatness"] == pytest.approx(1, abs=0.02)
    assert found["nodularity"] < 0.03


def test_a_box_has_its_edges_ratio() -> None:
    """The standard deviation along an edge of length n is n / sqrt(12)."""
    inside = np.zeros((50, 40, 30), bool)
    inside[5:45, 5:25, 5:15] = True
    found = features(inside, (1.0, 1.0, 1.0))
    assert found["elongation"] == pytest.approx(20 / 40, rel=0.01)
    assert found["flatness"] == pytest.approx(10 / 40, rel=0.02)


def test_knobs_are_nodular() -> None:
    smooth = ball(20, (1.0, 1.0, 1.0))
    knobbly = smooth.copy()
    knobbly[::4, ::4] |= np.roll(smooth, 3, axis=2)[::4, ::4]
    rough, even = (features(shape, (1.0, 1.0, 1.0))["nodularity"] for shape in (knobbly, smooth))
    assert rough > 3 * even


def test_intensities_have_no_unit() -> None:
    """MR intensities are arbitrary: a factor changes no feature."""
    inside = ball(12, (1.0, 1.0, 1.0))
    image = np.random.default_rng(1).gamma(5, 20, inside.shape)
    one, many = (describe_liver(image * factor, inside, (1.0, 1.0, 1.0)) for factor in (1.0, 37.5))
    assert np.allclose(one, many, rtol=1e-9)


def test_smooth_images_are_coarse_and_noisy_ones_are_not() -> None:
    from scipy import ndimage

    inside = ball(20, (1.0, 1.0, 1.0))
    noise = np.random.default_rng(2).normal(100, 10, inside.shape)
    smooth = ndimage.gaussian_filter(noise, 6)
    assert features(inside, (1.0, 1.0, 1.0), smooth)["coarse_share"] > 0.6
    assert features(inside, (1.0, 1.0, 1.0), noise)["coarse_share"] < 0.2


def test_what_is_no_liver_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        describe_liver(np.ones((4, 4, 4)), np.ones((4, 4, 4), bool), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="shape"):
        describe_liver(np.ones((4, 4, 5)), np.ones((4, 4, 4), bool), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def livers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Forty synthetic livers whose size shrinks and whose texture grows with the stage."""
    root = tmp_path_factory.mktemp("livers")
    rng = np.random.default_rng(3)
    rows = [("Case", "stage")]
    for number in range(40):
        stage = number % 4
        inside = ball(13 - stage + rng.normal(0, 0.3), (2.0, 1.5, 1.5))
        image = rng.normal(200, 10 + 12 * stage, inside.shape)
        folder = root / "Vendor_A" / f"{number:04d}-A"
        folder.mkdir(parents=True)
        for name, voxels in (("GED4", image.astype(np.float32)), ("mask_GED4", inside.astype(np.uint8))):
            picture = SimpleITK.GetImageFromArray(voxels)
            picture.SetSpacing((1.5, 1.5, 2.0))
            SimpleITK.WriteImage(picture, str(folder / f"{name}.nii.gz"))
        rows.append((f"{number:04d}-A", f"S{stage + 1}"))
    with (root / "stages.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return root, root / "stages.csv"


@pytest.mark.nnunet
def test_from_livers_to_a_scored_table(
    livers: tuple[Path, Path], run: Any, tmp_path: Path, nnunet_installed: None
) -> None:
    root, stages = livers
    where = ("--images", root, "--mask-pattern", "{vendor}/{case}/mask_GED4.nii.gz")
    fitted = run("baseline", "stage", "fit", "liqa/2025", "--stages", stages, "--model", tmp_path / "m.json", *where)
    assert fitted["cases"] == 40
    assert fitted["auc"]["cirrhosis"] > 0.9
    (root / "Vendor_A" / "0007-A" / "mask_GED4.nii.gz").rename(root / "kept")
    made = run(
        "baseline",
        "stage",
        "predict",
        "liqa/2025",
        "--model",
        tmp_path / "m.json",
        "--out",
        tmp_path / "LiFS_pred.csv",
        *where,
    )
    (root / "kept").rename(root / "Vendor_A" / "0007-A" / "mask_GED4.nii.gz")
    assert made["cases"] == 40
    assert [item["where"] for item in made["findings"]] == ["0007-A"]
    with (tmp_path / "LiFS_pred.csv").open() as stream:
        rows = {row["Case"]: row for row in csv.DictReader(stream)}
    assert list(rows["0000-A"]) == ["Case", "Setting", "Subtask1_prob_S4", "Subtask2_prob_S1"]
    # a case without a usable liver gets the shares of the classes
    assert float(rows["0007-A"]["Subtask1_prob_S4"]) == pytest.approx(0.25)
    cases = tmp_path / "cases.csv"
    cases.write_text(
        "case,center,complete\n" + "".join(f"{case},{'A' if int(case[:4]) < 20 else 'C'},yes\n" for case in rows)
    )
    run("score", "liqa/2025", "--task", "lifs-contrast", "--references", stages, "--cases", cases,
        f"--predictions=floor={tmp_path / 'LiFS_pred.csv'}", "--out", tmp_path / "scores.csv")  # fmt: skip
    with (tmp_path / "scores.csv").open() as stream:
        values = {row["metric"]: float(row["value"]) for row in csv.DictReader(stream) if row["domain"] == "id"}
    assert values["auc_s4"] > 0.9


def test_models_are_numbers_and_bad_ones_are_refused(tmp_path: Path) -> None:
    count = len(FEATURES)
    model = staging.StagingModel(
        ["a", "b"], [0.0] * count, [1.0] * count, [[1.0] * count, [0.0] * count], [0.0, 0.0], [0.5, 0.5], 9, {}
    )
    model.save(tmp_path / "m.json")
    assert staging.StagingModel.load(tmp_path / "m.json") == model
    # softmax of (1, 0)
    first = model.probabilities(np.eye(count)[:1])[0]
    assert first == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(UsageError, match="no staging model"):
        staging.StagingModel.load(tmp_path / "m.json")


def test_too_few_cases_of_a_stage(nnunet_installed: None) -> None:
    _, task = staging.task_of(registry.load("liqa/2025"), None)
    stages = {str(number): f"S{1 + (number > 20)}" for number in range(40)}
    with pytest.raises(MedpodiumError, match="too few training cases with a liver mask: S3 0, S4 0"):
        staging.fit(task, stages, {case: np.zeros(len(FEATURES)) for case in stages})


def test_bad_tables_of_stages(tmp_path: Path) -> None:
    _, task = staging.task_of(registry.load("liqa/2025"), None)
    table = tmp_path / "stages.csv"
    for text, message in (
        ("Case,stage\na,S1\na,S2\n", "case a occurs twice"),
        ("Case,stage\na,S9\n", "unknown stage 'S9'"),
        ("Case,grade\na,S1\n", "no column 'stage'"),
    ):
        table.write_text(text)
        with pytest.raises(UsageError, match=message):
            staging.read_stages(table, task)
    table.write_text("case,Stage\na,4\n")
    assert staging.read_stages(table, task) == {"a": "S4"}
