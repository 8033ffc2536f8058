"""Measure one prediction against one reference: everything metrics are made of, computed once and when asked for.

::

    reference = ReferenceCase(reference_array, spacing_zyx, structures=[frozenset({1}), frozenset({2, 13})])
    pair = reference.compare(prediction_array)      # one pass: overlap of all structures
    overlap.dice(pair.overlap(0))
    surface.nsd(pair.surfels(0), tolerance_mm=2.0)    # surfaces of all structures on the first request
    surface.percentile_pooled(pair.borders(1), 95.0)  # border voxels likewise
    other = reference.compare(other_team_array)      # reuses the reference's surfaces

Structures are numbered from 0 in the order given; each is a set of label values, may share labels with others, and
may be limited to the slices the reference occupies (``crops``). Nothing is decided here about empty masks: overlaps
are counts, surface metrics of a mask without surface are nan, and ``policy`` says what that is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures import budget, kernels, tables
from medpodium.scoring.measures.components.joined import Components, MaskComponents
from medpodium.scoring.measures.overlap import Overlap, pixel_mm2, voxel_ml
from medpodium.scoring.measures.surfaces import planes
from medpodium.scoring.measures.surfaces.distances import AxisOrder, SurfaceDistances, distances
from medpodium.scoring.measures.surfaces.outline import Surfaces, find_surfaces, frozen, without_border
from medpodium.scoring.measures.surfaces.points import Ints, Kind, Spacing, Surface, Volume

if TYPE_CHECKING:
    from medpodium.scoring.measures.skeletons import Points, Thinning

Rows = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]

Crop = Literal["none", "corrected", "off-by-one"]
"""Which slices of axis 0 count for a structure: all; the reference's first to last; or without the last one.

