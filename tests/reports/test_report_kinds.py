"""Reports of questions: their own words everywhere, a main part and a supplement, and figures of the observations."""

from __future__ import annotations

import re

from medpodium.challenges.schema.task import Words
from medpodium.reports.model.document import Document, Items, Paragraph
from medpodium.reports.model.wording.spoken import Voice


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


def test_captions_say_what_is_drawn_and_methods_what_was_asked(answered: Document) -> None:
    captions = {figure.id: figure.caption for figure in answered.figures()}
    assert "Lines: 95 % intervals" in captions["means-quiz-accuracy"]
    assert not any("in brackets" in caption for caption in captions.values()), "a drawing has no brackets"
    text = _texts(answered)
    assert "with the options A, B and C" in text
    assert "one of the classes" not in text


def test_nothing_is_best_at_either_end_of_values_around_the_best_one(answered: Document) -> None:
    """The calibration shift is best at zero: who is least sure of all is not the best."""
    (board,) = [table for table in answered.tables() if table.id.startswith("pooled-")]
    at = [column.title for column in board.columns].index("Calibration shift")
    assert not any(column == at for _, column in board.best())
    assert "Calibration shift: mean confidence - accuracy; values nearer to zero are better." in _texts(answered)
