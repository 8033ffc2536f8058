"""The independent units of a task: what is drawn, left out, tested and counted wherever chance is spoken of.

Two lesions of one patient say less than lesions of two patients, so a case is a unit only where nothing joins it with
others. :func:`choose` decides once per run which group of the cases is the cluster, :func:`units_of` arranges the cases
of one task by it, and everything that resamples, leaves out, tests or counts asks the :class:`Units` it returns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.definition import Group
from medpodium.findings import Finding, Severity, UsageError
from medpodium.scoring.ranking.axes import RankingCode, ScoreArray, near
from medpodium.scoring.ranking.exact import means_by
from medpodium.scoring.ranking.pools import Pool

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
NONE = "none"
"""What is said to have every case be a unit of its own."""
PATIENT = "patient"
"""A group of this name is the cluster unless something else is said."""


@dataclass(frozen=True)
class Scheme:
    """By which groups the cases are arranged.

    Parameters
    ----------
    stratify : str, optional
        Group column: as many units are drawn from every level as it has.
    cluster : str, optional
        Group column (patient, centre): its levels are the units instead of cases.
    ignored : str, optional
        The group that would be the cluster, had nobody asked for none.
    default : bool
        Nobody asked for the cluster: the challenge file declares it, or it is called ``patient``.
    """

    stratify: str | None = None
    cluster: str | None = None
    ignored: str | None = None
    default: bool = False


def default_cluster(columns: Collection[str], groups: Mapping[str, Group]) -> str | None:
    """Return the group that is the cluster unless something else is asked for.

    Parameters
    ----------
    columns : collection of str
        Group columns of the scores (and observations).
    groups : mapping of str to Group
        As the challenge file declares them.
    """
    declared = [name for name in columns if name in groups and groups[name].cluster]
    named = [name for name in columns if name.casefold() == PATIENT]
    named = [name for name in named if name not in groups or groups[name].cluster is None]
    return next(iter([*declared, *named]), None)


def choose(
    columns: Collection[str],
    groups: Mapping[str, Group] | None = None,
    *,
    stratify: str | None = None,
    cluster: str | None = None,
    compat: bool = False,
) -> Scheme:
    """Decide how the cases are arranged.

    Parameters
    ----------
    columns : collection of str
        Group columns of the scores (and observations).
    groups : mapping of str to Group, optional
        As the challenge file declares them.
    stratify, cluster : str, optional
        What was asked for; ``none`` as cluster makes every case a unit.
    compat : bool
        As challengeR, which knows no clusters: none unless one is asked for.

    Raises
    ------
    UsageError
        If the scores have no such group.
    """
    for option, name in (("--stratify", stratify), ("--cluster", cluster)):
        if name is not None and name not in columns and not (option == "--cluster" and name == NONE):
            cause = f"the scores have no group column {name!r}"
            raise UsageError(Finding(RankingCode.UNKNOWN_LABEL, option, cause, near(name, columns)))
    own = default_cluster(columns, groups or {})
    if cluster is not None and cluster != NONE:
        return Scheme(stratify, cluster)
    if cluster == NONE or compat:
        return Scheme(stratify, None, ignored=own)
    return Scheme(stratify, own, default=own is not None)


@dataclass(frozen=True)
class Units:
    """The cases of a task and the independent units they form.

    Parameters
    ----------
    cases : tuple of str
        Names; values of whole sets of cases among them.
    of_case : ndarray of int, shape (n_cases,)
        Which unit a case belongs to; -1 for values of whole sets, which are no cases.
    names : tuple of str
        Name of every unit: the level of its group, or its case. Units of one stratum follow each other.
    strata : tuple of str
        Stratum of every unit; empty strings where there are none.
    cluster, stratify : str
        The groups; empty where every unit is one case, and where there are no strata.
    """

    cases: tuple[str, ...]
    of_case: Ints
    names: tuple[str, ...]
    strata: tuple[str, ...]
    cluster: str = ""
    stratify: str = ""

    @property
    def number(self) -> int:
        """How many units there are."""
        return len(self.names)

    @property
    def n_cases(self) -> int:
        """How many cases they have together."""
        return int((self.of_case >= 0).sum())

    @property
    def clustered(self) -> bool:
        """Whether some unit has several cases."""
        return self.number < self.n_cases

    @cached_property
    def members(self) -> tuple[Ints, ...]:
        """Positions of the cases of every unit."""
        order = np.argsort(self.of_case, kind="stable")
        starts = np.searchsorted(self.of_case[order], np.arange(self.number + 1))
        return tuple(order[start:stop] for start, stop in pairwise(starts))

    def among(self, cases: Sequence[str]) -> Units:
        """Return the same units of other cases, in their order: only those that have some of them.

        Names that are not known are values of whole sets.
        """
        place = {name: at for at, name in enumerate(self.cases)}
        old = np.array([self.of_case[place[name]] if name in place else -1 for name in cases], dtype=np.intp)
        kept = np.unique(old[old >= 0])
        new = np.where(old >= 0, np.searchsorted(kept, old), -1)
        names, strata = (tuple(all_[at] for at in kept) for all_ in (self.names, self.strata))
        return replace(self, cases=tuple(cases), of_case=new, names=names, strata=strata)

    def split(self, levels: Sequence[object]) -> Units:
        """Return the units with further strata: one level per unit."""
        strata = [f"{own}\x1f{level}" for own, level in zip(self.strata, levels, strict=True)]
        return replace(self, strata=tuple(strata))

    @cached_property
    def _blocks(self) -> list[Ints]:
        strata = np.asarray(self.strata)
        return [np.flatnonzero(strata == level) for level in sorted(set(self.strata))]

    def draw_units(self, rng: np.random.Generator, size: int) -> Floats:
        """Return how often each unit is drawn with replacement, shape (size, n_units)."""
        counts = np.zeros((size, self.number))
        for own in self._blocks:
            counts += tally(own[rng.integers(0, len(own), size=(size, len(own)))], self.number)
        return counts

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return how often each case is drawn, shape (size, n_cases); values of whole sets count once."""
        return self.spread(self.draw_units(rng, size))

    def spread(self, counts: Floats) -> Floats:
        """Return how often each case counts, given that of every unit, shape (n, n_cases)."""
        if np.array_equal(self.of_case, np.arange(counts.shape[1])):
            return counts
        whole = np.concatenate([counts, np.ones((len(counts), 1))], axis=1)
        return np.ascontiguousarray(whole[:, self.of_case])

    def means(self, values: Floats) -> Floats:
        """Return the mean of every unit's cases, rounded once, shape (n_units, ...); NaN cells do not count.

        Parameters
        ----------
        values : ndarray of float, shape (n_cases, ...)
        """
        if not self.clustered:
            return np.asarray(values[[own[0] for own in self.members]] if self.number else values[:0])
        flat = values.reshape(len(values), -1)
        return means_by(flat, self.of_case, self.number).reshape(self.number, *values.shape[1:])

    def words(self, number: int | None = None) -> str:
        """Return a number of units in words, all of them when left out: ``38 patients``."""
        number = self.number if number is None else number
        return f"{number:,} {self.noun if number == 1 else plural(self.noun)}"

    @property
    def noun(self) -> str:
        """What a unit is called."""
        return self.cluster.replace("_", " ") or "case"

    def about(self) -> dict[str, object]:
        """Return what a reader of the evidence has to know of the units."""
        groups = {"cluster": self.cluster or None, "stratify": self.stratify or None}
        return {"unit": self.noun, "units": self.number, "cases": self.n_cases, **groups}

    def findings(self, task: str) -> list[Finding]:
        """Say what the units are where they are no cases, and where chance is underestimated."""
        found = []
        if self.clustered:
            cause = f"{self.n_cases} cases of {self.words()}: {plural(self.noun)} are drawn, tested and counted"
            fix = f"nothing to do; --cluster {NONE} would take every case as independent"
            found.append(Finding(RankingCode.CLUSTERED, task, cause, fix, Severity.NOTE))
        alone = [level for level, own in zip(sorted(set(self.strata)), self._blocks, strict=True) if len(own) == 1]
        if self.stratify and alone:
            cause = (
                f"{len(alone)} level(s) of {self.stratify!r} have one {self.noun} (first {alone[0]!r}): it never varies"
            )
            fix = "read intervals as too narrow; merge small levels, or leave --stratify out"
            found.append(Finding(RankingCode.TOO_FEW_CASES, task, cause, fix, Severity.WARNING))
        return found


