"""The built-in benchmarks of questions pass lint and say what they do not know; their demos go from key to ranking."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.challenges import lint, registry
from medpodium.challenges.demo import questions
from medpodium.cli import main

BENCHMARKS = ("gmai-mmbench", "medprobebench", "medq-bench", "medq-deg", "mmrarebench", "sgi-bench", "tcm-5ceval")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_definition_passes_lint_and_its_page_lists_what_is_unconfirmed(name: str) -> None:
    source, _ = registry.locate(name)
    assert lint.lint_source(source) == []
    text = (source.path.parent / "README.md").read_text(encoding="utf-8")
    facts = registry.load(name).unconfirmed_list()
    assert facts
    for path, _, why in facts:
        assert f"`{path}`" in text
        assert why in text
    assert registry.load(name).sources


@pytest.mark.parametrize("name", BENCHMARKS)
def test_demo_can_be_scored_and_ranked(name: str, tmp_path: Path) -> None:
    made = questions.make(tmp_path, name, 12, 0)
    assert set(made) == set(registry.load(name).tasks)
    for task, (key, teams) in made.items():
        given = [part for team, path in teams.items() for part in ("--predictions", f"{team}={path}")]
        command = ["score", name, "--task", task, "--references", str(key), *given, "--add"]
        done = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "scores.csv")])
        assert done.exit_code in (0, 1), done.output
    command = ["rank", name, str(tmp_path / "scores.csv"), "--bootstrap", "0", "--out", str(tmp_path / "board.csv")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code in (0, 1), done.output
    board = pd.read_csv(tmp_path / "board.csv")
    challenge = registry.load(name)
    assert set(board["task"]) == {*challenge.ranking, *challenge.overall}
    assert board["value"].notna().all()


def test_published_variants_read_replies_as_published() -> None:
    assert registry.load("gmai-mmbench", variant="as-published").tasks["vqa"].rule == "as-vlmevalkit"
    assert registry.load("medq-bench", variant="as-published").tasks["perception"].rule == "as-medq-bench"
    assert registry.load("medq-deg", variant="as-published").tasks["vqa"].rule == "as-medq-bench"


def test_demo_of_tables_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["demo", str(tmp_path), "--challenge", "stunet-transfer"])
    assert done.exit_code == 2
    assert "demo-no-questions" in done.output
