"""Whether an image file holds all the voxels that its header announces.

The libraries that read images fill up what is missing with zeros or with what lies in memory, without a word. The
quick check needs the header and a few bytes from the end: a gzip file ends with the size of what was compressed. What
that cannot decide (several gzip members, as bgzip writes them) is unpacked, not guessed. The full check unpacks
every file and so sees damage in the middle, too.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("uint64", "uint64_t", "double"), 8),
    "float": 4,
}
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}


class DamageError(Exception):
    """The file is not what its header says; the message is the cause, with its numbers."""


@dataclass(frozen=True)
class _Data:
    """Where the voxels are.

    Parameters
    ----------
    path : Path
        File that holds them.
    start : int
        Bytes in the file before them, or before what is compressed.
    size : int
        Bytes that have to be there, unpacked.
    packing : str
        Empty, ``gzip`` or ``zlib``.
    packed : int, optional
        Bytes of the compressed voxels, where the header says so.
    """

    path: Path
    start: int
    size: int
    packing: str = ""
    packed: int | None = None


def damage(path: str | Path, *, full: bool = False) -> str | None:
    """Return in one line what is wrong with an image file, or None.

    Parameters
    ----------
    path : path
        NIfTI (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``), NRRD or MetaImage, data in the same file or beside it.
        Of other formats only emptiness is seen.
    full : bool
        Unpack everything, however long that takes; checksums are compared.
    """
    path = Path(path)
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
        for data in _announced(path):
            _check(data, full=full)
    except DamageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (struct.error, ValueError, OverflowError, zlib.error):
        return "its header is damaged"
    return None


def _announced(path: Path) -> list[_Data]:
    name = path.name.casefold()
    if name.endswith((".nii", ".nii.gz", ".hdr", ".hdr.gz")):
        return [_nifti(path)]
    if name.endswith((".nrrd", ".nhdr")):
        return _nrrd(path)
    if name.endswith((".mha", ".mhd")):
        return _metaimage(path)
    return []


def _check(data: _Data, *, full: bool) -> None:
    length = data.path.stat().st_size
    if not data.packing:
        if length - data.start < data.size:
            raise DamageError(
                f"holds {max(0, length - data.start)} of {data.size} bytes of voxels that its header announces"
            )
        return
    if data.packed is not None and length - data.start < data.packed:
        raise DamageError(f"holds {length - data.start} of {data.packed} bytes of compressed voxels; it was cut off")
    if not full:
        if data.packing == "gzip" and length >= data.start + 18:
            with data.path.open("rb") as stream:
                stream.seek(-4, 2)
                (size,) = struct.unpack("<I", stream.read(4))
            if size == data.size % (1 << 32):
                return
        elif data.packed is not None:
            return
    _unpack(data)


def _unpack(data: _Data) -> None:
    """Unpack to the end, keeping nothing, and count."""
    found, ended = 0, False
    with data.path.open("rb") as stream:
        stream.seek(data.start)
        try:
            for size, ended in _unpacked(stream, data.packing):  # noqa: B007 - the last one counts
                found += size
        except (zlib.error, OSError, ValueError) as error:
            raise DamageError(
                f"is damaged after {found} of {data.size} bytes of its unpacked content ({error})"
            ) from None
    if not ended:
        raise DamageError(
            f"ends inside its compressed data, after {min(found, data.size)} of {data.size} bytes; it was cut off"
        )
    if found < data.size:
        raise DamageError(f"unpacks to {found} bytes, its header announces {data.size}")


def _unpacked(stream: BinaryIO, packing: str) -> Iterator[tuple[int, bool]]:
    """Yield (bytes unpacked, whether the compressed data are complete here)."""
    window = 31 if packing == "gzip" else 15
    engine = zlib.decompressobj(window)
    chunk = stream.read(_CHUNK)
    while chunk:
        yield len(engine.decompress(chunk, _CHUNK)), engine.eof
        chunk = engine.unconsumed_tail or (engine.unused_data if engine.eof else b"") or stream.read(_CHUNK)
        if engine.eof:
            if packing != "gzip" or not chunk.startswith(_GZIP):
                return  # padding, or something else that is no voxel
            engine = zlib.decompressobj(window)
            yield 0, False


def _start_of(path: Path, length: int) -> bytes:
    """Return the first bytes of a file, unpacked if it is compressed with gzip."""
    with path.open("rb") as stream:
        head = stream.read(max(length, 1 << 12))
        if not head.startswith(_GZIP):
            return head[:length]
        engine = zlib.decompressobj(31)
        found = b""
        while head and len(found) < length:
            try:
                found += engine.decompress(head, length - len(found))
            except zlib.error as error:
                raise DamageError(f"is no sound gzip file ({error})") from None
            head = engine.unconsumed_tail or (engine.unused_data if engine.eof else b"") or stream.read(1 << 12)
            if engine.eof:
                if not head.startswith(_GZIP):
                    break
                engine = zlib.decompressobj(31)
        return found


def _packing(path: Path) -> str:
    with path.open("rb") as stream:
        return "gzip" if stream.read(2) == _GZIP else ""


def _nifti(path: Path) -> _Data:
    head = _start_of(path, 540)
    for order in "<>":
        (size,) = struct.unpack_from(f"{order}i", head.ljust(4, b"\0"))
        if size in (348, 540):
            break
    else:
        raise DamageError("does not start with a NIfTI header")
    if len(head) < size:
        raise DamageError(f"ends inside its header, after {len(head)} of {size} bytes")
    if size == 348:
        dims, (bits,) = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}h", head, 72)
        (offset,), magic = struct.unpack_from(f"{order}f", head, 108), head[344:348]
    else:
        dims, (bits,) = struct.unpack_from(f"{order}8q", head, 16), struct.unpack_from(f"{order}h", head, 14)
        (offset,), magic = struct.unpack_from(f"{order}q", head, 168), head[4:8]
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1 or bits < 1:
        raise DamageError(f"its header announces the size {list(dims[1:])} at {bits} bits")
    voxels = math.prod(dims[1 : dims[0] + 1])
    where, start = path, int(offset)
    if magic[:3] in (b"ni1", b"ni2"):
        where = _beside(path, (".img", ".img.gz"), r"\.hdr(\.gz)?$")
    elif magic[:2] == b"n+":
        start = max(start, 352 if size == 348 else 544)
    packing = _packing(where)
    size = start + -(-voxels * bits // 8)
    return _Data(where, 0, size, packing)


def _beside(path: Path, endings: tuple[str, ...], own: str) -> Path:
    for ending in endings:
        found = path.with_name(re.sub(own, ending, path.name, flags=re.IGNORECASE))
        if found.is_file():
            return found
    raise DamageError(f"the file of its voxels ({' or '.join(endings)}) is not beside it")


def _text_header(path: Path, last: Callable[[str], bool]) -> tuple[dict[str, str], int]:
    """Read ``key: value`` or ``key = value`` lines up to the one that ends the header."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        while line := stream.readline(1 << 16):
            text = line.decode("latin-1").strip()
            key, _, value = text.partition("=" if "=" in text and ":" not in text.partition("=")[0] else ":")
            if not text.startswith("#") and value:
                fields[key.strip().casefold()] = value.lstrip("=").strip()
            if last(text):
                return fields, stream.tell()
        return fields, stream.tell()


