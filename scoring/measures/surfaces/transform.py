"""Surface distances the slow way, in exactly the order of operations of surface-distance.

Where two offsets are the same distance but for rounding, which one is reported depends on how scipy's distance
transform walks the volume; where a cumulative area equals a quantile but for rounding, the outcome depends on the
order of summation. In these rare cases the fast engine comes here, so that its decisions are those of the reference.

Scipy's own distance transform turns all offsets of a box into numbers (40 bytes per voxel); here those of the points
are, in its order of operations. Sorting is by distance, then weight; as weights are few, sorted lists are merged.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures import budget
from medpodium.scoring.measures.compiled import kernel
from medpodium.scoring.measures.surfaces import areas
from medpodium.scoring.measures.surfaces.points import Codes, Floats, Kind, Points, Spacing

_PER_VOXEL = 13
"""Bytes of scipy's feature transform: three numbers of 32 bits, and the mask."""
_PER_POINT = 64
"""Bytes of coordinates, offsets, distances and weights."""


def transformed_distances(
    own: tuple[Points, Codes],
    other: tuple[Points, Codes],
    spacing_zyx: Spacing,
    kind: Kind,
    axis_order: str,
    planar: bool = False,
) -> tuple[Floats, Floats]:
    """Return sorted ``(distances, weights)`` from one surface to another.

    Parameters
    ----------
    own, other
        Points and codes of the surface that asks and of the other one, neither empty.
    spacing_zyx
        Voxel size in mm.
    kind : {"surfel-area", "border-voxel"}
        What a point weighs.
    axis_order : {"xyz", "zyx"}
        Order in which the reference implementation walks the volume.
    planar : bool
        Whether these are contours in a plane, which it walks in two dimensions.

    Returns
    -------
    distances, weights : ndarray of float64, shape (n,)
        Distances in mm, ascending, equal distances by ascending weight.
    """
    from scipy import ndimage
    from surface_distance import lookup_tables

    axes = [2, 1, 0] if axis_order == "xyz" else [0, 1, 2]
    if planar:
        axes.remove(0)
    places = [np.ascontiguousarray(points[:, axes].T) for points, _ in (own, other)]
    low, high = (np.array([pick(place, axis=1) for place in places]) for pick in (np.min, np.max))
    origin = low.min(axis=0)[:, None]
    shape = tuple((high.max(axis=0) - origin[:, 0] + 1).tolist())
    budget.step(_PER_VOXEL * math.prod(shape) + _PER_POINT * places[0].shape[1])
    spacing = [spacing_zyx[axis] for axis in axes]
    table = areas.weights_of(kind, spacing_zyx, planar)
    if kind == "surfel-area" and not planar:
        table = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        table = table[_in_axis_order(np.arange(256, dtype=np.uint8), axes)]
    away = np.ones(shape, bool)
    away[tuple(places[1] - origin)] = False
    nearest = ndimage.distance_transform_edt(away, sampling=spacing, return_distances=False, return_indices=True)
    del away
    asking = tuple(places[0] - origin)
    squares = np.zeros(asking[0].size)
    for along, at, step in zip(nearest, asking, spacing, strict=True):
        offset = (along[asking] - at).astype(np.float64) * step
        squares += offset * offset
    del nearest
    return _sorted(np.sqrt(squares), own[1], table)


def _sorted(distances: Floats, codes: Codes, table: Floats) -> tuple[Floats, Floats]:
    """Sort distances, equal ones by the weight of their code."""
    weights, rank_of = np.unique(table, return_inverse=True)
    if not codes.any():  # border voxels
        return np.sort(distances), np.full(distances.size, table[0])
    ranks = rank_of.astype(np.uint8)[codes]
    lists = [np.sort(distances[ranks == rank]) for rank in range(weights.size)]
    used = [rank for rank, own in enumerate(lists) if own.size]
    starts = np.cumsum([0, *(lists[rank].size for rank in used)])
    found: tuple[Floats, Floats] = _merged(np.concatenate(lists), starts, weights[used])
    return found


@kernel
def _merged(values, starts, weights):  # type: ignore[no-untyped-def]
    """Merge sorted lists; of equal values those of an earlier list come first.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        The lists, one after the other.
    starts : ndarray of int64, shape (k + 1,)
        Where each begins; none is empty.
    weights : ndarray of float64, shape (k,)
        Weight of the values of each.

    Returns
    -------
    values, weights : ndarray of float64, shape (n,)
    """
    n_lists = weights.size
    heads = starts[:-1].copy()
    nexts = np.empty(n_lists)
    for k in range(n_lists):
        nexts[k] = values[heads[k]]
    merged, own = np.empty(values.size), np.empty(values.size)
    for i in range(values.size):
        best = 0
        for k in range(1, n_lists):
            if nexts[k] < nexts[best]:
                best = k
        merged[i] = nexts[best]
        own[i] = weights[best]
        heads[best] += 1
        nexts[best] = values[heads[best]] if heads[best] < starts[best + 1] else np.inf
    return merged, own


def _in_axis_order(codes: npt.NDArray[np.uint8], axes: list[int]) -> npt.NDArray[np.uint8]:
    """Re-order the bits of neighbour codes for an array whose axes are ``axes`` of ours."""
    cubes = np.unpackbits(codes[:, None], axis=1).reshape(-1, 2, 2, 2)
    turned = cubes.transpose(0, *(axis + 1 for axis in axes)).reshape(-1, 8)
    return np.packbits(turned, axis=1)[:, 0]
