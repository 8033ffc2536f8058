"""What a metric of masks is called, and in which unit it is, when it is measured in a plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from medpodium.challenges.schema.metrics.spec import MetricKind

Length = Literal["mm", "px"]
"""Unit of distances in a plane: pixels where neither the files nor the challenge file say how large a pixel is."""

_WORDS = {
    "Volume": "Area",
    "volume": "area",
    "voxel": "pixel",
    "6-connected foreground, 26-connected background": "4-connected foreground, 8-connected background",
    "surface elements": "contour elements",
    "surface distances": "contour distances",
    "either surface": "either contour",
    "both surfaces": "both contours",
}
_PLANE_CONNECTIVITY = {6: 4, 18: 8, 26: 8}


def in_plane(kind: MetricKind, length: Length) -> MetricKind:
    """Return what is known about a kind of metric, said for a plane: areas for volumes, contours for surfaces.

    Titles of distances stay: the field says *average symmetric surface distance* and *normalised surface distance* of
    contours, too.
    """
    unit = {"mm": length, "ml": f"{length}²"}.get(kind.unit, kind.unit)
    title, formula = kind.title.replace("voxel-wise", "pixel-wise"), kind.formula
    for word, instead in _WORDS.items():
        if word in ("Volume", "volume"):
            title = title.replace(word, instead)
        formula = formula.replace(word, instead)
    return replace(kind, title=title, unit=unit, formula=formula)


def plane_connectivity(connectivity: int) -> int:
    """Return which pixels are neighbours in a plane (4 or 8) when voxels are by 6, 18 or 26."""
    return _PLANE_CONNECTIVITY.get(connectivity, connectivity)
