"""The scores of one task with the missing policy applied, made once: whatever is told of a submission is read here.

Which policy holds is decided by the steps of the recipe as they meet the cells: a step's own ``missing``, else the
metric's. The recipe itself runs on the raw array, because a rank has no need of a number; everything else (means,
tests, gaps, tables, figures) reads the numbers of this module, and :meth:`Settled.counts` says what they stand on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import Rank, Step, parse_steps
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.ranking.assemble import Arranged, arrange
from medpodium.scoring.ranking.axes import ABSENT, MISSING, OK, ScoreArray
from medpodium.scoring.ranking.blocks import MEAN, Block, Bools
from medpodium.scoring.ranking.counting import Cells, apply_policies, inside_of, mean_cells, meeting, selected
from medpodium.scoring.ranking.rules import Outcome, Rules, as_given, rules_of, with_empty

if TYPE_CHECKING:
    from medpodium.challenges.schema.definition import Challenge

COUNTED = ("n", "missing", "failed", "absent", "penalised", "skipped")
"""Columns of :meth:`Settled.counts` after the keys."""


@dataclass(frozen=True)
class Settled:
    """The scores of one task: as the table has them, and as they count.

    Parameters
    ----------
    raw : ScoreArray
        Scores of the ranked metrics, no policy applied but that of failed runs: what the recipe runs on.
    arranged : Arranged
        The same of every metric, those included that are told but not ranked.
    steps : tuple of Step
        The recipe, which says what a missing score counts.
    ranked : frozenset of str
        Metrics that are ranked.
    findings : tuple of Finding
        What is odd about the scores.
    bounds : mapping of str to (float, float)
        Least and greatest possible value per metric, infinite where there is none.
    """

    raw: ScoreArray
    arranged: Arranged
    steps: tuple[Step, ...]
    ranked: frozenset[str]
    findings: tuple[Finding, ...] = field(default=())
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def submissions(self) -> tuple[str, ...]:
        """Names of the submissions, sorted."""
        return self.raw.submissions

    @cached_property
    def array(self) -> ScoreArray:
        """Every score as it counts: (submission, case, structure, metric), the policy applied."""
        return apply_policies(Cells.of(self.arranged.array), meeting(self.steps), self.ranked).array

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every metric of every structure, a metric's mean over structures before it where it has several.

        Values of whole sets of cases are left out.
        """
        return tuple(_blocks(self))

    @cached_property
    def by_name(self) -> Mapping[tuple[str, str], Block]:
        """The blocks by metric and structure."""
        return {(block.metric, block.structure): block for block in self.blocks}

    @cached_property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Level per case of every group column, values of whole sets left out."""
        real = [index for index, pooled in enumerate(self.array.pooled) if not pooled]
        return self.array.take("case", real).groups if real else {}

    @cached_property
    def supplied(self) -> Bools:
        """Which counted scores stand in for a missing prediction or a failed run; shape of :attr:`array`."""
        nothing = self.arranged.has(table.MISSING, table.FAILED_PREFIX) | (self.arranged.codes < 0)
        return np.asarray((self.array.state == OK) & nothing)

    def frame(self, block: Block) -> pd.DataFrame:
        """Return a block as cases x submissions."""
        return pd.DataFrame(block.values, index=pd.Index(block.cases, name="case"), columns=list(self.submissions))

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The score table as it counts: ``submission, case, structure, metric, value, lacking``.

        One row per score that the table has or that is owed; the value is blank where it does not count, and
        ``lacking`` where an owed score has no number. Values of whole sets have the label of the set as their case.
        """
        array = self.array
        there = (self.arranged.codes >= 0) | (self.arranged.array.state != ABSENT)
        at = np.nonzero(there)
        names = {dim: np.asarray(array.labels[dim], dtype=object)[own] for dim, own in zip(array.dims, at, strict=True)}
        state = array.state[at]
        values = np.where(state == OK, array.values[at], np.nan)
        return pd.DataFrame({**names, "value": values, "lacking": state == MISSING})

    def averages(self, *keys: str) -> pd.DataFrame:
        """Return ``n`` and ``mean`` of all scores that share some columns of :attr:`cells`, the keys as index.

        The mean is that of the numbers that count, rounded once; blank where an owed score has no number.
        """
        rows = []
        names = list(keys)
        for key, part in self.cells.groupby(names, sort=False):
            rows.append((*key, *average(part)))
        return pd.DataFrame(rows, columns=[*names, "mean", "n"]).set_index(names)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """What every number stands on: ``metric, structure, submission`` and :data:`COUNTED`, in cases.

        ``n`` cases count; ``missing``, ``failed``, ``penalised`` and ``skipped`` are statuses of the table, whether
        or not the score counts; ``absent`` cases have no row although the score is owed.
        """
        array, arranged = self.array, self.arranged
        real = ~np.asarray(array.pooled, dtype=bool)
        kinds = {
            "n": array.state == OK,
            "missing": arranged.has(table.MISSING),
            "failed": arranged.has(table.FAILED_PREFIX),
            "absent": arranged.absent,
            "penalised": arranged.has(table.PENALISED),
            "skipped": arranged.has(table.SKIPPED),
        }
        numbers = {name: kind[:, real].sum(axis=1) for name, kind in kinds.items()}
        there = np.asarray((arranged.codes >= 0)[:, real].any(axis=(0, 1)))
        rows = [
            (metric, structure, submission, *(int(number[s, k, m]) for number in numbers.values()))
            for m, metric in enumerate(array.labels["metric"])
            for k, structure in enumerate(array.labels["structure"])
            if there[k, m]
            for s, submission in enumerate(array.submissions)
        ]
        return pd.DataFrame(rows, columns=["metric", "structure", "submission", *COUNTED])

    @cached_property
    def statuses(self) -> pd.DataFrame:
        """Number of scores by submission (row) and status (column, as in the table); absent scores are not in it."""
        codes = self.arranged.codes.reshape(len(self.submissions), -1)
        counts = [(codes == number).sum(axis=1) for number in range(len(self.arranged.statuses))]
        found = pd.DataFrame(dict(zip(self.arranged.statuses, counts, strict=True)), index=list(self.submissions))
        return found.rename_axis("submission")

    @cached_property
    def lacks(self) -> pd.DataFrame:
        """Ranked scores per submission: ``missing`` (failed and absent ones included), ``penalised``, ``skipped``."""
        arranged = self.arranged
        ranked = np.array([name in self.ranked for name in arranged.array.labels["metric"]])
        nothing = arranged.has(table.MISSING, table.FAILED_PREFIX) & (arranged.array.state == OK)
        kinds = {
            "missing": nothing | (arranged.array.state == MISSING),
            "penalised": arranged.has(table.PENALISED),
            "skipped": arranged.has(table.SKIPPED),
        }
        counts = {name: kind[..., ranked].sum(axis=(1, 2, 3)) for name, kind in kinds.items()}
        return pd.DataFrame(counts, index=list(self.submissions))

    @cached_property
    def counted(self) -> Bools:
        """In which cases a submission has a ranked score that counts, shape (n_submissions, n_cases)."""
        counted = np.asarray(self._chosen(np.asarray(self.array.state == OK)).any(axis=(2, 3)))
        return np.asarray(counted[:, ~np.asarray(self.array.pooled, dtype=bool)])

    @property
    def n_cases(self) -> npt.NDArray[np.int64]:
        """Cases in which a submission has a ranked score that counts, shape (n_submissions,)."""
        return np.asarray(self.counted.sum(axis=1), dtype=np.int64)

    @cached_property
    def unanswered(self) -> npt.NDArray[np.int64]:
        """Cases that owe a ranked score of which a submission has none at all, shape (n_submissions,)."""
        arranged = self.arranged
        nothing = np.asarray(arranged.has(table.MISSING, table.FAILED_PREFIX) | (arranged.codes < 0))
        owed = self._chosen(np.asarray(arranged.array.state != ABSENT))
        none = np.asarray(owed.any(axis=(2, 3)) & (~owed | self._chosen(nothing)).all(axis=(2, 3)))
        return np.asarray(none[:, ~np.asarray(self.array.pooled, dtype=bool)].sum(axis=1), dtype=np.int64)

    @cached_property
    def common(self) -> tuple[int, ...]:
        """Positions in :attr:`raw` of the cases of which every submission has all scores that are ranked."""
        inside = inside_of(self.raw, *selected(self.steps, self.ranked))
        gone = (self.raw.state == MISSING)[..., inside].any(axis=(0, 2))
        supplied = self._supplied_raw()[..., inside].any(axis=(0, 2))
        keep = ~(gone | supplied) & ~np.asarray(self.raw.pooled, dtype=bool)
        return tuple(int(at) for at in np.flatnonzero(keep))

    def _supplied_raw(self) -> Bools:
        """Return which ranked scores of the table stand in for a missing prediction, shape of :attr:`raw`."""
        labels = self.arranged.array.labels
        at = [
            [labels[dim].index(name) for name in self.raw.labels[dim]]
            for dim in ("submission", "case", "structure", "metric")
        ]
        return np.asarray(self.arranged.has(table.MISSING, table.FAILED_PREFIX)[np.ix_(*at)])

    def _chosen(self, cells: Bools) -> Bools:
        """Return the cells of the metrics and structures that the recipe looks at."""
        metrics, structures = selected(self.steps, self.ranked)
        labels = self.arranged.array.labels
        m = [at for at, name in enumerate(labels["metric"]) if name in metrics]
        k = [at for at, name in enumerate(labels["structure"]) if structures is None or name in structures]
        return np.asarray(cells[:, :, k][..., m])


