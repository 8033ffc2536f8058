"""Score on grand-challenge: read ``/input/predictions.json``, write ``/output/metrics.json``.

Jobs come in any order, and only for inputs whose algorithm ran; they are matched to cases by the name of the input
image. Whatever a submission did wrong becomes a finding and the declared penalty; only a broken installation exits
with an error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from medpodium.containers.platforms import bundle
from medpodium.findings import MedpodiumError
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.exchange.platforms.grand_challenge import read_jobs

INPUT = Path("/input")
OUTPUT = Path("/output")
GROUND_TRUTH = Path("/opt/ml/input/data/ground_truth")


def evaluate(folder: Path = INPUT, truth: Path = GROUND_TRUTH, out: Path = OUTPUT) -> dict[str, Any]:
    """Score one submission and write ``metrics.json``; returns what was written."""
    rules = bundle.load(truth)
    task = rules.challenge.tasks[rules.task]
    cases = bundle.read_references(rules).cases
    sockets = truth / "sockets.json"
    slug = json.loads(sockets.read_text(encoding="utf-8"))["output"]["slug"] if sockets.is_file() else None
    jobs = read_jobs(folder, cases, task, slug)
    result = bundle.score(rules, jobs.files, failures=jobs.failures)
    found = [*jobs.findings, *result.all_findings()]
    data = payload.payload(result.scores, bundle.settle(rules, result), found, rules.about)
    payload.write_json(data, out / "metrics.json")
    return data


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
