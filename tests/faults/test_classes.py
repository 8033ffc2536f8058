"""Classes from probabilities: rounding decides nothing, what is declared is used, and a class alone is an answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import accuracy_score, cohen_kappa_score, roc_auc_score

from medpodium.cli import main

RULES = """
schema: 1
name: grades
title: Grades
tasks:
  grade:
    kind: classification
    classes: [A, B, C, D]
    {more}
    problems: {{first: {{positive: [A], threshold: 0.5}}, late: {{positive: [B, C, D], threshold: 0.5}}}}
    metrics:
      acc: {{kind: accuracy, problem: first}}
      acc_late: {{kind: accuracy, problem: late}}
      auc: {{kind: auc, problem: late}}
      all: {{kind: accuracy}}
      kappa: {{kind: quadratic_kappa}}
recipes: {{main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}}}
ranking: {{grade: main}}
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def score(folder: Path, tables: dict[str, str], classes: str, more: str = "") -> tuple[Result, pd.DataFrame]:
    (folder / "rules.yaml").write_text(RULES.format(more=more))
    rows = [f"c{number},{name}" for number, name in enumerate(classes)]
    (folder / "references.csv").write_text("\n".join(["Case,stage", *rows]))
    options: list[object] = []
    for team, text in tables.items():
        (folder / f"{team}.csv").write_text(text)
        options += ["--predictions", f"{team}={folder / team}.csv"]
    out = folder / "scores.csv"
    done = run("score", folder / "rules.yaml", "--references", folder / "references.csv", *options, "--out", out)
    assert out.exists(), done.output
    return done, pd.read_csv(out).pivot(index="submission", columns="metric", values="value")


def table(rows: list[str]) -> str:
    return "\n".join(["Case,A,B,C,D", *(f"c{number},{row}" for number, row in enumerate(rows))])


def test_a_printed_half_is_a_half_in_liqa_2026(tmp_path: Path) -> None:
    """Dividing 0.5, 0.041, 0.343, 0.116 by their sum in floating point gives 0.4999...: the side would change."""
    stages = ["S1", "S1", "S2", "S3", "S4", "S4", "S2"]
    rows = ["0.5,0.041,0.343,0.116", "0.6,0.2,0.1,0.1", "0.1,0.5,0.2,0.2", "0.1,0.1,0.6,0.2", "0.05,0.05,0.1,0.8"]
    rows += ["0.1,0.1,0.1,0.7", "0.2,0.6,0.1,0.1"]
    names = [f"{number:04d}-A" for number in range(len(stages))]
    pd.DataFrame({"Case": names, "stage": stages, "domain": "id"}).to_csv(tmp_path / "stages.csv", index=False)
    lines = [f"{name},NonContrast,{row}" for name, row in zip(names, rows, strict=True)]
    from medpodium.challenges import registry

    task = registry.load("liqa/2026").tasks["lifs-noncontrast"]
    columns = [task.columns.get(name, name) for name in task.classes]  # type: ignore[attr-defined]
    (tmp_path / "team.csv").write_text("\n".join([",".join(["Case", "Setting", *columns]), *lines]))
    cases = pd.DataFrame({"case": names, "center": "A"})
    cases.to_csv(tmp_path / "cases.csv", index=False)
    done = run("score", "liqa/2026", "--task", "lifs-noncontrast", "--references", tmp_path / "stages.csv",
               "--predictions", f"team={tmp_path / 'team.csv'}", "--cases", tmp_path / "cases.csv",
               "--out", tmp_path / "scores.csv")  # fmt: skip
    found = pd.read_csv(tmp_path / "scores.csv").set_index("metric")["value"]
    assert found["acc_s1"] == 1.0, done.output


def test_sums_of_classes_are_equal_where_their_digits_are(tmp_path: Path) -> None:
    """0.1 + 0.2 + 0.2 and 0.5 are the same, at the threshold and in the order of an AUC."""
    rows = ["0.5,0.1,0.2,0.2", "0.5,0.5,0,0", "0.7,0.1,0.2,0", "0.7,0.3,0,0", "0.9,0.1,0,0"]
    done, found = score(tmp_path, {"team": table(rows)}, "BABAA")
    assert done.exit_code == 0, done.output
    late = [0.5, 0.5, 0.3, 0.3, 0.1]
    truth = [1, 0, 1, 0, 0]
    assert found.loc["team", "auc"] == pytest.approx(roc_auc_score(truth, late), abs=1e-12)
    assert found.loc["team", "acc_late"] == accuracy_score(truth, [1, 1, 0, 0, 0])


def test_rows_rounded_for_printing_stay_as_they_are(tmp_path: Path) -> None:
    """Three decimals of a softmax sum to 0.999 or 1.001; a printed 0.5 stays at its threshold: torchmetrics#264."""
    rows = ["0.5,0.167,0.167,0.167", "0.5,0.166,0.166,0.167", "0.499,0.167,0.167,0.167"]
    _, found = score(tmp_path, {"team": table(rows)}, "AAB")
    assert found.loc["team", "acc"] == 1.0


