"""Write a challenge's training cases in nnU-Net's raw layout, by link where the files can stay as they are."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medpodium.baselines.failures import BaselineCode, problem, refuse, warning
from medpodium.baselines.nnunet.scheme import LabelScheme
from medpodium.baselines.nnunet.training_data import TrainingCase
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding, MedpodiumError

RECORD = "medpodium.json"
"""Our own notes beside ``dataset.json``: which challenge, task and baseline, and the label values to write back."""
LINKABLE = (".nii.gz", ".nrrd", ".mha", ".nii")
"""File endings that nnU-Net reads with SimpleITK, several channels and labels alike."""
CHANNEL_NAMES = {"ct": "CT", "none": "noNorm", "rescale-0-1": "rescale_to_0_1"}
"""Our normalisation to the channel name by which nnU-Net chooses it; any other name means z-score."""
_RESERVED = {"ct", "nonorm", "zscore", "rescale_to_0_1", "rgb_to_0_1"}
_FIRST_ID = 500

if TYPE_CHECKING:
    import SimpleITK

Progress = Callable[[int, int], None]
Voxels = npt.NDArray[np.uint16]


@dataclass
class Written:
    """What a conversion did.

    Parameters
    ----------
    folder : Path
        ``DatasetXXX_Name``.
    cases, linked, converted : int
        Training cases; files that were linked or copied, and files that had to be written anew.
    structures : Counter
        Number of cases that hold each structure.
    findings : list of Finding
    """

    folder: Path
    cases: int = 0
    linked: int = 0
    converted: int = 0
    structures: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)


def channel_names(normalisations: Mapping[str, str]) -> dict[str, str]:
    """Return nnU-Net's ``channel_names`` for channels and their normalisations, in order."""
    found = {}
    for index, (channel, kind) in enumerate(normalisations.items()):
        name = CHANNEL_NAMES.get(kind) or channel
        if kind == "z-score" and name.casefold() in _RESERVED:
            name = f"{channel}_zscore"
        found[str(index)] = name
    return found


def dataset_name(raw: Path, name: str, number: int | None = None, taken: Mapping[int, str] | None = None) -> str:
    """Return ``DatasetXXX_Name`` with the given number, or the first free one from 500.

    Parameters
    ----------
    raw : Path
        nnU-Net's folder of raw data, for messages.
    name : str
        What the data set is called after.
    number : int, optional
        The number asked for.
    taken : mapping of int to str, optional
        Data sets by number, of all of nnU-Net's folders: it finds one by its number alone. Those in ``raw`` when left
        out.

    Raises
    ------
    UsageError
        If the number is taken by a data set of another name.
    """
    clean = re.sub(r"[^A-Za-z0-9]+", "", name.title()) or "Challenge"
    if taken is None:
        found = ((re.match(r"Dataset(\d{3})_", path.name), path.name) for path in raw.glob("Dataset*"))
        taken = {int(match[1]): path for match, path in found if match}
    same = [key for key, value in taken.items() if value == f"Dataset{key:03d}_{clean}"]
    free = next((key for key in range(_FIRST_ID, 1000) if key not in taken), None)
    if number is None:
        number = same[0] if same else free
    if number is None:
        fix = "give the number of a data set that may go, and remove it, or use another --workspace"
        raise refuse(BaselineCode.DATASET_EXISTS, raw, f"all numbers from {_FIRST_ID} are taken", fix)
    full = f"Dataset{number:03d}_{clean}"
    if taken.get(number, full) != full:
        fix = f"use --dataset-id {free}, which is free, or leave it out"
        raise refuse(BaselineCode.DATASET_EXISTS, raw, f"number {number} is {taken[number]}", fix)
    return full


def ending_of(path: Path) -> str:
    """Return the file's ending, with ``.gz`` where there is one."""
    return "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix


def write_dataset(
    folder: Path,
    task: SegmentationTask,
    cases: Sequence[TrainingCase],
    scheme: LabelScheme,
    normalisations: Mapping[str, str],
    record: Mapping[str, Any],
    *,
    partial: Mapping[str, frozenset[str]] | None = None,
    infer_partial: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write ``imagesTr``, ``labelsTr`` and ``dataset.json``; every label map is read and checked on the way.

    Parameters
    ----------
    folder : Path
        ``DatasetXXX_Name``; replaced if it is there and was written by us.
    task : SegmentationTask
        The structures.
    cases : sequence of TrainingCase
        Checked cases, at least one.
    scheme : LabelScheme
        Label values; with an ignore label, background of partly labelled cases becomes ignored.
    normalisations : mapping of str to str
        Normalisation of every channel, in channel order.
    record : mapping
        Written to ``medpodium.json`` beside the label values.
    partial : mapping of str to frozenset of str, optional
        Annotated structures of the cases that are labelled in part.
    infer_partial : bool
        Treat a structure that is absent from a case as not annotated there.
    progress : callable, optional
        Told (cases done, cases in all).

    Raises
    ------
    MedpodiumError
        If a label map cannot be read, or holds values that are no label of the task.
    """
    _fresh(folder)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    endings = {ending_of(path) for case in cases for path in [*case.images.values(), *case.labels.values()]}
    ending = endings.pop() if len(endings) == 1 and endings <= set(LINKABLE) else ".nii.gz"
    written = Written(folder)
    for number, case in enumerate(cases, start=1):
        _write_images(folder, case, list(normalisations), ending, written)
        try:
            _write_label(folder, task, case, scheme, ending, partial, infer_partial, written)
        except MedpodiumError as error:
            written.findings += error.findings
        if progress is not None:
            progress(number, len(cases))
    written.cases = len(cases)
    written.findings += _absent(task, written)
    description = {
        "channel_names": channel_names(normalisations),
        "labels": scheme.labels,
        "numTraining": len(cases),
        "file_ending": ending,
        "overwrite_image_reader_writer": "SimpleITKIO",
        "name": str(record.get("challenge", folder.name)),
    }
    if scheme.class_order:
        description["regions_class_order"] = list(scheme.class_order)
    values = {str(new): old for old, new in scheme.values.items()}
    (folder / "dataset.json").write_text(json.dumps(description, indent=2), encoding="utf-8")
    notes = {**record, "values": values, "channels": list(normalisations)}
    (folder / RECORD).write_text(json.dumps(notes, indent=2), encoding="utf-8")
    return written


def _fresh(folder: Path) -> None:
    """Remove an earlier conversion, never a data set that somebody else made."""
    if not folder.exists():
        return
    if not (folder / RECORD).exists():
        fix = "choose another --dataset-id or --name, or remove the folder"
        raise refuse(BaselineCode.DATASET_EXISTS, folder, "exists and was not written by medpodium", fix)
    shutil.rmtree(folder)


def _absent(task: SegmentationTask, written: Written) -> list[Finding]:
    return [
        problem(
            BaselineCode.STRUCTURE_ABSENT,
            name,
            f"label {', '.join(map(str, sorted(item.labels)))} occurs in none of the {written.cases} training cases",
            "check the label values, or train on a challenge file without this structure",
        )
        for name, item in task.structures.items()
        if not written.structures[name]
    ]


def place(source: Path, target: Path) -> None:
    """Link a file, or copy it where the file system or the operating system allows no links."""
    source = source.resolve()
    try:
        target.symlink_to(source)
    except OSError:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def on_grid(voxels: npt.NDArray[Any], grid: SimpleITK.Image) -> SimpleITK.Image:
    """Return an image of the voxels, shape (z, y, x), on another image's grid."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(voxels)
    image.CopyInformation(grid)  # type: ignore[no-untyped-call]
    return image


def write_zeros(like: Path, target: Path) -> None:
    """Write an image of zeros on another image's grid, for a channel that a case lacks."""
    import SimpleITK

    grid = SimpleITK.ReadImage(str(like))
    voxels = np.zeros_like(SimpleITK.GetArrayFromImage(grid), dtype=np.float32)
    SimpleITK.WriteImage(on_grid(voxels, grid), str(target), useCompression=True)


def _write_images(folder: Path, case: TrainingCase, channels: Sequence[str], ending: str, written: Written) -> None:
    import SimpleITK

    for index, channel in enumerate(channels):
        target = folder / "imagesTr" / f"{case.name}_{index:04d}{ending}"
        source = case.images.get(channel)
        if source is not None and ending_of(source) == ending:
            place(source, target)
            written.linked += 1
            continue
        if source is None:
            write_zeros(next(iter(case.images.values())), target)
        else:
            SimpleITK.WriteImage(SimpleITK.ReadImage(str(source)), str(target), useCompression=True)
        written.converted += 1


def _write_label(
    folder: Path,
    task: SegmentationTask,
    case: TrainingCase,
    scheme: LabelScheme,
    ending: str,
    partial: Mapping[str, frozenset[str]] | None,
    infer_partial: bool,
    written: Written,
) -> None:
    import SimpleITK

    from medpodium.scoring.masks.named import names_segments

    target = folder / "labelsTr" / f"{case.name}{ending}"
    voxels = _read_map(task, case, written)
    present = set(np.flatnonzero(np.bincount(voxels.ravel())).tolist())
    unknown = sorted(present - set(scheme.values))
    if unknown:
        fix = f"labels of the task: {', '.join(map(str, sorted(scheme.values)))}"
        cause = f"holds the label{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown[:5]))}"
        raise MedpodiumError(problem(BaselineCode.LABEL_UNKNOWN, case.name, cause, fix))
    found = {name for name, item in task.structures.items() if item.labels & present}
    written.structures.update(found)
    annotated = (partial or {}).get(case.name)
    if annotated is None:
        known = set(case.labels) if "" not in case.labels else found if infer_partial else set(task.structures)
    else:
        known = set(annotated)
    incomplete = scheme.ignore is not None and known != set(task.structures)
    source = case.labels.get("")
    if (
        source is not None
        and scheme.identical
        and not incomplete
        and ending_of(source) == ending
        and not names_segments(source)
    ):
        place(source, target)
        written.linked += 1
        return
    mapped = scheme.forward()[voxels]
    if incomplete and scheme.ignore is not None:
        # What nobody annotated may hide in the background, so the background teaches nothing there
        mapped[voxels == 0] = scheme.ignore
    kind = np.uint8 if mapped.max() < 256 else np.uint16
    grid = SimpleITK.ReadImage(str(next(iter(case.images.values()))))
    image = on_grid(mapped.astype(kind), grid)
    SimpleITK.WriteImage(image, str(target), useCompression=True)
    written.converted += 1


def _read_map(task: SegmentationTask, case: TrainingCase, written: Written) -> Voxels:
    """Read a case's label map, or merge its files per structure in the order of the task."""
    from medpodium.scoring.kinds.segmentation.volumes import read_volume
    from medpodium.scoring.masks.reader import read_mask

    if "" in case.labels:
        return read_volume(case.labels[""].resolve(), task).painted(task).astype(np.uint16)
    merged: Voxels | None = None
    shared = 0
    for name, item in task.structures.items():
        if name not in case.labels or item.label is None:
            continue  # a union follows from its labels
        inside = read_mask(case.labels[name].resolve()).array > 0
        if merged is None:
            merged = np.zeros(inside.shape, dtype=np.uint16)
        shared += int(np.count_nonzero(merged[inside]))
        merged[inside] = item.label
    if merged is None:
        fix = "add the files of its structures"
        raise MedpodiumError(problem(BaselineCode.LABEL_MISSING, case.name, "no file of any single structure", fix))
    if shared:
        cause = f"{shared} voxels belong to several structures"
        fix = "the later structure of the challenge file won; correct the files if that is wrong"
        written.findings.append(warning(BaselineCode.OVERLAP, case.name, cause, fix))
    return merged


def read_record(folder: Path) -> dict[str, Any]:
    """Read the notes of a data set; empty for one that somebody else made."""
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