def average(cells: pd.DataFrame) -> tuple[float, int]:
    """Return the mean of some :attr:`Settled.cells` and how many numbers it stands on.

    NaN where there is none, and where an owed score has no number.
    """
    known = cells["value"].dropna().tolist()
    whole = bool(known) and not cells["lacking"].any()
    return (math.fsum(known) / len(known) if whole else math.nan), len(known)


def settle(
    scores: pd.DataFrame,
    task: str,
    rules: Rules,
    steps: Sequence[Step],
    *,
    submissions: Sequence[str] | None = None,
    missing: Outcome | None = None,
    empty: Outcome | None = None,
    ranked: bool = True,
) -> Settled:
    """Arrange the scores of one task and settle what its missing ones count.

    Parameters
    ----------
    scores : DataFrame
        Long score table.
    rules : Rules
        Directions and policies of the metrics.
    steps : sequence of Step
        The recipe.
    submissions : sequence of str, optional
        Submissions that must appear even without scores.
    missing, empty : outcome, optional
        Another outcome than the metrics' for missing scores, and another score for cases whose reference is empty.
    ranked : bool
        The scores are to be ranked: refuse those of which nobody has a single one.

    Raises
    ------
    MedpodiumError
        If the scores cannot be used.
    """
    scores = with_empty(scores, empty, rules)
    policies = rules.policies(missing)
    make = partial(
        arrange, missing=policies, worst=rules.worst, failed=rules.failed, silent=rules.unranked, ranked=ranked
    )
    if not ranked:  # to be told only: there may be no score that can be ranked
        told, findings = make(scores, task, rules.directions, submissions=submissions)
        return Settled(told.array, told, tuple(steps), frozenset(rules.ranked), tuple(findings), rules.bounds)
    found, findings = make(scores, task, rules.ranked, submissions=submissions)
    told = found
    here = scores[scores["task"].astype(str) == task]
    if here["metric"].isin(list(rules.unranked)).any():
        names = found.array.submissions
        rows = here[here["submission"].fillna("").astype(str).isin(names)]
        told, _ = make(rows, task, rules.directions, submissions=names)
    return Settled(found.array, told, tuple(steps), frozenset(rules.ranked), tuple(findings), rules.bounds)


