"""A reference that contradicts its challenge file is the organizer's error, and nobody is scored against it.

On version 0.1.0 a reference of 0 and 255 in a challenge whose structure is 1 was an empty one: the perfect team got
0.0, a team of empty masks 1.0, and nothing was said. Sources: NiftyNet#245, nnUNet#1926, nnUNet#2138, kits23#5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner, Result
from medpy.metric import binary as medpy

from medpodium.cli import main

Labels = npt.NDArray[np.uint8]
HEAD = "schema: 1\nname: mine\ntitle: Mine\n"
TAIL = "recipes: {main: {steps: [{mean: [case, structure, metric]}, rank]}}\nranking: {t: main}\n"
DICE = "dice: {kind: dice}"


def challenge(folder: Path, *lines: str, structures: str = "a: {label: 1}, b: {label: 2}", metrics: str = DICE) -> Path:
    own = "".join(f"    {line}\n" for line in lines)
    (folder / "c.yaml").write_text(
        f"{HEAD}tasks:\n  t:\n    kind: segmentation\n    structures: {{{structures}}}\n{own}"
        f"    empty: {{both: 1, reference: 0, prediction: 0}}\n    metrics:\n      {metrics}\n{TAIL}",
        encoding="utf-8",
    )
    return folder / "c.yaml"


def save(labels: Labels, path: Path, spacing: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing((spacing, spacing, 2.0))
    SimpleITK.WriteImage(image, str(path))
    return path


def organs(shift: int = 0) -> Labels:
    labels = np.zeros((8, 14, 14), np.uint8)
    labels[1:5, 2:6, 2 + shift : 6 + shift] = 1
    labels[3:7, 8:12, 3:9] = 2
    return labels


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def score(folder: Path, *teams: str, options: tuple[object, ...] = ()) -> tuple[Result, pd.DataFrame | None]:
    out = folder / "scores.csv"
    out.unlink(missing_ok=True)
    given = [f"--predictions={team}={folder / team}" for team in teams]
    done = run(
        "score", folder / "c.yaml", "--references", folder / "ref", *given, "--out", out, "--workers", 1, *options
    )
    return done, pd.read_csv(out, keep_default_na=False, na_values=[""]) if out.exists() else None


def value(scores: pd.DataFrame | None, **key: str) -> tuple[float, str]:
    assert scores is not None
    (row,) = scores[np.logical_and.reduce([scores[name] == what for name, what in key.items()])].itertuples()
    return float(row.value), str(row.status)


def findings(*words: object) -> list[dict[str, str]]:
    done = run(*words, "--json")
    return list(json.loads(done.stdout)["findings"])


def check(folder: Path, team: str, *options: object) -> set[str]:
    """Return the codes of the errors that ``check predictions`` names."""
    words = ("check", "predictions", folder / "c.yaml", "--references", folder / "ref", "--predictions", folder / team)
    return {one["code"] for one in findings(*words, *options) if one["severity"] == "error"}


# -- labels, truncation, emptiness, repetition, grids: before anybody is scored --


def test_reference_of_0_and_255_stops_scoring_instead_of_punishing_the_perfect_team(tmp_path: Path) -> None:
    """NiftyNet#245."""
    challenge(tmp_path, structures="a: {label: 1}")
    for case, shift in (("c1", 0), ("c2", 1)):
        truth = (organs(shift) == 1).astype(np.uint8)
        save(truth * 255 if case == "c2" else truth, tmp_path / "ref" / f"{case}.nii.gz")
        save(truth, tmp_path / "perfect" / f"{case}.nii.gz")
        save(truth * 0, tmp_path / "nothing" / f"{case}.nii.gz")
    done, scores = score(tmp_path, "perfect", "nothing")
    assert (done.exit_code, scores is None) == (1, True), done.output
    assert "255" in done.output
    assert "c2.nii.gz" in done.output
    # a participant is told the same, as the organizer's error
    assert check(tmp_path, "perfect") == {"reference-label-unknown"}
    # without the case, the others are scored, and it stays an error
    done, scores = score(tmp_path, "perfect", "nothing", options=("--skip-broken",))
    assert done.exit_code == 1
    assert value(scores, submission="perfect", metric="dice") == (1.0, "ok")
    assert scores is not None
    assert set(scores["case"]) == {"c1"}


