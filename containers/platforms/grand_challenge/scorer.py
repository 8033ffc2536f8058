"""Score on grand-challenge: read ``/input/predictions.json``, write ``/output/metrics.json``.

Where the phase takes files with predictions instead of algorithms, the platform puts a table at
``/input/predictions.csv``, and unpacks an archive into ``/input``. The export says which it is, never the submission.

Jobs come in any order, and only for inputs whose algorithm ran; they are matched to cases by the name of the input
image. Whatever a submission did wrong becomes a finding and the declared penalty; only a broken installation exits
with an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.kinds import KINDS
from medpodium.containers.platforms import bundle
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.exchange.platforms.grand_challenge import read_jobs
from medpodium.scoring.exchange.platforms.unpack import inner_folder
from medpodium.scoring.kinds.engine import Result

INPUT = Path("/input")
OUTPUT = Path("/output")
GROUND_TRUTH = Path("/opt/ml/input/data/ground_truth")
UPLOAD = "predictions"
"""What ``sockets.json`` says of a phase that takes predictions, not algorithms."""
_PLATFORMS = ("inputs.json", "predictions.zip")


def evaluate(folder: Path = INPUT, truth: Path = GROUND_TRUTH, out: Path = OUTPUT) -> dict[str, Any]:
    """Score one submission and write ``metrics.json``; returns what was written."""
    rules = bundle.load(truth)
    sockets = json.loads((truth / "sockets.json").read_text(encoding="utf-8"))
    if sockets.get("submission") == UPLOAD:
        result, found = _uploaded(rules, folder)
    else:
        task = rules.challenge.tasks[rules.task]
        jobs = read_jobs(folder, bundle.read_references(rules).cases, task, sockets["output"]["slug"])
        result, found = bundle.score(rules, jobs.files, failures=jobs.failures, times=jobs.times), jobs.findings
    found = [*found, *result.all_findings()]
    data = payload.payload(result.scores, bundle.settle(rules, result), found, rules.about)
    payload.write_json(data, out / "metrics.json")
    return data


def _uploaded(rules: bundle.Bundle, folder: Path) -> tuple[Result, list[Finding]]:
    """Score predictions that were uploaded; what the platform itself puts beside them is no prediction."""
    if KINDS[rules.challenge.tasks[rules.task].kind].layout == "table":
        single = folder / "predictions.csv"
        return bundle.score(rules, single if single.is_file() else inner_folder(folder, ignored=_PLATFORMS)), []
    return bundle.score(rules, inner_folder(folder, ignored=_PLATFORMS)), []


def main() -> int:
    """Entry point of the container."""
    try:
        data = evaluate()
    except MedpodiumError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.write(json.dumps({"counts": data["counts"], "findings": len(data["findings"])}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
