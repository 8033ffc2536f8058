"""Surface distances the slow way, in exactly the order of operations of surface-distance.

Where two offsets are the same distance but for rounding, which one is reported depends on how scipy's distance
transform walks the volume; where a cumulative area equals a quantile but for rounding, the outcome depends on the
order of summation. In these rare cases the fast engine comes here, so that its decisions are those of the reference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.surfaces import areas
from medpodium.scoring.measures.surfaces.points import Codes, Kind, Points, Spacing

Floats = npt.NDArray[np.float64]


def transformed_distances(
    reference: tuple[Points, Codes],
    prediction: tuple[Points, Codes],
    spacing_zyx: Spacing,
    kind: Kind,
    axis_order: str,
    planar: bool = False,
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return sorted ``(distances, weights)`` from the reference and from the prediction.

    Parameters
    ----------
    reference, prediction
        Points and codes of two surfaces, neither empty.
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
    tuple of two (distances, weights)
        Distances in mm, ascending, equal distances by ascending weight.
    """
    from scipy import ndimage
    from surface_distance import lookup_tables

    axes = [2, 1, 0] if axis_order == "xyz" else [0, 1, 2]
    if planar:
        axes.remove(0)
    both = [points[:, axes].astype(np.int64) for points, _ in (reference, prediction)]
    origin = np.minimum(both[0].min(axis=0), both[1].min(axis=0))
    shape = np.maximum(both[0].max(axis=0), both[1].max(axis=0)) - origin + 1
    spacing = [spacing_zyx[axis] for axis in axes]
    table = areas.weights_of(kind, spacing_zyx, planar)
    codes = [reference[1], prediction[1]]
    if kind == "surfel-area" and not planar:
        table = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        codes = [_in_axis_order(own, axes) for own in codes]
    places = [tuple((points - origin).T) for points in both]
    maps = []
    for place in places:
        away = np.ones(shape, bool)
        away[place] = False
        maps.append(ndimage.distance_transform_edt(away, sampling=spacing))
    found = []
    for own, other in ((0, 1), (1, 0)):
        distances, weights = maps[other][places[own]], table[codes[own]]
        order = np.lexsort((weights, distances))
        found.append((distances[order], weights[order]))
    return found[0], found[1]


def _in_axis_order(codes: npt.NDArray[np.uint8], axes: list[int]) -> npt.NDArray[np.uint8]:
    """Re-order the bits of neighbour codes for an array whose axes are ``axes`` of ours."""
    cubes = np.unpackbits(codes[:, None], axis=1).reshape(-1, 2, 2, 2)
    turned = cubes.transpose(0, *(axis + 1 for axis in axes)).reshape(-1, 8)
    return np.packbits(turned, axis=1)[:, 0]
