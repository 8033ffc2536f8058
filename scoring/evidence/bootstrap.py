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
from medpodium.scoring.evidence.units import Units, plural, tally, units_of
from medpodium.scoring.ranking.axes import RankingCode, ScoreArray, problem
from medpodium.scoring.ranking.recipe import Prepared, Run
from medpodium.scoring.scheduling.scheduler import Bound, Scheduler, SchedulerCode, ThreadScheduler

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
CHUNK = 250
"""Resamples per chunk; part of what a seed means, so it is not an option."""


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


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # looking through the loaded libraries takes milliseconds: once is enough


def one_blas_thread() -> AbstractContextManager[object]:
    """Return a context in which matrix products use one thread.

    They are small here, so BLAS threads would only wait for each other (and for the chunks' own threads).
    """
    limited: AbstractContextManager[object] = _thread_pools().limit(limits=1, user_api="blas")
    return limited


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
    units: Units
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
            counts = drawn.units.draw(stream(drawn.seed, f"bootstrap/{drawn.task}", number), CHUNK)[:size]
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
    units: Units | None = None,
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
    units : Units, optional
        What is drawn; single cases when left out.
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
        If there is only one case (or cluster) or one submission.
    InfrastructureError
        If a chunk could not be computed anywhere.
    """
    array = prepared.array
    units = units_of(array) if units is None else units.among(array.cases)
    _need_two(array, units, task)
    full = prepared.run()
    given = None if indices is None else np.asarray(indices, dtype=np.intp)

    jobs = list(chunks(n_resamples if given is None else len(given)))
    drawn = _Drawn(prepared, units, full.ranks[0], seed, task, given)
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


def _need_two(array: ScoreArray, units: Units, task: str) -> None:
    fix = "leave the bootstrap out, or add more"
    pooled = array.pooled or (False,) * len(array.cases)
    if pooled and all(pooled):
        text = "the scores are values over whole sets of cases, so there are no cases to draw"
        fix = "leave the bootstrap out, or score again: 'medpodium score' writes the cases behind pooled values, too"
        raise problem(RankingCode.ONE_CASE, task, text, fix)
    if units.number < 2:
        raise problem(RankingCode.ONE_CASE, task, f"there are fewer than two {plural(units.noun)} to draw", fix)
    if len(array.submissions) < 2:
        raise problem(RankingCode.ONE_SUBMISSION, task, "there is only one submission", fix)
