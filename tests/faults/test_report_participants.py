"""What papers print beside the ranking: teams, cohort, sizes, the same case of all; and a README's few lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.cli import main

CHALLENGE = """\
schema: 1
name: few
title: Few
groups: {scanner: {title: Scanner, levels: [A, B]}}
bias: {annotators: "Two residents", organizers: "The makers"}
tasks:
  organs:
    kind: segmentation
    structures: {liver: {label: 1, title: Liver}}
    empty: {both: best, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice, missing: worst}}
recipes: {mean: {steps: [{select: {metric: dice}}, {mean: [structure, case, metric]}, {rank: {ties: min}}]}}
ranking: {organs: mean}
editions: {"1": {}}
"""
TEAMS = """\
one: {affiliation: "Upper | Lower <b>", architecture: U-Net, cost: 12}
two: {architecture: MedNeXt, pre_training: none}
"""
RADII = (2, 2, 3, 3, 6, 6, 7, 7)
DICE = {"one": [0.5, 0.6, 0.5, 0.6, 0.9, 0.9, 0.8, 0.8], "two": [0.4, 0.4, 0.3, 0.3, 0.9, 0.9, 0.9, 0.9]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of balls whose volumes are known, two teams' predictions of them, and their scores."""
    made = tmp_path_factory.mktemp("few")
    z, y, x = np.mgrid[:20, :24, :24]
    for name, shift in (("references", 0), ("one", 1), ("two", 2)):
        (made / name).mkdir()
        for case, radius in enumerate(RADII):
            ball = (z - 10) ** 2 + (y - 11) ** 2 + (x - 11 - shift) ** 2 <= radius**2
            image: Any = SimpleITK.GetImageFromArray(ball.astype(np.uint8))
            image.SetSpacing((1.0, 2.0, 3.0))
            SimpleITK.WriteImage(image, str(made / name / f"c{case}.nii.gz"))
    key = {"challenge": "few", "edition": "1", "task": "organs", "structure": "liver", "metric": "dice", "status": "ok"}
    rows = [
        {**key, "submission": team, "case": f"c{at}", "value": value, "scanner": "A" if at < 3 else "B"}
        for team, values in DICE.items()
        for at, value in enumerate(values)
    ]
    pd.DataFrame(rows).to_csv(made / "scores.csv", index=False)
    (made / "few.yaml").write_text(CHALLENGE, encoding="utf-8")
    (made / "teams.yaml").write_text(TEAMS, encoding="utf-8")
    return made


def _report(folder: Path, out: str, *options: str) -> tuple[int, str]:
    words = [
        "report",
        str(folder / "few.yaml"),
        str(folder / "scores.csv"),
        "--out",
        str(folder / out),
        "--workers",
        "1",
    ]
    done = CliRunner().invoke(main, [*words, "--formats", "html,markdown", "--bootstrap", "0", *options])
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    given = [f"--predictions={team}={folder / team}" for team in DICE]
    teams = ["--teams", str(folder / "teams.yaml"), "--sizes", "--show-images"]
    code, said = _report(folder, "report", "--references", str(folder / "references"), *given, *teams)
    assert code == 0, said
    return folder / "report"


def _table(report: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(report / "data" / f"{name}.csv", keep_default_na=False)


def test_teams_say_what_they_did_in_a_table_of_their_own(made: Path) -> None:
    table = _table(made, "teams-described").set_index("Team")
    assert list(table.columns) == ["Affiliation", "Architecture", "Pre-training", "Cost"]
    assert table.loc["one"].to_list() == ["Upper | Lower <b>", "U-Net", "", "12"]
    page = (made / "index.html").read_text(encoding="utf-8")
    assert "Upper | Lower &lt;b&gt;" in page
    assert json.loads((made / "teams.json").read_text(encoding="utf-8"))["two"]["pre_training"] == "none"


def test_the_cohort_is_counted_by_every_property(made: Path) -> None:
    table = _table(made, "cohort-organs")
    told = {(row.Property, row.Level): (row.Cases, row.Share) for row in table.itertuples()}
    assert told == {("All", ""): (8, 1.0), ("Scanner", "A"): (3, 0.375), ("Scanner", "B"): (5, 0.625)}
    assert "Annotators: Two residents." in (made / "report.md").read_text(encoding="utf-8")


def test_scores_stand_against_volumes_in_classes_that_tell_no_single_one(made: Path) -> None:
    table = _table(made, "size-organs-dice")
    grid = np.mgrid[-10:10, -10:10, -10:10]
    balls = [float(((grid**2).sum(axis=0) <= radius**2).sum()) * 6 / 1000 for radius in RADII]
    for place, part in enumerate((slice(0, 4), slice(4, 8))):
        volume = float(np.exp(np.log(balls[part]).mean()))
        own = table[np.isclose(table["ml"], volume, rtol=0.05)].set_index("submission")
        assert list(own["cases"]) == [4, 4], place
        for team, values in DICE.items():
            assert own["mean"][team] == pytest.approx(np.mean(values[part]))


def test_all_teams_are_shown_on_the_same_median_and_worst_case(made: Path) -> None:
    page = (made / "report.md").read_text(encoding="utf-8")
    middle = [float(np.mean([DICE["one"][at], DICE["two"][at]])) for at in range(8)]
    worst = int(np.argmin(middle))
    median = int(np.argsort(middle, kind="stable")[4])
    for which, case in (("worst", worst), ("median", median)):
        _, _, part = page.partition(f"All on the {which} case (c{case})")
        shown = part[: part.index("**", 2)] if "**" in part[2:] else part
        for team, values in DICE.items():
            assert f"{team}: {values[case]:.3f}" in page, (which, shown[:80])
    pictures = sorted(path.name for path in (made / "figures").glob("same-organs-*.png"))
    assert len(pictures) == 4


def test_a_readme_is_told_the_answer_and_the_main_table_only(made: Path) -> None:
    page = (made / "readme.md").read_text(encoding="utf-8")
    assert page.startswith("# Few\n")
    assert "one ranks first" in page
    assert len([line for line in page.splitlines() if line.startswith("| ")]) == 4
    assert "![" not in page
    assert len(page) < 1500


def test_verify_reads_teams_and_readme_again(made: Path) -> None:
    done = CliRunner().invoke(main, ["verify", str(made)])
    assert done.exit_code == 0, done.output
    page = made / "readme.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("0.700", "0.790"), encoding="utf-8")
    assert "0.790" in CliRunner().invoke(main, ["verify", str(made)]).output
    page.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "options", "code", "part"),
    [
        ("one: {affilation: X}", [], 2, "did you mean 'affiliation'?"),
        ("- one", [], 2, "holds no mapping"),
        ("oen: {cost: 1}", [], 0, "did you mean 'one'?"),
        ("one: {cost: 1}", ["--anonymous"], 0, "the report is anonymous"),
    ],
)
def test_a_wrong_file_of_teams_is_told_in_a_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: list[str], code: int, part: str
) -> None:
    path = tmp_path / "teams.yaml"
    path.write_text(text, encoding="utf-8")
    if find_spec("medpodium.reports.formats"):  # figures are not what is asked here
        undrawn: Callable[..., Any] = lambda _, document: document  # noqa: E731
        monkeypatch.setattr("medpodium.reports.formats.pool.FigurePool.finish", undrawn)
        monkeypatch.setattr("medpodium.reports.write._WRITERS", {"html": lambda *_: [], "markdown": lambda *_: []})
    found, said = _report(folder, f"bad-{code}", "--teams", str(path), *options)
    assert (found, part in said) == (code, True), said
