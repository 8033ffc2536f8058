"""Find the images and labels of a challenge's training folder, and check them before anything takes long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medpodium.baselines.failures import BaselineCode, problem, refuse, warning
from medpodium.baselines.portable.image_files import damage
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.naming.patterns import STRUCTURE, case_name, cases_in, parse_name, say_readings
from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.task import TaskModel
from medpodium.findings import Finding

MissingChannel = Literal["refuse", "drop", "zero"]
FOLDS = 5
"""Folds of nnU-Net's cross-validation."""
AGAIN = "copy or download the file again"
"""What to do about an image that was cut off."""
AIR = -500.0
"""A CT in Hounsfield units has air, and so voxels below this; no other usual image has."""


@dataclass(frozen=True)
class TrainingCase:
    """One training subject.

    Parameters
    ----------
    name : str
        Its name, as the label pattern's ``{case}`` matched it.
    images : dict of str to Path
        File of every channel there is.
    labels : dict of str to Path
        One label map under "", or a file per structure.
    """

    name: str
    images: dict[str, Path]
    labels: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """Where a training folder keeps its files: patterns with ``{case}``, and ``{structure}`` for labels."""

    images: dict[str, str]
    label: str

    @property
    def per_structure(self) -> bool:
        """Whether every structure has a file of its own."""
        return "{structure}" in self.label


def layout_of(
    task: TaskModel,
    channels: Sequence[str] | None,
    image_patterns: Mapping[str, str],
    label_pattern: str | None,
) -> Layout:
    """Return a training folder's layout: the task's own patterns unless others are given.

    Raises
    ------
    UsageError
        If a channel is unknown or none is declared.
    """
    known = {**task.files.images, **image_patterns}
    wanted = list(channels) if channels else list(image_patterns or known)
    for name in wanted:
        if name not in known:
            fix = f"known channels: {', '.join(known) or 'none'}; or give --image-pattern {name}=PATTERN"
            raise refuse(BaselineCode.CHANNEL_UNKNOWN, name, "no file pattern of this channel", fix)
    if not wanted:
        fix = "give --image-pattern CHANNEL=PATTERN, for instance ct={case}_0000.nii.gz"
        raise refuse(BaselineCode.CHANNEL_UNKNOWN, "images", "the challenge names no image files", fix)
    return Layout({name: known[name] for name in wanted}, label_pattern or task.files.reference)


def _files(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and not is_hidden(relative):
            yield relative


def find_images(layout: Layout, folder: Path) -> dict[str, dict[str, Path]]:
    """Return the image files of every case by channel.

    Raises
    ------
    UsageError
        If the folder is absent or no file fits.
    """
    if not folder.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, folder, "no such folder", "check the path")
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    tree = list(_files(folder))
    for channel, pattern in layout.images.items():
        for relative in tree:
            if readings := parse_name(pattern, relative):
                found[case_name(pattern, readings[0])][channel] = folder / relative
    if not found:
        cause = f"no file fits {', '.join(layout.images.values())}"
        fix = "check the folder, or give --image-pattern CHANNEL=PATTERN"
        raise refuse(BaselineCode.NO_CASES, folder, cause, fix)
    return dict(sorted(found.items()))


def find_cases(
    task: SegmentationTask, layout: Layout, images: Path, labels: Path, missing: MissingChannel = "refuse"
) -> tuple[list[TrainingCase], list[Finding]]:
    """Match images and labels of a training folder.

    Parameters
    ----------
    task : SegmentationTask
        Names of the structures' own files.
    layout : Layout
        File patterns.
    images, labels : Path
        Folders; may be the same.
    missing : {"refuse", "drop", "zero"}
        What becomes of a case without one of the channels: an error, left out, or filled with zeros.

    Returns
    -------
    (cases, findings)
        Cases that have labels, sorted by name. Images without labels are reported and left out.
    """
    if not labels.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, labels, "no such folder", "check the path")
    pictures = find_images(layout, images)
    truth = _labels(task, layout, labels, {path for files in pictures.values() for path in files.values()})
    findings, cases = [], []
    for name, files in pictures.items():
        if name not in truth:
            continue
        lacking = [channel for channel in layout.images if channel not in files]
        if lacking and missing != "zero":
            cause = f"lacks the channel{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}"
            if missing == "drop":
                fix = "left out, as --missing-channel drop asks"
                findings.append(warning(BaselineCode.CHANNEL_MISSING, name, cause, fix))
            else:
                fix = "add the file, or choose --missing-channel drop or zero"
                findings.append(problem(BaselineCode.CHANNEL_MISSING, name, cause, fix))
            continue
        if len(lacking) == len(layout.images):
            continue
        if lacking:
            fix = "filled with zeros, as --missing-channel zero asks"
            findings.append(warning(BaselineCode.CHANNEL_MISSING, name, f"lacks {', '.join(lacking)}", fix))
        cases.append(TrainingCase(name, files, truth[name]))
    unlabelled = sorted(set(pictures) - set(truth))
    if unlabelled:
        cause = f"{len(unlabelled)} of {len(pictures)} cases have no label file (first {unlabelled[0]})"
        fix = f"the pattern is {layout.label!r}; add the labels, or ignore this if they are meant to be unlabelled"
        report = warning if truth else problem
        findings.append(report(BaselineCode.LABEL_MISSING, labels, cause, fix))
    orphans = sorted(set(truth) - set(pictures))
    if orphans:
        cause = f"{len(orphans)} label files have no image (first {orphans[0]})"
        findings.append(warning(BaselineCode.CHANNEL_MISSING, images, cause, "add the images, or remove the labels"))
    return cases, findings


