"""Metrics with one value per structure of a case: two masks are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr, model_validator

from medpodium.challenges.schema.base import Model
from medpodium.challenges.schema.metrics.plane import Length, in_plane, plane_connectivity
from medpodium.challenges.schema.metrics.spec import Cell, EmptyPolicy, Lazy, MetricKind, MetricSpec
from medpodium.challenges.schema.rules import LintCode

_EVERYTHING: tuple[Lazy, ...] = ("everything",)
_NOTHING: tuple[Lazy, ...] = ("next to nothing",)
_MATCHED = "components matched as `overlap` declares"


def _fraction(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "structure", "higher", "", 1.0, 0.0, formula)


def _amount(
    title: str,
    unit: str,
    formula: str,
    *,
    computable: bool = True,
    blind_to: tuple[Lazy, ...] = (),
    signed: bool = False,
) -> MetricKind:
    return MetricKind(title, "structure", "lower", unit, 0.0, None, formula, computable, blind_to, signed)


def _hits(title: str, unit: str, formula: str, blind_to: tuple[Lazy, ...] = ()) -> MetricKind:
    return MetricKind(title, "structure", "higher", unit, None, 0.0, formula, computable=True, blind_to=blind_to)


class Gate(Model):
    """Replace a metric by a number where another metric of the same structure is below a threshold."""

    metric: str
    below: float
    value: float = 0.0


class StructureMetric(MetricSpec):
    """A metric that compares the masks of a structure.

    Parameters
    ----------
    structures : list of str, optional
        Names or roles of the structures it is computed for; all when left out.
    empty : EmptyPolicy, optional
        The four-cell policy; the task's when left out.
    gate : Gate, optional
        Condition on another metric.
    """

    structures: list[str] | None = None
    empty: EmptyPolicy | None = None
    gate: Gate | None = None
    _plane: Length | None = PrivateAttr(default=None)

    @property
    def plane(self) -> Length | None:
        """Unit of distances where the task's masks are measured in the plane; ``None`` for volumes."""
        return self._plane

    def measured_in(self, plane: Length) -> StructureMetric:
        """Return the metric as it is in a plane, where distances have this unit."""
        own = self.model_copy()
        own._plane = plane
        return own

    @property
    def info(self) -> MetricKind:
        """What the toolkit knows about the kind, said for a plane where the task's masks are measured in one."""
        known = self.known[self.kind]
        return known if self._plane is None else in_plane(known, self._plane)

    def broken_plane(self, planar: bool | None) -> Iterator[tuple[LintCode, str, str]]:
        """Yield what fits only a volume, or only a plane: code, cause and fix.

        Parameters
        ----------
        planar : bool, optional
            Whether the task's masks are measured in the plane; ``None`` where the files decide.
        """
        yield from ()

    @model_validator(mode="after")
    def _computable(self) -> StructureMetric:
        if "compute" in self.outcomes() and not self.info.computable:
            raise ValueError(
                f"{self.kind} has no value for empty masks; 'compute' fits {', '.join(computable_kinds())}"
            )
        return self

    def outcomes(self) -> list[Cell]:
        """Return every outcome this metric may need."""
        cells = [] if self.empty is None else [self.empty.both, self.empty.reference, self.empty.prediction]
        return [*super().outcomes(), *cells]

    def own_parameters(self) -> list[str]:
        """Return what its family adds to :meth:`parameters`."""
        return []

    def parameters(self) -> list[str]:
        """Return what besides its kind makes the metric what it is, in a few words each."""
        gate = self.gate
        gated = [f"{gate.value:g} where {gate.metric} < {gate.below:g}"] if gate else []
        return [*self.own_parameters(), *gated, *super().parameters()]

    def broken(self, metrics: Mapping[str, MetricSpec]) -> Iterator[tuple[LintCode, str, str]]:
        """Yield what is wrong with it among the metrics of its task: code, cause and fix."""
        if self.gate and self.gate.metric not in metrics:
            cause = f"gate on {self.gate.metric!r}, which is no metric of the task"
            yield LintCode.GATE_UNKNOWN, cause, f"use one of {', '.join(metrics)}"

    def broken_policy(self, policy: EmptyPolicy) -> Iterator[tuple[LintCode, str, str]]:
        """Yield what of the policy in force the metric cannot follow: code, cause and fix."""
        for cell in ("both", "reference", "prediction"):
            outcome = getattr(policy, cell)
            if outcome == "compute" and not self.info.computable:
                cause = f"empty policy ({cell}: compute), but {self.kind} has no value for empty masks"
                yield LintCode.WORST_UNKNOWN, cause, f"'compute' fits {', '.join(computable_kinds())}"
            if outcome == "worst" and self.worst_value(0.0) is None:
                cause = f"empty policy ({cell}: worst) on an unbounded metric"
                fix = "add 'worst: <number>' or 'worst: diagonal' to the metric"
                yield LintCode.WORST_UNKNOWN, cause, fix
            if outcome == "best" and self.best_value() is None:
                cause = f"empty policy ({cell}: best), but {self.kind} has no best value"
                yield LintCode.WORST_UNKNOWN, cause, "give a number or 'skip'"


