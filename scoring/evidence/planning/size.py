"""How many units an edition needs, by simulating editions of several sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.scoring.evidence.bootstrap import stream
from medpodium.scoring.evidence.planning.criteria import Criterion

Floats = npt.NDArray[np.float64]
FEWEST_UNITS = 5
MOST_UNITS = 100_000
"""Nobody collects more; a larger number is told as more than this."""
_AROUND = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4)
"""Sizes around the first guess, as shares of it, at which the curve is measured."""


@dataclass(frozen=True)
class Point:
    """Share of the simulated editions of one size that show it, with its 95 % Wilson interval."""

    size: int
    power: float
    low: float
    high: float


@dataclass(frozen=True)
class Needed:
    """How many units are needed.

    Parameters
    ----------
    units, low, high : float
        The number and its 95 % interval from how many editions were simulated; infinite above :data:`MOST_UNITS`.
    curve : tuple of Point
        What was simulated, by size.
    """

    units: float
    low: float
    high: float
    curve: tuple[Point, ...]


def wilson(shown: int, number: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, JASA 22, 1927)."""
    z = float(special.ndtri(0.975))
    share = shown / number
    centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z * np.sqrt(share * (1 - share) / number + z**2 / (4 * number**2)) / (1 + z**2 / number)
    return float(centre - half), float(centre + half)


def needed(
    criterion: Criterion,
    n_units: int,
    power: float = 0.8,
    *,
    n_editions: int = 1000,
    seed: int = 0,
    purpose: str = "",
    advance: Callable[[int], None] | None = None,
) -> Needed:
    """Return how many units an edition needs to show something with some power.

    Sizes grow by half from the present one, downwards and upwards, until they enclose the power; around the size at
    which it is reached the curve is measured closely, and a probit line in the root of the size is fitted to it
    (exact for a test of a mean with a normal distribution).

    Parameters
    ----------
    criterion : Criterion
        What has to be shown.
    n_units : int
        Units of the present edition.
    power : float
        Wanted share of editions that show it.
    n_editions, seed, purpose
        How many editions are simulated per size; seed and purpose determine them.
    advance : callable, optional
        Called after every size.
    """
    points: dict[int, Point] = {}

    def at(size: int) -> float:
        size = int(np.clip(size, FEWEST_UNITS, MOST_UNITS))
        if size not in points:
            rng = stream(seed, f"plan/{purpose}/{size}", 0)
            counts = rng.multinomial(size, np.full(n_units, 1 / n_units), size=n_editions).astype(np.float64)
            shown = int(criterion.shown(counts).sum())
            points[size] = Point(size, shown / n_editions, *wilson(shown, n_editions))
            if advance is not None:
                advance(1)
        return points[size].power

    size = max(n_units, FEWEST_UNITS)
    at(size)
    while at(size) < power and size < MOST_UNITS:
        size = min(max(int(1.5 * size), size + 1), MOST_UNITS)
    while size > FEWEST_UNITS and at(max(int(size / 1.5), FEWEST_UNITS)) >= power:
        size = max(int(size / 1.5), FEWEST_UNITS)
    if at(size) < power:
        return Needed(np.inf, np.inf, np.inf, _sorted(points))
    guess = _between(points, size, power)
    for share in _AROUND:
        at(round(guess * share))
    found = _probit(list(points.values()), power, n_editions)
    if found is None:
        sizes = sorted(own.size for own in points.values() if own.power >= power)
        return Needed(float(sizes[0]), float(sizes[0]), float(sizes[0]), _sorted(points))
    return Needed(*found, _sorted(points))


def _sorted(points: dict[int, Point]) -> tuple[Point, ...]:
    return tuple(points[size] for size in sorted(points))


def _between(points: dict[int, Point], size: int, power: float) -> float:
    """Return where the power is reached between a size that has it and the next smaller one."""
    below = [own for own in sorted(points) if own < size]
    if not below:
        return float(size)
    low, high = points[below[-1]], points[size]
    if low.power >= power or high.power <= low.power:
        return float(size)
    share = (power - low.power) / (high.power - low.power)
    return low.size + share * (high.size - low.size)


def _probit(points: list[Point], power: float, n_editions: int) -> tuple[float, float, float] | None:
    """Return size and interval from a weighted probit line near the power; ``None`` where there is no rising line."""
    near = [own for own in points if abs(own.power - power) <= 0.25 and 0 < own.power < 1]
    if len(near) < 3:
        return None
    root = np.sqrt([float(own.size) for own in near])
    shares = np.array([own.power for own in near])
    design = np.column_stack([np.ones(len(root)), root])
    guess = special.ndtri(shares)
    density = np.exp(-(guess**2) / 2) / np.sqrt(2 * np.pi)
    weights = n_editions * density**2 / (shares * (1 - shares))
    inverse = np.linalg.inv(design.T @ (weights[:, None] * design))
    start, slope = inverse @ design.T @ (weights * guess)
    if slope <= 0:
        return None
    wanted = float(special.ndtri(power))
    own = max((wanted - start) / slope, 0.0)
    gradient = np.array([-1 / slope, -own / slope])
    half = float(special.ndtri(0.975)) * float(np.sqrt(gradient @ inverse @ gradient))
    return float(own**2), float(max(own - half, 0.0) ** 2), float((own + half) ** 2)
