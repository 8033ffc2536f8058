"""DICOM segmentations (SEG, one object per file): segments by their labels, frames at the places that they state.

pydicom reads the header and highdicom sorts the frames into a volume; both belong to the extra ``dicom`` and are
imported when such a file is met. Frames may be in any order and leave out slices that are empty. By DICOM PS3.3, A.51
and C.8.20 (Segmentation IOD and Image Module) and C.7.6.16 (functional groups).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medpodium.findings import Finding, InfrastructureError
from medpodium.scoring.masks.codes import MaskCode, MaskError, finding, refusal, warning
from medpodium.scoring.masks.geometry import Geometry, geometry_from_affine
from medpodium.scoring.masks.header import Segment, VolumeHeader, check_spacing, checked_shape
from medpodium.scoring.masks.inflate import ReadLimits

Plane = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Planes = Callable[[], Iterator[tuple[int, int, Plane]]]
"""Reads frames: layer, slice, and voxels of shape (y, x)."""

_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_SEGMENTATION, _LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
_PIXELS = b"\xe0\x7f\x10\x00"
_UNDEFINED = 0xFFFFFFFF
_SQUARE = 1e-4  # largest cosine between rows and columns, largest error of their lengths
_UNEVEN = 0.01
"""Largest share of a slice's thickness by which its frame may be off its place."""
_MANY_FRAMES = 200_000
_AGAIN = "write or upload the file again; it is damaged or was cut off"
_EXPORT = "export it as a DICOM SEG of type BINARY or LABELMAP, uncompressed, or save the mask as .nii.gz"


class DicomMissingError(InfrastructureError, MaskError):
    """The extra ``dicom`` is not installed, which is not the file's fault."""


def require_dicom(where: Path) -> None:
    """Refuse a DICOM file where the libraries that read it are not installed.

    Raises
    ------
    DicomMissingError
        Exit code 3.
    """
    lacking = [name for name in ("pydicom", "highdicom") if find_spec(name) is None]
    if lacking:
        cause = f"is a DICOM file, and {' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed"
        raise DicomMissingError(finding(MaskCode.EXTRA_MISSING, where, cause, 'pip install "medpodium[dicom]"'))


@dataclass(frozen=True)
class Frames:
    """Where the frames of a file lie, and what they belong to.

    Parameters
    ----------
    at : int
        Where the voxels start in the file, in bytes.
    bits : {1, 8, 16}
        Size of a voxel.
    shape : tuple of int
        Rows and columns.
    layers, slices : tuple of int
        Segment number (0 for a label map) and slice (along the normal) of every frame, in the file's order.
    order : {"<", ">"}
        Byte order.
    """

    at: int
    bits: int
    shape: tuple[int, int]
    layers: tuple[int, ...]
    slices: tuple[int, ...]

    def planes(self, file: BinaryIO, path: Path) -> Iterator[tuple[int, int, Plane]]:
        """Yield segment number, slice and voxels, shape (y, x), of every frame."""
        voxels = self.shape[0] * self.shape[1]
        for number, (layer, z) in enumerate(zip(self.layers, self.slices, strict=True)):
            first = number * voxels * self.bits
            start, stop = first // 8, -(-(first + voxels * self.bits) // 8)
            file.seek(self.at + start)
            stored = _exactly(file, stop - start, path)
            if self.bits == 1:
                plane: Plane = np.unpackbits(stored, bitorder="little")[first - 8 * start :][:voxels]
            else:
                plane = stored if self.bits == 8 else stored.view("<u2")
            yield layer, z, plane.reshape(self.shape)


