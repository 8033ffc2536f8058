"""Export a challenge's scorer for grand-challenge: evaluation container, ground truth, phase settings, pack context."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.sources import package_version
from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.grand_challenge.scorer import UPLOAD
from medpodium.containers.platforms.source import BASE_IMAGE, Source
from medpodium.findings import Finding, UsageError
from medpodium.scoring.exchange import files
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.exchange.platforms import payload

PLATFORM_URL = "https://grand-challenge.org"


def export(
    source: Source,
    out: Path,
    *,
    base_image: str = BASE_IMAGE,
    input_slug: str | None = None,
    output_slug: str | None = None,
    uploads: bool = False,
) -> list[Path]:
    """Write everything a phase of grand-challenge needs.

    Parameters
    ----------
    source : Source
        Rules, references, cases.
    out : Path
        A folder that is absent or empty.
    base_image : str
        Image with Python 3.10 or newer as ``python``; libraries it lacks are installed with pip.
    input_slug, output_slug : str, optional
        Slugs of the phase's sockets for the input image and the segmentation.
    uploads : bool
        The phase takes files with predictions (a zip, or the one table that the task asks for), not algorithms.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError
        If the task is no segmentation, or there is nothing to score against.
    """
    challenge, task = source.challenge, source.task
    if KINDS[challenge.tasks[task].kind].layout != "files" and not uploads:
        cause = f"task {task!r} is a {challenge.tasks[task].kind} task: one job per case cannot answer it"
        fix = "add --uploads for a phase that takes predictions, or use 'medpodium export codabench' or 'synapse'"
        raise UsageError(Finding(PlatformCode.TASK_KIND, challenge.reference, cause, fix))
    files.new_folder(out)
    slug = _slug(f"{challenge.name}-{challenge.edition}-{task}")
    sockets: dict[str, Any] = {
        "submission": UPLOAD if uploads else "algorithm",
        "input": _socket(input_slug or f"{slug}-image", "Image"),
        "output": _socket(output_slug or f"{slug}-segmentation", "Segmentation"),
    }
    truth = out / "ground_truth"
    source.write_truth(truth)
    (truth / "sockets.json").write_text(json.dumps(sockets, indent=1) + "\n", encoding="utf-8", newline="\n")
    bundle.write_program(out)
    values = {
        "title": challenge.title,
        "task": task,
        "slug": slug,
        "version": package_version(),
        "base_image": base_image,
        "imports": bundle.imports(challenge.tasks[task]),
        "uploads": uploads,
    }
    for name, target in (
        ("grand-challenge.Dockerfile.j2", "Dockerfile"),
        ("grand-challenge.start.sh.j2", "start.sh"),
        ("grand-challenge.README.md.j2", "README.md"),
        ("grand-challenge.test_run.sh.j2", "test_run.sh"),
    ):
        (out / target).write_text(bundle.template(name, values), encoding="utf-8", newline="\n")
    (out / "test_run.sh").chmod(0o755)
    payload.write_json(phase_settings(challenge, task, uploads=uploads), out / "phase_settings.json")
    if not uploads:  # a starter kit is about algorithms
        payload.write_json(pack_context(challenge, slug, sockets), out / "pack-context.json")
    return sorted(out.iterdir())


def phase_settings(challenge: Challenge, task: str, *, uploads: bool = False) -> dict[str, Any]:
    """Return the settings of a phase: where its score is, how it is sorted, and the further columns."""
    first, *others = payload.columns(challenge, task, timed=not uploads)
    return {
        "submission_kind": "Predictions" if uploads else "Algorithm",
        "score_title": first.title,
        "score_jsonpath": first.path,
        "score_error_jsonpath": "",
        "score_default_sort": "asc" if first.ascending else "desc",
        "score_decimal_places": 4,
        "scoring_method_choice": "abs",
        "result_display_choice": "all",
        "extra_results_columns": [
            {
                "path": column.path,
                "order": "asc" if column.ascending else "desc",
                "title": column.title,
                "error_path": "",
                "exclude_from_ranking": True,
            }
            for column in others
        ],
    }


def pack_context(challenge: Challenge, slug: str, sockets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the context from which grand-challenge-forge makes the participants' starter kit."""
    archive = {"slug": f"{slug}-archive", "url": f"{PLATFORM_URL}/archives/{slug}-archive/"}
    phase = {
        "slug": slug,
        "archive": archive,
        "algorithm_interfaces": [{"inputs": [sockets["input"]], "outputs": [sockets["output"]]}],
        "evaluation_additional_inputs": [],
        "evaluation_additional_outputs": [],
    }
    name = _slug(challenge.name)
    return {
        "challenge": {
            "slug": name,
            "url": f"https://{name}.grand-challenge.org/",
            "phases": [phase],
            "archives": [archive],
        }
    }


def _socket(slug: str, kind: str) -> dict[str, Any]:
    path = f"images/{slug}"
    return {"slug": slug, "kind": kind, "super_kind": "Image", "relative_path": path, "example_value": None}


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
