"""Score on MedPerf: ``/mlcommons/volumes/predictions`` and ``labels`` in, ``results/results.yaml`` out.

MedPerf runs the container as the user of the host, without network and with ``/tmp`` as the only other place to write.
What it shares is ``results.yaml``: means and counts, and no score of a single case.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from medpodium.containers.platforms import bundle
from medpodium.findings import MedpodiumError
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.exchange.platforms.unpack import inner_folder

VOLUMES = Path("/mlcommons/volumes")


def evaluate(predictions: Path, labels: Path, results: Path) -> dict[str, Any]:
    """Score one model's predictions on one owner's data.

    Parameters
    ----------
    predictions : Path
        Folder that the model wrote.
    labels : Path
        Folder that ``medpodium export medperf`` wrote: rules and references.
    results : Path
        The file to write.
    """
    from ruamel.yaml import YAML

    rules = bundle.load(labels)
    result = bundle.score(rules, inner_folder(predictions))
    means = payload.aggregates(bundle.settle(rules, result))
    counts = {str(name): int(number) for name, number in result.scores["status"].value_counts().items()}
    codes = sorted({str(one.code) for one in result.all_findings()})
    data = {"about": dict(rules.about), "aggregates": means, "counts": counts, "findings": codes}
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("w", encoding="utf-8", newline="\n") as stream:
        YAML(typ="safe", pure=True).dump(data, stream)
    return data


def main() -> int:
    """Entry point of the container."""
    try:
        evaluate(VOLUMES / "predictions", VOLUMES / "labels", VOLUMES / "results" / "results.yaml")
    except MedpodiumError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
