"""What a missing score counts is decided once, and every table, test and text of a report says the same.

Touchstone's published scores are the case in point: two of 19 models lack 87 of 616 cases, the recipe leaves those out,
and version 0.1.0 tested them as zeros. The truth is computed here from the published files with scipy.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import docx
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medpodium.challenges import registry
from medpodium.reports import verification, write
from medpodium.reports.formats import html, markdown, pdf
from medpodium.reports.formats.latex.tables import table_tex
from medpodium.reports.formats.latex.text import escape
from medpodium.reports.formats.paged import parts
from medpodium.reports.model import gather, sections, text
from medpodium.reports.model.document import Document, Paragraph, value_of
from medpodium.reports.model.results import Results
from medpodium.scoring import table
from medpodium.scoring.exchange import importers

STU_L, STU_H, RESENC, STU_B = (f"nnU-Net_{name}" for name in ("STU-Net_L", "STU-Net_H", "ResEncL", "STU-Net_B"))


@dataclass(frozen=True)
class Touchstone:
    """The report of the published scores, and the published files as they are."""

    results: Results
    document: Document
    means: pd.DataFrame
    organs: pd.DataFrame
    sex: pd.Series

    def evidence(self, name: str) -> pd.DataFrame:
        """Return an evidence table of the Dice coefficient's mean over the organs of a case."""
        found = self.results.evidence[name]
        return found[(found["metric"] == "dice") & (found["structure"] == "(mean)")]


@pytest.fixture(scope="module")
def touchstone(shared: Path) -> Touchstone:
    folder = shared / "data/touchstone"
    files = sorted((folder / "totalsegmentator_results").glob("*/dsc.csv"))
    organs = pd.concat({path.parent.name: pd.read_csv(path, index_col="name") for path in files})
    means = organs.mean(axis=1).unstack(level=0)  # over the organs that a case has
    assert means.shape == (743, 19)
    sex = pd.read_csv(folder / "metaTotalSeg.csv", sep=";", encoding="utf-8-sig").set_index("image_id")["gender"]
    imported, _ = importers.read_touchstone(folder / "totalsegmentator_results", metadata=folder / "metaTotalSeg.csv")
    results = gather.gather(registry.load("touchstone"), table.normalise(imported, "touchstone"), bootstrap=40)
    return Touchstone(results, sections.assemble(results), means, organs, sex.reindex(means.index))


def test_friedman_stands_on_the_cases_that_every_model_has(touchstone: Touchstone) -> None:
    common = touchstone.means.dropna()
    truth = stats.friedmanchisquare(*common.to_numpy().T)
    assert len(common) == 529
    assert round(float(truth.statistic), 1) == 5626.5
    (row,) = touchstone.evidence("friedman").to_dict("records")
    assert row["n_cases"] == 529
    assert row["statistic"] == pytest.approx(truth.statistic, rel=1e-12)
    nemenyi = touchstone.evidence("nemenyi")
    ranks = common.rank(axis=1, ascending=False).mean()
    np.testing.assert_allclose(nemenyi["mean_rank"], ranks[nemenyi["submission"]], rtol=1e-12)
    assert set(nemenyi["n_cases"]) == {529}
    captions = [figure.caption for figure in touchstone.document.figures() if figure.id.startswith("critical")]
    assert sum("529 cases that every submission has" in caption and "5626.5" in caption for caption in captions) == 1


