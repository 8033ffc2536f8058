"""Scores of classes over all cases are scikit-learn's, from probabilities and from labels alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from medpodium.challenges import registry
from medpodium.scoring.kinds.engine import score_task

KINDS = ("quadratic_kappa", "linear_kappa", "kappa", "mcc", "macro_f1", "micro_f1", "weighted_f1")
RULES = """
schema: 1
name: mine
title: Mine
tasks:
  t:
    kind: classification
    classes: [S1, S2, S3]
    problems: {severe: {positive: [S3]}}
    metrics:
      grade: {kind: grade_error, worst: 3}
      ap: {kind: average_precision, problem: severe}
      brier: {kind: brier, problem: severe}
      log: {kind: log_loss, problem: severe}
""" + "".join(f"      {kind}: {{kind: {kind}}}\n" for kind in KINDS)
RULES += "recipes: {main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}}\n"
RULES += "ranking: {t: main}\n"


@pytest.mark.parametrize("labels_only", [False, True])
def test_pooled_scores_of_classes(tmp_path: Path, labels_only: bool) -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 40)
    said = np.where(rng.random(40) < 0.6, truth, rng.integers(0, 3, 40))
    given = rng.dirichlet([1, 1, 1], 40) * 0.4 + 0.6 * np.eye(3)[said]
    given /= given.sum(axis=1, keepdims=True)
    said = given.argmax(axis=1)
    names = [f"c{at:02d}" for at in range(40)]
    pd.DataFrame({"case": names, "stage": [f"S{1 + at}" for at in truth]}).to_csv(tmp_path / "r.csv", index=False)
    team = pd.DataFrame(given, columns=["S1", "S2", "S3"]).assign(Case=names)
    if labels_only:
        team = pd.DataFrame({"Case": names, "label": [f"S{1 + at}" for at in said]})
    team.to_csv(tmp_path / "team.csv", index=False)
    (tmp_path / "c.yaml").write_text(RULES, encoding="utf-8")
    challenge = registry.load(tmp_path / "c.yaml")
    rows = score_task(challenge, "t", tmp_path / "r.csv", {"team": tmp_path / "team.csv"}, workers=1).scores
    found = rows.set_index("metric")["value"]
    expected = {
        "grade": np.abs(said - truth).mean(),
        "quadratic_kappa": metrics.cohen_kappa_score(truth, said, weights="quadratic"),
        "linear_kappa": metrics.cohen_kappa_score(truth, said, weights="linear"),
        "kappa": metrics.cohen_kappa_score(truth, said),
        "mcc": metrics.matthews_corrcoef(truth, said),
        "macro_f1": metrics.f1_score(truth, said, average="macro"),
        "micro_f1": metrics.f1_score(truth, said, average="micro"),
        "weighted_f1": metrics.f1_score(truth, said, average="weighted"),
    }
    severe = (truth == 2).astype(int)
    if labels_only:
        assert found[["ap", "brier", "log"]].isna().all()
        assert set(rows.set_index("metric").loc[["ap", "brier", "log"], "status"]) == {"missing"}
    else:
        expected["ap"] = metrics.average_precision_score(severe, given[:, 2])
        expected["brier"] = metrics.brier_score_loss(severe, given[:, 2])
        expected["log"] = metrics.log_loss(severe, given[:, 2])
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_scores_of_single_cases(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 12)
    given = rng.dirichlet([1, 1, 1], 12)
    names = [f"c{at:02d}" for at in range(12)]
    pd.DataFrame({"case": names, "stage": [f"S{1 + at}" for at in truth]}).to_csv(tmp_path / "r.csv", index=False)
    table = pd.DataFrame(given, columns=["S1", "S2", "S3"]).assign(Case=names)
    table.iloc[:-1].to_csv(tmp_path / "team.csv", index=False)  # the last case has no answer
    pd.DataFrame({"Case": names, "label": "S1"}).to_csv(tmp_path / "bare.csv", index=False)
    of_cases = "right: {kind: correct}, loss: {kind: case_log_loss}, brier: {kind: case_brier}, "
    of_cases += "grade: {kind: case_grade_error, worst: 2}, late: {kind: case_brier, problem: severe}"
    text = RULES.partition("    metrics:\n")
    rest = RULES[RULES.index("recipes:") :]
    (tmp_path / "c.yaml").write_text(f"{text[0]}    metrics: {{{of_cases}}}\n{rest}", encoding="utf-8")
    challenge = registry.load(tmp_path / "c.yaml")
    teams = {"team": tmp_path / "team.csv", "bare": tmp_path / "bare.csv"}
    result = score_task(challenge, "t", tmp_path / "r.csv", teams, workers=1)
    own = result.scores[result.scores["submission"] == "team"].pivot(index="case", columns="metric", values="value")
    said, sides = given.argmax(axis=1)[:-1], truth[:-1] == 2
    each = own.loc[names[:-1]]
    assert each["right"].mean() == pytest.approx(metrics.accuracy_score(truth[:-1], said))
    assert each["loss"].mean() == pytest.approx(metrics.log_loss(truth[:-1], given[:-1], labels=[0, 1, 2]))
    assert each["late"].mean() == pytest.approx(metrics.brier_score_loss(sides, given[:-1, 2]))
    assert each["brier"].mean() == pytest.approx(((given[:-1] - np.eye(3)[truth[:-1]]) ** 2).sum(axis=1).mean())
    assert each["grade"].mean() == pytest.approx(metrics.mean_absolute_error(truth[:-1], said))
    assert own.loc[names[-1]].to_dict() == {"right": 0, "loss": 37, "brier": 2, "grade": 2, "late": 1}
    bare = result.scores[(result.scores["submission"] == "bare") & (result.scores["metric"] == "loss")]
    assert set(bare["status"]) == {"missing"}
    assert "needs probabilities" in " ".join(finding.cause for finding in result.findings["bare"])
