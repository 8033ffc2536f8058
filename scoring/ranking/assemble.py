"""From the long score table to the array a recipe works on, with a finding for everything that is odd."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import Direction
from medpodium.findings import Finding, MedpodiumError, Severity
from medpodium.scoring import table
from medpodium.scoring.ranking.axes import (
    ABSENT,
    MISSING,
    OK,
    MissingPolicy,
    RankingCode,
    ScoreArray,
    near,
    problem,
)

_CELL = ("case", "structure", "metric")
_NOT_ASKED = (table.SKIPPED, table.UNLABELLED, table.EMPTY_REFERENCE)


@dataclass(frozen=True)
class Arranged:
    """The scores of one task as an array, and how each cell came about.

    Parameters
    ----------
    array : ScoreArray
        Dimensions submission, case, structure, metric; no missing policy applied.
    codes : ndarray of int16, shape of the array's values
        Position of a cell's status in ``statuses``; -1 where the table has no row.
    statuses : tuple of str
        The statuses that occur.
    """

    array: ScoreArray
    codes: npt.NDArray[np.int16]
    statuses: tuple[str, ...]

    def has(self, *statuses: str) -> npt.NDArray[np.bool_]:
        """Return which cells have one of some statuses; ``failed:`` stands for every reason of a failure."""
        wanted = [
            number
            for number, status in enumerate(self.statuses)
            if status in statuses or (table.FAILED_PREFIX in statuses and status.startswith(table.FAILED_PREFIX))
        ]
        return np.asarray(np.isin(self.codes, wanted))

    @property
    def absent(self) -> npt.NDArray[np.bool_]:
        """Which cells have no row although the score is owed."""
        return np.asarray((self.codes < 0) & (self.array.state == MISSING))


def build(
    scores: pd.DataFrame,
    task: str,
    directions: Mapping[str, Direction],
    *,
    missing: Mapping[str, MissingPolicy] | None = None,
    worst: Mapping[str, float] | None = None,
    submissions: Sequence[str] | None = None,
) -> tuple[ScoreArray, list[Finding]]:
    """Arrange the scores of one task as an array: :func:`arrange` without how each cell came about."""
    found, findings = arrange(scores, task, directions, missing=missing, worst=worst, submissions=submissions)
    return found.array, findings


def arrange(
    scores: pd.DataFrame,
    task: str,
    directions: Mapping[str, Direction],
    *,
    missing: Mapping[str, MissingPolicy] | None = None,
    worst: Mapping[str, float] | None = None,
    failed: Mapping[str, float] | None = None,
    submissions: Sequence[str] | None = None,
    silent: Collection[str] = (),
    ranked: bool = True,
) -> tuple[Arranged, list[Finding]]:
    """Arrange the scores of one task as an array (submission, case, structure, metric).

    A cell without a value is *absent* when it was skipped by policy or when no submission has a row for it;
    it is *missing* when its status says so, when its value is not a number, or when another submission has a
    row and this one has none.

    Parameters
    ----------
    scores : DataFrame
        Long score table (:data:`medpodium.scoring.table.COLUMNS`; group columns after them).
    task : str
        Task whose rows are used.
    directions : mapping of str to {"higher", "lower"}
        Which values of a metric are better; metrics that are not listed are left out, with a finding.
    missing, worst : mapping, optional
        Missing policy and worst possible value per metric.
    failed : mapping of str to float, optional
        What the score of a failed run becomes that has no value, for metrics that declare it apart from ``missing``;
        NaN leaves it out.
    submissions : sequence of str, optional
        All submissions that should be ranked; those without rows are reported and ranked as missing
        everywhere. The submissions of the task's rows when left out.
    silent : collection of str
        Metrics that are left out without a finding.
    ranked : bool
        The scores are to be ranked: refuse those of which nobody has a single one.

    Returns
    -------
    (Arranged, findings)

    Raises
    ------
    MedpodiumError
        If the task has no usable rows, or a (submission, case, structure, metric) occurs twice.
    """
    rows = _rows_of_task(scores, task)
    findings = _unknown_metrics(rows, task, directions, silent)
    rows = rows[rows["metric"].isin(list(directions))]
    if rows.empty:
        cause, fix = "no row has a metric that can be ranked", "score the challenge's metrics, or declare these"
        raise MedpodiumError(Finding(RankingCode.NO_SCORES, task, cause, fix), *findings)
    groups = table.group_columns(scores)
    rows = rows.assign(case=_case_labels(rows, groups))
    _refuse_duplicates(rows, task)
    names = sorted({*rows["submission"].unique(), *(submissions or ())})
    labels = {"submission": tuple(names)}
    labels.update({dim: tuple(sorted(rows[dim].unique())) for dim in _CELL})
    values, state, codes, statuses = _fill(rows, labels, failed or {})
    metrics = labels["metric"]
    levels, conflicts = _levels(rows, labels["case"], groups)
    array = ScoreArray(
        values=values,
        state=state,
        dims=("submission", *_CELL),
        labels=labels,
        better=tuple(directions[name] for name in metrics),
        policy=tuple((missing or {}).get(name) for name in metrics),
        worst=tuple(float((worst or {}).get(name, np.nan)) for name in metrics),
        groups=levels,
        pooled=tuple(name.startswith(POOLED) for name in labels["case"]),
    )
    return Arranged(array, codes, statuses), [*findings, *conflicts, *_audit(array, task, ranked)]


POOLED = "(pooled)"
"""Start of the case label of values that belong to a whole set of cases."""


def _rows_of_task(scores: pd.DataFrame, task: str) -> pd.DataFrame:
    absent = [name for name in ("task", "submission", *_CELL, "value") if name not in scores.columns]
    if absent:
        raise problem(RankingCode.NO_SCORES, task, f"no column {absent[0]!r} in the scores", "pass a long score table")
    rows = scores[scores["task"].astype(str) == task]
    if rows.empty:
        known = [str(name) for name in pd.unique(scores["task"])]
        raise problem(RankingCode.UNKNOWN_TASK, task, "the table has no scores of this task", near(task, known))
    text = {name: rows[name].fillna("").astype(str) for name in ("submission", *_CELL)}
    status = rows["status"].fillna("").astype(str) if "status" in rows.columns else table.OK
    return rows.assign(**text, value=pd.to_numeric(rows["value"], errors="coerce"), status=status)


def _unknown_metrics(
    rows: pd.DataFrame, task: str, directions: Mapping[str, Direction], silent: Collection[str]
) -> list[Finding]:
    unknown = sorted(set(rows["metric"].unique()) - set(directions) - set(silent))
    return [
        Finding(
            RankingCode.NO_DIRECTION,
            f"{task}: {name}",
            "the metric has no declared direction and takes no part in the ranking",
            f"declare whether higher or lower is better; {near(name, directions)}",
            Severity.NOTE,
        )
        for name in unknown
    ]


def _case_labels(rows: pd.DataFrame, groups: Sequence[str]) -> pd.Series[str]:
    """Give values of a whole set a label of their own per level of the groups."""
    cases = rows["case"].copy()
    pooled = cases == ""
    if pooled.any():
        levels = rows.loc[pooled, list(groups)].fillna("").astype(str)
        known = levels.drop_duplicates()
        labels = {tuple(row): pooled_label(dict(zip(groups, row, strict=True))) for row in known.to_numpy()}
        cases[pooled] = [labels[tuple(row)] for row in levels.to_numpy()]
    return cases


def pooled_label(levels: Mapping[str, str]) -> str:
    """Return the case label of values of a whole set: ``(pooled) domain=ood``, ``(pooled)`` for all cases."""
    return " ".join([POOLED, *(f"{name}={level}" for name, level in levels.items() if level)])


def _refuse_duplicates(rows: pd.DataFrame, task: str) -> None:
    keys = ["submission", *_CELL]
    twice = rows[rows.duplicated(keys, keep=False)]
    if twice.empty:
        return
    findings = []
    for values, same in twice.groupby(keys, sort=True):
        submission, case, structure, metric = values
        numbers = ", ".join(f"{value:.6g}" for value in same["value"].head(3))
        findings.append(
            Finding(
                RankingCode.DUPLICATE_ROWS,
                f"{task}: {submission}, case {case}" + (f", {structure}" if structure else ""),
                f"{len(same)} rows for {metric} (values {numbers})",
                "keep one row, or give the tasks their own names if these are different tasks",
            )
        )
    raise MedpodiumError(*findings[:20])


def _fill(
    rows: pd.DataFrame, labels: Mapping[str, tuple[str, ...]], failed: Mapping[str, float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.int16], tuple[str, ...]]:
    """Return values, states and statuses of every cell; a failed run without a value becomes what is declared."""
    dims = ("submission", *_CELL)
    position = tuple(_positions(rows[dim], labels[dim]) for dim in dims)
    shape = tuple(len(labels[dim]) for dim in dims)
    value = rows["value"].to_numpy(dtype=np.float64, copy=True)
    broken = np.isnan(value) & rows["status"].str.startswith(table.FAILED_PREFIX).to_numpy()
    declared = broken & rows["metric"].isin(list(failed)).to_numpy()
    value[declared] = rows.loc[declared, "metric"].map(dict(failed)).to_numpy(dtype=np.float64)
    values = np.full(shape, np.nan)
    values[position] = value
    state = np.full(shape, ABSENT, dtype=np.uint8)
    given = ~np.isnan(value)
    skipped = ~given & (rows["status"].isin(_NOT_ASKED).to_numpy() | declared)
    unexplained = ~given & (rows["status"].isin(("", table.OK))).to_numpy()
    state[position] = np.where(given, OK, np.where(skipped, ABSENT, MISSING))
    has_row = np.zeros(shape, dtype=bool)
    has_row[position] = True
    asked = has_row.any(axis=0)
    state[~has_row & asked] = MISSING
    was_skipped = np.zeros(shape, dtype=bool)
    was_skipped[position] = skipped | unexplained
    nobody = was_skipped.any(axis=0) & ~(state == OK).any(axis=0)
    state[:, nobody] = ABSENT  # skipped for all who delivered: nothing is owed by those who did not
    kinds = pd.Categorical(rows["status"])
    codes = np.full(shape, -1, dtype=np.int16)
    codes[position] = kinds.codes
    return values, state, codes, tuple(str(name) for name in kinds.categories)


def _positions(column: pd.Series[str], labels: tuple[str, ...]) -> npt.NDArray[np.intp]:
    """Return the position of every row's label; each different text is looked up once."""
    codes, known = pd.factorize(column)
    place = {name: at for at, name in enumerate(labels)}
    return np.asarray([place[name] for name in known], dtype=np.intp)[codes]