class OverlapMetric(StructureMetric):
    """Share of voxels, or of volume, that two masks have in common."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "dice": _fraction("Dice similarity coefficient", "2|P∩R| / (|P|+|R|); Dice 1945"),
        "iou": _fraction("Intersection over union", "|P∩R| / |P∪R|; Jaccard 1912"),
        "volume_similarity": _fraction("Volume similarity", "1 - |FN-FP| / (2TP+FP+FN); Taha and Hanbury 2015"),
    }
    kind: Literal["dice", "iou", "volume_similarity"]


class VolumeMetric(StructureMetric):
    """A volume, or a difference of volumes relative to the reference's."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "relative_volume_difference": _amount(
            "Relative volume difference (signed)",
            "",
            "(|P|-|R|) / |R|",
            computable=False,
            blind_to=_NOTHING,
            signed=True,
        ),
        "absolute_relative_volume_difference": _amount(
            "Relative volume difference (absolute)", "", "abs(|P|-|R|) / |R|", computable=False
        ),
        "tp_volume": _hits("True positive volume", "ml", "|P∩R| x voxel volume", blind_to=_EVERYTHING),
        "fp_volume": _amount("False positive volume", "ml", "|P\\R| x voxel volume", blind_to=_NOTHING),
        "fn_volume": _amount("False negative volume", "ml", "|R\\P| x voxel volume", blind_to=_EVERYTHING),
    }
    kind: Literal[
        "relative_volume_difference", "absolute_relative_volume_difference", "tp_volume", "fp_volume", "fn_volume"
    ]


class LesionRule(Model):
    """How predicted components are matched to reference components; see :mod:`medpodium.scoring.measures.lesions`.

    Parameters
    ----------
    connectivity : {6, 18, 26}, or {4, 8} in a plane
        Which voxels, or pixels, are neighbours; 26 (in a plane 8) when left out.
    overlap : {"any", "iou", "dice"}
        What makes a predicted lesion hit a reference lesion.
    threshold : float
        Smallest overlap that is a hit (``iou`` and ``dice``).
    matching : {"many", "greedy", "hungarian"}
        How hits become matches.
    min_volume_ml : float
        Smaller components are removed from both masks.
    min_area_mm2 : float
        The same in a plane, in mm²; in pixels where it has no mm.
    """

    connectivity: Literal[4, 6, 8, 18, 26] = 26
    overlap: Literal["any", "iou", "dice"] = "any"
    threshold: float = Field(default=0.5, gt=0, le=1)
    matching: Literal["many", "greedy", "hungarian"] = "many"
    min_volume_ml: float = Field(default=0.0, ge=0)
    min_area_mm2: float = Field(default=0.0, ge=0)

    def connected(self, planar: bool) -> int:
        """Return which voxels, or pixels of a plane, are neighbours."""
        return plane_connectivity(self.connectivity) if planar else self.connectivity

    def smallest(self, planar: bool) -> float:
        """Return the smallest component that counts, in ml; in a plane in mm²."""
        return self.min_area_mm2 if planar else self.min_volume_ml


class LesionMetric(StructureMetric):
    """A count of matched components, or a rate made of such counts.

    Parameters
    ----------
    lesions : LesionRule
        How components are matched.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "lesion_tp": _hits("Lesions found", "", _MATCHED),
        "lesion_fp": _amount("Lesions invented", "", _MATCHED),
        "lesion_fn": _amount("Lesions missed", "", _MATCHED),
        "lesion_f1": _fraction("Lesion-wise F1", f"2TP / (2TP+FP+FN), {_MATCHED}"),
        "lesion_sensitivity": _fraction("Lesion-wise sensitivity", f"TP / (TP+FN), {_MATCHED}"),
        "panoptic_quality": _fraction(
            "Panoptic quality", "sum of IoU over TP / (TP + FP/2 + FN/2); Kirillov et al. 2019"
        ),
    }
    kind: Literal["lesion_tp", "lesion_fp", "lesion_fn", "lesion_f1", "lesion_sensitivity", "panoptic_quality"]
    lesions: LesionRule = LesionRule()

    @property
    def blind_to(self) -> tuple[Lazy, ...]:
        """Lazy predictions that it cannot tell from a perfect one."""
        if self.kind == "panoptic_quality" or self.lesions.overlap != "any":
            return ()
        if self.kind == "lesion_fp":
            return (*_EVERYTHING, *_NOTHING)
        return _EVERYTHING if self.lesions.matching == "many" else ()  # one large lesion finds them all

    def own_parameters(self) -> list[str]:
        """Return the rule by which components are matched."""
        rule = self.lesions
        hit = f"overlap {rule.overlap}" if rule.overlap == "any" else f"overlap {rule.overlap} {rule.threshold:g}"
        planar = self.plane is not None
        unit = f"{self.plane}²" if planar else "ml"
        smallest = [f"components under {rule.smallest(planar):g} {unit} removed"] if rule.smallest(planar) else []
        return [f"connectivity {rule.connected(planar)}", hit, f"matching {rule.matching}", *smallest]

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


def computable_kinds() -> list[str]:
    """Return the kinds whose formula holds for empty masks, sorted."""
    families = _families(StructureMetric)
    return sorted(kind for family in families for kind, info in family.known.items() if info.computable)


def _families(base: type[StructureMetric]) -> Iterator[type[StructureMetric]]:
    for family in base.__subclasses__():
        yield family
        yield from _families(family)
