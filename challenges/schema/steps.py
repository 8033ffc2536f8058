"""The recipe language: the ordered steps that turn scores into a ranking.

A recipe is a list of one-key mappings. Each step acts on one array whose axes have names: ``submission``,
``case``, ``structure``, ``metric``, and any group column of the score table once a step used it with ``by``.

```yaml
- select: {metric: [dice, nsd]}                                   # keep only these labels
- common: case                                                    # keep cases every submission has
- threshold: {metric: running_time, good_enough: 15}              # 15 s or less count as 15 s
- mean: {over: structure, groups: {organ: [liver, spleen]}}       # organ mean; unnamed labels stay apart
- mean: {over: case, by: domain, missing: skip}                   # mean per domain of the case
- quantile: {over: case, q: 0.05}
- rank: {within: [case, metric], ties: min, missing: worst}
- mean: {over: metric, weights: {running_time: 0.5}}
- mean: {over: case, weights_from: weight}                        # a weight per case, in a column of the table of cases
- test: {over: case, alpha: 0.05, adjust: holm}                   # share of significant wins
- abs                                                             # |x|; target: {value: 1} is |x - 1|; less is better
- normalise: {low: 0, high: 5, metric: rating}                    # (x - low) / (high - low); clip keeps it inside
- rms: case                                                       # root of the mean square; range: largest - smallest
- difference: {over: level, of: mild, minus: severe, better: lower}
- trapezoid: {over: level, at: {mild: 1, severe: 3}}              # area under the values
- rank: {ties: min}                                               # the last step ranks the submissions
```

The models know nothing of scores; :mod:`medpodium.scoring.ranking.recipe` runs them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)

from medpodium.challenges.schema.base import Model

Ties: TypeAlias = Literal["min", "max", "average", "first", "dense"]
"""How equal values share ranks; ``first`` gives them different ranks in alphabetical order of submission."""

Adjustment: TypeAlias = Literal["none", "holm", "hochberg", "hommel", "bonferroni", "BH", "BY"]
"""How the p-values of all ordered pairs are adjusted together."""

MissingInMean: TypeAlias = Literal["skip", "worst"] | FiniteFloat
"""What a missing value does to an aggregate.

``skip`` leaves it out, a number replaces it, ``worst`` puts in the metric's worst possible value, or, where
none is known, makes the aggregate itself missing. Without a policy the metric's own one holds.
"""

MissingInRank: TypeAlias = Literal["worst", "after-last", "skip"] | FiniteFloat
"""What a missing value does to a ranking of submissions.

