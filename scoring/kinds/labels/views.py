"""What labels show besides scores: the probabilities of each of them against the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.challenges.schema.classification import LabelsTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring.kinds.labels.pool import arrange
from medpodium.scoring.kinds.views import UNANSWERED, Certainty, Choices, Sides, View, Views
from medpodium.scoring.measures.pooled.multilabel import reaches
from medpodium.scoring.observations import case_groups

_SIDES = ("no", "yes")


def make_views(challenge: Challenge, name: str, observations: pd.DataFrame) -> Views | None:
    """Return the views of a task; None where nothing was observed."""
    task = challenge.tasks[name]
    own = observations[observations["task"] == name]
    if own.empty or not isinstance(task, LabelsTask):
        return None
    arranged = arrange(task, own)
    titles = task.structure_titles
    parts: list[View] = []
    for at, label in enumerate(task.labels):
        known = np.flatnonzero(arranged.truth[:, at] >= 0)
        if not len(known):
            continue
        truth, sure = arranged.truth[known, at], arranged.sure[known, :, at]
        lacks = np.isnan(sure)
        if ((sure == 0) | (sure == 1) | lacks).all():  # yes and no only: there is no curve to draw
            sides = np.where(lacks, UNANSWERED, reaches(sure, task.thresholds[at])).astype(np.int64)
            parts.append(Choices(f"sides-{label}", titles[label], known, _SIDES, truth, sides))
            continue
        score = np.where(lacks, np.where(truth == 1, -1.0, 2.0)[:, None], sure)
        parts.append(Sides(label, titles[label], known, truth, score))
        right = np.broadcast_to(truth[:, None], sure.shape).astype(np.float64)
        parts.append(Certainty(f"sure-{label}", titles[label], known, right, sure, lacks, positive=True))
    return Views(tuple(arranged.cases), tuple(arranged.teams), case_groups(own, arranged.cases), tuple(parts))
