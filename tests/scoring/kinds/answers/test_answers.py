"""The kind of answers through the command line: formats, forms, trials, orders, confidence, judges, leaks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.scoring.observations import read_beside

HEAD = "schema: 1\nname: quiz\ntitle: Quiz\nedition: '1'\ngroups: {modality: {}}\n"
TAIL = "recipes: {main: {steps: [{mean: [case, structure, metric]}, rank]}}\nranking: {t: main}\n"


class Quiz:
    """A challenge of one task with its key and teams' tables in a folder."""

    def __init__(self, folder: Path, task: str, key: str) -> None:
        self.folder = folder
        text = f"{HEAD}tasks:\n  t:\n    kind: answers\n{task}{TAIL}"
        (folder / "quiz.yaml").write_text(text, encoding="utf-8")
        (folder / "references.csv").write_text(key, encoding="utf-8")

    def team(self, text: str, name: str = "team.csv") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, verb: str, *teams: Path) -> tuple[int, list[dict[str, str]]]:
        given = [f"{path.stem}={path}" for path in teams] if verb == "score" else [str(teams[0])]
        options = [part for one in given for part in ("--predictions", one)]
        words = ["score"] if verb == "score" else ["check", "predictions"]
        out = ["--out", str(self.folder / "scores.csv")] if verb == "score" else []
        words += [str(self.folder / "quiz.yaml"), "--references", str(self.folder / "references.csv"), *options, *out]
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code in (0, 1), done.output
        found = json.loads(done.stdout)["findings"]
        return done.exit_code, [one for own in found.values() for one in own] if isinstance(found, dict) else found

    def score(self, *teams: Path) -> pd.DataFrame:
        self.run("score", *teams)
        return pd.read_csv(self.folder / "scores.csv", keep_default_na=False)

    def value(self, metric: str, case: str = "", structure: str = "", team: str = "team") -> float:
        frame = pd.read_csv(self.folder / "scores.csv", keep_default_na=False)
        rows = frame[(frame["metric"] == metric) & (frame["case"] == case) & (frame["submission"] == team)]
        (value,) = rows.loc[rows["structure"] == structure, "value"]
        return math.nan if value == "" else float(value)


CHOICE = "    options: [A, B, C, D]\n    extraction: letter-or-text\n    metrics: {right: {kind: correct}}\n"
KEY = "case,question,A,B,C,D,answer,modality\n" + "".join(
    f"q{at},Which one is {word}?,red {at},green {at},blue {at},black {at},{'ABCD'[at % 4]},{'CT' if at % 2 else 'MR'}\n"
    for at, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight"])
)


def said(right: int = 8) -> list[tuple[str, str]]:
    return [(f"q{at}", "ABCD"[at % 4] if at < right else "ABCD"[(at + 1) % 4]) for at in range(8)]


def test_every_format_gives_the_same_scores(tmp_path: Path) -> None:
    quiz = Quiz(tmp_path, CHOICE, KEY)
    rows = pd.DataFrame(said(5), columns=["case", "prediction"])
    found = []
    for ending in ("csv", "tsv", "jsonl", "parquet"):
        path = tmp_path / f"team.{ending}"
        if ending == "parquet":
            rows.to_parquet(path)
        elif ending == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_dict("records")), encoding="utf-8")
        else:
            rows.to_csv(path, sep="\t" if ending == "tsv" else ",", index=False)
        found.append(quiz.score(path)["value"].tolist())
    assert found == [[1.0] * 5 + [0.0] * 3] * 4
    assert set(quiz.score(path)["modality"]) == {"CT", "MR"}


def codes(findings: list[dict[str, str]]) -> set[str]:
    return {str(one["code"]) for one in findings}


@pytest.mark.parametrize("verb", ["score", "check"])
def test_bad_rows_are_findings_in_both_verbs(tmp_path: Path, verb: str) -> None:
    quiz = Quiz(tmp_path, CHOICE, KEY)
    lines = [f"{case},{answer}" for case, answer in said()]

    def found(rows: list[str], head: str = "case,prediction") -> set[str]:
        return codes(quiz.run(verb, quiz.team("\n".join([head, *rows]) + "\n"))[1])

    assert found(lines) == set()
    assert found(lines[::-1]) == set()  # the name of a question counts, not its row
    assert found([*lines, "q1,D"]) == {"answers-case-twice", "prediction-missing"}
    assert found(lines[1:]) == {"prediction-missing"}
    assert found([*lines, "q99,A"]) == {"prediction-of-unknown-case"}
    assert found([*lines[:-1], "q7,I cannot tell."]) == {"answers-not-extracted"}
    # counted anew from zero after a row was lost: every reply has the name of its neighbour
    asked = [f"{line},Which one is {word}?" for line, word in zip(lines, ["two", *["x"] * 7], strict=True)]
    assert found(asked, "case,prediction,question") == {"answers-question-differs"}


