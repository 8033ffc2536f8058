"""STU-Net transfer suite: what the table of 87 data sets says, recomputed."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from medpodium.challenges import registry
from medpodium.findings import UsageError
from medpodium.scoring.evidence import transfer
from medpodium.scoring.exchange.suite import fold_zero, own_dataset, read_suite
from medpodium.scoring.kinds.engine import score_task
from medpodium.scoring.ranking.recipe import rank_scores

MACRO = {
    "nnunet": 0.7330, "base": 0.7349, "large": 0.7397, "huge": 0.7355,
    "base_ft": 0.7550, "large_ft": 0.7637, "huge_ft": 0.7631,
}  # fmt: skip
RANKS = {
    "large_ft": 2.161, "huge_ft": 2.161, "base_ft": 3.425, "large": 4.678, "huge": 4.989, "nnunet": 5.144,
    "base": 5.443,
}  # fmt: skip
PAIRS = {
    "base": (0.0201, 0.0064, 77, 10), "large": (0.0239, 0.0094, 83, 4), "huge": (0.0276, 0.0084, 77, 10),
}  # fmt: skip


@pytest.fixture(scope="module")
def table(shared: Path) -> Path:
    return shared / "data/published/segbook_dataset_results.csv"


@pytest.fixture(scope="module")
def suite(table: Path) -> tuple[pd.DataFrame, transfer.SuiteAnalysis]:
    scores, findings = read_suite(table)
    assert {str(item.severity) for item in findings} == {"note"}
    assert any("Vertebrae T9" in item.cause for item in findings)
    return scores, transfer.analyse(scores)


def test_seven_macro_means(suite: tuple[pd.DataFrame, transfer.SuiteAnalysis]) -> None:
    models = suite[1].models.set_index("submission")
    assert (models["n"] == 87).all()
    assert models["macro_mean"].round(4).to_dict() == MACRO


def test_mean_ranks_and_their_exact_tie(suite: tuple[pd.DataFrame, transfer.SuiteAnalysis], table: Path) -> None:
    models = suite[1].models.set_index("submission")
    assert models["mean_rank"].round(3).to_dict() == RANKS
    # the tie is exact: restated with fractions from the printed decimals
    totals: dict[str, Fraction] = dict.fromkeys(MACRO, Fraction(0))
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {name: Fraction(row[f"dice_{name}"]) for name in MACRO}
            for name, value in values.items():
                better = sum(other > value for other in values.values())
                same = sum(other == value for other in values.values())
                totals[name] += better + Fraction(same + 1, 2)
    assert totals["large_ft"] == totals["huge_ft"] == Fraction(188)
    for name, total in totals.items():
        assert models.at[name, "mean_rank"] == pytest.approx(float(total / 87), abs=1e-12)


def test_recipe_ranks_the_tied_models_first_together(suite: tuple[pd.DataFrame, transfer.SuiteAnalysis]) -> None:
    challenge = registry.load("stunet-transfer")
    name, rules = challenge.recipe_for("suite")
    assert name == "mean-rank"
    own = rank_scores(suite[0], rules.steps, {"dice": "higher"}, task="suite").table().set_index("submission")
    assert own["rank"].to_dict() == {
        "large_ft": 1, "huge_ft": 1, "base_ft": 3, "large": 4, "huge": 5, "nnunet": 6, "base": 7,
    }  # fmt: skip
    macro = rank_scores(suite[0], challenge.recipes["macro-mean"].steps, {"dice": "higher"}, task="suite").table()
    assert macro["submission"].iloc[0] == "large_ft"
    assert macro.set_index("submission")["value"].round(4).to_dict() == MACRO


def test_wins_losses_and_gains_of_fine_tuning(suite: tuple[pd.DataFrame, transfer.SuiteAnalysis]) -> None:
    pairs = suite[1].pairs.set_index("scratch")
    for name, (mean, median, wins, losses) in PAIRS.items():
        row = pairs.loc[name]
        assert row["fine_tuned"] == f"{name}_ft"
        assert round(row["mean_gain"], 4) == mean
        assert round(row["median_gain"], 4) == median
        assert (row["wins"], row["losses"], row["ties"]) == (wins, losses, 0)


def test_gain_by_modality_and_size(suite: tuple[pd.DataFrame, transfer.SuiteAnalysis], table: Path) -> None:
    scores, _ = suite
    gains = transfer.analyse(scores, pairs={"nnunet": "large_ft"}).gains.set_index(["group", "level"])
    for level, n, scratch, tuned in (
        ("CT", 46, 0.7301, 0.7727), ("MR", 37, 0.7547, 0.7654), ("PET/CT", 3, 0.5888, 0.6833),
        ("US", 1, 0.4966, 0.5265),
    ):  # fmt: skip
        row = gains.loc[("modality", level)]
        assert (row["n"], round(row["scratch_mean"], 4), round(row["fine_tuned_mean"], 4)) == (n, scratch, tuned)
    for level, n, scratch, tuned in (
        ("<=50", 28, 0.7435, 0.7711),
        ("51-200", 34, 0.7442, 0.7694),
        (">200", 25, 0.7059, 0.7476),
    ):
        row = gains.loc[("size_bin", level)]
        assert (row["n"], round(row["scratch_mean"], 4), round(row["fine_tuned_mean"], 4)) == (n, scratch, tuned)
    thirds = gains.loc["size_quantile"]
    assert thirds["n"].sum() == 87
    assert thirds["n"].tolist() == [29, 29, 29]
    train = pd.read_csv(table)["train"].sort_values().tolist()
    assert {"9-52", f"{train[29]}-{train[57]}", f"{train[58]}-{train[86]}"} == set(thirds.index)
    assert set(gains.loc["target_kind"].index) == {"organ", "lesion", "organ and lesion", "tree", "bone"}


def test_facts_of_the_data_sets_match_the_published_table(table: Path) -> None:
    published = pd.read_csv(table)
    facts = transfer.data_sets()
    assert len(facts) == 87
    assert facts["train"].sum() == 17983
    assert facts["test"].sum() == 4525
    assert facts["foreground_labels"].sum() == 405
    pairs = (("dataset", "Dataset"), ("modality", "modality_group"), ("channels", "channels"), ("train", "train"),
             ("test", "test"), ("foreground_labels", "foreground_labels"))  # fmt: skip
    for own, theirs in pairs:
        assert facts[own].tolist() == published[theirs].tolist(), own
    for own, theirs in (("patch_zyx", "patch_size_zyx"), ("spacing_zyx_mm", "training_spacing_zyx_mm")):
        for mine, printed in zip(facts[own], published[theirs], strict=True):
            np.testing.assert_allclose([float(item) for item in mine.split()], json.loads(printed), rtol=5e-6)
    whole = facts["train"] + facts["test"]
    assert (facts["test"] == -(-whole // 5)).all()
    assert not any(column.startswith("dice") for column in facts.columns)


def test_missing_values_are_reported_and_left_out(tmp_path: Path, table: Path) -> None:
    frame = pd.read_csv(table, dtype=str).head(6)
    frame.loc[2, "dice_base_ft"] = ""
    frame.loc[3, "Dataset"] = "Task999_Mine"
    frame["channels"] = "1"
    frame.to_csv(tmp_path / "mine.csv", index=False, sep=";", encoding="utf-8-sig")
    scores, findings = read_suite(tmp_path / "mine.csv")
    assert "suite-data-set-unknown" in [str(item.code) for item in findings]
    result = transfer.analyse(scores)
    assert any("Task003_Liver" in item.where and "base_ft" in item.cause for item in result.findings)
    assert result.pairs.set_index("scratch").at["base", "n"] == 5
    pd.concat([frame, frame.head(1)]).to_csv(tmp_path / "twice.csv", index=False)
    with pytest.raises(UsageError, match="occurs twice"):
        read_suite(tmp_path / "twice.csv")


@pytest.mark.parametrize("number", [5, 7, 33, 250])
def test_fold_zero_is_nnunets(number: int) -> None:
    model_selection = pytest.importorskip("sklearn.model_selection")
    names = sorted(f"case_{index}" for index in range(number))
    split = model_selection.KFold(n_splits=5, shuffle=True, random_state=12345).split(names)
    _, validation = next(iter(split))
    assert fold_zero(list(reversed(names))) == [names[index] for index in validation]


def test_own_data_set_is_scored_like_the_suite(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset501_Mine"
    (folder / "labelsTr").mkdir(parents=True)
    facts = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": [1, 2], "tumour": 2},
        "regions_class_order": [1, 2],
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    rng = np.random.default_rng(1)
    guesses = tmp_path / "predictions"
    guesses.mkdir()
    for index in range(6):
        truth = rng.integers(0, 3, (6, 7, 8)).astype(np.uint8)
        if index % 2:
            truth[truth == 2] = 1
        for path, array in ((folder / "labelsTr", truth), (guesses, np.roll(truth, 1, 0))):
            nib.save(nib.Nifti1Image(array, np.eye(4)), path / f"case_{index}.nii.gz")
    plain, cases = own_dataset(folder)
    assert len(cases) == 2
    path = tmp_path / "own.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(plain, file)
    challenge = registry.load(path)
    result = score_task(
        challenge, "segmentation", folder / "labelsTr", {"me": guesses}, cases=pd.DataFrame({"case": cases}), workers=1
    )
    assert sorted(set(result.scores["case"])) == sorted(cases)
    for row in result.scores.itertuples():
        truth = np.asarray(nib.load(folder / "labelsTr" / f"{row.case}.nii.gz").dataobj)
        guess = np.asarray(nib.load(guesses / f"{row.case}.nii.gz").dataobj)
        g, s = (np.isin(array, [1, 2] if row.structure == "organ" else [2]) for array in (truth, guess))
        if not g.any() and not s.any():
            assert row.status == "skipped"
        else:
            assert row.value == pytest.approx(2 * (g & s).sum() / (g.sum() + s.sum()), abs=1e-12)
    (folder / "dataset.json").write_text('{"labels": {"background": 0}}')
    with pytest.raises(UsageError, match="no foreground label"):
        own_dataset(folder)
