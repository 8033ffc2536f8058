"""Reports of published results: tables of whole test sets (FeTA, LiQA) and the suite of 87 data sets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.reports.model import gather, sections
from medpodium.reports.model.document import Document
from medpodium.scoring.exchange import suite
from medpodium.scoring.exchange.leaderboards import read_leaderboard


def _told(reference: str, scores: pd.DataFrame) -> Document:
    results = gather.gather(registry.load(reference), scores, bootstrap=30)
    return sections.assemble(results, every=False)


def test_feta_2024_keeps_its_published_order(shared: Path) -> None:
    path = shared / "data/published/feta2024_segmentation_results.csv"
    scores, _ = read_leaderboard(path, registry.load("feta/2024"), "published-ranks")
    document = _told("feta/2024", scores)
    board = next(table for table in document.tables() if table.role == "leaderboard")
    published = pd.read_csv(path).set_index("team")["final_rank"]
    assert {row[1]: row[0] for row in board.rows} == published.to_dict()
    assert [place.team for place in document.podium] == ["mic-dkfz-feta24", "cemrg_feta", "vicorob"]
    assert [place.title for place in document.podium] == ["Rank 1", "Rank 2, shared by 2", "Rank 2, shared by 2"]
    whole = next(table for table in document.tables() if table.id.startswith("pooled-"))
    assert len(whole.rows) == 16
    # one value per team and set of cases: there is nothing to resample, and the report must not pretend otherwise
    assert not any(figure.id.startswith(("blob", "dots", "significance")) for figure in document.figures())


def test_liqa_2025_shows_both_domains(shared: Path) -> None:
    columns = {
        "acc_s4_vs_s123_pct": "acc_s4", "auc_s4_vs_s123_pct": "auc_s4",
        "acc_s1_vs_s234_pct": "acc_s1", "auc_s1_vs_s234_pct": "auc_s1",
    }  # fmt: skip
    scores, _ = read_leaderboard(
        shared / "data/published/care2025_liver_lifs_leaderboard.csv",
        registry.load("liqa/2025"),
        "lifs-contrast",
        metrics=columns,
        groups={"domain": "domain"},
        where={"setting": "Contrast"},
        scale=0.01,
    )
    document = _told("liqa/2025", scores)
    whole = next(table for table in document.tables() if table.id.startswith("pooled-"))
    heads = [column.title for column in whole.columns]
    assert len(heads) == 9
    assert sum(", id" in head for head in heads) == sum(", ood" in head for head in heads) == 4
    row = next(row for row in whole.rows if row[0] == "Sigma")
    assert 0.7583 in [round(value[0], 4) for value in row[1:] if isinstance(value, tuple)]


def test_the_suite_of_87_data_sets_shows_its_gains(shared: Path) -> None:
    scores, _ = suite.read_suite(shared / "data/published/segbook_dataset_results.csv")
    document = _told("stunet-transfer", scores)
    gains = {figure.id: figure for figure in document.figures() if figure.id.startswith("gains-")}
    assert len(gains) >= 2
    data = next(iter(gains.values())).data
    counts = data.assign(up=data["gain"] > 0).groupby("model")["up"].sum()
    # wins of 87 data sets as published: base 77, large 83, huge 77
    assert sorted(counts.tolist()) == [77, 77, 83]
    assert data.groupby("model")["case"].nunique().tolist() == [87, 87, 87]


def test_a_leaderboard_of_two_tasks_comes_in_from_the_command_line(shared: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from medpodium.cli import main
    from medpodium.scoring.table import read_scores

    out = tmp_path / "scores.csv"
    table = shared / "data/published/care2025_liver_lifs_leaderboard.csv"
    common = ["import", "leaderboard", str(table), "--challenge", "liqa/2025", "--out", str(out)]
    columns = ["--metric", "auc_s4_vs_s123_pct=auc_s4", "--group", "domain=domain", "--percent"]
    tasks = {"lifs-contrast": "Contrast", "lifs-noncontrast": "NonContrast"}
    for task, setting in tasks.items():
        words = [*common, *columns, "--task", task, "--where", f"setting={setting}", "--append"]
        answer = CliRunner().invoke(main, words)
        assert answer.exit_code == 0, answer.output
    scores = read_scores(out)
    raw = pd.read_csv(table)
    for task, setting in tasks.items():
        mine = scores[scores["task"] == task].set_index(["submission", "domain"])["value"]
        rows = raw[raw["setting"] == setting]
        published = rows.assign(domain=rows["domain"].str.lower()).set_index(["team", "domain"])["auc_s4_vs_s123_pct"]
        assert len(mine) == len(published)
        assert all(mine[key] == pytest.approx(value / 100, abs=1e-12) for key, value in published.items())
    for wrong, words in ((["--task", "nothing"], "no task 'nothing'"), (["--task", "lifs-contrast"], "no column")):
        answer = CliRunner().invoke(main, [*common, *wrong])
        assert answer.exit_code == 2
        assert words in answer.output
