"""TopCoW: what the definition computes equals the published rules, restated with SimpleITK and scikit-image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.challenges.demo import masks
from medpodium.cli import main
from medpodium.scoring import table

measure = pytest.importorskip("skimage.measure")
morphology = pytest.importorskip("skimage.morphology")

LABELS = {1: "ba", 2: "r_pca", 3: "l_pca", 4: "r_ica", 5: "r_mca", 6: "l_ica", 7: "l_mca", 8: "r_pcom", 9: "l_pcom"}
LABELS |= {10: "acom", 11: "r_aca", 12: "l_aca", 15: "third_a2"}
GROUP2 = (8, 9, 10, 15)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("topcow")
    references, teams = masks.make(folder, "topcow", 3, 0)["mra"]
    arguments = ["score", "topcow", "--task", "mra", "--references", str(references), "--workers", "1"]
    for team, place in teams.items():
        arguments += ["--predictions", f"{team}={place}"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(folder / "scores.csv")])
    assert result.exit_code == 1, result.output  # a case was forgotten
    return folder / "scores.csv", references, teams


def surface(image: Any) -> tuple[Any, np.ndarray]:
    """Return the distance map to a contour with all neighbours, and the contour."""
    contour = SimpleITK.LabelContour(SimpleITK.ConstantPad(image, [1] * 3, [1] * 3, 0), fullyConnected=True)
    found = SimpleITK.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
    return np.abs(SimpleITK.GetArrayFromImage(found)), SimpleITK.GetArrayFromImage(contour) > 0


def hd95(reference: Any, prediction: Any) -> float:
    (near, own), (far, other) = surface(reference), surface(prediction)
    return float(max(np.percentile(far[own], 95), np.percentile(near[other], 95)))


def test_scores_are_those_of_the_published_rules(scored: tuple[Path, Path, dict[str, Path]]) -> None:
    path, references, teams = scored
    rows = table.read_scores(path).set_index(["submission", "case", "structure", "metric"])["value"]
    counts = {team: {label: np.zeros(3) for label in GROUP2} for team in teams}  # TP, FP, FN
    tried = 0
    for team, folder in teams.items():
        for case in ("001", "002", "003"):
            gt = SimpleITK.ReadImage(str(references / f"topcow_mr_{case}.nii.gz"))
            given = folder / f"{case}.nii.gz"
            own = SimpleITK.GetArrayFromImage(gt)
            if not given.exists():
                for label in GROUP2:
                    counts[team][label][2] += (own == label).any()
                continue
            pred = SimpleITK.ReadImage(str(given))
            other = SimpleITK.GetArrayFromImage(pred)
            for label, name in LABELS.items():
                truth, said = own == label, other == label
                value = {metric: rows[team, case, name, metric] for metric in ("dice", "betti0_error", "hd95")}
                if label in GROUP2:
                    iou = (truth & said).sum() / max((truth | said).sum(), 1)
                    hit = truth.any() and iou >= 0.25
                    counts[team][label] += hit, not truth.any() and said.any(), truth.any() and not hit
                if not (truth.any() or said.any()):
                    assert np.isnan(list(value.values())).all()
                    continue
                pieces = [measure.label(mask, connectivity=3).max() for mask in (truth, said)]
                assert value["betti0_error"] == abs(pieces[0] - pieces[1])
                if not (truth.any() and said.any()):
                    assert (value["dice"], value["hd95"]) == (0.0, 90.0)
                    continue
                tried += 1
                assert value["dice"] == pytest.approx(2 * (truth & said).sum() / (truth.sum() + said.sum()))
                assert value["hd95"] == pytest.approx(hd95(gt == label, pred == label), rel=1e-5)
            thin = [morphology.skeletonize(mask > 0, method="lee") > 0 for mask in (own, other)]
            shares = (own > 0)[thin[1]].mean(), (other > 0)[thin[0]].mean()
            assert rows[team, case, "vessels", "cldice"] == pytest.approx(2 * shares[0] * shares[1] / sum(shares))
        for label, (tp, fp, fn) in counts[team].items():
            found = rows[team, "", LABELS[label], "group2_f1"]
            assert np.isnan(found) if tp + fp + fn == 0 else found == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert tried > 40


def test_ranks_by_seven_metrics(scored: tuple[Path, Path, dict[str, Path]], tmp_path: Path) -> None:
    path, _, _ = scored
    out = tmp_path / "board.csv"
    result = CliRunner().invoke(main, ["rank", "topcow", str(path), "--task", "mra", "--out", str(out)])
    assert result.exit_code in (0, 1), result.output
    lines = out.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert "aurora" in lines[1]  # the team that is off the least