def test_pairs_are_tested_on_the_cases_that_both_have(touchstone: Touchstone) -> None:
    pairs = list(permutations(touchstone.means.columns, 2))
    p = []
    for one, two in pairs:
        both = touchstone.means[[one, two]].dropna()
        options = {"alternative": "greater", "method": "asymptotic", "correction": True}
        p.append(stats.wilcoxon(both[one], both[two], **options).pvalue)
    order = np.argsort(p)
    holm = np.empty(len(p))
    holm[order] = np.minimum(np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)), 1)
    assert (holm <= 0.05).sum() == 155
    assert round(p[pairs.index((STU_L, RESENC))], 5) == 0.00041
    told = touchstone.evidence("significance").set_index(["submission", "versus"]).loc[pairs]
    np.testing.assert_allclose(told["p_value"], p, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(told["p_adjusted"], holm, rtol=1e-9, atol=1e-300)
    assert told["significant"].sum() == 155
    assert told.at[(STU_L, RESENC), "n_pairs"] == 529
    assert told.at[(STU_B, RESENC), "n_pairs"] == 616
    (caption,) = (
        figure.caption
        for figure in touchstone.document.figures()
        if figure.id.startswith("significance") and "mean over structures" in figure.title and "DSC" in figure.title
    )
    assert "155 are significant" in caption
    assert "529 to 616 cases" in caption


def test_the_gap_stands_on_the_cases_that_the_model_has(touchstone: Touchstone) -> None:
    own = touchstone.means[STU_L]
    known = touchstone.sex.fillna("unknown").replace("", "unknown")
    inside, outside = own[known == "f"].dropna(), own[known != "f"].dropna()
    assert round(inside.mean() - outside.mean(), 4) == -0.0026
    gaps = touchstone.evidence("domain_gap")
    row = gaps[(gaps["submission"] == STU_L) & (gaps["group"] == "sex") & (gaps["level"] == "female")].iloc[0]
    assert row["gap"] == pytest.approx(inside.mean() - outside.mean(), abs=1e-12)
    assert (row["n_level"], row["n_rest"]) == (len(inside), len(outside))
    shown = touchstone.results.tasks[0]
    cells = next(one for one in touchstone.document.tables() if one.id == "group-segmentation-sex-dice").frame()
    cell = cells[(cells["submission"] == STU_L) & (cells["level"] == "female")].iloc[0]
    assert (cell["cases"], cell["mean"]) == (len(inside), pytest.approx(inside.mean(), abs=1e-12))
    assert shown.order[0] == STU_L


def test_methods_are_compared_on_the_cases_that_count(touchstone: Touchstone) -> None:
    told = touchstone.evidence("method_comparison")
    mean = told[told["method"] == "mean-then-rank"].set_index("submission")
    truth = touchstone.means.mean()
    np.testing.assert_allclose(mean["value"], truth[mean.index], rtol=1e-12)
    assert (mean["rank"] == truth[mean.index].rank(ascending=False, method="min")).all()
    assert mean["n_cases"].to_dict() == {name: 529 if name in (STU_L, STU_H) else 616 for name in mean.index}


def test_the_headline_says_what_is_absent_and_who_leads_on_common_cases(touchstone: Touchstone) -> None:
    """Rank the organ means of the 656 cases that every model has, as published under that name."""
    lists = [set(touchstone.organs.loc[name].index) for name in touchstone.means.columns]
    common = sorted(set.intersection(*lists))
    assert len(common) == 656
    organ_means = touchstone.organs[touchstone.organs.index.get_level_values(1).isin(common)].groupby(level=0).mean()
    truth = organ_means.mean(axis=1).sort_values(ascending=False)
    assert truth.index[0] == RESENC
    assert truth.head(3).round(4).tolist() == [0.8305, 0.8297, 0.8295]
    task = touchstone.results.tasks[0]
    assert text.headline(task).startswith(f"{STU_L} ranks first of 19")
    note = " ".join(text.coverage(task))
    assert f"{STU_L} and {STU_H} have no score for 87 cases" in note
    assert "529 to 616 cases" in note
    names = truth.index[:3]
    best = f"{names[0]} 0.8305, {names[1]} 0.8297, {names[2]} 0.8295"
    assert f"On the 656 cases that every submission has, {RESENC} ranks first instead ({best})." in note
    told = [block.text for block in touchstone.document.sections[0].blocks if isinstance(block, Paragraph)]
    assert told[0] == text.headline(task)
    assert note in told


QUIZ = """
schema: 1
name: quiz
title: Quiz
tasks:
  answers:
    kind: table
    metrics: {accuracy: {kind: imported, direction: higher, missing: 0.0}}
recipes: {means: {steps: [{mean: case}, {mean: metric}, {rank: {ties: min}}]}}
ranking: {answers: means}
"""


@pytest.fixture(scope="module")
def quiz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report, in every format, of a table in which one team answers 2 of 4 items, both right."""
    folder = tmp_path_factory.mktemp("quiz")
    (folder / "quiz.yaml").write_text(QUIZ, encoding="utf-8")
    answers = {"half": [1.0, 1.0], "most": [1.0, 1.0, 1.0, 0.0], "few": [0.0, 1.0, 0.0, 0.0]}
    rows = [
        {"task": "answers", "submission": name, "case": f"q{at}", "metric": "accuracy", "value": value}
        for name, values in answers.items()
        for at, value in enumerate(values)
    ]
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    formats = ("html", "pdf", "latex", "markdown", "docx")
    request = write.Request(
        str(folder / "quiz.yaml"), folder / "scores.csv", formats, bootstrap=0, site=folder / "site", workers=1
    )
    write.write_report(request, folder / "report")
    return folder


def test_a_question_without_an_answer_counts_in_every_format(quiz: Path) -> None:
    report = quiz / "report"
    board = pd.read_csv(report / "data/leaderboard-answers.csv").set_index("submission")
    assert board["value"].to_dict() == {"most": 0.75, "half": 0.5, "few": 0.25}
    scores = pd.read_csv(report / "data/scores-answers-accuracy.csv").set_index("submission")
    assert scores.loc["half", ["cases", "mean", "median"]].tolist() == [4, 0.5, 0.5]
    told = {
        "html": (report / "index.html").read_text(encoding="utf-8"),
        "markdown": (report / "report.md").read_text(encoding="utf-8"),
        "latex": "".join(path.read_text(encoding="utf-8") for path in sorted((report / "latex").rglob("*.tex"))),
        "site": (quiz / "site/index.html").read_text(encoding="utf-8"),
    }
    challenge, given = registry.load(str(quiz / "quiz.yaml")), table.read_scores(quiz / "scores.csv")
    document = sections.assemble(gather.gather(challenge, given, bootstrap=0))
    told["pdf"] = json.dumps(
        [pdf._section(part, 1, quiz) for part in document.sections if part.id.startswith("scores")]
    )
    tables = docx.Document(str(report / "report.docx")).tables
    told["docx"] = "\n".join(" ".join(cell.text for cell in row.cells) for one in tables for row in one.rows)
    for name, page in told.items():
        assert re.search(r"0\.500", page), name
    # half's mean is 1 in no table (its interval may end there)
    rows = [line for line in told["markdown"].splitlines() if line.startswith("|") and "half" in line]
    assert rows
    assert not any(re.search(r"(?<![\d.])1\.000(?![\d\]])", row) for row in rows)


def test_verification_finds_the_number_that_leaves_unanswered_questions_out(quiz: Path) -> None:
    report = quiz / "report"
    assert verification.verify(report).findings == ()
    path = report / "data/scores-answers-accuracy.csv"
    kept = path.read_bytes()
    half = next(line for line in kept.decode().splitlines() if ",half," in line)
    forged = ",".join("1" if at == half.split(",").index("0.5") else cell for at, cell in enumerate(half.split(",")))
    try:
        path.write_bytes(kept.replace(half.encode(), forged.encode()))
        found = [one for one in verification.verify(report).findings if one.where.endswith(path.name)]
        causes = [finding.cause for finding in found]
        assert any("'1', the scores give '0.5'" in cause for cause in causes)
    finally:
        path.write_bytes(kept)
    packed = gzip.decompress((report / "data/scores.csv.gz").read_bytes()).decode()
    assert packed.count("\n") == 11  # what was not answered is not invented in the score table


def test_values_over_a_whole_set_are_not_called_one_case(tmp_path: Path) -> None:
    """Three hundred pooled cases give one row per metric, and no room may call them a single case."""
    (tmp_path / "pooled.yaml").write_text(QUIZ.replace("quiz", "pooled"), encoding="utf-8")
    rows = {"task": "answers", "submission": ["one", "two"], "case": "", "metric": "accuracy", "value": [0.8, 0.7]}
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    challenge = registry.load(str(tmp_path / "pooled.yaml"))
    results = gather.gather(challenge, table.read_scores(tmp_path / "scores.csv"), bootstrap=20)
    said = [finding.cause for finding in results.findings]
    assert any("values over a whole set of cases" in cause for cause in said)
    assert not any("one case" in cause or "two cases" in cause for cause in said)
    (data, *_) = text.methods_paragraphs(results, results.tasks[0])
    assert "values over whole sets of cases" in data


def test_numbers_of_the_report_are_those_of_the_published_files(touchstone: Touchstone, shared: Path) -> None:
    """Recompute 48 printed numbers with pandas, and read them in the cells of every format."""
    tables = {one.id: one for one in touchstone.document.tables()}
    folder = shared / "data/touchstone/totalsegmentator_results"
    names = [STU_L, RESENC, STU_B, "nnU-Net_U-Net"]
    truths: list[tuple[str, str, str, float]] = []
    for name in [one for one in names if one in touchstone.means.columns]:
        for metric in ("dsc", "nsd"):
            organs = pd.read_csv(folder / name / f"{metric}.csv", index_col="name")
            own = organs.mean(axis=1).dropna()
            told = {"Mean": own.mean(), "SD": own.std(), "Median": own.median(), "Cases": len(own)}
            key = "dice" if metric == "dsc" else "nsd"
            truths += [(f"summary-segmentation-{key}", name, head, float(value)) for head, value in told.items()]
            spleen, liver = organs["spleen"].mean(), organs["liver"].mean()
            truths += [(f"scores-segmentation-{key}", name, "Spleen", spleen)]
            truths += [(f"scores-segmentation-{key}", name, "Liver", liver)]
    assert len(truths) >= 25
    for key, name, head, truth in truths:
        table, row = tables[key], next(row for row in tables[key].rows if row[0] == name)
        spot = [column.title for column in table.columns].index(head)
        column, cell = table.columns[spot], row[spot]
        assert value_of(cell) == pytest.approx(truth, abs=1e-12), (key, name, head)
        shown = f"{truth:.0f}" if head == "Cases" else f"{truth:.{column.digits or 0}f}"
        line = next(line for line in markdown.table_lines(table) if f"| {markdown.escape(name)} |" in line)
        assert line.split(" | ")[spot].strip("*| ").startswith(shown)
        part = next(one for one in parts(table) if column in one.columns)
        printed = next(cells for cells in part.rows if cells[0] == name)[part.columns.index(column)]
        assert printed.startswith(shown)  # what Word and PDF print
        assert html.shown_text(column, cell).startswith(shown)
        assert any(f"{shown} & " in f"{line} & " for line in table_tex(table).splitlines() if escape(name) in line)
