"""The exact sign-flip test, for pairs of submissions that few units tell apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MOST = 24
"""More differences than this are bounded, not enumerated: 2^24 flips are 2^12 sums of each half."""


def sign_flip(differences: Floats) -> float:
    """Return the two-sided p-value of the sum of some differences under all flips of their signs.

    Where two submissions are equally good, swapping them in a case changes nothing, so given their sizes all signs of
    the differences are equally likely (Fisher 1935; Pitman 1937). For differences of one size this is McNemar's exact
    test. More than :data:`MOST` differences get Hoeffding's upper bound of it, ``2 exp(-S^2 / (2 sum d^2))`` (JASA 58,
    1963).

    Parameters
    ----------
    differences : ndarray of float, shape (n,)
        Zeros do not matter.
    """
    sizes = np.abs(differences[differences != 0])
    if not len(sizes):
        return 1.0
    total = abs(float(differences.sum()))
    slack = 1e-9 * float(sizes.sum())  # sums in another order differ by rounding only
    if total <= slack:
        return 1.0
    if len(sizes) > MOST:
        return min(1.0, 2.0 * float(np.exp(-(total**2) / (2.0 * float(sizes @ sizes)))))
    left, right = _sums(sizes[::2]), np.sort(_sums(sizes[1::2]))
    reached = len(right) - np.searchsorted(right, total - slack - left, side="left")
    return min(1.0, 2.0 * float(reached.sum()) / 2.0 ** len(sizes))


def least(number: npt.NDArray[np.intp]) -> Floats:
    """Return the smallest p-value that so many differences can have: all of one sign."""
    exact = np.where(number > 0, 2.0 ** (1.0 - number), 1.0)
    return np.where(number > MOST, 2.0 * np.exp(-number / 2.0), exact)


def _sums(sizes: Floats) -> Floats:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums
