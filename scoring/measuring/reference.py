"""Measure predictions against a reference: one, or as many as there are.

Everything that is computed is computed by the functions that ``medpodium score`` calls
(:mod:`medpodium.scoring.kinds.segmentation`): this module only brings masks and rules into their form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.findings import Finding, has_errors
from medpodium.scoring.kinds.segmentation.case import Cell, absent_cells, reason_of, score_pair
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Volume
from medpodium.scoring.kinds.segmentation.plane import as_measured, extent_of, tell_planes
from medpodium.scoring.kinds.segmentation.volumes import UnusableError, compare_grids, read_prediction, read_volume
from medpodium.scoring.masks.codes import MaskError
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.labels import labels_in
from medpodium.scoring.masks.reader import open_mask
from medpodium.scoring.measuring.codes import MeasureCode, refuse
from medpodium.scoring.measuring.request import (
    DEFAULT,
    TOLERANCE_MM,
    Labels,
    Metrics,
    Request,
    Structures,
    Tolerance,
    checked_spacing,
    make_task,
    needs_spacing,
    task_facts,
)
from medpodium.scoring.measuring.result import Measured, Value
from medpodium.scoring.measuring.sources import (
    MaskLike,
    Source,
    bare_grid,
    channels,
    grid_like,
    grid_of,
    has_grid,
    label_map,
    source_of,
)

_CASE = ""


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A reference with the rules for a set of structures."""

    task: SegmentationTask
    measures: CaseMeasures


