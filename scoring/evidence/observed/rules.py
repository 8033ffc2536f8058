"""What other extraction rules would have read off the same replies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.scoring.kinds.views import Rules, Views


def extraction(view: Rules, views: Views) -> pd.DataFrame:
    """Return for every submission and rule which share of the replies is right, and has an answer.

    Returns
    -------
    DataFrame
        Columns part, submission, rule, scored (whether it is the rule that is scored by), n (questions), right, found,
        gained and lost (shares of the replies that are right by this rule only, and by the scored one only).
    """
    parts = []
    for at, name in enumerate(views.submissions):
        right = view.right[:, at]
        moved = right - right[:, :1]
        rows = {
            "rule": view.rules,
            "scored": np.arange(len(view.rules)) == 0,
            "n": len(right),
            "right": right.mean(axis=0),
            "found": view.found[:, at].mean(axis=0),
            "gained": np.maximum(moved, 0.0).mean(axis=0),
            "lost": np.maximum(-moved, 0.0).mean(axis=0),
        }
        parts.append(pd.DataFrame(rows).assign(submission=name))
    return pd.concat(parts, ignore_index=True).assign(part=view.key)