def _labels(task: SegmentationTask, layout: Layout, folder: Path, pictures: set[Path]) -> dict[str, dict[str, Path]]:
    names = {(item.file or name): name for name, item in task.structures.items()}
    tree = [relative for relative in _files(folder) if folder / relative not in pictures]
    read = cases_in(layout.label, tree, {STRUCTURE: names})
    for relative, ways in read.refused:
        fix = "rename the file, or give another --label-pattern"
        raise refuse(BaselineCode.UNREADABLE, folder / relative, f"can be read as {say_readings(ways)}", fix)
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for relative, values in read.files.items():
        structure = names[values[STRUCTURE]] if layout.per_structure else ""
        found[case_name(layout.label, values)][structure] = folder / relative
    return found


def read_partial(path: Path, task: SegmentationTask) -> dict[str, frozenset[str]]:
    """Read which structures are annotated in which case: a CSV with the columns ``case`` and ``annotated``.

    ``annotated`` lists structures separated by semicolons. Cases without a row are annotated in full.

    Raises
    ------
    UsageError
        If a column is missing or a structure unknown.
    """
    sheet = read_sheet(path)
    case_column, annotated = sheet.need("case", "annotated")
    found = {}
    for case, listed in zip(sheet.column(case_column), sheet.column(annotated), strict=True):
        names = frozenset(name.strip() for name in listed.split(";") if name.strip())
        unknown = sorted(names - set(task.structures))
        if unknown:
            fix = f"structures: {', '.join(task.structures)}"
            raise refuse(BaselineCode.LABEL_UNKNOWN, f"{path.name}: {case}", f"no structure {unknown[0]!r}", fix)
        found[case] = names
    return found


def partly_labelled(
    task: SegmentationTask, cases: Sequence[TrainingCase], table: Path | None
) -> dict[str, frozenset[str]]:
    """Return what is annotated in the cases that are not annotated in full.

    Parameters
    ----------
    table : Path, optional
        As :func:`read_partial`; its rows go before what the challenge's ``labelled_structures`` say.
    """
    own = {case.name: task.scored_structures(case.name) for case in cases if case.name in task.labelled_structures}
    return own | (read_partial(table, task) if table is not None else {})


@dataclass(frozen=True)
class Groups:
    """Which cases belong together: a column of a table of cases, or a placeholder in the names of the labels.

    Parameters
    ----------
    column : str
        ``patient``, ``centre``, ...
    table : Path, optional
        CSV with the columns ``case`` and ``column``.
    """

    column: str
    table: Path | None = None

    def of(self, pattern: str, cases: Sequence[TrainingCase], folder: Path) -> dict[str, str]:
        """Return the group of every case.

        Raises
        ------
        UsageError
            If neither a table nor the names say it, or a case has none.
        """
        if self.table is not None:
            sheet = read_sheet(self.table)
            case_column, own = sheet.need("case", self.column)
            found = dict(zip(sheet.column(case_column), sheet.column(own), strict=True))
        elif f"{{{self.column}}}" in pattern:
            found = {}
            for case in cases:
                name = next(iter(case.labels.values())).relative_to(folder).as_posix()
                found[case.name] = parse_name(pattern, name)[0][self.column]
        else:
            fix = f"give --groups FILE with the columns case and {self.column}"
            cause = f"the names of the labels ({pattern}) have no {{{self.column}}}"
            raise refuse(BaselineCode.SPLITS, "--group-by", cause, fix)
        if unknown := [case.name for case in cases if not found.get(case.name, "").strip()]:
            cause = f"says nothing of {unknown[0]} ({len(unknown)} such)"
            raise refuse(BaselineCode.SPLITS, self.table or "--group-by", cause, "add the cases")
        return {case.name: found[case.name].strip() for case in cases}


