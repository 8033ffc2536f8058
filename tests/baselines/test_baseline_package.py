"""The container side of a packaged baseline: inputs and outputs of the built-in protocols."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from medpodium.baselines.package import build as package
from medpodium.challenges import registry
from medpodium.challenges.campaign import folder as campaign
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import UsageError


def sides(reference: str, task_name: str, channels: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
    challenge = registry.load(reference)
    task = challenge.tasks[task_name]
    assert isinstance(task, SegmentationTask)
    protocol = challenge.containers[campaign.container_name(challenge, task_name)].for_task(task_name)
    inputs = [package._input(name, protocol, {}, len(channels)) for name in channels]
    return inputs, package._outputs(task, protocol)


def test_flare() -> None:
    inputs, outputs = sides("flare-pancancer/2023", "segmentation", ["ct"])
    assert inputs == ["/workspace/inputs/{case}_0000.nii.gz"]
    assert outputs == [{"pattern": "/workspace/outputs/{case}.nii.gz", "labels": None}]


def test_touchstone_writes_a_file_per_structure() -> None:
    _, outputs = sides("touchstone", "segmentation", ["ct"])
    assert len(outputs) == 9
    assert {"pattern": "/workspace/outputs/{case}/predictions/liver.nii.gz", "labels": [5]} in outputs


def test_feta() -> None:
    inputs, outputs = sides("feta/2022", "segmentation", ["t2w"])
    assert inputs == ["/input_img/anat/{case}_rec-{rec}_T2w.nii.gz"]
    assert outputs == [{"pattern": "/output/{case}_seg_result.nii.gz", "labels": None}]


def test_liqa_keeps_the_vendors_folder() -> None:
    inputs, outputs = sides("liqa/2025", "liseg-ged4", ["ged4"])
    assert inputs == ["/input/{vendor}/{case}/GED4.nii.gz"]
    assert outputs == [{"pattern": "/output/LiSeg_pred/{case}/GED4_pred.nii.gz", "labels": None}]


def test_an_unknown_channel_is_asked_for() -> None:
    with pytest.raises(UsageError, match="--channel flair=ROLE; roles: GED4, GED1"):
        sides("liqa/2025", "liseg-ged4", ["ged4", "flair"])


def test_a_model_of_another_challenge_is_refused(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    from medpodium.baselines import extras

    if find_spec("nnunetv2") is None:
        monkeypatch.setattr(extras, "find_spec", lambda name: object())
    (tmp_path / "medpodium.json").write_text('{"challenge": "feta/2022", "task": "segmentation"}')
    answer = run(
        "baseline", "package", tmp_path, "--challenge", "touchstone", "--context", tmp_path / "c", "--no-build", code=2
    )
    assert "was trained for feta/2022" in answer["findings"][0]["cause"]
