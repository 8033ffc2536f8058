"""Which files belong to which case of a segmentation task, and which cases there are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from medpodium.challenges.naming.patterns import (
    EXTENSION,
    STRUCTURE,
    Cases,
    Values,
    cases_in,
    file_pattern_problems,
    say_readings,
)
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Code, Finding, UsageError
from medpodium.scoring.kinds.segmentation.matching import match_files, match_structure_files
from medpodium.scoring.kinds.segmentation.volumes import MaskFiles, asked_structures, stored_structures
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, OWN_FILES


class CaseFilesCode(Code):
    """What can be wrong with a folder of references."""

    NO_CASES = "no-cases"
    PATTERN = "case-file-pattern"
    """A pattern of file names has no {case}, or more placeholders than the cases can fill.

    Write {case} once, and only such further placeholders as the case files fill.
    """
    NAME_AMBIGUOUS = "case-name-ambiguous"


def discover_cases(folder: Path, task: SegmentationTask) -> Cases:
    """Return all cases that a folder of references holds files of, with the groups that their names tell.

    Raises
    ------
    UsageError
        If there are none, a file's name can be read in several ways, or a pattern of the task makes no sense.
    """
    pattern = task.files.reference
    for side in ("reference", "prediction"):
        for cause, fix in file_pattern_problems(pattern, getattr(task.files, side), side=side):
            raise UsageError(Finding(CaseFilesCode.PATTERN, f"files.{side}", cause, fix))
    names = []
    if folder.is_dir():
        names = [path.relative_to(folder).as_posix() for path in folder.glob(_glob(pattern))]
    known = {STRUCTURE: set(stored_structures(task).values()), EXTENSION: set(formats.VOLUMES)}
    found = cases_in(pattern, names, known)
    if found.refused:
        raise UsageError(*(_refused(folder, name, readings) for name, readings in found.refused[:20]))
    if not found.values:
        cause = f"no file fits the pattern {pattern!r}" if folder.is_dir() else "no such folder"
        raise UsageError(
            Finding(CaseFilesCode.NO_CASES, str(folder), cause, "give the folder that holds the references")
        )
    return found


def _refused(folder: Path, name: str, readings: list[Values]) -> Finding:
    cause = f"the name can be read as {say_readings(readings)}"
    fix = "rename the file, or put a separator into the pattern that no name contains"
    return Finding(CaseFilesCode.NAME_AMBIGUOUS, str(folder / name), cause, fix)


def _glob(pattern: str) -> str:
    return re.sub(r"(?:\{\w+\})+", "*", pattern)  # two stars would mean folders


def matched_files(
    task: SegmentationTask,
    folder: Path,
    cases: Iterable[str],
    *,
    reference: bool,
    others: Collection[str] = (),
    findings: list[Finding] | None = None,
) -> dict[str, MaskFiles]:
    """Find the files of every case that has any.

    Of a case stored as one file per structure some may be missing; structures that its reference is not labelled with
    need no file.

    Parameters
    ----------
    task : SegmentationTask
        Knows the patterns and structures.
    folder : Path
        Folder of references or predictions.
    cases : iterable of str
        Names of the cases.
    reference : bool
        Whether these are references.
    others : collection of str
        Cases that there are and nobody asks for.
    findings : list of Finding, optional
        Gets whatever is missing, ambiguous or left over.
    """
    findings = [] if findings is None else findings
    names = list(cases)
    pattern = task.files.reference if reference else task.files.prediction
    limits = OWN_FILES if reference else DEFAULT_LIMITS
    if "{structure}" not in pattern:
        files, found = match_files(folder, pattern, names, others=others, limits=limits)
        findings += found
        return dict(files)
    stems = stored_structures(task)
    optional = {
        (case, stem)
        for case in task.labelled_structures
        for name, stem in stems.items()
        if name not in asked_structures(task, case)
    }
    if reference:  # what a reference lacks is said when it is checked, together with what else is wrong with it
        optional = {(case, stem) for case in names for stem in stems.values()}
    by_stem, found = match_structure_files(
        folder, pattern, names, stems.values(), others=others, limits=limits, optional=optional
    )
    findings += found
    return {
        case: {name: stored[stem] for name, stem in stems.items() if stem in stored}
        for case, stored in by_stem.items()
        if stored
    }
