"""Every table that observations support, by the name of its file."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from medpodium.scoring.evidence.intervals.scores import Asked
from medpodium.scoring.evidence.observed import calibration, choices, curves, pairs, rounds, rules, survival
from medpodium.scoring.kinds.views import Certainty, Choices, Pairs, Places, Risks, Rounds, Rules, Sides, Views

MOST_LEVELS = 12
"""A group with more levels than this is no scale along which calibration is followed."""


def observed_tables(views: Views, asked: Asked) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (file name, rows) of everything that observations show.

    Parameters
    ----------
    asked : Asked
        Units, seed and number of resamples: those of the ranking.
    """
    units = asked.units
    titles = []
    for view in views.parts:
        unit = f" in {view.unit}" if isinstance(view, (Pairs, Risks)) and view.unit else ""
        titles.append((view.key, f"{view.title}{unit}", type(view).__name__.lower()))
        if isinstance(view, Choices):
            yield "confusion.csv", choices.confusion(view, views)
            if view.told:
                yield "hardest.csv", choices.hardest(view, views)
            yield "agreement.csv", choices.agreement(view, views)
        elif isinstance(view, Places):
            yield "places.csv", choices.places(view, views)
        elif isinstance(view, Certainty):
            yield "reliability.csv", calibration.reliability(view, views, units)
            if not view.positive:
                for group, levels in views.groups.items():
                    if 1 < len(set(levels) - {""}) <= MOST_LEVELS:
                        yield "calibration_levels.csv", calibration.by_level(view, views, group, units)
        elif isinstance(view, Pairs):
            yield "limits.csv", pairs.limits(view, views, units)
            yield "scatter.csv", pairs.scatter(view, views)
        elif isinstance(view, Rounds):
            yield "judges.csv", rounds.judges(view, views)
        elif isinstance(view, Rules):
            yield "extraction.csv", rules.extraction(view, views)
        elif isinstance(view, Risks):
            yield "risk_groups.csv", survival.risk_groups(view, views)
            yield "time_auc.csv", survival.areas_over_time(view, views, asked)
        elif isinstance(view, Sides):
            yield (
                "curves.csv",
                curves.curve_rows(view, views, units, n_resamples=asked.n_resamples, seed=asked.seed, task=asked.task),
            )
    yield "views.csv", pd.DataFrame(titles, columns=["part", "title", "view"])
