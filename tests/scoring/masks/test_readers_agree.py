"""What the file says is what is measured: 2,000 random headers, read here and by the libraries that everyone uses.

Where SimpleITK, nibabel (NIfTI) and pynrrd (NRRD) read a file alike, spacing, volume of a voxel, place and labels are
theirs. Where they differ, or one refuses, a finding says so.
"""

from __future__ import annotations

import logging
import runpy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.findings import Finding
from medpodium.scoring.masks.codes import MaskCode as Code
from medpodium.scoring.masks.codes import MaskError
from medpodium.scoring.masks.reader import read_mask

nib = pytest.importorskip("nibabel")
sitk = pytest.importorskip("SimpleITK")
pynrrd = pytest.importorskip("nrrd")

makers = runpy.run_path(str(Path(__file__).with_name("random_headers.py")))
FILES = 2100
IO = {
    ".nii": "NiftiImageIO",
    ".gz": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
}
LPS = np.diag([-1.0, -1.0, 1.0])
ALIKE = 0.9e-5
"""Relative difference up to which two readers state the same number (what float32 and six printed digits cost)."""
PLACE_VOXELS = 0.04

SPACING = {
    Code.PIXDIM_SFORM_DISAGREE, Code.SPACING_INVALID, Code.AFFINE_INVALID, Code.ORIENTATION_MISSING, Code.UNITS_NOT_MM,
}  # fmt: skip
VOLUME = SPACING | {Code.AFFINE_SHEARED}
PLACE = VOLUME | {Code.QFORM_SFORM_DISAGREE, Code.ORIENTATION_ODD}
LABELS = {Code.SCALING_IGNORED, Code.HEADER_ODD, Code.HEADER_EXTENSION}
REFUSED = {
    Code.HEADER_ODD, Code.FORMAT_MISMATCH, Code.HEADER_EXTENSION, Code.AFFINE_INVALID, Code.AFFINE_SHEARED,
    Code.SPACING_INVALID, Code.DATA_TRAILING, Code.ORIENTATION_ODD,
}  # fmt: skip
DELIBERATE = {Code.UNITS_NOT_MM, Code.DIRECTION_STRETCHED}
"""Here the header is believed although no library does; the finding says so."""


@dataclass(frozen=True)
class Seen:
    """What a reader makes of a file: labels (z, y, x), and the grid in LPS and mm."""

    labels: Any
    spacings: tuple[Any, ...]
    columns: Any
    origin: Any
    volume: float


def size_of(columns: Any) -> float:
    """Return the volume of a voxel, or in a plane (whose axes may be oblique in space) the area of a pixel."""
    return float(np.sqrt(np.linalg.det(columns.T @ columns)))


def ours(path: Path) -> tuple[Seen, tuple[Finding, ...]]:
    mask = read_mask(path)
    grid, count = mask.geometry, 2 if mask.geometry.planar else 3
    spacing = np.array(grid.spacing_xyz)[:count]
    columns = (grid.direction * grid.spacing_xyz)[:, :count]
    volume = size_of(columns) if grid.planar else grid.voxel_ml * 1000
    return Seen(mask.array, (spacing,), columns, np.array(grid.origin_xyz), volume), mask.findings


def by_simpleitk(path: Path) -> Seen:
    image = sitk.ReadImage(str(path), imageIO=IO[path.suffix])
    count, dims = min(image.GetDimension(), 3), image.GetDimension()
    spacing = np.array(image.GetSpacing()[:count])
    direction, origin = np.zeros((3, count)), np.zeros(3)
    direction[:count] = np.reshape(image.GetDirection(), (dims, dims))[:count, :count]
    direction /= np.linalg.norm(direction, axis=0)
    origin[:count] = image.GetOrigin()[:count]
    columns = direction * spacing
    volume = size_of(columns) if count == 3 else float(np.prod(spacing))  # a turned plane is shown by its shadow
    return Seen(np.squeeze(sitk.GetArrayFromImage(image)), (spacing,), columns, origin, volume)


def by_nibabel(path: Path) -> Seen:
    image = nib.load(path)
    count = min(len(image.shape), 3)
    columns = (LPS @ image.affine[:3, :3])[:, :count]
    spacings = (np.linalg.norm(columns, axis=0), np.array(image.header.get_zooms()[:count], dtype=float))
    labels = np.squeeze(np.asarray(image.dataobj)).T
    return Seen(labels, spacings, columns, LPS @ image.affine[:3, 3], size_of(columns))


def by_pynrrd(path: Path) -> Seen:
    voxels, header = pynrrd.read(str(path))
    steps = header.get("spacings", np.ones(min(voxels.ndim, 3)))
    rows = header.get("space directions", np.diag([step for step in steps if np.isfinite(step)]))
    rows = np.array([row[:3] for row in rows if row is not None and np.isfinite(row).all() and any(row[:3])])
    count = len(rows)
    space = str(header.get("space", "")).lower().replace("-time", "").replace("rast", "ras")
    signs = np.array([-1, -1, 1] if space in ("right-anterior-superior", "ras") else [1, 1, 1])
    signs = np.array([1, -1, 1]) if space in ("left-anterior-superior", "las") else signs
    columns, origin = np.zeros((3, count)), np.zeros(3)
    columns[:count] = (rows * signs[:count]).T
    origin[:count] = header.get("space origin", np.zeros(count))[:3] * signs[:count]
    return Seen(np.squeeze(voxels).T, (np.linalg.norm(columns, axis=0),), columns, origin, size_of(columns))


