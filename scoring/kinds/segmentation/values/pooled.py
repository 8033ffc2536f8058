"""Metrics of objects of all cases together: ratios of sums over cases, for any case weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.metrics.instances import ObjectMetric
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.pooling import SideBySide
from medpodium.scoring.kinds.protocol import Observed, Observing
from medpodium.scoring.kinds.segmentation.values.objects import place, pooled_cells
from medpodium.scoring.observations import complete, group_columns
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.pools import Cell, Pool

Floats = npt.NDArray[np.float64]


def observe(task: SegmentationTask, seen: Observing, findings: list[Finding]) -> pd.DataFrame | None:
    """Return one row per submission, case, metric and structure; ``None`` where nothing is pooled.

    ``truth`` is the number of reference objects, ``count`` that of predicted ones, and ``answer`` holds the matches,
    their summed intersections over union and their summed Dice, for every threshold of the metric.
    """
    if not any(True for _ in pooled_cells(task)):
        return None
    names = [one.name for one in fields(Observed)]
    rows = pd.DataFrame([[getattr(one, name) for name in names] for one in seen.observed], columns=names)
    return complete(rows, seen.challenge, seen.name, seen.groups, findings)


@dataclass(frozen=True)
class PooledObjects:
    """One metric of one structure of all submissions, ready for any case weights.

    Parameters
    ----------
    kind : str
        Kind of the metric.
    referenced, predicted : ndarray of float, shape (n_cases, n_submissions)
        Objects of both masks; 0 where a case does not count.
    found : ndarray of float, shape (n_thresholds, 3, n_cases, n_submissions)
        Matches, their summed intersections over union and their summed Dice.
    delivered : ndarray of bool, shape (n_submissions,)
        Who has any usable prediction.
    """

    kind: str
    referenced: Floats = field(repr=False)
    predicted: Floats = field(repr=False)
    found: Floats = field(repr=False)
    delivered: npt.NDArray[np.bool_]

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        both = weights @ (self.referenced + self.predicted)
        each = [self._value(both, *(weights @ part for part in parts)) for parts in self.found]
        return np.where(self.delivered, np.mean(each, axis=0), np.nan)

    def _value(self, both: Floats, matched: Floats, iou: Floats, dice: Floats) -> Floats:
        above, below = {
            "instance_ap": (matched, both - matched),  # TP + FP + FN, as both counts hold the matches
            "instance_pq": (2 * iou, both),
            "instance_sq": (iou, matched),
            "instance_dice": (dice, matched),
        }.get(self.kind, (2 * matched, both))
        return np.asarray(np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0))


def make_pool(challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
    """Return the pool of a task; ``None`` where it pools nothing or has no observation.

    Parameters
    ----------
    observations : DataFrame
        Normalised observations (:mod:`medpodium.scoring.observations`), of any tasks.
    """
    task: Any = challenge.tasks[name]
    own = observations[observations["task"] == name]
    wanted = list(pooled_cells(task))
    if own.empty or not wanted:
        return None
    cases, submissions = sorted(own["case"].unique()), sorted(own["submission"].unique())
    scores, cells = [], []
    for metric, spec, structure in wanted:
        rows = own[own["structure"] == place(metric, structure)]
        scores.append(_arranged(spec, rows, cases, submissions))
        cells += [Cell(team, POOLED, structure, metric) for team in submissions]
    by_case = own.drop_duplicates("case").set_index("case").loc[cases]
    return Pool(
        cases=tuple(cases),
        groups={group: tuple(by_case[group]) for group in group_columns(own)},
        cells=tuple(cells),
        members={POOLED: np.arange(len(cases))},
        compute=SideBySide(tuple(scores)),
    )


def _arranged(spec: ObjectMetric, rows: pd.DataFrame, cases: list[str], submissions: list[str]) -> PooledObjects:
    """Lay the observations of a metric of a structure into arrays; a missing prediction missed every object.

    With ``missing: skip`` (or ``failed: skip``) such a case is left out.
    """
    shape = (len(cases), len(submissions))
    referenced, predicted, found = np.zeros(shape), np.zeros(shape), np.zeros((len(spec.overlaps), 3, *shape))
    at_case = {case: at for at, case in enumerate(cases)}
    at_team = {team: at for at, team in enumerate(submissions)}
    delivered = np.zeros(len(submissions), np.bool_)
    columns = ("submission", "case", "truth", "answer", "count", "status")
    for team, case, truth, answer, count, status in rows[list(columns)].itertuples(index=False, name=None):
        to = at_case[case], at_team[team]
        if status != table.OK:
            declared = spec.missing if status == table.MISSING or spec.failed is None else spec.failed
            referenced[to] = 0.0 if declared == "skip" else float(truth)
            continue
        delivered[to[1]] = True
        referenced[to], predicted[to] = float(truth), count
        found[:, :, to[0], to[1]] = json.loads(answer)
    return PooledObjects(spec.kind, referenced, predicted, found, delivered)
