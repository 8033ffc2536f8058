"""PNG and TIFF label maps: planes without a size or a place, decoded by Pillow once their header has been believed.

What is stored is the label: a palette's index, never its colour, and never the grey that a viewer would show (some
readers stretch 4-bit grey to 0..255, or turn pictures that call 0 white). What such a file says of its resolution is
not used: most programs write 72 dpi whatever the truth.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from medpodium.scoring.masks.codes import MaskCode, refusal
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.header import VolumeHeader, checked_shape
from medpodium.scoring.masks.inflate import ReadLimits

_MAGIC = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_TYPES = {"1": "u1", "L": "u1", "P": "u1", "I;16": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}
_COLOURS = {2: "RGB", 4: "grey with transparency", 6: "RGBA"}
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, struct.error, zlib.error)
"""What Pillow raises for damaged files, as its own tests list it."""
_AGAIN = "write or upload the file again; it is damaged or was cut off"
_LABELS = "save the label map itself (one 8- or 16-bit grey value, or palette index, per pixel)"
_LOSSY = {"jpeg", "tiff_jpeg", "webp", "jpeg2000"}
_WHITE_IS_ZERO, _BITS, _PHOTOMETRIC, _ORIENTATION = 0, 258, 262, 274


class Decoded(io.RawIOBase):
    """The labels of a picture as a stream of bytes, decoded when the first of them is asked for."""

    def __init__(self, decode: Callable[[], npt.NDArray[Any]]) -> None:
        self._decode = decode
        self._bytes: io.BytesIO | None = None

    def readinto(self, target: Any) -> int:
        """Fill a buffer; return how many bytes there were."""
        if self._bytes is None:
            self._bytes = io.BytesIO(np.ascontiguousarray(self._decode()).tobytes())
        return self._bytes.readinto(target)


def read_picture_header(
    file: BinaryIO, extension: str, path: Path, limits: ReadLimits, *, labels_only: bool = True
) -> tuple[VolumeHeader, BinaryIO]:
    """Read the header of a PNG or TIFF file, and return it with a stream of its labels.

    Parameters
    ----------
    file : BinaryIO
        Open file, positioned at its start.
    extension : {".png", ".tif", ".tiff"}
        As the file is named.
    labels_only : bool
        Refuse what cannot be a label map (colours, several pages, compression with loss). False to look at an
        image's shape.

    Raises
    ------
    MaskError
        When the content is another format's, damaged, too large, or no label map.
    """
    from PIL import Image, UnidentifiedImageError

    kind = "PNG" if extension == ".png" else "TIFF"
    start = file.read(33)
    file.seek(0)
    if not start.startswith(_MAGIC[kind]):
        raise refusal(
            MaskCode.FORMAT_MISMATCH,
            path,
            f"the content is not {kind} (it starts with {start[:4].hex(' ')})",
            "give the file the extension of its true format",
        )
    if kind == "PNG":
        _check_size(start, path, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns from 89 million pixels on; the limits below decide
            picture = Image.open(file, formats=[kind])
    except Image.DecompressionBombError as error:
        raise refusal(
            MaskCode.SHAPE_TOO_LARGE, path, str(error), "save it as .nii.gz, which has no such limit"
        ) from error
    except _BROKEN as error:
        unknown = isinstance(error, UnidentifiedImageError)  # its text names the object, not the reason
        why = "it is damaged, or of a kind that Pillow does not read" if unknown else str(error)
        fix = "save it again as 8- or 16-bit grey, uncompressed"
        raise refusal(MaskCode.HEADER_INVALID, path, f"the {kind} header cannot be read: {why}", fix) from error
    width, height = picture.size
    shape = checked_shape(path, (width, height, 1), limits)
    if labels_only:
        _check_labels(picture, start, path)
    dtype = np.dtype("<" + _TYPES.get(picture.mode, "u1"))
    geometry = Geometry(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3), oriented=False, planar=True, spaced=False)
    stream: Any = Decoded(lambda: _decode(picture, start, dtype, path))
    return VolumeHeader(geometry, dtype), stream


def _check_size(start: bytes, path: Path, limits: ReadLimits) -> None:
    """Look at the declared size before any library does."""
    if len(start) < 33 or start[12:16] != b"IHDR":
        raise refusal(MaskCode.HEADER_TRUNCATED, path, "the PNG header is not complete", _AGAIN)
    width, height = struct.unpack(">II", start[16:24])
    checked_shape(path, (width, height, 1), limits)


def _check_labels(picture: Any, start: bytes, path: Path) -> None:
    """Refuse what cannot be a label map, by its header."""
    png = picture.format == "PNG"
    colour = _COLOURS.get(start[25]) if png else None
    if colour or picture.mode not in _TYPES:
        cause = f"pixels are colours ({colour or picture.mode}), not labels"
        raise refusal(MaskCode.TYPE_COLOUR, path, cause, _LABELS)
    compression = picture.info.get("compression")
    if compression in _LOSSY:
        cause = f"is compressed with loss ({compression}), so its labels are not what was saved"
        raise refusal(MaskCode.LOSSY, path, cause, "save it without compression, or with deflate or LZW")
    turned = 1 if png else picture.tag_v2.get(_ORIENTATION, 1)
    if turned != 1:
        cause = f"asks to be turned or mirrored when shown (orientation tag {turned}), which some readers do"
        raise refusal(
            MaskCode.ENCODING_UNSUPPORTED, path, cause, "save the pixels in the order in which they are meant"
        )
    try:
        picture.seek(1)
    except _BROKEN:  # EOFError is what Pillow says of the only page
        picture.seek(0)
        return
    cause = "holds several pages or frames, a label map of a plane has one"
    raise refusal(MaskCode.PAGES, path, cause, "save one page per case, or a volume as .nii.gz")


def _decode(picture: Any, start: bytes, dtype: np.dtype[Any], path: Path) -> npt.NDArray[Any]:
    try:
        picture.load()
        stored = np.asarray(picture)
    except MemoryError:
        raise
    except _BROKEN as error:
        cut = "truncated" in str(error) or isinstance(error, EOFError)
        code = MaskCode.DATA_TRUNCATED if cut else MaskCode.DATA_CORRUPT
        raise refusal(code, path, f"the pixels cannot be decoded ({error})", _AGAIN) from error
    bits = start[24] if picture.format == "PNG" else min(picture.tag_v2.get(_BITS, (1,)))
    if picture.mode == "L" and bits in (2, 4):
        stored = stored // (255 // (2**bits - 1))  # Pillow stretches grey to 0..255
    if picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and dtype.itemsize == 1:
        largest = 1 if picture.mode == "1" else 2**bits - 1
        stored = largest - stored.astype(np.uint8)  # Pillow gives what is shown, not what is stored
    return stored.astype(dtype)
