"""Concordance and time-dependent areas under case weights: pair by pair, on repeated rows."""

from __future__ import annotations

import os

import numpy as np
import pytest

from medpodium.scoring.measures.pooled import survival

SETS = int(os.environ.get("MEDPODIUM_RANDOM_SETS", "120"))
"""Random sets per test; 1,000 were tried once, some are enough to see that nothing broke."""


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return times, events, risks of two teams and counts of a resample, with ties of times and risks, and its rows."""
    rng = np.random.default_rng(seed)
    size = 8 + seed % 40
    time, risk = rng.exponential(10, size) + 0.1, rng.normal(0, 1, (size, 2))
    if seed % 2:
        time, risk = np.ceil(time / 3), np.round(risk)
    event = rng.random(size) < (0.3, 0.6, 0.95)[seed % 3]
    counts = rng.multinomial(size, np.full(size, 1 / size))
    return time, event, risk, counts[None].astype(float), np.repeat(np.arange(size), counts)


def harrell(time: np.ndarray, event: np.ndarray, risk: np.ndarray, weigh: np.ndarray | None = None) -> float:
    """Return the index pair by pair."""
    hits = total = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                weight = 1.0 if weigh is None else weigh[i]
                total += weight
                hits += weight * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return hits / total if total else np.nan


def free_of_censoring(time: np.ndarray, event: np.ndarray) -> list[float]:
    """Return the probability of not being censored until each time, factor by factor."""
    found = []
    for own in time:
        kept = 1.0
        for at in sorted(set(time[time <= own])):
            censored = ((time == at) & ~event).sum()
            at_risk = (time >= at).sum() - ((time == at) & event).sum()
            kept *= 1 - censored / at_risk if at_risk else 1.0
        found.append(kept)
    return found


def test_pair_by_pair() -> None:
    for seed in range(SETS):
        time, event, risk, weights, rows = drawn(seed)
        own = time[rows], event[rows], risk[rows, 0]
        found = survival.concordances(time, event, risk, weights)[0, 0]
        assert found == pytest.approx(harrell(*own), abs=1e-10, nan_ok=True), seed
        kept = np.array(free_of_censoring(*own[:2]))
        assert survival.censoring_survival(time, event, weights)[0][rows] == pytest.approx(kept, abs=1e-12), seed
        weigh = np.where(kept > 0, 1 / np.where(kept > 0, kept, 1) ** 2, 0)
        found = survival.concordances(time, event, risk, weights, uno=True)[0, 0]
        assert found == pytest.approx(harrell(*own, weigh), abs=1e-10, nan_ok=True), seed


def test_the_area_at_a_time_counts_every_case_against_every_control() -> None:
    """Cumulative cases weigh 1 over the chance of being uncensored, dynamic controls the same (Uno et al. 2007)."""
    defined = 0
    for seed in range(SETS):
        time, event, risk, weights, rows = drawn(seed)
        true, happened, said = time[rows], event[rows], risk[rows, 0]
        kept = np.array(free_of_censoring(true, happened))
        at = float(np.quantile(true, 0.5))
        won = whole = 0.0
        for one in np.flatnonzero(happened & (true <= at) & (kept > 0)):
            for other in np.flatnonzero(true > at):
                whole += 1 / kept[one]
                won += (float(said[one] > said[other]) + 0.5 * float(said[one] == said[other])) / kept[one]
        found = survival.areas_at(time, event, risk, weights, [at])[0, 0]
        if whole:
            assert found == pytest.approx(won / whole, abs=1e-9), seed
            defined += 1
        else:
            assert np.isnan(found), seed
    assert defined > SETS / 3


def test_nothing_to_compare_is_undefined() -> None:
    time, event = np.array([1.0, 2.0, 3.0]), np.zeros(3, dtype=bool)
    risk, weights = np.array([[3.0], [2.0], [1.0]]), np.ones((2, 3))
    assert np.isnan(survival.concordances(time, event, risk, weights)).all()
    assert np.isnan(survival.areas_at(time, event, risk, weights, [2.5])).all()
    event[:] = True
    assert (survival.concordances(time, event, risk, weights) == 1).all()
    assert (survival.concordances(time, event, -risk, weights, uno=True) == 0).all()
    risk[1] = np.nan  # left out
    assert (survival.areas_at(time, event, risk, weights, [1.5]) == 1).all()
