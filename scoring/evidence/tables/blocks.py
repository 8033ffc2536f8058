"""Evidence that looks at every metric by itself: tests, effect sizes, ranks per case, other methods, domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.steps import Adjustment
from medpodium.scoring.evidence.consensus import (
    MAX_LINEAR,
    MAX_WEAK,
    borda,
    cluster_tasks,
    copeland,
    euclidean,
    kemeny,
)
from medpodium.scoring.evidence.effects import effect_sizes
from medpodium.scoring.evidence.intervals.means import bounds_of
from medpodium.scoring.evidence.sensitivity import domain_gap
from medpodium.scoring.evidence.stability import compare
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.blocks import MEAN, Block
from medpodium.scoring.ranking.challenger import METHODS, Method, method_steps
from medpodium.scoring.ranking.ranks import rank_columns
from medpodium.scoring.ranking.recipe import Prepared
from medpodium.scoring.ranking.settled import Settled
from medpodium.scoring.ranking.significance import PairedTests, Positions, adjust, friedman

ALPHA = 0.05
ADJUST: Adjustment = "holm"


def block_tables(settled: Settled, units: Units, seed: int, n_resamples: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (table name, rows without the task) for every ranked metric and structure of one task.

    Effect sizes and domain gaps are given for whole cases and for the mean over structures. Whatever speaks of chance
    counts the independent units.
    """
    names = settled.submissions
    found = [block for block in settled.blocks if block.metric in settled.ranked]
    for block in found:
        if n_resamples and settled.groups and _is_headline(block, found):
            own = units.among(block.cases)
            bounds = bounds_of(settled.bounds.get(block.metric), block.values)
            rows = domain_gap(block, settled.groups, names, own, seed=seed, n_resamples=n_resamples, bounds=bounds)
            yield "domain_gap.csv", _named(rows, block)
        block = block.without_empty()
        own = units.among(block.cases)
        joined = own.of_case if own.clustered else None
        ranks = block.ranks()
        yield "case_ranks.csv", _named(_case_ranks(block, names, ranks), block)
        yield "case_rank_counts.csv", _named(_case_rank_counts(names, ranks), block)
        yield "method_comparison.csv", _named(_methods(block, names, joined), block)
        if len(names) > 1:
            yield "significance.csv", _named(_significance(block, names, joined), block)
        if len(names) > 1 and _is_headline(block, found):
            yield "effect_sizes.csv", _named(effect_sizes(block, names, own), block)
        if len(names) > 2:
            yield from _friedman(block, names, joined)


def _is_headline(block: Block, found: list[Block]) -> bool:
    alone = not any(other.metric == block.metric and other.structure == MEAN for other in found)
    return alone or block.structure == MEAN


def _named(rows: pd.DataFrame, block: Block) -> pd.DataFrame:
    return rows.assign(metric=block.metric, structure=block.structure)


def _case_ranks(block: Block, names: tuple[str, ...], ranks: npt.NDArray[np.float64]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "case": np.repeat(block.cases, len(names)),
            "submission": np.tile(names, len(block.cases)),
            "value": block.values.reshape(-1),
            "rank": ranks.reshape(-1),
        }
    )


def _case_rank_counts(names: tuple[str, ...], of_cases: npt.NDArray[np.float64]) -> pd.DataFrame:
    rows = []
    for name, column in zip(names, of_cases.T, strict=True):
        ranks, numbers = np.unique(column[~np.isnan(column)], return_counts=True)
        rows += [(name, rank, number) for rank, number in zip(ranks.tolist(), numbers.tolist(), strict=True)]
    return pd.DataFrame(rows, columns=["submission", "rank", "n"])


