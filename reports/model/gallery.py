"""Best, median and worst cases per submission and structure: contours of reference and prediction on the image.

Slices are axial in radiological view (the patient's right on the left, front on top), whatever the orientation of
the files: arrays are turned to LPS by their own headers.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Code, Finding, MedpodiumError, Severity
from medpodium.reports.figures.palette import STYLE
from medpodium.reports.model.document import Picture, Pictures, Section
from medpodium.reports.model.results import Panel, TaskResults, slug
from medpodium.scoring.kinds.segmentation.matching import match_files, match_structure_files
from medpodium.scoring.kinds.segmentation.measures import Volume as FoundVolume
from medpodium.scoring.kinds.segmentation.tasks import tasks_of
from medpodium.scoring.kinds.segmentation.volumes import read_volume
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.segments.placing import inside, put

MOST = 240
"""Pictures a gallery holds; beyond it, the median and then the best cases are left out, and the text says so."""
REFERENCE_COLOUR, PREDICTION_COLOUR = "#56c8f5", "#ffb000"
_WINDOWS = {"CT": (-160.0, 240.0)}
"""Display window in HU for CT; other images are shown between their 1st and 99.5th percentile."""

Volume = npt.NDArray[Any]


class GalleryCode(Code):
    """Why a picture could not be made."""

    NO_FILE = "gallery-file-missing"
    GRID = "gallery-grid-differs"


@dataclass(frozen=True)
class Sources:
    """Where the files of a gallery are.

    Parameters
    ----------
    references : Path
        Folder of references.
    predictions : mapping of str to Path
        Folder of predictions by submission (as printed).
    images : Path, optional
        Folder of input images; masks alone are drawn without it.
    """

    references: Path
    predictions: Mapping[str, Path]
    images: Path | None = None


@dataclass
class Gallery:
    """Pictures per submission, and what went wrong."""

    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    left_out: int = 0
    same: tuple[Pictures, ...] = ()
    """The same cases of all submissions."""


def make_gallery(task: TaskResults, sources: Sources, most: int = MOST) -> Gallery:
    """Draw the pictures of one task, submissions in ranking order, worst case first.

    Parameters
    ----------
    most : int
        Largest number of pictures.

    Returns
    -------
    Gallery
        A file that is missing or unreadable is a finding, never an error.
    """
    gallery = Gallery()
    if task.name not in tasks_of(task.challenge):
        return gallery
    chosen = [pick for pick in choose(task) if pick[0] in sources.predictions]
    for unwanted in ("median", "best"):
        if len(chosen) > most:
            kept = [pick for pick in chosen if pick[3] != unwanted]
            gallery.left_out += len(chosen) - len(kept)
            chosen = kept
    if len(chosen) > most:
        # Every submission keeps the same number of pictures.
        share = max(1, most // len({pick[0] for pick in chosen}))
        kept = [pick for name in task.order for pick in [one for one in chosen if one[0] == name][:share]]
        gallery.left_out += len(chosen) - len(kept)
        chosen = kept
    reader = Reader(task, sources)
    for submission, panel, case, which, value in chosen:
        try:
            png = reader.picture(submission, panel.structure, case)
        except MedpodiumError as error:
            gallery.findings += [softer(finding) for finding in error.findings]
            continue
        unit = task.metric(panel.metric).unit_name
        words = f"{which.capitalize()} case, {panel.title}: {value:.3f}{f' {unit}' if unit else ''} (case {case})"
        alt = f"{words}; contours of reference and prediction of {submission} on one axial slice."
        gallery.pictures.setdefault(submission, []).append(Picture(png, alt, f"{words}."))
    gallery.findings = list(dict.fromkeys(gallery.findings))
    return gallery


def softer(finding: Finding) -> Finding:
    """Return a finding as a warning: a report without a picture is a report."""
    return Finding(finding.code, finding.where, finding.cause, finding.fix, Severity.WARNING)


def choose(task: TaskResults) -> list[tuple[str, Panel, str, str, float]]:
    """Return (submission, panel, case, which, value): worst, median and best case per submission and structure.

    The first metric of each structure decides; equal values go to the case that comes first in the alphabet, and a
    case is shown once. A case without a prediction has no picture, whatever its missing score counts.
    """
    found = []
    panels: dict[str, Panel] = {}
    for panel in task.panels:
        if panel.structure and task.metric(panel.metric).info.scope == "structure":
            panels.setdefault(panel.structure, panel)
    for submission in task.order:
        for panel in panels.values():
            values = task.matrix(panel)[submission].where(task.predicted(panel)[submission]).dropna().sort_index()
            ordered = values.sort_values(ascending=panel.better == "higher", kind="stable")
            seen = set()
            for which, at in (("worst", 0), ("median", (len(ordered) - 1) // 2), ("best", len(ordered) - 1)):
                if len(ordered) and ordered.index[at] not in seen:
                    seen.add(ordered.index[at])
                    found.append((submission, panel, str(ordered.index[at]), which, float(ordered.iloc[at])))
    return found


def section(task: TaskResults, gallery: Gallery) -> Section:
    """Return the gallery as a section, one part per submission."""
    parts = tuple(
        Section(
            f"gallery-{slug(task.name)}-{at}",
            name,
            (Pictures(f"pictures-{slug(task.name)}-{at}", f"Cases of {name}", tuple(gallery.pictures[name])),),
            folded=True,
        )
        for at, name in enumerate(task.order)
        if name in gallery.pictures
    )
    shared = Section(f"gallery-{slug(task.name)}-same", "All on the same case", gallery.same)
    return Section(
        f"gallery-{slug(task.name)}", f"Gallery, {task.title}", sections=(shared, *parts) if shared else parts
    )


@dataclass(frozen=True)
class Seen:
    """One structure of one case on one grid, turned to LPS: axes (z, y, x), spacing in mm along them."""

    image: Volume | None
    reference: Volume
    prediction: Volume
    spacing: tuple[float, float, float]


class Reader:
    """Reads and draws the cases of one task; the last reference and image stay in memory."""

    def __init__(self, task: TaskResults, sources: Sources) -> None:
        self._task: SegmentationTask = task.task
        self._sources = sources
        self.window = _WINDOWS.get((task.challenge.modality or [""])[0])
        self._image: tuple[str, Volume | None] = ("", None)
        self._ignored: Volume | None = None
        self._kept: dict[tuple[Path, str, bool], FoundVolume] = {}

    def picture(self, submission: str, structure: str, case: str) -> bytes:
        """Return one slice of a structure as PNG."""
        seen = self.seen(submission, structure, case)
        return draw_slice(seen.image, seen.reference, seen.prediction, seen.spacing, self.window)

    def seen(self, submission: str, structure: str, case: str) -> Seen:
        """Return what there is to see of one structure, all on one grid."""
        whole, grid = self._mask(self._sources.references, self._task.files.reference, case, structure)
        folder = self._sources.predictions[submission]
        try:
            own, other = self._mask(folder, self._task.files.prediction, case, structure, grid)
        except MedpodiumError:
            # A missing or broken prediction is what the worst case often is: show what was missed.
            own, other = np.zeros_like(whole), grid
        geometry = grid
        if grid.sparse and inside(other, grid):
            whole, geometry = put(whole, grid, other), other
            self._ignored = None if self._ignored is None else put(self._ignored, grid, other)
        reference, prediction = to_lps(whole, geometry), to_lps(own, other)
        if prediction.shape != reference.shape or not np.allclose(other.direction, geometry.direction, atol=1e-2):
            cause = f"shape {other.shape_zyx} or direction differs from the reference's {geometry.shape_zyx}"
            raise MedpodiumError(
                Finding(GalleryCode.GRID, f"{submission}/{case}", cause, "resample it to the reference")
            )
        if self._ignored is not None:
            # What nobody looks at is drawn for nobody
            prediction = prediction & ~to_lps(self._ignored, geometry)
        return Seen(self._picture_of(case, reference.shape), reference, prediction, lps_spacing(geometry))

    def millilitres(self, structure: str, case: str) -> float:
        """Return the volume of a structure in the reference; NaN where the file says no size of its voxels."""
        mask, grid = self._mask(self._sources.references, self._task.files.reference, case, structure)
        return float(mask.sum() * np.prod(grid.spacing_zyx)) / 1000 if grid.spaced and not grid.planar else np.nan

    def _mask(
        self, folder: Path, pattern: str, case: str, structure: str, like: Geometry | None = None
    ) -> tuple[Volume, Geometry]:
        """Return a structure, and its grid: the reference's where a picture or plane has none."""
        if "{structure}" in pattern:
            stem = self._task.structures[structure].file or structure
            paths = match_structure_files(folder, pattern, [case], [stem])[0].get(case, {})
            path = paths.get(stem)
        else:
            path = match_files(folder, pattern, [case])[0].get(case)
        if path is None:
            raise MedpodiumError(
                Finding(GalleryCode.NO_FILE, str(folder), f"no file for case {case}", "check the folder")
            )
        found = self._read(path, structure if "{structure}" in pattern else "", like)
        binary, grid = found.binary(self._task, structure) > 0, found.geometry
        if like is not None and binary.shape == like.shape_zyx and (like.planar or not grid.spaced):
            grid = like
        if like is None:
            self._ignored = found.marked(self._task.ignore_labels)
        return binary, grid

    def _read(self, path: Path, structure: str, like: Geometry | None) -> FoundVolume:
        """Return a file as a volume; the last two are kept, for a label map is asked for structure by structure."""
        key = (path, structure, like is not None)
        if key not in self._kept:
            if structure:
                found = read_volume({structure: path}, self._task)
            else:
                found = read_volume(path, self._task)
                if like is not None and (like.sparse or found.geometry.sparse):
                    found = read_volume(path, self._task, like=like)
            self._kept = {**dict([*self._kept.items()][-1:]), key: found}
        return self._kept[key]

    def _picture_of(self, case: str, shape: tuple[int, ...]) -> Volume | None:
        if self._sources.images is None:
            return None
        if self._image[0] != case:
            self._image = (case, _read_image(self._sources.images, self._task, case))
        image = self._image[1]
        return image if image is not None and image.shape == shape else None


