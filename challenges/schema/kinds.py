"""The table of kinds: what a task may predict. Data only.

A new kind is one more entry: its model, and the families of metrics the model takes, are all that the rules of a
challenge file, ``lint``, ``show`` and the JSON schema need. A model is imported when a file has such a task. How it is
scored is in :mod:`medpodium.scoring.kinds`.
"""

from __future__ import annotations

from medpodium.challenges.schema import formats
from medpodium.challenges.schema.task import TaskKind, Words

KINDS: dict[str, TaskKind] = {
    "segmentation": TaskKind("segmentation:SegmentationTask", layout="files", endings=formats.MASKS),
    "classification": TaskKind(
        "classification:ClassificationTask",
        layout="table",
        words=Words(structure="problem", structures="problems", answer="answer", answers="answers"),
        endings=formats.TABLES,
        told=False,
    ),
    "labels": TaskKind(
        "classification:LabelsTask",
        layout="table",
        words=Words(structure="label", structures="labels", answer="answer", answers="answers"),
        endings=(*formats.TABLES, *formats.RECORDS),
        told=False,
    ),
    "answers": TaskKind(
        "answers:AnswersTask",
        layout="table",
        words=Words("question", "questions", "part", "parts", "model", "models", "answer", "answers", "key"),
        endings=(*formats.TABLES, *formats.RECORDS),
    ),
    "values": TaskKind(
        "values:ValuesTask",
        layout="table",
        words=Words(structure="quantity", structures="quantities"),
        endings=(*formats.TABLES, *formats.RECORDS),
        told=False,
    ),
    "survival": TaskKind(
        "values:SurvivalTask", layout="table", endings=(*formats.TABLES, *formats.RECORDS), told=False
    ),
    "table": TaskKind("tabular:TableTask", layout="table", computed=False),
}
"""Every kind of task by the name used in challenge files; a task that names none is the first."""
