"""Truths from which ``benchmarks/how_often/rank_sets.py`` draws: true values, noise, and the recipe that ranks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from medpodium.challenges.schema.steps import parse_steps
from medpodium.scoring.evidence.sets.construct import Members
from medpodium.scoring.evidence.units import Scheme, units_of
from medpodium.scoring.measures.pooled import curves, labels
from medpodium.scoring.ranking.assemble import POOLED
from medpodium.scoring.ranking.axes import ABSENT, OK, ScoreArray
from medpodium.scoring.ranking.pools import Cell, Pool
from medpodium.scoring.ranking.recipe import Prepared

Floats = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]
Metric = Callable[[npt.NDArray[np.int64], Floats, Floats], Floats]
MEAN: Any = [{"mean": "case"}, "rank"]
MEDIAN: Any = [{"median": "case"}, "rank"]
FETA: Any = [{"mean": ["case", "structure"]}, {"rank": {"within": "metric"}}, {"sum": "metric"}, "rank"]
LABELS: Any = [
    {"mean": "case"},
    {"rank": {"within": ["structure", "metric"]}},
    {"sum": ["structure", "metric"]},
    "rank",
]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.normal(0.0, 0.1, shape)


def heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return 0.06 * rng.standard_t(3, shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return 0.1 * (rng.lognormal(0.0, 1.0, shape) - np.exp(0.5))


def half_skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return noise that is skewed for the first half of the submissions only, so that differences are skewed, too."""
    noise = rng.normal(0.0, 0.05, shape)
    half = shape[1] // 2
    noise[:, :half] += skewed(rng, (shape[0], half, *shape[2:]))
    return noise


