"""Score one case of a segmentation task for all submissions: read, compare grids, measure, apply the policies.

The reference is read once and its surfaces are kept for every further submission.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.outcomes import resolve
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring import table
from medpodium.scoring.kinds.protocol import (
    BUDGET_FAILURE,
    MEMORY_FAILURE,
    CaseJob,
    CaseScores,
    Observed,
    Row,
    ScoringError,
    over_case_budget,
)
from medpodium.scoring.kinds.segmentation import memory
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Comparison, Volume
from medpodium.scoring.kinds.segmentation.plane import as_measured
from medpodium.scoring.kinds.segmentation.values.objects import Seen, seen_objects, unseen_objects
from medpodium.scoring.kinds.segmentation.volumes import (
    MaskFiles,
    UnusableError,
    place_of,
    read_prediction,
    read_reference,
    unknown_labels,
    unknown_segments,
)
from medpodium.scoring.masks.geometry import Geometry
from medpodium.scoring.masks.labels import LARGEST_LABEL, mark_labels
from medpodium.scoring.masks.segments.dicom import DicomMissingError
from medpodium.scoring.masks.sparse import KeptMemory, SparseVolume
from medpodium.scoring.measures.budget import OverBudgetError, spending
from medpodium.scoring.measures.surfaces.metrics import SAME
from medpodium.scoring.policy import Score, absent_score, empty_score, rounded


class _Kept(threading.local):
    """Memory of this thread for the masks it scores one after the other; nothing of a mask outlives its case."""

    def __init__(self) -> None:
        self.reference = KeptMemory()
        self.prediction = KeptMemory()


_kept = _Kept()

_BLOCKS, _PITCH = 6, 7
"""Blocks in a line of the case that prepares, and their distance: rows are long enough to be described."""

Cell = tuple[str, str, Score]
"""Structure, metric and score."""


def score_case(job: CaseJob) -> CaseScores:
    """Score one case.

    Raises
    ------
    MedpodiumError
        If the reference itself cannot be used; a bad prediction only becomes a finding and ``failed:`` scores.
    ScoringError
        If the scorer fails on a submission; that is nobody's fault but the scorer's.
    """
    task: SegmentationTask = job.task
    reference = read_reference(job.reference, task, _kept.reference)
    scored = task.scored_structures(job.case)
    measures = CaseMeasures(reference, task)
    rows: list[Row] = []
    observed: list[Observed] = []
    findings: dict[str, list[Finding]] = {}
    for submission, files in job.predictions.items():
        found: list[Finding] = []
        objects: list[Seen] = []
        try:
            with _within_budget(task):
                cells = _score(job, measures, files, job.failures.get(submission), found, objects)
        except OverBudgetError as error:
            where = "" if files is None else place_of(files)
            found.append(over_case_budget(where, job.case, str(error), str(task.case_budget)))
            objects.clear()
            cells = list(absent_cells(task, measures, job.failures.get(submission, BUDGET_FAILURE)))
        except MemoryError:
            too_much = memory.blame(reference.geometry, files)
            if too_much is None:
                raise
            found.append(too_much)
            cells = list(absent_cells(task, measures, job.failures.get(submission, MEMORY_FAILURE)))
        except Exception as error:
            raise ScoringError(f"{type(error).__name__}: {error} (submission {submission!r})") from error
        for structure, metric, score in cells:
            own = score if structure in scored else Score(math.nan, table.UNLABELLED)
            rows.append(Row(submission, job.case, structure, metric, *own))
        findings[submission] = found
        for place, truth, answer, count in objects or unseen_objects(measures, job.case):
            status = table.OK if objects else failed_status(cells)
            observed.append(Observed(submission, job.case, place, truth, answer, count, status))
    return CaseScores(rows, findings, observed)


def prepare(task: SegmentationTask) -> None:
    """Measure a case of a few voxels: whatever a case takes is imported, loaded and compiled after it."""
    measures = CaseMeasures(as_measured(task, _tiny(task, 0), ""), task)
    memory = KeptMemory()
    _tiny(task, 0, memory)
    prediction = _tiny(task, 1, memory)  # which is cleared first, as between two cases
    pair = measures.against(prediction)
    score_pair("", measures, prediction, pair, "", [])
    seen_objects(measures, pair, "")
    seen = np.zeros(LARGEST_LABEL + 1, np.bool_)
    for plane in (np.zeros((1, 1), np.uint8), prediction.painted(task)[0]):  # as references are checked
        mark_labels(plane, seen)


def _tiny(task: SegmentationTask, shift: int, memory: KeptMemory | None = None) -> Volume:
    """Return a label map with two blocks of every structure, moved by so many voxels along x."""
    labels = sorted({min(item.labels) for item in task.structures.values()})
    lines = -(-len(labels) // _BLOCKS)
    array = np.zeros((1 if task.planar else 2 * _PITCH, lines * _PITCH + 2, _BLOCKS * _PITCH), np.uint16)
    for at, label in enumerate(labels):
        y, x = _PITCH * (at // _BLOCKS) + 1, _PITCH * (at % _BLOCKS) + shift
        array[:4, y : y + 4, x : x + 4] = label
        array[_PITCH:-2, y + 1 : y + 4, x : x + 3] = label
    volume = SparseVolume(array.shape, memory)
    flat, width = array.ravel(), array.shape[2]
    volume.add(flat[:width].astype(np.uint8))  # a line of background: large labels come later in most files, too
    volume.add(flat[width:] if max(labels) > 255 else flat[width:].astype(np.uint8))
    grid = Geometry(array.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3), planar=bool(task.planar))
    return Volume(volume.array, grid, rows=volume.rows)


def failed_status(cells: list[Cell]) -> str:
    """Return why a submission has no usable prediction of a case, as its scores say it."""
    return next((score.status for _, _, score in cells if score.status.startswith(table.FAILED_PREFIX)), table.MISSING)


def _within_budget(task: SegmentationTask) -> AbstractContextManager[None]:
    """Limit what one submission's prediction may take to what the challenge declares."""
    declared = task.case_budget
    if declared is None:
        return nullcontext()
    return spending(declared.cpu_seconds, None if declared.memory_gb is None else 1e9 * declared.memory_gb)


