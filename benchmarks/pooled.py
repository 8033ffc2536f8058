"""Time the bootstrap of pooled metrics: 10 teams, 1,000 cases, 6 metrics, 1,000 resamples, through the whole recipe.

Run it anywhere::

    python benchmarks/pooled.py
    python benchmarks/pooled.py --teams 30 --cases 10000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge
from medpodium.scoring.evidence.bootstrap import bootstrap
from medpodium.scoring.evidence.tables.collect import Options, rank_task
from medpodium.scoring.evidence.tables.plan import plan_task
from medpodium.scoring.kinds.engine import score_task

CLASSES = ("S1", "S2", "S3", "S4")
RULES = """
schema: 1
name: staging
title: Staging
default_edition: "1"
tasks:
  staging:
    kind: classification
    files: {reference: stages.csv, prediction: answers.csv}
    classes: [S1, S2, S3, S4]
    problems: {late: {positive: [S4]}, early: {positive: [S1]}}
    metrics:
      auc_late: {kind: auc, problem: late}
      auc_early: {kind: auc, problem: early}
      sensitivity: {kind: sensitivity, problem: late}
      specificity: {kind: specificity, problem: late}
      balanced: {kind: balanced_accuracy}
      kappa: {kind: quadratic_kappa}
recipes:
  mean-of-ranks:
    steps: [mean: case, mean: structure, rank: {within: metric, ties: average}, mean: metric, rank: {ties: min}]
ranking: {staging: mean-of-ranks}
editions: {"1": {}}
"""


def make(folder: Path, teams: int, cases: int, seed: int = 0) -> tuple[Challenge, dict[str, Path]]:
    """Write rules, true classes and every team's table of probabilities; return the challenge and the tables."""
    rng = np.random.default_rng(seed)
    names = [f"case_{number:06d}" for number in range(cases)]
    truth = rng.integers(0, len(CLASSES), cases)
    pd.DataFrame({"Case": names, "stage": [CLASSES[own] for own in truth]}).to_csv(folder / "stages.csv", index=False)
    tables = {}
    for team in range(teams):
        logits = rng.normal(size=(cases, len(CLASSES))) + (0.5 + team / teams) * np.eye(len(CLASSES))[truth]
        probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        path = folder / f"team_{team:02d}.csv"
        pd.DataFrame({"Case": names, **dict(zip(CLASSES, probability.T, strict=True))}).to_csv(path, index=False)
        tables[path.stem] = path
    rules = folder / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    return registry.load(str(rules)), tables


def main() -> None:
    """Print the CPU seconds of every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teams", type=int, default=10)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        challenge, tables = make(Path(name), options.teams, options.cases)
        clock = time.process_time()
        result = score_task(challenge, "staging", Path(name) / "stages.csv", tables)
        print(f"score: {time.process_time() - clock:.2f} CPU s")
    clock = time.process_time()
    plan = plan_task(challenge, "staging", None, result.observations)
    _, prepared, _ = rank_task(result.scores, plan, Options())
    print(f"arrange: {time.process_time() - clock:.2f} CPU s")
    bootstrap(prepared, 10, task="warm")
    clock = time.process_time()
    draws = bootstrap(prepared, options.resamples, task="staging")
    spent = time.process_time() - clock
    what = f"{options.resamples} resamples of {options.teams} teams x {options.cases} cases x 6 pooled metrics"
    print(f"{what}: {spent:.2f} CPU s; {np.ptp(draws.ranks, axis=0).max():.0f} ranks between best and worst resample")


if __name__ == "__main__":
    main()
