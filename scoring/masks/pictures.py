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
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damaged files, and what its numbers may lead to."""
_AGAIN = "write or upload the file again; it is damaged or was cut off"
_LABELS = "save the label map itself (one 8- or 16-bit grey value, or palette index, per pixel)"
_LOSSY = {"jpeg", "tiff_jpeg", "webp", "jpeg2000"}
_WHITE_IS_ZERO, _BITS, _PHOTOMETRIC, _STRIPS, _ORIENTATION, _ROWS_PER_STRIP = 0, 258, 262, 273, 274, 278
_TILE_WIDTH, _TILE_HEIGHT, _TILES = 322, 323, 324
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First pixel and step along x and y of every pass of an interlaced PNG."""
_PIECE = 1 << 16


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
    stream: Any = Decoded(lambda: _decode(picture, file, start, dtype, path))
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.seek(1)
    except _BROKEN:  # EOFError is what Pillow says of the only page
        picture.seek(0)
        return
    cause = "holds several pages or frames, a label map of a plane has one"
    raise refusal(MaskCode.PAGES, path, cause, "save one page per case, or a volume as .nii.gz")


def _decode(picture: Any, file: BinaryIO, start: bytes, dtype: np.dtype[Any], path: Path) -> npt.NDArray[Any]:
    try:
        _check_complete(picture, file, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture.load()
            stored = np.asarray(picture)
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


def _check_complete(picture: Any, file: BinaryIO, path: Path) -> None:
    """Refuse a file that stores fewer rows than it promises: Pillow would give background for them, without a word."""
    width, height = picture.size
    if picture.format == "PNG":
        place = file.tell()
        _check_chunks(file, path)
        file.seek(place)
        return
    tags = picture.tag_v2
    if _TILES in tags:
        promised = -(-width // tags[_TILE_WIDTH]) * -(-height // tags[_TILE_HEIGHT])
        stored = len(tags[_TILES])
    else:
        promised = -(-height // min(tags.get(_ROWS_PER_STRIP, height), height))
        stored = len(tags.get(_STRIPS, ()))
    if stored < promised:
        cause = f"holds {stored} of the {promised} strips or tiles that its size needs"
        raise refusal(MaskCode.DATA_TRUNCATED, path, cause, _AGAIN)


def _check_chunks(file: BinaryIO, path: Path) -> None:
    """Follow the chunks of a PNG file: every checksum, and as many bytes of rows as the size needs."""
    file.seek(8)
    inflater = zlib.decompressobj()
    width = height = bits = interlaced = count = 0
    while True:
        head = file.read(8)
        size, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        if kind == b"IEND" or not kind:
            break
        checksum = zlib.crc32(kind)
        while size > 0:
            piece = file.read(min(size, _PIECE))
            if not piece:
                raise refusal(MaskCode.DATA_TRUNCATED, path, "the file ends inside its pixels", _AGAIN)
            checksum = zlib.crc32(piece, checksum)
            size -= len(piece)
            if kind == b"IHDR":
                width, height, bits, _, _, _, interlaced = struct.unpack(">IIBBBBB", piece[:13])
            elif kind == b"IDAT":
                count += _inflated(inflater, piece, path)
        if file.read(4) != struct.pack(">I", checksum):
            cause = f"the checksum of its part {kind.decode('latin-1')!r} is wrong"
            raise refusal(MaskCode.DATA_CORRUPT, path, cause, _AGAIN)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes if width > x and height > y]
    promised = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes)
    if count < promised or not inflater.eof:
        cause = f"holds {count} of the {promised} bytes of rows that its size needs"
        raise refusal(MaskCode.DATA_TRUNCATED, path, cause, _AGAIN)


def _inflated(inflater: Any, piece: bytes, path: Path) -> int:
    """Return how many bytes a piece of compressed rows expands to, a little at a time."""
    count = 0
    try:
        while piece and not inflater.eof:
            count += len(inflater.decompress(piece, _PIECE))
            piece = inflater.unconsumed_tail
    except zlib.error as error:
        raise refusal(MaskCode.DATA_CORRUPT, path, f"the compressed rows are damaged ({error})", _AGAIN) from error
    return count
