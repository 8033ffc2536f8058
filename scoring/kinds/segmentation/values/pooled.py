"""Metrics of objects of all cases together: ratios of sums over cases, for any case weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.metrics.instances import ObjectMetric, VariantFamily
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


@dataclass(frozen=True)
class PooledVariants:
    """Recall averaged over the variants that references have, of all submissions, for any case weights.

    Parameters
    ----------
    right, counted : ndarray of float, shape (n_variants, n_cases, n_submissions)
        Whether a case of that variant is right, and whether it counts; 0 or 1.
    delivered : ndarray of bool, shape (n_submissions,)
        Who has any usable prediction.
    """

    right: Floats = field(repr=False)
    counted: Floats = field(repr=False)
    delivered: npt.NDArray[np.bool_]

    def __call__(self, weights: Floats) -> Floats:
        """Return the values, shape (n_resamples, n_submissions), for weights of shape (n_resamples, n_cases)."""
        right, counted = weights @ self.right, weights @ self.counted
        there = counted > 0
        recall = np.divide(right, counted, out=np.zeros(right.shape), where=there)
        number = there.sum(axis=0)
        mean = np.divide(recall.sum(axis=0), number, out=np.full(number.shape, np.nan), where=number > 0)
        return np.asarray(np.where(self.delivered, mean, np.nan))


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
    scores: list[PooledObjects | PooledVariants] = []
    cells: list[Cell] = []
    for metric, spec, structure in wanted:
        rows = own[own["structure"] == place(metric, structure)]
        arranged = _variants if isinstance(spec, VariantFamily) else _arranged
        scores.append(arranged(spec, rows, cases, submissions))
        cells += [Cell(team, POOLED, structure, metric) for team in submissions]
    by_case = own.drop_duplicates("case").set_index("case").loc[cases]
    return Pool(
        cases=tuple(cases),
        groups={group: tuple(by_case[group]) for group in group_columns(own)},
        cells=tuple(cells),
        members={POOLED: np.arange(len(cases))},
        compute=SideBySide(tuple(scores)),
    )


def _arranged(
    spec: ObjectMetric | VariantFamily, rows: pd.DataFrame, cases: list[str], submissions: list[str]
) -> PooledObjects:
    """Lay the observations of a metric of a structure into arrays; a missing prediction missed every object.

    With ``missing: skip`` (or ``failed: skip``) such a case is left out.
    """
    overlaps = spec.overlaps if isinstance(spec, ObjectMetric) else ()
    shape = (len(cases), len(submissions))
    referenced, predicted, found = np.zeros(shape), np.zeros(shape), np.zeros((len(overlaps), 3, *shape))
    at_case = {case: at for at, case in enumerate(cases)}
    at_team = {team: at for at, team in enumerate(submissions)}
    delivered = np.zeros(len(submissions), np.bool_)
    columns = ("submission", "case", "truth", "answer", "count", "status")
    for team, case, truth, answer, count, status in rows[list(columns)].itertuples(index=False, name=None):
        to = at_case[case], at_team[team]
        if status != table.OK:
            referenced[to] = 0.0 if _declared(spec, status) == "skip" else float(truth)
            continue
        delivered[to[1]] = True
        referenced[to], predicted[to] = float(truth), count
        found[:, :, to[0], to[1]] = json.loads(answer)
    return PooledObjects(spec.kind, referenced, predicted, found, delivered)


def _variants(
    spec: ObjectMetric | VariantFamily, rows: pd.DataFrame, cases: list[str], submissions: list[str]
) -> PooledVariants:
    """Lay the variants of all cases into arrays; a missing prediction is wrong, or left out where that is declared."""
    variants = sorted(rows["truth"].astype(str).unique())
    right, counted = (np.zeros((len(variants), len(cases), len(submissions))) for _ in range(2))
    delivered = np.zeros(len(submissions), np.bool_)
    columns = ["submission", "case", "truth", "answer", "status"]
    for team, case, truth, answer, status in rows[columns].astype(str).itertuples(index=False, name=None):
        to, usable = (variants.index(truth), cases.index(case), submissions.index(team)), status == table.OK
        delivered[to[2]] |= usable
        counted[to] = float(usable or _declared(spec, status) != "skip")
        right[to] = float(usable and answer == truth)
    return PooledVariants(right, counted, delivered)


def _declared(spec: ObjectMetric | VariantFamily, status: str) -> object:
    """Return what is declared for a prediction that is missing or failed."""
    return spec.missing if status == table.MISSING or spec.failed is None else spec.failed
