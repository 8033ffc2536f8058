"""What a case viewer shows: image, reference and predictions of the cases an organizer opens, small enough for a page.

Everything is cropped to the box that holds the reference and all predictions, with a margin, thinned out where it is
still large, and quantised: label maps to numbers of structures, images to 256 grey values within their window.
"""

from __future__ import annotations

import base64
import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from medpodium.findings import Code, Finding, MedpodiumError
from medpodium.reports.model.gallery import Reader, Sources, percentiles, softer
from medpodium.reports.model.results import TaskResults
from medpodium.scoring.kinds.segmentation.tasks import tasks_of
from medpodium.scoring.kinds.segmentation.volumes import stored_structures

Bytes = npt.NDArray[np.uint8]
MARGIN = 12.0
"""Margin around what is segmented, in mm."""
MOST = 3_000_000
"""Voxels a case has at most; larger ones are thinned out evenly along every axis."""
_UINT8, _LABELS = 2, 1002
"""NIfTI-1: type of the voxels, and the intent that says they are numbers of labels."""


class ViewerCode(Code):
    """Why a case cannot be shown."""

    NOTHING = "viewer-nothing-to-show"
    UNKNOWN = "viewer-case-unknown"


@dataclass(frozen=True)
class ViewedCase:
    """One case as the viewer loads it: compressed NIfTI files as text.

    Parameters
    ----------
    image : str
        Grey values; empty where the organizer shows none.
    predictions : mapping of str to str
        By submission.
    structures : sequence of str
        Names of the labels 1, 2, ...
    """

    task: str
    case: str
    image: str
    reference: str
    predictions: dict[str, str]
    structures: Sequence[str]


@dataclass
class Viewed:
    """The cases of a viewer, and what could not be shown."""

    cases: list[ViewedCase] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def view_cases(task: TaskResults, sources: Sources, cases: Sequence[str], *, images: bool) -> Viewed:
    """Return the cases that an organizer opens, as far as their files can be read.

    Parameters
    ----------
    images : bool
        Show the images, too; masks alone without it.
    """
    viewed = Viewed()
    if task.name not in tasks_of(task.challenge):
        return viewed
    own = sources if images else Sources(sources.references, sources.predictions)
    for case in [name for name in cases if name in task.cases]:
        try:
            viewed.cases.append(_view(task, own, case, viewed.findings))
        except MedpodiumError as error:
            viewed.findings += [softer(finding) for finding in error.findings]
    return viewed


def _view(task: TaskResults, sources: Sources, case: str, findings: list[Finding]) -> ViewedCase:
    reader = Reader(task, sources)
    names = list(stored_structures(task.task))
    reference: Bytes | None = None
    maps: dict[str, Bytes] = {}
    image, spacing = None, (1.0, 1.0, 1.0)
    for submission in [name for name in task.order if name in sources.predictions]:
        try:
            own: Bytes | None = None
            for label, name in enumerate(names, 1):
                seen = reader.seen(submission, name, case)
                own = np.zeros(seen.reference.shape, np.uint8) if own is None else own
                if reference is None or reference.shape != own.shape:
                    reference, image, spacing = np.zeros_like(own), seen.image, seen.spacing
                reference[seen.reference] = label
                own[seen.prediction] = label
            if own is not None:
                maps[submission] = own
        except MedpodiumError as error:
            findings += [softer(finding) for finding in error.findings]
    if reference is None:
        raise MedpodiumError(
            Finding(
                ViewerCode.NOTHING, case, "no prediction of it can be shown", "check --references and --predictions"
            )
        )
    maps = {name: own for name, own in maps.items() if own.shape == reference.shape}
    box = _box([reference, *maps.values()], spacing)
    step = max(1, int(np.ceil((np.prod([part.stop - part.start for part in box]) / MOST) ** (1 / 3))))
    thin = tuple(slice(part.start, part.stop, min(step, part.stop - part.start)) for part in box)
    size = tuple(length * (part.step or 1) for length, part in zip(spacing, thin, strict=True))
    grey = "" if image is None else packed(nifti(_grey(image[thin], reader.window), size, labels=False))
    return ViewedCase(
        task.title,
        case,
        grey,
        packed(nifti(reference[thin], size, labels=True)),
        {name: packed(nifti(own[thin], size, labels=True)) for name, own in maps.items()},
        [task.structure_title(name) for name in names],
    )


def _box(maps: Sequence[Bytes], spacing: tuple[float, ...]) -> list[slice]:
    """Return the box of what any map marks, with a margin; everything where none marks anything."""
    found = []
    for axis in range(3):
        rest = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(np.any([own.any(axis=rest) for own in maps], axis=0))
        length = maps[0].shape[axis]
        if not len(where):
            found.append(slice(0, length))
            continue
        margin = int(np.ceil(MARGIN / spacing[axis]))
        found.append(slice(max(0, int(where[0]) - margin), min(length, int(where[-1]) + 1 + margin)))
    return found


def _grey(image: npt.NDArray[np.float64], window: tuple[float, float] | None) -> Bytes:
    values = image.astype(np.float32)
    low, high = window or percentiles(values)
    return np.asarray(np.clip((values - low) / (high - low) * 255, 0, 255).round(), dtype=np.uint8)


def nifti(array: Bytes, spacing: tuple[float, ...], *, labels: bool) -> bytes:
    """Return a NIfTI-1 file of an array in LPS, axes (z, y, x), centred on the origin.

    The header is the one of nifti.nimh.nih.gov (``nifti1.h``): 348 bytes, four zeros, the voxels.
    """
    z, y, x = array.shape
    dz, dy, dx = spacing
    # the file's world is RAS: x runs to the patient's left, which is -x there, and y to the back
    rows = ((-dx, 0.0, 0.0, dx * (x - 1) / 2), (0.0, -dy, 0.0, dy * (y - 1) / 2), (0.0, 0.0, dz, -dz * (z - 1) / 2))
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<hhh", head, 68, _LABELS if labels else 0, _UINT8, 8)
    struct.pack_into("<8f", head, 76, 1.0, dx, dy, dz, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<fff", head, 108, 352.0, 1.0, 0.0)
    head[123] = 2  # millimetres
    struct.pack_into("<hh", head, 252, 0, 1)
    for at, row in enumerate(rows):
        struct.pack_into("<4f", head, 280 + 16 * at, *row)
    head[344:348] = b"n+1\0"
    return bytes(head) + array.tobytes()


def packed(content: bytes) -> str:
    """Return bytes compressed, as letters and digits."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()
