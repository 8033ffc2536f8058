"""What bad predictions cost beside a good one: CPU time and peak memory of a case, pattern by pattern.

    python benchmarks/patterns.py                            # 160 x 256 x 256 voxels
    python benchmarks/patterns.py --shape 700 512 512        # the largest that clinics send
    python benchmarks/patterns.py --patterns web noise --metrics lesions
    python benchmarks/patterns.py --metrics surfels --structures 4 --peers-python ~/peers/bin/python
    python benchmarks/patterns.py --metrics surfels --structures 4 --files     # from two gzipped NIfTI files, too

Every pattern has a fresh process, in which it and the good prediction are measured in turn, from arrays to numbers:
the factor is the median of what one took beside the other, as a machine that is faster now than a second later would
say anything of two that were not measured side by side. What a submission costs an organizer is measured with
``--files``: reference and prediction are read, too, as ``score`` does. What is promised is a bound per voxel, whatever
the mask looks like: the exit code is 1 if one passes it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
SPACING_ZYX = (1.5, 0.8, 0.8)
_RUNS = 9
_LONG_S = 2.0
"""So often a pattern is measured, unless that takes longer."""
METRICS: dict[str, dict[str, Any]] = {
    "surfels": {"nsd": {"kind": "nsd", "tolerance_mm": 2.0}, "hd95": {"kind": "hd_percentile", "worst": "diagonal"}},
    "borders": {
        "hd": {"kind": "hd", "definition": "border-voxel", "worst": "diagonal"},
        "assd": {"kind": "assd", "definition": "border-voxel", "worst": "diagonal"},
    },
    "edgeless": {
        "assd": {"kind": "assd", "definition": "border-voxel", "edge": "ignore", "worst": "diagonal"},
        "hd95": {"kind": "hd_percentile", "edge": "ignore", "worst": "diagonal"},
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


def dust(truth: Mask) -> Mask:
    """Return a voxel in every hundred."""
    return (np.random.default_rng(2).random(truth.shape) < 0.01).astype(np.uint8)


def salt(truth: Mask) -> Mask:
    """Return a perfect prediction with a voxel in every thousand turned over."""
    return truth ^ (np.random.default_rng(3).random(truth.shape) < 0.001).astype(np.uint8)


def mirrored(truth: Mask) -> Mask:
    """Return everything on the other side."""
    return np.ascontiguousarray(truth[::-1, ::-1, ::-1])


def far_slices(truth: Mask) -> Mask:
    """Return dust in the last ten slices only."""
    mask = np.zeros_like(truth)
    mask[-10:] = np.random.default_rng(4).random(mask[-10:].shape) < 0.1
    return mask


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
    for function in (
        good, stray, island, mirrored, far_slices, salt, dust, everything, stripes, specks, web, checkerboard, noise
    )
}  # fmt: skip


def labelled(mask: Mask, structures: int, pattern: str = "") -> Mask:
    """Spread a mask over several labels, side by side; those of noise are random."""
    if structures == 1:
        return mask
    if pattern == "noise":
        return np.random.default_rng(5).integers(0, structures + 1, mask.shape).astype(np.uint8)
    along = 1 + np.arange(mask.shape[2]) * structures // mask.shape[2]
    return (mask * along).astype(np.uint8)


def main() -> int:
    """Run the benchmark; the exit code is 1 if a pattern costs more than the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs=3, type=int, default=[160, 256, 256], metavar=("Z", "Y", "X"))
    parser.add_argument("--patterns", nargs="+", choices=list(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--metrics", nargs="+", choices=list(METRICS), default=list(METRICS))
    parser.add_argument("--bytes", type=float, default=20.0, help="per voxel besides the masks, and 300 MB")
    parser.add_argument("--ns", type=float, default=500.0, help="CPU time per voxel, and a second")
    parser.add_argument("--structures", type=int, default=1, help="labels side by side")
    parser.add_argument("--peers-python", help="interpreter that has surface-distance: times it, too (slow)")
    parser.add_argument("--files", action="store_true", help="also from two gzipped NIfTI files, reading included")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape: Shape = tuple(options.shape)
    if options.child:
        if options.child[0] == "surface-distance":
            print(json.dumps(surface_distance(shape, options.child[1], options.structures)))
        else:
            print(json.dumps(measure(shape, *options.child, options.structures, options.files)))
        return 0
    heading = f"{'metrics':12}{'pattern':14}{'CPU s':>9}{'x good':>8}{'MB':>8}{'process':>9}{'x good':>8}{'x peer':>8}"
    files = f"{'files s':>9}{'x good':>8}" if options.files else ""
    print(f"{heading}{files}  values", flush=True)
    too_much, rows = 0, []
    for metrics in options.metrics:
        base: dict[str, Any] = {}
        for pattern in dict.fromkeys(["good", *options.patterns]):
            found = _fresh(shape, metrics, pattern, options.structures, files=options.files)
            base = base or found
            factors = [found["x_good"], found["process_mb"] / base["process_mb"]]
            peer = math.nan
            if options.peers_python:
                other = _fresh(shape, "surface-distance", pattern, options.structures, options.peers_python)
                peer = found["cpu_s"] / other["cpu_s"]
            row = {"metrics": metrics, "pattern": pattern, **found, "x_mb": factors[1]}
            rows.append({**row, "x_surface_distance": peer})
            too_much += found["mb"] * 1e6 > 3e8 + options.bytes * math.prod(shape)
            too_much += found["cpu_s"] > 1 + options.ns * 1e-9 * math.prod(shape)
            told = f"{found['cpu_s']:9.3f}{factors[0]:8.1f}{found['mb']:8.0f}"
            told += f"{found['process_mb']:9.0f}{factors[1]:8.1f}{peer:8.2f}"
            if options.files:
                told += f"{found['files_cpu_s']:9.3f}{row['x_good_files']:8.1f}"
            print(f"{metrics:12}{pattern:14}{told}  {found['values']}", flush=True)
    if options.json:
        told = {"shape": shape, "structures": options.structures, "rows": rows, "load": os.getloadavg()[0]}
        options.json.write_text(json.dumps(told, indent=1))
    return 1 if too_much else 0


def _fresh(
    shape: Shape, metrics: str, pattern: str, structures: int = 1, python: str = sys.executable, *, files: bool = False
) -> dict[str, Any]:
    command = [python, str(Path(__file__).resolve()), "--shape", *map(str, shape), "--structures", str(structures)]
    command += ["--child", metrics, pattern, *(["--files"] if files else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lost = float("inf")
        return {
            "cpu_s": lost,
            "mb": lost,
            "process_mb": lost,
            "x_good": lost,
            "files_cpu_s": lost,
            "x_good_files": lost,
            "values": (done.stderr.strip() or "killed").splitlines()[-1],
        }
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def surface_distance(shape: Shape, pattern: str, structures: int) -> dict[str, Any]:
    """Measure NSD and HD95 with DeepMind's library, label by label."""
    import surface_distance as sd

    truth = reference(shape)
    said = labelled(PATTERNS[pattern](truth), structures, pattern)
    truth = labelled(truth, structures)
    start = time.process_time()
    values = {}
    for label in range(1, structures + 1):
        found = sd.compute_surface_distances(truth == label, said == label, SPACING_ZYX)
        values[f"nsd {label}"] = float(sd.compute_surface_dice_at_tolerance(found, 2.0))
        values[f"hd95 {label}"] = float(sd.compute_robust_hausdorff(found, 95))
    spent = time.process_time() - start
    return {"cpu_s": spent, "mb": math.nan, "process_mb": _status("VmHWM"), "values": values}


def measure(shape: Shape, metrics: str, pattern: str, structures: int = 1, from_files: bool = False) -> dict[str, Any]:
    """Score one pattern in this process: CPU seconds, peak memory above the two masks in MB, and the values."""
    from medpodium.challenges.schema.definition import SegmentationTask
    from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Volume
    from medpodium.scoring.masks.geometry import Geometry

    cell = {"both": "skip", "reference": "skip", "prediction": "skip"}
    names = {f"s{label}": {"label": label} for label in range(1, structures + 1)}
    rules = {"structures": names, "empty": cell, "metrics": METRICS[metrics]}
    task = SegmentationTask.model_validate(rules)

    def score(truth: Mask, said: Mask) -> dict[str, float]:
        grid = Geometry(truth.shape, SPACING_ZYX, (0.0, 0.0, 0.0), np.eye(3))
        pair = CaseMeasures(Volume(truth, grid), task).against(Volume(said, grid))
        return {
            f"{name} {own}": pair.value(spec, own, task.tolerance_of(spec, own))
            for name, spec in task.metrics.items()
            for own in names
        }

    small = reference((64, 128, 128))  # noise of that size takes the same ways as that of a larger one
    for warm in ("stray", "noise", "good", pattern):  # compiles, or loads what was compiled
        score(labelled(small, structures), labelled(PATTERNS[warm](small), structures, warm))
    truth = reference(shape)
    said = labelled(PATTERNS[pattern](truth), structures, pattern)
    well = labelled(good(truth), structures)
    truth = labelled(truth, structures)
    _reset_peak()
    before = _status("VmRSS")
    values = score(truth, said)
    result = {
        "mb": _status("VmHWM") - before,
        "process_mb": _status("VmHWM"),
        "values": {k: float(f"{v:.6g}") for k, v in values.items()},
    }
    result["cpu_s"], result["x_good"] = _in_turn(lambda: score(truth, well), lambda: score(truth, said))
    if from_files:
        result["files_cpu_s"], result["x_good_files"] = _from_files(truth, well, said, task)
    return result


def _in_turn(usual: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Measure two functions in turn: the median of the other's CPU seconds, and of its share of the usual one's."""
    pairs: list[tuple[float, float]] = []
    while len(pairs) < _RUNS and sum(map(sum, pairs)) < _LONG_S:
        times = [time.process_time()]
        for function in (usual, other):
            function()
            times.append(time.process_time())
        pairs.append((times[1] - times[0], times[2] - times[1]))
    return float(np.median([pair[1] for pair in pairs])), float(np.median([pair[1] / pair[0] for pair in pairs]))


def _from_files(truth: Mask, well: Mask, said: Mask, task: Any) -> tuple[float, float]:
    """Return the CPU seconds of scoring a case as ``score`` meets it, from gzipped NIfTI files, and their factor."""
    import nibabel

    from medpodium.scoring.kinds.protocol import CaseJob
    from medpodium.scoring.kinds.segmentation.case import score_case

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("reference.nii.gz", "good.nii.gz", "prediction.nii.gz")]
        for path, mask in zip(paths, (truth, well, said), strict=True):
            nibabel.save(nibabel.Nifti1Image(mask.T, np.diag([*SPACING_ZYX[::-1], 1.0])), path)
        jobs = [CaseJob("case", paths[0], {"team": path}, task) for path in paths[1:]]
        for job in jobs:
            score_case(job)  # compiles, or loads what was compiled
        return _in_turn(lambda: score_case(jobs[0]), lambda: score_case(jobs[1]))


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew


def _status(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    sys.exit(main())
