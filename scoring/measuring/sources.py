"""What somebody hands over as a mask: a path, an array, a tensor, an image of SimpleITK or nibabel.

Arrays are ``(z, y, x)``, or ``(y, x)`` for a plane, and a spacing is given in the order of their axes: what
``SimpleITK.GetArrayFromImage`` returns, and what every array of this package is. Files and images bring their own
grid. Nothing is imported that the caller has not imported: an image of SimpleITK is looked for only where SimpleITK
is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding
from medpodium.scoring.masks.geometry import Geometry, geometry_from_affine
from medpodium.scoring.masks.header import VolumeHeader
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.labels import LabelArray, to_whole_numbers
from medpodium.scoring.masks.nifti_grid import GridFields, nifti_geometry
from medpodium.scoring.masks.reader import read_geometry
from medpodium.scoring.measuring.codes import MeasureCode, refuse

MaskLike: TypeAlias = Any
"""A path, a NumPy array, whatever has an array protocol (torch, CuPy), or an image of SimpleITK or nibabel."""

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AXES = {2: "(y, x)", 3: "(z, y, x)"}


@dataclass(frozen=True, eq=False)
class Source:
    """A mask as it was given.

    Parameters
    ----------
    where : str
        Its name in findings: the file, or the argument with type and shape.
    path : Path, optional
        Its file, not read yet.
    array : ndarray, optional
        Its voxels, axes ``(z, y, x)`` or ``(y, x)``; with the channels in front where it is one-hot.
    grid : Geometry, optional
        Where an image says its voxels lie; ``None`` for arrays, and for files that are not read yet.
    one_hot : bool
        Whether the first axis of the array are channels.
    findings : tuple of Finding
        What was odd but usable about the image's header.
    """

    where: str
    path: Path | None = None
    array: npt.NDArray[Any] | None = None
    grid: Geometry | None = None
    one_hot: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def axes(self) -> int:
        """Number of the array's axes of space; 0 for a file."""
        return 0 if self.array is None else self.array.ndim - self.one_hot


def source_of(given: MaskLike, role: str, channel_axis: int | None = None) -> Source:
    """Take whatever somebody calls a mask; no voxel is looked at yet.

    Parameters
    ----------
    given : object
        Path, array, tensor or image.
    role : str
        Name of the argument, for messages.
    channel_axis : int, optional
        Which axis of an array are the channels of a one-hot mask.

    Raises
    ------
    UsageError
        If it is none of these, or has not two or three axes of space.
    """
    if isinstance(given, (str, PathLike)):
        return Source(str(given), path=Path(fspath(given)))
    library = _library(given)
    if library is not None:
        read = _of_simpleitk if library == "SimpleITK" else _of_nibabel
        return read(sys.modules[library], given, role)
    return _of_array(_as_array(given, role), role, channel_axis)


def has_grid(given: MaskLike) -> bool:
    """Return whether a mask says itself where its voxels lie: a file or an image."""
    return isinstance(given, (str, PathLike)) or _library(given) is not None


def grid_of(given: MaskLike) -> Geometry:
    """Return the grid of a file or an image, whatever its voxels are.

    Raises
    ------
    MedpodiumError
        If it has none that can be used.
    """
    source = source_of(given, "like")
    if source.path is not None:
        return read_geometry(source.path, limits=OWN_FILES)
    if source.grid is None:
        raise refuse(MeasureCode.SPACING_MISSING, source.where, "states no grid", "give a file or an image")
    return source.grid


def _library(given: MaskLike) -> str | None:
    """Return whose image it is; nothing is imported for that."""
    for name, path in (("SimpleITK", "Image"), ("nibabel", "spatialimages.SpatialImage")):
        kind: Any = sys.modules.get(name)
        for part in path.split(".") if kind is not None else ():
            kind = getattr(kind, part, None)
        if kind is not None and isinstance(given, kind):
            return name
    return None


