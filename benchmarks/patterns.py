"""What bad predictions cost beside a good one: CPU time and peak memory of a case, pattern by pattern.

    python benchmarks/patterns.py                            # 160 x 256 x 256 voxels
    python benchmarks/patterns.py --shape 700 512 512        # the largest that clinics send
    python benchmarks/patterns.py --patterns web noise --metrics lesions

Every pattern is measured alone in a fresh process, from arrays to numbers, and shown beside the good prediction of the
same run. What is promised is a bound per voxel, whatever the mask looks like: the exit code is 1 if one passes it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
SPACING_ZYX = (1.5, 0.8, 0.8)
METRICS: dict[str, dict[str, Any]] = {
    "surfels": {"nsd": {"kind": "nsd", "tolerance_mm": 2.0}, "hd95": {"kind": "hd_percentile", "worst": "diagonal"}},
    "borders": {
        "hd": {"kind": "hd", "definition": "border-voxel", "worst": "diagonal"},
        "assd": {"kind": "assd", "definition": "border-voxel", "worst": "diagonal"},
    },
    "lesions": {"f1": {"kind": "lesion_f1", "lesions": {"overlap": "any", "min_volume_ml": 0.002}}},
    "hungarian": {"pq": {"kind": "panoptic_quality", "lesions": {"overlap": "any", "matching": "hungarian"}}},
    "topology": {"euler": {"kind": "euler_error", "worst": 1e6}},
}


def reference(shape: Shape) -> Mask:
    """Draw an organ and a few hundred lesions around it."""
    mask = np.zeros(shape, np.uint8)
    _ball(mask, (0.5, 0.5, 0.45), 0.2)
    rng = np.random.default_rng(4)
    for centre in rng.uniform(0.05, 0.95, (300, 3)):
        _ball(mask, tuple(centre), 0.012)
    return mask


def _ball(mask: Mask, centre: tuple[float, ...], radius: float) -> None:
    grids = np.ogrid[tuple(slice(0, n) for n in mask.shape)]
    reach = radius * min(mask.shape)
    box = tuple(
        slice(max(int(c * n - reach), 0), min(int(c * n + reach) + 2, n))
        for c, n in zip(centre, mask.shape, strict=True)
    )
    grids = np.ogrid[box]
    far = sum((g - c * n) ** 2 for g, c, n in zip(grids, centre, mask.shape, strict=True))
    mask[box][far <= reach**2] = 1


def good(truth: Mask) -> Mask:
    """Return what a good method gives: the border is off by a voxel here and there."""
    return np.roll(truth, (1, 1, 0), (0, 1, 2))


def noise(truth: Mask) -> Mask:
    """Return a coin's throw in every voxel."""
    rng = np.random.default_rng(1)
    return (rng.integers(0, 256, truth.shape, np.uint8) & 1).astype(np.uint8)


