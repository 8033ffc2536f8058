"""The kind ``segmentation``: a label map, or one mask per structure, for every case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from medpodium.challenges.schema import formats
from medpodium.challenges.schema.base import Model, Name
from medpodium.challenges.schema.metrics.instances import MatchedMetric, ObjectMetric, VariantFamily
from medpodium.challenges.schema.metrics.lesions import LesionFamily
from medpodium.challenges.schema.metrics.masks import SegmentationMetric
from medpodium.challenges.schema.metrics.plane import Length
from medpodium.challenges.schema.metrics.spec import EmptyPolicy, MetricSpec
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.metrics.surfaces import NsdMetric
from medpodium.challenges.schema.rules import Broken, LintCode, Rules
from medpodium.challenges.schema.task import CaseBudget, Grid, TaskModel

InstanceLabel: TypeAlias = Annotated[int, Field(ge=1, le=65535)]


class Structure(Model):
    """A label, or a union of labels, that gets its own score.

    Parameters
    ----------
    label : int, optional
        Label value in the label map.
    union : list of int, optional
        Label values whose union is the structure (kidney = left + right).
    instances : pair of int, optional
        First and last label value whose voxels are instances of the structure, each label one of them.
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
    instances: tuple[InstanceLabel, InstanceLabel] | None = None
    title: str | None = None
    role: str | None = None
    tolerance_mm: float | None = Field(default=None, gt=0)
    crop: Literal["none", "reference-z", "reference-z-off-by-one"] = "none"
    file: str | None = None

    @model_validator(mode="after")
    def _label_or_union(self) -> Structure:
        if [self.label, self.union, self.instances].count(None) != 2:
            raise ValueError("a structure has either 'label: N' or 'union: [N, M]', or 'instances: [FIRST, LAST]'")
        if self.instances is not None and self.instances[0] > self.instances[1]:
            raise ValueError(f"instances: {list(self.instances)} is no range, first and last label")
        return self

    @property
    def labels(self) -> frozenset[int]:
        """Label values that make up the structure."""
        if self.instances is not None:
            return frozenset(range(self.instances[0], self.instances[1] + 1))
        return frozenset([self.label] if self.label is not None else self.union or [])

    @property
    def written_labels(self) -> str:
        """Label values as they are shown."""
        if self.instances is not None:
            return f"{self.instances[0]} to {self.instances[1]}, an instance each"
        return " + ".join(map(str, sorted(self.labels)))


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
    spacing_mm : float or list of two float, optional
        Size of a pixel in mm, or along x and y, where references are PNG or TIFF files. Without it their distances and
        areas are in pixels. What such a file says of its resolution is never used.
    """

    check: Literal["full", "shape"] = "full"
    spacing_relative: float = Field(default=1e-3, gt=0)
    origin_mm: float = Field(default=1e-2, gt=0)
    direction: float = Field(default=1e-3, gt=0)
    spacing_mm: (
        Annotated[float, Field(gt=0)] | tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] | None
    ) = None

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """Size of a picture's pixel along x and y in mm."""
        if self.spacing_mm is None or isinstance(self.spacing_mm, tuple):
            return self.spacing_mm
        return self.spacing_mm, self.spacing_mm


