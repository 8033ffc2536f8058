"""Metric kinds the toolkit knows, and how a challenge file declares one.

A metric carries the identity of its definition: libraries in common use disagree on HD95 and NSD for the same
masks, so ``hd_percentile`` or ``nsd`` alone does not say what was computed.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from medpodium.challenges.schema.base import Model

Scope = Literal["structure", "case", "pooled", "imported"]
Direction = Literal["higher", "lower"]
Outcome = Annotated[float, Field(allow_inf_nan=False)] | Literal["worst", "best", "skip"]
"""What a score becomes when it cannot be computed: a number, the metric's worst or best value, or nothing."""
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
    definitions : tuple of str
        Definition ids, the default first; empty where only one definition is in use.
    formula : str
        The formula in one line, with its source.
    """

    title: str
    scope: Scope
    direction: Direction
    unit: str
    best: float | None
    worst: float | None
    definitions: tuple[str, ...]
    formula: str


def _overlap(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "structure", "higher", "", 1.0, 0.0, (), formula)


def _volume(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "structure", "lower", "ml", 0.0, None, (), formula)


def _resource(title: str, unit: str, formula: str) -> MetricKind:
    return MetricKind(title, "case", "lower", unit, 0.0, None, (), formula)


def _pooled(title: str, formula: str, worst: float = 0.0) -> MetricKind:
    return MetricKind(title, "pooled", "higher", "", 1.0, worst, (), formula)


_DEEPMIND = "Nikolov et al. 2018, arXiv:1809.04430 (surface-distance)"
_SURFACE = ("surfel-area", "border-voxel")
_MATCHED = "components matched as `overlap` declares"

KINDS: dict[str, MetricKind] = {
    "dice": _overlap("Dice similarity coefficient", "2|P∩R| / (|P|+|R|); Dice 1945"),
    "iou": _overlap("Intersection over union", "|P∩R| / |P∪R|; Jaccard 1912"),
    "volume_similarity": _overlap("Volume similarity", "1 - |FN-FP| / (2TP+FP+FN); Taha and Hanbury 2015"),
    "relative_volume_difference": MetricKind(
        "Relative volume difference (signed)", "structure", "lower", "", 0.0, None, (), "(|P|-|R|) / |R|"
    ),
    "absolute_relative_volume_difference": MetricKind(
        "Relative volume difference (absolute)", "structure", "lower", "", 0.0, None, (), "abs(|P|-|R|) / |R|"
    ),
    "tp_volume": MetricKind("True positive volume", "structure", "higher", "ml", None, 0.0, (), "|P∩R| x voxel volume"),
    "fp_volume": _volume("False positive volume", "|P\\R| x voxel volume"),
    "fn_volume": _volume("False negative volume", "|R\\P| x voxel volume"),
    "nsd": MetricKind(
        "Normalised surface distance",
        "structure",
        "higher",
        "",
        1.0,
        0.0,
        _SURFACE,
        f"share of both surfaces within the tolerance of the other; {_DEEPMIND}",
    ),
    "hd": MetricKind(
        "Hausdorff distance",
        "structure",
        "lower",
        "mm",
        0.0,
        None,
        _SURFACE,
        "largest distance from either surface to the other; Huttenlocher et al. 1993",
    ),
    "hd_percentile": MetricKind(
        "Hausdorff distance percentile",
        "structure",
        "lower",
        "mm",
        0.0,
        None,
        ("directed-max-area-weighted", "directed-max", "pooled"),
        f"percentile of the surface distances, pooled or the larger of both directions; {_DEEPMIND}",
    ),
    "assd": MetricKind(
        "Average symmetric surface distance",
        "structure",
        "lower",
        "mm",
        0.0,
        None,
        _SURFACE,
        "mean distance over the surface elements of both directions together",
    ),
    "masd": MetricKind(
        "Mean average surface distance",
        "structure",
        "lower",
        "mm",
        0.0,
        None,
        _SURFACE,
        "mean of the two directed mean distances",
    ),
    "euler_error": MetricKind(
        "Euler number error",
        "structure",
        "lower",
        "",
        0.0,
        None,
        (),
        "abs(χ(P) - χ(R)), 6-connected foreground, 26-connected background",
    ),
    "lesion_tp": MetricKind("Lesions found", "structure", "higher", "", None, 0.0, (), _MATCHED),
    "lesion_fp": MetricKind("Lesions invented", "structure", "lower", "", 0.0, None, (), _MATCHED),
    "lesion_fn": MetricKind("Lesions missed", "structure", "lower", "", 0.0, None, (), _MATCHED),
    "lesion_f1": _overlap("Lesion-wise F1", f"2TP / (2TP+FP+FN), {_MATCHED}"),
    "lesion_sensitivity": _overlap("Lesion-wise sensitivity", f"TP / (TP+FN), {_MATCHED}"),
    "panoptic_quality": _overlap("Panoptic quality", "sum of IoU over TP / (TP + FP/2 + FN/2); Kirillov et al. 2019"),
    "running_time": _resource("Running time", "s", "wall time of the container, start to end"),
    "cpu_time": _resource("CPU time", "s", "CPU time of the container's processes"),
    "peak_memory": _resource("Peak memory", "MB", "largest memory of the container's control group"),
    "mean_memory": _resource("Mean memory", "MB", "time-weighted mean memory of the container's control group"),
    "peak_gpu_memory": _resource("Peak GPU memory", "MB", "largest GPU memory of the container's processes"),
    "gpu_memory_area": _resource(
        "Area under the GPU memory-time curve",
        "MB s",
        "integral of the GPU memory above `free` over true time stamps",
    ),
    "cpu_area": _resource("Area under the CPU utilisation-time curve", "% s", "integral of CPU utilisation over time"),
    "accuracy": _pooled("Accuracy", "share of cases on the right side of the threshold"),
    "auc": _pooled("Area under the ROC curve", "Mann-Whitney statistic of pooled cases, ties one half"),
    "sensitivity": _pooled("Sensitivity", "TP / (TP+FN)"),
    "specificity": _pooled("Specificity", "TN / (TN+FP)"),
    "balanced_accuracy": _pooled("Balanced accuracy", "mean of the recalls of all classes"),
    "quadratic_kappa": _pooled("Quadratic weighted kappa", "Cohen 1968 with squared weights", worst=-1.0),
    "imported": MetricKind(
        "Imported value",
        "imported",
        "lower",
        "",
        None,
        None,
        (),
        "read from a table that somebody else computed",
    ),
}
"""Every metric kind by the name used in challenge files."""

LESION_KINDS = frozenset({"lesion_tp", "lesion_fp", "lesion_fn", "lesion_f1", "lesion_sensitivity", "panoptic_quality"})
COMPUTABLE_KINDS = frozenset(
    {"tp_volume", "fp_volume", "fn_volume", "euler_error", "lesion_tp", "lesion_fp", "lesion_fn"}
)
"""Kinds whose formula holds for empty masks, too."""
AREA_KINDS = frozenset({"gpu_memory_area", "cpu_area"})
"""Areas under a curve over time."""
TOLERANCE_KINDS = frozenset({"nsd"})
PERCENTILE_KINDS = frozenset({"hd_percentile"})


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


class Gate(Model):
    """Replace a metric by a number where another metric of the same structure is below a threshold."""

    metric: str
    below: float
    value: float = 0.0


class LesionRule(Model):
    """How predicted components are matched to reference components; see :mod:`medpodium.scoring.measures.lesions`.

    Parameters
    ----------
    connectivity : {6, 18, 26}
        Which voxels are neighbours.
    overlap : {"any", "iou", "dice"}
        What makes a predicted lesion hit a reference lesion.
    threshold : float
        Smallest overlap that is a hit (``iou`` and ``dice``).
    matching : {"many", "greedy", "hungarian"}
        How hits become matches.
    min_volume_ml : float
        Smaller components are removed from both masks.
    """

    connectivity: Literal[6, 18, 26] = 26
    overlap: Literal["any", "iou", "dice"] = "any"
    threshold: float = Field(default=0.5, gt=0, le=1)
    matching: Literal["many", "greedy", "hungarian"] = "many"
    min_volume_ml: float = Field(default=0.0, ge=0)


class MetricSpec(Model):
    """One metric of a task.

    Parameters
    ----------
    kind : str
        Key of :data:`KINDS`.
    definition : str, optional
        Which definition of the kind; the kind's first one when left out.
    title, direction, unit : str, optional
        Override what the kind says.
    structures : list of str, optional
        Names or roles of the structures it is computed for; all when left out.
    tolerance_mm : float or "structure", optional
        Tolerance of NSD, or ``structure`` to take each structure's own.
    percentile : float, optional
        Percentile of ``hd_percentile`` (95 when left out).
    lesions : LesionRule, optional
        Matching rule of the lesion-wise kinds.
    problem : str, optional
        Name of the binary problem (classification tasks).
    empty : EmptyPolicy, optional
        The four-cell policy; the task's when left out.
    missing, failed : number, "worst", "best" or "skip"
        Score of a case without prediction, or whose run failed.
    worst : float or "diagonal", optional
        What ``worst`` means for an unbounded metric: a number in its unit, or the image's diagonal in mm.
    gate : Gate, optional
        Condition on another metric.
    decimals : int, optional
        Round every score to this many decimals (as some published scorers do).
    free : float
        Tolerance of a resource metric: the score is ``max(0, measured - free)``. For areas under a curve it is in
        the unit of the curve (MB) and comes off the curve before integrating, where it was measured.
    ranked : bool
        Whether recipes may use it; ``False`` for values that are only shown.
    """

    kind: str
    definition: str | None = None
    title: str | None = None
    direction: Direction | None = None
    unit: str | None = None
    structures: list[str] | None = None
    tolerance_mm: Annotated[float, Field(gt=0)] | Literal["structure"] | None = None
    percentile: float | None = Field(default=None, gt=0, le=100)
    lesions: LesionRule | None = None
    problem: str | None = None
    empty: EmptyPolicy | None = None
    missing: Outcome = "worst"
    failed: Outcome | None = None
    worst: float | Literal["diagonal"] | None = None
    gate: Gate | None = None
    decimals: int | None = Field(default=None, ge=0, le=12)
    free: float = Field(default=0.0, ge=0)
    ranked: bool = True

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known kinds: {', '.join(KINDS)}"
            raise ValueError(f"unknown metric kind {kind!r}; {hint}")
        return kind

    @model_validator(mode="after")
    def _parameters_fit_kind(self) -> MetricSpec:
        info = KINDS[self.kind]
        if self.definition is not None and self.definition not in info.definitions:
            allowed = ", ".join(info.definitions) or "none: leave the field out"
            raise ValueError(f"{self.kind} has no definition {self.definition!r}; allowed: {allowed}")
        if (self.tolerance_mm is not None) != (self.kind in TOLERANCE_KINDS):
            verb = "needs" if self.kind in TOLERANCE_KINDS else "takes no"
            raise ValueError(f"{self.kind} {verb} tolerance_mm (a number in mm, or 'structure')")
        if self.percentile is not None and self.kind not in PERCENTILE_KINDS:
            raise ValueError(f"{self.kind} takes no percentile")
        if self.lesions is not None and self.kind not in LESION_KINDS:
            raise ValueError(f"{self.kind} takes no lesion matching rule")
        if self.free and info.scope not in ("case", "imported"):
            raise ValueError(f"{self.kind} takes no free amount; only resource metrics do")
        if "compute" in self.outcomes() and self.kind not in COMPUTABLE_KINDS:
            raise ValueError(
                f"{self.kind} has no value for empty masks; 'compute' fits {', '.join(sorted(COMPUTABLE_KINDS))}"
            )
        if "worst" in self.outcomes() and self.worst_value(0.0) is None:
            raise ValueError(f"{self.kind} is unbounded: say what 'worst' is (worst: <number> or worst: diagonal)")
        return self

    @property
    def info(self) -> MetricKind:
        """What the toolkit knows about the kind."""
        return KINDS[self.kind]

    @property
    def definition_id(self) -> str:
        """The definition in force; empty where a kind has only one."""
        return self.definition or (self.info.definitions[0] if self.info.definitions else "")

    @property
    def better(self) -> Direction:
        """Which values are better."""
        return self.direction or self.info.direction

    @property
    def unit_name(self) -> str:
        """Unit as printed; empty for fractions and counts."""
        return self.unit if self.unit is not None else self.info.unit

    def above_free(self, measured: float) -> float:
        """Take the tolerance off a measured value; areas arrive with it taken off their curve."""
        return measured if self.kind in AREA_KINDS else max(0.0, measured - self.free)

    @property
    def name(self) -> str:
        """Title as printed; a percentile of the Hausdorff distance carries its number."""
        known = f"HD{self.percentile_value:g}" if self.kind == "hd_percentile" else self.info.title
        return self.title or known

    @property
    def percentile_value(self) -> float:
        """Percentile in force (only ``hd_percentile``)."""
        return 95.0 if self.percentile is None else self.percentile

    def outcomes(self) -> list[Cell]:
        """Return every outcome this metric may need."""
        found: list[Cell] = [self.missing]
        if self.failed is not None:
            found.append(self.failed)
        if self.empty is not None:
            found += [self.empty.both, self.empty.reference, self.empty.prediction]
        return found

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
