"""Metrics of lesions: the components of a structure in two masks, matched to each other by a declared rule."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from medpodium.challenges.schema.metrics.lesion_rules import LesionRule, LesionSize
from medpodium.challenges.schema.metrics.spec import EmptyPolicy, Lazy, MetricKind
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.rules import LintCode

_EVERYTHING: tuple[Lazy, ...] = ("everything",)
_NOTHING: tuple[Lazy, ...] = ("next to nothing",)
_MATCHED = "components matched as declared"
_MEAN = f"over lesions found, missed and invented, {_MATCHED}"

Value = Annotated[float, Field(allow_inf_nan=False)] | Literal["skip"]
"""What a lesion counts that nothing can be measured on: a number, or nothing."""


class LesionFamily(StructureMetric):
    """What all metrics of lesions take.

    Parameters
    ----------
    lesions : LesionRule
        How components are matched.
    """

    lesions: LesionRule = LesionRule()

    @property
    def counts_lesions(self) -> bool:
        """Whether masks are empty for it that hold no lesion that counts."""
        return self.lesions.drops_small

    @property
    def area_unit(self) -> str:
        """Unit of sizes."""
        return "ml" if self.plane is None else f"{self.plane}²"

    def own_parameters(self) -> list[str]:
        """Return the rule by which components are matched."""
        return self.lesions.told(self.area_unit, self.plane is not None)

    def broken_plane(self, planar: bool | None) -> Iterator[tuple[LintCode, str, str]]:
        """Yield what of the rule fits only a volume, or only a plane: code, cause and fix."""
        rule = self.lesions
        if planar:
            if rule.connectivity in (6, 18):
                fix = f"write connectivity: {rule.connected(True)}"
                yield LintCode.PLANE, f"connectivity {rule.connectivity} is one of voxels, and this is a plane", fix
            if rule.min_volume_ml:
                cause = f"min_volume_ml: {rule.min_volume_ml:g}, and components of a plane have an area"
                yield LintCode.PLANE, cause, "give min_area_mm2 instead, with 'dimensions: 2'"
            return
        fix = "add 'dimensions: 2' to the task if its masks are planes"
        if rule.connectivity in (4, 8):
            yield LintCode.PLANE, f"connectivity {rule.connectivity} is one of pixels in a plane", fix
        if rule.min_area_mm2:
            yield LintCode.PLANE, "min_area_mm2 is for planes", fix


class SizedLesionFamily(LesionFamily):
    """What metrics take that can look at lesions of some sizes only.

    Parameters
    ----------
    size : LesionSize, optional
        Lesions of some sizes only.
    """

    size: LesionSize | None = None

    @property
    def counts_lesions(self) -> bool:
        """Whether masks are empty for it that hold no lesion that counts."""
        return super().counts_lesions or self.size is not None

    def own_parameters(self) -> list[str]:
        """Return the rule by which components are matched, and which of them count."""
        rule = super().own_parameters()
        return rule if self.size is None else [*rule, self.size.told(self.area_unit)]


class LesionMetric(SizedLesionFamily):
    """A count of matched components, or a rate made of such counts."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "lesion_tp": MetricKind("Lesions found", "structure", "higher", "", None, 0.0, _MATCHED, computable=True),
        "lesion_fp": MetricKind("Lesions invented", "structure", "lower", "", 0.0, None, _MATCHED, computable=True),
        "lesion_fn": MetricKind("Lesions missed", "structure", "lower", "", 0.0, None, _MATCHED, computable=True),
        "lesion_count_difference": MetricKind(
            "Lesion count difference", "structure", "lower", "", 0.0, None,
            "abs(number of predicted lesions - number of reference lesions)", computable=True,
        ),
        "lesion_f1": MetricKind(
            "Lesion-wise F1", "structure", "higher", "", 1.0, 0.0, f"2TP / (2TP+FP+FN), {_MATCHED}"
        ),
        "lesion_sensitivity": MetricKind(
            "Lesion-wise sensitivity", "structure", "higher", "", 1.0, 0.0, f"TP / (TP+FN), {_MATCHED}"
        ),
        "lesion_precision": MetricKind(
            "Lesion-wise precision", "structure", "higher", "", 1.0, 0.0, f"TP / (TP+FP), {_MATCHED}"
        ),
        "panoptic_quality": MetricKind(
            "Panoptic quality", "structure", "higher", "", 1.0, 0.0,
            "sum of IoU over TP / (TP + FP/2 + FN/2); Kirillov et al. 2019",
        ),
        "segmentation_quality": MetricKind(
            "Segmentation quality", "structure", "higher", "", 1.0, 0.0,
            "mean IoU of the matches, 0 without one; Kirillov et al. 2019",
        ),
    }  # fmt: skip
    amounts_where_empty: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "lesion_fp": ("reference",),
        "lesion_fn": ("prediction",),
        "lesion_count_difference": ("reference", "prediction"),
    }
    kind: Literal[
        "lesion_tp",
        "lesion_fp",
        "lesion_fn",
        "lesion_count_difference",
        "lesion_f1",
        "lesion_sensitivity",
        "lesion_precision",
        "panoptic_quality",
        "segmentation_quality",
    ]

    @property
    def blind_to(self) -> tuple[Lazy, ...]:
        """Lazy predictions that it cannot tell from a perfect one."""
        if self.kind == "lesion_count_difference":
            return ()
        if self.kind == "lesion_precision":
            return (*_EVERYTHING, *_NOTHING) if self.lesions.overlap == "any" else ()
        if (
            self.kind in ("panoptic_quality", "segmentation_quality")
            or self.lesions.overlap != "any"
            or self.lesions.found_from
        ):
            return ()
        if self.kind == "lesion_fp":
            return (*_EVERYTHING, *_NOTHING)
        return _EVERYTHING if self.lesions.matching == "many" else ()  # one large lesion finds them all


