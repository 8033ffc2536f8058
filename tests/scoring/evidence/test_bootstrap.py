"""Resampling: the same for any number of workers, paired, stratified, clustered, and linear in cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges.schema.steps import parse_steps
from medpodium.findings import MedpodiumError
from medpodium.scoring.evidence.bootstrap import CHUNK, bootstrap, stream
from medpodium.scoring.evidence.stability import first_share, kendall_with, rank_summary
from medpodium.scoring.evidence.units import Scheme, units_of
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.axes import RankingCode, ScoreArray
from medpodium.scoring.ranking.recipe import Prepared

RANK_THEN_MEAN = [{"rank": {"within": ["case"]}}, {"mean": "case"}, "rank"]


def scores(n: int = 30, submissions: int = 4, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (f"s{s}", f"c{c:03d}", rng.normal(0.8 + 0.02 * s, 0.1), f"centre{c % 3}", f"p{c // 2}")
        for c in range(n)
        for s in range(submissions)
    ]
    frame = pd.DataFrame(rows, columns=["submission", "case", "value", "centre", "patient"])
    return frame.assign(challenge="c", edition="1", task="t", structure="", metric="dsc", status="ok")


def array(frame: pd.DataFrame) -> ScoreArray:
    return build(frame, "t", {"dsc": "higher"})[0]


def prepared(frame: pd.DataFrame, steps: list | None = None) -> Prepared:
    return Prepared(array(frame), parse_steps(steps or RANK_THEN_MEAN))


def test_workers_do_not_change_anything() -> None:
    own = prepared(scores())
    one = bootstrap(own, 3 * CHUNK + 7, seed=5, task="t")
    four = bootstrap(own, 3 * CHUNK + 7, seed=5, task="t", workers=4)
    np.testing.assert_array_equal(one.ranks, four.ranks)
    np.testing.assert_array_equal(one.taus, four.taus)
    assert len(one.ranks) == 3 * CHUNK + 7
    other = bootstrap(own, CHUNK, seed=6, task="t")
    assert (other.ranks != one.ranks[:CHUNK]).any()
    longer = bootstrap(own, CHUNK, seed=5, task="t")
    np.testing.assert_array_equal(longer.ranks, one.ranks[:CHUNK])  # more resamples only add to fewer


def test_a_resample_is_the_ranking_of_repeated_rows() -> None:
    """Every draw counts as a case of its own: the same as ranking a table in which its rows are repeated."""
    frame = scores(9)
    for steps in (RANK_THEN_MEAN, [{"mean": "case"}, "rank"], [{"median": "case"}, "rank"], [{"test": "case"}, "rank"]):
        own = prepared(frame, steps)
        picks = np.random.default_rng(0).integers(0, 9, (6, 9))
        found = bootstrap(own, 0, indices=picks)
        for row, pick in enumerate(picks):
            parts = [
                frame[frame["case"] == own.array.cases[case]].assign(case=f"draw{draw}")
                for draw, case in enumerate(pick)
            ]
            again = prepared(pd.concat(parts), steps).run()
            np.testing.assert_array_equal(found.ranks[row], again.ranks[0])
            np.testing.assert_allclose(found.values[row], again.values[0], rtol=1e-15)


def test_strata_keep_their_size_and_clusters_stay_whole() -> None:
    own = array(scores())
    rng = stream(0, "test", 0)
    counts = units_of(own, Scheme(stratify="centre")).draw(rng, 200)
    centres = np.asarray(own.groups["centre"])
    for centre in ("centre0", "centre1", "centre2"):
        assert (counts[:, centres == centre].sum(axis=1) == 10).all()
    plain = units_of(own).draw(rng, 200)
    assert (plain.sum(axis=1) == 30).all()
    assert len(set(plain[:, centres == "centre0"].sum(axis=1))) > 1
    clustered = units_of(own, Scheme(cluster="patient"))
    counts = clustered.draw(rng, 200)
    patients = np.asarray(own.groups["patient"])
    assert clustered.number == 15
    for patient in set(patients):
        inside = counts[:, patients == patient]
        assert (inside == inside[:, :1]).all()
    both = units_of(own, Scheme(stratify="centre", cluster="centre")).draw(rng, 20)
    assert (both == 1).all()  # one cluster per stratum leaves nothing to draw


def test_pooled_values_are_not_resampled() -> None:
    frame = pd.concat([scores(6), scores(1).head(4).assign(case="", metric="auc", centre="centre0")])
    own = build(frame, "t", {"dsc": "higher", "auc": "higher"})[0]
    counts = units_of(own).draw(stream(0, "test", 0), 50)
    assert (counts[:, list(own.pooled)] == 1).all()
    assert (counts[:, [not flag for flag in own.pooled]].sum(axis=1) == 6).all()


def test_unknown_group_and_too_little_are_findings() -> None:
    with pytest.raises(MedpodiumError, match="did you mean 'centre'"):
        units_of(prepared(scores()).array, Scheme(stratify="center"))
    with pytest.raises(MedpodiumError) as caught:
        bootstrap(prepared(scores(1)), 10)
    assert caught.value.findings[0].code is RankingCode.ONE_CASE
    with pytest.raises(MedpodiumError) as caught:
        bootstrap(prepared(scores(5, 1)), 10)
    assert caught.value.findings[0].code is RankingCode.ONE_SUBMISSION


def test_kendall_is_scipys() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    reference = rng.integers(1, 5, 8).astype(float)
    rankings = rng.integers(1, 5, (50, 8)).astype(float)
    found = kendall_with(reference, rankings)
    for tau, ranking in zip(found, rankings, strict=True):
        assert tau == pytest.approx(stats.kendalltau(reference, ranking).statistic)
    assert np.isnan(kendall_with(reference, np.ones((1, 8)))[0])


def test_shared_first_places_count_for_everybody_who_shares_them() -> None:
    """challengeR counts ranks equal to 1, so a shared first place (1.5 under average ties) counts for nobody."""
    ranks = np.array([[1.5, 1.5, 3.0], [1.0, 2.0, 3.0]])
    assert first_share(ranks).tolist() == [1.0, 0.5, 0.0]
    assert (ranks == 1).mean(axis=0).tolist() == [0.5, 0.0, 0.0]
    assert rank_summary(ranks)["median"].tolist() == [1.25, 1.75, 3.0]