``worst`` ranks it like a value worse than all others; ``after-last`` gives one more than the largest rank
assigned to a value, as challengeR does (they differ when the last value is shared); ``skip`` gives no rank.
"""

Direction: TypeAlias = Literal["higher", "lower"]
"""Which values are better."""


DECIMAL = 1e-12
"""Tolerance of a ``rank`` step for decimal scores: rounded by the challenge, or imported."""


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)]
"""One name or a list of names."""


class StepModel(Model):
    """Base of all steps; ``step`` is the one key of the mapping in the challenge file."""

    step: str

    @model_serializer(mode="wrap")
    def _one_key(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = {name: value for name, value in dump(self).items() if name != "step" and value is not None}
        return {self.step: fields}


class Reduce(StepModel):
    """Collapse one or several dimensions with a mean, median, smallest, largest value or sum.

    Several dimensions at once are pooled: ``mean: [case, structure]`` is the mean over all their cells.
    """

    step: Literal["mean", "median", "min", "max", "sum"]
    over: Names
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    """Weight per label of a collapsed dimension, 1 where none is given (mean and sum only)."""
    weights_from: str | None = None
    """Group column of the cases that holds the weight of each of them (mean and sum over cases only)."""
    groups: dict[str, Names] | None = None
    """Collapse only within these sets of labels; the dimension stays, unnamed labels stay as they are."""
    by: str | None = None
    """Group column of the cases: ``case`` becomes a dimension of that name instead of vanishing."""
    missing: MissingInMean | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Reduce:
        if self.weights is not None and self.step not in ("mean", "sum"):
            raise ValueError(f"weights belong to mean or sum, not to {self.step}")
        if self.weights_from is not None and (self.step not in ("mean", "sum") or "case" not in self.over):
            raise ValueError("weights_from names a column of weights of cases: it belongs to a mean or sum over 'case'")
        if self.groups is not None:
            _check_groups(self.over, self.groups)
        if self.by is not None and "case" not in self.over:
            raise ValueError("'by' groups cases, so 'over' must contain 'case'")
        if self.by is not None and self.groups is not None:
            raise ValueError("give either 'by' or 'groups' in one step; use two steps for both")
        return self


class Quantile(StepModel):
    """Collapse dimensions with a quantile (linear interpolation, type 7 of Hyndman and Fan)."""

    step: Literal["quantile"] = "quantile"
    over: Names
    q: Annotated[float, Field(ge=0, le=1)]
    by: str | None = None
    missing: MissingInMean | None = None


class Rank(StepModel):
    """Rank the submissions against each other; rank 1 is best.

    ``within`` names the dimensions whose every combination gets its own ranking; left out, it is all the
    remaining ones. ``tolerance`` makes values tie that differ by no more than it from the best of their
    group: going from best to worst, a value joins the group of the value that opened it, or opens the next.
    """

    step: Literal["rank"] = "rank"
    within: Annotated[tuple[str, ...], BeforeValidator(_names)] | None = None
    ties: Ties = "min"
    missing: MissingInRank | None = None
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Test(StepModel):
    """Share of the other submissions that a submission beats significantly (more is better).

    One-sided paired Wilcoxon signed-rank tests over the named dimension(s), normal approximation with
    continuity correction, zero differences dropped; a comparison counts when its adjusted p <= ``alpha``.
    """

    __test__ = False  # not a test case, whatever its name says to pytest
    step: Literal["test"] = "test"
    over: Names = ("case",)
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    adjust: Adjustment = "none"
    missing: MissingInMean | None = None


class Select(StepModel):
    """Keep only the named labels of each named dimension (or group column of the cases)."""

    step: Literal["select"] = "select"
    keep: dict[str, Names] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, data: Any) -> Any:
        if isinstance(data, dict) and "keep" not in data:
            own = {"step", "unconfirmed"}
            return {
                **{key: value for key, value in data.items() if key in own},
                "keep": {key: value for key, value in data.items() if key not in own},
            }
        return data

    @model_serializer(mode="wrap")
    def _one_key(self, dump: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {"select": {name: list(labels) for name, labels in self.keep.items()}}


class Spread(StepModel):
    """Collapse dimensions with the largest less the smallest value (``range``), or the root mean square (``rms``).

    Of a range less is better; a root mean square keeps the direction of its values.
    """

    step: Literal["range", "rms"]
    over: Names
    by: str | None = None
    missing: MissingInMean | None = None


OneName: TypeAlias = Annotated[tuple[str], BeforeValidator(_names)]


class Difference(StepModel):
    """Collapse a dimension with the value of one of its labels less that of another."""

    step: Literal["difference"] = "difference"
    over: OneName
    of: str
    minus: str
    better: Direction | None = None
    """Which differences are better; as the values' own direction when left out."""
    missing: MissingInMean | None = None


class Trapezoid(StepModel):
    """Collapse a dimension with the area under its values, ``sum (x' - x) (y + y') / 2``.

    ``at`` says where each label lies; the labels themselves are numbers when it is left out. ``mean`` divides the area
    by the distance of the outermost labels.
    """

    step: Literal["trapezoid"] = "trapezoid"
    over: OneName
    at: dict[str, FiniteFloat] | None = None
    mean: bool = False
    missing: MissingInMean | None = None

    @model_validator(mode="after")
    def _apart(self) -> Trapezoid:
        if self.over == ("case",):
            raise ValueError("cases have no order: take the mean over them first")
        if self.at is not None and len(set(self.at.values())) < max(2, len(self.at)):
            raise ValueError("'at' needs two labels or more, each at a place of its own")
        return self


class Change(StepModel):
    """Base of the steps that change every value by itself: of the metrics they name, or of all."""

    metric: Names | None = None


class Target(Change):
    """Turn values into their distance from the best one, ``|x - value|``; ``abs`` is the distance from 0."""

    step: Literal["target", "abs"]
    value: FiniteFloat = 0.0


class Clip(Change):
    """Keep values between two bounds."""

    step: Literal["clip"] = "clip"
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> Clip:
        if self.low is None and self.high is None:
            raise ValueError("give 'low', 'high' or both")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("'low' has to be below 'high'")
        return self


class Normalise(Change):
    """Turn values into ``(x - low) / (high - low)``; with ``low`` above ``high`` the better end is the other one."""

    step: Literal["normalise"] = "normalise"
    low: FiniteFloat
    high: FiniteFloat

    @model_validator(mode="after")
    def _apart(self) -> Normalise:
        if self.low == self.high:
            raise ValueError("'low' and 'high' have to differ")
        return self


