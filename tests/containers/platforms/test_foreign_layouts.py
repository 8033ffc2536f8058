"""Predictions and scores in other layouts: challengeR, BraTS-like folders, BIDS derivatives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from medpodium.scoring import table


def test_challenger_round_trip(tiny: Any, run: Any, tmp_path: Path) -> None:
    scores = tiny.score(tmp_path / "scores.csv")
    out = tmp_path / "challenger"
    run("export", "challenger", tiny.rules, "--scores", tmp_path / "scores.csv", "--out", out)
    header = (out / "dice.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "task,case,algorithm,value"
    script = (out / "read.R").read_text(encoding="utf-8")
    assert 'read.csv("hd95.csv"' in script
    assert script.count("smallBetter = TRUE") == 1
    assert script.count("smallBetter = FALSE") == 2
    run("import", "challenger", out, "--out", tmp_path / "back.csv")
    back = table.read_scores(tmp_path / "back.csv")
    keys = [*table.KEY_COLUMNS]
    left = scores.sort_values(keys).reset_index(drop=True)
    right = back.sort_values(keys).reset_index(drop=True)
    # Everything challengeR's layout can hold comes back: keys and values; not why a value is absent, nor groups.
    assert left[keys].equals(right[keys])
    assert [float(value).hex() for value in left["value"]] == [float(value).hex() for value in right["value"]]
    run("import", "challenger", out / "dice.csv", "--out", tmp_path / "one.csv")
    assert set(table.read_scores(tmp_path / "one.csv")["metric"]) == {"dice"}


@pytest.mark.parametrize("deep", [False, True])
def test_brats_like_folders(tiny: Any, run: Any, same: Any, tmp_path: Path, deep: bool) -> None:
    folder = tmp_path / "brats"
    for path in tiny.predictions.iterdir():
        case = path.name.removesuffix(".mha")
        target = folder / case / f"{case}-seg.mha" if deep else folder / f"{case}.mha"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        if deep:
            (target.parent / f"other-{case}.mha").write_bytes(b"")
    out = tmp_path / "predictions"
    done = run("import", "brats", folder, "--challenge", tiny.rules, "--out", out, "--json")
    found = json.loads(done.stdout)
    assert found["cases"] == ["case_01", "case_02", "case_03", "case_05"]
    assert len(found["findings"]) == (4 if deep else 0)
    expected = tiny.score(tmp_path / "a.csv")
    assert same(tiny.score(tmp_path / "b.csv", predictions=out), expected)


def test_bids_derivatives(tiny: Any, run: Any, same: Any, tmp_path: Path) -> None:
    """Labels 11, 12, 13 and 50 mean liver, right kidney, lesion and something else."""
    root = tmp_path / "bids"
    derivatives = root / "derivatives" / "aurora"
    names = {}
    for number, path in enumerate(sorted(tiny.predictions.iterdir())):
        image = SimpleITK.ReadImage(str(path))
        labels = SimpleITK.GetArrayFromImage(image).astype(np.int16)
        labels = np.where(labels > 0, labels + 10, 0)
        labels[0, 0, 0] = 50 if labels[0, 0, 0] == 0 else labels[0, 0, 0]
        moved = SimpleITK.GetImageFromArray(labels)
        moved.CopyInformation(image)
        stem = f"sub-{number:02d}_ses-1"
        target = derivatives / f"sub-{number:02d}" / "ses-1" / "anat" / f"{stem}_T1w_dseg.nii.gz"
        target.parent.mkdir(parents=True)
        SimpleITK.WriteImage(moved, str(target))
        rows = "index\tname\n0\tbackground\n11\tLiver\n12\tright_kidney\n13\tlesion\n50\tspleen\n"
        target.with_name(f"{stem}_T1w_dseg.tsv").write_text(rows, encoding="utf-8")
        names[stem] = path.name.removesuffix(".mha")
    people = "".join(f"sub-{number:02d}\t{'F' if number % 2 else 'M'}\n" for number in range(len(names)))
    (root / "participants.tsv").write_text("participant_id\tsex\n" + people, encoding="utf-8")
    out, cases = tmp_path / "predictions", tmp_path / "cases.csv"
    arguments = ("import", "bids", derivatives, "--challenge", tiny.rules, "--out", out, "--cases-out", cases)
    found = json.loads(run(*arguments, "--json").stdout)
    assert sorted(found["cases"]) == sorted(names)
    assert {one["code"] for one in found["findings"]} == {"label-unmapped"}
    groups = pd.read_csv(cases, dtype=str)
    assert list(groups.columns) == ["case", "patient", "sex"]
    assert list(groups["sex"]) == ["M", "F", "M", "F"]
    # the same voxels under the challenge's own case names score the same
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for path in out.iterdir():
        stem = path.name.removesuffix(".nii.gz").removesuffix(".mha")
        (renamed / path.name.replace(stem, names[stem])).write_bytes(path.read_bytes())
    expected = tiny.score(tmp_path / "a.csv")
    assert same(tiny.score(tmp_path / "b.csv", predictions=renamed), expected)


@pytest.mark.parametrize("layout", ["brats", "bids"])
def test_empty_folders_are_refused(tiny: Any, run: Any, tmp_path: Path, layout: str) -> None:
    (tmp_path / "empty").mkdir()
    done = run("import", layout, tmp_path / "empty", "--challenge", tiny.rules, "--out", tmp_path / "out", code=2)
    assert "no prediction found" in done.output