class SegmentationTask(TaskModel):
    """Predict a label map, or one mask per structure, for every case.

    Parameters
    ----------
    structures : dict of str to Structure
        What is scored, by name.
    empty : EmptyPolicy, optional
        Four-cell policy of every metric that declares none.
    geometry : Geometry
        Accepted difference of the grids.
    dimensions : {2, 3}, optional
        Measure in the plane (contours, areas), or as volumes. When left out: PNG and TIFF references are planes, of
        others each file says whether it is; then all of them have to be alike.
    unknown_labels : {"fail", "ignore", "worst"}
        What a label outside the schema does: fails the case, is treated as background, or makes every overlap
        and surface score of the case the worst one (as FLARE 2024 Task 1 does).
    extra_labels : list of int
        Labels a reference or prediction may hold although no structure has them.
    ignore_labels : list of int
        Labels of the reference that say: nobody knows what is here. These voxels are left out of everything. In a
        prediction they are background.
    labelled_structures : dict of str to list of str
        Cases whose references are labelled in part, by name, and the structures that are labelled there. All others
        are not scored in that case. A table of cases can say the same in a column ``labelled_structures``.
    case_budget : CaseBudget, optional
        What scoring one prediction of one case may take: ``{cpu_seconds: 60, memory_gb: 4}``. One that takes more has
        failed, as one that cannot be read has.
    """

    case_columns: ClassVar[frozenset[str]] = frozenset({"labelled_structures"})

    kind: Literal["segmentation"] = "segmentation"
    metrics: dict[Name, SegmentationMetric] = Field(min_length=1)
    empty: EmptyPolicy | None = None
    structures: dict[str, Structure] = Field(min_length=1)
    geometry: Geometry = Geometry()
    dimensions: Literal[2, 3] | None = None
    unknown_labels: Literal["fail", "ignore", "worst"] = "fail"
    extra_labels: list[int] = Field(default_factory=list)
    ignore_labels: list[Annotated[int, Field(ge=1, le=65535)]] = Field(default_factory=list)
    labelled_structures: dict[str, list[str]] = Field(default_factory=dict)
    case_budget: CaseBudget | None = None

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
            if isinstance(metric, StructureMetric) and metric.empty is None and self.empty is None:
                raise ValueError(f"metric {name!r} has no empty policy, and the task declares none ('empty:')")
        return self

    @model_validator(mode="after")
    def _metrics_know_the_plane(self) -> SegmentationTask:
        length = self.plane_unit
        if length is not None:
            own = {
                name: metric.measured_in(length) if isinstance(metric, StructureMetric) else metric
                for name, metric in self.metrics.items()
            }
            object.__setattr__(self, "metrics", own)  # the model is frozen from here on
        return self

    @property
    def pictures(self) -> bool:
        """Whether references are PNG or TIFF files."""
        return self.files.reference.lower().endswith(formats.PICTURES)

    @property
    def planar(self) -> bool | None:
        """Whether masks are measured in the plane; ``None`` where each reference file says so."""
        if self.dimensions is not None:
            return self.dimensions == 2
        return True if self.pictures else None

    @property
    def plane_unit(self) -> Length | None:
        """Unit of distances in the plane; ``None`` where masks are volumes, or the files decide."""
        if not self.planar:
            return None
        return "px" if self.pictures and self.geometry.spacing_mm is None else "mm"

    @property
    def structure_titles(self) -> dict[str, str]:
        """Printed names of the structures."""
        return {name: item.title or name for name, item in self.structures.items()}

    @property
    def file_stems(self) -> frozenset[str]:
        """What ``{structure}`` can stand for in the names of files."""
        return frozenset(item.file or name for name, item in self.structures.items())

    def structures_of(self, metric: MetricSpec) -> list[str]:
        """Return the names of the structures a metric is computed for, in file order."""
        if not isinstance(metric, (StructureMetric, ObjectMetric)):
            return [""]
        if metric.structures is None:
            return list(self.structures)
        wanted = set(metric.structures)
        return [name for name, item in self.structures.items() if name in wanted or item.role in wanted]

    def empty_policy(self, metric: StructureMetric) -> EmptyPolicy:
        """Return the four-cell policy in force for a metric of structures."""
        policy = metric.empty or self.empty
        if policy is None:
            raise ValueError(f"no empty policy for {metric.kind}")
        return policy

    def policy_for(self, metric: MetricSpec) -> EmptyPolicy | None:
        """Return the four-cell policy in force; ``None`` for a metric that cannot meet an empty mask."""
        return self.empty_policy(metric) if isinstance(metric, StructureMetric) else None

    def tolerance_of(self, metric: MetricSpec, structure: str) -> float | None:
        """Return the tolerance in mm in force for a structure; ``None`` for a metric that has none."""
        if not isinstance(metric, NsdMetric):
            return None
        own = metric.tolerance_mm
        return self.structures[structure].tolerance_mm if own == "structure" else own

    @property
    def known_labels(self) -> frozenset[int]:
        """Every label a reference or prediction may contain, background included."""
        found = {0, *self.extra_labels, *self.ignore_labels}
        for structure in self.structures.values():
            found |= structure.labels
        return frozenset(found)

    def scored_structures(self, case: str) -> frozenset[str]:
        """Return the structures that can be scored in a case: those that its reference is labelled with.

        Notes
        -----
        A union counts as labelled when it is named, or when every label of it belongs to a structure that is.
        """
        labelled = self.labelled_structures.get(case)
        if labelled is None:
            return frozenset(self.structures)
        known = frozenset[int]().union(*(self.structures[name].labels for name in labelled))
        return frozenset(
            name for name, item in self.structures.items() if name in labelled or (item.union and item.labels <= known)
        )

    def of_case(self, case: str) -> SegmentationTask:
        """Return the rules with what is said of one case only, for a process that scores no other."""
        if not self.labelled_structures:
            return self
        own = {name: labelled for name, labelled in self.labelled_structures.items() if name == case}
        return self.model_copy(update={"labelled_structures": own})

    def with_case_columns(self, columns: Mapping[str, Mapping[str, str]]) -> SegmentationTask:
        """Return the rules with what a table of cases says in the column ``labelled_structures``.

        A cell names structures, separated by semicolons, commas, bars or blanks; an empty one says that all are
        labelled.

        Raises
        ------
        ValueError
            If a cell names a structure that does not exist.
        """
        cells = columns.get("labelled_structures", {})
        found = dict(self.labelled_structures)
        for case, cell in cells.items():
            parts = [part.strip() for part in re.split("[;,|]", cell)]
            names = [name for part in parts for name in ([part] if part in self.structures else part.split())]
            unknown = [name for name in names if name not in self.structures]
            if unknown:
                raise ValueError(f"case {case}: no structure {unknown[0]!r} (labelled_structures is {cell!r})")
            if names:
                found[case] = names
        return self.model_copy(update={"labelled_structures": found})

    def broken(self) -> Rules:
        """Yield labels used twice, and metrics that do not fit the structures."""
        seen: dict[int, str] = {}
        for name, item in self.structures.items():
            at = ("structures", name)
            if item.label is not None:
                if item.label in seen:
                    cause = f"label {item.label} is already {seen[item.label]!r}"
                    yield Broken(LintCode.LABEL_TWICE, at, cause, "give it another label, or write a union")
                seen.setdefault(item.label, name)
            for label in sorted(item.labels & {*self.ignore_labels}):
                cause = f"label {label} is one of ignore_labels, too: its voxels would never count"
                yield Broken(LintCode.LABEL_TWICE, at, cause, "give the ignored region a label of its own")
            if item.union and len(set(item.union)) < len(item.union):
                cause = f"union {item.union} names a label twice"
                yield Broken(LintCode.LABEL_TWICE, at, cause, "remove the repetition")
        yield from self._broken_plane()
        if "{structure}" in self.files.reference + self.files.prediction and any(
            item.instances for item in self.structures.values()
        ):
            cause = "instances are labels of a label map, and these are one file per structure"
            yield Broken(LintCode.PATTERN, ("structures",), cause, "give each reference as one label map")
        if self.ignore_labels and "{structure}" in self.files.reference:
            cause = "needs references that are label maps, and these are one file per structure"
            yield Broken(LintCode.PATTERN, ("ignore_labels",), cause, "give each reference as one label map")
        for case, names in self.labelled_structures.items():
            for name in names:
                if name not in self.structures:
                    at = ("labelled_structures", case)
                    yield Broken(LintCode.STRUCTURE_UNKNOWN, at, f"no structure {name!r}", "correct the name")
        for key, metric in self.metrics.items():
            if isinstance(metric, StructureMetric):
                yield from self._broken_metric(key, metric)
            if isinstance(metric, ObjectMetric):
                yield from self._broken_objects(key, metric)
            if isinstance(metric, VariantFamily):
                labels = [name for name, item in self.structures.items() if item.label is not None]
                yield from self._unknown(key, [name for name in metric.needed if name not in labels], " of one label")

    def _broken_metric(self, key: str, metric: StructureMetric) -> Rules:
        at = ("metrics", key)
        yield from self._broken_names(key, metric)
        for name in self.structures_of(metric):
            if isinstance(metric, NsdMetric) and self.tolerance_of(metric, name) is None:
                fix = f"add it: metric {key!r} needs it"
                yield Broken(LintCode.TOLERANCE_MISSING, ("structures", name), "has no tolerance_mm", fix)
        if self.unknown_labels == "worst" and metric.worst_value(0.0) is None:
            cause = "unknown_labels: worst, on an unbounded metric"
            fix = "add 'worst: <number>' or 'worst: diagonal' to the metric"
            yield Broken(LintCode.WORST_UNKNOWN, at, cause, fix)
        for code, cause, fix in (*metric.broken_policy(self.empty_policy(metric)), *metric.broken_plane(self.planar)):
            yield Broken(code, at, cause, fix)

    def _broken_objects(self, key: str, metric: ObjectMetric) -> Rules:
        yield from self._broken_names(key, metric)
        if not isinstance(metric, MatchedMetric) or metric.objects == "components":
            return
        for name in self.structures_of(metric):
            if self.structures[name].instances is None:
                cause = f"{key} matches instances, and structure {name!r} has none"
                fix = "say 'instances: [FIRST, LAST]' there, or 'objects: components' in the metric"
                yield Broken(LintCode.STRUCTURE_UNKNOWN, ("metrics", key), cause, fix)

    def _broken_names(self, key: str, metric: StructureMetric | ObjectMetric) -> Rules:
        roles = {item.role for item in self.structures.values()}
        for wanted in metric.structures or []:
            if wanted not in self.structures and wanted not in roles:
                cause = f"no structure or role {wanted!r}"
                yield Broken(LintCode.STRUCTURE_UNKNOWN, ("metrics", key), cause, "correct the name")

        lesions = metric.lesions if isinstance(metric, LesionFamily) else None
        for region, rule in (lesions.regions if lesions is not None else {}).items():
            unknown = [name for name in (region, *rule.beside) if name not in self.structures]
            yield from self._unknown(key, unknown, " (lesions: regions)")

    def _unknown(self, key: str, names: list[str], where: str) -> Rules:
        for name in names:
            yield Broken(
                LintCode.STRUCTURE_UNKNOWN, ("metrics", key), f"no structure {name!r}{where}", "correct the name"
            )

    def _broken_plane(self) -> Rules:
        """Yield what contradicts whether the masks are planes."""
        if self.pictures and self.dimensions == 3:
            cause = f"dimensions: 3, and {self.files.reference!r} names pictures"
            yield Broken(LintCode.PLANE, ("dimensions",), cause, "remove it: a picture is a plane")
        if self.geometry.spacing_mm is not None and not self.pictures:
            cause = (
                f"spacing_mm is for PNG and TIFF references, and {self.files.reference!r} names files that state theirs"
            )
            yield Broken(LintCode.PLANE, ("geometry", "spacing_mm"), cause, "remove it")
        for name, item in self.structures.items():
            if self.planar and item.crop != "none":
                cause = f"crop {item.crop!r} limits slices, and this is a plane"
                yield Broken(LintCode.PLANE, ("structures", name), cause, "remove it")

    def details(self) -> list[str | Grid]:
        """Return the table of structures and the file patterns."""
        rows = [
            [
                name,
                item.written_labels,
                item.role or "",
                item.tolerance_mm,
                item.crop if item.crop != "none" else "",
            ]
            for name, item in self.structures.items()
        ]
        length = self.plane_unit
        grid = Grid(["structure", "label", "role", f"tolerance ({length or 'mm'})", "scored on"], rows)
        lines: list[str | Grid] = [grid]
        if length is not None:
            lines.append("measured in the plane" + (", distances in pixels" if length == "px" else ""))
        if self.ignore_labels:
            shown = ", ".join(map(str, sorted(self.ignore_labels)))
            lines.append(f"left out of everything: voxels that the reference labels {shown}")
        if self.labelled_structures:
            lines.append(f"references labelled in part: {len(self.labelled_structures)} cases")
        return [*lines, f"files: reference {self.files.reference}, prediction {self.files.prediction}"]