def plural(noun: str) -> str:
    """Return the plural of what a unit is called."""
    return noun if noun.endswith("s") else f"{noun}s"


def task_units(
    array: ScoreArray, scheme: Scheme, pool: Pool | None = None, task: str = ""
) -> tuple[Units, list[Finding]]:
    """Return the units of a task (:func:`units_of`), and what has to be said of them."""
    units = units_of(array, scheme, pool, task)
    found = units.findings(task)
    if scheme.ignored is not None:
        joined = units_of(array, Scheme(cluster=scheme.ignored), pool, task)
        if joined.clustered:
            cause = (
                f"{joined.n_cases} cases of {joined.words()} are taken as independent: intervals are too narrow and "
            )
            cause += "tests find too much"
            fix = f"use --cluster {scheme.ignored}, unless cases of one {joined.noun} have nothing in common"
            found.append(Finding(RankingCode.CLUSTER_IGNORED, task, cause, fix, Severity.WARNING))
    return units, found


def units_of(array: ScoreArray, scheme: Scheme | None = None, pool: Pool | None = None, task: str = "") -> Units:
    """Arrange the cases of a task, those behind pooled values included.

    A case without a level of the cluster is a unit of its own.

    Parameters
    ----------
    array : ScoreArray
        Cases and their groups.
    scheme : Scheme, optional
        Strata and clusters; every case is a unit when left out.
    pool : Pool, optional
        Further cases, behind pooled values.
    task : str
        For messages.

    Raises
    ------
    UsageError
        If a group is not known, or cases of one cluster lie in several strata: no draw keeps both the cluster whole and
        the strata as large as they are.
    """
    scheme = scheme or Scheme()
    cases = list(array.cases)
    real = {name for name, pooled in zip(cases, array.pooled or (False,) * len(cases), strict=True) if not pooled}
    added = [name for name in (pool.cases if pool is not None else ()) if name not in set(cases)]
    real |= set(added)
    cases += added
    stratum, level = (dict.fromkeys(cases, "") for _ in range(2))
    for group, into in ((scheme.stratify, stratum), (scheme.cluster, level)):
        if group is not None:
            into.update(_levels(array, pool, group))
    unit = {name: (1, level[name]) if level[name] else (0, name) for name in cases if name in real}
    strata: dict[tuple[int, str], str] = {}
    for name in cases:
        if name in real and strata.setdefault(unit[name], stratum[name]) != stratum[name]:
            raise _torn(scheme, level[name], strata[unit[name]], stratum[name], task)
    # without a cluster the units keep the order of the cases
    order = (
        sorted(strata, key=lambda own: (strata[own], own)) if scheme.cluster else sorted(strata, key=strata.__getitem__)
    )
    place = {own: at for at, own in enumerate(order)}
    return Units(
        cases=tuple(cases),
        of_case=np.array([place[unit[name]] if name in real else -1 for name in cases], dtype=np.intp),
        names=tuple(name for _, name in order),
        strata=tuple(strata[own] for own in order),
        cluster=scheme.cluster if scheme.cluster and len(order) < len(real) else "",
        stratify=scheme.stratify or "",
    )


