"""The kinds whose answers are numbers: ``values`` (lengths, ages, doses) and ``survival`` (risks of an event)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from medpodium.challenges.schema.base import ByKind, Model, Name
from medpodium.challenges.schema.metrics.resource import AreaMetric, ResourceMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.metrics.survival import ConcordanceMetric, CurveMetric, Time, TimeAucMetric
from medpodium.challenges.schema.metrics.values import (
    AgreementMetric,
    BiasMetric,
    ErrorMetric,
    IccMetric,
    InUnits,
    RelativeMetric,
    SpreadMetric,
    SuccessMetric,
    WithinMetric,
)
from medpodium.challenges.schema.rules import Broken, LintCode, Rules
from medpodium.challenges.schema.task import Files, Grid, TableFiles, TaskModel


class Quantity(Model):
    """One number of a case.

    Parameters
    ----------
    title : str, optional
        Printed name.
    unit : str
        Unit of the numbers in both tables; empty for none.
    column : str, optional
        Column that holds it in both tables; the quantity's name when left out.
    low, high : float, optional
        Least and greatest number there can be; what lies outside is a finding, and counts as missing.
    """

    title: str | None = None
    unit: str = ""
    column: str | None = None
    low: float | None = None
    high: float | None = None


class ValueColumns(Model):
    """Names of the columns of both tables; capitals do not matter.

    Parameters
    ----------
    case : str
        The case's name.
    value : str
        The number, of a task with one quantity without a name, and of tables with a row per quantity.
    quantity : str
        Of tables with a row per quantity: which one.
    """

    case: str = "case"
    value: str = "value"
    quantity: str = "quantity"


ValuesMetric: TypeAlias = Annotated[
    ErrorMetric
    | RelativeMetric
    | WithinMetric
    | SpreadMetric
    | BiasMetric
    | AgreementMetric
    | IccMetric
    | SuccessMetric
    | ResourceMetric
    | AreaMetric,
    ByKind(),
]


class ValuesTask(TaskModel):
    """Predict one or several numbers for every case.

    Parameters
    ----------
    quantities : dict of str to Quantity or None
        The numbers; a single one without a name, in the column ``value``, when left out.
    unit : str
        Unit of that single one.
    columns : ValueColumns
        Names of columns.
    """

    kind: Literal["values"]
    files: Files = TableFiles()
    metrics: dict[Name, ValuesMetric] = Field(min_length=1)
    quantities: dict[str, Quantity | None] = Field(default_factory=dict)
    unit: str = ""
    columns: ValueColumns = ValueColumns()

    @model_validator(mode="after")
    def _metrics_have_the_unit(self) -> ValuesTask:
        """Give errors the unit of the quantities, where there is one for all of them."""
        units = {quantity.unit for quantity in self.measured.values()}
        if len(units) == 1 and units != {""}:
            (unit,) = units
            for key, metric in self.metrics.items():
                if isinstance(metric, InUnits) and metric.unit is None:
                    self.metrics[key] = metric.model_copy(update={"unit": unit})
        return self

    @property
    def measured(self) -> dict[str, Quantity]:
        """Every quantity by its key; one without a name where none is declared."""
        if not self.quantities:
            return {"": Quantity(unit=self.unit, column=self.columns.value)}
        return {name: item or Quantity() for name, item in self.quantities.items()}

    @property
    def value_columns(self) -> dict[str, str]:
        """Column of every quantity."""
        return {name: item.column or name for name, item in self.measured.items()}

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of the quantities."""
        return {name: (item.title if item else None) or name for name, item in self.quantities.items()}

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the quantities: all but resources have a value of each."""
        return [""] if isinstance(metric, (ResourceMetric, AreaMetric)) else list(self.measured)

    def broken(self) -> Rules:
        """Yield columns that two quantities share, and ranges that hold nothing."""
        seen: dict[str, str] = {}
        for name, column in self.value_columns.items():
            own = column.lower()
            if own in seen or own == self.columns.case.lower():
                other = f"quantity {seen[own]!r}" if own in seen else "the case"
                cause = f"column {column!r} is that of {other}, too"
                yield Broken(LintCode.METRIC_UNFIT, ("quantities", name), cause, "give every quantity a column")
            seen[own] = name
        for name, item in self.measured.items():
            if item.low is not None and item.high is not None and item.low >= item.high:
                cause = f"low {item.low:g} is not below high {item.high:g}"
                yield Broken(LintCode.METRIC_UNFIT, ("quantities", name), cause, "correct one of them")

    def details(self) -> list[str | Grid]:
        """Return the quantities, and where they are read from."""
        lines: list[str | Grid] = []
        for name, item in self.measured.items():
            unit = f" in {item.unit}" if item.unit else ""
            ends = [f"from {item.low:g}"] if item.low is not None else []
            ends += [f"to {item.high:g}"] if item.high is not None else []
            where = " ".join(["", *ends])
            lines.append(f"quantity {name or 'of the case'}{unit}: column {self.value_columns[name]}{where}")
        return lines


class SurvivalColumns(Model):
    """Names of the columns; capitals do not matter.

    Parameters
    ----------
    case : str
        The case's name, in both tables.
    time, event : str
        Of the references: when the event came or the case was last seen without it, and which of both (1 or 0).
    risk : str
        Of a team's table.
    """

    case: str = "case"
    time: str = "time"
    event: str = "event"
    risk: str = "risk"


SurvivalMetric: TypeAlias = Annotated[
    ConcordanceMetric | TimeAucMetric | CurveMetric | ResourceMetric | AreaMetric, ByKind()
]


class SurvivalTask(TaskModel):
    """Predict the risk of an event, for cases some of which are censored.

    Parameters
    ----------
    columns : SurvivalColumns
        Names of columns.
    predicts : {"risk", "time"}
        Whether a higher number means that the event comes sooner, or later.
    curve : dict of float to str
        Times, and the column of a team's table with the probability of being free of the event until each of them.
    unit : str
        Unit of the times, as printed.
    """

    kind: Literal["survival"]
    files: Files = TableFiles()
    metrics: dict[Name, SurvivalMetric] = Field(min_length=1)
    columns: SurvivalColumns = SurvivalColumns()
    predicts: Literal["risk", "time"] = "risk"
    curve: dict[Time, str] = Field(default_factory=dict)
    unit: str = ""

    @property
    def asks_risk(self) -> bool:
        """Whether any metric looks at risks; else a table of probabilities needs none."""
        return not self.curve or any(
            isinstance(metric, (ConcordanceMetric, TimeAucMetric)) for metric in self.metrics.values()
        )

    @property
    def times(self) -> list[float]:
        """Times of the curve, rising."""
        return sorted(self.curve)

    def broken(self) -> Rules:
        """Yield metrics of a curve that the task does not ask for."""
        for key, metric in self.metrics.items():
            if not isinstance(metric, CurveMetric):
                continue
            lacking = [time for time in metric.times or () if time not in self.curve]
            if lacking or not self.curve:
                cause = f"{metric.kind} needs probabilities" + (f" at {lacking[0]:g}" if lacking else "")
                fix = "declare 'curve: {12: s12, 24: s24}': times, and columns with the probability of no event"
                yield Broken(LintCode.METRIC_UNFIT, ("metrics", key), cause, fix)

    def details(self) -> list[str | Grid]:
        """Return what a number means."""
        unit = f" {self.unit}" if self.unit else ""
        curve = [f"column {self.curve[time]}: probability of no event until {time:g}{unit}" for time in self.times]
        if not self.asks_risk:
            return [*curve]
        what = "a higher number means sooner" if self.predicts == "risk" else "a higher number means later"
        return [f"column {self.columns.risk}: {what}{f', times in {self.unit}' if self.unit else ''}", *curve]
