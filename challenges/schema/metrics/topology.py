"""Metrics of topology: how many pieces, tunnels and cavities two masks have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from medpodium.challenges.schema.metrics.plane import plane_connectivity
from medpodium.challenges.schema.metrics.spec import Lazy, MetricKind
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.challenges.schema.rules import LintCode

_LAZY: tuple[Lazy, ...] = ("everything", "next to nothing")
_OPPOSITE = {6: 26, 26: 6, 4: 8, 8: 4}


def _difference(title: str, formula: str) -> MetricKind:
    return MetricKind(title, "structure", "lower", "", 0.0, None, formula, computable=True, blind_to=_LAZY)


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
