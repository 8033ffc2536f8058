"""3D Slicer's segmentations (``.seg.nrrd``): which segments a NRRD header names, and where their voxels are.

By Slicer's description of the format (developer guide, "Segmentation labelmap file format"): ``SegmentN_Name`` is what
users see, ``SegmentN_Layer`` the volume that holds the segment, and ``SegmentN_LabelValue`` its value there.
Overlapping segments lie in several layers. Older files have neither: each segment is a layer of its own, marked 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medpodium.scoring.masks.codes import MaskCode, refusal
from medpodium.scoring.masks.header import Segment

_KEY = re.compile(r"Segment(\d{1,6})_(\w+)")
_FRACTIONAL = "fractional labelmap"
_AGAIN = "save the segmentation again with 3D Slicer"


def names_segments(free: Mapping[str, str]) -> bool:
    """Return whether the key/value pairs of a header are those of a segmentation."""
    return any(key.startswith("Segmentation_") or _KEY.fullmatch(key) for key in free)


def segments_of(free: Mapping[str, str], layers: int, path: Path) -> tuple[Segment, ...]:
    """Return the segments that a header names.

    Parameters
    ----------
    free : mapping of str to str
        Its key/value pairs.
    layers : int
        How many volumes the file holds.
    path : Path
        Name for findings.

    Raises
    ------
    MaskError
        When a layer does not exist, a number is none, or the voxels are fractions.
    """
    stored = free.get("Segmentation_SourceRepresentation") or free.get("Segmentation_MasterRepresentation") or ""
    if stored.strip().lower() == _FRACTIONAL:
        raise refusal(
            MaskCode.PROBABILITY_MAP,
            path,
            f"holds fractions (its source representation is {stored!r}), not labels",
            "convert it to a binary labelmap in 3D Slicer before saving",
        )
    numbers = sorted({int(found[1]) for key in free if (found := _KEY.fullmatch(key))})
    segments = []
    for place, number in enumerate(numbers):
        name = free.get(f"Segment{number}_Name") or free.get(f"Segment{number}_ID")
        if name is None:
            continue
        layer = _whole(free, number, "Layer", place if layers > 1 else 0, path)
        label = _whole(free, number, "LabelValue", 1, path)
        if layer >= layers:
            cause = f"segment {name!r} is in layer {layer}, and the file has {layers}"
            raise refusal(MaskCode.HEADER_INVALID, path, cause, _AGAIN)
        segments.append(Segment(name, layer, label))
    twice = [one for at, one in enumerate(segments) for other in segments[:at] if one.place == other.place]
    if twice:
        cause = f"segment {twice[0].name!r} has the label value and the layer of another segment"
        raise refusal(MaskCode.HEADER_INVALID, path, cause, _AGAIN)
    return tuple(segments)


def _whole(free: Mapping[str, str], number: int, key: str, default: int, path: Path) -> int:
    text = free.get(f"Segment{number}_{key}", "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        cause = f"the header's Segment{number}_{key} is {text!r}, not a whole number"
        raise refusal(MaskCode.HEADER_INVALID, path, cause, _AGAIN)
    return int(text)
