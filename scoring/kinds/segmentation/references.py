"""Whether references can be scored against: readable, on one grid, with no label but the schema's, not empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Code, Finding, MedpodiumError, Severity
from medpodium.scoring.kinds.protocol import CaseJob, ReferenceCheck, ScoreCode
from medpodium.scoring.kinds.segmentation.measures import Volume
from medpodium.scoring.kinds.segmentation.plane import extent_of, is_planar
from medpodium.scoring.kinds.segmentation.segments import named_volume
from medpodium.scoring.kinds.segmentation.volumes import asked_structures, place_of, read_structure_files
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.labels import mark_labels
from medpodium.scoring.masks.named import read_segments
from medpodium.scoring.masks.reader import open_mask

_SHOWN = 8


class ReferenceCode(Code):
    """What can be wrong with the references of a segmentation task."""

    LABEL_UNKNOWN = "reference-label-unknown"
    """A reference has a label that the challenge file does not know."""
    STRUCTURE_EMPTY = "reference-structure-empty"
    ALL_EMPTY = "references-empty"


def check_reference(job: CaseJob) -> ReferenceCheck:
    """Read every voxel of a case's reference once and say what is wrong with it."""
    task: SegmentationTask = job.task
    findings: list[Finding] = []
    try:
        if isinstance(job.reference, Path):
            present, grid = _present(task, job.reference, findings)
            findings += wrong_labels(task, present, str(job.reference))
        else:
            found = read_structure_files(job.reference, task)
            findings += found.findings
            present, grid = {0}, found.geometry
            for name, structure in found.structures.items():
                if structure.array.any():
                    present |= task.structures[name].labels
            findings += _lacking(job, place_of(job.reference))
        is_planar(task, grid, place_of(job.reference))
    except MedpodiumError as error:
        return ReferenceCheck([*findings, *error.findings])
    scored = task.scored_structures(job.case)
    empty = frozenset(name for name in scored if not task.structures[name].labels & present)
    return ReferenceCheck(findings, empty, scored, extent_of(grid))


def wrong_labels(task: SegmentationTask, present: Iterable[int], where: str) -> list[Finding]:
    """Report labels of a reference that the schema does not know.

    They are an error: whoever is right would lose by them. Where the task says that such labels are background
    (``unknown_labels: ignore``) they are only that, unless the reference holds nothing else.
    """
    present = set(present)
    unknown = sorted(present - task.known_labels)
    if not unknown:
        return []
    known = frozenset[int]().union(*(item.labels for item in task.structures.values()))
    harmless = task.unknown_labels == "ignore" and bool(present & known)
    shown = ", ".join(map(str, unknown[:_SHOWN])) + ("..." if len(unknown) > _SHOWN else "")
    several = "s" if len(unknown) > 1 else ""
    cause = f"the reference has the label{several} {shown}, which no structure of the challenge has"
    if harmless:
        cause += ", and counts as background there (unknown_labels: ignore)"
    fix = f"correct the reference (labels are {', '.join(map(str, sorted(task.known_labels)))}), or declare the label"
    fix += " as a structure, under extra_labels or under ignore_labels"
    severity = Severity.WARNING if harmless else Severity.ERROR
    return [Finding(ReferenceCode.LABEL_UNKNOWN, where, cause, fix, severity)]


def tell_empty(task: SegmentationTask, checks: Mapping[str, ReferenceCheck], where: str) -> list[Finding]:
    """Say how many references hold nothing of a structure; that none holds anything at all is an error.

    Parameters
    ----------
    checks : mapping of str to ReferenceCheck
        What was found in every usable reference.
    where : str
        Folder of the references.
    """
    asked = Counter(name for check in checks.values() for name in check.expected)
    empty = Counter(name for check in checks.values() for name in check.empty)
    if asked and all(empty[name] == count for name, count in asked.items()):
        cause = f"none of {len(checks)} references holds a voxel of any structure"
        fix = f"check the label values: {', '.join(map(str, sorted(task.known_labels - {0})))}"
        return [Finding(ReferenceCode.ALL_EMPTY, where, cause, fix)]
    never = [name for name in task.structures if asked[name] and empty[name] == asked[name]]
    some = [f"{name} in {empty[name]} of {asked[name]}" for name in task.structures if 0 < empty[name] < asked[name]]
    findings = []
    if never:
        cause = f"no reference holds a voxel of {', '.join(never)}"
        fix = "check the label values, or remove the structure"
        findings.append(Finding(ReferenceCode.STRUCTURE_EMPTY, where, cause, fix, Severity.WARNING))
    if some:
        cause = f"references without a voxel of a structure: {', '.join(some)}"
        fix = "nothing to do if these cases do not have it; 'empty' says what that counts"
        findings.append(Finding(ReferenceCode.STRUCTURE_EMPTY, where, cause, fix, Severity.NOTE))
    return findings


def _present(task: SegmentationTask, path: Path, findings: list[Finding]) -> tuple[set[int], Geometry]:
    """Return the labels of a label map and its grid, slice by slice, so that a large volume takes no memory."""
    seen = np.zeros(65536, dtype=np.bool_)
    with open_mask(path, limits=OWN_FILES) as reader:
        if reader.segments is not None:
            return _named(task, named_volume(read_segments(reader), task, path), str(path), findings)
        for _, slab in reader.slabs():
            mark_labels(slab[0], seen)
        findings += reader.findings
    seen[0] = True
    return {int(label) for label in np.flatnonzero(seen)}, reader.geometry


def _named(task: SegmentationTask, found: Volume, where: str, findings: list[Finding]) -> tuple[set[int], Geometry]:
    """Return the labels of the structures that a file with named segments holds, and report the other segments."""
    findings += found.findings
    present = {0}
    for name, item in task.structures.items():
        if found.binary(task, name).any():
            present |= item.labels
    if found.strangers:
        findings.append(wrong_segments(task, found.strangers, len(present) > 1, where))
    return present, found.geometry


def wrong_segments(task: SegmentationTask, strangers: str, holds_others: bool, where: str) -> Finding:
    """Return the finding of a reference with segments that are no structures: an error, as an unknown label is.

    Parameters
    ----------
    strangers : str
        The segments, in words.
    holds_others : bool
        Whether it holds a structure, too.
    """
    harmless = task.unknown_labels == "ignore" and holds_others
    cause = f"the reference has {strangers}, which no structure of the challenge is"
    cause += ", and counts as background there (unknown_labels: ignore)" if harmless else ""
    fix = f"name segments {', '.join(task.structures)}"
    severity = Severity.WARNING if harmless else Severity.ERROR
    return Finding(ReferenceCode.LABEL_UNKNOWN, where, cause, fix, severity)


def _lacking(job: CaseJob, where: str) -> list[Finding]:
    """Report structures whose reference file is not there."""
    lacking = [name for name in asked_structures(job.task, job.case) if name not in job.reference]
    if not lacking:
        return []
    cause = f"the reference of case {job.case} has no file of {', '.join(lacking)}"
    fix = "add it (all background if the case does not have the structure), or declare labelled_structures"
    return [Finding(ScoreCode.REFERENCE_MISSING, where, cause, fix)]
