"""Measure what a case, a structure, a metric and a resample cost, and say what whole challenges take.

CPU time, so that a busy machine does not change the numbers. Run: python benchmarks/scale.py [--slices 96] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.steps import Recipe
from medpodium.scoring.evidence.bootstrap import bootstrap
from medpodium.scoring.kinds.protocol import CaseJob
from medpodium.scoring.kinds.segmentation.case import score_case
from medpodium.scoring.ranking.assemble import build
from medpodium.scoring.ranking.recipe import Prepared

SIZES = (("FLARE-like", 17, 160), ("Touchstone-like", 19, 5_903), ("largest", 1_000, 100_000))
WORKERS = (1, 8, 64, 512)
STRUCTURES = 9
RESAMPLES = 1_000


@dataclass(frozen=True)
class Costs:
    """Measured CPU seconds."""

    reference: float
    """Reading a reference and finding the surfaces and distances that all submissions share."""
    submission: float
    """Reading and scoring one submission's prediction of one case."""
    structure: float
    """One structure more, two metrics."""
    metric: dict[str, float]
    """One metric more, all structures; the first surface metric pays for the surfaces."""
    resample: float
    """One resample, per case and submission and structure and metric (number of cells)."""


def cpu(work: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU seconds of several repeats."""
    best = math.inf
    for _ in range(repeats):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def volume(slices: int, seed: int, structures: int) -> np.ndarray:
    """Return ellipsoids in an abdomen-sized grid (slices, 256, 256)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((slices, 256, 256), np.uint8)
    grid = np.ogrid[: labels.shape[0], :256, :256]
    for label in range(1, structures + 1):
        centre = [
            extent * (0.2 + 0.6 * ((label * prime) % 17) / 17)
            for extent, prime in zip(labels.shape, (3, 5, 7), strict=True)
        ]
        radii = np.array((slices / 7, 24, 28)) * rng.uniform(0.9, 1.1, 3)
        inside = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in zip(grid, centre, radii, strict=True))
        labels[inside <= 1] = label
    return labels


def rules(structures: int, metrics: dict[str, dict[str, Any]]) -> SegmentationTask:
    """Return a task with some structures and metrics."""
    names = {f"s{label}": {"label": label} for label in range(1, structures + 1)}
    empty = {"both": "skip", "reference": "worst", "prediction": "worst"}
    return SegmentationTask.model_validate(
        {"structures": names, "metrics": metrics, "empty": empty, "unknown_labels": "ignore"}
    )


DICE = {"dice": {"kind": "dice"}}
NSD = {"nsd": {"kind": "nsd", "tolerance_mm": 2.0}}
HD = {"hd95": {"kind": "hd_percentile", "worst": "diagonal"}}


def scoring_costs(folder: Path, slices: int, repeats: int) -> dict[str, Any]:
    """Measure scoring."""
    for name, seed in (("reference", 0), ("prediction", 1)):
        image = SimpleITK.GetImageFromArray(volume(slices, seed, STRUCTURES))
        image.SetSpacing((1.0, 1.0, 2.5))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"), useCompression=True)

    def job(task: SegmentationTask, submissions: int) -> Callable[[], Any]:
        files = {f"team {number}": folder / "prediction.nii.gz" for number in range(submissions)}
        return lambda: score_case(CaseJob("case", folder / "reference.nii.gz", files, task))

    both = {**DICE, **NSD}
    job(rules(STRUCTURES, {**both, **HD}), 1)()
    one, five = (cpu(job(rules(STRUCTURES, both), number), repeats) for number in (1, 5))
    few = cpu(job(rules(3, both), 1), repeats)
    dice = cpu(job(rules(STRUCTURES, DICE), 1), repeats)
    three = cpu(job(rules(STRUCTURES, {**both, **HD}), 1), repeats)
    submission = (five - one) / 4
    return {
        "reference": one - submission,
        "submission": submission,
        "structure": (one - few) / (STRUCTURES - 3),
        "metric": {"dice (with reading)": dice, "nsd": one - dice, "hd95, after nsd": three - one},
    }


def resample_cost(submissions: int, cases: int, repeats: int) -> float:
    """Measure CPU seconds of one resample per cell (submission, case, structure, metric)."""
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product(
        [
            [f"t{n}" for n in range(submissions)],
            [f"c{n}" for n in range(cases)],
            [f"s{n}" for n in range(STRUCTURES)],
            ["dice", "nsd"],
        ],
        names=["submission", "case", "structure", "metric"],
    )
    frame = index.to_frame(index=False).assign(
        value=rng.random(len(index)), status="ok", challenge="x", edition="1", task="it"
    )
    recipe = Recipe.model_validate(
        {"steps": [{"mean": ["case", "structure"]}, {"rank": {"within": "metric"}}, {"mean": "metric"}, {"rank": {}}]}
    )
    array, _ = build(frame, "it", {"dice": "higher", "nsd": "higher"})
    prepared = Prepared(array, recipe.steps)
    seconds = cpu(lambda: bootstrap(prepared, RESAMPLES, task="it"), repeats)
    return seconds / RESAMPLES / len(index)


def projections(costs: Costs) -> list[dict[str, Any]]:
    """Return hours per size and number of workers (one core each), and the size of the table."""
    rows = []
    for name, submissions, cases in SIZES:
        seconds = cases * (costs.reference + submissions * costs.submission)
        cells = submissions * cases * STRUCTURES * 2
        row: dict[str, Any] = {"size": name, "submissions": submissions, "cases": cases, "rows": cells}
        row |= {f"score, {count} workers (h)": seconds / count / 3600 for count in WORKERS}
        row["1,000 resamples, 1 core (min)"] = RESAMPLES * cells * costs.resample / 60
        row["rows in memory (GB)"] = cells * 28 / 1e9
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=96, help="slices of 256 x 256")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    registry.names()
    with tempfile.TemporaryDirectory() as folder:
        measured = scoring_costs(Path(folder), options.slices, options.repeats)
    costs = Costs(**measured, resample=resample_cost(17, 160, options.repeats))
    rows = projections(costs)
    if options.json:
        print(json.dumps({"costs": costs.__dict__, "projections": rows}, indent=1))
        return
    print(f"volume {options.slices} x 256 x 256, {STRUCTURES} structures; CPU seconds")
    for key, value in costs.__dict__.items():
        print(f"  {key}: {value}")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
