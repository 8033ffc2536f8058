"""Who takes part in the scoring benchmark, each called the way its own documentation or users call it."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scoring_cases import Case

if TYPE_CHECKING:
    from medpodium.scoring.masks.reader import Mask
    from medpodium.scoring.masks.sparse import KeptMemory

Values = dict[int, dict[str, float]]
"""Label -> metric -> value; nan where a metric is undefined."""


@dataclass(frozen=True)
class Contender:
    """One way to score a case."""

    run: Callable[[Case], Values]
    what: str
    needs: tuple[str, ...] = ()
    quick: bool = False
    same: dict[str, str] = field(default_factory=dict)
    """Metric of this contender -> our metric of the same definition."""
    tolerance: float = 1e-9


def _load(case: Case, fetch: str = "get_fdata") -> list[npt.NDArray[np.uint8]]:
    import nibabel

    images = [nibabel.load(path) for path in (case.reference, case.prediction)]
    if fetch == "get_fdata":
        return [np.uint8(image.get_fdata()) for image in images]
    return [np.asanyarray(image.dataobj) for image in images]


def _decompressed(path: str) -> Iterator[bytes]:
    """Decompress a file in pieces that stay in the second-level cache."""
    from isal import isal_zlib

    stream = isal_zlib.decompressobj(31)
    piece = stream.decompress(Path(path).read_bytes(), 1 << 18)
    while piece:
        yield piece
        piece = stream.decompress(stream.unconsumed_tail, 1 << 18)


def read_limit(case: Case) -> Values:
    """Decompress both files into arrays of known size, and nothing else."""
    kept = []
    for path in (case.reference, case.prediction):
        voxels, filled = np.empty(352 + math.prod(case.shape), np.uint8), 0
        for piece in _decompressed(path):
            voxels[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
            filled += len(piece)
        kept.append(voxels)
    return {}


def stream_limit(case: Case) -> Values:
    """Decompress both files and keep nothing: no memory is filled, as no metric can do without."""
    for path in (case.reference, case.prediction):
        for _ in _decompressed(path):
            pass
    return {}


@functools.cache
def _memories() -> tuple[KeptMemory, KeptMemory]:
    from medpodium.scoring.masks.sparse import KeptMemory

    return KeptMemory(), KeptMemory()


def _masks(case: Case) -> list[Mask]:
    """Read both files as ``score`` does: into memory that the case before had, which the system gives out once."""
    from medpodium.scoring.masks.reader import open_mask

    masks = []
    for path, memory in zip((case.reference, case.prediction), _memories(), strict=True):
        with open_mask(path) as reader:
            masks.append(reader.read(memory))
    return masks


def medpodium(case: Case) -> Values:
    """Everything at once: overlap, surfels, distances."""
    from medpodium.scoring.measures import overlap
    from medpodium.scoring.measures.pair import ReferenceCase
    from medpodium.scoring.measures.surfaces import metrics as surface

    reference, prediction = _masks(case)
    structures = [frozenset({label}) for label in case.labels]
    own = ReferenceCase(reference.array, reference.geometry.spacing_zyx, structures, rows=reference.rows)
    pair = own.compare(prediction.array, prediction.rows)  # with what reading told about rows, like ``score``
    return {
        label: {
            "dice": overlap.dice(pair.overlap(number)),
            "nsd": surface.nsd(pair.surfels(number), case.tolerance_mm),
            "hd95": surface.percentile_weighted(pair.surfels(number), 95.0),
            "assd": surface.assd(pair.surfels(number)),
            "from reference": surface.directed_means(pair.surfels(number))[0],
            "from prediction": surface.directed_means(pair.surfels(number))[1],
        }
        for number, label in enumerate(case.labels)
    }


def medpodium_borders(case: Case) -> Values:
    """Compute the border-voxel definitions (MedPy's and MONAI's)."""
    from medpodium.scoring.measures import overlap
    from medpodium.scoring.measures.pair import ReferenceCase
    from medpodium.scoring.measures.surfaces import metrics as surface

    reference, prediction = _masks(case)
    structures = [frozenset({label}) for label in case.labels]
    own = ReferenceCase(reference.array, reference.geometry.spacing_zyx, structures, rows=reference.rows)
    pair = own.compare(prediction.array, prediction.rows)  # with what reading told about rows, like ``score``
    return {
        label: {
            "dice": overlap.dice(pair.overlap(number)),
            "nsd": surface.nsd(pair.borders(number), case.tolerance_mm),
            "directed hd95": surface.percentile_directed(pair.borders(number), 95.0),
            "hd95": surface.percentile_pooled(pair.borders(number), 95.0),
            "hd": surface.hausdorff(pair.borders(number)),
            "assd": surface.assd(pair.borders(number)),
        }
        for number, label in enumerate(case.labels)
    }


def surface_distance(case: Case) -> Values:
    """Call DeepMind's library as FLARE's evaluation does: one label after another on whole volumes."""
    import surface_distance as sd

    reference, prediction = _load(case)
    values: Values = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label in case.labels:
            masks = reference == label, prediction == label
            values[label] = {"dice": float(sd.compute_dice_coefficient(*masks))}
            if not (masks[0].any() and masks[1].any()):
                values[label] |= dict.fromkeys(("nsd", "hd95", "from reference", "from prediction"), math.nan)
                continue
            found = sd.compute_surface_distances(*masks, case.spacing_xyz)
            first, second = sd.compute_average_surface_distance(found)
            values[label] |= {
                "nsd": float(sd.compute_surface_dice_at_tolerance(found, case.tolerance_mm)),
                "hd95": float(sd.compute_robust_hausdorff(found, 95)),
                "from reference": float(first),
                "from prediction": float(second),
            }
    return values


def medpy(case: Case) -> Values:
    """Call MedPy label by label on whole volumes."""
    from medpy.metric import binary

    reference, prediction = _load(case, "dataobj")
    values: Values = {}
    for label in case.labels:
        masks = prediction == label, reference == label
        values[label] = {"dice": float(binary.dc(*masks)), "hd": math.nan, "hd95": math.nan, "assd": math.nan}
        if masks[0].any() and masks[1].any():
            values[label]["hd95"] = float(binary.hd95(*masks, case.spacing_xyz))
            values[label]["assd"] = float(binary.assd(*masks, case.spacing_xyz))
    return values


def simpleitk(case: Case) -> Values:
    """Compute overlaps of all labels in one SimpleITK filter."""
    import SimpleITK as sitk  # noqa: N813 - the name its users give it

    images = [sitk.ReadImage(path) for path in (case.reference, case.prediction)]
    overlaps = sitk.LabelOverlapMeasuresImageFilter()
    overlaps.Execute(*images)
    return {label: {"dice": overlaps.GetDiceCoefficient(label)} for label in case.labels}


def simpleitk_distances(case: Case) -> Values:
    """Compute overlaps and, label by label, Hausdorff distances with SimpleITK."""
    import SimpleITK as sitk  # noqa: N813 - the name its users give it

    images = [sitk.ReadImage(path) for path in (case.reference, case.prediction)]
    values = simpleitk(case)
    for label in case.labels:
        values[label]["hd"] = math.nan
        if values[label]["dice"] > 0:
            hausdorff = sitk.HausdorffDistanceImageFilter()
            hausdorff.Execute(*(image == label for image in images))
            values[label]["hd"] = hausdorff.GetHausdorffDistance()
    return values


def nnunet(case: Case) -> Values:
    """Call nnU-Net's evaluator."""
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    found = compute_metrics(case.reference, case.prediction, SimpleITKIO(), case.labels)
    return {label: {"dice": float(found["metrics"][label]["Dice"])} for label in case.labels}


