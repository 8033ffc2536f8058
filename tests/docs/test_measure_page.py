"""docs/measure.md does what it says: every line is run, in order, and what it prints is what stands there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner

import medpodium
from medpodium.cli import main

matplotlib.use("Agg")
PAGE = Path(medpodium.__file__).resolve().parent / "docs" / "measure.md"
PAIR = ("reference", "prediction")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def write(mask: Any, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    image: Any = SimpleITK.GetImageFromArray(mask)
    image.SetSpacing((1.0, 1.0, 3.0))
    SimpleITK.WriteImage(image, str(path))


def stage(folder: Path) -> None:
    """Write the files that the page speaks of."""
    masks = np.zeros((3, 20, 40, 40), np.uint8)
    for shift, mask in enumerate(masks):
        mask[3:15, 8 + shift : 28, 8 : 30 + shift] = 1
        mask[16:18, 4 : 9 + shift, 4 : 10 - shift] = 2
    for name, at in (("reference.nii.gz", 0), ("prediction.nii.gz", 2)):
        write(masks[at], folder / name)
    for case in range(3):
        for name, at in (("references", 0), ("aurora", 1), ("borealis", 2)):
            write(np.roll(masks[at], case, axis=1), folder / name / f"case_{case}.nii.gz")
    listed = {"labels": {"background": 0, "whole": [1, 2], "tumour": 2}}
    (folder / "dataset.json").write_text(json.dumps(listed), encoding="utf-8")


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stage(tmp_path)
    names: dict[str, Any] = {}
    for kind, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            exec(compile(text, str(PAGE), "exec"), names)
        elif kind == "console":
            for line in text.splitlines():
                program, *words = shlex.split(line.removeprefix("$ "))
                more = ["--workers", "1"] if words[0] in ("measure", "score") else []
                done = CliRunner().invoke(main, [*words, *more])
                assert (program, done.exit_code) == ("medpodium", 0), done.output
        else:
            shown = str(medpodium.measure("reference.nii.gz", "prediction.nii.gz"))
            assert text.strip() == shown.strip()
            first, second = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"{name}.nii.gz")) for name in PAIR)
            for label in (1, 2):
                both = (
                    2
                    * ((first == label) & (second == label)).sum()
                    / ((first == label).sum() + (second == label).sum())
                )
                assert f"label {label}    {both:.4f}" in text
    assert Path("again.csv").read_bytes() == Path("scores.csv").read_bytes()
    assert names["ranking"].frame()["submission"].tolist() == ["aurora", "borealis"]
    assert names["measured"].structures == ("liver", "tumour", "both")
