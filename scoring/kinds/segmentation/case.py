"""Score one case of a segmentation task for all submissions: read, compare grids, measure, apply the policies.

The reference is read once and its surfaces are kept for every further submission.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.findings import Finding, MedpodiumError, has_errors
from medpodium.scoring import table
from medpodium.scoring.kinds.protocol import CaseJob, CaseScores, Row
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Comparison, Volume
from medpodium.scoring.masks.codes import MaskCode
from medpodium.scoring.masks.geometry import Geometry, GeometryTolerance, compare_geometry, compare_shape
from medpodium.scoring.masks.inflate import DEFAULT_LIMITS, OWN_FILES, ReadLimits
from medpodium.scoring.masks.reader import Mask, read_mask
from medpodium.scoring.masks.structures import read_structures
from medpodium.scoring.policy import Score, absent_score, empty_score, resolve, rounded

MaskFiles = Path | Mapping[str, Path]
"""A label map's file, or the file of each structure."""


class UnusableError(MedpodiumError):
    """A prediction that was read but cannot be scored: wrong grid, unknown labels."""


def score_case(job: CaseJob) -> CaseScores:
    """Score one case.

    Raises
    ------
    MedpodiumError
        If the reference itself cannot be read; a bad prediction only becomes a finding and ``failed:`` scores.
    """
    task: SegmentationTask = job.task
    reference = read_volume(job.reference, task, replace(DEFAULT_LIMITS, follow_links=True))
    measures = CaseMeasures(reference, task)
    rows: list[Row] = []
    findings: dict[str, list[Finding]] = {"": list(reference.findings)}
    for submission, files in job.predictions.items():
        found: list[Finding] = []
        scores: Iterable[tuple[str, str, Score]]
        if files is None:
            scores = _absent(task, measures, job.failures.get(submission))
        else:
            try:
                scores = _score_prediction(task, measures, files, DEFAULT_LIMITS, found)
            except MedpodiumError as error:
                found += error.findings
                reason = next(iter(error.findings)).code
                scores = _absent(task, measures, str(reason).removeprefix("mask-"))
        rows += [Row(submission, job.case, structure, metric, *score) for structure, metric, score in scores]
        findings[submission] = found
    return CaseScores(rows, findings)


def read_volume(
    files: MaskFiles, task: SegmentationTask, limits: ReadLimits = DEFAULT_LIMITS, like: Geometry | None = None
) -> Volume:
    """Read a label map, or one file per structure, as the volume to be measured.

    Structures stored one per file may overlap; then each is measured on its own. Files of another shape than that
    of ``like`` are refused before their voxels are read.
    """
    if isinstance(files, Path):
        mask = read_mask(files, limits=limits, like=like)
        return Volume(mask.array, mask.geometry, mask.findings)
    found = read_structures(files, limits=limits, like=like)
    if found.overlaps():
        single = {name: found.full(name) for name in found.structures}
        return Volume(None, found.geometry, found.findings, single)
    labels = {name: next(iter(task.structures[name].labels)) for name in found.structures}
    mask = found.label_map(labels)
    return Volume(mask.array, mask.geometry, mask.findings)


def stored_structures(task: SegmentationTask) -> dict[str, str]:
    """Return the structures that have a file of their own, with the stem of that file; unions are made from them."""
    return {name: item.file or name for name, item in task.structures.items() if item.label is not None}


def _absent(task: SegmentationTask, measures: CaseMeasures, failure: str | None) -> Iterator[tuple[str, str, Score]]:
    for metric, spec, structure in _cells(task):
        empty = measures.reference_empty(spec, structure)
        yield structure, metric, absent_score(spec, task.empty_policy(spec), empty, measures.diagonal_mm, failure)


def _cells(task: SegmentationTask) -> Iterator[tuple[str, StructureMetric, str]]:
    """Yield every (metric, spec, structure) that is measured on masks."""
    for metric, spec in task.metrics.items():
        if isinstance(spec, StructureMetric):
            for structure in task.structures_of(spec):
                yield metric, spec, structure