def checkerboard(truth: Mask) -> Mask:
    """Return a mask in which no voxel has a neighbour across a face."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in truth.shape)]
    return ((z + y + x) & 1).astype(np.uint8)


def specks(truth: Mask) -> Mask:
    """Return a component in every eighth voxel: as many as there can be."""
    mask = np.zeros_like(truth)
    mask[::2, ::2, ::2] = 1
    return mask


def stray(truth: Mask) -> Mask:
    """Return three voxels, in the corners and in the middle."""
    mask = np.zeros_like(truth)
    mask[0, 0, 0] = mask[-1, -1, -1] = mask[truth.shape[0] // 2, 0, -1] = 1
    return mask


def island(truth: Mask) -> Mask:
    """Return a solid block far from everything."""
    mask = np.zeros_like(truth)
    mask[-12:, -40:, -40:] = 1
    return mask


def web(truth: Mask) -> Mask:
    """Return threads through the whole volume that touch each other, and specks between them."""
    mask = np.zeros_like(truth)
    mask[::8, ::8, :] = 1
    mask[::8, :, ::8] = 1
    mask[4::8, 4::4, 4::4] = 1
    return mask


def everything(truth: Mask) -> Mask:
    """Return a mask that is full."""
    return np.ones_like(truth)


def stripes(truth: Mask) -> Mask:
    """Return slices that are full and empty in turn."""
    mask = np.zeros_like(truth)
    mask[::2] = 1
    return mask


PATTERNS: dict[str, Callable[[Mask], Mask]] = {
    function.__name__: function
    for function in (good, stray, island, everything, stripes, specks, web, checkerboard, noise)
}


def main() -> int:
    """Run the benchmark; the exit code is 1 if a pattern costs more than the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[160, 256, 256], metavar=("Z", "Y", "X"))
    parser.add_argument("--patterns", nargs="+", choices=list(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--metrics", nargs="+", choices=list(METRICS), default=list(METRICS))
    parser.add_argument("--bytes", type=float, default=20.0, help="per voxel besides the masks, and 300 MB")
    parser.add_argument("--ns", type=float, default=500.0, help="CPU time per voxel, and a second")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape: Shape = tuple(options.shape)
    if options.child:
        print(json.dumps(measure(shape, *options.child)))
        return 0
    print(f"{'metrics':12}{'pattern':14}{'CPU s':>9}{'x good':>8}{'MB':>8}{'x good':>8}  values", flush=True)
    too_much = 0
    for metrics in options.metrics:
        base: dict[str, Any] = {}
        for pattern in dict.fromkeys(["good", *options.patterns]):
            found = _fresh(shape, metrics, pattern)
            base = base or found
            factors = [found[key] / max(base[key], 1e-9) for key in ("cpu_s", "mb")]
            too_much += found["mb"] * 1e6 > 3e8 + options.bytes * math.prod(shape)
            too_much += found["cpu_s"] > 1 + options.ns * 1e-9 * math.prod(shape)
            told = f"{found['cpu_s']:9.2f}{factors[0]:8.1f}{found['mb']:8.0f}{factors[1]:8.1f}"
            print(f"{metrics:12}{pattern:14}{told}  {found['values']}", flush=True)
    return 1 if too_much else 0


def _fresh(shape: Shape, metrics: str, pattern: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--shape", *map(str, shape), "--child", metrics, pattern]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"cpu_s": float("inf"), "mb": float("inf"), "values": (done.stderr.strip() or "killed").splitlines()[-1]}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(shape: Shape, metrics: str, pattern: str) -> dict[str, Any]:
    """Score one pattern in this process: CPU seconds, peak memory above the two masks in MB, and the values."""
    from medpodium.challenges.schema.definition import SegmentationTask
    from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Volume
    from medpodium.scoring.masks.geometry import Geometry

    cell = {"both": "skip", "reference": "skip", "prediction": "skip"}
    rules = {"structures": {"lesion": {"label": 1}}, "empty": cell, "metrics": METRICS[metrics]}
    task = SegmentationTask.model_validate(rules)

    def score(truth: Mask, said: Mask) -> dict[str, float]:
        grid = Geometry(truth.shape, SPACING_ZYX, (0.0, 0.0, 0.0), np.eye(3))
        pair = CaseMeasures(Volume(truth, grid), task).against(Volume(said, grid))
        return {
            name: pair.value(spec, "lesion", task.tolerance_of(spec, "lesion")) for name, spec in task.metrics.items()
        }

    small = reference((16, 32, 32))
    score(small, stray(small))  # compiles
    truth = reference(shape)
    said = PATTERNS[pattern](truth)
    _reset_peak()
    before = _status("VmRSS")
    start = time.process_time()
    values = score(truth, said)
    spent = time.process_time() - start
    return {
        "cpu_s": spent,
        "mb": _status("VmHWM") - before,
        "values": {k: float(f"{v:.6g}") for k, v in values.items()},
    }


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