def read_dicom_header(file: BinaryIO, path: Path, limits: ReadLimits) -> tuple[VolumeHeader, Planes]:
    """Read the header of a DICOM segmentation; return it and what reads its frames.

    Parameters
    ----------
    file : BinaryIO
        Open file, positioned at its start.
    path : Path
        Name for findings.
    limits : ReadLimits
        Checked before any voxel is read.

    Raises
    ------
    MaskError
        When it is no segmentation, not readable, too large, compressed, or its frames are no volume.
    """
    if file.read(132)[128:] != b"DICM":
        raise refusal(
            MaskCode.FORMAT_MISMATCH, path, "the content is not DICOM", "give the file the extension of its true format"
        )
    require_dicom(path)
    buffered: io.BufferedReader[Any] = io.BufferedReader(_Borrowed(file, limits.max_extension_bytes), 1 << 16)
    buffered.seek(132)
    try:
        dataset, implicit = _parse(buffered, path)
        _check_kind(dataset, path)
        frames, geometry, found = _grid(dataset, path, limits)
        segments = _segments(dataset, path)
        _check_numbers(frames.layers, segments, path)
    except MaskError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises whatever it runs into
        cause = f"the DICOM header cannot be used ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        raise refusal(MaskCode.HEADER_INVALID, path, cause, _AGAIN) from error
    at = _find_pixels(buffered, implicit, frames, path)
    dtype = np.dtype("<u2" if frames.bits == 16 else "u1")
    header = VolumeHeader(geometry, dtype, segments=segments, findings=tuple(found))
    return header, partial(replace(frames, at=at).planes, file, path)