def _read_image(folder: Path, task: SegmentationTask, case: str) -> Volume | None:
    """Return the first channel of a case's image in LPS, axes (z, y, x); ``None`` when it cannot be read."""
    import SimpleITK

    patterns = [*task.files.images.values(), "{case}_0000{extension}", "{case}{extension}"]
    for pattern in patterns:
        for ending in formats.VOLUMES if "{extension}" in pattern else ("",):
            path = folder / pattern.replace("{case}", case).replace("{extension}", ending)
            if path.is_file():
                try:
                    orient: Any = SimpleITK.DICOMOrient
                    image: Any = SimpleITK.ReadImage(str(path))
                    planar = image.GetDimension() == 2
                    array: Volume = SimpleITK.GetArrayFromImage(image if planar else orient(image, "LPS"))
                except RuntimeError:
                    return None
                return array[None] if planar else array
    return None


def to_lps(array: Volume, geometry: Geometry) -> Volume:
    """Return an array (z, y, x) turned so that x runs to the patient's left, y to the back, z to the head.

    Oblique grids are turned to the nearest axes; nothing is resampled. A plane is shown as it is stored.
    """
    order, flips = _turn(geometry)
    turned: Volume = np.flip(array.transpose(order), axis=tuple(axis for axis, flip in enumerate(flips) if flip))
    return turned