def _as_array(given: MaskLike, role: str) -> npt.NDArray[Any]:
    """Return a tensor's values in this machine's memory; no copy is made where none is needed."""
    kind = f"{type(given).__module__}.{type(given).__qualname__}"
    if isinstance(given, np.ndarray):
        return given
    try:
        if hasattr(given, "detach") and hasattr(given, "cpu"):  # torch: neither gradients nor another device
            given = given.detach().cpu()
        elif hasattr(given, "__cuda_array_interface__") and hasattr(given, "get"):  # CuPy
            given = given.get()
        if hasattr(given, "__array__"):
            return np.asarray(given)
        if hasattr(given, "__dlpack__"):
            return np.from_dlpack(given)
    except (TypeError, RuntimeError, BufferError, ValueError) as error:
        cause = f"is a {kind} of {getattr(given, 'dtype', 'unknown type')} that gives no array ({error})"
        fix = "convert it before: labels as uint8, in the memory of the CPU"
        raise refuse(MeasureCode.INPUT, role, cause.split("\n")[0], fix) from None
    fix = "give a path, an array, a tensor, or an image of SimpleITK or nibabel"
    raise refuse(MeasureCode.INPUT, role, f"is a {kind}", fix)


def _of_array(array: npt.NDArray[Any], role: str, channel_axis: int | None) -> Source:
    where = f"{role} ({array.dtype} array of shape {array.shape})"
    if array.dtype.kind not in "biuf":
        raise refuse(MeasureCode.INPUT, where, f"holds values of the type {array.dtype}", "give labels: uint8 or bool")
    if channel_axis is not None:
        if not -array.ndim <= channel_axis < array.ndim:
            cause = f"has no axis {channel_axis} for channels"
            raise refuse(MeasureCode.CHANNELS, where, cause, "count axes from 0: channel_axis=0 for (channel, z, y, x)")
        array = np.moveaxis(array, channel_axis, 0)
    axes = array.ndim - (channel_axis is not None)
    if axes not in _AXES or array.size == 0:
        cause = f"has {axes} axes of space, a mask has two or three" if array.size else "has no voxel"
        fix = "give (z, y, x) or (y, x), without batch; for a one-hot mask say channel_axis=0"
        raise refuse(MeasureCode.SHAPE, where, cause, fix)
    return Source(where, array=array, one_hot=channel_axis is not None)


def _of_simpleitk(sitk: Any, image: Any, role: str) -> Source:
    axes, values = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    where = f"{role} (SimpleITK image of shape (x, y, z) = {image.GetSize()}, {image.GetPixelIDTypeAsString()})"
    if axes not in _AXES or values != 1 or "complex" in image.GetPixelIDTypeAsString():
        cause = f"has {axes} axes and {values} values per voxel"
        raise refuse(MeasureCode.SHAPE, where, cause, "give a label map of two or three axes with one value per voxel")
    affine = np.eye(4)
    affine[:axes, :axes] = np.reshape(image.GetDirection(), (axes, axes)) * image.GetSpacing()
    affine[:axes, 3] = image.GetOrigin()
    shape = (1,) * (3 - axes) + tuple(reversed(image.GetSize()))
    spacing = (*image.GetSpacing(), 1.0)[:3]
    grid = geometry_from_affine(shape, affine, spacing_xyz=spacing)
    # a copy, because a view dies with its image
    return Source(where, array=sitk.GetArrayFromImage(image), grid=replace(grid, planar=axes == 2))


def _of_nibabel(nibabel: Any, image: Any, role: str) -> Source:
    where = f"{role} (nibabel image of shape (x, y, z) = {image.shape}, {image.get_data_dtype()})"
    sizes = image.shape
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) not in _AXES:
        cause = f"has {len(sizes)} axes, a label map has two or three"
        raise refuse(MeasureCode.SHAPE, where, cause, "give one label map per case: the argmax over classes")
    x, y, z = (*sizes, 1)[:3]  # NIfTI's order; the array is turned, not copied
    findings: list[Finding] = []
    grid = _nibabel_grid(nibabel, image, (z, y, x), where, findings)
    array = np.asanyarray(image.dataobj).reshape(sizes).T
    return Source(where, array=array, grid=replace(grid, planar=len(sizes) == 2), findings=tuple(findings))


