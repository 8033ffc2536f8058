"""Centrelines of masks, and how well two masks hold each other's.

Thinning is scikit-image's: Lee, Kashyap and Chu, *Building skeleton models via 3-D medial surface axis thinning
algorithms*, CVGIP 56, 1994 (``lee-1994``), in volumes and planes; Zhang and Suen, CACM 27, 1984 (``zhang-1984``), in
planes. A skeleton does not depend on how much background lies around a mask.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.boxes import foreground_box

Thinning: TypeAlias = Literal["lee-1994", "zhang-1984"]
Points: TypeAlias = npt.NDArray[np.int64]


def skeleton_points(mask: npt.NDArray[Any], thinning: Thinning = "lee-1994", *, planar: bool = False) -> Points:
    """Return the voxels of a mask's skeleton.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Non-zero is foreground.
    thinning : {"lee-1994", "zhang-1984"}
        The algorithm.
    planar : bool
        Whether the mask is a plane, shape (1, y, x), which is thinned as one.

    Returns
    -------
    ndarray of int64, shape (n, 3)
        ``(z, y, x)``; empty for an empty mask.

    Raises
    ------
    ValueError
        If a volume is to be thinned as a plane.
    """
    from skimage import morphology  # only this score needs it

    skeletonize: Any = morphology.skeletonize  # it has no types
    if thinning == "zhang-1984" and not planar:
        raise ValueError("zhang-1984 thins planes only")
    box = foreground_box(mask)
    own = np.ascontiguousarray(mask[box] != 0)
    if not own.size:
        return np.zeros((0, 3), np.int64)
    if planar:
        method = "lee" if thinning == "lee-1994" else "zhang"
        thin = np.asarray(skeletonize(own[0], method=method))[np.newaxis]
    else:
        thin = np.asarray(skeletonize(own, method="lee"))
    first = np.array([side.start for side in box], np.int64)
    found: Points = np.argwhere(thin) + first
    return found


def centreline_dice(share_of_prediction: float, share_of_reference: float) -> float:
    """Return the harmonic mean of both shares (clDice; Shit et al., CVPR 2021, arXiv:2003.07311).

    Parameters
    ----------
    share_of_prediction : float
        Share of the prediction's skeleton that lies in the reference (topology precision).
    share_of_reference : float
        Share of the reference's skeleton that lies in the prediction (topology sensitivity).

    Returns
    -------
    float
        0 where both are 0, as TopCoW's evaluation has it.
    """
    both = share_of_prediction + share_of_reference
    return 2 * share_of_prediction * share_of_reference / both if both else 0.0
