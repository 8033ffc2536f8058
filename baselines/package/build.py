"""Package a trained baseline as a container image that follows the challenge's protocol, and submits like any team."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.baselines import extras
from medpodium.baselines.checkpoints import read_content, weights_of
from medpodium.baselines.failures import BaselineCode, broken, refuse
from medpodium.baselines.models.record import Checkpoint, checkpoint_path, record_for, trained_folds
from medpodium.baselines.nnunet.prediction import use_fast_export
from medpodium.baselines.package.program import carry_trainer, try_out
from medpodium.challenges.campaign import folder as campaign
from medpodium.challenges.naming.patterns import format_name
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.protocol import ContainerProtocol

BASE = "pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime"
"""Base image for real use; any image with Python 3 and PyTorch will do."""
_CHUNK = 1 << 20
_USER = re.compile(r"[\w][\w.-]*(:[\w][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Packaged:
    """Result of packaging.

    Parameters
    ----------
    context : Path, optional
        Folder of the build context, where it was kept.
    image : str, optional
        Name of the built image.
    archive : Path, optional
        ``docker save`` archive.
    bytes : int
        Size of the archive.
    """

    context: Path | None
    image: str | None
    archive: Path | None
    bytes: int = 0


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
) -> Packaged:
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
    if not _USER.fullmatch(user):
        raise refuse(BaselineCode.PACKAGE, user, "is no user of an image", "give --user UID, UID:GID or a name")
    notes, task = record_for(challenge, model)
    protocol = challenge.containers[campaign.container_name(challenge, notes["task"])].for_task(notes["task"])
    settings = _settings(notes, task, protocol, channels or {})
    weights: Checkpoint = checkpoint or notes["settings"].get("checkpoint") or "final"
    chosen = trained_folds(model, folds, weights)
    with ExitStack() as stack:
        if context is None:
            target = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medpodium-")))
        else:
            target = context
            if target.exists() and any(target.iterdir()):
                raise refuse(BaselineCode.PACKAGE, target, "the folder is not empty", "choose a new folder")
        target.mkdir(parents=True, exist_ok=True)
        axes = _weights([checkpoint_path(model, fold, weights) for fold in chosen], model, target, trust=trust)
        settings |= {"folds": list(chosen), "mirror_axes": axes}
        settings["trainer_module"] = carry_trainer(settings["trainer"], model, target)
        _program(challenge, notes, protocol, settings, {"base": base, "user": user}, target)
        _readable(target)
        try_out(target, settings["trainer"])
        if not build:
            return Packaged(context, None, None)
        name = _image_name(protocol, team)
        _build(target, name, network)
        size = _save(name, out) if out is not None else 0
    return Packaged(context, name, out, size)


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


def _program(
    challenge: Challenge,
    notes: Mapping[str, Any],
    protocol: ContainerProtocol,
    settings: Mapping[str, Any],
    image: Mapping[str, str],
    target: Path,
) -> None:
    from jinja2 import Environment, StrictUndefined

    source = files("medpodium.baselines") / "templates"
    roots = {PurePosixPath(mount.path).parts[1] for mount in protocol.mounts}
    workdir = protocol.workdir or ("/workspace" if "workspace" in roots else "/opt/baseline")
    run = f"exec python3 {workdir}/predict.py"
    # A command of the protocol comes after the entry point, so that one has to be a plain pass-through
    entrypoint = ["python3", f"{workdir}/predict.py"] if protocol.command is None else []
    values = {
        "method": notes["settings"]["method"],
        "challenge": challenge.reference,
        "task": notes["task"],
        **image,
        "nnunet": version("nnunetv2"),
        "workdir": workdir,
        "entrypoint": json.dumps(entrypoint),
    }
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    for name in ("Dockerfile", "predict.py"):
        text = environment.from_string((source / f"{name}.j2").read_text(encoding="utf-8")).render(values)
        (target / name).write_text(text, encoding="utf-8", newline="\n")
    (target / ".dockerignore").write_text("Dockerfile\n.dockerignore\n", encoding="utf-8")
    (target / "predict.sh").write_text(f"#!/bin/sh\n{run}\n", encoding="utf-8", newline="\n")
    (target / "predict.sh").chmod(0o755)
    (target / "medpodium_parts").mkdir()
    for name in ("cores", "image_files", "networks"):
        part = files("medpodium.baselines.portable") / f"{name}.py"
        (target / "medpodium_parts" / f"{name}.py").write_text(part.read_text(encoding="utf-8"), encoding="utf-8")
    (target / "package.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _readable(folder: Path) -> None:
    """Let any user read the files: the hidden test runs as another, unprivileged one.

    Done here, because changing the modes inside the image would store the weights a second time.
    """
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def _image_name(protocol: ContainerProtocol, team: str) -> str:
    return (protocol.image_name or "{team}").replace("{team}", team.lower()).replace("\\", "") + ":latest"


def _build(context: Path, name: str, network: str | None) -> None:
    from docker.errors import APIError, BuildError

    from medpodium.containers.sandbox import engine

    client = engine.connect(timeout=3600)
    try:
        client.images.build(
            path=str(context), tag=name, rm=True, forcerm=True, platform="linux/amd64", network_mode=network
        )
    except BuildError as error:
        lines = [str(row.get("stream") or row.get("error") or "").strip() for row in error.build_log]
        last = next((line for line in reversed(lines) if line), str(error))
        fix = "choose another base image with --base, or build the folder of --context by hand"
        raise broken(BaselineCode.IMAGE_BUILD, name, last[:300], fix) from None
    except APIError as error:
        fix = "check that the engine can pull the base image, or choose a local one with --base"
        raise broken(BaselineCode.IMAGE_BUILD, name, str(error.explanation or error)[:300], fix) from None


def _save(name: str, out: Path) -> int:
    """Write the image as a compressed archive; a broken-off write leaves nothing behind."""
    from medpodium.containers.sandbox import engine

    client = engine.connect(timeout=3600)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".part")
    try:
        with _gzip(partial) if out.suffix == ".gz" else partial.open("wb") as stream:
            for chunk in client.images.get(name).save(chunk_size=_CHUNK, named=name):
                stream.write(chunk)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out.stat().st_size


def _gzip(path: Path) -> Any:
    """Open a compressed file for writing; layers of libraries and weights gain little from a higher level."""
    opener: Any
    try:
        from isal import igzip

        opener = igzip.open
    except ImportError:  # no wheel for this machine: the standard library takes ten times as long
        import gzip

        opener = gzip.open
    return opener(path, "wb", compresslevel=1)
