"""What an edition has to show of two submissions, asked of many simulated editions at once.

A simulated edition is how often each unit of the present one is drawn; a criterion answers for every one of them
whether it would have shown the pair's difference, by the tests and sets that the ranking itself uses.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.scoring.evidence.claims import ALPHA
from medpodium.scoring.evidence.sets.exact import MOST
from medpodium.scoring.evidence.sets.pairs import FEWEST, RESERVE, critical_value
from medpodium.scoring.evidence.sets.ranks import LEVEL
from medpodium.scoring.ranking.significance import PairedTests, adjust

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Criterion(Protocol):
    """What has to be shown of a pair."""

    def shown(self, counts: Floats) -> Bools:
        """Say which simulated editions show it, shape (n_editions,).

        Parameters
        ----------
        counts : ndarray of float, shape (n_editions, n_units)
            How often each unit is drawn; every row has the same sum, the size of the edition.
        """
        ...


def shifted(values: Floats, pair: tuple[int, int], difference: float | None) -> Floats:
    """Return the values with another mean difference of a pair, its spread left as it is; ``None`` leaves all.

    Parameters
    ----------
    values : ndarray of float, shape (n_units, n_submissions)
    """
    if difference is None:
        return values
    moved = values.copy()
    moved[:, pair[0]] += difference - float(np.nanmean(values[:, pair[0]] - values[:, pair[1]]))
    return moved


class _Means:
    """Means of paired differences of all pairs, the one in question first; pairs with gaps are left out."""

    def __init__(self, values: Floats, pair: tuple[int, int]) -> None:
        number = values.shape[1]
        first, second = np.triu_indices(number, 1)
        own = ((first == min(pair)) & (second == max(pair))).argmax()
        order = np.concatenate([[own], np.delete(np.arange(len(first)), own)])
        first, second = first[order], second[order]
        first[0], second[0] = pair
        gaps = values[:, first] - values[:, second]
        whole: Bools = np.asarray(~np.isnan(gaps).any(axis=0))
        if not whole[0]:  # units that one of the two lacks say nothing about the pair
            gaps, whole = gaps[:, :1], whole[:1]
            gaps = np.where(np.isnan(gaps), np.nanmean(gaps), gaps)
            whole[:] = True
        self.n_pairs = number * (number - 1) // 2
        self.gaps = gaps[:, whole]
        self.observed = self.gaps.mean(axis=0)

    def moments(self, counts: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard error of every pair's difference in every edition, shape (n_editions, n_pairs)."""
        size = counts.sum(axis=1, keepdims=True)
        centred = self.gaps - self.observed
        shift = counts @ centred / size
        variance = np.maximum(counts @ centred**2 / size - shift**2, 0.0) / (size - 1)
        return self.observed + shift, np.sqrt(variance)


class Separated(_Means):
    """The simultaneous rank sets tell the pair apart, as :mod:`medpodium.scoring.evidence.sets.pairs` decides.

    What the bootstrap of an edition finds as critical value is the same quantile of these very editions, because they
    are drawn from the same units. No step down is made, and few differing units are told apart by the sign test.
    """

    def shown(self, counts: Floats) -> Bools:
        """Say which simulated editions show it, shape (n_editions,)."""
        size = float(counts[0].sum())
        mean, error = self.moments(counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            centred = np.abs(mean - self.observed) / error
            own = np.where(error[:, 0] > 0, mean[:, 0] / error[:, 0], 0.0)
        finite = np.where(np.isfinite(centred), centred, 0.0).astype(np.float32)
        share = (1 - LEVEL) / (1 + RESERVE / size) * finite.shape[1] / self.n_pairs
        critical = critical_value(finite, share)
        more, fewer = counts @ (self.gaps[:, 0] > 0), counts @ (self.gaps[:, 0] < 0)
        differing = more + fewer
        thin = (differing < FEWEST) | ((differing <= MOST) & (2 * differing < size))
        p = np.where(more > 0, 2 * special.betainc(np.maximum(more, 1), fewer + 1, 0.5), 1.0)
        return np.where(thin, p <= (1 - LEVEL) / self.n_pairs, own > critical)


class Equivalent(_Means):
    """Two one-sided tests show a difference within the margin, adjusted by Holm's method over all pairs."""

    def __init__(self, values: Floats, pair: tuple[int, int], margin: float) -> None:
        super().__init__(values, pair)
        self._margin = margin

    def shown(self, counts: Floats) -> Bools:
        """Say which simulated editions show it, shape (n_editions,)."""
        mean, error = self.moments(counts)
        freedom = counts.sum(axis=1, keepdims=True) - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            p = special.stdtr(freedom, -(self._margin - np.abs(mean)) / error)
        return np.asarray(adjust(np.where(error > 0, p, np.nan), "holm")[:, 0] <= ALPHA)


class Significant:
    """The one-sided Wilcoxon test finds the first better, adjusted by Holm's method over all ordered pairs.

    Parameters
    ----------
    values : ndarray of float, shape (n_units, n_submissions)
        Higher is better.
    pair : tuple of int
        Which is better, and than which.
    """

    def __init__(self, values: Floats, pair: tuple[int, int]) -> None:
        self._tests = PairedTests(values, higher_better=True)
        self._pair = pair
        self._off = ~np.eye(values.shape[1], dtype=bool)
        at = np.zeros(self._off.shape, dtype=bool)
        at[pair] = True
        self._own = int(np.flatnonzero(at[self._off])[0])

    def shown(self, counts: Floats) -> Bools:
        """Say which simulated editions show it, shape (n_editions,)."""
        p = self._tests.p_values(counts)[:, self._off]
        return np.asarray(adjust(p, "holm")[:, self._own] <= ALPHA)
