"""What the data carry of "one submission is better than another": false claims, margins, and many claims at once.

All of it is about means over independent units (cases, or clusters of them) of what two submissions contribute.

=================  ================================================================================================
false claim        Christodoulou et al., "False promises in medical imaging AI?" (arXiv 2505.04720): the probability,
                   under a flat prior, that the first is no better than the second
equivalence        two one-sided tests (Schuirmann 1987; Lakens 2017) against a margin that was declared beforehand,
                   and the posterior probability of a difference within it (region of practical equivalence: Kruschke
                   2013; Benavoli et al., JMLR 18, 2017)
joint statement    closed testing (Goeman and Solari, Statistical Science 26, 2011): how many of many claims are true
=================  ================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.scoring.evidence.sets.pairs import FEWEST

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
ALPHA = 0.05
_NODES = 200
"""Quadrature points of the posterior of two accuracies."""


@dataclass(frozen=True)
class Compared:
    """Paired differences of m pairs of submissions over units; positive where the first is better.

    Parameters
    ----------
    mean, error : ndarray of float, shape (m,)
        Mean difference and its standard error (sample standard deviation over the root of the number of units).
    number, positive, negative : ndarray of int, shape (m,)
        Units that both have, and those in which one is better.
    binary : ndarray of bool, shape (m,)
        Every unit is right or wrong (0 or 1): the claim is about two accuracies.
    """

    mean: Floats
    error: Floats
    number: Ints
    positive: Ints
    negative: Ints
    binary: Bools

    @property
    def thin(self) -> Bools:
        """Pairs that few units tell apart: what makes them differ is too rare to show its spread."""
        differing = self.positive + self.negative
        return np.asarray((self.error <= 0) | ((differing < FEWEST) & (2 * differing < self.number)))


_AT_ONCE = 128
"""So many pairs are compared at a time: all of them would need an array of units and pairs, many times over."""


def compare(contributions: Floats, first: Ints, second: Ints) -> Compared:
    """Compare pairs of submissions over the units that both have.

    Parameters
    ----------
    contributions : ndarray of float, shape (n_units, n_submissions)
        Higher is better; NaN where a unit says nothing about a submission.
    first, second : ndarray of int, shape (m,)
        Which submissions are compared.
    """
    parts = [
        _compare(contributions, first[at : at + _AT_ONCE], second[at : at + _AT_ONCE])
        for at in range(0, max(len(first), 1), _AT_ONCE)
    ]
    return Compared(
        *(np.concatenate([getattr(part, own.name) for part in parts]) for own in fields(Compared)),
    )


def _compare(contributions: Floats, first: Ints, second: Ints) -> Compared:
    known = ~np.isnan(contributions)
    number = (known[:, first] & known[:, second]).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = contributions[:, first] - contributions[:, second]
        noise = 1e-12 * np.nanmax(np.abs(contributions), initial=1e-300)
        gaps[np.abs(gaps) <= noise] = 0.0
        there = ~np.isnan(gaps)
        filled = np.where(there, gaps, 0.0)
        mean = filled.sum(axis=0) / number
        spread = np.where(there, gaps - mean, 0.0)
        spread[np.abs(spread) <= noise] = 0.0
        error = np.sqrt((spread**2).sum(axis=0) / (number - 1) / number)
    right = np.abs(contributions - 1) <= 1e-9
    whole: Bools = np.asarray((~known | right | (np.abs(contributions) <= 1e-9)).all(axis=0))
    few = number < 2
    return Compared(
        np.where(few, np.nan, mean),
        np.where(few, np.nan, error),
        np.asarray(number, dtype=np.intp),
        np.asarray((filled > 0).sum(axis=0), dtype=np.intp),
        np.asarray((filled < 0).sum(axis=0), dtype=np.intp),
        np.asarray(whole[first] & whole[second]),
    )


def false_claim(pairs: Compared) -> Floats:
    """Return the probability that "the first is better than the second" is false, shape (m,).

    For means it is that of Student's t: the posterior of the difference under a flat prior is ``mean + error t(n-1)``.
    For two accuracies on the same cases the four shares "both right", "only the first", "only the second" and
    "neither" have a uniform prior, so that those of the middle ones, x1 and x2 cases, have the posterior
    Dirichlet(x1 + 1, x2 + 1, n - x1 - x2 + 2); the share of x1 in x1 + x2 is then Beta(x1 + 1, x2 + 1), and the answer
    its distribution function at one half. Other pairs that few units tell apart get the larger of both: their spread
    rests on units not seen.
    """
    signs = special.betainc(pairs.positive + 1.0, pairs.negative + 1.0, 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        student = special.stdtr(pairs.number - 1.0, -pairs.mean / pairs.error)
    told = np.where(pairs.binary | (pairs.error <= 0), signs, np.where(pairs.thin, np.fmax(student, signs), student))
    return np.where(np.isnan(pairs.mean), np.nan, told)


def within(pairs: Compared, margin: float) -> Floats:
    """Return the posterior probability of a difference within the margin, shape (m,); NaN where nothing tells it.

    For means ``mean + error t(n-1)``, for accuracies the Dirichlet distribution of :func:`false_claim`: the share s of
    cases with one right answer is Beta(x1 + x2 + 2, n - x1 - x2 + 2), independent of how it is divided, so that the
    probability is one integral over s.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-margin - pairs.mean) / pairs.error, (margin - pairs.mean) / pairs.error
        told = special.stdtr(pairs.number - 1.0, high) - special.stdtr(pairs.number - 1.0, low)
    told = np.where(pairs.thin & ~pairs.binary, np.nan, told)
    at = np.flatnonzero(pairs.binary & ~np.isnan(pairs.mean))
    if len(at):
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        one, two = pairs.positive[at, None] + 1.0, pairs.negative[at, None] + 1.0
        neither = pairs.number[at, None] - pairs.positive[at, None] - pairs.negative[at, None] + 2.0
        share = special.betaincinv(one + two, neither, (nodes + 1) / 2)
        half = np.minimum(margin / share, 1.0) / 2
        inside = special.betainc(one, two, 0.5 + half) - special.betainc(one, two, 0.5 - half)
        told[at] = inside @ weights / 2
    return told


