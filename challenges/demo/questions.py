"""Made-up questions, a key and the replies of three models, for any challenge whose tasks are of the kind ``answers``.

Nothing here is medical: questions ask for a word, and models answer as models do, with refusals, articles, reasons.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.challenges import registry
from medpodium.challenges.schema.answers import AnswersTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Code, Finding, UsageError

TEAMS: Mapping[str, float] = {"aurora": 0.8, "borealis": 0.6, "cirrus": 0.35}
"""Models and how often they are right."""
_STYLES = ("{}", "**{}**", "The answer is {}.", "A shadow is seen, so I would choose {}.", "答案：{}")
_REFUSAL = "I'm sorry, I cannot tell from this image."
_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "ledge")


class DemoCode(Code):
    """Why no demo can be made."""

    NOT_ANSWERS = "demo-no-questions"


def make(folder: Path, name: str, number: int, seed: int) -> dict[str, tuple[Path, dict[str, Path]]]:
    """Write a key and the replies of every model for every task of a challenge.

    Returns
    -------
    dict of str to (Path, dict of str to Path)
        Key and tables of the models, by task.

    Raises
    ------
    UsageError
        If the challenge has a task of another kind.
    """
    challenge = registry.load(name)
    found: dict[str, tuple[Path, dict[str, Path]]] = {}
    for task_name, task in challenge.tasks.items():
        own: Any = task
        if getattr(own, "form", None) is None:  # only questions have a form of answer
            cause, fix = f"task {task_name!r} is of the kind {task.kind}", "name a challenge of questions or masks"
            raise UsageError(Finding(DemoCode.NOT_ANSWERS, name, cause, fix))
        rng = np.random.default_rng([seed, len(found)])
        place = folder / task_name
        place.mkdir(parents=True, exist_ok=True)
        truth = _write_key(place / "key.csv", challenge, own, number, rng)
        teams = {team: place / f"{team}.csv" for team in TEAMS}
        for team, path in teams.items():
            _write(path, *_replies(own, truth, TEAMS[team], rng))
        found[task_name] = (place / "key.csv", teams)
    return found


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def _write_key(
    path: Path, challenge: Challenge, task: AnswersTask, number: int, rng: np.random.Generator
) -> dict[str, str]:
    groups = {name: group.levels or ["north", "south", "west"] for name, group in challenge.groups.items()}
    groups = {name: levels for name, levels in groups.items() if not challenge.groups[name].cluster}
    header = [task.columns.item, task.columns.question, task.columns.answer, *task.options, *groups]
    rows, truth = [], {}
    for at in range(number):
        case = f"q{at:03d}"
        words = rng.permutation(_WORDS)[: max(2, len(task.options))]
        answer = task.options[rng.integers(len(task.options))] if task.options else str(words[0])
        if task.form == "number":
            answer = str(int(rng.integers(1, 100)))
        texts = [f"{word} {at}" for word in words[: len(task.options)]]
        levels = ["1" if name == "weight" else own[int(rng.integers(len(own)))] for name, own in groups.items()]
        rows.append([case, f"What does sample {at} of {words[-1]} {words[-2]} show?", answer, *texts, *levels])
        truth[case] = answer
    _write(path, header, rows)
    return truth


def _replies(
    task: AnswersTask, truth: Mapping[str, str], skill: float, rng: np.random.Generator
) -> tuple[list[str], list[list[object]]]:
    names = task.columns
    if task.form == "rubric":
        rows: list[list[object]] = []
        for case in truth:
            for criterion, own in task.criteria.items():
                score = own.low + (own.high - own.low) * float(np.clip(rng.normal(skill, 0.2), 0, 1))
                rows.append([case, criterion, 1, round(score, 2), "demo-judge", "0000"])
        return [names.item, names.criterion, names.trial, names.score, names.judge, names.prompt], rows
    rows = []
    for case, answer in truth.items():
        for order in task.orders or {"": "".join(task.options)}:
            for trial in range(task.trials):
                reply = _reply(task, answer, task.orders.get(order, ""), skill, rng)
                rows.append([case, reply, order, trial + 1, round(float(rng.uniform(0.5, 1)), 2)])
    return [names.item, names.prediction, names.order, names.trial, names.confidence], rows


def _reply(task: AnswersTask, answer: str, order: str, skill: float, rng: np.random.Generator) -> str:
    right = rng.random() < skill
    if not task.options:
        return answer if right else str(rng.choice(_WORDS))
    if rng.random() < 0.03:
        return _REFUSAL
    said = answer if right else str(rng.choice(task.options))
    shown = task.options[order.index(said)] if order else said
    return str(rng.choice(_STYLES)).format(shown)