class Reference:
    """A reference mask, prepared once for any number of predictions.

    Parameters
    ----------
    reference : path, array, tensor or image
        A mask file of any format that is read here, an array ``(z, y, x)`` or ``(y, x)``, whatever has an array
        protocol (a torch tensor on any device), or an image of SimpleITK or nibabel.
    metrics : sequence of str, or mapping
        Kinds of metrics as in a challenge file (``docs/metrics.md``); ``hd95`` or any ``hdN`` is a percentile. As a
        mapping, name to kind, or to what a challenge file says of it: ``{"nsd1": {"kind": "nsd", "tolerance_mm": 1}}``.
    spacing : float or sequence of float, optional
        Size of a voxel in mm in the order of the array's axes; only for arrays and pictures, which say nothing of it.
    like : path or image, optional
        A file or an image whose grid an array without spacing lies on.
    structures : mapping of str to int or list of int, or sequence of str, optional
        Label of each structure, or the labels of a union; channel n of a one-hot mask is label n, and channel 0 the
        background. As a sequence, the names of label 1, label 2, ..., or of every channel from the first on (``None``
        for one that is not scored). When left out, every label that one of both masks holds (``label 1``, ...), every
        channel, or every segment that a file names.
    tolerance_mm : float, or mapping of str to float
        Tolerance of ``nsd``, for all structures or for each.
    definitions : mapping of str to str, optional
        Definition by metric, where there are several: ``{"hd95": "pooled"}`` is MedPy's.
    channel_axis : int, optional
        Which axis of the reference holds the channels of a one-hot mask; never guessed.

    Raises
    ------
    MedpodiumError
        If the reference cannot be used, or the request makes no sense; each finding names the value and the fix.

    Notes
    -----
    May be used by several threads at once; the kernels release the GIL. The reference is kept as it was when given.

    Examples
    --------
    >>> import numpy as np, medpodium
    >>> truth = np.zeros((20, 20, 20), np.uint8)
    >>> truth[5:15, 5:15, 5:15] = 1
    >>> prepared = medpodium.Reference(truth, ["dice", "hd95"], spacing=1, structures={"cube": 1})
    >>> round(prepared.measure(np.roll(truth, 1, axis=0))["cube", "dice"], 3)
    0.9
    >>> prepared.measure(np.roll(truth, 2, axis=0))["cube", "hd95"]
    2.0
    """

    def __init__(
        self,
        reference: MaskLike,
        metrics: Metrics = DEFAULT,
        *,
        spacing: float | Sequence[float] | None = None,
        like: MaskLike | None = None,
        structures: Structures | None = None,
        tolerance_mm: Tolerance = TOLERANCE_MM,
        definitions: Mapping[str, str] | None = None,
        channel_axis: int | None = None,
    ) -> None:
        self._request = Request(metrics, structures, tolerance_mm, dict(definitions or {}))
        self._source = source = source_of(reference, "reference", channel_axis)
        self._spacing = spacing
        self._like = like
        self._names = _named_structures(source, structures)
        self._given = self._read(self._names or {})
        # where nobody names structures they are the labels that are there; of a prediction, too, where there is none
        self._found = _numbered(self._labels()) if self._names is None else self._names
        self._now = self._rules(self._found) if self._found else None

    def _labels(self) -> list[int]:
        return [] if self._given.labels is None else labels_in(self._given.labels)

    def _grid(self) -> Geometry:
        """Return the grid of an array or image."""
        spacing, source = self._spacing, self._source
        if source.grid is not None:
            self._refuse_spacing(source.grid)
            return source.grid
        if spacing is not None:
            return bare_grid(source, checked_spacing(spacing, source.axes))
        if self._like is not None:
            return grid_like(source, grid_of(self._like))
        request = Request(self._request.metrics, None, 1.0, self._request.definitions)
        unit = [
            name for name, spec in make_task(task_facts(request, {"any": 1})).metrics.items() if needs_spacing(spec)
        ]
        if unit:
            order = "(z, y, x)" if source.axes == 3 else "(y, x)"
            cause = f"an array says nothing of its voxels' size, which {', '.join(unit)} need"
            fix = f"give spacing={order} in mm, in the order of the array's axes (1 to measure in voxels)"
            raise refuse(MeasureCode.SPACING_MISSING, source.where, cause, fix)
        return bare_grid(source, checked_spacing(1.0, source.axes))

    def _refuse_spacing(self, own: Geometry) -> None:
        if self._spacing is not None:
            z, y, x = own.spacing_zyx
            cause = f"spacing is given, and this states its own: (z, y, x) = ({z:g}, {y:g}, {x:g}) mm"
            raise refuse(MeasureCode.SPACING_STATED, self._source.where, cause, "leave spacing out")

    def _read(self, found: Mapping[str, Labels]) -> Volume:
        source = self._source
        if source.path is not None:
            task = make_task(task_facts(Request(), found or {"any": 1}, files=_files(source)))
            volume = read_volume(source.path, task, OWN_FILES)
            if has_errors(volume.findings):
                raise MaskError(*volume.findings)
            if volume.geometry.spaced:
                self._refuse_spacing(volume.geometry)
            return volume
        grid = self._grid()
        kept = replace(source, array=np.array(source.array))  # what is kept must not change with the caller's array
        return _array_volume(kept, grid, found, self._request.structures)

    def _rules(self, found: Mapping[str, Labels]) -> _Prepared:
        volume, source = self._given, self._source
        picture = not volume.geometry.spaced
        pixel = None
        if picture and self._spacing is not None:
            pixel = tuple(reversed(checked_spacing(self._spacing, 2)))
        planar = volume.geometry.planar and not picture
        facts = task_facts(self._request, found, planar=planar, pixel_mm=pixel, files=_files(source))
        task = make_task(facts)
        return _Prepared(task, CaseMeasures(as_measured(task, volume, source.where), task))

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures that are measured; a prediction may bring further ones where none were named."""
        return tuple(self._found)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is odd about the reference."""
        own = [*self._source.findings, *self._given.findings]
        if self._now is not None:
            own += tell_planes(self._now.task, {_CASE: extent_of(self._given.geometry)}, self._source.where)
        return tuple(own)

    def measure(self, prediction: MaskLike, *, channel_axis: int | None = None) -> Measured:
        """Measure one prediction.

        Parameters
        ----------
        prediction : path, array, tensor or image
            As the reference; an array without a grid of its own lies on the reference's.
        channel_axis : int, optional
            Which axis of it holds the channels of a one-hot mask.

        Raises
        ------
        MedpodiumError
            If it cannot be used: unreadable, on another grid, no labels.
        """
        return self._measured(source_of(prediction, "prediction", channel_axis))

    def measure_or_count(self, prediction: MaskLike, *, channel_axis: int | None = None) -> Measured:
        """Measure one prediction; one that cannot be used gets the worst values and the findings that say why.

        Raises
        ------
        UsageError
            If the request makes no sense.
        """
        source = source_of(prediction, "prediction", channel_axis)
        try:
            return self._measured(source)
        except (MaskError, UnusableError) as error:
            if self._now is None:
                raise
            cells = list(absent_cells(self._now.task, self._now.measures, reason_of(error)))
            return self._result(self._now, cells, error.findings)

    def _measured(self, source: Source) -> Measured:
        found: list[Finding] = []
        now = self._now
        volume = self._prediction(source, found)
        if now is None:
            strangers = [] if volume.labels is None else labels_in(volume.labels)
            now = self._rules(_numbered(strangers))
        measures = now.measures.on(volume.geometry)
        pair = measures.against(volume)
        if self._request.structures is None and self._names is None:
            more = pair.unknown_labels()
            if more:
                now = self._rules({**self._found, **_numbered(more)})
                measures = now.measures.on(volume.geometry)
                pair = measures.against(volume)
        return self._result(now, score_pair(_CASE, measures, volume, pair, source.where, found), found)

    def _prediction(self, source: Source, found: list[Finding]) -> Volume:
        """Return a prediction on the reference's grid, compared with it as strictly as by ``medpodium score``."""
        now = self._now or self._rules({"any": 1})
        reference = now.measures.reference.geometry
        if source.path is not None:
            return read_prediction(source.path, now.task, reference, found)
        grid = source.grid if source.grid is not None else grid_like(source, reference)
        found += source.findings
        differences = compare_grids(now.task, reference, grid, source.where)
        if has_errors(differences):
            raise UnusableError(*differences)
        found += differences
        return _array_volume(source, grid, self._found, self._request.structures)

    def _result(self, now: _Prepared, cells: Sequence[Cell], found: Sequence[Finding]) -> Measured:
        grid = self._given.geometry
        known = {name: spec for name, spec in now.task.metrics.items() if isinstance(spec, StructureMetric)}
        order = {name: at for at, name in enumerate(now.task.structures)}
        values = [Value(structure, metric, *score) for structure, metric, score in cells]
        values.sort(key=lambda one: order[one.structure])
        planar = now.measures.reference.planar
        spacing = now.measures.reference.geometry.spacing_zyx
        return Measured(tuple(values), known, grid.shape_zyx, spacing, planar, (*self.findings, *found))


