"""The multiverse, and what would change a ranking."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medpodium.challenges.schema.steps import parse_steps
from medpodium.scoring.evidence.multiverse import Rules, Universe, adapt_steps, multiverse, universes
from medpodium.scoring.evidence.sensitivity import blocks, domain_gap, leave_one_out, subsampling
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.recipe import Prepared

VARIANTS = {
    "organmean_allrows": [{"mean": {"over": "case", "missing": "skip"}}, {"mean": "structure"}, "rank"],
    "organmean_common656": [{"common": "case"}, {"mean": "case"}, {"mean": "structure"}, "rank"],
    "mean_of_case_means_common": [{"common": "case"}, {"mean": "structure"}, {"mean": "case"}, "rank"],
    "mean_of_organ_medians_common": [{"common": "case"}, {"median": "case"}, {"mean": "structure"}, "rank"],
    "median_case_mean_common": [{"common": "case"}, {"mean": "structure"}, {"median": "case"}, "rank"],
}


@pytest.fixture(scope="module")
def touchstone(shared: Path) -> pd.DataFrame:
    frames = []
    for folder in sorted((shared / "data" / "touchstone" / "totalsegmentator_results").iterdir()):
        wide = pd.read_csv(folder / "dsc.csv").rename(columns={"name": "case"})
        frames.append(wide.melt(id_vars="case", var_name="structure").assign(submission=folder.name))
    frame = pd.concat(frames, ignore_index=True).assign(challenge="t", edition="1", task="t", metric="dsc")
    return frame.assign(status=np.where(frame["value"].isna(), "empty-reference", "ok"))


def test_touchstones_five_variants_and_three_winners(shared: Path, touchstone: pd.DataFrame) -> None:
    published = pd.read_csv(shared / "data" / "published" / "touchstone_totalsegmentator_aggregation_variants.csv")
    published = published.set_index("model")
    recipes = {name: parse_steps(steps) for name, steps in VARIANTS.items()}
    choices = universes("organmean_allrows", recipes=list(VARIANTS))
    found = multiverse(touchstone, "t", Rules({"dsc": "higher"}), recipes, choices)
    assert found.winners["winners"].tolist() == [
        "nnU-Net_STU-Net_L",
        "nnU-Net_ResEncL",
        "nnU-Net_ResEncL",
        "nnU-Net_STU-Net_B",
        "nnU-Net_STU-Net_B",
    ]
    assert found.winners["same_winner"].tolist() == [True, False, False, False, False]
    for name in VARIANTS:
        own = found.ranks[found.ranks["recipe"] == name].set_index("submission").loc[published.index]
        percent = np.round(own["value"] * 100, 2)
        np.testing.assert_allclose(percent, published[name], atol=1e-9)
        # the published ranks are those of the printed values
        np.testing.assert_array_equal(stats.rankdata(-percent, method="min"), published[f"rank_{name}"])


def small() -> pd.DataFrame:
    rows = []
    for name, dsc, hd in (("A", [0.9, 0.2, 0.9, 0.9], 5.0), ("B", [0.7, 0.7, 0.7, 0.8], 3.0)):
        rows += [(name, f"c{i}", "dsc", v) for i, v in enumerate(dsc)]
        rows += [(name, f"c{i}", "hd", hd + i) for i in range(4)]
    frame = pd.DataFrame(rows, columns=["submission", "case", "metric", "value"])
    centre = frame["case"].map({"c0": "x", "c1": "y", "c2": "x", "c3": "x"})
    return frame.assign(challenge="", edition="", task="t", structure="", status="ok", centre=centre)


RULES = Rules({"dsc": "higher", "hd": "lower"}, {"dsc": "worst", "hd": "skip"}, {"dsc": 0.0}, {"dsc": 1.0, "hd": 0.0})
STEPS = parse_steps(
    [{"mean": "case"}, {"rank": {"within": ["metric"]}}, {"mean": {"over": "metric", "weights": {"hd": 2}}}, "rank"]
)


def test_every_choice_is_combined_with_every_other_and_the_first_is_the_default() -> None:
    found = universes("a", recipes=["a", "b"], metrics=[["dsc"]], ties=["average"], missing=["skip", 0.0])
    assert len(found) == 2 * 2 * 2 * 3
    assert found[0] == Universe("a")
    assert len(set(found)) == len(found)


def test_metrics_ties_and_missing_scores_decide_the_winner() -> None:
    frame = small()
    frame.loc[
        (frame["submission"] == "B") & (frame["case"] == "c3") & (frame["metric"] == "dsc"), ["value", "status"]
    ] = [
        math.nan,
        "missing",
    ]
    choices = universes("a", metrics=[["dsc"]], missing=["skip", "best", 0.0])
    found = multiverse(frame, "t", RULES, {"a": STEPS}, choices)
    winners = {(row.metrics, row.missing): row.winners for row in found.winners.itertuples()}
    assert winners["", ""] == "B"
    assert winners["dsc", ""] == "A"  # .725 against .525
    assert winners["dsc", "skip"] == "A"
    assert winners["dsc", "best"] == "B"  # .775
    assert found.findings == ()


def test_empty_references_can_be_scored_otherwise() -> None:
    frame = small()
    frame.loc[(frame["case"] == "c1") & (frame["metric"] == "dsc"), "status"] = "empty-reference"
    steps = {"a": parse_steps([{"select": {"metric": ["dsc"]}}, {"mean": ["case", "metric"]}, "rank"])}
    found = multiverse(frame, "t", RULES, steps, universes("a", empty=["skip", "best"]))
    assert found.ranks[found.ranks["universe"] == 1]["value"].tolist() == pytest.approx([0.9, 2.2 / 3])
    assert found.ranks[found.ranks["universe"] == 2]["value"].tolist() == pytest.approx([3.7 / 4, 3.2 / 4])


def test_a_universe_that_cannot_be_ranked_is_a_finding() -> None:
    found = multiverse(small(), "t", RULES, {"a": STEPS}, universes("a", metrics=[["nsd"]]))
    assert len(found.winners) == 1
    assert found.findings[0].code is RankingCode.UNKNOWN_LABEL
    assert "universe 1" in found.findings[0].where


def test_steps_follow_the_chosen_metrics() -> None:
    adapted = adapt_steps(STEPS, Universe("a", metrics=("dsc",), ties="average", tolerance=0.1))
    assert adapted[0].model_dump() == {"select": {"metric": ["dsc"]}}
    assert adapted[2].tolerance == 0.1
    assert adapted[2].ties == adapted[4].ties == "average"
    assert adapted[4].tolerance == 0
    assert adapted[3].weights is None


def test_leaving_out_the_case_that_decides_changes_the_winner() -> None:
    array, _ = build(small(), "t", {"dsc": "higher"})
    prepared = Prepared(array, parse_steps([{"mean": "case"}, "rank"]))
    full = prepared.run().ranks[0]
    assert full.tolist() == [1, 1]  # .725 both
    found = leave_one_out(prepared, full)
    without = {(row.unit, row.left_out, row.submission): row.rank_without for row in found.itertuples()}
    assert without["case", "c1", "A"] == 1
    assert without["case", "c1", "B"] == 2
    assert without["case", "c0", "A"] == 2
    assert without["centre", "x", "A"] == 2
    assert without["centre", "y", "B"] == 2
    assert set(found["unit"]) == {"case", "centre"}


def test_subsampling_ends_at_the_full_ranking_and_grows_more_stable() -> None:
    rng = np.random.default_rng(2)
    rows = [(f"s{s}", f"c{c}", 0.8 - 0.03 * s + rng.normal(0, 0.1)) for c in range(60) for s in range(5)]
    frame = pd.DataFrame(rows, columns=["submission", "case", "value"]).assign(
        task="t", structure="", metric="dsc", status="ok"
    )
    prepared = Prepared(build(frame, "t", {"dsc": "higher"})[0], parse_steps([{"mean": "case"}, "rank"]))
    curve = subsampling(prepared, prepared.run().ranks[0], seed=0, task="t")
    assert curve["n_cases"].tolist() == [6, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    assert curve["winner_stays"].iloc[-1] == curve["tau_mean"].iloc[-1] == 1
    assert curve["tau_mean"].iloc[0] < curve["tau_mean"].iloc[4] < 1


def test_domain_gap_assumes_no_sign() -> None:
    rng = np.random.default_rng(4)
    level = np.array(["seen"] * 40 + ["unseen"] * 40)
    base = np.where(level == "unseen", 0.9, 0.7)[:, None]  # the unseen domain is the easier one
    values = base + rng.normal(0, 0.02, (80, 2)) + np.array([0.0, 0.1]) * (level == "seen")[:, None] * 2
    rows = [(f"s{s}", f"c{c:02d}", values[c, s], level[c]) for c in range(80) for s in range(2)]
    frame = pd.DataFrame(rows, columns=["submission", "case", "value", "domain"])
    frame = frame.assign(task="t", structure="", metric="dsc", status="ok")
    array, _ = build(frame, "t", {"dsc": "higher"})
    found = domain_gap(next(blocks(array)), array.groups, array.submissions, seed=0, n_resamples=500)
    first, second = found.to_dict("records")
    assert first["level"] == "seen"
    assert first["gap"] == pytest.approx(-0.2, abs=0.02)
    assert first["low"] < first["gap"] < first["high"] < 0
    assert first["better_in"] == "rest"
    assert second["gap"] == pytest.approx(0, abs=0.02)
    assert second["better_in"] == ""