def attempt(reader: Callable[[Path], Seen], path: Path) -> Seen | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader(path)
    except Exception:  # whatever a library raises: it refuses the file
        return None


def corners(seen: Seen, shape: Sequence[int]) -> Any:
    count = seen.columns.shape[1]
    ends = np.stack(np.meshgrid(*[(0, size - 1) for size in shape[:count]], indexing="ij"), -1).reshape(-1, count)
    return ends @ seen.columns.T + seen.origin


def complaints(path: Path, others: Sequence[Seen | None]) -> list[str]:
    """Return what is wrong about how a file is read here, given how others read it."""
    read = [other for other in others if other is not None]
    everyone = len(read) == len(others)
    try:
        mine, findings = ours(path)
    except MaskError as error:
        if error.findings[0].code is Code.SPACING_INVALID:
            return []  # 0 or nan, which both libraries silently take for 1 mm
        alike = everyone and all(same_grid(read[0], other) for other in read)
        return [f"refused here, and read alike by all others: {error}"] if alike else []
    noted = {finding.code for finding in findings}
    wrong = [] if everyone or noted & REFUSED else ["refused elsewhere, and nothing says so"]
    if not read:
        return wrong

    def judge(what: str, alike: bool, same: bool, reasons: set[Code]) -> None:
        if everyone and alike and not same and not noted & DELIBERATE:
            wrong.append(f"{what} differs from what all others read alike")
        elif not alike and not noted & reasons:
            wrong.append(f"{what} is read differently elsewhere, and nothing says so")
        elif not everyone and alike and not same and not noted & (reasons | DELIBERATE | REFUSED):
            wrong.append(f"{what} differs from the one who reads it, and nothing says so")

    labels = [np.squeeze(other.labels) for other in read]
    judge(
        "label",
        all(np.array_equal(one, labels[0]) for one in labels),
        np.array_equal(np.squeeze(mine.labels), labels[0]) or bool(noted & LABELS),
        LABELS,
    )
    stated = [spacing for other in read for spacing in other.spacings]
    judge("spacing", all(close(one, stated[0]) for one in stated), close(mine.spacings[0], stated[0]), SPACING)
    volumes = [other.volume for other in read]
    judge("volume", all(close(one, volumes[0]) for one in volumes), close(mine.volume, volumes[0]), VOLUME)
    if mine.columns.shape[1] == 3:  # SimpleITK has no third axis for a plane to be turned to
        shape, limit = mine.labels.shape[::-1], PLACE_VOXELS * min(stated[0])
        place = [corners(other, shape) for other in read]
        alike = all(np.abs(one - place[0]).max() <= limit for one in place)
        judge("place", alike, np.abs(corners(mine, shape) - place[0]).max() <= 2 * limit, PLACE)
    return wrong


def close(one: Any, other: Any) -> bool:
    return bool(np.allclose(one, other, rtol=ALIKE, atol=0))


def same_grid(one: Seen, other: Seen) -> bool:
    every = [*one.spacings, *other.spacings]
    return all(close(spacing, every[0]) for spacing in every) and close(one.volume, other.volume)


@pytest.fixture
def quiet() -> Any:
    """Keep the libraries' own warnings out of the output."""
    before = logging.getLogger("nibabel").level
    logging.getLogger("nibabel").setLevel(logging.CRITICAL + 1)
    nib.imageglobals.logger.setLevel(logging.CRITICAL + 1)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    yield
    logging.getLogger("nibabel").setLevel(before)
    sitk.ProcessObject.SetGlobalWarningDisplay(True)


@pytest.mark.slow
def test_random_headers_are_read_as_everyone_reads_them(tmp_path: Path, quiet: None) -> None:
    wrong: list[str] = []
    alike = 0
    for seed in range(FILES):
        kind = ("nifti", "metaimage", "nrrd")[seed % 3]
        name, content = makers[kind](np.random.default_rng(seed))
        path = tmp_path / name
        path.write_bytes(content)
        readers = {"nifti": (by_simpleitk, by_nibabel), "metaimage": (by_simpleitk,), "nrrd": (by_simpleitk, by_pynrrd)}
        others = [attempt(reader, path) for reader in readers[kind]]
        alike += all(other is not None and same_grid(other, others[0]) for other in others)
        wrong += [f"{kind} {seed}: {complaint}" for complaint in complaints(path, others)]
        path.unlink()  # the NIfTI library takes the voxels of case.nii.gz from a case.nii beside it
    assert alike > FILES / 2, "the comparison is worth little when the libraries themselves do not agree"
    assert not wrong, "\n".join([f"{len(wrong)} of {FILES}", *wrong[:40]])
