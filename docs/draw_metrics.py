"""Draws the pictures of docs/metrics.md: what counts, on small masks, with the values that the scorer gives.

    python docs/draw_metrics.py

A test draws them again and compares, so that no picture can be of another definition than the one in force.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

import medpodium
from medpodium.scoring.measures.boundary import eroded_rim, rim_iou
from medpodium.scoring.measures.instances import matched_objects
from medpodium.scoring.measures.skeletons import centreline_dice, skeleton_points
from medpodium.scoring.measures.topology import betti_numbers

FOLDER = Path(__file__).resolve().parent / "metrics"
_CELL = 12
_LETTER = 6.5
_NONE, _BOTH, _ONLY_P, _ONLY_R = "#ffffff", "#9ecae1", "#fdae6b", "#a1d99b"
_DARK, _GREY = "#08306b", "#d9d9d9"
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int]


def box(shape: Shape, *sides: tuple[int, int, int, int]) -> Mask:
    """Return rectangles: top, bottom, left, right."""
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in sides:
        mask[top:bottom, left:right] = True
    return mask


class Picture:
    """A grid of pixels with words below.

    Parameters
    ----------
    shape : tuple of two int
        Rows and columns.
    words : str
        Said below.
    """

    def __init__(self, shape: Shape, *words: str) -> None:
        self.rows, self.columns = shape
        self.words = words
        self.parts: list[str] = []

    def paint(self, mask: Mask, colour: str) -> None:
        """Fill pixels, a run of a row at once."""
        for y, row in enumerate(mask):
            edges = np.flatnonzero(np.diff(np.r_[0, row.astype(int), 0]))
            for start, stop in edges.reshape(-1, 2):
                x, width = start * _CELL, (stop - start) * _CELL
                self.parts.append(f'<rect x="{x}" y="{y * _CELL}" width="{width}" height="{_CELL}" fill="{colour}"/>')

    def pair(self, reference: Mask, prediction: Mask) -> None:
        """Fill what both masks hold, and what one of them holds."""
        self.paint(reference & prediction, _BOTH)
        self.paint(prediction & ~reference, _ONLY_P)
        self.paint(reference & ~prediction, _ONLY_R)

    def outline(self, mask: Mask, colour: str, *, dashed: bool = False) -> None:
        """Draw where a mask ends."""
        wide = np.pad(mask, 1)
        lines = []
        for y, x in np.argwhere(wide[1:, 1:-1] != wide[:-1, 1:-1]):
            lines.append(f"M{x * _CELL} {y * _CELL}h{_CELL}")
        for y, x in np.argwhere(wide[1:-1, 1:] != wide[1:-1, :-1]):
            lines.append(f"M{x * _CELL} {y * _CELL}v{_CELL}")
        style = ' stroke-dasharray="3 2"' if dashed else ""
        self.parts.append(f'<path d="{"".join(lines)}" stroke="{colour}" stroke-width="2" fill="none"{style}/>')

    def dots(self, points: npt.NDArray[np.int64], colour: str) -> None:
        """Put a dot into pixels."""
        for y, x in points.tolist():
            cx, cy = x * _CELL + _CELL / 2, y * _CELL + _CELL / 2
            self.parts.append(f'<circle cx="{cx:g}" cy="{cy:g}" r="3" fill="{colour}"/>')

    def arrow(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Draw a line with a dot at its end; row and column, in pixels."""
        (y, x), (v, u) = ((a * _CELL, b * _CELL) for a, b in (start, stop))
        self.parts.append(f'<path d="M{x:g} {y:g}L{u:g} {v:g}" stroke="{_DARK}" stroke-width="1.5"/>')
        self.parts.append(f'<circle cx="{u:g}" cy="{v:g}" r="2.5" fill="{_DARK}"/>')

    def say(self, row: float, column: float, text: str) -> None:
        """Write into the grid."""
        self.parts.append(f'<text x="{column * _CELL:g}" y="{row * _CELL:g}">{text}</text>')

    def svg(self) -> str:
        """Return the picture."""
        width, height = self.columns * _CELL, self.rows * _CELL
        words = "".join(f'<text x="0" y="{height + 15 + 14 * at}">{text}</text>' for at, text in enumerate(self.words))
        whole = height + 10 + 14 * len(self.words)
        wide = max(width, *(_LETTER * len(text) for text in self.words))  # a viewer's letters may be wide ones
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}" height="{whole}" '
            f'font-family="sans-serif" font-size="11" fill="#222">\n'
            f'<rect width="{width}" height="{height}" fill="{_NONE}" stroke="{_GREY}"/>\n'
            + "\n".join(self.parts)
            + f"\n{words}\n</svg>\n"
        )


def _planar(mask: Mask) -> Mask:
    return mask[np.newaxis]


