"""Every printed number has an interval: reports, leaderboards and groups of a table with known values.

Means, spreads and quartiles are numpy's, the ends of intervals are checked against Student's (scipy), which widened
percentiles approach, and Wilson's (statsmodels).
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from medpodium.cli import main

Floats = npt.NDArray[np.float64]
CHALLENGE = """\
schema: 1
name: numbers
title: Numbers
edition: "1"
tasks:
  organs:
    kind: segmentation
    structures: {a: {label: 1}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice, missing: worst}
recipes:
  own: {steps: [{mean: [case, structure, metric]}, rank]}
ranking: {organs: own}
groups:
  site: {levels: [small, large], minimum_size: 3}
"""


def _scores(values: Floats) -> pd.DataFrame:
    rows = [
        {
            "challenge": "numbers", "edition": "1", "task": "organs", "submission": f"team{team}",
            "case": f"c{case:02d}", "structure": "a", "metric": "dice", "value": values[case, team], "status": "ok",
            "site": "small" if case < 4 else "large",
        }
        for case, team in itertools.product(range(values.shape[0]), range(values.shape[1]))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _values() -> Floats:
    values = np.random.default_rng(4).normal([0.9, 0.7], 0.02, (24, 2))
    values[:4, 0] = [1.0, 1.0, 1.0, 0.85]  # 0.9625 + 1.96 standard errors are 1.036
    return np.asarray(values)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report in Markdown."""
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    _scores(_values()).to_csv(folder / "scores.csv", index=False)
    call = ["report", str(folder / "challenge.yaml"), str(folder / "scores.csv"), "--out", str(folder / "report")]
    done = CliRunner().invoke(main, [*call, "--formats", "markdown", "--bootstrap", "60"])
    assert done.exit_code in (0, 1), done.output
    return folder / "report"


def _cells(report: Path, title: str, team: str) -> list[str]:
    """Return the cells of a submission's row in the table of a title."""
    text = (report / "report.md").read_text("utf-8").replace("\\", "").replace("**", "")
    rest = text[text.index(title) :]
    line = next(line for line in rest.splitlines() if line.startswith("|") and team in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def _numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"\d+(?:\.\d+)?", text)]


def test_a_table_of_scores_prints_mean_with_interval_cases_spread_median_and_quartiles(report: Path) -> None:
    values = _values()
    for team in range(2):
        own = values[:, team]
        cells = _cells(report, "Dice similarity coefficient per ", f"team{team}")
        found = [_numbers(cell) for cell in cells[1:]]
        assert [len(numbers) for numbers in found] == [3, 1, 1, 3, 2], cells
        mean, low, high = found[0]
        student = stats.t.interval(0.95, 23, own.mean(), stats.sem(own))
        assert mean == pytest.approx(own.mean(), abs=6e-4)
        assert (low, high) == pytest.approx(student, abs=0.15 * (student[1] - student[0]) + 6e-4)
        assert found[1] == [24]
        assert found[2][0] == pytest.approx(own.std(ddof=1), abs=6e-4)
        assert found[3][0] == pytest.approx(np.median(own), abs=6e-4)
        ordered = np.sort(own)
        assert ordered[6] - 6e-4 <= found[3][1] <= found[3][0] <= found[3][2] <= ordered[17] + 6e-4
        assert found[4] == pytest.approx(np.quantile(own, [0.25, 0.75]).tolist(), abs=6e-4)


def test_a_leaderboard_prints_the_ranked_value_with_its_interval(report: Path) -> None:
    board, table = (_cells(report, title, "team0") for title in ("Leaderboard: ", "Dice similarity coefficient per "))
    assert board[-1] == f"{table[1]} (1)"  # one number, one interval, and the place
    assert len(_numbers(board[-1])) == 4


def test_no_interval_of_a_group_leaves_the_bounds_of_the_metric(report: Path) -> None:
    (path,) = (report / "data").glob("subgroup-*site*.csv")
    cells = pd.read_csv(path).set_index(["level", "submission"])
    small = cells.loc[("small", "team0")]
    assert small["cases"] == 4
    assert small["mean"] == pytest.approx(0.9625)
    assert small["upper"] == 1
    assert small["lower"] == pytest.approx(stats.t.interval(0.95, 3, 0.9625, stats.sem([1, 1, 1, 0.85]))[0])
    assert cells["upper"].max() <= 1


