"""The kind ``segmentation``: a label map, or one mask per structure, for every case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.naming.patterns import Cases
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.findings import Finding, MedpodiumError, UsageError
from medpodium.scoring.kinds.protocol import (
    Asked,
    CaseJob,
    CaseScores,
    Given,
    Kind,
    Observing,
    Predictions,
    Progress,
    ReferenceCheck,
    References,
    ScoreCode,
    paths_in,
)
from medpodium.scoring.kinds.segmentation.case import prepare, score_case
from medpodium.scoring.kinds.segmentation.casefiles import discover_cases, matched_files
from medpodium.scoring.kinds.segmentation.matching import find_repeated
from medpodium.scoring.kinds.segmentation.memory import budget
from medpodium.scoring.kinds.segmentation.plane import tell_planes
from medpodium.scoring.kinds.segmentation.references import check_reference, tell_empty
from medpodium.scoring.kinds.segmentation.volumes import MaskFiles
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.reader import open_mask, read_geometry
from medpodium.scoring.masks.segments.dicom import require_dicom

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.ranking.pools import Pool


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
        known = discover_cases(place, task)
        names = sorted(known.values) if cases is None else list(cases)
        others = set(known.values) - set(names)
        files = matched_files(task, place, names, reference=True, others=others, findings=findings)
        found = [case for case in names if case in files]
        if not found:
            fix = f"the pattern is {task.files.reference!r}; give the folder that holds the references"
            raise UsageError(Finding(ScoreCode.NO_CASES, str(place), "no reference to score against", fix))
        _need_dicom(path for one in files.values() for path in paths_in(one))
        return References(found, files, _groups(known, found), others=frozenset(others))

    def prepare(self, task: SegmentationTask) -> bool:
        """Measure a case of a few voxels, which takes the same code as any other."""
        prepare(task)
        return True

    def check_reference(self, job: CaseJob) -> ReferenceCheck:
        """Read every voxel of a reference and check its labels, and the grids of its files."""
        return check_reference(job)

    def compare_references(
        self, task: SegmentationTask, references: References, checks: Mapping[str, ReferenceCheck]
    ) -> list[Finding]:
        """Report references with the same bytes, structures that they do not hold, and planes among volumes."""
        whole = {
            case: references.truth[case] for case in references.cases if checks[case].empty != checks[case].expected
        }
        repeated = find_repeated({case: path for case, path in whole.items() if isinstance(path, Path)})
        first = next(iter(references.files))
        extents = {case: checks[case].seen for case in references.cases}
        return repeated + tell_empty(task, checks, str(first.parent)) + tell_planes(task, extents, str(first.parent))

    def read_predictions(
        self, task: SegmentationTask, given: Given, cases: Sequence[str], findings: list[Finding]
    ) -> Predictions:
        """Find the file or files of every prediction; they are opened when their case is scored."""
        if not isinstance(given, Path):
            return Predictions(given)
        if not given.is_dir():
            cause = "the folder of predictions does not exist"
            raise UsageError(Finding(ScoreCode.PREDICTION_MISSING, str(given), cause, "check the path"))
        others = cases.others if isinstance(cases, Asked) else ()
        files = matched_files(task, given, cases, reference=False, others=others, findings=findings)
        _need_dicom(path for one in files.values() for path in paths_in(one))
        return Predictions(files)

    def score_case(self, job: CaseJob) -> CaseScores:
        """Read, compare grids, measure and apply the policies."""
        return score_case(job)

    def check_answers(
        self, task: SegmentationTask, references: References, answers: Predictions, progress: Progress | None = None
    ) -> list[Finding]:
        """Check files, grids and labels, and look for a reason where the overlap is low."""
        from medpodium.scoring.kinds.segmentation.checking import check_case  # it brings scipy

        findings: list[Finding] = []
        for done, case in enumerate(references.cases, start=1):
            if case in answers.by_case:
                job = CaseJob(case, references.truth[case], {"": answers.by_case[case]}, task)
                findings += check_case(job)
            if progress is not None:
                progress(done, len(references.cases))
        whole = {case: path for case, path in answers.by_case.items() if isinstance(path, Path)}
        return findings + find_repeated(whole)

    def observe(
        self, task: SegmentationTask, seen: Observing, findings: dict[str, list[Finding]]
    ) -> pd.DataFrame | None:
        """Return what was matched in every case, where metrics pool objects over all cases."""
        from medpodium.scoring.kinds.segmentation.values.pooled import observe

        return observe(task, seen, findings[""])

    def pool(self, challenge: Challenge, name: str, observations: pd.DataFrame) -> Pool | None:
        """Return the metrics of pooled objects as functions of case weights."""
        from medpodium.scoring.kinds.segmentation.values.pooled import make_pool

        return make_pool(challenge, name, observations)

    def known_labels(self, task: SegmentationTask) -> frozenset[int] | None:
        """Return every label a reference may contain; ``None`` where each structure has a file of its own."""
        return None if "{structure}" in task.files.reference else task.known_labels

    def job_bytes(self, job: CaseJob) -> int:
        """Estimate the memory one worker needs from the reference's header."""
        path = next(iter(paths_in(job.reference)))
        try:
            with open_mask(path, limits=OWN_FILES) as reader:
                voxels = math.prod(reader.geometry.shape_zyx)
                if reader.geometry.sparse:  # the other slices come with the predictions
                    voxels = max([voxels, *(_voxels(files) for files in job.predictions.values())])
        except MedpodiumError:
            voxels = 0
        return budget(voxels)


def _voxels(files: MaskFiles | None) -> int:
    """Return the number of voxels that a prediction's header promises; 0 where none can be read."""
    try:
        return math.prod(read_geometry(files).shape_zyx) if isinstance(files, Path) else 0
    except MedpodiumError:
        return 0


def _need_dicom(paths: Iterable[Path]) -> None:
    """Refuse DICOM files before anything is scored where nothing reads them here; no team is to blame for that."""
    for path in paths:
        if path.name.lower().endswith(formats.DICOM):
            require_dicom(path)


def _groups(known: Cases, cases: Sequence[str]) -> pd.DataFrame | None:
    """Return the groups that the placeholders of the references' pattern tell (``{patient}/{study}``), if any."""
    levels = known.groups()
    if not levels:
        return None
    import pandas as pd

    return pd.DataFrame(
        {"case": list(cases)} | {name: [own.get(case, "") for case in cases] for name, own in levels.items()}
    )


KIND = Segmentation()
