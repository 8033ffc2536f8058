"""Files and folders without a challenge file: which structures there are, the challenge that says so, and its scores.

What is written here as a challenge is what ``medpodium measure --save-challenge`` leaves, and the scores are computed
by the function behind ``medpodium score``: the same table comes out of both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, MedpodiumError, has_errors
from medpodium.scoring import definitions, table
from medpodium.scoring.exchange.nnunet_results import references_of
from medpodium.scoring.kinds.engine import Result, score_task
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import BrokenReferencesError, CaseJob, Predictions, References
from medpodium.scoring.masks.inflate import OWN_FILES
from medpodium.scoring.masks.labels import labels_in
from medpodium.scoring.masks.named import read_segments
from medpodium.scoring.masks.reader import mask_extension, open_mask, read_geometry
from medpodium.scoring.measuring.classes import class_names
from medpodium.scoring.measuring.codes import MeasureCode, refuse
from medpodium.scoring.measuring.request import (
    TASK,
    Facts,
    Labels,
    Request,
    challenge_facts,
    make_challenge,
    task_facts,
)

Progress = Callable[[int, int], None]
ONE = "prediction"
"""Name of the only submission where none is named."""


@dataclass(frozen=True)
class Named:
    """What says which structures there are.

    Parameters
    ----------
    structures : mapping of str to int or list of int, optional
        Labels by name; whatever is found when left out.
    ignore : tuple of int
        Labels of references that are left out of everything.
    """

    structures: Mapping[str, Labels] | None = None
    ignore: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scored:
    """Scores with the challenge that says how they were computed, as a model and as plain data for a file."""

    challenge: Challenge
    facts: Facts
    scores: pd.DataFrame
    findings: list[Finding]


def parse_structures(text: str) -> dict[str, Labels]:
    """Read ``liver=1,kidneys=2+3``, names with a label or labels whose union is the structure, or the name of a map.

    Raises
    ------
    UsageError
        If a part is no ``NAME=LABEL``, or a name is given twice.
    """
    known = class_names(text)
    if known is not None:
        return dict(known)
    found: dict[str, Labels] = {}
    for part in text.split(","):
        name, equals, labels = (piece.strip() for piece in part.partition("="))
        numbers = [piece.strip() for piece in labels.split("+")]
        if not equals or not name or name in found or not all(number.isdecimal() for number in numbers):
            cause = f"{part!r} is not NAME=LABEL" if name not in found else f"{name!r} is given twice"
            fix = "write liver=1,spleen=2 and, for a union of labels, kidneys=2+3"
            raise refuse(MeasureCode.STRUCTURES, "--structures", cause, fix)
        found[name] = [int(number) for number in numbers] if len(numbers) > 1 else int(numbers[0])
    return found


def names_from(path: Path) -> Named:
    """Return the structures that nnU-Net's ``dataset.json`` names; its label ``ignore`` is left out of everything."""
    from medpodium.scoring.exchange.suite import dataset_labels  # brings what compares data sets

    _, structures, ignore = dataset_labels(path)
    return Named(
        {name: own["union"] if "union" in own else own["label"] for name, own in structures.items()}, tuple(ignore)
    )


def measure_files(reference: Path, prediction: Path, request: Request, named: Named) -> Scored:
    """Score one prediction file against one reference file, whatever both are called.

    Raises
    ------
    BrokenReferencesError
        If the reference cannot be scored against.
    MedpodiumError
        If the prediction cannot be compared with it. In a challenge that counts as the worst value; who names two files
        asks what they have in common, and a number that nobody measured would be no answer.
    """
    found = named.structures or found_structures([reference, prediction])
    request = replace(request, structures=found)
    challenge, facts = _challenge(request, found, _pattern([reference.name]), reference, named.ignore)
    task = challenge.tasks[TASK]
    kind, case = of(task), _stem(reference)
    job = CaseJob(case, reference, {ONE: prediction}, task)
    check = kind.check_reference(job)
    if has_errors(check.findings):
        raise BrokenReferencesError(*check.findings)
    truth = References([case], {case: reference})
    said = kind.score_case(job)
    if all(str(row[-1]).startswith((table.MISSING, table.FAILED_PREFIX)) for row in said.rows):
        raise MedpodiumError(*check.findings, *said.findings[ONE])
    told = kind.compare_references(task, truth, {case: check})
    rows = [(challenge.name, challenge.edition, TASK, *row) for row in said.rows]
    ranks = {name: at for at, name in enumerate(task.metrics)}
    rows.sort(key=lambda row: ranks[row[6]])
    scores = definitions.mark(pd.DataFrame(rows, columns=list(table.COLUMNS)), challenge, TASK)
    return Scored(challenge, facts, scores, [*check.findings, *told, *said.findings[ONE]])