def _score(
    job: CaseJob,
    measures: CaseMeasures,
    files: MaskFiles | None,
    failure: str | None,
    found: list[Finding],
    objects: list[Seen],
) -> list[Cell]:
    """Score one submission; a prediction that cannot be used gets what the metrics declare for it."""
    if files is None:
        return list(absent_cells(job.task, measures, failure))
    try:
        return _score_prediction(job, measures, files, found, objects)
    except DicomMissingError:
        raise  # nothing that a team could help
    except MedpodiumError as error:
        found += error.findings
        return list(absent_cells(job.task, measures, reason_of(error)))


def reason_of(error: MedpodiumError) -> str:
    """Return why a prediction that cannot be used has no scores, as its status says it (``failed:<reason>``)."""
    return _reason(next(iter(error.findings)).code)


def _reason(code: object) -> str:
    return str(code).removeprefix("mask-")


def absent_cells(task: SegmentationTask, measures: CaseMeasures, failure: str | None) -> Iterator[Cell]:
    """Yield what every metric of every structure gives where there is no usable prediction, and why."""
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
    job: CaseJob, measures: CaseMeasures, files: MaskFiles, found: list[Finding], objects: list[Seen]
) -> list[Cell]:
    task: SegmentationTask = job.task
    prediction = read_prediction(files, task, measures.reference.geometry, found, memory=_kept.prediction)
    measures = measures.on(prediction.geometry)
    pair = measures.against(prediction)
    cells = score_pair(job.case, measures, prediction, pair, place_of(files), found)
    objects += seen_objects(measures, pair, job.case)
    return cells


def score_pair(
    case: str, measures: CaseMeasures, prediction: Volume, pair: Comparison, where: str, found: list[Finding]
) -> list[Cell]:
    """Score a prediction that was read and compared: every metric of every structure, with the policies applied.

    Parameters
    ----------
    case : str
        Name of the case, which says what its reference is labelled with.
    measures : CaseMeasures
        The reference, with the rules.
    prediction : Volume
        The prediction, on the reference's grid.
    pair : Comparison
        Both beside each other: ``measures.against(prediction)``.
    where : str
        Name of the prediction in findings.
    found : list of Finding
        Gets labels outside the schema, where these only make every score the worst.

    Raises
    ------
    UnusableError
        If it has labels outside the schema, and the rules fail such a prediction.
    """
    task = measures.task
    scored = task.scored_structures(case)
    worst_throughout = _check_labels(task, pair, prediction.strangers, where, found)
    computed: dict[tuple[str, str], float] = {}
    scores, absent = [], []
    for metric, spec, structure in _cells(task):
        policy = task.empty_policy(spec)
        lost = prediction.lost(task, structure)
        if lost is not None or structure not in scored:
            empty = measures.reference_empty(spec, structure)
            own = absent_score(spec, policy, empty, measures.diagonal_mm, _reason(lost) if lost else None)
            absent.append((structure, metric, own))
            continue
        if worst_throughout:
            score = Score(resolve("worst", spec, measures.diagonal_mm), table.PENALISED)
        else:
            score = _measured(task, measures, pair, spec, structure)
        computed[metric, structure] = score.value
        scores.append((structure, metric, spec, score))
    finished = [
        (structure, metric, _finished(spec, score, computed, structure)) for structure, metric, spec, score in scores
    ]
    return finished + absent


def _measured(
    task: SegmentationTask, measures: CaseMeasures, pair: Comparison, spec: StructureMetric, structure: str
) -> Score:
    """Return the score of a structure that was delivered: computed, or what the policy says of empty masks."""
    n_reference, n_prediction = pair.held(spec, structure)
    policy, diagonal = task.empty_policy(spec), measures.diagonal_mm
    score = empty_score(spec, policy, n_reference == 0, n_prediction == 0, diagonal)
    if score is None:
        score = Score(pair.value(spec, structure, task.tolerance_of(spec, structure)), table.OK)
    return score


def _finished(spec: StructureMetric, score: Score, computed: Mapping[tuple[str, str], float], structure: str) -> Score:
    """Apply the gate (on unrounded values) and the declared rounding."""
    if score.status == table.OK and spec.gate is not None:
        gating = computed.get((spec.gate.metric, structure), math.nan)
        below = spec.gate.below
        if gating < below and not math.isclose(gating, below, rel_tol=SAME):
            score = Score(spec.gate.value, table.PENALISED)
    return Score(rounded(score.value, spec), score.status)


def _check_labels(task: SegmentationTask, pair: Comparison, strangers: str, where: str, found: list[Finding]) -> bool:
    """Refuse labels outside the schema, or say that they make every score the worst."""
    if task.unknown_labels == "ignore":
        return False
    unknown = pair.unknown_labels()
    if not unknown and not strangers:
        return False
    finding = unknown_segments(task, strangers, where) if strangers else unknown_labels(task, unknown, where)
    if task.unknown_labels == "fail":
        raise UnusableError(finding)
    found.append(finding)
    return True
