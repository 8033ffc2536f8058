"""Reading label maps: NIfTI, MetaImage and NRRD into one array and one geometry.

Arrays are C-ordered ``(z, y, x)``: the fastest axis of the file is the last of the array, so nothing is
transposed or copied on the way. A file is never trusted: see :mod:`medpodium.scoring.masks.inflate`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema import formats
from medpodium.findings import Finding, Severity
from medpodium.scoring.masks.codes import MaskCode, MaskError, finding, printable, refusal, warning
from medpodium.scoring.masks.geometry import Geometry, compare_shape
from medpodium.scoring.masks.header import Segment, VolumeHeader, check_data_size
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, ByteStream, ReadLimits, open_regular
from medpodium.scoring.masks.labels import LabelArray, is_plain, stack_refusal, to_whole_numbers
from medpodium.scoring.masks.nifti import read_nifti_header
from medpodium.scoring.masks.nrrd import read_nrrd_header
from medpodium.scoring.masks.pictures import read_picture_header
from medpodium.scoring.masks.segments.dicom import Planes, read_dicom_header
from medpodium.scoring.masks.sparse import KeptMemory, Rows, SparseVolume
from medpodium.scoring.masks.text_headers import read_metaimage_header

EXTENSIONS = formats.MASKS
"""File name endings read here (case does not matter)."""

_PIECE_BYTES = 1 << 18
_STACK_PEEK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Mask:
    """A label map.

    Parameters
    ----------
    array : ndarray of uint8 or uint16, shape (z, y, x), C order
        Labels; uint16 only when a label exceeds 255.
    geometry : Geometry
        Where the voxels lie.
    findings : tuple of Finding
        What was odd but usable about the file (warnings and notes).
    rows : pair of ndarray of int32, shape (z, y), optional
        The labelled voxels ``start <= x < stop`` of every row (``measures.kernels.row_extents``), known from reading.
    """

    array: LabelArray
    geometry: Geometry
    findings: tuple[Finding, ...] = ()
    rows: Rows | None = None


def read_mask(path: str | Path, *, limits: ReadLimits = DEFAULT_LIMITS, like: Geometry | None = None) -> Mask:
    """Read a label map.

    Parameters
    ----------
    path : str or Path
        A ``.nii``, ``.nii.gz``, ``.mha``, ``.mhd`` (embedded data) or ``.nrrd`` file. One that names its segments is
        refused, because a name counts more than a number: see :func:`medpodium.scoring.masks.named.read_labelled`.
    limits : ReadLimits
        How much is read at most.
    like : Geometry, optional
        Refuse a mask of another shape than this before its voxels are read.

    Returns
    -------
    Mask

    Raises
    ------
    MaskError
        With a finding that names the file, the offending value and the fix.

    Examples
    --------
    >>> import medpodium
    >>> mask = medpodium.read_mask("reference.nii.gz")
    >>> mask.geometry.shape_zyx, mask.geometry.spacing_zyx
    ((20, 20, 20), (1.0, 1.0, 1.0))
    >>> int((mask.array == 1).sum())
    1000
    """
    with open_mask(path, limits=limits) as reader:
        reader.refuse_unlike(like)
        return reader.read()


def read_geometry(path: str | Path, *, limits: ReadLimits = DEFAULT_LIMITS) -> Geometry:
    """Read only the header of a label map or an image.

    Raises
    ------
    MaskError
        When the file or its header cannot be used.
    """
    with open_mask(path, limits=limits, labels_only=False) as reader:
        return reader.geometry


@contextmanager
def open_mask(
    path: str | Path, *, limits: ReadLimits = DEFAULT_LIMITS, labels_only: bool = True
) -> Iterator[MaskReader]:
    """Open a label map for reading at once or in slabs; its header is checked before any voxel is read.

    Parameters
    ----------
    labels_only : bool
        Refuse what cannot be a label map by its header (4-D). False to look at an image's geometry.

    Raises
    ------
    MaskError
        When the file or its header cannot be used.
    """
    path = Path(path)
    extension = mask_extension(path)
    if extension is None:
        raise refusal(
            MaskCode.FORMAT_UNKNOWN,
            path,
            f"the name {path.name!r} has none of the extensions {', '.join(EXTENSIONS)}",
            "save the mask as .nii.gz",
        )
    with open_regular(path, limits) as (file, size):
        if extension in formats.PICTURES:
            header, pixels = read_picture_header(file, extension, path, limits, labels_only=labels_only)
            yield MaskReader(header, ByteStream(pixels, path, "raw"), path)
            return
        if extension in formats.DICOM:
            header, frames = read_dicom_header(file, path, limits)
            yield MaskReader(header, ByteStream(file, path, "raw"), path, frames)
            return
        header, stream = _read_header(file, extension, path, limits)
        reader = MaskReader(header, stream, path)
        if labels_only:
            reader.refuse_if_stack()
            check_data_size(path, header, stream.at_most(size), size, limits)
        yield reader


def mask_extension(path: str | Path) -> str | None:
    """Return which of :data:`EXTENSIONS` a file name ends with, in lower case, or None."""
    name = Path(path).name.lower()
    return next((extension for extension in EXTENSIONS if name.endswith(extension)), None)


def _read_header(file: BinaryIO, extension: str, path: Path, limits: ReadLimits) -> tuple[VolumeHeader, ByteStream]:
    magic = file.read(4)
    file.seek(0)
    zipped = magic[:2] == b"\x1f\x8b"
    stream = ByteStream(file, path, "gzip" if zipped else "raw")
    if extension in (".nii", ".nii.gz"):
        header = read_nifti_header(stream, path, limits)
    else:
        header, stream = (read_nrrd_header if extension.endswith(".nrrd") else read_metaimage_header)(
            stream, path, limits
        )
    if zipped != (extension == ".nii.gz"):
        found = warning(
            MaskCode.FORMAT_MISMATCH,
            path,
            f"is named {extension} but its content is {'' if zipped else 'not '}gzip (it starts with {magic.hex(' ')})",
            "save it again with a standard library; other tools may refuse it",
        )
        header = replace(header, findings=(found, *header.findings))
    return header, stream


class MaskReader:
    """An open label map whose voxels have not been read yet (see :func:`open_mask`).

    Its voxels are a stream: call :meth:`read` or :meth:`slabs`, once.
    """

    def __init__(self, header: VolumeHeader, stream: ByteStream, path: Path, frames: Planes | None = None) -> None:
        self._frames = frames
        self._header = header
        self._stream = stream
        self._path = path
        self._done = 0

    @property
    def geometry(self) -> Geometry:
        """Grid of the mask."""
        return self._header.geometry

    @property
    def segments(self) -> tuple[Segment, ...] | None:
        """The segments that the file names (3D Slicer's, DICOM's); ``None`` for a plain label map."""
        return self._header.segments

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was odd but usable so far."""
        return (*self._header.findings, *self._wide_type(), *self._stream.findings)

    def read(self, memory: KeptMemory | None = None) -> Mask:
        """Read all voxels into one array.

        Parameters
        ----------
        memory : KeptMemory, optional
            Where to put it, for those who need it no longer than until the next one is read there.

        Raises
        ------
        MaskError
            When the voxels are damaged, missing, more than declared, or not labels, or belong to named segments.
        """
        self._refuse_named()
        volume = SparseVolume(self.geometry.shape_zyx, memory)
        for values in self._pieces(self._header.voxels):
            volume.add(values)
        self._stream.expect_end(self._header.voxels * self._header.dtype.itemsize)
        return Mask(volume.array, self.geometry, self.findings, volume.rows)

    def slabs(self, slices: int = 1) -> Iterator[tuple[int, LabelArray]]:
        """Read the voxels a few slices at a time, holding only one slab.

        Parameters
        ----------
        slices : int
            Slices along z per slab (the last slab may have fewer).

        Yields
        ------
        (first, slab) : tuple of int, ndarray of shape (<= slices, y, x)
            Index of the slab's first slice, and its labels. The array is overwritten by the next slab.

        Raises
        ------
        MaskError
            As :meth:`read`, when the bad voxel is reached; what was yielded before is then not to be used.
        """
        self._refuse_named()
        depth, height, width = self.geometry.shape_zyx
        buffer = np.empty(min(slices, depth) * height * width, dtype=np.uint8)
        for first in range(0, depth, slices):
            count = min(slices, depth - first)
            yield first, self._labels(buffer[: count * height * width]).reshape(count, height, width)
        self._stream.expect_end(self._header.voxels * self._header.dtype.itemsize)

    def planes(self) -> Iterator[tuple[int, int, LabelArray]]:
        """Read the voxels of a file that names segments, a slice of a layer at a time.

        Slices without any voxel may be left out, and may come in any order.

        Yields
        ------
        (layer, z, plane) : tuple of int, int, ndarray of shape (y, x)
            The array is overwritten by the next one.

        Raises
        ------
        MaskError
            As :meth:`read`.
        """
        if self._frames is not None:
            yield from self._frames()
            return
        depth, height, width = self.geometry.shape_zyx
        header = self._header
        buffer = np.empty(height * width * header.layers, dtype=np.uint8)
        for volume in range(header.volumes):
            for z in range(depth):
                stored = self._labels(buffer).reshape(height, width, header.layers)
                for layer in range(header.layers):
                    yield max(volume, layer), z, stored[..., layer]
        self._stream.expect_end(header.stored_bytes)

    def read_through(self) -> None:
        """Read everything to the end without looking at a voxel: an image may hold any values, but all of them.

        Raises
        ------
        MaskError
            When bytes are damaged, missing, or more than declared.
        """
        left = self._header.stored_bytes
        piece = np.empty(min(_PIECE_BYTES, left), dtype=np.uint8)
        while left:
            self._fill(piece[:left])
            left -= min(left, piece.size)
        self._stream.expect_end(self._header.stored_bytes)

    def refuse_unlike(self, like: Geometry | None) -> None:
        """Refuse another shape than that of a grid, before any voxel is read."""
        different = compare_shape(like, self.geometry, printable(self._path)) if like is not None else []
        if different:
            raise MaskError(*different)

    def refuse_if_stack(self) -> None:
        """Refuse a 4-D file, saying what it looks like from its first voxels."""
        if self._header.volumes == 1 or self._header.segments is not None:
            return
        stored = np.zeros(_STACK_PEEK_BYTES // self._header.dtype.itemsize, dtype=self._header.dtype)
        stored = stored[: self._header.voxels * self._header.volumes]
        read = self._stream.readinto(stored.view(np.uint8).data)
        raise stack_refusal(stored[: read // self._header.dtype.itemsize], self._header, self._path)

    def _refuse_named(self) -> None:
        """Refuse to take numbers for what has names."""
        if self._header.segments is not None:
            raise refusal(
                MaskCode.SEGMENTS_NAMED,
                self._path,
                f"names {len(self._header.segments)} segments, and a plain label map is wanted here",
                "save the mask as .nii.gz",
            )

    def _labels(self, target: npt.NDArray[np.uint8]) -> LabelArray:
        """Read ``target.size`` voxels into it; return it, or its wider copy when a label exceeds 255."""
        if is_plain(self._header):
            self._fill(target)
            return target
        out: LabelArray = target
        start = 0
        for values in self._pieces(target.size):
            if values.dtype == np.uint16 and out.dtype == np.uint8:
                out = np.empty(target.size, dtype=np.uint16)
                out[:start] = target[:start]
            out[start : start + values.size] = values
            start += values.size
        return out

    def _pieces(self, voxels: int) -> Iterator[LabelArray]:
        """Read so many voxels, some at a time: uint8, or uint16 where a label exceeds 255; overwritten by the next."""
        plain = is_plain(self._header)
        piece = np.empty(min(_PIECE_BYTES // self._header.dtype.itemsize, voxels), dtype=self._header.dtype)
        for start in range(0, voxels, piece.size):
            stored = piece[: voxels - start]
            done = self._done
            self._fill(stored.view(np.uint8))
            if plain:
                yield stored.view(np.uint8)
                continue
            values, largest = to_whole_numbers(stored, self._header, self._path, done // stored.dtype.itemsize)
            yield values.astype(np.uint16) if largest > 255 else values.astype(np.uint8)

    def _fill(self, target: npt.NDArray[np.uint8]) -> None:
        count = self._stream.readinto(target.data)
        self._done += count
        if count < target.size:
            expected = self._header.stored_bytes
            raise refusal(
                MaskCode.DATA_TRUNCATED,
                self._path,
                f"holds {self._done} of the {expected} bytes of voxels its header declares",
                "write or upload the file again; it was cut off",
            )

    def _wide_type(self) -> list[Finding]:
        dtype = self._header.dtype
        if dtype.itemsize < 8:
            return []
        return [
            finding(
                MaskCode.TYPE_WIDE,
                self._path,
                f"labels are stored as {dtype.newbyteorder('=')}, {dtype.itemsize} bytes per voxel",
                "save labels as uint8: smaller, and read by every tool",
                Severity.NOTE,
            )
        ]
