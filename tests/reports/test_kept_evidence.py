"""Evidence that ``rank --evidence`` wrote is taken by a report of just the same, and by no other."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.reports.model import gather
from medpodium.reports.model.results import Results
from medpodium.scoring import table

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))


@pytest.fixture(scope="module")
def ranked(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    teams.make_scores(["a", "b", "c"]).to_csv(folder / "scores.csv", index=False)
    words = ["rank", tiny, folder / "scores.csv", "--evidence", folder / "evidence", "--bootstrap", 40, "--seed", 5]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code in (0, 1), done.output
    return folder


def _gathered(tiny: Path, ranked: Path, **more: Any) -> Results:
    scores = more.pop("scores", None)
    frame = table.read_scores(ranked / "scores.csv") if scores is None else scores
    settings = {"bootstrap": 40, "seed": 5, **more}
    return gather.gather(registry.load(str(tiny)), frame, **settings)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("computed again")


def test_a_report_of_the_same_computes_nothing_again(tiny: Path, ranked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anew = _gathered(tiny, ranked)
    monkeypatch.setattr(gather, "collect_task", _refuse)
    taken = _gathered(tiny, ranked, stored=ranked / "evidence")
    assert taken.findings == anew.findings
    assert [len(rows) > 0 for rows in taken.evidence.values()].count(True) > 10
    for name, rows in anew.evidence.items():
        pd.testing.assert_frame_equal(taken.evidence[name], rows, check_exact=True)
    for one, other in zip(taken.tasks, anew.tasks, strict=True):
        pd.testing.assert_frame_equal(one.leaderboard, other.leaderboard, check_exact=True)


@pytest.mark.parametrize("change", [{"seed": 6}, {"bootstrap": 41}, {"anonymous": True}, {}])
def test_evidence_of_anything_else_is_told_and_computed_again(tiny: Path, ranked: Path, change: dict[str, Any]) -> None:
    if not change:
        scores = table.read_scores(ranked / "scores.csv")
        scores.loc[0, "value"] = scores.loc[0, "value"] / 2
        change = {"scores": scores}
    taken, anew = _gathered(tiny, ranked, stored=ranked / "evidence", **change), _gathered(tiny, ranked, **change)
    assert [str(one.code) for one in taken.findings if one not in anew.findings] == ["ranking-evidence-of-other-scores"]
    for name, rows in anew.evidence.items():
        pd.testing.assert_frame_equal(taken.evidence[name], rows, check_exact=True)


def test_a_folder_that_holds_none_or_a_damaged_one_is_no_reason_to_fail(
    tiny: Path, ranked: Path, tmp_path: Path
) -> None:
    assert any("other-scores" in str(one.code) for one in _gathered(tiny, ranked, stored=tmp_path).findings)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "kept.json").write_text("{", encoding="utf-8")
    assert any("other-scores" in str(one.code) for one in _gathered(tiny, ranked, stored=tmp_path).findings)
