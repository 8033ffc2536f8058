"""BraTS, autoPET and ISLES: lint, read-mes, and a small campaign of made-up lesions from scores to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.integrate import cumulative_trapezoid

from medpodium.baselines.nnunet.scheme import make_scheme
from medpodium.challenges import lint, registry
from medpodium.challenges.demo import masks
from medpodium.cli import main

sitk = pytest.importorskip("SimpleITK")

EDITIONS = {
    "brats": [
        "2023-gli", "2023-ped", "2023-men", "2023-met", "2024-ped", "2024-met", "2024-gli",
        "2025-gli", "2025-men", "2025-ped", "2025-met",
    ],
    "autopet": ["3", "4-task1", "4-task1-steps"],
    "isles": ["2024"],
}  # fmt: skip
CASES = [f"case_{number}" for number in range(4)]
SUBSETS = ["FDG-UKT", "FDG-LMU", "PSMA-UKT", "PSMA-LMU"]


@pytest.mark.parametrize("name", EDITIONS)
def test_lint_finds_nothing_and_the_read_me_lists_what_is_unconfirmed(name: str) -> None:
    source, _ = registry.locate(name)
    assert source.editions == EDITIONS[name]
    assert lint.lint_source(source) == []
    text = (source.path.parent / "README.md").read_text(encoding="utf-8")
    for edition in source.editions:
        for path, _, why in registry.resolve(source, edition).unconfirmed_list():
            assert f"`{path}`" in text, path
            assert why.replace("|", "/") in text, (path, why)
    challenge = registry.load(name)
    assert all(defect in text for defect in challenge.known_defects)
    assert all(source.url is None or str(source.url) in text for source in challenge.sources)


def _tumours(number: int, labels: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """One large tumour with nested parts, a second one, and (but in one case) nothing else."""
    found = np.zeros((24, 32, 32), np.uint8)
    for (z, y, x), radius in (((9, 10, 10), 6), ((14 + number % 2, 24, 23), 4)):
        far = sum((g - c) ** 2 for g, c in zip(np.ogrid[:24, :32, :32], (z, y, x), strict=True))
        for label, share in zip(labels, (1.0, 0.7, 0.45), strict=False):
            found[far <= (share * radius) ** 2] = label
    return found


def _team(truth: npt.NDArray[np.uint8], team: str, number: int) -> npt.NDArray[np.uint8]:
    found = np.roll(truth, {"aurora": 0, "borealis": 1}[team], 2)
    if team == "borealis":
        found[:, 16:, :] = 0  # misses the second tumour
        found[20:23, 2:7, 26:31] = truth.max()  # and invents one
    if team == "aurora" and number == 3:
        found[0, 0, 0:2] = truth.max()
    return found


def _write(array: npt.NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))


def _run(*arguments: Any, codes: tuple[int, ...] = (0,)) -> str:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code in codes, result.output
    return result.output


@pytest.mark.parametrize(
    ("reference", "labels", "ending"),
    [
        ("brats/2023-gli", (2, 1, 3), "-seg"),
        ("brats/2025-met", (2, 1, 3), "-seg"),
        ("autopet/3", (1,), ""),
        ("isles/2024", (1,), ""),
    ],
)
def test_campaign_from_scores_to_a_report(tmp_path: Path, reference: str, labels: tuple[int, ...], ending: str) -> None:
    for number, case in enumerate(CASES):
        truth = _tumours(number, labels)
        _write(truth, tmp_path / "references" / f"{case}{ending}.nii.gz")
        for team in ("aurora", "borealis"):
            _write(_team(truth, team, number), tmp_path / team / f"{case}.nii.gz")
    pd.DataFrame({"case": CASES, "subset": SUBSETS}).to_csv(tmp_path / "cases.csv", index=False)
    subsets = ["--cases", tmp_path / "cases.csv"] if reference == "autopet/3" else []
    teams = [part for team in ("aurora", "borealis") for part in ("--predictions", f"{team}={tmp_path / team}")]
    scores = tmp_path / "scores.csv"
    _run("score", reference, "--references", tmp_path / "references", *teams, *subsets, "--out", scores)
    table = pd.read_csv(scores)
    whole = table[table["structure"].isin(["wt", "lesion", "infarct"])]
    mean = whole.pivot_table(index="metric", columns="submission", values="value")
    expected = {  # by hand: two tumours, of which borealis misses one, and one that it invents
        "brats/2023-gli": {"found": 1, "invented": 1, "missed": 1},
        "brats/2025-met": {"found": 1, "invented": 1, "missed": 1},
        "autopet/3": {"fpv": 3 * 5 * 5 / 1000},
        "isles/2024": {"lcd": 0, "f1": 0.5},
    }[reference]
    for metric, value in expected.items():
        assert mean.loc[metric, "borealis"] == pytest.approx(value), metric
    board = tmp_path / "board.csv"
    _run("rank", reference, scores, "--out", board)
    ranked = pd.read_csv(board)
    assert ranked.sort_values("rank")["submission"].iloc[0] == "aurora"
    _run("report", reference, scores, "--bootstrap", 20, "--formats", "markdown", "--out", tmp_path / "report")
    assert any((tmp_path / "report").rglob("*.md"))


def test_areas_over_the_steps_of_autopet_are_those_of_every_study_by_itself(tmp_path: Path) -> None:
    """By NumPy and SciPy, and their mean; a study without lesions has none."""
    rows: list[dict[str, Any]] = []
    expected: dict[str, list[float]] = {"aurora": [], "borealis": []}
    for number, study in enumerate(("p1", "p2", "p3")):
        truth = _tumours(number, (1,)) * (study != "p3")
        curves: dict[str, list[float]] = {"aurora": [], "borealis": []}
        for step in range(11):
            case = f"{study}_pred{step}"
            rows.append({"case": case, "patient": study, "step": step})
            _write(truth, tmp_path / "references" / f"{case}.nii.gz")
            for team, pace in (("aurora", 2), ("borealis", 1)):
                found = np.roll(truth, max(0, 9 - pace * step - number), 2)
                found[23, 30:, 0] = 1
                _write(found, tmp_path / team / f"{case}.nii.gz")
                if truth.any():
                    curves[team].append(2 * np.sum(truth & found) / (truth.sum() + found.sum()))
        for team, curve in curves.items():
            if curve:
                expected[team].append(cumulative_trapezoid(curve, np.arange(len(curve)))[-1])
    pd.DataFrame(rows).to_csv(tmp_path / "cases.csv", index=False)
    teams = [part for team in expected for part in ("--predictions", f"{team}={tmp_path / team}")]
    scores, board = tmp_path / "scores.csv", tmp_path / "board.csv"
    _run("score", "autopet/4-task1-steps", "--references", tmp_path / "references", *teams,
         "--cases", tmp_path / "cases.csv", "--out", scores)  # fmt: skip
    _run("rank", "autopet/4-task1-steps", scores, "--bootstrap", 0, "--out", board)
    ranked = pd.read_csv(board).set_index("submission")
    for team, areas in expected.items():
        assert len(areas) == 2
        assert ranked.loc[team, "trapezoid:dice"] == pytest.approx(np.mean(areas), rel=1e-12)
    assert list(ranked["rank"]) == [1, 2]


@pytest.mark.parametrize("reference", ["brats/2024-ped", "autopet/3", "isles/2024"])
def test_demo_goes_from_masks_to_a_ranking(reference: str, tmp_path: Path) -> None:
    scores, board = tmp_path / "scores.csv", tmp_path / "board.csv"
    for task, (references, teams) in masks.make(tmp_path, reference, 4, 0).items():
        given = [part for team, path in teams.items() for part in ("--predictions", f"{team}={path}")]
        command = ["score", reference, "--task", task, "--references", references, "--cases", tmp_path / "cases.csv"]
        _run(*command, *given, "--out", scores, "--add", "--workers", 1, codes=(1,))  # one team forgot a case
        if reference == "brats/2024-ped":  # regions lie in each other, and differ
            whole = [set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))) for path in references.iterdir()]
            assert max(len(labels) for labels in whole) == 5
    _run("rank", reference, scores, "--bootstrap", 0, "--out", board)
    ranked = pd.read_csv(board)
    assert ranked["value"].notna().all()
    assert set(ranked.loc[ranked["rank"] == 1, "submission"]) == {"aurora"}  # the one that is off least


@pytest.mark.parametrize("edition", ["2023-gli", "2024-met", "2024-ped"])
def test_nnunet_is_trained_on_the_nested_regions(edition: str) -> None:
    task = registry.load(f"brats/{edition}").tasks["segmentation"]
    scheme = make_scheme(task)
    if edition == "2024-ped":  # every label has a structure of its own: regions are made from labels when scoring
        return
    order = list(scheme.class_order)
    if edition == "2024-met":  # the necrotic core has a structure of its own: whole tumour, then its parts
        assert order == [2, 3, 4, 1]
        return
    # large to small: what is painted last wins, as nnU-Net's regions_class_order reads it
    assert order[:3] == [2, 1, 3]
