"""Validate and score on Synapse in the ORCA convention: one word on stdout, the rest in ``results.json``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.kinds import KINDS
from medpodium.containers.platforms import bundle
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring import observations, table
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.exchange.platforms.unpack import inner_folder, unpack
from medpodium.scoring.kinds.lookup import of

VALIDATED, SCORED, INVALID = "VALIDATED", "SCORED", "INVALID"
MAX_ERROR = 500
"""Synapse refuses annotations longer than this many characters."""


def validate(arguments: list[str] | None = None) -> int:
    """Entry point of ``validate.py``."""
    return _script(arguments, _validate, "validation_status", "validation_errors")


def score(arguments: list[str] | None = None) -> int:
    """Entry point of ``score.py``."""
    return _script(arguments, _score, "score_status", "score_errors")


def _script(
    arguments: list[str] | None,
    work: Callable[[Path, bundle.Bundle, Path], tuple[str, str, dict[str, Any]]],
    status_key: str,
    errors_key: str,
) -> int:
    options = _options(arguments)
    earlier = _earlier(options.output_file)
    try:
        status, errors, more = _guarded(options, work, earlier)
    except MedpodiumError as error:
        status, errors, more = INVALID, "; ".join(f"{one.cause}: {one.fix}" for one in error.findings), {}
    results = {**earlier, status_key: status, errors_key: shorten(errors), **more}
    payload.write_json(results, options.output_file)
    sys.stdout.write(f"{status}\n")
    return 0


def _options(arguments: list[str] | None) -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("-p", "--predictions_file", type=Path, required=True)
    # ORCA's own template calls it --groundtruth_file in validate.py, and --groundtruth_folder in score.py
    names = ("--groundtruth_folder", "--groundtruth_file")
    parser.add_argument("-g", *names, dest="groundtruth_folder", type=Path, required=True)
    parser.add_argument("-t", "--task_number", type=int, default=1)
    parser.add_argument("-o", "--output_file", type=Path, default=Path("results.json"))
    return parser.parse_args(arguments)


def _earlier(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _guarded(
    options: Any,
    work: Callable[[Path, bundle.Bundle, Path], tuple[str, str, dict[str, Any]]],
    earlier: dict[str, Any],
) -> tuple[str, str, dict[str, Any]]:
    given: Path = options.predictions_file
    if "INVALID" in given.name:
        # The step before left its error instead of predictions.
        return INVALID, given.read_text(encoding="utf-8", errors="replace"), {}
    if work is _score and earlier.get("validation_status") == INVALID:
        return INVALID, "Submission could not be evaluated due to validation errors.", {}
    if options.task_number != 1:
        return INVALID, f"There is no task {options.task_number}; this scorer has task 1 only.", {}
    rules = bundle.load(options.groundtruth_folder)
    with tempfile.TemporaryDirectory() as name:
        return work(_predictions(given, Path(name)), rules, options.output_file)


def _predictions(given: Path, work: Path) -> Path:
    if given.is_dir() or given.suffix.lower() == ".csv":
        return given
    unpack(given, work)
    return inner_folder(work)


def _validate(place: Path, rules: bundle.Bundle, _: Path) -> tuple[str, str, dict[str, Any]]:
    task = rules.challenge.tasks[rules.task]
    cases = bundle.read_references(rules).cases
    findings: list[Finding] = []
    answered = of(task).read_predictions(task, place, cases, findings).by_case
    if not answered:
        causes = "; ".join(dict.fromkeys(one.cause for one in findings))
        named = f"No prediction found: files must be named {task.files.prediction}."
        return INVALID, named if KINDS[task.kind].layout == "files" else f"No prediction found: {causes}", {}
    missing = [case for case in cases if case not in answered]
    # A missing prediction has its declared penalty; it does not void the others.
    text = f"{len(missing)} of {len(cases)} cases have no prediction, first: {missing[0]}" if missing else ""
    return VALIDATED, text, {"cases_found": len(answered), "cases_expected": len(cases)}


def _score(place: Path, rules: bundle.Bundle, out: Path) -> tuple[str, str, dict[str, Any]]:
    result = bundle.score(rules, place)
    table.write_scores(result.scores, out.with_name(payload.SCORE_TABLE))
    # stays with the organizer, as the table does: only results.json goes to the platform
    observations.write_beside(result.observations, out.with_name(payload.SCORE_TABLE))
    means = {name: item["mean"] for name, item in payload.aggregates(bundle.settle(rules, result)).items()}
    errors = "; ".join(f"{one.code}: {one.cause}" for one in result.all_findings())
    return SCORED, errors, {name: value for name, value in means.items() if value is not None}


def shorten(text: str) -> str:
    """Cut a message to what Synapse takes."""
    return text if len(text) <= MAX_ERROR else text[: MAX_ERROR - 3] + "..."
