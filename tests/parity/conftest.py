"""What other libraries, and a plain restatement with scipy, say about one pair of masks."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from medpodium.scoring.measures import overlap
from medpodium.scoring.measures.pair import PairMeasures
from medpodium.scoring.measures.surfaces import metrics as surface

Mask = npt.NDArray[np.bool_]


def by_surface_distance(reference: Mask, prediction: Mask, spacing: list[float], tolerance: float) -> dict[str, float]:
    """Call DeepMind's library; arrays and spacing in one and the same axis order."""
    import surface_distance as sd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks scipy for long-deprecated names
        found = sd.compute_surface_distances(reference, prediction, spacing)
    first, second = sd.compute_average_surface_distance(found)
    area = found["surfel_areas_gt"].sum() + found["surfel_areas_pred"].sum()
    moment = (found["distances_gt_to_pred"] * found["surfel_areas_gt"]).sum()
    moment += (found["distances_pred_to_gt"] * found["surfel_areas_pred"]).sum()
    return {
        "surfel nsd": sd.compute_surface_dice_at_tolerance(found, tolerance),
        "surfel hd": sd.compute_robust_hausdorff(found, 100),
        "surfel hd95": sd.compute_robust_hausdorff(found, 95),
        "surfel hd50": sd.compute_robust_hausdorff(found, 50),
        "surfel from reference": first,
        "surfel from prediction": second,
        "surfel masd": (first + second) / 2,
        "surfel assd": moment / area,
        "dice": sd.compute_dice_coefficient(reference, prediction),
    }


def by_medpy(reference: Mask, prediction: Mask, spacing: list[float]) -> dict[str, float]:
    """Call MedPy."""
    from medpy.metric import binary

    return {
        "border hd": binary.hd(prediction, reference, spacing),
        "border pooled hd95": binary.hd95(prediction, reference, spacing),
        "border assd": binary.assd(prediction, reference, spacing),
        "border masd": (
            binary.asd(prediction, reference, spacing) + binary.asd(reference, prediction, spacing)
        ) / 2,
        "iou": binary.jc(prediction, reference),
        "relative volume difference": binary.ravd(prediction, reference),
    }  # fmt: skip


def by_transform(reference: Mask, prediction: Mask, spacing: list[float], tolerance: float) -> dict[str, float]:
    """Restate the border-voxel definitions of MONAI with erosions and distance transforms."""
    borders = [mask ^ ndimage.binary_erosion(mask) for mask in (reference, prediction)]
    maps = [ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders]
    there, back = maps[1][borders[0]], maps[0][borders[1]]
    inside = (there <= tolerance).sum() + (back <= tolerance).sum()
    return {
        "border nsd": inside / (there.size + back.size),
        "border directed hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
    }


def by_nnunet(reference: Mask, prediction: Mask) -> float:
    """Restate nnU-Net's Dice: ``2 tp / (2 tp + fp + fn)``."""
    tp = int((reference & prediction).sum())
    fp = int((~reference & prediction).sum())
    fn = int((reference & ~prediction).sum())
    return 2 * tp / (2 * tp + fp + fn)


def ours(pair: PairMeasures, structure: int, tolerance: float) -> dict[str, float]:
    """Return every value compared here, from our engine."""
    surfels, borders, counts = pair.surfels(structure), pair.borders(structure), pair.overlap(structure)
    first, second = surface.directed_means(surfels)
    return {
        "surfel nsd": surface.nsd(surfels, tolerance),
        "surfel hd": surface.hausdorff(surfels),
        "surfel hd95": surface.percentile_weighted(surfels, 95),
        "surfel hd50": surface.percentile_weighted(surfels, 50),
        "surfel from reference": first,
        "surfel from prediction": second,
        "surfel masd": surface.masd(surfels),
        "surfel assd": surface.assd(surfels),
        "border hd": surface.hausdorff(borders),
        "border pooled hd95": surface.percentile_pooled(borders, 95),
        "border directed hd95": surface.percentile_directed(borders, 95),
        "border assd": surface.assd(borders),
        "border masd": surface.masd(borders),
        "border nsd": surface.nsd(borders, tolerance),
        "dice": overlap.dice(counts),
        "iou": overlap.iou(counts),
        "relative volume difference": overlap.relative_volume_difference(counts),
    }


def differences(expected: dict[str, float], found: dict[str, float], limit: float = 1e-9) -> list[str]:
    """Return a line for every value that differs by more than ``limit``, relatively."""
    return [
        f"{name}: {found[name]!r} but {value!r}"
        for name, value in expected.items()
        if not math.isclose(found[name], value, rel_tol=limit, abs_tol=1e-300)
    ]


def paint(rng: np.random.Generator, labels: npt.NDArray[np.uint8], kind: str, widest: float) -> None:
    """Paint noise, blobs (blurred by up to ``widest``), boxes to the border, one label or single elements."""
    shape = labels.shape
    if kind == "noise":
        labels[:] = rng.choice(4, size=shape, p=[0.4, 0.3, 0.2, 0.1])
    elif kind == "blobs":
        field = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.5, widest))
        labels[:] = np.digitize(field, np.quantile(field, [0.5, 0.7, 0.9]))
    elif kind == "boxes":
        for _ in range(4):
            ends = [np.sort(rng.integers(0, n + 1, 2)) for n in shape]
            labels[tuple(slice(a, b) for a, b in ends)] = rng.integers(1, 4)
    elif kind == "full":
        labels[:] = rng.integers(1, 4)
    elif kind == "elements":
        for label in (1, 2):
            labels[tuple(rng.integers(0, n) for n in shape)] = label


@pytest.fixture(scope="session")
def peers() -> SimpleNamespace:
    """Return the functions of this file: what others say, what we say, and how the two differ."""
    return SimpleNamespace(
        by_surface_distance=by_surface_distance,
        by_medpy=by_medpy,
        by_transform=by_transform,
        by_nnunet=by_nnunet,
        ours=ours,
        differences=differences,
        paint=paint,
    )
