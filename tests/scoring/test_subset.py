"""Cuts of the cases by nested groups: micro and macro values of exactly these cases, pooled values computed anew."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

TEXT = """
schema: 1
name: tree
title: Tree
edition: "1"
groups: {modality: {}, department: {}}
tasks:
  t:
    kind: answers
    options: [A, B]
    metrics: {right: {kind: correct}, kappa: {kind: kappa}}
recipes:
  micro: {steps: [{select: {metric: right}}, {mean: case}, {mean: metric}, rank]}
  pooled: {tasks: [t], steps: [{select: {metric: kappa}}, {mean: case}, {mean: metric}, rank]}
ranking: {t: micro}
"""
ROWS = [  # modality, department, key, reply of x, reply of y
    ("CT", "oncology", "A", "A", "B"),
    ("CT", "oncology", "B", "B", "B"),
    ("CT", "oncology", "A", "A", "A"),
    ("CT", "cardiology", "B", "A", "B"),
    ("MR", "oncology", "A", "B", "A"),
    ("MR", "cardiology", "B", "B", "B"),
]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    (tmp_path / "tree.yaml").write_text(TEXT, encoding="utf-8")
    names = [f"q{at}" for at in range(len(ROWS))]
    key = pd.DataFrame(ROWS, columns=["modality", "department", "answer", "x", "y"]).assign(case=names)
    key[["case", "answer", "modality", "department"]].to_csv(tmp_path / "key.csv", index=False)
    for team in "xy":
        key[["case", team]].rename(columns={team: "prediction"}).to_csv(tmp_path / f"{team}.csv", index=False)
    command = ["score", str(tmp_path / "tree.yaml"), "--references", str(tmp_path / "key.csv")]
    command += [part for team in "xy" for part in ("--predictions", f"{team}={tmp_path / team}.csv")]
    assert CliRunner().invoke(main, [*command, "--out", str(tmp_path / "scores.csv")]).exit_code == 0
    return tmp_path


def values(folder: Path, *options: str) -> dict[str, float]:
    command = ["rank", str(folder / "tree.yaml"), str(folder / "scores.csv"), "--bootstrap", "20", *options]
    done = CliRunner().invoke(main, [*command, "--out", str(folder / "board.csv")])
    assert done.exit_code in (0, 1), done.output
    return pd.read_csv(folder / "board.csv").set_index("submission")["value"].to_dict()


def test_micro_and_macro_of_a_cut(scored: Path) -> None:
    assert values(scored) == pytest.approx({"x": 4 / 6, "y": 5 / 6})
    assert values(scored, "--subset", "modality=CT") == pytest.approx({"x": 3 / 4, "y": 3 / 4})
    assert values(scored, "--subset", "modality=CT, department=oncology") == pytest.approx({"x": 1.0, "y": 2 / 3})
    macro = values(scored, "--subset", "modality=CT", "--macro", "department")
    assert macro == pytest.approx({"x": (1.0 + 0.0) / 2, "y": (2 / 3 + 1.0) / 2})


def test_pooled_values_are_those_of_the_cut(scored: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    found = values(scored, "--subset", "modality=CT", "--recipe", "pooled")
    for at, team in ((3, "x"), (4, "y")):
        own = [(row[2], row[at]) for row in ROWS if row[0] == "CT"]
        assert found[team] == pytest.approx(sklearn.cohen_kappa_score(*zip(*own, strict=True)))


@pytest.mark.parametrize("subset", ["modality", "organ=liver", "modality=PET", "modality=MR, department=surgery"])
def test_cut_that_names_nothing_is_refused(scored: Path, subset: str) -> None:
    command = ["rank", str(scored / "tree.yaml"), str(scored / "scores.csv"), "--subset", subset]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "--subset" in done.output
