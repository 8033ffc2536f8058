"""Pooled metrics under resampling: the whole way against rows drawn by hand, and what must be refused or said."""

from __future__ import annotations

import pickle
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.challenges.schema.steps import parse_steps
from medpodium.findings import UsageError
from medpodium.scoring.evidence.bootstrap import bootstrap, stream
from medpodium.scoring.evidence.multiverse import Rules
from medpodium.scoring.evidence.tables.collect import Evidence, Options, TaskPlan, collect_task, rank_task
from medpodium.scoring.evidence.tables.plan import plan_task
from medpodium.scoring.evidence.units import Scheme, units_of
from medpodium.scoring.kinds.engine import Result, score_task
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.pools import Cell, Pool
from medpodium.scoring.ranking.recipe import Prepared
from medpodium.scoring.scheduling.scheduler import LocalScheduler

staging = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "staging.py")))
TASK = "lifs-contrast"


@pytest.fixture(scope="module")
def liqa(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("liqa")
    staging.write(folder)
    tables = {team: folder / f"{team}.csv" for team in staging.TEAMS}
    return score_task(registry.load("liqa/2025"), TASK, folder / "stages.csv", tables)


def _plan(result: Result, recipe: str | None = None) -> TaskPlan:
    return plan_task(registry.load("liqa/2025"), TASK, recipe, result.observations)


def _by_hand(observed: pd.DataFrame, drawn: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """Return every pooled metric of LiQA by scikit-learn from rows that are really repeated."""
    metrics = pytest.importorskip("sklearn.metrics")
    rows = drawn.merge(observed, on="case")
    found = {}
    names = {"cirrhosis": "s4", "substantial-fibrosis": "s1"}
    for (team, domain, problem), own in rows.groupby(["submission", "domain", "structure"]):
        truth = (own["truth"] == "1").astype(int)
        # no answer stands on the wrong side, beyond every answer
        value = own["confidence"].fillna(truth.map({1: -1.0, 0: 2.0}))
        name = names[str(problem)]
        found[str(team), str(domain), f"acc_{name}"] = metrics.accuracy_score(truth, value >= 0.5)
        if truth.nunique() == 2:
            found[str(team), str(domain), f"auc_{name}"] = metrics.roc_auc_score(truth, value)
    return found


@pytest.mark.parametrize("recipe", ["domains-weigh-the-same", "mean-of-metric-ranks"])
def test_the_bootstrap_is_that_of_rows_drawn_by_hand(liqa: Result, recipe: str) -> None:
    _, prepared, ranking = rank_task(liqa.scores, _plan(liqa, recipe), Options())
    cases = prepared.array.cases
    free = [index for index, pooled in enumerate(prepared.array.pooled) if not pooled]
    rng = np.random.default_rng(3)
    indices = rng.choice(free, size=(40, len(free)))
    draws = bootstrap(prepared, 40, indices=indices)
    assert liqa.observations is not None
    observed = liqa.observations[liqa.observations["structure"] != ""]
    for row, picks in enumerate(indices):
        found = _by_hand(observed, pd.DataFrame({"case": [cases[index] for index in picks]}))
        table = pd.Series(found).rename_axis(["team", "domain", "metric"]).unstack("team")
        if recipe == "domains-weigh-the-same":
            values = table.groupby("domain").mean().mean()
            ranks = values.rank(ascending=False, method="min")
        else:
            values = table.round(12).rank(axis=1, ascending=False, method="average").mean()
            ranks = values.rank(method="min")
        np.testing.assert_allclose(draws.values[row], values[list(draws.submissions)], atol=1e-12)
        np.testing.assert_array_equal(draws.ranks[row], ranks[list(draws.submissions)])
    assert len(np.unique(draws.values[:, 0])) > 8
    np.testing.assert_array_equal(draws.full.values[0], ranking.values)


def test_every_case_once_is_the_ranking_itself_to_the_bit(liqa: Result) -> None:
    for recipe in ("domains-weigh-the-same", "mean-of-metric-ranks"):
        _, prepared, ranking = rank_task(liqa.scores, _plan(liqa, recipe), Options())
        bare = Prepared(build(liqa.scores, TASK, _plan(liqa).rules.directions)[0], _plan(liqa, recipe).steps).run()
        once = prepared.run(np.ones((2, len(prepared.array.cases))))
        for values in (once.values[0], once.values[1], bare.values[0]):
            np.testing.assert_array_equal(values, ranking.values)
        assert list(once.columns) == list(ranking.columns)


def test_groups_of_the_cases_are_there_to_draw_by(liqa: Result) -> None:
    _, prepared, _ = rank_task(liqa.scores, _plan(liqa), Options())
    array = prepared.array
    domain = np.asarray(array.groups["domain"])
    pooled = np.asarray(array.pooled)
    ood = (domain == "ood") & ~pooled
    counts = units_of(array, Scheme(stratify="domain")).draw(np.random.default_rng(0), 50)
    assert (counts[:, ood].sum(axis=1) == ood.sum()).all()
    center = np.asarray(array.groups["center"])
    counts = units_of(array, Scheme(cluster="center")).draw(np.random.default_rng(0), 50)
    for level in ("A", "B1", "B2", "C"):
        own = counts[:, (center == level) & ~pooled]
        assert (own == own[:, :1]).all()
    assert (counts[:, pooled] == 1).all()


def test_leaving_a_domain_out_leaves_its_values_out(liqa: Result) -> None:
    evidence = Evidence()
    collect_task(evidence, liqa.scores, _plan(liqa), Options(n_resamples=50), full=True)
    board = evidence.frame("leaderboard.csv").set_index("submission")
    out = evidence.frame("leave_one_out.csv")
    row = out[(out["unit"] == "domain") & (out["left_out"] == "ood")].set_index("submission")["rank_without"]
    columns = [name for name in board.columns if name.startswith("mean_case") and name.endswith(":id")]
    assert len(columns) == 4
    alone = board[columns].mean(axis=1).rank(ascending=False, method="min")
    assert row.to_dict() == alone.to_dict()


def test_all_evidence_exists_and_nothing_is_said_to_stay_fixed(liqa: Result) -> None:
    evidence = Evidence()
    collect_task(evidence, liqa.scores, _plan(liqa), Options(n_resamples=200), full=True)
    assert RankingCode.POOLED_FIXED not in {finding.code for finding in evidence.findings}
    sets = evidence.frame("confidence_sets.csv")
    assert set(sets["construction"]) == {"resampled"}
    spread = evidence.frame("aggregates.csv")
    assert (spread["low"] < spread["high"]).all()
    assert {"(pooled)"} & set(spread["column"]) == set()
    assert sorted(evidence.frame("subsampling.csv")["n_cases"])[-1] == 80
    tests = evidence.frame("significance.csv")
    assert set(tests["structure"]) == {"domain=id", "domain=ood"}
    assert len(tests) == 4 * 2 * 6
    sizes = tests.groupby("structure")["n_pairs"].unique()
    assert sizes["domain=id"][0] + sizes["domain=ood"][0] == 80
    assert set(evidence.frame("leaderboard.csv")["n_cases"]) == {80}


def test_without_observations_the_values_stay_and_a_finding_says_so(liqa: Result) -> None:
    evidence = Evidence()
    collect_task(evidence, liqa.scores, _plan(replace(liqa, observations=None)), Options(n_resamples=50), full=True)
    # two values per submission and metric, no case: there is nothing to draw
    assert RankingCode.ONE_CASE in {finding.code for finding in evidence.findings}
    assert evidence.frame("confidence_sets.csv").empty
    assert evidence.frame("significance.csv").empty
    assert evidence.frame("leaderboard.csv")["n_cases"].isna().all()


def test_a_value_that_a_resample_does_not_define_punishes_nobody(tmp_path: Path) -> None:
    """One positive case out of domain: a third of the resamples lack it, and rank by the other values."""
    staging.write(tmp_path, cases=30)
    stages = pd.read_csv(tmp_path / "stages.csv")
    outside = stages["center"] == "C"
    stages.loc[outside, "stage"] = ["S4", *(["S1", "S2"] * 15)[: int(outside.sum()) - 1]]
    stages.to_csv(tmp_path / "stages.csv", index=False)
    tables = {team: tmp_path / f"{team}.csv" for team in staging.TEAMS}
    result = score_task(registry.load("liqa/2025"), TASK, tmp_path / "stages.csv", tables)
    evidence = Evidence()
    collect_task(evidence, result.scores, _plan(result), Options(n_resamples=400), full=True)
    found = [one for one in evidence.findings if one.code == RankingCode.POOLED_UNDEFINED]
    (finding,) = (one for one in found if "auc_s4, (pooled) domain=ood" in one.cause)
    number = int(finding.cause.split()[0])
    assert 0.25 * 400 < number < 0.5 * 400  # (1 - 1/30)^30 = 0.36
    _, prepared, _ = rank_task(result.scores, _plan(result), Options())
    assert prepared.pooled is not None
    lone = stages.loc[outside & (stages["stage"] == "S4"), "Case"].iloc[0]
    counts = np.ones((1, len(prepared.array.cases)))
    counts[0, prepared.array.cases.index(lone)] = 0.0
    without = prepared.run(counts)
    assert not np.isnan(without.ranks).any()
    assert without.cells is not None
    lost = [cell for cell, value in zip(prepared.pooled.cells, without.cells[0], strict=True) if np.isnan(value)]
    assert {(cell.metric, cell.case) for cell in lost} == {("auc_s4", "(pooled) domain=ood")}
    column = [name for name in without.columns if name.startswith("mean_metric") and name.endswith("ood")]
    cells = zip(prepared.pooled.cells, without.cells[0], strict=True)
    good = [value for cell, value in cells if cell.submission == "good" and cell.case.endswith("ood")]
    place = prepared.array.submissions.index("good")
    assert without.columns[column[0]][0, place] == pytest.approx(np.nanmean(good))


def _stale(change: Callable[[pd.DataFrame], pd.DataFrame], liqa: Result) -> Result:
    assert liqa.observations is not None
    return replace(liqa, observations=change(liqa.observations))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[rows["submission"] != "fair"], "no observations (first fair)"),
        (lambda rows: rows[rows["case"] > "0010"], "not what the observations give"),
        (lambda rows: rows.assign(confidence=1 - rows["confidence"]), "not what the observations give"),
        (lambda rows: rows.assign(submission=rows["submission"] + "2"), "no observations"),
        (lambda rows: rows.assign(truth=rows["truth"].where(rows["structure"] != "", "S9")), "class 'S9'"),
        (lambda rows: rows.drop(columns="domain"), "have no domain"),
    ],
)
def test_observations_of_other_scores_are_refused(
    liqa: Result, change: Callable[[pd.DataFrame], pd.DataFrame], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        rank_task(liqa.scores, _plan(_stale(change, liqa)), Options())
    assert said in caught.value.findings[0].cause
    assert "score again" in caught.value.findings[0].fix


def test_a_team_that_was_taken_out_of_the_scores_does_not_matter(liqa: Result) -> None:
    left = liqa.scores[liqa.scores["submission"] != "fair"]
    _, prepared, _ = rank_task(left, _plan(liqa), Options())
    draws = bootstrap(prepared, 100)
    assert draws.submissions == ("good", "poor")
    assert len(np.unique(draws.values)) > 50


def test_resamples_are_the_same_in_other_processes(liqa: Result) -> None:
    _, prepared, _ = rank_task(liqa.scores, _plan(liqa), Options())
    again = pickle.loads(pickle.dumps(prepared))
    here = bootstrap(prepared, 600, seed=4, task="x", workers=2)
    there = bootstrap(again, 600, seed=4, task="x", scheduler=LocalScheduler(2))
    assert here.values.tobytes() == there.values.tobytes()
    assert here.cells is not None
    assert there.cells is not None
    assert here.cells.tobytes() == there.cells.tobytes()


class _MeanOfValues:
    """A pooled metric that is a plain mean, so that pooled and per-case scores must behave alike."""

    def __init__(self, values: npt.NDArray[np.float64]) -> None:
        self.values = values

    def __call__(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        total = weights.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            return (weights @ self.values) / total


@pytest.mark.parametrize("recipe", ["mean", "test"])
def test_cases_and_pooled_values_mix(recipe: str) -> None:
    """One metric per case, another pooled over the same cases: both follow the same draws."""
    rng = np.random.default_rng(1)
    teams, cases = ["a", "b", "c"], [f"c{number:02d}" for number in range(12)]
    dice, hits = rng.random((12, 3)), rng.random((12, 3))
    rows = [
        {"submission": team, "case": case, "metric": "dice", "value": dice[number, column]}
        for column, team in enumerate(teams)
        for number, case in enumerate(cases)
    ]
    rows += [
        {"submission": team, "case": "", "metric": "froc", "value": hits[:, column].mean()}
        for column, team in enumerate(teams)
    ]
    scores = pd.DataFrame(rows).assign(task="t", structure="", status="ok")
    label = "(pooled)"
    pool = Pool(
        cases=tuple(cases),
        groups={"site": ("x",) * 6 + ("y",) * 6},
        cells=tuple(Cell(team, label, "", "froc") for team in teams),
        members={label: np.arange(12)},
        compute=_MeanOfValues(hits),
    )
    steps = parse_steps(
        [{"mean": "case"}, {"rank": {"within": ["metric"]}}, {"mean": "metric"}, {"rank": {}}]
        if recipe == "mean"
        else [{"test": "case"}, {"mean": "metric"}, {"rank": {}}]
    )
    rules = Rules({"dice": "higher", "froc": "higher"})
    _, prepared, _ = rank_task(scores, TaskPlan("t", "r", steps, rules, pool=pool), Options())
    assert prepared.array.cases == (label, *cases)
    assert prepared.array.groups["site"][1:] == ("x",) * 6 + ("y",) * 6
    draws = bootstrap(prepared, 60, seed=2, task="t")
    assert draws.cells is not None
    sampler = units_of(prepared.array)
    counts = sampler.draw(stream(2, "bootstrap/t", 0), 60)[:, 1:]
    np.testing.assert_allclose(draws.cells, counts @ hits / 12, atol=1e-12)
    if recipe == "mean":
        own = np.stack([counts @ dice / 12, counts @ hits / 12], axis=2)
        ranks = (own[:, None, :, :] > own[:, :, None, :] + 1e-12).sum(axis=2) + 1
        np.testing.assert_allclose(draws.values, ranks.mean(axis=2))
    else:
        assert len(np.unique(draws.values)) > 1


def test_challenger_bootstrap_keeps_pooled_values_fixed(liqa: Result) -> None:
    _, prepared, _ = rank_task(liqa.scores, _plan(liqa), Options(compat=True))
    assert prepared.pooled is None
    assert prepared.n_fixed == 2
