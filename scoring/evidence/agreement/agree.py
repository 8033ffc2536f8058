"""Agreement of raters: every coefficient that the ratings allow, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.findings import Finding, Severity
from medpodium.scoring.evidence.agreement.coefficients import (
    ICC_NAMES,
    Level,
    Weighting,
    intraclass,
    krippendorff_alpha,
    pairwise_kappa,
)
from medpodium.scoring.evidence.agreement.ratings import RatingCode, Ratings
from medpodium.scoring.evidence.bootstrap import stream
from medpodium.scoring.evidence.confidence import percentile_interval

Floats = npt.NDArray[np.float64]
COLUMNS = (
    "what",
    "coefficient",
    "kind",
    "raters",
    "n_items",
    "n_units",
    "value",
    "low",
    "high",
    "low_f",
    "high_f",
)
"""``what``: who is compared; ``kind``: weights, type of ICC or scale; ``raters``: a pair, or all; ``n_items``: those
that count; ``low, high``: 95 % by resampling items or clusters; ``low_f, high_f``: of an ICC by the F distribution."""
MOST_LEVELS = 20
"""More levels are measurements: kappa would count how often two measurements are the same to the last digit."""
LEAST_ITEMS = 5
"""Fewer items than this (or clusters) hold no interval."""


def agreement(
    tables: Sequence[Ratings], *, n_resamples: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, list[Finding]]:
    """Return every coefficient of every table, :data:`COLUMNS`, and what could not be said.

    Intervals are widened percentiles (:func:`medpodium.scoring.evidence.confidence.percentile_interval`) of a bootstrap
    that draws items, or clusters of them; ICCs have pingouin's besides, which assume normal ratings.

    Parameters
    ----------
    tables : sequence of Ratings
        What to compare.
    n_resamples, seed : int
        Of the bootstrap.
    """
    rows: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for own in tables:
        counts, n_units = _resampled(own, n_resamples, seed)
        found = list(_coefficients(own, counts))
        for place, (values, extra) in found:
            low, high = np.nan, np.nan
            if len(values) > 1 and n_units >= LEAST_ITEMS:
                low, high = (float(side[0]) for side in percentile_interval(values[1:, None], n_units=n_units))
            rows.append(
                {"what": own.what, **place, "n_units": n_units, "value": values[0], "low": low, "high": high, **extra}
            )
        if n_units < LEAST_ITEMS:
            cause = f"{n_units} items are too few for an interval"
            fix = f"give {LEAST_ITEMS} items or more"
            findings.append(Finding(RatingCode.TOO_FEW, own.what, cause, fix, Severity.WARNING))
        empty = [f"{place['coefficient']} ({place['kind']})" for place, (values, _) in found if np.isnan(values[0])]
        if empty:
            cause = f"{empty[0]} is not defined: all ratings are the same, or nobody shares an item"
            fix = "use items that differ, rated by the same people"
            findings.append(Finding(RatingCode.UNDEFINED, own.what, cause, fix, Severity.WARNING))
    return pd.DataFrame(rows, columns=list(COLUMNS)), findings


def _resampled(own: Ratings, n_resamples: int, seed: int) -> tuple[Floats, int]:
    """Return how often each item counts: once, then as drawn; and the number of independent units."""
    names, unit = np.unique(np.asarray(own.clusters, dtype=object).astype(str), return_inverse=True)
    rng = stream(seed, f"raters/{own.what}", 0)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n_resamples)[:, unit]
    return np.concatenate([np.ones((1, len(unit))), drawn.astype(np.float64)]), len(names)


def _coefficients(own: Ratings, counts: Floats) -> Iterator[tuple[dict[str, Any], tuple[Floats, dict[str, float]]]]:
    """Yield place in the table, and values for all counts with further columns."""
    known = ~np.isnan(own.values)
    first, second = np.triu_indices(len(own.raters), 1)
    shared = (known[:, first] & known[:, second]).sum(axis=0)
    weightings: tuple[Weighting, ...] = ("none", "linear", "quadratic") if own.ordered else ("none",)
    if len(np.unique(own.values[known])) <= MOST_LEVELS:
        for weighting in weightings:
            pairs = pairwise_kappa(own.values, counts, weighting)
            with np.errstate(invalid="ignore"):
                mean = pairs.mean(axis=1)  # undefined where one of them is
            place = {"coefficient": "kappa", "kind": weighting}
            yield {**place, "raters": "mean of pairs", "n_items": int(known.any(axis=1).sum())}, (mean, {})
            for at, (one, two) in enumerate(zip(first, second, strict=True)):
                names = f"{own.raters[one]}, {own.raters[two]}"
                yield {**place, "raters": names, "n_items": int(shared[at])}, (pairs[:, at], {})
    every = {"raters": "all"}
    if own.metric:
        found = intraclass(own.values, counts)
        limits = _f_intervals(own)
        for at, name in enumerate(ICC_NAMES):
            place = {"coefficient": "ICC", "kind": name, **every}
            yield {**place, "n_items": own.complete}, (found[:, at], {"low_f": limits[at][0], "high_f": limits[at][1]})
    levels: list[Level] = ["nominal", *(("ordinal",) if own.ordered else ())]
    if own.metric:
        levels += ["interval", *(("ratio",) if np.nanmin(own.values, initial=0.0) >= 0 else ())]
    pairable = int((known.sum(axis=1) >= 2).sum())
    for level in levels:
        place = {"coefficient": "alpha", "kind": level, **every}
        yield {**place, "n_items": pairable}, (krippendorff_alpha(own.values, counts, level), {})


def _f_intervals(own: Ratings) -> list[tuple[float, float]]:
    """Return pingouin's 95 % intervals of the six ICCs; NaN where it has none."""
    import pingouin

    whole = own.values[~np.isnan(own.values).any(axis=1)]
    if len(whole) < LEAST_ITEMS or np.ptp(whole) == 0:
        return [(np.nan, np.nan)] * len(ICC_NAMES)
    items, raters = np.indices(whole.shape)
    long = pd.DataFrame({"item": items.ravel(), "rater": raters.ravel(), "rating": whole.ravel()})
    with _unrounded(pingouin.options), np.errstate(divide="ignore", invalid="ignore"):
        table = pingouin.intraclass_corr(long, targets="item", raters="rater", ratings="rating")
    column = next(name for name in table.columns if str(name).startswith("CI95"))
    return [(float(low), float(high)) for low, high in table[column]]


@contextmanager
def _unrounded(theirs: dict[str, Any]) -> Iterator[None]:
    """Keep pingouin from rounding intervals to two decimals."""
    names = ("round.column.CI95", "round.column.CI95%")
    before = {name: theirs[name] for name in names if name in theirs}
    theirs.update(dict.fromkeys(before))
    try:
        yield
    finally:
        theirs.update(before)
