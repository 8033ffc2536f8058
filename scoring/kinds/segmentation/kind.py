"""The kind ``segmentation``: a label map, or one mask per structure, for every case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.findings import Finding, MedpodiumError, UsageError
from medpodium.scoring.kinds.protocol import (
    CaseJob,
    CaseScores,
    Given,
    Kind,
    Predictions,
    Progress,
    References,
    ScoreCode,
    paths_in,
)
from medpodium.scoring.kinds.segmentation.case import check_case, score_case
from medpodium.scoring.kinds.segmentation.casefiles import discover_cases, matched_files
from medpodium.scoring.kinds.segmentation.matching import find_repeated
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.reader import open_mask

_PEAK_BYTES_PER_VOXEL = 6
_BASE_BYTES = 400_000_000


class Segmentation(Kind):
    """Masks in, scores per structure out; a case is read, measured and forgotten in a process of its own."""

    heavy = True

    def read_references(
        self,
        challenge: Challenge,
        task: SegmentationTask,
        place: Path,
        cases: Sequence[str] | None,
        findings: list[Finding],
    ) -> References:
        """Find the file or files of every reference; every file that fits the challenge's pattern is a case."""
        names = discover_cases(place, task) if cases is None else list(cases)
        files = matched_files(task, place, names, reference=True, findings=findings)
        found = [case for case in names if case in files]
        if not found:
            fix = f"the pattern is {task.files.reference!r}; give the folder that holds the references"
            raise UsageError(Finding(ScoreCode.NO_CASES, str(place), "no reference to score against", fix))
        return References(found, files)

    def read_predictions(
        self, task: SegmentationTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Find the file or files of every prediction; they are opened when their case is scored."""
        if not isinstance(given, Path):
            return Predictions(given)
        if not given.is_dir():
            cause = "the folder of predictions does not exist"
            raise UsageError(Finding(ScoreCode.PREDICTION_MISSING, str(given), cause, "check the path"))
        return Predictions(matched_files(task, given, cases, reference=False, findings=findings))

    def score_case(self, job: CaseJob) -> CaseScores:
        """Read, compare grids, measure and apply the policies."""
        return score_case(job)

    def check(
        self,
        challenge: Challenge,
        task: SegmentationTask,
        place: Path,
        given: Path,
        progress: Progress | None = None,
    ) -> list[Finding]:
        """Check names, files, grids and labels, and look for a reason where the overlap is low."""
        findings: list[Finding] = []
        references = self.read_references(challenge, task, place, None, findings)
        files = self.read_predictions(task, given, references.cases, findings).by_case
        for done, case in enumerate(references.cases, start=1):
            if case in files:
                findings += check_case(task, references.truth[case], files[case])
            if progress is not None:
                progress(done, len(references.cases))
        whole = {case: path for case, path in files.items() if isinstance(path, Path)}
        return findings + find_repeated(whole)

    def known_labels(self, task: SegmentationTask) -> frozenset[int] | None:
        """Return every label a reference may contain; ``None`` where each structure has a file of its own."""
        return None if "{structure}" in task.files.reference else task.known_labels

    def job_bytes(self, job: CaseJob) -> int:
        """Estimate the memory one worker needs from the reference's header."""
        path = next(iter(paths_in(job.reference)))
        try:
            with open_mask(path, limits=OWN_FILES) as reader:
                voxels = math.prod(reader.geometry.shape_zyx)
        except MedpodiumError:
            voxels = 0
        return _BASE_BYTES + _PEAK_BYTES_PER_VOXEL * voxels


KIND = Segmentation()