def measure(
    reference: MaskLike,
    prediction: MaskLike,
    metrics: Metrics = DEFAULT,
    *,
    spacing: float | Sequence[float] | None = None,
    structures: Structures | None = None,
    tolerance_mm: Tolerance = TOLERANCE_MM,
    definitions: Mapping[str, str] | None = None,
    channel_axis: int | None = None,
) -> Measured:
    """Compare two masks.

    Parameters
    ----------
    reference, prediction : path, array, tensor or image
        What is true, and what was said; see :class:`Reference`. An array without spacing lies on the grid of the other
        mask, if that has one.
    metrics, spacing, structures, tolerance_mm, definitions
        As :class:`Reference` takes them.
    channel_axis : int, optional
        Axis of the channels where arrays are one-hot: of both, or only of the one that has an axis more than the other.

    Returns
    -------
    Measured

    Raises
    ------
    MedpodiumError
        If a mask cannot be used, or both lie on different grids; each finding names the value and the fix.

    Examples
    --------
    >>> import medpodium
    >>> measured = medpodium.measure("reference.nii.gz", "prediction.nii.gz", ["dice", "hd95"])
    >>> round(measured["label 1", "dice"], 3)
    0.9
    >>> print(measured)
    structure    dice  hd95 (mm)
    label 1    0.9000          1
    hd95: directed-max-area-weighted, 95 %
    shape (z, y, x) = (20, 20, 20), spacing (1, 1, 1) mm
    """
    axes = [0 if has_grid(given) else getattr(given, "ndim", 0) for given in (reference, prediction)]
    both = min(axes) == 0 or axes[0] == axes[1]
    own, other = (channel_axis if both or count == max(axes) else None for count in axes)
    prepared = Reference(
        reference,
        metrics,
        spacing=spacing,
        like=prediction if axes[1] == 0 else None,
        structures=structures,
        tolerance_mm=tolerance_mm,
        definitions=definitions,
        channel_axis=own,
    )
    return prepared.measure(prediction, channel_axis=other)