def lps_spacing(geometry: Geometry) -> tuple[float, float, float]:
    """Return the spacing in mm of the axes (z, y, x) after :func:`to_lps`."""
    order, _ = _turn(geometry)
    z, y, x = (geometry.spacing_zyx[axis] for axis in order)
    return z, y, x


def _turn(geometry: Geometry) -> tuple[list[int], list[bool]]:
    """Return, for the axes (z, y, x) wanted, which array axis to take and whether to reverse it."""
    if geometry.planar:
        return [0, 1, 2], [False, False, False]
    left = [0, 1, 2]
    order, flips = [0, 0, 0], [False, False, False]
    strength = np.abs(geometry.direction)
    # The clearest axis chooses first, so that an oblique grid cannot claim one axis twice.
    for world in sorted(range(3), key=lambda row: -strength[row].max()):
        column = max(left, key=lambda item: strength[world, item])
        left.remove(column)
        order[2 - world] = 2 - column
        flips[2 - world] = bool(geometry.direction[world, column] < 0)
    return order, flips


def best_slice(reference: Volume, prediction: Volume) -> int:
    """Return the axial slice with the most disagreement; the largest reference slice where there is little."""
    wrong = np.logical_xor(reference, prediction).sum(axis=(1, 2))
    area = reference.sum(axis=(1, 2))
    if wrong.sum() > 0.2 * max(1, int(area.sum())) or not area.any():
        return int(wrong.argmax())
    return int(area.argmax())


