"""From declared metrics to numbers: which computation a metric kind and its definition id stand for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.lesions import LesionFamily
from medpodium.challenges.schema.metrics.structure import BettiMetric, EulerMetric, StructureMetric
from medpodium.challenges.schema.metrics.surfaces import EdgedMetric
from medpodium.findings import Finding
from medpodium.scoring.kinds.segmentation.values.surfaces import edgeless_size, surface_value
from medpodium.scoring.masks.geometry import DEFAULT_TOLERANCE, Geometry
from medpodium.scoring.masks.segments.placing import Placement, placement
from medpodium.scoring.measures import overlap
from medpodium.scoring.measures.pair import Crop, PairMeasures, ReferenceCase, Rows
from medpodium.scoring.measures.surfaces import points

if TYPE_CHECKING:
    from medpodium.scoring.kinds.segmentation.values.lesions import LesionScores

_CROPS: dict[str, Crop] = {
    "none": "none",
    "reference-z": "corrected",
    "reference-z-off-by-one": "off-by-one",
}

_OVERLAPS: dict[str, Callable[[overlap.Overlap], float]] = {
    "dice": overlap.dice,
    "iou": overlap.iou,
    "volume_similarity": overlap.volume_similarity,
    "relative_volume_difference": overlap.relative_volume_difference,
    "absolute_relative_volume_difference": overlap.absolute_relative_volume_difference,
    "absolute_volume_difference": overlap.absolute_volume_difference,
    "tp_volume": overlap.tp_volume,
    "fp_volume": overlap.fp_volume,
    "fn_volume": overlap.fn_volume,
}

_BETTI = {"betti0_error": 0, "betti1_error": 1}
_VOXELS = {4: 6, 8: 26}
"""What neighbours of pixels are among the voxels of a single slice."""


def _looks_closer(spec: StructureMetric) -> bool:
    """Return whether a mask may hold nothing that a metric counts although it has voxels."""
    if isinstance(spec, LesionFamily):
        return spec.counts_lesions
    return isinstance(spec, EdgedMetric) and spec.edge == "ignore"


def _label_counts(labels: points.Volume) -> npt.NDArray[np.int64]:
    """Return the number of voxels of every label from 0 to 65535.

    Slice by slice, because ``bincount`` first widens what it is given to eight bytes per voxel.
    """
    counts = np.zeros(65536, np.int64)
    for slab in labels:
        found = np.bincount(slab.ravel())
        counts[: found.size] += found
    return counts


@dataclass(frozen=True, eq=False)
class Volume:
    """The structures of one mask on its grid.

    Parameters
    ----------
    labels : ndarray of uint8 or uint16, shape (z, y, x), optional
        Label map; ``None`` where structures overlap.
    geometry : Geometry
        The grid.
    findings : tuple of Finding
        What was odd but usable about the files.
    single : mapping of str to ndarray of uint8, shape (z, y, x)
        One 0/1 array per stored structure, where structures overlap.
    unusable : mapping of str to str
        Stored structures whose own file is not usable, and why; blank where there is no such file.
    planar : bool
        Whether it is measured in the plane (:mod:`medpodium.scoring.kinds.segmentation.plane`).
    beside : mapping of int to ndarray of uint8, shape (z, y, x)
        Where structures overlap: voxels of labels that no structure has and that count (``ignore_labels``), as 0/1.
    strangers : str
        Segments that are no structure, in words; blank where there is none (:mod:`medpodium.scoring.masks.named`).
    rows : pair of ndarray of int32, shape (z, y), optional
        Extent of every row of the label map, where reading it told (:mod:`medpodium.scoring.masks.sparse`).
    """

    labels: points.Volume | None
    geometry: Geometry
    findings: tuple[Finding, ...] = ()
    single: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    planar: bool = False
    beside: Mapping[int, npt.NDArray[np.uint8]] = field(default_factory=dict)
    strangers: str = ""
    rows: Rows | None = None

    def onto(self, place: Placement, grid: Geometry) -> Volume:
        """Return the volume on another grid that holds all of its voxels."""
        labels = None if self.labels is None else place.put(self.labels, grid)
        single = {name: place.put(array, grid) for name, array in self.single.items()}
        beside = {label: place.put(array, grid) for label, array in self.beside.items()}
        return replace(self, labels=labels, single=single, beside=beside, geometry=grid, rows=None)

    def lost(self, task: SegmentationTask, structure: str) -> str | None:
        """Return why a structure, or a part of a union, is not there: blank for no file, ``None`` if it is."""
        wanted = task.structures[structure].labels
        reasons = [why for name, why in self.unusable.items() if task.structures[name].labels <= wanted]
        return max(reasons, default=None)

    def marked(self, labels: Collection[int]) -> npt.NDArray[np.bool_] | None:
        """Return where a volume has one of these labels, shape (z, y, x); ``None`` where it has none of them.

        Where structures overlap only labels that no structure has are asked.
        """
        if self.labels is None:
            regions = [array > 0 for label, array in self.beside.items() if label in labels]
            return np.logical_or.reduce(regions) if regions else None
        if not labels:
            return None
        lookup = np.zeros(np.iinfo(self.labels.dtype).max + 1, dtype=np.bool_)
        lookup[[label for label in labels if label < lookup.size]] = True
        found: npt.NDArray[np.bool_] = lookup[self.labels]
        return found if found.any() else None

    def without(self, region: npt.NDArray[np.bool_] | None) -> Volume:
        """Return the volume with background in a region, shape (z, y, x); itself where there is none."""
        if region is None:
            return self
        labels = None
        if self.labels is not None:
            labels = self.labels.copy()
            labels[region] = 0
        single = {name: np.where(region, np.uint8(0), array) for name, array in self.single.items()}
        return replace(self, labels=labels, single=single, rows=None)

    def counts(self) -> dict[int, int]:
        """Return the number of voxels of every label of a label map, background included."""
        counts = _label_counts(self.labels) if self.labels is not None else np.zeros(0, np.int64)
        return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}

    def painted(self, task: SegmentationTask) -> points.Volume:
        """Return a label map; where structures overlap, the one declared later wins."""
        if self.labels is not None:
            return self.labels
        painted = np.zeros(self.geometry.shape_zyx, dtype=np.uint16)
        for name, array in self.single.items():
            painted[array > 0] = min(task.structures[name].labels)
        return painted

    def binary(self, task: SegmentationTask, structure: str) -> npt.NDArray[np.uint8]:
        """Return one structure, or union, as a 0/1 array of shape (z, y, x)."""
        wanted = task.structures[structure].labels
        if self.labels is not None:
            lookup = np.zeros(np.iinfo(self.labels.dtype).max + 1, dtype=np.uint8)
            lookup[[label for label in wanted if label < lookup.size]] = 1
            return np.asarray(lookup[self.labels])
        found = np.zeros(self.geometry.shape_zyx, dtype=np.uint8)
        for name, array in self.single.items():
            if task.structures[name].labels <= wanted:
                found |= array
        return found


class CaseMeasures:
    """The reference of one case, ready to be compared with every submission's prediction.

    Parameters
    ----------
    reference : Volume
        The reference.
    task : SegmentationTask
        Its structures and metrics.

    Notes
    -----
    Where the reference has one of the task's ``ignore_labels``, both masks are background before anything is measured.
    For counts that is nnU-Net's rule (``compute_metrics`` of nnunetv2/evaluation/evaluate_predictions.py leaves those
    voxels out of TP, FP, FN and TN); surfaces and lesions are those of what is left.
    """

    def __init__(self, reference: Volume, task: SegmentationTask) -> None:
        self._given = reference
        self.ignored = reference.marked(task.ignore_labels)
        self.reference = reference = reference.without(self.ignored)
        self.task = task
        self.names = list(task.structures)
        crops = [_CROPS[item.crop] for item in task.structures.values()]
        self._diagonal: float | None = None
        self._elsewhere: tuple[Geometry, CaseMeasures] | None = None
        self._together: ReferenceCase | None = None
        self._apart: dict[str, ReferenceCase] = {}
        if reference.labels is not None:
            labels = [item.labels for item in task.structures.values()]
            self._together = self._case(reference.labels, labels, crops, reference.rows)
        else:
            self._split(crops)

    def _split(self, crops: list[Crop]) -> None:
        for name, crop in zip(self.names, crops, strict=True):
            self._apart[name] = self._case(self.reference.binary(self.task, name), [frozenset({1})], [crop])

    def _case(
        self, array: points.Volume, labels: list[frozenset[int]], crops: list[Crop], rows: Rows | None = None
    ) -> ReferenceCase:
        grid, planar = self.reference.geometry, self.reference.planar
        return ReferenceCase(
            array, grid.spacing_zyx, labels, crops=crops, volume_ml=grid.voxel_ml, planar=planar, rows=rows
        )

    def on(self, grid: Geometry) -> CaseMeasures:
        """Return the same on a larger grid, that of a prediction where the reference's file leaves out empty slices.

        Raises
        ------
        ValueError
            If the reference does not lie on it.
        """
        own = self._given.geometry
        if grid.shape_zyx == own.shape_zyx:
            return self
        elsewhere = self._elsewhere  # another thread may put another grid there meanwhile
        if elsewhere is None or elsewhere[0] != grid:
            place = placement(grid, own, DEFAULT_TOLERANCE)
            if place is None or not place.inside(grid):
                raise ValueError("the reference does not lie on this grid")
            moved = CaseMeasures(self._given.onto(place, grid), self.task)
            moved._diagonal = self.diagonal_mm
            self._elsewhere = elsewhere = (grid, moved)
        return elsewhere[1]

    @property
    def diagonal_mm(self) -> float:
        """Physical diagonal of the reference's image, or plane: the length of the voxel counts times the spacing."""
        if self._diagonal is not None:
            return self._diagonal
        grid = self.reference.geometry
        sides = np.multiply(grid.shape_zyx, grid.spacing_zyx)
        return float(np.linalg.norm(sides[1:] if self.reference.planar else sides))

    def reference_empty(self, spec: StructureMetric, structure: str) -> bool:
        """Return whether the reference holds nothing that a metric of a structure counts."""
        if _looks_closer(spec) and self._reference_voxels[structure]:
            return self.against_nothing.held(spec, structure)[0] == 0
        return self._reference_voxels[structure] == 0

    @cached_property
    def against_nothing(self) -> Comparison:
        """The reference beside an empty prediction."""
        grid = self.reference.geometry
        return self.against(Volume(np.zeros(grid.shape_zyx, np.uint8), grid))

    @cached_property
    def _reference_voxels(self) -> dict[str, int]:
        if self.reference.labels is None:
            return {name: int(case.array.sum()) for name, case in self._apart.items()}
        counts = _label_counts(self.reference.labels)
        return {name: int(counts[list(item.labels)].sum()) for name, item in self.task.structures.items()}

    def against(self, prediction: Volume) -> Comparison:
        """Compare a prediction on the same grid."""
        prediction = prediction.without(self.ignored)
        if self._together is not None and prediction.labels is not None:
            pair = self._together.compare(prediction.labels, prediction.rows)
            return Comparison(self, prediction, {name: (pair, i) for i, name in enumerate(self.names)})
        if not self._apart:
            self._split([_CROPS[item.crop] for item in self.task.structures.values()])
        pairs = {name: (case.compare(prediction.binary(self.task, name)), 0) for name, case in self._apart.items()}
        return Comparison(self, prediction, pairs)


