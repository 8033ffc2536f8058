"""Are the tables of several submissions comparable? Names, duplicates, row sets and gaps, before anything is paired.

Published comparisons went wrong here: two files with different row sets were paired by row number, so different
patients were compared. Everything in this module pairs by case name, and says where a row number would not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.findings import Code, Finding, Severity
from medpodium.scoring import table
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.blocks import MEAN
from medpodium.scoring.ranking.settled import Settled, settle_as_given
from medpodium.scoring.ranking.significance import PairedTests, adjust

Floats = npt.NDArray[np.float64]
CONFLICT = f"{table.FAILED_PREFIX}conflicting-duplicate"
"""Status of a value that a file states twice and differently."""


class PairingCode(Code):
    """What can make the tables of several submissions incomparable."""

    CONTROL_CHARACTER = "case-name-control-character"
    DUPLICATE = "case-twice"
    CONFLICT = "case-twice-conflicting"
    ROW_SETS = "row-sets-differ"
    """Submissions were scored on different cases."""
    STRUCTURES = "columns-differ"
    """The tables of several submissions do not have the same structures."""
    GAPS = "gaps-differ"


@dataclass(frozen=True)
class WideTable:
    """One submission's file as it stands: a row per case, a column per structure.

    Parameters
    ----------
    submission, metric, path : str
        Whose values, of which metric, from which file.
    cases : tuple of str
        Case names in file order, as written.
    structures : tuple of str
        Column names.
    values : ndarray of float, shape (n_rows, n_structures)
        NaN where the file has no value.
    conflicting : frozenset of str
        Cases whose values were stated twice and differently; their values are NaN.
    """

    submission: str
    metric: str
    path: str
    cases: tuple[str, ...]
    structures: tuple[str, ...]
    values: Floats
    conflicting: frozenset[str] = frozenset()


def _finding(code: PairingCode, where: str, cause: str, fix: str, severity: Severity) -> Finding:
    return Finding(code, where, cause, fix, severity)


def clean(item: WideTable) -> tuple[WideTable, list[Finding]]:
    """Return the table with printable, unique case names, and a finding for all that had to be changed.

    Control characters are removed from names. Rows stated twice with the same values are kept once; where the
    values differ none can be trusted, so the case keeps one row without values.
    """
    findings: list[Finding] = []
    names = []
    for name in item.cases:
        bare = "".join(char for char in name if char.isprintable()).strip()
        names.append(bare)
        if bare != name:
            count = len(name) - len(bare)
            findings.append(
                _finding(
                    PairingCode.CONTROL_CHARACTER,
                    f"{item.path}: {bare}",
                    f"the case name carries {count} control or blank character(s), first {name.strip(bare)[:1]!r}",
                    "correct the name in the file; it is read without them",
                    Severity.ERROR,
                )
            )
    rows: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        rows[name].append(index)
    values = np.stack([item.values[found[0]] for found in rows.values()]) if rows else item.values
    conflicting = set()
    for position, (name, found) in enumerate(rows.items()):
        if len(found) == 1:
            continue
        first = item.values[found[0]]
        if all(np.array_equal(first, item.values[other], equal_nan=True) for other in found[1:]):
            fix, severity = "remove the repetition; it is counted once", Severity.WARNING
            text = f"{len(found)} rows with the same values"
            findings.append(_finding(PairingCode.DUPLICATE, f"{item.path}: {name}", text, fix, severity))
            continue
        conflicting.add(name)
        values[position] = np.nan
        low, high = np.nanmin(item.values[found]), np.nanmax(item.values[found])
        text = f"{len(found)} rows with different values (from {low:.4g} to {high:.4g})"
        fix = "keep the right row; until then the case counts as failed"
        findings.append(_finding(PairingCode.CONFLICT, f"{item.path}: {name}", text, fix, Severity.ERROR))
    return replace(item, cases=tuple(rows), values=values, conflicting=frozenset(conflicting)), findings


def check_row_sets(tables: Sequence[WideTable]) -> list[Finding]:
    """Report tables of one metric whose rows are other cases than the largest table's.

    The finding says what pairing by row number would have compared.
    """
    findings = []
    for metric in dict.fromkeys(item.metric for item in tables):
        same = [item for item in tables if item.metric == metric]
        largest = max(same, key=lambda item: len(item.cases))
        for item in same:
            lacking = sorted(set(largest.cases) - set(item.cases))
            extra = sorted(set(item.cases) - set(largest.cases))
            if not (lacking or extra):
                continue
            wrong = sum(own != other for own, other in zip(item.cases, largest.cases, strict=False))
            parts = [f"{len(item.cases)} rows where {largest.submission} has {len(largest.cases)}"]
            parts += [f"lacks {len(lacking)} (first {lacking[0]})"] if lacking else []
            parts += [f"has {len(extra)} others (first {extra[0]})"] if extra else []
            parts.append(f"by row number {wrong} of {len(item.cases)} pairs would be different patients")
            findings.append(
                _finding(
                    PairingCode.ROW_SETS,
                    f"{item.path}: {item.submission}, {metric}",
                    "; ".join(parts),
                    "pair by case name (as here), and rank on common cases or with a declared missing policy",
                    Severity.WARNING,
                )
            )
    return findings


def check_structures(tables: Sequence[WideTable]) -> list[Finding]:
    """Report tables whose columns are not those of most other tables."""
    findings = []
    votes = [frozenset(item.structures) for item in tables]
    usual = max(votes, key=votes.count, default=frozenset())
    for item in tables:
        lacking, extra = sorted(usual - set(item.structures)), sorted(set(item.structures) - usual)
        if lacking or extra:
            text = "; ".join(
                [
                    *([f"lacks {', '.join(lacking)}"] if lacking else []),
                    *([f"adds {', '.join(extra)}"] if extra else []),
                ]
            )
            fix = "use the column names of the other files"
            findings.append(_finding(PairingCode.STRUCTURES, item.path, text, fix, Severity.WARNING))
    return findings


def check_gaps(tables: Sequence[WideTable]) -> list[Finding]:
    """Report tables whose empty cells differ from what most tables of the metric leave empty.

    Where the reference is empty every table has a gap; a value there, or a gap elsewhere, means that this table
    was made under another rule.
    """
    findings = []
    frames = {index: _frame(item).isna() for index, item in enumerate(tables)}
    for metric in dict.fromkeys(item.metric for item in tables):
        own = [index for index, item in enumerate(tables) if item.metric == metric]
        if len(own) < 2:
            continue
        stacked = pd.concat([frames[index] for index in own], keys=own, names=["table"])
        share = stacked.groupby(level=1).mean()
        for index in own:
            usual = share.loc[frames[index].index, frames[index].columns]
            values = (usual > 0.5) & ~frames[index]
            gaps = (usual < 0.5) & frames[index]
            gaps = gaps.loc[[name for name in gaps.index if name not in tables[index].conflicting]]
            added, lost = int(values.to_numpy().sum()), int(gaps.to_numpy().sum())
            if not (added or lost):
                continue
            text = f"{added} values where most have none, {lost} gaps where most have a value"
            where = f"{tables[index].path}: {tables[index].submission}, {metric}"
            fix = "score empty references by one rule; gaps of one submission count as missing"
            findings.append(_finding(PairingCode.GAPS, where, text, fix, Severity.WARNING))
    return findings


def _frame(item: WideTable) -> pd.DataFrame:
    return pd.DataFrame(item.values, index=pd.Index(item.cases, name="case"), columns=list(item.structures))


def audit(tables: Iterable[WideTable]) -> tuple[list[WideTable], list[Finding]]:
    """Clean every table, then compare them with each other; see the functions above for what is found."""
    cleaned, findings = [], []
    for item in tables:
        fresh, found = clean(item)
        cleaned.append(fresh)
        findings += found
    return cleaned, [*findings, *check_structures(cleaned), *check_row_sets(cleaned), *check_gaps(cleaned)]


def to_scores(
    tables: Sequence[WideTable], *, challenge: str, edition: str, task: str, groups: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Turn cleaned wide tables into the long score table.

    A gap that every table of the metric shares is an empty reference; a gap of some is missing; a conflicting
    duplicate is a failure.

    Parameters
    ----------
    tables : sequence of WideTable
        As :func:`audit` returns them.
    challenge, edition, task : str
        Key columns.
    groups : DataFrame, optional
        Group columns, indexed by case.
    """
    parts = []
    for item in tables:
        long = _frame(item).reset_index().melt(id_vars="case", var_name="structure", value_name="value")
        long = long.assign(
            submission=item.submission, metric=item.metric, _conflict=long["case"].isin(item.conflicting)
        )
        parts.append(long)
    scores = pd.concat(parts, ignore_index=True)
    somebody = scores.groupby(["metric", "case", "structure"])["value"].transform("count") > 0
    gap = scores["value"].isna()
    scores["status"] = np.select(
        [scores["_conflict"] & somebody, gap & somebody, gap],
        [CONFLICT, table.MISSING, table.EMPTY_REFERENCE],
        table.OK,
    )
    scores = scores.assign(challenge=challenge, edition=edition, task=task)[list(table.COLUMNS)]
    if groups is None:
        return scores
    return scores.join(groups, on="case")


