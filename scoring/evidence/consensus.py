"""One ranking out of several: consensus over tasks, and which tasks rank alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring.evidence.stability import average_ties, symmetric_difference
from medpodium.scoring.ranking.axes import RankingCode
from medpodium.scoring.ranking.ranks import rank_columns

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MAX_LINEAR = 20
"""Largest field for which the exact Kemeny order without ties is searched (memory grows like 2**n)."""
MAX_WEAK = 7
"""Largest field for which the exact Kemeny order with ties is searched (number of weak orders: 47,293)."""


def _stack(rankings: Mapping[str, Mapping[str, float]]) -> tuple[tuple[str, ...], Floats]:
    """Return the submissions and their ranks, shape (n_rankings, n_submissions)."""
    sets = {name: frozenset(ranks) for name, ranks in rankings.items()}
    if len(set(sets.values())) != 1:
        full = frozenset().union(*sets.values())
        name, lacking = next((name, sorted(full - own)) for name, own in sets.items() if own != full)
        raise MedpodiumError(
            Finding(
                RankingCode.NOT_POSSIBLE,
                f"consensus: {name}",
                f"{', '.join(lacking[:3])} is ranked in other tasks but not here",
                "a consensus needs the same submissions in every task: rank them last or leave them out",
            )
        )
    submissions = tuple(sorted(next(iter(sets.values()))))
    return submissions, np.array([[ranks[name] for name in submissions] for ranks in rankings.values()])


def _ranked(scores: Floats, *, smaller: bool) -> Floats:
    # scores are means of few halves or integers: nine digits separate what is different from what is rounding
    keys = np.round(scores if smaller else -scores, 9)
    return rank_columns(keys[:, None], "min")[:, 0]


@dataclass(frozen=True)
class Consensus:
    """Scores and ranks of one consensus method, in the order of ``submissions``."""

    method: str
    submissions: tuple[str, ...]
    scores: Floats
    ranks: Floats


def euclidean(rankings: Mapping[str, Mapping[str, float]]) -> Consensus:
    """Return the mean over tasks of the average-tied ranks, challengeR's Euclidean consensus (smaller is better)."""
    submissions, ranks = _stack(rankings)
    scores = np.array([average_ties(row) for row in ranks]).mean(axis=0)
    return Consensus("euclidean", submissions, scores, _ranked(scores, smaller=True))


def borda(rankings: Mapping[str, Mapping[str, float]]) -> Consensus:
    """Return Borda points: one per submission beaten and one half per tie, summed over tasks (more is better)."""
    submissions, ranks = _stack(rankings)
    wins = (ranks[:, :, None] < ranks[:, None, :]).sum(axis=(0, 2))
    ties = (ranks[:, :, None] == ranks[:, None, :]).sum(axis=(0, 2)) - len(ranks)
    scores = wins + ties / 2.0
    return Consensus("borda", submissions, scores, _ranked(scores, smaller=False))


def copeland(rankings: Mapping[str, Mapping[str, float]]) -> Consensus:
    """Return Copeland's score: majority contests won minus lost (more is better)."""
    submissions, ranks = _stack(rankings)
    preferred = (ranks[:, :, None] < ranks[:, None, :]).sum(axis=0)
    scores = np.sign(preferred - preferred.T).sum(axis=1).astype(np.float64)
    return Consensus("copeland", submissions, scores, _ranked(scores, smaller=False))


@dataclass(frozen=True)
class Kemeny:
    """All rankings with the smallest summed symmetric difference to the given ones.

    Parameters
    ----------
    submissions : tuple of str
        Names.
    distance : int
        The smallest sum.
    n_optima : int
        How many rankings reach it.
    optima : ndarray of float, shape (n_listed, n_submissions)
        The first of them, ties min.
    """

    submissions: tuple[str, ...]
    distance: int
    n_optima: int
    optima: Floats


def _pair_costs(ranks: Floats) -> tuple[Ints, Ints]:
    """Return the cost of placing i before j, and of tying them, summed over rankings, each shape (n, n)."""
    before = ranks[:, :, None] < ranks[:, None, :]
    tied = ranks[:, :, None] == ranks[:, None, :]
    # relations differ on one ordered pair for strict against tied, on two for opposite orders
    strict = (2 * before.transpose(0, 2, 1) + tied).sum(axis=0)
    tie = (~tied).sum(axis=0)
    return strict.astype(np.int64), tie.astype(np.int64)


