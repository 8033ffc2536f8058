"""A small synthetic challenge, made from a seed: abdomen-like label maps and three teams that fail in realistic ways.

Nothing here is medical data: organs are ellipsoids at plausible places, jittered per case.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import SimpleITK

CHALLENGE = "flare-pancancer/2023"
_SHAPE_ZYX = (48, 128, 128)
_SPACING_XYZ = (2.5, 2.5, 5.0)
_CENTRES = ("north", "south")

Labels = npt.NDArray[np.uint8]

# Label -> centre (z, y, x) and radii (z, y, x), as fractions of the volume.
_ORGANS: dict[int, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    1: ((0.62, 0.42, 0.34), (0.24, 0.20, 0.18)),
    2: ((0.42, 0.62, 0.32), (0.17, 0.06, 0.05)),
    3: ((0.66, 0.58, 0.74), (0.15, 0.09, 0.07)),
    4: ((0.50, 0.46, 0.56), (0.07, 0.05, 0.13)),
    5: ((0.50, 0.62, 0.52), (0.48, 0.028, 0.028)),
    6: ((0.52, 0.61, 0.45), (0.44, 0.030, 0.032)),
    7: ((0.60, 0.60, 0.39), (0.06, 0.030, 0.018)),
    8: ((0.60, 0.60, 0.60), (0.06, 0.030, 0.018)),
    9: ((0.47, 0.40, 0.42), (0.10, 0.05, 0.04)),
    10: ((0.86, 0.58, 0.54), (0.12, 0.022, 0.022)),
    11: ((0.66, 0.40, 0.62), (0.17, 0.11, 0.09)),
    12: ((0.42, 0.48, 0.46), (0.10, 0.04, 0.06)),
    13: ((0.42, 0.62, 0.68), (0.17, 0.06, 0.05)),
}
_LESION = 14


@dataclass(frozen=True)
class Team:
    """One made-up team: how much its surfaces wobble (in voxels), and what goes wrong how often."""

    name: str
    wobble: float
    misses_lesion: float
    seconds: float
    gpu_mb: float
    failure: str = ""


TEAMS = (
    Team("aurora", 0.8, 0.1, 11.0, 3_900.0),
    Team("borealis", 1.2, 0.3, 18.0, 5_200.0, failure="missing"),
    Team("cirrus", 1.9, 0.5, 9.0, 4_600.0, failure="flipped"),
)


def make(folder: Path, cases: int = 8, seed: int = 0) -> dict[str, Path]:
    """Write references, three teams' predictions, a table of cases and one of measured resources.

    Parameters
    ----------
    folder : Path
        Where to; created when absent.
    cases : int
        Number of cases.
    seed : int
        Same seed, same files.

    Returns
    -------
    dict of str to Path
        ``references``, ``predictions/<team>``, ``cases`` and ``resources``.
    """
    places = {"references": folder / "references", "cases": folder / "cases.csv", "resources": folder / "resources.csv"}
    places |= {f"predictions/{team.name}": folder / "predictions" / team.name for team in TEAMS}
    for name, place in places.items():
        (place if not name.endswith(("cases", "resources")) else folder).mkdir(parents=True, exist_ok=True)
    groups, resources = [], []
    for number in range(1, cases + 1):
        case = f"DEMO_{number:04d}"
        rng = np.random.default_rng([seed, number])
        reference = _reference(rng, with_lesion=number % 4 != 0)
        _write(reference, places["references"] / f"{case}.nii.gz")
        groups.append({"case": case, "centre": _CENTRES[number % 2]})
        for team in TEAMS:
            prediction = _prediction(reference, team, rng)
            failed = team.failure == "missing" and number == 3
            if team.failure == "flipped" and number == 5:
                prediction = np.ascontiguousarray(prediction[:, :, ::-1])
            if not failed:
                _write(prediction, places[f"predictions/{team.name}"] / f"{case}.nii.gz")
            resources += _resources(team, case, rng, failed)
    pd.DataFrame(groups).to_csv(places["cases"], index=False, lineterminator="\n")
    pd.DataFrame(resources).to_csv(places["resources"], index=False, lineterminator="\n")
    return places


def _reference(rng: np.random.Generator, with_lesion: bool) -> Labels:
    labels = np.zeros(_SHAPE_ZYX, dtype=np.uint8)
    for label, (centre, radii) in _ORGANS.items():
        jitter = rng.normal(0, 0.008, 3)
        scale = rng.uniform(0.88, 1.12, 3)
        labels[_ellipsoid(np.asarray(centre) + jitter, np.asarray(radii) * scale)] = label
    if with_lesion:
        host = np.argwhere(labels == 1)
        centre = (host[rng.integers(len(host))] + 0.5) / np.asarray(_SHAPE_ZYX)
        labels[_ellipsoid(centre, np.asarray((0.07, 0.028, 0.028)) * rng.uniform(0.9, 1.6))] = _LESION
    return labels


def _ellipsoid(centre: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    z, y, x = (
        (((np.arange(size, dtype=np.float32) + 0.5) / size - middle) / radius) ** 2
        for size, middle, radius in zip(_SHAPE_ZYX, centre, radii, strict=True)
    )
    return np.asarray(z[:, None, None] + (y[:, None] + x)[None] <= 1.0)


def _prediction(reference: Labels, team: Team, rng: np.random.Generator) -> Labels:
    """Deform the reference by a smooth random field; lesions may be missed or invented."""
    moved = []
    for axis, (size, strength) in enumerate(zip(_SHAPE_ZYX, (0.5, 1.0, 1.0), strict=True)):
        shift = np.rint(_smooth_noise(rng) * np.float32(team.wobble * strength)).astype(np.int32)
        shape = [1, 1, 1]
        shape[axis] = size
        moved.append(np.clip(shift + np.arange(size, dtype=np.int32).reshape(shape), 0, size - 1))
    _, height, width = _SHAPE_ZYX
    prediction: Labels = reference.ravel()[(moved[0] * height + moved[1]) * width + moved[2]]
    if rng.random() < team.misses_lesion:
        prediction = np.where(prediction == _LESION, np.uint8(1), prediction)
    elif rng.random() < team.misses_lesion / 2:
        centre = np.asarray((0.6, 0.4, 0.3)) + rng.normal(0, 0.03, 3)
        prediction[_ellipsoid(centre, np.asarray((0.05, 0.02, 0.02)))] = _LESION
    return prediction


def _smooth_noise(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return noise of unit variance at coarse knots, interpolated linearly along each axis."""
    noise = rng.normal(0, 1, (6, 10, 10)).astype(np.float32)
    for axis, size in enumerate(_SHAPE_ZYX):
        knots = noise.shape[axis]
        position = np.linspace(0, knots - 1, size)
        left = np.minimum(position.astype(int), knots - 2)
        weights = np.zeros((size, knots), dtype=np.float32)
        weights[np.arange(size), left] = 1 - (position - left)
        weights[np.arange(size), left + 1] = position - left
        noise = np.moveaxis(np.tensordot(weights, noise, axes=(1, axis)), 0, axis)
    return noise


def _resources(team: Team, case: str, rng: np.random.Generator, failed: bool) -> list[dict[str, object]]:
    status = "failed:timeout" if failed else "ok"
    seconds = round(team.seconds * rng.uniform(0.85, 1.2), 2)
    peak = round(team.gpu_mb * rng.uniform(0.9, 1.3))
    # The area above the challenge's free 4096 MiB, for memory that is held four fifths of the time.
    area = round(max(0, peak - 4096) * seconds * 0.8)
    measured = {"running_time": seconds, "gpu_memory_area": area, "peak_gpu_memory": peak}
    common = {"submission": team.name, "case": case, "status": status}
    return [{**common, "metric": name, "value": "" if failed else value} for name, value in measured.items()]


def _write(labels: Labels, path: Path) -> None:
    image: Any = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing(_SPACING_XYZ)
    image.SetOrigin((-160.0, -160.0, -120.0))
    SimpleITK.WriteImage(image, str(path), useCompression=True)