FLARE scores some organs only within the reference's range of slices; its published code ends the range one slice
early (``off-by-one``). A structure absent from the reference is never cropped.
"""


class ReferenceCase:
    """A reference, ready to be compared with any number of predictions.

    Parameters
    ----------
    array : ndarray of uint8 or uint16, shape (nz, ny, nx), C order
        Label map.
    spacing_zyx
        Voxel size in mm.
    structures
        Label values of each structure; label 0 is background and belongs to none.
    crops
        One per structure; none is cropped if omitted.
    axis_order
        Axis order of the arrays whose last-bit rounding is reproduced: ``"xyz"`` for tools fed by nibabel (FLARE),
        ``"zyx"`` for tools fed by SimpleITK.
    planar
        Measure in the plane: one slice, contours instead of surfaces, areas in mm² instead of volumes in ml. The
        spacing of the slice then has no meaning.
    volume_ml
        Volume of one voxel in ml where the grid's axes are not at right angles; by default the product of the spacing.
        In a plane that of a pixel of 1 mm thickness.
    rows
        Extent of every row (``kernels.row_extents``), where known.

    Raises
    ------
    ValueError
        If the array is not 3-D uint8 or uint16, the spacing is not positive and finite, a structure is empty or
        contains a label outside 1..65535, ``crops`` has the wrong length, or a plane has more than one slice.
    """

    def __init__(
        self,
        array: Volume,
        spacing_zyx: Sequence[float],
        structures: Sequence[frozenset[int]],
        *,
        crops: Sequence[Crop] | None = None,
        axis_order: AxisOrder = "xyz",
        planar: bool = False,
        volume_ml: float | None = None,
        rows: Rows | None = None,
    ) -> None:
        self.array = frozen(array)
        self._known_rows = rows
        sz, sy, sx = (float(s) for s in spacing_zyx)
        self.planar = planar
        if planar and self.array.shape[0] != 1:
            raise ValueError(f"a plane has one slice, got the shape {self.array.shape}")
        self.spacing_zyx: Spacing = (min(sy, sx) if planar else sz, sy, sx)
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_zyx):
            raise ValueError(f"spacing must be positive, got {self.spacing_zyx}")
        if volume_ml is None:
            self.voxel_size = pixel_mm2(self.spacing_zyx) if planar else voxel_ml(self.spacing_zyx)
        else:
            self.voxel_size = 1000.0 * volume_ml if planar else float(volume_ml)
        self.structures = tuple(frozenset(int(label) for label in labels) for labels in structures)
        for labels in self.structures:
            if not labels or not all(1 <= label <= 65535 for label in labels):
                raise ValueError(f"a structure needs labels from 1 to 65535, got {sorted(labels)}")
        none: Crop = "none"
        self.crops: tuple[Crop, ...] = tuple(crops or (none for _ in self.structures))
        if len(self.crops) != len(self.structures):
            raise ValueError(f"{len(self.structures)} structures but {len(self.crops)} crops")
        self.axis_order: AxisOrder = axis_order
        self._surfaces: dict[Kind, Surfaces] = {}
        self.centrelines: dict[tuple[int, Thinning], Points] = {}
        self._z_ranges: Ints | None = None
        self._lesions: MaskComponents | None = None

    def compare(self, prediction: Volume, rows: Rows | None = None) -> PairMeasures:
        """Compare a prediction of the same shape.

        Parameters
        ----------
        prediction : ndarray of uint8 or uint16, shape (nz, ny, nx), C order
        rows
            Extent of each of its rows (``kernels.row_extents``), where known.

        Returns
        -------
        PairMeasures

        Raises
        ------
        ValueError
            If the shapes differ or the array is not 3-D uint8 or uint16.
        """
        if prediction.shape != self.array.shape:
            raise ValueError(f"prediction has shape {prediction.shape}, the reference {self.array.shape}")
        return PairMeasures(self, prediction, rows)

    @cached_property
    def rows(self) -> Rows:
        """Extent of every row."""
        return self._known_rows or _extents(self.array)

    @property
    def index_of(self) -> npt.NDArray[np.int32]:
        """Index of each label value in a confusion matrix: background 0, classes of labels from 1, all others last.

        Labels that belong to the same structures are one class: thousands of instances of a structure are.
        """
        return tables.index_of(self.structures)

    @property
    def layers(self) -> npt.NDArray[np.int32]:
        """Structure number (from 1) of each label, in as few layers as shared labels allow."""
        return tables.layers(self.structures)

    def z_ranges(self, z_first: Ints, z_stop: Ints) -> Ints:
        """Return the slices (n_structures, 2) that count for each structure, from its labels' slices here."""
        if self._z_ranges is None:
            ranges = np.tile(np.array([0, self.array.shape[0]], np.int64), (len(self.structures), 1))
            for number, (labels, crop) in enumerate(zip(self.structures, self.crops, strict=True)):
                if crop == "none":
                    continue
                index = [i for i in np.unique(self.index_of[list(labels)]) if z_stop[i] > 0]
                if index:
                    start, stop = int(z_first[index].min()), int(z_stop[index].max())
                    # One slice would leave nothing, and the published scorer crashes there: it keeps its slice.
                    ranges[number] = start, stop - (crop == "off-by-one" and stop - start > 1)
            self._z_ranges = ranges
        return self._z_ranges

    def surfaces(self, kind: Kind, z_ranges: Ints) -> Surfaces:
        """Return the surfaces of all structures, found once per kind."""
        if kind not in self._surfaces:
            with budget.unlimited():
                self._surfaces[kind] = self.surfaces_of(self.array, self.rows, kind, z_ranges)
        return self._surfaces[kind]

    def components(self, structure: int, connectivity: int, dilation: int, z_ranges: Ints) -> Components:
        """Return the components of a structure, found once; see :meth:`PairMeasures.components`."""
        if self._lesions is None:
            self._lesions = self.components_of(self.array, self.rows, z_ranges)
        return self._lesions.of(structure, connectivity, dilation)

    def components_of(self, array: Volume, rows: Rows, z_ranges: Ints) -> MaskComponents:
        """Return where the components of all structures in a mask on this case's grid are found."""
        return MaskComponents(array, rows, self.structures, z_ranges)

    def surfaces_of(self, array: Volume, rows: Rows, kind: Kind, z_ranges: Ints) -> Surfaces:
        """Return the surfaces of all structures in a mask on this case's grid."""
        # a part of a table has another layout, and kernels are compiled for each
        layers = np.ascontiguousarray(self.layers[:, : np.iinfo(array.dtype).max + 1])
        return find_surfaces(
            array,
            layers,
            len(self.structures),
            self.spacing_zyx,
            kind=kind,
            z_ranges=z_ranges,
            rows=rows,
            planar=self.planar,
        )