def _files(source: Source) -> dict[str, str]:
    """Return the pattern of a file's format, which says whether it is a picture."""
    name = "" if source.path is None else source.path.name.lower()
    ending = next((one for one in formats.MASKS if name.endswith(one)), ".nii.gz")
    return {"reference": "{case}" + ending, "prediction": "{case}" + ending}


def _numbered(labels: Sequence[int]) -> dict[str, Labels]:
    return {f"label {label}": label for label in labels}


def _named_structures(source: Source, asked: Structures | None) -> dict[str, Labels] | None:
    """Return the structures that the request, or the reference's file, or its channels name; ``None`` for none."""
    if isinstance(asked, Mapping):
        return dict(asked)
    if asked is not None:
        if isinstance(asked, str) or not all(one is None or isinstance(one, str) for one in asked):
            cause = f"is {asked!r}"
            fix = "give labels by name, {'liver': 1}, or a name per channel of a one-hot mask"
            raise refuse(MeasureCode.STRUCTURES, "structures", cause, fix)
        return {name: at for at, name in enumerate(asked, start=1) if name is not None}
    if source.one_hot and source.array is not None:
        return {f"channel {at}": at + 1 for at in range(len(source.array))}
    if source.path is None:
        return None
    with open_mask(source.path, limits=OWN_FILES) as reader:
        segments = reader.segments
    if segments is None:
        return None
    names = dict.fromkeys(segment.name.strip() for segment in segments if segment.name.strip())
    return {name: at for at, name in enumerate(names, start=1)}


def _array_volume(source: Source, grid: Geometry, found: Mapping[str, Labels], asked: Structures | None) -> Volume:
    """Return an array as a volume to be measured; channels that overlap stay apart."""
    if not source.one_hot:
        return Volume(label_map(source, grid), grid)
    first = 0 if isinstance(asked, Mapping) else 1  # with labels by name, channel n is label n
    wanted = {name: _listed(labels) for name, labels in found.items()}
    last = max((label for labels in wanted.values() for label in labels), default=0)
    every = channels(source, grid, last + 1 - first)
    used = sorted({label for labels in wanted.values() for label in labels})
    stack = {label: every[label - first] for label in used}
    held = np.zeros(grid.shape_zyx, np.uint16)
    for channel in stack.values():
        held += channel
    if held.max(initial=0) <= 1:
        labels = np.zeros(grid.shape_zyx, np.uint16)
        for label, channel in stack.items():
            labels[channel > 0] = label
        return Volume(labels if last > 255 else labels.astype(np.uint8), grid)
    single = {name: np.bitwise_or.reduce([stack[label] for label in labels]) for name, labels in wanted.items()}
    return Volume(None, grid, single=single)


def _listed(labels: Labels) -> list[int]:
    return [labels] if isinstance(labels, int) else [int(label) for label in labels]