def kemeny(
    rankings: Mapping[str, Mapping[str, float]], family: Literal["weak", "linear"] = "linear", *, listed: int = 10
) -> Kemeny:
    """Find the exact Kemeny consensus (Kemeny 1959): with ties (``weak``) or without (``linear``).

    Raises
    ------
    MedpodiumError
        If the field is too large for an exact search, or the tasks do not rank the same submissions.
    """
    submissions, ranks = _stack(rankings)
    limit = MAX_WEAK if family == "weak" else MAX_LINEAR
    if len(submissions) > limit:
        raise MedpodiumError(
            Finding(
                RankingCode.NOT_POSSIBLE,
                "consensus: kemeny",
                f"{len(submissions)} submissions are too many for an exact search ({limit} at most)",
                "use the Euclidean, Borda or Copeland consensus",
            )
        )
    strict, tie = _pair_costs(ranks)
    if family == "linear":
        distance, number, orders = _linear(strict, listed)
        optima = np.array([np.argsort(order) + 1.0 for order in orders])
        return Kemeny(submissions, distance, number, optima)
    best: int | None = None
    found: list[Ints] = []
    for levels in _weak_orders(len(submissions)):
        cost = _cost(levels, strict, tie)
        if best is None or cost < best:
            best, found = cost, []
        if cost == best:
            found.append(levels)
    optima = np.array([rank_columns(level[:, None].astype(np.float64), "min")[:, 0] for level in found[:listed]])
    return Kemeny(submissions, int(best or 0), len(found), optima)


def _cost(levels: Ints, strict: Ints, tie: Ints) -> int:
    total = 0
    for i, j in combinations(range(len(levels)), 2):
        if levels[i] == levels[j]:
            total += int(tie[i, j])
        else:
            total += int(strict[i, j] if levels[i] < levels[j] else strict[j, i])
    return total


def _weak_orders(n: int) -> Iterator[Ints]:
    """Yield the level of every item in each weak order of n items."""

    def place(left: tuple[int, ...], level: int, levels: Ints) -> Iterator[Ints]:
        if not left:
            yield levels.copy()
            return
        for size in range(1, len(left) + 1):
            for group in combinations(left, size):
                levels[list(group)] = level
                yield from place(tuple(item for item in left if item not in group), level + 1, levels)

    yield from place(tuple(range(n)), 0, np.zeros(n, dtype=np.int64))


def _linear(strict: Ints, listed: int) -> tuple[int, int, list[list[int]]]:
    """Find all cheapest linear orders by dynamic programming over subsets (Held and Karp's scheme)."""
    n = len(strict)
    size = 1 << n
    sets = np.arange(size, dtype=np.int64)
    cost = np.full(size, np.iinfo(np.int64).max // 2, dtype=np.int64)
    ways = np.zeros(size, dtype=np.int64)
    cost[0], ways[0] = 0, 1
    # after[i][S]: cost of placing item i after all items of S
    after = np.zeros((n, size), dtype=np.int32)
    for bit in range(n):
        block = slice(1 << bit, 1 << (bit + 1))
        after[:, block] = after[:, : 1 << bit] + strict[bit][:, None]
    members = np.zeros(size, dtype=np.int8)
    for bit in range(n):
        members += ((sets >> bit) & 1).astype(np.int8)
    for number in range(1, n + 1):
        layer = sets[members == number]
        options = np.full((n, len(layer)), np.iinfo(np.int64).max // 2, dtype=np.int64)
        for item in range(n):
            inside = (layer >> item) & 1 == 1
            rest = layer[inside] ^ (1 << item)
            options[item, inside] = cost[rest] + after[item, rest]
        cost[layer] = options.min(axis=0)
        for item in range(n):
            best = options[item] == cost[layer]
            ways[layer[best]] += ways[layer[best] ^ (1 << item)]
    orders = _unwind(cost, after, size - 1, n, listed)
    return int(cost[-1]), int(ways[-1]), orders


def _unwind(cost: Ints, after: npt.NDArray[np.int32], full: int, n: int, listed: int) -> list[list[int]]:
    orders: list[list[int]] = []

    def back(rest: int, tail: list[int]) -> None:
        if len(orders) >= listed:
            return
        if rest == 0:
            orders.append(tail)
            return
        for item in range(n):
            if rest >> item & 1:
                before = rest ^ (1 << item)
                if cost[before] + after[item, before] == cost[rest]:
                    back(before, [item, *tail])

    back(full, [])
    return orders


def cluster_tasks(
    rankings: Mapping[str, Mapping[str, float]], linkage: Literal["complete", "average"] = "complete"
) -> list[tuple[float, tuple[str, ...], tuple[str, ...]]]:
    """Cluster tasks by the symmetric difference of their rankings.

    Returns
    -------
    list of (height, tasks of one side, tasks of the other)
        Merges from the first to the last; empty for fewer than two tasks.
    """
    from scipy.cluster.hierarchy import linkage as link

    names: Sequence[str] = list(rankings)
    if len(names) < 2:
        return []
    _, ranks = _stack(rankings)
    distances = [float(symmetric_difference(ranks[i], ranks[j])) for i, j in combinations(range(len(names)), 2)]
    members: dict[int, tuple[str, ...]] = {index: (name,) for index, name in enumerate(names)}
    merges = []
    for step, (left, right, height, _) in enumerate(link(np.array(distances), method=linkage)):
        members[len(names) + step] = members[int(left)] + members[int(right)]
        merges.append((float(height), members[int(left)], members[int(right)]))
    return merges
