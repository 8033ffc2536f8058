"""Touchstone: organ means, 3,420 tests and five aggregations of the published per-case scores."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medpodium.challenges import registry
from medpodium.findings import Severity
from medpodium.scoring.evidence import subgroups
from medpodium.scoring.exchange import importers, pairing
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.recipe import rank_array

VARIANTS = {
    "organ-means-all-rows": "organmean_allrows",
    "organ-means-common-cases": "organmean_common656",
    "mean-of-case-means": "mean_of_case_means_common",
    "mean-of-organ-medians": "mean_of_organ_medians_common",
    "median-of-case-means": "median_case_mean_common",
}


@pytest.fixture(scope="module")
def imported(shared: Path) -> tuple[pd.DataFrame, list[object]]:
    folder = shared / "data/touchstone"
    return importers.read_touchstone(folder / "totalsegmentator_results", metadata=folder / "metaTotalSeg.csv")


@pytest.fixture(scope="module")
def scores(imported: tuple[pd.DataFrame, list[object]]) -> pd.DataFrame:
    return imported[0]


@pytest.fixture(scope="module")
def ranked(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the table of every recipe, by name; the scores are arranged once."""
    challenge = registry.load("touchstone")
    spec = challenge.tasks["segmentation"].metrics["dice"]
    array, _ = build(scores, "segmentation", {"dice": spec.better}, missing={"dice": spec.missing}, worst={"dice": 0.0})
    names = [*VARIANTS, "rank-then-average"]
    return {name: rank_array(array, challenge.recipes[name].steps).table().set_index("submission") for name in names}


def test_organ_means_are_the_published_ones(scores: pd.DataFrame, shared: Path) -> None:
    published = pd.read_csv(shared / "data/published/touchstone_totalsegmentator_dsc_means.csv", index_col="model")
    published = published.drop(columns="mean_of_organ_means")
    own = scores[scores["metric"] == "dice"].pivot_table("value", "submission", "structure", "mean")
    assert published.shape == (19, 9)
    assert own.loc[published.index, published.columns].round(6).equals(published)


def test_all_wilcoxon_tests_by_case_name(scores: pd.DataFrame, shared: Path) -> None:
    own = pairing.superiority(scores, "dice")
    path = shared / "data/published/touchstone_totalsegmentator_dsc_pairwise_wilcoxon_holm.csv"
    both = own.merge(pd.read_csv(path), on=["target", "better", "worse"], suffixes=("", "_published"))
    assert len(own) == len(both) == 3420
    assert (both["n_pairs"] == both["n_pairs_published"]).all()
    # the table prints six significant digits
    np.testing.assert_allclose(both["p"], both["p_one_sided_wilcoxon"], rtol=5.1e-6, atol=1e-300)
    np.testing.assert_allclose(both["p_holm"], both["p_holm_published"], rtol=5.1e-6, atol=1e-300)
    significant = both[both["p_holm"] < 0.05].groupby("target").size().to_dict()
    assert significant == {
        "aorta": 145, "gall_bladder": 126, "kidney_left": 140, "kidney_right": 127, "liver": 146, "pancreas": 140,
        "postcava": 138, "spleen": 141, "stomach": 133, "mean": 155,
    }  # fmt: skip


