"""Coverage of rank confidence sets and of percentile intervals, by simulation.

Run ``python benchmarks/coverage.py`` (some minutes), or with ``--simulations 200`` for a rough look. Every setting
draws data sets from a known truth, and counts how often the sets contain all true ranks, each true rank, and how
often the percentile intervals of the mean contain the true mean: the plain one, known to be too narrow for few cases
(Efron and Tibshirani 1993, chapter 13), and the one widened for few cases that the evidence reports. Intervals of
skewed scores stay somewhat too narrow in any case, and the table shows by how much.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medpodium.scoring.evidence.bootstrap import stream, tally
from medpodium.scoring.evidence.confidence import case_mean_pairs, percentile_interval, rank_sets

Floats = npt.NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Setting:
    """A truth to draw from: true means per submission, and the noise of a case."""

    name: str
    means: tuple[float, ...]
    cases: int
    noise: Callable[[np.random.Generator, tuple[int, int]], Floats]
    round_to: int | None = None


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.normal(0.0, 0.1, shape)


def _heavy(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return 0.06 * rng.standard_t(3, shape)


def _skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return 0.1 * (rng.lognormal(0.0, 1.0, shape) - np.exp(0.5))


def _failures(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Mostly small errors, now and then a missed structure (score lower by 0.8), centred."""
    return rng.normal(0.0, 0.03, shape) - 0.8 * (rng.random(shape) < 0.1) + 0.08


SETTINGS = (
    Setting("all tied", (0.8,) * 6, 50, _normal),
    Setting("ties in pairs", (0.9, 0.9, 0.8, 0.8, 0.7, 0.7), 60, _normal),
    Setting("near-ties", (0.82, 0.815, 0.81, 0.805, 0.80, 0.70), 60, _normal),
    Setting("heavy tails (t, 3 degrees)", (0.9, 0.88, 0.86, 0.84, 0.82, 0.8), 60, _heavy),
    Setting("skewed (log-normal)", (0.9, 0.88, 0.86, 0.84, 0.82, 0.8), 60, _skewed),
    Setting("failures in a tenth of the cases", (0.85, 0.85, 0.83, 0.8, 0.8, 0.7), 80, _failures),
    Setting("few cases (10)", (0.9, 0.9, 0.85, 0.8, 0.75), 10, _normal),
    Setting("few heavy-tailed cases (12)", (0.9, 0.9, 0.85, 0.85, 0.75), 12, _heavy),
    Setting("few discrete cases (8)", (0.9, 0.9, 0.8, 0.8), 8, _normal, round_to=1),
    Setting("large field (15), near-ties", tuple(0.9 - 0.01 * i for i in range(15)), 40, _normal),
)


@dataclass(frozen=True)
class Coverage:
    """Shares of simulations in which the truth was covered."""

    setting: str
    simultaneous: float
    marginal: float
    plain: float
    widened: float
    error: float
    mean_width: float


def true_ranks(means: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return the best and the worst rank a submission's true mean allows (they differ in ties)."""
    truth = np.asarray(means)
    better = (truth[None, :] > truth[:, None]).sum(axis=1)
    worse = (truth[None, :] < truth[:, None]).sum(axis=1)
    return 1.0 + better, len(truth) - worse.astype(np.float64)


def draw(setting: Setting, rng: np.random.Generator) -> Floats:
    """Draw one data set, shape (n_cases, n_submissions); cases share a difficulty, as segmentations do."""
    shape = (setting.cases, len(setting.means))
    values = np.asarray(setting.means) + setting.noise(rng, shape) + rng.normal(0.0, 0.1, (setting.cases, 1))
    if setting.round_to is None:
        return values
    # random rounding keeps the mean: discrete scores with the same truth
    scale = 10.0**setting.round_to
    floor = np.floor(values * scale)
    return (floor + (rng.random(shape) < values * scale - floor)) / scale


def simulate(setting: Setting, simulations: int, n_resamples: int, seed: int) -> Coverage:
    """Return how often sets and intervals cover the truth."""
    best, worst = true_ranks(setting.means)
    number = len(setting.means)
    together = np.zeros(simulations, dtype=bool)
    each = np.zeros((simulations, number), dtype=bool)
    inside = np.zeros((2, simulations, number), dtype=bool)
    width = 0.0
    for index in range(simulations):
        rng = stream(seed, f"coverage/{setting.name}", index)
        values = draw(setting, rng)
        pairs = case_mean_pairs(values, n_resamples, seed + index, setting.name)
        sets = rank_sets(pairs, number, setting.cases, "case-mean", LEVEL)
        together[index] = bool(((sets.simultaneous[0] <= best) & (sets.simultaneous[1] >= worst)).all())
        each[index] = (sets.marginal[0] <= best) & (sets.marginal[1] >= worst)
        width += float((sets.simultaneous[1] - sets.simultaneous[0] + 1).mean())
        counts = tally(rng.integers(0, setting.cases, (n_resamples, setting.cases)), setting.cases)
        draws = counts @ values / setting.cases
        for row, units in enumerate((None, setting.cases)):
            low, high = percentile_interval(draws, LEVEL, n_units=units)
            inside[row, index] = (low <= np.asarray(setting.means)) & (high >= np.asarray(setting.means))
    error = float(np.sqrt(LEVEL * (1 - LEVEL) / simulations))
    return Coverage(
        setting.name,
        float(together.mean()),
        float(each.mean(axis=0).min()),
        float(inside[0].mean()),
        float(inside[1].mean()),
        error,
        width / simulations,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(f"nominal level {LEVEL}, {chosen.simulations} simulations, {chosen.resamples} resamples each")
    print(
        f"{'setting':34} {'cases':>5} {'all ranks':>9} {'worst rank':>10} {'plain':>7} {'widened':>7} {'set size':>8}"
    )
    for setting in SETTINGS:
        found = simulate(setting, chosen.simulations, chosen.resamples, chosen.seed)
        print(
            f"{found.setting:34} {setting.cases:5d} {found.simultaneous:9.3f} {found.marginal:10.3f} "
            f"{found.plain:7.3f} {found.widened:7.3f} {found.mean_width:8.2f}"
        )


if __name__ == "__main__":
    main()
