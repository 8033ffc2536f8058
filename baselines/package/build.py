"""Package a trained baseline as a container image that follows the challenge's protocol, and submits like any team."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.baselines import extras
from medpodium.baselines.checkpoints import read_content, weights_of
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.models.record import Checkpoint, checkpoint_path, record_for, trained_folds
from medpodium.baselines.nnunet.prediction import use_fast_export
from medpodium.baselines.package import image
from medpodium.baselines.package.program import carry_trainer, try_out
from medpodium.challenges.campaign import folder as campaign
from medpodium.challenges.naming.patterns import format_name
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.protocol import ContainerProtocol

BASE = "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime"
"""Base image for real use; any image with Python 3 and PyTorch will do."""


def package(
    challenge: Challenge,
    model: Path,
    *,
    out: Path | None,
    context: Path | None = None,
    team: str = "baseline",
    base: str = BASE,
    folds: Sequence[int | str] | None = None,
    build: bool = True,
    channels: Mapping[str, str] | None = None,
    network: str | None = None,
    checkpoint: Checkpoint | None = None,
    user: str = "root",
    trust: bool = False,
) -> image.Packaged:
    """Write the build context of a trained model, try its program out, build it and save the image.

    Parameters
    ----------
    challenge : Challenge
        Its container protocol is followed.
    model : Path
        Folder that ``train`` printed.
    out : Path, optional
        Archive to write, ``team.tar.gz``; none when only the image or the context is wanted.
    context : Path, optional
        Folder for the build context, absent or empty; a temporary one when left out.
    team : str
        Name in the image's name.
    base : str
        Base image.
    folds : sequence, optional
        Folds to put in; every trained one when left out.
    build : bool
        Whether to build; False writes the context only.
    channels : mapping of str to str, optional
        Channel of the model to role of the protocol's input, where the names differ.
    network : str, optional
        Network of the build: ``none`` for a base image that has nnU-Net, ``host``; the engine's own when left out.
    checkpoint : {"final", "best", "latest"}, optional
        Weights of each fold; those that the model was noted with when left out.
    user : str
        User of the image. Many a protocol mounts an output folder that only root may write; where a sandbox sets a
        user, as this one does, the image's own does not matter.
    trust : bool
        Unpickle objects in checkpoints.

    Raises
    ------
    MedpodiumError
        If the model, the protocol and the task do not go together, or the image cannot be built.
    """
    extras.require_nnunet()
    campaign.check_team(team)
    image.check_user(user)
    notes, task = record_for(challenge, model)
    protocol = challenge.containers[campaign.container_name(challenge, notes["task"])].for_task(notes["task"])
    settings = _settings(notes, task, protocol, channels or {})
    weights: Checkpoint = checkpoint or notes["settings"].get("checkpoint") or "final"
    chosen = trained_folds(model, folds, weights)
    with image.context_at(context) as target:
        axes = _weights([checkpoint_path(model, fold, weights) for fold in chosen], model, target, trust=trust)
        settings |= {"folds": list(chosen), "mirror_axes": axes}
        settings["trainer_module"] = carry_trainer(settings["trainer"], model, target)
        values = {
            "method": notes["settings"]["method"],
            "challenge": challenge.reference,
            "task": notes["task"],
            "base": base,
            "user": user,
            "nnunet": version("nnunetv2"),
        }
        parts = ("cores", "image_files", "mounts", "networks")
        image.write_program(target, protocol, settings, values, ("Dockerfile.j2", "predict.py.j2"), parts)
        try_out(target, settings["trainer"])
        return image.finish(target, protocol, image.Wish(out, context, team, network, build))


def _settings(
    notes: Mapping[str, Any], task: SegmentationTask, protocol: ContainerProtocol, channels: Mapping[str, str]
) -> dict[str, Any]:
    used = notes["settings"]
    resampling: dict[str, Any] = {}
    if used["fast_export"]:
        use_fast_export(resampling)
    return {
        "configuration": used["configuration"],
        "trainer": used["trainer"],
        "step_size": used["step_size"],
        "mirroring": used["mirroring"],
        "resampling": resampling,
        "values": notes["values"],
        "zeros": notes.get("missing_channel") == "zero",
        "inputs": [_input(name, protocol, channels, len(notes["channels"])) for name in notes["channels"]],
        "outputs": _outputs(task, protocol),
    }


def _input(channel: str, protocol: ContainerProtocol, channels: Mapping[str, str], count: int) -> str:
    """Return where the container finds a channel: by the role of the same name, or the only required input."""
    role = channels.get(channel, channel).casefold()
    inputs = list(protocol.input_files)
    found = [(mount, file) for mount, file in inputs if file.role.casefold() == role]
    required = [(mount, file) for mount, file in inputs if not file.optional]
    if not found and count == 1 and len(required) == 1 and channel not in channels:
        found = required
    if len(found) != 1:
        roles = ", ".join(file.role or file.target for _, file in inputs)
        fix = f"say which input it is with --channel {channel}=ROLE; roles: {roles}"
        raise refuse(BaselineCode.PACKAGE, channel, "no input of the container protocol is this channel", fix)
    mount, file = found[0]
    return str(PurePosixPath(mount.path) / file.target)


def _outputs(task: SegmentationTask, protocol: ContainerProtocol) -> list[dict[str, Any]]:
    """Return the files to write: the whole label map, or the labels of one structure per file."""
    wanted: dict[str, list[int] | None] = {}
    pattern = task.files.prediction
    if "{structure}" in pattern:
        for name, item in task.structures.items():
            wanted[format_name(pattern, {"case": "{case}", "structure": item.file or name})] = sorted(item.labels)
    else:
        wanted[pattern] = None
    masks = [rule for rule in protocol.outputs if rule.kind == "mask"]
    found = [
        {"pattern": str(PurePosixPath(protocol.output_mount.path) / rule.name), "labels": wanted[rule.stored]}
        for rule in masks
        if rule.stored in wanted
    ]
    needed = [rule for rule in masks if not rule.optional]
    if len(found) < len(wanted) and len(needed) == len(wanted) == 1:
        found = [{"pattern": str(PurePosixPath(protocol.output_mount.path) / needed[0].name), "labels": None}]
    if len(found) < len(wanted):
        cause = f"the protocol's outputs {', '.join(rule.stored for rule in masks)} do not hold {pattern}"
        fix = "let 'stored_as' of the protocol's outputs agree with the task's files.prediction"
        raise refuse(BaselineCode.PACKAGE, "outputs", cause, fix)
    return found


def _weights(paths: Sequence[Path], model: Path, target: Path, *, trust: bool) -> list[int] | None:
    """Copy plans and weights; the optimizer's state stays behind, which more than halves the size.

    Returns
    -------
    list of int, optional
        The axes along which predictions are mirrored, as the first fold's training allows; ``None`` for none.
    """
    import torch

    (target / "model").mkdir()
    for name in ("plans.json", "dataset.json"):
        shutil.copyfile(model / name, target / "model" / name)
    mirrored: list[list[int] | None] = []
    for path in paths:
        content = read_content(path, trust=trust)
        axes = content.get("inference_allowed_mirroring_axes")
        mirrored.append(None if axes is None else list(axes))
        torch.save(weights_of(content, path), target / "model" / f"{path.parent.name}.pth")
    return mirrored[0]
