"""Tables as spreadsheets write them: the same table in any dialect gives the same scores, or is refused by name."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from medpodium.cli import main

RULES = """
schema: 1
name: grades
title: Grades
groups: {site: {levels: [north, south]}}
tasks:
  grade:
    kind: classification
    classes: [A, B, C]
    problems: {bad: {positive: [B, C], threshold: 0.5}}
    metrics: {acc: {kind: accuracy, problem: bad}, auc: {kind: auc, problem: bad}, kappa: {kind: quadratic_kappa}}
recipes: {main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}}
ranking: {grade: main}
"""
SEGMENTATION = """
schema: 1
name: boxes
title: Boxes
tasks:
  values: {kind: table, metrics: {dice: {kind: dice}, hd: {kind: hd, worst: 100}}}
recipes: {main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}}
ranking: {values: main}
"""


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def said(done: Result) -> str:
    return " ".join(done.output.split())


def rules(folder: Path, text: str = RULES) -> Path:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# names that programs like to take for numbers, missing values, dates or formulas
NAMES = [
    "007",
    "7",
    "1e5",
    "NA",
    "null",
    "nan",
    "None",
    "TRUE",
    "3-4",
    "1.50",
    "caf\u00e9 3",
    "-",
    "P,1",
    "x;y",
    'say "a"',
]


@dataclass(frozen=True)
class Dialect:
    """How one spreadsheet writes a table."""

    separator: str
    comma: bool
    encoding: str
    ending: str
    quotes: bool
    blanks: str
    extra: int
    empty: bool
    formulas: bool
    capitals: bool
    declared: bool
    order: tuple[int, ...]

    @classmethod
    def draw(cls, chance: random.Random, rows: int) -> Dialect:
        separator = chance.choice(",;\t")
        order = list(range(rows))
        chance.shuffle(order)
        return cls(
            separator,
            chance.random() < 0.5,
            chance.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
            chance.choice(["\n", "\r\n"]),
            chance.random() < 0.3,
            chance.choice(["", "", " ", "\u00a0", "  "]) if separator != "\t" else "",
            chance.choice([0, 0, 1, 3]),
            chance.random() < 0.3,
            chance.random() < 0.2,
            chance.random() < 0.3,
            chance.random() < 0.1,
            tuple(order),
        )

    def cell(self, text: str, name: bool = False) -> str:
        if name and self.formulas and text.isdigit():
            return f'="{text}"'
        inner = text.replace('"', '""')
        if self.quotes or any(char in text for char in (self.separator, '"', ",")):
            return f'"{inner}"{self.blanks}'
        return f"{self.blanks}{text}{self.blanks}"

    def number(self, value: str) -> str:
        return self.cell(value.replace(".", ",") if self.comma else value)

    def write(self, names: list[str], numbers: list[list[str]]) -> bytes:
        header = ["Case", "A", "B", "C"]
        lines = [[self.cell(one.upper() if self.capitals else one) for one in header]]
        for at in self.order:
            lines.append([self.cell(names[at], name=True), *(self.number(value) for value in numbers[at])])
            if self.empty and at % 3 == 0:
                lines.append([""] * (4 if at % 2 else 1))
        body = [self.separator.join([*line, *[""] * self.extra]) for line in lines]
        body = [f"sep={self.separator}", *body] if self.declared else body
        text = self.ending.join(body) + self.ending
        return text.encode(self.encoding)


def truth(names: list[str]) -> dict[str, str]:
    return {name: "ABC"[index % 3] for index, name in enumerate(names)}


def expected(names: list[str], numbers: list[list[str]]) -> dict[str, float]:
    """Scores made from the numbers themselves, with scikit-learn's area."""
    values = np.array(numbers, dtype=float)
    positive = np.array([truth(names)[name] != "A" for name in names])
    bad = np.round(values[:, 1] + values[:, 2], 9)
    return {"acc": float(np.mean((bad >= 0.5) == positive)), "auc": float(roc_auc_score(positive, bad))}


