"""Agreement of raters against scikit-learn and pingouin, alpha against its definition, weights against repeats."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pingouin
import pytest
from sklearn.metrics import cohen_kappa_score

from medpodium.scoring.evidence.agreement.agree import agreement
from medpodium.scoring.evidence.agreement.coefficients import intraclass, krippendorff_alpha, pairwise_kappa
from medpodium.scoring.evidence.agreement.ratings import read_ratings

Floats = npt.NDArray[np.float64]
RNG = np.random.default_rng(4)
TRUTH = RNG.integers(1, 6, size=30)
RATINGS = np.clip(TRUTH[:, None] + RNG.integers(-1, 2, size=(30, 3)), 1, 6).astype(float)
RATINGS[RATINGS == 4] = 9.0  # positions of levels and their values differ
ONCE = np.ones((1, 30))
GAPS = RATINGS.copy()
GAPS[[1, 4, 9], [0, 2, 1]] = np.nan


@pytest.mark.parametrize("weighting", ["none", "linear", "quadratic"])
def test_kappa_is_scikit_learns(weighting: str) -> None:
    found = pairwise_kappa(RATINGS, ONCE, weighting)[0]  # type: ignore[arg-type]
    for value, (one, two) in zip(found, itertools.combinations(range(3), 2), strict=True):
        weights = None if weighting == "none" else weighting
        theirs = cohen_kappa_score(RATINGS[:, one], RATINGS[:, two], weights=weights, labels=np.unique(RATINGS))
        assert value == pytest.approx(theirs, rel=1e-12)


def test_icc_is_pingouins_with_its_intervals(tmp_path: Path) -> None:
    long = pd.DataFrame(
        [(item, rater, RATINGS[item, at]) for item in range(30) for at, rater in enumerate("abc")],
        columns=["item", "rater", "value"],
    )
    theirs = pingouin.intraclass_corr(long, targets="item", raters="rater", ratings="value")
    assert intraclass(RATINGS, ONCE)[0] == pytest.approx(theirs["ICC"].to_numpy(), rel=1e-9)
    long.to_csv(tmp_path / "long.csv", index=False)
    tables, _ = read_ratings(tmp_path / "long.csv")
    found, _ = agreement(tables, n_resamples=50)
    icc = found[found["coefficient"] == "ICC"]
    column = next(name for name in theirs.columns if name.startswith("CI95"))
    for own, limits in zip(icc.to_dict("records"), theirs[column], strict=True):
        assert (own["low_f"], own["high_f"]) == pytest.approx(tuple(limits), abs=0.0051)  # printed with two digits
        assert own["low"] <= own["value"] <= own["high"]


def _alpha(values: Floats, level: str) -> float:
    """Return alpha by its definition: mean disagreement of all pairs within items over that of all pairs at all."""
    rated = [row[~np.isnan(row)] for row in values]
    rated = [row for row in rated if len(row) > 1]
    pool = np.concatenate(rated)

    def disagreement(one: float, two: float) -> float:
        if level == "nominal":
            return float(one != two)
        if level == "interval":
            return (one - two) ** 2
        if level == "ratio":
            return ((one - two) / (one + two)) ** 2
        low, high = min(one, two), max(one, two)
        between = ((pool >= low) & (pool <= high)).sum() - ((pool == low).sum() + (pool == high).sum()) / 2
        return float(between if one != two else 0.0) ** 2

    within = sum(sum(disagreement(a, b) for a, b in itertools.permutations(row, 2)) / (len(row) - 1) for row in rated)
    every = sum(disagreement(a, b) for a, b in itertools.permutations(pool, 2)) / (len(pool) - 1)
    return 1 - within / every


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval", "ratio"])
def test_alpha_is_its_definition_and_a_weight_of_two_is_two_items(level: str) -> None:
    assert krippendorff_alpha(GAPS, ONCE, level)[0] == pytest.approx(_alpha(GAPS, level))  # type: ignore[arg-type]
    counts = RNG.integers(0, 3, size=30)
    repeated = np.repeat(GAPS, counts, axis=0)
    weighted = krippendorff_alpha(GAPS, counts[None].astype(float), level)[0]  # type: ignore[arg-type]
    assert weighted == pytest.approx(_alpha(repeated, level))


def test_rounds_are_compared_between_raters_and_within_each(tmp_path: Path) -> None:
    rows = ["item,rater,round,value"]
    rows += [f"i{item},{rater},{turn},{item % 3}" for item in range(8) for rater in "ab" for turn in (1, 2)]
    (tmp_path / "rounds.csv").write_text("\n".join(rows), "utf-8")
    tables, _ = read_ratings(tmp_path / "rounds.csv")
    assert [own.what for own in tables] == ["round 1", "round 2", "rater a", "rater b"]
    found, _ = agreement(tables, n_resamples=20)
    assert found.loc[found["coefficient"] == "alpha", "value"].to_numpy() == pytest.approx(1.0)


def test_words_have_an_order_only_if_somebody_says_so(tmp_path: Path) -> None:
    file = tmp_path / "words.csv"
    words = ("bad", "fair", "good")
    file.write_text("item,ann,bob\n" + "\n".join(f"{n},{words[n % 3]},fair" for n in range(9)), "utf-8")
    plain, notes = read_ratings(file)
    found, _ = agreement(plain, n_resamples=20)
    assert set(found["kind"]) == {"none", "nominal"}
    assert any("ratings are words" in note.cause for note in notes)
    ordered, _ = read_ratings(file, order=["bad", "fair", "good"])
    found, _ = agreement(ordered, n_resamples=20)
    assert {"linear", "quadratic", "ordinal"} <= set(found["kind"])
    assert "interval" not in set(found["kind"])


def test_clusters_are_drawn_whole(tmp_path: Path) -> None:
    """Every item four times in one patient: the interval is that of a quarter of the items."""
    rows = ["item,patient,ann,bob"]
    rows += [f"i{n}-{copy},p{n},{RATINGS[n, 0]:g},{RATINGS[n, 1]:g}" for n in range(30) for copy in range(4)]
    (tmp_path / "copies.csv").write_text("\n".join(rows), "utf-8")
    tables, _ = read_ratings(tmp_path / "copies.csv", cluster="patient")
    found, _ = agreement(tables, n_resamples=400)
    once = krippendorff_alpha(RATINGS[:, :2], ONCE, "nominal")[0]
    alpha = found[(found["coefficient"] == "alpha") & (found["kind"] == "nominal")].iloc[0]
    assert alpha["n_units"] == 30
    spread = np.std(krippendorff_alpha(RATINGS[:, :2], RNG.multinomial(30, [1 / 30] * 30, size=2000) * 1.0, "nominal"))
    assert (alpha["high"] - alpha["low"]) / 4 == pytest.approx(spread, rel=0.2)
    assert alpha["value"] == pytest.approx(once, abs=0.02)  # n - 1 of 60 ratings, and of 240
