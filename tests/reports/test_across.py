"""Figures of all submissions at once: what they draw is what was given, with 3 submissions and with 60."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medpodium.reports.figures import across
from medpodium.reports.figures.palette import look

CASES = pd.DataFrame({"a": [0.9, 0.8, np.nan, 0.7], "b": [0.8, 0.8, 0.6, 0.9]})
"""Four cases of two submissions; one of them does not count for the first."""


def test_distances_are_those_to_the_best_of_a_case() -> None:
    higher, lower = across.distances(CASES, "higher"), across.distances(CASES, "lower")
    np.testing.assert_allclose(higher["a"], [0.0, 0.0, np.nan, 0.2])
    np.testing.assert_allclose(higher["b"], [0.1, 0.0, 0.0, 0.0], atol=1e-15)
    np.testing.assert_allclose(lower["b"], [0.0, 0.0, 0.0, 0.2], atol=1e-15)


def test_profiles_count_the_cases_of_a_submission() -> None:
    """At distance zero: 2 of the 3 cases of the first, 3 of the 4 of the second; far out all of them."""
    figure = across.profiles(CASES, ["a", "b"], look(["a", "b"]), "Dice", "higher")
    shares = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert shares["a"][0] == pytest.approx(200 / 3)
    assert shares["b"][0] == pytest.approx(75)
    assert shares["b"][-1] == pytest.approx(100)


@pytest.mark.parametrize("teams", [3, 60])
def test_maps_and_slopes_hold_every_submission(teams: int) -> None:
    names = [f"team {at}" for at in range(teams)]
    values = np.random.default_rng(1).random((teams, 104))
    wide = pd.DataFrame(values, index=names, columns=[f"structure {at}" for at in range(104)])
    figure = across.heat_map(wide, "mean Dice", "higher")
    (mesh,) = figure.axes[0].collections
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(teams, 104), values)
    assert len(figure.axes[0].get_yticklabels()) == teams
    ends = wide.iloc[:, :2].set_axis(["seen", "unseen"], axis=1)
    lines = across.slopes(ends, look(names), "Dice", "lower").axes[0]
    assert len(lines.get_lines()) == teams
    assert lines.yaxis_inverted()
    assert len(lines.texts) == min(teams, across.LINES)


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([39.0, 40.0, 43.0], [39.0, 43.0]),  # the middle one is too near
        ([1.0, 10.0, 11.0, 100.0], [1.0, 10.0, 100.0]),
        ([1.0, 1.1, 100.0], [1.0, 100.0]),
        ([7.0], [7.0]),
    ],
)
def test_few_sizes_are_named_and_never_side_by_side(places: list[float], expected: list[float]) -> None:
    assert across.spread(np.array(places)) == expected
