"""Why a prediction does not overlap its reference: a flip, another axis order, other labels, or a shift.

A search over few, common mistakes. Candidates are tried on a thinned copy of both volumes; only the winner is
measured on all voxels, and only a clear gain is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from medpodium.scoring.masks.codes import MaskCode
from medpodium.scoring.masks.labels import LabelArray
from medpodium.scoring.measures.boxes import foreground_box

Counts = npt.NDArray[np.int64]

_THIN_VOXELS = 1_000_000
_AXES_ZYX = "zyx"
NEARLY_PERFECT = 0.995
LOW_DICE = 0.6
"""Below this mean Dice, flips, axis orders and shifts are tried."""
GAIN = 0.2
"""A flip, axis order or shift explains a low overlap when it lifts the mean Dice by at least this much."""


@dataclass(frozen=True)
class Explanation:
    """A change that would make a prediction match its reference much better.

    Parameters
    ----------
    code : MaskCode
        Which kind of change.
    text : str
        The change in words, as in ``"looks flipped along x"``.
    before, after : float
        Mean Dice over the labels concerned, without and with the change.
    """

    code: MaskCode
    text: str
    before: float
    after: float


def joint_counts(reference: LabelArray, prediction: LabelArray) -> tuple[Counts, Counts, Counts]:
    """Count how often each pair of labels shares a voxel.

    Parameters
    ----------
    reference, prediction : ndarray, same shape
        Label maps.

    Returns
    -------
    (reference_labels, prediction_labels, counts) : tuple of ndarray
        Labels present (0 always included, ascending) and ``counts[i, j]``, the voxels with reference label i and
        prediction label j.
    """
    whole = reference.size
    box = foreground_box(reference, prediction)
    reference, prediction = reference[box], prediction[box]
    ref_labels, ref_codes = _coding(reference)
    pred_labels, pred_codes = _coding(prediction)
    shape = ref_labels.size, pred_labels.size
    counts: Counts = np.zeros(shape[0] * shape[1], dtype=np.int64)
    for one, other in zip(reference, prediction, strict=True):  # slice by slice: no volume-sized temporaries
        if one.any() or other.any():
            joint = ref_codes[one] * shape[1] + pred_codes[other]
            counts += np.bincount(joint.ravel(), minlength=counts.size)
        else:
            counts[0] += one.size
    counts[0] += whole - reference.size
    return ref_labels, pred_labels, counts.reshape(shape)


def label_counts(array: LabelArray) -> dict[int, int]:
    """Return the number of voxels of each label present."""
    whole = array.size
    array = array[foreground_box(array)]
    totals: Counts = np.zeros(int(np.iinfo(array.dtype).max) + 1, dtype=np.int64)
    for piece in array:
        if piece.any():
            totals += np.bincount(piece.ravel(), minlength=totals.size)
        else:
            totals[0] += piece.size
    totals[0] += whole - array.size
    return {int(label): int(totals[label]) for label in np.flatnonzero(totals)}


def _coding(array: LabelArray) -> tuple[Counts, Counts]:
    """Return the labels present (0 first) and a table from label to its index among them."""
    labels: Counts = np.array(sorted({0, *label_counts(array)}), dtype=np.int64)
    codes: Counts = np.zeros(int(np.iinfo(array.dtype).max) + 1, dtype=np.int64)
    codes[labels] = np.arange(labels.size)
    return labels, codes


def dice_matrix(counts: Counts) -> npt.NDArray[np.float64]:
    """Return the Dice coefficient of every reference label with every prediction label.

    Dice = 2 |R and P| / (|R| + |P|); 0 where both are empty.
    """
    sizes = counts.sum(axis=1)[:, None] + counts.sum(axis=0)[None, :]
    dice: npt.NDArray[np.float64] = np.divide(2.0 * counts, sizes, out=np.zeros(counts.shape), where=sizes > 0)
    return dice


def mean_dice(reference: LabelArray, prediction: LabelArray) -> float:
    """Return the mean Dice over the foreground labels of the reference (0 when it has none)."""
    ref_labels, pred_labels, counts = joint_counts(reference, prediction)
    own = own_dice(ref_labels, pred_labels, dice_matrix(counts))
    return float(np.mean(own)) if own.size else 0.0


def own_dice(ref_labels: Counts, pred_labels: Counts, dice: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the Dice of each foreground reference label with the same label of the prediction."""
    column = {int(label): j for j, label in enumerate(pred_labels)}
    return np.array(
        [dice[i, column[int(label)]] if int(label) in column else 0.0 for i, label in enumerate(ref_labels) if label]
    )


def explain_labels(ref_labels: Counts, pred_labels: Counts, dice: npt.NDArray[np.float64]) -> Explanation | None:
    """Find labels that are exchanged or renumbered, by the best one-to-one assignment (Hungarian method).

    Parameters
    ----------
    ref_labels, pred_labels : ndarray
        Labels present, 0 first (see :func:`joint_counts`).
    dice : ndarray, shape (reference labels, prediction labels)
        Dice of every pair.
    """
    inner = dice[1:, 1:]
    rows, columns = optimize.linear_sum_assignment(inner, maximize=True)
    column = {int(label): j for j, label in enumerate(pred_labels)}
    changed = []
    for i, j in zip(rows + 1, columns + 1, strict=True):
        label, best = int(ref_labels[i]), int(pred_labels[j])
        own = dice[i, column[label]] if label in column else 0.0
        if best != label and dice[i, j] >= 0.5 and own < dice[i, j] - 0.3:
            changed.append((best, label, float(own), float(dice[i, j])))
    if not changed:
        return None
    shown = ", ".join(f"{best} for {label}" for best, label, _, _ in changed[:8])
    shown += f" and {len(changed) - 8} more" if len(changed) > 8 else ""
    before = float(np.mean([own for *_, own, _ in changed]))
    after = float(np.mean([best for *_, best in changed]))
    return Explanation(MaskCode.LOOKS_RELABELLED, f"uses other labels: {shown}", before, after)


