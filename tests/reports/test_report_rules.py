"""What other extraction rules would have read, and risks beside what happened: tables against values by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.scoring.measures.pooled.survival import free_of_event

TAIL = "recipes: {main: {steps: [{select: {metric: m}}, {mean: [case, structure, metric]}, rank]}}\n"
TAIL += "ranking: {t: main}\n"
HEAD = "schema: 1\nname: mine\ntitle: Mine\nedition: '1'\ntasks:\n  t:\n"
REPLIES = {
    "q1": ("A", "The answer is A."),
    "q2": ("C", "A mass is visible in the left lung. The answer is C."),  # the published rule takes the article
    "q3": ("B", "A shadow is seen; I cannot tell."),  # ... and finds an answer where there is none
    "q4": ("A", "A mass is seen, so the answer is B."),  # ... and is right by chance
}


def run(*words: object) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code in (0, 1), done.output
    return done.output


def campaign(folder: Path, task: str, truth: pd.DataFrame, teams: dict[str, pd.DataFrame]) -> Path:
    """Score and rank with evidence; return its folder."""
    (folder / "c.yaml").write_text(f"{HEAD}    {{{task}}}\n{TAIL}", encoding="utf-8")
    truth.to_csv(folder / "truth.csv", index=False)
    given: list[object] = []
    for name, team in teams.items():
        team.to_csv(folder / f"{name}.csv", index=False)
        given += ["--predictions", f"{name}={folder / f'{name}.csv'}"]
    scores = folder / "scores.csv"
    run("score", folder / "c.yaml", "--references", folder / "truth.csv", *given, "--out", scores)
    run("rank", folder / "c.yaml", scores, "--bootstrap", 40, "--evidence", folder / "evidence")
    return folder / "evidence"


def test_what_other_rules_would_have_read_is_told_and_ranks_nobody(tmp_path: Path) -> None:
    task = "kind: answers, options: [A, B, C], extraction: letter-or-text, compared: [as-medq-bench], "
    task += "metrics: {m: {kind: correct}, all: {kind: accuracy, ranked: false}}"
    key = pd.DataFrame({"case": list(REPLIES), "answer": [key for key, _ in REPLIES.values()]})
    one = pd.DataFrame({"case": list(REPLIES), "prediction": [said for _, said in REPLIES.values()]})
    two = key.rename(columns={"answer": "prediction"})
    evidence = campaign(tmp_path, task, key, {"one": one, "two": two})
    rows = pd.read_csv(evidence / "extraction.csv").set_index(["submission", "rule"])
    assert rows.loc[("one", "letter-or-text"), ["right", "found"]].tolist() == [0.5, 0.75]
    assert rows.loc[("one", "as-medq-bench"), ["right", "found"]].tolist() == [0.5, 1.0]
    assert rows.loc[("one", "as-medq-bench"), ["gained", "lost"]].tolist() == [0.25, 0.25]
    assert rows.loc[("two", "as-medq-bench"), "right"] == 1.0
    board = pd.read_csv(evidence / "leaderboard.csv").set_index("submission")
    assert board["value"].to_dict() == {"one": 0.5, "two": 1.0}
    scores = pd.read_csv(tmp_path / "scores.csv").set_index(["metric", "submission"])["status"]
    assert set(scores.loc[[("all", "one")]]) == {"penalised"}  # q3 holds no answer, whatever others read
    told = run("rank", tmp_path / "c.yaml", tmp_path / "scores.csv", "--bootstrap", 0)
    assert "model" in told
    assert "submission" not in told
    assert "questions are scored" in run("show", tmp_path / "c.yaml")
    report = tmp_path / "report"
    given = "--bootstrap", 0, "--formats", "markdown", "--out", report
    run("report", tmp_path / "c.yaml", tmp_path / "scores.csv", *given)
    text = (report / "report.md").read_text(encoding="utf-8") + "".join(
        path.read_text(encoding="utf-8") for path in report.glob("*.md") if path.name != "report.md"
    )
    assert "What other extraction rules would have read" in text


def test_risk_groups_and_areas_over_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = [f"s{at:02d}" for at in range(30)]
    truth = pd.DataFrame({"case": names, "time": np.arange(1, 31), "event": [1, 1, 0] * 10})
    sure = pd.DataFrame({"case": truth["case"], "risk": -truth["time"]})  # the order that came true
    chance = sure.assign(risk=rng.normal(size=30))
    task, teams = "kind: survival, metrics: {m: {kind: harrell_c}}", {"sure": sure, "chance": chance}
    evidence = campaign(tmp_path, task, truth, teams)
    groups = pd.read_csv(evidence / "risk_groups.csv")
    own = groups[(groups["submission"] == "sure") & (groups["group"] == "high")].set_index("time")
    assert own["n"].iloc[0] == 10
    # times 1 to 10, events at all but 3, 6 and 9
    assert own.loc[5.0, "free"] == pytest.approx(9 / 10 * 8 / 9 * 6 / 7 * 5 / 6)
    assert own.loc[30.0, "free"] == 0
    assert groups[(groups["submission"] == "sure") & (groups["group"] == "low")].set_index("time").loc[5.0, "free"] == 1
    areas = pd.read_csv(evidence / "time_auc.csv")
    assert areas.loc[areas["submission"] == "sure", "auc"].tolist() == pytest.approx([1] * 12)
    assert areas.loc[areas["submission"] == "chance", "low"].notna().all()


def test_curves_of_survival_have_greenwoods_interval() -> None:
    time, event = np.array([1.0, 2, 2, 3, 4]), np.array([True, True, False, True, False])
    free, low, high, at_risk = free_of_event(time, event, np.array([0.0, 2.0, 3.5]))
    assert free.tolist() == pytest.approx([1, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 * 1 / 2])
    error = np.sqrt(1 / 20 + 1 / 12) / abs(np.log(0.6))
    assert low[1] == pytest.approx(0.6 ** np.exp(1.96 * error))
    assert high[1] == pytest.approx(0.6 ** np.exp(-1.96 * error))
    assert at_risk.tolist() == [5, 4, 1]
