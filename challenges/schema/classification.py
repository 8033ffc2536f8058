"""The kinds ``classification`` (one class per case) and ``labels`` (any number of them), as probabilities."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from medpodium.challenges.schema.base import ByKind, Model, Name
from medpodium.challenges.schema.metrics.pooled import (
    AllLabelsMetric,
    CaseClassMetric,
    CaseGradeMetric,
    ClassCalibrationMetric,
    ClassesMetric,
    ClassMetric,
    DistributionMetric,
    EachLabelMetric,
    LabelSetMetric,
    SensitivityMetric,
)
from medpodium.challenges.schema.metrics.resource import AreaMetric, ResourceMetric
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.rules import Broken, LintCode, Rules
from medpodium.challenges.schema.task import Files, Grid, TableFiles, TaskModel


class BinaryProblem(Model):
    """A yes-or-no question derived from class probabilities.

    Parameters
    ----------
    positive : list of str
        Classes on the positive side.
    threshold : float
        A case counts as positive when its probability is at least this.
    column : str, optional
        Column of the submission that holds the probability; the sum of the positive classes' columns when left out.
    """

    positive: list[str] = Field(min_length=1)
    threshold: float = Field(default=0.5, ge=0, le=1)
    column: str | None = None
    title: str | None = None


ClassificationMetric: TypeAlias = Annotated[ClassesMetric, ByKind()]
_ABOUT_PROBLEMS = (ClassMetric, SensitivityMetric, ClassCalibrationMetric, CaseClassMetric)


class ClassificationTask(TaskModel):
    """Predict a class, as probabilities, for every case.

    Parameters
    ----------
    classes : list of str
        Class names, in order of severity.
    problems : dict of str to BinaryProblem
        Binary problems that get their own scores.
    pool_by : str, optional
        Group within which cases are pooled (``domain``); all cases together when left out.
    columns : dict of str to str
        Class name to column of the submission's CSV.
    settings : list of str
        Values of the CSV's ``Setting`` column this task reads; all rows when empty.
    """

    kind: Literal["classification"]
    files: Files = TableFiles()
    metrics: dict[Name, ClassificationMetric] = Field(min_length=1)
    classes: list[str] = Field(min_length=2)
    problems: dict[str, BinaryProblem] = Field(default_factory=dict)
    pool_by: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    case_column: str = "Case"
    reference_column: str = "stage"
    settings: list[str] = Field(default_factory=list)
    sum_tolerance: float = Field(default=1e-3, ge=0)

    @property
    def answers(self) -> list[str]:
        """The classes."""
        return self.classes

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of the problems."""
        return {name: item.title or name for name, item in self.problems.items()}

    @property
    def pooled_within(self) -> str | None:
        """Group within which cases are pooled."""
        return self.pool_by

    def problem_name(self, metric: MetricSpec) -> str | None:
        """Return the name of the binary problem a metric is about; ``None`` where it is about all classes."""
        return metric.problem if isinstance(metric, _ABOUT_PROBLEMS) else None

    @property
    def by_class(self) -> bool:
        """Whether a submission gives one probability per class, not one per problem."""
        return any(problem.column is None for problem in self.problems.values()) or not self.problems

    @property
    def asks_distributions(self) -> bool:
        """Whether any metric takes the probabilities of all classes."""
        return any(isinstance(metric, DistributionMetric) for metric in self.metrics.values())

    @property
    def of_cases(self) -> dict[str, CaseClassMetric | CaseGradeMetric]:
        """The metrics that have a value of every single case."""
        return {
            key: metric
            for key, metric in self.metrics.items()
            if isinstance(metric, (CaseClassMetric, CaseGradeMetric))
        }

    def problem_of(self, metric: MetricSpec) -> BinaryProblem | None:
        """Return the binary problem a metric is about; ``None`` where it is about all classes."""
        name = self.problem_name(metric)
        return None if name is None else self.problems[name]

    def broken(self) -> Rules:
        """Yield problems that name unknown classes, and metrics that name none or an unknown one."""
        for name, item in self.problems.items():
            for positive in item.positive:
                if positive not in self.classes:
                    fix = f"use {', '.join(self.classes)}"
                    yield Broken(LintCode.CLASS_UNKNOWN, ("problems", name), f"no class {positive!r}", fix)
        known = f"use one of {', '.join(self.problems)}" if self.problems else "declare it under 'problems'"
        for key, metric in self.metrics.items():
            problem = self.problem_name(metric)
            if problem is not None and problem not in self.problems:
                cause = f"problem {problem!r} is not declared"
                yield Broken(LintCode.PROBLEM_UNKNOWN, ("metrics", key), cause, known)
            of_classes = isinstance(metric, DistributionMetric) or (
                isinstance(metric, (ClassCalibrationMetric, CaseClassMetric, CaseGradeMetric)) and problem is None
            )
            if of_classes and not self.by_class:
                cause = f"{metric.kind} takes the probabilities of all classes, and the table has one per problem"
                fix = "let the table have a column per class: leave out 'column' of the problems"
                yield Broken(LintCode.METRIC_UNFIT, ("metrics", key), cause, fix)
            if isinstance(metric, ClassMetric) and metric.problem is None and metric.needs_problem:
                cause = f"{metric.kind} is defined for binary problems only, and names none ('problem:')"
                yield Broken(LintCode.PROBLEM_UNKNOWN, ("metrics", key), cause, known)

    def details(self) -> list[str | Grid]:
        """Return one line per problem."""
        return [
            f"problem {name}: {' or '.join(item.positive)} against the rest, threshold {item.threshold:g}"
            for name, item in self.problems.items()
        ]


