"""What lesion-wise scores cost beside the plain scores of the same masks: CPU time, in one process, in turn.

    python benchmarks/lesions.py                    # 300 x 512 x 512 voxels, 200 lesions
    python benchmarks/lesions.py --challenge brats/2024-ped --rounds 5
    python benchmarks/lesions.py --components 1000000   # a prediction of so many voxels apart, against a good one

Both sets of metrics are those of the challenge file: what is lesion-wise, with its declared rule, and the same
metrics of whole structures. The exit code is 1 if the lesion-wise ones take more than three times as long.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import sys
import time

import numpy as np
import numpy.typing as npt

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Volume
from medpodium.scoring.masks.geometry import Geometry

Mask = npt.NDArray[np.uint8]


def tumours(shape: tuple[int, ...], lesions: int) -> tuple[Mask, Mask]:
    """Draw tumours of three nested labels, and a prediction that shifts, misses and invents some."""
    rng = np.random.default_rng(7)
    truth, said = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for number in range(lesions):
        radius = rng.uniform(3, 14)
        at = rng.uniform(radius + 3, np.array(shape) - radius - 3)
        _draw(truth, at, radius)
        if number % 10:
            _draw(said, at + rng.normal(0, 0.8, 3), radius * rng.uniform(0.85, 1.15))
    for _ in range(lesions // 10):
        _draw(said, rng.uniform(20, np.array(shape) - 20), rng.uniform(3, 6))
    return truth, said


def _draw(mask: Mask, at: npt.NDArray[np.float64], radius: float) -> None:
    box = tuple(slice(max(int(c - radius) - 1, 0), int(c + radius) + 2) for c in at)
    far = sum((grid - c) ** 2 for grid, c in zip(np.ogrid[box], at, strict=True))
    for label, share in ((2, 1.0), (1, 0.7), (3, 0.45)):
        mask[box][far <= (share * radius) ** 2] = label


def main() -> int:
    """Measure and print; the exit code says whether the factor is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--challenge", default="brats/2023-gli")
    parser.add_argument("--shape", nargs=3, type=int, default=[300, 512, 512], metavar=("Z", "Y", "X"))
    parser.add_argument("--lesions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--most", type=float, default=3.0, help="times the plain scores")
    parser.add_argument("--components", type=int, help="instead: what a prediction of so many components costs")
    options = parser.parse_args()

    given = registry.load(options.challenge).tasks["segmentation"]
    if not isinstance(given, SegmentationTask):
        parser.error("no task of masks")
    if options.components:
        _many(given, options.components)
        return 0
    plain = {name: metric for name, metric in given.metrics.items() if not metric.kind.startswith("lesion_")}
    lesion = {name: metric for name, metric in given.metrics.items() if name not in plain}
    tasks = {
        name: given.model_copy(update={"metrics": metrics})
        for name, metrics in (("plain", plain), ("lesion-wise", lesion))
    }
    for shape, rounds in (((48, 64, 64), 1), (tuple(options.shape), options.rounds)):  # the first one compiles
        truth, said = tumours(shape, 2 if rounds == 1 else options.lesions)
        spent: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                start = time.process_time()
                _score(task, truth, said)
                spent[name].append(time.process_time() - start)
    medians = {name: statistics.median(times) for name, times in spent.items()}
    for name, median in medians.items():
        print(f"{name:12} {median:7.3f} CPU s  ({', '.join(tasks[name].metrics)}; {len(given.structures)} structures)")
    factor = medians["lesion-wise"] / medians["plain"]
    print(f"lesion-wise  {factor:7.2f} times the plain scores")
    return int(factor > options.most)


def _many(task: SegmentationTask, components: int) -> None:
    """Print CPU time and memory of a prediction of single voxels, four apart, and of a good one of that size."""
    side = 4 * math.ceil(components ** (1 / 3) - 1e-9)
    truth, good = tumours((side,) * 3, 60)
    specks = np.zeros_like(good)
    specks[::4, ::4, ::4] = max(structure.label for structure in task.structures.values() if structure.label)
    _score(task, *tumours((48, 64, 64), 2))
    for title, said in (("good", good), (f"{np.count_nonzero(specks):,} components", specks)):
        start = time.process_time()
        _score(task, truth, said)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{title:22} {time.process_time() - start:7.3f} CPU s, {peak} MiB until then")


def _score(task: SegmentationTask, truth: Mask, said: Mask) -> list[float]:
    grid = Geometry(truth.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    pair = CaseMeasures(Volume(truth, grid), task).against(Volume(said, grid))
    return [
        pair.value(spec, own, task.tolerance_of(spec, own)) for spec in task.metrics.values() for own in task.structures
    ]


if __name__ == "__main__":
    sys.exit(main())