def test_subgroups_of_a_table_have_intervals_and_none_leaves_the_bounds(tmp_path: Path) -> None:
    _scores(_values()).to_csv(tmp_path / "scores.csv", index=False)
    call = ["analyse", "subgroups", str(tmp_path / "scores.csv"), "--metric", "dice", "--group", "site"]
    call += ["--minimum-size", "3", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    found = pd.read_csv(tmp_path / "out" / "subgroups.csv").set_index(["level", "submission"])
    assert "low" in found.columns
    small = found.loc[("small", "team0")]
    assert (small["low"], small["high"]) == (
        pytest.approx(stats.t.interval(0.95, 3, 0.9625, stats.sem([1, 1, 1, 0.85]))[0]),
        1.0,
    )
    large = _values()[4:, 1]
    wide = stats.t.interval(0.95, 19, large.mean(), stats.sem(large))
    row = found.loc[("large", "team1")]
    assert row["high"] - row["low"] == pytest.approx(wide[1] - wide[0], rel=0.1)
    assert row["low"] < row["mean"] < row["high"]


def test_no_gap_of_groups_reaches_further_than_the_bounds_of_the_metric(tmp_path: Path) -> None:
    (tmp_path / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    values = np.zeros((24, 2))
    values[:4] = [[1.0, 0.7], [1.0, 0.7], [1.0, 0.6], [0.85, 0.7]]  # the first gap is .9625, its error .0375
    _scores(values).to_csv(tmp_path / "scores.csv", index=False)
    call = ["rank", str(tmp_path / "challenge.yaml"), str(tmp_path / "scores.csv"), "--bootstrap", "500"]
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "board.csv"), "--evidence", str(tmp_path / "e")])
    assert done.exit_code == 0, done.output
    gaps = pd.read_csv(tmp_path / "e" / "domain_gap.csv")
    assert gaps["gap"].abs().max() == pytest.approx(0.9625)
    assert gaps["low"].min() == -1  # the level 'large' comes first
    assert gaps["high"].max() <= 1


def test_yes_or_no_scores_get_wilsons_interval(tmp_path: Path) -> None:
    (tmp_path / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    right = np.column_stack([np.ones(24), np.arange(24) < 20]).astype(float)
    _scores(right).to_csv(tmp_path / "scores.csv", index=False)
    call = ["rank", str(tmp_path / "challenge.yaml"), str(tmp_path / "scores.csv"), "--bootstrap", "50"]
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "board.csv"), "--evidence", str(tmp_path / "e")])
    assert done.exit_code == 0, done.output
    board = pd.read_csv(tmp_path / "board.csv").set_index("submission")
    assert "value_low" in board.columns
    for team, number in (("team0", 24), ("team1", 20)):
        expected = proportion_confint(number, 24, method="wilson")
        assert (board.at[team, "value_low"], board.at[team, "value_high"]) == pytest.approx(expected)
    numbers = pd.read_csv(tmp_path / "e" / "differences.csv")
    assert set(numbers["n_pairs"]) == {24}
    assert "n" in pd.read_csv(tmp_path / "e" / "aggregates.csv").columns


def test_a_case_that_everybody_failed_leaves_no_mean_known(tmp_path: Path) -> None:
    """As for a case that one team failed: its scores have no number, so neither has the mean, in any table.

    Two of three cases are the same for all; in the third all share the worst rank: (1 + 1 + 1) / 3 and (2 + 2 + 1) / 3.
    """
    (tmp_path / "c.yaml").write_text(
        "schema: 1\nname: quiz\ntitle: Quiz\nedition: '1'\n"
        "tasks:\n  it: {kind: table, metrics: {dist: {kind: imported, direction: lower, missing: skip}}}\n"
        "recipes:\n  own:\n    steps:\n"
        "      - {rank: {within: [case, structure, metric], missing: worst}}\n"
        "      - {mean: [case, structure, metric]}\n      - rank\n"
        "ranking: {it: own}\n",
        encoding="utf-8",
    )
    rows = [
        {
            "challenge": "quiz", "edition": "1", "task": "it", "submission": team, "case": case, "structure": "",
            "metric": "dist", "value": np.nan if case == "c2" else value,
            "status": "failed:oom" if case == "c2" else "ok",
        }
        for team, value in (("first", 0.0), ("second", 0.5))
        for case in ("c0", "c1", "c2")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "s.csv", index=False)
    call = ["rank", str(tmp_path / "c.yaml"), str(tmp_path / "s.csv"), "--bootstrap", "50"]
    done = CliRunner().invoke(main, [*call, "--out", str(tmp_path / "b.csv"), "--evidence", str(tmp_path / "e")])
    assert done.exit_code == 0, done.output
    methods = pd.read_csv(tmp_path / "e" / "method_comparison.csv").set_index(["method", "submission"])["value"]
    assert methods[["mean-then-rank", "median-then-rank"]].isna().all()
    board = pd.read_csv(tmp_path / "b.csv").set_index("submission")["value"]
    for team, mean in (("first", 1.0), ("second", 5 / 3)):
        assert methods["rank-then-mean", team] == pytest.approx(mean)
        assert board[team] == pytest.approx(mean)
    path = tmp_path / "e" / "score_intervals.csv"
    assert pd.read_csv(path)["mean"].isna().all()