class _Borrowed(io.RawIOBase):
    """The first bytes of a file, for a buffer that must not close it."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, target: Any) -> int:
        """Fill a buffer."""
        left = max(0, self._limit - self._file.tell())
        return self._file.readinto(memoryview(target)[:left])  # type: ignore[attr-defined, no-any-return]

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(place, whence)


def _exactly(file: BinaryIO, size: int, path: Path) -> npt.NDArray[np.uint8]:
    stored = bytearray(size)
    done = 0
    while done < size:
        count = file.readinto(memoryview(stored)[done:])  # type: ignore[attr-defined]
        if not count:
            raise refusal(MaskCode.DATA_TRUNCATED, path, "the voxels end in the middle of a frame", _AGAIN)
        done += count
    return np.frombuffer(stored, np.uint8)


def _parse(file: io.BufferedReader[Any], path: Path) -> tuple[Any, bool]:
    """Return everything before the voxels, and whether its types are implicit; nothing is decompressed for it."""
    from pydicom.filereader import read_dataset

    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    syntax = str(meta.get("TransferSyntaxUID", ""))
    if syntax not in (_IMPLICIT, _EXPLICIT):
        from pydicom.uid import UID

        what = "is compressed as a whole" if syntax == _DEFLATED else "is not read here"
        cause = f"the transfer syntax {UID(syntax).name!r} {what}" if syntax else "states no transfer syntax"
        raise refusal(MaskCode.ENCODING_UNSUPPORTED, path, cause, _EXPORT)
    implicit = syntax == _IMPLICIT
    dataset = read_dataset(file, implicit, True, stop_when=lambda tag, _vr, _length: tag >= 0x7FE00008)
    return dataset, implicit


def _check_kind(dataset: Any, path: Path) -> None:
    from pydicom.uid import UID

    sort = str(dataset.get("SOPClassUID", ""))
    if sort not in (_SEGMENTATION, _LABEL_MAP):
        cause = f"is a DICOM object of the kind {UID(sort).name!r} (modality {dataset.get('Modality', '')}), no SEG"
        raise refusal(MaskCode.FORMAT_UNKNOWN, path, cause, "give the segmentation (SEG), not an image or contours")
    kind = str(dataset.get("SegmentationType", ""))
    if kind == "FRACTIONAL":
        cause = f"is of the type FRACTIONAL ({dataset.get('SegmentationFractionalType', '')}): fractions, not labels"
        raise refusal(MaskCode.PROBABILITY_MAP, path, cause, "apply a threshold and export it as type BINARY")
    bits = int(dataset.BitsAllocated)
    if (kind, bits) not in (("BINARY", 1), ("LABELMAP", 8), ("LABELMAP", 16)):
        raise refusal(MaskCode.TYPE_UNSUPPORTED, path, f"is of the type {kind!r} with {bits} bits per voxel", _EXPORT)
    if int(dataset.get("SamplesPerPixel", 1)) != 1:
        raise refusal(MaskCode.TYPE_COLOUR, path, "holds several values per voxel", _EXPORT)
    if "TotalPixelMatrixRows" in dataset:
        cause = "is tiled, as of a microscope's slide; here segmentations of volumes are read"
        raise refusal(MaskCode.TYPE_UNSUPPORTED, path, cause, "save the mask as .tif or .png")


def _grid(dataset: Any, path: Path, limits: ReadLimits) -> tuple[Frames, Geometry, list[Finding]]:
    """Return the frames by slice (voxels not found yet), and the grid that they span."""
    from highdicom.spatial import get_volume_positions

    rows, columns, count = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames", 1))
    bits = int(dataset.BitsAllocated)
    promised = -(-rows * columns * count * bits // 8)
    if min(rows, columns, count) < 1 or promised > limits.max_data_bytes or count > _MANY_FRAMES:
        cause = f"the header promises {count} frames of {columns} x {rows} voxels"
        raise refusal(MaskCode.SHAPE_TOO_LARGE, path, cause, "save the mask on the input image's grid")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if len(groups) != count:
        cause = f"describes {len(groups)} of its {count} frames"
        raise refusal(MaskCode.HEADER_INVALID, path, cause, _AGAIN)

    def stated(group: Any, sequence: str) -> Any:
        for place in (group, shared):
            if place is not None and place.get(sequence):
                return place[sequence][0]
        raise refusal(MaskCode.HEADER_INVALID, path, f"a frame has no {sequence}", _EXPORT)

    orientation = _one(path, "orientation", [stated(one, "PlaneOrientationSequence") for one in groups], _orientation)
    measures = [stated(one, "PixelMeasuresSequence") for one in groups]
    between_rows, between_columns = _one(path, "pixel spacing", measures, _spacing)
    step = _one(path, "distance between slices", measures, _step)
    positions = [_floats(stated(one, "PlanePositionSequence").ImagePositionPatient, 3) for one in groups]
    layers = [0] * count
    if str(dataset.SegmentationType) == "BINARY":
        layers = [int(stated(one, "SegmentIdentificationSequence").ReferencedSegmentNumber) for one in groups]
    check_spacing(path, (between_columns, between_rows, 1.0 if step is None else step))
    thickness = _one(path, "slice thickness", measures, _thickness)
    hint, note = step, None
    if step is None:
        hint, note = _guessed(positions, orientation, thickness, path)
    spacing, found = get_volume_positions(
        positions,
        orientation,
        rtol=_UNEVEN,
        allow_missing_positions=True,
        allow_duplicate_positions=True,
        spacing_hint=hint,
    )
    if spacing is None or found is None:
        cause = "its frames do not lie behind each other at equal distances, at right angles to themselves"
        fix = "export it on the grid of a volume, or save the mask as .nii.gz"
        raise refusal(MaskCode.AFFINE_INVALID, path, cause, fix)
    slices = [int(one) for one in found]
    if len(set(zip(layers, slices, strict=True))) < count:
        cause = "holds two frames of one segment at one place"
        raise refusal(MaskCode.HEADER_INVALID, path, cause, "save one point in time per file")
    shape = checked_shape(path, (columns, rows, max(slices) + 1), limits)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = (
        np.multiply(orientation[:3], between_columns),
        np.multiply(orientation[3:], between_rows),
    )
    affine[:3, 2] = np.cross(orientation[:3], orientation[3:]) * spacing
    low, high = (positions[slices.index(z)] for z in (0, max(slices)))
    if np.dot(np.subtract(high, low), affine[:3, 2]) < 0:
        affine[:3, 2] *= -1
    affine[:3, 3] = low
    exact = geometry_from_affine(shape, affine)
    geometry = Geometry(shape, exact.spacing_zyx, exact.origin_xyz, exact.direction, sparse=True)
    frames = Frames(0, bits, (rows, columns), tuple(layers), tuple(slices))
    return frames, geometry, [note] if note is not None else []


def _one(path: Path, what: str, stated: list[Any], read: Any) -> Any:
    """Return what all frames say alike."""
    values = {read(item) for item in stated} if stated else set()
    if len(values) != 1:
        raise refusal(MaskCode.AFFINE_INVALID, path, f"its frames differ in {what}", _EXPORT)
    return values.pop()


def _floats(values: Any, count: int) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"{list(values)} are not {count} finite numbers")
    return found


def _orientation(item: Any) -> tuple[float, ...]:
    found = _floats(item.ImageOrientationPatient, 6)
    rows, columns = np.array(found[:3]), np.array(found[3:])
    wrong = (np.linalg.norm(rows) - 1, np.linalg.norm(columns) - 1, rows @ columns)
    if np.abs(wrong).max() > _SQUARE:
        raise ValueError(f"ImageOrientationPatient {list(found)} is no pair of unit vectors at right angles")
    return found


def _spacing(item: Any) -> tuple[float, ...]:
    return _floats(item.PixelSpacing, 2)


def _step(item: Any) -> float | None:
    stated = item.get("SpacingBetweenSlices")
    return None if stated is None else abs(float(stated))


def _thickness(item: Any) -> float | None:
    stated = item.get("SliceThickness")
    return float(stated) if stated is not None and float(stated) > 0 else None


def _guessed(
    positions: list[tuple[float, ...]], orientation: tuple[float, ...], thickness: float | None, path: Path
) -> tuple[float | None, Finding | None]:
    """Return the distance of slices where the file does not state it, as slices that are missing leave it open.

    Slices that touch each other explain most files: the thickness, if all gaps are multiples of it.
    """
    normal = np.cross(orientation[:3], orientation[3:])
    gaps: npt.NDArray[np.float64] = np.diff(np.unique(np.round(np.array(positions) @ normal, 4)))
    if thickness is not None and (np.abs(gaps / thickness - np.rint(gaps / thickness)) < _UNEVEN).all():
        source, hint = f"the slice thickness, {thickness:g} mm, was taken", thickness
    elif gaps.size:
        source, hint = f"the smallest gap between frames, {gaps.min():g} mm, was taken", None
    else:
        raise refusal(MaskCode.SPACING_MISSING, path, "states no distance between slices", _EXPORT)
    cause = f"states no distance between slices (SpacingBetweenSlices): {source}"
    return hint, warning(MaskCode.SPACING_MISSING, path, cause, "export it with SpacingBetweenSlices")


def _segments(dataset: Any, path: Path) -> tuple[Segment, ...]:
    binary = str(dataset.SegmentationType) == "BINARY"
    segments = []
    for item in dataset.get("SegmentSequence") or []:
        number = int(item.SegmentNumber)
        if number == 0:
            continue  # the background of a label map may be described, too
        name = str(item.get("SegmentLabel", "")).strip()
        place = (number, 1) if binary else (0, number)
        segments.append(Segment(name or f"segment {number}", *place, _meaning(item)))
    if len({one.place for one in segments}) < len(segments):
        raise refusal(MaskCode.HEADER_INVALID, path, "gives two segments the same number", _AGAIN)
    return tuple(segments)


def _meaning(item: Any) -> tuple[str, ...]:
    """Return what the code of a segment says, with its modifiers (``left kidney``)."""
    codes = list(item.get("SegmentedPropertyTypeCodeSequence") or [])[:1]
    words = [
        str(one.get("CodeMeaning", "")).strip()
        for code in codes
        for one in (*(code.get("SegmentedPropertyTypeModifierCodeSequence") or ()), code)
    ]
    return (" ".join(word for word in words if word),) if any(words) else ()


def _check_numbers(layers: tuple[int, ...], segments: tuple[Segment, ...], path: Path) -> None:
    unknown = sorted({layer for layer in layers if layer} - {one.layer for one in segments})
    if unknown:
        cause = f"has frames of segment {unknown[0]}, which its list of segments does not have"
        raise refusal(MaskCode.HEADER_INVALID, path, cause, _AGAIN)


def _find_pixels(file: io.BufferedReader[Any], implicit: bool, frames: Frames, path: Path) -> int:
    """Return where the voxels start, after checking that the file says that they are all there."""
    head = file.read(8 if implicit else 12)
    size = int.from_bytes(head[-4:], "little")
    if head[:4] != _PIXELS or len(head) < 8:
        raise refusal(MaskCode.DATA_TRUNCATED, path, "holds no voxels (PixelData)", _AGAIN)
    at = file.tell()
    there = file.seek(0, io.SEEK_END) - at
    promised = -(-len(frames.slices) * frames.shape[0] * frames.shape[1] * frames.bits // 8)
    if size == _UNDEFINED:
        cause = "its voxels are compressed, and the transfer syntax says that they are not"
        raise refusal(MaskCode.ENCODING_UNSUPPORTED, path, cause, _EXPORT)
    if min(size, there) < promised:
        cause = f"holds {min(size, there)} of the {promised} bytes of voxels its header declares"
        raise refusal(MaskCode.DATA_TRUNCATED, path, cause, "write or upload the file again; it was cut off")
    return at
