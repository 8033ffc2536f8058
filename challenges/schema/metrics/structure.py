"""Metrics with one value per structure of a case: two masks are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import PrivateAttr, model_validator

from medpodium.challenges.schema.base import Model
from medpodium.challenges.schema.metrics.plane import Length, in_plane, plane_connectivity
from medpodium.challenges.schema.metrics.spec import Cell, EmptyPolicy, Lazy, MetricKind, MetricSpec
from medpodium.challenges.schema.rules import LintCode

_EVERYTHING: tuple[Lazy, ...] = ("everything",)
_NOTHING: tuple[Lazy, ...] = ("next to nothing",)
_OPPOSITE = {6: 26, 26: 6, 4: 8, 8: 4}


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

    amounts_where_empty: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Cells of a policy in which a kind of the family is some amount above 0, and not 0."""

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

    def computed(self, cell: Literal["both", "reference", "prediction"]) -> float:
        """Return what ``compute`` is worth where masks are empty, as far as that is known without the masks.

        Parameters
        ----------
        cell : {"both", "reference", "prediction"}
            Which of them are empty, as in :class:`EmptyPolicy`.

        Returns
        -------
        float
            Infinite where it is some amount above 0.
        """
        return math.inf if cell in self.amounts_where_empty.get(self.kind, ()) else 0.0

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
        "absolute_volume_difference": _amount("Volume difference (absolute)", "ml", "abs(|P|-|R|) x voxel volume"),
        "tp_volume": _hits("True positive volume", "ml", "|P∩R| x voxel volume", blind_to=_EVERYTHING),
        "fp_volume": _amount("False positive volume (voxel-wise)", "ml", "|P\\R| x voxel volume", blind_to=_NOTHING),
        "fn_volume": _amount("False negative volume (voxel-wise)", "ml", "|R\\P| x voxel volume", blind_to=_EVERYTHING),
    }
    amounts_where_empty: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "absolute_volume_difference": ("reference", "prediction"),
        "fp_volume": ("reference",),
        "fn_volume": ("prediction",),
    }
    kind: Literal[
        "relative_volume_difference",
        "absolute_relative_volume_difference",
        "absolute_volume_difference",
        "tp_volume",
        "fp_volume",
        "fn_volume",
    ]


def _difference(title: str, formula: str) -> MetricKind:
    return MetricKind(
        title, "structure", "lower", "", 0.0, None, formula, computable=True, blind_to=(*_EVERYTHING, *_NOTHING)
    )


class EulerMetric(StructureMetric):
    """A difference of topology."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "euler_error": _difference(
            "Euler number error", "abs(χ(P) - χ(R)), 6-connected foreground, 26-connected background"
        ),
    }
    kind: Literal["euler_error"]


class BettiMetric(StructureMetric):
    """A difference of Betti numbers.

    Parameters
    ----------
    connectivity : {6, 26}, or {4, 8} in a plane
        Which voxels, or pixels, of the structure are neighbours; of the background it is the other of both. 26 (in a
        plane 8) when left out.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "betti0_error": _difference("Betti-0 error", "abs(b0(P) - b0(R)), b0 is the number of connected components"),
        "betti1_error": _difference("Betti-1 error", "abs(b1(P) - b1(R)), b1 = b0 + cavities - χ counts tunnels"),
    }
    kind: Literal["betti0_error", "betti1_error"]
    connectivity: Literal[4, 6, 8, 26] = 26

    def connected(self, planar: bool) -> int:
        """Return which voxels, or pixels of a plane, are neighbours in the structure."""
        return plane_connectivity(self.connectivity) if planar else self.connectivity

    @property
    def definition_id(self) -> str:
        """The definition in force: neighbours in the structure, and in the background."""
        own = self.connected(self.plane is not None)
        return f"connectivity-{own}-{_OPPOSITE[own]}"

    def own_parameters(self) -> list[str]:
        """Return the connectivity of structure and background."""
        own = self.connected(self.plane is not None)
        return [f"connectivity {own}, background {_OPPOSITE[own]}"]

    def broken_plane(self, planar: bool | None) -> Iterator[tuple[LintCode, str, str]]:
        """Yield a connectivity that fits only a volume, or only a plane: code, cause and fix."""
        own = self.connectivity
        if planar and own == 6:
            yield LintCode.PLANE, "connectivity 6 is one of voxels, and this is a plane", "write connectivity: 4"
        if not planar and own in (4, 8):
            fix = "add 'dimensions: 2' to the task if its masks are planes"
            yield LintCode.PLANE, f"connectivity {own} is one of pixels in a plane", fix


def computable_kinds() -> list[str]:
    """Return the kinds whose formula holds for empty masks, sorted."""
    families = _families(StructureMetric)
    return sorted(kind for family in families for kind, info in family.known.items() if info.computable)


def _families(base: type[StructureMetric]) -> Iterator[type[StructureMetric]]:
    for family in base.__subclasses__():
        yield family
        yield from _families(family)
