"""Metrics of objects: instances, components or whole structures are matched in every case and pooled over all cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medpodium.challenges.schema.base import Model, Name
from medpodium.challenges.schema.metrics.pooled import PooledMetric
from medpodium.challenges.schema.metrics.spec import MetricKind

Overlap = Annotated[float, Field(gt=0, le=1)]
COCO_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def _share(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "pooled", "higher", "", 1.0, 0.0, formula)


class ObjectMetric(PooledMetric):
    """A metric of matched objects, per structure, over all cases together.

    Parameters
    ----------
    structures : list of str, optional
        Names or roles of the structures it is computed for; all when left out.
    """

    structures: list[str] | None = None

    @property
    def overlaps(self) -> tuple[float, ...]:
        """Intersections over union from which on a pair of objects is a match; one value or several."""
        return (0.5,)


class MatchedMetric(ObjectMetric):
    """A metric of objects that are matched one to one.

    Parameters
    ----------
    objects : {"instances", "components"}
        What an object is: a label of a structure that says ``instances``, or a connected component.
    connectivity : {6, 18, 26}
        Which voxels of a component are neighbours (in a plane 6 is 4, and 18 and 26 are 8).
    matching : {"greedy", "hungarian"}
        Largest intersection over union first, or the largest sum of them; from a threshold above one half there is no
        choice.
    """

    objects: Literal["instances", "components"] = "instances"
    connectivity: Literal[6, 18, 26] = 26
    matching: Literal["greedy", "hungarian"] = "greedy"

    def parameters(self) -> list[str]:
        """Return what an object is and how objects are matched."""
        near = [f"connectivity {self.connectivity}"] if self.objects == "components" else []
        return [self.objects, *near, f"matching {self.matching}", *super().parameters()]


class InstanceMetric(MatchedMetric):
    """Detection and segmentation of objects at one threshold.

    Parameters
    ----------
    threshold : float
        Smallest intersection over union of a match.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "instance_f1": _share("Instance F1", "2TP / (2TP+FP+FN), objects matched one to one"),
        "instance_pq": _share(
            "Panoptic quality (pooled)", "sum of IoU over TP / (TP + FP/2 + FN/2); Kirillov et al. 2019"
        ),
        "instance_sq": _share("Segmentation quality (pooled)", "mean IoU of the matches; Kirillov et al. 2019"),
        "instance_rq": _share("Recognition quality (pooled)", "TP / (TP + FP/2 + FN/2); Kirillov et al. 2019"),
        "instance_dice": _share("Mean Dice of matched instances", "mean Dice of the matches"),
    }
    kind: Literal["instance_f1", "instance_pq", "instance_sq", "instance_rq", "instance_dice"]
    threshold: Overlap = 0.5

    @property
    def overlaps(self) -> tuple[float, ...]:
        """The threshold."""
        return (self.threshold,)

    def parameters(self) -> list[str]:
        """Return the threshold and what is said of objects."""
        return [f"IoU {self.threshold:g}", *super().parameters()]


class PrecisionMetric(MatchedMetric):
    """Average precision of objects without confidences.

    Parameters
    ----------
    thresholds : list of float
        Intersections over union whose precisions are averaged; 0.5, 0.55, ... 0.95 when left out.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "instance_ap": _share(
            "Average precision (instances)",
            "mean over the thresholds of TP / (TP+FP+FN), objects matched one to one; Caicedo et al. 2019",
        ),
    }
    kind: Literal["instance_ap"]
    thresholds: tuple[Overlap, ...] = Field(default=COCO_THRESHOLDS, min_length=1)

    @property
    def overlaps(self) -> tuple[float, ...]:
        """The thresholds."""
        return self.thresholds

    @property
    def name(self) -> str:
        """Name as printed; it carries the thresholds."""
        if self.title or (len(self.thresholds) > 1 and self.thresholds != COCO_THRESHOLDS):
            return self.title or self.info.title
        return f"AP{100 * self.thresholds[0]:g}" if len(self.thresholds) == 1 else "AP50..95"

    def parameters(self) -> list[str]:
        """Return the thresholds and what is said of objects."""
        return ["IoU " + ", ".join(f"{one:g}" for one in self.thresholds), *super().parameters()]


class PresenceMetric(ObjectMetric):
    """Whether a structure that some cases lack was found, over all cases.

    Parameters
    ----------
    threshold : float
        Smallest intersection over union by which a structure that is there is found.
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "presence_f1": _share(
            "F1 of presence",
            "2TP / (2TP+FP+FN) over cases: FP where only P has the structure, FN where R has it and IoU is small",
        ),
    }
    kind: Literal["presence_f1"]
    threshold: Overlap = 0.5

    @property
    def overlaps(self) -> tuple[float, ...]:
        """The threshold."""
        return (self.threshold,)

    def parameters(self) -> list[str]:
        """Return the threshold."""
        return [f"IoU {self.threshold:g}", *super().parameters()]


class Edge(Model):
    """An edge of a graph of structures: it is there where a structure is, and, if that is said, touches another one.

    Parameters
    ----------
    structure : str
        The structure that has to be there.
    touches : str, optional
        The structure that one of its 26 (in a plane 8) neighbours has to belong to.
    """

    structure: Name
    touches: Name | None = None

    @property
    def told(self) -> str:
        """The edge in a few words."""
        return self.structure if self.touches is None else f"{self.structure} at {self.touches}"


class VariantFamily(PooledMetric):
    """Whether the anatomical variant of a case is told, as recall averaged over the variants that the references have.

    Parameters
    ----------
    edges : list of Edge
        Which of them are there makes the variant.
    """

    edges: list[Edge] = Field(min_length=1)

    @property
    def needed(self) -> list[str]:
        """Every structure that it names."""
        names = [name for edge in self.edges for name in (edge.structure, edge.touches) if name is not None]
        return list(dict.fromkeys(names))

    def parameters(self) -> list[str]:
        """Return the edges."""
        return ["edges " + ", ".join(edge.told for edge in self.edges), *super().parameters()]


class VariantMetric(VariantFamily):
    """Whether a prediction has the edges of the reference."""

    known: ClassVar[Mapping[str, MetricKind]] = {
        "variant_accuracy": _share(
            "Variant-balanced graph accuracy", "mean over the variants R has of the share of cases with the same edges"
        ),
    }
    kind: Literal["variant_accuracy"]


class TopologyMetric(VariantFamily):
    """Whether a prediction has the pieces and the neighbours of the reference.

    Parameters
    ----------
    compared : list of str
        Structures that have to be found, in as many pieces and with the same neighbours.
    threshold : float
        Smallest intersection over union by which a structure is found.
    left_right : list of pair of str
        Left and right structures; the first pair that the prediction has may not be swapped (the left one lies at the
        larger x, as in files in the order left, posterior, superior).
    """

    known: ClassVar[Mapping[str, MetricKind]] = {
        "topology_match": _share(
            "Variant-balanced topology match rate",
            "mean over the variants R has of the share of cases with the same pieces and neighbours",
        ),
    }
    kind: Literal["topology_match"]
    compared: list[Name] = Field(min_length=1)
    threshold: Overlap = 0.5
    left_right: list[tuple[Name, Name]] = Field(default_factory=list)

    @property
    def needed(self) -> list[str]:
        """Every structure that it names."""
        sides = [name for pair in self.left_right for name in pair]
        return list(dict.fromkeys([*super().needed, *self.compared, *sides]))

    def parameters(self) -> list[str]:
        """Return the edges, and what else is compared."""
        return [*super().parameters(), f"compared {', '.join(self.compared)}", f"IoU {self.threshold:g}"]
