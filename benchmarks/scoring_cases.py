"""The cases of the scoring benchmark, written as pairs of uint8 ``.nii.gz`` files."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint8]
SHARED = Path(os.environ.get("MEDPODIUM_SHARED", Path(__file__).resolve().parents[2] / "shared"))
AMOS = SHARED / "data/masks/amos/amos_0001.nii.gz"
STRUCTURES = {"synthetic": 14, "classes": 117}
"""Drawn cases: how many structures they have; 117 are those of a whole-body map as TotalSegmentator writes it."""


@dataclass(frozen=True)
class Case:
    """One pair of files and how to score it."""

    name: str
    reference: str
    prediction: str
    shape: list[int]
    """Voxels along x, y, z."""
    spacing_xyz: list[float]
    labels: list[int]
    tolerance_mm: float = 2.0

    @property
    def mask_megabytes(self) -> float:
        """Size of one uncompressed mask."""
        return float(np.prod(self.shape)) / 1e6


def prepare(name: str | None, folder: Path) -> Case:
    """Write the files of a case (``amos``, one of :data:`STRUCTURES`, or ``None``) and describe it."""
    import nibabel

    if name is None:
        name = "amos" if AMOS.is_file() else "synthetic"
    if name == "amos":
        image = nibabel.load(AMOS)
        reference = np.asanyarray(image.dataobj).astype(np.uint8)
        affine, spacing = image.affine, [float(s) for s in image.header.get_zooms()]
    else:
        reference, spacing = synthetic(structures=STRUCTURES[name]), [0.75, 0.75, 2.0]
        affine = np.diag([*spacing, 1.0])
    prediction = perturbed(reference)
    paths = []
    for stem, array in (("reference", reference), ("prediction", prediction)):
        image = nibabel.Nifti1Image(array, affine)
        image.header.set_zooms(spacing)
        paths.append(str(folder / f"{stem}.nii.gz"))
        nibabel.save(image, paths[-1])
    labels = [int(n) for n in np.unique(reference) if n]
    case = Case(name, paths[0], paths[1], list(reference.shape), spacing, labels)
    (folder / "case.json").write_text(json.dumps(asdict(case)))
    return case


def load(folder: Path) -> Case:
    """Return the case prepared in a folder."""
    return Case(**json.loads((folder / "case.json").read_text()))


def synthetic(shape: tuple[int, int, int] = (512, 512, 300), structures: int = 14) -> Labels:
    """Draw lumpy, organ-like structures of very different size (x, y, z)."""
    from scipy import ndimage  # here, as who only scores a case is not to hold SciPy

    rng = np.random.default_rng(3)
    labels = np.zeros(shape, np.uint8)
    coarse = ndimage.zoom(rng.normal(size=[n // 16 for n in shape]), 4, order=1)
    lumps = ndimage.zoom(
        ndimage.gaussian_filter(coarse, 2), [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1
    )
    lumps /= lumps.std()
    scale = min(1.0, (14 / structures) ** (1 / 3))  # many of them fill as much as a few
    for label in range(1, structures + 1):
        radius = scale * np.array([0.16, 0.16, 0.2]) * shape * rng.uniform(0.25, 1.0)
        centre = rng.uniform(0.25, 0.75, 3) * shape
        box = tuple(
            slice(max(int(c - 1.6 * r), 0), min(int(c + 1.6 * r), n))
            for c, r, n in zip(centre, radius, shape, strict=True)
        )
        grid = np.ogrid[box]
        far = sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radius, strict=True))
        part = labels[box]
        part[(far + 0.25 * lumps[box] < 1) & (part == 0)] = label
    return labels


def perturbed(labels: Labels) -> Labels:
    """Return a copy with eroded, dilated and shifted structures, a missed one, a far island and noisy borders."""
    from scipy import ndimage

    rng = np.random.default_rng(7)
    result = labels.copy()
    flat = np.ones((3, 3, 1), bool)
    boxes = ndimage.find_objects(labels)
    for label, found in enumerate(boxes, start=1):
        if found is None:
            continue
        box = tuple(slice(max(s.start - 4, 0), s.stop + 4) for s in found)
        structure = labels[box] == label
        part = result[box]
        part[structure] = 0
        if label == 4:
            continue  # missed altogether
        if label % 3 == 0:
            structure = ndimage.binary_erosion(structure, flat)
        elif label % 3 == 1:
            structure = ndimage.binary_dilation(structure, flat, iterations=2)
        else:
            structure = np.roll(structure, (3, 2, 0), (0, 1, 2))
        edge = structure ^ ndimage.binary_erosion(structure, flat)
        structure &= ~(edge & (rng.random(structure.shape) < 0.3))
        part[structure] = label
    result[20:40, 20:40, 10:13] = 6
    return result