def overlap() -> Picture:
    """Show voxels of both masks, and of one of them."""
    shape = (12, 24)
    reference, prediction = box(shape, (2, 10, 3, 15)), box(shape, (4, 11, 8, 20))
    tp, fp, fn = (
        (a & b).sum() for a, b in ((reference, prediction), (~reference, prediction), (reference, ~prediction))
    )
    found = Picture(
        shape,
        f"TP {tp} (blue), FP {fp} (orange), FN {fn} (green)",
        f"Dice {2 * tp / (2 * tp + fp + fn):.2f}, IoU {tp / (tp + fp + fn):.2f}",
    )
    found.pair(reference, prediction)
    return found


def distances() -> Picture:
    """Show the way from each contour to the other."""
    shape = (12, 24)
    reference, prediction = box(shape, (2, 10, 3, 15)), box(shape, (3, 10, 3, 15), (5, 7, 15, 21))
    found = Picture(
        shape,
        "both contours, and the way to the other one:",
        "HD is the longest way, ASSD the mean, NSD the",
        "share of both contours that is within a tolerance",
    )
    found.outline(reference, "#31a354")
    found.outline(prediction, "#e6550d", dashed=True)
    found.arrow((6, 21), (6, 15))
    found.arrow((2, 9), (3, 9))
    return found


def edge() -> Picture:
    """Cut a structure off at the image's border."""
    shape = (12, 24)
    mask = box(shape, (3, 9, 0, 14))
    found = Picture(shape, "edge: surface counts the dashed line, too,", "edge: ignore only what lies inside the image")
    found.paint(mask, _BOTH)
    beyond = np.pad(mask, 1, mode="edge")
    inner = Picture(shape)
    inner.outline(mask, "#e6550d", dashed=True)
    found.parts += inner.parts
    lines = [f"M{x * _CELL} {y * _CELL}h{_CELL}" for y, x in np.argwhere(beyond[1:, 1:-1] != beyond[:-1, 1:-1])]
    lines += [f"M{x * _CELL} {y * _CELL}v{_CELL}" for y, x in np.argwhere(beyond[1:-1, 1:] != beyond[1:-1, :-1])]
    found.parts.append(f'<path d="{"".join(lines)}" stroke="{_DARK}" stroke-width="3" fill="none"/>')
    return found


def boundary_iou() -> Picture:
    """Show rims of a width, and what they share."""
    shape = (12, 24)
    reference, prediction = box(shape, (1, 11, 2, 18)), box(shape, (2, 11, 4, 20))
    rims = [eroded_rim(_planar(mask), 2, planar=True)[0] for mask in (reference, prediction)]
    found = Picture(
        shape, "only the rims count (width 2);", f"boundary IoU {rim_iou(*rims):.2f}: blue, of everything coloured"
    )
    found.pair(*rims)
    return found


def cldice() -> Picture:
    """Show skeletons in the other mask."""
    shape = (12, 24)
    reference = box(shape, (4, 7, 1, 23), (1, 11, 11, 14))
    prediction = box(shape, (4, 7, 1, 15), (1, 7, 11, 14))
    points = [skeleton_points(_planar(mask), planar=True)[:, 1:] for mask in (reference, prediction)]
    shares = [
        float(other[tuple(own.T)].mean()) for own, other in zip(points[::-1], (reference, prediction), strict=True)
    ]
    found = Picture(
        shape,
        "R green, P orange, both blue; dots: skeleton of R,",
        f"of which {shares[1]:.2f} lies in P; of P's {shares[0]:.2f} lies in R;",
        f"clDice {centreline_dice(*shares):.2f}",
    )
    found.pair(reference, prediction)
    found.dots(points[0], _DARK)
    return found


def betti() -> Picture:
    """Show pieces and holes."""
    shape = (12, 24)
    reference = box(shape, (2, 10, 2, 12)) & ~box(shape, (4, 8, 4, 10))
    prediction = (reference & ~box(shape, (2, 4, 6, 8))) | box(shape, (4, 7, 17, 20))
    counts = [betti_numbers(_planar(mask), 26) for mask in (reference, prediction)]
    found = Picture(
        shape,
        f"R: {counts[0][0]} piece, {counts[0][1]} hole; P: {counts[1][0]} pieces, {counts[1][1]} holes",
        f"Betti-0 error {abs(counts[0][0] - counts[1][0])}, Betti-1 error {abs(counts[0][1] - counts[1][1])}",
    )
    found.pair(reference, prediction)
    return found


def lesions() -> Picture:
    """Show lesions that are hit, missed and false."""
    shape = (12, 24)
    reference = box(shape, (2, 6, 2, 7), (7, 10, 10, 14))
    prediction = box(shape, (3, 7, 4, 9), (3, 6, 17, 21))
    first, second = (ndimage.label(mask, np.ones((3, 3)))[0] for mask in (reference, prediction))
    counts = matched_objects(first, second, [1e-6])
    tp = counts.found[0].matched
    found = Picture(
        shape,
        f"components that touch: TP {tp}, FN {counts.referenced - tp}, FP {counts.predicted - tp};",
        "with a threshold the first pair needs enough overlap, too",
    )
    found.pair(reference, prediction)
    for row, column, text in ((2, 7.5, "hit"), (11, 10, "missed"), (2.5, 17, "false")):
        found.say(row, column, text)
    return found


