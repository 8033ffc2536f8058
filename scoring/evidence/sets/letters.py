"""Compact letter display: submissions that share a letter cannot be told apart (Piepho, JCGS 13, 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
MOST = 26 + 26**2
"""Letters a to z and aa to zz; a relation that needs more has no readable display."""


def letters(ranks: Floats, separated: Bools) -> list[str]:
    """Return the letters of every submission, joined by ``,`` beyond z.

    Two submissions share a letter if and only if they are not separated, and every letter stands for a largest set of
    submissions none of which are separated from each other (a maximal clique). That is what Piepho's insert-and-absorb
    algorithm gives, and it depends on nothing but the relation; the ranking only decides which letter comes first.

    Parameters
    ----------
    ranks : ndarray of float, shape (n_submissions,)
        NaN: not ranked, no letter.
    separated : ndarray of bool, shape (n_submissions, n_submissions)
        In either direction.

    Returns
    -------
    list of str
        All empty if more than :data:`MOST` letters would be needed.
    """
    ranked = np.flatnonzero(~np.isnan(ranks))
    alike = ~(separated | separated.T)
    np.fill_diagonal(alike, False)
    neighbours = {int(one): {int(two) for two in ranked if alike[one, two]} for one in ranked}
    sets = []
    for found in _cliques(set(), set(neighbours), set(), neighbours):
        sets.append(found)
        if len(sets) > MOST:
            return [""] * len(ranks)
    sets.sort(key=lambda members: (sorted(ranks[list(members)].tolist()), sorted(members)))
    names = [ascii_lowercase[index] for index in range(26)]
    names += [one + two for one in ascii_lowercase for two in ascii_lowercase]
    joint = "" if len(sets) <= 26 else ","
    return [
        joint.join(name for name, members in zip(names, sets, strict=False) if index in members)
        for index in range(len(ranks))
    ]


def _cliques(
    clique: set[int], open_to: set[int], done: set[int], neighbours: dict[int, set[int]]
) -> Iterator[frozenset[int]]:
    """Yield every maximal clique (Bron and Kerbosch, CACM 16, 1973, with Tomita's pivot)."""
    if not open_to and not done:
        if clique:
            yield frozenset(clique)
        return
    pivot = max(sorted(open_to | done), key=lambda item: len(open_to & neighbours[item]))
    for item in sorted(open_to - neighbours[pivot]):
        yield from _cliques(clique | {item}, open_to & neighbours[item], done & neighbours[item], neighbours)
        open_to = open_to - {item}
        done = done | {item}