class Label(Model):
    """Something that a case has or has not.

    Parameters
    ----------
    title : str, optional
        Printed name.
    column : str, optional
        Column of both tables; the label's name when left out.
    threshold : float, optional
        The label counts as given when its probability is at least this; the task's when left out.
    """

    title: str | None = None
    column: str | None = None
    threshold: float | None = Field(default=None, ge=0, le=1)


class LabelColumns(Model):
    """Names of the columns of both tables; capitals do not matter.

    Parameters
    ----------
    case : str
        The case's name.
    labels : str
        Of a table without a column per label: the labels that a case has, separated by ``|``.
    """

    case: str = "case"
    labels: str = "labels"


LabelsMetric: TypeAlias = Annotated[
    LabelSetMetric | EachLabelMetric | AllLabelsMetric | ResourceMetric | AreaMetric, ByKind()
]


class LabelsTask(TaskModel):
    """Say of every label whether a case has it (multi-label classification).

    Parameters
    ----------
    labels : dict of str to Label or None
        Each is a yes-or-no question of its own.
    threshold : float
        A label counts as given when its probability is at least this.
    columns : LabelColumns
        Names of columns.
    """

    kind: Literal["labels"]
    files: Files = TableFiles()
    metrics: dict[Name, LabelsMetric] = Field(min_length=1)
    labels: dict[Name, Label | None] = Field(min_length=1)
    threshold: float = Field(default=0.5, ge=0, le=1)
    columns: LabelColumns = LabelColumns()

    @property
    def each(self) -> dict[str, Label]:
        """Every label by its key."""
        return {name: item or Label() for name, item in self.labels.items()}

    @property
    def label_columns(self) -> dict[str, str]:
        """Column of every label."""
        return {name: item.column or name for name, item in self.each.items()}

    @property
    def thresholds(self) -> list[float]:
        """Threshold of every label, in their order."""
        return [self.threshold if item.threshold is None else item.threshold for item in self.each.values()]

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of the labels."""
        return {name: item.title or name for name, item in self.each.items()}

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the labels, for metrics that have a value of each of them."""
        return list(self.labels) if isinstance(metric, EachLabelMetric) else [""]

    def broken(self) -> Rules:
        """Yield columns that two labels share."""
        seen: dict[str, str] = {self.columns.case.lower(): "the case"}
        for name, column in self.label_columns.items():
            if column.lower() in seen:
                cause = f"column {column!r} is that of {seen[column.lower()]}, too"
                yield Broken(LintCode.METRIC_UNFIT, ("labels", name), cause, "give every label a column of its own")
            seen[column.lower()] = f"label {name!r}"

    def details(self) -> list[str | Grid]:
        """Return the labels, and where they are read from."""
        return [
            f"label {name}: column {column}, threshold {threshold:g}"
            for (name, column), threshold in zip(self.label_columns.items(), self.thresholds, strict=True)
        ]