def test_everything_wrong_with_all_references_is_listed_at_once(tmp_path: Path) -> None:
    challenge(tmp_path)
    for number in range(1, 7):
        save(organs(number), tmp_path / "ref" / f"c{number}.nii.gz")
        save(organs(), tmp_path / "team" / f"c{number}.nii.gz")
    save(organs() * 7, tmp_path / "ref" / "c2.nii.gz")
    cut = tmp_path / "ref" / "c4.nii.gz"
    cut.write_bytes(cut.read_bytes()[:-40])
    (tmp_path / "ref" / "c5.nii.gz").write_bytes(b"")
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (1, True), done.output
    for name in ("c2.nii.gz", "c4.nii.gz", "c5.nii.gz"):
        assert name in done.output
    assert "c6.nii.gz" not in done.output


@pytest.mark.parametrize(
    ("line", "labels", "stops"),
    [
        ("extra_labels: [9]", [1, 9], False),
        ("ignore_labels: [9]", [1, 9], False),
        ("unknown_labels: ignore", [1, 9], False),
        ("unknown_labels: ignore", [9], True),
        ("unknown_labels: worst", [1, 9], True),
    ],
)
def test_labels_that_the_challenge_file_declares_are_none_of_an_error(
    tmp_path: Path, line: str, labels: list[int], stops: bool
) -> None:
    challenge(tmp_path, line, structures="a: {label: 1}")
    truth = np.zeros((6, 10, 10), np.uint8)
    for at, label in enumerate(labels):
        truth[1:5, 2:5, 1 + 4 * at : 4 + 4 * at] = label
    save(truth, tmp_path / "ref" / "c1.nii.gz")
    save((truth == 1).astype(np.uint8), tmp_path / "team" / "c1.nii.gz")
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (int(stops), stops), done.output


def test_empty_references_are_counted_and_only_empty_ones_an_error(tmp_path: Path) -> None:
    challenge(tmp_path)
    for number in range(3):
        save(organs(number) * (organs(number) != (2 if number else 9)), tmp_path / "ref" / f"c{number}.nii.gz")
        save(organs(), tmp_path / "team" / f"c{number}.nii.gz")
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (0, False), done.output
    assert "b in 2 of 3" in done.output
    for number in range(3):
        save(organs() * 0, tmp_path / "ref" / f"c{number}.nii.gz")
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (1, True), done.output
    assert "none of 3 references holds a voxel" in done.output.replace("\n", " ").replace("    ", "")


def test_the_same_reference_under_two_names_is_said(tmp_path: Path) -> None:
    challenge(tmp_path)
    for case in ("c1", "c2"):
        save(organs(), tmp_path / "ref" / f"{case}.nii.gz")
        save(organs(), tmp_path / "team" / f"{case}.nii.gz")
    done, _ = score(tmp_path, "team")
    assert done.exit_code == 0
    assert "cases 'c1' and 'c2' have the same bytes" in done.output


def structure_files(folder: Path, case: str, labels: Labels, names: Mapping[str, int], spacing: float = 1.0) -> None:
    for name, label in names.items():
        save((labels == label).astype(np.uint8), folder / case / f"{name}.nii.gz", spacing)


PER_STRUCTURE = 'files: {reference: "{case}/{structure}.nii.gz", prediction: "{case}/{structure}.nii.gz"}'


def test_structure_files_of_one_reference_lie_on_one_grid(tmp_path: Path) -> None:
    challenge(tmp_path, PER_STRUCTURE)
    for place in ("ref", "team"):
        structure_files(tmp_path / place, "c1", organs(), {"a": 1, "b": 2})
        structure_files(tmp_path / place, "c2", organs(1), {"a": 1, "b": 2})
    structure_files(tmp_path / "ref", "c2", organs(1), {"b": 2}, spacing=1.5)
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (1, True), done.output
    assert "ref/c2/b.nii.gz" in done.output.replace("\n", "").replace(" ", "")


