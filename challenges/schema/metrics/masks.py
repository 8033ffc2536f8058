"""Every family of metrics that a task of masks takes."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from medpodium.challenges.schema.base import ByKind
from medpodium.challenges.schema.metrics.instances import (
    InstanceMetric,
    PrecisionMetric,
    PresenceMetric,
    TopologyMetric,
    VariantMetric,
)
from medpodium.challenges.schema.metrics.lesions import AnyLesionMetric
from medpodium.challenges.schema.metrics.resource import AreaMetric, ResourceMetric
from medpodium.challenges.schema.metrics.structure import BettiMetric, EulerMetric, OverlapMetric, VolumeMetric
from medpodium.challenges.schema.metrics.surfaces import (
    BoundaryMetric,
    CentrelineMetric,
    NsdMetric,
    PercentileMetric,
    SurfaceMetric,
)

MaskMetric: TypeAlias = (
    OverlapMetric
    | VolumeMetric
    | SurfaceMetric
    | NsdMetric
    | PercentileMetric
    | BoundaryMetric
    | CentrelineMetric
    | EulerMetric
    | BettiMetric
    | AnyLesionMetric
    | ResourceMetric
    | AreaMetric
    | InstanceMetric
    | PrecisionMetric
    | PresenceMetric
    | VariantMetric
    | TopologyMetric
)
"""Every metric that two masks are enough for, or that a run of a container brings."""
SegmentationMetric: TypeAlias = Annotated[MaskMetric, ByKind()]
