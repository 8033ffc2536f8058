"""Run a recipe: an ordered list of steps that turns one task's scores into a ranking.

Everything before the cases are collapsed is done once; what follows is done for any number of resamples of the
cases at the same time, as array arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import (
    COLLAPSING,
    GONE,
    Change,
    Direction,
    Quantile,
    Rank,
    Reduce,
    Select,
    Spread,
    Step,
    Test,
    Threshold,
    parse_steps,
)
from medpodium.findings import Finding, Severity
from medpodium.scoring.ranking.apply import apply_step, collapse_joint
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.axes import (
    MissingPolicy,
    RankingCode,
    ScoreArray,
    near,
    problem,
)
from medpodium.scoring.ranking.pools import Pool, PooledCells
from medpodium.scoring.ranking.reduce import CaseReducer, step_name

Floats = npt.NDArray[np.float64]
MAX_COLUMNS = 200
"""Results of a step with more columns than this per submission are not kept."""


@dataclass(frozen=True)
class Run:
    """What a recipe gives for one data set, or for every resample of one.

    Parameters
    ----------
    ranks, values : ndarray of float, shape (n_resamples, n_submissions)
        Final ranks (NaN: not ranked) and what they rank.
    columns : mapping of str to ndarray, shape (n_resamples, n_submissions)
        Results of every step after the cases are collapsed, in order.
    better : {"higher", "lower"}
        Direction of ``values``.
    cells : ndarray of float, shape (n_resamples, n_cells), optional
        The pooled values of every resample (:attr:`Prepared.pooled`); NaN where one is not defined.
    """

    ranks: Floats
    values: Floats
    columns: Mapping[str, Floats]
    better: Direction
    cells: Floats | None = None


@dataclass(frozen=True)
class Ranking:
    """The ranking of one task.

    Parameters
    ----------
    task, recipe : str
        What was ranked, and the name of the recipe.
    submissions : tuple of str
        Sorted names.
    ranks, values : ndarray of float, shape (n_submissions,)
        Final ranks (NaN: not ranked) and what they rank.
    columns : mapping of str to ndarray, shape (n_submissions,)
        Results of every step after the cases are collapsed.
    better : {"higher", "lower"}
        Direction of ``values``.
    findings : tuple of Finding
        What is odd about the scores.
    """

    task: str
    recipe: str
    submissions: tuple[str, ...]
    ranks: Floats
    values: Floats
    columns: Mapping[str, Floats]
    better: Direction
    findings: tuple[Finding, ...] = field(default=())

    def table(self) -> pd.DataFrame:
        """Return the leaderboard: task, rank, submission, value, then one column per step; best first."""
        frame = pd.DataFrame(
            {"task": self.task, "rank": self.ranks, "submission": self.submissions, "value": self.values}
        )
        frame = pd.concat([frame, pd.DataFrame(dict(self.columns))], axis=1)
        return frame.sort_values(["rank", "submission"], na_position="last", ignore_index=True)


class Prepared:
    """A recipe and an array, with everything done that does not depend on which cases are drawn.

    Parameters
    ----------
    array : ScoreArray
        Scores of one task.
    steps : sequence of Step
        The last one must rank the submissions.
    compat : bool
        Treat repeated cases as challengeR's bootstrap does: copies of a case are ranked together, and a
        test counts them once.
    pool : Pool, optional
        What pooled values are computed from; they stay as they are without it (and with ``compat``).

    Raises
    ------
    MedpodiumError
        If the recipe cannot be run on these scores, or the pool belongs to others.
    """

    def __init__(
        self, array: ScoreArray, steps: Sequence[Step], *, compat: bool = False, pool: Pool | None = None
    ) -> None:
        self._made_of = (array, tuple(steps), compat, pool)
        usable = pool is not None and not compat and any(array.pooled)
        self.pooled = PooledCells(array, pool) if pool is not None and usable else None
        array = _squeeze(array, steps)
        self._steps = check_steps(steps, array)
        self._first = next(index for index, step in enumerate(self._steps) if _collapses_cases(step))
        ranks = [index for index, step in enumerate(self._steps[: self._first]) if isinstance(step, Rank)]
        self._joint = ranks[0] if ranks and compat else None
        self._array = self._through(array, 0, self._first if self._joint is None else self._joint)
        self._step = collapsing_step(self._steps[self._first])
        self._reducer = CaseReducer(self._array, self._step, unique=compat) if self._joint is None else None
        self._drawn = self._array if self.pooled is None else self.pooled.with_cases(self._array)

    def __reduce__(self) -> tuple[object, ...]:
        # A worker elsewhere prepares again what cannot travel; the same input gives the same bits.
        return _prepared, self._made_of

    @property
    def array(self) -> ScoreArray:
        """The array whose cases are resampled; observed cases of pooled values are on its case axis, too."""
        return self._drawn

    @property
    def n_fixed(self) -> int:
        """How many sets of cases have values that stay as they are while the cases are resampled."""
        return sum(self._array.pooled) if self.pooled is None else self.pooled.n_fixed

    def _through(self, array: ScoreArray, start: int, stop: int) -> ScoreArray:
        for step in self._steps[start:stop]:
            array = apply_step(array, step)
        return array

    def _ranked(self, copies: int) -> ScoreArray:
        """Return the array before the cases collapse, every case ranked among that many copies of itself."""
        array, number = self._array, len(self._array.submissions)
        array = array.take("submission", list(range(number)) * copies)
        return self._through(array, self._joint or 0, self._first).take("submission", range(number))

    def _collapse(self, counts: Floats) -> ScoreArray:
        if self._reducer is not None:
            return self._reducer(counts)
        return collapse_joint(self._ranked, self._step, counts)

    def run(self, counts: Floats | None = None) -> Run:
        """Rank under every row of ``counts``, shape (n_resamples, n_cases): how often each case is drawn.

        The data as they are when left out.
        """
        array, cells = self._without_cases(counts)
        columns = dict(_columns(array, self._steps[self._first]))
        for step in self._steps[self._first + 1 : -1]:
            array = apply_step(array, step)
            for name, column in _columns(array, step):
                columns[name if name not in columns else f"{name}#{len(columns)}"] = column
        last = apply_step(array, self._steps[-1])
        return Run(last.values, array.values, columns, array.better[0], cells)

    @property
    def collapsing(self) -> Reduce | Quantile | Test | Spread:
        """The step that collapses the cases."""
        return self._step

    @property
    def later(self) -> tuple[Step, ...]:
        """The steps after the one that collapses the cases."""
        return self._steps[self._first + 1 :]

    @property
    def before(self) -> ScoreArray:
        """The array whose cases collapse, with every step before that done."""
        return self._array

    def stage(self, steps: int, counts: Floats | None = None) -> ScoreArray:
        """Return the array when that many steps after the collapse of the cases are done, under ``counts``."""
        array, _ = self._without_cases(counts)
        for step in self.later[:steps]:
            array = apply_step(array, step)
        return array

    def _without_cases(self, counts: Floats | None) -> tuple[ScoreArray, Floats | None]:
        cells = None if self.pooled is None else self.pooled.full
        if counts is None:
            return self._collapse(np.ones((1, len(self._array.cases)))), cells
        if self.pooled is None:
            return self._collapse(np.asarray(counts, dtype=np.float64)), cells
        return self._resampled(self.pooled, np.asarray(counts, dtype=np.float64))

    def _resampled(self, pooled: PooledCells, counts: Floats) -> tuple[ScoreArray, Floats]:
        """Collapse the cases with the pooled values of every resample."""
        cells = pooled.values(pooled.weights(self._drawn, counts))
        own = counts[:, : len(self._array.cases)].copy()
        own[:, np.asarray(self._array.pooled, dtype=bool)] = 1.0

        def before(array: ScoreArray) -> ScoreArray:
            return self._through(_squeeze(array, self._steps), 0, self._first)

        return pooled.collapse(cells, own, before, self._step), cells


def _columns(array: ScoreArray, step: Step) -> Iterable[tuple[str, Floats]]:
    """Yield one named column (n_resamples, n_submissions) per combination of the remaining labels."""
    name = step_name(step) if isinstance(step, COLLAPSING) else step.step
    flat = array.values.reshape(*array.values.shape[:2], -1)
    if flat.shape[2] > MAX_COLUMNS:
        return
    labels = [""]
    for dim in array.dims[1:]:
        labels = [f"{prefix}:{label}" if label else prefix for prefix in labels for label in array.labels[dim]]
    for index, label in enumerate(labels):
        if not np.isnan(flat[:, :, index]).all() or len(labels) == 1:
            yield name + label, flat[:, :, index]


def _collapses_cases(step: Step) -> bool:
    return isinstance(step, COLLAPSING) and "case" in step.over


def _squeeze(array: ScoreArray, steps: Sequence[Step]) -> ScoreArray:
    """Drop dimensions with a single label that no step names: one metric needs no step about metrics."""
    named: set[str] = set()
    for step in steps:
        if isinstance(step, Rank):
            named |= set(step.within or ())
        elif isinstance(step, Select):
            named |= set(step.keep)
        elif isinstance(step, Threshold):
            named.add("metric")
        elif isinstance(step, Change):
            named |= set(() if step.metric is None else ("metric",))
        else:
            named |= set(step.over)
    for dim in ("structure", "metric"):
        if dim in array.dims and dim not in named and len(array.labels[dim]) == 1:
            axis = array.axis(dim)
            dims = tuple(name for name in array.dims if name != dim)
            array = replace(
                array,
                values=array.values.squeeze(axis),
                state=array.state.squeeze(axis),
                dims=dims,
                labels={name: array.labels[name] for name in dims},
            )
    return array


def collapsing_step(step: Step) -> Reduce | Quantile | Test | Spread:
    """Return the step, which must collapse dimensions."""
    if isinstance(step, COLLAPSING):
        return step
    raise problem(RankingCode.BAD_STEP, step.step, "does not collapse the cases", "use mean, quantile or test")


def check_steps(steps: Sequence[Step], array: ScoreArray) -> tuple[Step, ...]:
    """Follow the dimensions through the steps and refuse what cannot be run.

    Raises
    ------
    MedpodiumError
        Naming the step, what is wrong and what to write instead.
    """
    left = list(array.dims[1:])
    for number, step in enumerate(steps, start=1):
        where = f"step {number} ({step.step})"
        if isinstance(step, GONE):
            for dim in step.over:
                if dim not in left:
                    raise problem(RankingCode.BAD_STEP, where, f"no dimension {dim!r} is left", near(dim, left))
            if not (isinstance(step, Reduce) and step.groups is not None):
                left = [dim for dim in left if dim not in step.over]
            by = getattr(step, "by", None)
            left += [by] if by else []
        elif isinstance(step, Rank):
            within = left if step.within is None else list(step.within)
            for dim in within:
                if dim not in left:
                    raise problem(RankingCode.BAD_STEP, where, f"no dimension {dim!r} is left", near(dim, left))
            forgotten = [dim for dim in left if dim not in within]
            if forgotten:
                raise problem(
                    RankingCode.BAD_STEP,
                    where,
                    f"{forgotten[0]!r} is neither in 'within' nor collapsed before",
                    f"collapse {forgotten[0]} first, or add it to 'within'",
                )
    last = steps[-1] if steps else None
    if not isinstance(last, Rank) or left:
        cause = f"{', '.join(left)} not collapsed" if left else "the last step is no rank"
        raise problem(RankingCode.BAD_STEP, "recipe", cause, "collapse every dimension, then end with 'rank'")
    if not any(_collapses_cases(step) for step in steps):
        raise problem(RankingCode.BAD_STEP, "recipe", "no step collapses the cases", "add 'mean: case'")
    return tuple(steps)


def rank_array(array: ScoreArray, steps: Sequence[Step], *, task: str = "", recipe: str = "") -> Ranking:
    """Rank the submissions of one array."""
    run = Prepared(array, steps).run()
    columns = {name: column[0] for name, column in run.columns.items()}
    ranks, values = run.ranks[0], run.values[0]
    findings = [
        Finding(
            RankingCode.UNRANKED,
            f"{task}: {name}",
            "the recipe gives no rank: nothing was left to rank it by",
            "check its scores and the recipe's missing policy",
            Severity.WARNING,
        )
        for name, rank in zip(array.submissions, ranks, strict=True)
        if np.isnan(rank)
    ]
    return Ranking(task, recipe, array.submissions, ranks, values, columns, run.better, tuple(findings))


def rank_scores(
    scores: pd.DataFrame,
    steps: Sequence[Step] | Sequence[object],
    directions: Mapping[str, Direction],
    *,
    task: str,
    recipe: str = "",
    missing: Mapping[str, MissingPolicy] | None = None,
    worst: Mapping[str, float] | None = None,
    submissions: Sequence[str] | None = None,
) -> Ranking:
    """Rank the submissions of one task of a long score table.

    Parameters
    ----------
    scores : DataFrame
        Long score table (:mod:`medpodium.scoring.table`).
    steps : sequence
        Recipe steps, as models or as written in a challenge file.
    directions : mapping of str to {"higher", "lower"}
        Which values of each metric are better.
    task, recipe : str
        Task to rank; name of the recipe, for the record.
    missing, worst : mapping, optional
        Missing policy and worst possible value per metric.
    submissions : sequence of str, optional
        Submissions that must appear even without scores.

    Returns
    -------
    Ranking

    Raises
    ------
    MedpodiumError
        If the scores or the recipe cannot be used; the findings say why.

    Examples
    --------
    >>> import medpodium
    >>> scores = medpodium.read_scores("scores.csv")
    >>> steps = [{"rank": {"within": "case"}}, {"mean": "case"}, "rank"]
    >>> ranking = medpodium.rank_scores(scores, steps, {"dice": "higher"}, task="organs")
    >>> ranking.table()[["rank", "submission", "value"]].values.tolist()
    [[1.0, 'aurora', 1.0], [2.0, 'borealis', 2.0]]
    """
    array, findings = build(scores, task, directions, missing=missing, worst=worst, submissions=submissions)
    ranking = rank_array(array, parse_steps(steps), task=task, recipe=recipe)
    return replace(ranking, findings=(*findings, *ranking.findings))


def _prepared(array: ScoreArray, steps: Sequence[Step], compat: bool, pool: Pool | None) -> Prepared:
    return Prepared(array, steps, compat=compat, pool=pool)
