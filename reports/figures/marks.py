"""What each mark of a figure stands for: a page says it where the pointer rests, and finds the marks of a submission.

A mark names what it shows; scores are printed from the page's own numbers. Only what these do not hold (a share of
resamples, a number of cases) is said in words here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

MOST = 60_000
"""Marks of one figure that are told; a figure with more tells none."""
_NEAR = 4.0
"""Points around a mark within which the pointer means it."""


@dataclass(frozen=True)
class Series:
    """Marks of one submission in one panel of a figure.

    Parameters
    ----------
    team : str
        Submission; empty for marks of nobody.
    x, y : ndarray of shape (n_marks,)
        Where they are, in data coordinates.
    cases : sequence of str
        Case of each mark; empty where marks are of several cases.
    part : str
        Printed name of the structure they are of, where a figure shows several.
    says : sequence of str
        What else each mark says.
    cell : bool
        Whether a mark is a cell of a coloured table, one wide and one high, rather than a dot.
    """

    axes: Axes
    team: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    cases: Sequence[str]
    part: str
    says: Sequence[str]
    cell: bool


_TOLD: WeakKeyDictionary[Any, list[Series]] = WeakKeyDictionary()


def tell(
    axes: Axes,
    team: str,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    cases: Sequence[str] = (),
    part: str = "",
    says: Sequence[str] = (),
    cell: bool = False,
) -> None:
    """Say what marks stand for; ``x`` and ``y`` are numbers or sequences of them (:class:`Series`)."""
    across, up = np.broadcast_arrays(np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float)))
    _TOLD.setdefault(axes.figure, []).append(Series(axes, team, across, up, cases, part, says, cell))


def placed(figure: Figure, box: Bbox) -> bytes:
    """Return what was told of a figure as JSON, places in points from the upper left corner of its SVG.

    Parameters
    ----------
    box : matplotlib.transforms.Bbox
        What of the figure is written, in inches.

    Returns
    -------
    bytes
        ``{"cases": [...], "series": [{"team", "part", "x", "y", "near": [across, up], "at": [...], "says": [...]}]}``;
        empty where nothing was told. Marks without a place (NaN) are left out.
    """
    told = _TOLD.get(figure, [])
    if not told or sum(len(one.x) for one in told) > MOST:
        return b""
    names = {case: at for at, case in enumerate(dict.fromkeys(case for one in told for case in one.cases))}
    scale = 72 / figure.dpi
    found = []
    for one in told:
        places: Any = one.axes.transData.transform(np.column_stack([one.x, one.y])) * scale
        kept = np.isfinite(places).all(axis=1)
        corners: Any = one.axes.transData.transform([(0.0, 0.0), (1.0, 1.0)]) * scale
        near = np.abs(corners[1] - corners[0]) / 2 if one.cell else np.array([_NEAR, _NEAR])
        series: dict[str, Any] = {
            "team": one.team,
            "x": np.round(places[kept, 0] - 72 * box.x0, 1).tolist(),
            "y": np.round(72 * box.y1 - places[kept, 1], 1).tolist(),
            "near": np.round(near, 1).tolist(),
        }
        if one.part:
            series["part"] = one.part
        for key, own in (("at", [names[case] for case in one.cases]), ("says", list(one.says))):
            if own:
                series[key] = [item for item, keep in zip(own, kept, strict=True) if keep]
        found.append(series)
    told_text = {"cases": list(names), "series": found}
    return json.dumps(told_text, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
