"""Export a challenge for EvalAI: ``challenge_config.yaml``, its pages, the evaluation script and the annotations.

Source: Cloud-CV/EvalAI, ``apps/challenges/challenge_config_utils.py``, ``apps/challenges/models.py`` and
``scripts/workers/submission_worker.py``.
"""

from __future__ import annotations

import html
import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.sources import package_version
from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.source import Source
from medpodium.scoring.exchange import files
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.kinds.lookup import of

TITLE = 100
"""Characters of titles and names in the platform's models."""
PHASE, SPLIT = "test", "hidden"
ANNOTATIONS, SCRIPT = "annotations/test_annotations.zip", "evaluation_script.zip"
PAGES = ("description", "evaluation_details", "terms_and_conditions", "submission_guidelines", "phase_description")
_OPEN_TO_ALL = 3
"""``ChallengePhaseSplit.PUBLIC``."""


def export(
    source: Source,
    out: Path,
    *,
    start: str | None = None,
    end: str | None = None,
    submissions: int = 10,
) -> list[Path]:
    """Write the folder whose content is zipped and uploaded, or kept in the challenge's repository.

    Parameters
    ----------
    source : Source
        Rules, references, cases.
    out : Path
        A folder that is absent or empty.
    start, end : str, optional
        First and last day, ``YYYY-MM-DD``; today, and a year later, when left out.
    submissions : int
        How often a team may submit.
    """
    challenge, task = source.challenge, source.task
    from ruamel.yaml import YAML

    files.new_folder(out)
    truth, script = out / "annotations" / "test_annotations", out / "evaluation_script"
    source.write_truth(truth)
    bundle.write_program(script)
    values = {"version": package_version(), "imports": bundle.imports(challenge.tasks[task])}
    text = bundle.template("evalai.init.py.j2", values)
    (script / "__init__.py").write_text(text, encoding="utf-8", newline="\n")
    for folder in (truth, script):
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
    asked = of(challenge.tasks[task]).answer_columns(challenge.tasks[task])
    files_asked = f"one table with the columns {', '.join(asked)}" if asked else challenge.tasks[task].files.prediction
    texts = {
        "description": challenge.summary or challenge.title,
        "evaluation_details": "A missing or unusable prediction gets the declared penalty.",
        "terms_and_conditions": "The challenge's own terms apply.",
        "submission_guidelines": f"Submit one .zip. Each case: {files_asked}",
        "phase_description": f"Hidden test set of task {task}.",
    }
    for name, text in texts.items():
        (out / f"{name}.html").write_text(f"<p>{html.escape(text)}</p>\n", encoding="utf-8", newline="\n")
    first = date.fromisoformat(start) if start else date.today()
    last = date.fromisoformat(end) if end else first + timedelta(days=365)
    with (out / "challenge_config.yaml").open("w", encoding="utf-8", newline="\n") as stream:
        writer = YAML(typ="safe", pure=True)
        writer.default_flow_style = False
        writer.dump(configuration(challenge, task, first, last, submissions), stream)
    return sorted(out.iterdir())


def configuration(challenge: Challenge, task: str, first: date, last: date, submissions: int) -> dict[str, Any]:
    """Return ``challenge_config.yaml``: one leaderboard, one phase, one split."""
    columns = payload.columns(challenge, task)
    title = challenge.title if len(challenge.title) <= TITLE else challenge.title[: TITLE - 1] + "…"
    times = {"start_date": f"{first} 00:00:00", "end_date": f"{last} 23:59:59"}
    labels = [column.key for column in columns]
    order = {column.key: {"sort_ascending": column.ascending, "description": column.title} for column in columns}
    return {
        "title": title,
        "short_description": (challenge.summary or challenge.title)[:140],
        **{name: f"{name}.html" for name in PAGES[:-1]},
        "evaluation_script": SCRIPT,
        "remote_evaluation": False,
        **times,
        "tags": [],
        "published": False,
        "leaderboard": [
            {"id": 1, "schema": {"labels": labels, "default_order_by": labels[0], "metadata": order}},
        ],
        "challenge_phases": [
            {
                "id": 1,
                "name": "Test",
                "codename": PHASE,
                "description": f"{PAGES[-1]}.html",
                "leaderboard_public": False,
                "is_public": True,
                **times,
                "test_annotation_file": ANNOTATIONS,
                "max_submissions_per_day": submissions,
                "max_submissions_per_month": submissions,
                "max_submissions": submissions,
                "allowed_submission_file_types": ".zip",
            }
        ],
        "dataset_splits": [{"id": 1, "name": "Hidden test set", "codename": SPLIT}],
        "challenge_phase_splits": [
            {
                "challenge_phase_id": 1,
                "leaderboard_id": 1,
                "dataset_split_id": 1,
                "visibility": _OPEN_TO_ALL,
                "leaderboard_decimal_precision": 4,
                "is_leaderboard_order_descending": not columns[0].ascending,
            }
        ],
    }
