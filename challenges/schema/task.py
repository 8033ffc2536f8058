"""What every kind of task has in common: the base of the models, and what the table of kinds says about one.

A room that treats all tasks alike (lint, describe, reports) asks the model through the methods here, so that a new
kind answers them and nobody has to know that it exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args, get_origin

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator
from pydantic_core import ErrorDetails

from medpodium.challenges.schema.base import Location, Model, Name, model_at, nearest, reworded
from medpodium.challenges.schema.metrics.spec import EmptyPolicy, MetricSpec, Scope
from medpodium.challenges.schema.rules import Rules


class Files(Model):
    """File name patterns relative to a folder; ``{case}`` and, for one file per structure, ``{structure}``.

    Parameters
    ----------
    reference, prediction : str
        For instance ``{case}.nii.gz`` or ``{case}/segmentations/{structure}.nii.gz``.
    images : dict of str to str
        Channel name to pattern of the input image.
    """

    reference: str = "{case}.nii.gz"
    prediction: str = "{case}.nii.gz"
    images: dict[str, str] = Field(default_factory=dict)


class TableFiles(Files):
    """Files of a task with one table for all cases; a folder that holds a single table needs no name."""

    reference: str = "references.csv"
    prediction: str = "predictions.csv"


class Grid(NamedTuple):
    """A small table to be printed."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class TaskModel(Model):
    """One thing to predict and to rank; the base of every kind of task.

    Parameters
    ----------
    kind : str
        Key of the table of kinds.
    title : str, optional
        Printed name.
    files : Files
        Names of references and predictions.
    metrics : dict of str to MetricSpec
        What is computed, by key; each kind of task takes its own families of metrics.
    groups : list of str, optional
        Groups of the cases that scores are reported by.
    container : str, optional
        Container protocol; needed where there are several.
    """

    case_columns: ClassVar[frozenset[str]] = frozenset()
    """Columns of a table of cases that say how a case is scored; all others are groups."""

    kind: str
    title: str | None = None
    files: Files = Files()
    metrics: Mapping[Name, MetricSpec] = Field(min_length=1)
    groups: list[str] | None = None
    container: Name | None = None

    @field_validator("metrics", mode="wrap")
    @classmethod
    def _tell_what_metrics_take(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Say of a wrong metric what it takes, by the name it has in the challenge file."""
        try:
            return handler(value)
        except ValidationError as error:
            raise reworded(error, lambda problem: cls._metric_words(value, problem)) from None

    @classmethod
    def _metric_words(cls, value: Any, problem: ErrorDetails) -> tuple[Location, str]:
        """Return place and text of one problem; pydantic's own where there is nothing better to say."""
        kinds, (key, *rest) = cls.metric_kinds(), problem["loc"]
        written = value.get(key) if isinstance(value, Mapping) else None
        kind = written.get("kind") if isinstance(written, Mapping) else None
        family = kinds.get(kind) if isinstance(kind, str) else None
        place, takes = (key, *rest), f"it takes: {', '.join(kinds)}"
        if problem["type"] == "union_tag_not_found" or (problem["type"] == "missing" and rest == ["kind"]):
            return (key,), f"a metric needs a kind; a {cls.kind_name()} task takes: {', '.join(kinds)}"
        if isinstance(written, Mapping) and family is None:
            return (key, "kind"), f"{kind!r} is no metric of a {cls.kind_name()} task{nearest(kind, kinds)}; {takes}"
        if family is not None and len(rest) == 1:
            field = str(rest[0])
            if problem["type"] == "extra_forbidden":
                known = family.takes()
                # What another metric takes is no misspelling of what this one does.
                foreign = any(field in other.model_fields for other in kinds.values())
                hint = "" if foreign else nearest(field, known)
                return place, f"{kind} takes no {field}{hint}; it takes: {', '.join(known)}"
            if problem["type"] == "missing":
                what = family.model_fields[field].description
                return place, f"{kind} needs {field}" + (f" ({what})" if what else "")
        return place, problem["msg"]

    def of_case(self, case: str) -> TaskModel:
        """Return the rules as far as one case needs them."""
        return self

    def with_case_columns(self, columns: Mapping[str, Mapping[str, str]]) -> TaskModel:
        """Return the rules with what a table of cases says in :attr:`case_columns` (column to case to cell).

        Raises
        ------
        ValueError
            If a cell cannot be used.
        """
        return self

    @classmethod
    def kind_name(cls) -> str:
        """Return the kind as a challenge file names it."""
        return str(get_args(cls.model_fields["kind"].annotation)[0])

    @classmethod
    def metric_families(cls) -> tuple[type[MetricSpec], ...]:
        """Return the families of metrics the kind takes."""
        _, family = get_args(cls.model_fields["metrics"].annotation)
        if get_origin(family) is Annotated:
            family = get_args(family)[0]
        return get_args(family) or (family,)

    @classmethod
    def metric_kinds(cls) -> dict[str, type[MetricSpec]]:
        """Return the family of every metric the kind takes, by the name used in challenge files."""
        return {kind: family for family in cls.metric_families() for kind in family.known}

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of everything that may get its own score within a case, by key, in file order."""
        return {}

    @property
    def file_stems(self) -> frozenset[str]:
        """What ``{structure}`` can stand for in the names of files; empty where the file does not say."""
        return frozenset()

    @property
    def answers(self) -> list[str]:
        """The answers to choose from, where there is a closed list of them."""
        return []

    @property
    def answers_words(self) -> str:
        """What stands before the list of :attr:`answers` in a sentence on the cases."""
        return ", each of one of the classes"

    @property
    def recipe_structures(self) -> frozenset[str] | None:
        """Labels of the dimension ``structure`` of the scores; ``None`` where the file does not say."""
        return frozenset(name for metric in self.metrics.values() for name in self.structures_of(metric))

    @property
    def pooled_within(self) -> str | None:
        """Group within which cases are pooled; ``None`` where all cases are, or none."""
        return None

    @property
    def named_groups(self) -> list[str]:
        """Every group the task needs to be declared."""
        pooled = [] if self.pooled_within is None else [self.pooled_within]
        return [*(self.groups or []), *pooled]

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the keys of what a metric has its own value of within a case; one empty key for the whole case."""
        return [""]

    def policy_for(self, metric: MetricSpec) -> EmptyPolicy | None:
        """Return the four-cell policy in force; ``None`` for a metric that cannot meet an empty mask."""
        return None

    def metric_name(self, key: str) -> str:
        """Return a metric's printed name; metrics of one name are told apart by their keys."""
        shown = self.metrics[key].name
        same = [name for name, metric in self.metrics.items() if metric.name == shown]
        return shown if len(same) == 1 else f"{shown} ({key})"

    def broken(self) -> Rules:
        """Yield the broken rules of this kind of task, with locations from the task downwards."""
        yield from ()

    def details(self) -> list[str | Grid]:
        """Return what ``medpodium show`` prints about the task besides its metrics: lines and small tables."""
        return []


@dataclass(frozen=True)
class Words:
    """How a kind calls in texts what is scored, who is ranked, and what they hand in.

    Parameters
    ----------
    case, cases : str
        What is scored once: a case, a question.
    structure, structures : str
        What may have a score of its own within a case.
    team, teams : str
        Who is ranked: a submission, a model.
    answer, answers : str
        What they hand in for a case.
    truth : str
        What it is compared with.
    """

    case: str = "case"
    cases: str = "cases"
    structure: str = "structure"
    structures: str = "structures"
    team: str = "submission"
    teams: str = "submissions"
    answer: str = "prediction"
    answers: str = "predictions"
    truth: str = "reference"


@dataclass(frozen=True)
class TaskKind:
    """What is known about one kind of task, besides the fields of its model.

    Parameters
    ----------
    place : str
        Where the model is that says what a challenge file may say about such a task, as
        :func:`~medpodium.challenges.schema.base.model_at` takes it.
    layout : {"files", "table"}
        One prediction (file or files) per case, or one table for all of them.
    words : Words
        How cases and structures are called.
    endings : tuple of str
        Endings of the files that can be read as a reference or a prediction; any when left out.
    computed : bool
        Whether scores are computed from predictions here; ``False`` where they come from elsewhere.
    told : bool
        Whether scores of single cases may stand on a page for everybody. Not where such a score says what is true to
        a team that knows its own answer.
    """

    place: str
    layout: Literal["files", "table"]
    words: Words = Words()
    endings: tuple[str, ...] = ()
    computed: bool = True
    told: bool = True

    @property
    def model(self) -> type[TaskModel]:
        """The model, which is imported when it is asked for."""
        model = model_at(self.place)
        if not issubclass(model, TaskModel):
            raise TypeError(f"{self.place} is no model of a task")
        return model

    @property
    def scopes(self) -> frozenset[Scope]:
        """Scopes of the metrics the kind takes."""
        return frozenset(info.scope for family in self.model.metric_families() for info in family.known.values())

    @property
    def pooled(self) -> bool:
        """Whether some metrics are computed from the observations of all cases together."""
        return self.computed and "pooled" in self.scopes

    @property
    def files(self) -> Files:
        """Patterns of references and predictions where a challenge file gives none."""
        files: Files = self.model.model_fields["files"].get_default(call_default_factory=True)
        return files


_PARTS = re.compile(r"([0-9]*\.?[0-9]+)\s*(s|min|MB|GB)")
_UNITS = {"s": ("cpu_seconds", 1.0), "min": ("cpu_seconds", 60.0), "MB": ("memory_gb", 1e-3), "GB": ("memory_gb", 1.0)}


class CaseBudget(Model):
    """What reading and scoring one prediction of one case may take. One that takes more has failed, by name.

    Parameters
    ----------
    cpu_seconds : float, optional
        CPU time, so that a busy machine fails nobody.
    memory_gb : float, optional
        Memory that a single step (a mask, its surfaces, a distance transform) may ask for, in 10⁹ bytes.
    """

    cpu_seconds: float | None = Field(None, gt=0)
    memory_gb: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _limits_something(self) -> CaseBudget:
        if self.cpu_seconds is None and self.memory_gb is None:
            raise ValueError("a budget limits cpu_seconds, memory_gb or both")
        return self

    def __str__(self) -> str:
        """Return it as people say it: ``60 s and 4 GB``."""
        time = [f"{self.cpu_seconds:g} s"] if self.cpu_seconds is not None else []
        memory = [f"{self.memory_gb:g} GB"] if self.memory_gb is not None else []
        return " and ".join(time + memory)


def parse_budget(text: str) -> CaseBudget:
    """Read ``60s``, ``4GB`` or ``2min,500MB``.

    Raises
    ------
    ValueError
        If a part is no number with a unit, or names the same again.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        matched = _PARTS.fullmatch(part.strip())
        name, factor = _UNITS[matched[2]] if matched else ("", 0.0)
        if not matched or name in found or float(matched[1]) <= 0:
            raise ValueError(f"{part.strip()!r} is no limit: write 60s, 4GB or both (2min,500MB)")
        found[name] = float(matched[1]) * factor
    return CaseBudget(cpu_seconds=found.get("cpu_seconds"), memory_gb=found.get("memory_gb"))
