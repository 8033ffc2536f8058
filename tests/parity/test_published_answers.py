"""Published tables of question-answer benchmarks: overall values by weights, and by a ranking over tasks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.scoring import table

TASKS = ("deep_research", "idea_generation", "dry_experiment", "wet_experiment", "exp_reasoning")


def rows_of(challenge: str, task: str, values: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Return a score table of one value per submission and structure, over a whole set of questions."""
    rows = [
        {"challenge": challenge, "edition": "1", "task": task, "submission": name, "case": "", "structure": part}
        | {"metric": "accuracy", "value": value, "status": table.OK}
        for name, own in values.items()
        for part, value in own.items()
    ]
    return pd.DataFrame(rows)


def board(folder: Path, text: str, scores: pd.DataFrame) -> pd.DataFrame:
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    scores.to_csv(folder / "scores.csv", index=False)
    command = ["rank", str(folder / "c.yaml"), str(folder / "scores.csv"), "--bootstrap", "0"]
    done = CliRunner().invoke(main, [*command, "--out", str(folder / "board.csv")])
    assert done.exit_code in (0, 1), done.output
    return pd.read_csv(folder / "board.csv")


GMAI = """
schema: 1
name: gmai
title: GMAI
edition: "1"
tasks:
  t:
    kind: table
    structures: {seg_c: {label: 1}, seg_m: {label: 2}, cls: {label: 3}, det: {label: 4}, mcls: {label: 5}}
    metrics: {accuracy: {kind: imported, direction: higher, missing: skip}}
recipes:
  micro:
    steps:
      - mean: case
      - mean: {over: structure, weights: {seg_c: 0.2163, seg_m: 0.2167, cls: 0.5008, det: 0.0663, mcls: 0}}
      - rank
ranking: {t: micro}
"""


def test_gmai_overalls(shared: Path, tmp_path: Path) -> None:
    """Overall (test) is a micro average in which multiple choice has weight 0: 51 of 51 within 0.01 points."""
    with (shared / "oracle" / "kinds" / "gmai_table3.csv").open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.reader(file) if len([cell for cell in line if cell]) > 1]
    head, *models = lines
    place = {name: at for at, name in enumerate(head)}
    names = {"seg_c": "Seg C", "seg_m": "Seg M", "cls": "2D Cls", "det": "2D Det", "mcls": "2D Mcls"}
    columns = {key: next(at for own, at in place.items() if own.startswith(name)) for key, name in names.items()}
    overall = next(at for name, at in place.items() if "test" in name)
    values = {line[0]: {key: float(line[at]) for key, at in columns.items()} for line in models}
    assert len(values) == 51
    found = board(tmp_path, GMAI, rows_of("gmai", "t", values)).set_index("submission")["value"]
    off = [abs(found[line[0]] - float(line[overall])) for line in models]
    assert max(off) <= 0.01


def test_sgi_scores_are_a_ranking_over_tasks(shared: Path, tmp_path: Path) -> None:
    """SGI-Score is the plain mean of five tasks: 19 of 19 within .005, by a ranking over the tasks."""
    with (shared / "oracle" / "kinds" / "sgi_bench_leaderboard.csv").open(encoding="utf-8", newline="") as file:
        head, *models = [line for line in csv.reader(file) if line]
    score = head.index("sgi_score")
    five = range(1, 6)
    assert len(models) == 19
    metrics = "{accuracy: {kind: imported, direction: higher, missing: worst, worst: 0}}"
    tasks = "\n".join(f"  {task}: {{kind: table, metrics: {metrics}}}" for task in TASKS)
    text = f"""
schema: 1
name: sgi
title: SGI
edition: "1"
tasks:
{tasks}
recipes:
  one: {{steps: [{{mean: [case, structure, metric]}}, rank]}}
  sgi: {{steps: [{{mean: {{over: case, by: task}}}}, {{mean: task}}, rank]}}
ranking: {{{", ".join(f"{task}: one" for task in TASKS)}, overall: {{tasks: [{", ".join(TASKS)}], recipe: sgi}}}}
"""
    parts = [
        rows_of("sgi", task, {line[0]: {"": float(line[at])} for line in models})
        for task, at in zip(TASKS, five, strict=True)
    ]
    found = board(tmp_path, text, pd.concat(parts))
    own = found[found["task"] == "overall"].set_index("submission")["value"]
    assert set(found["task"]) == {*TASKS, "overall"}
    assert max(abs(own[line[0]] - float(line[score])) for line in models) <= 0.005
    ranks = found[found["task"] == "overall"].set_index("submission")["rank"]
    best = max(models, key=lambda line: float(line[score]))
    assert ranks[best[0]] == 1
    assert CliRunner().invoke(main, ["lint", str(tmp_path / "c.yaml")]).exit_code == 0
    assert registry.load(tmp_path / "c.yaml").overall["overall"].tasks == TASKS
    assert np.isfinite(own).all()