class Common(StepModel):
    """Keep only those labels of a dimension for which no submission has a missing value."""

    step: Literal["common"] = "common"
    over: Names = ("case",)


class Threshold(StepModel):
    """Let differences that do not matter vanish before ranking.

    ``good_enough`` counts every better value as this one (a running time of 15 s or less is 15 s).
    ``tolerance`` lifts every value within it of the best submission's value to that best value.
    """

    step: Literal["threshold"] = "threshold"
    metric: Names
    good_enough: FiniteFloat | None = None
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Threshold:
        if (self.good_enough is None) == (self.tolerance is None):
            raise ValueError("give exactly one of good_enough and tolerance")
        return self


def _check_groups(over: tuple[str, ...], groups: dict[str, tuple[str, ...]]) -> None:
    if len(over) != 1:
        raise ValueError("groups need exactly one dimension in 'over'")
    members = [label for labels in groups.values() for label in labels]
    twice = sorted({label for label in members if members.count(label) > 1})
    if twice:
        raise ValueError(f"labels in more than one group: {', '.join(twice)}")


_CHANGES = ("target", "abs", "clip", "normalise")
_REDUCED = ("mean", "median", "min", "max", "sum", "quantile", "range", "rms", "difference", "trapezoid")
STEP_NAMES = (*_REDUCED, *_CHANGES, "rank", "test", "select", "common", "threshold")


def _spread(value: Any) -> Any:
    """Turn ``{mean: case}`` or ``rank`` into the fields of a step model."""
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, dict) or "step" in value:
        return value
    keys = [key for key in value if key != "unconfirmed"]
    if len(keys) != 1:
        raise ValueError(f"a step is a mapping with exactly one key, found {len(keys)}: {', '.join(map(str, keys))}")
    name, fields = str(keys[0]), value[keys[0]]
    if name not in STEP_NAMES:
        near = difflib.get_close_matches(name, STEP_NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known steps: {', '.join(STEP_NAMES)}"
        raise ValueError(f"unknown step {name!r}{hint}")
    if fields is None:
        fields = {}
    elif isinstance(fields, (str, list, tuple)):
        key = {"rank": "within", **dict.fromkeys(("threshold", *_CHANGES), "metric")}.get(name, "over")
        fields = {key: fields}
    elif not isinstance(fields, dict):
        raise ValueError(f"the value of {name!r} is a name, a list of names or a mapping, not {fields!r}")
    marks = {"unconfirmed": value["unconfirmed"]} if "unconfirmed" in value else {}
    return {"step": name, **fields, **marks}


_Changing: TypeAlias = Target | Clip | Normalise
Step: TypeAlias = Annotated[
    Annotated[
        Reduce | Quantile | Spread | Difference | Trapezoid | _Changing | Rank | Test | Select | Common | Threshold,
        Field(discriminator="step"),
    ],
    BeforeValidator(_spread),
]
"""Any step; validates from its one-key mapping and serialises back to it."""


COLLAPSING = (Reduce, Quantile, Test, Spread)
"""Steps that can collapse the cases."""
GONE = (*COLLAPSING, Difference, Trapezoid)
"""Steps that take away the dimensions they name."""


class Recipe(Model):
    """A named way from scores to a ranking."""

    title: str = ""
    tasks: Names | None = None
    """Tasks the recipe can rank; all of them when left out."""
    margin: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Largest difference of what the recipe ranks last that does not matter: what equivalence is tested against."""
    steps: tuple[Step, ...]

    @property
    def averages(self) -> bool:
        """Whether submissions are ranked by means over the cases: the only values that a margin can be tested of."""
        collapses = (at for at, step in enumerate(self.steps) if "case" in getattr(step, "over", ()))
        later = self.steps[next((at for at in collapses if not isinstance(self.steps[at], Common)), 0) : -1]
        return all(
            isinstance(step, Select)
            or (isinstance(step, Reduce) and step.step in ("mean", "sum") and step.weights_from is None)
            for step in later
        )

    @field_validator("steps")
    @classmethod
    def _ends_with_rank(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not steps or not isinstance(steps[-1], Rank) or steps[-1].within:
            raise ValueError("the last step of a recipe must be a rank without 'within'")
        return steps


_STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...], config=ConfigDict(defer_build=True))


def parse_steps(steps: Any) -> tuple[Step, ...]:
    """Validate a list of steps as written in a challenge file.

    Raises
    ------
    pydantic.ValidationError
        If a step is unknown or its fields are wrong.
    """
    return _STEPS.validate_python(steps)
