"""Typed models of a challenge file: what a challenge predicts, how it is scored and how it is ranked.

The models hold facts only. Reading files is in :mod:`medpodium.challenges.registry`, rules that span several
fields are in :mod:`medpodium.challenges.lint`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from medpodium.challenges.schema.base import Model, unconfirmed_facts
from medpodium.challenges.schema.baseline import Baseline
from medpodium.challenges.schema.metrics import EmptyPolicy, MetricSpec, Outcome
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.challenges.schema.steps import Recipe, Ties

SCHEMA_VERSION = 1
NAME = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]


class Source(Model):
    """Where a fact comes from."""

    title: str
    url: str | None = None
    note: str | None = None


class Bias(Model):
    """Design fields of the BIAS reporting guideline (Maier-Hein et al. 2020, arXiv:1910.04071).

    Every field is free text; the report marks those that are left out.
    """

    organizers: str | None = None
    life_cycle: str | None = None
    venue: str | None = None
    platform: str | None = None
    interaction_policy: str | None = None
    training_data_policy: str | None = None
    organizer_participation: str | None = None
    awards: str | None = None
    result_announcement: str | None = None
    publication_policy: str | None = None
    submission_method: str | None = None
    schedule: str | None = None
    ethics_approval: str | None = None
    data_usage_agreement: str | None = None
    code_availability: str | None = None
    conflicts_of_interest: str | None = None
    field_of_application: str | None = None
    task_category: str | None = None
    target_cohort: str | None = None
    challenge_cohort: str | None = None
    imaging_modality: str | None = None
    context_information: str | None = None
    target_entity: str | None = None
    assessment_aims: str | None = None
    data_sources: str | None = None
    case_definition: str | None = None
    case_numbers: str | None = None
    annotation_protocol: str | None = None
    annotators: str | None = None
    annotation_merging: str | None = None
    pre_processing: str | None = None
    error_sources: str | None = None
    metric_justification: str | None = None
    ranking_justification: str | None = None
    missing_results: str | None = None
    statistics: str | None = None
    further_analyses: str | None = None


class Structure(Model):
    """A label, or a union of labels, that gets its own score.

    Parameters
    ----------
    label : int, optional
        Label value in the label map.
    union : list of int, optional
        Label values whose union is the structure (kidney = left + right).
    title, role : str, optional
        Printed name; group the structure belongs to (``organ``, ``lesion``).
    tolerance_mm : float, optional
        NSD tolerance used where a metric says ``tolerance_mm: structure``.
    crop : {"none", "reference-z", "reference-z-off-by-one"}
        Score the whole volume, or only the slices (third file axis) between the reference's first and last; the
        off-by-one variant leaves the last of them out, as FLARE's published scorer does.
    file : str, optional
        Stem of the structure's own file in one-file-per-structure layouts; its name when left out.
    """

    label: int | None = Field(default=None, ge=1, le=65535)
    union: list[Annotated[int, Field(ge=1, le=65535)]] | None = Field(default=None, min_length=1)
    title: str | None = None
    role: str | None = None
    tolerance_mm: float | None = Field(default=None, gt=0)
    crop: Literal["none", "reference-z", "reference-z-off-by-one"] = "none"
    file: str | None = None

    @model_validator(mode="after")
    def _label_or_union(self) -> Structure:
        if (self.label is None) == (self.union is None):
            raise ValueError("a structure has either 'label: N' or 'union: [N, M]'")
        return self

    @property
    def labels(self) -> frozenset[int]:
        """Label values that make up the structure."""
        return frozenset([self.label] if self.label is not None else self.union or [])


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


class Geometry(Model):
    """How far a prediction's grid may be from the reference's.

    Parameters
    ----------
    check : {"full", "shape"}
        Compare shape, spacing, origin and direction, or the shape only (as FLARE's published scorer does).
    spacing_relative : float
        Largest accepted relative difference of a spacing.
    origin_mm : float
        Largest accepted difference of an origin coordinate in mm.
    direction : float
        Largest accepted difference of a direction cosine.
    """

    check: Literal["full", "shape"] = "full"
    spacing_relative: float = Field(default=1e-3, gt=0)
    origin_mm: float = Field(default=1e-2, gt=0)
    direction: float = Field(default=1e-3, gt=0)


class Group(Model):
    """A property of the cases that scores are reported by (centre, vendor, sex, domain).

    Parameters
    ----------
    levels : list of str, optional
        Every value it may take; any when left out.
    derived_from : str, optional
        Another group this one follows from, through ``map``.
    map : dict of str to list of str, optional
        Value of this group to the values of ``derived_from``.
    minimum_size : int
        Groups with fewer cases are reported as too small.
    """

    title: str | None = None
    levels: list[str] | None = None
    derived_from: str | None = None
    map: dict[str, list[str]] | None = None
    minimum_size: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _map_needs_source(self) -> Group:
        if (self.derived_from is None) != (self.map is None):
            raise ValueError("'derived_from' and 'map' belong together")
        return self


class _Task(Model):
    title: str | None = None
    files: Files = Files()
    metrics: dict[Name, MetricSpec] = Field(min_length=1)
    empty: EmptyPolicy | None = None
    groups: list[str] | None = None
    container: Name | None = None


class SegmentationTask(_Task):
    """Predict a label map, or one mask per structure, for every case.

    Parameters
    ----------
    structures : dict of str to Structure
        What is scored, by name.
    geometry : Geometry
        Accepted difference of the grids.
    unknown_labels : {"fail", "ignore", "worst"}
        What a label outside the schema does: fails the case, is treated as background, or makes every overlap
        and surface score of the case the worst one (as FLARE 2024 Task 1 does).
    """

    kind: Literal["segmentation"] = "segmentation"
    structures: dict[str, Structure] = Field(min_length=1)
    geometry: Geometry = Geometry()
    unknown_labels: Literal["fail", "ignore", "worst"] = "fail"
    extra_labels: list[int] = Field(default_factory=list)

    @field_validator("structures")
    @classmethod
    def _plain_names(cls, structures: dict[str, Structure]) -> dict[str, Structure]:
        for name in structures:
            if not name.strip() or name != name.strip() or any(ord(char) < 32 for char in name):
                raise ValueError(f"structure name {name!r} is empty or has surrounding or control characters")
        return structures

    @model_validator(mode="after")
    def _every_metric_has_a_policy(self) -> SegmentationTask:
        for name, metric in self.metrics.items():
            if metric.info.scope == "structure" and metric.empty is None and self.empty is None:
                raise ValueError(f"metric {name!r} has no empty policy, and the task declares none ('empty:')")
        return self

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the names of the structures a metric is computed for, in file order."""
        if metric.info.scope != "structure":
            return [""]
        if metric.structures is None:
            return list(self.structures)
        wanted = set(metric.structures)
        return [name for name, item in self.structures.items() if name in wanted or item.role in wanted]

    def empty_policy(self, metric: MetricSpec) -> EmptyPolicy:
        """Return the four-cell policy in force for a metric of structures."""
        policy = metric.empty or self.empty
        if policy is None:
            raise ValueError(f"no empty policy for {metric.kind}")
        return policy

    @property
    def known_labels(self) -> frozenset[int]:
        """Every label a prediction may contain, background included."""
        found = {0, *self.extra_labels}
        for structure in self.structures.values():
            found |= structure.labels
        return frozenset(found)


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


class ClassificationTask(_Task):
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
    classes: list[str] = Field(min_length=2)
    problems: dict[str, BinaryProblem] = Field(default_factory=dict)
    pool_by: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    case_column: str = "Case"
    reference_column: str = "stage"
    settings: list[str] = Field(default_factory=list)
    sum_tolerance: float = Field(default=1e-3, ge=0)


class TableTask(_Task):
    """Values that were computed elsewhere and are imported as a table (biometry, published suites)."""

    kind: Literal["table"]
    structures: dict[str, Structure | None] = Field(default_factory=dict)


def _task_kind(value: Any) -> str:
    kind = value.get("kind", "segmentation") if isinstance(value, dict) else getattr(value, "kind", "")
    return str(kind)


Task = Annotated[
    Annotated[SegmentationTask, Tag("segmentation")]
    | Annotated[ClassificationTask, Tag("classification")]
    | Annotated[TableTask, Tag("table")],
    Discriminator(_task_kind),
]


class Debatable(Model):
    """Choices that reasonable organizers could have made differently; the multiverse tries all of them.

    Parameters
    ----------
    recipes : list of str
        Other recipes of the file.
    metrics : list of list of str
        Other sets of ranked metrics.
    ties : list of str
        Other tie rules.
    missing, empty : list of outcome
        Other scores of missing predictions, and of cases with an empty reference.
    """

    recipes: list[str] = Field(default_factory=list)
    metrics: list[list[str]] = Field(default_factory=list)
    ties: list[Ties] = Field(default_factory=list)
    missing: list[Outcome] = Field(default_factory=list)
    empty: list[Outcome] = Field(default_factory=list)


class Challenge(Model):
    """A challenge, resolved to one edition and one scoring variant.

    Parameters
    ----------
    name, title, summary : str
        Identity.
    edition, variant : str
        Which edition and scoring variant this is.
    tasks : dict of str to Task
        What is predicted and ranked.
    recipes, ranking : dict
        Recipes by name, and the recipe each task is ranked with.
    containers : dict of str to ContainerProtocol
        Container protocols by name; a task names its own where there are several.
    """

    format: Literal[1] = Field(alias="schema")
    name: Name
    title: str
    summary: str = ""
    aliases: list[Name] = Field(default_factory=list)
    edition: str
    variant: str = "corrected"
    modality: list[str] = Field(default_factory=list)
    bias: Bias = Bias()
    sources: list[Source] = Field(default_factory=list)
    known_defects: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    groups: dict[Name, Group] = Field(default_factory=dict)
    tasks: dict[Name, Task] = Field(min_length=1)
    recipes: dict[Name, Recipe] = Field(min_length=1)
    ranking: dict[str, str] = Field(min_length=1)
    debatable: dict[str, Debatable] = Field(default_factory=dict)
    containers: dict[Name, ContainerProtocol] = Field(default_factory=dict)
    baselines: dict[Name, Baseline] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)

    @property
    def reference(self) -> str:
        """``name/edition``, as every verb accepts it."""
        return f"{self.name}/{self.edition}"

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved definition (hex), the same on every machine."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def unconfirmed_list(self) -> list[tuple[str, object, str]]:
        """Return every fact without a primary source as (path, value, why)."""
        return list(unconfirmed_facts(self))

    def recipe_for(self, task: str, name: str | None = None) -> tuple[str, Recipe]:
        """Return the name and the recipe a task is ranked with.

        Raises
        ------
        KeyError
            If the task has no ranking, or there is no recipe of that name.
        """
        chosen = name or self.ranking[task]
        return chosen, self.recipes[chosen]

    def protocol_for(self, task: str) -> ContainerProtocol | None:
        """Return the container protocol of a task: the one it names, or the challenge's only one."""
        name = self.tasks[task].container
        if name is not None:
            return self.containers.get(name)
        return next(iter(self.containers.values())) if len(self.containers) == 1 else None