def failures(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mostly small errors, now and then a missed structure (score lower by 0.8), centred."""
    return rng.normal(0.0, 0.03, shape) - 0.8 * (rng.random(shape) < 0.1) + 0.08


def half_failed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Return noise in which only the first half of the submissions fails in a tenth of the cases, all equally good."""
    noise = rng.normal(0.0, 0.03, shape)
    half = shape[1] // 2
    noise[:, :half] += 0.08 - 0.8 * (rng.random((shape[0], half, *shape[2:])) < 0.1)
    return noise


@dataclass(frozen=True)
class Setting:
    """A truth to draw from.

    Parameters
    ----------
    name : str
        Printed.
    means : tuple of float
        True value per submission; for pooled metrics how far the answers tell the classes apart.
    cases : int
        Number of cases (or clusters).
    recipe : list
        As in a challenge file.
    noise : callable
        Of a case, centred at its mean (its median for a recipe of medians).
    structures, metrics : int
        Columns of the score table.
    decimals : int, optional
        Scores are rounded at random to so many decimals, which keeps their means.
    binary : bool
        Scores are 0 or 1 with the true value as probability.
    strata : float
        Submissions differ between two strata of the cases by so much, in opposite directions.
    cluster : int
        Up to twice as many cases less one share a patient (intraclass correlation 0.8).
    pooled : str
        ``accuracy``, ``auc``, ``kappa`` or ``recall``; positives are the first ``positives`` cases (or clusters).
    copy : bool
        The last submission is a copy of the first that differs in one case.
    plain : bool
        The parametric construction of csranks is computed beside.
    """

    name: str
    means: tuple[float, ...]
    cases: int
    recipe: Any
    noise: Noise = normal
    structures: int = 1
    metrics: int = 1
    decimals: int | None = None
    binary: bool = False
    strata: float = 0.0
    cluster: int = 1
    pooled: str = ""
    positives: int = 0
    copy: bool = False
    plain: bool = False


def _equal(number: int, value: float = 0.8) -> tuple[float, ...]:
    return (value,) * number


def _apart(number: int, step: float) -> tuple[float, ...]:
    return tuple(0.9 - step * index for index in range(number))


def _means() -> list[Setting]:
    found = []
    sizes = ((2, 5), (2, 20), (2, 100), (6, 5), (6, 20), (10, 20), (12, 12), (6, 100), (40, 12), (40, 50), (40, 100))
    for number, cases in sizes:
        found.append(Setting("mean, equal", _equal(number), cases, MEAN, plain=True))
    for number, cases in ((6, 20), (12, 12), (6, 50), (6, 100), (15, 100)):
        found.append(Setting("mean, apart by half a spread", _apart(number, 0.05), cases, MEAN, plain=True))
    for noise, name in ((heavy, "heavy tails (t, 3)"), (skewed, "log-normal"), (half_skewed, "half of them skewed")):
        for number, cases in ((6, 20), (12, 12), (6, 60)):
            found.append(Setting(f"mean, equal, {name}", _equal(number), cases, MEAN, noise, plain=True))
    found += [
        Setting("mean, equal, a tenth failed", _equal(6), 20, MEAN, failures, plain=True),
        Setting("mean, apart, a tenth failed", _apart(6, 0.05), 100, MEAN, failures, plain=True),
        Setting("mean, equal, one decimal", _equal(6), 20, MEAN, decimals=1, plain=True),
        Setting("mean, equal, one decimal", _equal(4), 8, MEAN, decimals=1, plain=True),
        Setting("0 or 1, equal", _equal(6), 20, MEAN, binary=True, plain=True),
        Setting("0 or 1, equal", _equal(6), 100, MEAN, binary=True, plain=True),
        Setting("0 or 1, apart", (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), 100, MEAN, binary=True, plain=True),
        Setting("0 or 1, apart, and a copy", (0.9, 0.7, 0.5, 0.9), 100, MEAN, binary=True, copy=True),
        Setting("mean, apart, and a copy", (0.9, 0.85, 0.8, 0.9), 60, MEAN, copy=True),
    ]
    return found


def _drawn() -> list[Setting]:
    return [
        Setting("mean, strata, equal", _equal(12), 12, MEAN, strata=0.1),
        Setting("mean, strata, equal", _equal(6), 20, MEAN, strata=0.1),
        Setting("mean, strata, apart", _apart(6, 0.05), 60, MEAN, strata=0.05),
        Setting("mean, clusters, equal", _equal(6), 20, MEAN, cluster=3),
        Setting("mean, clusters, equal", _equal(12), 12, MEAN, cluster=3),
        Setting("mean, clusters, apart", _apart(6, 0.05), 60, MEAN, cluster=3),
        Setting("mean, clusters of 1 to 11, equal", _equal(6), 20, MEAN, cluster=6),
        Setting("mean, clusters of 1 to 11, equal", _equal(2), 20, MEAN, cluster=6),
        Setting("mean, clusters of 1 to 11, equal", _equal(6), 100, MEAN, cluster=6),
    ]


_SIZES = ((2, 20), (6, 5), (6, 20), (10, 20), (12, 12), (40, 20))
"""Teams and cases of every recipe."""


def _others() -> list[Setting]:
    found = [Setting("median, equal", _equal(number), n, MEDIAN) for number, n in _SIZES]
    structures: Any = [{"median": "case"}, {"mean": "structure"}, "rank"]
    lower: Any = [{"quantile": {"over": "case", "q": 0.25}}, "rank"]
    found += [
        Setting("median, equal, one decimal", _equal(6), 20, MEDIAN, decimals=1),
        Setting("median, apart", _apart(6, 0.05), 100, MEDIAN),
        Setting("median per structure, mean, equal", _equal(6), 20, structures, structures=3),
        Setting("lower quartile, equal", _equal(6), 50, lower),
        *(Setting("FeTA's default, equal", _equal(k), n, FETA, structures=7, metrics=3)
          for k, n in _SIZES),
        Setting("FeTA's default, apart", _apart(6, 0.05), 50, FETA, structures=7, metrics=3),
        Setting("FeTA's default, two metrics, failures", _equal(6), 20, FETA, failures, structures=7, metrics=2),
        Setting("FeTA's rank per label, equal", _equal(6), 20, LABELS, structures=7, metrics=2),
        Setting("FeTA's rank per label, apart", _apart(6, 0.05), 50, LABELS, structures=7, metrics=2),
    ]  # fmt: skip
    return found


def _pooled() -> list[Setting]:
    found = []
    for metric, cases, positives in (
        ("accuracy", 40, 20), ("auc", 30, 15), ("auc", 100, 15), ("auc", 100, 50), ("kappa", 50, 5),
        ("kappa", 100, 30), ("recall", 50, 10), ("recall", 100, 50), ("auc", 100, 6),
    ):  # fmt: skip
        name = f"pooled {metric}, {positives} positive, equal"
        found.append(Setting(name, _equal(6, 1.0), cases, MEAN, pooled=metric, positives=positives))
    for metric, patients, positives in (("accuracy", 40, 20), ("auc", 60, 30), ("kappa", 100, 30)):
        name = f"pooled {metric}, clusters, {positives} positive, equal"
        found.append(Setting(name, _equal(6, 1.0), patients, MEAN, pooled=metric, positives=positives, cluster=3))
    far = (2.6, 2.0, 1.5, 1.0, 0.6, 0.2)
    found += [
        Setting(f"pooled {metric}, {k} positive, apart", far, 100, MEAN, pooled=metric, positives=k)
        for metric, k in (("auc", 30), ("kappa", 30))
    ]
    return found


def _described() -> list[Setting]:
    tests: Any = [{"test": "case"}, "rank"]
    return [
        Setting("share of significant wins, equal", _equal(6), 20, tests),
        Setting("median, clusters, equal", _equal(6), 20, MEDIAN, cluster=3),
    ]


def _limits() -> list[Setting]:
    name = "mean, equal, half of them fail in a tenth"
    sizes = ((6, 20), (12, 12), (6, 50), (12, 50), (2, 50))
    return [Setting(name, _equal(k), n, MEAN, half_failed, plain=True) for k, n in sizes]


SETTINGS: tuple[Setting, ...] = (*_means(), *_drawn(), *_others(), *_pooled(), *_described(), *_limits())


def draw(setting: Setting, rng: np.random.Generator) -> tuple[Prepared, Members]:
    """Draw one data set: the recipe ready to run, and what is independent."""
    array, pool = _answers(setting, rng) if setting.pooled else (_scores(setting, rng), None)
    prepared = Prepared(array, parse_steps(setting.recipe), pool=pool)
    scheme = Scheme(cluster="patient") if setting.cluster > 1 else Scheme()
    return prepared, units_of(prepared.array, scheme).members


def truth(setting: Setting) -> tuple[Floats, Floats]:
    """Return the best and the worst rank that a submission's true value allows (they differ in ties)."""
    values = np.asarray(setting.means)
    better = (values[None, :] > values[:, None]).sum(axis=1)
    worse = (values[None, :] < values[:, None]).sum(axis=1)
    return 1.0 + better, len(values) - worse.astype(np.float64)


def _patients(setting: Setting, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return whose every case is."""
    sizes = rng.integers(1, 2 * setting.cluster, setting.cases) if setting.cluster > 1 else [1] * setting.cases
    return np.repeat(np.arange(setting.cases), sizes)


def _scores(setting: Setting, rng: np.random.Generator) -> ScoreArray:
    patient = _patients(setting, rng)
    shape = (len(patient), len(setting.means), setting.structures, setting.metrics)
    means = np.asarray(setting.means)[None, :, None, None]
    if setting.binary:
        ease = 0.8 * rng.normal(size=(shape[0], 1, 1, 1)) + 0.6 * rng.normal(size=shape)
        values = (special.ndtr(ease) < means).astype(np.float64)
    else:
        values = means + setting.noise(rng, shape)
        if setting.cluster > 1:
            shared = setting.noise(rng, (setting.cases, *shape[1:]))[patient]
            values = means + np.sqrt(0.8) * shared + np.sqrt(0.2) * (values - means)
        values = values + rng.normal(0.0, 0.1, (len(patient), 1, 1, 1))  # cases share a difficulty
    if setting.strata:
        side = np.where(np.arange(shape[0]) % 2 == 0, 1.0, -1.0)[:, None]
        sign = np.where(np.arange(shape[1]) % 2 == 0, 1.0, -1.0)[None, :]
        values = values + setting.strata * (side * sign)[:, :, None, None]
    if setting.decimals is not None:
        scale = 10.0**setting.decimals
        floor = np.floor(values * scale)
        values = (floor + (rng.random(shape) < values * scale - floor)) / scale
    if setting.copy:
        values[:, -1] = values[:, 0]
        values[rng.integers(shape[0]), -1] -= 0.5
    return _array(values.swapaxes(0, 1), {"patient": tuple(f"p{index}" for index in patient)})


def _array(values: Floats, groups: dict[str, tuple[str, ...]], pooled: bool = False) -> ScoreArray:
    """Return an array of values of shape (n_submissions, n_cases, n_structures, n_metrics)."""
    cases = (POOLED,) if pooled else tuple(f"case{index:03d}" for index in range(values.shape[1]))
    labels = {
        "submission": tuple(f"team{index:02d}" for index in range(values.shape[0])),
        "case": cases,
        "structure": ("",) if values.shape[2] == 1 else tuple("abcdefg"[: values.shape[2]]),
        "metric": tuple("xyz"[: values.shape[3]]),
    }
    number = values.shape[3]
    state = np.where(np.isnan(values), ABSENT, OK).astype(np.uint8)
    return ScoreArray(
        values, state, tuple(labels), labels, ("higher",) * number, (None,) * number, (0.0,) * number,
        groups, (pooled,) * len(cases),
    )  # fmt: skip


@dataclass(frozen=True)
class _Compute:
    metric: str
    positive: npt.NDArray[np.int64]
    score: Floats

    def __call__(self, weights: Floats) -> Floats:
        given = (self.score > 0.5).astype(np.int64)
        if self.metric == "auc":
            return curves.areas(self.positive, self.score, weights)
        if self.metric == "kappa":
            return labels.quadratic_kappas(self.positive, given, weights, 2)
        if self.metric == "recall":
            return labels.balanced_accuracies(self.positive, given, weights, 2)
        return labels.accuracies(self.positive, given, weights)


def _answers(setting: Setting, rng: np.random.Generator) -> tuple[ScoreArray, Pool]:
    number, patient = len(setting.means), _patients(setting, rng)
    cases = len(patient)
    positive = (patient < setting.positives).astype(np.int64)
    noise = rng.normal(size=(cases, number))
    if setting.cluster > 1:
        noise = np.sqrt(0.8) * rng.normal(size=(setting.cases, number))[patient] + np.sqrt(0.2) * noise
    noise = 0.7 * rng.normal(size=(setting.cases, 1))[patient] + 0.7 * noise
    compute = _Compute(setting.pooled, positive, positive[:, None] * np.asarray(setting.means) + noise)
    array = _array(compute(np.ones((1, cases)))[0][:, None, None, None], {}, pooled=True)
    classes = [np.flatnonzero(positive == side) for side in (0, 1)] if setting.pooled == "auc" else []
    pool = Pool(
        tuple(f"case{index:03d}" for index in range(cases)),
        {"patient": tuple(f"p{index:03d}" for index in patient)},
        tuple(Cell(name, POOLED, "", "x") for name in array.submissions),
        {POOLED: np.arange(cases)},
        compute,
        classes,
    )
    return array, pool
