"""Export a challenge's scorer for MedPerf: an evaluator (metrics) container and its ``container_config.yaml``.

Source: mlcommons/medperf, ``cli/medperf/containers/parsers``, ``cli/medperf/templates/evaluator_container`` and
``cli/medperf/commands/execution/container_execution.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medpodium.challenges.sources import package_version
from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.source import BASE_IMAGE, Source
from medpodium.scoring.exchange import files

VOLUMES = "/mlcommons/volumes"
IMAGE = "medpodium-evaluator:1"


def export(
    source: Source,
    out: Path,
    *,
    image: str = IMAGE,
    base_image: str = BASE_IMAGE,
) -> list[Path]:
    """Write the evaluator's build folder, its configuration, and the labels in the layout it reads.

    On MedPerf the references stay with the owner of the data: ``labels/`` is what a data owner prepares, and is no
    part of the image.

    Parameters
    ----------
    source : Source
        Rules, references, cases.
    out : Path
        A folder that is absent or empty.
    image : str
        Name under which the image will be pushed.
    base_image : str
        Image with Python 3.10 or newer.
    """
    challenge, task = source.challenge, source.task
    from ruamel.yaml import YAML

    files.new_folder(out)
    source.write_truth(out / "labels")
    project = out / "project"
    bundle.write_program(project)
    values = {
        "version": package_version(),
        "title": challenge.title,
        "task": task,
        "image": image,
        "base_image": base_image,
        "imports": bundle.imports(challenge.tasks[task]),
    }
    (project / "Dockerfile").write_text(
        bundle.template("medperf.Dockerfile.j2", values), encoding="utf-8", newline="\n"
    )
    (out / "README.md").write_text(bundle.template("medperf.README.md.j2", values), encoding="utf-8", newline="\n")
    with (out / "container_config.yaml").open("w", encoding="utf-8", newline="\n") as stream:
        YAML(typ="safe", pure=True).dump(configuration(image), stream)
    return sorted(out.iterdir())


def configuration(image: str) -> dict[str, Any]:
    """Return ``container_config.yaml`` of an evaluator: predictions and labels in, ``results.yaml`` out."""

    def volume(place: str, kind: str = "directory") -> dict[str, str]:
        return {"mount_path": f"{VOLUMES}/{place}", "type": kind}

    return {
        "container_type": "DockerImage",
        "image": image,
        "tasks": {
            "evaluate": {
                "input_volumes": {"predictions": volume("predictions"), "labels": volume("labels")},
                "output_volumes": {"output_path": volume("results/results.yaml", "file")},
            }
        },
    }
