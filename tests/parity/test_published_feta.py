"""FeTA 2024: the last step of the published ranking, and why rank-of-means is not how it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.scoring.exchange import importers
from medpodium.scoring.exchange.leaderboards import read_leaderboard
from medpodium.scoring.ranking.recipe import rank_scores
from medpodium.scoring.rows import ImportCode

RANK_COLUMNS = {"dice_rank": "dice", "hd95_rank": "hd95", "vs_rank": "vs", "euler_rank": "euler_error"}
TASK = "published-ranks"
MEAN_COLUMNS = {"dice": "dice", "hd95_mm": "hd95", "vs": "vs", "euler_error": "euler_error"}


@pytest.fixture(scope="module")
def published(shared: Path) -> pd.DataFrame:
    return pd.read_csv(shared / "data/published/feta2024_segmentation_results.csv", index_col="team")


def read(shared: Path, columns: dict[str, str], task: str = "segmentation") -> pd.DataFrame:
    path = shared / "data/published/feta2024_segmentation_results.csv"
    scores, findings = read_leaderboard(path, registry.load("feta/2024"), task, metrics=columns)
    assert findings == []
    return scores


def test_mean_of_four_ranks_and_final_rank(shared: Path, published: pd.DataFrame) -> None:
    challenge = registry.load("feta/2024")
    metrics = challenge.tasks[TASK].metrics
    ranking = rank_scores(
        read(shared, {name: name for name in metrics}, TASK),
        challenge.recipe_for(TASK)[1].steps,
        {name: spec.better for name, spec in metrics.items()},
        task=TASK,
    )
    own = ranking.table().set_index("submission").loc[published.index]
    assert len(own) == 16
    assert (own["value"] == published["ranking_mean"]).all()
    assert (own["rank"] == published["final_rank"]).all()
    assert sorted(own["rank"])[:4] == [1, 2, 2, 4]


def test_rank_of_means_does_not_reproduce_the_published_ranks(shared: Path, published: pd.DataFrame) -> None:
    challenge = registry.load("feta/2024")
    metrics = challenge.tasks["segmentation"].metrics
    ranking = rank_scores(
        read(shared, MEAN_COLUMNS),
        challenge.recipes["mean-then-rank"].steps,
        {name: metrics[name].better for name in MEAN_COLUMNS.values()},
        task="segmentation",
    )
    own = ranking.table().set_index("submission").loc[published.index]
    different = {
        metric: int((own[f"rank:{metric}"] != published[column]).sum()) for column, metric in RANK_COLUMNS.items()
    }
    assert different == {"dice": 4, "hd95": 14, "vs": 7, "euler_error": 10}


def cases(rng: np.random.Generator) -> pd.DataFrame:
    """Make 3 teams, 5 cases, 2 labels, 2 metrics, with the columns of the score table."""
    rows = [
        {"submission": team, "case": f"c{case}", "structure": label, "metric": metric, "value": float(value)}
        for team in "ABC"
        for case in range(5)
        for label in ("gm", "wm")
        for metric, value in (("dice", rng.integers(1, 9) / 10), ("hd95", rng.integers(1, 9)))
    ]
    return pd.DataFrame(rows).assign(challenge="feta", edition="2024", task="segmentation", status="ok")


def by_hand(scores: pd.DataFrame, recipe: str) -> pd.Series:
    """Rank with pandas alone."""
    signed = scores.assign(value=np.where(scores["metric"] == "dice", -scores["value"], scores["value"]))
    keys = {
        "mean-then-rank": ["metric"],
        "label-mean-then-rank": ["structure", "metric"],
        "rank-then-aggregate": ["case", "structure", "metric"],
    }[recipe]
    grouped = signed.groupby([*keys, "submission"])["value"].mean().unstack()
    ranks = grouped.round(12).rank(axis=1, method="min")
    if recipe == "rank-then-aggregate":
        return ranks.groupby("metric").mean().round(12).rank(axis=1, method="min").mean().rank(method="min")
    return ranks.sum().rank(method="min")


@pytest.mark.parametrize("recipe", ["mean-then-rank", "label-mean-then-rank", "rank-then-aggregate"])
def test_three_readings_do_what_they_say(recipe: str) -> None:
    challenge = registry.load("feta/2024")
    for seed in range(10):
        scores = cases(np.random.default_rng(seed))
        ranking = rank_scores(
            scores, challenge.recipes[recipe].steps, {"dice": "higher", "hd95": "lower"}, task="segmentation"
        )
        own = ranking.table().set_index("submission")["rank"]
        expected = by_hand(scores, recipe)
        assert own.sort_index().tolist() == expected.sort_index().tolist()


def test_published_biometry_order_and_rank_sum(shared: Path) -> None:
    path = shared / "data/published/feta2024_biometry_results.csv"
    published = pd.read_csv(path)
    assert (published["ranking_mean"].rank(method="min") == published["final_rank"]).all()
    # ties inside cases shared the minimum rank, else the mean ranks of seven teams would sum to 28
    assert published["ranking_mean"].sum() < 28 - 7 * 0.0005


def test_biometry_tables_become_percentage_errors(tmp_path: Path) -> None:
    header = "\t".join(["", *importers.BIOMETRY])
    (tmp_path / "truth.csv").write_text(f"{header}\nsub-001\t40\t20\t80\t90\t30\nsub-002\t40\t\t80\t90\t30\n")
    folder = tmp_path / "team"
    folder.mkdir()
    name = "{}_rec-mial_T2w_biom.csv"
    (folder / name.format("sub-001")).write_text(f"{header}\nsub-001\t42\t20\t76\t90\t33\n")
    (folder / name.format("sub-002")).write_text(f"{header}\nsub-002\t40\t20\tabc\t90\t\n")
    scores, findings = importers.read_biometry({"team": folder}, tmp_path / "truth.csv")
    values = scores.set_index(["case", "structure"])
    assert values.at[("sub-001", "LCC"), "value"] == pytest.approx(5)
    assert values.at[("sub-001", "bBIP"), "value"] == pytest.approx(5)
    assert values.at[("sub-001", "TCD"), "value"] == pytest.approx(10)
    assert ("sub-002", "HV") not in values.index  # no reference: asked of nobody
    assert values.at[("sub-002", "TCD"), "status"] == "missing"
    assert values.at[("sub-002", "bBIP"), "status"] == "missing"
    assert [item.code for item in findings] == [ImportCode.NOT_A_NUMBER]
    ranking = rank_scores(
        scores, registry.load("feta/2024").recipes["biometry"].steps, {"percentage_error": "lower"}, task="biometry"
    )
    assert ranking.table()["rank"].tolist() == [1]
