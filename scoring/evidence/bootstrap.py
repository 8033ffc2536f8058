"""Resample the cases: which cases are drawn how often, and what ranking that gives.

Every draw counts as a case of its own. Chunks of fixed size have their own random stream, so a seed gives the
same resamples for any number of workers, and memory does not grow with the number of resamples per chunk.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from medpodium.challenges.schema.steps import Direction
from medpodium.findings import Finding, InfrastructureError, MedpodiumError
from medpodium.scoring.evidence.stability import kendall_with
from medpodium.scoring.measures.compiled import kernel
from medpodium.scoring.ranking.axes import RankingCode, ScoreArray, near, problem
from medpodium.scoring.ranking.recipe import Prepared, Run
from medpodium.scoring.scheduling.scheduler import Bound, Scheduler, SchedulerCode, ThreadScheduler

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
CHUNK = 250
"""Resamples per chunk; part of what a seed means, so it is not an option."""


@dataclass(frozen=True)
class Scheme:
    """What is drawn.

    Parameters
    ----------
    stratify : str, optional
        Group column: as many cases (or clusters) are drawn from every level as it has.
    cluster : str, optional
        Group column (patient, centre): whole levels are drawn instead of cases.
    """

    stratify: str | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class Bootstrap:
    """Rankings of many resamples of one task.

    Parameters
    ----------
    submissions : tuple of str
        Names.
    full : Run
        The data as they are (one row).
    ranks, values : ndarray of float, shape (n_resamples, n_submissions)
        Rank and ranked value per resample.
    columns : mapping of str to ndarray, shape (n_resamples, n_submissions)
        Results of the recipe's steps.
    taus : ndarray of float, shape (n_resamples,)
        Kendall's tau-b with the full ranking; NaN where either is a single tie.
    better : {"higher", "lower"}
        Direction of ``values``.
    cells : ndarray of float, shape (n_resamples, n_cells), optional
        Pooled values per resample, where the cases behind them are known.
    """

    submissions: tuple[str, ...]
    full: Run
    ranks: Floats
    values: Floats
    columns: Mapping[str, Floats]
    taus: Floats
    better: Direction
    cells: Floats | None = None


class Sampler:
    """Draws cases with replacement.

    Parameters
    ----------
    array : ScoreArray
        Its cases are drawn; pooled values always count once.
    scheme : Scheme
        Strata and clusters.
    """

    def __init__(self, array: ScoreArray, scheme: Scheme | None = None) -> None:
        scheme = scheme or Scheme()
        self._pooled = np.asarray(array.pooled or (False,) * len(array.cases))
        self._number = len(array.cases)
        free = np.flatnonzero(~self._pooled)
        strata = _levels(array, scheme.stratify)
        units = _levels(array, scheme.cluster) if scheme.cluster else None
        self._strata = [free[strata[free] == level] for level in sorted(set(strata[free]))]
        self._clusters = [_membership(members, units) for members in self._strata] if units is not None else None

    @property
    def n_units(self) -> int:
        """How many cases or clusters there are to draw."""
        if self._clusters is not None:
            return sum(len(membership) for membership in self._clusters)
        return sum(len(members) for members in self._strata)

    def draw(self, rng: np.random.Generator, size: int) -> Floats:
        """Return how often each case was drawn, shape (size, n_cases)."""
        counts = np.zeros((size, self._number))
        for index, members in enumerate(self._strata):
            units = len(members) if self._clusters is None else len(self._clusters[index])
            drawn = tally(rng.integers(0, units, size=(size, units)), units)
            if self._clusters is None:
                counts[:, members] = drawn
            else:
                counts[:, members] = drawn @ self._clusters[index]
        counts[:, self._pooled] = 1.0
        return counts


def _membership(members: Ints, units: npt.NDArray[np.str_]) -> Floats:
    """Return which cluster every case belongs to, shape (n_clusters, n_members); no level: a cluster of its own."""
    names = [str(units[case]) or f"case {case}" for case in members]
    distinct = sorted(set(names))
    matrix = np.zeros((len(distinct), len(members)))
    matrix[[distinct.index(name) for name in names], np.arange(len(members))] = 1.0
    return matrix


def tally(indices: Ints, number: int) -> Floats:
    """Count how often each position occurs in every row of indices.

    Parameters
    ----------
    indices : ndarray of int, shape (n_resamples, n_drawn)
        0-based positions.
    number : int
        Number of positions.
    """
    counts = np.zeros((indices.shape[0], number))
    _count(np.ascontiguousarray(indices), counts)
    return counts


@kernel
def _count(indices: Ints, counts: Floats) -> None:
    for row in range(indices.shape[0]):
        for column in range(indices.shape[1]):
            counts[row, indices[row, column]] += 1.0


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looking through the loaded libraries takes milliseconds: once is enough


def one_blas_thread() -> AbstractContextManager[object]:
    """Return a context in which matrix products use one thread.

    They are small here, so BLAS threads would only wait for each other (and for the chunks' own threads).
    """
    limited: AbstractContextManager[object] = _thread_pools().limit(limits=1, user_api="blas")
    return limited


def _levels(array: ScoreArray, name: str | None) -> npt.NDArray[np.str_]:
    if name is None:
        return np.full(len(array.cases), "")
    if name not in array.groups:
        raise problem(
            RankingCode.UNKNOWN_LABEL,
            "bootstrap",
            f"the scores have no group column {name!r}",
            near(name, array.groups),
        )
    return np.asarray(array.groups[name])


def stream(seed: int, purpose: str, chunk: int) -> np.random.Generator:
    """Return the random stream of one chunk; it depends on nothing but the seed, the purpose and its number."""
    key = (zlib.crc32(purpose.encode()), chunk)
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))


def chunks(number: int) -> Iterator[tuple[int, int]]:
    """Yield (chunk number, size) until ``number`` resamples are reached."""
    for index, start in enumerate(range(0, number, CHUNK)):
        yield index, min(CHUNK, number - start)


@dataclass(frozen=True)
class _Drawn:
    """What every chunk of resamples shares."""

    prepared: Prepared
    sampler: Sampler
    full_ranks: Floats
    seed: int
    task: str
    given: Ints | None


def _rank_chunk(drawn: _Drawn, job: tuple[int, int]) -> tuple[Run, Floats] | MedpodiumError:
    """Rank one chunk (number, size); what the recipe refuses is returned, so that it arrives as it is."""
    number, size = job
    try:
        if drawn.given is not None:
            counts = tally(drawn.given[number * CHUNK : number * CHUNK + size], len(drawn.prepared.array.cases))
        else:
            # a whole chunk, whatever is used of it: strata are drawn one after the other, so a shorter draw is another
            counts = drawn.sampler.draw(stream(drawn.seed, f"bootstrap/{drawn.task}", number), CHUNK)[:size]
        with one_blas_thread():
            run = drawn.prepared.run(counts)
        return run, kendall_with(drawn.full_ranks, run.ranks)
    except MedpodiumError as error:
        return error


def bootstrap(
    prepared: Prepared,
    n_resamples: int,
    *,
    seed: int = 0,
    task: str = "",
    scheme: Scheme | None = None,
    indices: Sequence[Sequence[int]] | Ints | None = None,
    workers: int = 1,
    scheduler: Scheduler | None = None,
    advance: Callable[[int], None] | None = None,
) -> Bootstrap:
    """Rank resamples of the cases.

    Parameters
    ----------
    prepared : Prepared
        Recipe and scores of one task.
    n_resamples : int
        Number of resamples; ignored when ``indices`` are given.
    seed : int
        With ``task``, determines the resamples.
    scheme : Scheme, optional
        Strata and clusters; plain cases when left out.
    indices : array_like of int, shape (n_resamples, n_drawn), optional
        0-based positions into ``prepared.array.cases`` to use instead of drawing.
    workers : int
        Threads; the result does not depend on it.
    scheduler : Scheduler, optional
        Where to run instead of this process's threads; the result does not depend on it either.
    advance : callable, optional
        Called with the number of resamples just finished.

    Raises
    ------
    MedpodiumError
        If there is only one case or one submission, or a group column is unknown.
    InfrastructureError
        If a chunk could not be computed anywhere.
    """
    array = prepared.array
    _need_two(array, task)
    full = prepared.run()
    sampler = Sampler(array, scheme)
    given = None if indices is None else np.asarray(indices, dtype=np.intp)

    jobs = list(chunks(n_resamples if given is None else len(given)))
    drawn = _Drawn(prepared, sampler, full.ranks[0], seed, task, given)
    place = scheduler or ThreadScheduler(workers)
    found: dict[int, tuple[Run, Floats]] = {}
    with one_blas_thread():
        for done in place.run(Bound(_rank_chunk, drawn), jobs):
            if isinstance(done.result, MedpodiumError):
                raise done.result
            if done.result is None:
                summary = done.error.summary if done.error else "no result"
                fix = "report this with the score table and the challenge file"
                raise InfrastructureError(Finding(SchedulerCode.JOB_FAILED, f"resamples of {task}", summary, fix))
            found[done.index] = done.result
            if advance is not None:
                advance(jobs[done.index][1])
    parts = [found[index] for index in range(len(jobs))]
    runs = [run for run, _ in parts]
    return Bootstrap(
        submissions=array.submissions,
        full=full,
        ranks=np.concatenate([run.ranks for run in runs]),
        values=np.concatenate([run.values for run in runs]),
        columns=_join([run.columns for run in runs], len(array.submissions)),
        taus=np.concatenate([taus for _, taus in parts]),
        better=full.better,
        cells=None if full.cells is None else np.concatenate([run.cells for run in runs if run.cells is not None]),
    )


def _join(parts: Sequence[Mapping[str, Floats]], n_submissions: int) -> dict[str, Floats]:
    """Put the chunks' columns together; a column no resample of a chunk has is blank there."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    sizes = [len(next(iter(part.values()))) if part else 0 for part in parts]
    return {
        name: np.concatenate(
            [part.get(name, np.full((size, n_submissions), np.nan)) for part, size in zip(parts, sizes, strict=True)]
        )
        for name in names
    }


def _need_two(array: ScoreArray, task: str) -> None:
    fix = "leave the bootstrap out, or add more"
    pooled = array.pooled or (False,) * len(array.cases)
    if pooled and all(pooled):
        text = "the scores are values over whole sets of cases, so there are no cases to draw"
        fix = "leave the bootstrap out, or score again: 'medpodium score' writes the cases behind pooled values, too"
        raise problem(RankingCode.ONE_CASE, task, text, fix)
    if sum(not own for own in pooled) < 2:
        raise problem(RankingCode.ONE_CASE, task, "there are fewer than two cases to draw", fix)
    if len(array.submissions) < 2:
        raise problem(RankingCode.ONE_SUBMISSION, task, "there is only one submission", fix)