@pytest.mark.parametrize("verb", ["score", "check"])
def test_leaked_key_is_found(tmp_path: Path, verb: str) -> None:
    words = ["heart", "lung", "liver", "spleen", "kidney", "brain", "bone", "skin", "eye", "ear"]
    rows = [(f"q{at}", f"{words[at % 10]} {words[at // 10]} {at}", "ABCD"[at * 7 % 4]) for at in range(40)]
    texts = [",".join(f"{word} {at} {letter}" for letter in "abcd") for at, (_, word, _) in enumerate(rows)]

    def quiz(task: str, key: list[str]) -> Quiz:
        return Quiz(tmp_path, task, "\n".join(["case,question,A,B,C,D,answer", *key]) + "\n")

    plain = [f"{name},What about {q}?,{text},{own}" for (name, q, own), text in zip(rows, texts, strict=True)]
    team = ["case,prediction", *(f"{name},A" for name, *_ in rows)]

    def found(task: str, key: list[str], table: list[str] = team) -> set[str]:
        made = quiz(task, key)
        told = codes(made.run(verb, made.team("\n".join(table) + "\n"))[1])
        return told - {"answers-prefer-a-place"}  # the team always answers A

    assert found(CHOICE, plain) == set()
    # the answer left in the public file, under another name
    public = "    files: {public: public.csv}\n" + CHOICE
    held = ["case,question,gt", *(f"{name},{q},{own}" for name, q, own in rows)]
    (tmp_path / "public.csv").write_text("\n".join(held) + "\n", encoding="utf-8")
    assert found(public, plain) == {"leak-answer-in-public-table"}
    (tmp_path / "public.csv").write_text("\n".join(line.rpartition(",")[0] for line in held) + "\n", encoding="utf-8")
    assert found(public, plain) == set()
    # the first option is right nearly always
    first = [f"{line.rpartition(',')[0]},{'A' if at % 8 else 'B'}" for at, line in enumerate(plain)]
    assert found(CHOICE, first) == {"leak-option-order"}
    # the longest option is right
    long = [
        f"{name},What about {q}?,"
        + ",".join("x" * (9 if letter == own else at + 2) for at, letter in enumerate("ABCD"))
        for name, q, own in rows
    ]
    assert "leak-option-length" in found(
        CHOICE, [f"{line},{own}" for line, (_, _, own) in zip(long, rows, strict=True)]
    )
    # one question asked twice with another full stop
    again = plain[0].replace("q0,", "q0b,").replace("?", " ?!")
    with_it = [*team, "q0b,A"]
    assert found(CHOICE, [*plain, again], with_it) == {"leak-questions-nearly-the-same"}
    # a team that has the key in its table
    known = ["case,prediction,answer", *(f"{name},A,{own}" for name, _, own in rows)]
    assert found(CHOICE, plain, known) == {"answers-hold-the-key"}


def test_broken_key_stops_the_verb_with_every_cause(tmp_path: Path) -> None:
    quiz = Quiz(
        tmp_path, CHOICE, "case,A,B,C,D,answer\nq1,a,b,c,d,E\nq1,a,b,c,d,A\nq1,a,b,c,d,A\n,a,b,c,d,A\nq3,a,b,c,,D\n"
    )
    team = quiz.team("case,prediction\nq1,A\n")
    options = ["score", str(quiz.folder / "quiz.yaml"), "--references", str(tmp_path / "references.csv")]
    done = CliRunner().invoke(
        main,
        [*options, "--predictions", f"t={team}", "--out", str(tmp_path / "s.csv")],
    )
    assert done.exit_code == 2
    for code in ("key-answer-unusable", "answers-case-twice", "key-question-without-name"):
        assert code in done.output