class ComponentVolumeMetric(LesionFamily):
    """Volume of the lesions that have no match at all, as autoPET counts it."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "fp_component_volume": MetricKind(
            "False positive volume by component", "structure", "lower", "ml", 0.0, None,
            "volume of predicted components without a match", computable=True,
        ),
        "fn_component_volume": MetricKind(
            "False negative volume by component", "structure", "lower", "ml", 0.0, None,
            "volume of reference components without a match", computable=True,
        ),
    }  # fmt: skip
    amounts_where_empty: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fp_component_volume": ("reference",),
        "fn_component_volume": ("prediction",),
    }
    kind: Literal["fp_component_volume", "fn_component_volume"]

    @property
    def blind_to(self) -> tuple[Lazy, ...]:
        """Lazy predictions that it cannot tell from a perfect one."""
        if self.lesions.overlap != "any":
            return ()
        if self.kind == "fp_component_volume":
            return (*_EVERYTHING, *_NOTHING)
        return _EVERYTHING if self.lesions.matching == "many" else ()


class LesionwiseFamily(SizedLesionFamily):
    """A mean over lesions of what is measured on each; what those families take.

    Parameters
    ----------
    missed, invented : float or "skip"
        What a lesion without a match counts: one of the reference, and a predicted one.
    all_missed : float, optional
        The mean where there are reference lesions and none of them counts anything; needed where missed ones are
        left out.
    """

    missed: Value = 0.0
    invented: Value = 0.0
    all_missed: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @property
    def counts_lesions(self) -> bool:
        """Whether masks are empty for it that hold no lesion that counts."""
        return True

    @model_validator(mode="after")
    def _something_where_all_are_missed(self) -> LesionwiseFamily:
        if self.missed == "skip" and self.all_missed is None:
            raise ValueError("missed: skip needs 'all_missed': what a prediction gets that finds no lesion")
        return self

    def computed(self, cell: Literal["both", "reference", "prediction"]) -> float:
        """Return what ``compute`` is worth where masks are empty."""
        if cell == "both":
            return math.nan
        if cell == "reference":
            return math.nan if self.invented == "skip" else self.invented
        return self.missed if self.missed != "skip" else math.nan if self.all_missed is None else self.all_missed

    def own_parameters(self) -> list[str]:
        """Return the rule, and what lesions count that nothing can be measured on."""
        words = {"skip": "left out"}
        count = [f"{name} ones {words.get(str(value), f'count {value}')}" for name, value in (
            ("missed", self.missed), ("invented", self.invented))]  # fmt: skip
        rest = [] if self.all_missed is None else [f"{self.all_missed:g} where all are missed"]
        return [*super().own_parameters(), *count, *rest]

    def broken_policy(self, policy: EmptyPolicy) -> Iterator[tuple[LintCode, str, str]]:
        """Yield what of the policy in force the metric cannot follow: code, cause and fix."""
        yield from super().broken_policy(policy)
        for cell in ("both", "reference"):
            if getattr(policy, cell) == "compute" and math.isnan(self.computed(cell)):
                cause = f"empty policy ({cell}: compute), and there is no lesion that counts anything"
                yield LintCode.WORST_UNKNOWN, cause, "give a number, 'best', 'worst' or 'skip'"


class LesionDiceMetric(LesionwiseFamily):
    """The Dice coefficient of single lesions, as a mean over them; with ``many`` against all that hit them together."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "lesion_dice": MetricKind(
            "Lesion-wise Dice", "structure", "higher", "", 1.0, 0.0, f"mean of 2|P∩R| / (|P|+|R|) {_MEAN}",
            computable=True,
        ),
    }  # fmt: skip
    kind: Literal["lesion_dice"]


