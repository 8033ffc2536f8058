"""Metrics of surfaces: two masks are compared by where they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from medpodium.challenges.schema.metrics.spec import MetricKind
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.rules import LintCode

_DEEPMIND = "Nikolov et al. 2018, arXiv:1809.04430 (surface-distance)"


def _distance(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "structure", "lower", "mm", 0.0, None, formula)


class EdgedMetric(StructureMetric):
    """A metric that has to know whether a structure ends where the image does.

    Parameters
    ----------
    edge : {"surface", "ignore"}
        What lies beyond the image: background, so that a structure that reaches the border has a surface there; or
        the same as the outermost voxels, so that it has none.
    """

    edge: Literal["surface", "ignore"] = "surface"

    def own_parameters(self) -> list[str]:
        """Return what is said of the image's border, where it is not the default."""
        return ["image border is no surface"] if self.edge == "ignore" else []


class DistanceMetric(EdgedMetric):
    """A distance between two surfaces, in mm or in voxels, with or without a largest value.

    Parameters
    ----------
    distances : {"mm", "voxels"}
        The voxel size of the file counts, or every voxel has the size 1 along every axis.
    cap : float, optional
        Largest value, in mm or voxels: what is larger counts as much, and ``worst`` is this where nothing else is said.
    """

    distances: Literal["mm", "voxels"] = "mm"
    cap: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _worst_has_the_unit(self) -> DistanceMetric:
        if self.distances == "voxels" and self.worst == "diagonal":
            raise ValueError("the diagonal is in mm and these distances are in voxels: give worst, or cap, as a number")
        return self

    @property
    def info(self) -> MetricKind:
        """What is known about the kind, with the unit and the largest value that were declared."""
        known = super().info
        unit = ("px" if self.plane else "voxels") if self.distances == "voxels" else known.unit
        return replace(known, unit=unit, worst=self.cap)

    def own_parameters(self) -> list[str]:
        """Return the definition, the border, the unit and the largest value."""
        voxels = ["voxels of size 1"] if self.distances == "voxels" else []
        capped = [] if self.cap is None else [f"at most {self.cap:g} {self.unit_name}"]
        return [self.definition_id, *super().own_parameters(), *voxels, *capped]


class SurfaceMetric(DistanceMetric):
    """A distance between two surfaces.

    Parameters
    ----------
    definition : {"surfel-area", "border-voxel"}
        What the surface is made of: weighted surface elements, or voxels at the border.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "hd": _distance(
            "Hausdorff distance", "largest distance from either surface to the other; Huttenlocher et al. 1993"
        ),
        "assd": _distance(
            "Average symmetric surface distance", "mean distance over the surface elements of both directions together"
        ),
        "masd": _distance("Mean average surface distance", "mean of the two directed mean distances"),
    }
    kind: Literal["hd", "assd", "masd"]
    definition: Literal["surfel-area", "border-voxel"] = "surfel-area"

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition


class PercentileMetric(DistanceMetric):
    """A percentile of the surface distances.

    Parameters
    ----------
    definition : {"directed-max-area-weighted", "directed-max", "directed-max-26", "pooled"}
        The larger of both directions over weighted surface elements or over border voxels (with any of 6, or of 26,
        neighbours outside), or one percentile of both directions together.
    percentile : float
        Which one, above 0 and up to 100.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "hd_percentile": _distance(
            "Hausdorff distance percentile",
            f"percentile of the surface distances, pooled or the larger of both directions; {_DEEPMIND}",
        ),
    }
    kind: Literal["hd_percentile"]
    definition: Literal["directed-max-area-weighted", "directed-max", "directed-max-26", "pooled"] = (
        "directed-max-area-weighted"
    )
    percentile: float = Field(default=95.0, gt=0, le=100)

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition

    @property
    def name(self) -> str:
        """Name as printed; it carries the percentile."""
        return self.title or f"HD{self.percentile:g}"

    def own_parameters(self) -> list[str]:
        """Return the definition and the percentile, and what is said of distances."""
        definition, *more = super().own_parameters()
        return [definition, f"{self.percentile:g} %", *more]


