"""Rankings over several tasks, and weights from a column: the same numbers as by hand, resampled like any step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.findings import MedpodiumError
from medpodium.scoring import table
from medpodium.scoring.evidence.joint import with_overall
from medpodium.scoring.evidence.tables.collect import Options, rank_task
from medpodium.scoring.evidence.tables.plan import plan_task
from medpodium.scoring.table import normalise

TEXT = """
schema: 1
name: two
title: Two
edition: "1"
groups: {weight: {}}
tasks:
  a: {kind: table, metrics: {right: {kind: imported, direction: higher, missing: worst, worst: 0}}}
  b: {kind: table, metrics: {right: {kind: imported, direction: higher, missing: worst, worst: 0}}}
recipes:
  one: {steps: [{mean: {over: case, weights_from: weight}}, rank]}
  both: {steps: [{mean: {over: case, by: task}}, {mean: task}, rank]}
ranking: {a: one, b: one, overall: {tasks: [a, b], recipe: both}}
"""
VALUES = {
    ("a", "x"): [1.0, 0.0, 1.0, 1.0],
    ("a", "y"): [0.0, 0.0, 1.0, 0.0],
    ("b", "x"): [0.0, 0.0],
    ("b", "y"): [1.0, 0.0],
}
NAMES = {"a": ["c1", "c2", "c3", "c4"], "b": ["c1", "d2"]}
WEIGHTS = {"c1": "2", "c2": "1", "c3": "0", "c4": "0.5", "d2": "1"}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    (tmp_path / "c.yaml").write_text(TEXT, encoding="utf-8")
    rows = [
        {"challenge": "two", "edition": "1", "task": task, "submission": team, "case": case, "structure": ""}
        | {"metric": "right", "value": value, "status": table.OK, "weight": WEIGHTS[case]}
        for (task, team), own in VALUES.items()
        for case, value in zip(NAMES[task], own, strict=True)
    ]
    return tmp_path / "c.yaml", pd.DataFrame(rows)


def test_weights_come_from_a_column(made: tuple[Path, pd.DataFrame]) -> None:
    path, scores = made
    challenge = registry.load(path)
    _, prepared, ranking = rank_task(normalise(scores, "s"), plan_task(challenge, "a"), Options())
    assert ranking.values.tolist() == pytest.approx([2.5 / 3.5, 0.0])
    counts = np.array([[2.0, 0.0, 1.0, 3.0]])
    assert prepared.run(counts).values[0].tolist() == pytest.approx([(2 * 2 + 3 * 0.5) / (2 * 2 + 3 * 0.5), 0.0])
    scores["weight"] = "heavy"
    with pytest.raises(MedpodiumError, match="heavy"):
        rank_task(normalise(scores, "s"), plan_task(challenge, "a"), Options())


def test_tasks_weigh_the_same_and_a_shared_case_is_drawn_as_one(made: tuple[Path, pd.DataFrame]) -> None:
    path, scores = made
    challenge, whole = with_overall(registry.load(path), normalise(scores, "s"))
    plan = plan_task(challenge, "overall")
    settled, prepared, ranking = rank_task(whole, plan, Options())
    assert ranking.values.tolist() == pytest.approx([(0.75 + 0.0) / 2, (0.25 + 0.5) / 2])
    assert set(settled.array.cases) == {"a: c1", "b: c1", "c2", "c3", "c4", "d2"}
    at = {name: prepared.array.cases.index(name) for name in prepared.array.cases}
    counts = np.ones((1, 6))
    counts[0, [at["a: c1"], at["b: c1"]]] = 2.0  # c1 drawn twice, c2 not at all
    counts[0, at["c2"]] = 0.0
    x = (4 / 4 + 0.0) / 2
    y = (1 / 4 + 2 / 3) / 2
    assert prepared.run(counts).values[0].tolist() == pytest.approx([x, y])


def test_rank_and_report_tell_the_overall_ranking(made: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    path, scores = made
    scores.to_csv(tmp_path / "s.csv", index=False)
    command = ["rank", str(path), str(tmp_path / "s.csv"), "--bootstrap", "50", "--evidence", str(tmp_path / "e")]
    assert CliRunner().invoke(main, [*command, "--out", str(tmp_path / "l.csv")]).exit_code in (0, 1)
    board = pd.read_csv(tmp_path / "l.csv")
    own = board[board["task"] == "overall"].set_index("submission")
    assert own["value"].to_dict() == pytest.approx({"x": 0.375, "y": 0.375})
    assert own["rank"].tolist() == [1, 1]
    assert set(pd.read_csv(tmp_path / "e" / "aggregates.csv")["task"]) == {"a", "b", "overall"}
    command = ["report", str(path), str(tmp_path / "s.csv"), "--bootstrap", "20", "--formats", "markdown"]
    done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "r")])
    assert done.exit_code in (0, 1), done.output
    text = "".join(one.read_text(encoding="utf-8") for one in (tmp_path / "r").rglob("*.md"))
    assert "overall" in text
    done = CliRunner().invoke(main, ["verify", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output


def test_definition_keeps_its_digest_and_lint_names_what_is_wrong(made: tuple[Path, pd.DataFrame]) -> None:
    path, scores = made
    challenge = registry.load(path)
    assert with_overall(challenge, normalise(scores, "s"))[0].digest == challenge.digest
    path.write_text(TEXT.replace("tasks: [a, b]", "tasks: [a, z]"), encoding="utf-8")
    done = CliRunner().invoke(main, ["lint", str(path)])
    assert done.exit_code == 1
    assert "no task 'z'" in done.output
