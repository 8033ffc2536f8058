"""Whether the rounds of a judge agree, and how many of them hold no score."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.scoring.evidence.agreement.coefficients import krippendorff_alpha, pairwise_kappa
from medpodium.scoring.kinds.views import Rounds, Views


def judges(view: Rounds, views: Views) -> pd.DataFrame:
    """Return for every submission who judged it, and how far the rounds, taken as raters, agree.

    ``alpha`` is Krippendorff's for interval scores, ``kappa`` the mean of the quadratic weighted kappas of all pairs of
    rounds (by position among the scores that occur); both are blank for a single round, and where all scores are the
    same. Rounds without a score are left out of both, and counted.

    Returns
    -------
    DataFrame
        Columns part, submission, judge, n (documents with a round), rounds, unparsed, mean, alpha, kappa.
    """
    rows = []
    for at, name in enumerate(views.submissions):
        scores, given = view.scores[:, at], view.given[:, at]
        ones = np.ones((1, len(scores)))
        alpha = kappa = np.nan
        if scores.shape[1] > 1 and (~np.isnan(scores)).sum(axis=1).max(initial=0) > 1:
            with np.errstate(divide="ignore", invalid="ignore"):
                alpha = float(krippendorff_alpha(scores, ones, "interval")[0])
                pairs = pairwise_kappa(scores, ones, "quadratic")[0]
            known = pairs[np.isfinite(pairs)]
            kappa = float(known.mean()) if len(known) else np.nan
        known = ~np.isnan(scores)
        mean = float(scores[known].mean()) if known.any() else np.nan
        rows.append(
            (
                name,
                view.judges[at],
                int(given.any(axis=1).sum()),
                int(given.sum()),
                int((given & ~known).sum()),
                mean,
                alpha,
                kappa,
            )
        )
    columns = ["submission", "judge", "n", "rounds", "unparsed", "mean", "alpha", "kappa"]
    return pd.DataFrame(rows, columns=columns).assign(part=view.key)
