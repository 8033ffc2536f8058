"""What numbers show besides scores: what was said against what is true, quantity by quantity."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.values import ValuesTask
from medpodium.scoring.kinds.values.pool import arrange
from medpodium.scoring.kinds.views import Pairs, View, Views
from medpodium.scoring.observations import case_groups


def make_views(challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
    """Return the views of a task; None where nothing was observed."""
    task = challenge.tasks[name]
    own = observations[observations["task"] == name]
    if own.empty or not isinstance(task, ValuesTask):
        return None
    cases, teams = sorted(own["case"].unique()), sorted(own["submission"].unique())
    parts: list[View] = []
    for key, quantity in task.measured.items():
        part = own[own["structure"] == key]
        if part.empty:
            continue
        of_case, truth, given, _ = arrange(part, cases, teams)
        title = quantity.title or key or "value"
        parts.append(Pairs(key or "value", title, np.asarray(of_case, dtype=np.intp), truth, given, quantity.unit))
    return Views(tuple(cases), tuple(teams), case_groups(own, cases), tuple(parts))