# -- check says what score does --


@pytest.mark.parametrize(
    ("line", "spacing", "label"), [("unknown_labels: ignore", 1.0, 9), ("geometry: {check: shape}", 1.5, 1)]
)
def test_participants_are_told_what_scoring_does(tmp_path: Path, line: str, spacing: float, label: int) -> None:
    """On version 0.1.0 ``check`` knew neither option, and called errors what was scored without a word."""
    challenge(tmp_path, line)
    labels = organs()
    save(labels, tmp_path / "ref" / "c1.nii.gz")
    labels[0, 0, 0] = label
    save(labels, tmp_path / "team" / "c1.nii.gz", spacing)
    done, scores = score(tmp_path, "team")
    assert done.exit_code == 0, done.output
    assert value(scores, structure="b") == (1.0, "ok")
    assert check(tmp_path, "team") == set()


# -- one file of several --


def test_one_missing_structure_file_costs_that_structure_only(tmp_path: Path) -> None:
    """TotalSegmentator#301, kits23#5."""
    challenge(tmp_path, PER_STRUCTURE, structures="a: {label: 1}, b: {label: 2}, both: {union: [1, 2]}")
    for place in ("ref", "team", "cut"):
        structure_files(tmp_path / place, "c1", organs(), {"a": 1, "b": 2})
    (tmp_path / "team" / "c1" / "b.nii.gz").unlink()
    (tmp_path / "cut" / "c1" / "b.nii.gz").write_bytes(b"")  # unusable instead of absent
    done, scores = score(tmp_path, "team", "cut")
    assert done.exit_code == 1
    assert value(scores, submission="team", structure="a") == (1.0, "ok")
    assert value(scores, submission="team", structure="b") == (0.0, "missing")
    assert value(scores, submission="team", structure="both") == (0.0, "missing")
    assert value(scores, submission="cut", structure="a") == (1.0, "ok")
    assert value(scores, submission="cut", structure="b") == (0.0, "failed:file-empty")
    assert check(tmp_path, "team") == {"folder-case-missing"}
    assert check(tmp_path, "cut") == {"mask-file-empty"}


def test_missing_reference_file_is_the_organizers_error(tmp_path: Path) -> None:
    """kits23#5: the team was said to have forgotten what the organizer had."""
    challenge(tmp_path, PER_STRUCTURE)
    for place in ("ref", "team"):
        for case in ("c1", "c2"):
            structure_files(tmp_path / place, case, organs(), {"a": 1, "b": 2})
    (tmp_path / "ref" / "c2" / "b.nii.gz").unlink()
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (1, True), done.output
    assert "the reference of case c2 has no file of b" in done.output.replace("\n", " ")
    assert "team" not in done.output.replace(str(tmp_path), "")


# -- voxels that nobody knows --


def nnunet_dice(reference: Labels, prediction: Labels, ignore: int) -> float:
    """Return Dice of label 1 as nnunetv2/evaluation/evaluate_predictions.py (compute_metrics) computes it."""
    use = reference != ignore
    tp = int(((reference == 1) & (prediction == 1) & use).sum())
    fp = int(((reference != 1) & (prediction == 1) & use).sum())
    fn = int(((reference == 1) & (prediction != 1) & use).sum())
    return 2 * tp / (2 * tp + fp + fn)


def ignored_pair() -> tuple[Labels, Labels]:
    """Return a reference with 9 voxels of label 1 and an ignored region of label 4, and a prediction of 13."""
    reference, prediction = np.zeros((5, 8, 8), np.uint8), np.zeros((5, 8, 8), np.uint8)
    reference[2, 1:4, 1:4] = prediction[2, 1:4, 1:4] = 1
    reference[2, 1:4, 5:7] = 4
    prediction[2, 1:4, 5] = 1
    prediction[0, 0, 0] = 1
    return reference, prediction