def test_trials(tmp_path: Path) -> None:
    """Three of four trials right: pass@2 = 1 - C(1,2)/C(4,2), pass-all@2 = C(3,2)/C(4,2) = 1/2."""
    task = """
    options: [A, B, C]
    trials: 4
    confidence: votes
    metrics:
      mean: {kind: correct}
      most: {kind: correct, trials: majority}
      pass2: {kind: correct, trials: pass, k: 2}
      all2: {kind: correct, trials: pass-all, k: 2}
      shift: {kind: calibration_shift, ranked: false}
"""
    quiz = Quiz(tmp_path, task, "case,answer\nq1,A\nq2,B\n")
    rows = ["q1,1,A", "q1,2,A", "q1,3,B", "q1,4,A", "q2,1,A", "q2,2,A", "q2,3,B", "q2,4,I cannot tell."]
    quiz.score(quiz.team("\n".join(["case,trial,prediction", *rows]) + "\n"))
    assert [quiz.value(name, "q1") for name in ("mean", "most", "pass2", "all2")] == [0.75, 1.0, 1.0, 0.5]
    assert [quiz.value(name, "q2") for name in ("mean", "most", "pass2", "all2")] == [0.25, 0.0, 0.5, 0.0]
    one = 1 + (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(3)
    two = max(0.0, 1 + (0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(3))
    assert quiz.value("shift") == pytest.approx((one + two) / 2 - 0.5, abs=1e-12)
    # a trial that lacks is wrong
    code, findings = quiz.run("score", quiz.team("\n".join(["case,trial,prediction", *rows[:2], *rows[4:]]) + "\n"))
    assert code == 1
    assert "answers-trials" in codes(findings)
    assert quiz.value("mean", "q1") == 0.5


ORDERS = """
    options: [A, B, C]
    orders: {original: ABC, turned: BCA}
    metrics:
      right: {kind: correct}
      always: {kind: consistent}
      stable: {kind: stable}
"""


def test_orders_of_the_options(tmp_path: Path) -> None:
    """In the order BCA the option of the key's letter A is shown as C; with two options, in the order BA, as B."""
    quiz = Quiz(tmp_path, ORDERS, "case,A,B,C,answer\nq1,red,green,blue,A\nq2,red,green,blue,B\nq3,yes,no,,A\n")
    rows = ["q1,original,A", "q1,turned,C", "q2,original,B", "q2,turned,B", "q3,original,A", "q3,turned,B"]
    quiz.score(quiz.team("\n".join(["case,order,prediction", *rows]) + "\n"))
    assert [quiz.value("right", "q1", order) for order in ("original", "turned")] == [1.0, 1.0]
    assert [quiz.value("right", "q2", order) for order in ("original", "turned")] == [1.0, 0.0]
    assert [quiz.value("right", "q3", order) for order in ("original", "turned")] == [1.0, 1.0]
    assert [quiz.value("always", name) for name in ("q1", "q2", "q3")] == [1.0, 0.0, 1.0]
    assert [quiz.value("stable", name) for name in ("q1", "q2", "q3")] == [1.0, 0.0, 1.0]
    _, findings = quiz.run("score", quiz.team("\n".join(["case,order,prediction", *rows[:-1]]) + "\n"))
    assert "answers-parts-missing" in codes(findings)
    assert quiz.value("always", "q3") == 0.0


def test_numbers_and_texts(tmp_path: Path) -> None:
    task = "    form: number\n    tolerance: {relative: 0.05, absolute: 0.1}\n    metrics: {right: {kind: correct}}\n"
    quiz = Quiz(tmp_path, task, "case,answer\nq1,10\nq2,0.2\nq3,-4\nq4,7\n")
    quiz.score(
        quiz.team(
            '{"case":"q1","prediction":10.5}\n{"case":"q2","prediction":0.3}\n'
            '{"case":"q3","prediction":"-4.3"}\n{"case":"q4","prediction":"seven"}\n',
            "team.jsonl",
        )
    )
    assert [quiz.value("right", f"q{at}") for at in (1, 2, 3, 4)] == [1.0, 1.0, 0.0, 0.0]
    (tmp_path / "t").mkdir()
    task = "    form: text\n    metrics: {right: {kind: correct}, f1: {kind: token_f1}}\n"
    text = Quiz(tmp_path / "t", task, "case,answer,aliases\nq1,Myocardial infarction,heart attack|MI\nq2,肺炎,\n")
    text.score(text.team("case,prediction\nq1,The heart attack!\nq2,细菌性肺炎\n"))
    assert [text.value("right", name) for name in ("q1", "q2")] == [1.0, 0.0]
    assert text.value("f1", "q1") == 1.0
    assert text.value("f1", "q2") == pytest.approx(4 / 7)  # two of five signs, both of two


def test_judged_criteria(tmp_path: Path) -> None:
    """A round without a score counts as the lowest one, or is dropped as published scorers do; it is told."""
    task = """
    form: rubric
    criteria: {complete: {high: 2}, precise: {high: 2}}
    metrics: {score: {kind: judged}, dropped: {kind: judged, unparsed: drop}}
"""
    quiz = Quiz(tmp_path, task, "case\nd1\nd2\n")
    rows = ["d1,complete,1,2", "d1,complete,2,Score: two", "d1,precise,1,1", "d1,precise,2,2"]
    rows += ["d2,complete,1,3", "d2,precise,1,1"]
    code, findings = quiz.run("score", quiz.team("\n".join(["case,criterion,trial,score", *rows]) + "\n"))
    assert code == 1
    assert "2 of 6 rounds" in next(one["cause"] for one in findings if one["code"] == "answers-not-extracted")
    assert [quiz.value("score", "d1", name) for name in ("complete", "precise")] == [1.0, 1.5]
    assert [quiz.value("dropped", "d1", name) for name in ("complete", "precise")] == [2.0, 1.5]
    assert quiz.value("dropped", "d2", "complete") == 0.0  # none parsed: missing, worst


def test_confidence_and_labels(tmp_path: Path) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    kinds = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "mcc", "kappa", "brier", "log_loss", "ece")
    metrics = "".join(f"      {kind}: {{kind: {kind}}}\n" for kind in (*kinds, "confidence_auc"))
    task = f"    options: [A, B, C, D]\n    confidence: given\n    metrics:\n{metrics}"
    quiz = Quiz(tmp_path, task, KEY)
    answers = [answer for _, answer in said(6)]
    sure = [0.9, 0.8, 0.55, 0.95, 0.6, 0.7, 0.65, 0.3]
    rows = [f"q{at},{answer},{own}" for at, (answer, own) in enumerate(zip(answers, sure, strict=True))]
    quiz.score(quiz.team("\n".join(["case,prediction,confidence", *rows]) + "\n"))
    true = ["ABCD"[at % 4] for at in range(8)]
    hit = [int(one == other) for one, other in zip(true, answers, strict=True)]
    expected = {
        "accuracy": 6 / 8,
        "balanced_accuracy": sklearn.balanced_accuracy_score(true, answers),
        "macro_f1": sklearn.f1_score(true, answers, average="macro"),
        "weighted_f1": sklearn.f1_score(true, answers, average="weighted"),
        "mcc": sklearn.matthews_corrcoef(true, answers),
        "kappa": sklearn.cohen_kappa_score(true, answers),
        "brier": sklearn.brier_score_loss(hit, sure),
        "log_loss": sklearn.log_loss(hit, sure),
        "confidence_auc": sklearn.roc_auc_score(hit, sure),
    }
    for name, value in expected.items():
        assert quiz.value(name) == pytest.approx(value, abs=1e-9), name
    observed = read_beside(tmp_path / "scores.csv")
    assert observed is not None
    assert observed["share"].tolist() == hit
    # what is missing is wrong and certain: leaving a hard question out does not help
    quiz.score(quiz.team("\n".join(["case,prediction,confidence", *rows[:-1]]) + "\n"))
    assert quiz.value("brier") > expected["brier"]
    assert quiz.value("accuracy") == 6 / 8


def test_rule_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    quiz = Quiz(
        tmp_path, "    options: [A, B]\n    extraction: number-last\n    metrics: {right: {kind: correct}}\n", KEY
    )
    done = CliRunner().invoke(main, ["lint", str(tmp_path / "quiz.yaml")])
    assert done.exit_code != 0
    assert "letter-strict" in done.output
    Quiz(tmp_path, "    options: [A, B]\n    metrics: {ece: {kind: ece}, all: {kind: consistent}}\n", KEY)
    done = CliRunner().invoke(main, ["lint", str(quiz.folder / "quiz.yaml")])
    assert done.exit_code == 1
    assert "confidence" in done.output
    assert "orders" in done.output


def test_one_file_per_question_as_containers_write_them(tmp_path: Path) -> None:
    """The file's name says which question it answers; what cannot be read costs that question only."""
    task = '    files: {prediction: "{case}.json"}\n' + CHOICE
    quiz = Quiz(tmp_path, task, KEY)
    folder = tmp_path / "team"
    folder.mkdir()
    for case, answer in said()[:6]:
        (folder / f"{case}.json").write_text(json.dumps({"case": "token", "prediction": answer}), encoding="utf-8")
    (folder / "q6.json").write_text("{", encoding="utf-8")
    code, findings = quiz.run("score", folder)
    assert code == 1
    assert codes(findings) == {"table-text-unreadable", "prediction-missing"}
    assert [quiz.value("right", f"q{at}") for at in range(8)] == [1.0] * 6 + [0.0] * 2


def test_model_that_prefers_a_place_is_told(tmp_path: Path) -> None:
    """Sixty questions, right options spread evenly, and every answer A: 45 wrong ones in place 1, by chance 15."""
    key = "case,answer\n" + "".join(f"q{at},{'ABCD'[at % 4]}\n" for at in range(60))
    quiz = Quiz(tmp_path, CHOICE, key)
    _, findings = quiz.run("score", quiz.team("case,prediction\n" + "".join(f"q{at},A\n" for at in range(60))))
    (told,) = [one["cause"] for one in findings if one["code"] == "answers-prefer-a-place"]
    assert told == "of 45 wrong answers 45 are the option in place 1, by chance 15"
    even = "".join(f"q{at},{'ABCD'[at // 4 % 4]}\n" for at in range(60))
    _, findings = quiz.run("score", quiz.team("case,prediction\n" + even))
    assert "answers-prefer-a-place" not in codes(findings)