def check_folds(count: int, folds: Sequence[int | str]) -> list[Finding]:
    """Refuse folds that the number of cases cannot fill."""
    if count >= FOLDS or list(folds) == ["all"]:
        return []
    cause = f"{count} training case{'s' if count != 1 else ''} cannot be split into {FOLDS} folds"
    fix = f"give at least {FOLDS} cases, or --folds all"
    return [problem(BaselineCode.TOO_FEW_CASES, "training cases", cause, fix)]


def check_geometry(cases: Sequence[TrainingCase], *, full: bool = False) -> list[Finding]:
    """Look at every file of every case: whether it is whole, and whether a case's channels and labels share a grid.

    Parameters
    ----------
    full : bool
        Unpack every file; otherwise headers, sizes and the ends of compressed files are compared.
    """
    from medpodium.findings import MedpodiumError, Severity
    from medpodium.scoring.masks.geometry import compare_geometry
    from medpodium.scoring.masks.reader import read_geometry

    findings: list[Finding] = []
    for case in cases:
        grid = None
        for path in [*case.images.values(), *case.labels.values()]:
            if cause := damage(path.resolve(), full=full):
                findings.append(problem(BaselineCode.UNREADABLE, f"{case.name}: {path.name}", cause, AGAIN))
                continue
            try:
                own = read_geometry(path.resolve())
            except MedpodiumError as error:
                findings += error.findings
                continue
            if grid is None:
                first, grid = path, own
                continue
            wrong = [item for item in compare_geometry(grid, own) if item.severity is Severity.ERROR]
            if wrong:
                where = f"{case.name}: {path.name}"
                cause = f"not on the grid of {first.name}: {wrong[0].cause}"
                fix = "resample it to that grid; nnU-Net needs all channels and labels of a case on one grid"
                findings.append(problem(BaselineCode.GEOMETRY, where, cause, fix))
    return findings


def check_normalisation(
    challenge: Challenge, normalisations: Mapping[str, str], example: TrainingCase
) -> list[Finding]:
    """Compare each channel's normalisation with the modality, declared and seen in one image.

    A published Touchstone baseline declared its CT channel as not CT, and so got z-scores instead of clipping to the
    intensities of the foreground; nothing told its authors.
    """
    findings = []
    for channel, kind in normalisations.items():
        if channel not in example.images:
            continue
        hounsfield = _lowest(example.images[channel]) < AIR
        # A mixed challenge (PET/CT) says nothing about one channel; a pure one does
        declared = challenge.modality == ["CT"] or channel.casefold() == "ct"
        if kind != "ct" and (declared or hounsfield):
            why = "the challenge declares CT" if declared else f"{example.images[channel].name} holds Hounsfield units"
            fix = "use --normalisation ct, unless the published baseline is to be repeated as it was"
            cause = f"channel {channel} is normalised by {kind}, but {why}"
            findings.append(warning(BaselineCode.NORMALISATION, channel, cause, fix))
        if kind == "ct" and not hounsfield:
            cause = (
                f"channel {channel} is normalised as CT, but {example.images[channel].name} has no value below {AIR:g}"
            )
            fix = "use --normalisation z-score unless intensities are Hounsfield units"
            findings.append(warning(BaselineCode.NORMALISATION, channel, cause, fix))
    return findings


def _lowest(path: Path) -> float:
    import SimpleITK

    return float(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).min())


def check_complete(
    task: SegmentationTask, layout: Layout, cases: Sequence[TrainingCase], partial: bool
) -> list[Finding]:
    """Refuse cases that lack a structure's own file, unless labels are declared to be partial."""
    if not layout.per_structure or partial:
        return []
    wanted = [name for name, item in task.structures.items() if item.label is not None]
    findings = []
    for case in cases:
        lacking = [name for name in wanted if name not in case.labels]
        if lacking:
            cause = f"lacks the label file of {', '.join(lacking)}"
            fix = "add the file, or use --partial infer: the background then teaches nothing in such a case"
            findings.append(problem(BaselineCode.LABEL_MISSING, case.name, cause, fix))
    return findings
