"""A campaign in which images answer hidden questions, one visible at a time, from init to report."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

pytestmark = [pytest.mark.docker, pytest.mark.slow]

QUESTIONS = {"q1": "C", "q2": "A", "q3": "B", "q4": "D"}
TASK = {
    "kind": "answers",
    "options": ["A", "B", "C", "D"],
    "trials": 2,
    "extraction": "letter-last",
    "files": {"reference": "references.csv", "prediction": "{case}.jsonl"},
    "metrics": {"right": {"kind": "correct"}, "f1": {"kind": "macro_f1"}},
}
KNOWS = (
    'test $(ls /input | wc -l) = 1 || exit 7; a=$(grep -o "hint [A-D]" /input/*.json | cut -c6); '
    'printf \'{"trial": 1, "prediction": "The answer is %s."}\\n{"trial": 2, "prediction": "%s"}\\n\' "$a" "$a" '
    "> /output/answer.jsonl"
)
ALWAYS_A = 'for t in 1 2; do printf \'{"trial": %d, "prediction": "A"}\\n\' $t; done > /output/answer.jsonl'


def run(*words: object) -> None:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code in (0, 1), done.output


def test_images_answer_hidden_questions_from_init_to_report(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    data = json.loads(json.dumps(tiny.CHALLENGE))
    data["tasks"] = {"quiz": TASK}
    data["recipes"]["mean"]["steps"] = [
        {"select": {"metric": "right"}}, {"mean": ["structure", "case", "metric"]}, {"rank": {}}
    ]  # fmt: skip
    data["ranking"] = {"quiz": "mean"}
    protocol = data["containers"]["default"]
    protocol["mounts"][0]["files"] = [{"source": "{case}.json", "target": "question.json"}]
    protocol["outputs"] = [{"name": "answer.jsonl", "kind": "json", "stored_as": "{case}.jsonl"}]
    (tmp_path / "quiz.json").write_text(json.dumps(data), encoding="utf-8")
    for folder in ("questions", "key"):
        (tmp_path / folder).mkdir()
    for name, answer in QUESTIONS.items():
        text = json.dumps({"question": f"Which one is it? hint {answer}"})
        (tmp_path / "questions" / f"{name}.json").write_text(text, encoding="utf-8")
    key = "case,answer\n" + "".join(f"{name},{answer}\n" for name, answer in QUESTIONS.items())
    (tmp_path / "key" / "references.csv").write_text(key, encoding="utf-8")
    tiny.archive(tmp_path / "knows.tar.gz", KNOWS)
    tiny.archive(tmp_path / "always.tar.gz", ALWAYS_A)
    root = tmp_path / "campaign"
    medpodium = partial(run)
    medpodium("init", tmp_path / "quiz.json", root, "--cases", tmp_path / "questions", "--references", tmp_path / "key")
    for team in ("knows", "always"):
        medpodium("submit", root, tmp_path / f"{team}.tar.gz", "--team", team)
    medpodium("run", root)
    medpodium("score", root)
    medpodium("rank", root, "--out", tmp_path / "board.csv")
    medpodium("report", root, "--bootstrap", 50, "--formats", "markdown", "--out", tmp_path / "report")
    board = pd.read_csv(tmp_path / "board.csv").set_index("submission")
    assert board["value"].to_dict() == pytest.approx({"knows": 1.0, "always": 0.25})
    assert (tmp_path / "report" / "report.md").is_file()
