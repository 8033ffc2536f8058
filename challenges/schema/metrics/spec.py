"""What every metric of a challenge file has in common; each family of metrics is a model of its own.

A metric carries the identity of its definition: libraries in common use disagree on HD95 and NSD for the same
masks, so ``hd_percentile`` or ``nsd`` alone does not say what was computed. The families are in
:mod:`~medpodium.challenges.schema.metrics.structure`, :mod:`~medpodium.challenges.schema.metrics.resource`,
:mod:`~medpodium.challenges.schema.metrics.pooled` and, for values computed elsewhere,
:mod:`~medpodium.challenges.schema.tabular`. The model of a task says which of them it takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from medpodium.challenges.schema.base import Model
from medpodium.challenges.schema.rules import LintCode

Scope = Literal["structure", "case", "pooled", "imported"]
Direction = Literal["higher", "lower"]
Outcome = Annotated[float, Field(allow_inf_nan=False)] | Literal["worst", "best", "skip"]
"""What a score becomes when it cannot be computed: a number, the metric's worst or best value, or nothing."""
Lazy = Literal["everything", "next to nothing"]
"""What somebody hands in who does not look at the image."""
Cell = Outcome | Literal["compute"]
"""Outcome of an empty mask; ``compute`` where the formula still holds (volumes and counts)."""


@dataclass(frozen=True)
class MetricKind:
    """What the toolkit knows about one kind of metric.

    Parameters
    ----------
    title : str
        Name as printed.
    scope : {"structure", "case", "pooled", "imported"}
        One value per structure of a case, per case, per set of cases, or read from a table.
    direction : {"higher", "lower"}
        Which values are better.
    unit : str
        Unit of the value; empty for fractions and counts.
    best, worst : float or None
        Bounds of the value; ``None`` where it is unbounded.
    formula : str
        The formula in one line, with its source.
    computable : bool
        Whether the formula holds for empty masks, too.
    blind_to : tuple of str
        Lazy predictions that the formula cannot tell from a perfect one: ``everything`` labels the whole image,
        ``next to nothing`` a voxel or so (for classes: everybody is ill, nobody is).
    signed : bool
        Whether values lie on both sides of the best one.
    """

    title: str
    scope: Scope
    direction: Direction
    unit: str
    best: float | None
    worst: float | None
    formula: str
    computable: bool = False
    blind_to: tuple[Lazy, ...] = ()
    signed: bool = False


class EmptyPolicy(Model):
    """What a score becomes when a mask is empty; the fourth cell, both masks present, is computed.

    Parameters
    ----------
    both : number, "worst", "best", "skip" or "compute"
        Reference and prediction are empty.
    reference : number, "worst", "best", "skip" or "compute"
        Only the reference is empty: the prediction is false positive throughout.
    prediction : number, "worst", "best", "skip" or "compute"
        Only the prediction is empty: the structure was missed.
    """

    both: Cell
    reference: Cell
    prediction: Cell


class MetricSpec(Model):
    """One metric of a task; the base of every family.

    Parameters
    ----------
    kind : str
        Key of the family's ``known`` kinds.
    title, direction, unit : str, optional
        Override what the kind says.
    missing, failed : number, "worst", "best" or "skip"
        Score of a case without prediction, or whose run failed.
    worst : float or "diagonal", optional
        What ``worst`` means for an unbounded metric: a number in its unit, or, for distances between masks, the
        image's diagonal in mm.
    decimals : int, optional
        Round every score to this many decimals (as some published scorers do).
    ranked : bool
        Whether recipes may use it; ``False`` for values that are only shown.
    margin : float, optional
        Largest difference of two submissions' means, in the metric's unit, that does not matter: what equivalence and
        non-inferiority are tested against.
    rewards : str, optional
        Who published the rule by which a penalty is worth as much as the best score; lint asks for it.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {}
    """What is known about every kind of the family, by the name used in challenge files."""

    kind: str
    title: str | None = None
    direction: Direction | None = None
    unit: str | None = None
    missing: Outcome = "worst"
    failed: Outcome | None = None
    worst: float | Literal["diagonal"] | None = None
    decimals: int | None = Field(default=None, ge=0, le=12)
    ranked: bool = True
    margin: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    rewards: str | None = None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a family whose ``kind`` allows other names than it knows."""
        named = get_args(cls.model_fields["kind"].annotation)
        if set(named) != set(cls.known):
            raise TypeError(f"{cls.__name__}: kind is one of {named}, known are {tuple(cls.known)}")

    @model_validator(mode="after")
    def _outcomes_have_a_value(self) -> MetricSpec:
        if "worst" in self.outcomes() and self.worst_value(0.0) is None:
            raise ValueError(f"{self.kind} is unbounded: say what 'worst' is (worst: <number> or worst: diagonal)")
        return self

    @classmethod
    def takes(cls) -> tuple[str, ...]:
        """Return the names of what a challenge file may say about such a metric, the family's own first."""
        common = MetricSpec.model_fields
        own = [name for name in cls.model_fields if name not in common]
        return (*own, *(name for name in common if name not in ("kind", "unconfirmed")))

    @property
    def info(self) -> MetricKind:
        """What the toolkit knows about the kind."""
        return self.known[self.kind]

    @property
    def blind_to(self) -> tuple[Lazy, ...]:
        """Lazy predictions that it cannot tell from a perfect one."""
        return self.info.blind_to

    @property
    def definition_id(self) -> str:
        """The definition in force; empty where a kind has only one."""
        return ""

    @property
    def better(self) -> Direction:
        """Which values are better."""
        return self.direction or self.info.direction

    @property
    def name(self) -> str:
        """Name as printed."""
        return self.title or self.info.title

    @property
    def unit_name(self) -> str:
        """Unit as printed; empty for fractions and counts."""
        return self.unit if self.unit is not None else self.info.unit

    def with_unit(self, name: str | None = None) -> str:
        """Return a printed name, the metric's own when left out, with the unit in brackets where there is one."""
        shown = self.name if name is None else name
        return f"{shown} ({self.unit_name})" if self.unit_name else shown

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        return [] if self.decimals is None else [f"rounded to {self.decimals} decimals"]

    def broken(self, metrics: Mapping[str, MetricSpec]) -> Iterator[tuple[LintCode, str, str]]:
        """Yield what is wrong with it among the metrics of its task: code, cause and fix."""
        yield from ()

    def above_free(self, measured: float) -> float:
        """Take the declared tolerance off a measured value; most metrics have none."""
        return measured

    def outcomes(self) -> list[Cell]:
        """Return every outcome this metric may need."""
        return [self.missing] if self.failed is None else [self.missing, self.failed]

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value that the formula can give; infinite where there is none."""
        info = self.info
        known = [value for value in (info.best, info.worst) if value is not None]
        if len(known) == 2:
            return min(known), max(known)
        if not known or info.signed:
            return -math.inf, math.inf
        # with one bound, all values lie on its other side: distances, times and volumes from 0 upwards
        return known[0], math.inf

    def worst_value(self, diagonal_mm: float) -> float | None:
        """Return the worst value, or ``None`` where the metric is unbounded and nothing was declared.

        Parameters
        ----------
        diagonal_mm : float
            Physical diagonal of the case's image in mm.
        """
        if self.worst == "diagonal":
            return diagonal_mm
        if self.worst is not None:
            return self.worst
        return self.info.worst if self.better == self.info.direction else self.info.best

    def best_value(self) -> float | None:
        """Return the best value, or ``None`` where the metric has none."""
        return self.info.best if self.better == self.info.direction else self.info.worst
