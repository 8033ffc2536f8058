"""Whether the masks of a case are measured in the plane: declared by the task, or said by the reference's file.

A volume with a single slice is no plane by itself: libraries measure the slab, and so does this one unless the task
says ``dimensions: 2``. The reference decides for its case; a prediction only has to have its pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.findings import Code, Finding, MedpodiumError, Severity
from medpodium.scoring.kinds.segmentation.measures import Volume
from medpodium.scoring.masks.geometry import Geometry

Extent = Literal["plane", "slice", "volume"]
_DECLARE = "add 'dimensions: 2' or 'dimensions: 3' to the task"


class PlaneCode(Code):
    """What is to be said about planes and volumes."""

    MEASURED = "measured-in-the-plane"
    SLAB = "single-slice-measured-as-volume"
    CONTRADICTS = "dimensions-contradict"
    MIXED = "references-planes-and-volumes"
    METRIC = "metric-needs-dimensions"


class PlaneError(MedpodiumError):
    """A reference that is a plane where the task needs a volume, or the other way round."""


def is_planar(task: SegmentationTask, grid: Geometry, where: str) -> bool:
    """Return whether a case is measured in the plane.

    Parameters
    ----------
    task : SegmentationTask
        May declare it.
    grid : Geometry
        The reference's.
    where : str
        File of the reference.

    Raises
    ------
    PlaneError
        If the reference contradicts the task.
    """
    single = grid.planar or grid.shape_zyx[0] == 1
    if task.planar and not single:
        z, y, x = grid.shape_zyx
        cause = f"the task measures in the plane, and the reference is a volume of shape (x, y, z) = ({x}, {y}, {z})"
        fix = "give one slice per case, its axis last and of size 1, or remove 'dimensions: 2'"
        raise PlaneError(Finding(PlaneCode.CONTRADICTS, where, cause, fix))
    if task.planar is False and grid.planar:
        cause = "the task declares dimensions: 3, and the reference has two axes"
        raise PlaneError(Finding(PlaneCode.CONTRADICTS, where, cause, "write 'dimensions: 2', or give volumes"))
    return grid.planar if task.planar is None else task.planar


def as_measured(task: SegmentationTask, reference: Volume, where: str) -> Volume:
    """Return a reference as it is measured: in the plane or not, and with the declared size of a picture's pixels.

    Raises
    ------
    PlaneError
        As :func:`is_planar`.
    """
    grid = reference.geometry
    if not is_planar(task, grid, where):
        return reference
    _, sy, sx = grid.spacing_zyx
    if not grid.spaced and task.geometry.pixel_mm is not None:
        sx, sy = task.geometry.pixel_mm
    # A slice of 1 mm at right angles to the plane, whatever its file says: its volume is the pixel's area.
    normal = np.cross(grid.direction[:, 0], grid.direction[:, 1])
    direction = np.column_stack([grid.direction[:, :2], normal / np.linalg.norm(normal)])
    # From here on its grid is a plane's, so that the thickness of a prediction's slice is not compared with that 1 mm.
    plane = replace(grid, spacing_zyx=(1.0, sy, sx), direction=direction, planar=True)
    return replace(reference, geometry=plane, planar=True)


def extent_of(grid: Geometry) -> Extent:
    """Return whether a file has two axes, one slice, or more."""
    if grid.planar:
        return "plane"
    return "slice" if grid.shape_zyx[0] == 1 else "volume"


def tell_planes(task: SegmentationTask, extents: Mapping[str, Extent], where: str) -> list[Finding]:
    """Say once for all references how they are measured, and what contradicts that.

    Some planes and some volumes, and metrics that need to know of planes before, are errors of the organizer.

    Parameters
    ----------
    task : SegmentationTask
        May declare it.
    extents : mapping of str to {"plane", "slice", "volume"}
        What every case's reference is.
    where : str
        Folder of the references.
    """
    planes = [case for case, extent in extents.items() if extent == "plane"]
    slices = [case for case, extent in extents.items() if extent == "slice"]
    if task.planar is None:
        return [*_undeclared(task, planes, extents, where), *_tell_slices(slices, where)]
    if slices and task.planar:
        cause = f"{len(slices)} references are volumes of one slice ({slices[0]}), measured in the plane as declared"
        return [Finding(PlaneCode.MEASURED, where, cause, "nothing to do", Severity.NOTE)]
    return []


def _tell_slices(slices: list[str], where: str) -> Iterator[Finding]:
    if slices:
        cause = f"{len(slices)} references are volumes of one slice ({slices[0]}), measured as slabs with two faces"
        yield Finding(PlaneCode.SLAB, where, cause, f"{_DECLARE}; 2 measures contours", Severity.WARNING)


def _undeclared(
    task: SegmentationTask, planes: list[str], extents: Mapping[str, Extent], where: str
) -> Iterator[Finding]:
    """Yield what is to be said where each file decides: units are printed everywhere and have to be known before."""
    if planes and len(planes) < len(extents):
        other = next(case for case, extent in extents.items() if extent != "plane")
        cause = f"{len(planes)} of {len(extents)} references are planes ({planes[0]}), the others are not ({other})"
        yield Finding(PlaneCode.MIXED, where, cause, f"give all of one kind, or {_DECLARE}")
        return
    for name, metric in task.metrics.items():
        if not isinstance(metric, StructureMetric):
            continue
        for _, cause, fix in metric.broken_plane(bool(planes)):
            yield Finding(PlaneCode.METRIC, where, f"metric {name!r}: {cause}", fix)
        if planes and metric.unit_name == "ml":
            cause = f"metric {name!r} is in ml, and the references are planes, which have an area"
            yield Finding(PlaneCode.METRIC, where, cause, "add 'dimensions: 2' to the task: it is in mm² then")
    if planes:
        cause = f"{len(planes)} references have two axes: contours and areas are measured, in the plane"
        yield Finding(PlaneCode.MEASURED, where, cause, "add 'dimensions: 2' to the task to say so", Severity.NOTE)