def _levels(
    rows: pd.DataFrame, cases: tuple[str, ...], groups: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[Finding]]:
    levels: dict[str, tuple[str, ...]] = {}
    findings = []
    few = rows[["case", *groups]].drop_duplicates()
    for name in groups:
        known = few[["case", name]].dropna().astype(str).drop_duplicates()
        known = known[known[name] != ""]
        twice = sorted(known.loc[known.duplicated("case", keep=False), "case"].unique())
        if twice:
            findings.append(
                Finding(
                    RankingCode.GROUP_CONFLICT,
                    f"case {twice[0]}",
                    f"{len(twice)} case(s) have more than one {name}",
                    "give every case one level of the group; the group is not used",
                    Severity.WARNING,
                )
            )
            continue
        lookup = dict(zip(known["case"], known[name], strict=True))
        if lookup:
            levels[name] = tuple(lookup.get(case, "") for case in cases)
    return levels, findings


def _audit(array: ScoreArray, task: str, ranked: bool) -> list[Finding]:
    """Report what makes a ranking weak or impossible to read."""
    findings = []
    own = (1, 2, 3)
    delivered = (array.state == OK).any(axis=own)
    lacking = (array.state == MISSING).sum(axis=own)
    for index, name in enumerate(array.submissions):
        if not delivered[index]:
            findings.append(
                _note(
                    RankingCode.NO_CASES_OF_SUBMISSION,
                    f"{task}: {name}",
                    "no case has a score",
                    "check that the submission was run and scored; it is ranked by the missing policy",
                )
            )
        elif lacking[index]:
            findings.append(
                _note(
                    RankingCode.MISSING_VALUES,
                    f"{task}: {name}",
                    f"{lacking[index]} scores are missing",
                    "the declared missing policy is applied; check the submission's runs",
                )
            )
    infinite = np.isinf(array.values) & (array.state == OK)
    for index, number in enumerate(infinite.sum(axis=own)):
        if not number:
            continue
        findings.append(
            _note(
                RankingCode.INFINITE,
                f"{task}: {array.submissions[index]}",
                f"{number} infinite scores",
                "ranks are safe, means are not: declare a penalty value",
            )
        )
    if ranked and not delivered.any():
        raise MedpodiumError(Finding(RankingCode.ALL_MISSING, task, "no submission has any score", "score first"))
    real = len(array.cases) - sum(array.pooled)
    if real == 1:
        text, fix = "there is only one case", "tests, intervals and the bootstrap say nothing; add cases"
        findings.append(_note(RankingCode.ONE_CASE, task, text, fix))
    elif real == 0 and sum(array.pooled) == 1:
        text = "the scores are values over a whole set of cases, not of single ones"
        fix = "tests, intervals and the bootstrap need the observations of its cases: keep them beside the score table"
        findings.append(_note(RankingCode.ONE_CASE, task, text, fix))
    if len(array.submissions) == 1:
        findings.append(
            _note(
                RankingCode.ONE_SUBMISSION,
                task,
                f"only {array.submissions[0]} takes part",
                "a ranking needs at least two submissions",
            )
        )
    elif not lacking.any() and _all_equal(array):
        findings.append(
            _note(
                RankingCode.ALL_TIED,
                task,
                "all submissions have the same scores in every case",
                "check that the predictions differ; every submission shares rank 1",
            )
        )
    return findings


def _all_equal(array: ScoreArray) -> bool:
    scored = array.state == OK
    highest = np.where(scored, array.values, -np.inf).max(axis=0)
    lowest = np.where(scored, array.values, np.inf).min(axis=0)
    return bool((highest == lowest)[scored.any(axis=0)].all())


def _note(code: RankingCode, where: str, cause: str, fix: str) -> Finding:
    return Finding(code, where, cause, fix, Severity.WARNING)
