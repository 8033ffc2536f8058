"""Score on EvalAI: ``evaluate(test_annotation_file, user_submission_file, phase_codename)``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.evalai.export import PHASE, SPLIT
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.exchange.platforms.unpack import inner_folder, unpack


def evaluate(
    test_annotation_file: str,
    user_submission_file: str,
    phase_codename: str = PHASE,  # noqa: ARG001 - the platform's signature
    **_: Any,
) -> dict[str, Any]:
    """Score one submission.

    Parameters
    ----------
    test_annotation_file : str
        The archive of rules and references that the export wrote.
    user_submission_file : str
        The archive that a team handed in (or its one table).
    phase_codename : str
        There is only one phase.

    Returns
    -------
    dict
        ``result``: the split's means by leaderboard label; ``submission_result``: everything that was found, for the
        team. A label without any value is left out: the platform stores no NaN.

    Raises
    ------
    MedpodiumError
        If the submission cannot be read at all; the platform then calls it failed and shows the message.
    """
    with tempfile.TemporaryDirectory() as name:
        truth, place = Path(name) / "truth", Path(name) / "predictions"
        unpack(Path(test_annotation_file), truth)
        given = Path(user_submission_file)
        if given.suffix.lower() != ".csv":
            unpack(given, place)
            given = inner_folder(place)
        rules = bundle.load(inner_folder(truth))
        result = bundle.score(rules, given)
        means = payload.aggregates(bundle.settle(rules, result))
        wanted = [column.key for column in payload.columns(rules.challenge, rules.task)]
        scores = {key: means[key]["mean"] for key in wanted if key in means and means[key]["mean"] is not None}
        found = [f"{one.severity} {one.code}: {one.cause}" for one in result.all_findings()]
    return {"result": [{SPLIT: scores}], "submission_metadata": {}, "submission_result": json.dumps(found)}