def test_ignore_label_of_an_nnunet_data_set_is_left_out_of_everything(tmp_path: Path) -> None:
    """nnUNet#1926, nnUNet#2138: 0.947 as nnU-Net's evaluator, not 0.818."""
    folder = tmp_path / "Dataset501_Mine"
    facts = {
        "labels": {"background": 0, "lesion": 1, "ignore": 4},
        "channel_names": {"0": "CT"},
        "file_ending": ".nii.gz",
    }
    reference, prediction = ignored_pair()
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(facts), encoding="utf-8")
    for number in range(5):
        case = reference.copy()
        case[4, 7, number] = 4  # no two are the same file
        save(case, folder / "labelsTr" / f"c{number}.nii.gz")
        save(prediction, tmp_path / "team" / f"c{number}.nii.gz")
    done = run("import", "dataset", folder, "--out", tmp_path / "c.yaml")
    assert done.exit_code == 0, done.output
    (folder / "labelsTr").rename(tmp_path / "ref")
    done, scores = score(tmp_path, "team")
    assert done.exit_code == 0, done.output
    expected = nnunet_dice(reference, prediction, 4)
    assert expected == pytest.approx(0.947, abs=5e-4)
    assert value(scores, case="c0", structure="lesion")[0] == pytest.approx(expected, abs=1e-12)
    assert check(tmp_path, "team") == set()


def test_ignored_voxels_count_in_no_metric(tmp_path: Path) -> None:
    """Both masks are background there: distances and volumes are those of MedPy and numpy on cleared masks."""
    metrics = (
        "hd95: {kind: hd_percentile, definition: pooled, worst: diagonal}\n"
        "      assd: {kind: assd, definition: border-voxel, worst: diagonal}\n"
        "      fp: {kind: fp_volume, worst: 9, empty: {both: compute, reference: compute, prediction: compute}}\n"
        "      f1: {kind: lesion_f1}"
    )
    challenge(tmp_path, "ignore_labels: [4]", structures="lesion: {label: 1}", metrics=metrics)
    reference, prediction = ignored_pair()
    prediction[3, 1:4, 5:8] = 4  # a prediction may have the label: it is background
    prediction[2, 1, 6] = 77  # and whatever else where nobody looks
    save(reference, tmp_path / "ref" / "c1.nii.gz")
    save(prediction, tmp_path / "team" / "c1.nii.gz")
    done, scores = score(tmp_path, "team")
    assert done.exit_code == 0, done.output
    true, said = reference == 1, (prediction == 1) & (reference != 4)
    spacing = (2.0, 1.0, 1.0)
    assert value(scores, metric="hd95")[0] == pytest.approx(medpy.hd95(said, true, spacing), abs=1e-9)
    assert value(scores, metric="assd")[0] == pytest.approx(medpy.assd(said, true, spacing), abs=1e-9)
    assert value(scores, metric="fp")[0] == pytest.approx((said & ~true).sum() * 2.0 / 1000)
    assert value(scores, metric="f1")[0] == pytest.approx(2 / 3)  # one lesion found, one false one of a voxel
    out = tmp_path / "again.csv"
    words = ("--references", tmp_path / "ref", f"--predictions=team={tmp_path / 'team'}", "--out", out, "--audit")
    audit = json.loads(run("score", tmp_path / "c.yaml", *words, "--json").stdout)["audit"]
    assert max(row["max_abs"] for row in audit) < 1e-6
    assert check(tmp_path, "team") == set()


