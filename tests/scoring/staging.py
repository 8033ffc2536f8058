"""Small staging challenges with answers of known quality, as LiQA's LiFS tasks are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

TEAMS = {"good": 1.4, "fair": 0.8, "poor": 0.2}
SETTING = "Contrast"


def write(folder: Path, cases: int = 80, seed: int = 0, teams: dict[str, float] | None = None) -> list[str]:
    """Write ``stages.csv`` and one table per team; return the arguments that name the teams' tables."""
    rng = np.random.default_rng(seed)
    names = [f"{number:04d}-x" for number in rng.permutation(cases)]
    stage, center = rng.integers(1, 5, cases), rng.choice(["A", "B1", "B2", "C"], cases)
    pd.DataFrame({"Case": names, "stage": [f"S{own}" for own in stage], "center": center}).to_csv(
        folder / "stages.csv", index=False
    )
    arguments = []
    for team, skill in (teams or TEAMS).items():
        signal = (stage - 2.5) * skill + rng.normal(0, 1.2, cases)
        table = pd.DataFrame(
            {
                "Case": names,
                "Setting": SETTING,
                "Subtask1_prob_S4": np.round(1 / (1 + np.exp(1 - signal)), 2),
                "Subtask2_prob_S1": np.round(1 / (1 + np.exp(1 + signal)), 2),
            }
        )
        if team == "poor":
            table = table.iloc[:-3]  # three cases without an answer
        table.to_csv(folder / f"{team}.csv", index=False)
        arguments += ["--predictions", f"{team}={folder / f'{team}.csv'}"]
    return arguments
