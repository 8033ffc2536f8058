"""How often intervals hold the truth, by simulation: the table of intervals that docs/statistics.md shows.

``python benchmarks/how_often/intervals.py`` prints it (some minutes), ``--write docs/statistics.md`` puts it between
its marker comments. Every setting draws data sets from a known truth and asks the package for the interval that it
would print of each (``printed``); beside it stand plain percentiles of the same resamples, widened ones and BCa.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.scoring.evidence.bootstrap import one_blas_thread, stream
from medpodium.scoring.evidence.confidence import bca_interval, percentile_interval
from medpodium.scoring.evidence.intervals import closed
from medpodium.scoring.evidence.intervals.means import (
    Ends,
    Influence,
    area_ends,
    mean_ends,
    median_ends,
    share_ends,
)
from medpodium.scoring.evidence.intervals.resamples import Resamples
from medpodium.scoring.evidence.units import Units
from medpodium.scoring.measures.pooled import curves

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]
LEVEL = 0.95
BATCH = 100
"""Data sets that share their draws."""
MARKERS = ("<!-- intervals: made by benchmarks/how_often/intervals.py -->", "<!-- intervals: end -->")
HEAD = "| interval of | scores | units | printed | holds | none | percentile | widened | BCa |"


@dataclass(frozen=True)
class Setting:
    """A truth to draw from.

    Parameters
    ----------
    what : {"mean", "median", "difference", "share", "difference of shares", "AUC"}
    scores : str
        Printed.
    units : int
        Cases, or clusters.
    draw : callable
        From a generator, a number of units and one of data sets to values, shape (n_rows, n_data_sets); rows of one
        unit follow each other.
    truth : float
    bounds : (float, float)
    size : int
        Rows of a unit.
    positive : int
        Of an AUC: how many of the units are positive.
    """

    what: str
    scores: str
    units: int
    draw: Draw
    truth: float
    bounds: tuple[float, float] = (-np.inf, np.inf)
    size: int = 1
    positive: int = 0


def _normal(rng: np.random.Generator, units: int, sets: int) -> Floats:
    return rng.normal(size=(units, sets))


def _skewed(rng: np.random.Generator, units: int, sets: int) -> Floats:
    return rng.lognormal(size=(units, sets))


def _good(rng: np.random.Generator, units: int, sets: int) -> Floats:
    return rng.beta(8, 1, (units, sets))


def _failing(share: float) -> Draw:
    def draw(rng: np.random.Generator, units: int, sets: int) -> Floats:
        return rng.normal(0.9, 0.03, (units, sets)) * (rng.random((units, sets)) >= share)

    return draw


def _one_fails(rng: np.random.Generator, units: int, sets: int) -> Floats:
    return rng.normal(0, 0.04, (units, sets)) - 0.8 * (rng.random((units, sets)) < 0.1)


def _yes(share: float) -> Draw:
    return lambda rng, units, sets: (rng.random((units, sets)) < share).astype(np.float64)


def _clustered(rng: np.random.Generator, units: int, sets: int) -> Floats:
    """Three cases per patient, four fifths of the variance between patients."""
    of_patient = np.sqrt(0.8) * rng.normal(size=(units, 1, sets))
    return np.asarray(of_patient + np.sqrt(0.2) * rng.normal(size=(units, 3, sets))).reshape(-1, sets)


def _clustered_yes(rng: np.random.Generator, units: int, sets: int) -> Floats:
    return (_clustered(rng, units, sets) < special.ndtri(0.9)).astype(np.float64)


def _paired(first: float, second: float) -> Draw:
    """Draw differences of two answers to the same questions, which are hard for both or for none."""

    def draw(rng: np.random.Generator, units: int, sets: int) -> Floats:
        hard = rng.normal(size=(units, sets))
        one, other = (
            np.sqrt(0.5) * hard + np.sqrt(0.5) * rng.normal(size=hard.shape) < special.ndtri(share)
            for share in (first, second)
        )
        return one.astype(np.float64) - other

    return draw


def _apart(area: float, positive: int) -> Draw:
    gap = np.sqrt(2) * special.ndtri(area)

    def draw(rng: np.random.Generator, units: int, sets: int) -> Floats:
        score = rng.normal(size=(units, sets))
        score[:positive] += gap
        return score

    return draw


_FAILED = -0.08
SETTINGS = (
    *(Setting("mean", "normal", n, _normal, 0.0) for n in (3, 5, 8, 20, 50, 100)),
    *(Setting("mean", "like a Dice of 0.89", n, _good, 8 / 9, (0, 1)) for n in (3, 5, 8, 20, 50, 100)),
    *(Setting("mean", "log-normal", n, _skewed, float(np.exp(0.5)), (0, np.inf)) for n in (5, 8, 20, 50, 100)),
    *(Setting("mean", "a tenth failed", n, _failing(0.1), 0.81, (0, 1)) for n in (5, 8, 20, 50, 100)),
    *(Setting("mean", "half failed", n, _failing(0.5), 0.45, (0, 1)) for n in (8, 20, 50, 100)),
    *(Setting("mean", "clusters of 3, ICC 0.8", n, _clustered, 0.0, size=3) for n in (8, 20, 50)),
    *(Setting("median", "normal", n, _normal, 0.0) for n in (8, 20, 50, 100)),
    *(Setting("median", "log-normal", n, _skewed, 1.0) for n in (8, 20, 50, 100)),
    *(Setting("median", "clusters of 3, ICC 0.8", n, _clustered, 0.0, size=3) for n in (8, 20, 50)),
    *(Setting("difference", "normal", n, _normal, 0.0) for n in (5, 8, 20, 50, 100)),
    *(Setting("difference", "one fails in a tenth", n, _one_fails, _FAILED, (-1, 1)) for n in (8, 20, 50, 100)),
    *(Setting("share", f"{p:g}", n, _yes(p), p, (0, 1)) for p in (0.5, 0.9, 0.98) for n in (8, 20, 50, 100)),
    *(Setting("share", "0.9, clusters of 3, ICC 0.8", n, _clustered_yes, 0.9, (0, 1), size=3) for n in (20, 50)),
    *(
        Setting("difference of shares", f"{p:g} and {q:g}", n, _paired(p, q), p - q, (-1, 1))
        for p, q in ((0.9, 0.8), (0.98, 0.95))
        for n in (8, 20, 50, 100)
    ),
    *(
        Setting("AUC", f"{area:g}, {own} positive", n, _apart(area, own), area, (0, 1), positive=own)
        for area in (0.76, 0.95)
        for own, n in ((10, 20), (10, 100), (25, 50), (50, 100))
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """How often intervals of one setting hold.

    Parameters
    ----------
    methods : tuple of str
        Of the printed ones.
    printed, none : float
        How often the printed interval holds, of those that there are, and how often there is none.
    others : tuple of float
        Plain percentiles, widened ones and BCa; NaN where it is not computed.
    """

    setting: Setting
    methods: tuple[str, ...]
    printed: float
    none: float
    others: tuple[float, float, float]


def simulate(setting: Setting, simulations: int, n_resamples: int, seed: int) -> Found:
    """Draw data sets and count how often their intervals hold."""
    methods: dict[str, int] = {}
    inside, there, others = [], [], []
    with one_blas_thread():
        for batch in range(-(-simulations // BATCH)):
            rng = stream(seed, f"intervals/{setting.what}/{setting.scores}/{setting.units}", batch)
            sets = min(BATCH, simulations - batch * BATCH)
            values = setting.draw(rng, setting.units, sets)
            drawn = Resamples(_units(setting), _cases(setting), n_resamples, seed=seed + batch, task=setting.scores)
            ends, resampled, value, moves = _ask(setting, values, drawn)
            there.append(ends.method != "")
            inside.append((ends.low <= setting.truth) & (setting.truth <= ends.high))
            for name in ends.method[ends.method != ""]:
                methods[name] = methods.get(name, 0) + 1
            rivals = [percentile_interval(resampled.T), percentile_interval(resampled.T, n_units=setting.units)]
            if moves is not None:
                rivals.append(bca_interval(value, resampled.T, -moves))
            others.append([(low <= setting.truth) & (setting.truth <= high) for low, high in rivals])
    known = np.concatenate(there)
    shares = [float(np.concatenate([own[at] for own in others]).mean()) for at in range(len(others[0]))]
    shares += [np.nan] * (3 - len(shares))
    named = tuple(sorted(methods, key=lambda name: -methods[name]))
    held = np.concatenate(inside)[known]
    return Found(setting, named, float(held.mean()), float(1 - known.mean()), (shares[0], shares[1], shares[2]))


def _cases(setting: Setting) -> list[str]:
    return [f"c{at}" for at in range(setting.units * setting.size)]


def _units(setting: Setting) -> Units:
    which = np.repeat(np.arange(setting.units), setting.size)
    names = tuple(f"u{at}" for at in range(setting.units))
    return Units(tuple(_cases(setting)), which, names, ("",) * setting.units, "patient" if setting.size > 1 else "")


def _ask(setting: Setting, values: Floats, drawn: Resamples) -> tuple[Ends, Floats, Floats, Floats | None]:
    """Return the printed intervals, the resampled numbers, the numbers, and how much every unit moves them."""
    if setting.what == "AUC":
        truth = (np.arange(setting.units) < setting.positive).astype(np.int64)
        found = [closed.placements(truth, own) for own in values.T]
        areas = np.array([area for area, _, _ in found])
        one, other = (np.array([own[at] for own in found]) for at in (1, 2))
        error = np.array([
            closed.delong(areas[at : at + 1], one[at : at + 1], other[at : at + 1])[0, 0] for at in range(len(areas))
        ]) ** 0.5  # fmt: skip
        weights = np.concatenate(list(drawn._counts()))
        return (
            area_ends(areas, error, setting.units),
            curves.areas(truth, values, weights).T,
            areas,
            None,
        )
    if setting.what == "median":
        median = np.median(values, axis=0)
        return median_ends(values, median, drawn), drawn.medians(values), median, None
    mean, resampled = values.mean(axis=0), drawn.means(values)
    influence = Influence.of_means(values, mean, drawn)
    if setting.what == "share":
        ends = share_ends(values, mean, drawn)
    elif setting.what == "difference of shares":
        number = np.full(len(mean), float(setting.units))
        ends = Ends.blank(len(mean), "")
        low, high = closed.paired_shares((values > 0).sum(axis=0), (values < 0).sum(axis=0), number)
        ends.put(np.ones(len(mean), dtype=bool), low, high, "adjusted wald")
    else:
        ends = mean_ends(mean, influence, lambda chosen: resampled[chosen], setting.bounds)
    return ends, resampled, mean, influence.moves


def _row(found: Found) -> str:
    own = found.setting
    shares = ["" if np.isnan(share) else f"{share:.3f}" for share in found.others]
    none = f"{found.none:.3f}" if found.none else ""
    cells = (own.what, own.scores, str(own.units), ", ".join(found.methods), f"{found.printed:.3f}", none, *shares)
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def table(found: Sequence[Found], simulations: int, n_resamples: int) -> str:
    """Return the table as Markdown."""
    error = np.sqrt(LEVEL * (1 - LEVEL) / simulations)
    words = (
        f"{simulations:,} data sets per setting, {n_resamples:,} resamples each; nominal level {LEVEL}, Monte-Carlo "
        f"standard error {error:.4f}. `none`: share of data sets that get no interval."
    )
    return "\n".join([words, "", HEAD, "|---" * (HEAD.count("|") - 1) + "|", *map(_row, found)])


def between_markers(text: str, inside: str) -> str:
    """Return a text with other content between its two marker comments."""
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return f"{before}{MARKERS[0]}\n{inside}\n{MARKERS[1]}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="only print settings whose name (as in the table) matches this")
    parser.add_argument("--write", type=Path, help="page with the two marker comments")
    chosen = parser.parse_args()
    found = []
    for setting in SETTINGS:
        if re.search(chosen.only, f"{setting.what}, {setting.scores}, {setting.units}"):
            found.append(simulate(setting, chosen.simulations, chosen.resamples, chosen.seed))
            print(_row(found[-1]), flush=True)
    if chosen.write is not None and not chosen.only:
        text = between_markers(chosen.write.read_text("utf-8"), table(found, chosen.simulations, chosen.resamples))
        chosen.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
