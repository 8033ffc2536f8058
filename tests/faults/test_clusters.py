"""Cases of one patient are no independent cases: everything that speaks of chance counts patients.

A score table holds several cases (lesions, visits, sides) of every patient. Whatever ``medpodium rank --evidence``
writes is compared with scipy and pingouin on the patients' means, and with what must not depend on how often the cases
of a patient are repeated.
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
from click.testing import CliRunner
from scipy import stats

from medpodium.cli import main

Floats = npt.NDArray[np.float64]
CHALLENGE = """\
schema: 1
name: joined
title: Joined
edition: "1"
groups: {groups}
tasks:
  organs:
    kind: segmentation
    structures: {{{structures}}}
    empty: {{both: skip, reference: worst, prediction: worst}}
    metrics:
      dice: {{kind: dice, missing: worst}}
recipes:
  own: {{steps: [{{mean: case}}, {{mean: structure}}, rank]}}
ranking: {{organs: own}}
"""


def _rank(
    folder: Path,
    values: Floats,
    groups: Mapping[str, list[str]],
    *options: object,
    declared: str = "{}",
    resamples: int = 0,
    fails: bool = False,
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Return the evidence of scores of shape (n_cases, n_submissions, n_structures), and what was printed."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"s{index:03d}" for index in range(values.shape[2])]
    listed = ", ".join(f"{name}: {{label: {label}}}" for label, name in enumerate(names, 1))
    (folder / "joined.yaml").write_text(CHALLENGE.format(structures=listed, groups=declared), "utf-8")
    at = np.indices(values.shape).reshape(3, -1)
    scores = pd.DataFrame(
        {
            "challenge": "joined", "edition": "1", "task": "organs",
            "submission": [f"team{index}" for index in at[1]], "case": [f"c{index:04d}" for index in at[0]],
            "structure": [names[index] for index in at[2]], "metric": "dice",
            "value": values.reshape(-1), "status": "ok",
            **{group: [levels[index] for index in at[0]] for group, levels in groups.items()},
        }
    )  # fmt: skip
    scores.to_csv(folder / "scores.csv", index=False)
    arguments = ["rank", folder / "joined.yaml", folder / "scores.csv", "--evidence", folder / "evidence", "--json"]
    done = CliRunner().invoke(main, [str(one) for one in (*arguments, "--bootstrap", resamples, *options)])
    assert (done.exit_code != 0) == fails, done.output
    tables = {path.stem: pd.read_csv(path) for path in (folder / "evidence").glob("*.csv")}
    return tables, json.loads(done.stdout)


def _patients(rng: np.random.Generator, number: int, low: int = 2, high: int = 6) -> npt.NDArray[np.int64]:
    """Return whose every case is: a random number of cases of each patient, in random order."""
    return rng.permutation(np.repeat(np.arange(number), rng.integers(low, high + 1, number)))


def _correlated(rng: np.random.Generator, patient: npt.NDArray[np.int64], *shape: int) -> Floats:
    """Return scores whose intraclass correlation is 0.8."""
    shared = rng.normal(size=(patient.max() + 1, *shape))[patient]
    noise = np.sqrt(0.8) * shared + np.sqrt(0.2) * rng.normal(size=(len(patient), *shape))
    return np.asarray(np.clip(0.7 + 0.05 * noise, 0, 1))


def _named(patient: npt.NDArray[np.int64]) -> dict[str, list[str]]:
    return {"patient": [f"p{index:02d}" for index in patient]}


def _means(values: Floats, patient: npt.NDArray[np.int64]) -> Floats:
    return np.stack([values[patient == own].mean(axis=0) for own in range(patient.max() + 1)])


def test_equal_teams_differ_significantly_as_rarely_as_the_level_says(tmp_path: Path) -> None:
    """100 structures scored on 20 patients of 2 to 6 cases: of independent cases, one in four would be significant."""
    rng = np.random.default_rng(1)
    patient = _patients(rng, 20)
    tables, _ = _rank(tmp_path, _correlated(rng, patient, 2, 100), _named(patient), "--cluster", "patient")
    tests = tables["significance"]
    single = tests[tests["structure"] != "(mean)"]
    wrong = (single.groupby("structure")["p_value"].min() <= 0.025).mean()
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 100)
    assert set(single["n_pairs"]) == {20}


def test_tests_and_effects_are_those_of_the_patients_means(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    patient = _patients(rng, 15)
    values = _correlated(rng, patient, 4, 1) + np.array([0.0, 0.01, 0.02, 0.1])[None, :, None]
    tables, said = _rank(tmp_path, values, _named(patient), "--cluster", "patient")
    means = _means(values[:, :, 0], patient)
    for row in tables["significance"].to_dict("records"):
        one, two = (int(row[name].removeprefix("team")) for name in ("submission", "versus"))
        wanted = stats.wilcoxon(
            means[:, one] - means[:, two], alternative="greater", correction=True, method="asymptotic"
        )
        assert row["p_value"] == pytest.approx(wanted.pvalue, rel=1e-9)
        assert row["n_pairs"] == 15
    friedman = tables["friedman"].iloc[0]
    assert friedman["statistic"] == pytest.approx(stats.friedmanchisquare(*means.T).statistic, rel=1e-12)
    ranks = stats.rankdata(-means, axis=1).mean(axis=0)
    for row in tables["nemenyi"].to_dict("records"):
        one, two = (int(row[name].removeprefix("team")) for name in ("submission", "versus"))
        gap = abs(ranks[one] - ranks[two]) / np.sqrt(4 * 5 / (6 * 15)) * np.sqrt(2)
        assert row["p_value"] == pytest.approx(stats.studentized_range.sf(gap, 4, np.inf), abs=1e-9)
    for row in tables["effect_sizes"].to_dict("records"):
        one, two = (int(row[name].removeprefix("team")) for name in ("submission", "versus"))
        gap = means[:, one] - means[:, two]
        order = stats.rankdata(np.abs(gap))
        assert row["rank_biserial"] == pytest.approx((order * np.sign(gap)).sum() / order.sum(), abs=1e-12)
        above = means[:, one][:, None] - means[None, :, two]
        assert row["superiority"] == pytest.approx((above > 0).mean() + 0.5 * (above == 0).mean(), abs=1e-12)
    tested = tables["method_comparison"].query("method == 'test-then-rank'").set_index("submission")["value"]
    beaten = tables["significance"].query("p_value <= 0.05").groupby("submission").size() / 3
    for name, share in tested.items():
        assert share == pytest.approx(beaten.get(name, 0.0))
    assert set(tables["leave_one_out"]["unit"]) == {"patient"}
    assert said["leaderboard"][0]["submission"] == "team3"


@pytest.mark.parametrize("copies", [2, 3])
def test_repeating_the_cases_of_every_patient_changes_nothing(copies: int, tmp_path: Path) -> None:
    """No p-value, interval, set or share: copies of a case say nothing that the case has not said."""
    rng = np.random.default_rng(3)
    patient = _patients(rng, 14, 1, 5)
    values = _correlated(rng, patient, 4, 2) + np.array([0.0, 0.005, 0.03, 0.08])[None, :, None]
    groups = {**_named(patient), "centre": ["east" if index % 3 else "west" for index in patient]}
    again = {name: [level for level in levels for _ in range(copies)] for name, levels in groups.items()}
    options = ["--cluster", "patient"]
    once, _ = _rank(tmp_path / "once", values, groups, *options, resamples=200)
    many, _ = _rank(tmp_path / "many", np.repeat(values, copies, axis=0), again, *options, resamples=200)
    counts = {"n_cases", "n", "n_level", "n_rest"}
    compared = 0
    for name in (
        "leaderboard", "aggregates", "rank_intervals", "kendall_summary", "significance", "confidence_sets",
        "differences", "friedman", "nemenyi", "effect_sizes", "domain_gap", "leave_one_out", "subsampling",
    ):  # fmt: skip
        gone = counts | ({"n_pairs"} if name == "differences" else set())  # of cases there, of units in tests
        one, two = (frame[name].drop(columns=gone & set(frame[name].columns)) for frame in (once, many))
        assert len(one), name
        pd.testing.assert_frame_equal(one, two, check_exact=False, rtol=1e-9, atol=1e-12, obj=name)
        compared += one.size
    assert compared > 1000


def test_gaps_between_groups_are_as_unsure_as_their_patients(tmp_path: Path) -> None:
    """40 patients of five cases in two centres; Welch's interval of the patients' means is the yardstick."""
    rng = np.random.default_rng(4)
    patient = np.repeat(np.arange(40), 5)
    values = _correlated(rng, patient, 2, 1)
    groups = {**_named(patient), "centre": ["east" if index < 16 else "west" for index in patient]}
    tables, _ = _rank(tmp_path, values, groups, "--cluster", "patient", resamples=4000)
    means = _means(values[:, :, 0], patient)
    found = tables["domain_gap"].query("group == 'centre'").set_index("submission")
    for team in range(2):
        wanted = stats.ttest_ind(means[:16, team], means[16:, team], equal_var=False).confidence_interval()
        row = found.loc[f"team{team}"]
        assert row["high"] - row["low"] == pytest.approx(wanted.high - wanted.low, rel=0.1)
        assert row["n_level"] == 80


def test_a_patient_in_two_strata_is_refused_not_torn_apart(tmp_path: Path) -> None:
    values = np.random.default_rng(5).uniform(0.5, 1, (6, 2, 1))
    groups = {"patient": ["p1", "p1", "p2", "p2", "p3", "p3"], "side": ["left", "right"] * 3}
    options = ["--stratify", "side", "--cluster", "patient"]
    _, said = _rank(tmp_path, values, groups, *options, resamples=50, fails=True)
    assert any("'p1' has cases in two levels of 'side'" in one["cause"] for one in said["findings"])
    groups["side"] = ["left", "left", "right", "right", "right", "right"]
    _rank(tmp_path, values, groups, *options, resamples=50)


def test_patients_are_the_default_and_ignoring_them_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    patient = _patients(rng, 12)
    values, groups = _correlated(rng, patient, 3, 1), _named(patient)
    asked, _ = _rank(tmp_path / "asked", values, groups, "--cluster", "patient", resamples=100)
    found, said = _rank(tmp_path / "default", values, groups, resamples=100)
    for name, rows in asked.items():
        pd.testing.assert_frame_equal(rows, found[name])
    about = json.loads((tmp_path / "default" / "evidence" / "evidence.json").read_text("utf-8"))
    assert about["units"]["organs"] == {
        "unit": "patient", "units": 12, "cases": len(patient), "cluster": "patient", "stratify": None
    }  # fmt: skip
    assert any(f"{len(patient)} cases of 12 patients" in one["cause"] for one in said["findings"])
    ignored, said = _rank(tmp_path / "none", values, groups, "--cluster", "none", resamples=100)
    assert set(ignored["significance"]["n_pairs"]) == {len(patient)}
    assert [one["severity"] for one in said["findings"] if one["code"] == "ranking-cluster-ignored"] == ["warning"]


def test_a_declared_group_is_the_cluster(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    centre = _patients(rng, 9)
    groups = {"centre": [f"centre{index}" for index in centre], "patient": [f"p{at // 2}" for at in range(len(centre))]}
    tables, _ = _rank(tmp_path, _correlated(rng, centre, 2, 1), groups, declared="{centre: {cluster: true}}")
    assert set(tables["significance"]["n_pairs"]) == {9}
    declared = "{patient: {cluster: false}}"
    tables, _ = _rank(tmp_path, _correlated(rng, centre, 2, 1), groups, declared=declared)
    assert set(tables["significance"]["n_pairs"]) == {len(centre)}


def test_what_few_patients_can_show_is_said_of_patients(tmp_path: Path) -> None:
    """Five teams, 40 cases of 10 patients: Holm over 20 ordered pairs leaves nothing to reach."""
    rng = np.random.default_rng(8)
    patient = np.repeat(np.arange(10), 4)
    _, said = _rank(tmp_path, _correlated(rng, patient, 5, 1), _named(patient), "--cluster", "patient", resamples=100)
    wanted = "no pair of 5 submissions can reach significance with 10 patients"
    assert any(wanted in one["cause"] for one in said["findings"])
    assert not any("with 40 cases" in one["cause"] for one in said["findings"])


def test_pairs_of_a_table_are_tested_by_patient(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    patient = _patients(rng, 13)
    values = _correlated(rng, patient, 3, 1)
    _rank(tmp_path, values, _named(patient))
    arguments = ["analyse", "pairs", str(tmp_path / "scores.csv"), "--metric", "dice", "--json"]
    done = CliRunner().invoke(main, arguments)
    means = _means(values[:, :, 0], patient)
    rows = json.loads(done.stdout)["pairs"]
    assert len(rows) == 6
    for row in rows:
        one, two = (int(row[name].removeprefix("team")) for name in ("better", "worse"))
        wanted = stats.wilcoxon(
            means[:, one] - means[:, two], alternative="greater", correction=False, method="asymptotic"
        )
        assert row["n_pairs"] == 13
        assert row["p"] == pytest.approx(wanted.pvalue, rel=1e-9)


def test_subgroups_are_tested_by_patient(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    patient = _patients(rng, 24)
    values = _correlated(rng, patient, 1, 1)
    sex = ["f" if index % 2 else "m" for index in patient]
    _rank(tmp_path, np.repeat(values, 2, axis=1), {**_named(patient), "sex": sex})
    arguments = ["analyse", "subgroups", str(tmp_path / "scores.csv"), "--metric", "dice", "--group", "sex", "--json"]
    done = CliRunner().invoke(main, arguments)
    means = _means(values[:, :, 0], patient)[:, 0]
    wanted = stats.kruskal(means[1::2], means[::2])
    for row in json.loads(done.stdout)["tests"]:
        assert row["p"] == pytest.approx(wanted.pvalue, rel=1e-9)
        assert row["kruskal"] == pytest.approx(wanted.statistic, rel=1e-9)


def test_a_recipe_of_tests_says_that_it_takes_cases_as_independent(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    patient = _patients(rng, 8)
    _rank(tmp_path, _correlated(rng, patient, 2, 1), _named(patient))
    path = tmp_path / "joined.yaml"
    path.write_text(path.read_text("utf-8").replace("[{mean: case}, {mean: structure}, rank]", "[{test: case}, rank]"))
    arguments = ["rank", str(path), str(tmp_path / "scores.csv"), "--bootstrap", "50", "--json"]
    done = CliRunner().invoke(main, arguments)
    said = [one["cause"] for one in json.loads(done.stdout)["findings"]]
    assert any("the recipe's own tests take every case as independent" in cause for cause in said), said


def test_scores_of_a_patient_are_as_alike_as_said() -> None:
    """The simulated scores are as correlated as the tests say: 0.8 within patients, by the one-way ANOVA estimator."""
    rng = np.random.default_rng(12)
    patient = np.repeat(np.arange(400), 4)
    values = _correlated(rng, patient, 1)[:, 0]
    means = _means(values[:, None], patient)[:, 0]
    within = np.mean([values[patient == own].var(ddof=1) for own in range(400)])
    between = 4 * means.var(ddof=1)
    assert (between - within) / (between + 3 * within) == pytest.approx(0.8, abs=0.05)
