"""What the platforms' own models refuse is not in a bundle."""

from __future__ import annotations

import importlib
import json
import zipfile
from pathlib import Path

import pytest


@pytest.mark.parametrize("reference", ["feta/2024", "flare-pancancer", "liqa"])
def test_titles_of_codabench_columns_fit_its_model_and_stay_different(reference: str) -> None:
    """36 characters (codalab/codabench, src/apps/leaderboards/models.py); 0.1.0's bundle of feta/2024 was refused."""
    from medpodium.challenges import registry

    try:
        place = importlib.import_module("medpodium.containers.platforms.codabench.export")
    except ModuleNotFoundError:  # in the house of version 0.1.0
        place = importlib.import_module("medpodium.containers.platforms.codabench")
    competition = place.competition
    challenge = registry.load(reference)
    for task in challenge.tasks:
        made = competition(challenge, task, "python:3.11", "2026-01-01", 10, 60)
        titles = [column["title"] for column in made["leaderboards"][0]["columns"]]
        assert all(0 < len(title) <= 36 for title in titles), max(titles, key=len)
        assert len(set(titles)) == len(titles)
        # the other limits of these models, and of competitions/models.py and tasks/models.py
        keys = [column["key"] for column in made["leaderboards"][0]["columns"]]
        assert all(0 < len(key) <= 36 for key in keys), max(keys, key=len)
        assert len(set(keys)) == len(keys)
        assert len(made["title"]) <= 256
        assert all(len(one["name"]) <= 256 for one in (*made["tasks"], *made["phases"]))


LONG = "a structure whose name is so very long that nobody would ever write it in a table"


def test_long_names_are_cut_in_a_bundle_and_the_scorer_writes_the_same_keys(tmp_path: Path) -> None:
    """0.1.0 cut neither: keys have 36 characters on the platform, too, and a title 256."""
    import numpy as np
    import SimpleITK
    from click.testing import CliRunner
    from ruamel.yaml import YAML

    from medpodium.cli import main

    structures = {f"{LONG} {number}": {"label": number} for number in (1, 2, 3)}
    rules = {
        "schema": 1, "name": "long", "title": "T" * 300,
        "tasks": {"it": {
            "kind": "segmentation", "structures": structures,
            "empty": {"both": "skip", "reference": "worst", "prediction": "worst"},
            "metrics": {"dice": {"kind": "dice"}},
        }},
        "recipes": {"mean": {"steps": [{"mean": ["case", "structure", "metric"]}, {"rank": {}}]}},
        "ranking": {"it": "mean"},
    }  # fmt: skip
    (tmp_path / "rules.yaml").write_text(json.dumps(rules), encoding="utf-8")
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3], labels[3], labels[4] = 1, 2, 3
    res = tmp_path / "app" / "input" / "res"
    for folder in (tmp_path / "references", res):
        folder.mkdir(parents=True)
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(folder / "c.nii.gz"))
    words = ["export", "codabench", tmp_path / "rules.yaml", "--references", tmp_path / "references"]
    result = CliRunner().invoke(main, [str(word) for word in (*words, "--out", tmp_path / "bundle.zip")])
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        bundle.extractall(tmp_path / "bundle")
    with zipfile.ZipFile(tmp_path / "bundle" / "reference_data.zip") as truth:
        truth.extractall(tmp_path / "app" / "input" / "ref")
    made = YAML(typ="safe").load((tmp_path / "bundle" / "competition.yaml").read_text(encoding="utf-8"))
    keys = [column["key"] for column in made["leaderboards"][0]["columns"]]
    assert len(made["title"]) <= 256
    assert len(set(keys)) == len(keys) == 4
    assert max(map(len, keys)) <= 36
    from medpodium.containers.platforms.codabench.scorer import run

    run(tmp_path / "app" / "input", tmp_path / "app" / "output")
    scores = json.loads((tmp_path / "app" / "output" / "scores.json").read_text(encoding="utf-8"))
    assert scores == dict.fromkeys(keys, 1.0)
    long = "registry.example.org/" + "x" * 120
    result = CliRunner().invoke(main, [*map(str, words), "--out", str(tmp_path / "b.zip"), "--docker-image", long])
    assert result.exit_code == 2
    assert "128" in result.output
