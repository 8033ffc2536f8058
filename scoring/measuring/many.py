"""Many pairs of masks at once: a thread per core, every reference prepared once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from os import PathLike
from pathlib import Path

from medpodium.findings import MedpodiumError
from medpodium.scoring.measuring.reference import Reference
from medpodium.scoring.measuring.request import DEFAULT, TOLERANCE_MM, Metrics, Structures, Tolerance
from medpodium.scoring.measuring.result import Measured, Measurements
from medpodium.scoring.measuring.sources import MaskLike, has_grid

Pair = tuple[MaskLike, MaskLike]
Outcome = Measured | MedpodiumError


def measure_many(
    pairs: Mapping[str, Pair] | Iterable[Pair],
    metrics: Metrics = DEFAULT,
    *,
    spacing: float | Sequence[float] | None = None,
    structures: Structures | None = None,
    tolerance_mm: Tolerance = TOLERANCE_MM,
    definitions: Mapping[str, str] | None = None,
    channel_axis: int | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Measurements:
    """Measure many pairs of masks in threads; the results do not depend on how many.

    Parameters
    ----------
    pairs : mapping of str to (reference, prediction), or iterable of them
        Masks as :func:`medpodium.measure` takes them. Without names, pairs are called by their prediction's file or
        their number from 0. Pairs with the same reference share it.
    metrics, spacing, structures, tolerance_mm, definitions
        As :class:`medpodium.Reference` takes them, for all pairs.
    channel_axis : int, optional
        Axis of the channels of every mask that is an array.
    workers : int, optional
        Number of threads; one per core that this process may use when left out.
    progress : callable, optional
        Called with (pairs done, pairs in all) after every pair, from the calling thread.

    Returns
    -------
    Measurements
        A mapping of name to :class:`Measured`, in the order given. A prediction that cannot be used counts the worst
        values, with the reason in its status and findings; a pair whose reference cannot be used is in ``failed``.

    Examples
    --------
    >>> import medpodium
    >>> many = medpodium.measure_many({"case 1": ("reference.nii.gz", "prediction.nii.gz")}, metrics=["dice"])
    >>> list(many)
    ['case 1']
    >>> round(many["case 1"].mean("dice"), 3)
    0.9
    """
    named = dict(pairs) if isinstance(pairs, Mapping) else _named(list(pairs))
    groups: dict[object, list[str]] = {}
    for name, (reference, _) in named.items():
        groups.setdefault(_identity(reference), []).append(name)
    prepare = partial(
        Reference,
        metrics=metrics,
        spacing=spacing,
        structures=structures,
        tolerance_mm=tolerance_mm,
        definitions=definitions,
    )

    def of_reference(names: list[str]) -> dict[str, Outcome]:
        given = named[names[0]][0]
        try:
            reference = prepare(given, channel_axis=None if has_grid(given) else channel_axis)
        except MedpodiumError as error:
            return dict.fromkeys(names, error)
        return {name: _outcome(reference, named[name][1], channel_axis) for name in names}

    results: dict[str, Outcome] = {}
    with ThreadPoolExecutor(workers or _cores()) as pool:
        waiting = [pool.submit(of_reference, names) for names in groups.values()]
        for done in as_completed(waiting):
            for name, outcome in done.result().items():
                results[name] = outcome
                if progress is not None:
                    progress(len(results), len(named))
    ordered = {name: results[name] for name in named}
    return Measurements(
        {name: one for name, one in ordered.items() if isinstance(one, Measured)},
        {name: one for name, one in ordered.items() if isinstance(one, MedpodiumError)},
    )


def _outcome(reference: Reference, prediction: MaskLike, channel_axis: int | None) -> Outcome:
    try:
        return reference.measure_or_count(prediction, channel_axis=None if has_grid(prediction) else channel_axis)
    except MedpodiumError as error:
        return error


def _identity(reference: MaskLike) -> object:
    """Return what two references have in common that are the same: a path, or the very object."""
    return str(Path(reference)) if isinstance(reference, (str, PathLike)) else id(reference)


def _named(pairs: Sequence[Pair]) -> dict[str, Pair]:
    names = [
        str(prediction) if isinstance(prediction, (str, PathLike)) else str(at)
        for at, (_, prediction) in enumerate(pairs)
    ]
    if len(set(names)) < len(names):
        names = [str(at) for at in range(len(pairs))]
    return dict(zip(names, pairs, strict=True))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