def settle_task(
    scores: pd.DataFrame, challenge: Challenge, task: str, recipe: str | None = None, *, ranked: bool = True
) -> Settled:
    """Settle the scores of a challenge's task by its declared recipe, or by the one named.

    A task without a ranking has no recipe: its metrics' own policies hold.
    """
    known = recipe is not None or task in challenge.ranking
    steps: Sequence[Step] = challenge.recipe_for(task, recipe)[1].steps if known else ()
    return settle(scores, task, rules_of(challenge.tasks[task].metrics), steps, ranked=ranked)


def settle_as_given(scores: pd.DataFrame, metric: str) -> Settled:
    """Settle one metric of a table that no challenge speaks for: what a submission lacks is left out."""
    rows = scores[scores["metric"] == metric]
    if "task" not in rows.columns:
        rows = rows.assign(task="")
    task = str(rows["task"].iloc[0])
    steps = parse_steps([{"mean": {"over": "case", "missing": "skip"}}])
    return settle(rows, task, as_given(rows), steps, ranked=False)


def _blocks(settled: Settled) -> Iterator[Block]:
    whole = settled.arranged.array
    real = np.flatnonzero(~np.asarray(whole.pooled, dtype=bool))
    if not len(real):
        return
    steps, ranked = meeting(settled.steps), settled.ranked
    cells = apply_policies(Cells.of(whole), steps, ranked)
    means = mean_cells(Cells.of(whole), steps, ranked)
    after_last = any(isinstance(step, Rank) and step.missing == "after-last" for step in steps)
    cases = tuple(whole.cases[at] for at in real)
    penalised = settled.arranged.has(table.PENALISED)[:, real]
    for m, metric in enumerate(whole.labels["metric"]):
        used = [k for k in range(len(whole.labels["structure"])) if (cells.array.state[:, real, k, m] == OK).any()]
        picks = [(means, 0, MEAN)] if len(used) > 1 else []
        picks += [(cells, k, whole.labels["structure"][k]) for k in used]
        for chosen, k, name in picks:
            state = chosen.array.state[:, real, k, m]
            stand_ins = settled.supplied[:, real][..., m]
            supplied, fined = (
                np.asarray(mask.any(axis=2)) if name == MEAN else mask[..., k]
                for mask in (stand_ins, np.asarray(penalised[..., m]))
            )
            yield Block(
                metric,
                name,
                np.where(state == OK, chosen.array.values[:, real, k, m], np.nan).T,
                whole.better[m],
                cases,
                lacking=(state == MISSING).T,
                last=(chosen.last[:, real, k, m] | (state == MISSING)).T,
                supplied=supplied.T,
                penalised=fined.T,
                after_last=after_last,
            )
