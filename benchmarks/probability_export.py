"""Time the step in which nnU-Net resamples probabilities to the image's grid, exact and with torch.

Real labels (TotalSegmentator's example at 3 mm) become smooth logits, which are resampled to half the spacing.
Processor time is printed, because wall time depends on what else runs. Needs medpodium[baselines].

    python benchmarks/probability_export.py --shared ../shared
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np


def logits_of(path: Path, labels: list[int]) -> np.ndarray:
    """Return smooth logits of shape (classes, z, y, x), background first."""
    import SimpleITK
    from scipy import ndimage

    voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    masks = [~np.isin(voxels, labels), *(voxels == label for label in labels)]
    return np.stack([ndimage.gaussian_filter(mask.astype(np.float32), 0.7) * 10 for mask in masks])


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--spacing", type=float, default=1.5, help="target spacing in mm; the source has 3 mm")
    options = parser.parse_args()
    import torch
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
    from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet

    folder = options.shared / "data" / "masks" / "totalsegmentator"
    # the organs of FLARE that the example holds, in TotalSegmentator's numbering
    logits = logits_of(folder / "example_seg.nii.gz", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 52, 63])
    factor = 3.0 / options.spacing
    shape = tuple(round(edge * factor) for edge in logits.shape[1:])
    old, new = (3.0,) * 3, (options.spacing,) * 3
    torch.set_num_threads(1)
    rows = {}
    for name, function, more in (
        ("exact", resample_data_or_seg_to_shape, {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}),
        ("torch", resample_torch_fornnunet, {"is_seg": False, "force_separate_z": None, "num_threads": 1}),
    ):
        best = np.inf
        for _ in range(3):
            start = time.process_time()
            result = np.asarray(function(logits, shape, old, new, **more))
            best = min(best, time.process_time() - start)
        rows[name] = (best, result.argmax(0))
    exact, fast = rows["exact"][1], rows["torch"][1]
    foreground = (exact > 0) | (fast > 0)
    dice = [
        2 * np.count_nonzero((exact == c) & (fast == c)) / (np.count_nonzero(exact == c) + np.count_nonzero(fast == c))
        for c in np.unique(exact)[1:]
    ]
    print(
        json.dumps(
            {
                "classes": len(logits),
                "from": logits.shape[1:],
                "to": shape,
                "cpu_seconds": {name: round(row[0], 2) for name, row in rows.items()},
                "times_faster": round(rows["exact"][0] / rows["torch"][0], 1),
                "foreground_voxels_that_differ": round(float(np.mean(exact[foreground] != fast[foreground])), 6),
                "smallest_dice_between_both": round(float(min(dice)), 5),
            }
        )
    )


if __name__ == "__main__":
    main()