def draw_slice(
    image: Volume | None,
    reference: Volume,
    prediction: Volume,
    spacing: tuple[float, float, float],
    window: tuple[float, float] | None,
    around: Volume | None = None,
) -> bytes:
    """Return one axial slice with both contours as PNG, cropped around the structure.

    Parameters
    ----------
    image : ndarray of shape (z, y, x), optional
        Intensities; black without it.
    reference, prediction : ndarray of bool, shape (z, y, x)
        In the image's grid, LPS.
    spacing : tuple of float
        mm along (z, y, x).
    window : (float, float), optional
        Intensities shown black and white.
    around : ndarray of bool, shape (y, x), optional
        What to crop around; reference and prediction together when left out.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    at = best_slice(reference, prediction)
    rows, columns = _crop(reference[at] | prediction[at] if around is None else around, spacing[1:])
    tile = np.zeros(reference.shape[1:]) if image is None else image[at].astype(float)
    low, high = (0.0, 1.0) if image is None else window or percentiles(tile)
    style: Any = STYLE
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(2.6, 2.6), facecolor="black")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.imshow(tile[rows, columns], cmap="gray", vmin=low, vmax=high, aspect=spacing[1] / spacing[2])
        for mask, colour in ((reference, REFERENCE_COLOUR), (prediction, PREDICTION_COLOUR)):
            part = mask[at][rows, columns]
            if part.any() and not part.all():
                axes.contour(part.astype(float), levels=[0.5], colors=[colour], linewidths=1.1)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, facecolor="black", metadata={"Software": None})
    return buffer.getvalue()


def percentiles(tile: Volume) -> tuple[float, float]:
    """Return the values shown black and white where no window is known."""
    low, high = np.percentile(tile, (1, 99.5))
    return float(low), float(high if high > low else low + 1)


def _crop(region: Volume, spacing: tuple[float, ...]) -> tuple[slice, slice]:
    """Return a square window (in mm) around a region with a margin; the whole slice when it is empty."""
    if not region.any():
        return slice(None), slice(None)
    where = np.argwhere(region)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    side = max(60.0, 1.7 * float(((high - low) * np.array(spacing)).max()))
    found = []
    for axis in range(2):
        half = side / spacing[axis] / 2
        middle = (low[axis] + high[axis]) / 2
        start = int(max(0, min(middle - half, region.shape[axis] - 2 * half)))
        found.append(slice(start, int(min(region.shape[axis], start + 2 * half + 1))))
    return found[0], found[1]


def worst_cases(task: TaskResults, submission: str, count: int = 10) -> pd.DataFrame:
    """Return a submission's worst cases of every metric over structures: ``metric, case, value``, worst first."""
    rows = []
    for panel in task.overall:
        values = task.matrix(panel)[submission].dropna()
        ordered = values.sort_values(ascending=panel.better == "higher", kind="stable").head(count)
        rows += [(panel.title, str(case), float(value)) for case, value in ordered.items()]
    return pd.DataFrame(rows, columns=["metric", "case", "value"])
