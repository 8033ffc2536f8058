"""The kind ``table``: values that were computed elsewhere (biometry, published suites)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from medpodium.challenges.schema.base import ByKind, Name
from medpodium.challenges.schema.metrics.masks import MaskMetric
from medpodium.challenges.schema.metrics.pooled import ClassesMetric
from medpodium.challenges.schema.metrics.spec import MetricKind, MetricSpec
from medpodium.challenges.schema.segmentation import Structure
from medpodium.challenges.schema.task import Files, TableFiles, TaskModel


class ImportedMetric(MetricSpec):
    """A value that somebody else computed; the challenge file says what it is called and which values are better.

    Parameters
    ----------
    free : float
        Tolerance of a resource that was measured elsewhere.
    worst : float, optional
        What ``worst`` means, in the metric's unit.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "imported": MetricKind(
            "Imported value", "imported", "lower", "", None, None, "read from a table that somebody else computed"
        ),
    }
    kind: Literal["imported"]
    free: float = Field(default=0.0, ge=0)
    worst: float | None = None


TableMetric: TypeAlias = Annotated[ImportedMetric | MaskMetric | ClassesMetric, ByKind()]


class TableTask(TaskModel):
    """Values that were computed elsewhere and are imported as a table (biometry, published suites).

    Parameters
    ----------
    structures : dict of str to Structure or None
        What has a value of its own within a case; any when left out.
    """

    kind: Literal["table"]
    files: Files = TableFiles()
    metrics: dict[Name, TableMetric] = Field(min_length=1)
    structures: dict[str, Structure | None] = Field(default_factory=dict)

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of the structures."""
        return {name: (item.title if item else None) or name for name, item in self.structures.items()}

    @property
    def recipe_structures(self) -> frozenset[str] | None:
        """Labels of the dimension ``structure`` of the scores; ``None`` where the file does not say."""
        return frozenset({*self.structures, ""}) if self.structures else None

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the declared structures; one empty key where there are none."""
        return list(self.structures) or [""]
