"""Tables of claims: how likely "better" is false, what margins say, and how many claims hold together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.evidence.claims import (
    ALPHA,
    compare,
    equivalent,
    false_claim,
    hommel_size,
    no_worse,
    true_claims,
    within,
)
from medpodium.scoring.evidence.sets.construct import value_contributions
from medpodium.scoring.evidence.sets.ranks import RankSets
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.ranking.blocks import MEAN, Block
from medpodium.scoring.ranking.recipe import Prepared, Ranking
from medpodium.scoring.ranking.settled import Settled
from medpodium.scoring.ranking.significance import adjust

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
EQUIVALENT, NON_INFERIOR = "equivalent", "non-inferior"


def pair_claims(
    contributions: Floats,
    names: Sequence[str],
    noun: str,
    margin: float | None,
    pairs: tuple[Ints, Ints] | None = None,
) -> pd.DataFrame:
    """Return what can be claimed of pairs of submissions by one number.

    P-values are adjusted by Holm's method over all pairs of the number, told or not: two at a time for equivalence,
    ordered for non-inferiority.

    Parameters
    ----------
    contributions : ndarray of float, shape (n_units, n_submissions)
        Their mean over units is the number; higher is better. NaN where a unit says nothing about a submission.
    names : sequence of str
        The submissions.
    noun : str
        What a unit is called.
    margin : float, optional
        Declared beforehand.
    pairs : pair of ndarray of int, optional
        Ordered pairs that are told, by position; all of them when left out.

    Returns
    -------
    DataFrame
        The columns of ``claims.csv`` after ``structure``.
    """
    number = len(names)
    first, second = np.nonzero(~np.eye(number, dtype=bool))
    if margin is None and pairs is not None:  # nothing to adjust, so nothing is computed that is not told
        first, second = pairs
    found = compare(contributions, first, second)
    nothing = np.full(len(first), np.nan)
    inside, p_equal, p_worse = nothing, nothing, nothing
    adjusted_equal, adjusted_worse = nothing, nothing
    if margin is not None:
        inside, p_equal, p_worse = within(found, margin), equivalent(found, margin), no_worse(found, margin)
        once = first < second
        square = np.full((number, number), np.nan)
        square[first[once], second[once]] = adjust(p_equal[once], "holm")
        adjusted_equal = np.fmax(square, square.T)[first, second]
        adjusted_worse = adjust(p_worse, "holm")
    with np.errstate(invalid="ignore"):
        verdict = np.where(
            adjusted_equal <= ALPHA, EQUIVALENT, np.where(adjusted_worse <= ALPHA, NON_INFERIOR, "")
        ).astype(object)
    named = np.asarray(names, dtype=object)
    frame = pd.DataFrame(
        {
            "submission": named[first],
            "versus": named[second],
            "unit": noun,
            "n_units": found.number,
            "difference": found.mean,
            "posterior": np.where(found.binary, "dirichlet", "student"),
            "false_claim": false_claim(found),
            "margin": np.nan if margin is None else margin,
            "within": inside,
            "p_equivalent": p_equal,
            "p_equivalent_adjusted": adjusted_equal,
            "p_no_worse": p_worse,
            "p_no_worse_adjusted": adjusted_worse,
            "verdict": verdict,
        }
    )
    frame = frame[found.number > 1]
    if margin is None or pairs is None:
        return frame
    told = np.zeros((number, number), dtype=bool)
    told[pairs] = True
    return frame[told[first, second][found.number > 1]]


def worth_telling(ranks: Floats) -> tuple[Ints, Ints]:
    """Return the ordered pairs of submissions worth a row per metric: the first against all, and neighbours."""
    order = np.argsort(ranks, kind="stable")
    order = order[~np.isnan(ranks[order])]
    chosen = np.zeros((len(ranks), len(ranks)), dtype=bool)
    if len(order):
        chosen[order[0], order] = True
        chosen[order[:-1], order[1:]] = True
        np.fill_diagonal(chosen, False)
    first, second = np.nonzero(chosen | chosen.T)
    return first, second


def unit_contributions(block: Block, units: Units) -> Floats:
    """Return what every unit contributes to each submission's mean over the cases, higher is better.

    The value of a case where every unit is one; else jackknife pseudo-values of the mean over cases, so that their mean
    is that mean however many cases a unit has.

    Returns
    -------
    ndarray of float, shape (n_units, n_submissions)
        NaN where a unit has no case with a score.
    """
    values = block.values if block.better == "higher" else -block.values
    own = units.among(block.cases)
    known = ~np.isnan(values)
    if not own.clustered:
        return np.where(block.incomplete, np.nan, values)
    sums, counts = np.zeros((2, own.number, values.shape[1]))
    real = own.of_case >= 0
    np.add.at(sums, own.of_case[real], np.where(known, values, 0.0)[real])
    np.add.at(counts, own.of_case[real], known[real])
    total, cases = sums.sum(axis=0), counts.sum(axis=0)
    n = (counts > 0).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        pseudo = n * total / cases - (n - 1) * (total - sums) / (cases - counts)
    return np.where((counts > 0) & ~block.incomplete, pseudo, np.nan)


def metric_claims(
    blocks: Sequence[Block], names: Sequence[str], ranks: Floats, units: Units, margins: Mapping[str, float]
) -> list[pd.DataFrame]:
    """Return the claims of every metric and structure about the pairs worth telling."""
    pairs = worth_telling(ranks)
    parts = []
    for block in blocks:
        found = pair_claims(unit_contributions(block, units), names, units.noun, margins.get(block.metric), pairs)
        parts.append(found.assign(metric=block.metric, structure=block.structure))
    return parts


def joint_claims(tests: pd.DataFrame) -> pd.DataFrame:
    """Count, for every ordered pair and metric, in how many structures it is surely better, all at level 0.05 at once.

    ``better`` and ``names`` are those that Holm's method rejects among all pairs, metrics and structures; they hold
    whatever the tests have to do with each other, and for whichever pair one looks at. ``at_least`` is how many of the
    pair's claims closed testing with Simes' tests guarantees to be true; it assumes that Simes' inequality holds for
    them (proven for positive dependence, as of structures of the same cases). ``alone`` is Holm's number if this pair
    had been the only one ever to be compared.

    Parameters
    ----------
    tests : DataFrame
        ``significance.csv`` of one task.
    """
    several = tests.groupby("metric")["structure"].transform("nunique") > 1
    tests = tests[~((tests["structure"] == MEAN) & several) & tests["p_value"].notna()].reset_index(drop=True)
    if tests.empty:
        return pd.DataFrame()
    p = tests["p_value"].to_numpy(dtype=np.float64)
    size = hommel_size(p)
    sure = adjust(p, "holm") <= ALPHA
    alone = np.zeros(len(tests), dtype=bool)
    for at in tests.groupby(["submission", "versus"], sort=False).indices.values():
        alone[at] = adjust(p[at], "holm") <= ALPHA
    structures = tests["structure"].to_numpy(dtype=object)
    rows = []
    keys = ["metric", "submission", "versus"]
    named = tests[keys].to_numpy(dtype=object)
    for at in tests.groupby(keys, sort=False).indices.values():
        shown = structures[at[sure[at]]]
        numbers = len(at), len(shown), true_claims(p[at], size), int(alone[at].sum())
        rows.append((*named[at[0]], *numbers, "; ".join(shown)))
    columns = [*keys, "n_claims", "better", "at_least", "alone", "names"]
    return pd.DataFrame(rows, columns=columns)


def claim_tables(
    settled: Settled,
    prepared: Prepared,
    ranking: Ranking,
    sets: RankSets | None,
    units: Units,
    margin: float | None,
    margins: Mapping[str, float],
    tests: Sequence[pd.DataFrame],
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (table name, rows without the task) of every claim about one task.

    Parameters
    ----------
    sets : RankSets, optional
        Which know what every unit contributes to the value that is ranked, where they were built from that.
    margin, margins
        Of the value that is ranked, and by metric.
    tests : sequence of DataFrame
        Rows of ``significance.csv``, perhaps of other tasks, too.
    """
    names = ranking.submissions
    members = units.among(prepared.array.cases).members
    own = sets.contributions if sets is not None else value_contributions(prepared, members)
    if own is not None:
        yield "claims.csv", pair_claims(own, names, units.noun, margin).assign(metric="", structure="")
    blocks = [block.without_empty() for block in settled.blocks if block.metric in settled.ranked]
    for rows in metric_claims(blocks, names, ranking.ranks, units, margins):
        yield "claims.csv", rows
    found = [rows for rows in tests if (rows["task"] == ranking.task).all()]
    if found:
        yield "joint_claims.csv", joint_claims(pd.concat(found, ignore_index=True))
