"""The table of kinds: what a task may predict. Data only.

A new kind is one more entry: its model, and the families of metrics the model takes, are all that the rules of a
challenge file, ``lint``, ``show`` and the JSON schema need. How it is scored is in :mod:`medpodium.scoring.kinds`.
"""

from __future__ import annotations

from medpodium.challenges.schema import formats
from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.classification import ClassificationTask, LabelsTask
from medpodium.challenges.schema.segmentation import SegmentationTask
from medpodium.challenges.schema.tabular import TableTask
from medpodium.challenges.schema.task import TaskKind, Words
from medpodium.challenges.schema.values import SurvivalTask, ValuesTask

KINDS: dict[str, TaskKind] = {
    "segmentation": TaskKind(SegmentationTask, layout="files", endings=formats.MASKS),
    "classification": TaskKind(
        ClassificationTask,
        layout="table",
        words=Words(structure="problem", structures="problems", answer="answer", answers="answers"),
        endings=formats.TABLES,
        told=False,
    ),
    "labels": TaskKind(
        LabelsTask,
        layout="table",
        words=Words(structure="label", structures="labels", answer="answer", answers="answers"),
        endings=(*formats.TABLES, *formats.RECORDS),
        told=False,
    ),
    "answers": TaskKind(
        AnswersTask,
        layout="table",
        words=Words("question", "questions", "part", "parts", "model", "models", "answer", "answers", "key"),
        endings=(*formats.TABLES, *formats.RECORDS),
    ),
    "values": TaskKind(
        ValuesTask,
        layout="table",
        words=Words(structure="quantity", structures="quantities"),
        endings=(*formats.TABLES, *formats.RECORDS),
        told=False,
    ),
    "survival": TaskKind(SurvivalTask, layout="table", endings=(*formats.TABLES, *formats.RECORDS), told=False),
    "table": TaskKind(TableTask, layout="table", computed=False),
}
"""Every kind of task by the name used in challenge files; a task that names none is the first."""