def monai(case: Case) -> Values:
    """Call MONAI on one-hot tensors."""
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    arrays = _load(case, "dataobj")
    reference, prediction = (
        torch.stack([torch.from_numpy(array == label) for label in [0, *case.labels]])[None] for array in arrays
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dice = compute_dice(prediction, reference, include_background=False)[0]
        limits = [case.tolerance_mm] * len(case.labels)
        nsd = compute_surface_dice(prediction, reference, limits, spacing=case.spacing_xyz)[0]
        hd95 = compute_hausdorff_distance(prediction, reference, percentile=95, spacing=case.spacing_xyz)[0]
    return {
        label: {"dice": float(dice[k]), "nsd": float(nsd[k]), "hd95": float(hd95[k])}
        for k, label in enumerate(case.labels)
    }


def panoptica(case: Case) -> Values:
    """Call panoptica's metrics label by label."""
    from panoptica.metrics import Metric

    reference, prediction = _load(case, "dataobj")
    values: Values = {}
    for label in case.labels:
        masks = reference == label, prediction == label
        values[label] = {"dice": float(Metric.DSC(*masks))}
        if masks[0].any() and masks[1].any():
            values[label]["hd95"] = float(Metric.HD95(*masks, voxelspacing=tuple(case.spacing_xyz)))
    return values


_SURFELS = {name: name for name in ("dice", "nsd", "hd95", "from reference", "from prediction")}
ALL: dict[str, Contender] = {
    "stream limit": Contender(stream_limit, "nothing, and keeps nothing", ("isal",), quick=True),
    "read limit": Contender(read_limit, "nothing", ("isal",), quick=True),
    "medpodium": Contender(medpodium, "Dice, NSD, HD95, ASSD", quick=True),
    "medpodium, border voxels": Contender(medpodium_borders, "Dice, NSD, HD, HD95 twice, ASSD", quick=True),
    "SimpleITK overlap": Contender(simpleitk, "Dice", ("SimpleITK",), quick=True, same={"dice": "dice"}),
    "surface-distance as in FLARE": Contender(
        surface_distance, "Dice, NSD, HD95, ASD", ("surface_distance", "nibabel"), same=_SURFELS
    ),
    "nnU-Net evaluator": Contender(nnunet, "Dice", ("nnunetv2",), same={"dice": "dice"}),
    "SimpleITK Hausdorff": Contender(simpleitk_distances, "Dice, HD", ("SimpleITK",), same={"dice": "dice"}),
    "panoptica": Contender(panoptica, "Dice, HD95", ("panoptica",), same={"dice": "dice"}),
    "MedPy": Contender(medpy, "Dice, HD95, ASSD", ("medpy", "nibabel"), same={"dice": "dice"}),
    "MONAI": Contender(monai, "Dice, NSD, HD95", ("monai", "torch"), same={"dice": "dice"}, tolerance=1e-6),
}
