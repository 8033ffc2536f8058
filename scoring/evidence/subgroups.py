"""Scores by group of cases (sex, age, site): who gains, who loses, and which groups are too small to say anything.

Groups below the minimum size are reported as such and take no part in tests; they never disappear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table
from medpodium.scoring.evidence.intervals.means import bounds_of
from medpodium.scoring.evidence.intervals.scores import Asked, level_rows
from medpodium.scoring.evidence.units import Units, plural, units_of
from medpodium.scoring.ranking.blocks import MEAN, Block
from medpodium.scoring.ranking.settled import Settled, settle_as_given
from medpodium.scoring.ranking.significance import adjust

CASE_MEAN = "mean"
"""Target that averages the structures of a case."""


class SubgroupCode(Code):
    """What can be wrong with a subgroup analysis."""

    NO_GROUP = "subgroup-unknown-group"
    TOO_SMALL = "subgroup-too-small"
    TORN = "subgroup-cluster-in-two-levels"


@dataclass(frozen=True)
class Subgroups:
    """Scores by group.

    Parameters
    ----------
    summary : DataFrame
        One row per group, level, submission and target (a structure, or ``mean`` of a case's structures): n_cases
        with a value, n_members of the level, mean with the ends of its 95 % interval (low, high; method, or a note
        why there is none), sd (ddof 1), median, gap (mean minus the mean of all other cases, whatever the direction)
        and too_small.
    tests : DataFrame
        One row per group, submission and target: Kruskal-Wallis statistic and p over the levels that are large
        enough, and the smallest Bonferroni-corrected Mann-Whitney p of any two levels with their names.
    findings : tuple of Finding
        Levels that are too small or empty.
    """

    summary: pd.DataFrame
    tests: pd.DataFrame
    findings: tuple[Finding, ...]


def analyse(
    scores: pd.DataFrame,
    metric: str,
    groups: Sequence[str],
    minimum_size: Mapping[str, int] | int = 5,
    *,
    settled: Settled | None = None,
    units: Units | None = None,
    seed: int = 0,
) -> Subgroups:
    """Summarise one metric of a task by groups of cases.

    Parameters
    ----------
    scores : DataFrame
        Long score table with group columns.
    metric : str
        Which metric.
    groups : sequence of str
        Group columns; cases without level form the level ``unknown``.
    minimum_size : mapping of str to int, or int
        Smallest number of cases with a value, per group or for all.
    settled : Settled, optional
        The same scores as they count by a challenge's rules; when left out, what a submission lacks is left out.
    units : Units, optional
        The independent units of the cases: tests compare the means of their cases. Single cases when left out.
    seed : int
        Of the resamples behind the intervals.

    Raises
    ------
    UsageError
        If the table has no such group or metric.
    """
    columns = table.group_columns(scores)
    for name in groups:
        if name not in columns:
            cause = f"no group {name!r}"
            fix = f"use one of: {', '.join(columns) or 'none; give the metadata of the cases'}"
            raise UsageError(Finding(SubgroupCode.NO_GROUP, "scores", cause, fix))
    rows = scores[(scores["metric"] == metric) & (scores["case"] != "")]
    if rows.empty:
        known = ", ".join(sorted(set(scores["metric"])))
        raise UsageError(Finding(SubgroupCode.NO_GROUP, "scores", f"no metric {metric!r}", f"use one of: {known}"))
    settled = settled or settle_as_given(rows, metric)
    values = _targets(settled, metric)
    resampled = units_of(settled.array) if units is None else units
    cases = rows.drop_duplicates("case").set_index("case")
    summary, tests, findings = [], [], []
    for group in groups:
        levels = cases[group].fillna("").astype(str).replace("", "unknown")
        smallest = minimum_size if isinstance(minimum_size, int) else minimum_size.get(group, 1)
        part, found = _summarise(values, levels, group, smallest)
        summary.append(_with_intervals(part, settled, metric, levels, Asked(resampled, 0, seed, group)))
        findings += found
        torn = _torn(levels, units) if units is not None and units.clustered else []
        if torn and units is not None:
            cause = f"{len(torn)} {plural(units.noun)} have cases in several levels (first {torn[0]}): no test is made"
            fix = f"group by what all cases of a {units.noun} share, or use 'rank --evidence' for gaps"
            where = f"group {group!r}"
            findings.append(Finding(SubgroupCode.TORN, where, cause, fix, Severity.WARNING))
        tests.append(_test(values, levels, group, smallest, units, tested=not torn))
    return Subgroups(pd.concat(summary, ignore_index=True), pd.concat(tests, ignore_index=True), tuple(findings))


def _targets(settled: Settled, metric: str) -> pd.DataFrame:
    """Return columns case, submission, target, value; blank where an owed score has no number.

    The mean over the structures of a case is a target of its own, after the structures.
    """
    parts = []
    for block in _blocks(settled, metric):
        counts = ~np.isnan(block.values)
        case, submission = np.nonzero(counts if block.lacking is None else counts | block.lacking)
        names = {"case": np.asarray(block.cases)[case], "submission": np.asarray(settled.submissions)[submission]}
        parts.append(pd.DataFrame({**names, "target": _target(block), "value": block.values[case, submission]}))
    columns = ["case", "submission", "target", "value"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _blocks(settled: Settled, metric: str) -> list[Block]:
    """Return the metric's blocks, the mean over structures last."""
    return sorted((own for own in settled.blocks if own.metric == metric), key=lambda own: own.structure == MEAN)


def _target(block: Block) -> str:
    return CASE_MEAN if block.structure == MEAN else block.structure


def _summarise(
    values: pd.DataFrame, levels: pd.Series[str], group: str, smallest: int
) -> tuple[pd.DataFrame, list[Finding]]:
    keys = ["level", "submission", "target"]
    with_level = values.assign(level=values["case"].map(levels))
    part = with_level.groupby(keys).agg(
        n_cases=("value", "count"),
        total=("value", "sum"),
        mean=("value", "mean"),
        sd=("value", "std"),
        median=("value", "median"),
    )
    # every level of every submission has a row, even when nothing was scored there
    index = pd.MultiIndex.from_product(
        [sorted(set(levels)), sorted(set(values["submission"])), sorted(set(values["target"]))], names=keys
    )
    part = part.reindex(index).reset_index()
    lacking = with_level[with_level["value"].isna()].set_index(keys).index
    told = ~pd.MultiIndex.from_frame(part[keys]).isin(lacking)
    part.loc[~told, ["total", "mean", "sd", "median"]] = np.nan
    part["n_cases"] = part["n_cases"].fillna(0).astype(int)
    whole = part.groupby(["submission", "target"])[["n_cases", "total"]].transform("sum")
    incomplete = with_level[with_level["value"].isna()].set_index(["submission", "target"]).index
    whole["total"] = whole["total"].where(~pd.MultiIndex.from_frame(part[["submission", "target"]]).isin(incomplete))
    others = (whole["total"] - part["total"].fillna(0)) / (whole["n_cases"] - part["n_cases"]).replace(0, np.nan)
    part["gap"] = part["mean"] - others
    part["n_members"] = part["level"].map(levels.value_counts())
    part["too_small"] = part["n_cases"] < smallest
    part.insert(0, "group", group)
    findings = []
    for level, own in part.groupby("level"):
        most = int(own["n_cases"].max())
        if most < smallest:
            cause = f"{most} case(s) with a value of {int(own['n_members'].iloc[0])}, fewer than {smallest}"
            fix = "its numbers are shown but not tested; merge it with another level or add cases"
            findings.append(Finding(SubgroupCode.TOO_SMALL, f"{group} = {level}", cause, fix, Severity.WARNING))
    columns = ["group", *keys, "n_members", "n_cases", "mean", "sd", "median", "gap", "too_small"]
    return part[columns], findings


def _with_intervals(
    part: pd.DataFrame, settled: Settled, metric: str, levels: pd.Series[str], asked: Asked
) -> pd.DataFrame:
    """Return the summary with an interval after every mean, as every other mean of scores gets it."""
    names = np.asarray(settled.submissions, dtype=object)
    ends = []
    for block in _blocks(settled, metric):
        own = block.without_empty()
        bounds = bounds_of(settled.bounds.get(metric), own.values)
        rows = level_rows(own, names, levels.reindex(own.cases).tolist(), asked, bounds)
        ends.append(rows.assign(target=_target(block)))
    keys = ["level", "submission", "target"]
    found = pd.concat(ends, ignore_index=True).rename(columns={"mean_low": "low", "mean_high": "high"})
    joined = part.merge(found[[*keys, "low", "high", "method", "note"]], on=keys, how="left")
    joined[["method", "note"]] = joined[["method", "note"]].fillna("")
    after = ["low", "high", "method", "note"]
    order = [name for name in part.columns if name not in after]
    at = order.index("mean") + 1
    return joined[[*order[:at], *after, *order[at:]]]


def _torn(levels: pd.Series[str], units: Units) -> list[str]:
    """Return the units whose cases lie in several levels."""
    own = units.among([str(name) for name in levels.index])
    number = levels.groupby(own.of_case).nunique()
    return [own.names[at] for at in number.index[number > 1] if at >= 0]


def _test(
    values: pd.DataFrame, levels: pd.Series[str], group: str, smallest: int, units: Units | None, *, tested: bool
) -> pd.DataFrame:
    """Compare the levels of a group within each submission (Kruskal-Wallis, then pairs by Mann-Whitney)."""
    from scipy import stats

    rows = []
    with_level = values.dropna(subset=["value"])
    if units is not None and units.clustered and tested:
        unit = with_level["case"].map(dict(zip(units.cases, units.of_case.tolist(), strict=True)))
        with_level = with_level.assign(unit=unit)
        means = with_level.groupby(["submission", "target", "unit"], sort=False)
        with_level = means.agg(value=("value", "mean"), case=("case", "first")).reset_index()
    with_level = with_level.assign(level=with_level["case"].map(levels))
    for (submission, target), part in with_level.groupby(["submission", "target"]):
        samples = {
            str(level): own["value"].to_numpy()
            for level, own in part.groupby("level")
            if len(own) >= max(smallest, 2) and level != "unknown"
        }
        row: dict[str, object] = {"group": group, "submission": submission, "target": target, "levels": len(samples)}
        if tested and len(samples) >= 2 and len({value for sample in samples.values() for value in sample}) > 1:
            kruskal = stats.kruskal(*samples.values())
            pairs = [(a, b) for index, a in enumerate(samples) for b in list(samples)[index + 1 :]]
            p = [stats.mannwhitneyu(samples[a], samples[b], alternative="two-sided").pvalue for a, b in pairs]
            corrected = adjust(p, "bonferroni")
            least = int(np.argmin(corrected))
            row |= {
                "kruskal": kruskal.statistic,
                "p": kruskal.pvalue,
                "pair": " / ".join(pairs[least]),
                "p_pair": corrected[least],
            }
        rows.append(row)
    columns = ["group", "submission", "target", "levels", "kruskal", "p", "pair", "p_pair"]
    return pd.DataFrame(rows, columns=columns)