def test_every_softmax_of_single_precision_is_read(tmp_path: Path) -> None:
    """1.0000001 is rounding, 1.00001 is not: numpy#8053, torchmetrics#264."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 30, (60, 4)).astype(np.float32)
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    values /= values.sum(axis=1, keepdims=True)
    rows = [",".join(repr(float(value)) for value in row) for row in values]
    rows[0], rows[1] = "1.0000001,0,0,-0.0000001", "-1e-7,1.0000001,0,0"
    classes = "".join(rng.choice(list("ABCD"), 60))
    done, found = score(tmp_path, {"team": table(rows)}, classes)
    assert done.exit_code == 0, done.output
    said = [int(np.argmax([float(cell) for cell in row.split(",")])) for row in rows]
    truth = ["ABCD".index(name) for name in classes]
    assert found.loc["team", "all"] == pytest.approx(accuracy_score(truth, said), abs=1e-12)
    assert found.loc["team", "kappa"] == pytest.approx(cohen_kappa_score(truth, said, weights="quadratic"), abs=1e-12)
    rows[0] = "1.00001,0,0,0"
    done, _ = score(tmp_path, {"team": table(rows)}, classes)
    assert done.exit_code == 1
    assert "1.00001" in done.output


def test_the_declared_tolerance_of_sums_is_used(tmp_path: Path) -> None:
    rows = ["0.62,0.2,0.1,0.06", "0.1,0.6,0.2,0.1"]
    done, found = score(tmp_path, {"team": table(rows)}, "AB", "sum_tolerance: 0.05")
    assert done.exit_code == 0, done.output
    assert found.loc["team", "all"] == 1.0
    done, found = score(tmp_path, {"team": table(rows)}, "AB")
    assert done.exit_code == 1
    assert "0.98" in done.output
    rows[0] = "0.55,0.2,0.1,0.06"
    done, _ = score(tmp_path, {"team": table(rows)}, "AB", "sum_tolerance: 0.05")
    assert "0.91" in done.output


def test_a_class_is_an_answer_to_what_needs_no_probability(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    truth = rng.choice(list("ABCD"), 80)
    said = np.where(rng.random(80) < 0.6, truth, rng.choice(list("ABCD"), 80))
    values = np.where(said[:, None] == np.array(list("ABCD")), 0.7, 0.1)
    soft = table([",".join(f"{value:.1f}" for value in row) for row in values])
    hard = "\n".join(["Case;prediction", *(f"c{number};{name}" for number, name in enumerate(said))])
    done, found = score(tmp_path, {"hard": hard, "soft": soft}, "".join(truth))
    index = {name: number for number, name in enumerate("ABCD")}
    for team in ("hard", "soft"):
        assert found.loc[team, "all"] == pytest.approx(accuracy_score(truth, said), abs=1e-12)
        assert found.loc[team, "acc"] == pytest.approx(accuracy_score(truth == "A", said == "A"), abs=1e-12)
        kappa = cohen_kappa_score([index[one] for one in truth], [index[one] for one in said], weights="quadratic")
        assert found.loc[team, "kappa"] == pytest.approx(kappa, abs=1e-12)
    assert found.loc["soft", "auc"] == pytest.approx(roc_auc_score(truth != "A", 1 - values[:, 0]), abs=1e-12)
    assert np.isnan(found.loc["hard", "auc"])
    assert done.exit_code == 1
    assert "auc needs probabilities" in " ".join(done.output.split())
    # whoever lacks the probabilities gains no place by it
    board = tmp_path / "board.csv"
    ranked = run("rank", tmp_path / "rules.yaml", tmp_path / "scores.csv", "--out", board)
    assert ranked.exit_code in (0, 1), ranked.output
    ranks = pd.read_csv(board).set_index("submission")["rank"]
    assert ranks["soft"] < ranks["hard"]


def test_an_answer_that_is_no_class_is_named(tmp_path: Path) -> None:
    done, found = score(tmp_path, {"team": "Case,stage\nc0,A\nc1,E\n"}, "AB")
    assert done.exit_code == 1
    assert "class 'E'" in " ".join(done.output.split())
    assert found.loc["team", "all"] == 0.5


def test_many_pooled_cases_are_not_called_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    truth = "".join(rng.choice(list("ABCD"), 300))
    tables = {}
    for team in ("a", "b"):
        parts = rng.dirichlet(np.ones(4), 300)
        tables[team] = table([",".join(f"{value:.6f}" for value in row) for row in parts])
    done, _ = score(tmp_path, tables, truth)
    ranked = run("rank", tmp_path / "rules.yaml", tmp_path / "scores.csv", "--bootstrap", 20,
                 "--evidence", tmp_path / "evidence", "--json")  # fmt: skip
    assert ranked.exit_code == 0, ranked.output
    causes = [one["cause"] for one in json.loads(ranked.stdout)["findings"]]
    assert not [cause for cause in causes if "one case" in cause]
    assert "one case" not in done.output