def test_wilcoxon_tests_equal_scipy_to_1e_9(scores: pd.DataFrame) -> None:
    own = pairing.superiority(scores, "dice").set_index(["target", "better", "worse"])
    rows = scores[scores["metric"] == "dice"]
    wide = {
        str(name): part.pivot(index="case", columns="submission", values="value")
        for name, part in rows.groupby("structure")
    }
    wide["mean"] = rows.groupby(["case", "submission"])["value"].mean().unstack()
    worst_p, worst_holm = 0.0, 0.0
    for target, frame in wide.items():
        half = [(a, b) for index, a in enumerate(frame.columns) for b in frame.columns[index + 1 :]]
        z = np.empty(len(half))
        blocks: dict[bytes, list[int]] = {}
        for index, pair in enumerate(half):
            blocks.setdefault(frame[list(pair)].notna().all(axis=1).to_numpy().tobytes(), []).append(index)
        for rows_used, block in blocks.items():
            part = frame[np.frombuffer(rows_used, dtype=bool)]
            better, worse = (part[[half[index][side] for index in block]].to_numpy() for side in (0, 1))
            test = stats.wilcoxon(better, worse, alternative="greater", method="approx", axis=0)
            z[block] = test.zstatistic
            np.testing.assert_allclose(stats.norm.sf(z[block]), test.pvalue, atol=1e-15)
        pairs = [*half, *((b, a) for a, b in half)]
        p = np.concatenate([stats.norm.sf(z), stats.norm.sf(-z)])
        order = np.argsort(p, kind="stable")
        holm = np.empty(len(p))
        holm[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
        mine = own.loc[[(target, *pair) for pair in pairs]]
        worst_p = max(worst_p, float(np.abs(mine["p"].to_numpy() - p).max()))
        worst_holm = max(worst_holm, float(np.abs(mine["p_holm"].to_numpy() - holm).max()))
    assert worst_p < 1e-9
    assert worst_holm < 1e-9


@pytest.mark.parametrize(("recipe", "column"), VARIANTS.items())
def test_aggregation_variant(ranked: dict[str, pd.DataFrame], shared: Path, recipe: str, column: str) -> None:
    path = shared / "data/published/touchstone_totalsegmentator_aggregation_variants.csv"
    published = pd.read_csv(path, index_col="model")
    own = ranked[recipe].loc[published.index]
    percent = (own["value"] * 100).round(2)
    np.testing.assert_allclose(percent, published[column], atol=0.0051)
    # the published ranks are those of the printed values
    assert (percent.rank(ascending=False, method="min") == published[f"rank_{column}"]).all()
    assert own["rank"].idxmin() == published[f"rank_{column}"].idxmin()


def test_three_winners(ranked: dict[str, pd.DataFrame]) -> None:
    winners = {recipe: ranked[recipe]["rank"].idxmin() for recipe in VARIANTS}
    assert winners == {
        "organ-means-all-rows": "nnU-Net_STU-Net_L",
        "organ-means-common-cases": "nnU-Net_ResEncL",
        "mean-of-case-means": "nnU-Net_ResEncL",
        "mean-of-organ-medians": "nnU-Net_STU-Net_B",
        "median-of-case-means": "nnU-Net_STU-Net_B",
    }


def test_rank_then_average_gives_the_fact_sheets_values(ranked: dict[str, pd.DataFrame]) -> None:
    own = ranked["rank-then-average"]["value"].round(3)
    assert own["nnU-Net_STU-Net_B"] == 5.648
    assert own["nnU-Net_STU-Net_L"] == 5.756
    assert own["nnU-Net_MedNeXt"] == 5.848
    assert own["nnU-Net_ResEncL"] == 6.168


def test_different_case_sets_are_reported(imported: tuple[pd.DataFrame, list[object]]) -> None:
    findings = [item for item in imported[1] if item.code is pairing.PairingCode.ROW_SETS]
    assert {item.where.split(":")[0] for item in findings} == {
        f"nnU-Net_STU-Net_{size}/{file}.csv" for size in "LH" for file in ("dsc", "nsd")
    }
    assert all("656 rows" in item.cause and "different patients" in item.cause for item in findings)


def test_pairing_by_row_number_would_change_results(shared: Path) -> None:
    folder = shared / "data/touchstone/totalsegmentator_results"
    names = {size: pd.read_csv(folder / f"nnU-Net_STU-Net_{size}/dsc.csv") for size in "BL"}
    by_row = names["B"].iloc[: len(names["L"])]["name"].to_numpy() == names["L"]["name"].to_numpy()
    table_b = pairing.WideTable(
        "B", "dice", "B", tuple(names["B"]["name"]), ("liver",), names["B"][["liver"]].to_numpy()
    )
    table_l = pairing.WideTable(
        "L", "dice", "L", tuple(names["L"]["name"]), ("liver",), names["L"][["liver"]].to_numpy()
    )
    (finding,) = pairing.check_row_sets([table_b, table_l])
    assert f"{int((~by_row).sum())} of 656 pairs would be different patients" in finding.cause


def test_conflicting_duplicates_control_characters_and_gaps_are_findings(shared: Path, tmp_path: Path) -> None:
    source = shared / "data/touchstone/totalsegmentator_results"
    for name in ("nnU-Net_U-Net", "nnU-Net_MedNeXt", "nnU-Net_ResEncL"):
        shutil.copytree(source / name, tmp_path / name, copy_function=shutil.copyfile)
    broken = tmp_path / "nnU-Net_MedNeXt" / "dsc.csv"
    lines = broken.read_text(encoding="utf-8").splitlines()
    assert lines[2].startswith("s0001,")
    assert lines[1].startswith("s0000,")
    cells = lines[2].split(",")
    cells[1] = "0.1"
    lines.append(",".join(cells))  # s0001 again, with another aorta
    lines.append(lines[5])  # the same row twice
    lines[3] = "\0" * 40 + lines[3]
    lines[1] = "s0000" + ",0.0" * 9  # scored where the reference is empty
    broken.write_text("\n".join(lines) + "\n", encoding="utf-8")
    scores, findings = importers.read_touchstone(tmp_path)
    codes = [item.code for item in findings if "MedNeXt/dsc.csv" in item.where]
    expected = [
        pairing.PairingCode.CONTROL_CHARACTER,
        pairing.PairingCode.CONFLICT,
        pairing.PairingCode.DUPLICATE,
        pairing.PairingCode.GAPS,
    ]
    assert sorted(codes) == sorted(expected)
    conflict = next(item for item in findings if item.code is pairing.PairingCode.CONFLICT)
    assert conflict.severity is Severity.ERROR
    assert "s0001" in conflict.where
    own = scores[(scores["submission"] == "nnU-Net_MedNeXt") & (scores["metric"] == "dice")]
    assert own["case"].is_unique is False
    assert len(own) == 743 * 9
    assert not own["case"].str.contains("\0").any()
    failed = own[(own["case"] == "s0001") & own["status"].str.startswith("failed:")]
    assert len(failed) > 0
    assert failed["value"].isna().all()


def test_metadata_and_subgroups(scores: pd.DataFrame, shared: Path) -> None:
    groups, findings = importers.read_metadata(shared / "data/touchstone/metaTotalSeg.csv")
    assert len(groups) == 1228
    assert groups["split"].value_counts().to_dict() == {"train": 1082, "test": 89, "val": 57}
    assert (groups["institute"] == "unknown").sum() == 5
    assert any("no sex" in item.cause for item in findings)
    cases = scores.drop_duplicates("case")
    assert cases["split"].value_counts().to_dict() == {"train": 651, "test": 59, "val": 33}
    one = scores[scores["submission"] == "nnU-Net_U-Net"]
    found = subgroups.analyse(one, "dice", ["split", "institute"], 5)
    test = found.summary[(found.summary["level"] == "test") & (found.summary["target"] == "mean")]
    assert test["n_members"].item() == 59
    assert test["n_cases"].item() == 47
    rows = one[(one["split"] == "test") & (one["metric"] == "dice")]
    liver = found.summary[(found.summary["level"] == "test") & (found.summary["target"] == "liver")]
    assert liver["mean"].item() == pytest.approx(rows[rows["structure"] == "liver"]["value"].mean(), abs=1e-15)
    # small groups are shown and named, not dropped
    small = found.summary[found.summary["too_small"] & (found.summary["target"] == "mean")]
    assert set(small["level"]) >= {"D", "F", "H", "J", "unknown"}
    assert {item.where for item in found.findings} >= {"institute = D", "institute = H"}
    tests = found.tests.set_index(["group", "target"])
    samples = [
        part["value"].dropna()
        for _, part in one[(one["metric"] == "dice") & (one["structure"] == "liver")].groupby("split")
    ]
    assert tests.at[("split", "liver"), "p"] == pytest.approx(stats.kruskal(*samples).pvalue, rel=1e-12)