def _nrrd(path: Path) -> list[_Data]:
    with path.open("rb") as stream:
        if stream.read(4) != b"NRRD":
            raise DamageError("does not start with an NRRD header")
    fields, start = _text_header(path, lambda text: not text)
    where = fields.get("data file") or fields.get("datafile")
    if where is not None:
        if where.startswith("LIST") or (len(where.split()) > 1 and "%" in where):
            return []  # one file per slice
        path, start = path.parent / where, 0
        if not path.is_file():
            raise DamageError(f"the file of its voxels ({where}) is not there")
    kind = fields.get("type", "").casefold()
    sizes = [int(word) for word in fields["sizes"].split()] if "sizes" in fields else []
    if kind not in _NRRD_BYTES or not sizes or min(sizes) < 1:
        raise DamageError(f"its header announces the sizes {fields.get('sizes')} of type {fields.get('type')}")
    size = math.prod(sizes) * _NRRD_BYTES[kind]
    encoding = fields.get("encoding", "raw").casefold()
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if encoding == "raw":
        return [_Data(path, start + max(0, skip), size)]
    return [_Data(path, start, size + max(0, skip), "gzip")] if encoding in ("gzip", "gz") else []


def _metaimage(path: Path) -> list[_Data]:
    fields, start = _text_header(path, lambda text: text.casefold().startswith("elementdatafile"))
    where = fields.get("elementdatafile", "")
    if not where:
        raise DamageError("its header ends without naming the file of its voxels (ElementDataFile)")
    if where.casefold() != "local":
        if where.casefold() == "list" or "%" in where:
            return []
        path, start = path.parent / where, max(0, int(fields.get("headersize", "0")))
        if not path.is_file():
            raise DamageError(f"the file of its voxels ({where}) is not there")
    kind = re.sub(r"^MET_U?|_ARRAY$", "", fields.get("elementtype", "").upper())
    sizes = [int(word) for word in fields.get("dimsize", "").split()]
    if kind not in _META_BYTES or not sizes or min(sizes) < 1:
        raise DamageError(f"its header announces {fields.get('dimsize')} voxels of type {fields.get('elementtype')}")
    size = math.prod(sizes) * _META_BYTES[kind] * int(fields.get("elementnumberofchannels", "1"))
    if fields.get("compresseddata", "").casefold() != "true":
        return [_Data(path, start, size)]
    packed = fields.get("compresseddatasize")
    return [_Data(path, start, size, "zlib", int(packed) if packed and int(packed) > 0 else None)]