def _levels(array: ScoreArray, pool: Pool | None, group: str) -> dict[str, str]:
    """Return the level of every case that has one, from the scores or from the observations."""
    found: dict[str, str] = {}
    sources = [(array.cases, array.groups)] + ([(pool.cases, pool.groups)] if pool is not None else [])
    known = sorted({name for _, groups in sources for name in groups})
    if group not in known:
        cause = f"the scores have no group column {group!r}"
        raise UsageError(Finding(RankingCode.UNKNOWN_LABEL, "bootstrap", cause, near(group, known)))
    for cases, groups in sources:
        for name, level in zip(cases, groups.get(group, ()), strict=False):
            found[name] = found.get(name) or str(level)
    return found


def _torn(scheme: Scheme, level: str, one: str, other: str, task: str) -> UsageError:
    cause = f"{scheme.cluster} {level!r} has cases in two levels of {scheme.stratify!r}: {one!r} and {other!r}"
    fix = f"stratify by what all cases of a {scheme.cluster} share, or leave --stratify out"
    return UsageError(Finding(RankingCode.TORN_CLUSTER, task or "bootstrap", cause, fix))


def tally(indices: Ints, number: int) -> Floats:
    """Count how often each position occurs in every row of indices.

    Parameters
    ----------
    indices : ndarray of int, shape (n_resamples, n_drawn)
        0-based positions.
    number : int
        Number of positions.
    """
    rows = indices.shape[0]
    places = indices + number * np.arange(rows)[:, np.newaxis]
    return np.bincount(places.ravel(), minlength=rows * number).reshape(rows, number).astype(np.float64)
