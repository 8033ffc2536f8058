"""Which files belong to which case of a segmentation task, and which cases there are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Code, Finding, UsageError
from medpodium.scoring.kinds.segmentation.matching import match_files, match_structure_files
from medpodium.scoring.kinds.segmentation.volumes import MaskFiles, asked_structures, stored_structures
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, OWN_FILES


class CaseFilesCode(Code):
    """What can be wrong with a folder of references."""

    NO_CASES = "no-cases"


def discover_cases(folder: Path, task: SegmentationTask) -> list[str]:
    """Return the names of all cases in a folder of references, sorted."""
    pattern = task.files.reference
    names = set()
    regex = _pattern_regex(pattern)
    if folder.is_dir():
        for path in folder.glob(_glob(pattern)):
            match = regex.fullmatch(path.relative_to(folder).as_posix())
            if match:
                names.add(match["case"])
    if not names:
        cause = f"no file fits the pattern {pattern!r}" if folder.is_dir() else "no such folder"
        raise UsageError(
            Finding(CaseFilesCode.NO_CASES, str(folder), cause, "give the folder that holds the references")
        )
    return sorted(names)


def _glob(pattern: str) -> str:
    return re.sub(r"\{\w+\}", "*", pattern)


def _pattern_regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", pattern)
    seen: set[str] = set()
    text = ""
    for part in parts:
        if not part.startswith("{"):
            text += re.escape(part)
        elif part == "{extension}":
            text += "(?:" + "|".join(map(re.escape, formats.VOLUMES)) + ")"
        elif part[1:-1] in seen:
            text += f"(?P={part[1:-1]})"
        else:
            seen.add(part[1:-1])
            text += f"(?P<{part[1:-1]}>[^/]+)"
    return re.compile(text)


def matched_files(
    task: SegmentationTask,
    folder: Path,
    cases: Iterable[str],
    *,
    reference: bool,
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
    findings : list of Finding, optional
        Gets whatever is missing, ambiguous or left over.
    """
    findings = [] if findings is None else findings
    names = list(cases)
    pattern = task.files.reference if reference else task.files.prediction
    limits = OWN_FILES if reference else DEFAULT_LIMITS
    if "{structure}" not in pattern:
        files, found = match_files(folder, pattern, names, limits=limits)
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
    by_stem, found = match_structure_files(folder, pattern, names, stems.values(), limits=limits, optional=optional)
    findings += found
    return {
        case: {name: stored[stem] for name, stem in stems.items() if stem in stored}
        for case, stored in by_stem.items()
        if stored
    }
