"""Groups of cases, counts and names: what a report compares, and what it leaves out and says so."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.reports.formats.site import team_page
from medpodium.reports.model import gather, scores, sections
from medpodium.reports.model.document import Column, Document, Paragraph, Place
from medpodium.reports.model.results import Results
from medpodium.scoring.table import normalise

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))

AGES = ["80+", "9-17", "18-79"]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three age bands, listed in another order than the alphabet's, one of two cases; an identifier; a lost row."""
    path = tmp_path_factory.mktemp("grouped") / "challenge.yaml"
    declared = f"  age: {{title: Age, levels: {AGES}, minimum_size: 3}}\n"
    path.write_text(teams.CHALLENGE.replace("groups:\n", f"groups:\n{declared}"))
    raw = teams.make_scores(["good", "middling", "poor"], step=0.2)
    number = raw["case"].str[1:].astype(int)
    raw["age"] = [AGES[0] if at < 2 else AGES[1 + at % 2] for at in number]
    raw["scan_id"] = "s" + number.astype(str)
    lost = (raw["submission"] == "middling") & (raw["case"] == "c07") & (raw["structure"] == "liver")
    return gather.gather(registry.load(path), normalise(raw[~lost], "test"), bootstrap=60)


@pytest.fixture(scope="module")
def document(grouped: Results) -> Document:
    return sections.assemble(grouped, every=False)


def _words(document: Document) -> list[str]:
    return [block.text for block in document.blocks() if isinstance(block, Paragraph)]


def test_levels_stand_as_the_challenge_lists_them(grouped: Results) -> None:
    task = grouped.tasks[0]
    assert task.levels("age") == AGES
    assert list(dict.fromkeys(scores.group_cells(task, "age", "dice")["level"])) == AGES


def test_too_small_a_level_has_a_mean_but_neither_interval_nor_gap(grouped: Results, document: Document) -> None:
    cells = scores.group_cells(grouped.tasks[0], "age", "dice").set_index("level")
    small, large = cells.loc["80+"], cells.loc["9-17"]
    assert set(small["cases"]) == {2}
    assert small["mean"].notna().all()
    assert small["lower"].isna().all()
    assert large["lower"].notna().all()
    gaps = [
        figure.title for figure in document.figures() if figure.id.startswith("gap-organs-age-") and "dice" in figure.id
    ]
    assert gaps == ["Gap between 9-17 and the other cases, Dice similarity coefficient"]
    assert "Fewer than 3 cases, too few to conclude from: 80+ (2)." in _words(document)


def test_an_identifier_is_no_subgroup(grouped: Results, document: Document) -> None:
    assert set(grouped.tasks[0].groups) == {"age", "domain"}
    assert "Too fine for subgroups of 14 cases: scan id (14 levels)." in _words(document)
    assert not any("scan" in figure.id for figure in document.figures())


def test_a_score_without_a_row_is_counted(grouped: Results, document: Document) -> None:
    counts = grouped.tasks[0].statuses
    # 14 cases x 3 structures and 14 running times each; make_scores leaves the last team without one case
    assert counts.sum(axis=1).tolist() == [56, 56, 56]
    assert counts.loc["middling"].to_dict() == {"ok": 55, "missing": 0, "absent from the table": 1}
    assert counts.loc["poor"].to_dict() == {"ok": 53, "missing": 3, "absent from the table": 0}
    assert any("Of 168 scores of Organs, 4 did not come" in words for words in _words(document))
    panel = next(figure for figure in document.figures() if figure.id.startswith("failures-"))
    assert panel.data.set_index("submission").loc["middling", "absent from the table"] == 1


def test_metrics_of_one_name_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "challenge.yaml"
    running = "running_time: {kind: running_time, worst: 3600}"
    assert running in teams.CHALLENGE
    path.write_text(teams.CHALLENGE.replace(running, "again: {kind: dice, missing: worst}"))
    raw = teams.make_scores(["one", "two"])
    raw = raw[raw["metric"] == "dice"]
    both = pd.concat([raw, raw.assign(metric="again")])
    task = gather.gather(registry.load(path), normalise(both, "test"), bootstrap=0).tasks[0]
    titles = [panel.title for panel in task.overall]
    assert len(set(titles)) == 2
    assert all(title.split(" (")[1].startswith(("dice)", "again)")) for title in titles)


def test_numbers_of_unlike_metrics_keep_their_own_decimals(grouped: Results) -> None:
    page = team_page(grouped, {}, "good")
    scores = next(table for table in page.tables() if table.id.startswith("scores-"))
    at = [column.title for column in scores.columns].index("Mean")
    shown = {str(row[0]): scores.columns[at].show(row[at]) for row in scores.rows}
    dice = next(text for name, text in shown.items() if name.startswith("Dice"))
    assert dice.startswith("0.9")
    assert [len(part) for part in dice.split()] == [5, 7, 6]  # as many decimals in the interval
    assert Column("Mean", "number", None).show(8434.25) == "8,434"
    assert Column("Mean", "number", None).show(0.2136) == "0.214"


def test_small_numbers_beside_large_ones_do_not_become_zero() -> None:
    from medpodium.reports.model.document import digits_for

    digits = digits_for([0.21, 1200.0, 3600.0])
    assert [Column("s", "number", digits).show(value) for value in (0.21, 3600.0)] == ["0.21", "3,600"]


def test_shared_ranks_stand_on_one_step() -> None:
    places = [Place(1, 1, "a"), Place(2, 2, "b"), Place(2, 2, "c"), Place(1.5, 2, "d"), Place(4, 1, "e")]
    assert [place.step for place in places] == [1, 2, 2, 1, 3]
    assert places[1].title == "Rank 2, shared by 2"
    assert places[3].title == "Rank 1.5, shared by 2"


def test_the_main_table_has_rank_set_and_what_is_ranked_and_its_steps_are_in_the_supplement(document: Document) -> None:
    board = next(table for table in document.tables() if table.role == "leaderboard")
    titles = [column.title for column in board.columns]
    assert titles[:3] == ["Rank", "Submission", "Rank confidence set"]
    ranked = board.data["value"].to_numpy(float)
    shown = [[row[at][0] for row in board.rows] for at, one in enumerate(board.columns) if one.kind == "estimate"]
    assert any(np.allclose(values, ranked) for values in shown)
    (steps,) = [table for table in document.tables() if table.id.startswith("steps-")]
    assert [column.title for column in steps.columns[:4]] == [
        "Rank",
        "Submission",
        "Mean over metrics",
        "Bootstrap ranks",
    ]
    assert steps.number.startswith("S")
