"""Ways in which the class of a case can be read off without looking at the image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.findings import Code, Finding, Severity

ALPHA = 0.01
"""A missing sequence is reported when Fisher's p, times the number of tests, is below this."""


class LeakCode(Code):
    """Leak paths."""

    CLASS_IN_NAME = "leak-class-in-name"
    INFORMATIVE_MISSING = "leak-informative-missing"


def leaks(
    task: ClassificationTask, stages: Mapping[str, str], groups: Mapping[str, Mapping[str, str]]
) -> list[Finding]:
    """Look for both known leak paths: the class in the case's name, and missing inputs that tell the class.

    Parameters
    ----------
    task : ClassificationTask
        Its classes and problems.
    stages : mapping of str to str
        Class by case.
    groups : mapping of str to (mapping of str to str)
        Columns of the table of cases; ``missing`` (or ``Missing Modality``) lists the missing inputs.
    """
    findings = class_in_name(stages, task.classes)
    column = next((name for name in groups if name.lower().replace("_", " ") in ("missing", "missing modality")), None)
    if column is not None:
        missing = {case: split_inputs(groups[column].get(case, "")) for case in stages}
        findings += informative_missing(task, stages, missing)
    return findings


def split_inputs(text: str) -> frozenset[str]:
    """Split a list of inputs as written in a table (``"DWI, T1"``); ``T2WI`` is T2, ``DWI`` is DWI_800."""
    names = {item.strip() for item in re.split(r"[,;/ ]+", text) if item.strip() and item.strip().lower() != "none"}
    return frozenset({"DWI": "DWI_800", "T2WI": "T2", "T1WI": "T1"}.get(name, name) for name in names)


def class_in_name(stages: Mapping[str, str], classes: Iterable[str]) -> list[Finding]:
    """Report cases whose name carries a class as a part of its own (``0007-A-S4``)."""
    part = re.compile(r"(?:^|[^A-Za-z0-9])(" + "|".join(map(re.escape, classes)) + r")(?:$|[^A-Za-z0-9])")
    telling = [case for case in stages if (match := part.search(case)) and match[1] == stages[case]]
    if not telling:
        return []
    text = f"{len(telling)} of {len(stages)} case names carry their class (first {telling[0]})"
    fix = "give containers neutral names (pseudonym in the container protocol), and rename the hidden cases"
    return [Finding(LeakCode.CLASS_IN_NAME, "cases", text, fix, Severity.WARNING)]


def informative_missing(
    task: ClassificationTask, stages: Mapping[str, str], missing: Mapping[str, frozenset[str]]
) -> list[Finding]:
    """Report inputs whose absence tells a problem's answer (two-sided Fisher exact test, Bonferroni)."""
    from scipy.stats import fisher_exact

    inputs = sorted(set().union(*missing.values())) if missing else []
    findings = []
    for name in inputs:
        for problem in task.problems.values():
            counts = [[0, 0], [0, 0]]
            for case, stage in stages.items():
                counts[name in missing[case]][stage in problem.positive] += 1
            p = float(fisher_exact(counts).pvalue) * len(inputs) * max(len(task.problems), 1)
            if p >= ALPHA:
                continue
            absent = counts[1]
            text = (
                f"without {name} {absent[1]} of {sum(absent)} cases are {'/'.join(problem.positive)}, "
                f"with it {counts[0][1]} of {sum(counts[0])} (corrected p {min(p, 1):.1g})"
            )
            fix = "report scores on complete cases too; never mount a list of what is missing for staging"
            findings.append(Finding(LeakCode.INFORMATIVE_MISSING, "cases", text, fix, Severity.WARNING))
    return findings