def _score_prediction(
    task: SegmentationTask, measures: CaseMeasures, files: MaskFiles, limits: ReadLimits, found: list[Finding]
) -> list[tuple[str, str, Score]]:
    prediction = read_volume(files, task, limits, measures.reference.geometry)
    found += prediction.findings
    where = _place(files)
    _check_grid(task, measures.reference.geometry, prediction.geometry, where, found)
    pair = measures.against(prediction)
    worst_throughout = _check_labels(task, pair, where, found)
    computed: dict[tuple[str, str], float] = {}
    scores = []
    for metric, spec, structure in _cells(task):
        n_reference, n_prediction = pair.held(spec, structure)
        score = empty_score(spec, task.empty_policy(spec), n_reference == 0, n_prediction == 0, measures.diagonal_mm)
        if worst_throughout:
            score = Score(resolve("worst", spec, measures.diagonal_mm), table.PENALISED)
        if score is None:
            score = Score(pair.value(spec, structure, task.tolerance_of(spec, structure)), table.OK)
        computed[metric, structure] = score.value
        scores.append((structure, metric, spec, score))
    return [
        (structure, metric, _finished(spec, score, computed, structure)) for structure, metric, spec, score in scores
    ]


def _finished(spec: StructureMetric, score: Score, computed: Mapping[tuple[str, str], float], structure: str) -> Score:
    """Apply the gate (on unrounded values) and the declared rounding."""
    if score.status == table.OK and spec.gate is not None:
        gating = computed.get((spec.gate.metric, structure), math.nan)
        if gating < spec.gate.below:
            score = Score(spec.gate.value, table.PENALISED)
    return Score(rounded(score.value, spec), score.status)


def _check_grid(
    task: SegmentationTask, reference: Geometry, prediction: Geometry, where: str, found: list[Finding]
) -> None:
    rules = task.geometry
    tolerance = GeometryTolerance(rules.spacing_relative, rules.origin_mm, rules.direction)
    differences = compare_geometry(reference, prediction, tolerance, where)
    if task.geometry.check == "shape":
        differences = compare_shape(reference, prediction, where)
    found += [item for item in differences if not has_errors([item])]
    errors = [item for item in differences if has_errors([item])]
    if errors:
        raise UnusableError(*errors)


def _check_labels(task: SegmentationTask, pair: Comparison, where: str, found: list[Finding]) -> bool:
    """Refuse labels outside the schema, or say that they make every score the worst."""
    unknown = [] if task.unknown_labels == "ignore" else pair.unknown_labels()
    if not unknown:
        return False
    shown = ", ".join(map(str, unknown[:8])) + ("..." if len(unknown) > 8 else "")
    allowed = ", ".join(map(str, sorted(task.known_labels)))
    finding = Finding(
        MaskCode.LABEL_UNKNOWN, where, f"label {shown} is not in the schema", f"use only the labels {allowed}"
    )
    if task.unknown_labels == "fail":
        raise UnusableError(finding)
    found.append(finding)
    return True


def check_case(task: SegmentationTask, reference: MaskFiles, prediction: MaskFiles) -> list[Finding]:
    """Return everything that is wrong with one prediction, reasons for a low overlap included."""
    # Here, as it brings scipy: scoring a case needs neither.
    from medpodium.scoring.kinds.segmentation.checking import check_files, check_prediction

    labels = {min(item.labels): name for name, item in task.structures.items() if item.label is not None}
    labels |= {label: f"label {label}" for label in task.known_labels - set(labels) if label}
    rules = task.geometry
    tolerance = GeometryTolerance(rules.spacing_relative, rules.origin_mm, rules.direction)
    if isinstance(reference, Path) and isinstance(prediction, Path):
        return check_files(reference, prediction, labels, tolerance=tolerance, reference_limits=OWN_FILES)
    findings: list[Finding] = []
    volumes = []
    for files, limits in ((reference, OWN_FILES), (prediction, DEFAULT_LIMITS)):
        try:
            volumes.append(read_volume(files, task, limits))
            findings += volumes[-1].findings
        except MedpodiumError as error:
            findings += error.findings
    if len(volumes) == 2:
        masks = [Mask(volume.painted(task), volume.geometry) for volume in volumes]
        findings += check_prediction(masks[0], masks[1], labels, where=_place(prediction), tolerance=tolerance)
    return findings


def _place(files: MaskFiles) -> str:
    """Name a prediction in findings: its file, or the folder of its files."""
    return str(files) if isinstance(files, Path) else str(next(iter(files.values())).parent)
