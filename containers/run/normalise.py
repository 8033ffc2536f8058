"""Rewrite collected files so that only what the challenge asks for survives, in a process of its own.

A label map is read with every check of :mod:`medpodium.scoring.masks.reader` and written anew: voxels and grid,
nothing else. Header texts, extensions, trailing bytes and unused fields - places to hide data in - are gone
afterwards. Tables get the real case names back.

Run as a module this is the checker: questions and answers are lines of JSON.
"""

from __future__ import annotations

import csv
import io
import json
import math
import struct
import sys
from pathlib import Path
from typing import Any

from medpodium.challenges.rows import decode, separator_of
from medpodium.challenges.schema import formats
from medpodium.containers.failures import FIXES, RunCode
from medpodium.containers.run.question import Answer, Question, noted, refused
from medpodium.findings import Finding, MedpodiumError

_TEXT_BYTES = 16 << 20
_BASE_MEMORY = 2 << 30


def write_nifti(path: Path, array: Any, geometry: Any) -> None:
    """Write a label map as NIfTI-1: the grid as sform and qform-free, every other field empty.

    Parameters
    ----------
    path : Path
        ``.nii.gz`` or ``.nii``; must not exist.
    array : ndarray of uint8 or uint16, shape (z, y, x)
        Labels.
    geometry : medpodium.scoring.masks.geometry.Geometry
        World coordinates in LPS, turned to NIfTI's RAS here.
    """
    z, y, x = array.shape
    affine = geometry.affine_lps
    rows = [[-v for v in affine[0]], [-v for v in affine[1]], list(affine[2])]
    sz, sy, sx = geometry.spacing_zyx
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 2 if geometry.planar else 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2 if array.itemsize == 1 else 512, 8 * array.itemsize)
    struct.pack_into("<8f", header, 76, 1.0, sx, sy, sz, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    header[123] = 2 if geometry.spaced else 0  # mm; a picture does not say
    struct.pack_into("<2h", header, 252, 0, 2 if geometry.oriented else 0)
    struct.pack_into("<12f", header, 280, *(float(value) for row in rows for value in row))
    header[344:348] = b"n+1\0"
    voxels = array.astype(array.dtype.newbyteorder("<"), copy=False)
    with path.open("xb") as stream:
        if not path.name.endswith(".gz"):
            stream.write(header)
            stream.write(memoryview(voxels).cast("B"))
            return
        packer = _gzip()
        stream.write(packer.compress(bytes(header)))
        for plane in voxels:
            stream.write(packer.compress(memoryview(plane).cast("B")))
        stream.write(packer.flush())


def _gzip() -> Any:
    try:
        from isal import isal_zlib as zlib
    except ImportError:  # no wheel for this machine: the standard library is slower
        import zlib  # type: ignore[no-redef]
    return zlib.compressobj(1, zlib.DEFLATED, 31)


def mask(question: Question) -> Answer:
    """Check a label map, compare its grid with the input's, and rewrite it."""
    from medpodium.scoring.masks.geometry import compare_geometry
    from medpodium.scoring.masks.inflate import ReadLimits
    from medpodium.scoring.masks.reader import read_geometry, read_mask

    source, target = Path(question.source), Path(question.target)
    like = None
    if question.like:
        try:
            like = read_geometry(Path(question.like))
        except MedpodiumError:
            like = None  # the input is no image read here (a JPEG, a DICOM folder); scoring compares the grids
    voxels = max(1 << 26, 4 * math.prod(like.shape_zyx)) if like is not None else 1 << 31
    limits = ReadLimits(max_file_bytes=question.max_bytes, max_voxels=voxels, max_data_bytes=16 * voxels)
    _limit_memory(_BASE_MEMORY + 12 * voxels)
    found = read_mask(source, limits=limits)
    differences = compare_geometry(like, found.geometry, where=source.name) if like is not None else []
    grid = found.geometry
    if like is not None and not grid.spaced and like.shape_zyx == grid.shape_zyx:
        grid = like  # a picture of the input: what it cannot say is taken from there
    write_nifti(target, found.array, grid)
    return noted(*differences, *found.findings)


def table(question: Question) -> Answer:
    """Check a CSV or TSV and give its cells the real case names back."""
    text = _text(Path(question.source), question.max_bytes)
    names = question.names
    separator = separator_of(text)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(
        [[names.get(cell.strip(), cell) for cell in row] for row in rows]
    )
    Path(question.target).write_text(out.getvalue(), encoding="utf-8", newline="\n")
    return noted()


def document(question: Question) -> Answer:
    """Check a JSON document (no NaN, no infinity), or the one on every line of a JSONL file, and write it anew."""
    text = _text(Path(question.source), question.max_bytes)
    if question.target.lower().endswith(formats.LINES):
        # not splitlines: JSON may hold the line separators of Unicode as they are
        lines = [_anew(line, question, None) for line in text.split("\n") if line.strip()]
        if not lines:
            raise ValueError("holds no line")
        text = "".join(f"{line}\n" for line in lines)
    else:
        text = _anew(text, question, 1)
    Path(question.target).write_text(text, encoding="utf-8", newline="\n")
    return noted()


def _anew(text: str, question: Question, indent: int | None) -> str:
    data = json.loads(text, parse_constant=_no_constant)
    return json.dumps(_renamed(data, question.names), indent=indent, allow_nan=False, ensure_ascii=False)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is no JSON number")


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, dict):
        return {names.get(key, key): _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    return names.get(node, node) if isinstance(node, str) else node


def _text(path: Path, limit: int) -> str:
    with path.open("rb") as stream:
        data = stream.read(min(limit, _TEXT_BYTES) + 1)
    if len(data) > min(limit, _TEXT_BYTES):
        raise ValueError(f"is larger than {min(limit, _TEXT_BYTES)} bytes")
    text = decode(data, path.name)
    bad = next((char for char in text if ord(char) < 32 and char not in "\t\r\n"), None)
    if bad is not None:
        raise ValueError(f"contains the control character {ord(bad)}")
    return text


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system; the caller's time limit remains
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))


_KINDS = {"mask": mask, "table": table, "json": document}


def answer(question: Question) -> Answer:
    """Answer one question; every failure of the file is an answer, not an exception."""
    try:
        return _KINDS[question.kind](question)
    except MedpodiumError as error:
        return refused(error.findings[0])
    except MemoryError:
        return _refused(question, RunCode.EXPANDED, "needs more memory than a label map of the input's shape")
    except RecursionError:
        return _refused(question, RunCode.FORMAT, "is nested too deep")
    except (ValueError, csv.Error, UnicodeError, OSError) as error:
        return _refused(question, RunCode.FORMAT, str(error))


def _refused(question: Question, code: RunCode, cause: str) -> Answer:
    return refused(Finding(code, question.source, cause, FIXES[code]))


def main() -> None:
    """Answer questions until standard input ends."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(answer(Question(**json.loads(line))).line().decode())
        sys.stdout.flush()


if __name__ == "__main__":
    main()
