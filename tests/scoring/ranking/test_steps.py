"""Steps that change values by themselves, and steps that compare values: formulas, order, scale, resamples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from medpodium.challenges.schema.steps import Recipe, parse_steps
from medpodium.cli import main
from medpodium.findings import MedpodiumError
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.recipe import Prepared, rank_scores

TEAMS, CASES = ("a", "b", "c"), tuple(f"c{number}" for number in range(8))
LEVELS = ("none", "mild", "severe")


def table(values: np.ndarray, metric: str = "m") -> pd.DataFrame:
    """Return a score table of shape (teams, cases); the group ``level`` goes round."""
    rows = [
        {"task": "t", "submission": team, "case": case, "structure": "", "metric": metric, "value": value}
        for team, own in zip(TEAMS, values, strict=True)
        for case, value in zip(CASES, own, strict=True)
    ]
    frame = pd.DataFrame(rows)
    frame["level"] = [LEVELS[CASES.index(case) % 3] for case in frame["case"]]
    frame["status"] = np.where(frame["value"].isna(), "missing", "ok")
    return frame


def final(values: np.ndarray, steps: list[object], better: str = "higher", **options: object) -> np.ndarray:
    """Return what the last step ranks, in the order of the teams."""
    return rank_scores(table(values), steps, {"m": better}, task="t", **options).values  # type: ignore[arg-type]


NUMBERS = np.random.default_rng(3).normal(0.6, 0.3, (3, 8))
GROUPS = [NUMBERS[:, [at for at in range(8) if at % 3 == level]].mean(axis=1) for level in range(3)]  # as in LEVELS

FORMULAS = {
    "abs": ([{"mean": "case"}, "abs", "rank"], np.abs(NUMBERS.mean(axis=1))),
    "target": ([{"target": {"value": 0.6}}, {"mean": "case"}, "rank"], np.abs(NUMBERS - 0.6).mean(axis=1)),
    "clip": ([{"clip": {"low": 0.5, "high": 0.7}}, {"mean": "case"}, "rank"], NUMBERS.clip(0.5, 0.7).mean(axis=1)),
    "normalise": ([{"mean": "case"}, {"normalise": {"low": -1, "high": 3}}, "rank"], (NUMBERS.mean(axis=1) + 1) / 4),
    "rms": ([{"rms": "case"}, "rank"], np.sqrt((NUMBERS**2).mean(axis=1))),
    "range": ([{"range": "case"}, "rank"], np.ptp(NUMBERS, axis=1)),
    "range of levels": (
        [{"mean": {"over": "case", "by": "level"}}, {"range": "level"}, "rank"],
        np.ptp(GROUPS, axis=0),
    ),
    "rms of levels": (
        [{"mean": {"over": "case", "by": "level"}}, {"rms": "level"}, "rank"],
        np.sqrt(np.mean(np.square(GROUPS), axis=0)),
    ),
    "difference": (
        [
            {"mean": {"over": "case", "by": "level"}},
            {"difference": {"over": "level", "of": "none", "minus": "severe", "better": "lower"}},
            "rank",
        ],
        GROUPS[0] - GROUPS[2],
    ),
    "trapezoid": (
        [
            {"mean": {"over": "case", "by": "level"}},
            {"trapezoid": {"over": "level", "at": {"none": 0, "mild": 1, "severe": 4}}},
            "rank",
        ],
        np.trapezoid(GROUPS, [0, 1, 4], axis=0),
    ),
    "mean trapezoid": (
        [
            {"mean": {"over": "case", "by": "level"}},
            {"trapezoid": {"over": "level", "at": {"severe": 4, "none": 0, "mild": 1}, "mean": True}},
            "rank",
        ],
        np.trapezoid(GROUPS, [0, 1, 4], axis=0) / 4,
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas(name: str) -> None:
    steps, expected = FORMULAS[name]
    assert final(NUMBERS, steps) == pytest.approx(expected, abs=1e-12)


LOWER = {"abs", "target", "range", "range of levels", "difference"}


@pytest.mark.parametrize("name", FORMULAS)
def test_directions(name: str) -> None:
    steps, expected = FORMULAS[name]
    ranking = rank_scores(table(NUMBERS), steps, {"m": "higher"}, task="t")
    assert ranking.better == ("lower" if name in LOWER else "higher")
    best = expected.argmin() if name in LOWER else expected.argmax()
    assert ranking.ranks[best] == 1


def test_normalise_turns_the_better_end_round() -> None:
    ranking = rank_scores(
        table(NUMBERS), [{"mean": "case"}, {"normalise": {"low": 5, "high": 0}}, "rank"], {"m": "lower"}, task="t"
    )
    assert ranking.better == "higher"
    assert ranking.values == pytest.approx(1 - NUMBERS.mean(axis=1) / 5)


@pytest.mark.parametrize("name", FORMULAS)
def test_resampled_like_any_step(name: str) -> None:
    """A resample by counts gives what the table of the drawn cases gives."""
    steps = parse_steps(FORMULAS[name][0])
    frame = table(NUMBERS)
    array, _ = build(frame, "t", {"m": "higher"})
    rng = np.random.default_rng(1)
    counts = rng.multinomial(8, np.full(8, 1 / 8), size=6).astype(float) + 1
    run = Prepared(array, steps).run(counts)
    for row, drawn in enumerate(counts):
        copies = [
            frame[frame["case"] == case].assign(case=f"{case}-{copy}")
            for case, number in zip(CASES, drawn, strict=True)
            for copy in range(int(number))
        ]
        again = rank_scores(pd.concat(copies), steps, {"m": "higher"}, task="t")
        assert run.values[row] == pytest.approx(again.values, abs=1e-12)
        assert run.ranks[row].tolist() == again.ranks.tolist()


FINITE = st.lists(st.floats(-100, 100), min_size=24, max_size=24).map(lambda own: np.array(own).reshape(3, 8))


@settings(max_examples=25, deadline=None)
@given(FINITE, st.permutations(range(8)), st.floats(0.1, 10), st.floats(-50, 50))
def test_order_and_scale(values: np.ndarray, order: list[int], scale: float, shift: float) -> None:
    for step in ("rms", "range"):
        steps: list[object] = [{step: "case"}, "rank"]
        known = final(values, steps)
        assert final(values[:, order], steps) == pytest.approx(known, rel=1e-9, abs=1e-9)
        assert final(values * scale, steps) == pytest.approx(known * scale, rel=1e-9, abs=1e-7)
    moved = [{"target": {"value": 3 + shift}}, {"mean": "case"}, "rank"]
    assert final(values + shift, moved) == pytest.approx(
        final(values, [{"target": {"value": 3}}, {"mean": "case"}, "rank"]), abs=1e-9
    )
    assert final(values + shift, [{"range": "case"}, "rank"]) == pytest.approx(
        final(values, [{"range": "case"}, "rank"]), abs=1e-9
    )
    unit = [{"normalise": {"low": -100, "high": 100}}, {"mean": "case"}, "rank"]
    assert ((final(values, unit) >= -1e-9) & (final(values, unit) <= 1 + 1e-9)).all()


def test_missing_values_are_changed_with_the_others() -> None:
    """The worst value goes through the same step: a missing signed error of 5 counts as a distance of 5."""
    values = NUMBERS.copy()
    values[0, 2] = np.nan
    found = final(values, ["abs", {"mean": "case"}, "rank"], "lower", missing={"m": "worst"}, worst={"m": -5.0})
    filled = np.abs(np.where(np.isnan(values), 5.0, values)).mean(axis=1)
    assert found == pytest.approx(filled)


@pytest.mark.parametrize(
    ("step", "cause"),
    [
        ({"clip": {}}, "low"),
        ({"clip": {"low": 1, "high": 1}}, "below"),
        ({"normalise": {"low": 1, "high": 1}}, "differ"),
        ({"trapezoid": {"over": "case", "at": {"a": 1, "b": 2}}}, "no order"),
        ({"trapezoid": {"over": "level", "at": {"a": 1, "b": 1}}}, "place of its own"),
        ({"difference": {"over": ["level", "metric"], "of": "a", "minus": "b"}}, "over"),
    ],
)
def test_wrong_steps_are_refused(step: object, cause: str) -> None:
    with pytest.raises(ValidationError, match=cause):
        Recipe.model_validate({"steps": [step, {"mean": "case"}, "rank"]})


@pytest.mark.parametrize(
    ("steps", "cause"),
    [
        ([{"mean": {"over": "case", "by": "level"}}, {"trapezoid": "level"}, "rank"], "no numbers"),
        (
            [
                {"mean": {"over": "case", "by": "level"}},
                {"difference": {"over": "level", "of": "mild", "minus": "x"}},
                "rank",
            ],
            "no level 'x'",
        ),
        ([{"abs": "other"}, {"mean": ["case", "metric"]}, "rank"], "no metric 'other'"),
        ([{"mean": "case"}, {"difference": {"over": "level", "of": "mild", "minus": "none"}}, "rank"], "no dimension"),
    ],
)
def test_labels_that_are_not_there(steps: list[object], cause: str) -> None:
    with pytest.raises(MedpodiumError, match=cause):
        final(NUMBERS, steps)


RULES = """
schema: 1
name: mine
title: Mine
groups: {{level: {{levels: [none, mild, severe]}}}}
tasks: {{t: {{kind: table, groups: [level], metrics: {{m: {{kind: imported, missing: skip}}}}}}}}
recipes: {{r: {{steps: [{{mean: {{over: case, by: level}}}}, {step}, rank]}}}}
ranking: {{t: r}}
"""


def test_a_challenge_file_takes_them_through_lint_rank_and_report(tmp_path: Path) -> None:
    step = "{difference: {over: level, of: none, minus: severe, better: lower}}, {target: {value: 0.1}}"
    (tmp_path / "c.yaml").write_text(RULES.format(step=step), encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(RULES.format(step=step.replace("severe", "sever")), encoding="utf-8")
    frame = table(NUMBERS).assign(challenge="mine", edition="1")
    frame.to_csv(tmp_path / "s.csv", index=False)
    assert CliRunner().invoke(main, ["lint", str(tmp_path / "c.yaml")]).exit_code == 0
    refused = CliRunner().invoke(main, ["lint", str(tmp_path / "bad.yaml")])
    assert refused.exit_code == 1
    assert "no level 'sever'" in refused.output
    out = str(tmp_path / "lb.csv")
    done = CliRunner().invoke(main, ["rank", str(tmp_path / "c.yaml"), str(tmp_path / "s.csv"), "--out", out])
    assert done.exit_code == 0, done.output
    board = pd.read_csv(out).set_index("submission")["value"]
    assert board.loc[list(TEAMS)].to_numpy() == pytest.approx(np.abs(GROUPS[0] - GROUPS[2] - 0.1))
