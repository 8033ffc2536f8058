"""Package a trained baseline as a container image that follows the challenge's protocol, and submits like any team."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.baselines import extras
from medpodium.baselines.checkpoints import read_content, weights_of
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.models.record import Checkpoint, Member, members_of, record_for
from medpodium.baselines.nnunet.prediction import use_fast_export
from medpodium.baselines.nnunet.workspace import TRAINERS
from medpodium.baselines.package import image
from medpodium.baselines.package.program import carry_trainer, try_out
from medpodium.baselines.portable import networks
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
    members = members_of(model, notes, folds, checkpoint)
    with image.context_at(context) as target:
        (target / "model").mkdir()
        carried: list[dict[str, Any]] = []
        settings["averaged"] = [_carry(member, target, carried, trust=trust) for member in members]
        settings["networks"] = carried
        values = {
            "method": notes["settings"]["method"],
            "challenge": challenge.reference,
            "task": notes["task"],
            "base": base,
            "user": user,
        }
        image.lock(target, "nnunetv2")
        parts = ("cores", "image_files", "lazily", "mounts", "networks", "segment")
        image.write_program(target, protocol, settings, values, ("Dockerfile.j2", "predict.py.j2"), parts)
        try_out(target, members[0].trainer)
        return image.finish(target, protocol, image.Wish(out, context, team, network, build))


def _settings(
    notes: Mapping[str, Any], task: SegmentationTask, protocol: ContainerProtocol, channels: Mapping[str, str]
) -> dict[str, Any]:
    used = notes["settings"]
    resampling: dict[str, Any] = {}
    if used["fast_export"]:
        use_fast_export(resampling)
    return {
        "step_size": used["step_size"],
        "mirroring": used["mirroring"],
        "resampling": resampling,
        "values": notes["values"],
        "postprocessing": notes.get("postprocessing", []),
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


def _carry(member: Member, target: Path, carried: list[dict[str, Any]], *, trust: bool) -> int:
    """Copy plans, weights and trainer of a network, and of those before it in a cascade; return its number.

    The optimizer's state stays behind, which more than halves the size.
    """
    import torch

    previous = None if member.previous is None else _carry(member.previous, target, carried, trust=trust)
    number = len(carried)
    folder = target / "model" / str(number)
    folder.mkdir()
    for name in ("plans.json", "dataset.json"):
        shutil.copyfile(member.folder / name, folder / name)
    axes: list[list[int] | None] = []
    for path in member.checkpoints():
        content = read_content(path, trust=trust)
        mirrored = content.get("inference_allowed_mirroring_axes")
        axes.append(None if mirrored is None else list(mirrored))
        torch.save(weights_of(content, path), folder / f"{path.parent.name}.pth")
    module = carry_trainer(member.trainer, member.folder, target)
    carried.append(
        {
            "configuration": member.configuration,
            "trainer": member.trainer,
            "trainer_module": module,
            "light": module is None or networks.locate(member.trainer, [TRAINERS]) is not None,
            "folds": list(member.folds),
            "mirror_axes": axes[0],
            "previous": previous,
        }
    )
    return number
