"""Measure what a whole report costs: wall time and peak memory of the command and all processes it starts.

Run: python benchmarks/reports.py                             # 40 submissions, 500 cases, 15 structures, 3 metrics
     python benchmarks/reports.py --challenge touchstone --scores scores.csv
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from medpodium.scoring import table

METRICS = {"dice": "{kind: dice}", "nsd": "{kind: nsd, tolerance_mm: 1}", "hd95": "{kind: hd_percentile, worst: 300}"}


def challenge_text(structures: int) -> str:
    """Return a challenge file with that many structures and three metrics."""
    named = "\n".join(f"      s{at:02d}: {{label: {at + 1}}}" for at in range(structures))
    metrics = "\n".join(f"      {name}: {spec}" for name, spec in METRICS.items())
    return f"""schema: 1
name: synthetic
title: Synthetic scores
modality: [CT]
groups:
  domain: {{title: Domain, levels: [seen, unseen]}}
  centre: {{title: Centre}}
tasks:
  organs:
    empty: {{both: best, reference: worst, prediction: worst}}
    structures:
{named}
    metrics:
{metrics}
recipes:
  rank-then-mean:
    steps:
      - mean: structure
      - rank: {{within: [case, metric], ties: min}}
      - mean: [case, metric]
      - rank: {{ties: min}}
ranking: {{organs: rank-then-mean}}
"""


def synthetic_scores(submissions: int, cases: int, structures: int, seed: int = 0) -> pd.DataFrame:
    """Return scores in which cases differ in difficulty and every submission is a little worse than the one before."""
    random = np.random.default_rng(seed)
    grid = np.indices((submissions, cases, structures)).reshape(3, -1)
    quality = 0.92 - 0.004 * grid[0] + random.normal(0, 0.05, cases)[grid[1]] + random.normal(0, 0.04, grid.shape[1])
    parts = []
    for metric in METRICS:
        value = np.clip(quality + random.normal(0, 0.01, quality.size), 0, 1)
        parts.append(
            pd.DataFrame(
                {
                    "challenge": "synthetic",
                    "task": "organs",
                    "submission": [f"team-{at:02d}" for at in grid[0]],
                    "case": [f"case{at:04d}" for at in grid[1]],
                    "structure": [f"s{at:02d}" for at in grid[2]],
                    "metric": metric,
                    "value": 60 * (1 - value) if metric == "hd95" else value,
                    "status": "ok",
                    "domain": np.where(grid[1] % 2, "seen", "unseen"),
                    "centre": [f"centre {at % 6}" for at in grid[1]],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def watch(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return wall and CPU seconds, and the largest sum of resident memory of its processes in MB."""
    begin, peak = time.perf_counter(), 0
    started = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while started.poll() is None:
        total = 0
        for process in [started, *started.children(recursive=True)]:
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, total)
        time.sleep(0.1)
    if started.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} ended with {started.returncode}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, peak / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--challenge", help="measure this challenge with --scores instead of synthetic ones")
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--submissions", type=int, default=40)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--structures", type=int, default=15)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--formats", default="all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medpodium-") as name:
        folder = Path(name)
        challenge, scores = options.challenge, options.scores
        if challenge is None:
            challenge, scores = str(folder / "challenge.yaml"), folder / "scores.csv"
            Path(challenge).write_text(challenge_text(options.structures), encoding="utf-8")
            table.write_scores(synthetic_scores(options.submissions, options.cases, options.structures), scores)
        command = [sys.executable, "-m", "medpodium.cli", "report", challenge, str(scores), "--out", f"{folder}/out"]
        command += ["--formats", options.formats, "--bootstrap", str(options.bootstrap)]
        wall, cpu, megabytes = watch(command)
    what = f"{options.bootstrap} resamples, formats {options.formats}"
    print(f"report with {what}: {wall:.1f} s, {cpu:.1f} CPU s, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
