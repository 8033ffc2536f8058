"""A small challenge, scores for it, and hostile team names."""

from __future__ import annotations

import numpy as np
import pandas as pd

HOSTILE = {
    "html": "<img src=x onerror=alert(1)>",
    "formula": "=cmd|' /C calc'!A0",
    "latex": r"\input{/etc/passwd}$x_1$ 100% #{&~^",
    "markdown": "[click](javascript:alert(1)) **b** `c` | d",
}
"""A team name per language somebody might try to inject."""

CHALLENGE = """\
schema: 1
name: tiny
title: "Tiny challenge"
summary: Two organs in CT.
modality: [CT]
groups:
  domain: {title: Domain, levels: [seen, unseen]}
tasks:
  organs:
    kind: segmentation
    title: Organs
    empty: {both: best, reference: worst, prediction: worst}
    structures:
      liver: {label: 1, title: Liver}
      spleen: {label: 2, title: Spleen}
      kidney: {label: 3, title: Kidney}
    metrics:
      dice: {kind: dice, missing: worst, unconfirmed: {missing: "Nobody wrote it down"}}
      running_time: {kind: running_time, worst: 3600}
recipes:
  mean-then-rank:
    title: Mean, then rank
    steps:
      - select: {metric: dice}
      - mean: structure
      - mean: case
      - mean: metric
      - rank: {ties: min}
  rank-then-mean:
    title: Rank, then mean
    steps:
      - select: {metric: dice}
      - mean: structure
      - rank: {within: [case, metric], ties: min}
      - mean: [case, metric]
      - rank: {ties: min}
ranking: {organs: mean-then-rank}
debatable:
  organs: {recipes: [mean-then-rank, rank-then-mean], ties: [min, average]}
editions:
  "1": {}
"""


def make_scores(teams: list[str], cases: int = 14, step: float = 0.08, seed: int = 3) -> pd.DataFrame:
    """Return scores in which each team is better than the next by ``step``; one prediction is missing."""
    random = np.random.default_rng(seed)
    rows = []
    for place, team in enumerate(teams):
        for case in range(cases):
            group = "seen" if case % 2 else "unseen"
            key = {"challenge": "tiny", "edition": "1", "task": "organs", "submission": team, "case": f"c{case:02d}"}
            for structure in ("liver", "spleen", "kidney"):
                value = float(np.clip(0.93 - step * place + random.normal(0, 0.03), 0, 1))
                missing = place == len(teams) - 1 and case == 5
                row = {"structure": structure, "metric": "dice", "value": 0.0 if missing else value}
                rows.append({**key, **row, "status": "missing" if missing else "ok", "domain": group})
            time = {"structure": "", "metric": "running_time", "value": 5.0 + 3 * place + random.random()}
            rows.append({**key, **time, "status": "ok", "domain": group})
    return pd.DataFrame(rows)