class Comparison:
    """One prediction against the reference of its case."""

    def __init__(self, case: CaseMeasures, prediction: Volume, pairs: Mapping[str, tuple[PairMeasures, int]]) -> None:
        self._case = case
        self._prediction = prediction
        self._pairs = pairs

    @cached_property
    def _lesions(self) -> LesionScores:
        from medpodium.scoring.kinds.segmentation.values.lesions import LesionScores

        return LesionScores(self._pairs, self._case.reference.planar)

    def held(self, spec: StructureMetric, structure: str) -> tuple[int, int]:
        """Return how much of a structure reference and prediction hold, by which a metric calls them empty.

        Voxels within the structure's slices; for a metric that does not take the image's border for a surface, the
        surface that is left; for one that takes small lesions away first, the lesions that
        are left: a reference of specks below the minimal volume is an empty one, and a lesion invented there is
        false whatever the specks were.
        """
        pair, index = self._pairs[structure]
        counts = pair.overlap(index)
        surfaces = edgeless_size(spec, pair, index) if counts.reference or counts.prediction else None
        if surfaces is not None:
            return surfaces
        if isinstance(spec, LesionFamily) and spec.counts_lesions and (counts.reference or counts.prediction):
            return self._lesions.held(spec, structure)
        return counts.reference, counts.prediction

    def unknown_labels(self) -> list[int]:
        """Return the labels of the prediction that belong to no structure, background aside."""
        if self._prediction.labels is None:
            return []
        pair, _ = next(iter(self._pairs.values()))
        if self._case.reference.labels is not None and not pair.confusion[:, -1].any():
            return []
        return [label for label in self._prediction.counts() if label not in self._case.task.known_labels]

    def value(self, spec: StructureMetric, structure: str, tolerance_mm: float | None) -> float:
        """Compute a metric of a structure that both masks hold.

        Parameters
        ----------
        spec : StructureMetric
            What to compute.
        structure : str
            Of which structure.
        tolerance_mm : float, optional
            Tolerance in force (only ``nsd``).
        """
        pair, index = self._pairs[structure]
        if spec.kind in _OVERLAPS:
            return _OVERLAPS[spec.kind](pair.overlap(index))
        if isinstance(spec, (EulerMetric, BettiMetric)):
            from medpodium.scoring.measures import topology

            if isinstance(spec, EulerMetric):
                return float(topology.euler_error(*pair.binaries(index)))
            neighbours = _VOXELS.get(spec.connectivity, spec.connectivity)
            return float(topology.betti_error(*pair.binaries(index), _BETTI[spec.kind], neighbours))
        if isinstance(spec, LesionFamily):
            return self._lesions.value(spec, structure)
        found = surface_value(spec, pair, index, tolerance_mm)
        if found is None:
            raise ValueError(f"no value of {spec.kind}")
        return found

    def binaries(self, structure: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return a structure in reference and prediction as 0/1 arrays (z, y, x), within its slices."""
        pair, index = self._pairs[structure]
        start, stop = (int(z) for z in pair.z_ranges[index])
        volumes = (self._case.reference, self._prediction)
        reference, prediction = (volume.binary(self._case.task, structure)[start:stop] for volume in volumes)
        return reference, prediction

    @property
    def names(self) -> list[str]:
        """Structures of one label, in the order of their numbers in :meth:`numbered`."""
        return [name for name, item in self._case.task.structures.items() if item.label is not None]

    def numbered(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the numbers of structures of one label, from 1, in reference and prediction; 0 elsewhere."""
        first, second = (np.zeros(self._case.reference.geometry.shape_zyx, np.uint8) for _ in range(2))
        for number, name in enumerate(self.names, start=1):
            start, stop = (int(z) for z in self._pairs[name][0].z_ranges[self._pairs[name][1]])
            for volume, own in zip((first, second), self.binaries(name), strict=True):
                volume[start:stop][own != 0] = number
        return first, second

    def overlap(self, structure: str) -> overlap.Overlap:
        """Return the overlap counts of a structure."""
        pair, index = self._pairs[structure]
        return pair.overlap(index)

    def instances(self, structure: str) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Return the labels of a structure's instances in reference and prediction, 0 elsewhere, within its slices."""
        pair, index = self._pairs[structure]
        start, stop = (int(z) for z in pair.z_ranges[index])
        first, last = self._case.task.structures[structure].instances or (1, 65535)
        reference, prediction = (
            np.where((array[start:stop] >= first) & (array[start:stop] <= last), array[start:stop], 0).astype(np.uint16)
            for array in (pair.reference.array, pair.array)
        )
        return reference, prediction
