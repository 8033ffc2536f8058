"""MedPerf's evaluator and EvalAI's script as those platforms read, check and call them; ORCA's names of options."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from medpodium.containers.platforms.medperf import scorer as medperf_scorer


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def _export(run: Any, tiny: Any, platform: str, out: Path, *more: object) -> Path:
    run("export", platform, tiny.rules, "--references", tiny.references, "--cases", tiny.cases, "--out", out, *more)
    return out


def test_medperf_takes_the_configuration_and_results_hold_no_case(tiny: Any, run: Any, tmp_path: Path) -> None:
    """The rules are those of medperf's SimpleContainerParser and check_allowed_run_args."""
    out = _export(run, tiny, "medperf", tmp_path / "out", "--image", "me/evaluator:1")
    config = _yaml(out / "container_config.yaml")
    assert config["container_type"] in {"DockerImage", "DockerArchive"}
    assert config["image"] == "me/evaluator:1"
    (task,) = config["tasks"].values()
    assert set(config["tasks"]) == {"evaluate"}
    assert set(task.get("run_args", {})) <= {"shm_size", "gpus", "command", "entrypoint", "environment"}
    for volume in {**task["input_volumes"], **task["output_volumes"]}.values():
        assert volume["type"] in {"file", "directory"}
        assert volume["mount_path"].startswith("/mlcommons/volumes/")
    # what the server hands to an evaluator (container_execution.py)
    assert set(task["input_volumes"]) <= {"predictions", "labels", "parameters_file", "local_outputs_path"}
    assert not list((out / "project").rglob("*.nii.gz"))  # the image is pushed, the references are not
    found = medperf_scorer.evaluate(tiny.predictions, out / "labels", tmp_path / "results" / "results.yaml")
    told = _yaml(tmp_path / "results" / "results.yaml")
    assert told == found
    assert not any(case in (tmp_path / "results" / "results.yaml").read_text() for case in ("case_01", "case_05"))
    scores = tiny.score(tmp_path / "expected.csv")
    dice = scores.loc[scores["metric"] == "dice", "value"].dropna()
    assert told["aggregates"]["dice"]["mean"] == pytest.approx(dice.mean(), abs=1e-12)


def test_evalai_takes_the_configuration(tiny: Any, run: Any, tmp_path: Path) -> None:
    """The rules are those of EvalAI's ValidateChallengeConfigUtil, of its models, and of its worker."""
    out = _export(run, tiny, "evalai", tmp_path / "out", "--start", "2026-01-01")
    config = _yaml(out / "challenge_config.yaml")
    assert 0 < len(config["title"]) <= 100
    for page in ("description", "evaluation_details", "terms_and_conditions", "submission_guidelines"):
        assert config[page].endswith(".html")
        assert (out / config[page]).stat().st_size > 0
    assert config["evaluation_script"].endswith(".zip")
    assert (out / config["evaluation_script"]).is_file()
    for item in (config, *config["challenge_phases"]):
        assert datetime.fromisoformat(str(item["start_date"])) < datetime.fromisoformat(str(item["end_date"]))
    (board,) = config["leaderboard"]
    assert board["schema"]["default_order_by"] in board["schema"]["labels"]
    (phase,) = config["challenge_phases"]
    assert (out / phase["test_annotation_file"]).is_file()
    assert (out / phase["description"]).is_file()
    (split,) = config["challenge_phase_splits"]
    needed = {
        "is_leaderboard_order_descending", "leaderboard_decimal_precision", "visibility", "dataset_split_id",
        "leaderboard_id", "challenge_phase_id",
    }  # fmt: skip
    assert needed <= set(split)
    assert split["challenge_phase_id"] == phase["id"]
    assert split["leaderboard_id"] == board["id"]
    assert split["dataset_split_id"] == config["dataset_splits"][0]["id"]
    assert split["is_leaderboard_order_descending"] is True  # the first label is a Dice


def test_evalai_calls_the_script(tiny: Any, run: Any, same: Any, tmp_path: Path) -> None:
    """As the worker does: the archive is a package, which is imported, and whose evaluate() is called."""
    out = _export(run, tiny, "evalai", tmp_path / "out")
    config = _yaml(out / "challenge_config.yaml")
    package = tmp_path / "challenge_1"
    with zipfile.ZipFile(out / config["evaluation_script"]) as archive:
        assert "requirements.txt" in archive.namelist()
        archive.extractall(package)
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in tiny.predictions.iterdir():
            archive.write(path, f"mine/{path.name}")
    spec = importlib.util.spec_from_file_location("challenge_1", package / "__init__.py")
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    finally:
        sys.path[:] = before
    phase = config["challenge_phases"][0]
    annotations = str(out / phase["test_annotation_file"])
    answer = module.evaluate(annotations, str(tmp_path / "mine.zip"), phase["codename"], submission_metadata={})
    (result,) = answer["result"]
    (codename,) = result
    assert codename == config["dataset_splits"][0]["codename"]
    assert set(result[codename]) <= set(config["leaderboard"][0]["schema"]["labels"])
    assert all(isinstance(value, float) for value in result[codename].values())
    json.dumps(answer, allow_nan=False)
    scores = tiny.score(tmp_path / "expected.csv")
    dice = scores.loc[scores["metric"] == "dice", "value"].dropna()
    assert result[codename]["dice"] == pytest.approx(dice.mean(), abs=1e-12)


def test_orca_calls_the_scripts_by_its_own_names(tiny: Any, run: Any, tmp_path: Path, capsys: Any) -> None:
    """Its template's validate.py says --groundtruth_file where score.py says --groundtruth_folder (0.1.0 exited 2)."""
    from medpodium.containers.platforms.synapse import scorer

    out = _export(run, tiny, "synapse", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for path in tiny.predictions.iterdir():
            archive.write(path, path.name)
    rest = ["--predictions_file", tmp_path / "p.zip", "--task_number", "1", "--output_file", tmp_path / "results.json"]
    capsys.readouterr()
    for name in ("--groundtruth_file", "--groundtruth_folder"):
        scorer.validate([str(word) for word in (name, out / "groundtruth", *rest)])
        assert capsys.readouterr().out == "VALIDATED\n"
    text = (out / "Dockerfile").read_text(encoding="utf-8")
    assert "groundtruth" not in "".join(line for line in text.splitlines() if line.startswith(("COPY", "ADD")))
    assert "linux/amd64" in text
    assert "USER user" in text