def explain_axes(reference: LabelArray, prediction: LabelArray, before: float) -> Explanation | None:
    """Try every axis order and flip that gives the reference's shape.

    Parameters
    ----------
    reference, prediction : ndarray, shape (z, y, x)
        Label maps; their shapes may be permutations of each other.
    before : float
        Mean Dice as they are (0 when the shapes differ).
    """
    step = _thinning(reference.shape)
    best: tuple[float, tuple[int, ...], tuple[int, ...]] | None = None
    thin_reference = reference[::step, ::step, ::step]
    for order, flips in _rearrangements():
        moved = _rearranged(prediction, order, flips)
        if moved.shape != reference.shape:
            continue
        # Thinned after moving, so that both copies keep the same voxels.
        score = mean_dice(thin_reference, moved[::step, ::step, ::step])
        if best is None or score > best[0] + 1e-9:
            best = score, order, flips
    if best is None or best[0] < before + GAIN / 2:
        return None
    _, order, flips = best
    after = mean_dice(reference, _rearranged(prediction, order, flips))
    if after < before + GAIN:
        return None
    flipped = " and ".join(_AXES_ZYX[axis] for axis in sorted(flips, reverse=True))
    if order == (0, 1, 2):
        return Explanation(MaskCode.LOOKS_FLIPPED, f"looks flipped along {flipped}", before, after)
    shown = ", ".join(_AXES_ZYX[axis] for axis in order)
    text = f"looks transposed (its array axes are the reference's z, y, x taken in the order {shown}"
    return Explanation(
        MaskCode.LOOKS_TRANSPOSED, text + (f", then flipped along {flipped})" if flipped else ")"), before, after
    )


def explain_shift(reference: LabelArray, prediction: LabelArray, before: float) -> Explanation | None:
    """Try the shift that brings the labels' centres together, and single steps around it.

    A shift of a few voxels is also looked for when the overlap is good: it is reported only when it removes at
    least half of what is missing to Dice 1, which a segmentation that is merely imperfect does not show.

    Parameters
    ----------
    reference, prediction : ndarray, same shape (z, y, x)
        Label maps, or the same crop of both.
    before : float
        Mean Dice as they are.
    """
    labels = sorted(set(label_counts(reference)) & set(label_counts(prediction)) - {0})
    if not labels or before > NEARLY_PERFECT:
        return None
    offset = np.rint(np.median(_centres(prediction, labels) - _centres(reference, labels), axis=0)).astype(int)
    if not offset.any():
        return None
    candidates = [offset]
    if before < LOW_DICE:
        candidates += [offset + step for step in product((-1, 0, 1), repeat=3) if any(step)]
    thin = _thinning(reference.shape)
    best = max(candidates, key=lambda candidate: _shifted_dice(reference, prediction, candidate, thin))
    after = _shifted_dice(reference, prediction, best)
    if after < before + (GAIN if before < LOW_DICE else max(0.01, (1.0 - before) / 2)):
        return None
    shown = ", ".join(f"{best[axis]:+d} along {_AXES_ZYX[axis]}" for axis in (2, 1, 0) if best[axis])
    return Explanation(MaskCode.LOOKS_SHIFTED, f"looks shifted by whole voxels ({shown})", before, after)


def _thinning(shape: tuple[int, ...]) -> int:
    return max(1, int(np.ceil((np.prod(shape) / _THIN_VOXELS) ** (1 / 3))))


def _rearrangements() -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Every axis order with every set of flipped axes, fewest changes first, without the identity."""
    every = [
        (order, tuple(axis for axis in range(3) if mirror[axis]))
        for order in permutations(range(3))
        for mirror in product((False, True), repeat=3)
    ]
    return iter(sorted(every, key=lambda item: (item[0] != (0, 1, 2), len(item[1])))[1:])


def _rearranged(array: LabelArray, order: tuple[int, ...], flips: tuple[int, ...]) -> LabelArray:
    """Undo: prediction axes were the reference's axes taken in ``order``, then flipped along reference axes."""
    inverse = tuple(int(i) for i in np.argsort(order))
    moved: LabelArray = np.flip(array.transpose(inverse), flips)
    return moved


def _centres(array: LabelArray, labels: list[int]) -> npt.NDArray[np.float64]:
    """Centre of each label in voxels, shape (labels, 3), axes (z, y, x)."""
    boxes = ndimage.find_objects(array)
    centres = []
    for label in labels:
        box = boxes[label - 1]
        inside = np.nonzero(array[box] == label)
        centres.append([part.start + float(index.mean()) for part, index in zip(box, inside, strict=True)])
    return np.array(centres)


def _shifted_dice(reference: LabelArray, prediction: LabelArray, offset: npt.NDArray[np.int64], thin: int = 1) -> float:
    """Mean Dice after moving the prediction back by ``offset`` voxels; what leaves the box is lost."""
    if any(abs(int(step)) >= size for step, size in zip(offset, reference.shape, strict=True)):
        return 0.0
    moved = np.zeros_like(prediction)
    target, source = [], []
    for step, size in zip(offset, reference.shape, strict=True):
        target.append(slice(max(0, -int(step)), size - max(0, int(step))))
        source.append(slice(max(0, int(step)), size + min(0, int(step))))
    moved[tuple(target)] = prediction[tuple(source)]
    return mean_dice(reference[::thin, ::thin, ::thin], moved[::thin, ::thin, ::thin])
