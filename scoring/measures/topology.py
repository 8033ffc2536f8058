"""Euler number and Betti numbers of a binary volume: objects, tunnels and cavities.

In the foreground voxels are neighbours across faces (6-connectivity) and in the background also across edges and
corners (26), the pair FeTA's evaluation and scikit-image's ``euler_number(connectivity=1)`` use; or the other way
round (``connectivity=3`` there). A volume of a single slice gives what its plane has with 4 and 8 neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

_OPPOSITE = {6: 26, 26: 6}


def euler_number(mask: npt.NDArray[Any]) -> int:
    """Return the Euler number of the non-zero voxels of a volume.

    With 6-connected foreground, voxels are the vertices of a cubical complex, two voxels that share a face span
    an edge, four voxels around an edge a square, and eight voxels around a corner a cube. The Euler
    characteristic is vertices - edges + squares - cubes (Kong & Rosenfeld, *Digital topology*, CVGIP 48, 1989).
    What lies outside the volume is background, so a mask that touches the border is not special: cells reaching
    outside are simply not there.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Non-zero is foreground. May be empty (Euler number 0) or full (1).

    Returns
    -------
    int
        Objects - tunnels + cavities; a ball has 1, a torus 0, a hollow shell 2.

    Raises
    ------
    ValueError
        When the array does not have three dimensions.
    """
    if mask.ndim != 3:
        raise ValueError(f"mask has {mask.ndim} dimensions, not 3")
    number = 0
    below: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None = None
    # One pair of slices at a time: four slice-sized temporaries instead of volume-sized ones.
    for layer in mask:
        if not layer.any():
            below = None
            continue
        here = layer != 0
        rows = here[:, 1:] & here[:, :-1]
        columns = here[1:] & here[:-1]
        squares = rows[1:] & rows[:-1]
        number += _count(here) - _count(rows) - _count(columns) + _count(squares)
        if below is not None:
            before, before_rows = below
            up = here & before
            if up.any():
                up_rows = rows & before_rows
                up_columns = up[1:] & up[:-1]
                cubes = up_rows[1:] & up_rows[:-1]
                number += _count(up_rows) + _count(up_columns) - _count(up) - _count(cubes)
        below = here, rows
    return number


def _count(cells: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(cells))


def euler_error(reference: npt.NDArray[Any], prediction: npt.NDArray[Any]) -> int:
    """Return the absolute difference of the Euler numbers of two volumes of any shape.

    Parameters
    ----------
    reference, prediction : ndarray, shape (z, y, x)
        Non-zero is foreground.
    """
    return abs(euler_number(reference) - euler_number(prediction))


def component_count(mask: npt.NDArray[Any], connectivity: int) -> int:
    """Return the number of connected components of the non-zero voxels.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
    connectivity : {6, 26}
        Which voxels are neighbours.
    """
    if not mask.size:
        return 0
    structure = ndimage.generate_binary_structure(3, 1 if connectivity == 6 else 3)
    _, count = ndimage.label(mask, structure=structure, output=np.int32)
    return int(count)


def betti_numbers(mask: npt.NDArray[Any], connectivity: int) -> tuple[int, int, int]:
    """Return the number of components, tunnels and cavities of the non-zero voxels of a volume.

    Components and cavities are counted: a cavity is a component of the background that does not reach the outside.
    Tunnels follow from the Euler number, ``b0 - b1 + b2``. For 26-connected foreground that number comes from the
    background, whose components, tunnels and cavities are the foreground's cavities (and the outside), tunnels and
    components (Alexander duality): ``χ26(foreground) = χ6(background in a padded box) - 1``.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Non-zero is foreground. What lies outside the volume is background.
    connectivity : {6, 26}
        Which voxels are neighbours in the foreground; in the background it is the other of both.

    Returns
    -------
    tuple of three int
        Components, tunnels, cavities; a ball has (1, 0, 0), a torus (1, 1, 0), a hollow shell (1, 0, 1).

    Raises
    ------
    ValueError
        If the connectivity is not 6 or 26, or the array does not have three dimensions.
    """
    if connectivity not in _OPPOSITE:
        raise ValueError(f"connectivity is {connectivity}, not 6 or 26")
    if mask.ndim != 3:
        raise ValueError(f"mask has {mask.ndim} dimensions, not 3")
    components = component_count(mask, connectivity)
    outside = np.pad(mask == 0, 1, constant_values=True)
    cavities = component_count(outside, _OPPOSITE[connectivity]) - 1
    euler = euler_number(mask) if connectivity == 6 else euler_number(outside) - 1
    return components, components + cavities - euler, cavities


def betti_error(reference: npt.NDArray[Any], prediction: npt.NDArray[Any], dimension: int, connectivity: int) -> int:
    """Return the absolute difference of a Betti number of two volumes.

    Parameters
    ----------
    reference, prediction : ndarray, shape (z, y, x)
        Non-zero is foreground; the shapes may differ.
    dimension : {0, 1, 2}
        Components, tunnels or cavities.
    connectivity : {6, 26}
        Which voxels are neighbours in the foreground.
    """
    if dimension == 0:
        counts = [component_count(mask, connectivity) for mask in (reference, prediction)]
    else:
        counts = [betti_numbers(mask, connectivity)[dimension] for mask in (reference, prediction)]
    return abs(counts[0] - counts[1])
