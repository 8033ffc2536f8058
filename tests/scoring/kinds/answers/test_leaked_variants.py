"""Ways to leave the key where it can be read, and tables whose rows are not where they should be: each is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from medpodium.cli import main

WORDS = ["heart", "lung", "liver", "spleen", "kidney", "brain", "bone", "skin", "eye", "ear"]
LETTERS = "ABCD"
ITEMS = [(f"q{at}", f"{WORDS[at % 10]} {WORDS[at // 10]} {at}", at * 7 % 4) for at in range(40)]
RULES = """
schema: 1
name: quiz
title: Quiz
edition: '1'
tasks:
  t:
    kind: answers
    files: {public: public.jsonl}
    options: [A, B, C, D]
    metrics: {right: {kind: correct}}
recipes: {main: {steps: [{mean: [case, structure, metric]}, rank]}}
ranking: {t: main}
"""


def options(name: str) -> list[str]:
    return [f"{name} is {letter.lower()}" for letter in LETTERS]


def found(folder: Path, public: list[dict[str, object]], team: list[dict[str, object]]) -> set[str]:
    (folder / "quiz.yaml").write_text(RULES, encoding="utf-8")
    key = [",".join([name, f"What about {text}?", *options(name), LETTERS[own]]) for name, text, own in ITEMS]
    (folder / "references.csv").write_text("\n".join(["case,question,A,B,C,D,answer", *key]) + "\n", encoding="utf-8")
    for name, rows in (("public", public), ("team", team)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["check", "predictions", str(folder / "quiz.yaml"), "--predictions", str(folder / "team.jsonl"), "--json"]
    done = CliRunner().invoke(main, [*words, "--references", str(folder / "references.csv")])
    assert done.exit_code in (0, 1), done.output
    told = json.loads(done.stdout)["findings"]
    every = [one for own in told.values() for one in own] if isinstance(told, dict) else told
    return {str(one["code"]) for one in every}


TEAM: list[dict[str, object]] = [{"case": name, "prediction": LETTERS[own]} for name, _, own in ITEMS]
PUBLIC: list[dict[str, object]] = [{"case": name, "question": f"What about {text}?"} for name, text, _ in ITEMS]


@pytest.mark.parametrize(
    "written",
    [
        lambda name, own: LETTERS[own],
        lambda name, own: LETTERS[own].lower(),
        lambda name, own: f"({LETTERS[own]})",
        lambda name, own: own,
        lambda name, own: own + 1,
        lambda name, own: options(name)[own],
        lambda name, own: options(name)[own].upper(),
    ],
    ids=["letter", "small letter", "in brackets", "number from 0", "number from 1", "text", "text in capitals"],
)
def test_key_in_the_public_table_is_found_however_it_is_written(tmp_path: Path, written: object) -> None:
    assert callable(written)
    rows = [{**row, "extra": written(name, own)} for row, (name, _, own) in zip(PUBLIC, ITEMS, strict=True)]
    assert found(tmp_path, rows, TEAM) == {"leak-answer-in-public-table"}


def test_columns_that_are_no_key_are_no_leak(tmp_path: Path) -> None:
    rows = [{**row, "page": at % 4, "A": "red", "difficulty": "easy"} for at, row in enumerate(PUBLIC)]
    assert found(tmp_path, rows, TEAM) == set()


def test_rows_in_another_order_are_the_same_and_rows_counted_anew_are_told(tmp_path: Path) -> None:
    asked = [{**row, **dict(zip(LETTERS, options(str(row["case"])), strict=True))} for row in TEAM]
    assert found(tmp_path, PUBLIC, asked) == set()
    assert found(tmp_path, PUBLIC, asked[::-1]) == set()
    # one row was lost, and the names were given anew: every reply has the name of its neighbour
    anew = [{**row, "case": f"q{at}"} for at, row in enumerate(asked[1:])]
    assert found(tmp_path, PUBLIC, anew) == {"prediction-missing", "answers-question-differs"}
    # options shown in another order than the key's, and not told
    turned = [{**row, "A": row["B"], "B": row["A"]} for row in asked]
    assert found(tmp_path, PUBLIC, turned) == {"answers-question-differs"}