def lesion_wise() -> Picture:
    """Show means over single lesions: two fragments that dilation joins, a missed lesion and a false one."""
    shape = (12, 24)
    reference = box(shape, (1, 5, 1, 4), (1, 5, 6, 9), (8, 11, 3, 8), (9, 10, 21, 22))
    prediction = box(shape, (1, 5, 2, 5), (2, 5, 6, 10), (2, 5, 16, 19))
    rule: dict[str, object] = {"connectivity": 8, "dilation": 1, "min_voxels": 2, "small": "ignore-reference"}
    own = medpodium.measure(
        reference.astype(np.uint8),
        prediction.astype(np.uint8),
        spacing=1,
        metrics={
            "dice": {"kind": "lesion_dice", "lesions": rule},
            "nsd": {"kind": "lesion_nsd", "tolerance_mm": 0.5, "definition": "border-voxel", "lesions": rule},
            "hd95": {
                "kind": "lesion_hd_percentile",
                "definition": "pooled",
                "missed": 99,
                "invented": 99,
                "lesions": rule,
            },
            "difference": {"kind": "lesion_count_difference", "lesions": rule},
            "fpv": {"kind": "fp_component_volume", "lesions": {"connectivity": 8}},
            "fnv": {"kind": "fn_component_volume", "lesions": {"connectivity": 8}},
        },
    ).dict()["label 1"]
    found = Picture(
        shape,
        f"mean of 3: Dice {own['dice']:.2f}, NSD {own['nsd']:.2f}, HD95 {own['hd95']:.1f} (others 99);",
        f"count difference {own['difference']:.0f}; volumes: false {own['fpv']:.0f}, missed {own['fnv']:.0f}",
    )
    found.pair(reference, prediction)
    words = ((6.5, 1, "dilated: one, hit"), (10, 9, "missed"), (6.5, 16, "false"), (11.5, 18, "too small"))
    for row, column, text in words:
        found.say(row, column, text)
    return found


def presence() -> Picture:
    """Show whole structures that are found, missed and invented, case by case."""
    shape = (12, 24)
    reference = box(shape, (2, 8, 1, 6), (2, 8, 9, 14))
    prediction = box(shape, (2, 7, 2, 6), (2, 4, 9, 11), (2, 8, 17, 22))
    found = Picture(
        shape,
        "three cases: found from the declared IoU on, else missed,",
        f"or invented: presence F1 = 2 / (2 + 1 + 1) = {2 / 4:.2f}",
    )
    found.pair(reference, prediction)
    cells = ((slice(0, 8), slice(1, 6)), (slice(0, 8), slice(9, 14)))
    for (rows, columns), column, word in zip(cells, (1, 9), ("hit", "missed"), strict=True):
        both = (reference[rows, columns] & prediction[rows, columns]).sum()
        any_ = (reference[rows, columns] | prediction[rows, columns]).sum()
        found.say(10, column, f"{word} {both / any_:.2f}")
    found.say(10, 17, "false")
    return found


def instances() -> Picture:
    """Show objects by number, matched one to one."""
    shape = (12, 24)
    reference, prediction = np.zeros((2, *shape), int)
    for number, (own, other) in enumerate(
        (((1, 6, 1, 6), (1, 6, 2, 7)), ((1, 6, 6, 11), (2, 6, 7, 11)), ((7, 11, 13, 20), (7, 11, 18, 23))), start=1
    ):
        reference[box(shape, own)], prediction[box(shape, other)] = number, number + 5
    counts = matched_objects(reference, prediction, [0.5])
    one = counts.found[0]
    total = counts.referenced + counts.predicted
    found = Picture(
        shape,
        f"at IoU 0.5 {one.matched} pairs of {counts.referenced} objects match: F1 = RQ {2 * one.matched / total:.2f},",
        f"SQ {one.iou / one.matched:.2f}, PQ {2 * one.iou / total:.2f}, AP50 {one.matched / (total - one.matched):.2f}",
    )
    found.pair(reference > 0, prediction > 0)
    for number in np.unique(reference[reference > 0]):
        found.outline(reference == number, "#31a354")
    for number in np.unique(prediction[prediction > 0]):
        found.outline(prediction == number, "#e6550d", dashed=True)
    return found


PICTURES: Mapping[str, Callable[[], Picture]] = {
    "overlap": overlap,
    "distances": distances,
    "edge": edge,
    "boundary-iou": boundary_iou,
    "cldice": cldice,
    "betti": betti,
    "lesions": lesions,
    "lesion-wise": lesion_wise,
    "presence": presence,
    "instances": instances,
}


def drawn() -> dict[str, str]:
    """Return every picture by the name of its file."""
    return {f"{name}.svg": draw().svg() for name, draw in PICTURES.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in drawn().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
