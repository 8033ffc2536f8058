"""A small challenge with hostile team names, and its report in every format, made once."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.reports import write
from medpodium.reports.formats.html import to_html
from medpodium.reports.formats.pool import draw_all
from medpodium.reports.model import gather, sections
from medpodium.reports.model.document import Document
from medpodium.reports.request import Request
from medpodium.scoring.kinds.engine import score_task

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))


QUIZ = """
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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the challenge file."""
    path = tmp_path_factory.mktemp("tiny") / "tiny challenge ü.yaml"
    path.write_text(teams.CHALLENGE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def hostile(tiny: Path) -> tuple[Path, Path]:
    """Return (report folder in every format, site folder) of a challenge whose teams have hostile names."""
    scores = tiny.with_name("hostile.csv")
    teams.make_scores([*teams.HOSTILE.values(), "plain", "sixth", "seventh"]).to_csv(scores, index=False)
    out, site = tiny.parent / "report", tiny.parent / "site"
    request = Request(
        str(tiny), scores, ("html", "pdf", "latex", "markdown", "docx"), bootstrap=60, seed=1, site=site, workers=1
    )
    write.write_report(request, out)
    return out, site


@pytest.fixture(scope="session")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Return the report of two models that answered 40 questions, undrawn."""
    folder = tmp_path_factory.mktemp("quiz")
    (folder / "rules.yaml").write_text(QUIZ, encoding="utf-8")
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


@pytest.fixture(scope="session")
def quiz_page(answered: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the report on questions."""
    path = tmp_path_factory.mktemp("quiz page") / "index.html"
    path.write_text(to_html(draw_all(answered, ("svg",), workers=1), "test"), encoding="utf-8")
    return path
