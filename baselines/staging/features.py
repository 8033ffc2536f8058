"""Fifteen numbers about a liver: how big it is, what shape it has, how its intensities vary.

None depends on the scale of the intensities, which in MR means nothing; lengths are in mm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.overlap import voxel_mm3

Volume = npt.NDArray[np.float64]
Inside = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]

FEATURES = (
    "volume_ml",
    "surface_cm2",
    "surface_to_volume_per_mm",
    "sphericity",
    "elongation",
    "flatness",
    "nodularity",
    "variation",
    "skewness",
    "kurtosis",
    "relative_iqr",
    "entropy_bits",
    "gradient",
    "coarse_share",
    "contrast_outside",
)
"""Names of the features, in the order of :func:`describe_liver`."""

_OPENING_MM = 5.0
_COARSE_MM = 4.0
_BINS = 32


def describe_liver(image: Volume, inside: Inside, spacing_zyx: Spacing) -> npt.NDArray[np.float64]:
    """Compute the features of one liver.

    Parameters
    ----------
    image : ndarray, shape (z, y, x)
        Intensities in any unit.
    inside : ndarray of bool, shape (z, y, x)
        The liver.
    spacing_zyx : tuple of float
        Voxel size in mm.

    Returns
    -------
    ndarray, shape (15,)
        In the order of :data:`FEATURES`.

    Raises
    ------
    ValueError
        If the shapes differ, or the mask holds fewer than 100 voxels.
    """
    if image.shape != inside.shape:
        raise ValueError(f"the image has the shape {image.shape}, the mask {inside.shape}")
    if np.count_nonzero(inside) < 100:
        raise ValueError(f"the mask holds {np.count_nonzero(inside)} voxels, too few to describe a liver")
    box = _box(inside)
    shape = _shape(inside[box], spacing_zyx)
    return np.array([*shape, *_intensity(image, inside, box, spacing_zyx)], dtype=np.float64)


def _box(inside: Inside) -> tuple[slice, ...]:
    found = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(inside.any(axis=others))
        found.append(slice(max(0, int(where[0]) - 2), int(where[-1]) + 3))
    return tuple(found)


def _shape(inside: Inside, spacing: Spacing) -> list[float]:
    from scipy import ndimage

    voxel = voxel_mm3(spacing)
    volume = np.count_nonzero(inside) * voxel
    padded = np.pad(inside, 1)
    # Faces between inside and outside; a staircase, so larger than the true surface, but the same way for everyone
    surface = sum(
        np.count_nonzero(np.diff(padded.astype(np.int8), axis=axis)) * voxel / spacing[axis] for axis in range(3)
    )
    sphericity = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface
    points = np.argwhere(inside) * np.asarray(spacing)
    lengths = np.sqrt(np.sort(np.linalg.eigvalsh(np.cov(points.T)))[::-1].clip(min=1e-12))
    radius = [max(1, round(_OPENING_MM / step)) for step in spacing]
    z, y, x = np.ogrid[tuple(slice(-n, n + 1) for n in radius)]
    ball = (z / radius[0]) ** 2 + (y / radius[1]) ** 2 + (x / radius[2]) ** 2 <= 1
    lost = 1 - np.count_nonzero(ndimage.binary_opening(padded, ball)) / np.count_nonzero(inside)
    elongation, flatness = float(lengths[1] / lengths[0]), float(lengths[2] / lengths[0])
    return [volume / 1000, surface / 100, surface / volume, float(sphericity), elongation, flatness, float(lost)]


def _intensity(image: Volume, inside: Inside, box: tuple[slice, ...], spacing: Spacing) -> list[float]:
    from scipy import ndimage, stats

    values = image[inside].astype(np.float64)
    low, quarter, median, three_quarters, high = np.percentile(values, [1, 25, 50, 75, 99])
    spread = max(float(three_quarters - quarter), 1e-9)
    scale = max(abs(float(median)), 1e-9)
    clipped = np.clip(values, low, high)
    share = np.histogram(clipped, bins=_BINS)[0] / values.size
    entropy = -float(np.sum(share[share > 0] * np.log2(share[share > 0])))
    part, mask = image[box].astype(np.float64), inside[box]
    slopes = np.gradient(part, *spacing)
    steepness = np.sqrt(np.sum(np.square(slopes), axis=0))[mask].mean() / spread
    sigma = [_COARSE_MM / step for step in spacing]
    # Normalised convolution, so that what lies outside the liver does not leak in
    weight = ndimage.gaussian_filter(mask.astype(np.float64), sigma)
    smooth = ndimage.gaussian_filter(np.where(mask, part, 0.0), sigma) / np.maximum(weight, 1e-9)
    deviation = max(float(values.std()), 1e-9)
    outside = image[~inside & (image > 0)]
    contrast = float(median) / max(float(np.median(outside)), 1e-9) if outside.size else 1.0
    return [
        deviation / scale,
        float(stats.skew(clipped)) if spread > 1e-9 else 0.0,
        float(stats.kurtosis(clipped)) if spread > 1e-9 else 0.0,
        spread / scale,
        entropy,
        float(steepness),
        float(smooth[mask].std()) / deviation,
        contrast,
    ]