class NsdMetric(EdgedMetric):
    """The normalised surface distance at a tolerance.

    Parameters
    ----------
    definition : {"surfel-area", "border-voxel"}
        What the surface is made of: weighted surface elements, or voxels at the border.
    tolerance_mm : float or "structure"
        Tolerance in mm, or ``structure`` to take each structure's own. In pixels where a plane has no mm.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "nsd": MetricKind(
            "Normalised surface distance",
            "structure",
            "higher",
            "",
            1.0,
            0.0,
            f"share of both surfaces within the tolerance of the other; {_DEEPMIND}",
        ),
    }
    kind: Literal["nsd"]
    definition: Literal["surfel-area", "border-voxel"] = "surfel-area"
    tolerance_mm: Annotated[float, Field(gt=0)] | Literal["structure"] = Field(
        description="a number in mm, or 'structure'"
    )

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition

    def own_parameters(self) -> list[str]:
        """Return the definition, the tolerance and the border."""
        per = "per structure" if self.tolerance_mm == "structure" else f"{self.tolerance_mm:g} {self.plane or 'mm'}"
        return [self.definition, f"tolerance {per}", *super().own_parameters()]


class BoundaryMetric(EdgedMetric):
    """Overlap of the rims of two masks.

    Parameters
    ----------
    definition : {"eroded", "distance"}
        The rim is what an erosion takes away, step by step over all neighbours (26, in a plane 8), as published; or
        what is within a distance in mm of the nearest voxel outside.
    width : float
        Of the rim: steps of the erosion, a whole number; or mm.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "boundary_iou": MetricKind(
            "Boundary IoU",
            "structure",
            "higher",
            "",
            1.0,
            0.0,
            "intersection over union of the rims of both masks, of a declared width; Cheng et al. 2021",
        ),
    }
    kind: Literal["boundary_iou"]
    definition: Literal["eroded", "distance"] = "eroded"
    width: float = Field(gt=0, description="voxels that are eroded, or with 'definition: distance' mm")

    @model_validator(mode="after")
    def _whole_steps(self) -> BoundaryMetric:
        if self.definition == "eroded" and self.width != int(self.width):
            raise ValueError(f"width is {self.width:g}: an erosion goes in whole steps (or say 'definition: distance')")
        return self

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition

    def own_parameters(self) -> list[str]:
        """Return the definition, the width and the border."""
        unit = (self.plane or "mm") if self.definition == "distance" else ("px" if self.plane else "voxels")
        return [self.definition, f"width {self.width:g} {unit}", *super().own_parameters()]


class CentrelineMetric(StructureMetric):
    """Agreement of the centrelines of tubes.

    Parameters
    ----------
    definition : {"lee-1994", "zhang-1984"}
        How a mask is thinned: Lee et al. 1994, in a volume or a plane; or Zhang and Suen 1984, in a plane only. Both as
        scikit-image does it.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "cldice": MetricKind(
            "Centreline Dice",
            "structure",
            "higher",
            "",
            1.0,
            0.0,
            "2 Tp Ts / (Tp + Ts); Tp is the share of P's skeleton in R, Ts that of R's skeleton in P; Shit et al. 2021",
        ),
    }
    kind: Literal["cldice"]
    definition: Literal["lee-1994", "zhang-1984"] = "lee-1994"

    @property
    def definition_id(self) -> str:
        """The definition in force."""
        return self.definition

    def own_parameters(self) -> list[str]:
        """Return the definition."""
        return [self.definition]

    def broken_plane(self, planar: bool | None) -> Iterator[tuple[LintCode, str, str]]:
        """Yield a thinning that is for planes only: code, cause and fix."""
        if self.definition == "zhang-1984" and not planar:
            fix = "use definition: lee-1994, or add 'dimensions: 2' to the task if its masks are planes"
            yield LintCode.PLANE, "zhang-1984 thins planes, and these are volumes", fix
