"""The jobs of a submission on grand-challenge: ``predictions.json`` and the files it names.

Jobs come in any order, and only for inputs whose algorithm ran; they are matched to cases by the name of the input
image.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.task import TaskModel
from medpodium.findings import Finding, MedpodiumError, UsageError
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.masks.reader import EXTENSIONS

SUCCEEDED = "Succeeded"


@dataclass
class Jobs:
    """What the jobs of one submission left.

    Parameters
    ----------
    files : dict of str to Path
        Output file of every case that has exactly one.
    failures : dict of str to str
        Case to the code of why it has none.
    times : dict of str to float
        Case to how long its job ran, in seconds (``exec_duration``).
    findings : list of Finding
        Everything odd.
    """

    files: dict[str, Path] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def fail(self, case: str, code: PlatformCode, where: str, cause: str, fix: str) -> None:
        """Note why a case has no output."""
        self.failures[case] = str(code)
        self.findings.append(Finding(code, where, f"case {case}: {cause}", fix))


def read_jobs(folder: Path, cases: Iterable[str], task: TaskModel, output: str | None = None) -> Jobs:
    """Read ``predictions.json`` and find the output file of every case.

    Parameters
    ----------
    folder : Path
        Holds ``predictions.json`` and ``<pk>/output/...``.
    cases : iterable of str
        Names of the cases that are scored.
    task : TaskModel
        Its image file patterns tell the case from the image's name.
    output : str, optional
        Slug of the socket of the segmentation; the only image output when left out.

    Raises
    ------
    UsageError
        If ``predictions.json`` is no list of jobs.
    """
    path = folder / "predictions.json"
    try:
        jobs = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
            raise ValueError("is no list of jobs")
    except (OSError, ValueError) as error:
        cause = str(error).split("\n")[0]
        fix = "give the folder that holds predictions.json and the jobs' outputs"
        raise UsageError(Finding(PlatformCode.PREDICTIONS_JSON, str(path), cause, fix)) from None
    known = list(cases)
    found = Jobs()
    by_case: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        names = image_names(job)
        case = next((case for name in names if (case := case_of(name, known, task))), None)
        if case is None:
            where = f"job {job.get('pk')}"
            cause = f"its input image {', '.join(names) or '(none)'} belongs to no case"
            fix = "name the archive's images after the cases of the references"
            found.findings.append(Finding(PlatformCode.CASE_UNKNOWN, where, cause, fix))
        else:
            by_case[case].append(job)
    for case in known:
        _take(folder, case, by_case.get(case, []), output, found)
    return found


def _take(folder: Path, case: str, jobs: list[dict[str, Any]], output: str | None, found: Jobs) -> None:
    if not jobs:
        fix = "see the logs of the submission's jobs on the platform"
        found.findings.append(Finding(PlatformCode.JOB_MISSING, case, f"case {case}: there is no job for it", fix))
        return
    done = [job for job in jobs if job.get("status", SUCCEEDED) == SUCCEEDED]
    where = f"job {jobs[0].get('pk')}"
    if len(done) > 1:
        found.fail(case, PlatformCode.JOB_TWICE, where, f"{len(done)} jobs succeeded for it", "keep one job per case")
    elif not done:
        cause = f"the job ended as {jobs[0].get('status')!r}"
        found.fail(case, PlatformCode.JOB_FAILED, where, cause, "see the job's log on the platform")
    else:
        seconds = duration(done[0].get("exec_duration"))
        if seconds is not None:
            found.times[case] = seconds
        try:
            found.files[case] = output_file(folder, done[0], output)
        except MedpodiumError as error:
            problem = error.findings[0]
            found.failures[case] = str(problem.code)
            found.findings += error.findings


def duration(value: object) -> float | None:
    """Return the seconds of a duration as the platform writes it; ``None`` where there is none.

    Django's ISO 8601 (``P0DT00H01M23.456000S``), its older form (``1 02:03:04.5``), or a number of seconds.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) and value >= 0 else None
    match = _ISO.fullmatch(str(value)) or _CLOCK.fullmatch(str(value))
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


_ISO = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_CLOCK = re.compile(r"(?:(\d+) )?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def image_names(job: Mapping[str, Any]) -> list[str]:
    """Return the names of a job's input images."""
    names = []
    for item in job.get("inputs") or []:
        image = item.get("image") if isinstance(item, dict) else None
        if isinstance(image, dict) and isinstance(image.get("name"), str):
            names.append(image["name"])
    return names


def bare_case(name: str, task: TaskModel) -> str:
    """Return the case that an image's name stands for, where the cases are not known."""
    stem = _stem(PurePosixPath(name).name)
    for pattern in task.files.images.values():
        before, _, after = _stem(PurePosixPath(pattern).name).partition("{case}")
        if (before or after) and stem.startswith(before) and stem.endswith(after):
            return stem[len(before) : len(stem) - len(after)]
    return stem.removesuffix("_0000")


def case_of(name: str, cases: Iterable[str], task: TaskModel) -> str | None:
    """Return the case an image belongs to, by its name without the format's ending, or ``None``."""
    known = set(cases)
    stem = _stem(PurePosixPath(name).name)
    if stem in known:
        return stem
    for pattern in task.files.images.values():
        before, _, after = _stem(PurePosixPath(pattern).name).partition("{case}")
        if before or after:
            inner = stem.removeprefix(before).removesuffix(after)
            if stem == f"{before}{inner}{after}" and inner in known:
                return inner
    # nnU-Net's channel suffix, which most image archives carry
    return stem.removesuffix("_0000") if stem.removesuffix("_0000") in known else None


def _stem(name: str) -> str:
    for ending in EXTENSIONS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def output_file(folder: Path, job: Mapping[str, Any], slug: str | None = None) -> Path:
    """Return the one segmentation file that a job wrote.

    Raises
    ------
    MedpodiumError
        If there is none, more than one, or its path leads out of the job's folder.
    """
    where = f"job {job.get('pk')}"
    items = [item for item in job.get("outputs") or [] if isinstance(item, dict)]
    described = [item.get("interface") or item.get("socket") for item in items]  # newer files say socket
    sockets = [one for one in described if isinstance(one, dict) and one.get("super_kind") in ("Image", "File")]
    chosen = [one for one in sockets if one.get("slug") == slug] or sockets
    if len(chosen) != 1:
        cause = f"{len(chosen)} outputs could be the segmentation"
        fix = "give the phase one image output, or export with --output-slug"
        raise MedpodiumError(Finding(PlatformCode.OUTPUT_AMBIGUOUS, where, cause, fix))
    relative = PurePosixPath(str(job.get("pk")), "output", str(chosen[0].get("relative_path")))
    if relative.is_absolute() or ".." in relative.parts:
        fix = "do not edit predictions.json"
        raise MedpodiumError(Finding(PlatformCode.PATH_UNSAFE, where, f"path {str(relative)!r}", fix))
    place = folder / relative
    if place.is_file() and not place.is_symlink():
        return place
    inside = sorted(place.iterdir()) if place.is_dir() and not place.is_symlink() else []
    inside = [path for path in inside if not is_hidden(path.name)]
    files = [path for path in inside if path.name.lower().endswith(formats.VOLUMES)]
    files = files or [path for path in inside if path.name.lower().endswith(EXTENSIONS)]  # a picture may be a preview
    if len(files) != 1:
        code = PlatformCode.OUTPUT_AMBIGUOUS if files else PlatformCode.OUTPUT_MISSING
        cause = f"{len(files)} masks in {relative}"
        raise MedpodiumError(Finding(code, where, cause, "write exactly one .mha file per job"))
    return files[0]
