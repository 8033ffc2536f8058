"""Every recipe of every family runs on scores of its tasks; FLARE's are restated with pandas alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.scoring.ranking.recipe import rank_scores

TEAMS = ("aurora", "borealis", "cirrus", "dione")
EDITIONS = [
    f"{name}/{edition}"
    for name in ("flare-pancancer", "touchstone", "feta", "liqa", "stunet-transfer")
    for edition in registry.locate(name)[0].editions
]


def made_up(challenge: Challenge, task_name: str, rng: np.random.Generator, cases: int = 6) -> pd.DataFrame:
    """Return scores of every metric of a task: per structure, per case, or pooled by domain."""
    task = challenge.tasks[task_name]
    rows = []
    for team in TEAMS:
        for metric, spec in task.metrics.items():
            if spec.info.scope == "pooled":
                places = [("", "", {"domain": domain}) for domain in ("id", "ood")]
            else:
                structures = [""]
                if isinstance(task, SegmentationTask) and spec.info.scope == "structure":
                    structures = task.structures_of(spec)
                elif task.kind == "table":
                    structures = list(task.structures) or [""]
                places = [
                    (f"c{index}", structure, {name: _level(challenge, name, index) for name in task.groups or ()})
                    for index in range(cases)
                    for structure in structures
                ]
            for case, structure, groups in places:
                value = float(rng.integers(1, 40)) / 40
                rows.append(
                    {
                        "submission": team,
                        "case": case,
                        "structure": structure,
                        "metric": metric,
                        "value": value,
                        **groups,
                    }
                )
    frame = pd.DataFrame(rows)
    return frame.assign(challenge=challenge.name, edition=challenge.edition, task=task_name, status="ok")


def _level(challenge: Challenge, group: str, index: int) -> str:
    levels = challenge.groups[group].levels or ["x", "y"]
    return levels[index % len(levels)]


def rank(challenge: Challenge, task_name: str, recipe: str, scores: pd.DataFrame) -> pd.DataFrame:
    metrics = challenge.tasks[task_name].metrics
    ranking = rank_scores(
        scores,
        challenge.recipes[recipe].steps,
        {name: spec.better for name, spec in metrics.items()},
        task=task_name,
        missing={name: spec.missing for name, spec in metrics.items() if spec.missing != "best"},
    )
    return ranking.table().set_index("submission")


@pytest.mark.parametrize("reference", EDITIONS)
def test_every_recipe_runs(reference: str) -> None:
    challenge = registry.load(reference)
    rng = np.random.default_rng(1)
    for task_name, declared in challenge.ranking.items():
        scores = made_up(challenge, task_name, rng)
        debated = challenge.debatable[task_name].recipes if task_name in challenge.debatable else []
        named = [name for name, recipe in challenge.recipes.items() if task_name in (recipe.tasks or ())]
        for recipe in dict.fromkeys([declared, *debated, *named]):
            own = rank(challenge, task_name, recipe, scores)
            assert sorted(own.index) == sorted(TEAMS), recipe
            assert own["rank"].min() == 1, recipe
            assert own["rank"].notna().all(), recipe


LOWER = ("running_time", "gpu_memory_area", "cpu_area", "peak_gpu_memory")


def by_hand(
    scores: pd.DataFrame, metrics: list[str], half: tuple[str, ...] = (), floor: float | None = None
) -> pd.Series:
    """Mean over structures, rank per case and metric (ties share the best rank), mean of the ranks."""
    chosen = scores[scores["metric"].isin(metrics)]
    values = chosen.groupby(["case", "metric", "submission"])["value"].mean().unstack()
    time = values.index.get_level_values("metric") == "running_time"
    if floor is not None:
        values[time] = values[time].clip(lower=floor)
    lower = values.index.get_level_values("metric").isin(LOWER)
    signed = values.mul(np.where(lower, 1.0, -1.0), axis=0).round(12)
    ranks = signed.rank(axis=1, method="min")
    weights = np.where(ranks.index.get_level_values("metric").isin(half), 0.5, 1.0)
    return (ranks.mul(weights, axis=0)).sum() / weights.sum()


ACCURACY = ["organ_dice", "organ_nsd", "lesion_dice", "lesion_nsd"]


@pytest.mark.parametrize(
    ("edition", "recipe", "metrics", "half", "floor"),
    [
        ("2023", "flare23", [*ACCURACY, "running_time", "gpu_memory_area"], (), 15.0),
        (
            "2022",
            "flare22",
            ["organ_dice", "organ_nsd", "running_time", "gpu_memory_area", "cpu_area"],
            ("gpu_memory_area", "cpu_area"),
            None,
        ),
        ("2023", "flare21", ["organ_dice", "organ_nsd", "running_time", "peak_gpu_memory"], (), None),
        ("2024-task1", "flare24-task1", ["lesion_dice", "lesion_nsd", "running_time", "gpu_memory_area"], (), None),
    ],
)
def test_flare_recipes_are_what_the_pages_say(
    edition: str, recipe: str, metrics: list[str], half: tuple[str, ...], floor: float | None
) -> None:
    challenge = registry.load(f"flare-pancancer/{edition}")
    for seed in range(5):
        scores = made_up(challenge, "segmentation", np.random.default_rng(seed))
        time = scores["metric"] == "running_time"
        scores.loc[time, "value"] = (scores.loc[time, "value"] * 40).round()
        own = rank(challenge, "segmentation", recipe, scores)
        expected = by_hand(scores, metrics, half, floor)
        pd.testing.assert_series_equal(own["value"].sort_index(), expected.sort_index(), check_names=False, rtol=1e-12)


def test_a_missing_case_ranks_last_in_flare() -> None:
    challenge = registry.load("flare-pancancer/2023")
    scores = made_up(challenge, "segmentation", np.random.default_rng(0))
    lost = (scores["submission"] == "aurora") & (scores["case"] == "c0")
    before = rank(challenge, "segmentation", "flare23", scores)["value"]
    penalised = scores.copy()
    penalties = {name: spec.missing for name, spec in challenge.tasks["segmentation"].metrics.items()}
    penalised.loc[lost, "value"] = penalised.loc[lost, "metric"].map(penalties)
    penalised.loc[lost, "status"] = "missing"
    after = rank(challenge, "segmentation", "flare23", penalised)["value"]
    # all six metrics of the case are at the bottom: rank 4 of 4, in one of six cases
    values = by_hand(penalised, [*ACCURACY, "running_time", "gpu_memory_area"], (), 15.0)
    assert after["aurora"] == pytest.approx(values["aurora"])
    assert after["aurora"] > before["aurora"]
