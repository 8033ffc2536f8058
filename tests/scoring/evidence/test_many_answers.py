"""What is done otherwise where many models answer many questions comes to the same as the plain way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medpodium.scoring.evidence import effects, sensitivity
from medpodium.scoring.ranking.blocks import Block
from medpodium.scoring.ranking.ranks import rank_columns

SCIPY = {"min": "min", "max": "max", "average": "average", "first": "ordinal", "dense": "dense"}


@pytest.mark.parametrize("ties", SCIPY)
def test_ranks_of_many_submissions_are_those_of_scipy(ties: str) -> None:
    rng = np.random.default_rng(0)
    for teams in (2, 23, 24, 60):
        keys = np.round(rng.normal(size=(3, teams, 5)), 1)
        keys[rng.random(keys.shape) < 0.1] = np.inf
        keys[rng.random(keys.shape) < 0.1] = np.nan
        expected = stats.rankdata(np.where(np.isnan(keys), np.inf, keys), SCIPY[ties], axis=1)
        found = rank_columns(keys, ties)  # type: ignore[arg-type]
        assert np.array_equal(np.isnan(found), np.isnan(keys))
        last = np.isnan(keys).any(axis=1, keepdims=True) & np.isinf(keys)  # shared with what has no rank here
        kept = ~np.isnan(keys) & ~last
        assert np.array_equal(found[kept], expected[kept]), teams


def test_superiority_of_right_and_wrong_answers_is_that_of_all_pairs() -> None:
    right = (np.random.default_rng(1).random((41, 6)) < np.linspace(0.2, 0.9, 6)).astype(float)
    found = effects.superiority(right)
    for one in range(6):
        for other in range(6):
            first, second = right[:, one][:, None], right[:, other][None, :]
            expected = np.nan if one == other else ((first > second) + 0.5 * (first == second)).mean()
            assert found[one, other] == pytest.approx(expected, abs=1e-15, nan_ok=True)


def test_gap_of_right_and_wrong_answers_is_that_of_drawn_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    level = np.where(np.arange(120) < 50, "easy", "hard")
    right = (rng.random((120, 3)) < np.where(level == "easy", 0.8, 0.6)[:, None]).astype(float)
    block = Block("right", "", right, "higher", tuple(f"q{at}" for at in range(120)))

    def gap() -> np.ndarray:
        rows = sensitivity.domain_gap(
            block, {"level": tuple(level)}, ("a", "b", "c"), seed=0, n_resamples=8000, bounds=(0.0, 1.0)
        )
        return rows[["gap", "low", "high"]].to_numpy(float)

    counted = gap()
    monkeypatch.setattr(sensitivity, "_FEW_VALUES", 0)
    drawn = gap()
    assert np.array_equal(counted[:, 0], drawn[:, 0])
    assert np.abs(counted - drawn).max() < 0.015  # a twelfth of the interval; quantiles of 8,000 draws
    assert (counted[:, 1] < counted[:, 0]).all()


@pytest.mark.parametrize("inside", [0, 1, 2])
def test_gap_of_a_level_with_hardly_any_answered_question(monkeypatch: pytest.MonkeyPatch, inside: int) -> None:
    """One question says nothing of how far its mean is off; a level may have cases of which nobody has a score."""
    right = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 5)
    right[inside:3] = np.nan
    level = ("rare",) * 3 + ("usual",) * 5
    block = Block("right", "", right, "higher", tuple(f"q{at}" for at in range(8)))

    def gap() -> np.ndarray:
        rows = sensitivity.domain_gap(block, {"level": level}, ("a", "b"), seed=0, n_resamples=200, bounds=(0.0, 1.0))
        return rows[["gap", "low", "high"]].to_numpy(float)

    counted = gap()
    monkeypatch.setattr(sensitivity, "_FEW_VALUES", 0)
    assert np.array_equal(counted, gap(), equal_nan=True)
    assert np.isnan(counted[:, 1:]).all() == (inside < 2)
