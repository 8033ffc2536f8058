"""Write a starter kit: a Dockerfile and an example segmenter that follow a challenge's container protocol."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign.folder import CampaignCode, container_name
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.findings import Finding, UsageError
from medpodium.scoring.kinds.lookup import of


def write(challenge: Challenge, folder: Path, *, task: str | None = None, base: str = "python:3.11-slim") -> list[str]:
    """Write the starter kit of a challenge.

    Parameters
    ----------
    challenge : Challenge
        Its container protocol is followed.
    folder : Path
        A folder that is absent or empty.
    task : str, optional
        Task or container protocol, where there are several.
    base : str
        Base image; needs Python 3 with numpy, or pip to install it.

    Returns
    -------
    list of str
        The files written.
    """
    from jinja2 import Environment, StrictUndefined

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(Finding(CampaignCode.EXISTS, str(folder), "the folder is not empty", "choose a new folder"))
    container = container_name(challenge, task)
    protocol = challenge.containers[container]
    values = _values(challenge, container, protocol, base)
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    source = files("medpodium.containers") / "templates"
    for name in ("Dockerfile", "segment.py", "predict.sh", "README.md", "protocol.json"):
        if name == "predict.sh" and values["script"] is None:
            continue
        if name == "protocol.json":
            text = json.dumps(values["protocol"], indent=1)
        else:
            text = environment.from_string((source / f"{name}.j2").read_text(encoding="utf-8")).render(values)
        target = folder / (Path(values["script"]).name if name == "predict.sh" else name)
        target.write_text(text, encoding="utf-8", newline="\n")
        written.append(str(target))
    return written


def _values(challenge: Challenge, container: str, protocol: ContainerProtocol, base: str) -> dict[str, Any]:
    inputs = [
        {"pattern": f"{mount.path.rstrip('/')}/{file.target}", "role": file.role, "optional": file.optional}
        for mount, file in protocol.input_files
    ]
    tables = [of(task).answer_columns(task) for task in challenge.tasks.values()]
    columns = next(filter(None, tables), [])
    outputs = [
        {
            "pattern": f"{protocol.output_mount.path.rstrip('/')}/{rule.name}",
            "kind": rule.kind,
            "optional": rule.optional,
            "columns": columns if rule.kind == "table" else [],
        }
        for rule in protocol.outputs
    ]
    team = "team"
    tag = (protocol.image_name or "{team}").replace("{team}", team).replace("\\", "")
    archive = (
        (protocol.archive_name or "{team}.tar.gz").replace("{team}", team).replace("\\", "").replace("(.gz)?", ".gz")
    )
    return {
        "challenge": challenge.reference,
        "title": challenge.title,
        "container": container,
        "several": len(challenge.containers) > 1,
        "base": base,
        "command": protocol.command,
        "script": _script(protocol),
        "workdir": _workdir(protocol),
        "limits": protocol.limits,
        "per": protocol.per,
        "tag": tag,
        "archive": archive,
        "protocol": {"inputs": inputs, "outputs": outputs, "per": protocol.per},
    }


def _script(protocol: ContainerProtocol) -> str | None:
    """Return the path of the shell script that the protocol's command starts, if it starts one."""
    words = " ".join(protocol.command or ()).split()
    scripts = [word for word in words if word.endswith(".sh")]
    if not scripts:
        return None if protocol.command is None else words[0]
    return scripts[0]


def _workdir(protocol: ContainerProtocol) -> str:
    """Return where the image keeps its program: where the protocol's command looks for it."""
    if protocol.workdir:
        return protocol.workdir
    roots = {Path(mount.path).parts[1] for mount in protocol.mounts}
    return "/workspace" if "workspace" in roots else "/opt/submission"