class LesionNsdMetric(LesionwiseFamily):
    """The normalised surface distance of single lesions, as a mean over them.

    Parameters
    ----------
    tolerance_mm : float
        Tolerance in mm; in pixels where a plane has no mm.
    definition : {"surfel-area", "border-voxel", "border-voxel-mean"}
        What a surface is made of: weighted surface elements, or voxels at the border. Share of both surfaces taken
        together, or (``-mean``) the mean of both shares, as GaNDLF and panoptica compute it.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "lesion_nsd": MetricKind(
            "Lesion-wise NSD", "structure", "higher", "", 1.0, 0.0,
            f"mean of the normalised surface distance at a tolerance {_MEAN}", computable=True,
        ),
    }  # fmt: skip
    kind: Literal["lesion_nsd"]
    tolerance_mm: float = Field(gt=0)
    definition: Literal["surfel-area", "border-voxel", "border-voxel-mean"] = "surfel-area"

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition

    def own_parameters(self) -> list[str]:
        """Return the definition, the tolerance and the rule."""
        return [self.definition, f"tolerance {self.tolerance_mm:g} {self.plane or 'mm'}", *super().own_parameters()]


class LesionPercentileMetric(LesionwiseFamily):
    """A percentile of the surface distances of single lesions, as a mean over them.

    Parameters
    ----------
    percentile : float
        Which one, above 0 and up to 100.
    definition : {"directed-max-area-weighted", "directed-max", "pooled"}
        As for ``hd_percentile``.
    missed, invented : float or "skip"
        What a lesion without a match counts, in mm.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "lesion_hd_percentile": MetricKind(
            "Lesion-wise Hausdorff distance percentile", "structure", "lower", "mm", 0.0, None,
            f"mean of the percentile of the surface distances {_MEAN}", computable=True,
        ),
    }  # fmt: skip
    kind: Literal["lesion_hd_percentile"]
    percentile: float = Field(default=95.0, gt=0, le=100)
    definition: Literal["directed-max-area-weighted", "directed-max", "pooled"] = "directed-max-area-weighted"
    missed: Value = Field()
    invented: Value = Field()

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition

    @property
    def name(self) -> str:
        """Name as printed; it carries the percentile."""
        return self.title or f"Lesion-wise HD{self.percentile:g}"

    def own_parameters(self) -> list[str]:
        """Return the definition, the percentile and the rule."""
        return [self.definition, f"{self.percentile:g} %", *super().own_parameters()]


AnyLesionMetric: TypeAlias = (
    LesionMetric | ComponentVolumeMetric | LesionDiceMetric | LesionNsdMetric | LesionPercentileMetric
)