@pytest.mark.parametrize("place", ["table", "file"])
def test_a_partly_labelled_case_is_scored_on_what_is_labelled(tmp_path: Path, place: str) -> None:
    """AMOS, TotalSegmentator and FLARE sets mix cases with few and with many labelled organs."""
    own = ["labelled_structures: {c2: [a]}"] if place == "file" else []
    challenge(tmp_path, *own)
    table = (
        "case,centre,labelled_structures\nc1,north,\nc2,south,a\n" if place == "table" else "case,centre\nc1,n\nc2,s\n"
    )
    (tmp_path / "cases.csv").write_text(table, encoding="utf-8")
    for case, kept in (("c1", (1, 2)), ("c2", (1,))):
        save(organs() * np.isin(organs(), kept), tmp_path / "ref" / f"{case}.nii.gz")
        save(organs(1), tmp_path / "team" / f"{case}.nii.gz")
    save(organs(1), tmp_path / "absent" / "c1.nii.gz")  # no c2
    done, scores = score(tmp_path, "team", "absent", options=("--cases", tmp_path / "cases.csv"))
    assert done.exit_code == 1  # absent lacks a case
    assert value(scores, submission="team", case="c2", structure="a") == (0.75, "ok")
    number, status = value(scores, submission="team", case="c2", structure="b")
    assert (np.isnan(number), status) == (True, "unlabelled")
    assert value(scores, submission="absent", case="c2", structure="a") == (0.0, "missing")
    assert value(scores, submission="absent", case="c2", structure="b")[1] == "unlabelled"
    assert scores is not None
    assert "labelled_structures" not in scores.columns
    assert check(tmp_path, "team", "--cases", tmp_path / "cases.csv") == set()
    # ranked on what there is: the mean over the cases that have the structure, for everybody
    done = run("rank", tmp_path / "c.yaml", tmp_path / "scores.csv", "--out", tmp_path / "board.csv")
    assert done.exit_code in (0, 1), done.output
    board = pd.read_csv(tmp_path / "board.csv").set_index("submission")
    assert board.loc["team", "rank"] == 1


def test_unknown_names_in_labelled_structures_are_refused(tmp_path: Path) -> None:
    challenge(tmp_path)
    save(organs(), tmp_path / "ref" / "c1.nii.gz")
    save(organs(), tmp_path / "team" / "c1.nii.gz")
    (tmp_path / "cases.csv").write_text("case,labelled_structures\nc1,a; heart\n", encoding="utf-8")
    done, scores = score(tmp_path, "team", options=("--cases", tmp_path / "cases.csv"))
    assert (done.exit_code, scores is None) == (2, True)
    assert "heart" in done.output
    challenge(tmp_path, "labelled_structures: {c1: [heart]}")
    done = run("lint", tmp_path / "c.yaml")
    assert done.exit_code != 0
    assert "heart" in done.output


# -- tables of classes --


def test_all_wrong_classes_of_a_reference_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        f"{HEAD}tasks:\n  t:\n    kind: classification\n    classes: [S1, S2]\n"
        f"    metrics: {{accuracy: {{kind: accuracy}}}}\n{TAIL}",
        encoding="utf-8",
    )
    rows = [f"c{number},{'S1' if number % 2 else 'S9'}" for number in range(60)]
    (tmp_path / "ref").write_text("\n".join(["case,stage", *rows]) + "\n", encoding="utf-8")
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "p.csv").write_text("Case,S1,S2\nc1,1,0\n", encoding="utf-8")
    done, scores = score(tmp_path, "team")
    assert (done.exit_code, scores is None) == (1, True), done.output
    assert done.output.count("class-unknown") == 30


# -- results of nnU-Net --


@pytest.mark.parametrize("key", ["(2, 1, 3)", "(1, 2, 3)", "[3, 2, 1]"])
def test_regions_are_read_in_any_order(tmp_path: Path, key: str) -> None:
    """nnUNet#1952."""
    challenge(tmp_path, structures="whole: {union: [1, 2, 3]}, core: {union: [2, 3]}, enhancing: {label: 3}")
    counts: dict[str, Any] = {"TP": 9, "FP": 1, "FN": 0, "Dice": 18 / 19, "IoU": 0.9}
    rows = [{"prediction_file": "out/c1.nii.gz", "metrics": {key: counts, "(3, 2)": counts, "3": counts}}]
    (tmp_path / "summary.json").write_text(json.dumps({"metric_per_case": rows}), encoding="utf-8")
    done = run(
        "import", "nnunet", tmp_path / "summary.json", "--submission", "nnunet", "--challenge", tmp_path / "c.yaml",
        "--out", tmp_path / "scores.csv",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores["structure"]) == {"whole", "core", "enhancing"}
    assert value(scores, structure="whole", metric="dice")[0] == pytest.approx(18 / 19)