class PairMeasures:
    """One prediction against one reference; made by :meth:`ReferenceCase.compare`."""

    def __init__(self, reference: ReferenceCase, prediction: Volume, rows: Rows | None = None) -> None:
        self.reference = reference
        self.array = frozen(prediction)
        self._rows = rows or _extents(self.array)
        counts, z_first, z_stop = self._joint_counts(0, self.array.shape[0])
        self.confusion: Ints = counts
        """Voxels by reference (axis 0) and predicted (axis 1) index; see ``ReferenceCase.index_of``."""
        self.z_ranges = reference.z_ranges(z_first, z_stop)
        self._confusions: dict[tuple[int, int], Ints] = {(0, self.array.shape[0]): counts}
        self._surfaces: dict[Kind, Surfaces] = {}
        self._pairs: dict[tuple[int, Kind], SurfaceDistances] = {}
        self._edgeless: dict[tuple[int, Kind], SurfaceDistances] = {}
        self._overlaps: dict[int, Overlap] = {}
        self._lesions = reference.components_of(self.array, self._rows, self.z_ranges)

    def overlap(self, structure: int) -> Overlap:
        """Return the overlap counts of a structure, within its slices."""
        if structure not in self._overlaps:
            self._overlaps[structure] = self._overlap(structure)
        return self._overlaps[structure]

    def surfels(self, structure: int) -> SurfaceDistances:
        """Return the distances between surfaces made of surface elements (``surfel-area``)."""
        return self._distances(structure, "surfel-area")

    def borders(self, structure: int) -> SurfaceDistances:
        """Return the distances between surfaces made of border voxels (``border-voxel``)."""
        return self._distances(structure, "border-voxel")

    def components(
        self, structure: int, connectivity: int, dilations: tuple[int, int]
    ) -> tuple[Components, Components]:
        """Return the components of a structure in reference and prediction, within its slices.

        They are found once per mask, whatever asks for them.

        Parameters
        ----------
        structure : int
            Number of the structure.
        connectivity : {6, 18, 26}
            Which voxels are neighbours.
        dilations : tuple of int
            How often reference and prediction are dilated before components are joined.
        """
        first, second = dilations
        with budget.unlimited():
            own = self.reference.components(structure, connectivity, first, self.z_ranges)
        budget.step()
        return own, self._lesions.of(structure, connectivity, second)

    def between(self, structure: int, kind: Kind, *, edge: bool = True, voxels: bool = False) -> SurfaceDistances:
        """Return the distances between surfaces of one kind.

        Without ``edge`` the image's border is no surface (``outline.without_border``); with
        ``voxels`` every voxel has the size 1, so that distances are numbers of voxels.
        """
        found = self._distances(structure, kind) if edge else self._without_border(structure, kind)
        return replace(found, spacing_zyx=(1.0, 1.0, 1.0)) if voxels else found

    def full_borders(self, structure: int, *, edge: bool = True, voxels: bool = False) -> SurfaceDistances:
        """Return the distances between border voxels under all neighbours, 26 or in a plane 8; see :meth:`between`."""
        from medpodium.scoring.measures.boundary import eroded_rim

        reference = self.reference
        start, stop = (int(z) for z in self.z_ranges[structure])
        member, surfaces = self._member(structure), list[Surface]()
        for array, rows in ((reference.array, reference.rows), (self.array, self._rows)):
            low, high = planes.structure_box(array, *rows, member, start, stop)
            low, high = np.maximum(low - 1, [start, 0, 0]), np.minimum(high + 1, [stop, *array.shape[1:]])
            box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
            points = np.argwhere(eroded_rim(member[array[box]], 1, edge=edge, planar=reference.planar)) + low
            surfaces.append(Surface(points.astype(np.int32), np.zeros(len(points), np.uint8)))
        spacing = (1.0, 1.0, 1.0) if voxels else reference.spacing_zyx
        first, second = surfaces
        return SurfaceDistances(first, second, spacing, "border-voxel", reference.axis_order, reference.planar)

    def centreline_shares(self, structure: int, thinning: Thinning) -> tuple[float, float]:
        """Return the share of the prediction's skeleton in the reference, and of the reference's in the prediction.

        A mask that has no skeleton has no share: 0.
        """
        member, reference = self._member(structure), self.reference
        known = reference.centrelines
        if (structure, thinning) not in known:
            known[structure, thinning] = self._centreline(reference.array, reference.rows, structure, thinning)
        first = self._centreline(self.array, self._rows, structure, thinning)
        second = known[structure, thinning]
        shares = [
            float(member[array[tuple(points.T)]].mean()) if len(points) else 0.0
            for points, array in ((first, reference.array), (second, self.array))
        ]
        return shares[0], shares[1]

    def binaries(self, structure: int, margin: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return a structure in reference and prediction as 0/1 arrays, in the box around both and its slices.

        Parameters
        ----------
        structure : int
            Number of the structure.
        margin : int
            So many voxels around the box, as far as the image and the slices go.
        """
        member = self._member(structure)
        start, stop = (int(z) for z in self.z_ranges[structure])
        both = ((self.reference.array, self.reference.rows), (self.array, self._rows))
        boxes = [planes.structure_box(array, *rows, member, start, stop) for array, rows in both]
        boxes = [box for box in boxes if box[1, 0] > 0] or boxes[:1]
        low, high = np.min([box[0] for box in boxes], axis=0), np.max([box[1] for box in boxes], axis=0)
        if margin:
            low = np.maximum(low - margin, [start, 0, 0])
            high = np.minimum(high + margin, [stop, *self.array.shape[1:]])
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return member[self.reference.array[box]], member[self.array[box]]

    def _member(self, structure: int) -> npt.NDArray[np.uint8]:
        member = np.zeros(65536, np.uint8)
        member[list(self.reference.structures[structure])] = 1
        return member

    def _centreline(self, array: Volume, rows: Rows, structure: int, thinning: Thinning) -> Points:
        from medpodium.scoring.measures.skeletons import skeleton_points

        member = self._member(structure)
        start, stop = (int(z) for z in self.z_ranges[structure])
        low, high = planes.structure_box(array, *rows, member, start, stop)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        found: Points = skeleton_points(member[array[box]], thinning, planar=self.reference.planar) + low
        return found

    def _without_border(self, structure: int, kind: Kind) -> SurfaceDistances:
        if (structure, kind) not in self._edgeless:
            found = self._distances(structure, kind)
            start, stop = (int(z) for z in self.z_ranges[structure])
            member = self._member(structure)
            reference, prediction = (
                without_border(surface, array, member, (start, stop), kind, planar=self.reference.planar)
                for surface, array in ((found.reference, self.reference.array), (found.prediction, self.array))
            )
            self._edgeless[structure, kind] = replace(found, reference=reference, prediction=prediction)
        return self._edgeless[structure, kind]

    def _distances(self, structure: int, kind: Kind) -> SurfaceDistances:
        reference = self.reference
        if kind not in self._surfaces:
            self._surfaces[kind] = reference.surfaces_of(self.array, self._rows, kind, self.z_ranges)
        if (structure, kind) not in self._pairs:  # kept, as every metric of a structure shares its distances
            budget.step()
            first = reference.surfaces(kind, self.z_ranges)
            self._pairs[structure, kind] = distances(first, self._surfaces[kind], structure, reference.axis_order)
        return self._pairs[structure, kind]

    def _overlap(self, structure: int) -> Overlap:
        start, stop = (int(z) for z in self.z_ranges[structure])
        if (start, stop) not in self._confusions:
            self._confusions[start, stop] = self._joint_counts(start, stop)[0]
        counts = self._confusions[start, stop]
        index = np.unique(self.reference.index_of[list(self.reference.structures[structure])])
        both = int(counts[np.ix_(index, index)].sum())
        missed, false = int(counts[index].sum()) - both, int(counts[:, index].sum()) - both
        return Overlap(both, false, missed, self.reference.voxel_size)

    def _joint_counts(self, start: int, stop: int) -> tuple[Ints, Ints, Ints]:
        """Count label combinations in the slices ``start <= z < stop``."""
        budget.step()
        first, second = self.reference.array[start:stop], self.array[start:stop]
        if first.dtype != second.dtype:
            first, second = (frozen(array.astype(np.uint16)) for array in (first, second))
        rows = [(begins[start:stop], ends[start:stop]) for begins, ends in (self.reference.rows, self._rows)]
        n_indices = int(self.reference.index_of.max()) + 1
        found: tuple[Ints, Ints, Ints] = kernels.joint_counts(
            first, second, rows[0], rows[1], self.reference.index_of, n_indices
        )
        return found


def _extents(array: Volume) -> Rows:
    rows: Rows = kernels.row_extents(array)
    return rows


def measure_pair(
    reference: Volume,
    prediction: Volume,
    spacing_zyx: Sequence[float],
    structures: Sequence[frozenset[int]],
    *,
    crops: Sequence[Crop] | None = None,
    axis_order: AxisOrder = "xyz",
    planar: bool = False,
) -> PairMeasures:
    """Compare one prediction with one reference; see :class:`ReferenceCase` for the parameters."""
    case = ReferenceCase(reference, spacing_zyx, structures, crops=crops, axis_order=axis_order, planar=planar)
    return case.compare(prediction)
