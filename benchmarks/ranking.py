"""How long bootstraps take, how memory grows, and how that compares with challengeR.

Run ``python benchmarks/ranking.py TOUCHSTONE.csv.gz`` with a table task, case, algorithm, value (missing values are
left out as incomplete cases); without an argument a table of the same size is simulated. challengeR's times are CPU
seconds per 1,000 resamples of version 1.0.5 on the same data and one core, ranking and resampling only.
``python benchmarks/ranking.py --evidence CHALLENGE SCORES`` measures all of ``rank --evidence`` instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from medpodium.scoring.evidence.bootstrap import bootstrap
from medpodium.scoring.exchange.challenger_table import read_long
from medpodium.scoring.ranking.challenger import METHODS, TaskRanking, rank_long

CHALLENGER = {
    "mean-then-rank": 160.0,
    "median-then-rank": 165.0,
    "quantile05-then-rank": 175.0,
    "rank-then-mean": 510.0,
    "rank-then-median": 495.0,
    "test-then-rank": 3770.0,
}
TOUCHSTONE_CASES = (614, 481, 443, 408, 392, 295, 295, 275, 135)


def simulated(submissions: int = 19, cases: tuple[int, ...] = TOUCHSTONE_CASES) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frames = []
    for task, number in enumerate(cases):
        value = rng.beta(8, 2, (number, submissions))
        value[rng.random(value.shape) < 0.08] = 0.0
        frames.append(
            pd.DataFrame(
                {
                    "task": f"task{task}",
                    "case": np.repeat([f"c{index}" for index in range(number)], submissions),
                    "algorithm": np.tile([f"a{index}" for index in range(submissions)], number),
                    "value": value.ravel(),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    algorithms = frame.groupby("task")["algorithm"].transform("nunique")
    have = frame[frame["value"].notna()].groupby(["task", "case"])["algorithm"].transform("nunique")
    return frame.loc[have.index[have == algorithms[have.index]]]


def resample(results: dict[str, TaskRanking], number: int, workers: int) -> tuple[float, float]:
    """Return (CPU seconds, wall seconds) of bootstrapping all tasks."""
    cpu, wall = time.process_time(), time.perf_counter()
    for task, item in results.items():
        bootstrap(item.prepared, number, seed=0, task=task, workers=workers)
    return time.process_time() - cpu, time.perf_counter() - wall


def megabytes() -> float:
    memory = psutil.Process().memory_info()
    return float(getattr(memory, "peak_wset", 0) or memory.rss) / 2**20


def methods(frame: pd.DataFrame, workers: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for method in METHODS:
        resample(rank_long(frame, method), 2, 1)  # compile
        cpu = time.process_time()
        results = rank_long(frame, method)
        ranking = time.process_time() - cpu
        seconds, wall = resample(results, 1000, workers)
        rows.append(
            {
                "method": method,
                "ranking_cpu_s": round(ranking, 3),
                "bootstrap_1000_cpu_s": round(seconds, 3),
                "bootstrap_1000_wall_s": round(wall, 3),
                "challengeR_cpu_s": CHALLENGER[method],
                "times_faster": round(CHALLENGER[method] / seconds),
            }
        )
    return rows


def _first_cases(cases: pd.Series[str], share: float) -> pd.Series[bool]:
    return cases.rank(method="dense") <= cases.nunique() * share


def growth(frame: pd.DataFrame, workers: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for method in ("rank-then-mean", "median-then-rank", "test-then-rank"):
        for share in (0.25, 0.5, 1.0):
            keep = frame.groupby("task")["case"].transform(_first_cases, share)
            results = rank_long(frame[keep], method)
            for number in (1000, 2000, 4000) if method != "test-then-rank" else (250, 500):
                seconds, _ = resample(results, number, workers)
                per_unit = seconds / (number * share) * 1e6
                rows.append({"method": method, "share_of_cases": share, "resamples": number,
                             "cpu_s": round(seconds, 3), "us_per_resample_and_share": round(per_unit, 1)})  # fmt: skip
    return rows


def evidence(challenge: str, scores: Path) -> dict[str, object]:
    """Return CPU seconds and peak memory of ``rank CHALLENGE SCORES --evidence`` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "medpodium.cli", "rank", challenge, str(scores), "--evidence", folder]
        before = os.times()
        wall = time.perf_counter()
        process = psutil.Popen(command, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.Error:
                break
            time.sleep(0.02)
        process.wait()
        after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    seconds = {"cpu_s": round(cpu, 1), "wall_s": round(time.perf_counter() - wall, 1)}
    return {**seconds, "peak_mib": round(peak / 2**20), "exit": process.returncode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--growth", action="store_true", help="Also show how cost grows with resamples and cases.")
    parser.add_argument("--evidence", metavar="CHALLENGE", help="Measure only the full evidence of a score table.")
    chosen = parser.parse_args()
    if chosen.evidence:
        print(json.dumps(evidence(chosen.evidence, chosen.table)))
        return
    frame = complete(read_long(chosen.table)) if chosen.table else simulated()
    report: dict[str, object] = {"values": len(frame), "workers": chosen.workers}
    report["methods"] = methods(frame, chosen.workers)
    results = rank_long(frame, "rank-then-mean")
    before = megabytes()
    cpu, wall = resample(results, 10_000, chosen.workers)
    report["rank_then_mean_10000"] = {
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "more_memory_mb": round(megabytes() - before, 1),
    }
    if chosen.growth:
        report["growth"] = growth(frame, chosen.workers)
    if chosen.json:
        print(json.dumps(report, indent=1))
        return
    print(f"{len(frame)} values, {chosen.workers} worker(s)")
    print(pd.DataFrame(report["methods"]).to_string(index=False))
    print(f"10,000 resamples of rank-then-mean: {report['rank_then_mean_10000']}")
    if chosen.growth:
        print(pd.DataFrame(report["growth"]).to_string(index=False))


if __name__ == "__main__":
    main()
