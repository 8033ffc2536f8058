"""The functions of ``medpy.metric.binary`` (MedPy): same names, arguments and values.

::

    from medpodium.compat import medpy_binary as binary

    binary.hd95(result, reference, voxelspacing=(3.0, 0.8, 0.8))

The prediction comes first, as in MedPy. Whatever is not zero belongs to the object; a border voxel is one with a
neighbour outside, by ``connectivity`` axes at most; voxels are 1 apart without ``voxelspacing``.

Shares of empty masks are what MedPy writes for a division by zero. Newer NumPys count in numbers of their own, which
raise no such error: MedPy itself then answers NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pair import ReferenceCase
from medpodium.scoring.measures.surfaces import metrics
from medpodium.scoring.measures.surfaces.distances import SurfaceDistances

__all__ = ["asd", "assd", "dc", "hd", "hd95", "jc", "precision", "ravd", "recall"]

Array = npt.NDArray[Any]
Spacing = float | Sequence[float] | None
Floats = npt.NDArray[np.float64]


def dc(result: Array, reference: Array) -> float:
    """Return the Dice coefficient; 1 where both masks are empty."""
    both, predicted, true = _counts(result, reference)
    return 2.0 * both / (predicted + true) if predicted + true else 1.0


def jc(result: Array, reference: Array) -> float:
    """Return the Jaccard coefficient; 1 where both masks are empty."""
    both, predicted, true = _counts(result, reference)
    return both / (predicted + true - both) if predicted + true else 1.0


def precision(result: Array, reference: Array) -> float:
    """Return the share of the prediction that is right; 0 where it is empty."""
    both, predicted, _ = _counts(result, reference)
    return both / predicted if predicted else 0.0


def recall(result: Array, reference: Array) -> float:
    """Return the share of the reference that was found; 0 where it is empty."""
    both, _, true = _counts(result, reference)
    return both / true if true else 0.0


def ravd(result: Array, reference: Array) -> float:
    """Return how much larger the prediction is, relative to the reference; negative where it is smaller.

    Raises
    ------
    RuntimeError
        If the reference is empty.
    """
    _, predicted, true = _counts(result, reference)
    if not true:
        raise RuntimeError("the reference is empty, so nothing can be relative to it")
    return (predicted - true) / true


def hd(result: Array, reference: Array, voxelspacing: Spacing = None, connectivity: int = 1) -> float:
    """Return the Hausdorff distance: the largest distance from either border to the other.

    Parameters
    ----------
    result, reference : ndarray
        Prediction and reference, of one shape.
    voxelspacing : float or sequence of float, optional
        Distance of neighbouring voxels along the axes; 1 when left out.
    connectivity : int
        Along how many axes at once a voxel's neighbours may lie (1: faces).

    Raises
    ------
    RuntimeError
        If a mask is empty.
    """
    pair = _pair(result, reference, voxelspacing, connectivity)
    if pair is not None:
        return metrics.hausdorff(pair)
    return float(max(one.max() for one in _both(result, reference, voxelspacing, connectivity)))


def hd95(result: Array, reference: Array, voxelspacing: Spacing = None, connectivity: int = 1) -> float:
    """Return the 95th percentile of the distances of both directions taken together; see :func:`hd`."""
    pair = _pair(result, reference, voxelspacing, connectivity)
    if pair is not None:
        return metrics.percentile_pooled(pair, 95.0)
    return float(np.percentile(np.concatenate(_both(result, reference, voxelspacing, connectivity)), 95))


def asd(result: Array, reference: Array, voxelspacing: Spacing = None, connectivity: int = 1) -> float:
    """Return the mean distance from the prediction's border to the reference's; see :func:`hd`."""
    pair = _pair(result, reference, voxelspacing, connectivity)
    if pair is not None:
        return metrics.directed_means(pair)[1]
    return float(_both(result, reference, voxelspacing, connectivity)[0].mean())


def assd(result: Array, reference: Array, voxelspacing: Spacing = None, connectivity: int = 1) -> float:
    """Return the mean distance over the border voxels of both masks taken together; see :func:`hd`."""
    pair = _pair(result, reference, voxelspacing, connectivity)
    if pair is not None:
        return metrics.assd(pair)
    return float(np.concatenate(_both(result, reference, voxelspacing, connectivity)).mean())


def _masks(result: Array, reference: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    one, other = (np.atleast_1d(np.asarray(mask)) for mask in (result, reference))
    if one.shape != other.shape:
        raise ValueError(f"the masks have different shapes: {one.shape} and {other.shape}")
    first, second = (mask if mask.dtype == np.bool_ else mask != 0 for mask in (one, other))
    return first, second


def _counts(result: Array, reference: Array) -> tuple[int, int, int]:
    """Return the voxels of both masks, of the prediction and of the reference."""
    one, other = _masks(result, reference)
    return tuple(int(np.count_nonzero(mask)) for mask in (one & other, one, other))  # type: ignore[return-value]


def _filled(result: Array, reference: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    one, other = _masks(result, reference)
    for which, mask in (("first", one), ("second", other)):
        if not mask.any():
            raise RuntimeError(f"the {which} array is empty, so there is no distance to it")
    return one, other


def _spacing(voxelspacing: Spacing, axes: int) -> list[float]:
    if voxelspacing is None:
        return [1.0] * axes
    sizes = (
        [float(voxelspacing)] * axes if isinstance(voxelspacing, (int, float)) else [float(one) for one in voxelspacing]
    )
    if len(sizes) != axes:
        raise RuntimeError(f"voxelspacing has {len(sizes)} values, the masks have {axes} axes")
    return sizes


def _pair(result: Array, reference: Array, voxelspacing: Spacing, connectivity: int) -> SurfaceDistances | None:
    """Return the engine's distances; ``None`` for borders that it does not know (other axes or neighbours)."""
    one, other = _filled(result, reference)
    sizes = _spacing(voxelspacing, one.ndim)
    if one.ndim not in (2, 3) or connectivity != 1:
        return None
    missing = 3 - one.ndim
    shape = (1,) * missing + one.shape
    case = ReferenceCase(
        np.ascontiguousarray(other).view(np.uint8).reshape(shape),
        [1.0] * missing + sizes,
        [frozenset({1})],
        axis_order="zyx",
        planar=missing == 1,
    )
    return case.compare(np.ascontiguousarray(one).view(np.uint8).reshape(shape)).borders(0)


def _both(result: Array, reference: Array, voxelspacing: Spacing, connectivity: int) -> tuple[Floats, Floats]:
    """Return the distances from the prediction's border and from the reference's, by distance transforms."""
    from scipy import ndimage

    one, other = _filled(result, reference)
    sizes = _spacing(voxelspacing, one.ndim)
    (box,) = ndimage.find_objects((one | other).astype(np.uint8))
    neighbours = ndimage.generate_binary_structure(one.ndim, connectivity)
    borders = [mask[box] & ~ndimage.binary_erosion(mask[box], neighbours) for mask in (one, other)]
    away = [ndimage.distance_transform_edt(~border, sampling=sizes) for border in borders]
    return away[1][borders[0]], away[0][borders[1]]