def superiority(
    scores: pd.DataFrame,
    metric: str,
    *,
    higher_better: bool = True,
    settled: Settled | None = None,
    units: Units | None = None,
) -> pd.DataFrame:
    """Test for every ordered pair of submissions whether one is better, per structure and for the case mean.

    One-sided Wilcoxon signed-rank tests (normal approximation without continuity correction, zero differences
    dropped, as scipy's defaults for more than 50 pairs), paired by case name, adjusted by Holm's method over all
    ordered pairs of a structure. The target ``mean`` is the mean over the structures of a case; where no rules say what
    a missing score counts, a submission that lacks a structure others have takes no part there.

    Parameters
    ----------
    scores : DataFrame
        Long score table of one task.
    metric : str
        Which metric.
    higher_better : bool
        Direction of the metric.
    settled : Settled, optional
        The same scores as they count by a challenge's rules.
    units : Units, optional
        The independent units of the cases; single cases when left out.

    Returns
    -------
    DataFrame
        Columns target, better, worse, n_pairs (cases, or clusters), p, p_holm.
    """
    known = settled or settle_as_given(scores, metric)
    blocks = {block.structure: known.frame(block) for block in known.blocks if block.metric == metric}
    mean = blocks.pop(MEAN, None)
    names = [name for name in dict.fromkeys(scores.loc[scores["metric"] == metric, "structure"]) if name in blocks]
    targets = {name: blocks[name] for name in names}
    if mean is not None:
        counts = np.sum([frame.notna().to_numpy() for frame in targets.values()], axis=0)
        # who lacks a structure that others have would be averaged over easier or harder ones: not comparable
        even = counts == counts.max(axis=1, keepdims=True)
        targets["mean"] = mean if settled is not None else mean.where(even)
    found = []
    for target, frame in targets.items():
        names = list(frame.columns)
        own = None if units is None else units.among(list(frame.index))
        joined = own.of_case if own is not None and own.clustered else None
        tests = PairedTests(frame.to_numpy(), higher_better=higher_better, continuity=False, units=joined)
        once = np.ones((1, tests.number))
        off = ~np.eye(len(names), dtype=bool)
        p, pairs = tests.p_values(once)[0], tests.pairs(once)[0]
        better, worse = np.nonzero(off)
        found.append(
            pd.DataFrame(
                {
                    "target": target,
                    "better": [names[index] for index in better],
                    "worse": [names[index] for index in worse],
                    "n_pairs": pairs[off].astype(int),
                    "p": p[off],
                    "p_holm": adjust(p[off], "holm"),
                }
            )
        )
    return pd.concat(found, ignore_index=True)
