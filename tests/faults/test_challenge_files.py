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
    assert ".nii.gz, .nii, .mha, .mhd, .nrrd" in result.output


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
