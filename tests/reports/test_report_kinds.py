"""Reports of questions: their own words everywhere, a main part and a supplement, and figures of the observations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.challenges.schema.task import Words
from medpodium.reports.model import gather, sections
from medpodium.reports.model.document import Document, Items, Paragraph
from medpodium.reports.model.wording.spoken import Voice
from medpodium.scoring.kinds.engine import score_task

RULES = """
schema: 1
name: quiz
title: Quiz
groups: {level: {title: Level, levels: [easy, hard]}}
tasks:
  quiz:
    kind: answers
    form: choice
    options: [A, B, C]
    confidence: given
    groups: [level]
    metrics:
      accuracy: {kind: correct, missing: worst}
      shift: {kind: calibration_shift, ranked: false}
recipes: {micro: {steps: [{mean: case}, {rank: {ties: min}}]}}
ranking: {quiz: micro}
editions: {"1": {}}
"""


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Document:
    folder = tmp_path_factory.mktemp("quiz")
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    random = np.random.default_rng(4)
    names = [f"q{at:02d}" for at in range(40)]
    key = random.choice(list("ABC"), 40)
    level = np.where(np.arange(40) < 20, "easy", "hard")
    pd.DataFrame({"case": names, "answer": key, "level": level}).to_csv(folder / "key.csv", index=False)
    given: dict[str, Path] = {}
    for model, skill in (("case-net", 0.8), ("other", 0.5)):
        said = np.where(random.random(40) < skill, key, random.choice(list("ABC"), 40))
        frame = pd.DataFrame({"case": names, "prediction": said, "confidence": random.random(40).round(2)})
        given[model] = folder / f"{model}.csv"
        frame.iloc[1:].to_csv(given[model], index=False)
    challenge = registry.load(str(folder / "rules.yaml"))
    scored = score_task(challenge, "quiz", folder / "key.csv", given)
    results = gather.gather(challenge, scored.scores, bootstrap=20, observations=scored.observations)
    return sections.assemble(results, every=False)


def _texts(document: Document) -> str:
    said: list[str] = []
    for depth, section in document.walk():
        del depth
        said.append(section.title)
        for block in section.blocks:
            if isinstance(block, Paragraph):
                said.append(block.text)
            elif isinstance(block, Items):
                said += block.items
    for item in (*document.tables(), *document.figures()):
        if item.id != "bias":  # the checklist keeps the words of MICCAI's form
            said += [item.title, item.caption]
    said += [figure.alt for figure in document.figures()]
    said += [column.title for table in document.tables() if table.id != "bias" for column in table.columns]
    return "\n".join(said)


def test_questions_are_no_cases_and_models_keep_their_names(answered: Document) -> None:
    text = _texts(answered)
    assert "case-net" in text
    bare = text.replace("case-net", "")
    found = [
        line for line in bare.splitlines() if re.search(r"(?i)\b(cases?|masks?|submissions?|predictions?)\b", line)
    ]
    assert found == []
    assert ("Models", "2") in answered.facts


def test_figures_hold_what_was_observed(answered: Document) -> None:
    figures = {figure.id: figure for figure in answered.figures()}
    assert {"means-quiz-accuracy", "confusion-quiz-answers", "hardest-quiz-answers", "places-quiz-options",
            "reliability-quiz-confidence", "along-quiz-level"} <= set(figures)  # fmt: skip
    assert not any(name.startswith(("podium-", "dots-")) for name in figures)
    counts = figures["confusion-quiz-answers"].data
    assert counts.groupby("submission")["n"].sum().eq(40).all()
    assert counts.loc[counts["answer"] == "no answer", "n"].sum() == 2
    hard = figures["hardest-quiz-answers"].data.set_index("case")
    assert hard.loc["q00", "n"] == 0
    assert hard.loc["q00", "right"] == 0


def test_the_main_part_is_short_and_everything_is_numbered(answered: Document) -> None:
    main, rest = answered.halves()
    assert rest is not None
    assert len(main.figures()) <= 8
    assert len(main.tables()) <= 3
    assert [one.number for one in main.figures()] == [str(at) for at in range(1, len(main.figures()) + 1)]
    assert [one.number for one in rest.tables()] == [f"S{at}" for at in range(1, len(rest.tables()) + 1)]
    assert len(answered.figures()) == len(main.figures()) + len(rest.figures())


def test_words_change_their_articles_and_names_do_not_change() -> None:
    voice = Voice(Words("question", "questions", answer="answer", answers="answers"), ["Best case", "case-net"])
    said = voice.text("A case without a prediction; Cases of Best case and case-net, 2 cases.")
    assert said == "A question without an answer; Questions of Best case and case-net, 2 questions."
    assert Voice(Words(), []).text("a case") == "a case"