def measure_folders(
    references: Path,
    predictions: Mapping[str, Path],
    request: Request,
    named: Named,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Score folders of predictions against a folder of references; files belong together by their names.

    Parameters
    ----------
    references : Path
        Folder of references; a raw data set of nnU-Net brings the names of its structures, too.
    predictions : mapping of str to Path
        Folder of every submission.
    request, named
        What is measured of which structures.
    workers : int, optional
        Number of processes.
    progress : callable, optional
        Told after every file read, then after every case scored.

    Raises
    ------
    MedpodiumError
        As :func:`medpodium.score_task`.
    """
    if (references / "dataset.json").is_file():
        named = names_from(references / "dataset.json") if named.structures is None else named
        references = references_of(references)
    pattern = _pattern(path.name for path in references.glob("*") if not is_hidden(path.name))
    draft, _ = _challenge(Request(("dice",)), {"any": 1}, pattern, None, ())
    known = of(draft.tasks[TASK]).read_references(draft, draft.tasks[TASK], references, None, [])
    first = known.truth[known.cases[0]]
    found = named.structures
    if found is None:
        asked = [
            of(draft.tasks[TASK]).read_predictions(draft.tasks[TASK], own, known.cases, [])
            for own in predictions.values()
        ]
        found = found_structures(_files(known, asked), progress)
    request = replace(request, structures=found)
    challenge, facts = _challenge(request, found, pattern, first, named.ignore)
    result: Result = score_task(challenge, TASK, references, predictions, workers=workers, progress=progress)
    return Scored(challenge, facts, result.scores, result.all_findings())


def found_structures(paths: Sequence[Path], progress: Progress | None = None) -> dict[str, Labels]:
    """Return the structures that some files hold: segments by their names, else every label as ``label 1``, ...

    Files that cannot be read hold nothing here; whoever scores them says what is wrong.
    """
    names: dict[str, None] = {}
    labels: set[int] = set()
    for done, path in enumerate(paths, start=1):
        try:
            with open_mask(path, limits=OWN_FILES) as reader:
                if reader.segments is not None:
                    held = read_segments(reader)
                    own = (one.name.strip() for one in held.segments if one.place in held.parts)
                    names |= dict.fromkeys(name for name in own if name)
                else:
                    for _, slab in reader.slabs(16):
                        labels |= set(labels_in(slab))
        except MedpodiumError:
            pass
        if progress is not None:
            progress(done, len(paths))
    if names:
        return {name: at for at, name in enumerate(names, start=1)}
    return {f"label {label}": label for label in sorted(labels)}


def _files(known: References, asked: Iterable[Predictions]) -> list[Path]:
    said = [path for own in asked for path in own.by_case.values() if isinstance(path, Path)]
    return [*(path for path in known.truth.values() if isinstance(path, Path)), *said]


def _challenge(
    request: Request, found: Mapping[str, Labels], pattern: str, reference: Path | None, ignore: Sequence[int]
) -> tuple[Challenge, Facts]:
    try:
        planar = reference is not None and read_geometry(reference, limits=OWN_FILES).planar
    except MedpodiumError:  # said when references are checked
        planar = False
    picture = pattern.lower().endswith(formats.PICTURES)
    files = {"reference": pattern, "prediction": pattern}
    task = task_facts(request, found, planar=planar and not picture, files=files, ignore=ignore)
    facts = challenge_facts(task, f"Measured: {', '.join(task['metrics'])}")
    return make_challenge(facts), facts


def _pattern(names: Iterable[str]) -> str:
    """Return the pattern of files that are called like these: any format of volumes, or pictures of one format."""
    endings = [ending for ending in map(mask_extension, names) if ending is not None]
    pictures = [ending for ending in endings if ending in formats.PICTURES]
    return "{case}" + (pictures[0] if pictures and len(pictures) == len(endings) else "{extension}")


def _stem(path: Path) -> str:
    ending = mask_extension(path)
    return path.name[: -len(ending)] if ending else path.name