def probabilities(chance: random.Random) -> list[list[str]]:
    """Probabilities with three decimals that sum to exactly one."""
    rows = []
    for _ in NAMES:
        cuts = sorted(chance.randint(0, 1000) for _ in range(2))
        parts = (cuts[0], cuts[1] - cuts[0], 1000 - cuts[1])
        rows.append([f"{part / 1000:.3f}" for part in parts])
    rows[0] = ["0.500", "0.123", "0.377"]
    return rows


def score(folder: Path, predictions: Path, *options: object) -> tuple[Result, dict[str, float]]:
    out = folder / "scores.csv"
    out.unlink(missing_ok=True)
    done = run("score", folder / "rules.yaml", "--references", folder / "references.csv",
               "--predictions", f"team={predictions}", "--out", out, *options)  # fmt: skip
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found = pd.read_csv(out).set_index("metric")["value"] if out.exists() else pd.Series(dtype=float)
    return done, {str(name): float(value) for name, value in found.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rules(tmp_path)
    table = pd.DataFrame({"Case": list(truth(NAMES)), "stage": list(truth(NAMES).values())})
    table.to_csv(tmp_path / "references.csv", index=False)
    return tmp_path


def test_five_hundred_dialects_of_a_table_give_the_same_scores(folder: Path) -> None:
    """Semicolons, decimal commas, UTF-16, zeros: readr#1445, pandas#55105, sheetjs#2239, PyNIDM#84."""
    chance = random.Random(20240)
    dialects: dict[str, Dialect] = {}
    for _ in range(10):  # ten tables, each written in fifty ways
        numbers = probabilities(chance)
        teams = {f"team{len(dialects) + index}": Dialect.draw(chance, len(NAMES)) for index in range(50)}
        for team, dialect in teams.items():
            (folder / f"{team}.csv").write_bytes(dialect.write(NAMES, numbers))
        dialects |= teams
        given = [f"--predictions={team}={folder / team}.csv" for team in teams]
        out = folder / "scores.csv"
        done = run("score", folder / "rules.yaml", "--references", folder / "references.csv", *given, "--out", out)
        assert done.exit_code == 0, done.output
        assert "warning" not in done.output
        found = pd.read_csv(out).pivot(index="submission", columns="metric", values="value")
        for metric, value in expected(NAMES, numbers).items():
            assert found[metric].tolist() == pytest.approx([value] * 50, abs=1e-12)
        assert found["kappa"].nunique() == 1
    assert len(set(dialects.values())) == 500


AMBIGUOUS = {
    "thousands or decimals": ("Case;A;B;C\n007;1,000;0;0\n7;0;1,000;0\n", "may be 1.000 or 1000"),
    "grouped": ("Case;A;B;C\n007;1.234,5;0;0\n", "separators of thousands"),
    "percent": ("Case,A,B,C\n007,50%,25%,25%\n", "is a percentage"),
    "decimal commas without quotes": ("Case,A,B,C\n007,0,5,0,25,0,25\n", "7 cells where the header has 4"),
    "a column twice": ("Case,A,B,B,C\n007,1,0,0,0\n", "column 'B' occurs twice"),
    "capitals": ("case,CASE,A,B,C\n007,1,1,0,0\n", "differ only in capitals"),
    "latin": ("Case,A,B,C\nf\xfcnf,1,0,0\n", "is no UTF-8 text"),
    "control": ("Case,A,B,C\n0\x0707,1,0,0\n", "control character 7"),
    "nul": ("Case,A,B,C\n0\x0007,1,0,0\n", "control character 0"),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_has_two_readings_is_refused_by_name(folder: Path, name: str) -> None:
    text, words = AMBIGUOUS[name]
    (folder / "team.csv").write_bytes(text.encode("latin-1"))
    done, found = score(folder, folder / "team.csv")
    assert done.exit_code == 1, done.output
    assert words in said(done)
    # nothing was read, or only the case that the clear row is about
    assert not found["acc"] > 0


def test_names_that_a_spreadsheet_rewrote_are_explained_once(folder: Path) -> None:
    """Stripped zeros, numbers with a point, an exponent: PyNIDM#84, brainGraph#13."""
    names = ["001", "002", "010", "011"]
    pd.DataFrame({"Case": names, "stage": list("ABCA")}).to_csv(folder / "references.csv", index=False)
    for written, words in (
        (["1", "2", "10", "11"], "lack their leading zeros"),
        (["1.0", "2.0", "10.0", "11.0"], "rewritten as numbers"),
        (["case_001", "case_002", "case_010", "case_011"], "prefix 'case_'"),
        (["001.nii.gz", "002.nii.gz", "010.nii.gz", "011.nii.gz"], "suffix '.nii.gz'"),
    ):
        rows = [f"{name};0,2;0,3;0,5" for name in written]
        (folder / "team.csv").write_text("\n".join(["Case;A;B;C", *rows]))
        done, _ = score(folder, folder / "team.csv")
        assert done.exit_code == 1
        assert f"4 of 4 cases {words}" in said(done) or words in said(done)
        assert "unknown case" not in said(done)


def test_tables_of_cases_come_in_any_dialect(folder: Path) -> None:
    rows = [["0.2", "0.3", "0.5"] for _ in NAMES]
    (folder / "team.csv").write_bytes(Dialect.draw(random.Random(1), len(NAMES)).write(NAMES, rows))
    wanted = ["007", "NA", "caf\u00e9 3"]
    for content in (
        "case;site\n007;north\nNA;south\ncaf\u00e9 3;north\n".encode("utf-16"),
        "\ufeffCase\tSITE\r\n007\tnorth\r\n\r\nNA\tsouth\r\ncafe\u0301 3 \tnorth\r\n".encode(),
        ' case , site \n"007",north,\nNA , south\n caf\u00e9 3,north\n,,\n'.encode(),
    ):
        (folder / "cases.csv").write_bytes(content)
        out = folder / "scores.csv"
        given = ("--references", folder / "references.csv", "--predictions", f"team={folder / 'team.csv'}")
        done = run("score", folder / "rules.yaml", *given, "--cases", folder / "cases.csv", "--out", out, "--json")
        assert done.exit_code == 0, done.output
        found = [one["cause"] for own in json.loads(done.stdout)["findings"].values() for one in own]
        assert not [cause for cause in found if "unknown" in cause or "no reference" in cause]
        seen = (
            pd.read_parquet(folder / "scores.observations.parquet")
            if (folder / "scores.observations.parquet").exists()
            else pd.read_parquet(next(folder.glob("*observations*.parquet")))
        )
        assert sorted(seen["case"].unique()) == sorted(wanted)


@pytest.mark.parametrize("name", ["c\x001", "c\x071", "c\x1b[2J", "\x00"])
def test_a_control_character_in_a_case_is_refused_whatever_pandas_does(tmp_path: Path, name: str) -> None:
    """pandas 2 cuts a cell at NUL, pandas 3 keeps it: pandas#19886."""
    rules(tmp_path, SEGMENTATION)
    table = f"submission,task,case,metric,value\nA,values,{name},dice,0.5\nB,values,{name},dice,0.6\n"
    (tmp_path / "scores.csv").write_bytes(table.encode())
    done = run("rank", tmp_path / "rules.yaml", tmp_path / "scores.csv")
    assert done.exit_code == 2, done.output
    assert "control character" in said(done)


def test_score_tables_come_in_any_dialect_too(tmp_path: Path) -> None:
    rules(tmp_path, SEGMENTATION)
    plain = "submission,task,case,metric,value\nA,values,1,dice,0.9\nB,values,1,dice,0.8\nA,values,2,dice,0.3\n"
    other = "Submission;Task;Case;Metric;Value\r\nA;values;1;dice;0,9\r\nB;values;1;dice;0,8\r\nA;values;2;dice;0,3\r\n"
    boards = []
    for text, encoding in ((plain, "utf-8"), (other, "utf-16")):
        (tmp_path / "scores.csv").write_bytes(text.encode(encoding))
        done = run("rank", tmp_path / "rules.yaml", tmp_path / "scores.csv", "--out", tmp_path / "board.csv")
        assert done.exit_code == 0, done.output
        boards.append((tmp_path / "board.csv").read_text())
    assert boards[0] == boards[1]


BOARD = "team,dice,hd\nA,{},4\nB,0.5,5\nC,0.6,6\n"


def board(folder: Path, text: str, *options: object) -> tuple[Result, pd.DataFrame | None]:
    (folder / "board.csv").write_text(text)
    out = folder / "out.csv"
    out.unlink(missing_ok=True)
    done = run("import", "leaderboard", folder / "board.csv", "--challenge", rules(folder, SEGMENTATION),
               "--task", "values", "--out", out, *options)  # fmt: skip
    return done, pd.read_csv(out) if out.exists() else None


@pytest.mark.parametrize("value", ["45.67", "-0.2", "1.01"])
def test_a_published_typo_gains_no_place(tmp_path: Path, value: str) -> None:
    """care_2025_pages prints one team's Dice as 45.67 where 0.4567 is meant."""
    done, scores = board(tmp_path, BOARD.format(value))
    assert done.exit_code == 2, done.output
    assert scores is None
    assert value in done.output
    assert "A, dice" in said(done)


def test_a_score_table_with_such_a_value_is_not_ranked(tmp_path: Path) -> None:
    rules(tmp_path, SEGMENTATION)
    rows = "A,values,1,dice,45.67\nB,values,1,dice,0.9\nA,values,2,dice,0.5\nB,values,2,dice,0.4\n"
    (tmp_path / "scores.csv").write_text("submission,task,case,metric,value\n" + rows)
    done = run("rank", tmp_path / "rules.yaml", tmp_path / "scores.csv", "--out", tmp_path / "board.csv")
    assert done.exit_code == 2, done.output
    assert "45.67" in done.output
    assert not (tmp_path / "board.csv").exists()


def test_per_cent_is_taken_where_it_is_asked_for(tmp_path: Path) -> None:
    percent = "team,dice,hd\nA,45.67,4\nB,50,5\nC,60,6\n"
    for options in (("--percent",), ("--percent-metric", "dice")):
        done, scores = board(tmp_path, percent, *options)
        assert done.exit_code == 0, done.output
        assert scores is not None
        values = scores.pivot(index="submission", columns="metric", values="value")
        assert values["dice"].tolist() == pytest.approx([0.4567, 0.5, 0.6], abs=1e-15)
        assert values["hd"].tolist() == [4, 5, 6]  # millimetres are no percentages
    done, scores = board(tmp_path, "team,dice,hd\nA,0.4567,4\nB,50,5\nC,60,6\n", "--percent")
    assert done.exit_code == 0  # within bounds: 0.004567; whether it is meant so, nobody can know
    done, scores = board(tmp_path, "team;dice;hd\nA;45,67;4\nB;50;5\nC;120;6\n", "--percent")
    assert done.exit_code == 2
    assert "120" in done.output


def test_two_rows_of_one_team_are_refused_whatever_their_capitals(tmp_path: Path) -> None:
    done, scores = board(tmp_path, "team,dice,hd\nTeam A,0.4,4\nteam a ,0.5,5\n")
    assert done.exit_code == 2
    assert scores is None


def test_a_table_task_says_what_to_do_instead(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    done = run("score", rules(tmp_path, SEGMENTATION), "--references", tmp_path / "t",
               "--predictions", f"a={tmp_path / 't'}", "--out", tmp_path / "o.csv")  # fmt: skip
    assert done.exit_code == 2
    assert "medpodium import" in said(done)
    assert "segmentation" not in said(done)
