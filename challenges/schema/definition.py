"""Typed models of a challenge file: what a challenge predicts, how it is scored and how it is ranked.

The models hold facts only. Reading files is in :mod:`medpodium.challenges.registry`, rules that span several
fields are in :mod:`medpodium.challenges.lint`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    Field,
    PrivateAttr,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from medpodium.challenges.naming.names import reserved_columns
from medpodium.challenges.schema.base import ByKind, Later, Location, Model, Name, nearest, reworded, unconfirmed_facts
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.spec import Outcome
from medpodium.challenges.schema.segmentation import Geometry, SegmentationTask, Structure
from medpodium.challenges.schema.steps import Names, Recipe, Ties
from medpodium.challenges.schema.task import Files, TaskModel

__all__ = [
    "Challenge",
    "Debatable",
    "Files",
    "Geometry",
    "Group",
    "SegmentationTask",
    "Structure",
    "Task",
    "TaskModel",
]

SCHEMA_VERSION = 1
JOINED = "ranked_task"
"""Group that tells the tasks apart where several are ranked together; recipes call it ``task``."""
SHARED = "shared_case"
"""Group that joins what is one case in several tasks."""


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
    cluster : bool, optional
        Cases of one level are not independent: levels, not cases, are drawn, tested and counted. When left out, only a
        group called ``patient`` is a cluster.
    """

    title: str | None = None
    levels: list[str] | None = None
    derived_from: str | None = None
    map: dict[str, list[str]] | None = None
    minimum_size: int = Field(default=1, ge=1)
    cluster: bool | None = None

    @model_validator(mode="after")
    def _map_needs_source(self) -> Group:
        if (self.derived_from is None) != (self.map is None):
            raise ValueError("'derived_from' and 'map' belong together")
        return self


if TYPE_CHECKING:
    from medpodium.challenges.schema.baseline import Baseline
    from medpodium.challenges.schema.protocol import ContainerProtocol

    Task: TypeAlias = TaskModel
else:
    # The table of kinds is the one list of tasks there is.
    Task = Annotated[TaskModel, ByKind(KINDS, default=next(iter(KINDS)))]
    Baseline = Annotated[Model, Later("baseline:Baseline")]
    ContainerProtocol = Annotated[Model, Later("protocol:ContainerProtocol")]


def _task_words(problem: ErrorDetails) -> tuple[Location, str]:
    name, *rest = problem["loc"]
    if problem["type"] == "union_tag_invalid" and not rest:
        kind = problem.get("ctx", {}).get("tag", "")
        return (name, "kind"), f"no kind of task {kind!r}{nearest(kind, KINDS)}; use one of {', '.join(KINDS)}"
    return (name, *rest), problem["msg"]


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


class Overall(Model):
    """A ranking over several tasks.

    Parameters
    ----------
    tasks : list of str
        Whose scores are ranked together.
    recipe : str
        How: ``mean: {over: case, by: task}`` gives every task a value of its own, ``mean: task`` then weighs them the
        same.
    title : str, optional
        Printed name.
    """

    tasks: Names
    recipe: str
    title: str | None = None


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
    overall : dict of str to Overall
        Rankings over several tasks; a challenge file writes them under ``ranking``, too.
    containers : dict of str to ContainerProtocol
        Container protocols by name; a task names its own where there are several.

    Examples
    --------
    >>> import medpodium
    >>> challenge = medpodium.load_challenge("touchstone")
    >>> len(challenge.tasks["segmentation"].structures)
    9
    >>> challenge.reference, challenge.ranking
    ('touchstone/1.0', {'segmentation': 'organ-means-all-rows'})
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
    ranking: dict[str, str] = Field(default_factory=dict)
    overall: dict[Name, Overall] = Field(default_factory=dict)
    debatable: dict[str, Debatable] = Field(default_factory=dict)
    containers: dict[Name, ContainerProtocol] = Field(default_factory=dict)
    baselines: dict[Name, Baseline] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    _widened_from: Challenge | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _part_rankings(cls, data: Any) -> Any:
        """Tell rankings over several tasks, which are mappings, from those of one."""
        ranking = data.get("ranking") if isinstance(data, dict) else None
        if not isinstance(ranking, dict) or not any(isinstance(own, dict) for own in ranking.values()):
            return data
        over = {name: own for name, own in ranking.items() if isinstance(own, dict)}
        single = {name: own for name, own in ranking.items() if name not in over}
        return {**data, "ranking": single, "overall": {**(data.get("overall") or {}), **over}}

    @model_validator(mode="after")
    def _ranks_something(self) -> Challenge:
        if not self.ranking and not self.overall:
            raise ValueError("'ranking' names no recipe: nothing would be ranked")
        return self

    @field_validator("groups")
    @classmethod
    def _names_of_their_own(cls, groups: dict[str, Group]) -> dict[str, Group]:
        taken = reserved_columns(groups)
        if taken:
            raise ValueError(f"group {taken[0]!r} is named like a column of the score table; choose another name")
        clusters = [name for name, group in groups.items() if group.cluster]
        if len(clusters) > 1:
            raise ValueError(f"groups {clusters[0]!r} and {clusters[1]!r} are both the cluster; declare the larger one")
        return groups

    @field_validator("tasks", mode="wrap")
    @classmethod
    def _tell_which_kinds(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        """Name the kinds there are, and fields by their place in the file, without pydantic's tag of the kind."""
        try:
            return handler(value)
        except ValidationError as error:
            raise reworded(error, _task_words) from None

    @property
    def reference(self) -> str:
        """``name/edition``, as every verb accepts it."""
        return f"{self.name}/{self.edition}"

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved definition (hex), the same on every machine; that of what it was widened from."""
        if self._widened_from is not None:
            return self._widened_from.digest
        said = self.model_dump(mode="json")
        if not self.overall:  # the digests of definitions without it are older than the field
            del said["overall"]
        text = json.dumps(said, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def ranked_tasks(self) -> frozenset[str]:
        """Tasks that are ranked alone or with others."""
        return frozenset(self.ranking).union(*(own.tasks for own in self.overall.values()))

    def widened(self, **fields: Any) -> Challenge:
        """Return the definition with other fields, for what is computed from it; it keeps its digest."""
        wider = self.model_copy(update=fields)
        wider._widened_from = self.declared
        return wider

    @property
    def declared(self) -> Challenge:
        """The definition as it was declared."""
        return self if self._widened_from is None else self._widened_from

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
        own = self.overall.get(task)
        chosen = name or (self.ranking[task] if own is None else own.recipe)
        return chosen, self.recipes[chosen]

    def file_stems(self, container: str) -> dict[str, frozenset[str]]:
        """Return what placeholders in the names of a container's outputs can stand for, where that is known."""
        answered = [task for task in self.tasks.values() if task.container in (None, container)]
        stems = frozenset().union(*(task.file_stems for task in answered))
        return {"structure": stems} if stems and all(task.file_stems for task in answered) else {}

    def protocol_for(self, task: str) -> ContainerProtocol | None:
        """Return the container protocol of a task: the one it names, or the challenge's only one."""
        name = self.tasks[task].container
        if name is not None:
            return self.containers.get(name)
        return next(iter(self.containers.values())) if len(self.containers) == 1 else None
