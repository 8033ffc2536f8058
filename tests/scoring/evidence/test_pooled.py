"""Tests of pooled values, and the way of the observations from the verb ``score`` to ranking and report."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.containers.platforms.codabench import scorer as codabench
from medpodium.containers.platforms.source import Source
from medpodium.containers.platforms.synapse import scorer as synapse
from medpodium.scoring import observations
from medpodium.scoring.evidence.bootstrap import tally
from medpodium.scoring.evidence.tables.pooled import paired_p
from medpodium.scoring.measures.pooled import curves

staging = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "staging.py")))


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _weights(rng: np.random.Generator, cases: int, number: int) -> npt.NDArray[np.float64]:
    return tally(rng.integers(0, cases, size=(number, cases)), cases)


def _delong(truth: npt.NDArray[np.int64], score: npt.NDArray[np.float64]) -> float:
    """Return the one-sided p of DeLong, DeLong and Clarke-Pearson (Biometrics 44, 1988): first AUC above second."""
    order = score[truth == 1][:, None, :] - score[truth == 0][None, :, :]
    right = (order > 0) + 0.5 * (order == 0)
    of_positive, of_negative = right.mean(axis=1), right.mean(axis=0)
    covariance = np.cov(of_positive.T) / len(of_positive) + np.cov(of_negative.T) / len(of_negative)
    gap = right.mean(axis=(0, 1)) @ [1, -1]
    return float(stats.norm.sf(gap / np.sqrt([1, -1] @ covariance @ [1, -1])))


@pytest.mark.parametrize("seed", range(6))
def test_the_test_of_two_aucs_is_about_that_of_delong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, 300)
    shared = rng.normal(size=300)
    score = np.column_stack([truth * own + shared + rng.normal(size=300) for own in (1.2, 0.9)])
    draws = curves.areas(truth, score, _weights(rng, 300, 4000))
    full = curves.areas(truth, score, np.ones((1, 300)))[0]
    p = paired_p(full[:1] - full[1:], draws[:, :1] - draws[:, 1:], 300)[0]
    # on the scale of the normal statistic: the spread of 4,000 resamples is known to about 1 %
    assert stats.norm.isf(p) == pytest.approx(stats.norm.isf(_delong(truth, score)), rel=0.07, abs=0.02)


def test_equal_submissions_are_rarely_told_apart() -> None:
    rng = np.random.default_rng(7)
    found = []
    for _ in range(400):
        truth = rng.integers(0, 2, 60)
        score = truth[:, None] * 0.8 + rng.normal(size=(60, 1)) + rng.normal(size=(60, 2))
        draws = curves.areas(truth, score, _weights(rng, 60, 200))
        full = curves.areas(truth, score, np.ones((1, 60)))[0]
        found.append(paired_p(full[:1] - full[1:], draws[:, :1] - draws[:, 1:], 60)[0])
    # one-sided level 5 %: Monte-Carlo standard error 0.011
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.085


def test_differences_without_spread() -> None:
    resampled = np.column_stack([np.zeros(9), np.full(9, 0.5), np.full(9, -0.5), np.full(9, np.nan)])
    p = paired_p(np.array([0.0, 0.5, -0.5, np.nan]), resampled, 4)
    np.testing.assert_array_equal(p, [1.0, 0.5**4, 1.0, np.nan])


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scored")
    teams = staging.write(folder)
    done = _run("score", "liqa/2025", "--task", "lifs-contrast", "--references", folder / "stages.csv", *teams,
                "--out", folder / "scores.csv")  # fmt: skip
    assert done.exit_code == 1, done.output  # three answers are missing
    assert (folder / "scores.observations.parquet").is_file()
    return folder


def _rank(folder: Path, out: Path, *more: object) -> tuple[Result, Path]:
    scores = folder / "scores.csv"
    return _run("rank", "liqa/2025", scores, "--evidence", out, "--bootstrap", 300, *more), out


def test_from_score_to_evidence(scored: Path, tmp_path: Path) -> None:
    done, out = _rank(scored, tmp_path / "evidence", "--json")
    assert done.exit_code == 0, done.output
    board = json.loads(done.stdout)["leaderboard"]
    assert [row["submission"] for row in board] == ["good", "fair", "poor"]
    assert board[0]["set_low"] == 1
    found = {name: pd.read_csv(out / f"{name}.csv") for name in ("aggregates", "significance", "frequencies")}
    assert (found["aggregates"]["low"] < found["aggregates"]["high"]).all()
    assert found["frequencies"].groupby("submission")["n"].sum().eq(300).all()
    tests = found["significance"].set_index(["metric", "structure", "submission", "versus"])
    assert tests.loc[("auc_s4", "domain=id", "good", "poor"), "significant"]
    assert not tests.loc[("auc_s4", "domain=id", "poor", "good"), "significant"]
    _, again = _rank(scored, tmp_path / "again", "--workers", 2)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix == ".csv"} == {
        path.name: path.read_bytes() for path in again.iterdir() if path.suffix == ".csv"
    }


def _copy(scored: Path, folder: Path) -> Path:
    for name in ("scores.csv", "scores.observations.parquet"):
        (folder / name).write_bytes((scored / name).read_bytes())
    return folder


def test_without_the_file_nothing_is_resampled_and_the_fix_says_how(scored: Path, tmp_path: Path) -> None:
    (_copy(scored, tmp_path) / "scores.observations.parquet").unlink()
    done, out = _rank(tmp_path, tmp_path / "evidence", "--json")
    said = json.loads(done.stdout)
    assert len(said["leaderboard"]) == 3
    (finding,) = (one for one in said["findings"] if one["code"] == "ranking-one-case")
    assert "medpodium score" in finding["fix"]
    assert len(pd.read_csv(out / "confidence_sets.csv")) == 0


def test_a_file_of_other_scores_is_refused(scored: Path, tmp_path: Path) -> None:
    _copy(scored, tmp_path)
    scores = pd.read_csv(tmp_path / "scores.csv")
    scores.loc[0, "value"] = scores.loc[0, "value"] - 0.01
    scores.to_csv(tmp_path / "scores.csv", index=False)
    done, _ = _rank(tmp_path, tmp_path / "evidence")
    assert done.exit_code == 1
    assert "observations-stale" in done.output
    assert "score again, or remove the file" in re.sub(r"\s+", " ", done.output)


def test_a_table_without_pooled_metrics_takes_the_old_file_away(scored: Path, tmp_path: Path) -> None:
    _copy(scored, tmp_path)
    assert observations.write_beside(None, tmp_path / "scores.csv") is None
    assert not (tmp_path / "scores.observations.parquet").exists()


def test_a_report_uses_the_observations_and_never_carries_them(scored: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    done = _run("report", "liqa/2025", scored / "scores.csv", "--out", out, "--formats", "markdown",
                "--bootstrap", 100, "--anonymous")  # fmt: skip
    assert done.exit_code == 0, done.output
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "Wilcoxon" not in text
    assert "standard deviation of its bootstrap repetitions" in text
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if "observations" in path.name]
    names = set(pd.read_csv(scored / "stages.csv")["Case"])
    shown = "".join(path.read_text(encoding="utf-8") for path in files if path.suffix in (".csv", ".md", ".json"))
    assert not [name for name in names if name in shown]
    assert len(json.loads((out / "manifest.json").read_text())["inputs"]["observations"]["sha256"]) == 64
    done = _run("verify", out, "--scores", scored / "scores.csv")
    assert done.exit_code == 0, done.output
    done = _run("verify", out)
    assert done.exit_code == 1
    assert "scores.observations.parquet" in done.output


def test_platforms_keep_the_hidden_classes_from_participants(scored: Path, tmp_path: Path) -> None:
    """Participants can download what Codabench's scorer writes; Synapse's table stays on the organizer's machine."""
    references = tmp_path / "ref"
    Source(registry.load("liqa/2025"), "lifs-contrast", scored / "stages.csv").write_truth(references)
    (tmp_path / "res").mkdir()
    (tmp_path / "res" / "LiFS_pred.csv").write_bytes((scored / "good.csv").read_bytes())
    codabench.run(tmp_path, tmp_path / "output")
    assert (tmp_path / "output" / "score_table.csv").is_file()
    names = set(pd.read_csv(scored / "stages.csv")["Case"])
    for path in (tmp_path / "output").iterdir():
        assert not [name for name in names if name.encode() in path.read_bytes()], path.name
    results = tmp_path / "synapse" / "results.json"
    results.parent.mkdir()
    place = str(tmp_path / "res" / "LiFS_pred.csv")
    assert synapse.score(["-p", place, "-g", str(references), "-o", str(results)]) == 0
    observed = observations.read_beside(results.with_name("score_table.csv"))
    assert observed is not None
    assert set(observed["case"]) == names
