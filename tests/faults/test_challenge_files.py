"""What a challenge file says is tried before anybody is scored by it: names nobody can read, penalties that reward."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medpodium.cli import main

SEGMENTATION = """
schema: 1
name: example
title: Example
tasks:
  seg:
    files: {files}
    empty: {empty}
    structures:
      lesion: {{label: 1}}
    metrics: {metrics}
recipes:
  main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}
ranking: {{seg: main}}
"""
FAIR = "{both: skip, reference: skip, prediction: worst}"


def lint(folder: Path, text: str) -> Result:
    path = folder / "challenge.yaml"
    path.write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["lint", str(path)])


def segmentation(
    folder: Path, *, metrics: str = "{dice: {kind: dice}}", empty: str = FAIR, files: str = "{}"
) -> Result:
    return lint(folder, SEGMENTATION.format(metrics=metrics, empty=empty, files=files))


INHERITED = "{both: 1.0, reference: 0.0, prediction: 0.0}"
HD95 = "hd95: {kind: hd_percentile, worst: diagonal"


@pytest.mark.parametrize(
    ("what", "metrics", "empty", "names"),
    [
        ("an empty mask is 0 mm from everything", f"{{dice: {{kind: dice}}, {HD95}}}}}", INHERITED, "empty.prediction"),
        ("any distance", "{assd: {kind: assd, worst: 99}}", INHERITED, "empty.prediction"),
        ("by its word", f"{{{HD95}}}}}", "{both: best, reference: worst, prediction: best}", "empty.prediction"),
        ("an invented lesion", f"{{{HD95}}}}}", "{both: 0, reference: 0, prediction: worst}", "empty.reference"),
        ("higher is better", "{dice: {kind: dice}}", "{both: 1, reference: 1, prediction: 0}", "empty.reference"),
        ("false volume of 0 ml", "{fp: {kind: fp_volume, worst: 99}}", INHERITED, "empty.prediction"),
        ("no lesion invented", "{fp: {kind: lesion_fp, worst: 99}}", INHERITED, "empty.reference"),
        (
            "better than the right answer",
            "{dice: {kind: dice}}",
            "{both: 0, reference: 0.5, prediction: 0}",
            "reference",
        ),
        ("left out where it is hard", "{dice: {kind: dice}}", "{both: 1, reference: 0, prediction: skip}", "skip"),
        ("left out where invented", "{dice: {kind: dice}}", "{both: 0, reference: skip, prediction: 0}", "skip"),
        ("nothing handed in", f"{{{HD95}, missing: 0.0}}}}", FAIR, "missing"),
        ("a best value", "{dice: {kind: dice, missing: best}}", FAIR, "missing"),
        ("but for the last digits", "{dice: {kind: dice, missing: 0.9999999999}}", FAIR, "missing"),
        ("a crash", f"{{{HD95}, failed: 0}}}}", FAIR, "failed"),
        ("the worst is the best", "{hd: {kind: hd, worst: 0}}", FAIR, "empty.prediction"),
        ("turned round", "{dice: {kind: dice, direction: lower, missing: 0.0}}", FAIR, "missing"),
        ("a crash takes no time", "{time: {kind: running_time, missing: 0}}", FAIR, "missing"),
        ("no memory", "{area: {kind: gpu_memory_area, missing: 9, failed: 0.0}}", FAIR, "failed"),
        ("a gate's default", f"{{dice: {{kind: dice}}, {HD95}, gate: {{metric: dice, below: 0.2}}}}}}", FAIR, "gate"),
    ],
)
def test_penalty_as_good_as_the_best_score_is_an_error(
    tmp_path: Path, what: str, metrics: str, empty: str, names: str
) -> None:
    """Who hands in empty masks must not win (ToothFairy#5: HD95 of an empty mask is 0)."""
    result = segmentation(tmp_path, metrics=metrics, empty=empty)
    assert result.exit_code == 1, f"{what}: {result.output}"
    assert "penalty-rewards" in result.output
    assert names in result.output
    assert "would win" in result.output or "left out" in result.output


@pytest.mark.parametrize(
    ("metrics", "empty"),
    [
        ("{dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 2}}", INHERITED),
        (f"{{{HD95}, empty: {{both: best, reference: worst, prediction: worst}}}}}}", INHERITED),
        ("{assd: {kind: assd, worst: 99}}", "{both: 0, reference: 0.1, prediction: worst}"),
        ("{dice: {kind: dice, missing: skip}}", FAIR),
        ("{dice: {kind: dice}}", "{both: 0, reference: 0, prediction: 0}"),
        (f"{{{HD95}, missing: 0, rewards: 'the rules of 1999, section 3'}}}}", FAIR),
    ],
)
def test_penalties_that_cost_pass(tmp_path: Path, metrics: str, empty: str) -> None:
    result = segmentation(tmp_path, metrics=metrics, empty=empty)
    assert (result.exit_code, "0 findings" in result.output) == (0, True), result.output


def test_reward_declared_on_the_metric_itself_is_named_but_no_error(tmp_path: Path) -> None:
    metrics = f"{{{HD95}, empty: {{both: 0, reference: 0, prediction: 0}}}}}}"
    result = segmentation(tmp_path, metrics=metrics)
    assert result.exit_code == 0, result.output
    assert "penalty-rewards-as-declared" in result.output


def test_number_of_a_recipe_that_rewards_is_an_error(tmp_path: Path) -> None:
    """One number for the missing values of all metrics: 0 is the worst Dice and the best distance."""
    text = SEGMENTATION.format(metrics=f"{{dice: {{kind: dice}}, {HD95}}}}}", empty=FAIR, files="{}")
    result = lint(tmp_path, text.replace("mean: [case, structure]", "mean: {over: [case, structure], missing: 0}"))
    assert result.exit_code == 1, result.output
    assert "recipes.main.steps.0" in result.output
    assert "hd95" in result.output
    result = lint(tmp_path, text.replace("mean: metric", "mean: {over: metric, missing: 0}"))
    assert result.exit_code == 1, result.output
    assert "recipes.main.steps.2" in result.output  # a rank of 0 is better than the first


@pytest.mark.parametrize(
    ("metrics", "lazy"),
    [
        ("{s: {kind: lesion_sensitivity}, f: {kind: lesion_f1}}", "labels everything"),
        ("{v: {kind: fp_volume, worst: 9}}", "labels next to nothing"),
        (
            "{v: {kind: relative_volume_difference, worst: 9}, time: {kind: running_time, missing: 9}}",
            "next to nothing",
        ),
    ],
)
def test_task_that_a_lazy_prediction_wins_is_named(tmp_path: Path, metrics: str, lazy: str) -> None:
    result = segmentation(tmp_path, metrics=metrics)
    assert result.exit_code == 0, result.output
    assert lazy in result.output


@pytest.mark.parametrize("name", ["{case}.nii.gz", "{case}.NII.GZ", "{case}/mask.mha", "{case}.seg.nrrd"])
def test_patterns_that_can_be_read_pass(tmp_path: Path, name: str) -> None:
    result = segmentation(tmp_path, files=f'{{prediction: "{name}", reference: "{name}"}}')
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("side", ["reference", "prediction"])
@pytest.mark.parametrize("name", ["{case}.jpg", "{case}_mask", "{case}.gz", "{case}.nii.bz2", "{case}/mask.npz"])
def test_pattern_that_no_reader_knows_is_an_error(tmp_path: Path, side: str, name: str) -> None:
    """Every team would fail by such a name, and the organizer learns it from ``lint``."""
    result = segmentation(tmp_path, files=f'{{{side}: "{name}"}}')
    assert result.exit_code == 1, result.output
    assert f"seg.files.{side}" in result.output
    assert all(ending in result.output for ending in (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd"))


def test_table_that_no_reader_knows_is_an_error(tmp_path: Path) -> None:
    """A workbook is no delimited text."""
    text = """
schema: 1
name: example
title: Example
tasks:
  stage:
    kind: classification
    files: {prediction: answers.xlsx}
    classes: [a, b]
    metrics: {accuracy: {kind: accuracy}}
recipes:
  main: {steps: [{mean: [metric, structure]}, rank]}
ranking: {stage: main}
"""
    result = lint(tmp_path, text)
    assert result.exit_code == 1, result.output
    assert "stage.files.prediction" in result.output
    assert ".csv" in result.output


def test_output_that_no_reader_knows_is_an_error(tmp_path: Path) -> None:
    """What a container writes is read, too."""
    protocol = """
containers:
  main:
    per: case
    mounts:
      - {path: /input, files: [{source: "{case}.nii.gz", target: "{case}.nii.gz"}]}
      - {path: /output, kind: output}
    outputs: [{name: "{case}.stl"}]
    limits: {time: 60 min, memory: 4 GiB}
"""
    result = lint(tmp_path, SEGMENTATION.format(metrics="{dice: {kind: dice}}", empty=FAIR, files="{}") + protocol)
    assert result.exit_code == 1, result.output
    assert "containers.main.outputs.0" in result.output
