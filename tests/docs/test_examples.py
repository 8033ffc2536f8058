"""The examples in docstrings run, and give what they say; every public name has one."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner

import medpodium
from medpodium.cli import main

ROOT = Path(medpodium.__file__).parent
RULES = """
schema: 1
name: mine
title: Mine
tasks:
  organs:
    files: {reference: "{case}.nii.gz", prediction: "{case}.nii.gz", images: {ct: "{case}_0000.nii.gz"}}
    structures: {cube: {label: 1}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice, missing: worst}}
recipes: {main: {steps: [{mean: structure}, {rank: {within: [case, metric]}}, {mean: [case, metric]}, rank]}}
ranking: {organs: main}
containers:
  default:
    per: case
    mounts:
      - {path: /inputs, files: [{source: "{case}_0000.nii.gz", target: "{case}_0000.nii.gz", role: ct}]}
      - {path: /outputs, kind: output}
    outputs: [{name: "{case}.nii.gz"}]
    limits: {time: 1 min, memory: 1 GiB, cpus: "1", gpus: "0"}
"""
SCORES = """task,submission,case,structure,metric,value,status
organs,aurora,case0,cube,dice,0.9,ok
organs,borealis,case0,cube,dice,0.8,ok
organs,aurora,case1,cube,dice,0.95,ok
organs,borealis,case1,cube,dice,0.7,ok
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cube of ten voxels in twenty, the same moved by one voxel, and what a challenge of it needs."""
    root = tmp_path_factory.mktemp("examples")
    cube = np.zeros((20, 20, 20), np.uint8)
    cube[5:15, 5:15, 5:15] = 1
    moved = {"reference.nii.gz": 0, "prediction.nii.gz": 1, "references/case0.nii.gz": 0, "aurora/case0.nii.gz": 1}
    for name, shift in {**moved, "borealis/case0.nii.gz": 2, "images/case0_0000.nii.gz": 0}.items():
        (root / name).parent.mkdir(exist_ok=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.roll(cube, shift, axis=0)), str(root / name))
    (root / "mine.yaml").write_text(RULES, encoding="utf-8")
    (root / "scores.csv").write_text(SCORES, encoding="utf-8")
    verb = ["init", str(root / "mine.yaml"), str(root / "campaign"), "--cases", str(root / "images")]
    made = CliRunner().invoke(main, [*verb, "--references", str(root / "references")])
    assert made.exit_code == 0, made.output
    return root


def _with_examples() -> list[str]:
    """Return every module whose text has an example."""
    skipped = {"tests", "docs", "benchmarks", "build"}
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] not in skipped and "    >>> " in path.read_text(encoding="utf-8"):
            found.append(".".join(("medpodium", *parts)).removesuffix(".__init__"))
    return found


@pytest.mark.parametrize("name", _with_examples())
def test_examples_give_what_they_say(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    importlib.import_module(name)
    module = sys.modules[name]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs={"Path": Path}):
        if test.examples:
            runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


@pytest.mark.parametrize("name", medpodium.__all__)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    text = getattr(medpodium, name).__doc__
    assert "\nExamples\n" in "\n".join(line.strip() for line in text.splitlines())
    assert "medpodium." in text.partition("Examples")[2]
    assert "+SKIP" not in text