def _nibabel_grid(
    nibabel: Any, image: Any, shape_zyx: tuple[int, int, int], where: str, findings: list[Finding]
) -> Geometry:
    """Return the grid by the very rules that a NIfTI file is read by; other formats have an affine only."""
    header = image.header
    if isinstance(header, nibabel.Nifti1Header) and np.allclose(header.get_best_affine(), image.affine):
        rows = [float(value) for name in ("srow_x", "srow_y", "srow_z") for value in header[name]]
        turned = [float(header[f"quatern_{name}"]) for name in "bcd"]
        fields = GridFields(
            int(header["dim"][0]),
            tuple(float(value) for value in header["pixdim"]),
            int(header["qform_code"]),
            int(header["sform_code"]),
            (*turned, *(float(header[f"qoffset_{name}"]) for name in "xyz")),
            tuple(rows),
            int(header["xyzt_units"]),
            float(np.finfo(header["pixdim"].dtype).eps),
        )
        return nifti_geometry(shape_zyx, fields, Path(where), findings)
    try:
        return geometry_from_affine(shape_zyx, _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64))
    except (TypeError, ValueError) as error:
        cause = f"its affine cannot be used: {error}"
        raise refuse(MeasureCode.SPACING_INVALID, where, cause, "give the image the affine of the case") from None


def bare_grid(source: Source, spacing: Sequence[float]) -> Geometry:
    """Return the grid of an array that says nothing of where its voxels lie."""
    shape = _shape(source)
    sizes = (1.0,) * (3 - len(spacing)) + tuple(spacing)
    z, y, x = sizes
    return Geometry(shape, (z, y, x), (0.0, 0.0, 0.0), np.eye(3), planar=source.axes == 2)


def grid_like(source: Source, other: Geometry) -> Geometry:
    """Return the grid of an array that is said to lie on another mask's."""
    return replace(other, shape_zyx=_shape(source), planar=source.axes == 2)


def _shape(source: Source) -> tuple[int, int, int]:
    if source.array is None:
        raise ValueError("a file has its own grid")
    z, y, x = (1,) * (3 - source.axes) + source.array.shape[int(source.one_hot) :]
    return z, y, x


def label_map(source: Source, grid: Geometry) -> LabelArray:
    """Return the labels of an array, checked voxel by voxel as those of a file are.

    Returns
    -------
    ndarray of uint8 or uint16, shape (z, y, x), C order

    Raises
    ------
    MaskError
        If a value is no label: NaN, a fraction, a negative number, or more than 65535.
    """
    if source.array is None or source.one_hot:
        raise ValueError("no label map")
    return _whole(source.array, source.where, grid)


def channels(source: Source, grid: Geometry, count: int) -> list[npt.NDArray[np.uint8]]:
    """Return the channels of a one-hot array as 0/1 arrays, shape (z, y, x).

    Raises
    ------
    UsageError
        If it has fewer channels than are named.
    MaskError
        If a value is neither 0 nor 1.
    """
    if source.array is None or not source.one_hot:
        raise ValueError("no channels")
    if len(source.array) < count:
        cause = f"has {len(source.array)} channels, the structures need {count}"
        fix = "name every channel in order, None for one that is not scored, or check channel_axis"
        raise refuse(MeasureCode.CHANNELS, source.where, cause, fix)
    found = []
    for number in range(count):
        where = f"{source.where}, channel {number}"
        channel = _whole(source.array[number], where, grid)
        largest = int(channel.max())
        if largest > 1:
            cause = f"holds the value {largest}, a one-hot mask holds 0 and 1"
            raise refuse(MeasureCode.CHANNELS, where, cause, "leave channel_axis out for a label map")
        found.append(channel.astype(np.uint8, copy=False))
    return found


def _whole(array: npt.NDArray[Any], where: str, grid: Geometry) -> LabelArray:
    shape = grid.shape_zyx
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    if array.dtype not in (np.uint8, np.uint16):
        header = VolumeHeader(grid, array.dtype)
        values, largest = to_whole_numbers(np.ascontiguousarray(array).reshape(-1), header, Path(where), 0)
        array = values.astype(np.uint8 if largest <= 255 else np.uint16)
    return np.ascontiguousarray(array).reshape(shape)