def no_worse(pairs: Compared, margin: float) -> Floats:
    """Return p-values of "the first is worse by the margin or more", shape (m,): small ones show non-inferiority.

    NaN for pairs that few units tell apart: no test knows how often they would differ by how much.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = special.stdtr(pairs.number - 1.0, -(pairs.mean + margin) / pairs.error)
    return np.where(pairs.thin, np.nan, p)


def equivalent(pairs: Compared, margin: float) -> Floats:
    """Return p-values of "the difference is the margin or more, either way", shape (m,): the larger of both tests."""
    turned = Compared(-pairs.mean, pairs.error, pairs.number, pairs.negative, pairs.positive, pairs.binary)
    return np.maximum(no_worse(pairs, margin), no_worse(turned, margin))


def hommel_size(p_values: Floats, alpha: float = ALPHA) -> int:
    """Return how many hypotheses the largest set has that Simes' test does not reject.

    Simes' test rejects a set of i hypotheses if some j-th smallest of its p-values is at most ``j alpha / i``. Among
    sets of a size that of the largest p-values is rejected last, so sorted p-values decide (Goeman, Meijer, Krebs and
    Solari, Biometrika 106, 2019). The j-th smallest of the i largest of m is the k-th of all, ``k = m - i + j``, so it
    rejects all i of at least ``(m - k) alpha / (alpha - p)``.
    """
    p = np.sort(p_values)
    m = len(p)
    if not m or p[-1] <= alpha:
        return 0
    useful = np.flatnonzero(p < alpha)
    if not len(useful):
        return m
    rest = m - (useful + 1.0)
    sizes = np.maximum(np.ceil(rest * alpha / (alpha - p[useful]) - 1e-9), rest + 1)
    return int(min(sizes.min() - 1, m))


def true_claims(p_values: Floats, size: int, alpha: float = ALPHA) -> int:
    """Return how many of the claims with these p-values are surely true: a lower bound for any choice of claims.

    All bounds hold at once with probability ``1 - alpha``, so the claims may be chosen after looking (Goeman and
    Solari 2011; shortcut of Goeman et al. 2019: the largest ``1 - u + #{p: size p <= u alpha}``).

    Parameters
    ----------
    p_values : ndarray of float, shape (n,)
        Of some of the hypotheses.
    size : int
        :func:`hommel_size` of all of them.
    """
    if not len(p_values):
        return 0
    if size == 0:
        return len(p_values)
    needed = np.maximum(np.ceil(size * np.sort(p_values) / alpha - 1e-9), 1.0)
    number = np.arange(1.0, len(needed) + 1)
    return max(0, int((number - needed + 1).max()))
