"""Package a baseline that is a command: its files, its model, and a program that follows the challenge's protocol."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.baselines.command.method import Method, answer_files, mentions, translation
from medpodium.baselines.command.train import files_digest, trained
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.package import image
from medpodium.challenges.campaign import folder as campaign
from medpodium.challenges.schema.baseline import PER_CASE
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.challenges.schema.task import TaskModel

_PARTS = ("cores", "image_files", "methods", "mounts")
_SKIPPED = shutil.ignore_patterns("__pycache__", ".git", ".medpodium", "medpodium.json")


@dataclass(frozen=True)
class Options:
    """How a command is packaged; what is left out is as the challenge file says.

    Parameters
    ----------
    model : Path, optional
        What ``{model}`` stands for; it is copied into the image.
    fold : int or "all"
        What ``{fold}`` stands for.
    base : str, optional
        Base image.
    user : str
        User of the image.
    channels : mapping of str to str
        Channel to role of the protocol's input, where the names differ.
    """

    model: Path | None = None
    fold: int | str = "all"
    base: str | None = None
    user: str = "root"
    channels: Mapping[str, str] = field(default_factory=dict)


def package_method(method: Method, options: Options, wish: image.Wish) -> image.Packaged:
    """Write the build context of a command, build it, have it look for what it needs, and save the image.

    Raises
    ------
    MedpodiumError
        If method, model, protocol and task do not go together, or the image cannot be built.
    """
    campaign.check_team(wish.team)
    image.check_user(options.user)
    own = method.baseline.package
    command = own.predict or method.baseline.predict or ()
    if options.model is None and mentions(command, "model"):
        fix = "give the folder of the model: medpodium baseline package MODEL --challenge ..."
        raise refuse(BaselineCode.NOT_TRAINED, f"baseline {method.name}", "predict needs {model}", fix)
    if options.model is not None:
        trained(method, options.model)
    files_digest(method)  # says which are not there
    container = campaign.container_name(method.challenge, method.task_name)
    protocol = method.challenge.containers[container].for_task(method.task_name)
    settings: dict[str, Any] = {
        "predict": list(command),
        "per_case": mentions(command, *PER_CASE),
        "whole": method.whole_table,
        "fold": options.fold,
        "inputs": _inputs(method.task, protocol, options.channels),
        "outputs": _outputs(method, protocol),
        "labels": translation(method),
    }
    with image.context_at(wish.context) as target:
        (target / "method").mkdir()
        for name in own.files:
            source, there = method.folder / name, target / "method" / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, there, ignore=_SKIPPED, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, there)
                there.chmod(source.stat().st_mode | 0o444)
        if options.model is not None:
            shutil.copytree(options.model, target / "model", ignore=_SKIPPED)
        values = {
            "method": method.baseline.method,
            "challenge": method.challenge.reference,
            "task": method.task_name,
            "base": options.base or own.base,
            "user": options.user,
            "setup": own.setup,
        }
        image.write_program(target, protocol, settings, values, ("Dockerfile.method.j2", "method.py.j2"), _PARTS)
        return image.finish(target, protocol, wish)


def _inputs(task: TaskModel, protocol: ContainerProtocol, channels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return where the program finds a case's files, and what they are called at home."""
    roles = {channels.get(name, name).casefold(): name for name in task.files.images}
    only = next(iter(task.files.images)) if len(task.files.images) == 1 else None
    found: list[dict[str, Any]] = []
    for mount, file in protocol.input_files:
        channel = roles.get(file.role.casefold())
        pattern = str(PurePosixPath(mount.path) / file.target)
        if "{case}" in pattern:
            name = task.files.images.get(channel, file.source) if channel else file.source
            found.append({"pattern": pattern, "name": name, "channel": channel, "optional": file.optional})
    required = [row for row in found if not row["optional"]]
    if only is not None and len(required) == 1 and all(row["channel"] is None for row in found):
        required[0] |= {"channel": only, "name": task.files.images[only]}
    if not found:
        cause = "no input of the container protocol belongs to a case"
        raise refuse(BaselineCode.PACKAGE, "mounts", cause, "let an input's target have {case}")
    return found


def _outputs(method: Method, protocol: ContainerProtocol) -> list[dict[str, Any]]:
    """Return the files to write, each with the challenge's own name of it."""
    wanted = answer_files(method)
    rules = {rule.stored: rule for rule in protocol.outputs}
    needed = [rule for rule in protocol.outputs if not rule.optional]
    if len(wanted) == len(needed) == 1 and next(iter(wanted)) not in rules:
        rules = {next(iter(wanted)): needed[0]}
    lacking = [name for name in wanted if name not in rules]
    if lacking:
        cause = f"the protocol's outputs {', '.join(rules)} do not hold {lacking[0]}"
        fix = "let 'stored_as' of the protocol's outputs agree with the task's files.prediction"
        raise refuse(BaselineCode.PACKAGE, "outputs", cause, fix)
    inside = PurePosixPath(protocol.output_mount.path)
    return [
        {"pattern": str(inside / rules[name].name), "from": name, "labels": labels} for name, labels in wanted.items()
    ]
