"""The container side of a packaged baseline: inputs and outputs of the built-in protocols, and a run in the sandbox."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from medpodium.baselines import package
from medpodium.challenges import campaign, registry
from medpodium.challenges.definition import SegmentationTask
from medpodium.challenges.findings import UsageError


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


@pytest.mark.docker
@pytest.mark.nnunet
@pytest.mark.slow
def test_a_packaged_baseline_is_scored_in_the_sandbox(
    nnunet_installed: None, docker_engine: Any, tiny: Any, run: Any, tmp_path: Path
) -> None:
    """Built on a local base image, run under the sandbox's own limits and scored.

    Needs a base image with PyTorch and nnU-Net: MEDPODIUM_BASELINE_BASE names one, else it is made from this
    machine's site-packages where PyTorch is the CPU build (about 2 GB; the CUDA build has 7 GB, too much for a test).
    """
    import site

    import torch

    base = os.environ.get("MEDPODIUM_BASELINE_BASE", "")
    if not base:
        if torch.version.cuda is not None:
            pytest.skip("PyTorch is the CUDA build; set MEDPODIUM_BASELINE_BASE to an image with nnU-Net")
        import importlib.util

        spec = importlib.util.spec_from_file_location("base_image", Path(__file__).with_name("base_image.py"))
        assert spec is not None
        assert spec.loader is not None
        maker = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(maker)
        base = "medpodium-test-baseline-base:latest"
        maker.build(docker_engine, Path(site.getsitepackages()[0]), base)
    workspace = tmp_path / "ws"
    run("baseline", "plan", tiny.challenge, "--images", tiny.images, "--labels", tiny.labels, "--workspace", workspace)
    quick = ("--epochs", 1, "--iterations", 1, "--device", "cpu", "--no-validation")
    model = run("baseline", "train", tiny.challenge, "--workspace", workspace, *quick)["model"]
    made = run("baseline", "package", model, "--challenge", tiny.challenge, "--team", "reference", "--base", base,
               "--network", "none")  # fmt: skip
    verdict = run("check", "image", tiny.challenge, made["image"], "--team", "reference", "--cases", tiny.test_images,
                  "--references", tiny.references)  # fmt: skip
    assert verdict
    docker_engine.images.remove(made["image"], force=True)


def test_a_model_of_another_challenge_is_refused(tmp_path: Path, run: Any, monkeypatch: Any) -> None:
    from medpodium.baselines import extras

    if find_spec("nnunetv2") is None:
        monkeypatch.setattr(extras, "find_spec", lambda name: object())
    (tmp_path / "medpodium.json").write_text('{"challenge": "feta/2022", "task": "segmentation"}')
    answer = run(
        "baseline", "package", tmp_path, "--challenge", "touchstone", "--context", tmp_path / "c", "--no-build", code=2
    )
    assert "was trained for feta/2022" in answer["findings"][0]["cause"]