def _methods(block: Block, names: tuple[str, ...], joined: Positions | None) -> pd.DataFrame:
    """Rank by challengeR's methods; a submission is left out of the cases that do not count for it.

    Tests count the independent units, which challengeR does not know.
    """
    array = block.array(names)
    variants: list[tuple[str, Method, Adjustment]] = [(name, name, "none") for name in METHODS]
    variants.append(("test-then-rank-holm", "test-then-rank", "holm"))
    labels, values, ranks = [], [], []
    for label, method, adjustment in variants:
        if method == "test-then-rank" and joined is not None:
            tests = PairedTests(block.values, higher_better=block.better == "higher", units=joined)
            share = tests.wins(np.ones((1, tests.number)), ALPHA, adjustment)
            own = share[0], rank_columns(-share.T, "min")[:, 0]
        else:
            run = Prepared(array, method_steps(method, adjust=adjustment)).run()
            own = run.values[0], run.ranks[0]
        labels += [label] * len(names)
        values.append(own[0])
        ranks.append(own[1])
    return pd.DataFrame(
        {
            "method": labels,
            "submission": names * len(variants),
            "n_cases": np.tile(block.counts(), len(variants)),
            "value": np.concatenate(values),
            "rank": np.concatenate(ranks),
        }
    )


def _significance(block: Block, names: tuple[str, ...], joined: Positions | None) -> pd.DataFrame:
    tests = PairedTests(block.values, higher_better=block.better == "higher", units=joined)
    ones = np.ones((1, tests.number))
    off = ~np.eye(len(names), dtype=bool)
    first, second = np.nonzero(off)
    p = tests.p_values(ones)[0][off]
    adjusted = adjust(p, ADJUST)
    return pd.DataFrame(
        {
            "submission": np.asarray(names)[first],
            "versus": np.asarray(names)[second],
            "n_pairs": tests.pairs(ones)[0][off].astype(int),
            "p_value": p,
            "p_adjusted": adjusted,
            "adjust": ADJUST,
            "significant": np.where(np.isnan(adjusted), np.inf, adjusted) <= ALPHA,
        }
    )


def _friedman(block: Block, names: tuple[str, ...], joined: Positions | None) -> Iterator[tuple[str, pd.DataFrame]]:
    result = friedman(block.values, higher_better=block.better == "higher", alpha=ALPHA, units=joined)
    summary = {
        "n_cases": result.n_cases,
        "n_units": result.n_units,
        "n_submissions": len(names),
        "statistic": result.statistic,
        "p_value": result.p_value,
        "critical_difference": result.critical_difference,
    }
    yield "friedman.csv", _named(pd.DataFrame([summary]), block)
    first, second = np.nonzero(~np.eye(len(names), dtype=bool))
    rows = {
        "submission": np.asarray(names)[first],
        "versus": np.asarray(names)[second],
        "n_cases": result.n_cases,
        "n_units": result.n_units,
        "mean_rank": result.mean_ranks[first],
        "versus_mean_rank": result.mean_ranks[second],
        "p_value": result.nemenyi[first, second],
    }
    yield "nemenyi.csv", _named(pd.DataFrame(rows), block)


def consensus_tables(rankings: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (table name, rows) about several tasks that rank the same submissions.

    Raises
    ------
    MedpodiumError
        If the tasks do not rank the same submissions.
    """
    for result in (euclidean(rankings), borda(rankings), copeland(rankings)):
        rows = {"method": result.method, "submission": result.submissions, "score": result.scores, "rank": result.ranks}
        yield "consensus.csv", pd.DataFrame(rows).sort_values(["rank", "submission"])
    names = euclidean(rankings).submissions
    if len(names) <= MAX_LINEAR:
        exact = kemeny(rankings, "weak" if len(names) <= MAX_WEAK else "linear", listed=1)
        own: dict[str, Any] = {"method": "kemeny", "submission": names, "score": float(exact.distance)}
        own["optima"] = exact.n_optima
        yield "consensus.csv", pd.DataFrame({**own, "rank": exact.optima[0]}).sort_values(["rank", "submission"])
    ranks = {task: np.array([own[name] for name in names]) for task, own in rankings.items()}
    yield "rank_dissimilarities.csv", compare(ranks).rename(columns={"first": "task_1", "second": "task_2"})
    linkages: tuple[Literal["complete", "average"], ...] = ("complete", "average")
    for linkage in linkages:
        merges = [
            (linkage, step, height, "; ".join(left), "; ".join(right))
            for step, (height, left, right) in enumerate(cluster_tasks(rankings, linkage), start=1)
        ]
        columns = ["linkage", "step", "height", "left", "right"]
        yield "task_clusters.csv", pd.DataFrame(merges, columns=columns)
