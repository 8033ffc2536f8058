"""``medpodium.rank``: the leaderboard of the verb, from a table in memory or a file, with or without a challenge."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from click.testing import CliRunner

import medpodium
from medpodium.cli import main

matplotlib.use("Agg")


def scores() -> pd.DataFrame:
    """Alpha has the better Dice, beta the better distance, ``<c>`` neither, and a case is missing."""
    rows = []
    for name, dice, hd95 in (("alpha", 0.9, 4.0), ("beta", 0.8, 2.0), ("<c>", 0.7, 9.0)):
        for case in ("1", "2"):
            for metric, value in (("dice", dice), ("hd95", hd95)):
                rows.append({"submission": name, "case": case, "structure": "liver", "metric": metric, "value": value})
    return pd.DataFrame(rows).assign(task="segmentation")


def test_without_a_challenge_by_hand() -> None:
    ranking = medpodium.rank(scores())
    board = ranking.frame().set_index("submission")
    assert board["rank"].to_dict() == {"alpha": 1.0, "beta": 1.0, "<c>": 3.0}
    assert board["value"].to_dict() == {"alpha": 1.5, "beta": 1.5, "<c>": 3.0}
    dice = medpodium.rank(scores()[scores()["metric"] == "dice"], [{"mean": "case"}, {"mean": "structure"}, "rank"])
    assert dice.frame()["submission"].tolist() == ["alpha", "beta", "<c>"]
    assert "alpha" in str(dice)
    assert "&lt;c&gt;" in ranking._repr_html_()
    assert "<c>" not in ranking._repr_html_()


def test_plot_has_a_row_per_submission() -> None:
    axes = medpodium.rank(scores()).plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["alpha", "beta", "<c>"]
    low, high = axes.get_xlim()
    assert low > high  # a mean rank: the better, the further to the right
    assert medpodium.rank(scores()).plot(axes) is axes


def test_unknown_metric_says_which_way() -> None:
    own = scores().replace({"metric": {"hd95": "mine"}})
    with pytest.raises(medpodium.MedpodiumError, match=r"better=\{'mine': 'higher'\}"):
        medpodium.rank(own)
    assert medpodium.rank(own, better={"mine": "lower"}).frame()["rank"].tolist() == [1.0, 1.0, 3.0]
    with pytest.raises(medpodium.MedpodiumError, match="no scores of a task 'other'"):
        medpodium.rank(scores(), task="other")
    with pytest.raises(medpodium.MedpodiumError, match="no challenge whose recipes have names"):
        medpodium.rank(scores(), "mean-then-rank")


def test_challenge_ranks_as_the_verb_does(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    structures = ["Liver", "RK", "Spleen"]
    own = pd.concat([scores().assign(structure=name) for name in structures])
    medpodium.write_scores(
        own.replace({"metric": {"hd95": "nsd"}}).assign(value=lambda frame: frame["value"] / 10), table
    )
    rules = tmp_path / "mine.yaml"
    rules.write_text(
        """
schema: 1
name: mine
title: Mine
tasks:
  segmentation:
    kind: segmentation
    structures: {Liver: {label: 1}, RK: {label: 2}, Spleen: {label: 3}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 1}}
recipes:
  main: {steps: [{mean: structure}, {rank: {within: [case, metric]}}, {mean: case}, {mean: metric}, rank]}
  other: {steps: [{mean: case}, {mean: structure}, {mean: metric}, rank]}
ranking: {segmentation: main}
""",
        encoding="utf-8",
    )
    for recipe in (None, "other"):
        more = [] if recipe is None else ["--recipe", recipe]
        done = CliRunner().invoke(main, ["rank", str(rules), str(table), "--bootstrap", "0", "--json", *more])
        assert done.exit_code == 0, done.output
        board = json.loads(done.output)["leaderboard"]
        ranking = medpodium.rank(table, recipe, challenge=rules)
        got = ranking.frame()[["submission", "rank", "value"]].to_dict("records")
        assert got == [{name: row[name] for name in ("submission", "rank", "value")} for row in board]
    given = medpodium.rank(
        table, [{"mean": "case"}, {"mean": "structure"}, {"mean": "metric"}, "rank"], challenge=rules
    )
    assert given.frame()["rank"].tolist() == ranking.frame()["rank"].tolist()
